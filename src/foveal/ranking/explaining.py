"""What each kind of ranker makes an explanation of (`explanation.py`), and what words alone tell.

    explain(query, hits, ranker, words=WordWeights.of(texts))

words              the share of each word in a BM25 score over the passage's text (Robertson and Zaragoza, 2009)
neural rankers     the match matrix: each word of the query with each word of the passage
BlockRank          the attention that each word gets; of the hits that are explained together, all sum to 1
Paraformer, CNN    the attention that each sentence gets
cross-encoders     by how much the score falls when a sentence is left out; below 0: without it the score is higher
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.ranking.explanation import Explanation, Part
from foveal.retrieval.stems import stem
from foveal.retrieval.words import FUNCTION_WORDS, folded
from foveal.text.units import words as units_of
from foveal.types import Hit, Ranker, Retriever, require_hits

if TYPE_CHECKING:
    from foveal.ranking import blockrank, sections
    from foveal.ranking.cascade import Cascade
    from foveal.ranking.cross_encoder import CrossEncoderRanker
    from foveal.ranking.listwise import PointwiseRanker
    from foveal.ranking.neural.ranker import Neural

AT_ONCE = 16
"""Texts without a sentence that are scored between two looks at the clock."""

COUNTED = 1000
"""Passages down to which it is counted how many hold a word: a word that more of them hold is worth little anyway."""


def explain(
    query: str,
    hits: Sequence[Hit],
    ranker: Ranker | None = None,
    *,
    words: WordWeights,
    counts: Sequence[int] | None = None,
    seconds: float | None = None,
) -> list[Explanation]:
    """Each hit explained by its ranker, in the order given; by words where the ranker cannot, or there is none.

    Hits of a cascade are explained by the stage that saw them last: `counts` are what its stages took
    (`CascadeReport.counts`; None: all that they may). `seconds`: when sentences have been left out for so long, the
    others are not, and the explanation says so (None: all of them are). Errors as the ranker's own.
    """
    return _explain(query, hits, ranker, words, counts, None if seconds is None else time.monotonic() + seconds)


def _explain(
    query: str,
    hits: Sequence[Hit],
    ranker: Ranker | None,
    words: WordWeights,
    counts: Sequence[int] | None,
    until: float | None,
) -> list[Explanation]:
    if not require_hits(hits):
        return []
    kind = type(ranker).__name__
    if kind == "Cascade":
        return _by_stages(query, hits, ranker, words, counts, until)  # type: ignore[arg-type]
    if kind in BY_LEAVING_OUT:
        return BY_LEAVING_OUT[kind](query, hits, ranker, until)
    return WAYS[kind](query, hits, ranker) if kind in WAYS else [words.explain(query, hit) for hit in hits]


def _by_stages(
    query: str,
    hits: Sequence[Hit],
    cascade: Cascade,
    words: WordWeights,
    counts: Sequence[int] | None,
    until: float | None,
) -> list[Explanation]:
    taken = counts if counts is not None else [stage.most(len(hits)) for stage in cascade.stages]
    found: list[Explanation] = []
    while len(found) < len(hits):  # what stands at place p was moved there by the last stage that took more than p
        place = len(found)
        last = max((number for number, count in enumerate(taken) if count > place), default=None)
        end = len(hits) if last is None else min(len(hits), taken[last])
        ranker = None if last is None else cascade.stages[last].ranker
        found += _explain(query, hits[place:end], ranker, words, None, until)
    return found


# -- words -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WordWeights:
    """How rare words are in a collection, by their stems, and how long its passages: what BM25 knows."""

    idf: Mapping[str, float]
    mean_words: float
    unseen: float  # idf of a word that is nowhere

    @classmethod
    def of(cls, texts: Iterable[str]) -> WordWeights:
        """Counted over all texts of a collection. InputError: there are none."""
        holding: Counter[str] = Counter()
        lengths = []
        for text in texts:
            stems = [word for word, _ in _terms(text)]
            lengths.append(len(stems))
            holding.update(set(stems))
        if not lengths:
            raise InputError("There are no texts, so nothing is known of how rare a word is. Give some.")
        idf = {word: bm25.idf(len(lengths), count) for word, count in holding.items()}
        return cls(idf, math.fsum(lengths) / len(lengths), bm25.idf(len(lengths), 0))

    @classmethod
    def searched(cls, query: str, hits: Sequence[Hit], lexical: Retriever, passages: int) -> WordWeights:
        """Of the query's words that a hit holds, by searching each; the length of passages is taken from the hits."""
        stems = [[word for word, _ in _terms(hit.passage.text)] for hit in hits]
        held = {word for of in stems for word in of}
        idf: dict[str, float] = {}
        for word, (start, end) in _terms(query):
            if word in held and word not in idf:  # a pasted page has hundreds, and each search is one
                holding = len(lexical.search([query[start:end]], COUNTED)[0])
                idf[word] = bm25.idf(max(passages, holding), holding)
        lengths = list(map(len, stems)) or [1]
        return cls(idf, math.fsum(lengths) / len(lengths), bm25.idf(passages, 0))

    def explain(self, query: str, hit: Hit) -> Explanation:
        """Of each word of the passage that is one of the query's what it adds: idf / (times it comes + length norm)."""
        asked = {word: query[start:end].lower() for word, (start, end) in _terms(query)}
        found = _terms(hit.passage.text)
        norm = bm25.norm(len(found), max(self.mean_words, 1e-9))
        matched = [(word, part) for word, part in found if word in asked]
        times = Counter(word for word, _ in matched)
        weights = np.zeros((max(1, len(asked)), len(matched)))
        row = {word: number for number, word in enumerate(asked)}
        for column, (word, _) in enumerate(matched):
            weights[row[word], column] = self.idf.get(word, self.unseen) / (times[word] + norm)
        parts = tuple(part for _, part in matched)
        return Explanation(hit, "words", "share of a BM25 score", tuple(asked.values()), parts, weights)


