"""Aaren: attention whose output is brought up to date with each new token in constant time and memory.

    layer = Aaren(AarenSettings(dim=128, heads=4))
    y, state = layer(x)                      # x (B, T, dim): output t is attention over tokens 1 to t
    y, state = layer.step(token, state)      # the same, one token at a time
    layer.merge(left, right)                 # states of two neighbouring texts, read apart: the state of both

The query is a learned vector of the layer, not the token's: so a running sum is all that must be kept.

Source    Feng et al., "Attention as an RNN", 2024 (arXiv 2405.13956); scores are scaled by 1 / sqrt(D), and the state
          begins at a greatest score of -inf (the paper's 0 gives 0 / 0 when all scores are below -88)
Shapes    x (B, T, dim) -> (B, T, dim); state m, u (B, H, r, 1), w (B, H, r, D) for r queries a head
Limits    no query depends on the input, so nothing can be looked up by content: it is a learned, weighted average of
          all that was read. In float32 a token whose weight is below 1e-7 of the sum adds nothing: keep the state in
          float64 (`state.to(torch.float64)`) or use the decay where streams are very long
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.convolution import CausalConvolution
from foveal.nn.inputs import as_it_is, checked, head_width, require_result, require_sequence, require_token
from foveal.nn.scan import SCANS, Piece, joined, last, leaves, output, prefixes
from foveal.nn.states import StackState, State, own, require_state, state_or_first
from foveal.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, require_one_of, require_settings


@dataclass(frozen=True, kw_only=True)
class AarenSettings:
    """A layer's shape; what is not the paper's is off.

    Checked when made. InputError: a value out of its range.
    """

    dim: int
    heads: int = 4
    n_queries: int = 1  # learned queries a head; they share keys and values
    bias: bool = True
    dropout: float = 0.0  # of the output
    decay: float = 0.0  # what a score loses for each token behind it
    conv_kernel: int = 0  # tokens that keys and values are mixed from; 0: the token alone
    scan: Literal["auto", "assoc", "hillis", "chunk", "step"] = "auto"

    def __post_init__(self) -> None:
        require_settings(
            "Aaren", self, dim=COUNT, heads=COUNT, n_queries=COUNT, dropout=BELOW_ONE, decay=NOT_NEGATIVE,
            conv_kernel=NOT_NEGATIVE,
        )  # fmt: skip
        require_one_of("Aaren", self, "scan", ("auto", *SCANS))
        head_width("Aaren", self.dim, self.heads)


BEFORE, MASKED, REAL = 0, 1, 2
"""A place of a convolution's tail: before the text began, or of a token that does not count, or does."""


@dataclass(frozen=True)
class AarenState(State):
    """What was read: greatest score, sum of weights, weighted sum, tokens; and the convolution's last inputs."""

    m: Tensor  # (B, H, r, 1)
    c: Tensor
    a: Tensor  # (B, H, r, D)
    length: Tensor
    tail: Tensor
    places: tuple[Tensor, ...] = ()  # with a convolution one (B, kernel - 1): what stands in each row of the tail

    @property
    def piece(self) -> Piece:
        """As the scan's."""
        return Piece(self.m, self.c, self.a, self.length)


