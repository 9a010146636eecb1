"""A trained BlockRank whose documents are kept on the disk, and a library that is read before anybody asks.

    foveal train blockrank --kept --name mine          # the layout under which documents can be kept
    foveal admin index blockrank:mine                  # reads all passages; stopped, the same command goes on
    foveal search "…" --rank mine                      # passages that were not read before are, and stay

What is kept depends on the model and the passage alone (`blockrank_cache.py`), so that all libraries of a machine share
it: it lies in the cache, up to `MOST` bytes of what was used last. A library that is too large for that is refused
before anything is read: by the tokens of some of its passages, and, once all are cut, by those of all.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from statistics import fmean

from foveal.errors import InputError
from foveal.models.lean import stretches
from foveal.ranking.blockrank import BlockRank
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_prompt import Segments
from foveal.ranking.judged import Documents, Shelf, place_of
from foveal.settings import Settings
from foveal.types import Hit, Passage

log = logging.getLogger("foveal.ranking")

MOST = 8 * 2**30
"""Bytes: six thousand passages of Qwen 0.5B are sure to stay."""

AT_ONCE = 20
"""Passages that are read in one pass."""

SAMPLED = 100
"""Passages by whose tokens a library is judged before it is cut."""


def load_kept(name: str) -> BlockRank:
    """The trained BlockRank called so, over kept documents where its layout and its model allow it."""
    ranker = BlockRank.load(name)
    if not ranker.layout.keeps or ranker.mode != "attention" or stretches(ranker.model.model):
        return ranker
    return replace(ranker, cache=BlockCache(Settings.load().cache / "blockrank", most_bytes=MOST))


def keep_library(
    ranker: BlockRank, library: Documents, *, on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> int:
    """Read all passages of a library into the ranker's cache, and give how many of them it holds in the end.

    What is there already is not read again. InputError: the library holds no passage, they would not fit, the ranker
    keeps nothing, or nothing can be written.
    """
    cache = ranker.cache
    if cache is None and stretches(ranker.model.model):
        raise InputError(
            f"{ranker.model.name} turns positions otherwise in longer texts (dynamic or LongRoPE), so nothing can be "
            "kept. Train one on another model, or search by this one as it is."
        )
    if cache is None:
        raise InputError(
            "This BlockRank was trained with the question before each passage, so nothing can be kept. Train one with "
            "foveal train blockrank --kept."
        )
    count, some = _sample(library)
    if some:
        _require_room(ranker, cache, count, count * fmean(_segments(ranker, some).lengths[1:-1]))
    hits = [
        Hit(Passage(span, piece.text, piece.heading or None), 0.0, "library")
        for name, piece in Shelf.of(library).pieces.items()
        if (span := place_of(name)) is not None
    ]
    if not hits:
        raise InputError("The library holds no passage to keep. Fill it: foveal add FILE_OR_FOLDER")
    segments = _segments(ranker, [hit.passage for hit in hits])
    _require_room(ranker, cache, len(hits), sum(segments.lengths[1:-1]))
    held = _read(ranker, cache, hits, segments, on_progress)
    if held < len(hits):
        log.warning(
            "%d of %d passages are kept: the others made room for what was read meanwhile, or could not be written. "
            "The same command reads them again.", held, len(hits),
        )  # fmt: skip
    return held


def _read(
    ranker: BlockRank, cache: BlockCache, hits: Sequence[Hit], segments: Segments,
    on_progress: Callable[[int, int], None],
) -> int:  # fmt: skip
    """Read all; how many are held in the end. InputError: of some that were just read none is."""
    scope, documents = ranker._scope(segments), segments.documents
    for first in range(0, len(hits), AT_ONCE):
        ranker.keep(hits[first : first + AT_ONCE])
        if not any(cache.holds(scope, one.ids) for one in documents[first : first + AT_ONCE]):
            raise InputError(
                f"After {first:,} of {len(hits):,} passages nothing more can be kept in {cache.folder}. Free some "
                "space, or name another cache by FOVEAL_CACHE; then the same command goes on."
            )
        on_progress(min(len(hits), first + AT_ONCE), len(hits))
    return sum(cache.holds(scope, one.ids) for one in documents)


def bytes_a_token(ranker: BlockRank) -> int:
    """What a kept token takes: keys up to the signal's layer, and values below it."""
    config = ranker.model.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int((2 * ranker.depth + 1) * heads * width * ranker.model.dtype.itemsize)


def _require_room(ranker: BlockRank, cache: BlockCache, passages: int, tokens: float) -> None:
    wanted = tokens * bytes_a_token(ranker)
    if cache.room is not None and wanted > cache.room:
        raise InputError(
            f"{passages:,} passages would take about {wanted / 1e9:.1f} GB, and {cache.room / 1e9:.1f} GB are kept. "
            "Search by the ranker as it is: it keeps what it reads."
        )


def _segments(ranker: BlockRank, passages: Sequence[Passage]) -> Segments:
    """The passages as they are read; the question is no part of what is kept."""
    return ranker.prompter.segments("-", [one.text for one in passages], [one.heading for one in passages])


def _sample(library: Documents) -> tuple[int, list[Passage]]:
    """How many passages a library says that it has, and about `SAMPLED` of them, evenly spread; it is not cut whole."""
    entries = library.documents()
    ends = list(accumulate(entry.passages for entry in entries))
    count = ends[-1] if ends else 0

    @lru_cache(maxsize=1)  # places of one document follow each other
    def passages(number: int) -> list[Passage]:
        return library.segmenter.segment(library.get(entries[number].id))

    found = []
    for place in range(0, count, max(1, count // SAMPLED)):
        number = bisect_right(ends, place)
        found += passages(number)[place - ends[number] + entries[number].passages :][:1]
    return count, [one for one in found if one.text.strip()]
