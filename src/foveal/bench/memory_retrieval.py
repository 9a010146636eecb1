"""bench memory-retrieval: RetrievalAttention beside full attention, HNSW, IVF, StreamingLLM, on a real text.

    exact       window and found keys merged, against the softmax over both; every key found, against dense logits
    search      keys visited and recall, mass, error of the output, at each length (memory_retrieval_search.py)
    speed       one step's attention, the whole step, opening, building (memory_retrieval_speed.py)
    tasks       needles, and predictions along a real text (memory_retrieval_tasks.py)

A quick run reads 12,000 tokens and takes 16 pairs of layer and head; the full one reads 131,000, takes 40 pairs, and
goes on where it was stopped. It also reads 12,000 and 32,000 tokens with graphs for all heads, over which needles are
answered and whole steps timed; the quick one answers over the flat index. Needs faiss (the extra `bench`). Without a
GPU, the paper's seconds a token are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, nan
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch

from foveal.attention import RetrievalAttention
from foveal.attention.kernel import merge
from foveal.attention.memory_parts import Scores, Window, read_found
from foveal.attention.prefill import prefill
from foveal.attention.roar_graph import Found
from foveal.attention.rows import Rows
from foveal.bench.memory_retrieval_data import LAYERS, LONG, QUICK_LAYERS, SHORT, ReadText, read_text
from foveal.bench.memory_retrieval_search import PEERS, SET, HeadCell, cells, store_of, visits_for, within_scan
from foveal.bench.memory_retrieval_speed import fast_row, opening_rows, step_rows, whole_step_rows
from foveal.bench.memory_retrieval_tasks import OTHER, likelihood_rows, needle_rows
from foveal.bench.settings import BenchSettings
from foveal.evaluation.needle import growth
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row, largest
from foveal.models.language import load_language_model

LENGTHS = (SHORT, 32_768, 65_536, LONG)
QUICK_LENGTHS = (4_096, 7_168, SHORT)
SHARES = (0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
GRAPHS = 14 * 24
"""Heads of the model, each with a graph."""


def retrieval(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench memory-retrieval`."""
    yield from exact_rows()
    text = read_text(settings, SHORT if settings.quick else LONG)
    where = f"{text.tokens:,} tokens, {'densely' if text.dense else 'by FlexPrefill'}"
    yield Row.of(f"reading {where}", "processor seconds", text.seconds)
    yield from search_rows(settings, text)
    yield from step_rows(text.case(14, 9, min(text.tokens, SHORT)), quick=settings.quick)
    yield from opening_rows(text)
    yield from whole_step_rows(text, steps=8 if settings.quick else 32)
    if settings.quick:
        yield from needle_rows(text, ("flat",))
    else:
        texts = [text]
        for length in (SHORT, 32_256):  # with room for a question within what the model was made for
            text = read_text(settings, length, index="roar")
            texts.append(text)
            yield from needle_rows(text, ("roar", "flat"))
        yield fast_row(texts)
        yield from opening_rows(text)
        yield from whole_step_rows(text, steps=32)
    yield from likelihood_rows(settings)


# -- exact -------------------------------------------------------------------------------------------------------------


