"""Which words of a paper a query's words are, so that a page can mark them.

    marks_of("retrieving documents", "Retrieval of a document", …)     # spans of "Retrieval" and "document"

Words are the same when their stems are, whatever their case and accents. The stems are cruder than the index's
(Snowball's English): `stem` takes off an English ending where enough is left, so that a mark is seldom missing.
"Quoted words" are marked where they stand as a phrase. Of ideographs and kana, which no space parts into words, each
pair of the query is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from foveal.retrieval.words import ASKING_WORDS, FUNCTION_WORDS

Spans = tuple[tuple[int, int], ...]

_WORD = re.compile(r"[\w\u0300-\u036f]+")
_QUOTED = re.compile(r'"([^"]+)"')
_UNPARTED = re.compile("[\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff]+")
_ENDINGS = (
    "izations", "isations", "ization", "isation", "ational", "fulness", "iveness", "ations", "izing", "izers",
    "ation", "ators", "ments", "izes", "ized", "izer", "ator", "ness", "ment", "ings", "ions", "ives", "ally", "able",
    "ible", "ing", "ies", "ied", "ion", "ive", "als", "ize", "ers", "ors", "ely", "est", "ed", "es", "er", "or", "al",
    "ly", "ic", "s", "e", "y",
)  # fmt: skip
SHORTEST, LONG = 3, 5
"""Letters that a stem has at least, and above which it loses more."""


class Marks(NamedTuple):
    """Start and end characters of what matches, in order, not overlapping."""

    title: Spans = ()
    abstract: Spans = ()


class Marker:
    """Finds the words of one query in any number of texts; function words count only where there are no others."""

    def __init__(self, query: str) -> None:
        self.phrases = phrases_of(query)
        self.words = _Wanted(asked(_QUOTED.sub(" ", query)))
        runs = _UNPARTED.findall(query)
        self.pairs = {run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1))}

    def marks(self, title: str, abstract: str) -> Marks:
        """The places in a title and an abstract."""
        return Marks(*(self._marked(text) for text in (title, abstract)))

    def stands_in(self, texts: Iterable[str]) -> bool:
        """Whether a word of the query stands in one of the texts."""
        return any(self._marked(text) for text in texts)

    def _marked(self, text: str) -> Spans:
        wanted = [word for word in set(_WORD.findall(text)) if self.words[word]]
        spans = {span for word in wanted for span in _standing(word, text)}
        if self.phrases:
            spans.update(_phrases(text, self.phrases))
        spans.update((start, start + len(pair)) for pair in self.pairs for start in _starts(pair, text))
        return _joined(spans) if self.pairs else tuple(sorted(spans))


class _Wanted(dict[str, bool]):
    """Whether a word as it stands in a text has one of the stems; remembered, since texts share most of their words."""

    def __init__(self, wanted: frozenset[str]) -> None:
        super().__init__()
        self._wanted = wanted

    def __missing__(self, word: str) -> bool:
        self[word] = found = stem_of(word) in self._wanted
        return found


def marks_of(query: str, title: str, abstract: str) -> Marks:
    """The places in a title and an abstract of a query's words."""
    return Marker(query).marks(title, abstract)


def asked(text: str) -> frozenset[str]:
    """The stems of the words that count: without function words and those that ask, unless there are no others."""
    words = [folded(word) for word in _WORD.findall(text)]
    telling = [word for word in words if word not in FUNCTION_WORDS]
    return frozenset(map(stem, [word for word in telling if word not in ASKING_WORDS] or telling or words))


@lru_cache(maxsize=262_144)
def stem_of(word: str) -> str:
    """The stem of a word as it stands in a text."""
    return stem(folded(word))


def stems(text: str) -> tuple[str, ...]:
    """The stem of each word, in order."""
    return tuple(map(stem_of, _WORD.findall(text)))


def has_phrase(phrase: Sequence[str], texts: Iterable[str]) -> bool:
    """Whether one of the texts has these stems one after the other."""
    return any(_places(phrase, stems(text)) for text in texts)


def phrases_of(query: str) -> list[tuple[str, ...]]:
    """The stems of each "quoted" part of a query that has words."""
    return [found for found in map(stems, _QUOTED.findall(query)) if found]


@lru_cache(maxsize=65_536)
def folded(word: str) -> str:
    """The word in lower case without accents."""
    plain = unicodedata.normalize("NFKD", word).casefold()
    return "".join(one for one in plain if not unicodedata.combining(one))


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A folded word without its English ending; a doubled consonant that this leaves bare becomes one."""
    left = word if word.endswith("ss") else _without_ending(word)
    if len(left) > LONG and left.endswith("ll"):  # modelled, controlling; and so recall, install
        left = left[:-1]
    return left.removesuffix("at") if len(left) > LONG else left  # generat-e, generat-ion


def _without_ending(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST:
            left = word[: -len(ending)]
            doubled = len(left) > SHORTEST and left[-1] == left[-2] and left[-1] not in "aeiouls"
            return left[:-1] if doubled else left
    return word


def _standing(word: str, text: str) -> Iterator[tuple[int, int]]:
    """Where a word stands in a text by itself, no part of a longer one."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if not _WORD.match(text[start - 1 : start]) and not _WORD.match(text[end : end + 1]):
            yield start, end
        start = text.find(word, end)


def _starts(pair: str, text: str) -> Iterator[int]:
    """Where a pair stands in a text, in words or not."""
    start = text.find(pair)
    while start >= 0:
        yield start
        start = text.find(pair, start + 1)


def _joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """The spans in order, those that overlap or touch as one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return tuple(found)


def _phrases(text: str, phrases: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """The words of phrases where they stand."""
    own, spans = stems(text), [match.span() for match in _WORD.finditer(text)]
    for phrase in phrases:
        for place in _places(phrase, own):
            yield from spans[place : place + len(phrase)]


def _places(phrase: Sequence[str], words: Sequence[str]) -> list[int]:
    """Where the words of a phrase begin to stand in order; an empty one stands nowhere."""
    if not phrase:
        return []
    size, wanted = len(phrase), tuple(phrase)
    return [place for place in range(len(words) - size + 1) if tuple(words[place : place + size]) == wanted]
