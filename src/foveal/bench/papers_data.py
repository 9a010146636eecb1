"""What the benches of papers share: a judged collection as a home with papers, and vectors that are made once.

    with paper_home(collection.corpus.values(), settings, key=("csfcube", "papers")) as search:
        search.search("where to look", 10)

Titles and abstracts are all that is known of these papers, and keywords where a bench gives some: authors, subjects and
what else a source would tell are not there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from foveal import faults
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.evaluation.beir import Record
from foveal.papers.paper_index import PaperIndex, head
from foveal.papers.paper_search import PaperSearch
from foveal.papers.records import title_key
from foveal.papers.schema import KeywordRow, PaperRow
from foveal.settings import Settings
from foveal.types import Encoder


class KnownVectors:
    """An `Encoder` that knows some texts' vectors already; anything else goes to the real one."""

    def __init__(self, real: Encoder, texts: Sequence[str], vectors: np.ndarray) -> None:
        self._real = real
        self._known = dict(zip(texts, vectors, strict=True))
        self.name, self.dimension, self.max_tokens = real.name, real.dimension, real.max_tokens

    @property
    def fingerprint(self) -> str:
        """That of the real encoder: the library is opened with it."""
        return self._real.fingerprint

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (texts, dimension)."""
        rest = iter(self._real.encode(other) if (other := [one for one in texts if one not in self._known]) else ())
        rows = [self._known[one] if one in self._known else next(rest) for one in texts]
        return np.asarray(rows, dtype=np.float32).reshape(len(texts), self.dimension)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """As the real encoder has it."""
        return self._real.token_offsets(text)


@contextmanager
def paper_home(
    records: Iterable[Record],
    settings: BenchSettings,
    *,
    key: Sequence[str],
    keywords: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[PaperSearch]:
    """A search over a temporary home with these records as papers; their vectors are kept in the bench's cache.

    `keywords` are those of the papers, by id; None: they have none.
    """
    papers = list(records)
    texts = [head(one.title, one.text) for one in papers]
    encoder = settings.encoder()
    known = KnownVectors(encoder, texts, settings.cached_vectors(key, texts, encoder))
    with tempfile.TemporaryDirectory() as place:
        home = Settings(home=Path(place), cache=Settings.load().cache)
        database = Database.open(home)
        try:
            with database.writing() as session:
                session.execute(insert(PaperRow), list(map(_row, papers)))
                if linked := list(_keywords(keywords or {})):
                    session.execute(insert(KeywordRow), linked)
            search = PaperSearch(home, database, PaperIndex.open(home, database, encoder=known))
            search.sync()
            yield search
        finally:
            database.close()


def _row(record: Record) -> Mapping[str, Any]:
    now = faults.now()
    return {
        "id": record.id, "title": record.title or "-", "title_key": title_key(record.title), "abstract": record.text,
        "changed_at": now, "created_at": now,
    }  # fmt: skip


def _keywords(keywords: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    for paper, words in keywords.items():
        yield from ({"paper_id": paper, "position": at, "words": one[:120]} for at, one in enumerate(words))
