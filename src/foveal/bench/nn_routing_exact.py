"""bench nn-routing, exact: both selections against their definitions, in float64 and without any training.

causal      against one dense mask made of the clusters, whole and token by token
topk        against a loop over clusters; how many tokens of a random text are in none, and in how many the others are
one cluster as long as the text: full attention over queries that are keys; no routing heads: attention within blocks
centroids   no gradient reaches them, what draws queries to them is its closed form, and looking moves none; a step of
            an optimiser is one update, also where its forward is done again for its gradients
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from foveal.bench.nn_exact import drawn, token_by_token
from foveal.bench.settings import BenchSettings
from foveal.evaluation.output_error import far_apart
from foveal.evaluation.tables import Row, largest
from foveal.nn.clusters import on_sphere
from foveal.nn.routing import RoutingAttention, RoutingSettings

CLOSE = 1e-9
LENGTHS = (1, 37, 150)
SOFTENED = 1e-2
"""Added to the number of a token's clusters, in the paper's code."""
IN_NONE, IN_SOME = (0.29, 0.39), (1.35, 1.65)
"""Shares of a random text as specified, .34 and 1.5, give or take what seeds do."""


def routed_exactly(settings: BenchSettings) -> Iterator[Row]:
    """The rows."""
    metric = "largest difference"
    layer, texts = layer_of(settings.seed), [_text(tokens, settings.seed) for tokens in LENGTHS]
    with torch.no_grad():
        far = largest(*(far_apart(layer(x).output, by_mask(layer, x)) for x in texts))
        yield Row.of("routing, causal selection: a dense mask", metric, far, at_most=CLOSE, note="float64")
        far = largest(*(far_apart(token_by_token(layer, x), by_mask(layer, x)) for x in texts))
        yield Row.of("routing, causal selection by token: a dense mask", metric, far, at_most=CLOSE, note="float64")
        for causal in (True, False):
            taking = layer_of(settings.seed, selection="topk", causal=causal)
            far = largest(*(far_apart(taking(x).output, by_cluster(taking, x)) for x in texts))
            name = f"routing, topk selection{'' if causal else ', both ways'}: a loop over clusters"
            yield Row.of(name, metric, far, at_most=CLOSE, note="float64")
        whole = layer_of(settings.seed, clusters=1, window=LENGTHS[-1])
        far = largest(*(far_apart(whole(x).output, in_full(whole, x)) for x in texts))
        yield Row.of("routing, one cluster as long as the text: full attention", metric, far, at_most=CLOSE)
        near = layer_of(settings.seed, routing_heads=0, local_window=11)
        far = largest(*(far_apart(near(x).output, in_blocks(near, x)) for x in texts))
        yield Row.of("routing, local heads alone: attention within blocks", metric, far, at_most=CLOSE)
        yield from coverage(settings)
    yield from centroids(layer, texts[-1])
    yield Row.of("routing, a forward done again", "updates of a step", updates(settings.seed), at_least=1, at_most=1)


def layer_of(seed: int, **options: Any) -> RoutingAttention:
    """Two routing heads of 16 with weights drawn from the seed, in float64."""
    torch.manual_seed(seed)
    chosen = RoutingSettings(**{"dim": 32, "heads": 2, "routing_heads": 2, "clusters": 6, "window": 9, **options})
    return RoutingAttention(chosen).double().eval()


def _text(tokens: int, seed: int) -> Tensor:
    return drawn(2, tokens, 32, seed=seed + tokens, dtype=torch.float64)


# -- definitions -------------------------------------------------------------------------------------------------------


def heads_of(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys on the sphere, and values, (B, H, T, D)."""
    s = layer.settings
    made = layer.routed.project(x).view(*x.shape[:2], -1, s.heads, s.width).permute(2, 0, 3, 1, 4)
    q = on_sphere(made[0])
    return q, q if s.shared else on_sphere(made[1]), made[-1]


def put_together(layer: Any, seen: Tensor) -> Tensor:
    """Heads side by side, and projected."""
    y: Tensor = layer.routed.out(seen.transpose(1, 2).flatten(2))
    return y


def by_mask(layer: RoutingAttention, x: Tensor, *, window: int | None = None) -> Tensor:
    """A token sees those of its cluster that are not later, the last `window` of them (None: as the layer)."""
    (q, k, v), ids, place = heads_of(layer, x), layer.assignments(x), torch.arange(x.shape[1])
    alike = (ids[..., :, None] == ids[..., None, :]) & (place <= place[:, None])
    seen = alike & (alike.flip(-1).cumsum(-1).flip(-1) <= (window or layer.settings.window))
    scores = (q @ k.mT * layer.settings.scale).masked_fill(~seen, -torch.inf)
    return put_together(layer, scores.softmax(-1) @ v)


