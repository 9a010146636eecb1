"""Which blocks of keys each block of queries looks at: what a sparse method says, and all that a kernel needs to know.

    blocks = Blocks.of(keep, queries=n, keys=n)       # keep (B, H, query blocks, key blocks): any choice, as booleans
    blocks.density()                                  # the share of the causal blocks that is visited, by head
    blocks.block_mask()                               # the same as FlexAttention's BlockMask

Queries are the last of the keys: query i stands at position keys - queries + i. Causality, a sliding window and padding
hold token by token inside the blocks, whatever a method keeps; a block that holds nothing to see is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from foveal.errors import InputError

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(batch, head, query, key) indices, broadcast -> whether the query sees the key."""

BLOCK = 128

WHOLE, BY_POSITION = 0, -1
"""Rules of a kept block: all of it is seen, or what the positions allow; a number n from 1 is a table's, n - 1."""


@dataclass(frozen=True)
class Lists:
    """Kept blocks in the order of (batch, head, query block); those of number l stand at starts[l] to starts[l + 1]."""

    starts: Tensor  # int64
    indices: Tensor  # int32, key blocks, ascending
    rules: Tensor  # int32
    tokens: Tensor | None  # (tables, query_block, key_block) bool


@dataclass(frozen=True)
class Blocks:
    """Kept blocks, `keep` (B or 1, H or 1, query blocks, key blocks), and the tokens' rule inside them.

    Make it by `of`, `causal` or `from_block_mask`. Sizes are in tokens; queries are the last of the keys.
    """

    keep: Tensor  # (B or 1, H or 1, query blocks, key blocks) bool
    queries: int
    keys: int
    query_block: int = BLOCK
    key_block: int = BLOCK
    window: int | None = None  # a query sees itself and the window - 1 keys before
    real: Tensor | None = None  # (B, keys) bool, False where a key is padding
    rule: MaskMod | None = field(default=None, compare=False)  # seen only where this, too, is true
    bound: Tensor | None = field(default=None, compare=False)  # blocks that `rule` is asked for; None: all
    is_causal: bool = True
    notes: Mapping[str, Tensor] = field(default_factory=dict, compare=False)  # (B, H) each: what a method says of heads

    def __post_init__(self) -> None:
        """Padding differs from row to row of a batch, so the blocks are listed for each row."""
        if self.real is not None and self.keep.shape[0] == 1:
            object.__setattr__(self, "keep", self.keep.expand(len(self.real), -1, -1, -1))

    @classmethod
    def of(
        cls,
        keep: Tensor,
        *,
        queries: int,
        keys: int,
        query_block: int = BLOCK,
        key_block: int = BLOCK,
        window: int | None = None,
        real: Tensor | None = None,
    ) -> Blocks:
        """The blocks of `keep` that hold anything to see. InputError: `keep` is of another shape, or not boolean."""
        shape = (_up(queries, query_block), _up(keys, key_block))
        if keep.dim() != 4 or keep.dtype != torch.bool or tuple(keep.shape[2:]) != shape:
            raise InputError(
                f"Blocks got keep of shape {tuple(keep.shape)}, {keep.dtype}; for {queries} queries in blocks of "
                f"{query_block} and {keys} keys in blocks of {key_block} it needs (B or 1, H or 1, {shape[0]}, "
                f"{shape[1]}), torch.bool."
            )
        if queries > keys:
            raise InputError(f"Blocks got {queries} queries for {keys} keys; the queries are the last of the keys.")
        blank = cls(keep, queries, keys, query_block, key_block, window, real)
        return replace(blank, keep=keep & blank.visible)

    @classmethod
    def causal(
        cls,
        queries: int,
        keys: int,
        *,
        query_block: int = BLOCK,
        key_block: int = BLOCK,
        window: int | None = None,
        real: Tensor | None = None,
        device: torch.device | None = None,
    ) -> Blocks:
        """Every block that there is to see: dense attention."""
        keep = torch.ones(1, 1, _up(queries, query_block), _up(keys, key_block), dtype=torch.bool, device=device)
        return cls.of(
            keep,
            queries=queries,
            keys=keys,
            query_block=query_block,
            key_block=key_block,
            window=window,
            real=real,
        )

    @classmethod
    def from_block_mask(cls, mask: BlockMask) -> Blocks:
        """The blocks of a FlexAttention mask, of whatever rule; its lists hold each block once."""
        queries, keys = mask.seq_lengths
        part = _listed(mask.kv_num_blocks, mask.kv_indices)
        whole = torch.zeros_like(part)
        if mask.full_kv_num_blocks is not None and mask.full_kv_indices is not None:
            whole = _listed(mask.full_kv_num_blocks, mask.full_kv_indices)
        return cls(
            part | whole, queries, keys, *mask.BLOCK_SIZE, rule=mask.mask_mod, bound=part & ~whole, is_causal=False
        )

    # -- geometry ------------------------------------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """The position of the first query."""
        return self.keys - self.queries

    @cached_property
    def visible(self) -> Tensor:
        """(B or 1, 1, query blocks, key blocks) bool: blocks that hold at least one pair to see."""
        return self._by_edges(every=False)

    @cached_property
    def whole(self) -> Tensor:
        """(B or 1, 1, query blocks, key blocks) bool: blocks in which every query sees every key, by position."""
        return self._by_edges(every=True)

    def density(self) -> Tensor:
        """Kept blocks as a share of those that dense attention visits: (B or 1, H or 1) float32."""
        there = self.visible.sum((2, 3)).clamp(min=1)
        return self.keep.sum((2, 3)).float() / there

    def noted(self, notes: Mapping[str, Tensor]) -> Blocks:
        """The same, with what a method says of each head."""
        return replace(self, notes=notes)

    def for_heads(self, heads: Tensor, other: Blocks) -> Blocks:
        """These blocks for the heads that are true in `heads` (H,), those of `other` for the rest."""
        return replace(self, keep=torch.where(heads[None, :, None, None], self.keep, other.keep))

    def seen(self) -> Tensor:
        """(B or 1, H or 1, queries, keys) bool, token by token: the definition, for small sizes."""
        device = self.keep.device
        return self.seen_at(torch.arange(self.queries, device=device), torch.arange(self.keys, device=device))

    def seen_at(self, rows: Tensor, places: Tensor) -> Tensor:
        """The same for the queries `rows` (R,) and the keys `places` (P,): (B or 1, H or 1, R, P)."""
        rows = rows[:, None]
        kept = self.keep[:, :, rows // self.query_block, places // self.key_block]
        distance = rows + self.offset - places
        if self.is_causal:
            kept = kept & (distance >= 0)
        if self.window is not None:
            kept = kept & (distance < self.window)
        if self.real is not None:
            kept = kept & self.real[:, None, None, places]
        return kept & self._rule_of(kept.shape[0], kept.shape[1], rows, places) if self.rule else kept

    # -- for kernels ---------------------------------------------------------------------------------------------

    @cached_property
    def lists(self) -> Lists:
        """The kept blocks one after another, each with its rule."""
        keep = self.keep
        starts = torch.zeros(keep[..., 0].numel() + 1, dtype=torch.int64, device=keep.device)
        starts[1:] = keep.sum(-1).flatten().cumsum(0)
        rules, tokens = torch.where(self.whole, WHOLE, BY_POSITION).int().expand_as(keep), None
        if self.rule is not None:
            places, tokens = self._token_tables()
            rules = rules.clone()
            rules[tuple(places.T)] = torch.arange(1, 1 + len(places), dtype=torch.int32, device=keep.device)
        return Lists(starts, keep.nonzero()[:, 3].int(), rules[keep], tokens)

    def block_mask(self) -> BlockMask:
        """FlexAttention's form of the same: whole blocks apart from those that ask the rule token by token."""
        whole = self.keep & (self.whole if self.rule is None else self._unbound)
        partial = self.keep & ~whole
        return BlockMask.from_kv_blocks(
            *_lists(partial),
            *_lists(whole),
            BLOCK_SIZE=(self.query_block, self.key_block),
            mask_mod=self._token_rule(),
            seq_lengths=(self.queries, self.keys),
            compute_q_blocks=False,
        )

    @property
    def _unbound(self) -> Tensor:
        """Blocks whose tokens all see each other although there is a rule."""
        return torch.zeros_like(self.keep) if self.bound is None else self.whole & ~self.bound

    def _token_rule(self) -> MaskMod:
        offset, window, real, rule, is_causal = self.offset, self.window, self.real, self.rule, self.is_causal
        cut = is_causal or window is not None or real is not None
        if rule is not None and self.bound is not None and cut:
            rule = self._where_bound(rule, self.bound)  # a block that is not bound may still be cut by position

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            distance = query + offset - key
            told = distance >= 0 if is_causal else distance == distance
            if window is not None:
                told = told & (distance < window)
            if real is not None:
                told = told & real[batch, key]
            return told & rule(batch, head, query, key) if rule is not None else told

        return seen

    def _where_bound(self, rule: MaskMod, bound: Tensor) -> MaskMod:
        """`rule` as far as it is asked: all is seen in a block that is not bound to it."""
        rows, columns, batches, heads = self.query_block, self.key_block, *bound.shape[:2]

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            asked = bound[batch if batches > 1 else 0, head if heads > 1 else 0, query // rows, key // columns]
            return rule(batch, head, query, key) | ~asked

        return seen

    def _token_tables(self) -> tuple[Tensor, Tensor]:
        """The blocks (P, 4) of a rule of their own (batch, head, query block, key block), and what is seen in each
        (P, query_block, key_block) bool.
        """
        asked = self.keep & ~self._unbound if self.rule is not None else torch.zeros_like(self.keep)
        places = asked.nonzero()
        batch, head, row, column = (part[:, None, None] for part in places.T)
        query = row * self.query_block + torch.arange(self.query_block, device=places.device)[:, None]
        key = column * self.key_block + torch.arange(self.key_block, device=places.device)
        inside = (query < self.queries) & (key < self.keys)
        query, key = query.clamp(max=self.queries - 1), key.clamp(max=self.keys - 1)
        return places, (self._token_rule()(batch, head, query, key) & inside).expand(
            len(places), self.query_block, self.key_block
        )

    def _rule_of(self, batch: int, heads: int, query: Tensor, key: Tensor) -> Tensor:
        device = self.keep.device
        b = torch.arange(batch, device=device)[:, None, None, None]
        h = torch.arange(heads, device=device)[:, None, None]
        assert self.rule is not None
        rule = self.rule if self.bound is None else self._where_bound(self.rule, self.bound)
        return rule(b, h, query, key)

    def _by_edges(self, *, every: bool) -> Tensor:
        """Blocks of which `every` pair is seen by position, or any: told by the nearest and the farthest pair."""
        (q_first, q_last), (k_first, k_last) = self._edges()
        nearest, farthest = q_first - k_last, q_last - k_first
        seen = (nearest if every else farthest) >= 0 if self.is_causal else torch.ones_like(nearest, dtype=torch.bool)
        if self.window is not None:
            seen = seen & ((farthest if every else nearest) < self.window)
        if self.real is not None:
            seen = seen & self._of_blocks(torch.all if every else torch.any)
        return seen if seen.dim() == 4 else seen[None, None]

    def _edges(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """First and last position of each query block (as a column) and of each key block (as a row)."""
        device = self.keep.device
        rows = torch.arange(0, self.queries, self.query_block, device=device)[:, None]
        columns = torch.arange(0, self.keys, self.key_block, device=device)
        q_last = (rows + self.query_block).clamp(max=self.queries) - 1
        k_last = (columns + self.key_block).clamp(max=self.keys) - 1
        return (rows + self.offset, q_last + self.offset), (columns, k_last)

    def _of_blocks(self, of: Callable[..., Tensor]) -> Tensor:
        """`any` or `all` of each block's keys that are real: (B, 1, 1, key blocks)."""
        assert self.real is not None
        count = _up(self.keys, self.key_block)
        room = self.real.new_full((len(self.real), count * self.key_block), of is torch.all)
        room[:, : self.keys] = self.real
        return of(room.view(len(self.real), 1, 1, count, self.key_block), dim=-1)


def _up(number: int, size: int) -> int:
    return -(-number // size)


def _lists(keep: Tensor) -> tuple[Tensor, Tensor]:
    """Of booleans (…, key blocks): how many are true, and which, these first."""
    order = torch.argsort(keep.int(), dim=-1, descending=True, stable=True)
    return keep.sum(-1, dtype=torch.int32), order.int()


def _listed(counts: Tensor, indices: Tensor) -> Tensor:
    """The booleans of such lists."""
    real = torch.arange(indices.shape[-1], device=indices.device) < counts[..., None]
    keep = torch.zeros_like(real, dtype=torch.uint8)
    return keep.scatter_reduce_(-1, indices.long(), real.to(torch.uint8), reduce="amax").bool()
