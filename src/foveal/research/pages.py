"""What of a page a searcher is shown: all of a short one; of a long one the passages that the question needs.

    reader.read(page, "Who designed the mill?", tokens=1500)      # passages of the page, in its order

BestPassages       BM25 over passages of some 600 characters; no model; a page in another language gives its beginning
AttentionReading   InfiniRetri reads all of it, and the model's own attention says which sentences matter; needs a local
                   model (infiniretri.py). Of a book it reads as much as of a long paper, the parts with the question's
                   words first

Nothing is cut at a fixed length from the head: what a page says last is found as well as what it says first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from foveal.evaluation import bm25
from foveal.models.chat import Cancel
from foveal.retrieval.terms import terms
from foveal.text.units import sentences
from foveal.types import Document, Passage, Span

if TYPE_CHECKING:
    from foveal.reading import InfiniRetri

PIECE = 600
"""Characters of a passage; a longer sentence is cut at as many."""

MOST_READ = 80_000
"""Characters of a page that a model goes over, some thirty pages: a book would keep a run waiting for hours."""

Count = Callable[[str], int]
"""Tokens of a text."""


class PageReader(Protocol):
    """Chooses what of a page is shown."""

    def read(
        self, page: Document, question: str, *, tokens: int, count: Count, cancel: Cancel | None = None
    ) -> list[Passage]:
        """Passages of at most `tokens` in all, in the page's order."""
        ...


class BestPassages:
    """A `PageReader` by words alone."""

    def read(
        self, page: Document, question: str, *, tokens: int, count: Count, cancel: Cancel | None = None
    ) -> list[Passage]:
        """All of a page that fits; else the passages with the rarest of the question's words, best first until full."""
        if count(page.text) <= tokens:
            return [_stripped(Passage(Span(page.id, 0, len(page.text)), page.text))]
        if cancel:
            cancel.check()
        found = pieces(page)
        return joined(page, within([found[place] for place in _ranked(found, question)], tokens, count))


class AttentionReading:
    """A `PageReader` that looks where a local model looks."""

    def __init__(self, reader: InfiniRetri) -> None:
        self.reader = reader

    def read(
        self, page: Document, question: str, *, tokens: int, count: Count, cancel: Cancel | None = None
    ) -> list[Passage]:
        """All of a page that fits, else the sentences that the model looked at because of the question."""
        from foveal.reading.events import Done

        if count(page.text) <= tokens or not page.text.strip():
            return BestPassages().read(page, question, tokens=tokens, count=count)
        effort = min(1.0, MOST_READ / len(page.text))
        events = self.reader.stream(page, question, answer=False, effort=effort, cancel=cancel)
        done = next(event for event in events if isinstance(event, Done))
        best = sorted(done.readings[0].excerpts, key=lambda one: -one.score)
        looked_at = [Passage(Span(page.id, one.start, one.end), one.text) for one in best]
        chosen = within(looked_at, tokens, count)
        return joined(page, chosen) or BestPassages().read(page, question, tokens=tokens, count=count, cancel=cancel)


def pieces(page: Document) -> list[Passage]:
    """The page in passages of whole sentences, about `PIECE` characters each."""
    cuts = [0]
    for start, end in sentences(page.text):
        if end - cuts[-1] > PIECE and start > cuts[-1]:
            cuts.append(start)
        while end - cuts[-1] > PIECE:
            cuts.append(cuts[-1] + PIECE)
    if cuts[-1] < len(page.text):
        cuts.append(len(page.text))
    spans = (Span(page.id, start, end) for start, end in pairwise(cuts))
    return [
        Passage(span, page.text[span.start : span.end]) for span in spans if page.text[span.start : span.end].strip()
    ]


def within(best_first: Sequence[Passage], tokens: int, count: Count) -> list[Passage]:
    """The best passages that fit; where not even one does, the best one's beginning."""
    chosen: list[Passage] = []
    left = tokens
    for passage in best_first:
        cost = count(passage.text)
        if cost <= left:
            chosen.append(passage)
            left -= cost
        elif not chosen:
            return [_cut(passage, tokens, count)]
        if left < 16:
            break
    return chosen


def joined(page: Document, chosen: Sequence[Passage]) -> list[Passage]:
    """Passages in the page's order, those that touch made one."""
    spans: list[Span] = []
    for span in sorted((one.span for one in chosen), key=lambda one: one.start):
        if spans and span.start <= spans[-1].end:
            spans[-1] = Span(page.id, spans[-1].start, max(spans[-1].end, span.end))
        else:
            spans.append(span)
    return [_stripped(Passage(span, page.text[span.start : span.end])) for span in spans]


def _ranked(found: Sequence[Passage], question: str) -> list[int]:
    """Places of the passages by BM25, best first; ties, and those without any word of the question, as they stand.

    An index would cost more than this one look.
    """
    counts = [Counter(terms(one.text)) for one in found]
    lengths = [one.total() for one in counts]
    mean = max(1.0, sum(lengths) / max(1, len(lengths)))
    scores = [0.0] * len(found)
    for term in set(terms(question)):
        holding = [place for place, one in enumerate(counts) if one[term]]
        rarity = bm25.idf(len(found), len(holding))
        for place in holding:
            norm = bm25.norm(lengths[place], mean)
            scores[place] += rarity * counts[place][term] / (counts[place][term] + norm)
    return sorted(range(len(found)), key=lambda place: (-scores[place], place))


def _cut(passage: Passage, tokens: int, count: Count) -> Passage:
    size = len(passage.text)
    while size > 1 and count(passage.text[:size]) > tokens:
        size = size * 3 // 4
    span = Span(passage.span.document_id, passage.span.start, passage.span.start + size)
    return Passage(span, passage.text[:size])


def _stripped(passage: Passage) -> Passage:
    text = passage.text.strip()
    start = passage.span.start + passage.text.find(text)
    return Passage(Span(passage.span.document_id, start, start + len(text)), text, passage.heading)
