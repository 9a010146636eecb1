"""bench nn-titans, the reader: facts hidden in a novel, and whether the memory of `read --reader titans` finds them.

Invented facts, of which half share no word with their question, are planted at even depths. The novel goes by once;
each question then recalls 8 windows of 2,048 characters.

untrained, trained     the memory as it is, and trained on the other novel (titans_training.py)
all vectors            a list of every unit's vector: what looking at everything finds; it grows with the text
as many bytes          a list of as many units' vectors, drawn at random, as the memory has bytes
last windows, asleep   the controls: the last 8 windows; the memory without its updates
kept                   the fact's sentence is among those that the reader gives to the model that answers
carried on             the same questions after another text was read into the same memory, loaded from its file
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from foveal.bench.code import digest_of
from foveal.bench.nn_language import BOOKS, Novels
from foveal.bench.read import text_of
from foveal.bench.settings import BenchSettings
from foveal.evaluation import needles
from foveal.evaluation.kept import covered
from foveal.evaluation.tables import Row
from foveal.nn.passage_memory import PassageMemory, PassageSettings, PassageState
from foveal.reading import titans_memory
from foveal.reading.sentences import blocks_of
from foveal.reading.sources import text_of as readable
from foveal.reading.titans import TitansReader
from foveal.reading.titans_memory import WINDOW, Remembered, Unit
from foveal.reading.titans_training import RECALLED, ReaderTraining, load_memory, train_reader
from foveal.text.units import sentences
from foveal.training.runs import RunSettings
from foveal.types import Encoder

QUICK_CHARACTERS = 300_000


@dataclass(frozen=True)
class Hidden:
    """A text with facts in it, and where they stand."""

    text: str
    facts: tuple[needles.Needle, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def questions(self) -> list[str]:
        """What is asked."""
        return [one.question for one in self.facts]


def hidden(text: str, facts: Sequence[needles.Needle]) -> Hidden:
    """The facts at even depths of a text, each behind a sentence."""
    ends = np.array([end for _, end in sentences(text)])
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    before = length = 0
    for number, fact in enumerate(facts):
        at = int(ends[np.searchsorted(ends, (number + 0.5) / len(facts) * len(text)) - 1])
        said = f"{fact.sentences[0]} "
        pieces += [text[before:at], said]
        length += at - before
        places.append((length, length + len(said) - 1))
        length, before = length + len(said), at
    return Hidden("".join([*pieces, text[before:]]), tuple(facts), tuple(places))


def reader(arms: Novels) -> Iterator[Row]:
    """All rows of this module."""
    settings = arms.settings
    encoder = settings.encoder()
    books = [text_of(settings.folder("text", BOOKS) / book) for book in BOOKS]
    if settings.quick:
        books = [book[:QUICK_CHARACTERS] for book in books]
    many = 8 if settings.quick else 15
    literal, other = (needles.make(kind, many, settings.seed) for kind in ("literal", "paraphrase"))
    facts = [one for pair in zip(literal, other, strict=True) for one in pair]
    novel = hidden(books[0], facts)
    memories = {
        "untrained": PassageMemory(PassageSettings(vector=encoder.dimension)),
        "trained": _trained(settings, books[1], encoder),
    }
    units = list(titans_memory.units_of(titans_memory.sentences_of(blocks_of(novel.text), encoder)))
    vectors = settings.cached_vectors(["nn-titans", "units"], [one.text for one in units], encoder)
    asked = encoder.encode(novel.questions)
    yield from _lists(novel, units, vectors, asked, memories["untrained"], settings.seed)
    for name, memory in memories.items():
        yield from _memory(name, memory, novel, units, vectors, asked)
    yield from _reader(memories["trained"], encoder, novel, books[1])


def _trained(settings: BenchSettings, text: str, encoder: Encoder) -> PassageMemory:
    usual = ReaderTraining()
    chosen = usual
    if settings.quick:
        chosen = replace(usual, stretch=64, before=256, loop=replace(usual.loop, steps=50, batch=2, seed=settings.seed))
    code = digest_of(PassageMemory(PassageSettings(vector=encoder.dimension)), train_reader)  # a run knows no code
    home = settings.cache / "nn" / f"reader-{code}"
    place, report = train_reader([text], encoder, chosen, run=RunSettings(home=home))
    return load_memory(place if report.kept else place.parents[1] / "runs/train" / report.name / "rejected", encoder)


def _windows(novel: Hidden) -> list[int]:
    """The window of each fact: where its unit begins may be the one before."""
    return [start // WINDOW for start, _ in novel.places]


def _share(best: Sequence[Sequence[int]], novel: Hidden) -> tuple[float, str]:
    """The share of facts whose window, or the one before, is among the best; and of each kind."""
    hits = [bool({where, where - 1} & set(some)) for where, some in zip(_windows(novel), best, strict=True)]
    kinds = {kind: [hit for hit, one in zip(hits, novel.facts, strict=True) if one.kind == kind] for kind in
             ("literal", "paraphrase")}  # fmt: skip
    return sum(hits) / len(hits), ", ".join(f"{kind} {sum(some)} of {len(some)}" for kind, some in kinds.items())


def _lists(
    novel: Hidden, units: Sequence[Unit], vectors: np.ndarray, asked: np.ndarray, memory: PassageMemory, seed: int
) -> Iterator[Row]:
    """What lists of vectors find, and the last windows."""
    metric, count = "facts pointed at", -(-len(novel.text) // WINDOW)
    places = np.array([one.start // WINDOW for one in units])

    def best(some: np.ndarray) -> list[list[int]]:
        scores = asked @ vectors[some].T
        order = np.argsort(-scores, 1)
        return [list(dict.fromkeys(places[some][row].tolist()))[:RECALLED] for row in order]

    share, note = _share(best(np.arange(len(units))), novel)
    yield Row.of("all vectors", metric, share, note=f"{note}; {vectors.nbytes / 1e6:.1f} MB")
    held = min(len(units), memory.init_state().nbytes // (4 * vectors.shape[1]))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(units))[:held])
    share, note = _share(best(drawn), novel)
    yield Row.of("as many bytes of vectors", metric, share, note=f"{note}; {held:,} of {len(units):,} units")
    share, note = _share([list(range(count - RECALLED, count))] * len(asked), novel)
    yield Row.of("control: the last windows", metric, share, at_most=0.3, note=note)


@torch.no_grad()
def _memory(
    name: str, memory: PassageMemory, novel: Hidden, units: Sequence[Unit], vectors: np.ndarray, asked: np.ndarray
) -> Iterator[Row]:
    """What a memory points at, awake and asleep."""
    places = torch.tensor([one.start // WINDOW for one in units])
    first = memory.init_state()
    state = memory.write(torch.from_numpy(vectors), places, first)
    metric, size = "facts pointed at", state.nbytes
    share, note = _share(_best(memory, asked, places, state), novel)
    note = f"{note}; {size / 1e6:.1f} MB, {len(torch.unique(places)):,} windows"
    yield Row.of(f"memory, {name}", metric, share, at_least=0.6 if name == "trained" else None, note=note)
    share, note = _share(_best(memory, asked, places, first), novel)
    yield Row.of(f"control: memory, {name}, asleep", metric, share, at_most=0.3, note=note)
    yield Row.of(f"memory, {name}", "bytes of state / before any text", size / first.nbytes, at_least=1, at_most=1)


def _best(memory: PassageMemory, asked: np.ndarray, places: torch.Tensor, state: PassageState) -> list[list[int]]:
    windows = torch.unique(places)
    scores = memory.recall(torch.from_numpy(asked), windows, state)
    found: list[list[int]] = windows[scores.topk(min(RECALLED, len(windows))).indices].tolist()
    return found


@torch.no_grad()
def _reader(memory: PassageMemory, encoder: Encoder, novel: Hidden, other: str) -> Iterator[Row]:
    """The reader itself: what it would show the model; the same when it has read on, from its file."""
    reads = TitansReader(cast(Any, None), encoder=encoder, memory=memory)  # it is never asked
    text = readable(novel.text)
    remembered = _read(reads, titans_memory.with_document(titans_memory.begun(memory), text, "novel"), novel.text)
    yield Row.of("reader, trained", "facts' sentences kept", _kept(reads, remembered, novel, novel.text))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        titans_memory.save(path, remembered, memory, encoder)
        loaded = titans_memory.load(path, memory, encoder)
        note = f"a file of {path.stat().st_size / 1e6:.1f} MB"
    assert loaded is not None
    same = all(torch.equal(*pair) for pair in zip(loaded.state.drift, remembered.state.drift, strict=True))
    yield Row.of("reader, saved and loaded", "the same", float(same), at_least=1, note=note)
    on = _read(reads, titans_memory.with_document(loaded, readable(other), "other"), other)
    share = _kept(reads, on, novel, other)
    yield Row.of("reader, carried on", "facts' sentences kept", share, note=f"{len(other):,} characters later")


def _read(reads: TitansReader, remembered: Remembered, text: str) -> Remembered:
    for now in titans_memory.read_into(remembered, readable(text), reads.memory, reads.encoder, lambda: None):
        remembered = now
    return remembered


def _kept(reads: TitansReader, remembered: Remembered, novel: Hidden, present: str) -> float:
    """The share of facts whose sentence is kept for the model that answers; `present` was read last."""
    reads.reopen = lambda _: readable(novel.text)
    text, found = readable(present), 0
    for fact, place in zip(novel.facts, novel.places, strict=True):
        looked = reads.look_up(remembered, text, fact.question)
        kept = [(one.start, one.end) for each in looked if each.known.first == 0 for one in each.kept]
        found += covered(novel.text, place, kept)
    return found / len(novel.facts)
