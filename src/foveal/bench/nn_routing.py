"""bench nn-routing: attention by content beside windows, random buckets, full attention and routing-transformer.

leak       the second half of a text replaced: first-half outputs that change, by both selections (nn_exact.py)
exact      both selections against their definitions (nn_routing_exact.py)
clusters   a planted mixture of directions, learnt online: adjusted Rand index beside scikit-learn's k-means
cost       forward of one head of 64 over 1k to 32k tokens, k = sqrt(n) clusters: the log-log slope, the wall clock
           beside dense attention from 8k on, the memory of a process at 32k; forward and backward beside the peer
recall     associative recall of pairs some 200 tokens ago or more, beyond the local window, with learnt, random and
           frozen clusters, local heads alone, full attention; all by the same stages, from short texts on
novels     bits per character, and words that come again beyond the window (nn_language.py); at the same places, what
           topk and the peer say of a prefix alone
encoder    which of four texts an excerpt is from, read both ways (nn_routing_encoder.py)
images     bits per dimension of small colour images, in raster order
long       training at 8,192 tokens: the loss falls, at what rate, beside full attention

Arms are trained here, once, and kept in the bench's cache; the quick run trains fewer and shorter. Not run here: PG-19,
WikiText-103 and ImageNet-64 at the paper's sizes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.bench import nn_exact
from foveal.bench.nn_aaren_tables import seeds_of, spread
from foveal.bench.nn_language import Novels, Scale, count_of, expansion_for
from foveal.bench.nn_peers import (
    PEER_RATES,
    ROUTING,
    RoutingPeer,
    drawn_from,
    not_run,
    peer_model,
    quietly,
    there,
    told_of,
)
from foveal.bench.nn_routing_arms import routed_model
from foveal.bench.nn_routing_encoder import encoder
from foveal.bench.nn_routing_exact import routed_exactly
from foveal.bench.nn_routing_images import images
from foveal.bench.nn_tasks import Recall, learn, right_share
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import paired, process_seconds
from foveal.evaluation.tables import Row
from foveal.nn.clusters import OnlineMeans, on_sphere
from foveal.nn.language_training import LanguageSize
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.registry import require

SLOPE, MEMORY_MIB = 1.6, 1e9 / 2**20  # 1 GB
DENSE_FROM = 8192
"""Tokens from which routing is faster than dense attention."""
FASTER = 1.5

QUICK_NOVELS = Scale(
    size=LanguageSize(layers=2, width=64, heads=4, window=32), length=512, steps=90, batch=4, held=16_384
)
NOVELS = Scale(
    size=LanguageSize(
        layers=4, width=128, heads=4, window=64, mixer={"window": 128, "clusters": 16, "local_window": 64}
    ),
    length=2048, steps=1500, batch=2,
)  # fmt: skip
"""The size is the specification's. After 200 steps, which stood here before, models had not yet learnt to spell, and
where they look was worth nothing to any of them."""


def routing(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench nn-routing`."""
    with torch.no_grad():
        yield from nn_exact.leaks(settings, only="Routing")
    yield from routed_exactly(settings)
    yield from clusters(settings)
    yield from cost(settings)
    yield from recall(settings)
    arms = Novels(settings, QUICK_NOVELS if settings.quick else NOVELS)
    yield from novels(arms)
    yield from each((encoder, images), settings)
    yield from long(arms)


# -- clusters ----------------------------------------------------------------------------------------------------------


NOISE = 0.25
"""Of a direction's numbers, whose norm is 1: with less, k-means is right of every token, and nothing is asked."""


