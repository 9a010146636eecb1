"""Indexes of passages made and brought up to date: `foveal admin index late:MODEL`, `sparse:MODEL`.

    bring_up_to_date(library, "late", "my-late")            stopped, it goes on from what it wrote last
    bring_up_to_date(library, "late", "my-late", anew=True)    the old one serves until the new one is whole

What is new is written after every `AT_ONCE` passages. One process writes an index, others wait; searches do not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from foveal.errors import InputError, LibraryCorrupt, LibraryError
from foveal.retrieval import passage_files
from foveal.retrieval.passage_files import ABOUT, NEXT
from foveal.retrieval.passage_models import Asked
from foveal.retrieval.passage_names import Name, passages_called, visible_names
from foveal.retrieval.passage_segments import PassageIndex
from foveal.retrieval.store import Collection

log = logging.getLogger("foveal.retrieval")

AT_ONCE = 2_000
"""Passages that are read between two writings of an index."""

EMPTY = "The library holds no passage to index. Fill it: foveal add FILE_OR_FOLDER"

Progress = Callable[[int, int], None]


def bring_up_to_date(
    collection: Collection,
    kind: str,
    model: str | None = None,
    *,
    anew: bool = False,
    on_progress: Progress = lambda _done, _of: None,
) -> PassageIndex[Any]:
    """The index with all visible passages, written; `anew`: all are read again, and the old one serves meanwhile.

    Without that, too, it is made anew where it is damaged, or was laid out for far fewer passages. `on_progress` is
    told how many of the new passages are in it. UnknownName: no kind is called so. InputError: the library holds no
    passage. StorageFull, LibraryError: it cannot be written. Else as the model's loading.
    """
    asked = Asked.of(collection, kind, model)
    if not asked.store.counts()["passages"]:  # said before a folder is made
        raise InputError(EMPTY)
    with passage_files.writing(asked.folder, wait=True):
        visible = visible_names(asked.store)
        if not len(visible):
            raise InputError(EMPTY)
        listed, index = _begun(asked, len(visible), anew=anew)
        index = _filled(asked, listed, index, visible, on_progress)
        if listed == NEXT:
            passage_files.take_place(asked.folder)
        try:
            passage_files.remove_others(asked.home, asked.about)
        except LibraryError as error:
            log.warning("Older indexes could not be deleted: %s", error)
    return index


def with_read(asked: Asked, index: PassageIndex[Any], names: Sequence[Name], *, of: int) -> PassageIndex[Any]:
    """The index with those of the passages that are still there; it is to have `of` in all."""
    rows = passages_called(asked.store, names)
    there = [name for name in names if name in rows]
    return index.with_more(there, [rows[name]["indexed"] for name in there], of=of) if there else index


def _begun(asked: Asked, passages: int, *, anew: bool) -> tuple[str, PassageIndex[Any]]:
    """The index to go on with, and the list that it is written to: `NEXT` where another serves meanwhile."""
    empty: PassageIndex[Any] = PassageIndex(asked.kind)
    serves, begun = _mended(asked, ABOUT), _mended(asked, NEXT)
    if begun is not None and serves is None:
        passage_files.take_place(asked.folder)
        serves, begun = begun, None
    if begun is not None:
        return NEXT, empty if begun.outgrown(passages) else begun
    if serves is None or not serves.segments:
        return ABOUT, empty
    if outgrown := serves.outgrown(passages):
        said = "The index %s was laid out for %d passages, and there are %d: it is made anew."
        log.warning(said, asked.about.name, serves.planned, passages)
    return (NEXT, empty) if anew or outgrown else (ABOUT, serves)


def _mended(asked: Asked, listed: str) -> PassageIndex[Any] | None:
    """What is written; where it is damaged it is forgotten, since all that is in it can be read again."""
    try:
        return asked.open(listed)
    except LibraryCorrupt as error:
        log.warning("The index %s is damaged, and is made anew: %s", asked.about.name, error.__cause__)
        passage_files.forget(asked.folder, listed)
        return None


def _filled(
    asked: Asked, listed: str, index: PassageIndex[Any], visible: pa.LargeStringArray, on_progress: Progress
) -> PassageIndex[Any]:
    """The index with all that is visible, written after each group."""
    kept, index = index, index.showing(visible).merged()
    new = index.lacking(visible)
    # In any order: the first to be read decide what an index is like.
    new = new.take(pa.array(np.random.default_rng(0).permutation(len(new))))
    for first in range(0, len(new), AT_ONCE):
        more = with_read(asked, index, new[first : first + AT_ONCE].to_pylist(), of=len(visible))
        if more is not index:
            index = kept = asked.write(more.merged(), listed)
        on_progress(min(len(new), first + AT_ONCE), len(new))
    changed = [segment.number for segment in index.segments] != [segment.number for segment in kept.segments]
    return asked.write(index, listed) if changed or listed == NEXT else index