def exact_rows() -> Iterator[Row]:
    """Against the definitions, in float32."""
    draw = torch.Generator().manual_seed(0)
    worst = 0.0
    for found in (0, 1, 50, 100, 200):
        keys, values = torch.randn(2, 300, 64, generator=draw), torch.randn(2, 300, 64, generator=draw)
        queries, scores = 4 * torch.randn(4, 1, 64, generator=draw), Scores(0.125)
        ids = torch.stack([torch.randperm(200, generator=draw)[:found] for _ in range(4)])
        products = (queries @ keys.repeat_interleave(2, 0).transpose(1, 2))[:, 0]
        part = Found(ids[:, None], products[:, 100:].gather(1, ids)[:, None], ids[:, :0])
        window = Window(keys[:, :100], values[:, :100], 0)
        ours = merge([window.attend(queries, scores), read_found(part, Rows(values[:, 100:]), scores)])[0][:, 0]
        seen = torch.zeros(4, 300, dtype=torch.bool)
        seen[:, :100] = True
        seen.scatter_(1, ids + 100, True)
        weights = (products.double() * 0.125).masked_fill(~seen, -torch.inf).softmax(-1)
        exact = (weights[:, None] @ values.double().repeat_interleave(2, 0))[:, 0]
        worst = largest(worst, float((ours - exact).abs().max()))
    yield Row.of(
        "window and found keys, merged", "greatest error", worst, at_most=1e-5, note="float32, also none found"
    )
    yield _every_key_row()


def _every_key_row() -> Row:
    """A search that finds every key, against the model's own logits."""
    from pydoc_data.topics import topics

    loaded = load_language_model(OTHER, dtype="float32")
    ids = loaded.encode(topics["attribute-access"])[:908]
    method = RetrievalAttention(index="flat", top_k=10_000)
    memory = method.make_cache(loaded.model)
    prefill(loaded.model, torch.tensor([ids[:900]]), memory.layers, method=method)
    ours = torch.cat([prefill(loaded.model, torch.tensor([[one]]), memory.layers, method=method) for one in ids[900:]])
    with torch.inference_mode():
        theirs = loaded.model(input_ids=torch.tensor([ids])).logits[0, 900:]
    far = float((ours - theirs).abs().max() / theirs.abs().max())
    return Row.of("flat, top_k of all keys", "logits' error, relative", far, at_most=1e-4, note=f"{OTHER}, float32")


# -- search ------------------------------------------------------------------------------------------------------------


def search_rows(settings: BenchSettings, text: ReadText) -> Iterator[Row]:
    """What is visited and found, and what that gives."""
    quick = settings.quick
    store = store_of(text.folder)
    layers = QUICK_LAYERS if quick else LAYERS
    short = min(SHORT, text.tokens)
    made = cells(text, [short], layers, store, hnsw_up_to=SHORT)
    draw(made, settings.cache / "pictures" / "memory-retrieval.png")
    yield from _at_short(made, quick=quick)
    yield from _build_row(made, text)
    lengths = [*(QUICK_LENGTHS if quick else LENGTHS)[:-1], text.tokens]
    if quick:
        grown = cells(text, lengths[:-1], layers[1:3], store, hnsw_up_to=0)
        yield from _over_lengths([*grown, *(one for one in made if one.layer in layers[1:3])], lengths)
        return
    grown = cells(text, lengths[1:], layers, store, hnsw_up_to=32_768)
    yield from _build_row(grown, text)
    yield from _over_lengths([*grown, *made], lengths)
    yield from _at_long(*([one for one in grown if one.length == length] for length in (lengths[-1], lengths[1])))


def draw(made: Sequence[HeadCell], path: Path) -> Path:
    """Recall over the share of the keys that was visited, a line for each index."""
    series = {
        kind: [fmean(within_scan(one.curves[kind], share * one.hidden) for one in made) for share in SHARES]
        for kind in ("roar", *PEERS)
    }
    title = f"Recall of the best 100 keys: {len(made)} heads, {made[0].hidden:,} hidden keys"
    labels = {"x_label": "at most this share of the keys visited", "y_label": "recall@100, mean"}
    return lines(SHARES, series, path, title=title, **labels)


