"""Attention sinks: tokens that many others look at much, whatever they mean; and taking from what they get.

For one head and one text, A (N, N) being its softmax attention, rows looking at columns:

    score       a[j] = mean of A[i, j] over the rows i that can see column j
    sink        j with a[j] > tau, but for the first token; tau = max(alpha / N, least)  (SinkRule)
    calibrated  A'[k, s] = beta A[k, s] for the sinks s; what is freed goes to all other columns in proportion to their
                weight, so that rows still sum to 1. With w the weight that a row gives to sinks, O its output, O^S the
                part of it that comes from sinks, and c = 1 + (1 - beta) w / (1 - w):
                O' = c (O - O^S) + beta O^S

No N×N matrix is made: rows are gone through in blocks of `ROWS`, in float32 (sums of half floats run over), and each
block is thrown away; then only the sinks' columns are needed. Where sinks have nearly all of a row (`NEARLY`), the
differences above would lose their digits: what is left is then summed over its own columns, for that block of rows.

Shapes    chosen heads only: queries (B, h, Q, D), keys (B, h, K, D), values (B, h, K, E)  ->  sums (B, h, K)
Source    Yu et al., ICML 2024 (arXiv 2406.15765), sections 3 and 4; the form without N×N: ours
Against   the published code spares the first sink that it *finds*, renormalises one row by itself in decoding, and
          counts late columns that few rows have seen
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from foveal.attention.estimates import capped
from foveal.attention.masks import Mask
from foveal.errors import InputError, UnknownName

ROWS = 128
"""Query rows of a block: at 2,048 tokens its scores fit a processor's second cache."""

LOWEST, TINY = -1e30, 1e-30

NEARLY = 0.8
"""Weight of sinks in a row above which 1 less that weight is no longer exact to five digits."""

NOTHING = 1e-6
"""Weight of all other columns of a row below which it has nobody to give to, and stays as it is."""

RULES = ("max", "alpha", "least")


@dataclass(frozen=True, kw_only=True)
class SinkRule:
    """When a column is a sink. `rule`: tau is the larger of both, alpha / N alone (the paper), or `least` (its code).

    At N = 50 both are equal; at 2,000 tokens alpha / N = 0.0025 takes in most words.
    """

    rule: str = "max"  # one of RULES
    alpha: float = 5.0  # times the even spread; the paper compares 3, 5 and 7
    least: float = 0.1  # attention, 0 to 1
    min_rows: int = 16  # rows that must have seen a column: the last ones are seen by few, and their means are noise

    def __post_init__(self) -> None:
        """InputError: a value out of its range. UnknownName: no such rule."""
        if self.rule not in RULES:
            raise UnknownName(f"No rule of sinks is called {self.rule!r}. There are: {', '.join(RULES)}.")
        if not self.alpha > 0 or not 0 < self.least < 1 or self.min_rows < 1:
            raise InputError(
                f"A rule of sinks got alpha {self.alpha}, least {self.least}, min_rows {self.min_rows}; alpha is above "
                "0, least between 0 and 1, min_rows at least 1."
            )

    def tau(self, tokens: Tensor) -> Tensor:
        """The scores (B,) above which a column of texts of `tokens` (B,) is a sink."""
        spread = self.alpha / tokens.float().clamp(min=1)
        if self.rule == "alpha":
            return spread
        return spread.clamp(min=self.least) if self.rule == "max" else torch.full_like(spread, self.least)

    def __call__(self, columns: Columns) -> Tensor:
        """The sinks (B, h, K) bool."""
        return self.eligible(columns)[:, None] & (columns.means > self.tau(columns.tokens)[:, None, None])

    def eligible(self, columns: Columns) -> Tensor:
        """The columns (B, K) that may be sinks: not the first token, and seen by enough rows."""
        places = torch.arange(columns.rows.shape[1], device=columns.rows.device)
        return (columns.rows >= self.min_rows) & (places != columns.first[:, None])


@dataclass(frozen=True, kw_only=True)
class OtherColumns:
    """A control: as many columns as there are sinks, drawn from those that are none."""

    rule: SinkRule
    seed: int = 0

    def __call__(self, columns: Columns) -> Tensor:
        """The columns (B, h, K) bool."""
        sinks = self.rule(columns)
        draw = torch.Generator().manual_seed(self.seed + sinks.shape[2])
        order = torch.rand(sinks.shape, generator=draw, dtype=torch.float32).to(sinks.device)
        order.masked_fill_(sinks | ~self.rule.eligible(columns)[:, None], -1.0)
        places = order.argsort(-1, descending=True).argsort(-1)  # the rank of each column
        return (places < sinks.sum(-1, keepdim=True)) & (order >= 0)


class Chooser(Protocol):
    """What says which columns are taken from: a rule, or a control."""

    def __call__(self, columns: Columns) -> Tensor:
        """(B, h, K) bool."""
        ...


