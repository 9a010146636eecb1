"""A query that looks at what is happening: its tokens attend to those of a few events, through a gate.

Shapes     query states Q (B, n, d), event states V (B, m, d), the tokens of all events of a query one after the other;
           age in days, burst and similarity (B, m, 3) of the event that a token belongs to  ->  states (B, n, d)
Formulas   C = softmax((Q W_q)(V W_k)^T / sqrt(d / h) + bias) (V W_v) W_o
           bias = -delta age + beta ln(1 + burst) + gamma similarity, by which the event was matched with the query
           g = sigmoid(W_g [Q; C] + b_g),   Q~ = LayerNorm(Q + g * C),   then a feed-forward layer with a residual
           the query's vector is the mean over its tokens, projected where asked for, of unit length
No event   C is 0 and the block is left out: the states are Q itself, and the vector is the plain encoder's, bit by bit
Beginning  W_q, W_k, W_v, W_o are the identity, W_g is 0 with b_g = 1, the feed-forward layer adds 0: it then adds
           most of the tokens of the event that fits best
Source     Yang et al., 2023, arXiv 2312.00372: cross-attention between query and event (its abstract; the bias, the
           gate and the beginning are ours)
Against    concatenation puts the event's words beside the query's with nothing to weigh them by
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from foveal.errors import InputError


@dataclass(frozen=True, slots=True)
class EventText:
    """An event as a query sees it."""

    text: str  # its phrase
    age_days: float = 0.0  # since its last item, at the time of the query
    burst: float = 0.0
    id: str = ""
    similarity: float = 0.0  # with the query, by which it was matched
    documents: tuple[str, ...] = ()  # that report it, the newest first; only training looks at these


@dataclass(frozen=True, kw_only=True)
class EventAttentionSettings:
    """The form of the block."""

    heads: int = 6
    events: int = 5  # of a query; 1: a single event, as the paper has it
    gate: bool = True  # without: g = 1
    age: float = 0.05  # what delta begins with, per day
    burst: float = 0.1  # what beta begins with
    match: float = 20.0  # what gamma begins with: a lead of 0.05 in similarity is 2.7 times the attention
    feed_forward: int = 2  # width of the feed-forward layer, in d
    projection: int | None = None  # numbers of the query's and the documents' vectors; None: d
    query_tokens: int = 32  # that are read, special ones included
    event_tokens: int = 48  # of each event

    def __post_init__(self) -> None:
        if min(self.heads, self.events, self.feed_forward) < 1 or min(self.query_tokens, self.event_tokens) < 3:
            raise InputError(
                f"Event attention got heads={self.heads}, events={self.events}, feed_forward={self.feed_forward}, "
                f"query_tokens={self.query_tokens}, event_tokens={self.event_tokens}; it needs at least 1, 1, 1, 3, 3."
            )
        if self.projection is not None and self.projection < 1:
            raise InputError(f"Event attention got projection={self.projection}; it needs at least 1, or None.")


@dataclass(frozen=True)
class EventStates:
    """The events of B queries: states (B, m, d), which tokens count (B, m), and each token's `facts_of` (B, m, 3)."""

    states: Tensor
    mask: Tensor
    facts: Tensor


def facts_of(event: EventText) -> tuple[float, float, float]:
    """What the bias is made of: age in days, burst, similarity."""
    return event.age_days, event.burst, event.similarity


