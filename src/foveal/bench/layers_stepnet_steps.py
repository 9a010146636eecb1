"""bench layers-stepnet, the mechanism: what a step's length must be told from.

    dx/dt = -l x, so f = -l x; one Euler step x + a f ends at x e^-l where a = (1 - e^-l) / l

l is log-uniform in [0.1, 100], x normal. A small network learns a from what it may see; the loss is on where the step
ends. What must be known is l = -f / x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.nn.stepnet import exact_step

LEAST, MOST = 0.1, 100.0
STEPS, BATCH, RATE, WIDTH = 1500, 512, 3e-3, 32
TESTED = 100_000
SEEN = {"x": ("x",), "f": ("f",), "x and f": ("x", "f")}


@dataclass(frozen=True)
class Error:
    """Mean squared, and the correlation of log a with log l where a is not the same for all."""

    error: float
    follows: float | None = None


def decays(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """l, x, f, and where x ends, (count,) each."""
    span = torch.log(torch.tensor(MOST / LEAST))
    rate = LEAST * torch.exp(span * torch.rand(count, generator=draw))
    x = torch.randn(count, generator=draw)
    return rate, x, -rate * x, x * torch.exp(-rate)


def errors(seed: int) -> dict[str, Error]:
    """By what the step is told from: nothing, x, f, or both."""
    rate, x, f, end = decays(TESTED, torch.Generator().manual_seed(10_000 + seed))
    best = float((f * (end - x)).mean() / f.square().mean())
    found = {"nothing: 1": Error(_squared(x + f - end)), "nothing: the best one": Error(_squared(x + best * f - end))}
    found["l itself"] = Error(_squared(x + exact_step(rate) * f - end))
    for name, seen in SEEN.items():
        model = learned(seen, seed)
        with torch.no_grad():
            a = model(told(seen, x, f))[:, 0]
        together = torch.corrcoef(torch.stack([a.log(), rate.log()]))[0, 1]
        found[name] = Error(_squared(x + a * f - end), float(together))
    return found


def learned(seen: tuple[str, ...], seed: int, steps: int = STEPS) -> nn.Module:
    """The network that tells the step from what it sees."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(WIDTH, 1)
        nn.init.constant_(last.bias, -2.0)  # most rates are fast: begin with short steps
        model = nn.Sequential(
            nn.Linear(2 * len(seen), WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), last, nn.Sigmoid()
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(steps):
        _, x, f, end = decays(BATCH, draw)
        loss = (x + model(told(seen, x, f))[:, 0] * f - end).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def told(seen: tuple[str, ...], x: Tensor, f: Tensor) -> Tensor:
    """Size and sign of each, (B, 2 or 4)."""
    values = [{"x": x, "f": f}[name] for name in seen]
    return torch.stack([part for one in values for part in (one.abs().clamp(min=1e-12).log(), one.sign())], -1)


def _squared(apart: Tensor) -> float:
    return float(apart.square().mean())
