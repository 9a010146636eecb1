"""A run of 200 steps whose facts change: what happens, when, in which words, among how much noise.

    world = World.made(steps=200, noise=sentences_of_some_text, seed=0)
    world.steps[7].text, world.steps[7].source          # what a step reads
    world.latest(), world.history()                     # questions, with the moment asked about and the answer

Each of some subjects has some relations; the value of each changes one to five times. A step is a day; some report a
change of that day, some repeat what is known, some tell late of an earlier change, a few contradict another source on
the same day. All else is prose of another matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np


def _listed(words: str) -> list[str]:
    return words.split()


BEGIN = datetime(2021, 1, 1, tzinfo=UTC)
SUBJECTS = (
    "Harrow Mill", "Ostrava Shipyard", "Kelda Observatory", "the Pinter Foundation", "Vega Press", "Lake Orlo Dam",
    "the Bremen Choir", "Station North", "Tolmin Railway", "the Amber Museum", "Castor Bank", "Fjord Airlines",
)  # fmt: skip
RELATIONS = ("director", "annual output", "main sponsor", "head office")
FIRST = _listed(
    "Ada Bruno Clara Dmitri Elena Farid Greta Hugo Ines Jonas Kaya Lars Mira Nils Olga Pavel Rosa Sven Tara Umar"
)
LAST = _listed(
    "Hart Novak Lind Okafor Perez Quist Ryder Sato Tamm Ulrich Vega Wolff Ximenes Young Zeman Aalto Berg Costa"
)
PLACES = _listed("Graz Lund Porto Gdansk Bergen Tartu Lyon Bilbao Cork Aarhus Trieste Utrecht Leeds Brno Turku Malmo")
FIRMS = _listed("Orion Helix Cobalt Meridian Juniper Sable Quarry Atlas Beacon Lumen Onyx Tundra")
FORMS = (
    "On {date}, the {relation} of {subject} was {value}.",
    "{subject}'s {relation} changed to {value} on {date}.",
    "As of {date}, the {relation} of {subject} is {value}.",
    "Since {date}, {value} is the {relation} of {subject}.",
)
PERSON_FORM = "{value} took over as {relation} of {subject} on {date}."


@dataclass(frozen=True)
class Change:
    """From `since` on, the relation of a subject has a value."""

    subject: str
    relation: str
    value: str
    since: datetime


@dataclass(frozen=True)
class Step:
    """What a step reads: its text, the key of its source, and what it says."""

    at: datetime
    source: str
    text: str
    said: tuple[Change, ...] = ()
    kind: str = "noise"  # change, late, repeat, conflict


@dataclass(frozen=True)
class Asked:
    """A question, the moment that it asks about (None: now), and the answer."""

    question: str
    at: datetime | None
    answer: str


@dataclass(frozen=True)
class World:
    """What happens, and the steps in which it is told."""

    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    contradicted: tuple[Change, ...]

    @classmethod
    def made(cls, *, steps: int, noise: Sequence[str], seed: int, conflicts: int = 3) -> World:
        """A world of some days. The first and the last value of each relation are told."""
        draw = np.random.default_rng([seed, 7])
        changes = _changes(draw, steps)
        told: dict[int, list[tuple[str, Change]]] = {}
        for one in changes:
            day = (one.since - BEGIN).days
            late = draw.random() < 0.15
            told.setdefault(min(steps - 1, day + int(draw.integers(5, 25))) if late else day, []).append(
                ("late" if late else "change", one)
            )
            if draw.random() < 0.3:
                told.setdefault(min(steps - 1, day + int(draw.integers(1, 4))), []).append(("repeat", one))
        lasting = [one for one in changes if one is _last(changes, one)]
        contradicted = tuple(lasting[at] for at in draw.permutation(len(lasting))[:conflicts])
        for one in contradicted:
            other = Change(one.subject, one.relation, _value(one.relation, draw, one.value), one.since)
            told.setdefault(min(steps - 1, (one.since - BEGIN).days + 2), []).append(("conflict", other))
        return cls(
            tuple(changes), tuple(_step(day, told.get(day, []), noise, draw) for day in range(steps)), contradicted
        )

    @property
    def end(self) -> datetime:
        """The moment after the last step."""
        return self.steps[-1].at + timedelta(days=1)

    def latest(self) -> list[Asked]:
        """For each relation that no source contradicts: what is it now?"""
        out = {(one.subject, one.relation) for one in self.contradicted}
        last = {(one.subject, one.relation): one for one in self.changes}
        return [
            Asked(f"What is the {relation} of {subject} now?", None, one.value)
            for (subject, relation), one in last.items()
            if (subject, relation) not in out
        ]

    def history(self) -> list[Asked]:
        """For each value that another one followed: what was it in the middle of its time?"""
        asked = []
        for one, following in zip(self.changes, self.changes[1:], strict=False):
            if (one.subject, one.relation) == (following.subject, following.relation):
                middle = one.since + (following.since - one.since) / 2
                day = middle.replace(hour=0, minute=0)
                question = f"What was the {one.relation} of {one.subject} on {day:%d %B %Y}?"
                asked.append(Asked(question, day + timedelta(hours=12), one.value))
        return asked


def _changes(draw: np.random.Generator, steps: int) -> list[Change]:
    """By subject and relation, in the order of time; two of one relation lie at least six days apart."""
    changes = []
    for subject in SUBJECTS:
        for relation in draw.permutation(np.array(RELATIONS))[: 2 + int(draw.integers(0, 3))]:
            days = sorted(
                int(day) for day in draw.choice(np.arange(0, steps - 8, 6), int(draw.integers(1, 6)), replace=False)
            )
            value = ""
            for day in days:
                value = _value(str(relation), draw, value)
                changes.append(Change(subject, str(relation), value, BEGIN + timedelta(days=day)))
    return changes


def _last(changes: Sequence[Change], one: Change) -> Change:
    return [other for other in changes if (other.subject, other.relation) == (one.subject, one.relation)][-1]


def _value(relation: str, draw: np.random.Generator, before: str) -> str:
    while True:
        value = {
            "director": f"{draw.choice(FIRST)} {draw.choice(LAST)}",
            "annual output": f"{int(draw.integers(10, 990)) * 10:,} tonnes",
            "main sponsor": f"{draw.choice(FIRMS)} Group",
            "head office": str(draw.choice(PLACES)),
        }[relation]
        if value != before:
            return value


def _step(day: int, told: Sequence[tuple[str, Change]], noise: Sequence[str], draw: np.random.Generator) -> Step:
    said = [_sentence(one, draw) for _, one in told]
    around = [noise[int(draw.integers(len(noise)))] for _ in range(4)]
    place = int(draw.integers(0, 5))
    text = " ".join([*around[:place], *said, *around[place:]])
    return Step(
        BEGIN + timedelta(days=day, hours=9),
        f"e{day + 1}",
        text,
        tuple(one for _, one in told),
        told[0][0] if told else "noise",
    )


def _sentence(one: Change, draw: np.random.Generator) -> str:
    forms = (*FORMS, PERSON_FORM) if one.relation == "director" else FORMS
    form = forms[int(draw.integers(len(forms)))]
    said = form.format(
        date=f"{one.since.day} {one.since:%B %Y}", relation=one.relation, subject=one.subject, value=one.value
    )
    return said[0].upper() + said[1:]
