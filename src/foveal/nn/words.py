"""The words of a text with their places, and the numbers that a model knows them by; sentences, for long texts.

    words = Words.of(texts)
    words.read("It is dull.").ids                      # [14, 5, 230, 3]: 0 is padding, 1 an unknown word
    words.read("It is dull.").spans                    # ((0, 2), (3, 5), (6, 10), (10, 11))

A word is a run of letters with their marks and digits ("don't" is one), a number, a Chinese or Japanese character, or
the mark that ends a sentence; letters count as small ones. A sentence ends behind such a mark, before a blank line, or
when it is long.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.files import whole_file

PADDING, UNKNOWN, FIRST = 0, 1, 2
MOST = 50_000
"""Words that are known, the most frequent ones."""

Span = tuple[int, int]

_ALONE = "\u3040-\u30ff\u3400-\u9fff"
_UNSPACED = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))
"""Thai, Lao, Burmese, Khmer: a run of theirs is no word, so that their marks go on parting it."""
_ENDS = frozenset(".!?。！？")
_BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Read:
    """A text's words: their ids, and their characters as (start, end)."""

    ids: tuple[int, ...]
    spans: tuple[Span, ...]

    def cut(self, most: int) -> Read:
        """The first `most` of them."""
        return Read(self.ids[:most], self.spans[:most])


@dataclass(frozen=True)
class Words:
    """The words that are known, from id FIRST on."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], *, least: int = 2, most: int = MOST) -> Words:
        """Those that texts hold at least `least` times, the most frequent first. InputError: there are none."""
        counts = Counter(word for text in texts for word, _ in words_of(text))
        kept = sorted((one for one, count in counts.items() if count >= least), key=lambda one: (-counts[one], one))
        if not kept:
            raise InputError(f"The texts hold no word {least} times or more. Give more text to learn from.")
        return cls(tuple(kept[:most]))

    def __len__(self) -> int:
        """The ids that there are, padding and the unknown word included."""
        return FIRST + len(self.words)

    def read(self, text: str) -> Read:
        """The words of a text; of one without any, none."""
        found = list(words_of(text))
        return Read(tuple(self._places.get(word, UNKNOWN) for word, _ in found), tuple(span for _, span in found))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, start=FIRST)}

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with whole_file(path) as partial:
            partial.write_text(json.dumps(self.words, ensure_ascii=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Words:
        """What `save` wrote. InputError: it is damaged."""
        try:
            return cls(tuple(str(one) for one in json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} holds no list of words ({error}). Train the model anew.") from error


def words_of(text: str) -> Iterable[tuple[str, Span]]:
    """Each word, its letters small, and its place in the text."""
    return ((found[0].lower(), found.span()) for found in _word().finditer(text))


@cache
def _word() -> re.Pattern[str]:
    """A word; marks of its letters, such as vowels in Telugu, are part of it, which Python's letters leave out."""
    marks = (chr(one) for one in range(0x0300, 0x20000) if not any(one in part for part in _UNSPACED))
    joined = "".join(one for one in marks if one in "\u200c\u200d" or unicodedata.category(one).startswith("M"))
    run = rf"[^\W{_ALONE}]+(?:[{joined}]+[^\W{_ALONE}]*)*"
    return re.compile(rf"[{_ALONE}]|\d+(?:[.,]\d+)+|{run}(?:['’]{run})*|[.!?。！？]")


def sentences(text: str, read: Read, *, most: int) -> list[Read]:
    """The words of `read` by sentences of at most `most` words; none is empty."""
    ends = [
        place + 1
        for place, (_, end) in enumerate(read.spans)
        if text[read.spans[place][0]] in _ENDS
        or (place + 1 < len(read.spans) and _BLANK_LINE.search(text, end, read.spans[place + 1][0]))
    ]
    found, start = [], 0
    for end in (*ends, len(read.ids)):
        for first in range(start, end, most):
            last = min(first + most, end)
            found.append(Read(read.ids[first:last], read.spans[first:last]))
        start = max(start, end)
    return found
