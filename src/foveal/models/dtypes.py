"""The type of a model's weights as a caller names it: "float32", or PyTorch's own torch.float32."""

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
