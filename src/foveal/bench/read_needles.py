"""bench read, needles: what of a long text is kept, and what is answered from it.

Needles of three kinds (evaluation/needles.py) at ten depths in essays (a quick run: five). All of a length stand in one
text and are asked in one pass, each question with its own memory. At equal tokens, at 16k and 64k: BM25 and MiniLM over
the same sentences, the last 8k tokens; where it fits, the whole text in the model's prompt. Controls that a fake would
fail: another needle's question, shuffled sentences, heads drawn at random.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from foveal.attention.profiles import Profile
from foveal.bench.readers import Bench
from foveal.evaluation.answers import contains
from foveal.evaluation.haystack import Planted, plant, plant_all
from foveal.evaluation.kept import Range
from foveal.evaluation.needle import Cell, growth, heat_map, key
from foveal.evaluation.needles import Needle, make, wrong_question
from foveal.evaluation.tables import Row
from foveal.reading import InfiniRetri, ReadSettings
from foveal.reading.events import Done, Reading, WindowRead

KINDS = ("literal", "paraphrase", "two-hop")
DEPTHS = tuple(range(5, 100, 10))
LENGTHS, QUICK = (16_000, 64_000, 256_000), (8_000,)
COMPARED = 64_000
"""Tokens up to which other choosers are asked, too."""

BEHIND = 512
"""Tokens of a prompt beside a whole text, and of its answer."""

REPORTED = (64_000, 256_000)
"""Tokens after which the rate of the long pass is told, besides its end."""

ABOUT_ESSAYS = (
    "Why do most people never start a company?",
    "What does the author think of school?",
    "What makes a good startup idea?",
    "How should one choose what to work on?",
)


def needles(bench: Bench, pictures: Path) -> Iterator[Row]:
    """Rows at each length, then comparisons and controls at the first."""
    cells: list[Cell] = []
    lengths = QUICK if bench.settings.quick else LENGTHS
    for length in lengths:
        planted = planted_at(bench, length)
        start = time.perf_counter()
        readings = bench.reader.read_many(planted[0].text, [one.needle.question for one in planted])
        took = time.perf_counter() - start
        new = [_cell(one, reading, length, took) for one, reading in zip(planted, readings, strict=True)]
        cells += new
        yield from _rows(new, length, bars=True)
        tokens = readings[0].stats.tokens
        note = f"{len(planted)} questions in one pass, their answers included"
        yield Row.of(f"Foveal, needles, {length // 1000}k", "tokens/s", tokens / took, note=note)
        if length <= COMPARED:
            yield from _peers(bench, planted, new, length)
        if length == lengths[0]:
            yield from _whole(bench, planted, length)
            yield from _controls(bench, planted, new)
            yield from _parts(bench, planted)
    heat_map(cells, pictures / "read-needles.png", "retained", title="Needles kept, 1,024 tokens of memory")


def planted_at(bench: Bench, length: int) -> list[Planted]:
    """Needles of each kind, one at each depth (a quick run: at every other), in one text of about `length` tokens."""
    depths = DEPTHS[::2] if bench.settings.quick else DEPTHS
    found = [needle for kind in KINDS for needle in make(kind, len(depths), seed=bench.settings.seed + length)]
    return plant_all(bench.haystack(length), found, [*depths] * len(KINDS))


def _cell(planted: Planted, reading: Reading, length: int, seconds: float) -> Cell:
    needle = planted.needle
    return Cell(
        needle=key(needle),
        kind=needle.kind,
        length=length,
        depth=DEPTHS[min(range(len(DEPTHS)), key=lambda n: abs(DEPTHS[n] - planted.depths[0]))],
        retained=planted.retained(ranges_of(reading)),
        answered=contains(reading.text, needle.answer),
        answer=reading.text,
        memory_tokens=reading.stats.memory_tokens,
        seconds=seconds,
        tokens_read=reading.stats.tokens,
    )


def ranges_of(reading: Reading) -> list[Range]:
    """The characters that a reading kept."""
    return [(one.start, one.end) for one in reading.excerpts]


def _rows(cells: Sequence[Cell], length: int, *, bars: bool) -> Iterator[Row]:
    asked = {"literal": (1.0, 0.95), "paraphrase": (0.85, None), "two-hop": (None, None)}
    for kind in KINDS:
        mine = [cell for cell in cells if cell.kind == kind]
        kept, answered = asked[kind] if bars else (None, None)
        where = f"{kind} needles, {length // 1000}k"
        note = f"{len(mine)} depths, at most {max(cell.memory_tokens for cell in mine):,} tokens kept"
        yield Row.of(f"Foveal, {where}", "retention", fmean(c.retained for c in mine), at_least=kept, note=note)
        yield Row.of(f"Foveal, {where}", "answers", fmean(c.answered for c in mine), at_least=answered)


def _peers(bench: Bench, planted: Sequence[Planted], ours: Sequence[Cell], length: int) -> Iterator[Row]:
    """The share of needles that other choosers keep at equal tokens: those of the memory, and those of an answer."""
    few = bench.read.answer.context
    reader = InfiniRetri(bench.model, replace(bench.read, budget=few))
    readings = _retrieved(reader, planted[0].text, [one.needle.question for one in planted])
    small = _by_kind(planted, [ranges_of(reading) for reading in readings])
    whole = {kind: fmean(cell.retained for cell in ours if cell.kind == kind) for kind in KINDS}
    for kind, value in small.items():
        yield Row.of(f"Foveal, {kind} needles, {length // 1000}k", f"retention, {few} tokens", value)
    for budget, mine in ((bench.read.budget, whole), (few, small)):
        choosers = {
            "BM25S": partial(bench.bm25, budget=budget),
            "MiniLM": partial(bench.minilm, budget=budget),
            "MiniLM + BM25S": partial(bench.both, budget=budget),
        }
        for name, choose in choosers.items():
            kept = _by_kind(planted, [choose(one.text, one.needle.question) for one in planted])
            metric = f"retention, {budget:,} tokens"
            for kind, value in kept.items():
                yield Row.of(f"{name}, {kind} needles, {length // 1000}k", metric, value)
            compared = {"BM25S": "paraphrase", "MiniLM + BM25S": "two-hop"}.get(name)
            if compared:  # with many tokens another may keep all, too
                least = 0.01 if budget == few else 0.0
                ahead = mine[compared] - kept[compared]
                yield Row.of(f"Foveal less {name}, {compared}, {length // 1000}k", metric, ahead, at_least=least)
    last = _by_kind(planted, [bench.last(one.text, "", budget=8192) for one in planted])
    for kind, value in last.items():
        yield Row.of(f"last 8k tokens, {kind} needles, {length // 1000}k", "retention", value)


def _whole(bench: Bench, planted: Sequence[Planted], length: int) -> Iterator[Row]:
    """The same model's answers with the whole text before it, where its positions hold that."""
    text = planted[0].text
    tokens, name = bench.count(text), "whole text in the prompt"
    if tokens + BEHIND > bench.model.context_tokens:
        note = f"not run: {tokens:,} tokens, and {bench.model.context_tokens:,} positions"
        yield Row.of(f"{name}, {length // 1000}k", "answers", math.nan, note=note)
        return
    told = [bench.answer(text, [(0, len(text))], one.needle.question) for one in planted]
    for kind in KINDS:
        right = [
            contains(answer, one.needle.answer)
            for one, answer in zip(planted, told, strict=True)
            if one.needle.kind == kind
        ]
        yield Row.of(f"{name}, {kind} needles, {length // 1000}k", "answers", fmean(right))


