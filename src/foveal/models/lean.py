"""The layers of the usual decoders, lean: the few tensor operations that a forward pass needs, over packed weights.

Whoever calls a layer brings its attention: a decoding step looks at the keys held before (decode_step.py), a reader at
a text with many questions behind it (attention/watch.py). Packed by oneDNN, as torch.compile would pack them but at no
compile time, weights are read at twice the speed for one token, and products of many tokens gain a tenth; the results
are the same to the bit. Weights of float32 that are numbers of bfloat16, as published ones are, are packed as such for
few tokens (half_products.py), and used as they are for many. Whoever only wants to know where a model looks may ask for
products of many tokens in int8 (byte_products.py).

Shapes    x (rows * N, width); queries (rows, N, heads, D), keys and values (rows, N, kv_heads, D)
Needs     Llama, Qwen 2 and 3, or Gemma 3 (text), whole and unhooked. A layer is packed when it is first used, and
          memory then holds its weights twice (in float32 once and a half), if there is room (room.py); a model whose
          weights have changed gets new layers, also in the midst of its training
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from threading import Lock, Thread, main_thread
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from foveal.models.byte_products import ByteWeight, pays
from foveal.models.half_products import HalfWeight
from foveal.models.room import is_room_for
from foveal.models.threads import with_threads

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3_text")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

FEW = 64
"""Tokens up to which it takes longer to read the weights than to multiply by them."""

AT_ONCE = 1024
"""Tokens that go through norms and feed-forward parts at a time: what these make inside is many times their size.

Beyond some 32 MB the C library takes memory anew from the system for each tensor, page by page: with four times as many
tokens at once a sixth of the time of 4k tokens went there.
"""


def supports(model: Any) -> bool:
    """Whether the step gives what the model's own forward gives: a known, plain model that nothing is attached to."""
    config = model.config
    capped = getattr(config, "final_logit_softcapping", None) or getattr(config, "attn_logit_softcapping", None)
    if config.model_type not in ARCHITECTURES or capped or config._attn_implementation not in ("sdpa", "eager"):
        return False
    if config.model_type == "gemma3_text" and config.use_bidirectional_attention:
        return False
    modules = model.modules()
    hooked = any(module._forward_pre_hooks or any(map(_foreign, module._forward_hooks.values())) for module in modules)
    return not hooked and _plain(model)


def stretches(model: Any) -> bool:
    """Whether positions turn otherwise in a longer text (dynamic, LongRoPE): of one read in pieces, keys do not fit."""
    told = getattr(getattr(getattr(model, "model", None), "rotary_emb", None), "rope_type", "")
    kinds = told.values() if isinstance(told, dict) else [told]
    return any("dynamic" in kind or kind == "longrope" for kind in kinds)


def _plain(model: Any) -> bool:
    """Whether all that lean layers take weights from is transformers' own: an adapter in its place has them, too."""
    family = model.config.model_type.removesuffix("_text")
    own, head = f"transformers.models.{family}.modeling_{family}", getattr(model, "lm_head", None)
    if type(head) is not nn.Linear or "bias" in dict(head.named_parameters()):
        return False
    if type(model.model.norm).__module__ != own:
        return False
    for layer in model.model.layers:
        linear = 0
        for name, part in layer.named_modules():
            if name.rpartition(".")[2] in PROJECTIONS and type(part) is nn.Linear:
                linear += 1
            elif name != "mlp.act_fn" and type(part).__module__ != own:
                return False
        if linear != len(PROJECTIONS):
            return False
    return True


def _foreign(hook: Any) -> bool:
    """Whether somebody's own hook; transformers leaves some where attentions were once asked for: they only listen."""
    return not getattr(hook, "__module__", "").startswith("transformers.utils.output_capturing")


