"""The retriever "generative": a library's documents found by writing their titles (`corpusbrain.py`).

    library.search("who led the Home Rule party?", retriever="generative")

Needs     a model that `foveal train corpusbrain` made of this library
Against   `lexical.py` and `dense.py` score passages. Here documents are found, and of each the passage that shares most
          words with the query is given. A source of candidates for fusion: its scores are of another scale, so fuse
          ranks. Under a condition only titles of documents that meet it are written at all; their tree is kept for
          the next search
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import InputError
from foveal.models.folders import written_at
from foveal.ranges import require_k
from foveal.retrieval.corpusbrain import NARROWED, CorpusBrain, TitleHit, told_apart
from foveal.retrieval.filters import literal
from foveal.retrieval.rows import PLACES
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store import Collection, Store
from foveal.retrieval.trained import trained_folder
from foveal.settings import Settings
from foveal.types import Hit, Passage, Span

if TYPE_CHECKING:
    import pyarrow as pa

    from foveal.models.title_models import TitleModel
    from foveal.retrieval.open_tables import Moment

log = logging.getLogger("foveal.retrieval")


@dataclass(frozen=True)
class GenerativeRetriever:
    """A `Retriever` over a library; `where` is an SQL condition from `filters.sql`."""

    store: Store
    brain: CorpusBrain
    where: str | None = None
    beams: int = 10
    model: str | None = None  # a name of HOME/models, or a folder; None: the one trained last

    @classmethod
    def over(
        cls, collection: Collection, where: str | None, *, model: str | None = None, beams: int = 10
    ) -> GenerativeRetriever:
        """The retriever over a library's documents, by their titles as they are now.

        ModelUnavailable: no model of titles was trained here. UnknownName: none is called `model`.
        """
        settings = getattr(collection, "settings", None) or Settings.load()
        folder = title_model_folder(settings.home, model)
        titles = _titles(collection.store)
        if not titles.of:
            raise InputError("The library holds no document with a title. Fill it: foveal add FILE_OR_FOLDER")
        brain = _brain(folder, settings.cache, titles, written_at(folder))
        return cls(collection.store, brain, where, beams, model)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query a passage of each of the `k` documents whose titles fit best."""
        from foveal.retrieval.constrained_beams import BeamSettings

        require_k(k)
        candidates = None if self.where is None else self._matching(self.where)
        if candidates == []:
            return [[] for _ in queries]
        depth = min(k, len(self.brain.trie if candidates is None else candidates))
        beams = BeamSettings(beams=max(self.beams, depth))
        found = self.brain.retrieve(queries, depth, candidates=candidates, settings=beams)
        return [self._passages(query, hits) for query, hits in zip(queries, found, strict=True)]

    def _matching(self, where: str) -> list[str]:
        """The titles of the documents of which a visible passage meets the condition."""
        seen = _seen(self.store, where, self.store.moment())
        titles = zip(self.brain.documents, self.brain.titles, strict=True)
        return [title for document, title in titles if document in seen]

    def _passages(self, query: str, hits: Sequence[TitleHit]) -> list[Hit]:
        """Of each document the passage that shares most words with the query, or the first one."""
        made = []
        for hit in hits:
            condition = f"document_id = {literal(hit.document)}"
            condition = f"{condition} AND ({self.where})" if self.where else condition
            best = self.store.lexical(query, 1, condition)
            passage = (best[0].passage, best[0].revision) if best else self._first(hit.document, condition)
            if passage is not None:
                made.append(Hit(passage[0], hit.score, "generative", passage[1]))
        return made

    def _first(self, document_id: str, condition: str) -> tuple[Passage, str] | None:
        """The first visible passage that meets the condition, and its revision; None: the document is gone."""
        now = self.store.current([document_id]).get(document_id)
        rows = _rows(self.store, condition, PLACES).to_pylist()
        places = [row for row in rows if now and row["edition"] == now.edition]
        if not places or now is None:
            return None
        first = min(places, key=lambda row: int(row["start"]))
        span = Span(document_id, first["start"], first["end"])
        return Passage(span, self.store.text(document_id, now.revision).quote(span), first["heading"]), now.revision


def title_model_folder(home: Path, model: str | None = None) -> Path:
    """The folder of a model of titles: HOME/models/<model>, a folder, or the one of this home that was trained last."""
    from foveal.models.title_models import ABOUT

    return trained_folder(
        home, ABOUT, model, kind="model of titles", command="foveal train corpusbrain", held="config.json"
    )


@dataclass(frozen=True)
class _Titles:
    """Documents by id and title, known by a hash of both: that of many thousands is not made at each search."""

    hashed: str
    of: Mapping[str, str] = field(compare=False)


def _titles(store: Store) -> _Titles:
    """The titles of a library as they are now, in the order in which documents were added."""
    return _titles_at(store, store.moment())


@lru_cache(maxsize=2)
def _titles_at(store: Store, moment: Moment) -> _Titles:  # noqa: ARG001  # of one moment they are always the same
    rows = store.listed("id", "title")
    pairs = zip(rows["id"].to_pylist(), rows["title"].to_pylist(), strict=True)
    titles = {document: title for document, title in pairs if title.strip()}
    return _Titles(sha256(repr(titles).encode("utf-8", "surrogatepass")).hexdigest(), titles)


@lru_cache(maxsize=NARROWED)
def _seen(store: Store, where: str, moment: Moment) -> frozenset[str]:  # noqa: ARG001
    """The documents of which a visible passage meets the condition."""
    found = _rows(store, where, ["document_id", "edition"]).group_by(["document_id", "edition"]).aggregate([])
    pairs = set(zip(found["document_id"].to_pylist(), found["edition"].to_pylist(), strict=True))
    current = store.current(sorted({document for document, _ in pairs}))
    return frozenset(document for document, now in current.items() if (document, now.edition) in pairs)


def _rows(store: Store, condition: str, columns: Sequence[str]) -> pa.Table:
    """The rows of all passages that meet the condition, visible or not."""
    with lance_errors(store.uri):
        passages = store._passages
        builder = passages.search().where(condition).select(list(columns))
        return builder.limit(max(1, passages.count_rows())).to_arrow()


@lru_cache(maxsize=2)
def _model(folder: Path, cache: Path, written: int) -> TitleModel:  # noqa: ARG001
    from foveal.models.title_models import load_title_model

    return load_title_model(folder, cache=cache)


@lru_cache(maxsize=2)
def _brain(folder: Path, cache: Path, titles: _Titles, written: int) -> CorpusBrain:
    from foveal.models.title_models import learned_about

    model, about = _model(folder, cache, written), learned_about(folder)
    documents = about.get("documents", {})
    kept = told_apart(titles.of, model, learned=documents)
    if not kept:
        raise InputError(
            f"The model in {folder} can write none of the library's {len(titles.of)} titles, such as "
            f"{next(iter(titles.of.values()))!r:.80}. Train one on this library: foveal train corpusbrain"
        )
    brain = CorpusBrain.of(model, kept)
    missing = brain.not_learned(about.get("titles", ()), documents)
    if missing:
        log.warning(
            "%d of %d titles are not yet learned, such as %r: train again to find them.", len(missing), len(titles.of),
            missing[0],
        )  # fmt: skip
    return brain
