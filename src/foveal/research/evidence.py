"""What a report stands on: sources, the passages taken from them, and the claims that cite these.

    SourceRecord ── Evidence (a passage of one source, and what it says on a question)
                        ── Claim (a sentence of the report, by the keys of its evidence) ── Verdict (verification.py)

Keys are short and made by us ("e7", "s2"): a writer may cite an evidence's key and nothing else, so that no source can
be invented. All are plain values: to_row and from_row carry them through the events of a run.

Source    "Deep Research: A Systematic Survey" (arXiv 2512.02038), sections 3.2 to 3.4; the evidence scored from 0 to 10
          is PaperQA2's
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from foveal.types import Passage, Span

Stance = Literal["supports", "contradicts", "neutral"]
Trust = Literal["primary", "secondary", ""]  # a paper speaks for itself; what retells; not known
Label = Literal["supported", "partly", "unsupported", "contradicted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A source that was read: one text at one time."""

    key: str
    url: str  # where it was read: what a person can open; its canonical form is one of the identities
    title: str
    document_id: str
    revision: str  # SHA-256 of the text
    published_at: str | None = None  # ISO 8601
    dated_by: str = ""  # what says so: the page's metadata, arXiv, …; "" where there is no date, or nobody knows
    fetched_at: str | None = None
    authors: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()  # "arxiv:2512.02038", "doi:10.1000/182", canonical address: one shared, one source
    trust: Trust = ""
    licence: str = ""  # as the source states it: a short name ("CC BY 4.0"), else its words or address

    def to_row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> SourceRecord:
        """The record of `to_row`."""
        lists = {name: tuple(row.get(name, ())) for name in ("authors", "identities")}
        return cls(**row | lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A passage of a source, and what it says on a question."""

    key: str
    source: str  # key of its SourceRecord
    question: str
    passage: Passage
    summary: str = ""
    relevance: float = 0.0  # 0 … 10
    stance: Stance = "supports"
    url: str = ""  # where its text was read, if that is not the address of its source: another copy of one paper
    unread: bool = False  # whether the page could not be had: the passage is of what the search said of it

    def to_row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Evidence:
        """The evidence of `to_row`."""
        passage = row["passage"]
        return cls(**row | {"passage": Passage(Span(**passage["span"]), passage["text"], passage["heading"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether cited passages bear a claim out.

    `score` is higher the better they do, 0 … 1; `where` is the best place among them; `missing` are the numbers, dates
    and names of the claim that none of them holds, `left_out` a word of lack ("low", "loss of") that the cited sentence
    hangs on the claim's own words, `exchanged` two words whose roles are exchanged there ("A sued B", "B sued A"), and
    `misplaced` a name that stands there for another one.
    """

    label: Label
    score: float
    where: Span | None = None
    quote: str = ""
    missing: tuple[str, ...] = ()
    signals: tuple[tuple[str, float], ...] = ()  # name and value of each part of the score
    left_out: str = ""
    exchanged: tuple[str, ...] = ()
    misplaced: str = ""

    @property
    def lacking(self) -> str:
        """What claim and source do not share, for people; "" if nothing is known."""
        missing = f"not in the source: {', '.join(self.missing)}" if self.missing else ""
        left_out = f"the source says “{self.left_out}”" if self.left_out else ""
        exchanged = f"the other way round in the source: {', '.join(self.exchanged)}" if self.exchanged else ""
        misplaced = f"the source says that of another: {self.misplaced}" if self.misplaced else ""
        return "; ".join(filter(None, (missing, left_out, exchanged, misplaced)))

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Verdict:
        """The verdict of a claim's row."""
        where = Span(**row["where"]) if row["where"] else None
        signals = tuple((str(name), float(value)) for name, value in row["signals"])
        words = {name: tuple(row.get(name, ())) for name in ("missing", "exchanged")}
        return cls(**row | words | {"where": where, "signals": signals})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of a report, and the keys of the evidence that it cites."""

    text: str  # without marks
    evidence: tuple[str, ...]
    section: str = ""
    verdict: Verdict | None = None

    def to_row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Claim:
        """The claim of `to_row`."""
        verdict = Verdict.from_row(row["verdict"]) if row["verdict"] else None
        return cls(**row | {"evidence": tuple(row["evidence"]), "verdict": verdict})
