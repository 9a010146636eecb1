"""One decoding step of the usual decoders, lean: the few tensor operations that the next token needs.

A token at batch 1 must read every weight once, and nothing else should take time. Seen on two cores for Qwen 0.5B in
bfloat16: transformers' forward takes 80 to 85 ms, half of it for the order in which weights lie in memory. Packed by
oneDNN (as torch.compile would pack them, at no compile time) they are read at twice the speed, to the same bits.

Shapes    token ids (rows, N) at positions (rows, N) -> logits (rows, N, vocabulary); rows or N is 1
Needs     Llama, Qwen 2 and 3, or Gemma 3 (text), whole and unhooked; the weights are copied once, at the first step,
          so a model that is trained further needs a new `DecodeStep`, and memory holds the weights twice
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.models.key_values import KeyValues

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3_text")


def supports(model: Any) -> bool:
    """Whether the step gives what the model's own forward gives: a known, plain model that nothing is attached to."""
    config = model.config
    capped = getattr(config, "final_logit_softcapping", None) or getattr(config, "attn_logit_softcapping", None)
    if config.model_type not in ARCHITECTURES or capped or config._attn_implementation not in ("sdpa", "eager"):
        return False
    if config.model_type == "gemma3_text" and config.use_bidirectional_attention:
        return False
    modules = list(model.modules())
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    plain = all(type(module) is nn.Linear for module in modules if isinstance(module, nn.Linear))
    return plain and not hooked and model.lm_head.bias is None


class Product:
    """x (N, D) -> x W^T + b, where W is the rows of several linear layers put together; packed on a CPU."""

    def __init__(self, *layers: nn.Linear) -> None:
        """Copy and pack the weights; on another device keep the layers' own."""
        weight = layers[0].weight
        self.packed = weight.device.type == "cpu" and _packs(weight.dtype)
        self._layers = layers
        if self.packed:
            weights: list[Tensor] = [one.weight for one in layers]
            self._weight = torch.ops.mkldnn._reorder_linear_weight(torch.cat(weights), 1)
            biases: list[Tensor] = [one.bias for one in layers if one.bias is not None]
            self._bias = torch.cat(biases) if biases else None

    def __call__(self, x: Tensor) -> Tensor:
        """The products, (N, the layers' outputs side by side)."""
        if self.packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return product
        parts = [F.linear(x, one.weight, one.bias) for one in self._layers]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _packs(dtype: torch.dtype) -> bool:
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")):  # type: ignore[no-untyped-call]
        return False
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported if dtype == torch.bfloat16 else lambda: dtype == torch.float32
    return bool(native())


