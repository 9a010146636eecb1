"""What a person changes in the memory of a run: facts that stay whatever happens, and facts that are wrong.

    remembered(RunState.of(runs.events(key))).facts      # what a run holds, by keys: m1, m2, …
    edit(runs, key, [("pin", "m3"), ("delete", "m2")])   # events of the run; they hold from its next search on

A run that goes on takes the memory up as its searches left it, so that no step is paid for twice; what a person changed
comes with the next search that it does. What a claim of the report cites cannot be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from foveal.errors import DatabaseError, InputError
from foveal.research.board import Board
from foveal.research.events import EventLog
from foveal.research.memory import RunMemory
from foveal.research.memory_facts import Fact
from foveal.research.state import RunState

if TYPE_CHECKING:
    from foveal.research.runs import Runs

EDITS = ("pin", "unpin", "delete")

Edit = tuple[str, str]
"""One of `EDITS`, and the key of a fact."""


def remembered(state: RunState) -> RunMemory:
    """The memory as a run has it now, a person's changes included."""
    memory = RunMemory(count=len)  # nothing is compacted here
    for step in state.steps.values():
        if step["step"] == "note" and str(step["key"]).startswith("memory "):
            memory.take(step["output"]["changes"])
    with_edits(memory, state.edits)
    return memory


def with_edits(memory: RunMemory, edits: Iterable[Mapping[str, Any]]) -> None:
    """Make changes anew; one of a fact that is not there any more is passed over."""
    for one in edits:
        with suppress(InputError):
            _make(memory, one["edit"], one["fact"])


def cited(state: RunState) -> frozenset[str]:
    """The keys of evidence that the report's claims cite."""
    return frozenset(key for claim in state.claims for key in claim.get("evidence", ()))


def edit(runs: Runs, key: str, edits: Sequence[Edit]) -> list[Fact]:
    """Change what a run remembers; its facts after that.

    InputError: there is no such fact, it is cited, the run kept no memory, or it goes on. UnknownRun: there is none.
    """
    _edited(RunState.of(runs.events(key)), edits)  # said before the run is held
    with runs.keep(key) as keeper:
        board = Board(EventLog(runs.events(key)), [keeper])
        done = board.state.done
        try:
            facts = _edited(board.state, edits)
            for what, fact in edits:
                board.tell("memory.edit", edit=what, fact=fact)
        finally:
            if done is not None:  # it is over as it was
                board.tell("done", **done)
    if keeper.failed:
        raise DatabaseError("The memory was not changed: the database did not take it. See the log for why.")
    return facts


def _edited(state: RunState, edits: Sequence[Edit]) -> list[Fact]:
    """The facts after some changes. InputError: one cannot be made."""
    if not state.memory:
        raise InputError("This run kept no memory. Reports do, unless the setting research.memory is off.")
    memory, held = remembered(state), cited(state)
    for what, fact in edits:
        _make(memory, what, fact, held)
    return memory.facts


def _make(memory: RunMemory, what: str, fact: str, held: frozenset[str] = frozenset()) -> None:
    if what not in EDITS:
        raise InputError(f"A memory takes no change called {what!r}. There are: {', '.join(EDITS)}.")
    if what == "delete":
        memory.delete(fact, cited=held)
    else:
        memory.pin(fact, pin=what == "pin")