def clusters(settings: BenchSettings) -> Iterator[Row]:
    """Eight directions with noise around them, in 300 batches."""
    cluster, metrics = require("sklearn.cluster", extra="train"), require("sklearn.metrics", extra="train")
    draw = torch.Generator().manual_seed(settings.seed)
    directions = F.normalize(torch.randn(8, 32, generator=draw), dim=-1)

    def batch(count: int) -> tuple[Tensor, Tensor]:
        kinds = torch.randint(8, (count,), generator=draw)
        return on_sphere(directions[kinds] + NOISE * torch.randn(count, 32, generator=draw)), kinds

    torch.manual_seed(settings.seed)
    means = OnlineMeans(heads=1, clusters=8, width=32, decay=0.99)
    for _ in range(300):
        x = batch(256)[0][None, None]
        means.observe(x, means.nearest(x))
        means.commit()
    x, kinds = batch(2000)
    ours = metrics.adjusted_rand_score(kinds, means.nearest(x[None, None])[0, 0])
    fitted = cluster.KMeans(n_clusters=8, n_init=10, random_state=settings.seed).fit(F.normalize(x, dim=-1))
    theirs = metrics.adjusted_rand_score(kinds, fitted.labels_)
    note = f"scikit-learn's k-means of ten starts: {theirs:.3f}"
    yield Row.of("online clusters / k-means", "adjusted Rand index", ours / theirs, at_least=0.95, note=note)


# -- cost --------------------------------------------------------------------------------------------------------------


def layer_of(tokens: int, selection: str = "causal", *, heads: int = 1, dim: int = 64) -> RoutingAttention:
    """A layer of routing heads alone, with as many clusters, and as long windows, as the root of the tokens."""
    count = max(1, round(math.sqrt(tokens)))
    chosen = RoutingSettings(
        dim=dim, heads=heads, routing_heads=heads, clusters=count, window=count, selection=selection  # type: ignore[arg-type]
    )  # fmt: skip
    return RoutingAttention(chosen).eval()


def dense(layer: RoutingAttention, x: Tensor) -> Tensor:
    """The same projections around PyTorch's dense causal attention."""
    assert layer.routed is not None
    s = layer.settings
    made_ = layer.routed.project(x).view(*x.shape[:2], 2, s.heads, s.width).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(made_[0], made_[0], made_[1], is_causal=True)
    given: Tensor = layer.routed.out(y.transpose(1, 2).flatten(2))
    return given


@torch.no_grad()
def cost(settings: BenchSettings) -> Iterator[Row]:
    """By the wall clock, in turns."""
    lengths = [1024, 4096, 8192, 16_384, 32_768]
    taken: dict[str, list[float]] = {"routing": [], "dense": []}
    for tokens in lengths:
        torch.manual_seed(settings.seed)
        layer, x = layer_of(tokens), torch.randn(1, tokens, 64)
        runs = 3 if settings.quick or tokens > 8192 else 7
        ratio = paired(partial(dense, layer, x), partial(layer, x, keep=False), runs=runs)
        taken["routing"].append(ratio.b_ms)
        taken["dense"].append(ratio.a_ms)
        bar = 1.0 if tokens >= DENSE_FROM else None
        name = f"routing, {tokens:,} tokens / dense"
        yield Row.of(name, "times as fast", ratio.median, at_least=bar, note=str(ratio))
    for name, times in taken.items():
        slope = float(np.polyfit(np.log(lengths), np.log(times), 1)[0])
        most = SLOPE if name == "routing" else None
        note = ", ".join(f"{one:.3g}" for one in times) + " ms"
        yield Row.of(f"{name}, 1k to 32k tokens", "log-log slope of time", slope, at_most=most, note=note)
    code = (
        "import torch; from foveal.bench.nn_routing import layer_of\n"
        "with torch.no_grad(): layer_of(32768)(torch.randn(1, 32768, 64), keep=False)"
    )
    peak = process_seconds([sys.executable, "-c", code], runs=1, warmup=0).peak_mib
    yield Row.of("routing, 32,768 tokens", "peak MiB of a process", peak, at_most=MEMORY_MIB, note="PyTorch included")
    yield from _beside_peer(settings)


