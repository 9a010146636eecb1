"""Late interaction and learned sparse vectors over a library, by name: indexes of its passages beside Lance's own.

    bring_up_to_date(library, "late", "my-late")                  # foveal admin index late:my-late
    library.search(query, retriever="late:my-late")               # or "sparse:my-splade"

Each index lies in HOME/indexes, one for a library and a model, and is written after every `AT_ONCE` passages: what was
stopped goes on. A search reads up to `FEW` passages that came meanwhile by itself; more are left out until the command
was given again, and that is said. What is gone, or was changed, is found no more at once.

Models    late     a model of `foveal train late`, a folder of ColBERT's kind, or any encoder ("minilm", the default)
          sparse   a SPLADE model: its name in HOME/models, a folder, or a hub id
Source    `late_index.py` (PLAID) and `sparse.py` (SPLADE, MaxScore) have the methods
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.retrieval import tables
from foveal.retrieval.filters import literal
from foveal.retrieval.late import TokenModel
from foveal.retrieval.late_index import LateIndex, LateIndexSettings, centroids_for
from foveal.retrieval.late_tokens import load_token_model
from foveal.retrieval.rows import FOUND, Found, found_in, hits
from foveal.retrieval.sparse import SparseIndex
from foveal.retrieval.sparse_encoders import SparseEncoder, load_sparse_encoder
from foveal.retrieval.store import Collection, Store
from foveal.retrieval.store_search import require_k
from foveal.settings import Settings
from foveal.types import Hit

log = logging.getLogger("foveal.retrieval")

AT_ONCE = 2_000
"""Passages that are read between two writings of an index."""

FEW = 200
"""New passages that a search reads by itself."""

LOOKED_UP = 200
"""Passages that are fetched by one query."""

SPARED = 0.5
"""Share of an index that may be gone passages before it is made smaller."""

Name = str
"""A passage: start, edition and document, with colons between."""


class PassageIndex(Protocol):
    """An index of texts by name, and the model that reads them."""

    @property
    def names(self) -> set[Name]:
        """What can be found."""
        ...

    def add(self, names: Sequence[Name], texts: Sequence[str], *, of: int) -> None:
        """Read and add texts; there are to be `of` in all."""
        ...

    def remove(self, names: Sequence[Name]) -> None:
        """Let them be found no more."""
        ...

    def search(self, query: str, k: int) -> list[tuple[Name, float]]:
        """The `k` best names with their scores."""
        ...

    def save(self) -> None:
        """Write it, whole or not at all."""
        ...


class LatePassages:
    """A `PassageIndex` by token vectors."""

    def __init__(self, model: TokenModel, folder: Path) -> None:
        """The index in a folder, empty where there is none."""
        self.model, self.folder = model, folder
        self.index = LateIndex.load(folder, fingerprint=model.fingerprint) if _holds_one(folder) else None

    @property
    def names(self) -> set[Name]:
        """What can be found."""
        return set(self.index.ids) if self.index else set()

    def add(self, names: Sequence[Name], texts: Sequence[str], *, of: int) -> None:
        """The first texts decide the centroids; as many of these as all will need."""
        vectors, fingerprint = self.model.documents(texts), self.model.fingerprint
        if self.index is not None:
            self.index.add(names, vectors, fingerprint=fingerprint)
            return
        tokens = sum(map(len, vectors))
        most = centroids_for(max(tokens, round(tokens * of / len(texts))))
        chosen = LateIndexSettings(centroids=min(most, 2 ** (tokens.bit_length() - 1)))
        self.index = LateIndex.build(names, vectors, fingerprint=fingerprint, settings=chosen)

    def remove(self, names: Sequence[Name]) -> None:
        """Let them be found no more; their room is freed where they are many."""
        if self.index is None:
            return
        if len(names) == len(self.index.ids):
            self.index = None
            return
        self.index.remove(names)
        stats = self.index.stats()
        if stats.removed > SPARED * stats.documents:
            self.index.compact()

    def search(self, query: str, k: int) -> list[tuple[Name, float]]:
        """The `k` best by MaxSim."""
        return self.index.search(self.model.queries([query]), k)[0] if self.index else []

    def save(self) -> None:
        """Write a snapshot."""
        if self.index is not None:
            self.index.save(self.folder)


class SparsePassages:
    """A `PassageIndex` by weighted words of a SPLADE model."""

    def __init__(self, model: SparseEncoder, folder: Path) -> None:
        """The index in a folder, empty where there is none."""
        self.model, self.folder = model, folder
        made = SparseIndex(model.vocabulary, fingerprint=model.fingerprint)
        self.index = SparseIndex.load(folder) if _holds_one(folder) else made

    @property
    def names(self) -> set[Name]:
        """What can be found."""
        return set(self.index.ids())

    def add(self, names: Sequence[Name], texts: Sequence[str], *, of: int) -> None:  # noqa: ARG002
        """Read and add texts."""
        self.index.add(list(names), self.model.encode(texts))

    def remove(self, names: Sequence[Name]) -> None:
        """Let them be found no more."""
        self.index.remove(names)

    def search(self, query: str, k: int) -> list[tuple[Name, float]]:
        """The `k` best by the product of weights."""
        return self.index.search(self.model.encode([query], queries=True), k)[0]

    def save(self) -> None:
        """Write a snapshot."""
        self.index.save(self.folder)


def _holds_one(folder: Path) -> bool:
    return any(folder.glob("[0-9]*"))


# -- which index ------------------------------------------------------------------------------------------------------


def late_model(name: str | None, settings: Settings) -> TokenModel:
    """The model of token vectors of that name: of HOME/models, else as `load_token_model`; None: MiniLM's."""
    return load_token_model(_named(name or "minilm", settings.home))


