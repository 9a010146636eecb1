"""One query of each head over the nearest of the keys that it is pointed to: what a sparse decoding step computes.

    runs = Runs(starts, lengths)                       # (H, R) each: the keys starts … starts + lengths of a head
    output = nearest_attention(query, key, value, runs, count=512, scale=scale)        # (1, H, 1, d)

All listed keys are compared with the query, the `count` with the largest products are attended. A compiled kernel
(native/nearest_attention.cpp) reads runs as they lie in memory; without a compiler, or on a GPU, they are gathered.

Shapes    query (1, H, 1, d), keys (1, G, K, d), values (1, G, K, v), H a multiple of G
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention.dense import capped_attention
from foveal.errors import InputError
from foveal.models.compiled import library, serves

SOURCE = "attention/native/nearest_attention.cpp"
APART = "Runs must list as many keys of each head, all of the {keys} that there are."


@dataclass(frozen=True)
class Runs:
    """Keys of each head, in runs (H, R), int64; those of a head are as many as those of every other."""

    starts: Tensor
    lengths: Tensor

    @classmethod
    def whole(cls, heads: int, keys: int, device: torch.device | None = None) -> Runs:
        """All keys of each head."""
        lengths = torch.full((heads, 1), keys, device=device)
        return cls(torch.zeros_like(lengths), lengths)

    @property
    def listed(self) -> int:
        """Keys of a head."""
        return int(self.lengths[0].sum())

    def within(self, keys: int) -> bool:
        """Whether all heads list as many keys, of 0 to `keys` - 1."""
        ends = self.starts + self.lengths
        alike = self.lengths.sum(1) == self.lengths[0].sum()
        return bool(((self.starts >= 0) & (self.lengths >= 0) & (ends <= keys)).all() & alike.all())

    def places(self) -> Tensor:
        """The keys (H, listed) one by one."""
        heads, lengths = len(self.lengths), self.lengths.flatten()
        before = lengths.cumsum(0) - lengths
        moved = torch.repeat_interleave(self.starts.flatten() - before, lengths)
        return (moved + torch.arange(len(moved), device=moved.device)).view(heads, -1)


def nearest_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    runs: Runs,
    *,
    count: int,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The output (1, H, 1, v) over the `count` listed keys with the largest products; of equal ones the first listed.

    `sinks` (H,) are the model's, as in kernel.py; with them keys are gathered.

    InputError: keys or values of other shapes, more than one text or query, runs of other heads or keys, none or more
    keys than are listed.
    """
    if key.shape[:3] != value.shape[:3] or query.shape[1] % key.shape[1] or key.shape[3] != query.shape[3]:
        raise InputError(
            f"Queries {tuple(query.shape)}, keys {tuple(key.shape)} and values {tuple(value.shape)} do not fit: as "
            "many values as keys, queries as wide as keys, and heads a multiple of key heads are needed."
        )
    fits = runs.starts.shape == runs.lengths.shape and len(runs.lengths) == query.shape[1]
    listed = runs.listed if fits and runs.starts.dtype == runs.lengths.dtype == torch.int64 else 0
    if query.shape[0] != 1 or len(key) != 1 or query.shape[2] != 1 or not 1 <= count <= listed:
        raise InputError(
            f"{count} nearest of {listed} keys were asked for by queries {tuple(query.shape)}; it needs one query of "
            "one text (1, H, 1, d), runs for each of its heads, and at least one key, at most those listed."
        )
    found = library(SOURCE) if sinks is None and serves(query, key, value) else None
    if found is not None:
        return _native(found, (query, key, value), runs, (listed, count), scale, softcap)
    return plain(query, key, value, runs, count=count, scale=scale, softcap=softcap, sinks=sinks)


def plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    runs: Runs,
    *,
    count: int,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """As `nearest_attention`, of gathered keys: the fall-back."""
    if not runs.within(key.shape[2]):
        raise InputError(APART.format(keys=key.shape[2]))
    places = runs.places()
    heads = torch.arange(query.shape[1], device=key.device)[:, None]
    own = heads // (query.shape[1] // key.shape[1])
    if count < places.shape[1]:
        scores = torch.einsum("hcd,hd->hc", key[0][own, places].float(), query[0, :, 0].float())
        places = places[heads, scores.sort(dim=1, descending=True, stable=True).indices[:, :count]]
    keys, values = key[0][own, places][None], value[0][own, places][None]
    if softcap is not None or sinks is not None:
        return capped_attention(query, keys, values, None, scale=scale, softcap=softcap, sinks=sinks)
    return scaled_dot_product_attention(query, keys, values, scale=scale)


class _Nearest(ctypes.Structure):
    """`Nearest` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("query", "key", "value", "output", "starts", "lengths")),
        *((name, ctypes.c_int64) for name in ("heads", "groups", "runs", "width", "value_width")),
        *((name, ctypes.c_int64) for name in ("query_head", "key_group", "key_row", "value_group", "value_row")),
        *((name, ctypes.c_int64) for name in ("keys", "listed", "count")),
        *((name, ctypes.c_float) for name in ("scale", "cap")),
        *((name, ctypes.c_int32) for name in ("bfloat16", "threads")),
    )


def _native(
    found: ctypes.CDLL,
    parts: tuple[Tensor, Tensor, Tensor],
    runs: Runs,
    keys: tuple[int, int],
    scale: float,
    softcap: float | None,
) -> Tensor:
    q, k, v = (part if part.stride(-1) == 1 else part.contiguous() for part in parts)
    out = q.new_empty(1, q.shape[1], 1, v.shape[3])
    starts, lengths = runs.starts.contiguous(), runs.lengths.contiguous()
    call = _Nearest(
        *(part.data_ptr() for part in (q, k, v, out, starts, lengths)),
        *(q.shape[1], k.shape[1], starts.shape[1], q.shape[3], v.shape[3]),
        *(q.stride(1), k.stride(1), k.stride(2), v.stride(1), v.stride(2)),
        *(k.shape[2], *keys),
        *(scale, softcap or 0.0),
        *(int(q.dtype == torch.bfloat16), torch.get_num_threads()),
    )
    failed = found.foveal_nearest_attention(ctypes.byref(call))
    if failed == 2:
        raise InputError(APART.format(keys=k.shape[2]))
    if failed:
        raise MemoryError(f"There was no memory for the scores of {keys[0]} keys.")
    return out
