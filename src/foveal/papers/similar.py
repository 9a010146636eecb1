"""Papers like a paper: near in meaning and alike in words, 0.7 and 0.3 of the two cosines.

    Similar(index).papers(paper, 8)          # itself, its doubles and withdrawn ones left out
    Similar(index).scores(paper.id)          # (paper -> blended score, paper -> cosine of words)

Words    (1 + ln count) · (ln((1 + N) / (1 + n)) + 1), n of N papers have the word; rows of unit length, kept in memory
         by word, so that one call adds up the lists of one paper's words. Papers that changed are read again; where all
         are so many that this takes long, the lists of before serve meanwhile (retrieval/remade.py)
Meaning  the paper's own vector against the index; without vectors, words alone
Doubles  the same title, whatever its case and marks; or nearly the same words (`DOUBLE`)
Source   the blend is a choice of ours, and not tuned: on CSFCube it is measured by `foveal bench papers-csfcube`
Against  taste.py learns from several papers; retrieval/feedback.py moves a query
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from foveal.papers.paper_index import PaperIndex, State, address, head
from foveal.papers.records import title_key
from foveal.papers.schema import PaperRow
from foveal.papers.store import Paper, PaperStore
from foveal.retrieval.remade import Remade
from foveal.retrieval.terms import terms
from foveal.types import document_id

DENSE, WORDS = 0.7, 0.3
"""Weights of the two cosines."""

DEPTH = 200
"""Papers taken from each side before they are blended."""

READ_AT_ONCE = 1000
DOUBLE = 0.97
"""Cosine of words from which two papers are one."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Postings:
    """The papers of each word: word w stands in rows[start[w] : start[w + 1]], with these weights."""

    ids: tuple[str, ...]  # of the N papers
    start: npt.NDArray[np.int64]  # (words + 1,)
    rows: Ints
    weights: Floats
    idf: Floats  # (words,)

    def cosines(self, words: Ints, counts: Floats) -> npt.NDArray[np.float64]:
        """(N,) cosines of a text with all papers; `words` are distinct, `counts` how often each comes."""
        values = (1 + np.log(counts)) * self.idf[words]
        length = float(np.sqrt((values**2).sum()))
        if length == 0:
            return np.zeros(len(self.ids))
        spans = [slice(self.start[word], self.start[word + 1]) for word in words]
        rows = np.concatenate([self.rows[span] for span in spans])
        weighed = np.concatenate([self.weights[span] * value for span, value in zip(spans, values, strict=True)])
        return np.bincount(rows, weighed, minlength=len(self.ids)) / length


def postings(ids: Sequence[str], counted: Sequence[tuple[Ints, Floats]], vocabulary: int) -> Postings:
    """From each paper's words (n,) by number and their counts (n,): unit vectors of tf-idf, listed by word."""
    lengths = np.array([len(words) for words, _ in counted], dtype=np.int64)
    none: tuple[Ints, Floats] = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    words, counts = (np.concatenate([pair[at] for pair in (none, *counted)]) for at in (0, 1))
    rows = np.repeat(np.arange(len(ids), dtype=np.int32), lengths)
    holding = np.bincount(words, minlength=vocabulary)
    idf = (np.log((1 + len(ids)) / (1 + holding)) + 1).astype(np.float32)
    values = (1 + np.log(counts)) * idf[words]
    norms = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, minlength=len(ids)))
    values = (values / np.maximum(norms, 1e-12)[rows]).astype(np.float32)
    order = np.argsort(words, kind="stable")
    start = np.concatenate([[0], np.cumsum(holding)]).astype(np.int64)
    return Postings(tuple(ids), start, rows[order], values[order], idf)


