"""Indexes built by a Ray cluster with lance-ray: each task indexes some of a table's fragments, one commit takes all.

    with store.writing():
        build_indexes(store, workers=8)     # then store.refresh_indexes() for what is left

Words     the full-text index, with the settings of `tables.full_text`. It gets another name than the one it replaces,
          which goes only once the new one is there: a reader always finds one
Meaning   ivf, ivf-pq and ivf-sq (`lance_indexes.py`; choose by `Store.use_index`): centroids and codes are trained
          once, here, and given to all tasks. The default, ivf-rq, lance-ray cannot build: Lance makes it here
When      few rows are indexed faster than tasks start: below `DISTRIBUTED_FROM` nothing is done here
"""

from __future__ import annotations

from typing import Any

from foveal.registry import require
from foveal.retrieval import tables
from foveal.retrieval.lance_indexes import cells, code_bytes
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store import Store

DISTRIBUTED_FROM = 100_000
"""Rows that wait for an index, from which it is built by tasks."""

KINDS = {"ivf": "IVF_FLAT", "ivf-pq": "IVF_PQ", "ivf-sq": "IVF_SQ"}
"""Names of our vector indexes that lance-ray builds -> Lance's."""

NAMES = ("indexed_idx", "indexed_idx_2")
"""Names of the full-text index, in turn."""

SAMPLES = 256
"""Vectors that a centroid is trained on, where there are so many."""


def build_indexes(store: Store, *, workers: int, at_least: int = DISTRIBUTED_FROM) -> list[str]:
    """Build what is due and large enough; the names of the columns whose indexes were built. Inside `store.writing`.

    MissingExtra: lance-ray is not installed.
    """
    name = tables.passages_table(store.settings)
    table = tables.connect(store.uri).open_table(name)
    rows, built = table.count_rows(), []
    if rows < at_least:
        return []
    lance_ray = require("lance_ray", extra="scale")
    uri = f"{store.uri.rstrip('/')}/{name}.lance"
    with lance_errors(store.uri):
        words = [index for index in table.list_indices() if index.columns == ["indexed"]]
        if not words or sum(index.num_unindexed_rows or 0 for index in words) * 2 >= rows:
            _words(lance_ray, table, uri, [index.name for index in words], workers)
            built.append("indexed")
        if store.index.name in KINDS and store.vector_index_due():
            _meaning(lance_ray, store, uri, rows, workers)
            built.append("vector")
    return built


def _words(lance_ray: Any, table: Any, uri: str, before: list[str], workers: int) -> None:
    if set(NAMES) <= set(before):  # of an earlier time, when a kill came before the older one went: either serves
        before.remove(NAMES[0])
        table.drop_index(NAMES[0])
    name = next(one for one in NAMES if one not in before)
    settings = tables.full_text()
    lance_ray.create_scalar_index(
        uri,
        column="indexed",
        index_type="INVERTED",
        name=name,
        num_workers=workers,
        base_tokenizer=settings.base_tokenizer,
        stem=settings.stem,
        remove_stop_words=settings.remove_stop_words,
        with_position=settings.with_position,
        language=settings.language,
        lower_case=settings.lower_case,
        ascii_folding=settings.ascii_folding,
        max_token_length=settings.max_token_length,
    )
    table.checkout_latest()
    for old in before:
        table.drop_index(old)


def _meaning(lance_ray: Any, store: Store, uri: str, rows: int, workers: int) -> None:
    kind, dimension = store.index.name, store.dimension or 1
    count = cells(rows) if kind != "ivf-pq" else max(1, min(cells(rows), rows // SAMPLES))
    codes = {"num_sub_vectors": code_bytes(dimension)} if kind == "ivf-pq" else {}
    lance_ray.create_index(
        uri,
        column="vector",
        index_type=KINDS[kind],
        metric="dot",
        num_partitions=count,
        sample_rate=max(2, min(SAMPLES, rows // count)),
        num_workers=workers,
        **codes,
    )
    store.vector_index_made(rows)