@torch.enable_grad()
def _beside_peer(settings: BenchSettings) -> Iterator[Row]:
    name = "2 local and 2 routing heads of 32, 32 clusters of 128, forward and backward of 4,096 tokens"
    torch.manual_seed(settings.seed)
    ours = RoutingAttention(RoutingSettings(dim=128, heads=4, routing_heads=2, clusters=32, window=128))
    x = torch.randn(1, 4096, 128)
    if not there(ROUTING):
        begun = time.perf_counter()
        trained_once(partial(ours, keep=False), x)
        yield Row.of(name, "tokens/s", 4096 / (time.perf_counter() - begun))
        yield not_run(ROUTING, "tokens/s, ratio")
        return
    theirs = RoutingPeer(dim=128, heads=4, local=2, length=4096, window=128, local_window=64)
    ratio = paired(partial(trained_once, theirs, x), partial(trained_once, partial(ours, keep=False), x), runs=5)
    yield Row.of(name, "tokens/s", 4096 / ratio.b_ms * 1000)
    yield Row.of(f"{name}, to routing-transformer", "tokens/s, ratio", ratio.median, at_least=FASTER, note=str(ratio))
    topk = RoutingAttention(
        RoutingSettings(dim=128, heads=4, routing_heads=2, clusters=32, window=128, selection="topk")
    )
    ratio = paired(partial(trained_once, theirs, x), partial(trained_once, partial(topk, keep=False), x), runs=5)
    yield Row.of("the same by the peer's selection, topk", "tokens/s, ratio", ratio.median, note=str(ratio))


def trained_once(layer: Callable[..., Any], x: Tensor) -> None:
    """Forward and backward, of a layer that need not make a state, as in training."""
    y, _, loss = layer(x)
    (y.square().mean() + loss).backward()


# -- recall ------------------------------------------------------------------------------------------------------------


RECALL_SIZE = LanguageSize(
    layers=4, width=64, heads=4, window=32,
    mixer={"window": 32, "clusters": 16, "local_window": 32, "ema_decay": 0.99},
)  # fmt: skip
SHORT = Recall(32, 4, 64, 0, asked=3)
STAGES = (
    (SHORT, 32, 600),
    (Recall(64, 8, 64, 0, within=32, after=32, asked=2), 16, 600),
    (Recall(96, 8, 64, 0, within=32, after=48, asked=2), 16, 600),
    (Recall(128, 8, 64, 0, within=32, after=64, asked=2), 16, 600),
    (Recall(256, 8, 64, 0, within=64, after=128, asked=2), 16, 400),
    (Recall(512, 8, 64, 0, within=64, after=256, asked=2), 16, 300),
)
"""Rows, how many a step, steps: short texts first, in which a key is bound to its value, then some pairs beyond windows
of 32, then all. Each pair is asked for twice, in the test once: questions are of their key's cluster, too, and where
they are many they push the pair out of its window."""
QUICK_STAGES = ((SHORT, 32, 400), (STAGES[3][0], 16, 200))


def recall(settings: BenchSettings) -> Iterator[Row]:
    """All arms by the same stages; the headline, routing, of three seeds."""
    quick = settings.quick
    names = ["routing", "random", "local", "full"] if quick else ["routing", "random", "frozen", "local", "full"]
    last = (QUICK_STAGES if quick else STAGES)[-1][0]
    where = f"{last.length} tokens, pairs {last.after} ago"
    got: dict[str, float] = {}
    for name in names:
        seeds = seeds_of(settings, headline=name == "routing")
        told = [_recalled(replace(settings, seed=seed), name) for seed in seeds]
        bound, shares = ([one[place] for one in told] for place in (0, 1))
        got[name] = fmean(shares)
        least = (0.8 if quick else 0.95) if name == "full" else None
        note = f"after {SHORT.length} tokens alone; guessing among the four values 0.25; {spread(bound)}"
        yield Row.of(f"{name}, {SHORT.length} tokens", "recalled", fmean(bound), at_least=least, note=note)
        bar: dict[str, float] = {"at_most": 0.25 if quick else 0.16} if name == "local" else {}
        if name == "routing":
            bar = {"at_least": 0.05 if quick else 0.9}
        note = f"guessing among the eight values 0.125; {spread(shares)}"
        yield Row.of(f"{name}, {where}", "recalled", got[name], note=note, **bar)
    apart = got["routing"] - got["random"]
    yield Row.of("routing - random", "recalled", apart, at_least=-0.1 if quick else 0.3)


