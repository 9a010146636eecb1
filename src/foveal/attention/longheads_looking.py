"""LongHeads, how a query looks at the chunks that it chose: as if they stood one behind the other.

The chunk of rank r among k stands at r l …, the query's own at (k - 1) l …, so no distance is longer than k l. Keys are
kept turned by their offset within the chunk; what is left is a turn by whole chunks, of the query or of the keys:

    by_pairs    each query chooses for itself: it is turned once for each rank; all that want a chunk read it together
    by_blocks   the queries of a chunk choose together: the keys are turned, by rank, and one softmax runs over all

Both are exact, and the same where the choices are. Chunks are read where they lie, be it a mapped file.

Shapes    queries (H, Q, D) not turned, at places (Q,); chosen (H or G, Q or chunks, k) chunk numbers, ascending, the
          query's own last; keys and values: rows of G groups in chunks of l  ->  output (H, Q, E)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.attention.dense import dense_attention
from foveal.attention.longheads_choice import in_chunks, spread
from foveal.attention.masks import Mask
from foveal.attention.memory_parts import Scores
from foveal.attention.rotation import Rotation
from foveal.attention.rows import Rows

AT_ONCE = 2**24
"""Numbers of turned queries, or of what these give to the tokens of a chunk, that are held at a time."""

WARM = 2**18
"""Numbers of keys that are turned at a time: few enough to stay in the processor's cache."""


@dataclass
class Held:
    """The keys and values of a layer, and how they are read."""

    keys: Rows  # turned by the offset within the chunk
    values: Rows
    rotation: Rotation
    remap: bool  # False: chunks stay where they stand in the text

    @property
    def chunk(self) -> int:
        return self.keys.chunk

    def places(self, chosen: Tensor) -> Tensor:
        """Where the chosen chunks (…, k) are taken to begin, in tokens."""
        if self.remap:
            return torch.arange(chosen.shape[-1], device=chosen.device) * self.chunk
        return chosen * self.chunk


@dataclass
class Seen:
    """What pairs of queries and chunks saw, for those who watch: weights (pairs, l), heads and chunks (pairs,)."""

    weights: Tensor
    heads: Tensor
    chunks: Tensor


