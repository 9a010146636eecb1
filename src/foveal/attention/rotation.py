"""Rotary positions, taken in hand: queries and keys are asked for as they are before they are turned, and turned here.

    rotations = rotations_of(model, reach=4096)           # InputError: a model without them, or of another kind
    turned = rotations.of("full_attention")(keys, positions)

A method that gives tokens other positions than they have in the text (`needs_unrotated`) must turn them itself. Which
of the two layouts a model uses, and how much of a head it turns, is found by turning a sample as the model's own code
does; that all layers turn so, by a pass over a few tokens with the model's turning and one with ours. Models that
lengthen what they turn (YaRN) do so here by the scale of the products. Models that turn by other angles in a longer
text (dynamic, LongRoPE) turn here as in one text of `reach` tokens, whatever is asked for: keys are turned bit by bit,
and the bits must belong together.

Shapes    x (…, n, D), positions (n,) or any shape that fits x's; angles are computed, and applied, in float32
Layouts   "halves": dimension i turns with i + d / 2 (Llama, Qwen, Gemma); "pairs": 2 i with 2 i + 1 (Cohere, GLM)
Source    RoFormer (Su et al., arXiv 2104.09864)
"""

from __future__ import annotations

import copy
import inspect
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from foveal.attention.decoders import trunk
from foveal.errors import InputError
from foveal.models.lean import supports

if TYPE_CHECKING:
    from foveal.attention.attach import Context

SAMPLE, CLOSE = 5, 2e-2
"""Positions at which the model's own turning is compared with ours; how far keys may lie apart (in bfloat16)."""


@dataclass(frozen=True)
class Rotation:
    """The turns of one kind of layer."""

    module: Any  # of transformers: positions -> cosines and sines
    kind: tuple[str, ...]  # what it is asked with besides, if layers differ
    layout: str
    spread: bool  # whether its table holds each angle at both halves, though pairs are turned
    length: float  # of a turned vector of length 1

    def __call__(self, x: Tensor, positions: Tensor) -> Tensor:
        """x at `positions`, which must broadcast with its dimensions but the last; of x's type."""
        return self.turn(x, *self.angles(positions))

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (…, d), each of length 1."""
        cos, sin = _asked(self.module, positions.flatten()[None], self.kind)
        cos, sin = (_paired(part) if self.spread else part for part in (cos, sin))
        return tuple(part.view(*positions.shape, -1) / self.length for part in (cos[0], sin[0]))  # type: ignore[return-value]

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x turned by angles that broadcast with it."""
        wide = x.float()
        width = cos.shape[-1]
        inside = wide if width == wide.shape[-1] else wide[..., :width]
        turned = inside * cos
        for here, other, sign in _partners(width, self.layout):
            turned[..., here].addcmul_(inside[..., other], sin[..., here], value=sign)
        if width < wide.shape[-1]:
            turned = torch.cat([turned, wide[..., width:].expand(*turned.shape[:-1], -1)], -1)
        return turned.to(x.dtype)


class Rotations:
    """Those of a model, by the kind of its layers."""

    def __init__(self, module: Any, kinds: dict[str, Rotation], layers: Sequence[str] = ()) -> None:
        """`layers`: the kind of each, where the configuration tells it."""
        self.module = module
        self._kinds = kinds
        self._layers = layers

    def of(self, kind: str) -> Rotation:
        """The one of layers of this kind."""
        return self._kinds.get(kind) or next(iter(self._kinds.values()))

    @property
    def by_length(self) -> bool:
        """Whether the model turns by other angles in a longer text."""
        return any(isinstance(one.module, _Settled) for one in self._kinds.values())

    def for_layer(self, module: Any) -> Rotation:
        """The one of an attention module."""
        told = getattr(module, "layer_type", None)
        return self.of(told) if told else self.at(module.layer_idx)

    def at(self, number: int) -> Rotation:
        """The one of the layer of that number."""
        return self.of(self._layers[number] if self._layers else "full_attention")


