"""Queries for texts that nobody asked about: headings, titles, and sentences taken out of their passages.

Heading    the heading path of a passage asks for the passages under it; a heading that several documents share
           ("Introduction") gets its document's title in front
Title      a document's title asks for its passages
Sentence   the inverse cloze task (ICT): a sentence asks for the rest of its passage; in one passage of ten the sentence
           stays in, so that equal words count for something, too. Other passages that hold the sentence count neither
           way; one that many hold asks for nothing
Source     ICT: Lee, Chang and Toutanova, ACL 2019; the 10 %: the same; titles and headings as queries: common practice
Against    pretraining.py has the tasks that need no query at all; a language model writes better queries than these

The same passages and seed give the same examples. One passage is one document, its text without title or heading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.scripts import word_count
from foveal.training.examples import Examples

Sentences = Callable[[str], Sequence[tuple[int, int]]]
"""Text -> start and end of each sentence (`foveal.text.units.sentences`)."""

KINDS = ("heading", "title", "sentence")

COMMON, PART = 20, 10
"""Passages besides the one that it was taken from in which a sentence may stand and still ask: so many, and of few
passages the tenth part (one at least), since none of them may be a negative.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage with what stands above it; pieces of one `document` share its title."""

    id: str
    document: str
    text: str
    title: str = ""
    heading: str = ""


@dataclass(frozen=True, kw_only=True)
class PseudoSettings:
    """Which queries are made."""

    kinds: tuple[str, ...] = KINDS
    kept: float = 0.1  # share of the passages that keep the sentence taken from them
    min_words: int = 3  # of a query; a sentence has more
    min_sentence_words: int = 6
    most: int = 20_000  # queries; more are drawn from
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.kinds) - set(KINDS)
        if unknown or not self.kinds:
            raise InputError(f"Pseudo-queries got the kinds {self.kinds}; there are: {', '.join(KINDS)}.")
        if not 0 <= self.kept <= 1 or self.min_words < 1 or self.most < 2:
            raise InputError(
                f"Pseudo-queries got kept={self.kept}, min_words={self.min_words}, most={self.most}; they need a share "
                "from 0 to 1, at least 1 word, and at least 2 queries."
            )


def pseudo_examples(
    pieces: Sequence[Piece], sentences: Sentences, settings: PseudoSettings | None = None, *, name: str = "pseudo"
) -> Examples:
    """Examples of these passages: all of them the corpus, with the queries that could be made of them.

    InputError: no passages, an id twice, or no query could be made.
    """
    settings = settings or PseudoSettings()
    generator = np.random.default_rng(settings.seed)
    pieces = [piece for piece in pieces if piece.text.strip()]
    corpus = [(piece.id, " ".join(piece.text.split())) for piece in pieces]
    asked: dict[str, dict[str, int]] = defaultdict(dict)
    if "title" in settings.kinds:
        _ask(asked, [(piece.title, piece.id) for piece in pieces], settings)
    if "heading" in settings.kinds:
        _ask(asked, _headings(pieces), settings)
    aside: dict[str, set[str]] = {}
    if "sentence" in settings.kinds:
        spans = [list(sentences(piece.text)) for piece in pieces]
        cloze = [_cloze(piece, cut, settings, generator) for piece, cut in zip(pieces, spans, strict=True)]
        corpus = [(piece.id, rest) for piece, (_, rest) in zip(pieces, cloze, strict=True)]
        taken: dict[str, dict[str, int]] = defaultdict(dict)
        for piece, (sentence, _) in zip(pieces, cloze, strict=True):
            if sentence:
                taken[sentence][piece.id] = 1
        also = _elsewhere(pieces, spans, taken)
        most = min(COMMON, max(1, len(pieces) // PART))
        aside = {sentence: found for sentence, found in also.items() if 0 < len(found) <= most}
        for sentence, documents in taken.items():
            if len(also[sentence]) <= most:
                asked[sentence] |= documents
    if not asked:
        raise InputError(
            f"No query could be made of {len(pieces)} passages: they have no titles, headings or sentences of "
            f"{settings.min_sentence_words} words. Add longer texts, or judge some queries yourself."
        )
    chosen = sorted(generator.permutation(len(asked))[: settings.most])
    texts = list(asked)
    queries = [(f"q{number}", texts[number]) for number in chosen]
    judgements = [(query, document, 1) for query, text in queries for document in asked[text]]
    left = {query: frozenset(aside[text] - asked[text].keys()) for query, text in queries if text in aside}
    return replace(Examples.gathered(queries, corpus, judgements, name=name), aside=left)


def _ask(asked: dict[str, dict[str, int]], pairs: Sequence[tuple[str, str]], settings: PseudoSettings) -> None:
    for text, document in pairs:
        query = " ".join(text.split())
        if word_count(query) >= settings.min_words:
            asked[query][document] = 1


def _headings(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Query and passage: the heading, after the title where several documents have that heading."""
    owners: dict[str, set[str]] = defaultdict(set)
    for piece in pieces:
        owners[piece.heading].add(piece.document)
    return [
        (f"{piece.title} {piece.heading}" if len(owners[piece.heading]) > 1 else piece.heading, piece.id)
        for piece in pieces
        if piece.heading and piece.heading != piece.title
    ]


def _elsewhere(
    pieces: Sequence[Piece], spans: Sequence[Sequence[tuple[int, int]]], taken: Mapping[str, Mapping[str, int]]
) -> dict[str, set[str]]:
    """Sentence that was taken -> the passages that hold it, too, and gave another one."""
    found: dict[str, set[str]] = {sentence: set() for sentence in taken}
    for piece, cut in zip(pieces, spans, strict=True):
        for start, end in cut:
            held = " ".join(piece.text[start:end].split())
            if held in found and piece.id not in taken[held]:
                found[held].add(piece.id)
    return found


def _cloze(
    piece: Piece, spans: Sequence[tuple[int, int]], settings: PseudoSettings, generator: np.random.Generator
) -> tuple[str, str]:
    """A sentence of the passage, and the passage without it (but for a few); no sentence where none is long enough."""
    draw, keep = generator.random(2)
    whole = " ".join(piece.text.split())
    fit = [(a, b) for a, b in spans if word_count(piece.text[a:b]) >= settings.min_sentence_words]
    if len(spans) < 2 or not fit:
        return "", whole
    start, end = fit[int(draw * len(fit))]
    rest = " ".join(f"{piece.text[:start]} {piece.text[end:]}".split())
    return " ".join(piece.text[start:end].split()), whole if keep < settings.kept or not rest else rest
