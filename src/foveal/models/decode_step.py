"""One decoding step of the usual decoders, over their lean layers (lean.py) and buffers of keys and values.

A token at batch 1 must read every weight once, and nothing else should take time. Seen on two cores for Qwen 0.5B in
bfloat16: transformers' forward takes 80 to 100 ms, half of it for the order in which weights lie in memory.

Shapes    token ids (rows, N) at positions (rows, N) -> logits (rows, N, vocabulary); rows or N is 1
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.models.key_values import KeyValues
from foveal.models.lean import Layer, lean


class Place:
    """Where the new tokens of a step stand: one row with N tokens, or many rows with one each."""

    def __init__(self, lengths: Sequence[int], tokens: int, device: torch.device) -> None:
        """`lengths` are the tokens that each row holds already."""
        self.rows, self.tokens = len(lengths), tokens
        self.start, self.end = lengths[0], max(lengths) + tokens  # start counts where there is one row
        self.lengths = torch.tensor(lengths, device=device)
        self.row_ids = torch.arange(self.rows, device=device)
        self.positions = self.lengths[:, None] + torch.arange(tokens, device=device)  # (rows, N)

    def write(self, held: Tensor, new: Tensor) -> None:
        """Put `new` (rows, N, kv_heads, D) behind what each row holds."""
        if self.rows == 1:
            held[0, :, self.start : self.end] = new[0].transpose(0, 1)
        else:
            held[self.row_ids, :, self.lengths] = new[:, 0]

    def seen(self, window: int | None) -> tuple[int, Tensor | None]:
        """The first key that any query may see, and from there on (rows, 1, N, keys) bool, or None if all see all."""
        first = 0 if window is None else max(0, int(self.lengths.min()) + 1 - window)
        if self.rows == 1 and self.tokens == 1:
            return first, None
        keys = torch.arange(first, self.end, device=self.lengths.device)
        mask = keys <= self.positions[:, None, :, None]
        if window is not None:
            mask &= keys > self.positions[:, None, :, None] - window
        return first, mask


class DecodeStep:
    """The step of a whole model."""

    def __init__(self, model: Any) -> None:
        """Of a model that `lean.supports` accepts; a model that is trained further needs a new step."""
        self._lean = lean(model)

    def __call__(
        self, ids: Tensor, layers: Sequence[KeyValues], lengths: Sequence[int], *, last: int | None = None
    ) -> Tensor:
        """Logits (rows, N, vocabulary) for ids (rows, N) behind `lengths` tokens; `last`: of so many last ones alone.

        Layers that hold something must have room for them.
        """
        place = Place(lengths, ids.shape[1], ids.device)
        x, turns = self._lean.start(ids, place.positions)
        seen: dict[int | None, tuple[int, Tensor | None]] = {}
        for number, held in enumerate(layers):
            layer = self._lean.layer(number)
            if layer.window not in seen:
                seen[layer.window] = place.seen(layer.window)
            x = layer(x, turns[layer.kind], partial(_attended, layer, held, place, seen[layer.window]))
            held.length = place.end
        wanted = place.tokens if last is None else last
        x = x.view(place.rows, place.tokens, -1)[:, place.tokens - wanted :]
        return self._lean.logits(x.flatten(0, 1)).view(place.rows, wanted, -1)


def _attended(
    layer: Layer, held: KeyValues, place: Place, seen: tuple[int, Tensor | None], q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    """What the queries find among all keys; the new keys and values are added to `held`."""
    if not held.is_initialized:
        held.lazy_initialization(k.transpose(1, 2), v.transpose(1, 2))
        held.reserve(place.end)
    place.write(held.keys, k)
    place.write(held.values, v)
    first, mask = seen
    keys, values = (part[:, :, first : place.end] for part in (held.keys, held.values))
    groups, size = layer.kv_heads, layer.head_dim
    share = layer.heads // groups  # the queries of a group's heads are queries to the same keys: nothing is repeated
    q = (
        q.view(place.rows, place.tokens, groups, share, size)
        .permute(0, 2, 1, 3, 4)
        .reshape(place.rows, groups, -1, size)
    )
    if mask is not None:
        mask = mask.repeat_interleave(share, 2)
    out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=layer.scale)
    return out.view(place.rows, groups, place.tokens, share, size).transpose(1, 2)
