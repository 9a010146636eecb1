"""bench read: one long text, a question, an answer with its place; what is kept, what is answered, how fast.

    speed       the recorder's exactness, tokens a second, growth with length, decoding, the first answer
    needles     literal, paraphrase, two-hop at ten depths, beside other choosers, with controls
    peer        the published package infini-retri 0.0.3: the same sentences, and how many times as fast
    layers      where the evidence is looked at, for right and wrong answers, in two models
    longdoc     questions that people asked
    absent      the same, asked of another text
    million     one pass over a million tokens (the full run only)

Each but `layers` is also a bench of its own: `foveal bench read-speed`, `read-needles`, `read-peer`, `read-longdoc`,
`read-absent`, `read-million`. Pictures go to `pictures/` in the bench's cache. Needs the data sets essays, longdoc and
xquad; the million tokens are those of the program `bible` (Debian: bible-kjv) where it is installed, else of text/.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from foveal.bench.read_absent import absent
from foveal.bench.read_layers import layers
from foveal.bench.read_longdoc import longdoc
from foveal.bench.read_needles import KINDS, million, needles, planted_at, retention
from foveal.bench.read_peer import peer
from foveal.bench.read_speed import speed
from foveal.bench.readers import Bench
from foveal.bench.settings import BenchSettings
from foveal.evaluation.haystack import haystack
from foveal.evaluation.tables import Row

OTHER_MODEL = "gemma3-270m"
MILLION = 1_003_000


def read(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench read`."""
    bench = Bench(settings)
    pictures = settings.cache / "pictures"
    yield from speed(bench)
    yield from needles(bench, pictures)
    yield from peer(bench)
    yield from layers(bench, pictures)
    other = Bench(settings, model_name=OTHER_MODEL)
    yield from layers(other, pictures)
    yield from _kept_by(other)
    yield from longdoc(bench)
    yield from absent(bench)
    if not settings.quick:
        yield from million(bench, haystack([long_text(settings)], MILLION, bench.count))


def read_speed(settings: BenchSettings) -> Iterator[Row]:
    """The part `speed` alone; so with the next ones."""
    yield from speed(Bench(settings))


def read_needles(settings: BenchSettings) -> Iterator[Row]:
    yield from needles(Bench(settings), settings.cache / "pictures")


def read_peer(settings: BenchSettings) -> Iterator[Row]:
    yield from peer(Bench(settings))


def read_longdoc(settings: BenchSettings) -> Iterator[Row]:
    yield from longdoc(Bench(settings))


def read_absent(settings: BenchSettings) -> Iterator[Row]:
    yield from absent(Bench(settings))


def read_million(settings: BenchSettings) -> Iterator[Row]:
    bench = Bench(settings)
    yield from million(bench, haystack([long_text(settings)], MILLION, bench.count))


def _kept_by(bench: Bench) -> Iterator[Row]:
    """What another model's reader keeps of the needles."""
    length = 8_000 if bench.settings.quick else 16_000
    planted = planted_at(bench, length)
    for kind in KINDS:
        mine = [one for one in planted if one.needle.kind == kind]
        readings = bench.reader.retrieve_many(mine[0].text, [one.needle.question for one in mine])
        yield Row.of(
            f"Foveal with {bench.model_name}, {kind} needles, {length // 1000}k", "retention", retention(mine, readings)
        )


def long_text(settings: BenchSettings) -> str:
    """A real text of more than a million tokens."""
    program = shutil.which("bible")
    if program:
        told = subprocess.run([program, "-f", "gen1:1-rev22:21"], capture_output=True, check=True, text=True)
        return told.stdout
    return "\n\n".join(text_of(path) for path in texts_of(settings, ("war_and_peace.txt", "moby_dick.txt")))


def texts_of(settings: BenchSettings, names: Sequence[str]) -> list[Path]:
    """The texts of these names, each as `text_of` takes it; for those that are not there others of `text/`, the longest
    first. InputError: there are not as many."""
    folder = settings.data / "text"
    there = {path.name.removesuffix(".gz"): path.stat().st_size for path in folder.glob("*.txt*")}
    others = sorted(there.keys() - set(names), key=lambda name: (-there[name], name))
    if sum(name not in there for name in names) > len(others):
        settings.folder("text", names)
    return [folder / (name if name in there else others.pop(0)) for name in names]


def text_of(path: Path) -> str:
    """A file's text, also where it is packed."""
    if path.is_file():
        return path.read_text(encoding="utf-8")
    with gzip.open(f"{path}.gz", "rt", encoding="utf-8") as file:
        return file.read()
