"""What all sparse-attention methods share: a method says which blocks to look at, the kernel looks.

    class FirstAndOwn(BlockMethod):
        def prefill(self, query, key, context):
            rows, columns = self.grid(query, key)              # numbers of the query and key blocks
            keep = (columns == 0) | (columns == rows[:, None])
            return self.blocks(keep[None, None], query, key)

A method sees whole sequences only: padding is cut off before, and queries are the last of the keys. Query blocks begin
at multiples of the block size in the text, also where one part of it is read after another: the first block then lacks
its first queries (`lead` of them).

Left to dense attention: decoding (one query, or a few behind a cache, as assisted decoding verifies them), layers
whose window slides over the text (they are sparse already), a mask of the caller's own, texts of fewer than `least`
keys, whatever `prefill` says None to, and, from `CALIBRATED` keys on, blocks that would take longer than looking
everywhere does on this processor (both kernels are measured once). The report counts why.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.dense import cost_of_blocks, dense_attention
from foveal.attention.estimates import block_means, check_finite, check_pair
from foveal.attention.kernel import block_attention, with_sinks
from foveal.attention.masks import Mask
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context


FEW = 64
"""New tokens behind a cache from which a method chooses: of fewer there is little to leave out, and what was guessed
ahead (assisted decoding) is to be verified as it would be decoded."""

CALIBRATED = 4096
"""Keys from which a method is given up where it would not pay."""


class BlockMethod(ABC):
    """An `AttentionMethod` that chooses blocks; a subclass writes `prefill`.

    Sizes are in tokens: `query_block`, `key_block`, and `least`, the keys below which dense attention runs.
    """

    query_block: int = BLOCK
    key_block: int = BLOCK
    name: ClassVar[str] = ""
    takes_sinks: ClassVar[bool] = True
    least: int = 2 * BLOCK
    """Keys below which dense attention runs."""

    @abstractmethod
    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """Where queries (B, H, Q, D) look among keys (B, G, K, D); None: everywhere. Pure: it keeps nothing."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, Q, D) over the blocks of `prefill`, or None: dense attention."""
        mask = context.mask.read
        if mask is not context.mask:  # a static cache, whose empty room is nothing to choose among
            context, key, value = replace(context, mask=mask), key[:, :, : mask.shape[3]], value[:, :, : mask.shape[3]]
        if query.shape[2] == 1 and key.shape[2] > 1 and not mask.slides and mask.by_position and mask.real is None:
            return self._step(query, key, value, context)
        if query.shape[2] > 1 and context.memory is not None:
            context.memory.pop(context.layer, None)  # another text
        if query.shape[2] == 1:
            return None
        if (why := self._left_out(key, mask)) is not None:
            if context.report is not None:
                context.report.left_out[why] += 1
            return None
        if mask.real is None:
            return self._attend(query, key, value, context)
        return self._each(query, key, value, mask.real, context)

    def decode(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """The output (B, H, 1, D) of one new query over the keys so far, or None: exact, unless a method says more."""
        return None

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """A recorder shows the model's own attention."""
        return None

    def _left_out(self, key: Tensor, mask: Mask) -> str | None:
        """Why a prompt is left to dense attention, for the report; None where it is not."""
        if mask.slides:
            return f"layers whose window of {mask.window:,} tokens slides over the text"
        if not mask.by_position:
            return "masks of their own"
        few = min(FEW, self.query_block)
        if mask.shape[2] < few and mask.shape[2] < key.shape[2]:
            return f"fewer than {few} new tokens behind a cache"
        if key.shape[2] < self.least:
            return f"texts too short for the method, which begins at {self.least:,} tokens"
        if mask.real is not None and None in map(_span, mask.real):
            return "texts with padding in their midst"
        return None

    # -- for subclasses --------------------------------------------------------------------------------------------

    def grid(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """The number, counted from the start of the text, of each query's block (in key blocks) and of each key's.

        InputError: queries and keys that do not fit, or blocks that do not.
        """
        check_pair(query, key)
        if self.query_block % self.key_block:
            raise InputError(f"Query blocks of {self.query_block} are no multiple of key blocks of {self.key_block}.")
        first, end = (key.shape[2] - query.shape[2]) // self.query_block, -(-key.shape[2] // self.query_block)
        rows = torch.arange(first, end, device=query.device) * (self.query_block // self.key_block)
        return rows, torch.arange(-(-key.shape[2] // self.key_block), device=query.device)

    def lead(self, query: Tensor, key: Tensor) -> int:
        """Queries that the first block lacks."""
        return (key.shape[2] - query.shape[2]) % self.query_block

    def last(self, query: Tensor, key: Tensor, tokens: int) -> Tensor:
        """Whether each block of queries holds any of the text's last `tokens`: (query blocks, 1) bool."""
        rows, _ = self.grid(query, key)
        ends = rows * self.key_block + self.query_block
        return ((ends > key.shape[2] - tokens) & (tokens > 0))[:, None]

    def mean_scores(self, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """The scaled products of block means (B, H, query blocks, key blocks), float32.

        InputError: queries or keys that hold NaN or infinity.
        """
        asked = block_means(query, self.query_block, lead=self.lead(query, key))
        held = block_means(key, self.key_block)
        check_finite(query, key, asked, held)
        folded = asked.view(len(asked), held.shape[1], -1, asked.shape[3])  # the heads of a group share its keys
        return (folded @ held.transpose(-1, -2) * scale).view(*asked.shape[:3], -1)

    def blocks(self, keep: Tensor, query: Tensor, key: Tensor) -> Blocks:
        """The causal blocks of `keep` (B or 1, H or 1, query blocks, key blocks), and each query's own."""
        rows, columns = self.grid(query, key)
        own = (columns >= rows[:, None]) & (columns < rows[:, None] + self.query_block // self.key_block)
        return Blocks.of(
            keep | own,
            queries=self.lead(query, key) + query.shape[2],
            keys=key.shape[2],
            query_block=self.query_block,
            key_block=self.key_block,
        )

    # -- looking ---------------------------------------------------------------------------------------------------

    def _step(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """`decode` of the heads that the method does; the others are exact."""
        output = self.decode(query, key, value, context)
        if output is None or context.sparse_heads is None:
            return output
        mask = Mask.causal(len(query), 1, key.shape[2], device=query.device)
        exact = _densely(query, key, value, mask, context)
        return torch.where(context.sparse_heads.to(query.device)[None, :, None, None], output, exact)

    def _each(self, query: Tensor, key: Tensor, value: Tensor, real: Tensor, context: Context) -> Tensor:
        """A padded batch, each sequence by itself. Rows of padding stay 0 but the last: `generate` goes on there."""
        spans = [_span(row) for row in real]
        offset = key.shape[2] - query.shape[2]
        out = torch.zeros(*query.shape[:3], value.shape[3], dtype=query.dtype, device=query.device)
        for number, span in enumerate(spans):
            start, end = span or (0, 0)
            first = max(start, offset)
            one = slice(number, number + 1)
            if start < end < key.shape[2]:  # padded on the right
                mask, held = Mask.causal(1, 1, end - start, device=query.device), slice(start, end)
                out[one, :, -1:] = _densely(query[one, :, -1:], key[one, :, held], value[one, :, held], mask, context)
            if first >= end:
                continue
            out[one, :, first - offset : end - offset] = self._attend(
                query[one, :, first - offset : end - offset],
                key[one, :, start:end],
                value[one, :, start:end],
                context,
            )
        return out

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output of texts that are all whole."""
        begun = time.perf_counter()
        blocks = self.prefill(query, key, context) if key.shape[2] >= self.least else None
        if not (blocks is None or isinstance(blocks, Blocks)):
            raise InputError(
                f"{type(self).__name__}.prefill gave {type(blocks).__name__}; it is to give what self.blocks(keep, "
                "query, key) makes, or None for dense attention (docs/attention.md)."
            )
        lead = self.lead(query, key) if blocks is not None else 0
        if blocks is None:
            blocks = Blocks.causal(query.shape[2], key.shape[2], device=query.device)
        if lead:
            query = torch.cat([query[:, :, :1].expand(-1, -1, lead, -1), query], 2)  # their output is thrown away
        if context.sparse_heads is not None:
            everywhere = Blocks.causal(
                query.shape[2],
                key.shape[2],
                query_block=blocks.query_block,
                key_block=blocks.key_block,
                device=query.device,
            )
            blocks = blocks.for_heads(context.sparse_heads.to(query.device), everywhere)
        if not pays(blocks, query):
            return self._dense(query[:, :, lead:], key, value, context, time.perf_counter() - begun)
        chosen = time.perf_counter()
        output, sums = block_attention(query, key, value, blocks, scale=context.scale, softcap=context.softcap)
        if context.report is not None:
            took = chosen - begun, time.perf_counter() - chosen
            context.report.add(
                context.layer,
                query[:, :, lead:],
                key,
                blocks,
                sums[:, :, lead:],
                scale=context.scale,
                seconds=took,
                softcap=context.softcap,
            )
        return with_sinks(output, sums, context.sinks)[0][:, :, lead:]

    def _dense(self, query: Tensor, key: Tensor, value: Tensor, context: Context, spent: float) -> Tensor:
        """The output over everything, after `spent` seconds of choosing in vain."""
        begun = time.perf_counter()
        mask = Mask.causal(len(query), query.shape[2], key.shape[2], device=query.device)
        output = _densely(query, key, value, mask, context)
        if context.report is not None:
            context.report.add_dense(context.layer, query, key, seconds=(spent, time.perf_counter() - begun))
        return output


def _densely(query: Tensor, key: Tensor, value: Tensor, mask: Mask, context: Context) -> Tensor:
    """What the model itself computes."""
    return dense_attention(query, key, value, mask, scale=context.scale, softcap=context.softcap, sinks=context.sinks)


def pays(blocks: Blocks, query: Tensor) -> bool:
    """Whether looking at `blocks` is expected to take less time than looking everywhere."""
    if query.device.type != "cpu" or blocks.keys < CALIBRATED:
        return True
    return float(blocks.density().mean()) * cost_of_blocks(query.dtype, query.shape[3]) < 1


def _span(real: Tensor) -> tuple[int, int] | None:
    """First and one past the last real key of a sequence, (0, 0) where there is none; None where it has holes."""
    places = real.nonzero().flatten()
    if not len(places):
        return 0, 0
    start, end = int(places[0]), int(places[-1]) + 1
    return (start, end) if end - start == len(places) else None
