"""Sentences and windows as the published package infini-retri 0.0.3 cuts them, with every character's place kept.

Its rules are its own: a sentence ends at a blank line or one of 。！？.?!, and what is short after a full stop is glued
on; a window counts one separator a sentence that is never written; a sentence longer than a window is cut at blanks,
which changes the blanks, and what has none is lost. They are followed here to the letter, for `published.py` is to read
what the package reads. The package joins and strips strings; here each character also says where in the source it
stood, so that what is kept can be cited.

Differs   tokens of growing pieces are counted when they may be too many, not after each word
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Spans = list[tuple[int, int]]

WINDOW_GLUE, SENTENCE_GLUE = 10, 8
"""Characters that are glued onto a full stop: where windows are cut, and where a prompt is."""

FOREIGN = -1
"""The place of a character that is not of the source."""

_MARK = re.compile(r"\n\n|[。！？.?!]")
_CHECKED = 8
"""Tokens below a limit from which on they are counted: the parts' tokens may be fewer than the whole's by a few."""

_BATCH = 2048
"""Pieces that are tokenised together."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A text and the place of each of its characters in the source, `FOREIGN` where it is not from there."""

    text: str
    places: np.ndarray

    @classmethod
    def part(cls, source: str, start: int, end: int) -> Traced:
        """Characters `start` to `end` of the source."""
        return cls(source[start:end], np.arange(start, end))

    @classmethod
    def foreign(cls, text: str) -> Traced:
        """`text`, from elsewhere."""
        return cls(text, np.full(len(text), FOREIGN))

    @classmethod
    def joined(cls, parts: Sequence[Traced]) -> Traced:
        """All parts, one behind the other."""
        if not parts:
            return cls.foreign("")
        return cls("".join(part.text for part in parts), np.concatenate([part.places for part in parts]))

    def cut(self, start: int, end: int) -> Traced:
        """Characters `start` to `end` of this text."""
        return Traced(self.text[start:end], self.places[start:end])

    def stripped(self) -> Traced:
        """Without blanks at either end."""
        start = len(self.text) - len(self.text.lstrip())
        return self.cut(start, max(start, len(self.text.rstrip())))

    def spans(self) -> tuple[tuple[int, int], ...]:
        """The runs of the source that this text is made of, in its own order."""
        own = self.places[self.places != FOREIGN]
        if not len(own):
            return ()
        breaks = [0, *(np.flatnonzero(np.diff(own) != 1) + 1).tolist(), len(own)]
        return tuple((int(own[a]), int(own[b - 1]) + 1) for a, b in pairwise(breaks))


