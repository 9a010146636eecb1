"""A decoding step of DHSA: which keys one query looks at, by the chunks of the prompt and of what was generated.

    held = Held.of(keys, bounds, chunk_means(keys, bounds, pooling=pooling), pooling)     # when the prompt was read
    runs = looked_at(query, keys, held, Spans(sink=128, local=128, chunk=32), budget)     # for each head, `budget` keys

Always    the first `sink` and the last `local` keys; the rest by the scores of their chunks, the best first, whole but
          for the last one that has room
Shares    what was generated has at most `GENERATED` of a budget, while there is more of the prompt to look at
Cost      a product with each chunk's vector, no look at a key: vectors of generated chunks are kept, too, once these
          are whole

Shapes    queries (1, H, 1, d), keys (1, G, K, d), H a multiple of G
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.attention.boundaries import fixed_boundaries
from foveal.attention.chunks import chunk_means
from foveal.attention.nearest_attention import Runs

GENERATED = 0.5
"""Most of a decoding step's budget that goes to what was generated, while there is more of the prompt to look at."""

MARKS = 64
"""Keys of a prompt that are compared at each step."""


@dataclass(frozen=True)
class Spans:
    """Keys at a text's ends that are always looked at, and the length of an answer's chunks."""

    sink: int
    local: int
    chunk: int


