"""bench layers: layers for features.

    lama       attention pooling of low rank: texts classified, beside other poolings (layers_lama.py)
    stepnet    gates on residual branches, and where a network is stiff (layers_stepnet.py)
    codebook   what a goal lets through: agents in grids, probes, transfer, text (layers_codebook.py)

Each is also a bench of its own: `foveal bench layers-stepnet`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.layers_codebook import codebook
from foveal.bench.layers_lama import lama
from foveal.bench.layers_stepnet import stepnet
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def layers(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench layers`."""
    yield from each((lama, stepnet, codebook), settings)
