"""The memory of a run: four operations over facts and notes, in a window that never grows.

    memory = RunMemory(count=chat.count_tokens, encoder=load_encoder(), model=chat)
    memory.consolidate("In May 2021 the owner of the mill was Ada Hart.", source="e3")    # facts, ADD, UPDATE …
    memory.recall("Who owns the mill?")                          # what holds now; at=… what held then; counts as a use
    memory.context("Who owns the mill?", tokens=1200)            # the part of a prompt: summary, open questions, facts
    memory.forget(cited={"e3"}); memory.pin("m1"); memory.delete("m2")

consolidation  memory_consolidation.py    indexing  memory_lookup.py    updating  memory_updating.py
forgetting     memory_forgetting.py       facts     memory_facts.py

Source    "Deep Research: A Systematic Survey" (arXiv 2512.02038), section 3.3, whose four operations these are
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from foveal import faults
from foveal.errors import InputError
from foveal.models.chat import ChatModel
from foveal.research import memory_forgetting as forgetting
from foveal.research.memory_consolidation import FULL, Count, Notes, compacted, extracted, fills
from foveal.research.memory_facts import Conflict, Fact
from foveal.research.memory_lookup import LookupSettings, lookup, said_plainly
from foveal.research.memory_updating import SIMILAR, Choice, Chooser, Choosing, applied, by_rule
from foveal.types import Encoder

RELEVANCE = 4.0
"""Weight of relevance in a run's lookups. With 1, the paper's, the newest fact on another matter comes before the right
one of last month (`foveal bench report-memory` measures both)."""


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """How large a memory may be."""

    window: int = 4096  # tokens of the model that reads it
    full: float = FULL  # share of the window above which prose is compacted
    most: int = 2000  # facts; the rest is forgotten
    lookup: LookupSettings = field(default_factory=lambda: LookupSettings(relevance=RELEVANCE))

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.window < 256 or not 0 < self.full < 1 or self.most < 1:
            raise InputError(
                f"{self} needs a window of 256 tokens or more, a share between 0 and 1, and a fact or more."
            )


class RunMemory:
    """Facts and notes of one run. `clock` gives the time; the encoder and the model are asked where they are given."""

    def __init__(
        self,
        *,
        count: Count,
        settings: MemorySettings | None = None,
        encoder: Encoder | None = None,
        model: ChatModel | None = None,
        clock: Callable[[], datetime] = faults.now,
    ) -> None:
        """An empty memory; `count` gives the tokens of a text."""
        self.settings = settings or MemorySettings()
        self.count, self.encoder, self.model, self.clock = count, encoder, model, clock
        self.facts: list[Fact] = []
        self.notes = Notes()
        self.conflicts: list[Conflict] = []
        self._choose: Chooser = Choosing(model) if model else by_rule
        self._made = 0
        self._vectors: dict[str, Any] = {}

    # -- consolidation and updating -----------------------------------------------------------------------------------

    def consolidate(
        self,
        text: str,
        *,
        source: str = "",
        importance: float = 5.0,
        at: datetime | None = None,
        undated: bool = False,
    ) -> list[tuple[Fact, Choice]]:
        """Turn a text into facts and notes; the facts, and what was done for each. `at` is when the text says it
        (default: now); of an `undated` one nobody knows, and its facts have the dates that they name, or none."""
        now = self.clock()
        said_at = None if undated else at or now
        found = extracted(text, source=source, now=said_at, importance=importance, model=self.model)
        self.notes = self.notes.with_text(text, source).asking(*found.open_questions)
        done = [(one, self.add(replace(one, created=now))) for one in found.facts]
        self._compact()
        return done

    def add(self, fact: Fact) -> Choice:
        """Hold a fact against the most similar ones, and ADD, UPDATE, DELETE, or do nothing."""
        now = self.clock()
        self._made += 1
        new = replace(fact, key=f"m{self._made}", created=fact.created or now)
        choice = self._choose(new, self._similar(new, now))
        self.facts, raised = applied(choice, new, self.facts, now=now)
        self.conflicts += raised
        return choice

    def _similar(self, new: Fact, now: datetime) -> list[Fact]:
        """All facts on the same matter, and of the others the most similar, `SIMILAR` or more in all."""
        same = [one for one in self.facts if one.about == new.about]
        others = [one for one in self.facts if one.about != new.about]
        if self.model is None or len(same) >= SIMILAR:  # the rule looks at the same matter alone
            return same
        near = lookup(
            others, said_plainly(new), now=now, k=SIMILAR - len(same), settings=LookupSettings(recency=0, importance=0)
        )
        return [*same, *(one for one, _ in near)]

    def _compact(self) -> None:
        window, count = self.settings.window, self.count
        if fills(self.notes, (), count, window) > self.settings.full:
            self.notes, more = compacted(
                self.notes, self.facts, tokens=int(window * self.settings.full / 2), count=count, model=self.model
            )
            for one in more:
                self._made += 1
                self.facts.append(replace(one, key=f"m{self._made}", created=self.clock()))

    # -- lookup -------------------------------------------------------------------------------------------------------

    def recall(self, question: str, *, at: datetime | None = None, k: int = 5, use: bool = True) -> list[Fact]:
        """What fits a question best: of what holds now, or of what held `at` a time. Each is used once more, but for
        who only looks."""
        now = self.clock()
        among = [one for one in self.facts if one.valid_to is None] if at is None else self.facts
        found = self._found(among, question, at, k, now)
        keys = {one.key for one in found} if use else ()
        self.facts = [one.used(now) if one.key in keys else one for one in self.facts]
        return found

    def context(self, question: str, *, tokens: int | None = None, at: datetime | None = None) -> str:
        """What a prompt is told, of at most `tokens` (usually 0.6 of the window): the facts that fit, then notes.

        Facts may take two thirds; the notes' newest lines take what is left.
        """
        room = tokens or int(self.settings.window * self.settings.full)
        found = self._found(self.facts, question, at, min(60, max(1, len(self.facts))), self.clock())
        told = _within((one.line for one in found), room * 2 // 3, self.count)
        rest = room - sum(self.count(one) + 1 for one in told)
        notes = _within(reversed(self.notes.shown.splitlines()), rest, self.count)
        return "\n".join([*told, *reversed(notes)])

    def _found(self, among: Sequence[Fact], question: str, at: datetime | None, k: int, now: datetime) -> list[Fact]:
        self._encode(among)
        ranked = lookup(
            among,
            question,
            now=now,
            at=at,
            k=k,
            encoder=self.encoder,
            vectors=self._vectors,
            settings=self.settings.lookup,
        )
        return [one for one, _ in ranked]

    def _encode(self, facts: Sequence[Fact]) -> None:
        """Vectors of the facts that have none yet."""
        new = [one for one in facts if one.key not in self._vectors]
        if self.encoder is not None and new:
            made = self.encoder.encode([said_plainly(one) for one in new])
            self._vectors.update(zip((one.key for one in new), made, strict=True))

    # -- forgetting, and the user -------------------------------------------------------------------------------------

    def forget(self, *, cited: Collection[str] = (), most: int | None = None) -> list[Fact]:
        """Cut the memory to `most` facts; what went. `cited` are the keys that live claims cite."""
        limit = self.settings.most if most is None else most
        in_conflict = {key for one in self.conflicts for key in (one.one, one.other)}
        held = {one.key for one in self.facts if one.key in in_conflict and self._partner_is_cited(one, cited)}
        self.facts, gone = forgetting.forgotten(self.facts, most=limit, cited={*cited, *held}, now=self.clock())
        for one in gone:
            self._vectors.pop(one.key, None)
        return gone

    def _partner_is_cited(self, fact: Fact, cited: Collection[str]) -> bool:
        partners = {
            one.other if one.one == fact.key else one.one for one in self.conflicts if fact.key in (one.one, one.other)
        }
        return any(forgetting.is_cited(one, cited) for one in self.facts if one.key in partners)

    def pin(self, key: str, *, pin: bool = True) -> None:
        """Keep a fact whatever happens, or let it go again. InputError: there is no such fact."""
        self.facts = forgetting.pinned(self.facts, key, pin=pin)

    def delete(self, key: str, *, cited: Collection[str] = ()) -> None:
        """Take a fact out, as the user asked. InputError: there is no such fact, or a live claim cites it."""
        self.facts = forgetting.without(self.facts, key, cited)
        self.conflicts = [one for one in self.conflicts if key not in (one.one, one.other)]

    # -- kept ---------------------------------------------------------------------------------------------------------

    def to_row(self) -> dict[str, Any]:
        """Plain values: facts, notes, conflicts."""
        raised = [asdict(one) | {"raised": one.raised.isoformat()} for one in self.conflicts]
        notes = {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self.notes).items()}
        return {"facts": [one.to_row() for one in self.facts], "notes": notes, "conflicts": raised, "made": self._made}

    def load_row(self, row: dict[str, Any]) -> None:
        """Take the place of what is remembered by what `to_row` gave."""
        self.facts, self.conflicts, self._vectors = [], [], {}
        self.take(row | {"gone": []})

    def changes_since(self, before: dict[str, Any]) -> dict[str, Any]:
        """What is another than it was in a `to_row` of earlier: plain values, for `take`."""
        row, old = self.to_row(), {one["key"]: one for one in before["facts"]}
        kept = {one["key"] for one in row["facts"]}
        return row | {
            "facts": [one for one in row["facts"] if old.get(one["key"]) != one],
            "gone": [key for key in old if key not in kept],
            "conflicts": [one for one in row["conflicts"] if one not in before["conflicts"]],
        }

    def take(self, changes: dict[str, Any]) -> None:
        """Make the changes of `changes_since`; those that were made already change nothing."""
        notes, gone = changes["notes"], set(changes["gone"])
        new = {one["key"]: Fact.from_row(one) for one in changes["facts"]}
        kept = [new.pop(one.key, one) for one in self.facts if one.key not in gone]
        self.facts = [*kept, *new.values()]
        self.notes = Notes(notes["summary"], tuple(notes["open_questions"]), tuple(notes["prose"]))
        raised = [Conflict(**one | {"raised": datetime.fromisoformat(one["raised"])}) for one in changes["conflicts"]]
        self.conflicts += [one for one in raised if one not in self.conflicts]
        deleted = set(changes.get("deleted", ()))
        self.conflicts = [one for one in self.conflicts if not deleted & {one.one, one.other}]
        self._made = int(changes["made"])
        for key in gone:
            self._vectors.pop(key, None)


def _within(best_first: Any, tokens: int, count: Count) -> list[str]:
    """The lines that fit, best first."""
    chosen: list[str] = []
    left = tokens
    for one in best_first:
        cost = count(one) + 1
        if cost <= left:
            chosen.append(one)
            left -= cost
    return chosen
