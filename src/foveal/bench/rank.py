"""bench rank: whatever found the candidates, how well and how fast they are ordered.

    blockrank   a language model that ranks by its attention     rank_blockrank.py
    neural      eighteen neural rankers on WikiQA, TrecQA, Cranfield   rank_neural.py
    legal       Paraformer and Attentive CNN on ObliQA            rank_legal.py
    cascade     the best order within a budget of milliseconds    rank_cascade.py

Each is a bench of its own, too: `foveal bench rank-neural`, and so on. Together they take hours on two cores; what they
train is kept in the bench's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.parts import each
from foveal.bench.rank_blockrank import blockrank
from foveal.bench.rank_cascade import cascade
from foveal.bench.rank_legal import legal
from foveal.bench.rank_neural import neural
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def rank(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank`."""
    yield from each((cascade, blockrank, neural, legal), settings)
