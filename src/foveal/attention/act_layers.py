"""Many variants of one forward pass, each with one head of one layer calibrated: what they share is computed once.

Below its layer a variant is the model as it is: hidden states, keys and values of one plain pass serve all. A head
without sinks in a text gives the plain result. In its layer and above, a variant differs only from the first row that
was changed; the heads of a layer go up together, as one batch of these rows, over the plain keys before them.

    plain = plain_pass(model, ids, layers)
    variants(model, plain, 9, rule=SinkRule(), beta=0.4)          # head -> logits (vocabulary,) of the last token

Shapes    ids (N,); x (N, width); keys and values (1, G, N, D); outputs (1, H, N, D)
Needs     an architecture that models/lean.py knows; `act_search.py` goes the plain way with all others
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from foveal.attention.dense import dense_attention
from foveal.attention.masks import Mask
from foveal.attention.sinks import Chooser, Edited, Heads, edited, looked
from foveal.models.lean import Layer, Turn, lean


@dataclass
class Plain:
    """One pass of the model as it is; of the layers that were asked for what goes in, and how it attends."""

    logits: Tensor  # (vocabulary,) of the last token
    turns: dict[str, Turn]
    keys: list[Tensor]
    values: list[Tensor]
    inputs: dict[int, Tensor] = field(default_factory=dict)
    queries: dict[int, Tensor] = field(default_factory=dict)
    outputs: dict[int, Tensor] = field(default_factory=dict)


@torch.inference_mode()
def plain_pass(model: Any, ids: Sequence[int], layers: Collection[int]) -> Plain:
    """Read ids, at least one; `layers` are those of which heads will be tried."""
    stack = lean(model)
    told = torch.tensor([list(ids)], device=model.device)
    x, turns = stack.start(told, torch.arange(told.shape[1], device=model.device)[None])
    found = Plain(torch.empty(0), turns, [], [])
    for number in range(len(stack)):
        layer = stack.layer(number)
        if number in layers:
            found.inputs[number] = x
        x = layer(x, turns[layer.kind], partial(_noted, found, layer, number, number in layers))
    found.logits = stack.logits(x[-1:])[0]
    return found


def _noted(found: Plain, layer: Layer, number: int, wanted: bool, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    found.keys.append(key)
    found.values.append(value)
    mask = Mask.causal(1, query.shape[2], key.shape[2], window=layer.window, device=query.device)
    output = dense_attention(query, key, value, mask, scale=layer.scale)
    if wanted:
        found.queries[number], found.outputs[number] = query, output
    return output.transpose(1, 2)


@torch.inference_mode()
def variants(
    model: Any, plain: Plain, layer: int, *, rule: Chooser, beta: float, heads: Sequence[int] | None = None
) -> dict[int, Tensor]:
    """The logits of the last token with each of `heads` (None: all) of a layer calibrated alone.

    A head that is missing changes nothing.
    """
    stack = lean(model)
    own = stack.layer(layer)
    chosen = list(range(own.heads)) if heads is None else list(heads)
    query, key, value = plain.queries[layer], plain.keys[layer], plain.values[layer]
    mask = Mask.causal(1, query.shape[2], key.shape[2], window=own.window, device=query.device)
    parts = Heads.of(query, key, value, chosen, mask, own.scale)
    seen = looked(parts)
    change = edited(parts, seen, plain.outputs[layer][:, chosen].float(), rule(seen.columns), beta)
    changed = (change.taken[0] > 0).any(-1).tolist()
    places = [place for place, one in enumerate(changed) if one]
    if not places:
        return {}
    first = int((change.taken[0] > 0).any(0).int().argmax())
    output = _outputs(plain, layer, change, chosen, places, first)
    x = own.after(plain.inputs[layer][first:].repeat(len(places), 1), output)
    for number in range(layer + 1, len(stack)):
        upper = stack.layer(number)
        turn = _rows(plain.turns[upper.kind], first, len(places))
        x = upper(x, turn, partial(_attended, plain, upper, number, first))
    logits = stack.logits(x.view(len(places), -1, x.shape[-1])[:, -1])
    return {chosen[place]: logits[row] for row, place in enumerate(places)}


def _outputs(
    plain: Plain, layer: int, change: Edited, chosen: Sequence[int], places: Sequence[int], first: int
) -> Tensor:
    """The attention outputs (variants, rows, H, D) from row `first` on: each with its own head's changed rows."""
    output = plain.outputs[layer][:, :, first:].repeat(len(places), 1, 1, 1)
    for row, place in enumerate(places):
        new = change.taken[0, place, first:, None] > 0
        own = output[row, chosen[place]]
        output[row, chosen[place]] = torch.where(new, change.output[0, place, first:].to(own.dtype), own)
    return output.transpose(1, 2)


def _attended(plain: Plain, layer: Layer, number: int, first: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The attention of a layer above: variants' rows over the plain keys before them and their own."""
    count, rows = query.shape[:2]
    keys, values = (
        torch.cat([held[number][:, :, :first].expand(count, -1, -1, -1), new.transpose(1, 2)], 2)
        for held, new in ((plain.keys, key), (plain.values, value))
    )
    mask = Mask.causal(count, rows, first + rows, window=layer.window, device=query.device)
    return dense_attention(query.transpose(1, 2), keys, values, mask, scale=layer.scale).transpose(1, 2)


def _rows(turn: Turn, first: int, count: int) -> Turn:
    return turn[0][:, first:].expand(count, -1, -1, -1), turn[1][:, first:].expand(count, -1, -1, -1)
