"""Haystacks: a long text of a given length out of real ones, and needles planted in it at known places.

Depth       per cent of the haystack's characters before the needle; a sentence is planted after the nearest end of a
            sentence, so that the text around it stays whole
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, pairwise

from foveal.errors import InputError
from foveal.evaluation.kept import Range, covered
from foveal.evaluation.needles import Needle

END = re.compile(
    r"(?:(?<!\b[A-Z])(?<!\b[A-Z][a-z])(?<!\b[A-Z][a-z][a-z])\.|[!?])[\"'”’)\]]*(?=\s|\Z)"  # not after "Mr." or "J."
    r"|[。！？][”’」』）]*"
)
PIECE = 20_000
"""Characters that are counted at a time when a haystack is measured."""


def manual() -> list[str]:
    """The topics of Python's reference manual: real prose that lies on every machine, 106k tokens in all."""
    from pydoc_data.topics import topics

    return list(topics.values())


@dataclass(frozen=True, slots=True)
class Planted:
    """A text with a needle in it: `text[start:end]` of each of `ranges` is the sentence of the same number.

    `depths` are those reached, in % of the haystack; they differ from those asked for by less than a sentence.
    """

    text: str
    ranges: tuple[Range, ...]
    depths: tuple[float, ...]
    needle: Needle

    def retained(self, kept: Sequence[Range]) -> bool:
        """Whether every sentence of the needle lies wholly in the characters kept."""
        return all(covered(self.text, place, kept) for place in self.ranges)


def plant(haystack: str, needle: Needle, depths: Sequence[float]) -> Planted:
    """The haystack with each sentence of the needle after the end of a sentence nearest to its depth (0 to 100 %).

    Sentences that fall on the same place keep their order.
    """
    return _planted(haystack, needle, depths)[0]


def _planted(haystack: str, needle: Needle, depths: Sequence[float]) -> tuple[Planted, list[Range]]:
    """The same, and what was put in: the place in the haystack, and how many characters, of each sentence."""
    if len(depths) != len(needle.sentences) or not all(0 <= depth <= 100 for depth in depths):
        raise InputError(
            f"Depths {list(depths)} came for {len(needle.sentences)} sentences; give each one, 0 to 100 %."
        )
    ends = [0, *sentence_ends(haystack)]
    places = [_nearest(ends, len(haystack) * depth / 100) for depth in depths]
    text, done, ranges, added = "", 0, [(0, 0)] * len(places), []
    for place, number in sorted((place, number) for number, place in enumerate(places)):
        text += haystack[done:place]
        before = len(text)
        text += " " if text and not text[-1].isspace() else ""
        ranges[number] = len(text), len(text) + len(needle.sentences[number])
        text += needle.sentences[number]
        text += " " if haystack[place : place + 1].strip() else ""
        added.append((place, len(text) - before))
        done = place
    reached = tuple(100 * place / max(1, len(haystack)) for place in places)
    return Planted(text + haystack[done:], tuple(ranges), reached, needle), added


def plant_all(haystack: str, needles: Sequence[Needle], depths: Sequence[float]) -> list[Planted]:
    """One text with every needle in it, each at its own depth; all of the result share the text.

    A reader that takes many questions in one pass is measured on it; the other needles are distractors of each.
    """
    planted: list[Planted] = []
    for needle, depth in zip(needles, depths, strict=True):
        new, added = _planted(planted[-1].text if planted else haystack, needle, needle.depths(depth))
        moved = [replace(one, text=new.text, ranges=_moved(one.ranges, added)) for one in planted]
        planted = [*moved, new]
    return planted


def _moved(ranges: Sequence[Range], added: Sequence[Range]) -> tuple[Range, ...]:
    """Where `ranges` stand once so many characters were `added` at these places."""
    return tuple(
        (start + sum(n for at, n in added if at <= start), end + sum(n for at, n in added if at < end))
        for start, end in ranges
    )


def haystack(texts: Sequence[str], tokens: int, count_tokens: Callable[[str], int]) -> str:
    """The texts one after another, again from the first where they are too short, cut at the last end of a sentence
    with which they have at most `tokens` tokens.

    Tokens are counted by pieces of about 20,000 characters; counted at once they may be a few more or less.
    """
    parts, left = [], tokens
    for piece in _pieces(texts):
        count = count_tokens(piece)
        if count > left:
            parts.append(_cut(piece, left, count_tokens))
            break
        parts.append(piece)
        left -= max(1, count)
    text = "".join(parts).rstrip()
    if not text:
        raise InputError(f"No sentence of the texts has at most {tokens} tokens; ask for a longer haystack.")
    return text


def shuffled(text: str, seed: int) -> str:
    """The sentences of the text in an order drawn by `seed`: where a needle can be found must not depend on it."""
    sentences = [part.strip() for part in _split(text)]
    random.Random(seed).shuffle(sentences)
    return " ".join(filter(None, sentences))


def sentence_ends(text: str) -> list[int]:
    """The offsets just after each sentence, its closing quotes included."""
    return [match.end() for match in END.finditer(text)]


def _nearest(ends: list[int], target: float) -> int:
    place = bisect_left(ends, target)
    return min(ends[max(0, place - 1) : place + 1], key=lambda end: abs(end - target))


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    """The texts without end, a blank line after each, in pieces of whole sentences of at least PIECE characters."""
    readable = [text for text in texts if text.strip()]
    if not readable:
        raise InputError(f"A haystack was to be made of {len(texts)} texts, none of which has any; give one that has.")
    for text in cycle(readable):
        yield from _split(text.rstrip() + "\n\n", PIECE)


def _split(text: str, at_least: int = 0) -> list[str]:
    """The text cut after the ends of sentences, each part of `at_least` characters (the last may have fewer)."""
    cuts = [0]
    for end in sentence_ends(text):
        if end - cuts[-1] > at_least:
            cuts.append(end)
    return [text[start:end] for start, end in pairwise([*cuts, len(text)])]


def _cut(piece: str, tokens: int, count_tokens: Callable[[str], int]) -> str:
    """The most whole sentences from the beginning that have at most `tokens` tokens."""
    ends = sentence_ends(piece)
    fitting = bisect_right(ends, tokens, key=lambda end: count_tokens(piece[:end]))
    return piece[: ends[fitting - 1]] if fitting else ""
