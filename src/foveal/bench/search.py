"""bench search: finding, from the first query of a new process to the quality of what is found.

    quality     nDCG@10 and Recall@100 on collections in BEIR's layout, beside BM25S and published figures
    speed       adding beside bare sentence-transformers; queries over 50,000 passages; a cold process
    segments    the unsupervised segmenters (bench/segment.py)
    ann         vector indexes beside exact search and peers (bench/ann.py)

The data folder holds one folder per collection, or is itself one; then the last two, which need others, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.adding import adding
from foveal.bench.ann import ann
from foveal.bench.cold_start import cold_start
from foveal.bench.latency import latency
from foveal.bench.parts import each
from foveal.bench.quality import is_collection, quality
from foveal.bench.segment import segment
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def search(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench search`."""
    yield from quality(settings)
    others = () if is_collection(settings.data) else (segment, ann)
    yield from each((adding, cold_start, latency, *others), settings)