def _at_short(made: Sequence[HeadCell], *, quick: bool) -> Iterator[Row]:
    pairs, hidden = len(made), made[0].hidden
    where = f"{pairs} pairs, {hidden:,} hidden keys"
    keys, queries = (median(one.mahalanobis[place] for one in made) for place in (0, 1))
    note = f"queries {queries:.1f}, keys {keys:.1f} deviations from the keys ({where})"
    yield Row.of("queries lie outside of the keys", "times as far as keys", queries / keys, at_least=3, note=note)
    for kind, least in {"roar": 0.85 if quick else 0.9, **dict.fromkeys(PEERS)}.items():
        best = [within_scan(one.curves[kind], 0.2 * one.hidden) for one in made]
        note = f"{where}; mean recall {fmean(best):.3f}, least {min(best):.3f}"
        share = fmean(value >= 0.95 for value in best)
        yield Row.of(f"{kind}, at most 20 % visited", "pairs with recall@100 ≥ 0.95", share, at_least=least, note=note)
    yield from _beside_peers(made, where)
    yield from _what_it_gives(made, where)
    yield from _controls(made)


def _beside_peers(made: Sequence[HeadCell], where: str, length: str = "") -> Iterator[Row]:
    """Keys visited for the same recall; `length` stands in the rows' names.

    What a peer does not reach counts as reached by the most that it visited, which is kind to it; what the graph does
    not reach takes as many as you like.
    """
    ours = [visits_for(one.curves["roar"]) for one in made]
    for kind, most in {**dict.fromkeys(PEERS), "hnsw": 1 / 3}.items():
        theirs = [visits_for(one.curves[kind]) for one in made]
        ratios = [
            visited / other[0] if reached else inf for (visited, reached), other in zip(ours, theirs, strict=True)
        ]
        missed = sum(not reached for _, reached in theirs), sum(not reached for _, reached in ours)
        note = (
            f"median of {where}; not reached by {kind} in {missed[0]} (the most tried counts), by roar in {missed[1]}"
        )
        name = f"keys for recall 0.95, roar / {kind}{length}"
        yield Row.of(name, "ratio", median(ratios), at_most=most, note=note)


def _what_it_gives(made: Sequence[HeadCell], where: str) -> Iterator[Row]:
    note = f"{where}; recall {fmean(one.recall for one in made):.3f}, {SET.top_k} keys read"
    yield Row.of(
        "roar, as it is set", "share of the hidden keys visited", fmean(one.scanned for one in made), note=note
    )
    behind = fmean(one.recovered["flat"] - one.recovered["roar"] for one in made)
    ours, flat = (fmean(one.recovered[name] for one in made) for name in ("roar", "flat"))
    note = f"window and found: {ours:.4f} of the mass, flat {flat:.4f}"
    yield Row.of("roar", "attention mass behind flat's", behind, at_most=0.01, note=note)
    yield from _error_rows(made)
    far = fmean(abs(guess - true) for guess, true in (one.missed for one in made))
    note = f"estimated {fmean(one.missed[0] for one in made):.3f}, true {fmean(one.missed[1] for one in made):.3f}"
    yield Row.of("estimate of the missed mass", "mean distance from the truth", far, at_most=0.1, note=note)


def _error_rows(made: Sequence[HeadCell]) -> Iterator[Row]:
    names = {
        "tail": "RetrievalAttention",
        "roar": "without the tail",
        "flat": f"the best {SET.top_k} keys",
        "streaming": "StreamingLLM",
    }
    for name, system in names.items():
        errors = [one.error[name] for one in made]
        where = f"{system}, {made[0].hidden:,} hidden"
        note = f"{len(made)} pairs; worst pair {max(errors):.3f}"
        most = 0.05 if name == "tail" else None
        yield Row.of(where, "error of the output", fmean(errors), at_most=most, note=note)


def _graph_controls(made: Sequence[HeadCell], length: str = "") -> Iterator[Row]:
    """Graphs of the same keys from other queries; `length` stands in the rows' names."""
    told = [one for one in made if one.controls]
    ours = fmean(one.recall for one in told)
    for name in (
        "another head's queries",
        "keys as queries",
        "queries as they were asked",
        "as published, no change of coordinates",
    ):
        value, note = fmean(one.controls[name] for one in told), f"own: {ours:.3f}, {len(told)} pairs"
        yield Row.of(f"control: graph from {name}{length}", "recall@100", value, at_most=ours, note=note)


