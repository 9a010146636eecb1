"""Keys and values of the tokens read so far, in buffers that grow by halves and can be rewound.

Shapes    keys, values (rows, kv_heads, room, head_dim); row r holds its tokens at places 0 to lengths[r], nothing is
          padded on the left, so a token's place is its position
Against   transformers' DynamicCache copies all it holds at each token; its StaticCache attends to its empty room too.
          A sliding layer keeps all keys here, and whoever reads them cuts the window: so it can be rewound
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

LEAST_ROOM = 256


class KeyValues(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values. transformers fills it (`update`, one row); a decode step writes `keys` itself."""

    is_sliding = False

    def __init__(self) -> None:
        """Hold nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0  # tokens held, of the longest row
        self.keys: Tensor
        self.values: Tensor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make buffers for such keys and values."""
        rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty((rows, heads, 0, size))
        self.values = value_states.new_empty((rows, heads, 0, value_states.shape[-1]))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append (rows, kv_heads, N, head_dim) to every row; all keys and values held then."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        self.reserve(end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def reserve(self, room: int) -> None:
        """Make room for `room` tokens a row."""
        if room > self.keys.shape[2]:
            larger = max(room, LEAST_ROOM, self.keys.shape[2] * 3 // 2)
            self.keys, self.values = (_grown(held, larger, self.length) for held in (self.keys, self.values))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and first place of the keys that `update` will give for so many queries."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.length

    def get_max_length(self) -> int:
        """-1: no limit."""
        return -1

    get_max_cache_shape = get_max_length  # its name up to transformers 5.20


def _grown(held: Tensor, room: int, length: int) -> Tensor:
    larger = held.new_zeros((*held.shape[:2], room, held.shape[3]))  # not empty: masked, but times a weight of 0
    larger[:, :, :length] = held[:, :, :length]
    return larger


def cache_of(layers: Sequence[KeyValues]) -> Cache:
    """The layers as a cache of transformers."""
    return Cache(layers=list(layers))


def rewind(layers: Sequence[KeyValues], length: int) -> None:
    """Forget all but the first `length` tokens."""
    for layer in layers:
        layer.length = min(layer.length, length)


def stacked(rows: Iterable[Sequence[KeyValues]], count: int, room: int) -> list[KeyValues]:
    """Layers of `count` rows with room for `room` tokens, each row copied from the layers of a cache of one row.

    `rows` is read one at a time, so that all may be states of the same buffers.
    """
    made: list[KeyValues] = []
    for row, layers in enumerate(rows):
        made = made or [_rows_like(layer, count, room) for layer in layers]
        for layer, one in zip(made, layers, strict=True):
            layer.length = max(layer.length, one.length)
            layer.keys[row, :, : one.length] = one.keys[0, :, : one.length]
            layer.values[row, :, : one.length] = one.values[0, :, : one.length]
    return made


def _rows_like(layer: KeyValues, count: int, room: int) -> KeyValues:
    made = KeyValues()
    made.keys = layer.keys.new_zeros((count, layer.keys.shape[1], room, layer.keys.shape[3]))
    made.values = layer.values.new_zeros((count, layer.values.shape[1], room, layer.values.shape[3]))
    made.is_initialized = True
    return made
