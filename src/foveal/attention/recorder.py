"""The recorder: the attention that a few chosen rows pay, layer by layer, without ever making an N×N matrix.

A reader asks what the question's tokens look at; a detector asks what the last token looks at. Both need R rows of
some heads of some layers: R·K numbers a head instead of N·K. Memory is B·H·R·K·4 bytes a layer (14 heads, 40 rows,
2,048 keys: 4.6 MB), in float32 whatever the model computes in.

After the deepest layer that is asked for, the forward pass has nothing left to say: `stop=True` ends it there.

Shapes    queries (B, H, Q, D), keys (B, G, K, D), rows (B, R)  ->  per layer (B, heads asked for, R, K) float32
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from foveal.attention.choices import heads_of
from foveal.attention.estimates import capped
from foveal.errors import InputError


class DeepestLayerDone(Exception):
    """Raised inside a forward pass after the deepest layer that a recorder wants; `watch` swallows it."""


class Recorder:
    """Keeps the rows that were asked for of one forward pass.

    Afterwards `attention[layer]` holds them: (B, heads asked for, rows, keys) float32, each row summing to 1 (to less
    where the model has learned sinks).
    """

    def __init__(
        self,
        rows: Tensor,
        heads: Mapping[int, Iterable[int] | None],
        *,
        stop: bool = False,
        reduce: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:
        """`rows` (B, R): queries within the pass; `heads`: layer -> its heads (None: all).

        `reduce(layer, attention)` shrinks what is kept at once; `stop` ends the pass at the deepest layer named.
        InputError: no layer, heads that are not named by layer, or rows of another shape, or no whole numbers.
        """
        if not isinstance(rows, Tensor) or rows.dim() != 2 or rows.is_floating_point() or rows.dtype == torch.bool:
            came = f"shape {tuple(rows.shape)}, {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
            raise InputError(f"The recorder got rows of {came}; it needs whole numbers (batch, rows), as a tensor.")
        chosen = heads_of(heads)
        if not chosen:
            raise InputError("The recorder got no layer to watch.")
        self.rows = rows.long()
        self.heads: dict[int, tuple[int, ...] | None] = chosen
        self.attention: dict[int, Tensor] = {}
        self._reduce = reduce
        self._deepest = max(self.heads) if stop else None

    def record(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        seen: Tensor,
        *,
        scale: float,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> None:
        """Keep the rows of `layer`; `seen` (B, 1, R, K) is True where a row may look."""
        heads = self.heads[layer]
        weights = attention_rows(query, key, self.rows, seen, scale=scale, heads=heads, softcap=softcap, sinks=sinks)
        self.attention[layer] = self._reduce(layer, weights) if self._reduce else weights
        if layer == self._deepest:
            raise DeepestLayerDone


def check_rows(rows: Tensor, query: Tensor) -> None:
    """InputError: rows (B, R) that queries (B, H, Q, D) do not have."""
    batch, count = query.shape[0], query.shape[2]
    if len(rows) != batch or not bool(((rows >= 0) & (rows < count)).all()):
        raise InputError(
            f"The recorder was to watch the rows {rows.flatten().tolist()[:8]} of {len(rows)} texts; {batch} came, "
            f"with rows 0 to {count - 1}."
        )


def attention_rows(
    query: Tensor,
    key: Tensor,
    rows: Tensor,
    seen: Tensor,
    *,
    scale: float,
    heads: Sequence[int] | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The softmax attention of the queries `rows` (B, R) over all keys: (B, heads, R, K) float32.

    `seen` (B or 1, 1, R, K) bool; `heads`: query heads in the order wanted, None for all; `sinks` (H,): the model's, as
    in kernel.py. InputError: no such head or
    row.
    """
    check_rows(rows, query)
    batch, count, _, width = query.shape
    groups = key.shape[1]
    chosen = range(count) if heads is None else heads
    if any(not 0 <= head < count for head in chosen):
        raise InputError(f"Heads {list(chosen)} were asked for; this layer has 0 to {count - 1}.")
    index = rows[:, None, :, None].expand(-1, count, -1, width)
    asked = query.gather(2, index).float() * scale
    if heads is None:
        folded = asked.reshape(batch, groups, -1, width)  # the heads of one group share its keys: no copy of them
        logits = (folded @ key.float().transpose(-1, -2)).view(batch, count, rows.shape[1], -1)
    else:
        of_group = [head * groups // count for head in chosen]
        logits = asked[:, list(chosen)] @ key[:, of_group].float().transpose(-1, -2)
    scores = capped(logits, softcap).masked_fill_(~seen, float("-inf"))
    if sinks is None:
        return scores.softmax(-1)
    lost = sinks.float()[list(chosen), None, None].expand(*scores.shape[:-1], 1)
    return torch.cat([scores, lost], -1).softmax(-1)[..., :-1]
