"""LongHeads, a layer as plain arrays and back: whole chunks may be a mapped file, what is not whole is copied.

Arrays    keys, values (G, m l, …) of whole chunks; last_keys, last_values (G, t, …) and last_queries (H, t, D) of the
          one that is not; vectors (H, m, R) float32
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foveal.attention.longheads import LongHeads
from foveal.attention.longheads_layers import ChunkedText, LongHeadsLayer
from foveal.attention.longheads_looking import Held
from foveal.attention.owned_layers import Turn
from foveal.attention.rotation import Rotation
from foveal.attention.rows import Rows
from foveal.errors import InputError


def stored_layer(layer: LongHeadsLayer) -> dict[str, Tensor]:
    """The arrays of a layer that has read one text. InputError: it has read several, or none."""
    text = layer.text
    if text is None or len(text.vectors.base) != text.heads:
        raise InputError("A cache that has read one text is kept; this one has read none, or a batch.")
    whole = len(text) // text.shape.chunk * text.shape.chunk
    keys, values = (torch.cat(rows.parts, 1) for rows in (text.held.keys, text.held.values))
    return {
        "keys": keys[:, :whole],
        "values": values[:, :whole],
        "last_keys": keys[:, whole:],
        "last_values": values[:, whole:],
        "last_queries": text.tail,
        "vectors": torch.cat([text.vectors.base, text.vectors.added], 1),
    }


def opened_layer(
    method: LongHeads,
    kept: Any,
    number: int,
    turn: Turn,
    arrays: Mapping[str, Tensor],
    rotation: Rotation,
    config: Any,
) -> LongHeadsLayer:
    """The layer of these arrays, asked by `method`. InputError: it was kept in other chunks, or for other choices."""
    shape = method.shape_for(config)
    if (shape.chunk, method.representation) != (kept.shape_for(config).chunk, kept.representation):
        controls = {"random", "none"}  # these ask no vector
        if shape.chunk != kept.shape_for(config).chunk or method.representation not in controls:
            raise InputError(
                f"The text was kept in chunks of {kept.shape_for(config).chunk}, each stood for by its "
                f"{kept.representation}; {shape.chunk} and {method.representation} were asked for. Keep it anew."
            )
    keys, values = (Rows(arrays[name], shape.chunk) for name in ("keys", "values"))
    keys.append(arrays["last_keys"])
    values.append(arrays["last_values"])
    held = Held(keys, values, rotation, method.remap)
    layer = LongHeadsLayer(method, number, turn)
    vectors, tail = arrays["vectors"], arrays["last_queries"].clone()
    if method.representation != kept.representation:  # a control, whose further vectors are no bounds
        vectors = vectors[..., : keys.width]
    layer.text = ChunkedText(shape, method, held, Rows(vectors), tail, len(tail), layer=number)
    layer.length, layer.is_initialized = len(layer.text), True
    return layer
