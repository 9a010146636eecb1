"""watch: one forward pass up to what a recorder asks for, and no further.

Known architectures go through their lean layers (models/lean.py), all others through transformers under `attach`; both
see the same attention.

Shapes    ids (B, N) -> the recorder's `attention`
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from foveal.attention.attach import AttentionMethod, Context, attach, attached_here, record
from foveal.attention.choices import check_choice
from foveal.attention.decoders import require_model, unwrapped
from foveal.attention.dense import dense_attention
from foveal.attention.masks import Mask
from foveal.attention.recorder import DeepestLayerDone, Recorder
from foveal.attention.shared_prefix import SharedPrefix, require_side_by_side
from foveal.errors import InputError
from foveal.models.lean import Layer, lean, supports


@torch.inference_mode()
def watch(
    model: Any,
    ids: Tensor,
    recorder: Recorder,
    *,
    method: AttentionMethod | None = None,
    positions: Tensor | None = None,
    int8: bool = False,
) -> None:
    """Read ids (B, N), none of them padding, at `positions` (B, N; default 0, 1, …), attending by `method`.

    Without one it attends as a block of `attach` around it says, else densely. A recorder with `stop` ends the pass at
    the deepest layer that it watches. `int8`: weights are multiplied in int8, to about a hundredth, where the processor
    is faster at it and the model goes through lean layers.
    InputError: no such layer, head or row, ids that are none, no model of transformers, or a method that nobody can
    watch.
    """
    require_model("watch", model)
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        came = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise InputError(f"watch got ids of {came}; it needs a tensor of token ids, (batch, tokens).")
    given, model = model, unwrapped(model)
    check_choice(model.config.get_text_config(), recorder.heads)
    try:
        if supports(model):
            _lean(model, ids, recorder, method, positions, int8)
        else:
            if isinstance(method, SharedPrefix):
                require_side_by_side(model, "SharedPrefix")
            around = (attached_here(model) or attached_here(given)) if method is None else None
            how: dict[str, Any] = {}
            if around:
                method, how = around.method, {"layers": around.layers, "heads": around.heads, "report": around.report}
            with attach(model, method, recorder=recorder, **how) as attached:
                attached.base(input_ids=ids, position_ids=positions, use_cache=False)
    except DeepestLayerDone:
        pass


def _lean(
    model: Any,
    ids: Tensor,
    recorder: Recorder,
    method: AttentionMethod | None,
    positions: Tensor | None,
    int8: bool,
) -> None:
    layers = lean(model)
    batch, length = ids.shape
    if positions is None:
        positions = torch.arange(length, device=ids.device).expand(batch, -1)
    x, turns = layers.start(ids, positions)
    masks: dict[int | None, Mask] = {}
    for number in range(len(layers)):
        layer = layers.layer(number)
        if layer.window not in masks:
            masks[layer.window] = Mask.causal(batch, length, length, window=layer.window, device=ids.device)
        context = Context(number, layer.module, masks[layer.window], layer.scale)
        x = layer(x, turns[layer.kind], partial(_attended, layer, context, recorder, method), int8=int8)


def _attended(
    layer: Layer,
    context: Context,
    recorder: Recorder,
    method: AttentionMethod | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
) -> Tensor:
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    record(recorder, method, query, key, context)
    output = method.attend(query, key, value, context) if method else None
    if output is None:
        output = dense_attention(query, key, value, context.mask, scale=layer.scale)
    return output.transpose(1, 2)
