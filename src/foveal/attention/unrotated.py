"""A decoder that leaves the rotation of queries and keys to whoever attends, so that a key can be moved later.

    rotations = Rotations.take(base)             # from now on the model's own rotation does nothing
    rotations.turned(keys, places, layer)        # … and this is what it would have done

A key that is kept for later use must not be bound to a place: landmark_cache.py gives blocks new places whenever they
are looked at.

Shapes    x (…, T, D), places (…, T) or (T,), whole numbers of positions
Needs     rotary positions over whole heads, halves paired (Llama, Qwen, Gemma, Mistral, …): tried out when it is taken
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from foveal.attention.attach import Context, attach
from foveal.attention.decoders import trunk
from foveal.attention.dense import dense_attention
from foveal.errors import InputError

TRIED, CLOSE = 9, 2e-2
"""Tokens of the trial, and how far its output may be from the model's own, relatively (bfloat16 rounds)."""


class Still(nn.Module):
    """In the place of a model's rotary embedding: it turns nothing."""

    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        self.rotary = rotary

    def forward(self, x: Tensor, position_ids: Tensor, *kind: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Cosines of 1 and sines of 0, as the model's own would be shaped."""
        cos, sin = self.rotary(x, position_ids, *kind, **named)
        return torch.ones_like(cos), torch.zeros_like(sin)


class Rotations:
    """The rotation that a model would have made, by layer."""

    def __init__(self, base: Any, rotary: nn.Module) -> None:
        self.rotary, config = rotary, base.config.get_text_config()
        own = "layer_type" in inspect.signature(rotary.forward).parameters
        self._kinds: list[str | None] = list(config.layer_types) if own else [None] * config.num_hidden_layers
        self._tables: dict[tuple[str | None, torch.device], tuple[Tensor, Tensor]] = {}

    @classmethod
    def take(cls, base: Any) -> Rotations:
        """Still the rotation of `base`. InputError: it has none, or one of another form."""
        core = trunk(base)
        rotary = getattr(core, "rotary_emb", None)
        name = type(base).__name__
        if rotary is None or isinstance(rotary, Still):
            what = "is taken already" if rotary is not None else "has no rotary positions"
            raise InputError(f"{name} {what}; landmarks are moved by rotation. Take a fresh Llama, Qwen, Gemma, …")
        made = cls(base, rotary)
        probe = torch.arange(TRIED, device=base.device)[None] % base.config.get_text_config().vocab_size
        training, still = base.training, Still(rotary)
        try:
            with torch.no_grad():
                base.eval()
                wanted = core(input_ids=probe, use_cache=False).last_hidden_state
                core.rotary_emb = still
                with attach(base, _Dense(made)):
                    got = core(input_ids=probe, use_cache=False).last_hidden_state
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name} has rotary positions of a kind that is not known here ({error!r}).") from error
        finally:  # a model that is refused stays as it was
            core.rotary_emb = rotary
            base.train(training)
        if not float((got - wanted).float().norm() / wanted.float().norm()) < CLOSE:
            raise InputError(f"{name} turns queries and keys in a form of its own. Take a Llama, Qwen, Gemma, …")
        core.rotary_emb = still
        return made

    def turned(self, x: Tensor, places: Tensor, layer: int) -> Tensor:
        """x turned to `places`, in its own type."""
        cos, sin = self._table(layer, int(places.max()) + 1 if places.numel() else 1, x.device)
        if cos.shape[-1] != x.shape[-1]:
            raise InputError(f"Heads of width {x.shape[-1]} are turned by {cos.shape[-1]} numbers: not whole heads.")
        wide = x.to(cos.dtype) if x.dtype != torch.float64 else x
        one, two = wide.chunk(2, -1)
        return (wide * cos[places] + torch.cat([-two, one], -1) * sin[places]).to(x.dtype)

    def _table(self, layer: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        key = self._kinds[layer], device
        if key not in self._tables or len(self._tables[key][0]) < length:
            room = 1 << max(9, (length - 1).bit_length())
            kind = () if key[0] is None else (key[0],)
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                like = torch.empty(1, 1, 1, dtype=torch.float32, device=device)
                cos, sin = self.rotary(like, torch.arange(room, device=device)[None], *kind)
            self._tables[key] = cos[0], sin[0]
        return self._tables[key]


class _Dense:
    """Plain causal attention, rotated here: what the trial compares."""

    def __init__(self, rotations: Rotations) -> None:
        self.rotations = rotations
        self.layers: set[int] = set()

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (B, H, T, D). InputError: a layer that looks twice, whose keys would be kept twice."""
        if context.layer in self.layers:
            raise InputError(f"{type(context.module).__name__} attends more than once. Take a Llama, Qwen, Gemma, …")
        self.layers.add(context.layer)
        places = torch.arange(query.shape[2], device=query.device)
        query, key = (self.rotations.turned(part, places, context.layer) for part in (query, key))
        return dense_attention(query, key, value, context.mask, scale=context.scale, softcap=context.softcap)

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None
