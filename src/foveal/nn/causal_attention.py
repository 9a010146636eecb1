"""What Aaren is measured against: causal self-attention in the same block, a GRU of the same width; and a memory.

    encoder_of(StreamSettings(mixer="attention", dim=128, layers=3))      # forward, step and init_state as Aaren's

aaren       attention of a learned query: a state of a few hundred bytes (aaren.py)
attention   a Transformer's causal self-attention: keys and values of all that was read, and so a state that grows
gru         gated recurrent layers: a state of dim numbers a layer, trained token by token
lmm         the neural memory in the same block (titans.py), which is measured beside the GRU

Shapes    x (B, T, dim) -> (B, T, dim) and a state. The GRU asks that padding stands on the right
Source    Vaswani et al., 2017 (arXiv 1706.03762); Cho et al., 2014 (arXiv 1406.1078)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.aaren import Aaren, AarenEncoder, AarenSettings
from foveal.nn.inputs import checked, require_result, require_token
from foveal.nn.states import State, state_or_first
from foveal.nn.titans import LMM, TitansSettings
from foveal.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, require_one_of, require_settings

MIXERS = ("aaren", "attention", "gru")
"""Aaren and its peers; an encoder may have the memory, too."""
CHUNK = 8
"""Tokens of the memory's chunk: a series is a dozen patches, of which one chunk would correct none."""


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """An encoder of a stream, and what it mixes tokens with; checked when made."""

    mixer: Literal["aaren", "attention", "gru", "lmm"] = "aaren"
    dim: int = 128
    heads: int = 4
    layers: int = 3
    feed_forward: int | None = None  # None: four times dim; of no use to a GRU
    dropout: float = 0.1
    norm: Literal["pre", "post"] = "pre"
    decay: float = 0.0  # Aaren's alone
    conv_kernel: int = 0

    def __post_init__(self) -> None:
        require_one_of("A stream encoder", self, "mixer", (*MIXERS, "lmm"))
        require_one_of("A stream encoder", self, "norm", ("pre", "post"))
        require_settings(
            "A stream encoder", self, dim=COUNT, heads=COUNT, layers=COUNT, feed_forward=COUNT, dropout=BELOW_ONE,
            decay=NOT_NEGATIVE, conv_kernel=NOT_NEGATIVE,
        )  # fmt: skip
        if self.mixer != "aaren" and (self.decay or self.conv_kernel):
            raise InputError(f"decay and conv_kernel are Aaren's; with the mixer {self.mixer!r} leave them out.")

    @property
    def layer(self) -> AarenSettings:
        """Of one layer."""
        return AarenSettings(
            dim=self.dim, heads=self.heads, dropout=self.dropout, decay=self.decay, conv_kernel=self.conv_kernel
        )


def encoder_of(settings: StreamSettings) -> Any:
    """An AarenEncoder, the same with causal attention or a memory in Aaren's place, or a GRU."""
    if settings.mixer == "gru":
        return GRUEncoder(settings)
    mixers: dict[str, Callable[[AarenSettings], nn.Module]] = {
        "aaren": Aaren, "attention": CausalAttention, "lmm": remembering
    }  # fmt: skip
    return AarenEncoder(
        settings.layer,
        layers=settings.layers,
        norm=settings.norm,
        feed_forward=settings.feed_forward,
        mixer=mixers[settings.mixer],
    )


def remembering(settings: AarenSettings) -> LMM:
    """A memory of as many heads."""
    memory = {"heads": settings.heads, "chunk": CHUNK}
    return LMM(TitansSettings(dim=settings.dim, variant="lmm", heads=settings.heads, memory=memory))


@dataclass(frozen=True)
class AttentionState(State):
    """Keys and values of all tokens so far, and which of them count. It grows."""

    grows = True
    keys: Tensor  # (B, T, H, D)
    values: Tensor
    there: Tensor  # (B, T)