class _Settled:
    """A module whose angles depend on how far it is asked, as it is in a text of `reach` tokens."""

    def __init__(self, module: Any, kind: tuple[str, ...], reach: int) -> None:
        self._module = copy.deepcopy(module)
        for last in (0, reach - 1):  # back to the beginning, whatever was read before
            _asked(self._module, torch.tensor([[last]], device=next(iter(module.buffers())).device), kind)
        self._plain = inspect.unwrap(type(module).forward)  # without what looks at the positions

    def forward(self, like: Tensor, positions: Tensor, *kind: str) -> Any:
        with torch.no_grad():
            return self._plain(self._module.to(positions.device), like, positions, *kind)


_KNOWN: WeakKeyDictionary[Any, dict[int, Rotations]] = WeakKeyDictionary()


def rotations_of(model: Any, *, reach: int | None = None) -> Rotations:
    """The rotary positions of a transformers decoder, for distances of up to `reach` tokens (None: its window).

    InputError: it has none, or turns in a way that is not known.
    """
    reach = reach or trained_window(model.config)
    known = _KNOWN.setdefault(model, {})
    if reach not in known:
        known[reach] = _found(model, reach)
    return known[reach]


def trained_window(config: Any) -> int:
    """Tokens that a model of this configuration was trained for. InputError: it does not say, as without positions."""
    told = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if not told:
        raise InputError(
            f"Models of the kind {config.model_type!r} do not say how many tokens they were trained for, as those that "
            "have no rotary positions do not. Choose a model with RoPE, such as Llama, Qwen or Gemma."
        )
    return int(told)


