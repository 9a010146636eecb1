"""bench attention, output: how far each method's attention output lies from dense attention's, by density.

Queries, keys and values of one layer in three of an essay's first 4,096 tokens, in float32; the mean over layers and
heads. FlexPrefill and DHSA at settings of their own, then all methods at the density that FlexPrefill took; and a
picture of error against density. The control is random blocks: what chooses must leave less out that matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from torch import Tensor

from foveal.attention import DHSA, Context, FlexPrefill
from foveal.attention.blocks import Blocks
from foveal.attention.kernel import block_attention
from foveal.bench.attention_matched import EVERY, FAMILIES, at_density
from foveal.bench.attention_models import Capture, PromptReader
from foveal.bench.settings import BenchSettings
from foveal.evaluation.output_error import output_error
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row

LENGTH, QUICK = 4_096, 3_072
SHARES = (0.15, 0.25, 0.4, 0.6)
"""Of the causal blocks, in the picture."""

Seen = tuple[Tensor, Tensor, Tensor, Context]
"""Queries, keys, values, and where they stand."""


def output(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench attention-output`."""
    reader = PromptReader(settings)
    capture = Capture(range(0, reader.model.model.config.num_hidden_layers, EVERY))
    reader.read(reader.tokens(QUICK if settings.quick else LENGTH), capture)
    seen = [
        (query.float(), key.float(), capture.values[layer].float(), replace(context, report=None))
        for layer, (query, key, context) in capture.kept.items()
    ]
    exact = [_over(None, *one) for one in seen]
    own = {
        "FlexPrefill, gamma 0.9": FlexPrefill(gamma=0.9),
        "FlexPrefill, gamma 0.95": FlexPrefill(gamma=0.95),
        "DHSA, a quarter of the keys": DHSA(density=0.25),
    }
    for name, method in own.items():
        error, density = errors(method, seen, exact)
        yield Row.of(name, "output error", error, note=f"density {density:.3f}")
    yield from _alike(FlexPrefill(gamma=0.95), seen, exact)
    yield from _curves(settings, seen, exact)


def errors(method: Any, seen: Sequence[Seen], exact: Sequence[Tensor]) -> tuple[float, float]:
    """A method's error and density, the mean over layers and heads."""
    found, densities = [], []
    for (query, key, value, context), dense in zip(seen, exact, strict=True):
        blocks = method.prefill(query, key, context)
        found.append(float(output_error(_over(blocks, query, key, value, context), dense).mean()))
        densities.append(1.0 if blocks is None else float(blocks.density().mean()))
    return fmean(found), fmean(densities)


def _over(blocks: Blocks | None, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
    """The output over blocks; None: over all that stands before."""
    blocks = blocks or Blocks.causal(query.shape[2], key.shape[2])
    return block_attention(query, key, value, blocks, scale=context.scale, softcap=context.softcap)[0]


def _alike(method: FlexPrefill, seen: Sequence[Seen], exact: Sequence[Tensor]) -> Iterator[Row]:
    """Every method at FlexPrefill's density; those that choose beside those that do not."""
    error, density = errors(method, seen, exact)
    found: dict[str, float] = {"flexprefill": error}
    looked = [(query, key, context) for query, key, _, context in seen]
    for setting, one in at_density(looked, density).items():
        name = setting.split("@")[0]
        found[name], reached = errors(one, seen, exact)
        note = f"density {reached:.3f}, flexprefill {density:.3f}"
        yield Row.of(f"at equal density, {name}", "output error", found[name], note=note)
    for ours in ("flexprefill", "dhsa-equal"):
        for other in ("random", "streaming", "vertical-slash"):
            most = None if (ours, other) == ("dhsa-equal", "vertical-slash") else 0.9999  # both choose what to look at
            yield Row.of(f"{ours} / {other}", "output error, ratio", found[ours] / found[other], at_most=most)


def _curves(settings: BenchSettings, seen: Sequence[Seen], exact: Sequence[Tensor]) -> Iterator[Row]:
    """A row for each share of the blocks and method, and the picture of them."""
    shares = SHARES[1:2] if settings.quick else SHARES
    looked = [(query, key, context) for query, key, _, context in seen]
    curves: Mapping[str, list[float]] = {name: [] for name in FAMILIES}
    for share in shares:
        for name, method in at_density(looked, share, tuple(FAMILIES)).items():
            error, reached = errors(method, seen, exact)
            family = name.split("@")[0]
            curves[family].append(error)
            yield Row.of(
                f"at {share:.0%} of the blocks, {family}", "output error", error, note=f"density {reached:.3f}"
            )
    path = settings.cache / "pictures" / "attention-output.png"
    lines(shares, curves, path, title="Attention's output", x_label="share of the causal blocks", y_label="error")
