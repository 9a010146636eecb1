"""bench layers-codebook: the task codebook beside no filter and beside a plain linear bottleneck, as narrow.

exact       the formula, its rank, hull, parameters, gradients, dropout (this module)
selective   what is left of a view after the filter, told by linear probes; ablations (layers_codebook_views.py)
agents      three families of MiniGrid: convergence, path efficiency, another look (layers_codebook_agents.py)
text        two posts of 20 newsgroups side by side, the goal a group's name (layers_codebook_text.py)

Trained cells are kept in the cache; a stopped one goes on. The linear bottleneck is the control that the paper lacks.
Data: classification/20ng of the data folder; minigrid for views and agents. What is missing is a row
that falls short.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from foveal.bench.layers_codebook_agents import agents
from foveal.bench.layers_codebook_text import text
from foveal.bench.layers_codebook_views import selective
from foveal.bench.nn_aaren_tables import missing
from foveal.bench.nn_exact import drawn
from foveal.bench.settings import BenchSettings
from foveal.errors import FovealError
from foveal.evaluation.tables import Row
from foveal.nn.codebook import CodebookSettings, TaskCodebook, parameters_of
from foveal.nn.goal_filter import GoalFilter, GoalFilterSettings

WIDTH, PAPER = 1568, 421_472
CLOSE = 1e-6


def codebook(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench layers-codebook`."""
    yield from exact(settings)
    for name, part in (("views", selective), ("agents", agents), ("text", text)):
        try:
            yield from part(settings)
        except FovealError as error:  # an extra or data that are not there
            yield missing(f"codebook, {name}", error)


def exact(settings: BenchSettings) -> Iterator[Row]:
    """Without any training."""
    torch.manual_seed(settings.seed)
    layer, x = TaskCodebook(CodebookSettings(width=WIDTH)).eval(), drawn(1000, WIDTH, seed=settings.seed)
    with torch.no_grad():
        looked = layer.look(x)
        yield Row.of("formula in float64", "largest difference", _apart(layer, x), at_most=CLOSE)
        centred = (looked.output - layer.up.bias).double()
        yield Row.of(
            "rank of E' without its bias", "rank", int(torch.linalg.matrix_rank(centred, rtol=1e-5)),
            at_least=10, at_most=10, note="of 1,000 inputs",
        )  # fmt: skip
        low, high = layer.codes.min(0).values - CLOSE, layer.codes.max(0).values + CLOSE
        inside = float(((looked.code >= low) & (looked.code <= high)).all())
        yield Row.of("h within the codes' box", "share of inputs", inside, at_least=1)
    count = sum(one.numel() for one in layer.parameters())
    note = f"{parameters_of(layer.settings):,} by the formula"
    yield Row.of("codebook of 256 at 1,568", "parameters", count, at_least=PAPER, at_most=PAPER, note=note)
    yield Row.of("gradients to codes, phi, up and E", "of 4 that are some", learns(layer, x), at_least=4)
    yield from _dropout(layer, x)
    for kind in ("binary", "random"):
        yield Row.of(f"{kind} codes after a step", "largest change", _moved(kind, x), at_most=0)
    one = TaskCodebook(CodebookSettings(width=WIDTH, codes=1)).eval()
    with torch.no_grad():
        yield Row.of(
            "one code", "spread of E'", float(one(x).std(0).max()), at_most=CLOSE, note="nothing is let through"
        )
    yield Row.of("another goal", "largest change of E'", _swapped(), at_least=1e-3, note="the goal is inside E")


def _apart(layer: TaskCodebook, x: Tensor) -> float:
    """From the formula in NumPy."""
    w, b, c, up, up_b = (
        one.detach().double().numpy()
        for one in (layer.phi.weight, layer.phi.bias, layer.codes, layer.up.weight, layer.up.bias)
    )
    logits = np.maximum(x.double().numpy(), 0) @ w.T + b
    shares = np.exp(logits - logits.max(1, keepdims=True))
    right = (shares / shares.sum(1, keepdims=True)) @ c @ up.T + up_b
    return float(np.abs(layer(x).double().numpy() - right).max())


def learns(layer: TaskCodebook, x: Tensor) -> int:
    """How many of codes, phi, up and the input get a gradient."""
    x = x[:8].clone().requires_grad_(True)
    layer.zero_grad()
    layer(x).square().sum().backward()
    found = (layer.codes.grad, layer.phi.weight.grad, layer.up.weight.grad, x.grad)
    return sum(one is not None and bool(one.abs().max() > 0) for one in found)


def _dropout(layer: TaskCodebook, x: Tensor) -> Iterator[Row]:
    layer.train()
    with torch.no_grad():
        sums = layer.shares(x).sum(-1)
    layer.eval()
    far = abs(float(sums.mean()) - 1)
    noise = 4 * float(sums.std()) / len(sums) ** 0.5
    yield Row.of("with dropout, mean sum of shares", "distance from 1", far, at_most=noise, note="four standard errors")
    yield Row.of("with dropout, sums of single rows", "spread", float(sums.std()), at_least=1e-3)


def _moved(kind: str, x: Tensor) -> float:
    made = TaskCodebook(CodebookSettings(width=WIDTH, kind=kind))  # type: ignore[arg-type]
    before = made.codes.clone()
    made(x[:8]).square().sum().backward()
    torch.optim.SGD(made.parameters(), lr=1.0).step()
    return float((made.codes - before).abs().max())


def _swapped() -> float:
    torch.manual_seed(0)
    made = GoalFilter(GoalFilterSettings(channels=32, goals=(7, 4))).eval()
    features = drawn(4, 49, 32, seed=1)
    with torch.no_grad():
        one, other = (made(features, torch.tensor([goal] * 4)) for goal in ([0, 1], [3, 2]))
    return float((one - other).abs().max())