def _by_kind(planted: Sequence[Planted], kept: Sequence[Sequence[Range]]) -> dict[str, float]:
    """Kind -> the share of its needles that lie in what was kept for them."""
    return {
        kind: fmean(one.retained(ranges) for one, ranges in zip(planted, kept, strict=True) if one.needle.kind == kind)
        for kind in KINDS
    }


def _controls(bench: Bench, planted: Sequence[Planted], ours: Sequence[Cell]) -> Iterator[Row]:
    literal = [one for one in planted if one.needle.kind == "literal"]
    text = literal[0].text
    yield from _wrong_questions(bench, literal)
    order = _shuffled_windows(bench, literal)
    readings = _retrieved(bench.reader, order[0].text, [one.needle.question for one in order])
    same = fmean(cell.retained for cell in ours if cell.kind == "literal")
    yield Row.of("control: windows shuffled", "retention", retention(order, readings), at_least=same - 0.1)
    attention = replace(bench.read, words=False)  # what words add does not come from the model
    reader = InfiniRetri(bench.model, attention, profile=random_heads(bench, bench.settings.seed))
    readings = _retrieved(reader, text, [one.needle.question for one in literal])
    note = "as many heads of the same depths"
    yield Row.of("control: heads drawn at random", "retention", retention(literal, readings), note=note)
    yield from _random_weights(bench, literal)


