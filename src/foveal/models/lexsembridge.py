"""LexSemBridge's bridge: a positive vector made of a text's own units, by which its embedding is multiplied.

    w (V)    lexical weights, all >= 0, of the units (tokens or words) of a text, by one of three methods
    SLR      present or not: s for each unit that is there (variant "paper": log 2)
    LLR      learnt: the highest ReLU(a . h_j + a0) of a unit's places j ("paper": log(1 + ReLU(e U + b)) for all units)
    CLR      log(1 + ReLU(z)), z the logits of a masked-language head at the first token: also units that are not there
    v = softmax(W w + c)  (d)        e_hat = e * v / |e * v|

Shapes    vectors e (B, d); ids (B, L), -1 where a place holds no unit; states h (B, L, d); W is stored as (V, d)
Source    Zhan et al., 2025, arXiv 2508.17858, and its code (variant "code"); the two differ in LLR and in a logarithm
Speed     SLR and LLR take a sum of at most L rows of W, and compare L units with each other: nothing of size B x V or
          B x L x V is ever made. CLR and LLR's paper form multiply (B, V) by (V, d)
Shared    by search (retrieval/lexsembridge.py) and training (training/lexsembridge.py)

A unit whose row of W is 0 changes nothing, so rows begin at 0: a unit that nothing was learnt of is neutral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, gelu, linear, normalize

from foveal.errors import InputError, UnknownName

METHODS = ("SLR", "LLR", "CLR")
VARIANTS = ("code", "paper")


@dataclass(frozen=True, kw_only=True)
class BridgeSettings:
    """What the bridge does; the defaults are the paper's."""

    method: str = "SLR"
    variant: str = "code"  # of SLR and LLR; CLR has one form
    fuse_query: bool = True
    fuse_passage: bool = False  # True needs a new index
    scale: float = 1.0  # what SLR's s begins with
    vocabulary_filter: bool = False  # units that are there weigh as much as the heaviest one
    ignore_special_tokens: bool = True  # False: of SLR and CLR; LLR weighs them in no case, as the published code
    reach: float | None = None  # most that log v may spread over its d numbers (standard deviation); the paper: None
    rank: int | None = None  # W = A B with so many columns of A; None: all of W

    def __post_init__(self) -> None:
        for kind, value, known in (("method", self.method, METHODS), ("variant", self.variant, VARIANTS)):
            if value not in known:
                raise UnknownName(f"LexSemBridge has no {kind} {value!r}. There are: {', '.join(known)}.")
        if not 0 <= self.scale < math.inf or (self.reach is not None and not 0 < self.reach < math.inf):
            raise InputError(
                f"LexSemBridge got scale={self.scale}, reach={self.reach}; it needs a scale of 0 or more, and a reach "
                "above 0 or None."
            )
        if self.rank is not None and self.rank < 1:
            raise InputError(f"LexSemBridge got rank={self.rank}; it needs at least 1, or None for all of W.")

    @property
    def sparse(self) -> bool:
        """Whether only units that are there have weights."""
        return self.method == "SLR" or (self.method == "LLR" and self.variant == "code")

    @property
    def needs_states(self) -> bool:
        """Whether hidden states are read, so that only encoders that give them will do."""
        return self.method == "CLR" or (self.method == "LLR" and self.variant == "code")


@dataclass(frozen=True)
class Reading:
    """What the bridge is told of B texts."""

    vectors: Tensor  # (B, d)
    ids: Tensor  # (B, L), long; -1: no unit
    states: Tensor | None = None  # (B, L, d), for LLR
    first: Tensor | None = None  # (B, d), the state of the first token, for CLR


class MaskedHead(nn.Module):
    """A masked-language head: states (B, d) -> logits (B, V), by dense, GELU, layer norm, words and bias."""

    words: Tensor

    def __init__(self, words: Tensor, *, eps: float = 1e-12) -> None:
        """Begun at nothing learnt: the dense layer passes its input on. `words` (V, d) stay as they are."""
        super().__init__()
        vocabulary, width = words.shape
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer("words", words.detach().float().clone())
        with torch.no_grad():
            self.dense.weight.copy_(torch.eye(width))
            self.dense.bias.zero_()

    def forward(self, states: Tensor) -> Tensor:
        return linear(self.norm(gelu(self.dense(states.float()))), self.words, self.bias)


