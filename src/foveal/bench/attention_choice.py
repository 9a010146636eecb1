"""bench attention, choice: what FlexPrefill and DHSA keep of real attention, against the true mass.

FlexPrefill   density and mass at the paper's settings (of the longest essay's first 4,096 tokens) against figures that
              were measured when its rules were written down; by our own budget, whose columns must hold gamma by
              themselves; over heads, inputs and lengths. With a budget that leaves nothing out it is dense attention
DHSA          the mass that the second half of the rows keeps at 512 keys: oracle, predicted, fixed, random chunks, one
              choice for all heads, sinks and a window, in two models; and in the kernel's blocks, where fixed chunks
              are blocks, and where one block of first keys is always seen, not four. The control: chunks cut where
              the predictor's scores say once these are shuffled must keep less, or what it learnt is not what helps
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention import DHSA, BlockMethod, Blocks, Context, DHSABlocks, FlexPrefill, Report, block_attention
from foveal.attention.boundaries import boundaries_from
from foveal.attention.boundary_training import TokenText, measure
from foveal.attention.dhsa import shipped_predictor
from foveal.bench.attention_models import GEMMA, QWEN, Capture, PromptReader, block_mass
from foveal.bench.known_sets import held_to, is_set
from foveal.bench.settings import BenchSettings
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row, largest, least
from foveal.text.units import sentences

LENGTH = 4096
LAYERS = {QWEN: (0, 3, 6, 9, 12, 15, 18, 21, 23), GEMMA: (5, 11, 17)}
PAPER = FlexPrefill(budget="tokens", paired=False, dense_last=0, gamma=0.9, min_budget=0)
ANCHORS: tuple[tuple[dict[str, object], float, float], ...] = (
    ({}, 0.383, 0.922),
    ({"min_budget": 512}, 0.428, 0.951),
    ({"min_budget": 1024}, 0.530, 0.966),
    ({"gamma": 0.95}, 0.480, 0.951),
    ({"gamma": 0.95, "min_budget": 1024}, 0.597, 0.979),
    ({"paired": True}, 0.453, 0.957),
    ({"min_budget": 512, "paired": True}, 0.510, 0.970),
    ({"min_budget": 1024, "paired": True}, 0.617, 0.978),
    ({"gamma": 0.95, "paired": True}, 0.547, 0.973),
    ({"gamma": 0.95, "min_budget": 1024, "paired": True}, 0.682, 0.988),
)
"""Changes to the paper's settings, density and mass as measured."""

MASS_LAYERS = (3, 9, 15, 21)
ORACLE, MEAN, PUBLISHED = "oracle chunks", "oracle chunks, mean", "oracle chunks, as published (root, not centred)"
TOGETHER = ", one choice for all heads"
CHUNKS = {
    QWEN: {ORACLE: 0.788, MEAN: 0.792, PUBLISHED: 0.747, MEAN + TOGETHER: 0.739, PUBLISHED + TOGETHER: 0.708},
    GEMMA: {ORACLE: 0.676, MEAN: 0.680, PUBLISHED: 0.640},
}
"""Mass kept by oracle chunks (the first centred), as measured; reproduced within `NEAR`."""
NEAR = 0.01
LESS = 0.0001
"""By how much what must keep more mass does, at least: to the digits that are shown."""

Kept = Mapping[int, tuple[Tensor, Tensor, Context]]


def choice(settings: BenchSettings) -> Iterator[Row]:
    """All rows of this module."""
    reader = PromptReader(settings)
    capture = captured(reader, LAYERS[QWEN])
    kept = capture.kept
    yield from exact({layer: (*kept[layer], capture.values[layer]) for layer in MASS_LAYERS})
    known = is_set("the 49 essays", len(reader.essays), sum(map(len, reader.essays)))
    for row in anchors(kept):
        yield held_to("the 49 essays", known, row) if "paper" in row.system else row
    yield from adapts(reader, settings)
    yield from captured_mass(settings, QWEN, {layer: kept[layer] for layer in MASS_LAYERS}, known=known)
    other = PromptReader(settings, GEMMA)
    yield from captured_mass(settings, GEMMA, captured(other, LAYERS[GEMMA]).kept, known=known)
    for one in (reader, other):
        yield from predicts(one)


