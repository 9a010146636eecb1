"""bench rank-legal, attention: whether the sentences that a model says it looked at are those that answer.

sparsemax   against the projection onto the simplex by Michelot's algorithm (JOTA, 1986); its gradient by differences
planted     the one sentence of an article that answers, among 15 of other articles: any, and, harder, those that BM25
            finds for the question. Each made article is also read under the next question: what does not read it
            cannot move (the Attentive CNN, whose attention is over the article alone)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from foveal.evaluation.tables import Row, largest
from foveal.ranking.sparsemax import sparsemax
from foveal.training.articles import ENCODED_AT_ONCE, sentences_in

if TYPE_CHECKING:
    from foveal.bench.rank_legal_runs import Law

Floats = npt.NDArray[np.float64]

AMONG = 16
"""Sentences of a made article."""
FIRST, ATTENDED, MOVED = 0.8, 5, 0.5
"""Share of cases in which the planted sentence has the largest weight, sentences with a weight above 0, and the share
of the weight that goes elsewhere under another question."""
VECTORS = 1_000
LEAST_WORDS = 5
"""Words of a sentence that is planted or planted among: less says nothing by itself."""


# -- sparsemax --------------------------------------------------------------------------------------------------------


def sparsemax_rows(seed: int = 0) -> Iterator[Row]:
    """The largest errors of weights and of the gradient, sums, and what is not real."""
    generator = np.random.default_rng(seed)
    worst = padded = total = 0.0
    zeros = wrong = 0
    for _ in range(VECTORS):
        size, extra = int(generator.integers(1, 65)), int(generator.integers(0, 9))
        scores = (generator.normal(size=size + extra) * generator.choice([0.1, 1, 10])).astype(np.float32)
        real = generator.permutation(size + extra) < size
        found = sparsemax(torch.from_numpy(scores), torch.from_numpy(real)).numpy()
        nearest = projection(scores[real].astype(np.float64))
        worst = largest(worst, float(np.abs(found[real] - nearest).max()))
        padded = largest(padded, float(np.abs(found[~real]).max(initial=0)))
        total = largest(total, abs(float(found.sum(dtype=np.float64)) - 1))
        zeros += int((found[real] == 0).sum())
        wrong += int(((found[real] == 0) != (nearest == 0)).sum())
    note = (
        f"{VECTORS:,} vectors of 1 to 64 scores, float32; {zeros:,} weights exactly 0, {wrong} of them otherwise there"
    )
    yield Row.of("sparsemax", "largest error of a weight", worst, at_most=1e-6, note=note)
    yield Row.of("sparsemax", "largest weight of padding", padded, at_most=0)
    yield Row.of("sparsemax", "largest error of the sum", total, at_most=1e-6)
    note = "central differences, float64, vectors of 12 with 3 places of padding"
    yield Row.of("sparsemax", "largest error of the gradient", gradient_error(seed), at_most=1e-6, note=note)


def projection(scores: Floats) -> Floats:
    """The nearest point (m,) of the simplex: drop what the threshold puts below 0 until nothing more falls."""
    held = np.ones(len(scores), dtype=bool)
    while True:
        threshold = (scores[held].sum() - 1) / held.sum()
        kept = held & (scores > threshold)
        if (kept == held).all():
            return np.maximum(np.where(held, scores - threshold, 0.0), 0.0)
        held = kept


def gradient_error(seed: int, vectors: int = 50, step: float = 1e-6) -> float:
    """The largest difference between sparsemax's own derivative and that by differences, away from kinks."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.arange(12) < 9
    worst = 0.0
    for _ in range(vectors):
        scores = torch.randn(12, generator=generator, dtype=torch.float64)
        own = torch.func.jacrev(lambda one: sparsemax(one, real))(scores)
        moves = step * torch.eye(12, dtype=torch.float64)
        found = torch.stack(
            [(sparsemax(scores + one, real) - sparsemax(scores - one, real)) / (2 * step) for one in moves]
        )
        worst = largest(worst, float((own - found.T).abs().max()))
    return worst


# -- the planted sentence ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """A question, and an article of `AMONG` sentences of which the one at `place` answers it."""

    question: str
    sentences: tuple[str, ...]
    place: int


