"""The type of a model's weights: as a caller names it ("float32", or PyTorch's own torch.float32), and what is fast;
and the type of numbers that are made without one, which transformers changes while it makes a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError

if TYPE_CHECKING:
    import torch


def dtype_name(dtype: str | torch.dtype | None, choices: Sequence[str], *, kind: str) -> str | None:
    """One of the choices, or None where nothing is asked for. InputError: another type; `kind` is what refuses it."""
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    if name not in (None, *choices):
        raise InputError(f"dtype is {dtype!r}; {kind} takes {', '.join(choices)}.")
    return name


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices natively (AMX or AVX-512 BF16)."""
    import torch

    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


changing = RLock()
"""Held while the type of numbers is another one; who wants the lock of quiet.py, too, takes that second."""


@cache
def mind_forks() -> None:
    """From now on a fork waits until no other thread makes a model: in the child that thread would be gone, the lock
    held for ever, and the type that of its model."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=changing.acquire, after_in_parent=changing.release, after_in_child=changing.release)


@contextmanager
def usual_type() -> Iterator[None]:
    """Inside, layers are made in the usual type: no other thread's load of a model has put its own in that place."""
    mind_forks()
    with changing:
        yield


@cache
def load_in_turn() -> None:
    """From now on transformers makes the layers of one model at a time.

    Meanwhile the default type of all threads is that model's, and then again what it was: of two at once, the second
    would put back the first one's, for as long as the process runs.
    """
    from transformers import modeling_utils

    mind_forks()
    transformers: Any = modeling_utils
    theirs = getattr(transformers, "local_torch_dtype", None)
    if theirs is None:  # another version
        return

    @contextmanager
    def in_turn(*given: Any, **named: Any) -> Iterator[None]:
        with changing, theirs(*given, **named):
            yield

    transformers.local_torch_dtype = in_turn