def sparse_model(name: str | None, settings: Settings) -> SparseEncoder:
    """The SPLADE model of that name: of HOME/models, else as `load_sparse_encoder`. ModelUnavailable: None."""
    if name is None:
        raise ModelUnavailable(
            "Sparse search needs a SPLADE model, and none was named. Say sparse:NAME, where NAME is a model in "
            'HOME/models, a folder, or a hub id such as "naver/splade-v3".'
        )
    return load_sparse_encoder(_named(name, settings.home), cache=settings.cache)


def _named(name: str, home: Path) -> str:
    place = home / "models" / name
    return str(place) if place.is_dir() else name


KINDS: Mapping[str, tuple[Callable[[str | None, Settings], Any], Callable[[Any, Path], PassageIndex]]] = {
    "late": (late_model, LatePassages),
    "sparse": (sparse_model, SparsePassages),
}
"""Name of a kind -> what loads its model, and what makes or opens an index of it."""


@lru_cache(maxsize=4)
def _loaded(kind: str, model: str | None, settings: Settings, _written: int) -> Any:
    """The model; loaded anew where its folder was written anew."""
    return KINDS[kind][0](model, settings)


def _written_at(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


_opened: dict[Path, tuple[int, PassageIndex]] = {}
"""Folder -> the documents' version that an index was brought up to, and the index."""
_lock = threading.Lock()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process and thread at a time; others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with _lock, (folder / ".writer").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        yield


def folder_of_index(kind: str, store: Store, fingerprint: str, home: Path) -> Path:
    """Where the index of a library by a model lies."""
    key = hashlib.sha256(f"{store.uri} {fingerprint}".encode()).hexdigest()[:16]
    return home / "indexes" / f"{kind}-{key}"


def bring_up_to_date(
    collection: Collection,
    kind: str,
    model: str | None = None,
    *,
    most: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[PassageIndex, int]:
    """The index with all visible passages, and how many are missing: those that came, where they are above `most`.

    `on_progress` is told how many of the new passages are in it. UnknownName: no kind is called so. InputError: the
    library holds no passage. Else as the model's loading.
    """
    if kind not in KINDS:
        raise UnknownName(f"No index of passages is called {kind!r}. There are: {', '.join(KINDS)}.")
    opened = KINDS[kind][1]
    settings = getattr(collection, "settings", None) or Settings.load()
    read_by, store = (
        _loaded(kind, model, settings, _written_at(settings.home / "models" / (model or ""))),
        collection.store,
    )
    folder = folder_of_index(kind, store, read_by.fingerprint, settings.home)
    with _alone(folder):
        with tables.lance_errors(store.uri):
            version = store._documents.version
        known = _opened.get(folder)
        if known and known[0] == version:
            return known[1], 0
        index, missing = _synced(opened(read_by, folder), store, most, on_progress)  # others search the one before
        if not missing:
            _opened[folder] = version, index
    return index, missing


def _synced(
    index: PassageIndex, store: Store, most: int | None, on_progress: Callable[[int, int], None]
) -> tuple[PassageIndex, int]:
    there, held = visible_names(store), index.names
    if not there:
        raise InputError("The library holds no passage to index. Fill it: foveal add FILE_OR_FOLDER")
    wanted = set(there)
    if gone := sorted(held - wanted):
        index.remove(gone)
    new = [name for name in there if name not in held]
    if most is not None and len(new) > most:
        return index, len(new)
    groups = -(-len(new) // AT_ONCE)
    for number in range(groups):  # each an even sample of the rest: the first one decides what the index is like
        group = new[number::groups]
        rows = passages_called(store, group)
        if read := [name for name in group if name in rows]:
            index.add(read, [rows[name]["indexed"] for name in read], of=len(there))
            index.save()
        on_progress(min(len(new), (number + 1) * AT_ONCE), len(new))
    if gone and not groups:
        index.save()
    return index, 0


# -- passages by name -------------------------------------------------------------------------------------------------


def _name(row: Mapping[str, Any]) -> Name:
    return f"{row['start']}:{row['edition']}:{row['document_id']}"


def visible_names(store: Store, where: str | None = None) -> list[Name]:
    """The names of all visible passages, of which `where` (SQL) holds."""
    with tables.lance_errors(store.uri):
        table = store._passages
        builder = table.search().select(["document_id", "edition", "start"])
        builder = builder.where(where) if where else builder
        rows = builder.limit(max(1, table.count_rows())).to_arrow().to_pylist()
    current = store.current(sorted({row["document_id"] for row in rows}))
    return [_name(row) for row in rows if (now := current.get(row["document_id"])) and now.edition == row["edition"]]


def passages_called(store: Store, names: Sequence[Name]) -> dict[Name, dict[str, Any]]:
    """Name -> its row, for those that are there."""
    found: dict[Name, dict[str, Any]] = {}
    for first in range(0, len(names), LOOKED_UP):
        group = names[first : first + LOOKED_UP]
        parts = [name.split(":", 2) for name in group]
        documents = ",".join(literal(one) for one in dict.fromkeys(document for _, _, document in parts))
        starts = ",".join(dict.fromkeys(start for start, _, _ in parts))
        with tables.lance_errors(store.uri):
            builder = store._passages.search().where(f"document_id IN ({documents}) AND start IN ({starts})")
            rows = builder.select(FOUND).limit(max(1, store._passages.count_rows())).to_arrow().to_pylist()
        wanted = set(group)
        found |= {name: row for row in rows if (name := _name(row)) in wanted}
    return found


# -- the retrievers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PassageRetriever:
    """A `Retriever` by an index of passages; `where` is an SQL condition from `filters.sql`."""

    store: Store
    index: PassageIndex
    kind: str
    where: str | None = None
    model: str | None = None

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest score. An empty query finds nothing."""
        require_k(k)
        fits = None if self.where is None else set(visible_names(self.store, self.where))
        return [hits(self._found(query, k, fits), self.kind) if query.strip() else [] for query in queries]

    def _found(self, query: str, k: int, fits: set[Name] | None) -> list[Found]:
        """Deeper and deeper, until enough of what was found fits and is there still."""
        depth = k
        while True:
            scored = self.index.search(query, depth)
            kept = [(name, score) for name, score in scored if fits is None or name in fits]
            rows = passages_called(self.store, [name for name, _ in kept])
            current = self.store.current([row["document_id"] for row in rows.values()])
            seen = [
                found_in(rows[name] | {"_score": score}, "_score", now.revision)
                for name, score in kept
                if name in rows and (now := current.get(rows[name]["document_id"])) and now.edition == _edition(name)
            ]
            if len(seen) >= k or len(scored) < depth:
                return seen[:k]
            depth *= 4


def _edition(name: Name) -> str:
    return name.split(":", 2)[1]


def _over(kind: str, collection: Collection, where: str | None, model: str | None) -> PassageRetriever:
    index, missing = bring_up_to_date(collection, kind, model, most=FEW)
    name = f"{kind}:{model}" if model else kind
    if not index.names:
        raise InputError(
            f"This library has no index for {name} yet: {missing:,} passages would have to be read. Make it: foveal "
            f"admin index {name}"
        )
    if missing:
        log.warning("%d passages are not in the index %s yet. Add them: foveal admin index %s", missing, name, name)
    return PassageRetriever(collection.store, index, kind, where, model)


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
