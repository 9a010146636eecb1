"""prefill: a prompt read in one pass over lean layers, attending by a method; what it leaves is decoded from as usual.

    layers = [KeyValues() for _ in model.config…]      # or those of a `Decoder` state, with what was read before
    logits = prefill(model, ids, layers, method=FlexPrefill())

transformers under `attach` computes the same; this is the faster way for the architectures that `models.lean` knows.

Shapes    ids (B, N) -> logits (B, vocabulary) of the last token; `layers` then hold N more keys and values
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from foveal.attention.attach import AttentionMethod, Context, attach, rotations_for
from foveal.attention.dense import dense_attention
from foveal.attention.masks import Mask
from foveal.attention.method import CALIBRATED
from foveal.attention.report import Report
from foveal.attention.rotation import unturned
from foveal.errors import InputError
from foveal.models.key_values import KeyValues
from foveal.models.lean import lean, supports


class Held(Protocol):
    """A layer's keys and values, as transformers asks for them: `KeyValues`, or a layer of a searched cache."""

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Take in (B, G, N, D); what the queries are to look at."""
        ...

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and first place of these keys."""
        ...

    def get_seq_length(self) -> int:
        """Tokens read."""
        ...


WARM = 64
"""Tokens that a model reads before it is timed."""


@torch.inference_mode()
def prefill(
    model: Any,
    ids: Tensor,
    layers: Sequence[Held],
    *,
    method: AttentionMethod | None = None,
    report: Report | None = None,
    memory: dict[int, Any] | None = None,
    rows: int | None = None,
) -> Tensor:
    """Read ids (B, N), none of them padding, behind what `layers` hold; logits (B, vocabulary) of the last token.

    `rows`: those of so many last tokens instead, (B, rows, vocabulary).

    InputError: `model` is none that `models.lean.supports`, or `layers` are not one for each of its own.
    """
    if not supports(model):
        raise InputError(f"{type(model).__name__} has no lean layers here; use it under foveal.attention.attach.")
    stack = lean(model)
    if len(layers) != len(stack):
        raise InputError(f"{len(layers)} layers of keys and values came for a model of {len(stack)} layers.")
    batch, length = ids.shape
    held = layers[0].get_seq_length()
    positions = torch.arange(held, held + length, device=ids.device).expand(batch, -1)
    x, turns = stack.start(ids, positions)
    rotations = rotations_for(model, method)
    if rotations:
        turns = {kind: unturned(turn) for kind, turn in turns.items()}
    masks: dict[tuple[int | None, int], Mask] = {}
    for number in range(len(stack)):
        layer = stack.layer(number)
        keys = layers[number].get_mask_sizes(length)[0]  # a sliding layer may hold no more than its window
        if (layer.window, keys) not in masks:
            masks[layer.window, keys] = Mask.causal(batch, length, keys, window=layer.window, device=ids.device)
        rotation = rotations.for_layer(layer.module) if rotations else None
        context = Context(
            number,
            layer.module,
            masks[layer.window, keys],
            layer.scale,
            report=report,
            memory=memory,
            rotation=rotation,
        )
        x = layer(x, turns[layer.kind], partial(attended, layers[number], context, method))
    x = x.view(batch, length, -1)
    return stack.logits(x[:, -1] if rows is None else x[:, -rows:])


@dataclass(frozen=True)
class Looked:
    """A prompt that was read: logits (1, vocabulary) of its last token, what was looked at, and the seconds it took."""

    logits: Tensor
    report: Report
    seconds: float


@torch.inference_mode()
def look(model: Any, ids: Sequence[int], method: AttentionMethod | None, *, keep_blocks: bool = False) -> Looked:
    """Read a prompt by `method` (None: densely), over lean layers where the model has them; a report in full."""
    report = Report(keep_blocks=keep_blocks)
    read = _lean_read if supports(model) else _plain_read
    first = None if method is None else _FirstUse(method, min(len(ids), CALIBRATED))
    read(model, ids[:WARM], first, Report(rows=0))  # weights are packed and kernels built outside of the time
    begun = time.perf_counter()
    logits = read(model, ids, method, report)
    return Looked(logits, report, time.perf_counter() - begun)


class _FirstUse:
    """Lets a method attend once to a text of `tokens`, drawn out of a short one: what it compiles, or measures of this
    processor, at its first use is then there. Attention stays dense."""

    def __init__(self, method: AttentionMethod, tokens: int) -> None:
        self.method, self.tokens, self.used = method, tokens, False
        self.takes_sinks = bool(getattr(method, "takes_sinks", False))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> None:
        if not self.used and not context.mask.slides:
            self.used = True
            drawn = (part.repeat(1, 1, -(-self.tokens // part.shape[2]), 1) for part in (query, key, value))
            q, k, v = (part[:, :, : self.tokens] for part in drawn)
            mask = Mask.causal(len(query), self.tokens, self.tokens, device=query.device)
            self.method.attend(q, k, v, replace(context, mask=mask, report=Report()))

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own attention."""


def _lean_read(model: Any, ids: Sequence[int], method: AttentionMethod | None, report: Report) -> Tensor:
    layers = [KeyValues() for _ in range(len(lean(model)))]
    return prefill(model, torch.tensor([list(ids)], device=model.device), layers, method=method, report=report)


def _plain_read(model: Any, ids: Sequence[int], method: AttentionMethod | None, report: Report) -> Tensor:
    with attach(model, method, report=report):
        told = model(input_ids=torch.tensor([list(ids)], device=model.device), logits_to_keep=1, use_cache=False)
    logits: Tensor = told.logits[:, -1]
    return logits


def attended(
    held: Held, context: Context, method: AttentionMethod | None, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """The output (B, N, H, D) of a layer's queries, whose keys and values `held` takes in; all (B, N, …, D)."""
    keys, values = held.update(key.transpose(1, 2), value.transpose(1, 2))
    query = query.transpose(1, 2)
    output = method.attend(query, keys, values, context) if method else None
    if output is None:
        output = dense_attention(query, keys, values, context.mask, scale=context.scale)
    return output.transpose(1, 2)