@dataclass(frozen=True)
class Attended:
    """Of planted articles: share with the answer's weight the largest, under its own question and under another's;
    mean sentences with a weight above 0; share of weights exactly 0; mean mass that moves when the question is swapped.
    """

    first: float
    swapped: float
    attended: float
    zeros: float
    moved: float


def planted(law: Law, *, hard: bool, seed: int, most: int) -> list[Planted]:
    """At most `most` test questions that an article of one sentence answers; the 15 others are each of another article
    that does not, any one, or, if `hard`, the best that BM25 finds.
    """
    generator = np.random.default_rng(seed)
    texts, names = law.test.corpus, list(law.test.corpus)
    made: list[Planted] = []
    for query, gold in law.test.positives.items():
        answers = [lines[0] for name in gold if len(lines := sentences_in(texts[name])) == 1 and _says(lines[0])]
        if not answers or len(made) == most:
            continue
        order = law.candidates[query] if hard else (names[row] for row in generator.permutation(len(names)))
        others: dict[str, None] = {}
        for name in order:
            said = [line for line in sentences_in(texts[name]) if _says(line)]
            if said and law.test.wrong(query, name) and len(others) < AMONG - 1:
                others.setdefault(said[int(generator.integers(len(said)))])
        if len(others) == AMONG - 1 and answers[0] not in others:
            place = int(generator.integers(AMONG))
            lines = list(others)
            made.append(Planted(law.test.queries[query], (*lines[:place], answers[0], *lines[place:]), place))
    return made


def attended(model: Any, cases: Sequence[Planted]) -> Attended:
    """What a model attends to, under each case's own question and under the next one's."""
    own, other = (_weights(model, cases, moved) for moved in (0, 1))
    places = [case.place for case in cases]
    return Attended(
        fmean(float(one.argmax() == place) for one, place in zip(own, places, strict=True)),
        fmean(float(one.argmax() == place) for one, place in zip(other, places, strict=True)),
        fmean(float((one > 0).sum()) for one in own),
        fmean(float((one == 0).mean()) for one in own),
        fmean(float(np.abs(a - b).sum() / 2) for a, b in zip(own, other, strict=True)),
    )


def attention_rows(law: Law, models: dict[str, Any], *, asked: str, most: int) -> Iterator[Row]:
    """Rows of each model by name; the bars are about the one called `asked`, the others are compared with it."""
    for hard in (False, True):
        cases = planted(law, hard=hard, seed=law.settings.seed, most=most)
        among = "those that BM25 finds" if hard else "any"
        if len(cases) < 2:
            note = f"not run: {len(cases)} questions fit, and 2 are needed"
            least = None if hard else FIRST
            yield Row.of(f"{asked}, among {among}", "answer attended first", math.nan, at_least=least, note=note)
            continue
        for name, model in models.items():
            found = attended(model, cases)
            yield from _rows(f"{name}, among {among}", found, len(cases), barred=name == asked and not hard)
            if not hard and not hasattr(model, "encoder"):
                yield Row.of(f"{name}, control", "weight that moves with the question", found.moved, at_most=0)


def _rows(name: str, found: Attended, cases: int, *, barred: bool) -> Iterator[Row]:
    first, moved, zeros = (bar if barred else None for bar in (FIRST, MOVED, 1 - ATTENDED / AMONG))
    note = f"{cases} questions, {AMONG} sentences each"
    yield Row.of(name, "answer attended first", found.first, at_least=first, note=note)
    yield Row.of(name, "sentences attended to", found.attended, at_most=ATTENDED if barred else None)
    yield Row.of(name, "share of weights exactly 0", found.zeros, at_least=zeros)
    note = f"asked of the next question; the answer then is first in {found.swapped:.0%}"
    yield Row.of(name, "weight that moves with the question", found.moved, at_least=moved, note=note)


def _weights(model: Any, cases: Sequence[Planted], moved: int) -> list[npt.NDArray[np.float32]]:
    """The weights (16,) of each case under the question `moved` places on."""
    found = []
    for first in range(0, len(cases), ENCODED_AT_ONCE):
        encoded = model.encoded([case.sentences for case in cases[first : first + ENCODED_AT_ONCE]])
        for at, one in enumerate(encoded, start=first):
            found.append(model.weighed(cases[(at + moved) % len(cases)].question, [one])[0].weights)
    return found


def _says(line: str) -> bool:
    return len(line.split()) >= LEAST_WORDS
