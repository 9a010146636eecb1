"""A report: sections whose every mark leads to stored evidence, with what was checked, what conflicts, what is missing.

    Report ── Section (Markdown; [[e7]] cites the evidence "e7")
           ── SourceRecord, Evidence, Claim with its Verdict     (evidence.py)

    report.to_markdown()                 numbers for keys, bibliography, table of checks, conflicts, "Not covered"
    Report.of_ledger(report.ledger())    the same report: with its ledger anybody can check it again, without a network

Numbers   one for each source, in the order in which the text first cites it; two records that share an arXiv id, a DOI
          or a canonical address are one source
Stage     of the survey's three (arXiv 2512.02038, section 2): what a run was allowed to do
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.research.answers import STOPPED
from foveal.research.evidence import Claim, Evidence, SourceRecord
from foveal.research.markdown import address, one_line, plain

if TYPE_CHECKING:
    from foveal.research.report_view import Quote

KEYS = re.compile(r"\[\[\s*(e\d+(?:\s*[,;]\s*e\d+)*)\s*\]\]")
_ADJACENT = re.compile(r"\[\[[^\]]*\]\](?:\s*\[\[[^\]]*\]\])*")
STAGES = {1: "Agentic Search", 2: "Integrated Research", 3: "Full-stack AI Scientist"}
CANNOT = "This cannot be answered from these sources."
FORMAT = 1
LEAD = "In short"
"""The heading of the short answer at a report's head."""

LONGEST_CELL = 300
"""Characters of a quote in the table of checks."""

LEFT_OUT = "Left out, as nothing bears it out: "
"""What stands before a sentence that is "not covered" because nothing bore it out."""

