"""bench memory-retrieval, speed: the attention of one decoding step, and the whole step, beside what they must read.

Keys and queries of the long case are drawn from normal distributions that were fitted to a real head (the notes say
"drawn"); values are normal. Each head asks by queries of its own. Two graphs are built, one a group, and copied for the
group's other heads: the links of a copy lie elsewhere in the memory, so a walk costs what it would.

Behind a kept text the index is the one it was kept with: a graph for each of the model's 336 heads up to 32k tokens,
some 5 to 15 minutes of the processor; the text of 131k tokens is kept with the flat index, for its graphs take an hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.attention import RetrievalAttention
from foveal.attention.attach import Context
from foveal.attention.key_index import Flat, IndexSettings, Roar
from foveal.attention.masks import Mask
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_layers import MemoryLayer, Parts
from foveal.attention.memory_parts import Hidden, Scores, Tail, Window, exact
from foveal.attention.memory_store import load
from foveal.attention.owned_layers import Turn
from foveal.attention.retrieval_attention import RetrievalCache
from foveal.attention.roar_graph import RoarGraph, RoarSettings
from foveal.attention.rows import Rows
from foveal.bench.memory_retrieval_data import LOCAL, SINKS, Case, ReadText
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row

HIDDEN = 131_072
CROSSING = (4_096, 8_192, 16_384, 32_768)
GROUPS, SHARE, WIDTH = 2, 7, 64
STEPS = 256
"""Queries of each head, one for each step that may be timed."""
UNSEEN = SHARE * STEPS
"""Drawn queries of a group that its graph does not learn from: those of its heads."""


def step_rows(case: Case, *, quick: bool) -> Iterator[Row]:
    """The attention of a decoding step over drawn keys, against the best that PyTorch has over all of them."""
    queries_learnt = 1024 if quick else RoarSettings().queries
    keys, queries = _drawn(case, HIDDEN)
    layers = {}
    for count in (HIDDEN // 4, HIDDEN):
        begun = time.process_time()
        layers[count] = _layer(keys[:, :count], queries, RoarSettings(queries=queries_learnt))
        yield Row.of(
            f"graph, {count:,} drawn keys",
            "processor seconds to build a head's",
            (time.process_time() - begun) / GROUPS,
            note=f"{queries_learnt:,} training queries",
        )
    fast = [layer.fast_bytes for layer in layers.values()]
    note = f"{fast[1] / 1e6:.2f} MB a layer, read at every step"
    yield Row.of("fast memory, 128k / 32k hidden", "ratio", fast[1] / fast[0], at_most=1.001, note=note)
    yield from _against_full(layers[HIDDEN], keys, queries, runs=5 if quick else 15)
    yield against_flat(layers[HIDDEN], keys, queries, runs=5 if quick else 15)
    yield from _crossing(layers[HIDDEN // 4], keys, queries)


def _drawn(case: Case, count: int) -> tuple[Tensor, Tensor]:
    """Keys (G, count, D) bfloat16 and queries (G, T, D) drawn like those of a real head."""
    draw = torch.Generator().manual_seed(0)

    def like(points: Tensor, many: int) -> Tensor:
        mean = points.mean(0)
        values, vectors = torch.linalg.eigh((points - mean).T @ (points - mean) / len(points))
        mixed = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        drawn: Tensor = torch.randn(GROUPS, many, WIDTH, generator=draw) @ mixed + mean
        return drawn

    return like(case.keys, count).bfloat16(), like(case.as_asked, RoarSettings().queries + UNSEEN)


def _layer(keys: Tensor, queries: Tensor, settings: RoarSettings) -> MemoryLayer:
    """A settled layer of 14 heads over drawn keys (G, n, D)."""
    two = RoarGraph.build(keys, queries[:, :-UNSEEN], settings)
    links, entries = (np.repeat(part, SHARE, axis=0) for part in (two.links, two.entries))
    method = RetrievalAttention(index="roar", n_sink=SINKS, n_local=LOCAL)
    index = Roar(RoarGraph(Rows(keys), links, entries), IndexSettings(roar=settings))
    return _settled(method, index, keys)


def _settled(method: RetrievalAttention, index: Any, keys: Tensor) -> MemoryLayer:
    draw = torch.Generator().manual_seed(1)
    values = torch.randn(keys.shape, generator=draw).bfloat16()
    layer = MemoryLayer(method, 0, Turn())
    window = Window(keys[:, : SINKS + LOCAL], values[:, : SINKS + LOCAL], SINKS)
    layer.resume(
        Parts(window, Hidden(index, Rows(values), Tail.of(keys, values, method.clusters)), index.kind), keys.shape[1]
    )
    return layer


def _stepper(layer: MemoryLayer, queries: Tensor) -> Callable[[], object]:
    """Calls that attend with one new token after another, each head by a query of its own."""
    asked = queries[:, -UNSEEN:].reshape(1, GROUPS * SHARE, STEPS, WIDTH).bfloat16()
    new = torch.zeros(1, GROUPS, 1, WIDTH, dtype=torch.bfloat16)
    mask = Mask.causal(1, 1, layer.length + 1)
    context = Context(0, torch.nn.Module(), mask, WIDTH**-0.5)
    place = iter(range(STEPS))

    def step() -> Tensor:
        layer.update(new, new)
        at = next(place)
        return layer.attend(asked[:, :, at : at + 1], context)

    return step


def _against_full(layer: MemoryLayer, keys: Tensor, queries: Tensor, *, runs: int) -> Iterator[Row]:
    held = keys[None]
    values = torch.randn(held.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    asked = queries[None, :, -SHARE:].bfloat16()  # (1, G, SHARE, D): the heads of a group are queries
    spread = asked.reshape(1, GROUPS * SHARE, 1, WIDTH)
    step = _stepper(layer, queries)
    full: dict[str, Callable[[], object]] = {
        "grouped heads folded into one product": lambda: F.scaled_dot_product_attention(asked, held, values),
        "enable_gqa": lambda: F.scaled_dot_product_attention(spread, held, values, enable_gqa=True),
        "our block kernel": lambda: exact(asked[0], Rows(keys), Rows(values[0]), Scores(WIDTH**-0.5)),
    }
    with torch.inference_mode():
        best = min(full, key=lambda name: _seconds(full[name]))
        for name, call in full.items():
            yield Row.of(f"full attention, {name}", "ms a layer, 128k", 1000 * _seconds(call))
        for _ in range(8):
            step()
        layer.tally.steps = layer.tally.visited = 0
        ratio = paired(full[best], step, runs=runs)
    visited = layer.tally.visited / max(1, layer.tally.steps)
    note = f"{ratio}; {visited:,.0f} drawn keys visited; full: {best}"
    yield Row.of("one step's attention, 128k hidden", "times as fast as full", ratio.median, at_least=2, note=note)


def against_flat(layer: MemoryLayer, keys: Tensor, queries: Tensor, *, runs: int) -> Row:
    """The same step where every hidden key is scored, exactly, over that of the graph."""
    every = _settled(replace(layer.method, index="flat"), Flat(Rows(keys)), keys)
    scan, walk = _stepper(every, queries), _stepper(layer, queries)
    with torch.inference_mode():
        ratio = paired(scan, walk, runs=runs, warmup=3)
    name = f"one step's attention, {keys.shape[1] // 1024}k hidden"
    return Row.of(name, "times as fast as the flat index", ratio.median, at_least=1, note=str(ratio))


def _seconds(call: Callable[[], object], times: int = 3) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def _crossing(graph: MemoryLayer, keys: Tensor, queries: Tensor) -> Iterator[Row]:
    """Hidden keys from which a graph is faster than scoring all: a line through the times of the flat index."""
    walk = _stepper(graph, queries)
    with torch.inference_mode():
        walked = _seconds(walk, 15)
        flat = []
        for count in CROSSING:
            some = keys[:, :count].contiguous()
            scan = _stepper(_settled(replace(graph.method, index="flat"), Flat(Rows(some)), some), queries)
            flat.append(_seconds(scan, 15))
    slope, start = np.polyfit(CROSSING, flat, 1)
    crossing = max(0.0, (walked - start) / slope)
    told = ", ".join(f"{count // 1024}k {1000 * took:.2f}" for count, took in zip(CROSSING, flat, strict=True))
    note = f"graph at 32k {1000 * walked:.2f} ms; flat, ms: {told}"
    yield Row.of("flat index", "hidden keys at which the graph is as fast", crossing, note=note)


def whole_step_rows(text: ReadText, *, steps: int) -> Iterator[Row]:
    """A whole decoding step behind the kept text, beside the time that reading its bytes alone takes."""
    memory = load(text.folder, text.model)
    decoder = MemoryDecoder(text.model.model, memory.method)
    state = decoder.reading(memory, text.prompt.tail("What is this?"))
    taken = []
    for _ in range(steps):
        begun = time.perf_counter()
        decoder.step(state, [[int(state.logits.argmax())]])
        taken.append(time.perf_counter() - begun)
    told = memory.statistics()
    weights = sum(part.nbytes for part in text.model.model.parameters())
    read = weights + told["fast_bytes"] + looked_bytes(memory)
    rate = _read_rate()
    note = f"{1000 * read / rate:.1f} ms to read {read / 1e9:.2f} GB at {rate / 1e9:.1f} GB/s; {told['index']}"
    ms = 1000 * median(taken)
    where = f"a whole step behind {text.tokens:,} tokens ({told['index']})"
    yield Row.of(where, "ms", ms, note=note)
    yield Row.of(where, "times its physical limit", ms / 1000 / (read / rate))


def fast_row(texts: Sequence[ReadText]) -> Row:
    """Bytes that each step reads whole behind the longest of kept texts, over those behind the next in length."""
    held = sorted((one.tokens, load(one.folder, one.model).statistics()["fast_bytes"]) for one in texts)
    (short, few), (long, many) = held[-2:]
    where, note = f"fast memory, kept texts of {long:,} / {short:,} tokens", f"{many / 1e6:.2f} MB, all layers"
    return Row.of(where, "ratio", many / few, at_most=1.001, note=note)


def looked_bytes(memory: RetrievalCache) -> float:
    """Bytes of hidden keys and values that a step must read: the keys visited, and the values of those found.

    A flat index visits the keys of a group once for all of its heads, every other index those of each head. The links
    that a graph is walked by are not counted, so its limit is a little higher than told.
    """
    total = 0.0
    for layer in memory.memories:
        for one in layer.sequences:
            if one.hidden is None:
                continue
            keys, values = one.hidden.index.keys, one.hidden.values
            heads = SHARE * values.groups
            readers = values.groups if one.kind == "flat" else heads
            visited = layer.tally.means()["visited"] * keys.width * keys.base.itemsize
            found = min(memory.method.top_k, len(one.hidden)) * values.width * values.base.itemsize
            total += readers * visited + heads * found
    return total


def _read_rate() -> float:
    """Bytes a second that this process reads from memory."""
    room = torch.ones(2**26)
    room.sum()
    return room.nbytes / _seconds(lambda: room.sum(), 5)


def opening_rows(text: ReadText) -> Iterator[Row]:
    """Opening the kept text, and the first token of the first answer."""
    load(text.folder, text.model)
    begun = time.perf_counter()
    memory = load(text.folder, text.model)
    opened = time.perf_counter() - begun
    decoder = MemoryDecoder(text.model.model, memory.method)
    question = text.prompt.tail(text.planted[0].needle.question)
    decoder.reading(load(text.folder, text.model), question)  # the files are in the system's cache, the weights packed
    begun = time.perf_counter()
    decoder.reading(memory, question)
    first = time.perf_counter() - begun
    index = memory.statistics()["index"]
    note = f"opened in {1000 * opened:.0f} ms ({index}); a question of {len(question)} tokens, answered exactly"
    yield Row.of(f"a kept text of {text.tokens:,} tokens", "s to the first token", opened + first, at_most=2, note=note)
