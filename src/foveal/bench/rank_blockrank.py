"""bench rank-blockrank: a language model that ranks by its attention, from what it sees untrained to what it costs.

    observation   where documents look, and where the signal of relevance lies        rank_blockrank_observation.py
    exact         order, independence, one result by every path                       rank_blockrank_exact.py
    speed         lists of 10 to 500, full attention, documents that are kept         rank_blockrank_speed.py
    quality       training on XQuAD, measured on other articles, beside baselines     rank_blockrank_quality.py
    ablations     losses, and the query's position                                    rank_blockrank_quality.py
    transfer      Cranfield, SciFact, WikiQA                                          rank_blockrank_transfer.py

Each is a bench of its own, too: `foveal bench rank-blockrank-quality`, and so on. Trained arms and scores are kept in
the cache (rank_blockrank_arms.py).

Not run: MS MARCO and NQ, of which the paper reports (not at hand), and a 7B model; what is compared with them is the
order of the arms, not their figures.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.parts import each
from foveal.bench.rank_blockrank_exact import exact
from foveal.bench.rank_blockrank_observation import observation
from foveal.bench.rank_blockrank_quality import ablations, quality
from foveal.bench.rank_blockrank_speed import speed
from foveal.bench.rank_blockrank_transfer import transfer
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def blockrank(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank`."""
    yield from each((observation, exact, speed, quality, ablations, transfer), settings)