class CausalAttention(nn.Module):
    """Softmax self-attention over the token itself and all before it; Aaren's parameters but for the query."""

    def __init__(self, settings: AarenSettings) -> None:
        """Weights as Aaren draws them."""
        super().__init__()
        self.settings, dim = settings, settings.dim
        self.w_q, self.w_k, self.w_v = (nn.Linear(dim, dim, bias=settings.bias) for _ in range(3))
        self.w_o = nn.Linear(dim, dim, bias=settings.bias)
        self.dropout = nn.Dropout(settings.dropout)
        for one in (self.w_q, self.w_k, self.w_v):
            nn.init.xavier_uniform_(one.weight)
            if one.bias is not None:
                nn.init.zeros_(one.bias)

    def init_state(self, batch: int) -> AttentionState:
        """Nothing read."""
        heads, like = self.settings.heads, self.w_q.weight
        width = self.settings.dim // heads
        none = like.new_zeros(batch, 0, heads, width)
        there = torch.zeros(batch, 0, dtype=torch.bool, device=like.device)
        return AttentionState(f"causal attention, {heads} heads of {width}", none, none, there)

    def forward(
        self, x: Tensor, state: AttentionState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, AttentionState]:
        """x (B, T, dim) -> (B, T, dim) and the state; tokens where `mask` is False are seen by none but themselves.

        InputError: wrong shapes, tokens that are no numbers or too large for products of them, or another's state.
        """
        x = checked("Causal attention", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        q, k, v = (one(x).unflatten(-1, (self.settings.heads, -1)) for one in (self.w_q, self.w_k, self.w_v))
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        after = AttentionState(
            state.layout, *(torch.cat(pair, 1) for pair in ((state.keys, k), (state.values, v), (state.there, real)))
        )
        q, k, v = (one.transpose(1, 2) for one in (q, after.keys, after.values))
        if mask is None and k.shape[2] == q.shape[2]:
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=_seen(after.there, q.shape[2]))
        y = require_result("Causal attention", self.w_o(o.transpose(1, 2).flatten(2)))
        return self.dropout(y), after

    def step(self, x: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """One token (B, dim)."""
        require_token("Causal attention", x, self.settings.dim)
        y, state = self(x[:, None], state)
        return y[:, 0], state


def _seen(there: Tensor, queries: int) -> Tensor:
    """(B, 1, Q, T): tokens that count up to each of the last Q, and itself."""
    tokens = there.shape[1]
    own = torch.arange(tokens - queries, tokens, device=there.device)[:, None]
    places = torch.arange(tokens, device=there.device)
    return ((places <= own) & there[:, None] | (places == own))[:, None]


@dataclass(frozen=True)
class GRUState(State):
    """What each layer holds."""

    hidden: Tensor  # (B, layers, dim)


class GRUEncoder(nn.Module):
    """Gated recurrent layers, with dropout between them and a norm at the end."""

    def __init__(self, settings: StreamSettings) -> None:
        super().__init__()
        self.settings = settings
        between = settings.dropout if settings.layers > 1 else 0.0
        self.gru = nn.GRU(settings.dim, settings.dim, settings.layers, batch_first=True, dropout=between)
        self.norm = nn.LayerNorm(settings.dim)

    def init_state(self, batch: int) -> GRUState:
        """Nothing read."""
        like = self.norm.weight
        return GRUState("GRU", like.new_zeros(batch, self.settings.layers, self.settings.dim))

    def forward(self, x: Tensor, state: GRUState | None = None, mask: Tensor | None = None) -> tuple[Tensor, GRUState]:
        """x (B, T, dim) -> (B, T, dim) and the state.

        InputError: padding that does not stand on the right, and as `CausalAttention`.
        """
        x = checked("A GRU", x, self.settings.dim, mask)
        if mask is not None and bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise InputError("A GRU reads every token; put the padding on the right.")
        state = state_or_first(state, self.init_state, len(x))
        y, hidden = self.gru(x, state.hidden.transpose(0, 1).contiguous())
        return self.norm(y), GRUState(state.layout, hidden.transpose(0, 1))

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One token (B, dim)."""
        require_token("A GRU", x, self.settings.dim)
        y, state = self(x[:, None], state)
        return y[:, 0], state


def positions(tokens: int, dim: int, *, first: int = 0) -> Tensor:
    """(T, dim) of sines and cosines of the place, as in Vaswani et al."""
    place = torch.arange(first, first + tokens)[:, None]
    even = torch.arange(0, dim, 2, dtype=torch.float32)
    turns = place * torch.exp(even * (-torch.log(torch.tensor(10_000.0, dtype=torch.float32)) / dim))
    return torch.stack([turns.sin(), turns.cos()], -1).flatten(1)[:, :dim]


def last_real(y: Tensor, mask: Tensor | None) -> Tensor:
    """(B, dim): each row's output at its last token that counts, y (B, T, dim)."""
    if mask is None:
        return y[:, -1]
    places = torch.arange(y.shape[1], device=y.device)
    return y[torch.arange(len(y), device=y.device), (mask * places).argmax(1)]
