"""Steps: parts of a run that are done once, whatever happens in between.

    steps = Steps(board, model)
    found = steps.once("search", query, lambda model: rows_of(source.search(query, 5)))

A run of deep research is a program whose slow parts are steps. What a step gave is an event, on the disk before the run
goes on; a run that was killed is begun again from its first line, and each finished step gives what it gave before: it
asks no model, fetches nothing, and is not paid for twice. All else in the program follows from what steps gave, in an
order that does not depend on threads, so that a run with kills in it ends as one without. A search that did not come
through, and a page that could not be had, are tried once more by a run that goes on: the server may be back.

Kinds      clarify, plan, search, read, note, reflect, write, verify, experiment
Values     plain ones, as JSON holds them; a step that was cancelled or broken leaves nothing
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from foveal.errors import InputError
from foveal.models.chat import Cancel, ChatModel
from foveal.research.board import Board
from foveal.research.budget import Budget, Meter, Metered
from foveal.research.state import has_failed

KINDS = ("clarify", "plan", "search", "read", "note", "reflect", "write", "verify", "experiment")
Work = Callable[[ChatModel], Any]
"""A step's work: it is given the model by which its share of the budget is counted."""


class Steps:
    """The steps of one run; threads may do different ones at once."""

    def __init__(self, board: Board, model: ChatModel, cancel: Cancel | None = None) -> None:
        """`board` may hold the steps of a run that goes on; `model` is the run's own, metered; `cancel` stops its
        calls."""
        self.board, self.model, self.cancel = board, model, cancel
        self._again = {name for name, one in board.state.steps.items() if has_failed(one)}

    def once(self, kind: str, key: str, work: Work) -> Any:
        """What `work` gives, or gave before. InputError: no such kind, or a value that JSON does not hold."""
        if kind not in KINDS:
            raise InputError(f"No step is called {kind!r}. There are: {', '.join(KINDS)}.")
        if self.is_done(kind, key):
            return self.board.state.steps[step_name(kind, key)]["output"]
        self.board.tell("step.begun", step=kind, key=key)
        own, begun = Meter(Budget()), time.monotonic()
        output = _plain(work(Metered(self.model, own, self.cancel)), kind)
        used = own.used()
        forms = {"forms": own.forms, "unread": own.unread} if own.forms else {}
        self.board.tell(
            "step", step=kind, key=key, output=output, tokens=used["tokens"], calls=used["calls"],
            seconds=round(time.monotonic() - begun, 3), **forms,
        )  # fmt: skip
        self._again.discard(step_name(kind, key))
        return output

    def is_done(self, kind: str, key: str) -> bool:
        """Whether a step is over, and was not one that failed before this run."""
        name = step_name(kind, key)
        return name in self.board.state.steps and name not in self._again

    def used(self) -> dict[str, Any]:
        """What all steps took, of this run and of those before it: the same however often it was killed."""
        return used_by(self.board)


def digest(*parts: Any) -> str:
    """A short hash of what a step depends on, for its key: changed, it is another step."""
    return hashlib.sha256(
        json.dumps(parts, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
    ).hexdigest()[:12]


def step_name(kind: str, key: str) -> str:
    """The name of a step."""
    return f"{kind} {key}"


def used_by(board: Board) -> dict[str, Any]:
    """What the finished steps of a run took; of seconds in which several went on each counts once."""
    with board.lock:
        done = list(board.state.steps.values())
        spans = [(at - one["seconds"], at) for one, at in zip(done, board.state.ended.values(), strict=True)]
    kinds = [one["step"] for one in done]
    read = [one["output"] for one in done if one["step"] == "read"]
    return {
        "tokens": sum(one["tokens"] for one in done),
        "calls": sum(one["calls"] for one in done),
        "pages": sum(bool(one.get("passages")) and not one.get("error") for one in read),
        "seconds": round(_covered(spans), 3),
        "searches": kinds.count("search"),
        "steps": len(done),
    }


def unread_by(board: Board) -> tuple[int, int]:
    """Of the steps in which a model was to fill in forms: in how many it filled in none, and how many there were."""
    with board.lock:
        done = [one for one in board.state.steps.values() if one.get("forms")]
    return sum(one["unread"] == one["forms"] for one in done), len(done)


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """The length of what spans (beginning, end) cover together."""
    total, until = 0.0, -math.inf
    for begun, ended in sorted(spans):
        total += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return total


def _plain(output: Any, kind: str) -> Any:
    """The value as it comes back from the disk, so that the first run sees what a later one will."""
    try:
        return json.loads(json.dumps(output, ensure_ascii=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"A step of the kind {kind} gave what JSON does not hold ({error}).") from error
