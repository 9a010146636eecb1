"""A neural memory: a small network whose weights learn, while it reads, to give back what was read.

    memory = NeuralMemory(MemorySettings(dim=128, heads=4, depth=2))
    y, state = memory(x)                     # x (B, T, dim): each token is written, then read
    y, state = memory(more, state)           # the stream goes on; `step` takes one token at a time
    y, state, told = memory.surprising(x)    # what was surprising, token by token

Source    Behrouz, Zhong and Mirrokni, "Titans: Learning to Memorize at Test Time", 2025 (arXiv 2501.00663)
Shapes    x (B, T, dim) -> y (B, T, dim); per head the memory is an MLP of `depth` layers from dim_head to dim_head
Chunks    gradients of a chunk are taken at the weights held at its start; decay and momentum run per token; chunk = 1
          is the plain recurrence. Chunks are counted from the stream's first token, wherever it is cut
Needs     the weights around it (projections, gates, first weights) trained by the task, through the writing
Against   attention keeps every token; here the state is `depth` matrices a head, and old content is forgotten
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import FovealError
from foveal.nn.convolution import CausalConvolution
from foveal.nn.inputs import as_it_is, checked, head_width, require_token
from foveal.nn.memory_rule import (
    Carried,
    Decays,
    Gates,
    Weights,
    carry,
    read_chunk,
    surprise,
    through,
    write_token,
)
from foveal.nn.states import State, state_or_first
from foveal.ranges import COUNT, NOT_NEGATIVE, POSITIVE, require_one_of, require_settings

THETA_SHARE, ETA, ALPHA = 0.5, 0.2, 0.005
"""What the gates give before any training: half of theta_max, eta, alpha."""


class MemoryDiverged(FovealError):
    """The weights of a memory are no numbers any more."""


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """A memory's shape and rule; defaults are the paper's where it gives them.

    Checked when made. InputError: a value out of its range.
    """

    dim: int
    heads: int = 4
    dim_head: int | None = None  # None: dim / heads
    depth: int = 2  # layers of the memory, 1 to 4 in the paper
    expansion: float | None = None  # hidden width over dim_head; None: 4, or 2 for heads of up to 32
    chunk: int = 16  # tokens whose gradients are taken at the same weights
    conv_kernel: int = 4  # tokens that keys, values and queries are mixed from; 0: the token alone
    momentum: bool = True
    decay: bool = True
    decay_to: Literal["init", "zero"] = "init"  # the paper forgets towards 0, which kills a deep memory
    theta_max: float = 0.1  # greatest step; stable for sure only while 2 theta chunk / (1 - eta) < 2
    max_surprise: float | None = None  # longer errors are shortened to this norm before they are written
    read: Literal["after", "before"] = "after"  # a token is read after it was written, or before
    on_nonfinite: Literal["error", "reset"] = "error"  # when a memory has diverged; reset: it begins anew, and the
    # tokens of that call read it without writing

    def __post_init__(self) -> None:
        require_settings(
            "NeuralMemory", self, dim=COUNT, heads=COUNT, dim_head=COUNT, depth=COUNT, chunk=COUNT,
            conv_kernel=NOT_NEGATIVE, expansion=POSITIVE, theta_max=POSITIVE, max_surprise=POSITIVE,
        )  # fmt: skip
        require_one_of("NeuralMemory", self, "decay_to", ("init", "zero"))
        require_one_of("NeuralMemory", self, "read", ("after", "before"))
        require_one_of("NeuralMemory", self, "on_nonfinite", ("error", "reset"))
        if self.dim_head is None:
            head_width("NeuralMemory", self.dim, self.heads)

    @property
    def width(self) -> int:
        """Of one head."""
        return self.dim_head or self.dim // self.heads

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer of the memory."""
        hidden = max(1, round(self.width * (self.expansion or (2 if self.width <= 32 else 4))))
        widths = [self.width, *[hidden] * (self.depth - 1), self.width]
        return [(after, before) for before, after in pairwise(widths)]


@dataclass(frozen=True)
class MemoryState(State):
    """How far the weights are from their rest, now and at the chunk's start, and what they go on by."""

    drift: Weights  # (B, H, out, in) a layer
    momentum: Weights
    base: Weights  # the drift at the chunk's start
    tail: Tensor  # the convolution's last inputs
    phase: int  # tokens of the chunk so far


@dataclass(frozen=True)
class Told:
    """What a memory thought of tokens: the loss before each was written, and the step that it took; (B, H, T)."""

    loss: Tensor
    theta: Tensor


