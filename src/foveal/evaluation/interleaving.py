"""Two rankings compared by what people click in a mixture of both: team draft, a log, and a sign test.

    mixed = team_draft(a, b, 10, generator)        # keys in the order shown, and whose pick each was
    log = InterleavingLog(path); one = log.shown("query", "hybrid", "fresh", mixed); log.clicked(one.id, 2)
    verdict(log.impressions()).p_value

Draft     in each round both rankings pick once, a coin says which first: its best result that is not shown yet
Credit    a click counts for the team that picked the result; an impression is won by the team with more clicks
Test      exact two-sided sign test over the impressions that were won; ties and those without a click say nothing
Source    Radlinski, Kurup and Joachims, CIKM 2008
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from foveal.errors import InputError

Key = TypeVar("Key", bound=Hashable)
TEAMS = ("A", "B")


@dataclass(frozen=True)
class Mixed(Generic[Key]):
    """What is shown, best first, and the team ("A" or "B") that picked each."""

    keys: tuple[Key, ...]
    teams: tuple[str, ...]


def team_draft(a: Sequence[Key], b: Sequence[Key], k: int, generator: np.random.Generator) -> Mixed[Key]:
    """At most `k` keys of two rankings without repeats. InputError: k below 1."""
    if k < 1:
        raise InputError(f"An interleaving got k={k}; it needs at least 1.")
    waiting = {"A": list(dict.fromkeys(a)), "B": list(dict.fromkeys(b))}
    keys: list[Key] = []
    teams: list[str] = []
    while len(keys) < k and (waiting["A"] or waiting["B"]):
        behind = teams.count("A") - teams.count("B")
        first = TEAMS[int(generator.integers(2))] if behind == 0 else TEAMS[behind > 0]
        team = first if waiting[first] else TEAMS[first == "A"]
        picked = waiting[team][0]
        keys.append(picked)
        teams.append(team)
        waiting = {name: [one for one in rest if one != picked] for name, rest in waiting.items()}
    return Mixed(tuple(keys), tuple(teams))


@dataclass(frozen=True)
class Impression:
    """One mixed list that was shown; `clicks` are places from 0."""

    id: str
    query: str
    a: str
    b: str
    keys: tuple[str, ...]
    teams: tuple[str, ...]
    clicks: tuple[int, ...] = ()

    @property
    def credit(self) -> int:
        """Clicks of A less those of B; a place counts once."""
        return sum(1 if self.teams[place] == "A" else -1 for place in set(self.clicks))


@dataclass(frozen=True)
class Verdict:
    """Impressions won by each; `preference` is the share of A less a half (ties count for both)."""

    a: int
    b: int
    ties: int  # with clicks, equally many
    unclicked: int
    p_value: float

    @property
    def preference(self) -> float:
        """-0.5 (always B) to 0.5 (always A); 0 without a click."""
        count = self.a + self.b + self.ties
        return (self.a + self.ties / 2) / count - 0.5 if count else 0.0


def verdict(impressions: Iterable[Impression]) -> Verdict:
    """Who was preferred, and how sure that is."""
    clicked, unclicked = [], 0
    for one in impressions:
        if one.clicks:
            clicked.append(one.credit)
        else:
            unclicked += 1
    a, b = sum(credit > 0 for credit in clicked), sum(credit < 0 for credit in clicked)
    return Verdict(a, b, len(clicked) - a - b, unclicked, sign_test(a, b))


def sign_test(a: int, b: int) -> float:
    """Two-sided p-value of a and b wins under a fair coin: exact, 1 where nothing was won."""
    if min(a, b) < 0:
        raise InputError(f"A sign test got {a} and {b} wins; neither may be below 0.")
    count = a + b
    tail = term = 1
    for wins in range(min(a, b)):  # each coefficient from the one before: afresh, 10,000 wins take a minute
        term = term * (count - wins) // (wins + 1)
        tail += term
    return min(1.0, 2 * tail / 2**count) if count else 1.0


@dataclass(frozen=True)
class InterleavingLog:
    """Impressions and clicks as JSON lines, appended one by one; a line that a kill cut short is passed over."""

    path: Path

    def shown(self, query: str, a: str, b: str, mixed: Mixed[str]) -> Impression:
        """Note that a list was shown; its id is drawn."""
        made = Impression(secrets.token_hex(6), query, a, b, mixed.keys, mixed.teams)
        self._append({"shown": asdict(made)})
        return made

    def clicked(self, impression: str, place: int) -> None:
        """Note a click on a place, from 0. InputError: no such impression, or it has no such place."""
        found = next((one for one in self.impressions() if one.id == impression), None)
        if found is None:
            raise InputError(f"{self.path} holds no impression {impression!r}. Show the list first.")
        if not 0 <= place < len(found.keys):
            raise InputError(f"Impression {impression} shows {len(found.keys)} results; there is no place {place}.")
        self._append({"clicked": {"id": impression, "place": place}})

    def impressions(self) -> list[Impression]:
        """All that were shown, with their clicks. InputError: the log is damaged."""
        found: dict[str, Impression] = {}
        lines = self.path.read_bytes().split(b"\n") if self.path.is_file() else []
        for number, line in enumerate(lines, 1):
            row = _row(line)
            try:
                if "shown" in row:
                    one = row["shown"]
                    lists = {name: tuple(one[name]) for name in ("keys", "teams", "clicks")}
                    found[one["id"]] = Impression(**{**one, **lists})
                elif "clicked" in row:
                    before, place = found[row["clicked"]["id"]], int(row["clicked"]["place"])
                    if not 0 <= place < len(before.keys):
                        raise ValueError(f"{before.id} shows {len(before.keys)} results, no place {place}")
                    found[before.id] = replace(before, clicks=(*before.clicks, place))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self.path}, line {number}, is no impression and no click ({error}).") from error
        return list(found.values())

    def _append(self, row: object) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut = self.path.is_file() and self.path.stat().st_size and not self._ends_whole()
        text = ("\n" if cut else "") + json.dumps(row, ensure_ascii=False) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, text.encode("utf-8", "backslashreplace"))  # half a surrogate pair, as JSON escapes it
        finally:
            os.close(handle)

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _row(line: bytes) -> dict[str, Any]:
    """A line's object; none of a line that was cut short, be it within a letter."""
    try:
        found = json.loads(line) if line.strip() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {"clicked": found}