def _recalled(settings: BenchSettings, name: str) -> tuple[float, float]:
    """After the first stage, of its texts; and after the last."""
    model, told, shares = routed_model(name, RECALL_SIZE, 64, settings.seed, tied=False), ["not tied"], []
    for stage, batch, steps in QUICK_STAGES if settings.quick else STAGES:
        rows = replace(stage, seed=settings.seed)
        told.append(f"{rows.length}:{steps}")
        learn(
            settings, f"recall-{name}", model, rows, steps=steps, batch=batch, rate=3e-3,
            told=f"{name} {' '.join(told)}",
        )  # fmt: skip
        shares.append(right_share(model, replace(rows, asked=1), 128))
    return shares[0], shares[-1]


# -- novels ------------------------------------------------------------------------------------------------------------

EVERY, READ_ALONE, QUICK_ALONE = 128, 8, 32
"""Places at which a prefix is read by itself (the peer takes such lengths only); windows of which they are."""


def novels(arms: Novels) -> Iterator[Row]:
    """Bits per character and rare words; topk's likelihood is none, and says so."""
    quick, size = arms.settings.quick, arms.scale.size
    bits: dict[str, float] = {}
    rare: dict[str, float] = {}
    models: dict[str, Any] = {}
    for name in ("full", "local", "routing", "random", "topk"):
        models[name] = model = arms.learn(f"routing-{name}", routed_model(name, size, 256, arms.settings.seed), name)
        bits[name], rare[name] = arms.window_bits(model), arms.rare_nats(model)
        note = "no likelihood: the selection sees what is to come" if name == "topk" else ""
        yield Row.of(f"novels: {name}", "bits per character", bits[name], note=note)
        yield Row.of(f"novels: {name}, words that come again", "nats per byte", rare[name], note=note)
        yield Row.of(f"novels: {name}", "bytes a second, learning", bytes_a_second(model, arms.windows()))
    yield Row.of("novels: routing / local", "bits per character", bits["routing"] / bits["local"], at_most=1.01)
    words, metric = "words that come again", "nats per byte"
    yield Row.of(f"novels: routing / local, {words}", metric, rare["routing"] / rare["local"], at_most=1)
    ratio = rare["routing"] / rare["random"]
    yield Row.of(f"novels: routing / random, {words}", metric, ratio, at_most=1.1 if quick else 1)
    note = "expected: full, routing, random, local, from the lowest on"
    yield Row.of(f"novels: full / routing, {words}", metric, rare["full"] / rare["routing"], note=note)
    yield from _read_alone(arms, models["routing"], models["topk"])


