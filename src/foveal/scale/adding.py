"""`Work` by a Ray cluster: sources are loaded and cut by tasks, and so are passages encoded; this process writes.

    with cluster("auto") as ray:
        library.add(["corpus/"], work=RayWork(library, ray))

    sources, in order -> tasks that load and cut a few sources each, some waiting for each core
                      -> here, in that order: what is new, batches of 1,024 passages -> tasks that encode a batch each
                      -> here, in that order: written and published

Identical   documents come in the order of the sources, and batches hold the same passages as without a cluster, so the
            tables come out the same, row by row, wherever nodes compute alike
Failures    a task whose node died is run again elsewhere (`tasks.py`). Where its process died, its sources are loaded
            one by one, and one that kills its process each time is skipped, by name. If this process dies, what it
            published stays, as ever
Reach       every node must reach the sources (files: a shared folder) and the encoder's files. Pages of the web and
            arXiv are fetched by this process, which keeps to the servers' pace
Tasks       plain ones: Ray Data looks ten times a second which core is free, so that each waits between two tasks
Unit        a source: a JSONL file of millions of records is loaded by one task; cut it into several files
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

from foveal.errors import LibraryError
from foveal.library import Library
from foveal.retrieval import tables
from foveal.retrieval.adding import AddReport, OwnWork
from foveal.retrieval.indexing import LOOKED_UP, Indexer, in_pieces
from foveal.retrieval.store import Store
from foveal.scale.cluster import our_errors
from foveal.scale.indexing import build_indexes
from foveal.scale.tasks import TRIES, Task, Tasks, crashed
from foveal.text.loading import LoadSettings, Skipped, Source, readable
from foveal.text.segmenter_by_name import make_segmenter
from foveal.types import Document, Encoder, Passage, Segmenter, Span

NETWORK = ("url", "arxiv")
"""Kinds of sources that are not given to the cluster."""

PART_BYTES = 4 * 2**20
"""Bytes of sources that one task loads, about, at most: a second of work, so that a lost task costs little."""

SMALL_PART_BYTES = 2**19
"""Bytes of a small task, at the end, where no core shall wait long for another."""

WAITING_A_CORE = 3
"""Tasks that load, for each core: done and not yet taken, under way, or waiting for it."""

KEPT = 2 * LOOKED_UP
"""Documents whose passages are kept until `segment` is asked for them: of those that are unchanged it never is."""

Row = tuple[str, Any, Any]
"""What a task tells: "document" with its places, "skipped", or "read" after each source."""

Place = tuple[Span, str | None]
"""A passage without its text: where it stands, and its heading."""

AHEAD_A_CORE = 2
"""Batches that are encoded or wait for it, for each core: this process must not wait for the slowest."""


@dataclass(frozen=True)
class Recipe:
    """What a task needs to cut and encode as a library does."""

    uri: str
    settings: tuple[tuple[str, str], ...]  # of the library: encoder, its fingerprint, segmenter
    home: Path
    cache: Path
    load: LoadSettings

    @classmethod
    def of(cls, library: Library, load: LoadSettings) -> Recipe:
        """That of a library."""
        kept = library.settings
        return cls(library.store.uri, tuple(sorted(library.store.settings.items())), kept.home, kept.cache, load)


@dataclass
class RayWork:
    """`Work` by a cluster; make it anew for each `add`."""

    library: Library
    ray: Any  # the module, connected (`cluster.cluster`)
    ahead: int = 0
    _cut: dict[tuple[str, str], Sequence[Place]] = field(default_factory=dict)  # by tasks, and nobody asked for it yet
    _recipe: Recipe | None = None

    def __post_init__(self) -> None:
        """The nodes' cores decide how much is under way at once."""
        self.ahead = self.ahead or max(2, AHEAD_A_CORE * self._cores())
        self._encoding, self._loading = Tasks(self.ray, encoded), Tasks(self.ray, loaded)
        self._own = OwnWork(self.library)

    def load(self, sources: Sequence[Source], settings: LoadSettings, report: AddReport) -> Iterator[Document]:
        """The documents in the order of the sources, each with its passages, which `segment` hands out."""
        self._recipe = recipe = Recipe.of(self.library, settings)
        with self._stopping():
            for network, run in groupby(sources, key=lambda source: source.kind in NETWORK):
                if network:
                    yield from self._own.load(list(run), settings, report)
                else:
                    yield from self._spread(list(run), recipe, report)

    def segment(self, document: Document) -> Sequence[Passage]:
        """What a task has cut; a document that no task has (it seemed unchanged, or is a page) is cut here."""
        key = document.id, document.revision
        if key not in self._cut:
            return self._own.segment(document)
        for older in list(self._cut):  # documents are asked for in their order: those before it turned out unchanged
            found = self._cut.pop(older)
            if older == key:
                break
        return [Passage(span, document.quote(span), heading) for span, heading in found]

    def encode(self, texts: Sequence[str]) -> Any:
        """A call that waits for the vectors."""
        return partial(self._vectors, self._encoding.begin(self._recipe, list(texts)))

    def index(self, store: Store) -> None:
        """By the cluster where rows are many and every node reaches the tables; what is left by Lance, here."""
        if tables.is_remote(store.uri) or self._one_machine():
            with our_errors():
                build_indexes(store, workers=self._cores())
        store.refresh_indexes()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Around what waits for tasks: where it fails, or is no longer wanted, nothing more is to be done."""
        try:
            yield
        except BaseException:
            self._loading.stop()
            self._encoding.stop()
            raise

    def _vectors(self, task: Task) -> Any:
        with self._stopping():
            return self._encoding.result(task)

    def _spread(self, sources: Sequence[Source], recipe: Recipe, report: AddReport) -> Iterator[Document]:
        waiting: deque[tuple[Sequence[Source], Task]] = deque()
        for part in parted(sources, self._cores()):
            waiting.append((part, self._begun(recipe, part)))
            most = WAITING_A_CORE * self._cores()  # a cluster grows with what waits for it
            while len(waiting) >= most:
                yield from self._taken(self._made(recipe, *waiting.popleft()), report)
        while waiting:
            yield from self._taken(self._made(recipe, *waiting.popleft()), report)

    def _begun(self, recipe: Recipe, part: Sequence[Source]) -> Task:
        """Several sources are tried once together: which of them killed the process shows when each is alone."""
        return self._loading.begin(recipe, part, tries=1 if len(part) > 1 else TRIES)

    def _made(self, recipe: Recipe, part: Sequence[Source], task: Task) -> Iterator[Row]:
        """What a task made of a part."""
        try:
            rows = pickle.loads(self._loading.result(task))
        except LibraryError as error:
            if not crashed(error):
                raise
            rows = self._one_by_one(recipe, part) if len(part) > 1 else _skipped(part[0], error)
        yield from rows

    def _one_by_one(self, recipe: Recipe, part: Sequence[Source]) -> Iterator[Row]:
        for source in part:
            yield from self._made(recipe, [source], self._begun(recipe, [source]))

    def _taken(self, rows: Iterable[Row], report: AddReport) -> Iterator[Document]:
        """The documents among the rows; the rest is counted."""
        for kind, one, places in rows:
            if kind == "read":
                report.sources_read += 1
            elif kind == "skipped":
                report.skipped.append(one)
            else:
                if places is not None:
                    self._cut[one.id, one.revision] = places
                    if len(self._cut) > KEPT:
                        del self._cut[next(iter(self._cut))]
                yield one

    def _one_machine(self) -> bool:
        """Whether all nodes have one address: then they share its disks."""
        return len({node["NodeManagerAddress"] for node in self.ray.nodes() if node["Alive"]}) == 1

    def _cores(self) -> int:
        with our_errors():
            return max(1, int(self.ray.cluster_resources().get("CPU", 1)))


def parted(sources: Sequence[Source], cores: int) -> list[list[Source]]:
    """The sources in parts that follow each other: each half of a core's share of what is left, within bounds.

    Large ones first, so that cores seldom wait for a task; small ones last, so that none waits long for the others'.
    """
    sizes = [max(1, source.size or 1) for source in sources]
    parts: list[list[Source]] = []
    left, held, most = sum(sizes), 0, 0.0
    smallest = min(SMALL_PART_BYTES, left / (2 * cores))
    for source, size in zip(sources, sizes, strict=True):
        if not parts or held + size / 2 > most:
            parts.append([])
            held, most = 0, min(PART_BYTES, max(smallest, left / (2 * cores)))
        parts[-1].append(source)
        held, left = held + size, left - size
    return parts


def _skipped(source: Source, error: LibraryError) -> list[Row]:
    """The rows of a source that killed its process each time."""
    how = type(error.__cause__).__name__
    reason = f"The process that read it died each time ({how}): it is damaged, or needs more memory than a node has."
    return [("skipped", Skipped(source.address, reason), None), ("read", None, None)]


# -- in the tasks -----------------------------------------------------------------------------------------------------


def loaded(recipe: Recipe, part: Sequence[Source]) -> bytes:
    """Load and cut a part: pickled, a row for each document (with its passages' places where it is new), skip and
    source; texts of passages are the document's own, and are not sent again.
    """
    rows = [
        row for source in part for row in (*_rows(list(readable(source, recipe.load)), recipe), ("read", None, None))
    ]
    return pickle.dumps(rows)


def encoded(recipe: Recipe, texts: Sequence[str]) -> Any:
    """The vectors of one batch."""
    encoder = _encoder(recipe)
    if encoder is None:
        raise LibraryError("This library was made without an encoder, so nothing of it is encoded.")
    return in_pieces(encoder.encode, texts)


def _rows(found: Sequence[Document | Skipped], recipe: Recipe) -> Iterator[Row]:
    known = _unchanged([one for one in found if isinstance(one, Document)], recipe)
    for one in found:
        if isinstance(one, Skipped):
            yield "skipped", one, None
        else:
            new = None if one.id in known else _segmenter(recipe).segment(one)
            yield "document", one, None if new is None else [(passage.span, passage.heading) for passage in new]


def _unchanged(documents: Sequence[Document], recipe: Recipe) -> set[str]:
    """Ids of the documents that the library holds as they are, where this node reaches it: these need no cutting."""
    store = _store(recipe)
    if store is None:
        return set()
    indexer = Indexer(store, lambda _: (), None)
    current = store.current([one.id for one in documents])
    return {one.id for one in documents if one.id in current and current[one.id].edition == indexer.edition(one)}


@lru_cache(maxsize=2)
def _store(recipe: Recipe) -> Store | None:
    return Store.open(recipe.uri) if tables.exists(recipe.uri) else None


@lru_cache(maxsize=2)
def _encoder(recipe: Recipe) -> Encoder | None:
    """The library's encoder. LibraryError: this node has another one of that name."""
    from foveal.models import load_encoder

    kept = dict(recipe.settings)
    if kept["encoder"] == "none":
        return None
    encoder = load_encoder(kept["encoder"], cache=recipe.cache, home=recipe.home)
    if encoder.fingerprint != kept.get("fingerprint"):
        raise LibraryError(
            f"The encoder {kept['encoder']} of a node is not the one that made this library's vectors. Put the same "
            "model on all nodes."
        )
    return encoder


@lru_cache(maxsize=2)
def _segmenter(recipe: Recipe) -> Segmenter:
    return make_segmenter(dict(recipe.settings)["segmenter"], _encoder(recipe), home=recipe.home)
