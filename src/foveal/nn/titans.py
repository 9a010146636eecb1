"""Titans: a short attention and a neural memory, put together in four ways, none of which sees what is to come.

    lmm     memory alone
    mac     memory as context: what the memory recalls stands before a segment, attention reads both, and what it made
            of them is written
    mag     memory as gate: window attention beside memory
    mal     memory as layer: window attention over what the memory gives

Persistent vectors P, learned and the same for every input, come before the stream: memory reads them first, attention
sees them from everywhere.

Source    Behrouz, Zhong and Mirrokni, "Titans: Learning to Memorize at Test Time", 2025 (arXiv 2501.00663), section 4
Shapes    x (B, T, dim) -> (B, T, dim) and a state that does not grow
Causal    taken literally, the paper's MAC shows a segment's tokens what their successors recalled, and its gate reads
          what they wrote. Here token i of a segment sees recalled rows up to i, and its gate reads the memory as it is
          when rows up to i were written
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import as_it_is, checked, head_width, hidden, require_result, require_token, settings_of
from foveal.nn.memory_rule import Weights, through
from foveal.nn.neural_memory import MemoryDiverged, MemorySettings, MemoryState, NeuralMemory
from foveal.nn.norms import RMSNorm
from foveal.nn.states import State, require_state, state_or_first
from foveal.nn.window_attention import (
    WindowAttention,
    WindowSettings,
    WindowState,
    merged,
    rotated,
    softmax_over,
    turns,
)
from foveal.ranges import COUNT, NOT_NEGATIVE, require_one_of, require_settings

VARIANTS = ("lmm", "mac", "mag", "mal")


@dataclass(frozen=True, kw_only=True)
class TitansSettings:
    """How attention and memory are put together (Titans, section 4); checked when made.

    InputError: a value out of its range, or sizes that do not fit each other.
    """

    dim: int
    variant: Literal["lmm", "mac", "mag", "mal"] = "mag"
    heads: int = 4  # of attention; the memory has its own
    window: int = 64  # tokens: reach of mag and mal, segment of mac
    persistent: int = 4  # vectors; 0: none
    gate: Literal["sigmoid", "convex"] = "sigmoid"  # norm(y) sigmoid(norm(m)), or g y + (1 - g) m
    memory: Any = field(default_factory=dict)  # MemorySettings, or some of its fields

    def __post_init__(self) -> None:
        require_settings("Titans", self, dim=COUNT, heads=COUNT, window=COUNT, persistent=NOT_NEGATIVE)
        require_one_of("Titans", self, "variant", VARIANTS)
        require_one_of("Titans", self, "gate", ("sigmoid", "convex"))
        head_width("Titans", self.dim, self.heads)
        if isinstance(self.memory, Mapping):
            memory = settings_of("Titans.memory", MemorySettings, {"dim": self.dim, **self.memory})
            object.__setattr__(self, "memory", memory)
        if not isinstance(self.memory, MemorySettings):
            raise InputError(f"Titans got memory = {self.memory!r}; it needs MemorySettings, or some of its fields.")
        if self.memory.dim != self.dim:
            raise InputError(
                f"Titans got dim = {self.dim} and a memory of dim = {self.memory.dim}; they must be equal."
            )
        if self.variant == "mac" and self.window % self.memory.chunk:
            raise InputError(
                f"Titans mac got segments of {self.window} tokens and a memory of chunks of {self.memory.chunk}; whole "
                "chunks must fill a segment, so that it recalls from one state."
            )


@dataclass(frozen=True)
class MixedState(State):
    """Of memory and window attention."""

    memory: MemoryState
    window: WindowState


@dataclass(frozen=True)
class SegmentState(State):
    """Of mac: the memory now and at the segment's start, and keys and values of the segment so far."""

    memory: MemoryState
    start: Weights
    recalled: tuple[Tensor, Tensor]  # keys and values (B, H, segment, D)
    read: tuple[Tensor, Tensor]
    there: Tensor  # (B, segment) bool
    phase: int