def unturned(angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Cosine 1 and sine 0 in place of a model's own: what it then turns stays as it is, to the bit."""
    return torch.ones_like(angles[0]), torch.zeros_like(angles[1])


def _found(model: Any, reach: int) -> Rotations:
    name = type(model).__name__
    config = model.config.get_text_config(decoder=True)
    owners = [
        (owner, owner.rotary_emb)
        for owner in model.modules()
        if getattr(owner, "rotary_emb", None) is not None and hasattr(owner, "layers")
    ]
    if len(owners) != 1:
        raise InputError(
            f"{name} has {len(owners)} sets of rotary positions that can be taken in hand; one is needed. Choose a "
            "model with RoPE, such as Llama, Qwen or Gemma."
        )
    if not all(getattr(config, "no_rope_layers", None) or [1]) or _parts_keys(config):
        raise InputError(f"{name} turns only some of its layers, or parts of its keys apart. Choose another model.")
    owner, module = owners[0]
    own = getattr(sys.modules[type(owner).__module__], "apply_rotary_pos_emb", None)
    layers = list(getattr(config, "layer_types", None) or ())
    kinds = sorted(set(layers or ["full_attention"]))
    found = Rotations(module, {kind: _tried(name, module, kind, own, reach) for kind in kinds}, layers)
    if not supports(model):  # what is read by lean layers is known
        _check_layers(model, found)
    return found


def _parts_keys(config: Any) -> bool:
    """Whether a part of each key is turned apart from the rest (DeepSeek), in some layers or all."""
    try:
        return bool(getattr(config, "qk_rope_head_dim", None))
    except RuntimeError:  # to ask for what differs by layer
        return True


class _Seen:
    """Takes down the queries and keys of each layer, and looks at nothing: none then depends on how another turns."""

    takes_sinks = True

    def __init__(self) -> None:
        self.of: dict[int, tuple[Any, Tensor, Tensor]] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        self.of[context.layer] = context.module, query, key
        return query.new_zeros(*query.shape[:3], value.shape[3])

    def seen(self, rows: Tensor, context: Context) -> None:  # noqa: ARG002
        return None


def _check_layers(model: Any, rotations: Rotations) -> None:
    """InputError: layers that do not turn queries and keys, or in a way of their own, or change them after that."""
    from foveal.attention.attach import attach  # which needs this module

    thread, theirs, plain = threading.current_thread(), _Seen(), _Seen()
    ids = torch.arange(SAMPLE, device=model.device)[None] % model.config.get_text_config().vocab_size

    def still(module: Any, arguments: Any, angles: Any) -> Any:  # noqa: ARG001
        return unturned(angles) if threading.current_thread() is thread else angles

    def read(seen: _Seen) -> None:
        with torch.no_grad(), attach(model, seen):
            trunk(model)(input_ids=ids, use_cache=False)

    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        read(theirs)
        hook = rotations.module.register_forward_hook(still)
        try:
            read(plain)
        finally:
            hook.remove()
    finally:
        for part, training in modes:
            part.training = training
    others = []
    for layer, (module, *turned) in theirs.of.items():
        rotation = rotations.for_layer(module)
        if not all(_turns(rotation, one, own) for one, own in zip(plain.of[layer][1:], turned, strict=True)):
            others.append(layer)
    if others:
        raise InputError(
            f"{type(model).__name__} turns queries and keys of its layers {', '.join(map(str, sorted(others)))} not at "
            "all, or otherwise than the rest, or changes them after that. Choose a model that turns all alike, such as "
            "Llama or Qwen."
        )


def _turns(rotation: Rotation, plain: Tensor, turned: Tensor) -> bool:
    """Whether it makes of a layer's queries or keys what the model does."""
    ours = rotation(plain, torch.arange(SAMPLE, device=plain.device)).float() * rotation.length
    return float((ours - turned.float()).norm()) <= CLOSE * float(turned.float().norm())


def _tried(name: str, module: Any, kind: str, own: Any, reach: int) -> Rotation:
    """The rotation that turns a sample as the model does."""
    try:
        places = torch.arange(SAMPLE, device=next(iter(module.buffers())).device)
        asked_with: tuple[str, ...] = (kind,)
        try:
            cos, sin = _asked(module, places[None], asked_with)
        except TypeError:
            asked_with = ()
            cos, sin = _asked(module, places[None], asked_with)
        if _looks_at_positions(module, kind):
            module = _Settled(module, asked_with, reach)
            cos, sin = _asked(module, places[None], asked_with)
        sample = torch.linspace(-1, 1, SAMPLE * cos.shape[-1], dtype=torch.float32, device=cos.device)
        sample = sample.view(1, 1, SAMPLE, -1)
        theirs = own(sample, sample, cos, sin)[0]
    except Exception as error:  # a model's own code may refuse in any way
        raise InputError(
            f"The rotary positions of {name} are of a kind that is not known here ({type(error).__name__}: {error}). "
            "Choose a model such as Llama, Qwen or Gemma."
        ) from error
    length = float(cos[0, 0, 0])  # the cosine of no turn
    for layout, spread in (("halves", False), ("pairs", False), ("pairs", True)):
        tried = Rotation(module, asked_with, layout, spread, length)
        if torch.allclose(tried(sample, places) * length, theirs, atol=1e-5):
            return tried
    raise InputError(f"{name} turns its keys in a way that is not known here. Choose a model such as Llama or Qwen.")


def _looks_at_positions(module: Any, kind: str) -> bool:
    """Whether its angles are others where it is asked for a longer text."""
    told = getattr(module, "rope_type", "")
    told = told.get(kind, "") if isinstance(told, dict) else str(told)
    return "dynamic" in told or told == "longrope"


def _asked(module: Any, positions: Tensor, kind: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Cosines and sines (1, n, d) float32, past any hook: `forward` itself is called. On the positions' device, also
    where accelerate has replaced that by one which answers from the layers' own.
    """
    like = torch.empty(0, dtype=torch.float32, device=positions.device)
    cos, sin = module.forward(like, positions, *kind)
    return cos.to(positions.device), sin.to(positions.device)


def _partners(width: int, layout: str) -> tuple[tuple[slice, slice, int], ...]:
    """Which dimensions turn with which others, and the sign of these."""
    half = width // 2
    one, two = (slice(half), slice(half, None)) if layout == "halves" else (slice(0, None, 2), slice(1, None, 2))
    return (one, two, -1), (two, one, 1)


def _paired(table: Tensor) -> Tensor:
    return table[..., : table.shape[-1] // 2].repeat_interleave(2, -1)
