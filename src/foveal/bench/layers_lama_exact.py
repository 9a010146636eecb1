"""bench layers-lama, without training: LAMA against the sums of the paper one by one, and what pooling costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.nn.lama import LamaSettings, LowRankAttention, LowRankPooler
from foveal.nn.pooling import AttentionPooler, MaxPooler, MeanPooler, MultiHeadPooler, StructuredPooler

LENGTHS = (512, 2048, 8192)
FASTER = {512: 10.0, 8192: 30.0}
"""Times as fast as multi-head self-attention, with the token layer."""
GROWTH = 6.0
"""Of the time from 2,048 to 8,192 tokens."""

TABLE = {  # (d, m) -> parameters of the scores: LAMA without and with the token layer, one head, structured, multi-head
    (100, 8): (1_700, 11_800, 10_200, 37_800, 40_400),
    (512, 8): (8_704, 271_360, 263_168, 182_000, 1_050_624),
}


@torch.no_grad()
def exact(settings: BenchSettings) -> Iterator[Row]:
    """Differences from the definition, exactness under masks, counts."""
    torch.manual_seed(settings.seed)
    layer, x = LowRankAttention(LamaSettings(dim=24, heads=5)).double(), torch.randn(3, 17, 24, dtype=torch.float64)
    lengths = torch.tensor([17, 9, 1])
    mask = torch.arange(17) < lengths[:, None]
    found = layer(x, mask)
    gap = max(
        float((found[row, :, :length] - torch.from_numpy(by_sums(layer, x[row, :length]))).abs().max())
        for row, length in enumerate(lengths.tolist())
    )
    yield Row.of("LAMA, softmax of the paper's sums one by one", "largest difference", gap, at_most=1e-6)
    yield Row.of("LAMA, full matrices W_i = p_i q_i'", "largest difference", by_matrices(layer, x), at_most=1e-5)
    sums = float((found.sum(-1) - 1).abs().max())
    yield Row.of("LAMA, rows of attention", "distance of their sums from 1", sums, at_most=1e-6)
    hidden = float(found.masked_select(~mask[:, None]).abs().max())
    yield Row.of("LAMA, padding", "largest weight", hidden, at_most=0)
    other = torch.where(mask[..., None], x, torch.nan)
    change = float((layer(other, mask) - found).abs().max())
    yield Row.of("LAMA, padding replaced by numbers that are none", "largest difference", change, at_most=0)
    norms = layer.scores(x, mask).square().sum(1).sqrt()
    yield Row.of("LAMA, norm of a token's scores", "distance from 1", float((norms - 1).abs().max()), at_most=1e-4)
    yield from counts()


def by_sums(layer: LowRankAttention, x: Tensor) -> np.ndarray:
    """Attention (m, T) of one text by loops."""
    assert layer.token_layer is not None
    assert layer.c is not None
    w, b = layer.token_layer.weight.numpy(), layer.token_layer.bias.numpy()
    p, q, c = layer.p.numpy(), layer.q.numpy(), layer.c.numpy()
    scores = np.zeros((len(p), len(x)))
    for t, token in enumerate(x.numpy()):
        u = np.tanh(w @ token + b)
        f = np.array([np.tanh(sum(p[i] * c) * sum(q[i] * u)) for i in range(len(p))])
        scores[:, t] = f / np.sqrt(sum(f**2))
    raised = np.exp(scores)
    shares: np.ndarray = raised / raised.sum(1, keepdims=True)
    return shares


def by_matrices(layer: LowRankAttention, x: Tensor) -> float:
    """How far c' W_i u with a whole matrix for each head is from the factored product."""
    assert layer.token_layer is not None
    assert layer.c is not None
    u = torch.tanh(layer.token_layer(x))
    whole = torch.stack([u @ torch.outer(q, p) @ layer.c for p, q in zip(layer.p, layer.q, strict=True)], -1)
    factored = (layer.p @ layer.c) * (u @ layer.q.T)
    return float((whole - factored).abs().max())


def counts() -> Iterator[Row]:
    """Parameters of the scores beside the table of the formulas."""
    for (d, m), wanted in TABLE.items():
        without = LowRankAttention(LamaSettings(dim=d, heads=m, token_mlp=False))
        made: list[nn.Module] = [
            without, LowRankAttention(LamaSettings(dim=d, heads=m)), AttentionPooler(d), StructuredPooler(d, m),
            MultiHeadPooler(d, m),
        ]  # fmt: skip
        names = ("LAMA without the token layer", "LAMA", "one head", "structured", "multi-head")
        for name, module, count in zip(names, made, wanted, strict=True):
            found = sum(one.numel() for one in module.parameters())
            yield Row.of(f"{name}, d = {d}, m = {m}", "parameters", found, at_least=count, at_most=count)


# -- speed -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def speed(settings: BenchSettings) -> Iterator[Row]:
    """One row of d = 512 by eight heads: multi-head self-attention and LAMA in turn; then all poolings."""
    torch.manual_seed(settings.seed)
    d, m = 512, 8
    ours, bare = (LowRankPooler(LamaSettings(dim=d, heads=m, token_mlp=one)).eval() for one in (True, False))
    others: dict[str, nn.Module] = {
        "LAMA": ours, "LAMA without the token layer": bare, "structured": StructuredPooler(d, m).eval(),
        "one head": AttentionPooler(d).eval(), "mean": MeanPooler(d), "max": MaxPooler(d),
    }  # fmt: skip
    full = nn.MultiheadAttention(d, m, batch_first=True).eval()
    for length in LENGTHS:
        x = torch.randn(1, length, d)
        runs = 2 if settings.quick else 3 if length > 2048 else 7
        ratio = paired(partial(with_weights, full, x), partial(ours, x), runs=runs)
        name = f"{length:,} tokens: LAMA / multi-head self-attention"
        yield Row.of(name, "times as fast", ratio.median, at_least=FASTER.get(length), note=str(ratio))
        fused = paired(partial(without_weights, full, x), partial(ours, x), runs=runs)
        yield Row.of(f"{name}, fused", "times as fast", fused.median, note=f"PyTorch's, without weights; {fused}")
        for called, module in others.items():
            took = best_ms(partial(module, x))
            yield Row.of(f"{length:,} tokens: {called}", "milliseconds", took, note="best of 7")
    longer, shorter = (torch.randn(1, length, d) for length in (LENGTHS[2], LENGTHS[1]))
    growth = paired(partial(ours, longer), partial(ours, shorter), runs=7)
    yield Row.of("LAMA, 8,192 tokens / 2,048", "time", growth.median, at_most=GROWTH, note=str(growth))


def with_weights(full: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Self-attention whose weights come out, as ours do, and the mean."""
    y, _ = full(x, x, x, need_weights=True)
    mean: Tensor = y.mean(1)
    return mean


def without_weights(full: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """The same by PyTorch's fused kernel."""
    y, _ = full(x, x, x, need_weights=False)
    mean: Tensor = y.mean(1)
    return mean


def best_ms(call: Callable[[], object], runs: int = 7) -> float:
    """The shortest of some runs."""
    call()
    found = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - begun))
    return min(found)
