"""What sparse methods estimate attention by, without ever making it: a few exact rows, and the means of blocks.

Shapes    queries (B, H, Q, D), keys (B, G, K, D), H a multiple of G; all results float32
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn.functional import pad

from foveal.errors import InputError
from foveal.models.compiled import library, serves

SOURCE = "attention/native/last_masses.cpp"

HALVES, TOLD_APART = (torch.bfloat16, torch.float16), 64.0
"""Types of 16 bits, and the products up to which they serve: beyond, neighbours in bfloat16 lie 0.5 and more apart. The
keys of some layers share an offset that makes all products hundreds, which the softmax does not see."""


def check_pair(query: Tensor, key: Tensor) -> None:
    """InputError: these are no queries and keys of the same texts in the shapes above, the queries last of the keys."""
    fits = query.dim() == key.dim() == 4 and query.shape[0] == key.shape[0] and query.shape[3] == key.shape[3]
    if not fits or not key.shape[1] or query.shape[1] % key.shape[1] or query.shape[2] > key.shape[2]:
        raise InputError(
            f"Queries {tuple(query.shape)} and keys {tuple(key.shape)} do not fit; give (B, H, Q, D) and (B, G, K, D), "
            "H a multiple of G, Q at most K."
        )


def check_finite(query: Tensor, key: Tensor, *made: Tensor) -> None:
    """InputError: what was made of queries and keys holds what is no number; it says which of both do."""
    if not all(bool(part.isfinite().all()) for part in made):
        which = [name for name, part in (("Queries", query), ("Keys", key)) if not part.isfinite().all()]
        raise InputError(
            f"{' and '.join(which) or 'Products of queries and keys'} hold NaN or infinity, by which nothing can be "
            "chosen. Load the model in bfloat16 or float32 if it was in float16; else its weights are damaged."
        )


def capped(scores: Tensor, softcap: float | None) -> Tensor:
    """Scaled scores of a model with soft-capping, c * tanh(s / c) (Gemma 2, section 2.2); None: as they are."""
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def last_masses(
    query: Tensor, key: Tensor, count: int, *, scale: float, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """The mean attention of the last `count` queries to each key and at each distance 0, 1, …: (B, H, K) twice.

    Each sums to 1. Without gradients on a CPU by native/last_masses.cpp, which makes no weights; else from them.
    """
    found = library(SOURCE) if serves(query, key) else None
    if found is not None:
        return _added_up(found, _last_products(query, key, count, scale), softcap)
    weights = last_queries(query, key, count, scale=scale, softcap=softcap)
    return column_mass(weights), slash_mass(weights)


class _Masses(ctypes.Structure):
    """`Masses` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("scores", "columns", "slashes")),
        *((name, ctypes.c_int64) for name in ("heads", "rows", "keys")),
        ("cap", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("bfloat16", "threads")),
    )