class Product:
    """x (N, D) -> x W^T + b, where W is the rows of several linear layers put together; packed on a CPU."""

    def __init__(self, *layers: nn.Linear) -> None:
        """Copy and pack the weights; on another device, and where memory is short, keep the layers' own."""
        self._layers, self.packed = layers, False
        self._bias: Tensor | None = None
        self._half: HalfWeight | None = None
        self._bytes: ByteWeight | None = None
        self._tried = False  # whether there may be bytes
        biases: list[Tensor] = [one.bias for one in layers if one.bias is not None]
        self._bias = torch.cat(biases) if biases else None
        weights: list[Tensor] = [one.weight for one in layers]
        if weights[0].device.type != "cpu" or not is_room_for(2 * sum(one.nbytes for one in weights)):
            return
        whole = torch.cat(weights) if len(weights) > 1 else weights[0].detach()  # copying takes as long as packing
        self._half = HalfWeight.of(whole)
        if not self._half and _packs(whole.dtype):
            self._weight, self.packed = torch.ops.mkldnn._reorder_linear_weight(whole, 1), True

    def __call__(self, x: Tensor, *, int8: bool = False) -> Tensor:
        """The products, (N, the layers' outputs side by side); `int8`: roughly, where that is faster."""
        if int8 and len(x) > FEW and x.dtype == torch.float32 and (rough := self._in_bytes()):
            return rough(x, self._bias)
        if self._half and x.dtype == torch.float32 and x.numel() // x.shape[-1] <= FEW:
            return self._half(x, self._bias)
        if self.packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return product
        parts = [F.linear(x, one.weight, one.bias) for one in self._layers]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _in_bytes(self) -> ByteWeight | None:
        """The weights in int8, made when they are first asked for; None where they would not be faster."""
        if not self._tried:
            weights: list[Tensor] = [one.weight for one in self._layers]
            if weights[0].device.type == "cpu" and pays() and is_room_for(2 * sum(one.nbytes for one in weights)):
                self._bytes = ByteWeight.of(torch.cat(weights))
            self._tried = True
        return self._bytes


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


Turn = tuple[Tensor, Tensor]
"""Cosine and signed sine of the positions, (rows, N, 1, D)."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values -> the output (rows, N, heads, D)."""


