"""A text as sentences with their places and tokens: the units that a reader keeps or drops, always whole.

Sentences cover the text from 0 to its end without gaps, so that `text[s.start:s.end]` is what the model was shown. One
of more than `longest` tokens (code, tables, logs, a text without marks) is cut at line ends, then where `text.windows`
would: clause, word, token. The text comes in blocks, and a block is forgotten once its sentences are out.

Tokens    each sentence is tokenised by itself, without special tokens; a window is the concatenation. That keeps every
          sentence an exact range of tokens, and differs from tokenising the whole by a merge here and there
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from foveal.text.units import Offsets, sentences
from foveal.text.windows import WindowRule, windows

BLOCK = 2**16
"""Characters looked at together."""

LONGEST = 128
"""Tokens of a sentence; a longer one is cut."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters `start` to `end` of the text, what stands there, and its tokens."""

    start: int
    end: int
    text: str
    ids: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens."""
        return len(self.ids)


EncodeMany = Callable[[Sequence[str]], list[list[int]]]
Cut = Callable[[str], Offsets]


def blocks_of(text: str, size: int = BLOCK) -> Iterator[str]:
    """`text` in pieces of at most `size` characters."""
    return (text[start : start + size] for start in range(0, len(text), size))


def read_sentences(
    blocks: Iterable[str],
    encode_many: EncodeMany,
    token_offsets: Callable[[str], Offsets],
    *,
    cut: Cut = sentences,
    longest: int = LONGEST,
) -> Iterator[Sentence]:
    """The sentences of the text that `blocks` join to, in order, covering it."""
    for base, text, places in read_places(blocks, cut=cut):
        yield from tokenised(base, text, places, encode_many, token_offsets, longest)


def read_places(blocks: Iterable[str], *, cut: Cut = sentences) -> Iterator[tuple[int, str, Offsets]]:
    """The same before tokens are known: pieces of the text with the place of each, and of the sentences in it."""
    base, rest = 0, ""
    for block in blocks:
        text = rest + block
        places = cut(text)
        held = places[-1][0] if len(places) > 1 else 0  # the last one may go on in the next block
        if held == 0 and len(text) < 4 * BLOCK:
            rest = text
            continue
        done = held or len(text)
        yield base, text[:done], [place for place in places if place[1] <= done]
        base, rest = base + done, text[done:]
    if rest:
        yield base, rest, cut(rest)


def packed(stream: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    """Consecutive sentences in windows of at most `size` tokens; a longer sentence has a window of its own."""
    window: list[Sentence] = []
    tokens = 0
    for sentence in stream:
        if window and tokens + len(sentence) > size:
            yield window
            window, tokens = [], 0
        window.append(sentence)
        tokens += len(sentence)
    if window:
        yield window


def tokenised(
    base: int,
    text: str,
    places: Offsets,
    encode_many: EncodeMany,
    token_offsets: Callable[[str], Offsets],
    longest: int,
) -> Iterator[Sentence]:
    """The sentences at `places` of a piece of text that begins at `base`, long ones cut."""
    for (start, end), ids in zip(places, encode_many([text[start:end] for start, end in places]), strict=True):
        if len(ids) <= longest:
            yield Sentence(base + start, base + end, text[start:end], tuple(ids))
            continue
        pieces = list(_shortened(text[start:end], token_offsets, longest))
        for (a, b), own in zip(pieces, encode_many([text[start + a : start + b] for a, b in pieces]), strict=True):
            yield Sentence(base + start + a, base + start + b, text[start + a : start + b], tuple(own))


def _shortened(text: str, token_offsets: Callable[[str], Offsets], longest: int) -> Iterator[tuple[int, int]]:
    """Places that cover `text`, each of about `longest` tokens at most: whole lines where they are short enough."""
    start = 0
    for line in _lines(text, token_offsets, longest):
        if line[1] - line[0] <= longest:
            yield start, start + line[2]
        else:
            for window in windows(text, start, start + line[2], WindowRule(limit=longest), token_offsets):
                yield window.start, window.end
        start += line[2]


def _lines(text: str, token_offsets: Callable[[str], Offsets], longest: int) -> Iterator[tuple[int, int, int]]:
    """Runs of lines as (first token, token after the last, characters): as many lines as fit, at least one."""
    tokens = [start for start, _ in token_offsets(text)]
    place = first = size = run_first = 0
    for line in text.splitlines(keepends=True):
        place += len(line)
        after = first
        while after < len(tokens) and tokens[after] < place:
            after += 1
        if size and after - run_first > longest:
            yield run_first, first, size
            run_first, size = first, 0
        size += len(line)
        first = after
    if size:
        yield run_first, first, size
