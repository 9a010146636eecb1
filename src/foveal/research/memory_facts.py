"""What a run remembers: facts, each said of one time, and how they are read from a sentence without a model.

    Fact(subject="The mill", relation="owner", object="Ada Hart", source="e3", valid_from=…)
    said("In May 2021 the owner of the mill was Ada Hart.")     # facts by rule, where a sentence has a plain form

Time       `valid_from` is when it holds from, `valid_to` until when (None: still); `created` and `last_used` are of the
           memory. A fact that another one replaced keeps its place with `valid_to` and `superseded_by`: history
Strength   how fast it is forgotten: 1, and 1 more each time that it is used (forgetting.py's S)
Importance 1 to 10, as in "Generative Agents" (Park et al., 2023)
Rules      "the R of S is O", "S's R is O", "S's R changed to O", "O is the R of S", "O took over as R of S"; a
           date at the head or the end of the sentence is the fact's. Other forms need a model (consolidation.py)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.scripts import word_runs
from foveal.research.anchors import anchors
from foveal.research.quantities import Anchor
from foveal.retrieval.terms import terms
from foveal.text.units import sentences

MOST_IMPORTANT = 10.0

_BE = r"(?:is|was|are|were|became|becomes|has been|had been|changed to|went to|rose to|fell to|stood at|stands at)"
_MADE = r"(?:(?:was|is) (?:appointed|named|elected|made)|took over as|is|was|became)"
_SUBJECT, _RELATION, _OBJECT = r"(?P<s>.{2,80}?)", r"(?P<r>[\w' -]{2,60}?)", r"(?P<o>.{1,120}?)"
_RULES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:the )?{_RELATION} (?:of|for|at|in) {_SUBJECT} (?:now |then |still )?{_BE} {_OBJECT}$",
        rf"^{_SUBJECT}(?:'s|’s) {_RELATION} (?:now |then |still )?{_BE} {_OBJECT}$",
        rf"^{_OBJECT} {_MADE} (?:the )?(?:new )?{_RELATION} of {_SUBJECT}$",
    )
)
OPEN = re.compile(
    r"\?[^\w?]*\Z|\b(?:is|are|remains?) (?:not (?:yet )?known|unknown|unclear|open|disputed)\b", re.IGNORECASE
)
"""A sentence that asks, or says that nobody knows: no fact."""

_LED_TO = re.compile(r"(?:as of|since|from|on|in|by|at)\Z", re.IGNORECASE)
"""What leads to a date at the end of a sentence."""

_POINTING = re.compile(
    r"^(?:this|these|that|those|it|its|they|their|we|our|he|his|she|her|such|each|both|there|here)\b"
    r"|^(?:(?:the|a|an) )?(?:present |current )?"
    r"(?:study|studies|paper|article|review|trial|work|report|analysis|authors?|results?|data)$",
    re.IGNORECASE,
)
"""A subject that says which one only where it stands: beside another source's it would be taken for the same."""

