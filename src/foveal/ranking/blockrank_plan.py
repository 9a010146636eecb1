"""Where the parts of one BlockRank pass lie: a lead that attends causally, groups of documents, the question's rows.

All lie in one sequence without padding. Documents are sorted by length, so that those that become rows of one batch
are of like length; the masks of all parts are small, and made once for all layers.

Shapes    packed: (1, heads, T, D); a group: (rows, heads, longest, D)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from foveal.attention.masks import Mask
from foveal.ranking.blockrank_prompt import Segments

GROUP = {"cpu": 1024, "cuda": 16384}
"""Tokens of documents that go through a layer at once, padding included."""


@dataclass(frozen=True)
class Ask:
    """What a pass is run for."""

    layers: tuple[int, ...] = ()  # whose signal is taken
    rows: str = ""  # whose logits are wanted: "query" (from its first signal token on), "documents" (the last of each)
    full: bool = False  # ordinary causal attention at ordinary positions: what BlockRank is compared with
    keep: int | None = None  # keys and values of the layers below it, and keys of this one, are kept


@dataclass(frozen=True)
class Held:
    """What was read before of an instruction, then of documents: keys (layers + 1, G, L, D), values (layers, G, L, D).

    They are put together layer by layer, into the same memory: of 500 passages all layers are 800 MB, one is 50, and
    memory that is new to a process costs more than the copy. So what `keys` and `values` give holds until they are
    asked for the next layer.
    """

    blocks: Sequence[tuple[Tensor, Tensor]]
    _memory: dict[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def instruction(self) -> int:
        """Tokens of the instruction."""
        return self.blocks[0][0].shape[2]

    @property
    def documents(self) -> list[int]:
        """Tokens of each document."""
        return [keys.shape[2] for keys, _ in self.blocks[1:]]

    def keys(self, layer: int, device: torch.device) -> Tensor:
        """Of all tokens in one layer, (1, G, T, D)."""
        return self._side_by_side(0, layer, device)

    def values(self, layer: int, device: torch.device) -> Tensor:
        """The same of values."""
        return self._side_by_side(1, layer, device)

    def _side_by_side(self, which: int, layer: int, device: torch.device) -> Tensor:
        parts = [block[which][layer] for block in self.blocks]
        if len({part.device for part in parts}) > 1:  # some come from files, others from a pass just now
            parts = [part.to(device) for part in parts]
        if which not in self._memory:
            heads, _, width = parts[0].shape
            self._memory[which] = parts[0].new_empty(heads, sum(part.shape[1] for part in parts), width)
        return torch.cat(parts, 1, out=self._memory[which])[None].to(device)


class Group:
    """Documents of like length, as rows of a batch: packed tokens `start` to `end` of all documents'."""

    def __init__(self, lengths: Sequence[int], start: int, device: torch.device) -> None:
        sizes, total = torch.tensor(list(lengths), device=device), sum(lengths)
        self.start, self.end = start, start + total
        self.rows, self.longest = len(lengths), max(lengths)
        places = torch.arange(self.longest, device=device)
        self._even = min(lengths) == self.longest
        self._take = ((sizes.cumsum(0) - sizes)[:, None] + places).clamp(max=total - 1)
        self._real = (places < sizes[:, None]).flatten().nonzero().flatten()
        self._masks: dict[tuple[int, int | None], Mask] = {}

    def spread(self, x: Tensor) -> Tensor:
        """(1, heads, tokens, D) -> (rows, heads, longest, D); what stands behind a shorter document is never seen."""
        rows = x[0].transpose(0, 1)
        wide = rows.view(self.rows, self.longest, *rows.shape[1:]) if self._even else rows[self._take]
        return wide.transpose(1, 2)

    def joined(self, x: Tensor) -> Tensor:
        """The way back."""
        rows = x.transpose(1, 2).flatten(0, 1)
        return (rows if self._even else rows[self._real]).transpose(0, 1)[None]

    def mask(self, before: int, window: int | None, device: torch.device) -> Mask:
        """Of the rows behind `before` keys that all of them see."""
        if (before, window) not in self._masks:
            mask = Mask.causal(self.rows, self.longest, before + self.longest, window=window, device=device)
            distance = before + torch.arange(self.longest, device=device)[:, None]
            distance = distance - torch.arange(before + self.longest, device=device)
            seen = (distance >= 0) & (distance < window) if window else distance >= 0
            mask.dense = seen[None, None]  # one for all rows
            self._masks[before, window] = mask
        return self._masks[before, window]


