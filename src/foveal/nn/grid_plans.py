"""What a task in a MiniGrid world still takes at least: all shortest ways at once, known to no agent.

    plan = Plan.of(task, env)
    plan[state]                        actions (or, with `turns=0`, moves) to success from a place, heading and hand

A world is one agent on cells; objects and walls block. Reaching is over when a wanted object is in front, picking up
when it is in the hand, putting when it lies beside the other one (not across a corner). The ways are found backwards
from there, over (x, y, heading, held), so that the first lookup of an episode costs and the rest are free.

Use       the expert that path efficiency is measured against, and the potential that rewards are shaped by
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

from foveal.errors import InputError

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
"""In MiniGrid's order."""
THINGS = ("door", "key", "ball", "box")
HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))
LEFT, RIGHT, FORWARD, PICK_UP, DROP = range(5)

REACH, FETCH, PUT = "reach", "pick-up", "put-next"
ACTIONS = {REACH: 3, FETCH: 4, PUT: 5}
"""The first so many of MiniGrid's actions are of use."""

_THING = re.compile(rf"(?:({'|'.join(COLOURS)}) )?({'|'.join(THINGS)})\b")
_WHERE = re.compile(r"\b(in front of|behind|on your)\b")  # of several alike, only some count
_KINDS = (
    (re.compile(r"^put\b"), PUT),
    (re.compile(r"\b(get|fetch|pick up)\b"), FETCH),
    (re.compile(r"^go to\b"), REACH),
)

State = tuple[int, int, int, bool]
"""Column, row, heading, and whether the object is in the hand."""


class Thing(NamedTuple):
    """What a mission names; no colour: any."""

    colour: str | None
    kind: str

    def fits(self, cell: Any) -> bool:
        """Whether an object of MiniGrid is one."""
        return cell is not None and cell.type == self.kind and self.colour in (None, cell.color)


@dataclass(frozen=True)
class Task:
    """A mission, read."""

    kind: str
    thing: Thing
    beside: Thing | None = None

    @classmethod
    def of(cls, mission: str) -> Task:
        """InputError: it is none of the three kinds."""
        kind = next((kind for pattern, kind in _KINDS if pattern.search(mission)), None)
        things = [Thing(colour or None, what) for colour, what in _THING.findall(mission)]
        if kind is None or len(things) != (2 if kind == PUT else 1) or _WHERE.search(mission):
            raise InputError(
                f"The mission {mission!r} is none that is understood here: go to a thing, get, fetch or pick up one, "
                "put one next to another. Name another environment."
            )
        return cls(kind, *things)

    @property
    def fields(self) -> tuple[int, ...]:
        """Colour and kind of each thing as whole numbers; the number after the last colour: any."""
        things = [self.thing] if self.beside is None else [self.thing, self.beside]
        return tuple(
            number
            for one in things
            for number in (COLOURS.index(one.colour) if one.colour else len(COLOURS), THINGS.index(one.kind))
        )


def field_sizes(kind: str) -> tuple[int, ...]:
    """Values of each field of a task's goal."""
    return (len(COLOURS) + 1, len(THINGS)) * (2 if kind == PUT else 1)


class Plan(dict[State, int]):
    """State -> what it still takes; states from which there is no way are not in it."""

    @classmethod
    def of(cls, task: Task, env: Any, *, turns: int = 1) -> Plan:
        """Of the world as it is now. `turns` is what a turn costs, and the hand's work; a move costs 1."""
        held = task.thing.fits(env.carrying)
        layers = (True,) if held else (False, True) if task.kind == PUT else (False,)
        before: dict[State, list[tuple[State, int]]] = defaultdict(list)
        ends: dict[State, int] = {}
        cells = {(x, y): env.grid.get(x, y) for x in range(env.grid.width) for y in range(env.grid.height)}
        for layer in layers:
            free = {at for at, cell in cells.items() if _free(cell) or (layer and task.thing.fits(cell))}
            for at in free:
                for heading in range(4):
                    _connect(task, cells, free, (*at, heading, layer), turns, before, ends)
        return cls(_distances(before, ends))


def _free(cell: Any) -> bool:
    return cell is None or cell.can_overlap()


def _connect(
    task: Task, cells: dict[tuple[int, int], Any], free: set[tuple[int, int]], state: State, turns: int,
    before: dict[State, list[tuple[State, int]]], ends: dict[State, int],
) -> None:  # fmt: skip
    """Note where one state leads, backwards, and whether it is at an end."""
    x, y, heading, held = state
    front = x + HEADINGS[heading][0], y + HEADINGS[heading][1]
    for turned in (heading - 1, heading + 1):
        before[x, y, turned % 4, held].append((state, turns))
    if front in free:
        before[*front, heading, held].append((state, 1))
    facing = task.thing.fits(cells.get(front)) and not held
    if task.kind == REACH and facing:
        ends[state] = 0
    elif task.kind == FETCH and facing:
        ends[state] = turns
    elif task.kind == PUT and facing:
        before[x, y, heading, True].append((state, turns))
    elif task.kind == PUT and held and front in free and _beside(task, cells, front):
        ends[state] = turns


def _beside(task: Task, cells: dict[tuple[int, int], Any], at: tuple[int, int]) -> bool:
    assert task.beside is not None
    return any(task.beside.fits(cells.get((at[0] + dx, at[1] + dy))) for dx, dy in HEADINGS)


def _distances(before: dict[State, list[tuple[State, int]]], ends: dict[State, int]) -> dict[State, int]:
    """Dijkstra's shortest ways, backwards from the ends."""
    found: dict[State, int] = {}
    ahead = [(cost, state) for state, cost in ends.items()]
    heapq.heapify(ahead)
    while ahead:
        cost, state = heapq.heappop(ahead)
        if state not in found:
            found[state] = cost
            for earlier, step in before.get(state, ()):
                if earlier not in found:
                    heapq.heappush(ahead, (cost + step, earlier))
    return found
