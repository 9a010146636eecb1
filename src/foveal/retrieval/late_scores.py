"""Other scores over token vectors, and fewer vectors a document.

Shapes    a text's token vectors (n, D); one vector (D,); scores are floats
Source    Poly-encoder: Humeau et al., ICLR 2020; ME-BERT: Luan et al., TACL 2021; COIL: Gao, Dai and Callan,
          NAACL 2021; token pooling: Clavié, Chaffin and Adams, 2024 (arXiv 2409.14683)
Against   MaxSim (`late.py`) keeps all vectors and all pairs; these keep a few vectors, or only pairs of equal tokens

Poly-encoder's codes are learned; all else works on any encoder's vectors. ME-BERT's vectors, and pooled ones, are token
vectors like any other: `late.Exact`, `late_index.py` and `muvera.py` take them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.late import Floats


def poly_vectors(codes: Floats, tokens: Floats) -> Floats:
    """What each of m codes (m, D) takes from a text's tokens (n, D) by attention: (m, D)."""
    taken: Floats = _softmax(codes @ tokens.T) @ tokens
    return taken


def poly_score(candidate: Floats, vectors: Floats) -> float:
    """Poly-encoder: the candidate (D,) attends over a text's m vectors (m, D), and is multiplied with what it takes."""
    return float(candidate @ (_softmax(vectors @ candidate) @ vectors))


def first_vectors(tokens: Floats, count: int) -> Floats:
    """ME-BERT: the first `count` token vectors stand for a document; fewer if it is shorter."""
    if count < 1:
        raise InputError(f"ME-BERT got {count} vectors a document; it needs at least 1.")
    return tokens[:count]


def me_bert(query: Floats, vectors: Floats) -> float:
    """ME-BERT: the largest product of the query's one vector (D,) with a document's few (m, D)."""
    return float((vectors @ query).max())


def coil(
    query_ids: npt.NDArray[np.int64],
    query: Floats,
    document_ids: npt.NDArray[np.int64],
    document: Floats,
    *,
    cls: tuple[Floats, Floats] | None = None,
) -> float:
    """COIL: each token of the query times its best occurrence in the document; a token that is not there adds nothing.

    Ids (n,) and (m,), vectors (n, D) and (m, D), special tokens left out. `cls`: the vectors of the query's and of the
    document's [CLS], whose product is added (COIL-full).
    """
    if len(query_ids) != len(query) or len(document_ids) != len(document):
        raise InputError(
            f"COIL got {len(query_ids)} and {len(document_ids)} token ids for {len(query)} and {len(document)} "
            "vectors; each vector needs the id of its token."
        )
    equal = query_ids[:, None] == document_ids[None, :]
    products = np.where(equal, query @ document.T, -np.inf)
    best = products.max(axis=1, initial=-np.inf)
    lexical = float(best[np.isfinite(best)].sum())
    return lexical + (float(cls[0] @ cls[1]) if cls else 0.0)


def pooled_tokens(vectors: Floats, factor: float, *, protected: int = 1) -> Floats:
    """A document's vectors (n, D), of unit length, in about n / factor: the unit means of clusters of them.

    The first `protected` vectors ([CLS]) stay as they are. Clusters by Ward's method on the cosine distance, as in
    sentence-transformers' HierarchicalTokenPooling. Ward's cost is n² a merge, some milliseconds for 200 tokens.
    """
    if factor < 1 or protected < 0:
        raise InputError(f"Token pooling got factor={factor}, protected={protected}; it needs >= 1 and >= 0.")
    kept, merged = vectors[:protected], vectors[protected:]
    count = max(int(len(merged) // factor), 1)
    if count >= len(merged):
        return vectors
    of = ward(np.clip(1 - merged @ merged.T, 0, 2), count)
    means = np.stack([merged[of == cluster].mean(axis=0) for cluster in range(count)])
    pooled: Floats = np.concatenate([kept, means / np.linalg.norm(means, axis=1, keepdims=True)])
    return pooled


def ward(distances: Floats, count: int) -> npt.NDArray[np.int64]:
    """The cluster, 0 to count - 1, of each of n items, by merging the two nearest clusters until `count` are left.

    `distances` (n, n). After a merge of i and j (Ward, 1963; Lance and Williams, 1967), with sizes s:
    d(ij, k)² = ((s_i + s_k) d(i, k)² + (s_j + s_k) d(j, k)² - s_k d(i, j)²) / (s_i + s_j + s_k).
    """
    squared = np.asarray(distances, dtype=np.float64) ** 2
    np.fill_diagonal(squared, np.inf)
    sizes, of = np.ones(len(squared)), np.arange(len(squared))
    for _ in range(len(squared) - count):
        i, j = sorted(divmod(int(squared.argmin()), len(squared)))
        total = sizes[i] + sizes[j] + sizes
        row = ((sizes[i] + sizes) * squared[i] + (sizes[j] + sizes) * squared[j] - sizes * squared[i, j]) / total
        row[[i, j]] = np.inf
        row[np.isinf(squared[i])] = np.inf  # clusters that are merged away
        squared[i, :] = squared[:, i] = row
        squared[j, :] = squared[:, j] = np.inf
        sizes[i] += sizes[j]
        of[of == j] = i
    return np.unique(of, return_inverse=True)[1].astype(np.int64)


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares
