"""The compiled form of two parts of a decoding step (native/memory_parts.cpp); memory_parts.py is their definition.

Each says None where it cannot be used: without a compiler, on a GPU, for other types, and where gradients may be asked
for.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from foveal.attention.rows import Rows
from foveal.errors import InputError
from foveal.models.compiled import library, serves

SOURCE = "attention/native/memory_parts.cpp"

Part = tuple[Tensor, Tensor]


class _FoundKeys(ctypes.Structure):
    """`FoundKeys` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("ids", "products", "base", "more", "output", "sums")),
        *((name, ctypes.c_int64) for name in ("groups", "asked", "k", "width")),
        *((name, ctypes.c_int64) for name in ("base_count", "base_group", "base_row", "more_group", "more_row")),
        ("more_count", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("scale", "cap")),
        *((name, ctypes.c_int32) for name in ("bfloat16", "threads")),
    )


class _Clusters(ctypes.Structure):
    """`Clusters` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("queries", "lowest")),
        *((name, ctypes.c_void_p) for name in ("counts", "keys", "covariance", "values", "cross")),
        *((name, ctypes.c_void_p) for name in ("output", "sums")),
        *((name, ctypes.c_int64) for name in ("groups", "asked", "clusters", "width", "value_width")),
        ("scale", ctypes.c_float),
        ("threads", ctypes.c_int32),
    )


def read_found(ids: Tensor, products: Tensor, values: Rows, scale: float, softcap: float | None) -> Part | None:
    """The attention over found keys (H, Q, k), by their products. InputError: an id is of no value."""
    base, more = values.base, values.added
    even = base.stride(2) == more.stride(2) == 1
    native = library(SOURCE) if even and serves(base, more) else None
    if native is None:
        return None
    heads, each, k = ids.shape
    ids, products = ids.contiguous(), products.float().contiguous()
    output, sums = _room(heads, each, values.width), _room(heads, each)
    call = _FoundKeys(
        *(part.data_ptr() for part in (ids, products, base, more, output, sums)),
        *(values.groups, heads // values.groups * each, k, values.width),
        *(base.shape[1], base.stride(0), base.stride(1), more.stride(0), more.stride(1), more.shape[1]),
        *(scale, softcap or 0.0, int(base.dtype == torch.bfloat16), torch.get_num_threads()),
    )
    failed = native.foveal_read_found(ctypes.byref(call))
    if failed == 2:
        raise InputError(f"Keys up to {int(ids.max())} were found where there are {len(values)} values.")
    if failed:
        raise MemoryError("There is no memory to read the values of found keys.")
    return output, sums


def expect_rest(
    queries: Tensor, lowest: Tensor, clusters: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], scale: float
) -> Part | None:
    """The expected attention of queries (H, Q, D) over clusters (counts, keys, covariance, values, cross)."""
    counts, keys = clusters[:2]
    native = library(SOURCE) if serves(*clusters[1:], types=(torch.float32,)) else None
    if native is None:
        return None
    heads, each, width = queries.shape
    groups = len(keys)
    counts = counts.expand(groups, -1).float().contiguous()
    held = [counts, *(part.contiguous() for part in clusters[1:])]
    asked, least = queries.float().contiguous(), lowest.float().contiguous()
    output, sums = _room(heads, each, clusters[3].shape[2]), _room(heads, each)
    call = _Clusters(
        *(part.data_ptr() for part in (asked, least, *held, output, sums)),
        *(groups, heads // groups * each, keys.shape[1], width, output.shape[2]),
        *(scale, torch.get_num_threads()),
    )
    if native.foveal_expect_rest(ctypes.byref(call)):
        raise MemoryError("There is no memory to expect what was not found.")
    return output, sums


def _room(*shape: int) -> Tensor:
    """As the source writes it. The default type is another while a model is loaded, also by another thread."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")
