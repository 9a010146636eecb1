"""bench layers: layers for features.

    codebook   what a goal lets through: agents in grids, probes, transfer, text (layers_codebook.py)
    stepnet    gates on residual branches, and where a network is stiff (layers_stepnet.py)

Each is also a bench of its own: `foveal bench layers-stepnet`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.layers_codebook import codebook
from foveal.bench.layers_stepnet import stepnet
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def layers(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench layers`."""
    for part in (codebook, stepnet):
        yield from part(settings)