@dataclass(frozen=True)
class Columns:
    """What was looked at so far: sums of attention, the rows that could look, the first token, the texts' tokens."""

    sums: Tensor  # (B, h, K) float32
    rows: Tensor  # (B, K) whole numbers: real rows that saw the column
    first: Tensor  # (B,) place of the first real token among these columns; below 0: no longer among them
    tokens: Tensor  # (B,) real tokens that a row sees at most

    @property
    def means(self) -> Tensor:
        """The token scores a (B, h, K); 0 where no row has looked."""
        return self.sums / self.rows[:, None].clamp(min=1)

    def behind(self, before: Columns, past: int) -> Columns:
        """These together with those of earlier rows, whose last column is number `past` - 1 here."""
        shared = min(before.sums.shape[2], past)
        sums, rows = self.sums.clone(), self.rows.clone()
        sums[..., past - shared : past] += before.sums[..., -shared:] if shared else 0
        rows[:, past - shared : past] += before.rows[:, -shared:] if shared else 0
        return replace(self, sums=sums, rows=rows, first=before.first + past - before.sums.shape[2])


@dataclass(frozen=True)
class Heads:
    """The chosen heads' tensors in float32, and what their rows see."""

    query: Tensor  # (B, h, Q, D), scaled
    key: Tensor  # (B, h, K, D)
    value: Tensor  # (B, h, K, E)
    mask: Mask
    softcap: float | None = None

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        heads: list[int],
        mask: Mask,
        scale: float,
        softcap: float | None = None,
    ) -> Heads:
        """Of a layer's queries (B, H, Q, D), keys and values (B, G, K, D). InputError: a mask that is not causal."""
        if not mask.by_position or mask.shape[3] != key.shape[2]:
            raise InputError(
                "Sinks are told apart by position: they need causal texts, in a cache that holds no empty room and "
                "nothing else. A static cache, a compiled step and a mask of four dimensions cannot be kept to."
            )
        share = query.shape[1] // key.shape[1]
        groups = [head // share for head in heads]
        parts = query[:, heads].float() * scale, key[:, groups].float(), value[:, groups].float()
        return cls(*parts, mask, softcap)

    @property
    def past(self) -> int:
        """Keys before the first of these queries."""
        return self.key.shape[2] - self.query.shape[2]

    @property
    def real_rows(self) -> Tensor | None:
        """(B, Q) bool, False where a query is padding; None: all are real."""
        return None if self.mask.real is None else self.mask.real[:, self.past :]

    @property
    def free(self) -> bool:
        """Whether a row sees all that came before."""
        return self.mask.real is None and (self.mask.window is None or self.mask.window >= self.key.shape[2])

    def blocks(self, size: int = ROWS, within: slice = slice(None)) -> Iterator[tuple[slice, int]]:
        """The rows of each block, and one past the last column that any of them sees."""
        first, last, _ = within.indices(self.query.shape[2])
        for start in range(first, last, size):
            end = min(last, start + size)
            yield slice(start, end), self.past + end

    def seen(self, rows: slice, end: int) -> Tensor:
        """What a block of rows sees of the first `end` columns: (B or 1, 1, R, end) bool."""
        places = torch.arange(rows.start, rows.stop, device=self.query.device)
        if self.free:
            return (torch.arange(end, device=places.device) <= (places + self.past)[:, None])[None, None]
        return self.mask.rows(places.expand(self.query.shape[0], -1))[..., :end]

    def sees(self, rows: slice, end: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """Whether a block's rows see the columns `places` (B, h, m): (B, h, R, m); how many they see (B or 1, 1, R)."""
        if self.free:
            own = torch.arange(self.past + rows.start, self.past + rows.stop, device=places.device)
            return places[:, :, None] <= own[:, None], (own + 1)[None, None]
        seen = self.seen(rows, end)
        wide = torch.nn.functional.pad(seen, (0, self.key.shape[2] - end)).expand(*places.shape[:2], -1, -1)
        return wide.gather(3, places[:, :, None].expand(-1, -1, wide.shape[2], -1)), seen.sum(-1)

    def scores(self, rows: slice, end: int) -> Tensor:
        """The logits (B, h, R, end) of a block, -inf where nothing is seen."""
        found = capped(self.query[:, :, rows] @ self.key[:, :, :end].transpose(-1, -2), self.softcap)
        if self.free:  # only the last square of a block has anything to hide
            size = rows.stop - rows.start
            found[..., end - size :].masked_fill_(_later(size, found.device), -torch.inf)
            return found
        return found.masked_fill_(~self.seen(rows, end), -torch.inf)


@lru_cache(maxsize=8)
def _later(size: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept: a training may be the next that asks
        return torch.ones(size, size, dtype=torch.bool, device=device).triu(1)


@dataclass(frozen=True)
class Looked:
    """One pass over the chosen heads: the log-sum-exp of their rows (B, h, Q), and the columns."""

    log_sum: Tensor
    columns: Columns


def looked(heads: Heads) -> Looked:
    """The sums of the heads' columns, block by block."""
    batch, count, queries, _ = heads.query.shape
    keys = heads.key.shape[2]
    log_sum = heads.query.new_empty(batch, count, queries)
    sums = heads.query.new_zeros(batch, count, keys)
    rows = torch.zeros(batch, keys, dtype=torch.long, device=sums.device)
    real = heads.real_rows
    for block, end in heads.blocks():
        scores = heads.scores(block, end)
        best = scores.detach().amax(-1).clamp(min=LOWEST)  # a row of padding sees nothing: it gets 0 everywhere
        weights = scores.sub_(best[..., None]).exp_()
        total = weights.sum(-1).clamp(min=TINY)
        log_sum[:, :, block] = best + total.log()
        share = total.reciprocal() if real is None else total.reciprocal() * real[:, None, block]
        sums[..., :end] += (share[..., None, :] @ weights)[..., 0, :]
        if not heads.free:
            seen = heads.seen(block, end)[:, 0]
            rows[:, :end] += (seen if real is None else seen & real[:, block, None]).sum(1)
    if heads.free:
        rows += (keys - torch.arange(keys, device=rows.device)).clamp(max=queries)
    return Looked(log_sum, Columns(sums, rows, *_ends(heads)))


def _ends(heads: Heads) -> tuple[Tensor, Tensor]:
    """The place of the first real token (B,), -1 where a sliding cache has dropped it, and the real tokens (B,)."""
    batch, keys = heads.query.shape[0], heads.key.shape[2]
    mask, device = heads.mask, heads.query.device
    if mask.real is None:
        first, tokens = torch.zeros(batch, dtype=torch.long, device=device), torch.full((batch,), keys, device=device)
    else:
        first, tokens = mask.real.int().argmax(1), mask.real.sum(1)
    if mask.k_offset:
        first = torch.full_like(first, -1)
    return first, tokens.clamp(max=mask.window) if mask.window else tokens


@dataclass(frozen=True)
class Edited:
    """The calibrated output (B, h, Q, E) float32; what each row gave to sinks (B, h, Q), 0 where it is as it was."""

    output: Tensor
    taken: Tensor


def edited(heads: Heads, seen: Looked, output: Tensor, sinks: Tensor, beta: float) -> Edited:
    """`output` (B, h, Q, E) float32, the heads' own, after calibration with `sinks` (B, h, K) bool.

    A row that sees no sinks, or nothing else, stays as it is; so do rows of padding.
    """
    most = int(sinks.sum(-1).max())
    told, taken = output.clone(), torch.zeros_like(seen.log_sum)
    if not most:
        return Edited(told, taken)
    chosen = sinks.int().topk(most, -1)
    places, order = chosen.indices.sort(-1)
    there = chosen.values.gather(-1, order).bool()
    keys, values = (
        part.gather(2, places[..., None].expand(-1, -1, -1, part.shape[3])) for part in (heads.key, heads.value)
    )
    for block, end in heads.blocks(4 * ROWS):  # sinks are few
        allowed, visible = heads.sees(block, end, places)
        allowed = allowed & there[:, :, None]
        scores = capped(heads.query[:, :, block] @ keys.transpose(-1, -2), heads.softcap)
        weights = scores.sub_(seen.log_sum[:, :, block, None]).exp_().masked_fill(~allowed, 0.0)
        share, from_sinks = weights.sum(-1), weights @ values
        changed = (share > 0) & (allowed.sum(-1) < visible)
        if heads.real_rows is not None:
            changed &= heads.real_rows[:, None, block]
        rest, others = 1 - share, output[:, :, block] - from_sinks
        if bool((changed & (share > NEARLY)).any()):
            rest, others = _without(heads, block, seen, sinks)
        changed &= rest > NOTHING
        grown = (1 - beta * share) / rest.clamp(min=NOTHING)
        new = grown[..., None] * others + beta * from_sinks
        told[:, :, block] = torch.where(changed[..., None], new, output[:, :, block])
        taken[:, :, block] = torch.where(changed, share, 0.0)
    return Edited(told, taken)


def _without(heads: Heads, rows: slice, seen: Looked, sinks: Tensor) -> tuple[Tensor, Tensor]:
    """What rows give to all but sinks (B, h, R), and the output of that part (B, h, R, E): summed, not subtracted."""
    parts = []
    for block, end in heads.blocks(within=rows):
        scores = heads.scores(block, end).masked_fill_(sinks[:, :, None, :end], -torch.inf)
        weights = scores.sub_(seen.log_sum[:, :, block, None]).exp_()
        parts.append((weights.sum(-1), weights @ heads.value[:, :, :end]))
    rest, others = zip(*parts, strict=True)
    return torch.cat(rest, 2), torch.cat(others, 2)


def calibrated_rows(weights: Tensor, rule: SinkRule, beta: float) -> Tensor:
    """Rows (…, R, K) of attention that were recorded, calibrated by what these rows alone look at.

    Columns that no row sees (weight 0) do not count as tokens; the first place is spared.
    """
    means = weights.mean(-2, keepdim=True)
    tokens = (means > 0).sum(-1)
    sinks = means > rule.tau(tokens.flatten()).view(*tokens.shape, 1)
    sinks[..., 0] = False
    share, rest = (weights * sinks).sum(-1, keepdim=True), (weights * ~sinks).sum(-1, keepdim=True)
    told = torch.where(sinks, beta * weights, weights * (1 - beta * share) / rest.clamp(min=NOTHING))
    return torch.where((share > 0) & (rest > NOTHING), told, weights)
