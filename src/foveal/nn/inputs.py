"""What every sequence layer asks of its input, checked once, at its door."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError


def require_sequence(layer: str, x: Tensor, dim: int, mask: Tensor | None = None) -> None:
    """InputError: x is not (B, T, dim) of floats with a row and a token at least, or the mask no (B, T) of booleans."""
    _require_floats(layer, x)
    if x.dim() != 3 or x.shape[-1] != dim:
        raise InputError(f"{layer} got an input of shape {tuple(x.shape)}; it needs (batch, tokens, {dim}).")
    if x.shape[1] == 0:
        raise InputError(f"{layer} got a sequence of no tokens; give at least one, or keep the state as it is.")
    if x.shape[0] == 0:
        raise InputError(f"{layer} got a batch of no rows; give at least one.")
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
        raise InputError(
            f"{layer} got a mask {tuple(mask.shape)}, {mask.dtype}; it needs {tuple(x.shape[:2])}, torch.bool, "
            "True where a token counts."
        )


def checked(layer: str, x: Tensor, dim: int, mask: Tensor | None = None) -> Tensor:
    """x (B, T, dim), with zeros for what is no number in tokens that do not count: neither output nor gradient has it.

    Tokens that do not count are otherwise as they were: some layers let them read. InputError: as `require_sequence`,
    or a NaN or an infinite number in a token that counts.
    """
    require_sequence(layer, x, dim, mask)
    if mask is not None and not _sound(x):
        x = x.masked_fill(~(mask[..., None] | torch.isfinite(x)), 0)
    require_numbers(layer, x)
    return x


def require_token(layer: str, x: Tensor, dim: int) -> None:
    """InputError: x is not (B, dim) of floats, or holds a NaN or an infinite number."""
    if x.dim() != 2 or x.shape[-1] != dim:
        raise InputError(
            f"{layer}.step got an input of shape {tuple(x.shape)}; it needs a token a row, (batch, {dim})."
        )
    _require_floats(f"{layer}.step", x)
    require_numbers(f"{layer}.step", x)


def _require_floats(layer: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise InputError(
            f"{layer} got an input of {x.dtype}; it needs vectors of floats. Whole numbers that stand for words go "
            "through an embedding first."
        )


def require_result(layer: str, y: Tensor) -> Tensor:
    """y as it is. InputError: it holds what is no number, as the layer's inputs, though numbers, were too large."""
    if not (hidden(y) or _sound(y)) and not bool(torch.isfinite(y).all()):
        raise InputError(
            f"{layer} gives no numbers: what it was given is so large that products of it are infinite. Normalise it "
            "first."
        )
    return y


def require_ids(model: str, name: str, ids: Tensor, most: int) -> None:
    """InputError: these are not whole numbers from 0 to most - 1. Their range is asked where looking costs nothing."""
    what = str(ids.dtype)
    if not ids.is_floating_point():
        if hidden(ids) or ids.device.type != "cpu" or not ids.numel():
            return
        least, greatest = map(int, ids.aminmax())
        if least >= 0 and greatest < most:
            return
        what = f"{least} to {greatest}"
    raise InputError(
        f"{model} got {name} of {what}; it was made for whole numbers from 0 to {most - 1}. Give such, or make it so."
    )


def require_numbers(layer: str, x: Tensor) -> None:
    """InputError names the first row and token of x (B, T, …) that holds a NaN or an infinite number.

    Not asked where no value can be looked at: inside torch.compile, and under the transforms of torch.func.
    """
    if hidden(x) or _sound(x):
        return
    for told, wrong in (("a NaN", torch.isnan(x)), ("an infinite number", torch.isinf(x))):
        if bool(wrong.any()):
            place = wrong.flatten(min(2, x.dim() - 1)).any(-1).nonzero()[0].tolist()
            where = ", ".join(f"{name} {at}" for name, at in zip(("row", "token"), place, strict=False))
            raise InputError(f"{layer} got {told} in {where or 'its input'}. Look for it in what made the input.")


def hidden(x: Tensor) -> bool:
    """Whether no value of x can be looked at: inside torch.compile, on "meta", under the transforms of torch.func."""
    return torch.compiler.is_compiling() or x.is_meta or torch._C._are_functorch_transforms_active()


def _sound(x: Tensor) -> bool:
    """Whether all of x is surely finite. The sum is read in one pass, and is none where any part of it is none."""
    return not hidden(x) and math.isfinite(float(x.detach().sum()))


def as_it_is(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, autocast leaves the arithmetic of x alone. On "meta", where nothing is computed, there is no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def settings_of(what: str, kind: type[Any], values: object) -> Any:
    """Settings of that kind from a mapping. InputError: none came, or it names a field that there is not."""
    names = [one.name for one in fields(kind)]
    if not isinstance(values, Mapping):
        raise InputError(f"{what} got {values!r}; it needs fields of {kind.__name__} by name: {', '.join(names)}.")
    if unknown := sorted(map(str, values.keys() - set(names))):
        raise InputError(
            f"{what} got {', '.join(unknown)}, which {kind.__name__} does not have. It has: {', '.join(names)}."
        )
    return kind(**values)


def head_width(layer: str, dim: int, heads: int) -> int:
    """dim / heads. InputError: it is no whole number."""
    if heads < 1 or dim < 1 or dim % heads:
        raise InputError(f"{layer} got dim = {dim} and heads = {heads}; dim must be a multiple of heads.")
    return dim // heads