class Layer:
    """One decoder layer."""

    def __init__(self, module: Any, config: Any) -> None:
        """Pack the weights of transformers' layer."""
        gemma = config.model_type == "gemma3_text"
        attention, mlp = module.self_attn, module.mlp
        self.module = attention
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim, self.scale = attention.head_dim, attention.scaling
        self.kind: str = getattr(attention, "layer_type", None) or "full_attention"
        self.window: int | None = getattr(attention, "sliding_window", None)
        self.qkv = Product(attention.q_proj, attention.k_proj, attention.v_proj)
        self.attended = Product(attention.o_proj)
        self.gate, self.up, self.down = Product(mlp.gate_proj), Product(mlp.up_proj), Product(mlp.down_proj)
        self.activation = _activation(mlp.act_fn)
        normed = hasattr(attention, "q_norm")
        self.query_norm = Norm(attention.q_norm, gemma=gemma) if normed else None
        self.key_norm = Norm(attention.k_norm, gemma=gemma) if normed else None
        self.before_attention = Norm(module.input_layernorm, gemma=gemma)
        self.after_attention = Norm(module.post_attention_layernorm, gemma=True) if gemma else None
        self.before_mlp = Norm(
            module.pre_feedforward_layernorm if gemma else module.post_attention_layernorm, gemma=gemma
        )
        self.after_mlp = Norm(module.post_feedforward_layernorm, gemma=True) if gemma else None

    def __call__(self, x: Tensor, turn: Turn, attend: Attend, *, int8: bool = False) -> Tensor:
        """x (rows * N, width) -> the same after the layer."""
        return self.after(x, attend(*self._looking(x, turn, int8)), int8=int8)

    def after(self, x: Tensor, output: Tensor, *, int8: bool = False) -> Tensor:
        """The rest of the layer, once its attention has given `output` (rows, N, heads, D) for x (rows * N, width)."""
        attended = self.attended(output.reshape(len(x), -1), int8=int8)
        x = x + (self.after_attention(attended) if self.after_attention else attended)
        return in_pieces(partial(self._fed, int8=int8), x)

    def _fed(self, x: Tensor, *, int8: bool) -> Tensor:
        """The feed-forward part, of each token alone."""
        h = self.before_mlp(x)
        shrunk = self.down(self.activation(self.gate(h, int8=int8)).mul_(self.up(h, int8=int8)), int8=int8)
        return x + (self.after_mlp(shrunk) if self.after_mlp else shrunk)

    def _looking(self, x: Tensor, turn: Turn, int8: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        rows, tokens = turn[0].shape[:2]
        heads, groups = self.heads, self.kv_heads
        qkv = in_pieces(lambda piece: self.qkv(self.before_attention(piece), int8=int8), x)
        qkv = qkv.view(rows, tokens, -1, self.head_dim)
        q, k, v = qkv.tensor_split((heads, heads + groups), 2)
        if self.query_norm and self.key_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        return turned(q, *turn), turned(k, *turn), v


def in_pieces(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The same as function(x) for a function of each row alone, in the memory that `AT_ONCE` rows take."""
    return function(x) if len(x) <= AT_ONCE else torch.cat([function(piece) for piece in torch.split(x, AT_ONCE)])


def _activation(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The activation of a tensor that nobody else needs."""
    silu = type(module).__name__ in ("SiLU", "SiLUActivation")  # of PyTorch, of transformers
    return (lambda x: F.silu(x, inplace=True)) if silu else module


def turned(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotary positions: x (rows, N, heads, D) turned by angles (rows, N, 1, D); the sine's first half is negated."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * signed_sin


class Lean:
    """A whole model's layers."""

    def __init__(self, model: Any) -> None:
        """Of a model that `supports` accepts."""
        base = model.model
        self.config = model.config
        self._embed, self._rotary, self._modules = base.embed_tokens, base.rotary_emb, base.layers
        self._final, self._head_module = base.norm, model.lm_head
        self._gemma = model.config.model_type == "gemma3_text"
        self._packed: dict[int, Any] = {}
        self._lock = Lock()
        self.kinds = {getattr(one.self_attn, "layer_type", None) or "full_attention" for one in base.layers}

    def __len__(self) -> int:
        """Layers of the model."""
        return len(self._modules)

    def layer(self, number: int) -> Layer:
        """Layer `number` from 0."""
        layer: Layer = self._once(number, lambda: Layer(self._modules[number], self.config))
        return layer

    def start(self, ids: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Turn]]:
        """What goes into the first layer for ids (rows, N), and the turn of each kind of layer."""
        x = self.embedded(ids)
        return x.view(-1, x.shape[-1]), self.turns(x, positions)

    def embedded(self, ids: Tensor) -> Tensor:
        """The vectors of ids (rows, N), (rows, N, width)."""
        x: Tensor = self._embed(ids)
        return x

    def turns(self, like: Tensor, positions: Tensor) -> dict[str, Turn]:
        """The turn of each kind of layer at positions (rows, N), in the type of `like`. All that is read together goes
        in together: some kinds turn by the last position.
        """
        return {kind: self._turn(like, positions, kind) for kind in self.kinds}

    def logits(self, x: Tensor) -> Tensor:
        """(…, width) -> (…, vocabulary)."""
        norm, head = self._last()
        logits: Tensor = head(norm(x))
        return logits

    def pack(self, stop: Callable[[], bool]) -> None:
        """Make all layers now, in their order, until `stop()`."""
        for number in range(len(self)):
            if stop():
                return
            self.layer(number)
        if not stop():
            self._last()

    def _last(self) -> tuple[Norm, Product]:
        made: tuple[Norm, Product] = self._once(
            -1, lambda: (Norm(self._final, gemma=self._gemma), Product(self._head_module))
        )
        return made

    def _once(self, number: int, make: Callable[[], Any]) -> Any:
        if number not in self._packed:
            with self._lock, torch.inference_mode(), with_threads(1):  # more gain little, and wait on a busy machine
                self._packed.setdefault(number, make())
        return self._packed[number]

    def _turn(self, x: Tensor, positions: Tensor, kind: str) -> Turn:
        cos, sin = self._rotary(x, positions, *((kind,) if self._gemma else ()))
        half = sin.shape[-1] // 2
        return cos[:, :, None], torch.cat((-sin[..., :half], sin[..., half:]), -1)[:, :, None]


_MADE: WeakKeyDictionary[Any, tuple[int, Lean]] = WeakKeyDictionary()
_MADE_LOCK = Lock()


def lean(model: Any) -> Lean:
    """The layers of `model`, made once for all who use it, and anew after its weights have changed."""
    with _MADE_LOCK:
        _watch_optimizers()
        stamp, found = _stamp(model), _MADE.get(model)
        if found is None or found[0] != stamp:
            found = _MADE[model] = (stamp, Lean(model))
        return found[1]


def pack_ahead(model: Any) -> Thread | None:
    """Begin to pack the layers of `model` beside what its caller does until it needs them; None where none are packed.

    Whoever comes to a layer first packs it. The end of the program waits for one layer at most.
    """
    if not supports(model):
        return None
    layers, main = lean(model), main_thread()
    packer = Thread(target=layers.pack, args=(lambda: not main.is_alive(),), name="foveal-pack")
    packer.start()
    return packer


@cache
def _watch_optimizers() -> None:
    """From now on a step of any optimizer counts as a write: the fused ones, transformers' default, tell nobody."""

    def written(optimizer: Optimizer, *_: Any) -> None:
        increment_version([weight for group in optimizer.param_groups for weight in group["params"]])

    register_optimizer_step_post_hook(written)


def _stamp(model: nn.Module) -> int:
    """Another number once a weight was written to or replaced."""
    return hash(tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in model.parameters()))
