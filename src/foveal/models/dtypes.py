"""The type of a model's weights: as a caller names it ("float32", or PyTorch's own torch.float32), and what is fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
