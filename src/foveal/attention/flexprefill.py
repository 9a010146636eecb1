"""FlexPrefill: every head, for every prompt, picks its own sparse pattern and its own budget (Lai et al., ICLR 2025).

    with attach(model, FlexPrefill(gamma=0.95)):
        model.generate(**inputs)

The last b queries attend exactly; from them each head's pattern is decided (section 3.1):

    query-aware      where the means of blocks predict that attention well (Jensen-Shannon distance below tau), the map
                     of block means is trusted: over all rows together, its largest entries up to a mass of gamma
    vertical-slash   else: the columns and diagonals that these queries look at, each up to a mass of gamma

`budget="tokens"` counts what a mass of gamma needs in tokens and keeps as many blocks, as the paper does; scattered
tokens then leave less than gamma. `budget="blocks"`, the default here, counts in blocks: the mass is what was asked. A
band of distances touches two diagonals of blocks; `paired` keeps the second too. `dense_last` tokens, where a prompt's
question stands, look at everything.

Shapes    queries (B, H, Q, D), keys (B, G, K, D) -> blocks (B, H, query blocks, key blocks)
Source    arXiv 2502.20766; the rules of its code (block counts, forced blocks) where the paper is silent
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.special import entr

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.estimates import block_means, capped, check_finite, last_masses, to_blocks
from foveal.attention.method import BlockMethod
from foveal.attention.patterns import on_diagonals
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context

SHORT = 2048
"""Keys up to which nothing is chosen under the least budget of its own."""

LONG = 8192
"""Keys from which the least budget is 1,024 tokens; below it is 512."""


@dataclass(frozen=True)
class FlexPrefill(BlockMethod):
    """As many blocks as hold a share `gamma` of the attention, by head and prompt (Lai et al., ICLR 2025, section 3).

    `tau`: how far, as a Jensen-Shannon distance, a head may be from its block means to be trusted to them.
    `min_budget`, `max_budget`: tokens that a head keeps at least and at most, of columns and of diagonals each, and at
    most of each row of its map of block means. InputError: a value out of its range.
    """

    gamma: float = 0.95  # above 0, at most 1
    tau: float = 0.1  # 0 to 1
    min_budget: int | None = None  # None: 512, from 8,192 keys on 1,024
    max_budget: int | None = None  # None: no limit
    block: int = BLOCK  # tokens of a query or key block; a power of two from 16
    budget: Literal["blocks", "tokens"] = "blocks"  # what a mass of gamma is counted in; the paper: tokens
    paired: bool = True  # keep both diagonals of blocks that a band of distances touches; the paper: one
    dense_last: int = 256  # tokens at the end that look at everything
    name: ClassVar[str] = "flexprefill"

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if not 0 < self.gamma <= 1 or not 0 <= self.tau <= 1:
            raise InputError(f"FlexPrefill got gamma {self.gamma}, tau {self.tau}; needed: 0 < gamma <= 1, tau 0 to 1.")
        if self.block < 16 or self.block & (self.block - 1):
            raise InputError(f"FlexPrefill got blocks of {self.block} tokens; give a power of two from 16.")
        if self.dense_last < 0:
            raise InputError(f"FlexPrefill got dense_last {self.dense_last}; it must be at least 0 tokens.")
        least, most = self.min_budget, self.max_budget
        if (least is not None and least < 0) or (most is not None and most < (least or 1)):
            raise InputError(f"FlexPrefill got budgets {least} to {most}; the least must not be above the greatest.")
        if self.budget not in ("blocks", "tokens"):
            raise InputError(f"FlexPrefill counts its budget in 'blocks' or 'tokens', not in {self.budget!r}.")

    @property
    def query_block(self) -> int:  # type: ignore[override]
        """Tokens of a query block."""
        return self.block

    @property
    def key_block(self) -> int:  # type: ignore[override]
        """Tokens of a key block."""
        return self.block

    @property
    def least(self) -> int:  # type: ignore[override]
        """Keys from which the method chooses: below, little is left out, and choosing takes what that saves."""
        return SHORT + 1 if self.min_budget is None else 1 + max(2 * self.block, self.min_budget)

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """The blocks of each head; None where gamma asks for all.

        InputError: queries and keys that do not fit, or hold NaN or infinity.
        """
        rows, places = self.grid(query, key)
        if self.gamma == 1 or self._least(key.shape[2]) >= key.shape[2]:
            return None
        columns, slashes = last_masses(query, key, self.block, scale=context.scale, softcap=context.softcap)
        by_block = to_blocks(columns, self.block)
        distance = self._distance(query, key, by_block, context)
        check_finite(query, key, distance)  # the last queries look at every key
        aware = distance < self.tau
        kept = self._up_to_gamma(columns, aware), self._diagonals(slashes, aware)
        keep = kept[0][:, :, None] | on_diagonals(kept[1], rows, places)
        if aware.any():
            keep = keep | self._query_aware(query, key, rows, places, aware, context)
        keep = keep | self.last(query, key, self.dense_last)
        notes = {"query-aware": aware, "distance": distance, "columns": kept[0].sum(-1), "diagonals": kept[1].sum(-1)}
        return self.blocks(keep, query, key).noted(notes)

    # -- which pattern ---------------------------------------------------------------------------------------------

    def _distance(self, query: Tensor, key: Tensor, exact: Tensor, context: Context) -> Tensor:
        """How far the last queries' attention to blocks is from what means of blocks predict: (B, H)."""
        asked = query[:, :, -self.block :].float().mean(2, keepdim=True)
        means = block_means(key, self.block)
        scores = asked.reshape(*means.shape[:2], -1, means.shape[3]) @ means.transpose(-1, -2)
        scores = capped(scores * context.scale, context.softcap)
        return jensen_shannon(scores.softmax(-1).flatten(1, 2), exact)

    # -- which blocks ----------------------------------------------------------------------------------------------

    def _diagonals(self, slashes: Tensor, aware: Tensor) -> Tensor:
        """The diagonals of blocks (B, H, blocks) that are kept, of the distances' mass (B, H, K)."""
        kept = self._up_to_gamma(slashes, aware)
        if self.paired:
            kept[..., 1:] |= kept[..., :-1].clone()
        return kept

    def _up_to_gamma(self, mass: Tensor, aware: Tensor) -> Tensor:
        """The blocks (B, H, blocks) of columns or distances that are kept, of their mass by token (B, H, K).

        The least budget where the head is query-aware.
        """
        by_block = to_blocks(mass, self.block)
        if self.budget == "tokens":
            count = reached(mass, self.gamma) // self.block + 1
        else:
            # the sink and the own diagonal are kept in any case, so their mass counts first
            count = 1 + reached(by_block[..., 1:], self.gamma - by_block[..., 0])
        low = -(-self._least(mass.shape[-1]) // self.block)
        high = by_block.shape[-1] if self.max_budget is None else self._most()
        count = count.masked_fill(aware, 0).clamp(min=max(1, low)).clamp(max=high)
        first = by_block.clone()
        first[..., 0] = torch.inf
        return _largest(first, count)

    def _query_aware(
        self, query: Tensor, key: Tensor, rows: Tensor, places: Tensor, aware: Tensor, context: Context
    ) -> Tensor:
        """Of the map of block means the largest entries, over all rows together, up to a mass of gamma; of each row the
        largest of these, up to the greatest budget (the published code forgets it here).
        """
        scores = capped(self.mean_scores(query, key, context.scale), context.softcap)
        shares = scores.masked_fill(places > rows[:, None], -torch.inf).softmax(-1) / len(rows)
        shares = shares[aware].flatten(1)
        chosen = torch.zeros(*aware.shape, len(rows), len(places), dtype=torch.bool, device=query.device)
        within = _largest(shares, reached(shares, self.gamma, within=True))
        by_row = within.view(-1, len(rows), len(places))
        if self.max_budget is not None:
            ranked = shares.view(by_row.shape).masked_fill(~by_row, -1.0)
            by_row = by_row & _largest(ranked, torch.full(by_row.shape[:2], self._most(), device=query.device))
        chosen[aware] = by_row
        return chosen

    def _most(self) -> int:
        """Blocks of the greatest budget."""
        assert self.max_budget is not None
        return max(1, -(-self.max_budget // self.block))

    def _least(self, keys: int) -> int:
        if self.min_budget is not None:
            return self.min_budget
        return 512 if keys < LONG else 1024


def jensen_shannon(one: Tensor, other: Tensor) -> Tensor:
    """The square root of the Jensen-Shannon divergence along the last dimension, in nats: 0 to sqrt(ln 2)."""
    middle = (one + other) / 2
    divergence = entr(middle).sum(-1) - (entr(one).sum(-1) + entr(other).sum(-1)) / 2
    distance: Tensor = divergence.clamp(min=0).sqrt()
    return distance


def reached(mass: Tensor, share: Tensor | float, *, within: bool = False) -> Tensor:
    """How many of the largest along the last dimension it takes to reach `share`; `within`: to stay at or below it."""
    running = mass.sort(dim=-1, descending=True, stable=True).values.cumsum(-1)
    share = torch.as_tensor(share, device=mass.device, dtype=mass.dtype)[..., None]
    count: Tensor = (running <= share if within else running < share).sum(-1)
    return count if within else (count + (share[..., 0] > 0)).clamp(max=mass.shape[-1])


def _largest(mass: Tensor, count: Tensor) -> Tensor:
    """The `count` (…) largest along the last dimension, as booleans; the first of equals."""
    order = mass.argsort(dim=-1, descending=True, stable=True)
    keep = torch.arange(mass.shape[-1], device=mass.device) < count[..., None]
    return torch.zeros_like(keep).scatter(-1, order, keep)
