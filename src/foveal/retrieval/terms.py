"""The words of a text as things to count, for what is computed over words outside of the full-text index.

The index cuts and stems words by itself (`lexical.py`); here are only those needs that have a text and no index: terms
for feedback, features of a query, features of a hit. Runs of ideographs, which no space parts, give their pairs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from foveal.evaluation.scripts import word_runs
from foveal.retrieval.words import FUNCTION_WORDS

_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def terms(text: str) -> list[str]:
    """The words of `text` in lower case and in order, function words left out."""
    found: list[str] = []
    for word in word_runs(text.lower()):
        if _IDEOGRAPH.search(word):
            found += [word[place : place + 2] for place in range(max(1, len(word) - 1))]
        elif word not in FUNCTION_WORDS:
            found.append(word)
    return found


def inverse_document_frequencies(texts: Iterable[str]) -> dict[str, float]:
    """Term -> ln(1 + (N - n + 0.5) / (n + 0.5)), n of the N texts hold it (Robertson and Zaragoza, 2009)."""
    holding: Counter[str] = Counter()
    count = 0
    for text in texts:
        holding.update(set(terms(text)))
        count += 1
    return {term: math.log(1 + (count - n + 0.5) / (n + 0.5)) for term, n in holding.items()}
