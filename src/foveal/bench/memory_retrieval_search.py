"""bench memory-retrieval, search: what each index visits and finds for real queries of a real text, and what that does
to the attention's output.

A cell is one group of one layer at one length, with the sample's heads of that group: HNSW and IVF are built once a
group, a graph once a head. Cells are written as they come (JSON lines in the bench's cache); a run that was stopped
goes on with the next one.

scan      keys visited / hidden keys; for IVF with the centres that were compared
recall    of the 100 hidden keys with the largest products
as set    the method's defaults: 400 keys of what a queue of 200 scores
error     of the output over window and found, relative to that over everything, per query, the mean
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.attention import RetrievalAttention
from foveal.attention.kernel import merge
from foveal.attention.key_index import IndexSettings, build
from foveal.attention.memory_parts import Part, Scores, Tail, Window, read_found
from foveal.attention.roar_graph import SOURCE, Found, RoarSettings, best_keys, link, recall, spread
from foveal.attention.roar_graph import RoarGraph as Graph
from foveal.attention.rows import Rows
from foveal.bench.code import code_digest, native_digest
from foveal.bench.memory_retrieval_data import HEADS, Case, ReadText
from foveal.evaluation.files import stored_lines, write_lines

K = 100
BEAMS = (100, 150, 200, 250, 300, 350, 450, 600, 800)
SEARCHES = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
PROBES = (4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96)
"""Efforts that are tried, none more than half as much again as the one before: of an index with wider steps the best
one below a number of keys may lie far below it.
"""
LEAST = 0.95
SET = RetrievalAttention()
"""As it is set where nobody says otherwise."""

PEERS = ("hnsw", "hnsw, centred", "ivf", "ivf, centred")
"""As they come, and given keys less their mean, which is half of what the graph's coordinates do."""

SEARCHING = ("kernel", "key_index", "later_queries", "memory_parts", "roar_graph", "rows")
"""Modules of `foveal.attention` that cells depend on."""

Curve = list[tuple[float, float]]
"""Keys visited and recall, by rising effort."""


@dataclass(frozen=True)
class HeadCell:
    """What was found of one head."""

    layer: int
    head: int
    length: int
    hidden: int
    curves: dict[str, Curve]  # by index
    seconds: dict[str, float]  # processor seconds to build, by index; those of a group's indexes for one head
    balanced: bool
    attached: float  # share of the keys that only an attached link leads to
    mahalanobis: tuple[float, float]  # medians of keys and of queries, from the keys
    scanned: float  # at the default queue, as the next ones
    recall: float
    recovered: dict[str, float]  # share of the whole mass in the window and the keys found
    error: dict[str, float]
    missed: tuple[float, float]  # estimated and true, means
    controls: dict[str, float] = field(default_factory=dict)


def store_of(folder: Path) -> Path:
    """Where the cells of a kept text lie: beside it, and by the code that searches."""
    searching = (f"foveal.attention.{one}" for one in SEARCHING)
    code = f"{code_digest(__name__, *searching)}-{native_digest(SOURCE)}"
    return folder.with_name(f"{folder.name}-{code}-cells.jsonl")