def _read_alone(arms: Novels, ours: Any, topk: Any) -> Iterator[Row]:
    """What is left of a selection that sees what is to come, once prefixes are read by themselves."""
    metric, quick = "bits per character", arms.settings.quick
    every, count = arms.windows(), QUICK_ALONE if quick else READ_ALONE
    windows = every[:: max(1, len(every) // count)][:count]
    own = arms.bits * one_by_one(ours, windows)
    note = f"{len(windows) * len(places_of(windows)):,} places"
    yield Row.of("novels: routing, token by token", metric, own, note=note)
    at_once, alone = (arms.bits * way(topk, windows) for way in (all_at_once, one_by_one))
    seen = f"no likelihood: the selection sees what is to come; {note}"
    yield Row.of("novels: topk, at once, at the same places", metric, at_once, note=seen)
    yield Row.of("novels: topk, token by token", metric, alone, note=note)
    note = "what topk was ahead is gone where nothing is to come"
    yield Row.of("novels: topk / routing, token by token", metric, alone / own, at_least=0.9 if quick else 1, note=note)
    yield from _peer_bits(arms, own, windows)


def _peer_bits(arms: Novels, own: float, windows: Tensor) -> Iterator[Row]:
    metric = "bits per character"
    if not there(ROUTING):
        yield not_run(ROUTING, metric)
        return
    found: list[tuple[float, float]] = []  # by prefixes, and at once
    with quietly():
        for slower in PEER_RATES:
            learning = arms.at(slower)
            model = learning.learn("routing-transformer", *peer(arms))
            found.append((arms.bits * one_by_one(model, windows), arms.window_bits(model)))
        rate = bytes_a_second(model, arms.windows())
    honest, at_once = min(found)
    note = "no likelihood: its selection sees what is to come"
    yield Row.of("peer: routing-transformer, at once", metric, at_once, note=note)
    both = told_of([one for one, _ in found])
    note = f"each prefix read by itself, as it would write; the better of two rates, {both}"
    yield Row.of("peer: routing-transformer, token by token", metric, honest, note=note)
    yield Row.of("peer: routing-transformer", "bytes a second, learning", rate)
    note = f"{own:.3f} at the same places, as each would write"
    most = 1.1 if arms.settings.quick else 1
    yield Row.of("novels: routing / routing-transformer", metric, own / honest, at_most=most, note=note)


def peer(arms: Novels) -> tuple[Any, str]:
    """routing-transformer in our blocks, untrained, as large as our routing; and what it is."""
    size, seed = arms.scale.size, arms.settings.seed

    def mixer(layer: int) -> Any:
        local = size.heads if layer < size.layers // 2 else size.heads // 2
        length = arms.scale.length
        return RoutingPeer(
            dim=size.width, heads=size.heads, local=local, length=length, window=128, local_window=64
        )  # fmt: skip

    def made(expansion: float | None) -> Any:
        mixers = drawn_from(seed, mixer, size.layers)
        return peer_model(mixers, width=size.width, vocabulary=256, seed=seed, expansion=expansion)

    wide = expansion_for(made(None), count_of(routed_model("routing", size, 256, seed)))
    return made(wide), f"peer, MLPs times {wide:g}"


def bytes_a_second(model: Any, windows: Tensor, runs: int = 3) -> float:
    """Of forward and backward over two windows, the fastest run; the model stays as it is."""
    ids, taken = windows[:2], []
    for _ in range(runs):
        begun = time.perf_counter()
        model(ids, labels=ids).loss.backward()
        taken.append(time.perf_counter() - begun)
        model.zero_grad()
    return ids.numel() / min(taken)


def places_of(windows: Tensor) -> range:
    """The places of windows (n, T) that are told."""
    return range(EVERY, windows.shape[1], EVERY)


@torch.no_grad()
def one_by_one(model: Any, windows: Tensor) -> float:
    """Nats per byte at these places, each from its prefix alone; prefixes of one length are read side by side."""
    told = [
        F.cross_entropy(model(windows[:, :place]).logits[:, -1].float(), windows[:, place])
        for place in places_of(windows)
    ]
    return float(torch.stack(told).mean())


@torch.no_grad()
def all_at_once(model: Any, windows: Tensor) -> float:
    """The same places, told in one reading of the windows."""
    places = torch.tensor(places_of(windows))
    logits = torch.cat([model(one).logits[:, places - 1].float() for one in windows.split(4)])  # type: ignore[no-untyped-call]
    return float(F.cross_entropy(logits.flatten(0, 1), windows[:, places].flatten()))


# -- long --------------------------------------------------------------------------------------------------------------


def long(arms: Novels) -> Iterator[Row]:
    """Steps at 8,192 bytes; the loss of the last fifth over that of the first."""
    seed, steps = arms.settings.seed, 3 if arms.settings.quick else 30
    mixer = {"window": 128, "clusters": 64, "local_window": 64}
    size = LanguageSize(layers=2, width=64, heads=4, window=64, mixer=mixer)
    rate: dict[str, float] = {}
    for name in ("routing", "full"):
        model = routed_model(name, size, 256, seed).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        draw, losses, begun = np.random.default_rng(seed), [], time.perf_counter()
        for _ in range(steps):
            at = int(draw.integers(len(arms.learnt) - 8192))
            ids = arms.learnt[at : at + 8192].long()[None]
            loss = model(ids, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        rate[name] = steps * 8192 / (time.perf_counter() - begun)
        fifth = max(1, steps // 5)
        fell = sum(losses[-fifth:]) / sum(losses[:fifth])
        note = f"{rate[name]:,.0f} bytes a second; {losses[-1]:.2f} nats after {steps} steps"
        yield Row.of(f"{name}, trained at 8,192 bytes", "loss, last / first", fell, at_most=0.95, note=note)
    yield Row.of("routing / full, trained at 8,192", "bytes a second", rate["routing"] / rate["full"])
