"""bench papers-speed: how long a search for papers takes in this process, over 20,000 papers that nobody wrote.

search     by MiniLM and words, as `PaperSearch.search` does it: from the text typed to papers with marks. The queries
           are words of titles; the papers' vectors are drawn, the queries' are made in the time that is measured
orders     trending and the formulas, from the database to a page of 50
The first queries, which load models and open files, are not timed. `--quick`: 5,000 papers, the same bars.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from foveal.bench.papers_data import KnownVectors
from foveal.bench.papers_synthetic import Drawn, fill, topic_vectors
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.evaluation.tables import Row
from foveal.papers.paper_index import PaperIndex, head
from foveal.papers.paper_search import PaperSearch
from foveal.papers.ranking import RANKINGS
from foveal.papers.schema import PaperRow
from foveal.papers.signals import read_signals
from foveal.papers.trending import candidates, ranked
from foveal.settings import Settings

PAPERS, QUICK_PAPERS = 20_000, 5_000
QUERIES, WARM_UP = 200, 10
P95_MS = 80.0
PAGE = 20


def speed(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench papers-speed`."""
    with tempfile.TemporaryDirectory() as place:
        home = Settings(home=Path(place), cache=Settings.load().cache)
        database = Database.open(home)
        try:
            papers = fill(database, QUICK_PAPERS if settings.quick else PAPERS, seed=settings.seed)
            yield Row.of("papers", "size", len(papers), note="synthetic, in a temporary home")
            encoder = settings.encoder()
            texts = [head(paper.title, paper.abstract) for paper in papers]
            known = KnownVectors(encoder, texts, topic_vectors(papers, encoder.dimension, seed=settings.seed))
            search = PaperSearch(home, database, PaperIndex.open(home, database, encoder=known))
            begun = time.perf_counter()
            search.sync()
            yield Row.of("sync, without encoding", "papers a second", len(papers) / (time.perf_counter() - begun))
            search.warm()  # as a site does
            yield from _searches(search, papers, settings.seed)
            yield from _orders(database)
        finally:
            database.close()


def _searches(search: PaperSearch, papers: Sequence[Drawn], seed: int) -> Iterator[Row]:
    draw = np.random.default_rng(seed)
    chosen = [papers[int(one)] for one in draw.integers(len(papers), size=QUERIES + WARM_UP)]
    typed = [" ".join(paper.title.lower().split()[: int(draw.integers(2, 7))]) for paper in chosen]
    halves = [paper.abstract[: len(paper.abstract) // 2] for paper in chosen]
    search.warm()
    asked: tuple[tuple[str, Sequence[str], dict[str, Any]], ...] = (
        ("search, 2-6 words", typed, {}),
        ("search, words alone", typed, {"retriever": "lexical"}),
        ("search, subject and year", typed, {"category": "cs.CL", "year": "2024-2025"}),
        ("search, half an abstract", halves, {}),
    )
    for name, queries, options in asked:
        times = timed(partial(search.search, k=PAGE, **options), queries)
        yield from _row(name, times, P95_MS if queries is typed else None)
    times = timed(lambda one: search.similar(one, 8), [paper.id for paper in chosen])
    yield from _row("similar papers", times, None)


def _orders(database: Database) -> Iterator[Row]:
    with database.reading() as session:
        now = session.scalar(select(func.max(PaperRow.changed_at)))
    assert now is not None
    now = now + timedelta(minutes=1)
    ids = candidates(database, now)
    times = timed(lambda _: ranked(database, "foveal", now=now), [""] * 30)
    yield from _row(f"trending, {len(ids):,} candidates", times, None)
    signals = list(read_signals(database, ids, now).values())
    for name, (score, _) in RANKINGS.items():
        begun = time.perf_counter()
        for known in signals:
            score(known)
        yield Row.of(f"formula {name}", "µs a paper", 1e6 * (time.perf_counter() - begun) / len(signals))


def timed(call: Callable[[str], object], queries: Sequence[str]) -> list[float]:
    """Milliseconds of each call, without the first `WARM_UP`."""
    times = []
    for query in queries:
        begun = time.perf_counter()
        call(query)
        times.append(1000 * (time.perf_counter() - begun))
    return times[min(WARM_UP, len(times) // 2) :]


def _row(name: str, times: Sequence[float], bar: float | None) -> Iterator[Row]:
    yield Row.of(name, "p95, ms", float(np.quantile(times, 0.95)), at_most=bar, note=f"{len(times)} calls")
    yield Row.of(name, "median, ms", float(np.median(times)))
