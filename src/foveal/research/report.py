"""A report: sections whose every mark leads to stored evidence, with what was checked, what conflicts, what is missing.

    report.to_markdown()                 numbers for keys, bibliography, table of checks, conflicts, "Not covered"
    Report.of_ledger(report.ledger())    the same report: with its ledger anybody can check it again, without a network

What it consists of is in report_parts.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from foveal.errors import InputError
from foveal.research.answers import UNREAD
from foveal.research.evidence import Claim, Evidence, SourceRecord
from foveal.research.markdown import address, one_line, plain
from foveal.research.report_parts import Brief as Brief
from foveal.research.report_parts import Conflict, ReportParts, Section, cited_keys
from foveal.research.report_view import Quote, ReportView
from foveal.research.turning import turning_of

_ADJACENT = re.compile(r"\[\[[^\]]*\]\](?:\s*\[\[[^\]]*\]\])*")
FORMAT = 1
LONGEST_CELL = 300
"""Characters of a quote in the table of checks."""


@dataclass(frozen=True, kw_only=True)
class Report(ReportParts):
    """A finished, or partial, report."""

    @cached_property
    def turning(self) -> Section | None:
        """What would change the answer (turning.py); None where nothing is known."""
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
            parts += ["## Sources", "\n".join(map(self._entry, self.bibliography.items()))]
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
        parts = []
        for one in ReportView.of(self).conflicts:
            names = ("one side", "against it") if not one.preferred else (f"preferred: {one.preferred}", "against it")
            rows = [f"| {' | '.join(names)} |", "| --- | --- |"]
            rows += [f"| {' | '.join(_party(side) for side in pair)} |" for pair in one.pairs]
            parts += [plain(one.about), "\n".join(rows)]
            parts += [one.weighed]
        return parts

    def _entry(self, numbered: tuple[int, SourceRecord]) -> str:
        number, source = numbered
        authors = f"{plain(', '.join(source.authors[:6]))}. " if source.authors else ""
        date = source.published_at[:10] if source.published_at else "no date"
        licence = f" {plain(source.licence)}." if source.licence else ""
        unread = f" *{UNREAD}*" if number in self.unread else ""
        return f"{number}. {authors}{plain(source.title)} ({date}).{licence} <{address(source.url)}>{unread}"

    def _checks(self) -> str:
        rows = ["| claim | sources | verdict | quote |", "| --- | --- | --- | --- |"]
        for claim in self.claims:
            verdict = claim.verdict
            said = f"{verdict.label} ({verdict.score:.2f})" if verdict else "not checked"
            lacking = f"; {verdict.lacking}" if verdict and verdict.lacking else ""
            marks = self.numbered("".join(f"[[{key}]]" for key in claim.evidence)) or "none"
            quote = plain(_cut(one_line(verdict.quote))) if verdict else ""
            rows.append(f"| {plain(claim.text)} | {marks} | {said}{plain(lacking)} | {quote} |")
        return "\n".join(rows)


def _cut(quote: str) -> str:
    """A quote as a table's cell holds it; that it goes on is shown."""
    return quote if len(quote) <= LONGEST_CELL else f"{quote[:LONGEST_CELL].rpartition(' ')[0]} …"


def _party(side: Quote | None) -> str:
    """A cell of a pair: who, when, and what in their own words."""
    if side is None:
        return ""
    mark = f" [{side.number}]" if side.number else ""
    return f"{plain(side.source.title)} ({side.dated}){mark}: “{plain(side.text)}”"


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


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _as_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value
