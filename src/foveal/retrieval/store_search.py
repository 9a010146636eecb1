"""What finds passages in a library's tables: the half of a `Store` that searches.

    search.lexical(query, k, where)       BM25 over title, heading and text (Lance's full-text index)
    search.nearest(vector, k, where)      cosine of unit vectors: exact, or by an index in larger libraries
    search.numbered(asked, k, where)      either, as row numbers and scores alone: a fusion reads few texts
    search.best(rank, k)                  the passages that a fusion of `numbered` puts first

All but `numbered` give `Found` rows, best first, of visible passages only (see `tables.py` for what visible means).
Documents are published while searches run: each search looks at the version of the documents before and after, and
begins again where they differ, so that rows and editions are of one moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.ranges import require_k
from foveal.retrieval import tables
from foveal.retrieval.filters import literal
from foveal.retrieval.held_vectors import HeldVectors
from foveal.retrieval.lance_indexes import LanceIndex, chosen_index
from foveal.retrieval.open_tables import Moment, OpenTables
from foveal.retrieval.rows import FOUND, PLACES, Current, Found, found_in
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.words import lexical_query

if TYPE_CHECKING:
    from lancedb.query import LanceQueryBuilder
    from lancedb.table import LanceTable

logger = logging.getLogger("foveal.retrieval")

REMEMBERED = 50_000
"""Documents whose editions are remembered between searches; the first search looks so many up at once."""

LOOKED_UP = 1000
"""Documents looked up by one query."""

Rows = list[dict[str, Any]]
"""Rows of a table, by the names of their columns."""

SPARE = 2
"""Rows that are read beside those that are wanted: one may belong to an edition that is not visible."""

MADE_WITH = ("encoder", "fingerprint", "dimension", "segmenter")
"""Settings that a library keeps, so that where they differ it is another one."""

RETRIES = 50
"""Times that a search begins again because documents were published meanwhile: on a busy machine a writer of many small
documents can be faster than a search, several times on end."""


class StoreSearch:
    """Searches over the tables of the library at `uri`, and what they remember of its documents."""

    def __init__(self, uri: str, settings: Mapping[str, str]) -> None:
        self.uri = uri
        self.settings = dict(settings)
        self._tables = OpenTables(uri, tables.passages_table(settings))
        self._settled = self._tables.settled()  # then the settings were those of the library
        self._held: HeldVectors | None = None
        self._remembered: tuple[Moment | None, dict[str, Current | None]] = (None, {})  # of the documents then

    @property
    def dimension(self) -> int | None:
        """Length of the vectors; None in a library without."""
        stated = self.settings.get("dimension")
        return int(stated) if stated else None

    @property
    def made_with(self) -> tuple[str | None, ...]:
        """What decides the passages and vectors of this library."""
        return tuple(self.settings.get(key) for key in MADE_WITH)

    @property
    def index(self) -> LanceIndex:
        """The vector index that this library has from `INDEX_FROM` passages on. UnknownName: its setting names none."""
        return chosen_index(self.settings)

    @property
    def _documents(self) -> LanceTable:
        return self._tables.now().documents

    @property
    def _passages(self) -> LanceTable:
        return self._tables.now().passages

    def lexical(self, query: str, k: int, where: str | None = None, *, texts: bool = True) -> list[Found]:
        """The `k` best visible passages for `query` by BM25; "quoted words" must stand there as a phrase.

        Without `texts` those of the passages are "", for who reads them elsewhere.
        """
        full_text, columns = lexical_query(query), FOUND if texts else PLACES
        if full_text is None:
            return []

        def search(limit: int, moment: Moment) -> Rows:
            builder = self._by_words(full_text, where).limit(limit)
            held = self._held.at(moment) if self._held and not texts else None
            if held and (placed := held.placed(_rows(builder.select(["_score"]).with_row_id(True)))) is not None:
                return placed
            return _rows(builder.select([*columns, "_score"]))

        return self._visible(search, "_score", k)

    def nearest(self, vector: np.ndarray, k: int, where: str | None = None, *, texts: bool = True) -> list[Found]:
        """The `k` visible passages whose vectors have the highest cosine with `vector` (dimension,)."""
        columns = FOUND if texts else PLACES

        def search(limit: int, moment: Moment) -> Rows:
            held = self._held.at(moment) if self._held and not (where or texts) else None
            if held is not None:
                return held.nearest(vector, limit)
            return _rows(self._by_vector(vector, limit, where).select([*columns, "_distance"]).limit(limit))

        return self._visible(search, "_distance", k)

    def numbered(self, asked: str | np.ndarray, k: int, where: str | None = None) -> dict[int, float]:
        """Number -> score of the `k` best rows for words, or a vector (dimension,), visible or not: see `best`."""
        with lance_errors(self.uri):
            if isinstance(asked, str):
                if (full_text := lexical_query(asked)) is None:
                    return {}
                builder, score = self._by_words(full_text, where), "_score"
            else:
                builder, score = self._by_vector(asked, k, where), "_distance"
            found = builder.limit(k).select([score]).with_row_id(True).to_arrow()
        numbers, scores = found["_rowid"].to_pylist(), found[score].to_pylist()
        return {n: one if score == "_score" else 1.0 - one for n, one in zip(numbers, scores, strict=True)}

    def best(self, rank: Callable[[], Mapping[int, float]], k: int, *, depth: int) -> list[Found] | None:
        """The `k` best visible passages of what `rank` makes of `numbered` rows, `depth` of each ranking; only these
        are read from the table.

        Of equal scores by document and place. None: rows moved, again and again, meanwhile; or rows that are not
        visible stand where visible ones would: who asks `lexical` and `nearest` gets past them.
        """
        require_k(k)
        for tries in range(RETRIES + 1):
            with lance_errors(self.uri):
                before = self._remembered[0]
                before = self.moment() if tries or before is None else before
            ranking = rank()
            found, hidden = self._best_of(ranking, k)
            if found is not None and self._remembered[0] == before:
                return None if hidden and len(found) < k and len(ranking) >= depth else found
        return None

    def current(self, document_ids: Sequence[str]) -> dict[str, Current]:
        """What of each document is visible, for those that exist. Remembered while the documents stay as they are."""
        with lance_errors(self.uri):
            moment = self.moment()
            known = self._remembered[1] if self._remembered[0] == moment else self._look_all_up()
            if unknown := [one for one in dict.fromkeys(document_ids) if one not in known]:
                known = (known if len(known) < REMEMBERED else {}) | self._look_up(unknown)
            self._remembered = (moment, known)
        return {one: now for one in document_ids if (now := known.get(one))}

    def moment(self) -> Moment:
        """Changes whenever the documents do, or another library lies at their place."""
        return self._tables.moment()

    def follow(self) -> None:
        """Take over the settings of a library that another process made, or encoded, anew here (see `made_with`).

        LibraryError: what lies there by now is of a newer Foveal, or damaged.
        """
        settled = self._tables.settled()
        if settled == self._settled:
            return
        tables.schema_of(self.uri)
        before, self.settings = self.settings, tables.read_settings(self.uri)
        if tables.passages_table(before) != (passages := tables.passages_table(self.settings)):
            self._tables = OpenTables(self.uri, passages)
            self._held = HeldVectors(self._tables) if self._held else None
        self._settled = settled

    def hold_vectors(self) -> None:
        """Keep vectors and places in memory, for searches that need no texts (see `HeldVectors`)."""
        if self.dimension and self._held is None:
            self._held = HeldVectors(self._tables)

    def _visible(self, search: Callable[[int, Moment], Rows], score: str, k: int) -> list[Found]:
        """The first `k` rows of a search that belong to the current edition of their document.

        Rows of other editions exist only while a document is being replaced, or after a kill; then more are asked for.
        When documents were published during the search it begins again: rows and editions must be of one moment.
        """
        require_k(k)
        limit, tries = k, 0
        while True:
            with lance_errors(self.uri):
                before = self._remembered[0]  # no moment comes twice: the same one afterwards held all the while
                before = self.moment() if tries or before is None else before
                rows = search(limit, before)
            current = self.current([row["document_id"] for row in rows])
            tries += 1
            if self._remembered[0] != before and tries <= RETRIES:
                continue
            seen = [
                (row, now.revision)
                for row in rows
                if (now := current.get(row["document_id"])) and now.edition == row["edition"]
            ]
            if len(seen) >= k or len(rows) < limit:
                return [found_in(row, score, revision) for row, revision in seen[:k]]
            limit *= 4

    def _best_of(self, ranking: Mapping[int, float], k: int) -> tuple[list[Found] | None, bool]:
        """The best, and whether rows were passed over that are not visible. None: a row is not where it was."""
        order, most = sorted(ranking, key=lambda number: -ranking[number]), k + SPARE
        while True:
            while most < len(order) and ranking[order[most]] == ranking[order[most - 1]]:
                most += 1
            rows = self._taken(order[:most])
            if rows is None:
                return None, False
            current = self.current([row["document_id"] for row in rows])
            seen = [
                found_in(row | {"_score": ranking[row["_rowid"]]}, "_score", now.revision)
                for row in rows
                if (now := current.get(row["document_id"])) and now.edition == row["edition"]
            ]
            if len(seen) >= k or most >= len(order):
                seen.sort(key=lambda one: (-one.score, one.passage.span.document_id, one.passage.span.start))
                return seen[:k], len(seen) < len(rows)
            most *= 4

    def _taken(self, numbers: Sequence[int]) -> Rows | None:
        """The rows of these numbers, in any order; None where one is gone: compaction gives rows new numbers."""
        if not numbers:
            return []
        try:
            rows: Rows = self._passages.take_row_ids(list(numbers)).with_row_id().select(FOUND).to_list()
        except (RuntimeError, ValueError, OSError) as error:
            logger.debug("rows are not where they were: %s", error)
            return None
        return rows if len(rows) == len(numbers) else None

    def _by_words(self, full_text: Any, where: str | None) -> LanceQueryBuilder:
        return filtered(self._passages.search(full_text, query_type="fts"), where)

    def _by_vector(self, vector: np.ndarray, k: int, where: str | None) -> LanceQueryBuilder:
        builder = self._passages.search(vector, vector_column_name="vector").distance_type("dot")
        return filtered(self.index.asked(builder, k, filtered=bool(where)), where)

    def _look_all_up(self) -> dict[str, Current | None]:
        """All documents, where they are few enough to be remembered; none of them otherwise."""
        if (count := self._documents.count_rows()) > REMEMBERED:
            return {}
        builder = self._documents.search().select(["id", "edition", "revision"]).limit(max(1, count))
        columns = [column.to_pylist() for column in builder.to_arrow().columns]
        return {one: Current(edition, revision) for one, edition, revision in zip(*columns, strict=True)}

    def _look_up(self, document_ids: Sequence[str]) -> dict[str, Current | None]:
        found: dict[str, Current | None] = dict.fromkeys(document_ids)
        for first in range(0, len(document_ids), LOOKED_UP):
            ids = ",".join(map(literal, document_ids[first : first + LOOKED_UP]))
            builder = self._documents.search().where(f"id IN ({ids})").select(["id", "edition", "revision"])
            rows = builder.limit(LOOKED_UP).to_arrow().to_pylist()
            found |= {row["id"]: Current(row["edition"], row["revision"]) for row in rows}
        return found


def filtered(builder: LanceQueryBuilder, where: str | None) -> LanceQueryBuilder:
    """The query, for rows alone for which the SQL `where` holds."""
    return builder.where(where) if where else builder


def _rows(builder: LanceQueryBuilder) -> Rows:
    found: Rows = builder.to_arrow().to_pylist()
    return found