def _terms(text: str) -> list[tuple[str, Part]]:
    """Stem and place of each word, function words and marks left out."""
    found = []
    for start, end in units_of(text):
        word = text[start:end].lower()
        if word not in FUNCTION_WORDS and any(map(str.isalnum, word)):
            found.append((stem(folded(word)), (start, end)))
    return found


# -- what rankers say --------------------------------------------------------------------------------------------------


def _by_matches(query: str, hits: Sequence[Hit], ranker: Neural) -> list[Explanation]:
    found = []
    for hit in hits:
        told = ranker.explain(query, hit)
        parts = _places(told.document, hit.passage.text, ranker.scorer.vocabulary.cutting)
        matches = told.matches.astype(np.float64).reshape(len(told.query), len(parts))
        if not told.query:
            matches = np.zeros((1, len(parts)))
        found.append(Explanation(hit, ranker.name, "how well words match", told.query, parts, matches, adds=False))
    return found


def _places(words: Sequence[str], text: str, cutting: int) -> tuple[Part, ...]:
    """Where words that were cut from `text` stand in it; words may have been left out between them."""
    from foveal.ranking.neural.inputs import placed

    places: list[Part] = []
    for word, start, end in placed(text, cutting):
        if len(places) < len(words) and word == words[len(places)]:
            places.append((start, end))
    return tuple(places)


def _by_masses(query: str, hits: Sequence[Hit], ranker: blockrank.BlockRank) -> list[Explanation]:
    told = {one.hit.passage.span: one for one in ranker.explain(query, hits)}
    return [_of_masses(told[hit.passage.span], hit) for hit in hits]


