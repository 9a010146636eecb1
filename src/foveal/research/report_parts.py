"""What a report consists of, and what follows from that alone: sections, conflicts, the brief, numbers of sources.

    ReportParts ── Section (Markdown; [[e7]] cites the evidence "e7"), Conflict, Brief
                ── SourceRecord, Evidence, Claim with its Verdict     (evidence.py)

Forms draw these (report_blocks.py, report_view.py, turning.py); report.py is these with Markdown and a ledger.

Numbers   one for each source, in the order in which the text first cites it; two records that share an arXiv id, a DOI
          or a canonical address are one source
Stage     of the survey's three (arXiv 2512.02038, section 2): what a run was allowed to do
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from foveal.errors import InputError
from foveal.research.answers import STOPPED
from foveal.research.evidence import Claim, Evidence, SourceRecord

KEYS = re.compile(r"\[\[\s*+(e\d+(?:\s*+[,;]\s*+e\d+)*)\s*+\]\]")
STAGES = {1: "Agentic Search", 2: "Integrated Research", 3: "Full-stack AI Scientist"}
CANNOT = "This cannot be answered from these sources."
LEAD = "In short"
"""The heading of the short answer at a report's head."""

LEFT_OUT = "Left out, as nothing bears it out: "
"""What stands before a sentence that is "not covered" because nothing bore it out."""

NOT_SEARCHED = "Not searched to the end: "
"""What stands before a source that did not answer."""

UNREAD = "Not written by the model: "
"""What stands before how many of its answers could not be read."""

ABOUT_ITSELF = (LEFT_OUT, NOT_SEARCHED, UNREAD)
"""What is "not covered", and is nothing that was asked for."""

FORMATS = {"": "Paragraphs", "points": "Points: each statement an item of a list"}
"""How a report is written: what a brief calls it, and what people are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a report is judged against."""

    goal: str
    must_cover: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    since: str = ""  # ISO 8601 date, the first one that counts; "": any
    until: str = ""
    language: str = ""  # "": that of the question
    format: str = ""  # a key of FORMATS
    words: int = 1200  # length of the report

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Brief:
        """The brief of plain values. InputError lists the fields that cannot be used."""
        known = {name: cls.__dataclass_fields__[name].type for name in cls.__dataclass_fields__}
        wrong = [name for name in row if name not in known]
        wrong += [name for name, kind in known.items() if name in row and not _fits(row[name], str(kind))]
        wrong += [name for name in ("since", "until") if not _is_day(row.get(name, ""))]
        wrong += ["format"] if str(row.get("format", "")) not in FORMATS else []
        if not str(row.get("goal", "")).strip():
            wrong.append("goal")
        if not wrong and row.get("since") and row.get("until") and row["since"] > row["until"]:
            wrong += ["since", "until"]
        if wrong:
            raise InputError(
                f"The brief cannot be used; wrong or unknown: {', '.join(dict.fromkeys(wrong))}. It has a goal; lists "
                "must_cover and out_of_scope; since and until as 2024-01-31; language; format: "
                f"{', '.join(filter(None, FORMATS))}; and words, 50 or more."
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
class ReportParts:
    """What a report consists of. `sections` is empty where nothing was found: then `queries` were tried."""

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

    def sources_of(self, claim: Claim) -> dict[str, SourceRecord]:
        """Of the evidence that a claim cites, by its key, where it is from; without what is not there."""
        records = {one.key: one for one in self.sources}
        cited = {key: self.by_key[key].source for key in claim.evidence if key in self.by_key}
        return {key: records[source] for key, source in cited.items() if source in records}

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
    def unread(self) -> frozenset[int]:
        """Numbers of sources of which words of the search are cited, as their pages could not be read."""
        return frozenset(number for key, number in self.numbers.items() if self.by_key[key].unread)


def cited_keys(text: str) -> list[str]:
    """The keys that a text cites, in order, each once."""
    return list(dict.fromkeys(key for found in KEYS.finditer(text) for key in re.findall(r"e\d+", found[1])))


def names_of(source: SourceRecord) -> tuple[str, ...]:
    """What a source is known by: where two records share one of these they are one source."""
    return tuple(dict.fromkeys((*source.identities, source.url)))


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