class Gate(nn.Module):
    """Two streams (B, T, dim) -> one, each normalised by scales of its own."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        self.attended, self.remembered = RMSNorm(dim), RMSNorm(dim)
        self.mix = nn.Linear(2 * dim, dim) if kind == "convex" else None

    def forward(self, attended: Tensor, remembered: Tensor) -> Tensor:
        """norm(y) sigmoid(norm(m)), or the convex mix of both."""
        if self.mix is None:
            gated: Tensor = self.attended(attended) * torch.sigmoid(self.remembered(remembered))
            return gated
        share = torch.sigmoid(self.mix(torch.cat([attended, remembered], -1)))
        return share * attended + (1 - share) * remembered


class Titans(nn.Module):
    """What all variants share: persistent vectors, the memory, and the gated projection at the end."""

    def __init__(self, settings: TitansSettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        self.persistent = nn.Parameter(torch.randn(settings.persistent, settings.dim) * 0.02)
        self.memory = NeuralMemory(settings.memory)
        self.norm = RMSNorm(settings.dim)
        self.open = nn.Linear(settings.dim, settings.dim, bias=False)
        self.out = nn.Linear(settings.dim, settings.dim, bias=False)

    @property
    def layout(self) -> str:
        """What a state must be of."""
        return f"{self.settings.variant}, window {self.settings.window}"

    def _projected(self, y: Tensor, x: Tensor) -> Tensor:
        """W_o (norm(y) silu(W x)). MemoryDiverged: it is no number, as what the memory gave was too large for it."""
        projected: Tensor = self.out(self.norm(y) * F.silu(self.open(x)))
        if not (torch.compiler.is_compiling() or projected.is_meta) and bool(projected.isnan().any()):
            raise self._diverged()
        return projected

    def _diverged(self) -> MemoryDiverged:
        return MemoryDiverged(
            f"Titans {self.settings.variant} gives no numbers any more: what its memory recalls has grown too large. "
            "Give it normalised inputs, lower theta_max or the chunk, or set max_surprise."
        )

    def _remembered(self, batch: int) -> MemoryState:
        """A memory that has read the persistent vectors."""
        if not self.settings.persistent:
            return self.memory.init_state(batch)
        state: MemoryState = self.memory(self.persistent.expand(batch, -1, -1))[1]
        return state


class LMM(Titans):
    """Titans, the memory alone: x (B, T, dim) -> (B, T, dim) and a state of constant size.

    Behrouz, Zhong and Mirrokni, 2025 (arXiv 2501.00663), section 4.
    """

    def init_state(self, batch: int) -> MemoryState:
        """Before the first token: persistent vectors are read."""
        return self._remembered(batch)

    def forward(
        self, x: Tensor, state: MemoryState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, MemoryState]:
        """x (B, T, dim) -> (B, T, dim) and the state; where `mask` is False nothing is written."""
        x = checked("LMM", x, self.settings.dim, mask)
        y, state = self.memory(x, self.init_state(len(x)) if state is None else state, mask)
        return self._projected(y, x), state

    def step(self, x: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """One token (B, dim)."""
        y, state = self.memory.step(x, state)
        return self._projected(y, x), state


class _Beside(Titans):
    """A variant with window attention."""

    def __init__(self, settings: TitansSettings) -> None:
        super().__init__(settings)
        self.window = WindowAttention(WindowSettings(dim=settings.dim, heads=settings.heads, window=settings.window))

    def _checked(self, state: MixedState | None, rows: int) -> MixedState:
        if state is None:
            return self.init_state(rows)
        if not isinstance(state, MixedState) or state.layout != self.layout:
            require_state(state, self.init_state(1))  # what stands there is told in the words of all layers
        return state

    def init_state(self, batch: int) -> MixedState:
        """Before the first token."""
        raise NotImplementedError


class MAG(_Beside):
    """Titans, memory as gate: x (B, T, dim) -> (B, T, dim) and a state of constant size.

    Window attention, in which all tokens see the persistent vectors, times what is remembered. Behrouz, Zhong and
    Mirrokni, 2025 (arXiv 2501.00663), section 4.2.
    """

    def __init__(self, settings: TitansSettings) -> None:
        """As `Titans`."""
        super().__init__(settings)
        self.gate = Gate(settings.dim, settings.gate)

    def init_state(self, batch: int) -> MixedState:
        """Before the first token: the memory has read the persistent vectors."""
        return MixedState(self.layout, self._remembered(batch), self.window.init_state(batch))

    def forward(
        self, x: Tensor, state: MixedState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, MixedState]:
        """x (B, T, dim) -> (B, T, dim) and the state; what `mask` hides is neither seen nor written.

        But a memory's convolution sees it: pad on the right.
        """
        x = checked("MAG", x, self.settings.dim, mask)
        state = self._checked(state, len(x))
        y, window = self.window(x, state.window, mask, self._prefix)
        m, memory = self.memory(x, state.memory, mask)
        return self._projected(self.gate(y, m), x), MixedState(self.layout, memory, window)

    def step(self, x: Tensor, state: MixedState) -> tuple[Tensor, MixedState]:
        """One token (B, dim)."""
        state = self._checked(state, len(x))
        y, window = self.window.step(x, state.window, self._prefix)
        m, memory = self.memory.step(x, state.memory)
        return self._projected(self.gate(y, m), x), MixedState(self.layout, memory, window)

    @property
    def _prefix(self) -> Tensor | None:
        return self.persistent if self.settings.persistent else None


class MAL(_Beside):
    """Titans, memory as layer: x (B, T, dim) -> (B, T, dim) and a state of constant size.

    Window attention over what the memory gives; the stream begins with the persistent vectors. Behrouz, Zhong and
    Mirrokni, 2025 (arXiv 2501.00663), section 4.3.
    """

    def init_state(self, batch: int) -> MixedState:
        """Before the first token: memory and attention have seen the persistent vectors."""
        memory, window = self.memory.init_state(batch), self.window.init_state(batch)
        if self.settings.persistent:
            y, memory = self.memory(self.persistent.expand(batch, -1, -1), memory)
            window = self.window.look(y, window)[1]
        return MixedState(self.layout, memory, window)

    def forward(
        self, x: Tensor, state: MixedState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, MixedState]:
        """x (B, T, dim) -> (B, T, dim) and the state; what `mask` hides is neither seen nor written.

        But a memory's convolution sees it: pad on the right.
        """
        x = checked("MAL", x, self.settings.dim, mask)
        state = self._checked(state, len(x))
        m, memory = self.memory(x, state.memory, mask)
        y, window = self.window.look(m, state.window, mask)  # if it gives no numbers, m is what was too large
        return self._projected(y, x), MixedState(self.layout, memory, window)

    def step(self, x: Tensor, state: MixedState) -> tuple[Tensor, MixedState]:
        """One token (B, dim)."""
        state = self._checked(state, len(x))
        m, memory = self.memory.step(x, state.memory)
        y, window = self.window.look(m[:, None], state.window)
        return self._projected(y[:, 0], x), MixedState(self.layout, memory, window)


class MAC(Titans):
    """Titans, memory as context, segment by segment: x (B, T, dim) -> (B, T, dim) and a state of constant size.

    What the memory recalls stands before a segment, attention reads both, and what it made of them is written.
    Behrouz, Zhong and Mirrokni, 2025 (arXiv 2501.00663), section 4.1; made causal within a segment (see the module).
    """

    def __init__(self, settings: TitansSettings) -> None:
        """As `Titans`."""
        super().__init__(settings)
        inner = settings.memory.heads * settings.memory.width
        self.gate = Gate(settings.dim, settings.gate)
        self.ask = nn.Linear(settings.dim, inner, bias=False)
        self.attention = WindowAttention(WindowSettings(dim=settings.dim, heads=settings.heads, window=settings.window))

    def init_state(self, batch: int) -> SegmentState:
        """Before the first token; the memory is empty."""
        memory = self.memory.init_state(batch)
        width = self.settings.dim // self.settings.heads
        nothing = self.ask.weight.new_zeros(batch, self.settings.heads, self.settings.window, width)
        there = torch.zeros(batch, self.settings.window, dtype=torch.bool, device=nothing.device)
        pair = (nothing, nothing)
        return SegmentState(self.layout, memory, self.memory.weights(memory), pair, pair, there, 0)

    def forward(
        self, x: Tensor, state: SegmentState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, SegmentState]:
        """x (B, T, dim) -> (B, T, dim) and the state; what `mask` hides is neither seen nor written.

        But a memory's convolution sees it: pad on the right.
        """
        x = checked("MAC", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        sizes = _parted(x.shape[1], self.settings.window - state.phase, self.settings.window)
        given = []  # cut at once: a gradient of each cut by itself would be as long as the text
        for part, real in zip(torch.split(x, sizes, 1), torch.split(mask, sizes, 1), strict=True):
            attended, state = self._segment(part, state, real)
            m, memory = self.memory(attended, state.memory, real)
            given.append(self.gate(attended, m))
            state = self._written(state, memory)
        return self._projected(torch.cat(given, 1), x), state

    def step(self, x: Tensor, state: SegmentState) -> tuple[Tensor, SegmentState]:
        """One token (B, dim); the memory goes by its recurrence."""
        require_token("MAC", x, self.settings.dim)
        state = state_or_first(state, self.init_state, len(x))
        real = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        attended, state = self._segment(x[:, None], state, real)
        m, memory = self.memory.step(attended[:, 0], state.memory)
        return self._projected(self.gate(attended[:, 0], m), x), self._written(state, memory)

    def recall(self, x: Tensor, weights: Weights) -> Tensor:
        """What the memory, as it was at the segment's start, has for each token: (B, n, dim). Nothing is written."""
        s = self.settings.memory
        with as_it_is(x):
            queries = F.silu(self.ask(x.to(self.ask.weight.dtype)).to(weights[0].dtype))
            queries = F.normalize(queries.view(*x.shape[:2], s.heads, s.width).transpose(1, 2), dim=-1)
            recalled: Tensor = self.memory.out(merged(through(queries, weights)).to(self.ask.weight.dtype))
        return recalled

    def _segment(self, x: Tensor, state: SegmentState, mask: Tensor) -> tuple[Tensor, SegmentState]:
        """Attention of some tokens of a segment over P, what was recalled and what was read, up to each."""
        first, tokens = state.phase, x.shape[1]
        q, *read = self.attention.heads(x)
        _, *recalled = self.attention.heads(self.recall(x, state.start).to(x.dtype))
        recalled = [_put(old, new, first) for old, new in zip(state.recalled, recalled, strict=True)]
        read = [_put(old, new, first) for old, new in zip(state.read, read, strict=True)]
        there = torch.cat([state.there[:, :first], mask, state.there[:, first + tokens :]], 1)
        y = self._attend(q, recalled, read, there, first)
        if not (hidden(y) or bool(torch.isfinite(y).all())):
            self._blame(y, recalled, read)
        parts = (recalled[0], recalled[1]), (read[0], read[1])
        return y, SegmentState(self.layout, state.memory, state.start, *parts, there, first + tokens)

    def _blame(self, y: Tensor, recalled: list[Tensor], read: list[Tensor]) -> None:
        """Of attention y that is no number. InputError: the segment is too large; MemoryDiverged: what was recalled."""
        greatest, own = (torch.cat([one.flatten() for one in pair]).abs().max() for pair in (recalled, read))
        if not bool(greatest <= own):  # NaN, too
            raise self._diverged()
        require_result("Titans mac's attention", y)

    def _attend(self, q: Tensor, recalled: list[Tensor], read: list[Tensor], there: Tensor, first: int) -> Tensor:
        tokens, end = q.shape[2], first + q.shape[2]
        width = self.settings.dim // self.settings.heads
        angles = turns(end, width, q)
        keys = torch.cat([rotated(one[0][:, :, :end].to(q), angles) for one in (recalled, read)], 2)
        values = torch.cat([one[1][:, :, :end].to(q) for one in (recalled, read)], 2)
        order = torch.arange(end, device=q.device)
        visible = (order <= order[first:, None]) & there[:, None, None, :end]  # (B, 1, tokens, end)
        visible = torch.cat([visible, visible], -1)
        scores = rotated(q, angles[first:]) @ keys.mT * width**-0.5
        prefix = self.attention.heads(self.persistent[None])[1:] if self.settings.persistent else None
        q, scores, values, visible = (one[:, :, None] for one in (q, scores, values, visible))
        y = softmax_over(scores, values, visible, q, prefix, width**-0.5)
        attended: Tensor = self.attention.out(merged(y.view(*y.shape[:2], tokens, width)))
        return attended

    def _written(self, state: SegmentState, memory: MemoryState) -> SegmentState:
        """The state after the segment's tokens so far were written; a full segment begins the next."""
        if state.phase < self.settings.window:
            return replace(state, memory=memory)
        nowhere = torch.zeros_like(state.there)
        return replace(state, memory=memory, start=self.memory.weights(memory), there=nowhere, phase=0)


def _parted(tokens: int, first: int, each: int) -> list[int]:
    """The sizes of parts of that many tokens: the first, then all alike, and what is left."""
    ends = [*range(first, tokens, each), tokens]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _put(old: Tensor, new: Tensor, first: int) -> Tensor:
    """`old` (B, H, n, D) with `new` from place `first` on."""
    return torch.cat([old[:, :, :first], new.to(old.dtype), old[:, :, first + new.shape[2] :]], 2)
