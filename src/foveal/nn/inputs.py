"""What every sequence layer asks of its input, checked once, at its door."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.errors import InputError


def require_sequence(layer: str, x: Tensor, dim: int, mask: Tensor | None = None) -> None:
    """InputError: x is not (B, T, dim) with at least one token, or the mask is not (B, T) of booleans."""
    if x.dim() != 3 or x.shape[-1] != dim:
        raise InputError(f"{layer} got an input of shape {tuple(x.shape)}; it needs (batch, tokens, {dim}).")
    if x.shape[1] == 0:
        raise InputError(f"{layer} got a sequence of no tokens; give at least one, or keep the state as it is.")
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
        raise InputError(
            f"{layer} got a mask {tuple(mask.shape)}, {mask.dtype}; it needs {tuple(x.shape[:2])}, torch.bool, "
            "True where a token counts."
        )


def require_token(layer: str, x: Tensor, dim: int) -> None:
    """InputError: x is not (B, dim)."""
    if x.dim() != 2 or x.shape[-1] != dim:
        raise InputError(
            f"{layer}.step got an input of shape {tuple(x.shape)}; it needs a token a row, (batch, {dim})."
        )


def require_numbers(layer: str, x: Tensor) -> None:
    """InputError names the first row and token of x (B, T, …) that holds a NaN; not asked inside torch.compile."""
    if torch.compiler.is_compiling() or not torch.isnan(x.detach()).any():
        return
    row, token = torch.isnan(x.detach()).flatten(2).any(-1).nonzero()[0].tolist()
    raise InputError(f"{layer} got a NaN in row {row}, token {token}. Look for it in what made the input.")


def require_at_least_one(layer: str, settings: object, *names: str) -> None:
    """InputError: a field of that name is below 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise InputError(f"{layer} got {name} = {getattr(settings, name)}; it needs at least 1.")


def require_one_of(layer: str, settings: object, name: str, choices: tuple[str, ...]) -> None:
    """InputError: the field is none of the choices."""
    if getattr(settings, name) not in choices:
        raise InputError(f"{layer} got {name} = {getattr(settings, name)!r}; there are: {', '.join(choices)}.")


def head_width(layer: str, dim: int, heads: int) -> int:
    """dim / heads. InputError: it is no whole number."""
    if heads < 1 or dim < 1 or dim % heads:
        raise InputError(f"{layer} got dim = {dim} and heads = {heads}; dim must be a multiple of heads.")
    return dim // heads
