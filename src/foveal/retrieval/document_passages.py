"""One document's passages as they stand in a store: their places, and the vectors that search compares.

places, vectors = document_passages(store, document_id)     # [(start, end), …] in order; (n, dimension) or None
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.retrieval.filters import literal
from foveal.retrieval.store import Store


def document_passages(store: Store, document_id: str) -> tuple[list[tuple[int, int]], NDArray[np.float32] | None]:
    """Places and vectors of the visible passages; no vectors in a library without an encoder."""
    current = store.current([document_id]).get(document_id)
    if current is None:
        return [], None
    condition = f"document_id = {literal(document_id)} AND edition = {literal(current.edition)}"
    columns = ["start", "end", *(["vector"] if store.dimension else [])]
    rows = store.passages_where(condition, columns).sort_by([("start", "ascending"), ("end", "ascending")])
    places = list(zip(rows["start"].to_pylist(), rows["end"].to_pylist(), strict=True))
    if not store.dimension or not places:
        return places, None
    flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return places, np.asarray(flat, dtype=np.float32).reshape(len(places), -1)
