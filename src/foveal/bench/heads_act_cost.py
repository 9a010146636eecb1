"""bench heads-act, cost: what a search costs against its plain loop, what calibration costs, and that it does no harm.

search      the same trials by one whole pass for each head (also over lean layers) and by shared layers: times as fast,
            outcomes that differ
prefill     2,048 tokens with 5 % of the heads calibrated, in turn with the model as it is
memory      the most that a process holds at 8,192 tokens (--quick: 2,048), with the model and above it
needles     codes in essays at three lengths, as it is and calibrated by the heads that heads_act_gain.py searched: over
            all lengths no more than 2 points of them may be lost, of at least twice as many
rows        what the reader keeps, with sinks taken from the rows that it scores by, at an equal budget
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

import torch

from foveal.attention.act import ACT
from foveal.attention.act_evaluation import candidates, drawn_heads
from foveal.attention.act_files import Calibration
from foveal.attention.act_search import SearchSettings, one_by_one, outcomes
from foveal.attention.head_detection import placed, prompt_parts
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_heads import Head, by_layer
from foveal.bench.attention_models import QWEN, PromptReader, peak_of
from foveal.bench.heads_act_data import search_parts
from foveal.bench.heads_act_gain import strongest
from foveal.bench.heads_data import ASK, answered, essays, keys
from foveal.bench.read_needles import KINDS, planted_at, ranges_of
from foveal.bench.readers import Bench
from foveal.bench.settings import BenchSettings
from foveal.evaluation.haystack import haystack, plant_all
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.models.key_values import KeyValues, rewind
from foveal.models.language import LanguageModel
from foveal.reading import InfiniRetri

SHARE = 0.05
"""Of all heads, calibrated where the cost is measured."""
LONG = 8_192
CODES = 24
"""Codes of a text."""
LOST = 2.0
"""Points of the codes that may be lost."""


def cost_rows(settings: BenchSettings, model: LanguageModel) -> Iterator[Row]:
    """All rows of this module."""
    config = model.model.config
    count = round(SHARE * config.num_hidden_layers * config.num_attention_heads)
    heads = drawn_heads(candidates(model), count, settings.seed)
    yield from search_rows(settings, model)
    yield from prefill_rows(settings, model, heads)
    yield from memory_rows(settings, heads)
    yield from reading_rows(settings)


def search_rows(settings: BenchSettings, model: LanguageModel) -> Iterator[Row]:
    """The plain loop beside the shared one, on the same heads and examples."""
    among = candidates(model)
    if settings.quick:
        among = [head for head in among if head[0] % 6 == 2]
    examples = search_parts(settings, 1 if settings.quick else 2, 1)[0]
    asked = SearchSettings()
    outcomes(model, examples[0], among[:1], asked)  # weights are packed
    spent = {"plain": 0.0, "shared": 0.0}
    differ, worst = 0, 0.0
    for example in examples:
        begun = time.perf_counter()
        _, plain = one_by_one(model, example, among, asked)
        between = time.perf_counter()
        same, found = outcomes(model, example, among, asked)
        spent["plain"] += between - begun
        spent["shared"] += time.perf_counter() - between
        mine = [found.get(head, same) for head in among]
        differ += sum(one.right != plain[head].right for head, one in zip(among, mine, strict=True))
        worst = max(worst, *(abs(one.nats - plain[head].nats) for head, one in zip(among, mine, strict=True)))
    note = f"{len(among)} heads, {len(examples)} examples: {spent['plain']:.1f} s against {spent['shared']:.1f}"
    yield Row.of(
        "search over shared layers",
        "times as fast as a pass for each head",
        spent["plain"] / spent["shared"],
        at_least=3,
        note=note,
    )
    note = f"{model.dtype}; largest difference {worst:.4f} nats"
    yield Row.of("search over shared layers", "outcomes that differ", differ, at_most=0, note=note)


def prefill_rows(settings: BenchSettings, model: LanguageModel, heads: Sequence[Head]) -> Iterator[Row]:
    """Seconds of a prompt, in turn."""
    ids = torch.tensor([PromptReader(settings).tokens(2048)])

    def read(method: ACT | None) -> None:
        layers = [KeyValues() for _ in range(model.model.config.num_hidden_layers)]
        prefill(model.model, ids, layers, method=method)

    ratio = paired(lambda: read(None), lambda: read(ACT(by_layer(heads))), runs=3 if settings.quick else 7)
    yield Row.of(
        f"{len(heads)} heads calibrated, 2,048 tokens",
        "overhead of prefill",
        1 / ratio.median - 1,
        at_most=0.05,
        note=str(ratio),
    )


_PEAK = """
import torch
from foveal.attention.act import ACT
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_heads import by_layer
from foveal.models.key_values import KeyValues
from foveal.models.language import load_language_model

name, heads, ids = json.load(sys.stdin)
model = load_language_model(name).model

def read(ids):
    layers = [KeyValues() for _ in range(model.config.num_hidden_layers)]
    prefill(model, torch.tensor([ids]), layers, method=ACT(by_layer(map(tuple, heads))) if heads else None)

