"""Where the words of a query stand in a text, for what is shown of it: as the full-text index finds them.

    asked_places("Regulated and regulations", "regulation")  ->  [(0, 9), (14, 25)]

A word is marked that has the stem of one that was asked for, or that goes on from it ("read" marks "readership");
common words only where nothing else was asked for.
"""

from __future__ import annotations

import re
import unicodedata

from foveal.evaluation.scripts import SYLLABIC_RANGES, run_pattern, word_runs
from foveal.retrieval.stems import stem
from foveal.retrieval.terms import terms
from foveal.retrieval.words import ASKING_WORDS, folded

SHORTEST = 4
"""Letters of a word from which on others may go on from it."""

_SCRIPTS_WITHOUT_BLANKS = re.compile(f"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af{SYLLABIC_RANGES}]")


def asked_words(query: str) -> set[str]:
    """The words of a query that count, as the index compares them but for stems."""
    asked = set(terms(query))
    return {folded(word) for word in asked - ASKING_WORDS or asked or word_runs(query)}


def asked_places(text: str, query: str) -> list[tuple[int, int]]:
    """Where they stand in `text`, in order."""
    return [place for place, _ in asked_found(text, query)]


def asked_found(text: str, query: str) -> list[tuple[tuple[int, int], str]]:
    """The same, each with the word that was asked for."""
    words = asked_words(query)
    plain = sorted(word for word in words if not _SCRIPTS_WITHOUT_BLANKS.search(word))
    stems, found = {stem(word): word for word in plain}, []
    for one in run_pattern().finditer(text):
        held = folded(one.group())
        word = stems.get(stem(held)) or next((word for word in plain if _begins(held, word)), None)
        if word is not None:
            found.append((one.span(), word))
    for word in words.difference(plain):
        forms = dict.fromkeys((word, unicodedata.normalize("NFD", word)))
        found += [(one.span(), word) for one in re.finditer("|".join(map(re.escape, forms)), text)]
    return sorted(found)


def _begins(word: str, asked: str) -> bool:
    """Whether a word is the one asked for, or goes on from it; a short one must be it."""
    return word == asked or (len(asked) >= SHORTEST and word.startswith(asked))
