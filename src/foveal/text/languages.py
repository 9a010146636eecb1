"""The words of a text by language, for models that learn their words from a collection and for word searches.

    cut = word_cutter("plain")          cut("Điều 5. Quyền sở hữu") == ["điều", "5", "quyền", "sở", "hữu"]

plain   any language, nothing to install: words in lower case; runs of kana and ideographs, which no space parts, give
        their pairs, as the word searches do (`retrieval.terms`); Vietnamese gives its syllables
ja      Japanese words in their dictionary form, by MeCab (fugashi with unidic-lite)
vi      Vietnamese words, which often are two syllables, joined by "_" (pyvi; it reads a pickle of its own package)

Texts are brought to one form first (NFKC), else a Vietnamese letter that is written as letter and accent would fall
apart, and full-width digits would be other words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from foveal.errors import UnknownName
from foveal.evaluation.scripts import word_runs
from foveal.registry import require

Words = Callable[[str], list[str]]
"""A text -> its words, in order."""

_RUN = re.compile(r"[\u3005\u3040-\u30ff\u3400-\u9fff]+|[^\u3005\u3040-\u30ff\u3400-\u9fff]+")


def word_cutter(language: str) -> Words:
    """What cuts texts of a language of `LANGUAGES` into words. UnknownName: it has none. MissingExtra: its package."""
    if language not in LANGUAGES:
        raise UnknownName(f"No way of cutting words is called {language!r}. There are: {', '.join(LANGUAGES)}.")
    return LANGUAGES[language]()


def _plain() -> Words:
    def cut(text: str) -> list[str]:
        found: list[str] = []
        for word in word_runs(unicodedata.normalize("NFKC", text).lower()):
            for run in _RUN.findall(word):
                unspaced = _is_unspaced(run[0])
                found += [run[at : at + 2] for at in range(max(1, len(run) - 1))] if unspaced else [run]
        return found

    return cut


def _is_unspaced(character: str) -> bool:
    return character == "\u3005" or "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff"


def _japanese() -> Words:
    tagger = _tagger()

    def cut(text: str) -> list[str]:
        words = tagger(unicodedata.normalize("NFKC", text).lower())
        return [str(word.feature.lemma or word.surface) for word in words if word_runs(word.surface)]

    return cut


@lru_cache(1)
def _tagger() -> Any:
    require("unidic_lite", extra="languages")
    return require("fugashi", extra="languages").Tagger()


def _vietnamese() -> Words:
    joined = require("pyvi.ViTokenizer", extra="languages").tokenize

    def cut(text: str) -> list[str]:
        return word_runs(joined(unicodedata.normalize("NFKC", text)).lower())

    return cut


LANGUAGES: dict[str, Callable[[], Words]] = {"plain": _plain, "ja": _japanese, "vi": _vietnamese}