def captured(reader: PromptReader, layers: Sequence[int]) -> Capture:
    """Queries, keys and values of `layers` over the beginning of the longest essay."""
    capture = Capture(layers)
    reader.read(reader.tokens(LENGTH), capture)
    return capture


# -- FlexPrefill -----------------------------------------------------------------------------------------------------


def exact(kept: Mapping[int, tuple[Tensor, Tensor, Context, Tensor]]) -> Iterator[Row]:
    """The greatest difference to PyTorch's attention where the least budget is all of a text that no block divides.

    As a share of the greatest output: a real layer's reach 16, and in bfloat16 such a number alone is rounded by .03.
    """
    length = LENGTH - 37
    method = FlexPrefill(min_budget=length - 1)
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        ours, theirs = list[float](), list[float]()
        for query, key, context, value in kept.values():
            q, k, v = (part[:, :, :length].to(dtype) for part in (query, key, value))
            dense = partial(scaled_dot_product_attention, is_causal=True, enable_gqa=True, scale=context.scale)
            full = dense(q.float(), k.float(), v.float())
            blocks = method.prefill(q, k, context)
            assert blocks is not None
            output, _ = block_attention(q, k, v, blocks, scale=context.scale, softcap=context.softcap)
            for errors, found in ((ours, output), (theirs, dense(q, k, v))):
                errors.append(float((found.float() - full).abs().max() / full.abs().max()))
        note = f"PyTorch's own {largest(*theirs):.1e}; layers {', '.join(map(str, kept))}"
        name = f"FlexPrefill, a least budget of all tokens, {str(dtype).removeprefix('torch.')}"
        yield Row.of(name, "greatest error / output", largest(*ours), at_most=most, note=note)


def anchors(kept: Kept) -> Iterator[Row]:
    """Density and mass at the settings that were measured, and at ours."""
    true = {layer: block_mass(q, k, context.scale, rows=128, columns=128) for layer, (q, k, context) in kept.items()}
    for change, density, mass in ANCHORS:
        method = replace(PAPER, **change)  # type: ignore[arg-type]
        name = f"FlexPrefill, paper, gamma {method.gamma}, least {method.min_budget}{', paired' * method.paired}"
        found_density, found_mass = kept_by(method, kept, true)
        yield Row.of(name, "density", found_density, at_least=density - 0.03, at_most=density + 0.03)
        yield Row.of(name, "mass kept", found_mass, at_least=mass - 0.02, at_most=mass + 0.02)
    for gamma in (0.9, 0.95):
        found_density, found_mass = kept_by(FlexPrefill(gamma=gamma), kept, true)
        yield Row.of(f"FlexPrefill, ours, gamma {gamma}", "density", found_density)
        yield Row.of(f"FlexPrefill, ours, gamma {gamma}", "mass kept", found_mass, at_least=gamma)
    yield from _covered(kept, true)


def _covered(kept: Kept, true: Mapping[int, Tensor]) -> Iterator[Row]:
    """The mass of the last queries in the kept columns alone, the least of all heads that go by lines; and how many
    heads do not."""
    for gamma in (0.9, 0.95):
        method, masses, shares = FlexPrefill(gamma=gamma, min_budget=0, dense_last=0), list[float](), list[float]()
        for layer, (query, key, context) in kept.items():
            blocks = method.prefill(query, key, context)
            assert blocks is not None
            aware, columns = blocks.notes["query-aware"][0], (blocks.keep | ~blocks.visible)[0].all(1)
            masses += (true[layer][:, -1] * columns).sum(-1)[~aware].tolist()
            shares.append(float(aware.float().mean()))
        note = f"of {len(masses)} heads"
        name = f"FlexPrefill, ours, gamma {gamma}, columns alone, of the last queries"
        yield Row.of(name, "least mass kept", least(*masses) if masses else math.nan, at_least=gamma, note=note)
    note = "0.095 when its rules were written down"
    yield Row.of("FlexPrefill, heads that go by the map of block means", "share", fmean(shares), note=note)