read([1, 2, 3])
loaded = resident("VmRSS:")
read(ids)
print(json.dumps([resident("VmHWM:"), loaded]))
"""


def memory_rows(settings: BenchSettings, heads: Sequence[Head]) -> Iterator[Row]:
    """Peak memory of two processes; above the loaded model, too, in which a matrix of tokens by tokens shows also where
    the text is short."""
    if not sys.platform.startswith("linux"):
        return
    length = 2048 if settings.quick else LONG
    ids = PromptReader(settings).tokens(length)
    plain, ours = _peak([], ids), _peak(heads, ids)
    note = ", ".join(
        f"{peak / 2**30:.2f} GiB ({(peak - loaded) / 2**30:.2f} above the model)" for peak, loaded in (plain, ours)
    )
    yield Row.of(
        f"{len(heads)} heads calibrated, {length:,} tokens",
        "peak memory / dense",
        ours[0] / plain[0],
        at_most=1.1,
        note=note,
    )
    above = (ours[0] - ours[1]) / max(1, plain[0] - plain[1])
    yield Row.of(
        f"{len(heads)} heads calibrated, {length:,} tokens", "peak memory above the model / dense", above, at_most=1.1
    )


def _peak(heads: Sequence[Head], ids: Sequence[int]) -> tuple[int, int]:
    return peak_of(_PEAK, [QWEN, [*heads], [*ids]])


def needle_rows(settings: BenchSettings, model: LanguageModel, made: Calibration) -> Iterator[Row]:
    """Codes that are given from texts that were read with and without the calibration that was searched."""
    tried, name = strongest(made)
    method = ACT(by_layer(tried.heads), beta=tried.beta, rule=tried.rule)
    plain: list[tuple[bool, float]] = []
    ours: list[tuple[bool, float]] = []
    for length in (2_000,) if settings.quick else (2_000, 4_000, 8_000):
        before, after = (_given(settings, model, way, length) for way in (None, method))
        plain, ours = plain + before, ours + after
        yield harm_row(f"{name}, {length:,} tokens", before, after)
    least = -LOST if not settings.quick else -100 / len(ours)
    yield given_row(plain, least)
    yield harm_row(f"{name}, all lengths", plain, ours, at_least=least)


def given_row(plain: Sequence[tuple[bool, float]], least: float) -> Row:
    """What the model gives as it is: more than may be lost, or nothing could show that too much was."""
    given = fmean(right for right, _ in plain)
    return Row.of("as it is, all lengths", "codes given", given, at_least=-2 * least / 100, note=f"{len(plain)} codes")


def harm_row(
    name: str,
    before: Sequence[tuple[bool, float]],
    after: Sequence[tuple[bool, float]],
    *,
    at_least: float | None = None,
) -> Row:
    """The codes given with calibration less those given without."""
    (plain, was), (ours, now) = ((fmean(one) for one in zip(*told, strict=True)) for told in (before, after))
    note = f"{len(after)} codes; {plain:.2f} before; nats a token {was:.3f}, then {now:.3f}"
    return Row.of(name, "codes given, less as it is, points", 100 * (ours - plain), at_least=at_least, note=note)


def _given(settings: BenchSettings, model: LanguageModel, method: ACT | None, length: int) -> list[tuple[bool, float]]:
    count = CODES // 3 if settings.quick else CODES
    chosen = keys(count, settings.seed + length)
    hay = haystack(essays(settings), length, lambda text: len(model.encode(text)))
    planted = plant_all(hay, [one.needle for one in chosen], [100 * (place + 0.5) / count for place in range(count)])
    head, ask = prompt_parts(model, planted[0].text, ASK)
    ids, _ = placed(model, head, planted)
    layers = [KeyValues() for _ in range(model.model.config.num_hidden_layers)]
    prefill(model.model, torch.tensor([ids]), layers, method=method)
    told = []
    for key in chosen:
        rewind(layers, len(ids))
        asked = ask(key.needle.question) + model.encode(key.prefix)
        told.append(answered(model, layers, method, asked, model.encode(" " + key.needle.answer)))
    return told


def reading_rows(settings: BenchSettings) -> Iterator[Row]:
    """What the reader keeps of needles, at one budget."""
    bench = Bench(settings)
    length = 4_000 if settings.quick else 16_000
    planted = planted_at(bench, length)
    for beta in (1.0, 0.4):
        reader = InfiniRetri(bench.model, replace(bench.read, row_beta=beta, budget=256))
        readings = reader.retrieve_many(planted[0].text, [one.needle.question for one in planted])
        kept: dict[str, list[bool]] = {kind: [] for kind in KINDS}
        for one, reading in zip(planted, readings, strict=True):
            kept[one.needle.kind].append(one.retained(ranges_of(reading)))
        share = {kind: fmean(own) for kind, own in kept.items()}
        note = ", ".join(f"{kind} {value:.2f}" for kind, value in share.items())
        name = f"reader, {'rows as they are' if beta == 1 else f'rows calibrated, beta {beta}'}, {length:,} tokens"
        yield Row.of(name, "needles kept, 256 tokens", fmean(share.values()), note=note)
        yield Row.of(name, "tokens kept", fmean(reading.stats.memory_tokens for reading in readings))
