"""A trained BlockRank whose documents are kept on the disk, and a library that is read before anybody asks.

    foveal train blockrank --kept --name mine          # the layout under which documents can be kept
    foveal admin index blockrank:mine                  # reads all passages; stopped, the same command goes on
    foveal search "…" --rank mine                      # passages that were not read before are, and stay

What is kept depends on the model and the passage alone (`blockrank_cache.py`), so that all libraries of a machine share
it: it lies in the cache, up to `MOST` bytes of what was used last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from foveal.errors import InputError
from foveal.ranking.blockrank import BlockRank
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.judged import Documents, Shelf, place_of
from foveal.settings import Settings
from foveal.types import Hit, Passage

MOST = 8 * 2**30
"""Bytes: about seven thousand passages of Qwen 0.5B."""

AT_ONCE = 20
"""Passages that are read in one pass."""


def load_kept(name: str) -> BlockRank:
    """The trained BlockRank called so, over kept documents where its layout allows it."""
    ranker = BlockRank.load(name)
    if not ranker.layout.keeps or ranker.mode != "attention":
        return ranker
    return replace(ranker, cache=BlockCache(Settings.load().cache / "blockrank", most_bytes=MOST))


def keep_library(
    ranker: BlockRank, library: Documents, *, on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> int:
    """Read all passages of a library into the ranker's cache, and give their number.

    What is there already is not read again. InputError: the library holds no passage, they would not fit, or the
    ranker keeps nothing.
    """
    cache = ranker.cache
    if cache is None:
        raise InputError(
            "This BlockRank was trained with the question before each passage, so nothing can be kept. Train one with "
            "foveal train blockrank --kept."
        )
    hits = [
        Hit(Passage(span, piece.text, piece.heading or None), 0.0, "library")
        for name, piece in Shelf.of(library).pieces.items()
        if (span := place_of(name)) is not None
    ]
    if not hits:
        raise InputError("The library holds no passage to keep. Fill it: foveal add FILE_OR_FOLDER")
    before = cache.bytes
    for first in range(0, len(hits), AT_ONCE):
        held, done = ranker.keep(hits[first : first + AT_ONCE]), min(len(hits), first + AT_ONCE)
        wanted = (held - before) / done * len(hits)
        if first == 0 and cache.most_bytes is not None and wanted > cache.most_bytes:
            raise InputError(
                f"{len(hits):,} passages would take about {wanted / 1e9:.1f} GB, and {cache.most_bytes / 1e9:.1f} GB "
                "are kept. Search by the ranker as it is: it keeps what it reads."
            )
        on_progress(done, len(hits))
    return len(hits)
