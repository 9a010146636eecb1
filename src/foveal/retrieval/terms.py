"""The words of a text as things to count, for what is computed over words outside of the full-text index.

The index cuts and stems words by itself (`lexical.py`); here are only those needs that have a text and no index: terms
for feedback, features of a query, features of a hit. Where no space parts words (Chinese, Japanese, Thai, Lao, Burmese,
Khmer), a run gives short pieces that overlap (`evaluation.scripts.pieces`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from foveal.evaluation import bm25
from foveal.evaluation.scripts import composed, pieces, word_runs
from foveal.retrieval.words import FUNCTION_WORDS


def terms(text: str) -> list[str]:
    """The words of `text` in lower case and in order, function words left out."""
    found: list[str] = []
    for word in word_runs(composed(text).lower()):
        if word not in FUNCTION_WORDS:
            found += pieces(word)
    return found


def inverse_document_frequencies(texts: Iterable[str]) -> dict[str, float]:
    """Term -> its `bm25.idf` among these texts."""
    holding: Counter[str] = Counter()
    count = 0
    for text in texts:
        holding.update(set(terms(text)))
        count += 1
    return {term: bm25.idf(count, n) for term, n in holding.items()}
