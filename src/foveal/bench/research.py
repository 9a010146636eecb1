"""bench research: MindSearch whole.

protocol    its promises, with a model of a few rules                                      research_protocol.py
retrieval   what plans find at 9 passages, taught and untaught, beside RAG and ReAct        research_retrieval.py
answers     EM and F1 of final answers; noise among the pages                               research_answers.py
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.parts import each
from foveal.bench.research_answers import answers
from foveal.bench.research_protocol import protocol
from foveal.bench.research_retrieval import retrieval
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def research(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench research`."""
    yield from each((protocol, retrieval, answers), settings)
