"""What a run of deep research keeps in mind: its memory (memory.py), fed by what was read and asked for prompts.

    kept = KeptMemory(desk.once, board, count=model.count_tokens, encoder=encoder)
    kept.take_in("search 3", evidence, sources)                  # consolidated, updated, forgotten; told as an event
    kept.lines("Who owns the mill?", most=5, without=["e3"])     # what a prompt is told beside the evidence "e3"

Kept       what a search changed in the memory is a step (steps.py): a run that was killed takes the changes up again
Clock      counts searches, an hour each, and no time of day: so a run with kills in it remembers as one without
Model      none is asked. The texts taken in are summaries, which the model wrote already where one is given to that;
           a call for each passage would cost more than the memory saves
Source     the four operations of "Deep Research: A Systematic Survey" (arXiv 2512.02038), section 3.3
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

from foveal.models.chat import ChatModel
from foveal.research.board import Board
from foveal.research.evidence import Evidence, SourceRecord
from foveal.research.markdown import number_of
from foveal.research.memory import MemorySettings, RunMemory
from foveal.research.memory_consolidation import CITED, Count, cited_keys
from foveal.research.memory_edits import with_edits
from foveal.research.memory_facts import Fact
from foveal.research.memory_updating import Choice
from foveal.research.steps import digest
from foveal.research.verification_signals import stems
from foveal.types import Encoder

Once = Callable[[str, str, Callable[[ChatModel], Any]], Any]
"""A step: kind, key, work."""

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
"""Where a run's clock begins; no text is ever told it."""

TAKEN = 600
"""Characters of a summary, or of a passage without one, that are taken in."""

LINE = 240
"""Characters of a line of a prompt."""


