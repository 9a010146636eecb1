"""What a landmark model keeps of a text: landmarks in fast memory, blocks in slow memory, and the unfinished block.

    cache = LandmarkCache(layers, settings, …)      # LandmarkModel.make_cache makes it
    layer.attend(q, k, v, scale)                    # a chunk: it looks at chosen blocks and at the local text

For each chunk a query scores the landmarks of all blocks that were kept, chooses `top_k`, and looks by the grouped rule
at those blocks and at the local text (the unfinished block and the chunk itself); then finished blocks are kept. Blocks
that were not chosen take no part. Where nothing was left out, that is the attention over the whole text.

Positions, "stingy": k + 1 places for blocks stand before the local text. To be scored, the latest k blocks stand in the
last k of them, in order, and all older ones together in the first. Once chosen, blocks stand side by side by age, with
one place left empty between old and latest. So no distance is ever greater than in training. "true": every block stands
where it stood; for models that were trained with jumps.

Keys are kept turned by their place within the block alone; a block is moved by turning the query back.

Shapes    q (B, H, C, D), k and v (B, G, C, D), not turned; chosen blocks (B, H or 1, C or 1, k), ascending
Source    arXiv 2305.16300, sections 3.2 and 3.3 (stingy positions: appendix); the moving of queries is ours
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from foveal.attention.block_store import BlockStore
from foveal.attention.kernel import merge
from foveal.attention.key_index import IndexSettings, KeyIndex, build
from foveal.attention.landmark import landmark_attention
from foveal.attention.unrotated import Rotations
from foveal.errors import InputError
from foveal.ranges import COUNT, SEED, require_settings

SELECTIONS = ("token_and_head", "head", "token", "random", "latest")
"""Own blocks for each token and head; the same for all tokens of a chunk; the same for all heads. As controls: drawn
blindly, and the latest ones, which makes a sliding window of it."""
POSITIONS = ("stingy", "true")

GATHERED = 2**23
"""Numbers of keys that are fetched at a time."""


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How a text is read by landmarks: `top_k` blocks opened for a query, chosen by `selection`.

    Checked when made, and against the model when a cache is made. InputError: a value out of its range.
    """

    top_k: int = 4  # blocks that a query opens
    selection: str = "token_and_head"  # one of SELECTIONS
    positions: str = "stingy"  # one of POSITIONS
    chunk: int | None = None  # positions read at a time; None: as many as were trained for
    most_blocks: int | None = None  # that are kept; older ones are forgotten. None: all
    folder: Path | None = None  # where blocks lie, in mapped files; None: in memory
    seed: int = 0  # of the selection "random"

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS or self.positions not in POSITIONS:
            raise InputError(
                f"A landmark model got selection {self.selection!r}, positions {self.positions!r}; there are: "
                f"{', '.join(SELECTIONS)}; {', '.join(POSITIONS)}."
            )
        require_settings("A landmark model", self, top_k=COUNT, chunk=COUNT, most_blocks=COUNT, seed=SEED)
        if self.most_blocks is not None and self.most_blocks < self.top_k:
            raise InputError(f"{self.most_blocks} blocks are kept, and {self.top_k} of them looked at; keep more.")


@dataclass
class Opened:
    """Which blocks one layer opened for one chunk: `blocks` (B, H or 1, C or 1, k), and what each got of the attention,
    `mass` (B, H, C, k)."""

    layer: int
    first: int  # position of the chunk's first query in the text with its landmarks
    blocks: Tensor
    mass: Tensor


