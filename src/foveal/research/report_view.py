"""What every form of a report shows: sections in blocks, each mark with its exact quotes and places, checks, conflicts.

    view = ReportView.of(report)
    view.sections[0].blocks, view.cites[("Results", 3)].quotes, view.sources, view.checks, view.conflicts

Quote     the place that the check of the sentence's claim points to, if it lies in the cited passage; else the sentence
          of the passage that holds most of the words of what cites it. Always characters of the source, never a summary
Place     characters of the source's text, as `Evidence.passage` has them, and the heading above
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest

from foveal.evaluation.scripts import word_runs
from foveal.research.answers import UNREAD
from foveal.research.citations import best_sentence
from foveal.research.evidence import Claim, Evidence, SourceRecord
from foveal.research.markdown import number_of, one_line
from foveal.research.report_blocks import Block, Runs, blocks_of
from foveal.research.report_parts import STAGES, Conflict, ReportParts, Section
from foveal.research.turning import turning_of
from foveal.types import Passage

CONTEXT = 240
"""Characters of the source that are shown on each side of a quote."""

LONGEST_QUOTE = 600
LABELS = {
    "supported": "supported",
    "partly": "partly supported",
    "unsupported": "not supported",
    "contradicted": "contradicted",
    "": "not checked",
}
"""A verdict, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The exact characters that a mark leads to, and what stands around them."""

    key: str  # of the evidence
    number: int  # of the source
    source: SourceRecord
    before: str
    text: str
    after: str
    start: int
    end: int
    heading: str
    document_id: str
    url: str  # of the text that it stands in
    unread: bool = False  # whether that text is only what the search said of the page

    @property
    def dated(self) -> str:
        """When its source appeared, for people."""
        return self.source.published_at[:10] if self.source.published_at else "no date"

    @property
    def where(self) -> str:
        """The place, for people."""
        if self.unread:
            return UNREAD
        place = f"characters {self.start + 1:,} to {self.end:,}"
        return f"{self.heading} · {place}" if self.heading else place


@dataclass(frozen=True, slots=True)
class Cite:
    """One mark in the text: `id` is its own; marks that touch are one."""

    id: str
    quotes: tuple[Quote, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of its sources, each once."""
        return tuple(sorted({one.number for one in self.quotes}))


