"""bench heads, compression: answers over a cache that is cut by the role of heads, at equal size beside others.

A long text of essays holds 24 keys, one of which is asked for; it is read once, and each question comes behind the cut
cache, as it would in a conversation about a text. So no policy has seen the question when it chooses; SnapKV also in
its own setting, where the question was read over everything before it chose (nothing is saved until then).

razor (gates)    the key-value heads with the highest gates (head_gates.py) keep everything, the others their ends and
                 one key for the rest: the default
razor (repeats)  the same by the heads that RazorAttention itself protects (head_repetition.py)
duo (gates)      as the default, without that key
duo (copy)       the heads with the best copy scores
headkv           tokens by the same gates
random           as many key-value heads, drawn; by the policy of the default, so that only the heads differ

The full run also asks behind 2,000, 4,000 and 8,000 tokens, at a half and a quarter of the cache: each policy by the
heads that were found and by heads that are drawn, beside a window. What is asked there holds over the three lengths.

Sizes are bytes held, not what was asked for. Needs the data set essays; the text is kept in the bench's cache (400 MB
at 32k tokens), answers as they come: a stopped run goes on. Above 16k tokens the text is read by FlexPrefill. Not run
here: DuoAttention's speed on a GPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from foveal.attention.head_cache import HeadCache
from foveal.attention.head_gates import train_gates
from foveal.attention.head_repetition import RepeatSettings, detect_repeats
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_heads import HeadScores, find_scores, head_scores, load_scores
from foveal.bench.attention_models import QWEN
from foveal.bench.code import code_digest
from foveal.bench.heads_data import Key, Observed, ReadText, answered, read_text
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.likelihood import paired
from foveal.evaluation.plots import bars
from foveal.evaluation.tables import Row
from foveal.models.key_values import rewind
from foveal.models.language import LanguageModel, load_language_model

KEEP = 0.395
OURS, REPEATS = "razor (gates)", "razor (repeats)"
KEYS = 24
LONG, QUICK = 32_000, 4_000
QUICK_REPEATED = 500
"""Tokens of the text that repeats itself, in a quick run."""
LENGTHS, SHARES, FEWER = (2_000, 4_000, 8_000), (0.5, 0.25), 12
"""Tokens of the shorter texts, shares of the cache that are kept of them, and questions behind each."""
ANSWERED = 0.001
"""What the full cache must answer: where it answers nothing, no smaller one is behind."""
POLICIES = {"razor": OURS, "duo": "duo (gates)", "headkv": "headkv (gates)"}
FRESH = 1000
"""What is added to the seed of texts and questions: which policy is the default was seen on those of the seed."""


@dataclass(frozen=True)
class Cell:
    """One question over one cache: whether it was answered, nats a token of the gold answer, and the cache's size."""

    system: str
    question: str
    right: bool
    nats: float
    share: float
    held: int  # bytes


