"""Words of a query, marked in what was found: the stretch of a passage that holds most of them, in pieces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from foveal.evaluation.scripts import run_pattern, word_runs
from foveal.retrieval.terms import terms
from foveal.retrieval.words import folded

SHOWN = 420
"""Characters of a passage that are shown."""

_ASKED_WITH = "do does did how when where why can could should would any"
_ASKING = frozenset(_ASKED_WITH.split())
"""Words that a question is asked with, and that say nothing of what is asked for."""

_SCRIPTS_WITHOUT_BLANKS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Marked:
    """A piece of text, and whether it is a word that was asked for."""

    text: str
    marked: bool


def marked_words(text: str, query: str, most: int = SHOWN) -> tuple[Marked, ...]:
    """At most about `most` characters of `text`, in one line, where the words of `query` stand densest."""
    line = " ".join(text.split())
    places = _places(line, query)
    start = _densest(places, line, most)
    start, end = _whole_words(line, start, start + most)
    pieces = list(_pieces(line, [(a, b) for a, b in places if start <= a and b <= end], start, end))
    front, back = ("… " if start else ""), (" …" if end < len(line) else "")
    return tuple(one for one in (Marked(front, marked=False), *pieces, Marked(back, marked=False)) if one.text)


def _places(line: str, query: str) -> list[tuple[int, int]]:
    """The words of `line` that begin as one of the query's does ("read" marks "reading"); common words only alone."""
    asked = set(terms(query))
    words = {folded(word) for word in asked - _ASKING or asked or word_runs(query)}
    plain = tuple(word for word in words if not _SCRIPTS_WITHOUT_BLANKS.search(word))
    held = run_pattern().finditer(line)
    found = [one.span() for one in held if any(_begins(folded(one.group()), word) for word in plain)]
    for word in words.difference(plain):
        found += [one.span() for one in re.finditer(re.escape(word), line)]
    return sorted(found)


def _begins(word: str, asked: str) -> bool:
    """Whether a word is the one asked for, or goes on from it; a short one must be it."""
    return word == asked or (len(asked) > 3 and (word.startswith(asked) or (len(word) > 3 and asked == f"{word}s")))


def _densest(places: list[tuple[int, int]], line: str, most: int) -> int:
    """Where a stretch of `most` characters holds the most different words, then the most; a little before the first."""
    if len(line) <= most or not places:
        return 0
    words = [line[a:b].lower() for a, b in places]
    held, first, after = Counter[str](), 0, 0  # how often each of words[first:after] stands in the stretch
    best = (0, 0, -places[0][0])
    for start, _ in places:
        while after < len(places) and places[after][0] < start + most - 90:
            held[words[after]] += 1
            after += 1
        while first < after and places[first][0] < start:
            held[words[first]] -= 1
            if not held[words[first]]:
                del held[words[first]]
            first += 1
        best = max(best, (len(held), after - first, -start))
    return max(0, min(-best[2] - 60, len(line) - most))


def _whole_words(line: str, start: int, end: int) -> tuple[int, int]:
    """The stretch without words that it would cut, where blanks are near."""
    if start and (blank := line.find(" ", start, start + 30)) >= 0:
        start = blank + 1
    if end < len(line) and (blank := line.rfind(" ", end - 30, end)) >= 0:
        end = blank
    return start, min(end, len(line))


def _pieces(line: str, places: list[tuple[int, int]], start: int, end: int) -> Iterator[Marked]:
    at = start
    for a, b in places:
        if a >= at:
            yield Marked(line[at:a], marked=False)
            yield Marked(line[a:b], marked=True)
            at = b
    yield Marked(line[at:end], marked=False)