@dataclass(frozen=True, slots=True)
class ShownSection:
    """A section; `cites` are those of its blocks, in the order of the marks."""

    id: str
    heading: str
    blocks: tuple[Block, ...]
    cites: tuple[Cite, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table of checks."""

    claim: str
    label: str  # a key of LABELS
    score: float | None
    lacking: str  # what claim and source do not share
    quotes: tuple[Quote, ...]

    @property
    def said(self) -> str:
        """The verdict, for people."""
        return LABELS[self.label]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the sources that it cites."""
        return tuple(sorted({one.number for one in self.quotes}))


@dataclass(frozen=True, slots=True)
class Difference:
    """A conflict: the quotes of each side, the preferred one first."""

    about: str
    sides: tuple[tuple[Quote, ...], ...]
    preferred: str

    @property
    def pairs(self) -> tuple[tuple[Quote | None, Quote | None], ...]:
        """Who says what, and who the contrary: the first side beside each other one; None where one has fewer."""
        first, *others = self.sides or ((),)
        return tuple(pair for side in others for pair in zip_longest(first, side))

    @property
    def weighed(self) -> str:
        """How sure one can be, for people: high where what is preferred is also what more sources say, low where fewer
        do, or where nothing but their number speaks for a side."""
        counts = [len({quote.number or quote.source.key for quote in side}) for side in self.sides]
        first, against = counts[0] if counts else 0, max(counts[1:], default=0)
        if not self.preferred and first == against:
            return "Nothing speaks for either."
        told = f"{number_of(first, 'source')} against {against}"
        if not self.preferred:
            return f"Confidence: low, as nothing speaks for either but their number: {told}."
        level = "high" if first > against else "moderate" if first == against else "low"
        return f"Confidence: {level}, {told}."


@dataclass(frozen=True)
class ReportView:
    """A report as it is drawn; `of` makes one."""

    report: ReportParts
    sections: tuple[ShownSection, ...]
    checks: tuple[Check, ...]
    conflicts: tuple[Difference, ...]

    @classmethod
    def of(cls, report: ReportParts) -> ReportView:
        """The view of a report."""
        quoting = _Quoting(report)
        sections = tuple(quoting.section(number, one) for number, one in enumerate(report.sections, start=1))
        checks = tuple(map(quoting.check, report.claims))
        return cls(report, sections, checks, tuple(map(quoting.difference, report.conflicts)))

    @cached_property
    def turning(self) -> ShownSection | None:
        """What would change the answer, drawn as a section; None where nothing is known."""
        one = turning_of(self.report)
        return replace(_Quoting(self.report).section(0, one), id="turning") if one else None

    @property
    def title(self) -> str:
        """On one line."""
        return one_line(self.report.title) or one_line(self.report.question)

    @property
    def asked(self) -> str:
        """The question, "" where the title says the same."""
        words = [word_runs(one.casefold()) for one in (self.report.question, self.title)]
        return one_line(self.report.question) if words[0] != words[1] else ""

    @property
    def state(self) -> str:
        """What a reader must know first, "" where the report is whole."""
        return self.report.state

    @property
    def about(self) -> str:
        """How the report was made, in one line."""
        one = self.report
        used = one.usage
        parts = [
            STAGES.get(one.stage, ""),
            f"mode {one.mode}",
            f"planner {one.planner}",
            number_of(len(one.sources), "source"),
            number_of(len(one.queries), "search", "searches"),
        ]
        parts += [f"{used['tokens']:,} tokens"] if used.get("tokens") else []
        return " · ".join(part for part in (*parts, one.created_at[:10]) if part)

    @property
    def experiment(self) -> Mapping[str, str] | None:
        """What was run, what it printed, and what was said of it; None where nothing was."""
        one = self.report.experiment
        if not one:
            return None
        review = one.get("review") or {}
        said = " ".join(map(str, (*review.get("strengths", ()), *review.get("weaknesses", ()))))
        return {
            "about": f"It was {one.get('status', 'not run')}, with the seed {one.get('seed', 0)}.",
            "code": str(one.get("code", "")),
            "output": "\n".join(str(one[name]) for name in ("output", "errors") if one.get(name)),
            "review": f"Reviewed: {review.get('score')} of 10. {said}".strip() if review else "",
        }

    @cached_property
    def sources(self) -> tuple[tuple[int, SourceRecord, tuple[Quote, ...]], ...]:
        """Number, record, and the quotes that the text takes from it, each once."""
        quotes: dict[int, dict[tuple[str, int, int], Quote]] = {}
        drawn = (*self.sections, *((self.turning,) if self.turning else ()))
        for section in drawn:
            for one in (quote for cite in section.cites for quote in cite.quotes):
                quotes.setdefault(one.number, {}).setdefault((one.document_id, one.start, one.end), one)
        return tuple(
            (number, record, tuple(quotes.get(number, {}).values()))
            for number, record in self.report.bibliography.items()
        )

    @property
    def counted(self) -> str:
        """The checks in numbers: "12 claims: 9 supported, 1 contradicted"."""
        labels = [one.label for one in self.checks]
        parts = [f"{labels.count(label)} {said}" for label, said in LABELS.items() if label in labels]
        return f"{number_of(len(labels), 'claim')}: {', '.join(parts)}"

    def numbered(self, section: ShownSection) -> Iterator[tuple[Block, Mapping[int, Cite]]]:
        """The blocks of a section, each with its marks by their place among its runs (a table's: over all cells)."""
        left = iter(section.cites)
        for block in section.blocks:
            runs = [run for row in block.rows for cell in row for run in cell] if block.rows else block.runs
            yield block, {place: next(left) for place, run in enumerate(runs) if run.keys}


class _Quoting:
    """Finds the quotes of one report's marks."""

    def __init__(self, report: ReportParts) -> None:
        self.report = report
        self.records = {one.key: one for one in report.sources}
        self.numbers = dict(report.numbers)
        self._of_source = {self.report.by_key[key].source: number for key, number in self.numbers.items()}

    def section(self, number: int, section: Section) -> ShownSection:
        blocks = blocks_of(section.text, self.numbers.__contains__)
        claims = [one for one in self.report.claims if one.section == section.heading] or list(self.report.claims)
        cites: list[Cite] = []
        for block in blocks:
            for runs in (cell for row in block.rows for cell in row) if block.rows else (block.runs,):
                cites += self._cites(runs, claims, f"c{number}-", len(cites))
        return ShownSection(f"s{number}", one_line(section.heading), blocks, tuple(cites))

    def _cites(self, runs: Runs, claims: Sequence[Claim], prefix: str, before: int) -> Iterator[Cite]:
        said = ""
        count = before
        for run in runs:
            if not run.keys:
                said += run.text
                continue
            count += 1
            quotes = (self.quote(key, said, claims) for key in run.keys)
            yield Cite(f"{prefix}{count}", tuple(one for one in quotes if one is not None))

    def check(self, claim: Claim) -> Check:
        verdict = claim.verdict
        quotes = (self.quote(key, claim.text, [claim]) for key in claim.evidence)
        found = tuple(one for one in quotes if one is not None)
        if verdict is None:
            return Check(claim.text, "", None, "", found)
        return Check(claim.text, verdict.label, verdict.score, verdict.lacking, found)

    def difference(self, one: Conflict) -> Difference:
        sides = tuple(
            tuple(quote for key in side if (quote := self.quote(key, self._side(key, one.about), ())) is not None)
            for side in one.sides
        )
        return Difference(one_line(one.about), sides, one.preferred)

    def _side(self, key: str, about: str) -> str:
        """The words by which one side is quoted: its own summary where the passage has that, else the conflict."""
        one = self.report.by_key.get(key)
        own = one.summary if one else ""
        return own if one and own and own in one.passage.text else about

    def quote(self, key: str, said: str, claims: Sequence[Claim]) -> Quote | None:
        """What the evidence of a key says to the words before its mark. None: there is no such evidence."""
        evidence = self.report.by_key.get(key)
        record = self.records.get(evidence.source) if evidence else None
        number = self.numbers.get(key) or self._of_source.get(evidence.source if evidence else "")
        if evidence is None or record is None:
            return None
        whole = evidence.passage
        part = _checked(key, evidence, said, claims) or best_sentence(_last(said), [whole])
        first = part.span.start - whole.span.start
        last = min(first + len(part.text), first + LONGEST_QUOTE)
        return Quote(
            key=key,
            number=number or 0,
            source=record,
            before=_head_cut(whole.text[max(0, first - CONTEXT) : first], cut=first > CONTEXT),
            text=whole.text[first:last],
            after=_tail_cut(whole.text[last : last + CONTEXT], cut=last + CONTEXT < len(whole.text)),
            start=whole.span.start + first,
            end=whole.span.start + last,
            heading=one_line(whole.heading or ""),
            document_id=whole.span.document_id,
            url=evidence.url or record.url,
            unread=evidence.unread,
        )


def _checked(key: str, evidence: Evidence, said: str, claims: Sequence[Claim]) -> Passage | None:
    """The place in the passage to which the check of the claim that is said last before a mark points."""
    words = _squeezed(said)
    cited = [one for one in claims if key in one.evidence and one.verdict and one.verdict.where]
    told = [one for one in cited if _squeezed(one.text) in words] or (cited if len(cited) == 1 else [])
    for claim in sorted(told, key=lambda one: words.rfind(_squeezed(one.text)), reverse=True):
        where = claim.verdict.where if claim.verdict else None
        span = evidence.passage.span
        if where and where.document_id == span.document_id and span.start <= where.start < where.end <= span.end:
            text = evidence.passage.text[where.start - span.start : where.end - span.start]
            return Passage(where, text) if text.strip() else None
    return None


def _last(said: str) -> str:
    """The last sentence or so of what stands before a mark."""
    from foveal.text.units import sentences

    pieces = [said[start:end] for start, end in sentences(said) if said[start:end].strip()]
    return pieces[-1] if pieces else said


def _squeezed(text: str) -> str:
    return " ".join(word_runs(text.casefold()))


def _head_cut(text: str, *, cut: bool) -> str:
    return "…" + text.partition(" ")[2] if cut and " " in text else text


def _tail_cut(text: str, *, cut: bool) -> str:
    return text.rpartition(" ")[0] + "…" if cut and " " in text else text
