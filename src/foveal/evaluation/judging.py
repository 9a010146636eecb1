"""A model as judge: asked in both orders, with a fixed seed, and held against people before it is believed.

    verdicts = judged(judge, pairs, seed=0)          # "first" | "second" | "tie" of each pair
    held = against_people(verdicts, labels)          # share and kappa of agreement, at least 30 labels

Swapped    a judge sees each pair twice, the second time the other way round; where its two choices differ it is a tie,
           and counts as inconsistent: judges favour the place as well as the text (Zheng et al., NeurIPS 2023)
Seed       decides which of the two comes first at first, so that a run can be repeated
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.agreement import fleiss_kappa

CHOICES = ("first", "second", "tie")
LABELS = 30
"""The fewest labels of people from which something is said of a judge."""

Judge = Callable[[str, str], str]
"""Two texts in the order in which they are shown -> "first", "second" or "tie"."""

_SWAPPED = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True)
class Verdicts:
    """The choice of each pair, and the share of pairs on which both orders gave the same."""

    choices: tuple[str, ...]
    consistent: float


@dataclass(frozen=True)
class Held:
    """How far a judge agrees with people: share of pairs, kappa (None: everybody always chose one), and on how many."""

    share: float
    kappa: float | None
    pairs: int


def judged(judge: Judge, pairs: Sequence[tuple[str, str]], *, seed: int = 0) -> Verdicts:
    """The judge's choice of each pair, asked in both orders. InputError: no pairs, or an answer that is no choice."""
    if not pairs:
        raise InputError("A judge got no pairs to compare; give at least one.")
    turned = np.random.default_rng(seed).random(len(pairs)) < 0.5
    choices, same = [], 0
    for (one, other), swapped_first in zip(pairs, turned, strict=True):
        answers = []
        for swap in (bool(swapped_first), not swapped_first):
            answer = judge(other, one) if swap else judge(one, other)
            if answer not in CHOICES:
                raise InputError(f"A judge answered {answer!r}; it can choose {', '.join(CHOICES)}.")
            answers.append(_SWAPPED[answer] if swap else answer)
        same += answers[0] == answers[1]
        choices.append(answers[0] if answers[0] == answers[1] else "tie")
    return Verdicts(tuple(choices), same / len(pairs))


def against_people(verdicts: Mapping[str, str], labels: Mapping[str, str], *, least: int = LABELS) -> Held:
    """How far choices by pair agree with those of people. InputError: fewer than `least` pairs have both."""
    both = [name for name in labels if name in verdicts]
    if len(both) < max(1, least):
        raise InputError(
            f"A judge is held against {len(both)} labels of people; it needs {max(1, least)} or more. Label more pairs."
        )
    unknown = next((one for name in both for one in (labels[name], verdicts[name]) if one not in CHOICES), None)
    if unknown is not None:
        raise InputError(f"A label is {unknown!r}; there are {', '.join(CHOICES)}.")
    counts = [[(labels[name] == one) + (verdicts[name] == one) for one in CHOICES] for name in both]
    share = sum(labels[name] == verdicts[name] for name in both) / len(both)
    return Held(share, fleiss_kappa(counts), len(both))
