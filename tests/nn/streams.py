"""Ways to run a layer that must come to the same, shared by the tests of foveal.nn."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers of a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def token_by_token(layer, x):
    """Outputs of `step` from the beginning, and the last state."""
    state, given = layer.init_state(len(x)), []
    for place in range(x.shape[1]):
        y, state, *_ = layer.step(x[:, place], state)
        given.append(y)
    return torch.stack(given, 1), state


def in_pieces(layer, x, cuts):
    """Outputs of `forward` piece by piece, the state carried over, and the last state."""
    state, given = None, []
    for piece in torch.tensor_split(x, sorted(cuts), 1):
        if piece.shape[1]:
            y, state, *_ = layer(piece, state)
            given.append(y)
    return torch.cat(given, 1), state


def assert_same_state(one, other, **how):
    """Every tensor of both states is the same."""
    theirs = other.tensors()
    for name, mine in one.tensors().items():
        torch.testing.assert_close(mine, theirs[name], msg=lambda told, name=name: f"{name}: {told}", **how)


def assert_streams(layer, x, cuts, **how):
    """Whole, in pieces and token by token are the same, and so is what is kept."""
    whole, state, *_ = layer(x)
    for y, kept in (token_by_token(layer, x), in_pieces(layer, x, cuts)):
        torch.testing.assert_close(y, whole, **how)
        assert_same_state(kept, state, **how)


def first_half_changed(layer, x, **how):
    """The share of first-half tokens whose output changes when the second half is replaced."""
    half = x.shape[1] // 2
    other = torch.cat([x[:, :half], drawn(*x[:, half:].shape, seed=99, dtype=x.dtype)], 1)
    apart = (layer(x, **how)[0] - layer(other, **how)[0])[:, :half].abs().amax(-1)
    return float((apart > 1e-6).double().mean())


def turned(keys, own):
    """Keys (H, n, D) at places 0 to n - 1 as a query at `own` sees them: turned by the distance alone."""
    width = keys.shape[-1]
    rates = 10_000.0 ** (-torch.arange(0, width, 2, dtype=keys.dtype) / width)
    angle = (torch.arange(keys.shape[1], dtype=keys.dtype)[:, None] - own) * rates
    pair = torch.complex(keys[..., : width // 2], keys[..., width // 2 :]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pair.real, pair.imag], -1)