def by_pairs(
    held: Held, queries: Tensor, places: Tensor, chosen: Tensor, scores: Scores, watched: list[int] | None = None
) -> tuple[Tensor, Seen | None]:
    """The output where each query has a choice of its own; what the heads `watched` saw."""
    heads, chosen = len(queries), spread(chosen, len(queries))
    pieces = max(1, AT_ONCE // (heads * chosen.shape[-1] * max(held.chunk, queries.shape[-1])))
    parts = [
        _pairs(held, *piece, scores, watched)
        for piece in zip(
            torch.split(queries, pieces, 1), torch.split(places, pieces), torch.split(chosen, pieces, 1), strict=True
        )
    ]
    seen = [(one.weights, one.heads, one.chunks) for _, one in parts if one is not None]
    told = Seen(*map(torch.cat, zip(*seen, strict=True))) if seen else None
    return torch.cat([out for out, _ in parts], 1), told


def _pairs(
    held: Held, queries: Tensor, places: Tensor, chosen: Tensor, scores: Scores, watched: list[int] | None
) -> tuple[Tensor, Seen | None]:
    shape, size = chosen.shape, held.chunk
    turned = _turned(held, queries, places, chosen).flatten(0, 2)  # (pairs, D)
    group = torch.arange(shape[0], device=chosen.device) // (shape[0] // held.keys.groups)
    last = torch.full(shape, size - 1, device=chosen.device)
    last[..., -1] = places % size  # of its own chunk a query sees no more than what stands before it
    code = (group[:, None, None] * (int(chosen.max()) + 1) + chosen).flatten()
    order = code.argsort(stable=True)
    _, counts = torch.unique_consecutive(code[order], return_counts=True)
    ends = counts.cumsum(0)
    firsts = order[ends - counts]  # a pair of each chunk
    groups = group[:, None, None].expand(shape).flatten()[firsts].tolist()
    chunks, cut = chosen.flatten()[firsts].tolist(), last.flatten()[order]
    asked = turned[order]
    spans = list(zip(groups, chunks, (ends - counts).tolist(), ends.tolist(), strict=True))
    logits = asked.new_empty(len(asked), size)
    for group_of, chunk, start, end in spans:
        logits[start:end] = asked[start:end] @ held.keys.one(group_of, chunk).float().T
    hidden = torch.arange(size, device=asked.device) > cut[:, None]
    logits = scores(logits).masked_fill(hidden, -torch.inf)
    sums = logits.logsumexp(-1)
    weights = (logits - sums[:, None]).exp()
    output = asked.new_empty(len(asked), held.values.width)
    for group_of, chunk, start, end in spans:
        output[start:end] = weights[start:end] @ held.values.one(group_of, chunk).float()
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    sums = sums[back].view(shape)
    share = (sums - sums.logsumexp(-1, keepdim=True)).exp()
    merged = (share[..., None] * output[back].view(*shape, -1)).sum(2)
    seen = _seen(weights[back], share, chosen, watched) if watched else None
    return merged, seen


def _turned(held: Held, queries: Tensor, places: Tensor, chosen: Tensor) -> Tensor:
    """Each query (H, Q, k, D) float32 as it meets each of its chunks."""
    begin = held.places(chosen)
    apart = begin[..., -1:] - begin + (places % held.chunk)[:, None]  # (Q, k), or (H, Q, k) if chunks are not moved
    return held.rotation(queries.float()[:, :, None], apart)


def _seen(weights: Tensor, share: Tensor, chosen: Tensor, watched: list[int]) -> Seen:
    """What the watched heads saw, by pair."""
    heads = torch.arange(len(chosen), device=chosen.device)[:, None, None].expand(chosen.shape)
    kept = torch.isin(heads, torch.tensor(watched, device=chosen.device))
    paid = weights.view(*chosen.shape, -1) * share[..., None]
    return Seen(paid[kept], heads[kept], chosen[kept])


def by_blocks(held: Held, queries: Tensor, chosen: Tensor, scores: Scores) -> Tensor:
    """The output of whole chunks of queries; chosen (H or G, chunks, k)."""
    rows, size = len(chosen), held.chunk
    at_once = max(1, WARM // (rows * size * queries.shape[-1]))
    blocks = in_chunks(queries, size)  # (H, chunks, l, D)
    mask = Mask.causal(1, size, chosen.shape[-1] * size, device=queries.device)  # all before its own is seen whole
    parts = []
    for start in range(0, blocks.shape[1], at_once):
        here = slice(start, start + at_once)
        parts.append(_blocks(held, blocks[:, here], chosen[:, here], mask, scores))
    return torch.cat(parts, 1).flatten(1, 2)


def _blocks(held: Held, queries: Tensor, chosen: Tensor, mask: Mask, scores: Scores) -> Tensor:
    heads, count, size, width = queries.shape
    rows = len(chosen)
    offsets = torch.arange(size, device=queries.device)
    own = held.places(chosen).expand(chosen.shape)[0, :, -1]  # where each chunk of queries is taken to begin
    asked = held.rotation(queries, own[:, None] + offsets)
    group = (torch.arange(rows, device=chosen.device) // (rows // held.keys.groups))[:, None]
    keys, values = (
        part.flatten(0, 1).flatten(1, 2)[:, None]  # (rows * chunks, 1, k l, …)
        for part in (_moved(held, group, chosen), held.values.chunks(group[..., None], chosen))
    )
    asked = asked.view(rows, -1, count, size, width).transpose(1, 2).flatten(0, 1)
    out = dense_attention(asked, keys, values, mask, scale=scores.scale, softcap=scores.softcap)
    return out.reshape(rows, count, heads // rows, size, -1).transpose(1, 2).reshape(heads, count, size, -1)


def _moved(held: Held, group: Tensor, chosen: Tensor) -> Tensor:
    """The keys (X, chunks, k, l, D) of the chosen chunks, turned on to where these are taken to begin."""
    places = held.places(chosen).expand(chosen.shape)
    moved = None
    for rank in range(chosen.shape[-1]):  # one at a time: what is turned stays in the processor's cache
        here = held.keys.chunks(group, chosen[..., rank])
        if moved is None:
            moved = here.new_empty((*chosen.shape, *here.shape[-2:]))
        begin = places[:1, :1, rank, None] if held.remap else places[..., rank, None]
        moved[:, :, rank] = here if held.remap and not rank else held.rotation(here, begin)
    assert moved is not None
    return moved