class Plan:
    """A prompt in packed order: a lead that attends causally, groups of documents, and the question's rows."""

    def __init__(self, segments: Segments, ask: Ask, held: Held | None, device: torch.device) -> None:
        self.segments, self.ask, self.held, self.device = segments, ask, held, device
        documents = [one.ids for one in segments.documents]
        sizes = held.documents if held else [len(ids) for ids in documents]
        in_order = ask.full or held is not None
        self.order = list(range(len(sizes)))
        if not in_order:  # by length, and then so that a list in any order is the same pass, to the bit
            self.order.sort(key=lambda n: (sizes[n], documents[n]))
        self.lengths = [sizes[n] for n in self.order]
        self.instruction = held.instruction if held else len(segments.instruction)
        self.last = (
            max((*ask.layers, *([] if ask.keep is None else [ask.keep])), default=None) if not ask.rows else None
        )
        text = [token for n in self.order for token in documents[n]] if not held else []
        self.tail = [*segments.query, *(token for token, _ in segments.branches)]
        self.before = self.instruction + sum(self.lengths)  # tokens before the tail, held or not
        self.lead = 0 if held else self.before if ask.full else self.instruction
        self.groups = [] if in_order else _groups(self.lengths, device)
        self.ids = [*([] if held else segments.instruction), *text, *self.tail]
        self.places = self._places()
        self._seen: dict[int | None, Tensor] = {}

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Ids and positions of the tokens that are read, (1, T) each."""
        ids = torch.tensor([self.ids], device=self.device)
        return ids, self.places[None, len(self.places) - len(self.ids) :]

    def slices(self) -> list[slice]:
        """The parts that go through a layer one after another: lead, groups, tail."""
        cuts = [0, self.lead, *(self.lead + group.end for group in self.groups), len(self.ids)]
        return [slice(start, end) for start, end in pairwise(cuts)]

    def rows(self) -> Tensor:
        """Packed places of the rows whose logits are wanted, in the order of the query or of the documents."""
        if self.ask.rows == "query":
            first = len(self.ids) - len(self.tail) + self.segments.signal[0]
            return torch.arange(first, len(self.ids), device=self.device)
        ends = self.instruction + torch.tensor(self.lengths, device=self.device).cumsum(0) - 1
        return ends[torch.tensor(self.order, device=self.device).argsort()]

    def seen(self, window: int | None) -> Tensor:
        """(1, 1, tail, all keys) bool: the tail sees all before it, itself so far, and of the branches its own."""
        if window not in self._seen:
            own = _branching(len(self.segments.query), [parent for _, parent in self.segments.branches])
            seen = torch.cat([torch.ones(len(own), self.before, dtype=torch.bool), own], 1).to(self.device)
            if window:
                seen &= self.places[self.before :, None] - self.places < window
            self._seen[window] = seen[None, None]
        return self._seen[window]

    def _places(self) -> Tensor:
        """The position of every key, held or read."""
        first = self.instruction
        after = self.before if self.ask.full else self.segments.offset
        depths: list[int] = []
        for _, parent in self.segments.branches:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        query = len(self.segments.query)
        tail = [after + n for n in (*range(query), *(query + depth for depth in depths))]
        if self.ask.full:
            return torch.tensor([*range(self.before), *tail], device=self.device)
        documents = (torch.arange(first, first + length) for length in self.lengths)
        return torch.cat([torch.arange(first), *documents, torch.tensor(tail, dtype=torch.long)]).to(self.device)


def _groups(lengths: Sequence[int], device: torch.device) -> list[Group]:
    """Neighbours together, as long as the batch that they make takes no more than `GROUP` tokens."""
    most = GROUP.get(device.type, GROUP["cuda"])
    groups: list[Group] = []
    first = 0
    for place, length in enumerate(lengths):
        if place > first and (place - first + 1) * max(length, *lengths[first:place]) > most:
            groups.append(Group(lengths[first:place], groups[-1].end if groups else 0, device))
            first = place
    if lengths:
        groups.append(Group(lengths[first:], groups[-1].end if groups else 0, device))
    return groups


def _branching(query: int, parents: Sequence[int]) -> Tensor:
    """What a question's tokens and the branches behind it see among themselves: bool, square."""
    seen = torch.ones(query + len(parents), query + len(parents), dtype=torch.bool).tril()
    seen[query:, query:] = torch.eye(len(parents), dtype=torch.bool)
    for place, parent in enumerate(parents):
        if parent >= 0:
            seen[query + place, query:] |= seen[query + parent, query:]
    return seen