NOT_SEARCHED = "Not searched to the end: "
"""What stands before a source that did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a report is judged against."""

    goal: str
    must_cover: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    since: str = ""  # ISO 8601 date, the first one that counts; "": any
    until: str = ""
    language: str = ""  # "": that of the question
    words: int = 1200  # length of the report

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Brief:
        """The brief of plain values. InputError lists the fields that cannot be used."""
        known = {name: cls.__dataclass_fields__[name].type for name in cls.__dataclass_fields__}
        wrong = [name for name in row if name not in known]
        wrong += [name for name, kind in known.items() if name in row and not _fits(row[name], str(kind))]
        wrong += [name for name in ("since", "until") if not _is_day(row.get(name, ""))]
        if not str(row.get("goal", "")).strip():
            wrong.append("goal")
        if not wrong and row.get("since") and row.get("until") and row["since"] > row["until"]:
            wrong += ["since", "until"]
        if wrong:
            raise InputError(
                f"The brief cannot be used; wrong or unknown: {', '.join(dict.fromkeys(wrong))}. It has a goal; lists "
                "must_cover and out_of_scope; since and until as 2024-01-31; language; and words, 50 or more."
            )
        lists = {name: tuple(row[name]) for name in ("must_cover", "out_of_scope") if name in row}
        return cls(**dict(row) | lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report. `text` is Markdown, with [[e7]] behind what the evidence "e7" bears out."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """What sources say against each other: keys of evidence, and in a sentence how they differ."""

    about: str
    sides: tuple[tuple[str, ...], ...]  # keys of evidence, those of one side together; the side preferred first
    preferred: str = ""  # why: "primary", "newer", or "" where nothing speaks for either


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished, or partial, report. `sections` is empty where nothing was found: then `queries` were tried."""

    question: str
    brief: Brief
    title: str
    sections: tuple[Section, ...]
    sources: tuple[SourceRecord, ...]
    evidence: tuple[Evidence, ...]
    claims: tuple[Claim, ...]
    stage: int = 2
    mode: str = "normal"  # quick, normal, deep
    planner: str = "auto"  # the one that was used
    timing: str = "always"
    usage: Mapping[str, Any] = field(default_factory=dict)
    stopped_by: str | None = None  # a key of STOPPED
    not_covered: tuple[str, ...] = ()
    key: str = ""  # of the run
    conflicts: tuple[Conflict, ...] = ()
    queries: tuple[str, ...] = ()  # all that were searched for, in order
    created_at: str = ""  # ISO 8601
    experiment: Mapping[str, Any] | None = None  # of stage 3: code, data, seed, output, review

    @property
    def found(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.sections)

    @property
    def searched_all(self) -> bool:
        """Whether all of its sources answered."""
        return not any(one.startswith(NOT_SEARCHED) for one in self.not_covered)

    @property
    def state(self) -> str:
        """What a reader must know first, "" where the report is whole. Of sources that were not searched to the end
        nobody can say that they do not answer."""
        if self.stopped_by:
            nothing = "" if self.found else " Nothing was found until then."
            return f"Not complete: {STOPPED.get(self.stopped_by, self.stopped_by)}.{nothing}"
        return "" if self.found else CANNOT

    @cached_property
    def by_key(self) -> dict[str, Evidence]:
        """Evidence by its key."""
        return {one.key: one for one in self.evidence}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each cited evidence's source, by the evidence's key: those of one source share it. The text comes
        first, then what conflicts cite."""
        records = {one.key: one for one in self.sources}
        known: dict[str, int] = {}  # identity -> number
        numbers: dict[str, int] = {}
        differing = (key for one in self.conflicts for side in one.sides for key in side)
        for key in dict.fromkeys((*cited_keys("\n".join(one.text for one in self.sections)), *differing)):
            if key not in self.by_key or self.by_key[key].source not in records:
                continue
            names = names_of(records[self.by_key[key].source])
            number = next((known[name] for name in names if name in known), len(set(known.values())) + 1)
            known |= dict.fromkeys(names, number)
            numbers[key] = number
        return numbers

    @cached_property
    def bibliography(self) -> dict[int, SourceRecord]:
        """Number -> its source, the record that was cited first."""
        records = {one.key: one for one in self.sources}
        found: dict[int, SourceRecord] = {}
        for key, number in self.numbers.items():
            found.setdefault(number, records[self.by_key[key].source])
        return found

    @cached_property
    def turning(self) -> Section | None:
        """What would change the answer (turning.py); None where nothing is known."""
        from foveal.research.turning import turning_of

        return turning_of(self)

    def numbered(self, text: str) -> str:
        """A section's text with [1] for [[e7]]; marks that touch are one, and a key without evidence goes."""

        def one(found: re.Match[str]) -> str:
            numbers = sorted({self.numbers[key] for key in cited_keys(found[0]) if key in self.numbers})
            return "".join(f"[{number}]" for number in numbers)

        return _ADJACENT.sub(one, text)

    def to_markdown(self) -> str:
        """The whole report."""
        parts = [f"# {one_line(self.title) or one_line(self.question)}", *self._state()]
        for section in self.sections:
            parts += [f"## {plain(section.heading)}", self.numbered(section.text).strip()]
        if self.conflicts:
            parts += ["## Where sources differ", *self._differences()]
        if turning := self.turning:
            parts += [f"## {turning.heading}", self.numbered(turning.text)]
        if self.not_covered:
            parts += ["## Not covered", "\n".join(f"- {plain(one)}" for one in self.not_covered)]
        if self.experiment:
            parts += ["## Experiment", _experiment(self.experiment)]
        if self.bibliography:
            parts += ["## Sources", "\n".join(map(_entry, self.bibliography.items()))]
        if self.claims:
            parts += ["## Checks", self._checks()]
        return "\n\n".join(parts) + "\n"

    def ledger(self) -> dict[str, Any]:
        """All of it as JSON holds it: who has this can check each claim against its evidence."""
        row = {name: getattr(self, name) for name in self.__dataclass_fields__}
        row |= {"brief": asdict(self.brief), "usage": dict(self.usage), "markdown": self.to_markdown()}
        row |= {name: [asdict(one) for one in getattr(self, name)] for name in ("sections", "conflicts")}
        row |= {name: [one.to_row() for one in getattr(self, name)] for name in ("sources", "evidence", "claims")}
        row["experiment"] = dict(self.experiment) if self.experiment else None
        plain_values: dict[str, Any] = _as_json({"foveal_report": FORMAT} | row)
        return plain_values

    @classmethod
    def of_ledger(cls, row: Mapping[str, Any]) -> Report:
        """The report of `ledger`. InputError: it is none, or a part of it is missing."""
        none = "This is no ledger of a report. Give the JSON that `foveal research --report` wrote."
        if not isinstance(row, Mapping) or row.get("foveal_report") != FORMAT:
            raise InputError(none)
        try:
            return cls._of_row(row)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{none} A part of it is missing, or of another form ({error}).") from error

    @classmethod
    def _of_row(cls, row: Mapping[str, Any]) -> Report:
        kept = {name: value for name, value in row.items() if name in cls.__dataclass_fields__}
        kept["brief"] = Brief.from_row(kept["brief"])
        kept["sections"] = tuple(Section(**one) for one in kept["sections"])
        kept["conflicts"] = tuple(
            Conflict(about=one["about"], sides=tuple(map(tuple, one["sides"])), preferred=one["preferred"])
            for one in kept["conflicts"]
        )
        kept["sources"] = tuple(map(SourceRecord.from_row, kept["sources"]))
        kept["evidence"] = tuple(map(Evidence.from_row, kept["evidence"]))
        kept["claims"] = tuple(map(Claim.from_row, kept["claims"]))
        return cls(**kept | {name: tuple(kept[name]) for name in ("not_covered", "queries")})

    def _state(self) -> list[str]:
        if self.found:
            return [f"*{self.state}*"] if self.state else []
        tried = "\n".join(f"- {plain(one)}" for one in self.queries) or "- none"
        return [f"{self.state} These queries were tried:", tried]

    def _differences(self) -> list[str]:
        """Each conflict as a table of pairs: who says what, and who says the contrary."""
        from foveal.research.report_view import ReportView  # which draws reports, so it imports this module

        parts = []
        for one in ReportView.of(self).conflicts:
            names = ("one side", "against it") if not one.preferred else (f"preferred: {one.preferred}", "against it")
            rows = [f"| {' | '.join(names)} |", "| --- | --- |"]
            rows += [f"| {' | '.join(_party(side) for side in pair)} |" for pair in one.pairs]
            parts += [plain(one.about), "\n".join(rows)]
            parts += [] if one.preferred else ["Nothing speaks for either."]
        return parts

    def _checks(self) -> str:
        rows = ["| claim | sources | verdict | quote |", "| --- | --- | --- | --- |"]
        for claim in self.claims:
            verdict = claim.verdict
            said = f"{verdict.label} ({verdict.score:.2f})" if verdict else "not checked"
            missing = f"; missing: {', '.join(verdict.missing)}" if verdict and verdict.missing else ""
            marks = self.numbered("".join(f"[[{key}]]" for key in claim.evidence)) or "none"
            quote = plain(_cut(one_line(verdict.quote))) if verdict else ""
            rows.append(f"| {plain(claim.text)} | {marks} | {said}{plain(missing)} | {quote} |")
        return "\n".join(rows)


def cited_keys(text: str) -> list[str]:
    """The keys that a text cites, in order, each once."""
    return list(dict.fromkeys(key for found in KEYS.finditer(text) for key in re.findall(r"e\d+", found[1])))


def names_of(source: SourceRecord) -> tuple[str, ...]:
    """What a source is known by: where two records share one of these they are one source."""
    return tuple(dict.fromkeys((*source.identities, source.url)))


def _cut(quote: str) -> str:
    """A quote as a table's cell holds it; that it goes on is shown."""
    return quote if len(quote) <= LONGEST_CELL else f"{quote[:LONGEST_CELL].rpartition(' ')[0]} …"


def _party(side: Quote | None) -> str:
    """A cell of a pair: who, when, and what in their own words."""
    if side is None:
        return ""
    mark = f" [{side.number}]" if side.number else ""
    return f"{plain(side.source.title)} ({side.dated}){mark}: “{plain(side.text)}”"


def _entry(numbered: tuple[int, SourceRecord]) -> str:
    number, source = numbered
    authors = f"{plain(', '.join(source.authors[:6]))}. " if source.authors else ""
    date = source.published_at[:10] if source.published_at else "no date"
    licence = f" {plain(source.licence)}." if source.licence else ""
    return f"{number}. {authors}{plain(source.title)} ({date}).{licence} <{address(source.url)}>"


def _experiment(one: Mapping[str, Any]) -> str:
    code, output = str(one.get("code", "")), str(one.get("output", ""))
    longest = max(map(len, re.findall("~+", code + output)), default=0)
    fence = "~" * max(3, longest + 1)  # nothing of what was run, or printed, ends its own block
    parts = [f"{fence}python\n{code}\n{fence}", f"{fence}\n{output}\n{fence}"]
    parts.insert(0, f"It was {one.get('status', 'not run')}, with the seed {one.get('seed', 0)}.")
    if review := one.get("review"):
        said = [*review.get("strengths", ()), *review.get("weaknesses", ())]
        parts.append(f"Reviewed: {review.get('score')} of 10. {plain(' '.join(map(str, said)))}".strip())
    return "\n\n".join(parts)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value is of a field's kind."""
    if kind.startswith("tuple"):
        return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 50
    return isinstance(value, str)


def _is_day(value: Any) -> bool:
    """Whether a value is "", or a day that compares as its text does."""
    try:
        return value == "" or bool(date.fromisoformat(value).isoformat() == value)
    except (TypeError, ValueError):
        return False


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _as_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value
