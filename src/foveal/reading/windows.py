"""How a text comes to a reader: cut to sentences and packed into windows; with less effort, its promising parts only.

The text is read in blocks, and again from its beginning each time that it is asked for: none of it is kept. What less
effort leaves out is never cut to sentences or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from foveal.reading import skim
from foveal.reading.sentences import Sentence, packed, read_places, read_sentences, tokenised
from foveal.reading.sources import Text
from foveal.reading.tokens import PlainTokens
from foveal.text.units import sentences as cut

PART = 2
"""Characters for each token of a window, of the parts that less effort chooses among: half a window, or a whole one
where a token is two characters; several go into a window."""


@dataclass(frozen=True)
class Windows:
    """The windows of one text."""

    text: Text
    tokens: PlainTokens
    window: int  # tokens of a window
    longest: int  # tokens of a sentence
    effort: float  # share of the text that is read, above 0 to 1
    check: Callable[[], None]  # called at each block; raises if the reading is cancelled

    def count(self) -> int:
        """Windows of the whole text, guessed from the tokens of its first block."""
        head = next(iter(self.text.blocks()))
        tokens = max(1, len(self.tokens.encode(head)))
        return max(1, round(self.text.characters / len(head) * tokens / self.window / 0.97 + 0.5))

    def read(self, questions: Sequence[str]) -> Iterator[list[Sentence]]:
        """The windows that are read: of all of the text, or of its most promising parts."""
        chosen = self.chosen(questions)
        if chosen is None:
            encode, offsets = self.tokens.encode_many, self.tokens.offsets
            return packed(read_sentences(self._blocks(), encode, offsets, longest=self.longest), self.window)
        return packed(
            (one for base, part in self._parts(chosen) for one in self._cut(base, part, cut(part))), self.window
        )

    def chosen(self, questions: Sequence[str]) -> set[int] | None:
        """The parts of the text that are worth it for `questions`, as many as the effort allows; None: all of it."""
        if self.effort >= 1:
            return None
        chosen = skim.promising(self._every_part(), questions, self.effort)
        return None if chosen is None else set(chosen)

    def plain(self, chosen: Collection[int] | None) -> Iterator[list[Sentence]]:
        """The sentences of the text, or of its chosen parts, without tokens."""
        if chosen is None:
            for base, text, places in read_places(self._blocks()):
                yield [Sentence(base + start, base + end, text[start:end], ()) for start, end in places]
            return
        for base, part in self._parts(chosen):
            yield [Sentence(base + start, base + end, part[start:end], ()) for start, end in cut(part)]

    def tokenised(self, sentence: Sentence) -> list[Sentence]:
        """A sentence with its tokens, in several where it is long."""
        return list(self._cut(sentence.start, sentence.text, [(0, len(sentence.text))]))

    def _cut(self, base: int, text: str, places: list[tuple[int, int]]) -> Iterator[Sentence]:
        return tokenised(base, text, places, self.tokens.encode_many, self.tokens.offsets, self.longest)

    def _parts(self, chosen: Collection[int]) -> Iterator[tuple[int, str]]:
        """The chosen parts with the places where they begin."""
        base = 0
        for number, part in enumerate(self._every_part()):
            if number in chosen:
                yield base, part
            base += len(part)

    def _every_part(self) -> Iterator[str]:
        return skim.parts_of(self._blocks(), PART * self.window)

    def _blocks(self) -> Iterator[str]:
        for block in self.text.blocks():
            self.check()
            yield block


def batches(
    windows: Iterable[tuple[int, list[Sentence]]], size: int, *, skip: int = 0
) -> Iterator[list[tuple[int, list[Sentence]]]]:
    """Windows in batches, the first `skip` of them left out; a batch is the same however a reading was broken off."""
    batch: list[tuple[int, list[Sentence]]] = []
    for place, one in enumerate(windows):
        if place < skip:
            continue
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