def compression(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-compression`."""
    model = load_language_model(QWEN)
    gates, copy = find_scores(model, "gates") or train_gates(model), head_scores(model)
    repeats = repeat_scores(settings, model, RepeatSettings(tokens=QUICK_REPEATED) if settings.quick else None)
    text = asked_text(settings, model, QUICK if settings.quick else LONG, KEYS)
    systems = {"full cache": None, **dict(_methods(gates, copy, repeats, draws=1 if settings.quick else 2))}
    store = settings.cache / "heads" / f"compression-{_digest(text, (gates, copy, repeats), KEEP)}.jsonl"
    where = f"{len(text.ids):,} tokens, {KEYS} questions"
    cells: dict[str, list[Cell]] = {}
    made: list[Row] = []
    share = 1.0
    for name, own in _cells(text, systems, store):
        cells[name], right = own, fmean(cell.right for cell in own)
        note = f"{fmean(cell.nats for cell in own):.3f} nats a token; {own[0].held / 1e6:.0f} MB"
        made.append(_answers(name, f"{name}, {where}" if name == "full cache" else name, right, note))
        yield made[-1]
        share = own[0].share if name == OURS else share
    yield Row.of(OURS, "times as small as the full cache", 1 / share, at_least=2.5)
    yield from _bars(cells)
    title = f"Answers at {KEEP:.1%} of the cache, {where}"
    bars(made, settings.cache / "pictures" / "heads-compression.png", title=title)
    if not settings.quick:
        own_way = fmean(float(_own_setting(text, key)) for key in text.keys)
        yield Row.of("snapkv, the question read before it chooses", "answers", own_way)
        yield from grid_rows(settings, model, gates, copy)


def asked_text(settings: BenchSettings, model: LanguageModel, length: int, count: int) -> ReadText:
    """A text and its questions, none of which anything was chosen by."""
    return read_text(settings, model, length, count, settings.seed + FRESH)


def repeat_scores(settings: BenchSettings, model: LanguageModel, asked: RepeatSettings | None) -> HeadScores:
    """The heads that go by earlier copies, measured once; as its file says them, so that cells are known again."""
    code = code_digest("foveal.attention.head_repetition", within="foveal.attention")
    told = f"{model.fingerprint} {model.dtype} {asked or RepeatSettings()} {code}"
    path = settings.cache / "heads" / f"repeats-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
    return load_scores(path if path.is_file() else detect_repeats(model, asked).save(path))


def grid_rows(settings: BenchSettings, model: LanguageModel, gates: HeadScores, copy: HeadScores) -> Iterator[Row]:
    """Shorter texts at a half and a quarter of the cache: found heads beside drawn ones and a window, in bytes held."""
    every: dict[float, dict[str, list[Cell]]] = {keep: {} for keep in SHARES}
    for length in LENGTHS:
        text = asked_text(settings, model, length, FEWER)
        for keep, told in every.items():
            systems = {"full cache": None, **dict(_grid_methods(gates, keep))}
            store = settings.cache / "heads" / f"compression-{_digest(text, (gates, copy), keep)}-grid.jsonl"
            own = dict(_cells(text, systems, store))
            yield from _held_rows(own, f"{len(text.ids):,} tokens, {keep:.0%} asked for")
            for name, cells in own.items():
                told.setdefault(name, []).extend(cells)
    for keep, told in every.items():
        yield from grid_bars(told, f"{LENGTHS[0]:,} to {LENGTHS[-1]:,} tokens, {keep:.0%} asked for")


def _grid_methods(gates: HeadScores, keep: float) -> Iterator[tuple[str, HeadCache]]:
    """Each policy by gates, and by two draws; and the window."""
    for policy, name in POLICIES.items():
        yield name, HeadCache(policy=policy, keep=keep, scores=gates)
        for seed in range(2):
            yield f"{policy} (drawn {seed + 1})", HeadCache(policy=policy, keep=keep, scores=drawn_scores(gates, seed))
    yield "streaming", HeadCache(policy="streaming", keep=keep)


def drawn_scores(like: HeadScores, seed: int) -> HeadScores:
    """Scores of as many heads, drawn: the control."""
    return HeadScores(torch.rand(1, *like.runs.shape[1:], generator=torch.Generator().manual_seed(seed)))


def _held_rows(cells: Mapping[str, list[Cell]], where: str) -> Iterator[Row]:
    """Answers at one length and share, and the bytes that are freed."""
    full = cells["full cache"][0].held
    for name in ("full cache", *POLICIES.values(), "streaming"):
        own = cells[name]
        nats = fmean(cell.nats for cell in own)
        note = f"{nats:.3f} nats a token; {own[0].held / 1e6:.1f} MB held, {(full - own[0].held) / 1e6:.1f} MB freed"
        yield _answers(name, f"{name}, {where}", fmean(cell.right for cell in own), note)


def _answers(name: str, system: str, right: float, note: str) -> Row:
    return Row.of(system, "answers", right, at_least=ANSWERED if name == "full cache" else None, note=note)


def grid_bars(cells: Mapping[str, list[Cell]], where: str) -> Iterator[Row]:
    """Over all lengths: found heads less drawn ones by the same policy, and the default less the window."""
    for policy, name in POLICIES.items():
        drawn = [own for other, own in cells.items() if other.startswith(f"{policy} (drawn")]
        yield less(f"{name} less drawn heads, {where}", cells[name], drawn, at_least=0.01)
    yield less(f"{OURS} less streaming, {where}", cells[OURS], [cells["streaming"]], at_least=0.01)


def less(system: str, ours: Sequence[Cell], others: Sequence[Sequence[Cell]], *, at_least: float) -> Row:
    """Points of answers ahead of others, of which the mean counts, question by question; and how sure that is."""
    apart = [one.right - fmean(other.right for other in same) for one, *same in zip(ours, *others, strict=True)]
    found = paired(apart, seed=0)
    mine, theirs = (fmean(cell.right for own in every for cell in own) for every in ([ours], others))
    note = f"{mine:.3f}, {theirs:.3f}; {found.count} questions, 95 %: {100 * found.low:+.1f} to {100 * found.high:+.1f}"
    return Row.of(system, "points", 100 * found.mean, at_least=at_least, note=note)


def _digest(text: ReadText, scores: Sequence[HeadScores], keep: float) -> str:
    """What the cells depend on."""
    code = code_digest("foveal.attention.head_cache", __name__, within="foveal.attention")
    told = f"{text.model.fingerprint} {text.ids} {' '.join(one.as_json() for one in scores)} {keep} {code}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _cells(text: ReadText, systems: Mapping[str, HeadCache | None], store: Path) -> Iterator[tuple[str, list[Cell]]]:
    """Every system with its answers; those of a run that was stopped are taken from `store`."""
    done = stored_lines(store, Cell, what="cells of heads-compression")
    for name, method in systems.items():
        if not any(cell.system == name for cell in done):
            done += _full(text, name) if method is None else _cut(text, name, method)
            write_lines(store, done)
        yield name, [cell for cell in done if cell.system == name]


def _bars(cells: Mapping[str, Sequence[Cell]]) -> Iterator[Row]:
    yield less(f"{OURS} less full", cells[OURS], [cells["full cache"]], at_least=-2)
    for other in ("snapkv", "streaming"):
        yield less(f"{OURS} less {other}", cells[OURS], [cells[other]], at_least=0.01)
    drawn = [own for name, own in cells.items() if name.startswith("random")]
    for name in (OURS, REPEATS):
        yield less(f"{name} less random heads", cells[name], drawn, at_least=0.01)


def _methods(
    gates: HeadScores, copy: HeadScores, repeats: HeadScores, *, draws: int
) -> Iterator[tuple[str, HeadCache]]:
    yield OURS, HeadCache(keep=KEEP, scores=gates)
    yield "duo (gates)", HeadCache(policy="duo", keep=KEEP, scores=gates)
    yield "snapkv", HeadCache(policy="snapkv", keep=KEEP)
    yield "streaming", HeadCache(policy="streaming", keep=KEEP)
    for seed in range(draws):
        yield f"random heads by razor, draw {seed + 1}", HeadCache(keep=KEEP, scores=drawn_scores(gates, seed))
    yield "duo (copy)", HeadCache(policy="duo", keep=KEEP, scores=copy)
    yield "headkv (gates)", HeadCache(policy="headkv", keep=KEEP, scores=gates)
    yield REPEATS, HeadCache(keep=KEEP, scores=repeats)


def _full(text: ReadText, name: str) -> list[Cell]:
    held = 2 * len(text.layers) * text.layers[0].keys[:, :, : len(text.ids)].nbytes
    cells = []
    for key in text.keys:
        rewind(text.layers, len(text.ids))
        told = answered(text.model, text.layers, None, *text.question(key))
        cells.append(Cell(name, key.needle.question, *told, 1.0, held))
    rewind(text.layers, len(text.ids))
    return cells


def _cut(text: ReadText, name: str, method: HeadCache) -> list[Cell]:
    cache = method.of_read(text.model.model, text.layers, text.observed)
    share, held = cache.share, cache.nbytes
    return [
        Cell(
            name,
            key.needle.question,
            *answered(text.model, cache.fork().layers, method, *text.question(key)),
            share,
            held,
        )
        for key in text.keys
    ]


def _own_setting(text: ReadText, key: Key) -> bool:
    """SnapKV where the question has been read over the full cache, and its last queries choose."""
    asked, gold = text.question(key)
    rewind(text.layers, len(text.ids))
    watch = Observed()
    prefill(text.model.model, torch.tensor([asked[:-1]]), text.layers, method=watch)
    method = HeadCache(policy="snapkv", keep=KEEP)
    cache = method.of_read(text.model.model, text.layers, watch.queries)
    rewind(text.layers, len(text.ids))
    return answered(text.model, cache.layers, method, asked[-1:], gold)[0]