def _parts(bench: Bench, planted: Sequence[Planted]) -> Iterator[Row]:
    """What parts of the reader do: without the second look, without words; and whether scores hang on the window."""
    text, questions = planted[0].text, [one.needle.question for one in planted]

    def kept(settings: ReadSettings) -> tuple[list[Reading], dict[str, float]]:
        readings = _retrieved(InfiniRetri(bench.model, settings), text, questions)
        return readings, _by_kind(planted, [ranges_of(reading) for reading in readings])

    without = {"no second look": replace(bench.read, follow=0), "no words": replace(bench.read, words=False)}
    for name, settings in without.items():
        for kind, value in kept(settings)[1].items():
            yield Row.of(f"part: {name}, {kind} needles", "retention", value)
    scores = {}
    for window in (bench.read.window // 3, bench.read.window, 2 * bench.read.window):
        readings, found = kept(replace(bench.read, window=window, words=False))
        own = [_score_of(one, reading) for one, reading in zip(planted, readings, strict=True) if _single(one)]
        scores[window] = median(own)
        note = f"median score {scores[window]:.2f}"
        yield Row.of(f"part: windows of {window:,} tokens", "retention, literal", found["literal"], note=note)
    spread = max(scores.values()) / max(1e-9, min(scores.values()))
    yield Row.of("part: needles' scores over window sizes", "largest / least", spread, at_most=2)


def _single(planted: Planted) -> bool:
    return len(planted.ranges) == 1


def _wrong_questions(bench: Bench, literal: Sequence[Planted]) -> Iterator[Row]:
    """Each needle alone in a text, and questions that are not about it, with a memory of a 64th of the text.

    A 64th, because a short text's whole budget would hold an eighth of it. A question about another invented fact,
    which the text does not hold, has nothing better to keep than this one: there the scores are told.
    """
    budget = max(64, bench.count(literal[0].text) // 64)
    reader = InfiniRetri(bench.model, replace(bench.read, budget=budget))
    haystack = bench.haystack(8_000 if bench.settings.quick else 16_000)
    own, essays, other = [], [], []
    for one, wrong in zip(literal, wrong_question([one.needle for one in literal]), strict=True):
        alone = plant(haystack, one.needle, one.needle.depths(one.depths[0]))
        found = [
            _score_of(alone, reading)
            for reading in _retrieved(reader, alone.text, [one.needle.question, wrong.question, *ABOUT_ESSAYS])
        ]
        own.append(found[0])
        other.append(found[1])
        essays += found[2:]
    note = f"one needle in a text, {budget} tokens kept"
    yield Row.of("control: the needle's question", "retention", _kept(own), at_least=0.9, note=note)
    yield Row.of("control: questions about the essays", "retention", _kept(essays), at_most=0.1, note=note)
    note = f"retention {_kept(other):.2f}: nothing in the text answers"
    ratio = fmean(other) / max(1e-9, fmean(own))
    yield Row.of("control: another needle's question", "score, ratio", ratio, at_most=0.5, note=note)


def _kept(scores: Sequence[float]) -> float:
    return fmean(score > 0 for score in scores)


def _score_of(planted: Planted, reading: Reading) -> float:
    """What the excerpt that holds the needle scored; 0 where none does."""
    (place,) = planted.ranges
    scores = [one.score for one in reading.excerpts if one.start <= place[0] and place[1] <= one.end]
    return scores[0] if scores else 0.0


def _random_weights(bench: Bench, literal: Sequence[Planted]) -> Iterator[Row]:
    """The same reader over the same architecture with weights that know nothing."""
    import torch

    torch.manual_seed(bench.settings.seed)
    blank = type(bench.model.model)(bench.model.model.config).to(bench.model.dtype).eval()
    attention = replace(bench.read, words=False)
    reader = InfiniRetri(replace(bench.model, model=blank), attention, profile=bench.reader.looking.profile)
    readings = _retrieved(reader, literal[0].text, [one.needle.question for one in literal])
    yield Row.of("control: weights drawn at random", "retention", retention(literal, readings), at_most=0.4)


def random_heads(bench: Bench, seed: int) -> Profile:
    """As many heads as the profile has, of layers as deep, drawn at random."""
    profile = bench.reader.looking.profile
    draw = random.Random(seed)
    count = bench.model.model.config.num_attention_heads
    every = [(layer, head) for layer in range(profile.depth) for head in range(count)]
    return replace(profile, heads=tuple(draw.sample(every, len(profile.heads))))


def _retrieved(reader: InfiniRetri, text: str, questions: Sequence[str]) -> list[Reading]:
    return list(reader.retrieve_many(text, questions))


def retention(planted: Sequence[Planted], readings: Sequence[Reading]) -> float:
    return fmean(one.retained(ranges_of(reading)) for one, reading in zip(planted, readings, strict=True))


def _shuffled_windows(bench: Bench, planted: Sequence[Planted]) -> list[Planted]:
    """The same text with its windows in another order, and the needles' new places."""
    text = planted[0].text
    starts = [one.start for one in bench.sentences(text)][::24]
    edges = [0, *starts[1:], len(text)]
    pieces = [text[a:b] + " " for a, b in pairwise(edges)]
    random.Random(bench.settings.seed).shuffle(pieces)
    mixed = "".join(pieces)
    found = [(mixed.find(one.needle.sentences[0]), one) for one in planted]
    return [replace(one, text=mixed, ranges=((at, at + len(one.needle.sentences[0])),)) for at, one in found]


def million(bench: Bench, text: str) -> Iterator[Row]:
    """One pass over a million tokens of real text with five needles and five questions, and how its rate holds."""
    kinds: list[Needle] = make("literal", 5, seed=bench.settings.seed + 7)
    planted = plant_all(text, kinds, [10, 30, 50, 70, 90])
    start = time.perf_counter()
    passed: list[tuple[int, float]] = []  # tokens, seconds
    readings: Sequence[Reading] = ()
    for event in bench.reader.stream(planted[0].text, [one.needle.question for one in planted]):
        if isinstance(event, WindowRead):
            passed.append((event.tokens, time.perf_counter() - start))
        elif isinstance(event, Done):
            readings = event.readings
    took = time.perf_counter() - start
    tokens = readings[0].stats.tokens
    first = [next(one for one in passed if one[0] >= length) for length in REPORTED] + passed[-1:]
    for length, seconds in first:
        yield Row.of(f"five questions, the first {length / 1000:,.0f}k tokens", "tokens/s", length / seconds)
    grown = growth(*zip(*first, strict=True))
    yield Row.of("five questions", "growth of time with length (1: linear)", grown, at_most=1.15)
    note = f"{tokens:,} tokens in {took / 60:.1f} min; peak {readings[0].stats.peak_bytes / 2**30:.1f} GiB"
    yield Row.of("a million tokens, five needles", "retention", retention(planted, readings), at_least=1.0, note=note)
    answered = fmean(contains(r.text, one.needle.answer) for r, one in zip(readings, planted, strict=True))
    yield Row.of("a million tokens, five needles", "answers", answered, at_least=1.0)
    yield Row.of("a million tokens, five needles", "tokens", tokens, at_least=1_000_000)
    yield Row.of("a million tokens, five needles", "tokens/s", tokens / took)