def _controls(made: Sequence[HeadCell]) -> Iterator[Row]:
    yield from _graph_controls(made)
    told = [one for one in made if one.controls]
    value = fmean(one.controls["keys that look for keys"] for one in told)
    yield Row.of("control: a test with keys as queries", "recall@100", value, note="what a fake would report")
    hidden, indexed = (
        fmean(one.controls[f"most frequent pivot, sinks {kind}"] for one in told) for kind in ("hidden", "indexed")
    )
    note = f"with the sinks in the index one key is the pivot of {indexed:.0%} of the queries, without {hidden:.0%}"
    yield Row.of("control: sinks indexed", "pivots of one key, times", indexed / max(1e-9, hidden), note=note)
    averaged, merged = (fmean(one.error[name] for one in made) for name in ("averaged", "roar"))
    yield Row.of("control: averaged instead of merged", "error, times", averaged / merged, at_least=2)


def _build_row(made: Sequence[HeadCell], text: ReadText) -> Iterator[Row]:
    """Building beside reading, for the cells that are as long as the text."""
    whole = [one for one in made if one.length == text.tokens]
    if not whole:
        return
    seconds = fmean(one.seconds["roar"] for one in whole)
    note = f"{seconds:.2f} s a graph, {GRAPHS} graphs; processor time"
    if peers := [one.seconds["hnsw"] for one in whole if "hnsw" in one.seconds]:
        note += f"; HNSW {fmean(peers):.2f} s a head"
    yield Row.of("building all graphs / reading", "ratio", seconds * GRAPHS / text.seconds, at_most=4, note=note)


def _over_lengths(made: Sequence[HeadCell], lengths: Sequence[int]) -> Iterator[Row]:
    """Keys visited as the text grows: at one setting, by which less is found the longer it is, and for one recall."""
    visited, needed, hidden = [], [], []
    for length in lengths:
        mine = [one for one in made if one.length == length]
        hidden.append(mine[0].hidden)
        visited.append(fmean(one.scanned * one.hidden for one in mine))
        note = f"{len(mine)} pairs; {visited[-1]:,.0f} keys, recall {fmean(one.recall for one in mine):.3f}"
        share, most = visited[-1] / hidden[-1], 0.03 if length > LONG - 2048 else None
        yield Row.of(f"roar, {hidden[-1]:,} hidden", "share visited", share, at_most=most, note=note)
        told = [visits_for(one.curves["roar"]) for one in mine]
        needed.append(median(keys if reached else inf for keys, reached in told))
        note = f"{len(mine)} pairs, the median; not reached in {sum(not reached for _, reached in told)}"
        name = f"roar, {hidden[-1]:,} hidden"
        yield Row.of(name, "share visited for recall 0.95", needed[-1] / hidden[-1], at_most=most, note=note)
    yield Row.of("keys visited over length", "exponent", growth(hidden, visited), at_most=0.5)
    exponent = growth(hidden, needed) if inf not in needed else nan
    yield Row.of("keys for recall 0.95 over length", "exponent", exponent, at_most=0.5)


def _at_long(made: Sequence[HeadCell], middle: Sequence[HeadCell]) -> Iterator[Row]:
    hidden = f"{middle[0].hidden:,} hidden"  # the longest at which the peers are built, too
    yield from _beside_peers(middle, f"{len(middle)} pairs", f", {hidden}")
    yield from _error_rows(middle)
    yield from _error_rows(made)
    for one in (middle, made):
        yield from _graph_controls(one, f", {one[0].hidden:,} hidden")
    share = float(np.mean([one.recall >= 0.95 for one in made]))
    yield Row.of(f"roar, {made[0].hidden:,} hidden", "pairs with recall@100 ≥ 0.95", share)
