"""bench nn: the sequence layers.

    exact      to the last digits, without any training: roads, leaks, growth, what must be written (nn_exact.py)
    aaren      attention as a stream: forecasts, classes, events, actions (nn_aaren.py)
    titans     what the neural memory is good for after training (nn_titans.py)
    routing    attention by content (nn_routing.py)

Each is also a bench of its own: `foveal bench nn-titans`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.nn_aaren import aaren
from foveal.bench.nn_exact import exact
from foveal.bench.nn_routing import routing
from foveal.bench.nn_titans import titans
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def nn(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench nn`."""
    yield from each((exact, aaren, titans, routing), settings)