class Bridge(nn.Module):
    """W (V, d), c (d), and what the method has besides; `forward` multiplies and scales to unit length."""

    ignored: Tensor

    def __init__(
        self,
        size: int,
        dimension: int,
        settings: BridgeSettings | None = None,
        *,
        special: tuple[int, ...] = (),
        head: MaskedHead | None = None,
    ) -> None:
        """`size` units; those of `special` get no weight. InputError: CLR without a head, or one of another size."""
        super().__init__()
        self.settings = settings = settings or BridgeSettings()
        self.size, self.dimension = size, dimension
        if (settings.method == "CLR") != (head is not None):
            raise InputError(
                f"CLR needs a masked-language head and {', '.join(METHODS[:2])} need none; {settings.method} got "
                f"{'one' if head else 'none'}. An encoder without one can be given a fresh one: init_mlm_head=True."
            )
        if head is not None and tuple(head.words.shape) != (size, dimension):
            raise InputError(
                f"The masked-language head is for {head.words.shape[0]:,} tokens of {head.words.shape[1]} numbers; W "
                f"has {size:,} of {dimension}. CLR's units must be the encoder's own tokens."
            )
        self.head = head
        rows = settings.rank
        self.weight = nn.Parameter(torch.zeros(size, rows or dimension))  # (V, d), or A (V, r) with B below
        self.mix = nn.Parameter(torch.empty(rows, dimension)) if rows else None
        if self.mix is not None:  # from a generator of its own: two bridges begin alike
            nn.init.normal_(self.mix, std=dimension**-0.5, generator=torch.Generator().manual_seed(0))
        self.bias = nn.Parameter(torch.zeros(dimension))  # c
        without = settings.ignore_special_tokens or settings.method == "LLR"
        self.register_buffer("ignored", torch.tensor(special if without else (), dtype=torch.long))
        self.scale = self.place = None
        self.summary: Any = None
        of_code = settings.variant == "code"
        if settings.method == "SLR" and of_code:
            self.scale = nn.Parameter(torch.tensor(float(settings.scale)))
        elif settings.method == "LLR" and of_code:
            self.place = nn.Linear(dimension, 1)
            with torch.no_grad():  # each place begins with the weight 1, so that LLR begins as SLR
                self.place.weight.zero_()
                self.place.bias.fill_(1.0)
        elif settings.method == "LLR":
            self.summary = nn.Linear(dimension, size)
            nn.init.normal_(self.summary.weight, std=0.02, generator=torch.Generator().manual_seed(0))
            nn.init.zeros_(self.summary.bias)

    def forward(self, reading: Reading) -> Tensor:
        """Unit vectors (B, d), float32."""
        return fused(reading.vectors, self.enhancement(reading))

    def enhancement(self, reading: Reading) -> Tensor:
        """v (B, d): above 0, rows of sum 1. InputError: vectors of another width, ids beyond W, or states that lack."""
        self.check(reading)
        settings = self.settings
        if settings.sparse:
            ids = self._kept(reading.ids)
            there = self._there(ids, reading)
            mixed = embedding_bag(ids.clamp(min=0), self.weight, mode="sum", per_sample_weights=there)
        else:
            mixed = self.weights(reading) @ self.weight
        logits = (mixed if self.mix is None else mixed @ self.mix) + self.bias
        return torch.softmax(logits if settings.reach is None else bounded(logits, settings.reach), dim=-1)

    def weights(self, reading: Reading) -> Tensor:
        """w (B, V), all of it; for SLR and LLR mostly zeros, which `enhancement` does without."""
        ids = self._kept(reading.ids)
        if self.settings.sparse:
            there = self._there(ids, reading)
            return there.new_zeros(len(ids), self.size).scatter_add(1, ids.clamp(min=0), there)
        raw = (
            self.head(_given(reading.first, "CLR")) if self.head is not None else self.summary(reading.vectors.float())
        )
        made: Tensor = torch.log1p(raw.relu()).index_fill(1, self.ignored, 0.0)
        if not self.settings.vocabulary_filter:
            return made
        first = first_of_its_kind(ids, ids[:, :, None] == ids[:, None, :])
        own = torch.zeros_like(made).scatter_add(1, ids.clamp(min=0), first.to(made))
        return torch.where(own > 0, made.amax(dim=1, keepdim=True), made)

    def _there(self, ids: Tensor, reading: Reading) -> Tensor:
        """The weights (B, L) of the units at their first places, 0 elsewhere: SLR's and LLR's w without its zeros."""
        same = ids[:, :, None] == ids[:, None, :]
        first = first_of_its_kind(ids, same)
        if self.place is not None:
            there = highest_of_its_kind(same, self.places(reading)) * first
        else:
            one = self.scale if self.scale is not None else self.bias.new_tensor(math.log(2.0))
            there = one.relu() * first
        return there.amax(dim=1, keepdim=True) * first if self.settings.vocabulary_filter else there

    def places(self, reading: Reading) -> Tensor:
        """What LLR has learnt of each place (B, L), 0 or more. InputError: the reading holds no states."""
        assert self.place is not None
        said: Tensor = self.place(_given(reading.states, "LLR").float())
        return said.squeeze(-1).float().relu()  # in mixed precision the layer says it in bfloat16; W is in float32

    def _kept(self, ids: Tensor) -> Tensor:
        """The ids without those that get no weight; a place at least, so that sums have something to run over."""
        if not ids.shape[1]:
            return ids.new_full((len(ids), 1), -1)
        return ids.masked_fill(torch.isin(ids, self.ignored), -1) if len(self.ignored) else ids

    def check(self, reading: Reading) -> None:
        """InputError: vectors of another width, or ids beyond W."""
        if reading.vectors.ndim != 2 or reading.vectors.shape[1] != self.dimension:
            raise InputError(
                f"The bridge is for vectors of {self.dimension} numbers; it got {tuple(reading.vectors.shape)}."
            )
        if reading.ids.numel() and int(reading.ids.max()) >= self.size:
            raise InputError(
                f"The bridge knows {self.size:,} units, but got number {int(reading.ids.max()):,}: the vocabulary is "
                "another one than W was made for. Load the bridge with its own encoder and words."
            )


