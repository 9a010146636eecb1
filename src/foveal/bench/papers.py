"""bench papers: papers come in, are found and ordered, and are shown.

    ingest     what is read of recorded answers, field by field beside other readers      papers_ingest.py
    csfcube    papers like a paper, beside SPECTER, tf-idf, its SVM, BM25 and MiniLM      papers_csfcube.py
    known      a paper found again by half an abstract, or by 2 to 6 typed words          papers_known.py
    speed      a search and an order over 20,000 papers                                   papers_speed.py
    serve      the pages of such a site, asked for 20 times a second                      papers_serve.py
    audit      every view as Lighthouse marks it, in both themes                          papers_audit.py

Each is a bench of its own, too: `foveal bench papers-csfcube`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.papers_audit import audit
from foveal.bench.papers_csfcube import csfcube
from foveal.bench.papers_ingest import ingest_rows
from foveal.bench.papers_known import known
from foveal.bench.papers_serve import serve
from foveal.bench.papers_speed import speed
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def papers(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench papers`."""
    yield from each((ingest_rows, csfcube, known, speed, serve, audit), settings)