_EDGES = " ,;:.\"“”'()"
_AS_OF = re.compile(r"^(?:as of|since|from|on|in|by|at)\s+", re.IGNORECASE)
_HEDGES = re.compile(r"^(?:now|then|later|today|however|meanwhile|reportedly|notably|also)[, ]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that a source says: subject, relation, object, from when to when. `key` is the memory's own."""

    subject: str
    relation: str
    object: str
    source: str = ""  # key of the evidence, or of the source
    key: str = ""
    text: str = ""  # the sentence that says it
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    created: datetime | None = None
    last_used: datetime | None = None
    strength: float = 1.0
    importance: float = 5.0
    pinned: bool = False
    superseded_by: str = ""  # key of the fact that took its place

    def __post_init__(self) -> None:
        """InputError: a part is empty, or the importance is not 1 to 10."""
        if not (self.subject.strip() and self.relation.strip() and self.object.strip()):
            raise InputError(f"A fact needs subject, relation and object; it got {self.triple!r}.")
        if not 1 <= self.importance <= MOST_IMPORTANT:
            raise InputError(f"A fact's importance is {self.importance}; it lies in 1 to {MOST_IMPORTANT:g}.")

    @property
    def triple(self) -> tuple[str, str, str]:
        """Subject, relation, object."""
        return self.subject, self.relation, self.object

    @property
    def about(self) -> tuple[str, str]:
        """What it is said of, to compare: two facts about the same may contradict each other."""
        return named(self.subject), named(self.relation)

    @property
    def line(self) -> str:
        """The fact as one line for a prompt, with its time and source."""
        since = f" from {self.valid_from:%Y-%m-%d}" if self.valid_from else ""
        until = f" to {self.valid_to:%Y-%m-%d}" if self.valid_to else ""
        source = f" [[{self.source}]]" if self.source else ""
        return f"{self.subject}: {self.relation} = {self.object}{since}{until}{source}"

    def holds_at(self, moment: datetime) -> bool:
        """Whether the fact was valid then; one without a beginning always was."""
        return (self.valid_from is None or self.valid_from <= moment) and (
            self.valid_to is None or moment < self.valid_to
        )

    def used(self, now: datetime) -> Fact:
        """The fact after one more use."""
        return replace(self, last_used=now, strength=self.strength + 1)

    def to_row(self) -> dict[str, Any]:
        """Plain values; times in ISO format."""
        return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in asdict(self).items()}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Fact:
        """The fact of `to_row`."""
        times = ("valid_from", "valid_to", "created", "last_used")
        return cls(**row | {name: datetime.fromisoformat(row[name]) if row.get(name) else None for name in times})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two facts on the same at one time that cannot both hold; both stay, with their dates."""

    one: str  # keys
    other: str
    why: str
    raised: datetime


@lru_cache(maxsize=16384)
def named(text: str) -> str:
    """A name to compare: lower case, no article, single spaces."""
    return " ".join(word for word in word_runs(text.casefold()) if word not in ("the", "a", "an"))


def said(text: str, *, source: str = "", created: datetime | None = None, importance: float = 5.0) -> list[Fact]:
    """The facts that the rules find in a text, each with the date that its sentence names (else with `created`)."""
    found = (_of_sentence(text[start:end].strip(), source, created, importance) for start, end in sentences(text))
    return [one for one in found if one]


def _of_sentence(sentence: str, source: str, created: datetime | None, importance: float) -> Fact | None:
    rest, when = without_date(re.sub(r"\[\[[^\]]{0,1000}+\]\]", "", sentence))
    if OPEN.search(rest):
        return None
    rest = _HEDGES.sub("", rest)
    for rule in _RULES:
        if found := rule.match(rest):
            parts = {name: one.strip(_EDGES) for name, one in found.groupdict().items()}
            if not all(parts.values()) or _POINTING.match(parts["s"]):
                continue
            if len(terms(parts["r"])) in range(1, 6):
                return Fact(
                    subject=_cleaned(parts["s"]), relation=_cleaned(parts["r"]), object=parts["o"], source=source,
                    text=sentence, valid_from=when or created, created=created, importance=importance,
                )  # fmt: skip
    return None


def without_date(sentence: str) -> tuple[str, datetime | None]:
    """A sentence without the date at its head or end, and that date."""
    body = sentence.strip().rstrip(".!").strip()
    for one in anchors(body):
        moment = moment_of(one)
        if moment is None:
            continue
        before, after = body[: one.start], body[one.end :]
        if not _AS_OF.sub("", before).strip(_EDGES):
            return after.strip(_EDGES), moment
        if not after.strip(_EDGES):
            return _LED_TO.sub("", before.rstrip()).rstrip(", "), moment
    return body, None


def moment_of(one: Anchor) -> datetime | None:
    """The beginning of the day, month or year that an anchor names; None where it names none."""
    year, month, day = one.date
    if (
        one.kind == "number"
        and not one.unit
        and not one.rounded
        and one.value.is_integer()
        and 1000 <= one.value <= 2100
    ):
        return datetime(int(one.value), 1, 1, tzinfo=UTC) if one.text.isdigit() else None
    if one.kind != "date" or not year:
        return None
    try:
        return datetime(year, month or 1, day or 1, tzinfo=UTC)
    except ValueError:
        return None


def _cleaned(text: str) -> str:
    return re.sub(r"^(?:the|a|an|new|current|former) ", "", text, flags=re.IGNORECASE).strip()


def lines(facts: Sequence[Fact]) -> str:
    """Facts as lines of a prompt."""
    return "\n".join(one.line for one in facts)