class NeuralMemory(nn.Module):
    """A network per head that learns while it reads: x (B, T, dim) -> y (B, T, dim) and its weights, the state.

    The long-term memory of Titans (Behrouz, Zhong and Mirrokni, 2025, arXiv 2501.00663, section 3).

    `updates` can be switched off: then nothing is written, and the first weights are read as a plain network.
    """

    undecayed = ("initial",)  # by weight decay in training: what is forgotten towards would itself be drawn to 0

    def __init__(self, settings: MemorySettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings, self.updates = settings, True
        heads, inner = settings.heads, settings.heads * settings.width
        self.project = nn.Linear(settings.dim, 3 * inner, bias=False)
        self.convolution = CausalConvolution(3 * inner, settings.conv_kernel)
        self.gates = nn.Linear(settings.dim, 3 * heads)
        self.initial = nn.ParameterList(
            torch.randn(heads, *shape) * shape[1] ** -0.5 for shape in settings.shapes
        )  # unit keys then leave the hidden layers with a norm near 1, which keeps a step of 0.05 stable
        self.out = nn.Identity() if inner == settings.dim else nn.Linear(inner, settings.dim, bias=False)
        with torch.no_grad():
            self.gates.weight.mul_(0.1)
            starts = torch.tensor([THETA_SHARE, ETA, ALPHA]).logit()
            self.gates.bias.copy_(starts.repeat_interleave(heads))

    # -- states ---------------------------------------------------------------------------------------------------

    @property
    def layout(self) -> str:
        """What a state must be of."""
        s = self.settings
        return (
            f"memory of {s.heads} heads, {s.shapes}, chunk {s.chunk}, kernel {s.conv_kernel}, momentum {s.momentum}, "
            f"decay to {s.decay_to}"  # what a drift is counted from
        )

    def init_state(self, batch: int) -> MemoryState:
        """The state before the first token."""
        first = tuple(one.to(self._dtype).expand(batch, *one.shape) for one in self.initial)
        zeros = tuple(torch.zeros_like(one) for one in first)
        drift = zeros if self.settings.decay_to == "init" else first
        tail = self.convolution.init_tail(batch, first[0])
        return MemoryState(self.layout, drift, zeros if self.settings.momentum else (), drift, tail, 0)

    def weights(self, state: MemoryState, *, at_chunk_start: bool = False) -> Weights:
        """The memory's weights (B, H, out, in), layer by layer: what `state` has learnt."""
        return Carried(state.base if at_chunk_start else state.drift, ()).weights(self._rest)

    @property
    def _dtype(self) -> torch.dtype:
        """Of state and arithmetic: float32, unless the weights are float64."""
        return torch.float64 if self.initial[0].dtype == torch.float64 else torch.float32

    @property
    def _rest(self) -> Weights:
        """I: what is forgotten towards, (H, out, in) a layer."""
        rest = tuple(one.to(self._dtype) for one in self.initial)
        return rest if self.settings.decay_to == "init" else tuple(torch.zeros_like(one) for one in rest)

    # -- reading and writing --------------------------------------------------------------------------------------

    def forward(
        self, x: Tensor, state: MemoryState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, MemoryState]:
        """x (B, T, dim) -> y (B, T, dim) and the state; tokens where `mask` is False read, and write nothing.

        InputError: wrong shapes, tokens that are no numbers, or a state of another memory. MemoryDiverged: weights that
        became no numbers.
        """
        y, state, _ = self.surprising(x, state, mask)
        return y, state

    def surprising(
        self, x: Tensor, state: MemoryState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, MemoryState, Told]:
        """As `forward`, with what the memory thought of each token."""
        x = checked("NeuralMemory", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        read = self._heads(x, state.tail, mask)
        with as_it_is(x):
            y, after, told = self._over_chunks(*read, state)
        if (lost := self._lost(after, y, mask)) is not None:
            return self.surprising(x, *self._anew(lost, state, mask, x))
        return self._given(y, x), after, told

    def step(self, x: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """One token (B, dim), by the recurrence itself."""
        require_token("NeuralMemory", x, self.settings.dim)
        state = state_or_first(state, self.init_state, len(x))
        queries, keys, values, gates, tail = self._heads(x[:, None], state.tail, None)
        with as_it_is(x):
            told = surprise(keys, values, self.weights(state, at_chunk_start=True), self.settings.max_surprise)
            carried = write_token(Carried(state.drift, state.momentum), told, gates.at(0))
            phase = (state.phase + 1) % self.settings.chunk
            base = state.base if phase else carried.drift
            after = MemoryState(state.layout, carried.drift, carried.momentum, base, tail, phase)
            y = through(queries, self.weights(after if self.settings.read == "after" else state))
        if (lost := self._lost(after, y, None)) is not None:
            y, after = self(x[:, None], *self._anew(lost, state, None, x[:, None]))
            return y[:, 0], after
        return self._given(y, x[:, None])[:, 0], after

    def _heads(self, x: Tensor, tail: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Gates, Tensor]:
        """Queries, keys, values (B, H, T, D), gates (B, H, T) and the convolution's next tail."""
        mixed, tail = self.convolution(self.project(x), tail)
        parts = F.silu(mixed.to(self._dtype)).view(*x.shape[:2], 3, self.settings.heads, self.settings.width)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        return F.normalize(queries, dim=-1), F.normalize(keys, dim=-1), values, self._gates(x, mask), tail

    def _gates(self, x: Tensor, mask: Tensor | None) -> Gates:
        told = self.gates(x).to(self._dtype).sigmoid().view(*x.shape[:2], 3, self.settings.heads).permute(2, 0, 3, 1)
        theta, eta, alpha = told
        active = torch.ones_like(theta) if self.updates else torch.zeros_like(theta)
        if mask is not None:
            active = active * mask[:, None]
        return Gates.of(
            self.settings.theta_max * theta, eta, alpha if self.settings.decay else torch.zeros_like(alpha), active
        )

    def _over_chunks(
        self, queries: Tensor, keys: Tensor, values: Tensor, gates: Gates, tail: Tensor, state: MemoryState
    ) -> tuple[Tensor, MemoryState, Told]:
        """Chunk by chunk; idle tokens stand for those of the first chunk that are past, and fill the last."""
        tokens, front = queries.shape[2], state.phase
        chunk = min(self.settings.chunk, front + tokens)
        count = -(-(front + tokens) // chunk)
        room = (front, count * chunk - front - tokens)
        chunks = (_chunks(one, count, (0, 0, *room)).unbind(2) for one in (queries, keys, values))
        padded = Gates(*(_chunks(F.pad(g, room, value=idle), count) for g, idle in _idle(gates)))
        decays = Decays.of(padded, momentum=self.settings.momentum)
        lasting = decays.each(count)
        seen = lasting if self.settings.read == "after" else decays.before().each(count)
        carried, base, rest, read, losses = Carried(state.drift, state.momentum), state.base, self._rest, [], []
        for place, (q, k, v, over, before) in enumerate(zip(*chunks, lasting, seen, strict=True)):
            told = surprise(k, v, Carried(base, ()).weights(rest), self.settings.max_surprise)
            read.append(read_chunk(q, carried, rest, told, before))
            losses.append(told.loss)
            carried = carry(carried, told, over)
            full = chunk == self.settings.chunk and (place + 1) * chunk <= front + tokens
            base = carried.drift if full else base
        phase = (front + tokens) % self.settings.chunk
        y, loss = torch.cat(read, 2)[:, :, front : front + tokens], torch.cat(losses, 2)[:, :, front : front + tokens]
        return y, MemoryState(state.layout, carried.drift, carried.momentum, base, tail, phase), Told(loss, gates.theta)

    def _given(self, y: Tensor, x: Tensor) -> Tensor:
        """Heads (B, H, T, D) put together, as (B, T, dim) in the type of x."""
        given: Tensor = self.out(y.transpose(1, 2).flatten(2).to(x.dtype))
        return given

    def _lost(self, state: MemoryState, y: Tensor, mask: Tensor | None) -> Tensor | None:
        """Rows (B,) whose memory holds, or gives, what is no number; None: none. MemoryDiverged: it may not be reset.

        Not asked inside torch.compile, which it would cut in two, nor on "meta".
        """
        parts = (*state.drift, y)
        if torch.compiler.is_compiling() or y.is_meta or all(bool(torch.isfinite(one).all()) for one in parts):
            return None
        lost = torch.stack([~torch.isfinite(one).flatten(1).all(1) for one in parts])  # (layers + 1, B)
        wrote = lost.any(0) if mask is None else lost.any(0) & mask.any(1)
        if self.settings.on_nonfinite == "reset" and torch.equal(wrote, lost.any(0)):  # else it is lost unwritten
            return wrote
        layer, row = lost.nonzero()[0].tolist()
        what = f"layer {layer}" if layer < len(state.drift) else "output"
        raise MemoryDiverged(
            f"The memory's {what} of row {row} holds no numbers any more. Give it normalised inputs, lower theta_max "
            f"({self.settings.theta_max}) or the chunk ({self.settings.chunk}), set max_surprise, or "
            "on_nonfinite='reset'."
        )

    def _anew(self, lost: Tensor, state: MemoryState, mask: Tensor | None, x: Tensor) -> tuple[MemoryState, Tensor]:
        """Where lost rows go on from, and the mask by which they write nothing: neither output nor gradient is lost."""
        fresh = state.reset(lost.nonzero()[:, 0].tolist(), self.init_state(state.batch))
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        return fresh, mask & ~lost[:, None]


def _chunks(x: Tensor, count: int, room: tuple[int, ...] | None = None) -> Tensor:
    """(B, H, n, …) -> (B, H, chunks, b, …), after zeros were put around it."""
    x = x if room is None else F.pad(x, room)
    return x.reshape(*x.shape[:2], count, -1, *x.shape[3:])


def _idle(gates: Gates) -> list[tuple[Tensor, float]]:
    return [(gates.theta, 0.0), (gates.eta, 1.0), (gates.alpha, 0.0), (gates.active, 0.0)]
