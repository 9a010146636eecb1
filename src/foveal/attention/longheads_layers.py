"""LongHeads, what a layer keeps: keys without a place, values, a vector for each chunk; and its layer of a cache.

    text = ChunkedText.empty(shape, method, rotation, heads, key, value)
    output = text.read(query, key, value, scores)         # of new tokens, behind those that were read before

Tokens before `begin` see all that came before, at their true places. From there on each query, or each chunk of
queries, chooses (longheads_choice.py) and looks (longheads_looking.py). A chunk's vector is made once, when the chunk
is whole; of the queries only those of the chunk that is not whole yet are kept.

Shapes    queries (B, H, N, D), keys and values (B, G, N, D), not turned; within, batch and heads are one dimension
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention.dense import dense_attention
from foveal.attention.longheads_choice import FORCED, asking, by_group, choose, drawn, in_chunks, represent, spread
from foveal.attention.longheads_looking import Held, Seen, by_blocks, by_pairs
from foveal.attention.masks import Mask
from foveal.attention.memory_parts import Scores
from foveal.attention.owned_layers import OwnedLayer, Turn, check_watched
from foveal.attention.rotation import Rotation
from foveal.attention.rows import Rows
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.attention.longheads import LongHeads

AT_ONCE = 4096
"""Tokens that are turned, or scored, at a time."""

SCORED = 2**20
"""Scores of chunks that are held at a time: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Shape:
    """Tokens of a chunk, chunks that a query sees, and tokens from which on it chooses."""

    chunk: int
    chunks: int
    begin: int