def fused(vectors: Tensor, enhancement: Tensor) -> Tensor:
    """e * v / |e * v| in float32, in which the small products of half precision would vanish: (B, d)."""
    return normalize(vectors.float() * enhancement.float() * vectors.shape[-1], dim=-1)


def bounded(logits: Tensor, reach: float) -> Tensor:
    """Each row (B, d) drawn together so that its standard deviation is at most `reach`; its mean is taken out."""
    centred = logits.float() - logits.float().mean(dim=-1, keepdim=True)
    spread: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / logits.shape[-1] ** 0.5
    drawn: Tensor = centred * (reach / spread.clamp(min=reach))
    return drawn


def least_cosine(enhancement: Tensor) -> Tensor:
    """What cos(e, e * v) is at least, whatever e is (Kantorovich's inequality): 2 sqrt(m M) / (m + M), (B,)."""
    low, high = enhancement.amin(dim=-1), enhancement.amax(dim=-1)
    return 2 * (low * high).sqrt() / (low + high)


def first_of_its_kind(ids: Tensor, same: Tensor) -> Tensor:
    """Which places (B, L) hold a unit that stands nowhere before in their row; -1 is none. `same` (B, L, L)."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return (same.view(torch.uint8).argmax(dim=2) == places) & (ids >= 0)


def highest_of_its_kind(same: Tensor, values: Tensor) -> Tensor:
    """The highest of the values (B, L), all of 0 or more, over the places that hold the same unit: (B, L)."""
    return torch.where(same, values[:, None, :], 0.0).amax(dim=2)


def _given(states: Tensor | None, method: str) -> Tensor:
    if states is None:
        raise InputError(f"{method} reads the encoder's hidden states, but the reading holds none of them.")
    return states
