"""bench generative: three systems that go past the dense stack.

    corpusbrain    titles written under a trie, in place of an index    corpusbrain.py
    lexsembridge   a query's own words weigh its vector                 lexsembridge.py
    bprop          a re-ranker pre-trained on drawn word sets           bprop.py

Each is a bench of its own, too: `foveal bench generative-corpusbrain`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.bprop import bprop
from foveal.bench.corpusbrain import corpusbrain
from foveal.bench.lexsembridge import lexsembridge
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def generative(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench generative`."""
    yield from each((corpusbrain, lexsembridge, bprop), settings)