class EventAttention(nn.Module):
    """The block, and what comes after it."""

    def __init__(self, dimension: int, settings: EventAttentionSettings | None = None) -> None:
        """InputError: the heads do not divide the dimension."""
        super().__init__()
        self.settings = settings = settings or EventAttentionSettings()
        if dimension % settings.heads:
            raise InputError(f"{settings.heads} heads do not divide {dimension} numbers; take a divisor.")
        self.dimension = dimension
        self.query, self.key, self.value, self.out = (nn.Linear(dimension, dimension, bias=False) for _ in range(4))
        self.kind = nn.Parameter(torch.zeros(2, dimension))  # what tells a query's tokens from an event's
        self.gate = nn.Linear(2 * dimension, dimension) if settings.gate else None
        self.age = nn.Parameter(torch.tensor(float(settings.age)))  # delta
        self.burst = nn.Parameter(torch.tensor(float(settings.burst)))  # beta
        self.match = nn.Parameter(torch.tensor(float(settings.match)))  # gamma
        self.norm = nn.LayerNorm(dimension)
        wide = settings.feed_forward * dimension
        self.up, self.down = nn.Linear(dimension, wide), nn.Linear(wide, dimension)
        self.project = nn.Linear(dimension, settings.projection, bias=False) if settings.projection else None
        self._begin()

    def _begin(self) -> None:
        generator = torch.Generator().manual_seed(0)  # its own: two blocks begin alike
        with torch.no_grad():
            for layer in (self.query, self.key, self.value, self.out):
                layer.weight.copy_(torch.eye(self.dimension))
            nn.init.normal_(self.up.weight, std=0.02, generator=generator)
            nn.init.zeros_(self.up.bias)
            nn.init.zeros_(self.down.weight)
            nn.init.zeros_(self.down.bias)
            if self.gate is not None:
                nn.init.zeros_(self.gate.weight)
                nn.init.constant_(self.gate.bias, 1.0)
            if self.project is not None:
                nn.init.orthogonal_(self.project.weight, generator=generator)

    def forward(self, queries: Tensor, events: EventStates) -> Tensor:
        """States (B, n, d) of the queries that looked at their events; those without any are as they were."""
        there = events.mask.any(dim=1)
        if not bool(there.any()):
            return queries
        seen = self._looked(queries, events)
        return torch.where(there[:, None, None], seen, queries)

    def attention(self, queries: Tensor, events: EventStates) -> Tensor:
        """Weights (B, h, n, m) over the events' tokens; rows sum to 1, or are 0 for a query without events."""
        q, k = self._heads(self.query(queries + self.kind[0])), self._heads(self.key(events.states + self.kind[1]))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.dimension / self.settings.heads)
        ages, bursts, similar = events.facts.unbind(-1)
        bias = -self.age * ages + self.burst * torch.log1p(bursts) + self.match * similar
        scores = scores + bias[:, None, None]
        weights = torch.softmax(scores.masked_fill(~events.mask[:, None, None], -torch.inf), dim=-1)
        return weights.nan_to_num(0.0)

    def vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """States (B, n, d) and which tokens count -> unit vectors of the means: (B, d), or the projection's width."""
        counts = mask[:, :, None].float()
        return self.documents((states.float() * counts).sum(1) / counts.sum(1).clamp(min=1))

    def documents(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, d) of documents, which see no event, as unit vectors in the queries' space."""
        return normalize(pooled.float() if self.project is None else self.project(pooled.float()), dim=-1)

    def _looked(self, queries: Tensor, events: EventStates) -> Tensor:
        weights = self.attention(queries, events)
        values = weights @ self._heads(self.value(events.states))
        seen = self.out(values.transpose(1, 2).flatten(2))
        if self.gate is not None:
            seen = torch.sigmoid(self.gate(torch.cat([queries, seen], dim=-1))) * seen
        fused = self.norm(queries + seen)
        found: Tensor = fused + self.down(gelu(self.up(fused)))
        return found

    def _heads(self, states: Tensor) -> Tensor:
        batch, length, width = states.shape
        return states.view(batch, length, self.settings.heads, width // self.settings.heads).transpose(1, 2)


def joined(parts: Sequence[Sequence[tuple[Tensor, EventText]]], dimension: int) -> EventStates:
    """For each query its events' states (tokens, d), put one after the other and filled up."""
    lengths = [sum(len(states) for states, _ in one) for one in parts]
    shape = (len(parts), max([1, *lengths]))
    device = next((states.device for one in parts for states, _ in one), torch.device("cpu"))
    mask = torch.arange(shape[1], device=device) < torch.tensor(lengths, device=device)[:, None]
    rows, facts = [], torch.zeros(*shape, 3, dtype=torch.float32, device=device)
    for number, one in enumerate(parts):
        at = 0
        for states, event in one:
            facts[number, at : at + len(states)] = facts.new_tensor(facts_of(event))
            at += len(states)
        padding = facts.new_zeros(shape[1] - at, dimension)
        rows.append(torch.cat([*(states.float() for states, _ in one), padding]))
    return EventStates(torch.stack(rows) if rows else facts.new_zeros(*shape, dimension), mask, facts)


def settings_of(stored: Mapping[str, object]) -> EventAttentionSettings:
    """Settings that were written as plain values."""
    return EventAttentionSettings(**stored)  # type: ignore[arg-type]
