"""bench scale: what a library costs as it grows, what a second worker gives, and what does not break.

    scale-library   10,000, 100,000 and 1,000,000 passages: build, size, memory, query time (scale_library.py)
    scale-ray       `add` by one and two Ray workers, and what a dead node costs (scale_ray.py)
    scale-web       200 readers at once for 5 minutes, and more than can be served (scale_web.py)
    scale-faults    kills, full disks, stores that go away, slow peers, clocks that jump, damaged files, too little
                    memory: at random for an hour, and after each what must hold (scale_faults.py)

Each is also a bench of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row
from foveal.registry import BENCHES, lookup

PARTS = ("scale-library", "scale-ray", "scale-web", "scale-faults")


def scale(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench scale`."""
    yield from each([lookup(BENCHES, name, kind="bench") for name in PARTS], settings)