class Norm:
    """Root-mean-square norm, computed in float32; Gemma multiplies by 1 + weight before rounding, others after it."""

    def __init__(self, module: nn.Module, *, gemma: bool) -> None:
        """Take the weight and epsilon of transformers' module."""
        self._gemma = gemma
        self._epsilon: float = float(module.eps if gemma else module.variance_epsilon)  # type: ignore[arg-type]
        weight: Tensor = module.weight  # type: ignore[assignment]
        self._weight = 1.0 + weight.float() if gemma else weight

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., D), each vector scaled."""
        wide = x.float()
        wide = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + self._epsilon)
        return (wide * self._weight).to(x.dtype) if self._gemma else self._weight * wide.to(x.dtype)


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


class Layer:
    """One decoder layer's step."""

    def __init__(self, module: Any, config: Any) -> None:
        """Pack the weights of transformers' layer."""
        gemma = config.model_type == "gemma3_text"
        attention, mlp = module.self_attn, module.mlp
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim, self.scale = attention.head_dim, attention.scaling
        self.kind: str = getattr(attention, "layer_type", None) or "full_attention"
        self.window: int | None = getattr(attention, "sliding_window", None)
        self.qkv = Product(attention.q_proj, attention.k_proj, attention.v_proj)
        self.attended = Product(attention.o_proj)
        self.grown, self.shrunk = Product(mlp.gate_proj, mlp.up_proj), Product(mlp.down_proj)
        self.activation: Callable[[Tensor], Tensor] = mlp.act_fn
        normed = hasattr(attention, "q_norm")
        self.query_norm = Norm(attention.q_norm, gemma=gemma) if normed else None
        self.key_norm = Norm(attention.k_norm, gemma=gemma) if normed else None
        self.before_attention = Norm(module.input_layernorm, gemma=gemma)
        self.after_attention = Norm(module.post_attention_layernorm, gemma=True) if gemma else None
        self.before_mlp = Norm(
            module.pre_feedforward_layernorm if gemma else module.post_attention_layernorm, gemma=gemma
        )
        self.after_mlp = Norm(module.post_feedforward_layernorm, gemma=True) if gemma else None

    def __call__(self, x: Tensor, held: KeyValues, place: Place, turn: tuple[Tensor, Tensor], seen: Any) -> Tensor:
        """x (rows * N, width) -> the same after the layer; its keys and values are added to `held`."""
        attended = self.attended(self._attention(self.qkv(self.before_attention(x)), held, place, turn, seen))
        x = x + (self.after_attention(attended) if self.after_attention else attended)
        gate, up = self.grown(self.before_mlp(x)).chunk(2, -1)
        shrunk = self.shrunk(self.activation(gate) * up)
        return x + (self.after_mlp(shrunk) if self.after_mlp else shrunk)

    def _attention(
        self, qkv: Tensor, held: KeyValues, place: Place, turn: tuple[Tensor, Tensor], seen: tuple[int, Tensor | None]
    ) -> Tensor:
        heads, groups, size = self.heads, self.kv_heads, self.head_dim
        q, k, v = qkv.view(place.rows, place.tokens, -1, size).tensor_split((heads, heads + groups), 2)
        if self.query_norm and self.key_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k = turned(q, *turn), turned(k, *turn)
        place.write(held.keys, k)
        place.write(held.values, v)
        first, mask = seen
        keys, values = (part[:, :, first : place.end] for part in (held.keys, held.values))
        share = heads // groups  # the queries of a group's heads are queries to the same keys: nothing is repeated
        q = (
            q.view(place.rows, place.tokens, groups, share, size)
            .permute(0, 2, 1, 3, 4)
            .reshape(place.rows, groups, -1, size)
        )
        if mask is not None:
            mask = mask.repeat_interleave(share, 2)
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=self.scale)
        out = out.view(place.rows, groups, place.tokens, share, size).transpose(1, 2)
        return out.reshape(place.rows * place.tokens, heads * size)


def turned(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotary positions: x (rows, N, heads, D) turned by angles (rows, N, 1, D); the sine's first half is negated."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * signed_sin


class DecodeStep:
    """The step of a whole model."""

    def __init__(self, model: Any) -> None:
        """Pack the weights of a model that `supports` accepts; about a second for each GB."""
        base = model.model
        self._embed, self._rotary = base.embed_tokens, base.rotary_emb
        self._gemma = model.config.model_type == "gemma3_text"
        with torch.inference_mode():
            self.layers = [Layer(module, model.config) for module in base.layers]
            self._norm = Norm(base.norm, gemma=self._gemma)
            self._head = Product(model.lm_head)

    def __call__(self, ids: Tensor, layers: Sequence[KeyValues], lengths: Sequence[int]) -> Tensor:
        """Logits (rows, N, vocabulary) for ids (rows, N) behind `lengths` tokens; room for them must be reserved."""
        place = Place(lengths, ids.shape[1], ids.device)
        x = self._embed(ids)
        turns = {kind: self._turn(x, place, kind) for kind in {layer.kind for layer in self.layers}}
        seen = {window: place.seen(window) for window in {layer.window for layer in self.layers}}
        x = x.view(place.rows * place.tokens, -1)
        for layer, held in zip(self.layers, layers, strict=True):
            x = layer(x, held, place, turns[layer.kind], seen[layer.window])
            held.length = place.end
        return self._head(self._norm(x)).view(place.rows, place.tokens, -1)

    def _turn(self, x: Tensor, place: Place, kind: str) -> tuple[Tensor, Tensor]:
        cos, sin = self._rotary(x, place.positions, *((kind,) if self._gemma else ()))
        half = sin.shape[-1] // 2
        return cos[:, :, None], torch.cat((-sin[..., :half], sin[..., half:]), -1)[:, :, None]