class ChunkedText:
    """The text that one layer has read; a batch of equally long ones."""

    def __init__(
        self,
        shape: Shape,
        method: LongHeads,
        held: Held,
        vectors: Rows,
        tail: Tensor,
        heads: int,
        *,
        layer: int = 0,
    ) -> None:
        self.shape, self.method, self.held, self.layer = shape, method, held, layer
        self.heads = heads  # of one text; the batch is as often in all that is kept
        self.vectors = vectors  # (B * H, whole chunks, R) float32
        self.tail = tail  # queries (B * H, t, D) of the chunk that is not whole, turned by their offsets
        # queries (B * H, chunks) that looked at a chunk
        self.counts = torch.zeros(len(vectors.base), 0, dtype=torch.float32)
        self.asked = 0  # queries that were counted

    @classmethod
    def empty(
        cls,
        shape: Shape,
        method: LongHeads,
        rotation: Rotation,
        heads: int,
        key: Tensor,
        value: Tensor,
        *,
        layer: int = 0,
    ) -> ChunkedText:
        """A text of no tokens, for keys and values like these, and so many heads of queries."""
        keys, values = (Rows(part.flatten(0, 1)[:, :0].clone(), shape.chunk) for part in (key, value))
        width = key.shape[-1] * (2 if method.representation == "minmax" else 1)
        none = torch.zeros(len(key) * heads, 0, width, dtype=torch.float32, device=key.device)
        tail = key.new_zeros(len(key) * heads, 0, key.shape[-1])
        return cls(shape, method, Held(keys, values, rotation, method.remap), Rows(none), tail, heads, layer=layer)

    def __len__(self) -> int:
        return len(self.held.keys)

    def read(
        self, query: Tensor, key: Tensor, value: Tensor, scores: Scores, watched: list[int] | None = None
    ) -> tuple[Tensor, list[Seen]]:
        """The output (B, H, N, E) of new tokens, and what the heads `watched` saw."""
        batch, heads = query.shape[:2]
        places = torch.arange(len(self), len(self) + query.shape[2], device=query.device)
        queries = query.flatten(0, 1)
        self.take(queries, key.flatten(0, 1), value.flatten(0, 1), places, scores.scale)
        early = int((places < self.shape.begin).sum())
        parts: list[tuple[Tensor, Seen | None]] = []
        if early:
            parts += self._early(queries[:, :early], places[:early], scores, watched)
        if early < len(places):
            parts += self._late(queries[:, early:], places[early:], scores, watched)
        output = torch.cat([out.to(query.dtype) for out, _ in parts], 1)
        return output.view(batch, heads, len(places), -1), [seen for _, seen in parts if seen is not None]

    def forget_counts(self) -> None:
        """Count who looks where anew."""
        self.counts, self.asked = torch.zeros_like(self.counts), 0

    # -- keeping ---------------------------------------------------------------------------------------------------

    def take(self, queries: Tensor, keys: Tensor, values: Tensor, places: Tensor, scale: float) -> None:
        """Keep new tokens, and make the vectors of the chunks that they fill."""
        rotation, size, first = self.held.rotation, self.shape.chunk, len(self)
        cos, sin = rotation.angles(torch.arange(size, device=places.device))
        for rows in (self.held.keys, self.held.values):
            rows.reserve(len(places))
        self.vectors.reserve((first + len(places)) // size - len(self.vectors))
        waiting = [self.tail]
        for start in range(0, len(places), AT_ONCE):
            here = slice(start, start + AT_ONCE)
            offsets = places[here] % size
            turned = [rotation.turn(part[:, here], cos[offsets], sin[offsets]) for part in (queries, keys)]
            self.held.keys.append(turned[1])
            self.held.values.append(values[:, here])
            waiting.append(turned[0])
            if sum(part.shape[1] for part in waiting) >= size:
                waiting = [self._fill(torch.cat(waiting, 1), scale)]
        self.tail = torch.cat(waiting, 1).clone()
        assert len(self) == first + len(places)

    def _fill(self, queries: Tensor, scale: float) -> Tensor:
        """Make the vectors of whole chunks of queries; the queries that are left."""
        size, done = self.shape.chunk, len(self.vectors)
        count = queries.shape[1] // size
        start = done * size - self.held.keys.base.shape[1]
        keys, values = (
            in_chunks(rows.added[:, start : start + count * size], size) for rows in (self.held.keys, self.held.values)
        )
        asked = in_chunks(queries[:, : count * size], size)
        self.vectors.append(represent(self.method.representation, asked, keys, values, scale, self.held.rotation))
        return queries[:, count * size :]

    # -- looking ---------------------------------------------------------------------------------------------------

    def _early(
        self, queries: Tensor, places: Tensor, scores: Scores, watched: list[int] | None
    ) -> list[tuple[Tensor, Seen | None]]:
        """Tokens that see everything before them."""
        size, end = self.shape.chunk, int(places[-1]) + 1
        if len(places) <= size:  # a question, or a new token: no key is turned
            parts = []
            for chunk in range(int(places[0]) // size, int(places[-1]) // size + 1):
                here = places // size == chunk
                every = torch.arange(chunk + 1, device=places.device).expand(len(queries), int(here.sum()), -1)
                self._count(every, 1)
                parts.append(by_pairs(self.held, queries[:, here], places[here], every, scores, watched))
            return parts
        keys, values = (torch.cat(rows.parts, 1)[:, :end] for rows in (self.held.keys, self.held.values))
        begins = torch.arange(end, device=places.device) // size * size
        keys, asked = self.held.rotation(keys, begins), self.held.rotation(queries, places)
        told = dense_attention(
            asked[None],
            keys[None],
            values[None],
            Mask.causal(1, len(places), end, device=places.device),
            scale=scores.scale,
            softcap=scores.softcap,
        )
        return [(told[0], None)]

    def _late(
        self, queries: Tensor, places: Tensor, scores: Scores, watched: list[int] | None
    ) -> list[tuple[Tensor, Seen | None]]:
        """Tokens that choose: chunk by chunk, but for the last ones and what does not fill a chunk, token by token."""
        size, first, end = self.shape.chunk, int(places[0]), int(places[-1]) + 1
        start = -(-first // size) * size
        stop = max(start, (end - 1) // size * size - size)
        if self.method.selection == "token" or stop == start:
            start = stop = end
        parts = self._by_token(queries[:, : start - first], places[: start - first], scores, watched)
        if stop > start:
            here = slice(start - first, stop - first)
            parts.append((self._by_chunk(queries[:, here], start // size, scores), None))
        return parts + self._by_token(queries[:, stop - first :], places[stop - first :], scores, watched)

    def _by_token(
        self, queries: Tensor, places: Tensor, scores: Scores, watched: list[int] | None
    ) -> list[tuple[Tensor, Seen | None]]:
        parts = []
        for start in range(0, len(places), AT_ONCE):
            asked, here = queries[:, start : start + AT_ONCE], places[start : start + AT_ONCE]
            chosen = self._chosen(asking(self.method.representation, asked), here)
            self._count(chosen, 1)
            parts.append(by_pairs(self.held, asked, here, chosen, scores, watched))
        return parts

    def _by_chunk(self, queries: Tensor, first: int, scores: Scores) -> Tensor:
        chosen = self.together(queries, first)
        self._count(chosen, self.shape.chunk)
        return by_blocks(self.held, queries, chosen, scores)

    def together(self, queries: Tensor, first: int) -> Tensor:
        """The chunks (B * H or B * G, chunks, k) that the queries of whole chunks, from number `first` on, choose."""
        size, kind = self.shape.chunk, self.method.representation
        pieces = torch.split(in_chunks(queries, size), max(1, AT_ONCE // size), 1)
        means = torch.cat([asking(kind, piece).mean(2) for piece in pieces], 1)  # so that scores are means, too
        chunk = torch.arange(first, first + means.shape[1], device=queries.device)
        return self._chosen(means, chunk * size)

    def _chosen(self, asked: Tensor, places: Tensor) -> Tensor:
        """The chunks (B * H or B * G, Q, k) that are chosen by `asked` (B * H, Q, R), what queries ask with (`asking`),
        or its mean over those of a chunk; they stand at places (Q,), ascending, or begin a chunk there.
        """
        chunk, free = places // self.shape.chunk, self.method.free(self.shape)
        rows = max(1, SCORED // (len(asked) * max(1, len(self.vectors))))
        none = len(asked) if self.method.share == "head" else self.held.keys.groups, 0, FORCED + free
        parts = [torch.empty(none, dtype=torch.long, device=places.device)]
        for start in range(0, len(places), rows):
            here = slice(start, start + rows)
            wanted = self._wanted(asked[:, here], places[here], int(chunk[here][-1]))
            parts.append(choose(wanted, chunk[here], free))
        return torch.cat(parts, 1)

    def _wanted(self, asked: Tensor, places: Tensor, end: int) -> Tensor:
        """How much each chunk before number `end` is wanted (B * H or B * G, Q, at most `end`)."""
        if self.method.representation == "random":
            wanted = drawn((self.method.seed, self.layer), places, len(asked), min(end, len(self.vectors)))
        else:
            first = self.vectors.base.shape[1]
            parts = self.vectors.base[:, :end], self.vectors.added[:, : max(0, end - first)]
            scored = [asked @ part.transpose(-1, -2) for part in parts if part.shape[1]]
            wanted = scored[0] if len(scored) == 1 else torch.cat(scored, -1)
        return by_group(wanted, self.held.keys.groups) if self.method.share == "group" else wanted

    def _count(self, chosen: Tensor, queries: int) -> None:
        """Take note of who looked where, each choice being that of so many queries."""
        count, chosen = chosen.shape[1], spread(chosen, len(self.counts)).flatten(1).cpu()
        more = -(-len(self) // self.shape.chunk) - self.counts.shape[1]
        if more > 0:
            self.counts = torch.nn.functional.pad(self.counts, (0, more))
        self.counts = self.counts.scatter_add(1, chosen, self.counts.new_full(chosen.shape, queries))
        self.asked += queries * count


def selected(
    method: LongHeads, shape: Shape, rotation: Rotation, query: Tensor, key: Tensor, value: Tensor, scale: float
) -> Tensor:
    """The chunks that the queries of each whole chunk from `begin` on choose together, as `LongHeads.select`."""
    size, end = shape.chunk, query.shape[1] // shape.chunk * shape.chunk
    query, key, value = (part[:, :end] for part in (query, key, value))
    text = ChunkedText.empty(shape, method, rotation, len(query), key[None], value[None])
    text.take(query, key, value, torch.arange(end, device=query.device), scale)
    return text.together(query[:, shape.begin :], shape.begin // size)


class LongHeadsLayer(OwnedLayer):  # type: ignore[no-untyped-call]
    """A layer that sees the whole text. Made by `LongHeads.make_cache`."""

    def __init__(self, method: LongHeads, number: int, turn: Turn) -> None:
        super().__init__(number, turn)
        self.method = method
        self.text: ChunkedText | None = None
        self.watched: list[int] = []  # heads whose looks at single tokens are kept
        self.looked: Tensor | None = None  # their weights (tokens,) so far, summed over queries
        self.begun: tuple[int, ...] | None = None  # how far the model's places of tokens are from those counted here
        self._new: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in (B, G, N, D), and give them back, marked with this layer."""
        self.begin(key_states)
        self._new = key_states, value_states
        return self.marked(key_states), value_states

    def reset(self) -> None:
        """Forget everything."""
        self.__dict__.update(LongHeadsLayer(self.method, self.number, self.turn).__dict__)

    def attend(self, query: Tensor, context: Context) -> Tensor:
        """The output (B, H, N, D) of new queries, whose keys and values were just given to `update`."""
        self.asked()
        assert self._new is not None
        assert context.rotation is not None
        key, value = self._new
        self._new = None
        if self.text is None:
            shape = self.method.shape_for(context.module.config)
            self.text = ChunkedText.empty(
                shape, self.method, context.rotation, query.shape[1], key, value, layer=self.number
            )
        if len(self.text.vectors.base) != query.shape[0] * query.shape[1]:
            raise InputError(f"{len(query)} sequences came; the cache holds another number. Start a new one for them.")
        check_watched(self.number, self.watched, query.shape[1])
        scored = Scores(context.scale * context.rotation.length**2, context.softcap)
        output, seen = self.text.read(query, key, value, scored, self.watched or None)
        for one in seen:
            self._note(one)
        return output

    def _note(self, seen: Seen) -> None:
        assert self.text is not None
        size = self.text.shape.chunk
        found = torch.zeros(-(-self.length // size) * size, dtype=torch.float32)
        if self.looked is not None:
            found[: len(self.looked)] = self.looked
        places = seen.chunks[:, None] * size + torch.arange(size, device=seen.chunks.device)
        found.index_add_(0, places.flatten().cpu(), seen.weights.flatten().float().cpu())
        self.looked = found

    @property
    def bytes(self) -> int:
        """Bytes of keys, values and vectors."""
        if self.text is None:
            return 0
        parts = (self.text.held.keys, self.text.held.values, self.text.vectors)
        return sum(part.nbytes for rows in parts for part in rows.parts)
