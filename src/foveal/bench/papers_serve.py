"""bench papers, serve: how long a reader waits for pages of a site with 20,000 papers.

The site runs in a process of its own, as `foveal serve` starts it; another asks it over loopback, 20 times a second
whether or not it has answered (an open loop: what waits in a queue counts), each view for a minute. The papers are
invented (papers_synthetic.py); what encodes a query is the real encoder. Limits of requests are off: all come from one
address.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from foveal.bench.papers_data import KnownVectors
from foveal.bench.papers_synthetic import Drawn, fill, topic_vectors
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import FovealError
from foveal.evaluation.tables import Row
from foveal.settings import Settings
from foveal.types import Encoder

PAPERS, QUICK_PAPERS = 20_000, 2_000
RATE = 20
"""Requests a second."""

SECONDS, QUICK_SECONDS = 60, 10
DAY_MS, SEARCH_MS, PAGE_KB = 60, 120, 120
STARTS_WITHIN_S = 120
READY_S = 10
"""Seconds after its start at which a site has made its search ready."""

_SERVER = """
import sys, uvicorn
from dataclasses import replace
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.background import Background
from foveal.web.site import SiteSettings
settings = replace(Settings.load(sys.argv[1]), database="sqlite")
app = create_app(settings, SiteSettings(search_per_minute=0, api_per_hour=0))
config = uvicorn.Config(app, port=0, log_level="warning")
class Told(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
with Background(app.state.site):
    Told(config).run()
"""


def serve(settings: BenchSettings) -> Iterator[Row]:
    """Rows of the pages' times and sizes."""
    count = QUICK_PAPERS if settings.quick else PAPERS
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as folder:
        home = replace(Settings.load(folder), database="sqlite")
        papers, day = filled(home, count, settings.encoder(), settings.seed)
        with serving(home.home) as address:
            yield from _timed(address, papers, day, settings)


def filled(home: Settings, count: int, encoder: Encoder, seed: int) -> tuple[list[Drawn], str]:
    """A home with papers and their index, and its fullest day. The papers' vectors are drawn, too."""
    from foveal.papers.paper_index import PaperIndex, head
    from foveal.papers.paper_search import PaperSearch
    from foveal.papers.store import PaperStore

    database = Database.open(home)
    papers = fill(database, count, seed=seed, until=datetime.now(UTC))  # some are new enough to be trending
    store = PaperStore(database)
    latest = store.latest_day()
    if latest is None:
        raise FovealError("The invented papers have no day. This is a mistake of the bench: report it.")
    days = store.days(latest.replace(year=latest.year - 3), latest)
    vectors = topic_vectors(papers, encoder.dimension, seed=seed)
    known = KnownVectors(encoder, [head(paper.title, paper.abstract) for paper in papers], vectors)
    PaperSearch(home, database, PaperIndex.open(home, database, encoder=known)).sync()
    database.close()
    return papers, max(days, key=lambda one: days[one]).isoformat()


@contextmanager
def serving(home: Path, *, ready_s: float = READY_S) -> Iterator[str]:
    """A server over `home` in a process of its own; its address, so long after its start."""
    with started(_SERVER, str(home)) as (address, _):
        time.sleep(ready_s)
        yield address


@contextmanager
def started(script: str, *argv: str) -> Iterator[tuple[str, int]]:
    """A process that runs a script, which prints the port it serves; the address and the process, until the end.

    FovealError: it prints none.
    """
    with subprocess.Popen([sys.executable, "-c", script, *argv], stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.strip().isdigit():
                raise FovealError(
                    f"The server did not start (exit status {process.poll()}). Try `foveal serve` by hand."
                )
            yield f"http://127.0.0.1:{line.strip()}", process.pid
        finally:
            process.terminate()
            process.wait(timeout=STARTS_WITHIN_S)


def _timed(address: str, papers: Sequence[Drawn], day: str, settings: BenchSettings) -> Iterator[Row]:
    """Each view, asked for at the rate."""
    draw = np.random.default_rng(settings.seed)
    chosen = [papers[int(number)] for number in draw.integers(len(papers), size=RATE * SECONDS)]
    views = {
        "day page": ([f"/papers/date/{day}"], DAY_MS),
        "search page": ([f"/papers?q={quote(_query(paper, draw))}" for paper in chosen], SEARCH_MS),
        "paper page": ([f"/papers/{paper.id}" for paper in chosen], None),
        "trending page": (["/papers/trending"], None),
    }
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    for name, (paths, most) in views.items():
        asyncio.run(_asked(address, paths[:20], 2))
        waits, sizes, failed = asyncio.run(_asked(address, paths, seconds))
        note = f"p50 {np.percentile(waits, 50):.0f} ms, longest {max(waits):.0f} ms; {len(waits)} requests at {RATE}/s"
        yield Row.of(
            name, "p95, ms", float(np.percentile(waits, 95)), at_most=most, note=f"{note}; {len(papers):,} papers"
        )
        yield Row.of(name, "KB", max(sizes) / 1024, at_most=PAGE_KB)
        yield Row.of(name, "requests that failed", failed, at_most=0)


def _query(paper: Drawn, draw: np.random.Generator) -> str:
    """Two to six words of a title, as people type."""
    words = paper.title.split()
    first = int(draw.integers(max(1, len(words) - 2)))
    return " ".join(words[first : first + int(draw.integers(2, 7))])


async def _asked(address: str, paths: Sequence[str], seconds: int) -> tuple[list[float], list[int], int]:
    """Milliseconds from when each request was due, sizes in bytes, and how many failed."""
    import httpx

    async with httpx.AsyncClient(base_url=address, timeout=60) as client:

        async def one(number: int, begin: float) -> tuple[float, int, bool]:
            due = begin + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                answer = await client.get(paths[number % len(paths)])
            except httpx.HTTPError:  # no answer, or none within the time
                return (time.perf_counter() - due) * 1e3, 0, True
            return (time.perf_counter() - due) * 1e3, len(answer.content), answer.status_code != 200

        begin = time.perf_counter()
        found = await asyncio.gather(*(one(number, begin) for number in range(RATE * seconds)))
    return [wait for wait, _, _ in found], [size for _, size, _ in found], sum(failed for _, _, failed in found)