def kept_by(method: BlockMethod, kept: Kept, true: Mapping[int, Tensor]) -> tuple[float, float]:
    """Density, and share of the true mass, mean over layers, heads and rows."""
    densities, masses = [], []
    for layer, (query, key, context) in kept.items():
        blocks = method.prefill(query, key, context) or Blocks.causal(LENGTH, LENGTH)
        densities.append(float(blocks.density().mean()))
        masses.append(float((true[layer] * blocks.keep[0]).sum(-1).mean()))
    return fmean(densities), fmean(masses)


def adapts(reader: PromptReader, settings: BenchSettings) -> Iterator[Row]:
    """Density over heads, over inputs, and over lengths."""
    method = FlexPrefill(gamma=0.9, min_budget=0)
    essay = reader.tokens(LENGTH)
    heads = _densities(reader, essay, method)
    yield Row.of("FlexPrefill, density over heads", "standard deviation", float(heads.std()), at_least=0.1)
    repeated = (essay[: LENGTH // 8] * 8)[:LENGTH]
    again = float(_densities(reader, repeated, method).mean())
    mixed = float(_densities(reader, _shuffled(reader, settings.seed), method).mean())
    note = f"a repeated paragraph {again:.3f}, shuffled sentences {mixed:.3f}"
    yield Row.of("FlexPrefill, shuffled less repeated", "density", mixed - again, at_least=0.005, note=note)
    lengths = (2_048, 4_096, 8_192) if settings.quick else (4_096, 8_192, 16_384, 32_768, 65_536)
    curves: dict[str, list[float]] = {}
    for gamma in (0.9, 0.95):
        found = [
            reader.read(reader.tokens(length), FlexPrefill(gamma=gamma), report=Report(rows=0)).report.density
            for length in lengths
        ]
        curves[f"gamma {gamma}"] = found
        note = ", ".join(f"{length // 1024}k {value:.3f}" for length, value in zip(lengths, found, strict=True))
        falls = found[0] - found[-1]
        yield Row.of(f"FlexPrefill, gamma {gamma}, shortest less longest", "density", falls, at_least=0.05, note=note)
    lines(
        lengths,
        curves,
        settings.cache / "pictures" / "flexprefill-density.png",
        title="FlexPrefill: blocks looked at",
        x_label="tokens",
        y_label="share of the causal blocks",
        logarithmic="x",
    )


def _densities(reader: PromptReader, ids: Sequence[int], method: BlockMethod) -> Tensor:
    """Density of each layer and head."""
    found = reader.read(ids, method, report=Report(rows=0)).report
    return torch.stack([look.density for look in found.looks])


def _shuffled(reader: PromptReader, seed: int) -> list[int]:
    sentences = " ".join(reader.essays[:4]).split(". ")
    random.Random(seed).shuffle(sentences)
    return reader.model.encode(". ".join(sentences))[:LENGTH]


# -- DHSA ------------------------------------------------------------------------------------------------------------

DHSA_KEYS = 512
Keep = Callable[[Tensor, Tensor, Context], Tensor]
"""Queries, keys and where they stand -> what each block of 128 queries looks at (1, H or 1, blocks, K)."""


def captured_mass(settings: BenchSettings, model: str, kept: Kept, *, known: bool = True) -> Iterator[Row]:
    """The mass that chunks of each kind keep, token by token, and how much of the way to the oracle's the predictor
    goes; then that of the kernel's blocks. `known`: of the essays that some of it was measured on before.
    """
    method = DHSA(budget=DHSA_KEYS, sink=128, dense_tail=0)  # sinks as they were measured
    oracle, fixed = replace(method, boundaries="oracle"), replace(method, boundaries="fixed")
    ways: dict[str, Keep] = {
        ORACLE: by_token(oracle),
        "predicted chunks": by_token(method),
        "fixed chunks of 32": by_token(fixed),
        "fixed chunks of 16": by_token(replace(fixed, chunk=16)),
        "random chunks": partial(random_chunks, method, settings.seed),
        "predicted chunks, scores shuffled": partial(shuffled_chunks, method, settings.seed),
        MEAN: by_token(replace(oracle, pooling="mean")),
        PUBLISHED: by_token(replace(oracle, pooling="sqrt")),
        MEAN + TOGETHER: partial(heads_together, replace(oracle, pooling="mean")),
        PUBLISHED + TOGETHER: partial(heads_together, replace(oracle, pooling="sqrt")),
        f"predicted chunks{TOGETHER}": partial(heads_together, method),
        **shared_by_layers(method, kept),
        "sinks and window": sinks_and_window,
        "predicted chunks, in the kernel's blocks": partial(in_blocks, method),
        "predicted chunks, in the kernel's blocks, one of them first": partial(in_blocks, replace(method, sink=1)),
        "fixed chunks of 32, in the kernel's blocks": partial(in_blocks, fixed),
        "fixed chunks of 32, in the kernel's blocks, one of them first": partial(in_blocks, replace(fixed, sink=1)),
        **{
            f"second version, by {one}": partial(in_blocks, DHSABlocks(DHSA_KEYS / LENGTH, one, dense_tail=0))
            for one in ("lines", "means")
        },
    }
    true = {layer: tail_attention(*one) for layer, one in kept.items()}
    found = {name: mean_mass(way, kept, true) for name, way in ways.items()}
    for name, value in found.items():
        before = CHUNKS[model].get(name)
        bars = {} if before is None else {"at_least": before - NEAR, "at_most": before + NEAR}
        row = Row.of(f"DHSA, {model}, {name}", "mass kept", value, note=f"{DHSA_KEYS} keys", **bars)
        yield held_to("the 49 essays", known, row)
    predicted = found["predicted chunks"]
    for other, name in (("fixed", "fixed chunks of 32"), ("random", "random chunks")):
        closed = (predicted - found[name]) / (found[ORACLE] - found[name])
        yield Row.of(f"DHSA, {model}, predicted, of the gap {other} to oracle", "share closed", closed, at_least=0.6)
    ahead = predicted - found["sinks and window"]
    yield Row.of(f"DHSA, {model}, less sinks and window", "mass kept", ahead, at_least=LESS)
    lost = predicted - found["predicted chunks, scores shuffled"]
    yield Row.of(f"DHSA, {model}, lost where the predictor's scores are shuffled", "mass kept", lost, at_least=LESS)
    most = max(int(in_blocks(method, *one).sum(-1).max()) for one in kept.values())
    yield Row.of(f"DHSA, {model}, in the kernel's blocks", "most keys of a query", most, at_most=DHSA_KEYS)


def predicts(reader: PromptReader) -> Iterator[Row]:
    """How well the shipped predictor finds the boundaries of essays, which it has not seen, beside what is not trained.

    Fixed chunks and sentences' ends mark what they mark; random and cosine are told how many there are.
    """
    predictor = shipped_predictor(reader.model.model.config)
    texts = [_marked(reader, text) for text in reader.essays[: 1 if reader.settings.quick else 3]]
    found = measure(reader.model.model, predictor, texts, length=2_048, seed=reader.settings.seed)
    best = max((name for name in found if name != "predictor"), key=lambda name: found[name].f1)
    note = ", ".join(f"{name} {one.f1:.2f}" for name, one in found.items())
    name = f"DHSA, {reader.model_name}, predictor / {best}"
    yield Row.of(name, "F1 of boundaries, ratio", found["predictor"].f1 / found[best].f1, at_least=1.5, note=note)
    best = max((name for name in found if name != "predictor"), key=lambda name: found[name].overlap)
    note = ", ".join(f"{name} {one.overlap:.2f}" for name, one in found.items())
    name, ahead = f"DHSA, {reader.model_name}, predictor / {best}", found["predictor"].overlap / found[best].overlap
    yield Row.of(name, "overlap of the first 16th, ratio", ahead, at_least=1.5, note=note)


def _marked(reader: PromptReader, text: str) -> TokenText:
    """A text's tokens, with those that end a sentence."""
    told = reader.model.tokenizer(text[:20_000], return_offsets_mapping=True)
    ends = {start + len(text[start:end].rstrip()) for start, end in sentences(text[:20_000])}
    places = [number for number, (start, end) in enumerate(told.offset_mapping) if start < end and end in ends]
    return TokenText(told.input_ids, places)


def tail_attention(query: Tensor, key: Tensor, context: Context) -> Tensor:
    """True attention of the second half of the rows, the mean of each 128: (H, rows, K)."""
    half, group = LENGTH // 2, query.shape[1] // key.shape[1]
    hidden = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)[half:]
    return torch.stack(
        [
            (query[0, head, half:].float() @ key[0, head // group].float().T * context.scale)
            .masked_fill_(hidden, -torch.inf)
            .softmax(-1)
            .view(-1, 128, LENGTH)
            .mean(1)
            for head in range(query.shape[1])
        ]
    )


def mean_mass(way: Keep, kept: Kept, true: Mapping[int, Tensor]) -> float:
    """The share of the true mass in what `way` keeps, mean over layers, heads and rows."""
    return fmean(float((true[layer] * way(*one)[0][:, LENGTH // 256 :]).sum(-1).mean()) for layer, one in kept.items())


def by_token(method: DHSA) -> Keep:
    """The paper's selection at the method's own boundaries."""
    return lambda query, key, context: method.token_keep(query, key, method.cut(query, key, context))


def in_blocks(method: BlockMethod, query: Tensor, key: Tensor, context: Context) -> Tensor:
    """What the kernel gets."""
    blocks = method.prefill(query, key, context)
    assert blocks is not None
    return blocks.keep.repeat_interleave(method.key_block, -1)


def heads_together(method: DHSA, query: Tensor, key: Tensor, context: Context) -> Tensor:
    """Queries and keys averaged over heads first, as the published code does: one choice for all."""
    bounds = method.cut(query, key, context)
    return method.token_keep(query.mean(1, keepdim=True), key.mean(1, keepdim=True), bounds)


def shared_by_layers(method: DHSA, kept: Kept) -> dict[str, Keep]:
    """The chunks of the first of these layers for all of them, and its choice, too."""
    first = next(iter(kept.values()))
    bounds = method.cut(*first)
    chosen = method.token_keep(*first[:2], bounds)
    return {
        f"predicted chunks of layer {min(kept)}": lambda query, key, _: method.token_keep(query, key, bounds),
        f"choice of layer {min(kept)}": lambda *_: chosen,
    }


def random_chunks(method: DHSA, seed: int, query: Tensor, key: Tensor, context: Context) -> Tensor:
    """As many chunks as the oracle's, anywhere."""
    count = len(replace(method, boundaries="oracle").cut(query, key, context))
    draw = torch.Generator().manual_seed(seed + context.layer)
    inner = torch.randperm(LENGTH - 1, generator=draw)[: count - 2] + 1
    bounds = torch.cat([torch.tensor([0]), inner.sort().values, torch.tensor([LENGTH])])
    return method.token_keep(query, key, bounds)


def shuffled_chunks(method: DHSA, seed: int, query: Tensor, key: Tensor, context: Context) -> Tensor:
    """Chunks cut by the predictor's own scores, each at another token."""
    scores = (method.predictor or shipped_predictor(context.module.config)).predict(key)[0]
    draw = torch.Generator().manual_seed(seed + context.layer)
    bounds = boundaries_from(scores[torch.randperm(len(scores), generator=draw)])
    return method.token_keep(query, key, bounds)


def sinks_and_window(query: Tensor, key: Tensor, context: Context) -> Tensor:  # noqa: ARG001
    """The first 128 keys and, of each block of queries, the last ones, as many in all."""
    end = (torch.arange(LENGTH // 128)[:, None] + 1) * 128
    places = torch.arange(LENGTH)
    return ((places < 128) | ((places >= end - (DHSA_KEYS - 128)) & (places < end)))[None, None]