@dataclass
class LandmarkLayer:
    """The part of one layer."""

    number: int
    block: int
    settings: ReadSettings
    rotations: Rotations
    store: BlockStore = field(default_factory=BlockStore)
    marks: Tensor | None = None  # (B, G, room, D) from block `marked` on, turned by block - 1
    marked: int = 0
    tail: tuple[Tensor, Tensor] | None = None
    read: int = 0  # positions so far
    first: int = 0  # the oldest block that is still kept
    index: KeyIndex | None = None
    indexed: int = 0
    queries: Tensor | None = None  # the last chunk's, turned: what an index learns from
    trace: list[Opened] | None = None
    draw: torch.Generator = field(default_factory=torch.Generator)

    @property
    def finished(self) -> int:
        """Blocks so far, forgotten ones among them."""
        return self.read // self.block

    @property
    def kept(self) -> int:
        """Blocks that can be looked at."""
        return self.finished - self.first

    @property
    def fast_bytes(self) -> int:
        """Bytes of landmarks and of the unfinished block."""
        tail = sum(part.nbytes for part in self.tail) if self.tail else 0
        return tail + (0 if self.marks is None else self._marks(self.first, self.finished).nbytes)

    # -- looking ---------------------------------------------------------------------------------------------------

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """The output (B, H, C, D) of the next chunk, which is then kept."""
        turned, asking, (local_k, local_v), (out, local) = self._within(q, k, v, scale)
        if self.kept:
            chosen = self.choose(turned, scale)
            found, opened, gates = self._look(q, asking, chosen, scale)
            out, total = merge([(out, local.float()), (found, opened)])
            if self.trace is not None:
                mass = gates * (opened - total).exp()[..., None]
                self.trace.append(Opened(self.number, self.read, chosen.cpu(), mass.cpu()))
        self.queries = turned.detach()
        self._keep(local_k, local_v, q.shape[2])
        return out

    def _within(
        self, q: Tensor, k: Tensor, v: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The queries as they are turned, their places, the unfinished block with the chunk, and attention to it."""
        if self.tail is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(self.tail, (k, v), strict=True))
        start = self.block * (self.finished if self.settings.positions == "true" else min(self.kept, self.top_k + 1))
        places = torch.arange(start, start + k.shape[2], device=q.device)
        asking = places[-q.shape[2] :]
        turned = self.rotations.turned(q, asking, self.number)
        keys = self.rotations.turned(k, places, self.number)
        out = landmark_attention(turned, keys, v, block=self.block, scale=scale)
        return turned, asking, (k, v), out

    @property
    def top_k(self) -> int:
        return self.settings.top_k

    def choose(self, turned: Tensor, scale: float) -> Tensor:
        """The blocks that queries (B, H, C, D), turned to their places, open: (B, H or 1, C or 1, k), ascending."""
        wanted = min(self.top_k, self.kept)
        if self.settings.selection == "random":
            shape = (*turned.shape[:3], self.kept)
            found = torch.rand(shape, generator=self.draw, dtype=torch.float32).topk(wanted).indices.to(turned.device)
        elif wanted == self.kept or self.settings.selection == "latest":
            found = torch.arange(self.kept - wanted, self.kept, device=turned.device).expand(len(turned), 1, 1, -1)
        elif self.index is not None:
            found = self._searched(turned, wanted)
        else:
            found = self._voted(self._scores(turned, scale)).topk(wanted).indices
        return found.sort(-1).values + self.first

    def _voted(self, scores: Tensor) -> Tensor:
        """Scores (B, H, C, n) as the selection weighs them."""
        if self.settings.selection == "token_and_head":
            return scores
        return scores.softmax(-1).amax(2 if self.settings.selection == "head" else 1, keepdim=True)

    def _scores(self, turned: Tensor, scale: float) -> Tensor:
        """Of all kept landmarks at the places where they are scored, (B, H, C, n) float32."""
        marks = self._marks(self.first, self.finished)
        latest = self._latest_places(turned.device)
        moved = self.rotations.turned(marks[:, :, -len(latest) :], latest, self.number)
        marks = torch.cat([marks[:, :, : -len(latest)], moved], 2)
        folded = turned.reshape(len(turned), marks.shape[1], -1, turned.shape[3])
        return (folded @ marks.mT).float().mul_(scale).view(*turned.shape[:3], -1)

    def _latest_places(self, device: torch.device) -> Tensor:
        """How far the landmarks of the latest blocks are moved to be scored; all older ones are not."""
        if self.settings.positions == "true":
            return torch.arange(self.first, self.finished, device=device) * self.block
        latest = min(self.kept, self.top_k)
        return (torch.arange(latest, device=device) + (self.kept > self.top_k)) * self.block

    def starts(self, chosen: Tensor) -> Tensor:
        """Where chosen blocks begin, once chosen."""
        if self.settings.positions == "true":
            return chosen * self.block
        order = torch.arange(chosen.shape[-1], device=chosen.device)
        latest = (chosen >= self.finished - self.top_k) & (self.kept > self.top_k)
        return (order + latest) * self.block

    def _look(self, q: Tensor, asking: Tensor, chosen: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """The attention over chosen blocks alone: out (B, H, C, D), sums (B, H, C), each block's share (B, H, C, k)."""
        heads, count = q.shape[1], q.shape[2]
        chosen = chosen.expand(-1, heads, -1, -1)
        each = chosen.shape[3] * self.block * q.shape[3] * q.shape[1] * len(q)
        step = count if chosen.shape[2] == 1 else max(1, GATHERED // each)
        parts = []
        for at in range(0, count, step):
            some = chosen if chosen.shape[2] == 1 else chosen[:, :, at : at + step]
            asked = self._moved(q[:, :, at : at + step], asking[at : at + step], some)
            parts.append(_open(asked, *self.store.fetch(some - self.first, like=q), scale))
        out, sums, gates = (torch.cat(part, 2) for part in zip(*parts, strict=True))
        return out, sums, gates

    def _moved(self, q: Tensor, asking: Tensor, chosen: Tensor) -> Tensor:
        """Queries as far from a block's beginning as they stand from where it was put: (B, H, C, k, D)."""
        apart = asking[:, None] - self.starts(chosen)  # (B, H, C, k)
        return self.rotations.turned(q[..., None, :].expand(*apart.shape, -1), apart, self.number)

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _keep(self, keys: Tensor, values: Tensor, new: int) -> None:
        """Put finished blocks of the local text into the store, and hold the rest."""
        blocks = keys.shape[2] // self.block
        whole = blocks * self.block
        if blocks:
            inner = torch.arange(whole, device=keys.device) % self.block
            turned = self.rotations.turned(keys[:, :, :whole], inner, self.number)
            turned, held = (_in_blocks(part, self.block) for part in (turned, values[:, :, :whole]))
            self._mark(turned[:, :, :, -1])
            self.store.append(turned, held)
        self.tail = keys[:, :, whole:].clone(), values[:, :, whole:].clone()
        self.read += new
        self._forget()
        self._index_more()

    def _marks(self, start: int, end: int) -> Tensor:
        """The landmarks of blocks that are kept."""
        assert self.marks is not None
        return self.marks[:, :, start - self.marked : end - self.marked]

    def _mark(self, made: Tensor) -> None:
        count = self.finished
        end = count + made.shape[2]
        if self.marks is None or end - self.marked > self.marks.shape[2]:
            larger = made.new_empty(*made.shape[:2], max(64, 2 * (end - self.first)), made.shape[3])
            if self.marks is not None:
                larger[:, :, : self.kept] = self._marks(self.first, count)
            self.marks, self.marked = larger, self.first
        self._marks(count, end).copy_(made)

    def _forget(self) -> None:
        most = self.settings.most_blocks
        if most is not None and self.kept > most:
            self.store.forget(self.kept - most)
            self.first = self.finished - most

    # -- an index of landmarks -------------------------------------------------------------------------------------

    def build_index(self, kind: str, settings: IndexSettings | None) -> None:
        """Search older landmarks by an index of that kind from now on. InputError: it cannot be."""
        if self.settings.selection != "token_and_head" or self.settings.positions != "stingy":
            raise InputError("An index of landmarks serves the selection token_and_head at stingy positions.")
        if self.settings.most_blocks is not None:
            raise InputError("An index forgets nothing: read without most_blocks.")
        if self.marks is None or len(self.marks) != 1:
            raise InputError("An index is built over one text that was read; batches have none.")
        old = self.kept - self.top_k
        if old < 1:
            raise InputError(f"{self.kept} blocks were kept, of which {self.top_k} are always scored; read more first.")
        assert self.queries is not None
        self.index = build(kind, self.marks[0, :, :old].float().cpu(), self.queries[0].float().cpu(), settings)
        self.indexed = old

    def _index_more(self) -> None:
        old = self.kept - self.top_k
        if self.index is not None and old > self.indexed:
            self.index.add(self._marks(self.indexed, old)[0].float().cpu())
            self.indexed = old

    def _searched(self, turned: Tensor, wanted: int) -> Tensor:
        """What the index and the latest landmarks give, (1, H, C, k)."""
        assert self.index is not None
        found = self.index.search(turned[0].float().cpu(), wanted)  # an index lies in the processor's memory
        near, scored = (part.to(turned.device) for part in (found.ids, found.products))
        latest = self._latest_places(turned.device)
        marks = self.rotations.turned(self._marks(self.indexed, self.finished)[0], latest, self.number)
        folded = turned[0].reshape(len(marks), -1, turned.shape[3])
        products = (folded @ marks.mT).float().view(*turned.shape[1:3], -1)
        ids = torch.arange(self.indexed, self.finished, device=turned.device).expand(products.shape)
        old = scored.masked_fill(near < 0, -math.inf)
        best = torch.cat([old, products], -1).topk(wanted).indices
        return torch.cat([near.clamp(min=0), ids], -1).gather(-1, best)[None]


def _in_blocks(x: Tensor, block: int) -> Tensor:
    """(B, G, n * b, D) -> (B, G, n, b, D)."""
    return x.reshape(*x.shape[:2], -1, block, x.shape[3])


def _open(asked: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, H, C, k, D) over blocks (B, H, C or 1, k, b, D) by their landmarks: as `_look`."""
    if keys.shape[2] == 1:  # the same blocks for all: one product for each
        scores = torch.einsum("bhckd,bhkjd->bhckj", asked, keys[:, :, 0])
    else:
        scores = (keys @ asked[..., None])[..., 0]
    scores = scores.float() * scale
    marks = scores[..., -1]
    sums = marks.logsumexp(-1)
    gates = (marks - sums[..., None]).exp()
    weights = (scores[..., :-1].softmax(-1) * gates[..., None]).to(values.dtype)
    if keys.shape[2] == 1:
        return torch.einsum("bhckj,bhkjd->bhcd", weights, values[:, :, 0, :, :-1]), sums, gates
    told = weights.flatten(-2)[..., None, :] @ values[..., :-1, :].flatten(3, 4)
    return told[..., 0, :], sums, gates


class LandmarkCache:
    """What a `LandmarkModel` keeps of one or more texts of equal length, read in step: landmarks, blocks, the rest.

    Mohtashami and Jaggi, NeurIPS 2023 (arXiv 2305.16300), sections 3.2 and 3.3. `LandmarkModel.make_cache` makes it.
    """

    def __init__(self, layers: list[LandmarkLayer], identity: str, settings: ReadSettings) -> None:
        self.layers, self.identity, self.settings = layers, identity, settings
        self.batch: int | None = None

    @property
    def positions(self) -> int:
        """Positions read, landmarks among them."""
        return self.layers[0].read

    @property
    def tokens(self) -> int:
        """Ordinary tokens read."""
        block = self.layers[0].block
        return self.positions - self.positions // block

    @property
    def blocks(self) -> int:
        """Blocks that can be looked at."""
        return self.layers[0].kept

    @property
    def fast_bytes(self) -> int:
        """Bytes of landmarks and unfinished blocks."""
        return sum(layer.fast_bytes for layer in self.layers)

    @property
    def slow_bytes(self) -> int:
        """Bytes of the blocks' keys and values."""
        return sum(layer.store.nbytes for layer in self.layers)

    def build_index(self, kind: str, settings: IndexSettings | None = None) -> None:
        """Search landmarks by an index (key_index.py: flat, roar, hnsw, ivf) instead of scoring all of them."""
        for layer in self.layers:
            layer.build_index(kind, settings)

    def watch(self, on: bool = True) -> None:
        """Note from now on which blocks are opened; what was noted before is forgotten."""
        for layer in self.layers:
            layer.trace = [] if on else None

    def trace(self) -> list[Opened]:
        """What was noted, by layer and chunk."""
        return [one for layer in self.layers for one in layer.trace or []]

    def sources(self) -> Tensor:
        """What each block got of the attention since `watch`, over layers, heads and tokens: (B, blocks so far)."""
        finished = self.layers[0].finished
        made = torch.zeros(self.batch or 1, finished, dtype=torch.float32)
        for one in self.trace():
            mass = one.mass
            ids = one.blocks.expand(mass.shape)
            made.scatter_add_(1, ids.flatten(1), mass.flatten(1))
        return made

    def token_span(self, block: int) -> tuple[int, int]:
        """The ordinary tokens of a block, first and one past the last."""
        inner = self.layers[0].block - 1
        return block * inner, (block + 1) * inner
