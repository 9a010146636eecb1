"""bench events: search that knows what happens, from the stream to the switch that compares two searches.

    stream    clusters, bursts, planted stories, speed and memory of a long stream      events_stream.py
    search    questions about news: the event model, its controls, harm, ablations      events_search.py
    labels    what a zoo of cheap models agrees on                                      events_labels.py
    ab        team-draft interleaving                                                   events_ab.py

Each is a bench of its own, too: `foveal bench events-stream`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.events_ab import switch
from foveal.bench.events_labels import labels
from foveal.bench.events_search import search
from foveal.bench.events_stream import stream
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def events(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench events`."""
    yield from each((stream, search, labels, switch), settings)
