"""Late interaction and learned sparse vectors over a library, by name: indexes of its passages beside Lance's own.

    bring_up_to_date(library, "late", "my-late")                  # foveal admin index late:my-late
    library.search(query, retriever="late:my-late")               # or "sparse:my-splade"

Each index lies in HOME/indexes, one for a library and a model. A search waits for nobody who makes one: it reads up to
`FEW` passages that came meanwhile by itself, and keeps them where nobody else writes; more are left out until the
command was given again, and that is said. What is gone, or was changed, is found no more at once.

Source    `late_index.py` (PLAID) and `sparse_lists.py` (SPLADE, MaxScore) have the methods
Parts     passage_kinds.py what a segment of an index is; passage_segments.py how it grows; passage_files.py how it is
          kept; passage_models.py whose it is; passage_making.py the command; passage_names.py names of passages
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa

from foveal.errors import InputError, LibraryError
from foveal.models.characters import is_read, require_several
from foveal.ranges import require_k
from foveal.retrieval import passage_files
from foveal.retrieval.open_tables import Moment
from foveal.retrieval.passage_files import Stamp
from foveal.retrieval.passage_kinds import Mask
from foveal.retrieval.passage_making import EMPTY, with_read
from foveal.retrieval.passage_models import Asked
from foveal.retrieval.passage_names import edition_of, passages_called, stored_names, visible_names
from foveal.retrieval.passage_segments import PassageIndex
from foveal.retrieval.rows import Found, found_in, hits
from foveal.retrieval.store import Collection, Store
from foveal.types import Hit

log = logging.getLogger("foveal.retrieval")

FEW = 200
"""New passages that a search reads by itself."""

MERGED_BY_SEARCH = 512
"""Passages from which a segment is left to the command: a search writes few of them anew."""

CONDITIONS = 16
"""Conditions whose passages are remembered while a library stays as it is."""


@dataclass(frozen=True, eq=False)
class Known:
    """An index as a search left it, for the next ones."""

    index: PassageIndex[Any]
    visible: pa.LargeStringArray
    missing: int  # passages that it lacks
    seen: Moment  # of the library
    written: Stamp | None  # what of the index lay on the disk
    fits: dict[str, tuple[Mask, ...]] = field(default_factory=dict)

    def within(self, store: Store, where: str) -> tuple[Mask, ...]:
        """Which passages the SQL condition holds of."""
        found = self.fits.get(where)
        if found is None:
            found = self.index.masks(stored_names(store, where))
            if len(self.fits) >= CONDITIONS:
                self.fits.clear()
            self.fits[where] = found
        return found


@dataclass(eq=False)
class Held:
    """What searches of a library know of an index; one at a time looks what changed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: Known | None = None


_held: WeakKeyDictionary[Store, dict[Path, Held]] = WeakKeyDictionary()
_held_lock = threading.Lock()  # for a look into `_held`, never longer


def _known(asked: Asked) -> Known:
    """The index with what is visible now and up to `FEW` passages that came, or what is known while another looks."""
    with _held_lock:
        held = _held.setdefault(asked.store, {}).setdefault(asked.folder, Held())
    known = held.known
    if known is not None and (known.seen, known.written) == _state(asked):
        return known
    if known is None:
        held.lock.acquire()
    elif not held.lock.acquire(blocking=False):
        return known
    try:
        seen, written = _state(asked)
        if held.known is None or (held.known.seen, held.known.written) != (seen, written):
            held.known = _renewed(asked, held.known, seen, written)
        return held.known
    finally:
        held.lock.release()


def _state(asked: Asked) -> tuple[Moment, Stamp | None]:
    return asked.store.moment(), passage_files.stamp(asked.folder)


def _renewed(asked: Asked, known: Known | None, seen: Moment, written: Stamp | None) -> Known:
    """The index that is written, or what is known of it, as the library is now."""
    visible = known.visible if known and known.seen == seen else visible_names(asked.store)
    if not len(visible):
        raise InputError(EMPTY)
    index = known.index if known and known.written == written else asked.open()
    if index is None or (len(visible) <= FEW and index.outgrown(len(visible))):
        index = PassageIndex(asked.kind)
    index = replace(index, kind=asked.kind).showing(visible)
    new = index.lacking(visible)
    if len(new) > FEW:
        return Known(index, visible, len(new), seen, written)
    more = with_read(asked, index, new.to_pylist(), of=len(visible))
    if more is not index:
        index, written = _kept(asked, more.merged(MERGED_BY_SEARCH), written)
    return Known(index, visible, 0, seen, written)


def _kept(asked: Asked, index: PassageIndex[Any], written: Stamp | None) -> tuple[PassageIndex[Any], Stamp | None]:
    """The index, written where nobody else writes or wrote, and what then lies on the disk. Else it stays in memory."""
    try:
        with passage_files.writing(asked.folder, wait=False) as alone:
            if alone and passage_files.stamp(asked.folder) == written:
                return asked.write(index), passage_files.stamp(asked.folder)
    except LibraryError as error:
        log.warning("What a search read for the index %s stays in memory: %s", asked.about.name, error)
    return index, written


# -- the retrievers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PassageRetriever:
    """A `Retriever` by an index of passages; `where` is an SQL condition from `filters.sql`."""

    store: Store
    known: Known
    kind: str
    where: str | None = None
    model: str | None = None

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest score. An empty query, or one of no token that the model
        knows, finds nothing.
        """
        require_several(queries, "search")
        require_k(k)
        masks = self.known.index.alive if self.where is None else self.known.within(self.store, self.where)
        if not any(mask.any() for mask in masks):
            return [[] for _ in queries]
        model = getattr(self.known.index.kind, "model", None)
        return [hits(self._found(query, k, masks), self.kind) if is_read(model, query) else [] for query in queries]

    def _found(self, query: str, k: int, masks: Sequence[Mask]) -> list[Found]:
        """Deeper and deeper, until enough of what was found is there still."""
        depth = k
        while True:
            scored = self.known.index.search(query, depth, masks)
            rows = passages_called(self.store, [name for name, _ in scored])
            current = self.store.current([row["document_id"] for row in rows.values()])
            seen = [
                found_in(rows[name] | {"_score": score}, "_score", now.revision)
                for name, score in scored
                if name in rows and (now := current.get(rows[name]["document_id"])) and now.edition == edition_of(name)
            ]
            if len(seen) >= k or len(scored) < depth:
                return seen[:k]
            depth *= 4


def _over(kind: str, collection: Collection, where: str | None, model: str | None) -> PassageRetriever:
    known = _known(Asked.of(collection, kind, model))
    name, missing = f"{kind}:{model}" if model else kind, known.missing
    if missing and not len(known.index):
        raise InputError(
            f"This library has no index for {name} yet: {missing:,} passages would have to be read. Make it: foveal "
            f"admin index {name}"
        )
    if missing:
        log.warning("%d passages are not in the index %s yet. Add them: foveal admin index %s", missing, name, name)
    return PassageRetriever(collection.store, known, kind, where, model)


class LateRetriever(PassageRetriever):
    """By token vectors."""

    @classmethod
    def over(cls, collection: Collection, where: str | None, *, model: str | None = None) -> PassageRetriever:
        """The retriever over a library. InputError: the index was not made yet."""
        return _over("late", collection, where, model)


class LearnedSparseRetriever(PassageRetriever):
    """By weighted words that a SPLADE model gives."""

    @classmethod
    def over(cls, collection: Collection, where: str | None, *, model: str | None = None) -> PassageRetriever:
        """The retriever over a library. InputError: the index was not made yet. ModelUnavailable: no model is named."""
        return _over("sparse", collection, where, model)
