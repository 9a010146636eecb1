"""bench rank-neural, speed: pairs a second of each small ranker, and DRMM's histogram against a plain loop.

Pairs       256 at once, queries of 20 words, texts of 200, two threads; the models alone, on words whose ids are known
Loop        over each cell of each match matrix, in plain Python, as one would write the definition down, and as
            MatchZoo-py does, whose modules want a torch of their time and are not run here; both get the same matches,
            and the same counts must come out
Bar         the histogram 50 times as fast as the loop
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foveal.bench.rank_neural_runs import DIMENSION, sizes
from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import paired, percentiles
from foveal.evaluation.tables import Row
from foveal.models.threads import with_threads
from foveal.ranking.neural import MODELS, model_class
from foveal.ranking.neural.drmm import DRMM
from foveal.ranking.neural.inputs import Pairs, Vocabulary, pairs
from foveal.ranking.neural.matches import same_word
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.training import NeuralSettings, untrained
from foveal.ranking.neural.vectors import WordVectors

BATCH, QUERY, DOCUMENT, THREADS = 256, 20, 200, 2
KNOWN = 5_000
"""Words from which the texts are drawn."""

FASTER = 50.0


def speed(settings: BenchSettings) -> Iterator[Row]:
    """Pairs a second of each ranker, then the histogram."""
    queries, documents = texts(BATCH, settings.seed)
    vocabulary = Vocabulary.of_texts(documents, queries, min_frequency=1)
    vectors = WordVectors.random(len(vocabulary), DIMENSION, seed=settings.seed)
    batch = pairs(vocabulary, queries, documents, query_length=QUERY, document_length=DOCUMENT)
    with with_threads(THREADS):
        for name in MODELS:
            scorer = untrained(name, vocabulary, vectors, NeuralSettings.of(name))
            yield pairs_a_second(scorer, batch, runs=3 if settings.quick else 10)
        yield from histogram_rows(batch, vectors, runs=3 if settings.quick else 5)


def pairs_a_second(scorer: Scorer, batch: Pairs, *, runs: int) -> Row:
    """How many pairs a ranker scores, by the median time of a batch."""
    scorer.model.eval()
    taken = percentiles(scorer.of_pairs, [batch] * runs, warmup=2)
    own, vectors = sizes(scorer.model)
    kind = model_class(scorer.model.name)
    sort = f"{kind.focus}, {'symmetric' if kind.symmetric else 'asymmetric'}, {kind.granularity} granularity"
    note = f"{own:,} numbers besides word vectors{', which are trained, too' if vectors else ''}; {sort}"
    return Row.of(scorer.model.name, "pairs/s", len(batch) / taken.p50_ms * 1e3, note=note)


def histogram_rows(batch: Pairs, vectors: WordVectors, *, runs: int) -> Iterator[Row]:
    """DRMM's counts by tensors and by the loop: whether they are the same, and the ratio of their times."""
    model = DRMM(vectors)
    with torch.no_grad():
        matches = model.explain(batch)
        ours = model.counts(matches, batch)
    cells, bins = Cells.of(batch, matches), model.settings.bins
    theirs = np.array([word for pair in looped(cells, bins) for word in pair])
    apart = float(np.abs(ours[batch.query_mask].numpy() - theirs).sum() / 2 / theirs.sum())
    note = "a cosine at the edge of two bins may fall on either side, by rounding"
    yield Row.of("drmm, histogram", "share of matches in another bin", apart, at_most=1e-5, note=note)

    def loop() -> object:
        return looped(cells, bins)

    ratio = paired(loop, lambda: model.counts(matches, batch), runs=runs)
    yield Row.of("drmm, histogram", "times as fast as the loop", ratio.median, at_least=FASTER, note=str(ratio))
    whole = paired(loop, lambda: model.histograms(batch), runs=runs)
    note = f"{whole}; ours makes the matches and takes the logarithm besides"
    yield Row.of("drmm, histogram", "times as fast, matches included", whole.median, note=note)


@dataclass(frozen=True)
class Cells:
    """Match matrices as plain lists, one for each pair, without padding, and which of their cells are exact."""

    matches: list[list[list[float]]]
    exact: list[list[list[bool]]]

    @classmethod
    def of(cls, batch: Pairs, matches: Tensor) -> Cells:
        """From M (B, m, n)."""
        sizes = list(zip(batch.query_mask.sum(1).tolist(), batch.document_mask.sum(1).tolist(), strict=True))
        cut = ([grid[:m, :n].tolist() for grid, (m, n) in zip(whole, sizes, strict=True)] for whole in
               (matches, same_word(batch)))  # fmt: skip
        return cls(*cut)


def looped(cells: Cells, bins: int) -> list[list[list[int]]]:
    """For each pair and query word the count of each bin, cell by cell."""
    counts = []
    for matches, exact in zip(cells.matches, cells.exact, strict=True):
        counts.append([[0] * bins for _ in matches])
        for i, row in enumerate(matches):
            for j, match in enumerate(row):
                place = bins - 1 if exact[i][j] else min(int((match + 1) / 2 * (bins - 1)), bins - 2)
                counts[-1][i][place] += 1
    return counts


def texts(count: int, seed: int) -> tuple[list[str], list[str]]:
    """So many queries and documents of words drawn as in a language: the n-th of them with a chance of about 1 / n."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(generator.choice(letters, size)) for size in generator.integers(2, 11, KNOWN)]
    chances = 1 / np.arange(1, KNOWN + 1)
    drawn = generator.choice(words, size=(count, QUERY + DOCUMENT), p=chances / chances.sum())
    return [" ".join(row[:QUERY]) for row in drawn], [" ".join(row[QUERY:]) for row in drawn]