def sentence_spans(text: str, glue: int = SENTENCE_GLUE) -> Spans:
    """The sentences of `text`, which they cover; a blank text has none."""
    spans: Spans = []
    start, blank = 0, True
    for a, b in _pieces(text):
        piece = text[a:b].strip()
        ends_here = bool(_MARK.fullmatch(text, a, b))
        if blank or ends_here or not piece or (text[a - 1] == "." and len(piece) <= glue):
            blank = blank and not piece
            continue
        spans.append((start, a))
        start = a
    return spans if blank else [*spans, (start, len(text))]


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Marks, and what stands between them."""
    place = 0
    for found in _MARK.finditer(text):
        if found.start() > place:
            yield place, found.start()
        yield found.span()
        place = found.end()
    if place < len(text):
        yield place, len(text)


def _sentences(text: Traced) -> list[Traced]:
    return [text.cut(a, b) for a, b in sentence_spans(text.text, WINDOW_GLUE)]


def _words(text: Traced) -> list[Traced]:
    """What stands between blanks, each with one blank behind it; the last one with none at either end."""
    blank = Traced.foreign(" ")
    words = []
    for found in re.finditer("[^ ]+", text.text):
        after = found.end() + 1
        own = text.cut(found.start(), after)
        words.append(own if after <= len(text.text) else Traced.joined([own, blank]))
    return [*words[:-1], words[-1].stripped()] if words else []


class Cutter:
    """Cuts texts into windows of at most `size` tokens."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        """`tokenizer`: of the tokenizers package."""
        self._tokenizer = tokenizer
        self._added = len(tokenizer.encode("").ids)  # control tokens that the package counts to every piece
        self.size = size

    def windows(self, source: str) -> list[Traced]:
        """The windows of `source` that are not blank."""
        windows = []
        for start, end, tokens in self._packed(source):
            run = Traced.part(source, start, end)
            windows += [run] if tokens <= self.size else self._shortened(run, _sentences)
        return [window for window in windows if window.text.strip()]

    def _packed(self, source: str) -> Iterator[tuple[int, int, int]]:
        """Runs of sentences with their tokens: as many as fit, a longer sentence by itself."""
        spans = sentence_spans(source, WINDOW_GLUE)
        counts = self._counts([source[a:b] for a, b in spans])
        separator = self._counts(["\n"])[0]
        first, total = 0, 0
        for (a, _), count in zip(spans, counts, strict=True):
            if a > first and total + count + separator > self.size:
                yield first, a, total
                first, total = a, 0
            total += count + (separator if a > first else 0)
        if spans:
            yield first, len(source), total

    def _shortened(self, text: Traced, cut: Callable[[Traced], list[Traced]]) -> list[Traced]:
        """`text` in pieces of whole parts; a part that is too long is cut at blanks, and lost if it has none."""
        pieces: list[Traced] = []
        for piece in self._filled(cut(text)):
            if self.count(piece.text) <= self.size:
                pieces += [piece] if piece.text else []
            elif cut is not _words:
                pieces += self._shortened(piece, _words)
        if len(pieces) > 1 and self.count(pieces[-1].text) < self.size // 2:
            pieces[-2:] = self._halved(pieces[-2], pieces[-1], cut)
        return pieces

    def _filled(self, parts: Sequence[Traced]) -> Iterator[Traced]:
        filling = _Filling(self)
        for part, count in zip(parts, self._counts([part.text for part in parts]), strict=True):
            if filling.parts and not filling.has_room(count + self._added):
                yield filling.text()
                filling = _Filling(self)
            filling.add(part, count)
        if filling.parts:
            yield filling.text()

    def _halved(self, last_but_one: Traced, last: Traced, cut: Callable[[Traced], list[Traced]]) -> list[Traced]:
        """Two pieces of about equal length from the last two: parts are dealt out from both ends.

        Where one part is left that fits neither, it is lost. (The package also deals out what is left of two or more,
        which the two pieces have too few tokens for.)
        """
        parts = cut(Traced.joined([last_but_one, last]))
        if len(parts) == 1:
            return [last_but_one, last]
        counts = self._counts([part.text for part in parts])
        front, back = _Filling(self), _Filling(self)
        i, j = 0, len(parts) - 1
        while i <= j:
            left = j - i + 1
            if front.fits(parts[i], counts[i]):
                front.add(parts[i], counts[i])
                i += 1
            if i <= j and back.fits(parts[j], counts[j]):
                back.add(parts[j], counts[j], before=True)
                j -= 1
            if j - i + 1 == left:
                break
        return [front.text(), back.text()]

    def count(self, text: str) -> int:
        """Tokens of `text`, control tokens that the tokenizer puts around a text included."""
        return len(self._tokenizer.encode(text).ids)

    def _counts(self, texts: Sequence[str]) -> list[int]:
        batches = (list(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH))
        encode = self._tokenizer.encode_batch_fast
        return [len(one.ids) for batch in batches for one in encode(batch, add_special_tokens=False)]


class _Filling:
    """A piece that grows part by part; its tokens are counted only where they may be too many."""

    def __init__(self, cutter: Cutter) -> None:
        self.parts: list[Traced] = []
        self._cutter = cutter
        self._most = cutter.count("")  # at most about as many tokens

    def add(self, part: Traced, count: int, *, before: bool = False) -> None:
        self.parts.insert(0 if before else len(self.parts), part)
        self._most += count

    def has_room(self, count: int) -> bool:
        """Whether tokens so far and `count` are within the size."""
        if self._most + count > self._cutter.size - _CHECKED:
            self._most = self._cutter.count("".join(part.text for part in self.parts))
        return self._most + count <= self._cutter.size

    def fits(self, part: Traced, count: int) -> bool:
        """Whether this with `part` behind it is within the size: so is counted even what is then put before it."""
        if self._most + count <= self._cutter.size - _CHECKED:
            return True
        return self._cutter.count("".join(one.text for one in [*self.parts, part])) <= self._cutter.size

    def text(self) -> Traced:
        return Traced.joined(self.parts)