class Aaren(nn.Module):
    """Multi-head attention of learned queries over all that was read so far: x (B, T, dim) -> (B, T, dim) and a state.

    Feng et al., "Attention as an RNN", 2024 (arXiv 2405.13956).
    """

    def __init__(self, settings: AarenSettings) -> None:
        """Weights are drawn from torch's generator; queries with a variance of 1 / dim."""
        super().__init__()
        self.settings = settings
        dim, count = settings.dim, settings.n_queries
        self.query = nn.Parameter(torch.randn(count, dim) * dim**-0.5)
        self.convolution = CausalConvolution(dim, settings.conv_kernel)
        self.w_q, self.w_k, self.w_v = (nn.Linear(dim, dim, bias=settings.bias) for _ in range(3))
        self.w_o = nn.Linear(count * dim, dim, bias=settings.bias)
        self.dropout = nn.Dropout(settings.dropout)
        for one in (self.w_q, self.w_k, self.w_v):
            nn.init.xavier_uniform_(one.weight)
            if one.bias is not None:
                nn.init.zeros_(one.bias)

    @property
    def layout(self) -> str:
        """What a state must be of."""
        s = self.settings
        return f"Aaren of {s.heads} heads, {s.n_queries} queries, decay {s.decay}, kernel {s.conv_kernel}"

    def init_state(self, batch: int) -> AarenState:
        """The state before the first token: the operator's identity."""
        s, like = self.settings, self.query
        one = like.new_zeros(batch, s.heads, s.n_queries, 1, dtype=_wide(like))
        wide = one.expand(-1, -1, -1, s.dim // s.heads)
        tail = self.convolution.init_tail(batch, like)
        places = torch.full(tail.shape[:2], BEFORE, dtype=torch.int8, device=like.device)
        m = torch.full_like(one, -torch.inf)
        return AarenState(self.layout, m, one, wide, one, tail, (places,) if places.shape[1] else ())

    def forward(
        self, x: Tensor, state: AarenState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, AarenState]:
        """x (B, T, dim) -> (B, T, dim) and the state; tokens where `mask` is False are as if they were not there.

        But a convolution finds zeros in their places. A token behind which nothing was read gets the projection of 0.
        InputError: wrong shapes, another layer's state, a token that is no number, with its place, or tokens too large
        for products of them.
        """
        x = checked("Aaren", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        pieces, tail = self._leaves(x, state.tail, mask)
        seen = prefixes(pieces, decay=self.settings.decay, scan=self.settings.scan, before=state.piece)
        y = self._given(output(seen), x)
        places = _gone_on(state.places, x, mask)
        return y, self._state(Piece(*(own(one[..., -1, :].to(state.m.dtype)) for one in seen)), tail, places)

    def step(self, x: Tensor, state: AarenState) -> tuple[Tensor, AarenState]:
        """One token (B, dim)."""
        require_token("Aaren", x, self.settings.dim)
        state = state_or_first(state, self.init_state, len(x))
        pieces, tail = self._leaves(x[:, None], state.tail, None)
        now = joined(state.piece, Piece(*(one[..., 0, :] for one in pieces)), self.settings.decay)
        y = self._given(output(now)[..., None, :], x[:, None])
        places = _gone_on(state.places, x[:, None], None)
        return y[:, 0], self._state(Piece(*(one.to(state.m.dtype) for one in now)), tail, places)

    def merge(self, left: AarenState, right: AarenState) -> AarenState:
        """The state after a text and the one behind it, each read from the beginning.

        The same as in one reading. With a convolution, a right text of conv_kernel - 1 tokens or more was read as if
        nothing stood before it: but for its first conv_kernel - 1 tokens.
        """
        for one in (left, right):
            require_state(one, self.init_state(1), left.batch)
        both = joined(left.piece, right.piece, self.settings.decay)
        if not right.places:
            return self._state(both, right.tail, ())
        short = (right.places[0] == BEFORE).any(1)  # the tail holds all of the right text: it is read on from the left
        on = self._read_on(left, right)

        def of(one: Tensor, read_on: Tensor) -> Tensor:
            return torch.where(short.view(-1, *[1] * (one.dim() - 1)), read_on.to(one.dtype), one)

        places = of(*right.places, *on.places)
        return self._state(Piece(*map(of, both, on.piece)), of(right.tail, on.tail), (places,))

    def _read_on(self, left: AarenState, right: AarenState) -> AarenState:
        """The state after `left` and what stands in the tail of `right`."""
        places = torch.cat([*left.places, *right.places], 1)
        of_right = torch.arange(places.shape[1], device=places.device) >= left.tail.shape[1]
        order = (places != BEFORE).byte().argsort(dim=1, stable=True)  # what was before either text comes first
        line = torch.cat([left.tail, right.tail.to(left.tail.dtype)], 1)
        line = line.gather(1, order[..., None].expand_as(line))
        places, read = places.gather(1, order), (places == REAL) & of_right
        scores, values, tail = self._scores(line, torch.zeros_like(left.tail))
        pieces = leaves(scores, values, read.gather(1, order)[:, None, None])
        seen = prefixes(pieces, decay=self.settings.decay, scan=self.settings.scan, before=left.piece)
        now = Piece(*(one[..., -1, :].to(left.m.dtype) for one in seen))
        return self._state(now, tail, (places[:, -tail.shape[1] :],))

    def read(self, x: Tensor, *, block: int = 64) -> tuple[Tensor, AarenState]:
        """The last output (B, dim) and the state alone, block by block: O(block) memory beside the input's.

        Only without decay. InputError: as `forward`, or a block of less than one token.
        """
        x = checked("Aaren", x, self.settings.dim)
        if block < 1:
            raise InputError(f"Aaren.read got block = {block}; it needs at least 1 token.")
        if self.settings.decay:
            raise InputError("Aaren.read sums blocks up without their order; use forward where there is a decay.")
        state = self.init_state(len(x))
        tail, now = state.tail, state.piece
        for part in torch.split(x, block, 1):
            scores, values, tail = self._scores(part, tail)
            now = last(scores, values, block=block, before=now)
        y = self._given(output(now)[..., None, :], x)
        return y[:, 0], self._state(now, tail, _gone_on(state.places, x, None))

    def weights(self, x: Tensor) -> Tensor:
        """(B, H, r, T): the share of each token in the last output."""
        x = checked("Aaren", x, self.settings.dim)
        scores, _, _ = self._scores(x, self.init_state(len(x)).tail)
        behind = torch.arange(x.shape[1] - 1, -1, -1, device=x.device)
        return (scores - self.settings.decay * behind).softmax(-1)

    def _state(self, now: Piece, tail: Tensor, places: tuple[Tensor, ...]) -> AarenState:
        return AarenState(self.layout, now.m, now.u, now.w, now.length, tail, places)

    def _scores(self, x: Tensor, tail: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, H, r, T), values (B, H, 1, T, D) and the convolution's next tail."""
        heads, width = self.settings.heads, self.settings.dim // self.settings.heads
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)
        mixed, tail = self.convolution(x, tail)
        k, v = (one(mixed).view(*x.shape[:2], heads, width).transpose(1, 2) for one in (self.w_k, self.w_v))
        with as_it_is(x):
            k, v = k.to(_wide(k)), v.to(_wide(v))
            q = self.w_q(self.query).view(-1, heads, width).transpose(0, 1).to(k.dtype)  # (H, r, D)
            scores = (q * width**-0.5) @ k.mT
        return scores, v[:, :, None], tail

    def _leaves(self, x: Tensor, tail: Tensor, mask: Tensor | None) -> tuple[Piece, Tensor]:
        scores, values, tail = self._scores(x, tail, mask)
        return leaves(scores, values, None if mask is None else mask[:, None, None]), tail

    def _given(self, o: Tensor, x: Tensor) -> Tensor:
        """Outputs (B, H, r, T, D) of all heads and queries, projected: (B, T, dim)."""
        flat = o.permute(0, 3, 2, 1, 4).flatten(2).to(x.dtype)
        given: Tensor = self.dropout(require_result("Aaren", self.w_o(flat)))
        return given


def _gone_on(places: tuple[Tensor, ...], x: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
    """What stands in the tail behind tokens x (B, T, dim)."""
    if not places:
        return ()
    count, (before,) = places[0].shape[1], places
    new = torch.full_like(x[:, -count:, 0], REAL, dtype=torch.int8)
    if mask is not None:
        new = new.masked_fill(~mask[:, -count:], MASKED)
    return (torch.cat([before, new], 1)[:, -count:],)


def _wide(x: Tensor) -> torch.dtype:
    """Of sums: float32, or float64 where x is."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class AarenBlock(nn.Module):
    """A Transformer's layer with Aaren in the place of its attention: x (B, T, dim) -> (B, T, dim) and a state.

    residual  what the attention's output is added to: the token's own "input", the "query", or "none"
    norm      "pre" for new models, "post" as in the models of the paper
    """

    def __init__(
        self,
        settings: AarenSettings,
        *,
        feed_forward: int | None = None,
        norm: Literal["pre", "post"] = "pre",
        residual: Literal["input", "query", "none"] = "input",
        mixer: Callable[[AarenSettings], Any] = Aaren,
    ) -> None:
        """`feed_forward` is the inner width; None: four times dim. Another `mixer` makes a block to compare with."""
        super().__init__()
        if norm not in ("pre", "post") or residual not in ("input", "query", "none"):
            raise InputError(f"AarenBlock got norm = {norm!r}, residual = {residual!r}; see its documentation.")
        if feed_forward is not None and feed_forward < 1:
            raise InputError(f"AarenBlock got feed_forward = {feed_forward}; it needs at least 1, or None.")
        self.dim = dim = settings.dim
        self.aaren, self.norm, self.residual = mixer(settings), norm, residual
        if residual == "query" and not hasattr(self.aaren, "query"):
            raise InputError(f"{type(self.aaren).__name__} has no query of its own to add to. Take 'input' or 'none'.")
        self.before, self.middle = nn.LayerNorm(dim), nn.LayerNorm(dim)
        inner = feed_forward or 4 * dim
        self.feed = nn.Sequential(nn.Linear(dim, inner), nn.ReLU(), nn.Linear(inner, dim), nn.Dropout(settings.dropout))

    def init_state(self, batch: int) -> AarenState:
        """Before the first token."""
        first: AarenState = self.aaren.init_state(batch)
        return first

    def forward(
        self, x: Tensor, state: AarenState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, AarenState]:
        """x (B, T, dim) -> (B, T, dim) and the state. InputError: as the mixer."""
        x = checked("AarenBlock", x, self.dim, mask)  # norms and the residual come before and beside the mixer's door
        y, state = self.aaren(self.before(x) if self.norm == "pre" else x, state, mask)
        return self._fed(x, y), state

    def step(self, x: Tensor, state: AarenState) -> tuple[Tensor, AarenState]:
        """One token (B, dim)."""
        require_token("AarenBlock", x, self.dim)
        y, state = self.aaren.step(self.before(x) if self.norm == "pre" else x, state)
        return self._fed(x, y), state

    def _fed(self, x: Tensor, y: Tensor) -> Tensor:
        h = x + y if self.residual == "input" else y
        if self.residual == "query":
            h = self.aaren.query.mean(0).to(x.dtype) + y
        if self.norm == "pre":
            return h + cast("Tensor", self.feed(self.middle(h)))
        h = self.before(h)
        fed: Tensor = self.middle(h + self.feed(h))
        return fed


class AarenEncoder(nn.Module):
    """A stack of blocks, x (B, T, dim) -> (B, T, dim): a running summary of a stream in a few kilobytes of state.

    InputError: no layer, or settings that a block refuses. Source as of `Aaren`.
    """

    def __init__(
        self,
        settings: AarenSettings,
        *,
        layers: int = 3,
        norm: Literal["pre", "post"] = "pre",
        feed_forward: int | None = None,
        mixer: Callable[[AarenSettings], Any] = Aaren,
    ) -> None:
        """`layers` blocks of the same settings."""
        super().__init__()
        if layers < 1:
            raise InputError(f"AarenEncoder got layers = {layers}; it needs at least 1.")
        self.blocks = nn.ModuleList(
            AarenBlock(settings, norm=norm, feed_forward=feed_forward, mixer=mixer) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(settings.dim) if norm == "pre" else nn.Identity()

    def init_state(self, batch: int) -> StackState:
        """Before the first token."""
        return StackState(f"{len(self.blocks)} layers", tuple(one.init_state(batch) for one in self._blocks))

    def forward(
        self, x: Tensor, state: StackState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, StackState]:
        """x (B, T, dim) -> (B, T, dim) and the state. InputError: as the mixer, or a state of another stack."""
        require_sequence("AarenEncoder", x, self._blocks[0].dim, mask)  # a state has as many rows
        state = state_or_first(state, self.init_state, len(x))
        after = []
        for block, one in zip(self._blocks, state.layers, strict=True):
            x, new = block(x, cast("AarenState", one), mask)
            after.append(new)
        return self.norm(x), StackState(state.layout, tuple(after))

    def step(self, x: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """One token (B, dim)."""
        require_token("AarenEncoder", x, self._blocks[0].dim)
        state = state_or_first(state, self.init_state, len(x))
        after = []
        for block, one in zip(self._blocks, state.layers, strict=True):
            x, new = block.step(x, cast("AarenState", one))
            after.append(new)
        return self.norm(x), StackState(state.layout, tuple(after))

    @property
    def _blocks(self) -> list[AarenBlock]:
        return cast("list[AarenBlock]", list(self.blocks))
