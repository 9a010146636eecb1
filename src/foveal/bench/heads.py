"""bench heads: retrieval heads: that they are there, what breaks without them, and what they are good for.

    detect       the published score files recounted; two models at 4k tokens, stability, how they depend on the text
    masking      needles, perplexity, reasoning with the strongest heads masked, beside random ones
    compression  answers over a cache that is cut by the role of heads, beside SnapKV, a window, random heads
    attribution  where an answer was copied from; whether a text holds the answer at all
    ranking      candidates in order by copy heads, query heads, all, random ones, beside BM25 and MiniLM
    landmark     a decoder trained with landmarks: exactness, likelihood, records, hit rates, cost
    act          attention sinks, and heads that give less to them: exactness, counts, cost, accuracy beside controls

Each is also a bench of its own: `foveal bench heads-detect`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.heads_act import act
from foveal.bench.heads_attribution import attribution
from foveal.bench.heads_compression import compression
from foveal.bench.heads_detect import detection
from foveal.bench.heads_landmark import landmark
from foveal.bench.heads_masking import masking
from foveal.bench.heads_ranking import ranking
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def heads(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads`."""
    yield from each((detection, masking, compression, attribution, ranking, landmark, act), settings)
