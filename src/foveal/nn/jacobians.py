"""The greatest stretch of a function at a point, row by row: sigma_max(df/dx) by power iteration on J^T J.

One product with J (forward mode) and one with its transpose (reverse mode) a step; the Jacobian itself is never made.
The estimate rises to sigma_max from below.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from foveal.errors import InputError


def greatest_stretch(f: Callable[[Tensor], Tensor], x: Tensor, *, steps: int = 15, seed: int = 0) -> Tensor:
    """sigma_max of df/dx at x (B, …) -> (B,), where no row of f(x) depends on another row of x.

    A norm over the batch in training mode breaks that: put it in eval mode. InputError: fewer than one step.
    """
    if steps < 1:
        raise InputError(f"A power iteration got {steps} steps; it needs at least 1.")
    draw = torch.Generator().manual_seed(seed)
    v = _unit(torch.randn(x.shape, generator=draw).to(x))
    stretch = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # the fused attention has no forward mode
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script")  # what PyTorch's forward mode is made with
        pull: Callable[[Tensor], tuple[Tensor]] = torch.func.vjp(f, x)[1]
        for _ in range(steps):
            pushed = torch.func.jvp(f, (x,), (v,))[1]
            stretch = _norm(pushed)
            v = _unit(pull(pushed)[0])
    return stretch.detach()


def _norm(x: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return lengths


def _unit(x: Tensor) -> Tensor:
    length = _norm(x).view(-1, *[1] * (x.dim() - 1))
    return x / length.clamp(min=torch.finfo(x.dtype).tiny)
