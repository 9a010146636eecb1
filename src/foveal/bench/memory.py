"""bench memory: systems that keep a context far beyond a window, and consult it.

    retrieval         RetrievalAttention: what an index visits and finds, output, needles, time (memory_retrieval.py)
    longheads         LongHeads: exactness, a small model past its window, heads, speed (memory_longheads.py)
    longheads-tasks   LongHeads: keys at 64k tokens, likelihood, questions on documents (memory_longheads_tasks.py)

Each is also a bench of its own: `foveal bench memory-retrieval`.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.memory_longheads import longheads
from foveal.bench.memory_longheads_tasks import longheads_tasks
from foveal.bench.memory_retrieval import retrieval
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def memory(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench memory`."""
    yield from each((retrieval, longheads, longheads_tasks), settings)
