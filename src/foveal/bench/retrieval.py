"""bench retrieval: dense retrieval on SciFact, from published rows to what training, fusing and indexing add.

    fusion        both searches, all fusions, learning to rank, metrics        retrieval_fusion.py
    stages        words of what was found, its neighbours, a second hop        retrieval_stages.py
    late          token vectors, their index, LIMIT                            retrieval_late.py
    training      arms of negatives and teachers, a re-ranker                  retrieval_training.py
    pretraining   tasks without queries, from random weights                   retrieval_pretraining.py
    index         vector indexes by one setting, beside peers; codes that learn   ann.py, retrieval_index.py

Each is a bench of its own, too: `foveal bench retrieval-late`, and so on. Together they take hours on two cores.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.parts import each
from foveal.bench.retrieval_fusion import fusion
from foveal.bench.retrieval_index import indexes
from foveal.bench.retrieval_late import late
from foveal.bench.retrieval_pretraining import pretraining
from foveal.bench.retrieval_stages import stages
from foveal.bench.retrieval_training import training
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def retrieval(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval`."""
    yield from each((fusion, stages, late, training, pretraining, indexes), settings)
