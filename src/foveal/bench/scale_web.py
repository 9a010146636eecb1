"""bench scale-web: 200 readers at once for 5 minutes, as long as nobody minds; then more than can be served.

    readers      200 connections stay open; each reader opens a page (a day, a paper, the trending ones, a search),
                 looks at it for some seconds (exponential, mean `THINK_S`), and opens the next one. No answer may be an
                 error; the 99th percentile is what a reader waits for a page, in a queue or not
    memory       the server's resident size while they read: the last third against the second, so that caches that
                 fill at first do not count
    overload     400 connections that ask without a pause: what is answered is whole, what is refused is refused with
                 503 and Retry-After, quickly, and afterwards a page takes no longer than before
    beside       the same overload on the same app without admission control: what a request then waits for

The site is a process of its own over loopback with 2,000 invented papers (papers_synthetic.py); the readers share the
machine with it, so the figures are those of both.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np

from foveal.bench.light_client import FAILURES, Answer, LightClient
from foveal.bench.papers_serve import STARTS_WITHIN_S, filled, started
from foveal.bench.papers_synthetic import Drawn
from foveal.bench.settings import BenchSettings
from foveal.errors import FovealError
from foveal.evaluation.tables import Row
from foveal.settings import Settings

READERS, SECONDS, QUICK_SECONDS = 200, 300, 40
PAPERS = 2_000
THINK_S = 5.0
CROWD, CROWD_S = 400, 20
REFUSED_WITHIN_MS = 1_000.0
GROWTH, QUICK_GROWTH = 0.03, 0.10
"""Share by which the resident size may grow from the second to the last third."""

SAMPLE_S = 0.5
OPEN_GATES = 10**6

_SERVER = """
import sys, uvicorn
from dataclasses import replace
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.background import Background
from foveal.web.serving import attentive, server_config
from foveal.web.site import SiteSettings
settings = replace(Settings.load(sys.argv[1]), database="sqlite")
app = create_app(settings, SiteSettings(search_per_minute=0, api_per_hour=0))
class Told(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        if sys.argv[2] == "open":
            for gate in app.state.gates.values():
                gate.room = int(sys.argv[3])
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
with Background(app.state.site), attentive():
    Told(server_config(app, port=0)).run()
"""


@dataclass
class Asked:
    """What a crowd got."""

    waits_ms: list[float] = field(default_factory=list)  # of what was answered
    refusals_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    without_hint: int = 0  # refusals that do not say when to come again

    reopened: int = 0  # connections that the server had closed when they were used again

    def note(self, answer: Answer, path: str, ms: float) -> None:
        """Count an answer."""
        if answer.status == 503:
            self.refusals_ms.append(ms)
            self.without_hint += not answer.headers.get("retry-after", "").isdecimal()
        elif answer.status == 200 and answer.body.rstrip().endswith(b"</html>"):
            self.waits_ms.append(ms)
        else:
            self.errors.append(f"{answer.status} {path}")


def web(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench scale-web`."""
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as folder:
        home = replace(Settings.load(folder), database="sqlite")
        papers, day = filled(home, PAPERS, settings.encoder(), settings.seed)
        paths = paths_of(papers, day, settings.seed)
        with serving(home.home) as (address, process):
            yield from reader_rows(address, process, paths, seconds, settings)
            yield from crowd_rows("overload", address, paths, settings)
        with serving(home.home, admission=False) as (address, _):
            yield from crowd_rows("overload, without admission control", address, paths, settings)


def reader_rows(
    address: str, process: int, paths: Sequence[str], seconds: int, settings: BenchSettings
) -> Iterator[Row]:
    """Readers, and the server's memory."""
    asyncio.run(crowd(address, paths, 20, 3, 0.0, settings.seed))  # what a first page makes ready
    got, sizes = asyncio.run(_watched(address, process, paths, seconds, settings.seed))
    waits = got.waits_ms
    note = f"{len(waits):,} pages, p50 {_percentile(waits, 50):.0f} ms, longest {_percentile(waits, 100):.0f} ms"
    who = f"{READERS} readers, {seconds} s"
    errors = len(got.errors) + len(got.refusals_ms)
    said = "; ".join([*dict.fromkeys(got.errors), f"{got.reopened} connections reopened"])[:300]
    yield Row.of(who, "errors and refusals", errors, at_most=0, note=said)
    yield Row.of(who, "p99, ms", _percentile(waits, 99), note=note)
    yield Row.of(who, "pages a second", len(waits) / seconds)
    third = len(sizes) // 3
    before, after = float(np.mean(sizes[third : 2 * third])), float(np.mean(sizes[2 * third :]))
    most = QUICK_GROWTH if settings.quick else GROWTH
    megabytes = [size / 2**20 for size in (before, after, max(sizes))]
    note = "{:.0f} MB in the second third, {:.0f} MB in the last, at most {:.0f} MB".format(*megabytes)
    yield Row.of(who, "growth of memory", after / before - 1, at_most=most, note=note)


def crowd_rows(name: str, address: str, paths: Sequence[str], settings: BenchSettings) -> Iterator[Row]:
    """More than can be served; bars where admission control is there."""
    alone = asyncio.run(crowd(address, paths, 1, 3, 0.0, settings.seed))
    got = asyncio.run(crowd(address, paths, CROWD, CROWD_S, 0.0, settings.seed))
    after = asyncio.run(crowd(address, paths, 1, 3, 0.0, settings.seed))
    guarded = name == "overload"
    p99 = _percentile(got.waits_ms, 99)
    note = f"{len(got.waits_ms):,} answered, {len(got.refusals_ms):,} refused in {CROWD_S} s by {CROWD} connections"
    yield Row.of(name, "p99 of what was answered, ms", p99, note=note)
    yield Row.of(name, "errors", len(got.errors), at_most=0 if guarded else None, note="; ".join(got.errors[:3]))
    if guarded:
        slowest = _percentile(got.refusals_ms, 99)  # where none was refused nothing guards the site
        yield Row.of(name, "p99 of a refusal, ms", slowest, at_most=REFUSED_WITHIN_MS)
        yield Row.of(name, "refusals without Retry-After", got.without_hint, at_most=0)
    before, then = (_percentile(one.waits_ms, 50) for one in (alone, after))
    said = f"{before:.0f} ms before, {then:.0f} ms after"
    yield Row.of(
        name, "median of a page afterwards, to before", then / before, at_most=2.0 if guarded else None, note=said
    )


def _percentile(values: Sequence[float], share: float) -> float:
    """No number where there are no values."""
    return float(np.percentile(values, share)) if values else float("nan")


def paths_of(papers: Sequence[Drawn], day: str, seed: int) -> list[str]:
    """What readers open, as often as each is in the list."""
    draw = random.Random(seed)
    chosen = draw.sample(list(papers), min(len(papers), 60))
    searches = [f"/papers?q={quote(' '.join(paper.title.split()[:3]))}" for paper in chosen[:15]]
    return [f"/papers/date/{day}"] * 20 + ["/papers/trending"] * 10 + [f"/papers/{one.id}" for one in chosen] + searches


async def crowd(address: str, paths: Sequence[str], readers: int, seconds: float, think_s: float, seed: int) -> Asked:
    """So many readers for so long, each on a connection of its own."""
    got = Asked()
    until = time.perf_counter() + seconds

    async def read(number: int) -> None:
        draw, client = random.Random(f"{seed}/{number}"), LightClient(address)
        await asyncio.sleep(draw.random() * think_s)
        while (begun := time.perf_counter()) < until:
            path = draw.choice(paths)
            try:
                got.note(await client.get(path), path, (time.perf_counter() - begun) * 1e3)
            except FAILURES as error:
                got.errors.append(type(error).__name__)
            if think_s:
                await asyncio.sleep(min(draw.expovariate(1 / think_s), max(0.0, until - time.perf_counter())))
        got.reopened += client.reopened
        client.close()

    await asyncio.gather(*(read(number) for number in range(readers)))
    return got


async def _watched(
    address: str, process: int, paths: Sequence[str], seconds: float, seed: int
) -> tuple[Asked, list[int]]:
    """The readers, and the server's resident sizes in bytes while they read."""
    sizes: list[int] = []

    async def watch() -> None:
        while True:
            sizes.append(resident(process))
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.create_task(watch())
    got = await crowd(address, paths, READERS, seconds, THINK_S, seed)
    watching.cancel()
    return got, sizes


def resident(process: int) -> int:
    """Bytes of a process's memory that are in use. FovealError: the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError) as error:
        raise FovealError(
            "This system does not tell how much memory a process uses (/proc); run it on Linux."
        ) from error
    import resource

    return pages * resource.getpagesize()


@contextmanager
def serving(home: Path, *, admission: bool = True) -> Iterator[tuple[str, int]]:
    """A site in a process of its own: its address, and the process."""
    with started(_SERVER, str(home), "gated" if admission else "open", str(OPEN_GATES)) as (address, process):
        _made_ready(address)
        yield address, process


def _made_ready(address: str) -> None:
    """Wait until a search is answered: the encoder is loaded by then."""
    until = time.monotonic() + STARTS_WITHIN_S
    with httpx.Client(base_url=address, timeout=STARTS_WITHIN_S) as client:
        while client.get("/papers?q=attention").status_code != 200:
            if time.monotonic() > until:
                raise FovealError(f"The server at {address} gave no search within {STARTS_WITHIN_S} s.")
            time.sleep(0.5)
