"""How far a result lies from the exact one.

    output_error(sparse, dense)     # (B, H): 0 the same, 1 as far as nothing at all
    far_apart(got, right)           # the largest difference of any two numbers at one place

Shapes    outputs of attention (B, H, Q, d), of the same queries over the same keys and values; or any others
"""

from __future__ import annotations

from torch import Tensor

from foveal.errors import InputError


def output_error(output: Tensor, exact: Tensor) -> Tensor:
    """The length of the difference over the length of `exact`, of all queries of a head together: (B, H).

    InputError: their shapes differ, or are none of (B, H, Q, d).
    """
    if output.shape != exact.shape or exact.dim() != 4:
        shapes = f"{tuple(output.shape)} and {tuple(exact.shape)}"
        raise InputError(f"Outputs of shapes {shapes} cannot be compared; give two of the same (B, H, Q, d).")
    off, whole = ((part.double().square().sum((2, 3))).sqrt() for part in (output.double() - exact.double(), exact))
    return off / whole.clamp(min=1e-30)


def far_apart(one: Tensor, other: Tensor) -> float:
    """Of the numbers at one place of two tensors of a shape, counted in float64."""
    return float((one.detach().double() - other.detach().double()).abs().max())