def by_cluster(layer: RoutingAttention, x: Tensor) -> Tensor:
    """Each cluster takes its nearest tokens, which see each other in the order of time; a mean over a token's."""
    s, (q, k, v) = layer.settings, heads_of(layer, x)
    total, count = torch.zeros_like(v), torch.zeros_like(v[..., :1])
    for row in range(len(x)):
        for head, means in enumerate(layer.centroids):
            for mean in means:
                few = min(s.window, x.shape[1])
                asking, asked = (sorted((one[row, head] @ mean).topk(few).indices.tolist()) for one in (q, k))
                for at in asking:
                    count[row, head, at] += 1
                    if seen := [one for one in asked if one <= at or not s.causal]:
                        shares = (k[row, head, seen] @ q[row, head, at] * s.scale).softmax(0)
                        total[row, head, at] += shares @ v[row, head, seen]
    return put_together(layer, total / (count + SOFTENED))


def in_full(layer: RoutingAttention, x: Tensor) -> Tensor:
    """Every token sees all up to itself."""
    q, k, v = heads_of(layer, x)
    return put_together(layer, F.scaled_dot_product_attention(q, k, v, is_causal=True))


def in_blocks(layer: RoutingAttention, x: Tensor) -> Tensor:
    """A token sees what is before it in its own block and in the one before, by rotary distances (complex numbers)."""
    assert layer.local is not None
    s, place = layer.settings, torch.arange(x.shape[1])
    q, k, v = layer.local.qkv(x).view(*x.shape[:2], 3, s.heads, s.width).permute(2, 0, 3, 1, 4)
    angles = place[:, None] * 10_000.0 ** (-torch.arange(0, s.width, 2, dtype=x.dtype) / s.width)
    q, k = (torch.complex(*one.chunk(2, -1)) * torch.polar(torch.ones_like(angles), angles) for one in (q, k))
    apart = (place[:, None] // s.local_window) - place // s.local_window
    seen = (apart >= 0) & (apart <= 1) & (place <= place[:, None])
    scores = ((q @ k.mH).real * s.width**-0.5).masked_fill(~seen, -torch.inf)
    given: Tensor = layer.local.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    return given


# -- clusters ----------------------------------------------------------------------------------------------------------


def coverage(settings: BenchSettings) -> Iterator[Row]:
    """Of 512 random tokens by 16 clusters of 32."""
    layer = layer_of(settings.seed, dim=64, heads=1, routing_heads=1, clusters=16, window=32, selection="topk")
    told = layer.stats(drawn(4, 512, 64, seed=settings.seed, dtype=torch.float64))
    for name, metric, (low, high) in (
        ("in none", "tokens in no cluster", IN_NONE), ("clusters of one in any", "clusters of one in any", IN_SOME),
    ):  # fmt: skip
        yield Row.of("routing, topk selection of random tokens", metric, told[name], at_least=low, at_most=high)


def centroids(layer: RoutingAttention, x: Tensor) -> Iterator[Row]:
    """What learns, and what does not."""
    held, learnt = layer.centroids.clone(), [name for name, _ in layer.named_parameters() if "means" in name]
    yield Row.of("routing, centroids", "learnt by gradient", len(learnt), at_most=0)
    x = x.clone().requires_grad_()
    (told,) = torch.autograd.grad(layer(x).loss, x)
    q = heads_of(layer, x)[0]
    nearest = layer.centroids[torch.arange(layer.settings.heads)[:, None], layer.assignments(x)]
    apart = 2 * layer.settings.commitment * (q - nearest).detach() / q[..., 0].numel()
    (right,) = torch.autograd.grad(q, x, apart)
    far = far_apart(told, right) / float(right.abs().max())
    yield Row.of("routing, commitment's gradient: its closed form", "largest difference, relative", far, at_most=CLOSE)
    yield Row.of("routing, centroids after looking", "largest change", far_apart(layer.centroids, held), at_most=0)


def updates(seed: int, steps: int = 3) -> float:
    """Updates of the centroids for each step of an optimiser, whose forward is computed twice."""
    layer = layer_of(seed).train()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for number in range(steps):
        x = _text(LENGTHS[1], seed + number).requires_grad_()
        optimizer.zero_grad()
        checkpoint(lambda one: layer(one, keep=False).output.square().mean(), x, use_reentrant=False).backward()
        optimizer.step()
    layer.eval()  # takes in what the last step observed
    return float(layer.routed.means.updates) / steps if layer.routed is not None else 0.0