class WordIndex:
    """The words of all papers of a database, in memory, kept up to date by `refresh`. Threads may share it."""

    def __init__(self, index: PaperIndex) -> None:
        self._index = index
        self._numbers: dict[str, int] = {}
        self._counted: dict[str, tuple[datetime, Ints, Floats]] = {}
        self._postings: Remade[State, Postings] = Remade()
        self._lock = Lock()

    def refresh(self) -> Postings:
        """The postings of what the database holds now, or held before."""
        return self._postings.get(self._index.state(), self._made)

    def _made(self) -> Postings:
        with self._lock:
            self._read(dict(PaperStore(self._index.database).changed_since(None)))
            ids = sorted(self._counted)
            return postings(ids, [self._counted[one][1:] for one in ids], len(self._numbers))

    def _read(self, changed: Mapping[str, datetime]) -> None:
        """Count the words of new and changed papers, forget those that are gone."""
        for gone in self._counted.keys() - changed.keys():
            del self._counted[gone]
        known = {one: self._counted[one][0] for one in self._counted}
        wanted = [one for one, at in changed.items() if known.get(one) != at]
        for first in range(0, len(wanted), READ_AT_ONCE):
            part = wanted[first : first + READ_AT_ONCE]
            with self._index.database.reading() as session:
                rows = session.execute(
                    select(PaperRow.id, PaperRow.title, PaperRow.abstract).where(PaperRow.id.in_(part))
                ).all()
            for one, title, abstract in rows:
                self._counted[one] = (changed[one], *self._count(head(title, abstract)))

    def _count(self, text: str) -> tuple[Ints, Floats]:
        counts = Counter(terms(text))
        words = np.fromiter((self._numbers.setdefault(one, len(self._numbers)) for one in counts), np.int32)
        return words, np.fromiter(counts.values(), np.float32)

    def cosines(self, paper: str, known: Postings) -> npt.NDArray[np.float64]:
        """(N,) cosines of a paper's words with those of `known`, which may be from before the paper."""
        counted = self._counted.get(paper)  # once: a thread may forget it meanwhile
        words, counts = self._counted_now(paper) if counted is None else counted[1:]
        here = words < len(known.idf)
        return known.cosines(words[here], counts[here])

    def _counted_now(self, paper: str) -> tuple[Ints, Floats]:
        """The known words of a paper that came since all were counted."""
        with self._index.database.reading() as session:
            row = session.execute(select(PaperRow.title, PaperRow.abstract).where(PaperRow.id == paper)).one_or_none()
        counts = Counter(terms(head(*row))) if row is not None else Counter[str]()
        known = {self._numbers[one]: count for one, count in counts.items() if one in self._numbers}
        return np.fromiter(known.keys(), np.int32), np.fromiter(known.values(), np.float32)


class Similar:
    """Papers like a paper, over one index."""

    def __init__(self, index: PaperIndex) -> None:
        self._index = index
        self.words = WordIndex(index)

    def papers(self, paper: Paper, k: int) -> list[Paper]:
        """The `k` papers most like `paper`."""
        scores, by_words = self.scores(paper.id, depth=max(DEPTH, 4 * k))
        order = sorted(scores, key=lambda one: (-scores[one], one))
        order = [one for one in order if one != paper.id and by_words.get(one, 0.0) < DOUBLE]
        own = title_key(paper.title)
        found = PaperStore(self._index.database).many(order[: 2 * k + 8])
        return [one for one in found if title_key(one.title) != own and not one.withdrawn][:k]

    def scores(self, paper: str, *, depth: int = DEPTH) -> tuple[dict[str, float], dict[str, float]]:
        """Blended score of the papers among the first `depth` of either side, and their cosines of words; by id."""
        known = self.words.refresh()
        cosines = self.words.cosines(paper, known)
        best = np.argsort(-cosines, kind="stable")[:depth]
        by_words = {known.ids[place]: float(cosines[place]) for place in best}
        dense = self._nearest(paper, depth)
        if not dense:
            return by_words, by_words
        place = {one: at for at, one in enumerate(known.ids)}
        by_words |= {one: float(cosines[place[one]]) for one in dense if one in place}
        lowest = min(dense.values())  # what the nearest `depth` lack is no nearer than the last of them
        blend = {one: DENSE * dense.get(one, lowest) + WORDS * value for one, value in by_words.items()}
        return blend, by_words

    def _nearest(self, paper: str, depth: int) -> dict[str, float]:
        """Cosines of the nearest papers' vectors with the paper's; none where it has no vector (yet)."""
        store = self._index.library.store
        vector = store.vector(document_id(address(paper))) if self._index.encodes else None
        if vector is None:
            return {}
        named = (
            (self._index.paper_of(one.passage.span.document_id), one.score)
            for one in store.nearest(vector, depth, texts=False)
        )
        return {one: score for one, score in named if one is not None}