def _added_up(found: ctypes.CDLL, scores: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    batch, heads, count, keys = scores.shape
    columns, slashes = (scores.new_empty(batch, heads, keys, dtype=torch.float32) for _ in range(2))
    call = _Masses(
        *(part.data_ptr() for part in (scores, columns, slashes)),
        *(batch * heads, count, keys, softcap or 0.0),
        *(int(scores.dtype == torch.bfloat16), torch.get_num_threads()),
    )
    if found.foveal_last_masses(ctypes.byref(call)):
        raise MemoryError(f"There was no memory for a row of {keys} scores.")
    return columns, slashes


def last_queries(query: Tensor, key: Tensor, count: int, *, scale: float, softcap: float | None = None) -> Tensor:
    """The causal softmax attention of the last `count` queries over all keys: (B, H, count, K)."""
    scores = capped(_last_products(query, key, count, scale).float(), softcap)
    count, keys = scores.shape[2:]
    hidden = torch.ones(count, count, dtype=torch.bool, device=query.device).triu(1)
    scores[..., keys - count :].masked_fill_(hidden, -torch.inf)
    weights: Tensor = scores.softmax(-1)
    return weights


def _last_products(query: Tensor, key: Tensor, count: int, scale: float) -> Tensor:
    """Scaled products of the last `count` queries with all keys (B, H, count, K), in their type where that tells the
    greatest of a query apart, else in float32.
    """
    count = min(count, query.shape[2])
    group = query.shape[1] // key.shape[1]
    rows = (query[:, :, -count:] * scale).reshape(len(query), key.shape[1], group * count, -1)
    scores = (rows @ key.transpose(-1, -2)).view(*query.shape[:2], count, key.shape[2])
    if scores.dtype not in HALVES or float(scores.detach().amax(-1).abs().max()) <= TOLD_APART:
        return scores
    del scores, rows  # a long text's are large
    return _last_products(query[:, :, -count:].float(), key.float(), count, scale)


def column_mass(weights: Tensor) -> Tensor:
    """The mean attention to each key: (B, H, R, K) -> (B, H, K); sums to 1."""
    return weights.mean(2)


def slash_mass(weights: Tensor) -> Tensor:
    """The mean attention at each distance 0, 1, … of the last R queries: (B, H, R, K) -> (B, H, K); sums to 1.

    Row r stands at position K - R + r: read backwards and moved by R - 1 - r, all rows have a distance in one column.
    """
    rows, keys = weights.shape[2:]
    room = pad(weights, (rows, 0))  # distances beyond a row's start hold nothing
    return _skewed(room, keys).sum(2).flip(-1) / rows


def _skewed(room: Tensor, keys: int) -> Tensor:
    """Of rows padded in front by their number, each read from one place later than the one before: (…, R, K)."""
    rows, width = room.shape[2:]
    return room.as_strided((*room.shape[:2], rows, keys), (*room.stride()[:2], width + 1, 1), room.storage_offset() + 1)


def to_blocks(mass: Tensor, size: int) -> Tensor:
    """The sum over each `size` neighbours of the last dimension; the last block may be shorter."""
    return pad(mass, (0, -mass.shape[-1] % size)).view(*mass.shape[:-1], -1, size).sum(-1)


def block_means(x: Tensor, size: int, *, lead: int = 0) -> Tensor:
    """The mean of each `size` neighbours of (B, H, N, D): (B, H, blocks, D) of what there is.

    The first block lacks its first `lead` places, the last may be shorter.
    """
    start = min((size - lead) % size, x.shape[2])
    end = start + (x.shape[2] - start) // size * size
    whole = x[:, :, start:end].reshape(*x.shape[:2], -1, size, x.shape[3])
    inner = torch.stack([part.float().mean(2) for part in whole.unbind(1)], 1)  # one head at a time stays in the cache
    edges = [x[:, :, part].float().mean(2, keepdim=True) for part in (slice(0, start), slice(end, None))]
    return torch.cat([*edges[:1][: int(start > 0)], inner, *edges[1:][: int(end < x.shape[2])]], 2)


def by_share(scores: Tensor, rows: Tensor, columns: Tensor, share: float) -> Tensor:
    """Of each row's causal blocks the `share` of the highest scores, block 0 and the row's own always among them.

    scores (…, R, C), rows (R,) and columns (C,) the numbers of the blocks; a row keeps at least two, if it has them.
    """
    own, causal = columns == rows[:, None], columns <= rows[:, None]
    ranked = scores.masked_fill(~causal, -torch.inf).masked_fill((own | (columns == 0)) & causal, torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    wanted = (share * (rows + 1).float()).round().clamp(min=2)[:, None]
    keep = (torch.arange(len(columns), device=scores.device) < wanted).expand_as(scores)
    return torch.zeros_like(keep).scatter(-1, order, keep) & causal


def largest(scores: Tensor, count: int) -> Tensor:
    """Where the `count` largest along the last dimension stand, of equals the first: booleans. Sorts nothing."""
    least = scores.topk(count, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    above, equal = scores > least, scores == least
    room = count - above.sum(-1, keepdim=True, dtype=torch.int32)
    return above | (equal & (equal.cumsum(-1, dtype=torch.int32) <= room))