def cells(
    text: ReadText, lengths: Sequence[int], layers: Sequence[int], store: Path, *, hnsw_up_to: int
) -> list[HeadCell]:
    """The cells of these layers at these lengths, those in `store` first."""
    lines: list[dict[str, Any]] = stored_lines(store, dict, what="cells of this bench")
    made = [_read(line) for line in lines]
    known = {(one.layer, one.head, one.length) for one in made}
    for length in lengths:
        for place, layer in enumerate(layers):
            for group in (0, 1):
                heads = [head for head in HEADS if head // 7 == group]
                if all((layer, head, length) in known for head in heads):
                    continue
                cases = [text.case(layer, head, length) for head in heads]
                made += group_cells(cases, length, hnsw=length <= hnsw_up_to, controls=place < 2)
                write_lines(store, made)
    wanted = {(layer, length) for layer in layers for length in lengths}
    return [one for one in made if (one.layer, one.length) in wanted]


def _read(line: dict[str, Any]) -> HeadCell:
    curves = {name: [(at, of) for at, of in curve] for name, curve in line["curves"].items()}
    return HeadCell(
        **line | {"curves": curves, "mahalanobis": tuple(line["mahalanobis"]), "missed": tuple(line["missed"])}
    )


def group_cells(cases: Sequence[Case], length: int, *, hnsw: bool, controls: bool) -> list[HeadCell]:
    """The cells of a group's heads, which share their keys."""
    keys = cases[0].keys
    peers, seconds = {}, {}
    for kind in PEERS if hnsw else ("ivf",):
        begun = time.process_time()
        settings = IndexSettings(clusters=_clusters(len(keys)), centred=kind.endswith("centred"))
        peers[kind] = build(kind.partition(",")[0], keys[None], keys[None, :1], settings)
        seconds[kind] = (time.process_time() - begun) / 7  # of the seven heads of a group
    told = []
    for place, case in enumerate(cases):
        other = cases[place - 1] if controls and len(cases) > 1 else None
        told.append(_head_cell(case, length, peers, dict(seconds), other))
    return told


def _clusters(count: int) -> int:
    return 128 if count < 20_000 else int(4 * math.sqrt(count))


def _head_cell(
    case: Case, length: int, peers: dict[str, Any], seconds: dict[str, float], other: Case | None
) -> HeadCell:
    tests = case.tests[None]
    truth = best_keys(case.tests, case.keys, K)
    begun = time.process_time()
    index = build("roar", case.keys[None], case.training[None])
    seconds["roar"] = time.process_time() - begun
    graph: Graph = index.graph  # type: ignore[attr-defined]
    curves = {"roar": [_point(graph.search(tests, K, beam=beam), truth) for beam in BEAMS]}
    for kind, peer in peers.items():
        efforts, name = (SEARCHES, "beam") if kind.startswith("hnsw") else (PROBES, "probes")
        curve: Curve = []
        for effort in efforts:
            peer.settings = replace(peer.settings, **{name: effort})
            curve.append(_point(peer.search(tests, K), truth))
            if curve[-1][1] >= 0.995:
                break
        curves[kind] = curve
    found = index.search(tests, SET.top_k)
    outcome = _looked(case, found, best_keys(case.tests, case.keys, SET.top_k))
    return HeadCell(
        layer=case.layer,
        head=case.head,
        length=length,
        hidden=len(case.keys),
        curves=curves,
        seconds=seconds,
        balanced=bool(graph.notes["balanced"][0]),
        attached=graph.notes["attached"][0] / len(case.keys),
        mahalanobis=_mahalanobis(case),
        scanned=float(found.visited.float().mean()) / len(case.keys),
        recall=recall(found.ids[0], truth),
        controls=_controls(case, other, truth) if other is not None else {},
        **outcome,
    )


def _point(found: Found, truth: Tensor) -> tuple[float, float]:
    return float(found.visited.float().mean()), recall(found.ids[0], truth)


def _mahalanobis(case: Case) -> tuple[float, float]:
    """How far keys and queries lie from the keys, in deviations: the square root of the width where they are alike."""
    some = case.keys[spread(len(case.keys), 20_000)].double()
    mean = some.mean(0)
    inverse = torch.linalg.pinv((some - mean).T @ (some - mean) / len(some), hermitian=True)

    def far(points: Tensor) -> float:
        apart = points.double() - mean
        return float(((apart @ inverse) * apart).sum(1).clamp(min=0).sqrt().median())

    return far(case.keys[spread(len(case.keys), 1000)]), far(case.tests)


# -- what looking at these keys gives ----------------------------------------------------------------------------------


def _looked(case: Case, found: Found, truth: Tensor) -> dict[str, Any]:
    """Mass and error of the output, over the window and what was found; each test query as a head of its own."""
    count, width = case.tests.shape
    scores = Scores(width**-0.5)
    window = Window(case.window_keys[None], case.window_values[None], 0)
    seen = window.attend(case.tests[:, None], scores)
    products = case.tests @ case.keys.T
    logits = scores(products)
    whole = merge([seen, _over(logits, case.values)])
    best = Found(truth[:, None], products.gather(1, truth)[:, None], found.visited)
    ours = Found(found.ids[0][:, None], found.products[0][:, None], found.visited)
    rows = Rows(case.values[None])
    parts = {"roar": read_found(ours, rows, scores), "flat": read_found(best, rows, scores)}
    outputs = {name: merge([seen, part]) for name, part in parts.items()} | {"streaming": seen}
    averaged = (seen[0] + parts["roar"][0]) / 2
    lowest = scores(ours.products).amin(-1)
    tail = Tail.of(case.keys[None], case.values[None], SET.clusters)
    beyond = tail.beyond(case.tests[:, None], lowest, scores.scale)
    with_tail = merge([outputs["roar"], beyond])
    recovered = {name: float((sums - whole[1]).exp().mean()) for name, (_, sums) in outputs.items()}
    errors = {name: _error(output, whole[0]) for name, (output, _) in outputs.items()}
    errors |= {"averaged": _error(averaged, whole[0]), "tail": _error(with_tail[0], whole[0])}
    guessed = float((beyond[1] - with_tail[1]).exp().mean())
    assert count == len(whole[0])
    return {"recovered": recovered, "error": errors, "missed": (guessed, 1 - recovered["roar"])}


def _over(logits: Tensor, values: Tensor) -> Part:
    sums = logits.logsumexp(-1)
    return ((logits - sums[:, None]).exp() @ values)[:, None], sums[:, None]


def _error(output: Tensor, whole: Tensor) -> float:
    return float(((output - whole).norm(dim=-1) / whole.norm(dim=-1).clamp(min=1e-12)).mean())


# -- what a fake would do ----------------------------------------------------------------------------------------------


def _controls(case: Case, other: Case, truth: Tensor) -> dict[str, float]:
    tests = case.tests[None]
    stranger = build("roar", case.keys[None], other.training[None])
    own = build("roar", case.keys[None], case.keys[None])
    plain = build("roar", case.keys[None], case.as_asked[None])
    asked = case.keys[spread(len(case.keys), 256)]
    likewise = best_keys(asked, case.keys, K)
    sinks = torch.cat([case.window_keys[:4], case.keys])
    published = _published(case)
    return {
        "another head's queries": recall(stranger.search(tests, SET.top_k).ids[0], truth),
        "queries as they were asked": recall(plain.search(tests, SET.top_k).ids[0], truth),
        "keys as queries": recall(own.search(tests, SET.top_k).ids[0], truth),
        "keys that look for keys": recall(own.search(asked[None], SET.top_k).ids[0], likewise),
        "as published, no change of coordinates": recall(published.search(tests, SET.top_k).ids[0], truth),
        "most frequent pivot, sinks hidden": _top_pivot(case.as_asked, case.keys),
        "most frequent pivot, sinks indexed": _top_pivot(case.as_asked, sinks),
    }


def _published(case: Case) -> Graph:
    """The graph over raw keys, whose products with each other are mostly those of their common bias."""
    settings = RoarSettings()
    asked = case.as_asked[spread(len(case.as_asked), settings.queries)]
    lists = best_keys(asked, case.keys, settings.nearest)
    linked = link(case.keys, lists, settings)
    return Graph(Rows(case.keys[None]), linked.links[None], linked.entries[None])


def _top_pivot(queries: Tensor, keys: Tensor) -> float:
    """The share of queries whose best key is one and the same."""
    best = (queries[spread(len(queries), 2048)] @ keys.T).argmax(1)
    return float(best.bincount().max()) / len(best)


# -- over cells --------------------------------------------------------------------------------------------------------


def within_scan(curve: Curve, most: float) -> float:
    """The best recall for at most so many keys visited; 0 where the least effort visits more."""
    return max((of for at, of in curve if at <= most), default=0.0)


def visits_for(curve: Curve, least: float = LEAST) -> tuple[float, bool]:
    """Keys visited for this recall, between two measured points by a line; False: not reached, so at least so many."""
    before: tuple[float, float] | None = None
    for at, of in curve:
        if of >= least:
            if before is None or of == before[1]:
                return at, True
            return before[0] + (at - before[0]) * (least - before[1]) / (of - before[1]), True
        before = (at, of)
    return (before or (math.inf, 0.0))[0], False