class KeptMemory:
    """The memory of one run; `cited` are the keys of evidence that a live draft cites: they are never forgotten."""

    def __init__(
        self,
        once: Once,
        board: Board | None = None,
        *,
        count: Count,
        settings: MemorySettings | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """`once` does the steps of the run, `board` is told what changed."""
        self._once, self._board = once, board
        self._hours = 0
        self.memory = RunMemory(count=count, settings=settings, encoder=encoder, clock=self._now)
        self.cited: frozenset[str] = frozenset()
        self._taken: set[str] = set()

    def _now(self) -> datetime:
        return BEGINNING + timedelta(hours=self._hours)

    # -- in -----------------------------------------------------------------------------------------------------------

    def take_in(self, name: str, evidence: Sequence[Evidence], sources: Mapping[str, SourceRecord]) -> None:
        """Remember what the search of that name found, but for what is remembered already."""
        new = [one for one in evidence if one.key not in self._taken]
        if not new:
            return
        self._hours += 1
        self._taken |= {one.key for one in new}
        texts = [(one.key, _text(one), (sources[one.source].published_at or "")[:10]) for one in new]
        key = f"memory {name} {digest(texts, sorted(self.cited))}"
        row = self._once("note", key, lambda _: self._changed(texts))
        self.memory.take(row["changes"])
        if self._board is not None and name not in self._board.state.memory:
            self._board.tell("memory", name=name, **row["told"])

    def _changed(self, texts: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
        """Change the memory by texts (key of the evidence, text, date or ""), and say what changed."""
        memory, before = self.memory, self.memory.to_row()
        deleted = self._edited()
        done: list[tuple[Fact, Choice]] = []
        for key, text, date in texts:
            at = datetime.fromisoformat(date).replace(tzinfo=UTC) if date else None
            done += memory.consolidate(text, source=key, at=at, undated=at is None)
        gone = memory.forget(cited=self.cited)
        changes = memory.changes_since(before) | ({"deleted": deleted} if deleted else {})
        return {"changes": changes, "told": _told(before, changes, done, gone, memory, len(texts))}

    def _edited(self) -> list[str]:
        """Make a person's changes, again where they are made already; the keys of facts that are deleted."""
        edits = self._board.state.edits if self._board is not None else []
        with_edits(self.memory, edits)
        return [one["fact"] for one in edits if one["edit"] == "delete"]

    # -- out ----------------------------------------------------------------------------------------------------------

    def beside(self, own: list[str], question: str, *, most: int, without: Collection[str] = ()) -> list[str]:
        """Lines of evidence, and below them what the memory has on the question: at most so many in all."""
        own = own[:most]
        left = most - len(own)
        return [*own, *self.lines(question, most=left, without=without)] if left else own

    def lines(self, question: str, *, most: int, without: Collection[str] = (), use: bool = True) -> list[str]:
        """At most so many lines on a question, without marks, and without those of the evidence `without`.

        Facts and notes by turns, those with words of the question, the best first. `use` counts as a use of the facts
        that are recalled; where threads ask at once, it must not.
        """
        asked, own = set(stems(question)), set(without)
        facts = [one for one in self.memory.recall(question, k=2 * most, use=use) if one.source not in own]
        notes = [one for one in self.memory.notes.shown.splitlines() if not set(cited_keys(one)) & own]
        near = {note: (len(asked & set(stems(note))), place) for place, note in enumerate(notes)}
        best = sorted(near, key=lambda note: near[note], reverse=True)  # the newest first among equals
        told = [one.line for one in facts if asked & set(stems(" ".join(one.triple)))]
        turns = zip_longest(told, [note for note in best if near[note][0]])
        return [_plain(one) for pair in turns for one in pair if one][:most]

    def marked(self, question: str, *, tokens: int, keys: Collection[str]) -> list[str]:
        """Lines of at most `tokens` on a question, with the marks of `keys` and no others."""
        told = self.memory.context(question, tokens=tokens).splitlines()
        return [CITED.sub(lambda found: found[0] if found[1] in keys else "", one).strip() for one in told]


def _text(one: Evidence) -> str:
    """What evidence says, without marks: a page that writes them cites nothing of ours."""
    return " ".join(CITED.sub(" ", one.summary or one.passage.text).split())[:TAKEN]


def _plain(line: str) -> str:
    return " ".join(CITED.sub("", line).split())[:LINE]


def _told(
    before: Mapping[str, Any],
    changes: Mapping[str, Any],
    done: Sequence[tuple[Fact, Choice]],
    gone: Sequence[Fact],
    memory: RunMemory,
    texts: int,
) -> dict[str, Any]:
    """What changed, in lines for people."""
    known = {row["key"] for row in before["facts"]}
    held = {one.key: one for one in (*memory.facts, *gone)}
    added = [held[row["key"]] for row in changes["facts"] if row["key"] not in known]
    old = {row["key"]: row["superseded_by"] for row in before["facts"]}
    ended = [one for one in held.values() if one.superseded_by and one.superseded_by != old.get(one.key, "")]
    return {
        "texts": texts,
        "added": [one.line for one in added],
        "superseded": [[one.line, held[one.superseded_by].line] for one in ended if one.superseded_by in held],
        "known": sum(choice.operation == "NOOP" for _, choice in done),
        "conflicts": [row["why"] for row in changes["conflicts"]],
        "forgotten": [one.line for one in gone],
        "compacted": len(changes["notes"]["prose"]) < len(before["notes"]["prose"]) + texts,
        "facts": len(memory.facts),
        "notes": len(memory.notes.prose),
        "tokens": memory.count(memory.notes.shown),
    }


@dataclass(frozen=True, slots=True)
class MemoryShown:
    """What a run kept in mind, for people; of superseded facts the old line and the new one."""

    searches: int
    texts: int
    facts: int
    known: int
    compacted: int
    added: tuple[str, ...]
    superseded: tuple[tuple[str, str], ...]
    conflicts: tuple[str, ...]
    forgotten: tuple[str, ...]

    @classmethod
    def of(cls, rows: Mapping[str, Mapping[str, Any]]) -> MemoryShown | None:
        """Of a run's state (`RunState.memory`); None where it kept nothing."""
        if not rows:
            return None
        told = list(rows.values())

        def every(name: str) -> list[Any]:
            return [one for row in told for one in row[name]]

        return cls(
            searches=len(told), texts=sum(row["texts"] for row in told), facts=told[-1]["facts"],
            known=sum(row["known"] for row in told), compacted=sum(row["compacted"] for row in told),
            added=tuple(map(_plain, every("added"))),
            superseded=tuple((_plain(old), _plain(new)) for old, new in every("superseded")),
            conflicts=tuple(every("conflicts")), forgotten=tuple(map(_plain, every("forgotten"))),
        )  # fmt: skip

    @property
    def counted(self) -> str:
        """In one line."""
        parts = [
            f"{number_of(self.texts, 'passage')} of {number_of(self.searches, 'search', 'searches')} taken in",
            f"{number_of(self.facts, 'fact')} held",
        ]
        parts += [f"{self.known} said again"] if self.known else []
        parts += [f"notes compacted {number_of(self.compacted, 'time')}"] if self.compacted else []
        for lines, name in (
            (self.superseded, "superseded"),
            (self.conflicts, "in conflict"),
            (self.forgotten, "forgotten"),
        ):
            parts += [f"{len(lines)} {name}"] if lines else []
        return ", ".join(parts)

    @property
    def parts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Headings and lines, those that have any."""
        ended = tuple(f"{old} → {new}" for old, new in self.superseded)
        named = (
            ("Superseded", ended), ("In conflict", self.conflicts), ("Forgotten", self.forgotten),
            ("Facts taken in", self.added),
        )  # fmt: skip
        return tuple((name, lines) for name, lines in named if lines)

    def text(self) -> str:
        """As plain text."""
        body = "".join(f"\n{name}\n" + "".join(f"  {line}\n" for line in lines) for name, lines in self.parts)
        return f"{self.counted}.\n{body}"