def _of_masses(told: blockrank.Explained, hit: Hit) -> Explanation:
    """Tokens joined to words: each goes to the word that its last character lies in, or that stands before it."""
    parts = units_of(hit.passage.text)
    weights, number = np.zeros((1, len(parts))), 0
    for token in told.tokens:
        while number + 1 < len(parts) and parts[number + 1][0] < token.end:
            number += 1
        weights[0, number] += token.mass
    return Explanation(hit, "blockrank", "share of the attention", (), tuple(parts), weights)


def _by_sentences(query: str, hits: Sequence[Hit], ranker: sections.SectionRanker) -> list[Explanation]:
    told = {one.hit.passage.span: one for one in replace(ranker, budget=None).explain(query, hits)}
    found = []
    for hit in hits:
        sentences, start = told[hit.passage.span].sentences, hit.passage.span.start
        parts = tuple((one.span.start - start, one.span.end - start) for one in sentences)
        weights = np.array([[one.weight for one in sentences]], dtype=np.float64)
        found.append(Explanation(hit, ranker.model.kind, "share of the attention", (), parts, weights))
    return found


def by_leaving_out(
    by: str, hit: Hit, scores: Callable[[Sequence[str]], Sequence[float]], *, until: float | None = None
) -> Explanation:
    """Of each sentence how much lower the score is without it; `scores` gives that of each text, an empty one too.

    `until`, of `time.monotonic`: sentences that are not looked at by then are no part of it, and it says so.
    """
    from foveal.ranking.sections import places_of

    text, parts = hit.passage.text, tuple(places_of(hit.passage.text))
    texts = [text, *(f"{text[:start]} {text[end:]}".strip() for start, end in parts)]
    whole, *without = scores(texts) if until is None else _in_time(texts, scores, until)
    says, looked = "by how much the score falls without it", len(without)
    if looked < len(parts):
        says += f" ({looked} of {len(parts)} sentences were looked at: there was no time for more)"
    weights = np.array([[whole - one for one in without]], dtype=np.float64)
    return Explanation(hit, by, says, (), parts[:looked], weights)


def _in_time(texts: Sequence[str], scores: Callable[[Sequence[str]], Sequence[float]], until: float) -> list[float]:
    """The scores of the first texts, of as many as fit; of the first one in any case."""
    begun = time.monotonic()
    found = list(scores(texts[:1]))
    while len(found) < len(texts):
        now = time.monotonic()
        fit = int((until - now) / max(1e-9, (now - begun) / len(found)))
        if fit < 1:
            break
        found += scores(texts[len(found) : len(found) + min(fit, AT_ONCE)])
    return found


def _by_pairs(query: str, hits: Sequence[Hit], ranker: CrossEncoderRanker, until: float | None) -> list[Explanation]:
    def scores(texts: Sequence[str]) -> list[float]:
        return list(map(float, ranker.scores(query, texts)))

    return [by_leaving_out("cross-encoder", hit, scores, until=until) for hit in hits]


def _by_answers(query: str, hits: Sequence[Hit], ranker: PointwiseRanker, until: float | None) -> list[Explanation]:
    def scores(hit: Hit, texts: Sequence[str]) -> list[float]:
        return ranker.scores(query, [replace(hit, passage=replace(hit.passage, text=text)) for text in texts])

    return [by_leaving_out("pointwise", hit, partial(scores, hit), until=until) for hit in hits]


WAYS: dict[str, Callable[[str, Sequence[Hit], Any], list[Explanation]]] = {
    "Neural": _by_matches,
    "BlockRank": _by_masses,
    "SectionRanker": _by_sentences,
    "LegalRanker": lambda query, hits, ranker: _by_sentences(query, hits, ranker.ranker),
}
BY_LEAVING_OUT: dict[str, Callable[[str, Sequence[Hit], Any, float | None], list[Explanation]]] = {
    "CrossEncoderRanker": _by_pairs,
    "PointwiseRanker": _by_answers,
}
"""By the ranker's class, named and not imported: a ranker that is in use was loaded by somebody else."""