@dataclass
class Held:
    """A layer's chunks of the prompt: boundaries (n + 1,) and key vectors (1, G, n, d)."""

    bounds: Tensor
    vectors: Tensor
    pooling: str
    read: int  # keys of the prompt
    total: Tensor  # of these (1, G, 1, d), float64
    marked: Tensor  # places of some of them, spread evenly, the last among them
    marks: Tensor  # these (1, G, MARKS, d)
    shortest: Tensor  # the lengths of its chunks, added up from the shortest on (n,)
    keys: int  # of the text, prompt and answer, at the last step
    answered: tuple[Tensor, Tensor] | None = None  # of the answer's whole chunks: vectors and last keys, (1, G, m, d)

    @classmethod
    def of(cls, key: Tensor, bounds: Tensor, vectors: Tensor, pooling: str) -> Held:
        """Those of keys (1, G, K, d)."""
        read = key.shape[2]
        marked = torch.linspace(0, read - 1, MARKS, device=key.device, dtype=torch.float32).long()
        shortest = bounds.diff().sort().values.cumsum(0)
        return cls(bounds, vectors, pooling, read, _total(key), marked, key[:, :, marked], shortest, read)

    def most_chunks(self, keys: int) -> int:
        """The chunks that so many keys can be in, of which two may be cut."""
        return int(torch.searchsorted(self.shortest, keys)) + 3

    def may_be_of(self, key: Tensor) -> bool:
        """Whether the keys (1, G, K, d) may be of this prompt and its answer, which grows by a key a step.

        Prompts of one form that are filled differently may share all marks, but in a model's first layer only.
        """
        return self.read <= key.shape[2] <= self.keys + 1 and torch.equal(key[:, :, self.marked], self.marks)

    def is_of(self, key: Tensor) -> bool:
        """Whether they are: all of the prompt's keys are added up."""
        return torch.equal(_total(key[:, :, : self.read]), self.total)

    def grows(self, key: Tensor) -> bool:
        """Whether the keys are one more than at the last step."""
        return key.shape[2] == self.keys + 1

    def stepped(self, key: Tensor) -> None:
        """Take note of a step; where the answer did not grow, it was taken back, and another one begun."""
        if not self.grows(key):
            self.answered = None
        self.keys = key.shape[2]

    def answer(self, key: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        """The vectors (1, G, m, d) and boundaries (m + 1,) of the keys behind the prompt, at least one, by `chunk`."""
        after = key[:, :, self.read :]
        count = after.shape[2]
        ends = after[:, :, chunk - 1 :: chunk]
        if self.answered is not None and not torch.equal(self.answered[1], ends[:, :, : self.answered[1].shape[2]]):
            self.answered = None  # another answer to the same prompt
        kept = 0 if self.answered is None else self.answered[0].shape[2]
        vectors = [] if self.answered is None else [self.answered[0]]
        if kept * chunk < count:
            new = after[:, :, kept * chunk :]
            vectors.append(self._pooled(new, fixed_boundaries(new.shape[2], chunk).to(key.device)))
        found = torch.cat(vectors, 2)
        self.answered = found[:, :, : count // chunk], ends.clone()
        return found, fixed_boundaries(count, chunk).to(key.device)

    def _pooled(self, key: Tensor, bounds: Tensor) -> Tensor:
        """Chunk vectors behind the prompt, centred where it is: by the prompt's mean key."""
        if self.pooling == "sqrt_centred":
            return chunk_means(key.float() - (self.total / self.read).float(), bounds, pooling="sqrt")
        return chunk_means(key, bounds, pooling=self.pooling)


def known_by(known: Sequence[Held], key: Tensor) -> Held | None:
    """Of the prompts that are known, the one that the keys (1, G, K, d) begin with."""
    alike = [one for one in known if one.may_be_of(key)]
    if len(alike) == 1 and alike[0].grows(key):
        return alike[0]
    return next((one for one in alike if one.is_of(key)), None)


def looked_at(query: Tensor, key: Tensor, held: Held, spans: Spans, budget: int) -> Runs:
    """The `budget` keys, fewer than all, that each head looks at."""
    read, keys = held.read, key.shape[2]
    end = keys - spans.local
    split = min(max(read, spans.sink), end)  # of the keys that are chosen by score, the first generated one
    old, new, room = split - spans.sink, end - split, budget - spans.sink - spans.local
    always = max(0, spans.sink - read) + min(spans.local, keys - read)
    share = min(new, max(int(GENERATED * budget) - always, room - old, 0))
    asked = query.float().view(1, key.shape[1], -1, query.shape[3])
    best = _Chunks.between(asked, held.vectors, held.bounds, spans.sink, split).best(room, held.most_chunks(room))
    if share:
        vectors, bounds = held.answer(key, spans.chunk)
        answered = _Chunks.between(asked, vectors, bounds + read, split, end)
        best = best.and_these(answered.best(share, share // spans.chunk + 3)).best(room)
    edges = torch.tensor([[0, end], [spans.sink, spans.local]], device=key.device)[:, None].expand(
        -1, len(best.scores), -1
    )
    return Runs(torch.cat([edges[0], best.starts], 1), torch.cat([edges[1], best.lengths], 1))


@dataclass(frozen=True)
class _Chunks:
    """Chunks of each head (H, n): scores, first keys, keys."""

    scores: Tensor
    starts: Tensor
    lengths: Tensor

    @classmethod
    def between(cls, asked: Tensor, vectors: Tensor, bounds: Tensor, first: int, last: int) -> _Chunks:
        """Those parts of the chunks that lie within keys `first` … `last`; `asked` are the queries (1, G, H / G, d)."""
        scores = (asked @ vectors.transpose(-1, -2)).flatten(0, 2)
        edges = bounds.clamp(first, last)
        within = edges.diff() > 0
        scores, starts, lengths = scores[:, within], edges[:-1][within], edges.diff()[within]
        return cls(scores, starts.expand_as(scores), lengths.expand_as(scores))

    def and_these(self, others: _Chunks) -> _Chunks:
        """Both."""
        pairs = ((self.scores, others.scores), (self.starts, others.starts), (self.lengths, others.lengths))
        return _Chunks(*(torch.cat(pair, 1) for pair in pairs))

    def best(self, most: int, chunks: int | None = None) -> _Chunks:
        """Those with the highest scores, of `most` keys in all, or all there are; the last one in part.

        `chunks`: as many as `most` keys can be in, by what is known of their lengths.
        """
        count = self.scores.shape[1]
        scores, index = self.scores.topk(min(count, chunks or count), dim=1)
        lengths = self.lengths.gather(1, index)
        before = lengths.cumsum(1) - lengths
        return _Chunks(scores, self.starts.gather(1, index), lengths.minimum((most - before).clamp(min=0)))


def _total(key: Tensor) -> Tensor:
    return key.sum(2, keepdim=True, dtype=torch.float64)
