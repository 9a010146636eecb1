"""What a segmentation is worth to search: recall of answers for the same number of returned tokens.

Documents of ObliQA (Gokhan et al., RegNLP 2025) are rebuilt by setting their passages one after another. Each system
cuts them; BM25 ranks its segments for each question; segments are read from the top until the budget of tokens is
spent, the last one in part. An answer passage is found if at least 95 % of its characters were read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np

from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.tables import Row
from foveal.registry import require
from foveal.text.embedding_segmentation import DynamicProgrammingSegmenter
from foveal.text.same_topic import SameTopicSegmenter
from foveal.text.segmentation import FixedSegmenter, HeadingSegmenter
from foveal.text.windows import Block
from foveal.types import Document, Encoder, Passage, Segmenter, Span

TOKENS = 200  # of the fixed windows, and at most of any segment
BUDGETS = (400, 1000)  # tokens read for a question
QUICK_CHARACTERS = 250_000
WHOLE = 0.95  # share of an answer's characters that must be read
BASELINES = ("windows of 200 tokens", "fixed")
HELD = {"headings": BASELINES[:1], "dynamic programming": BASELINES[:1], "same-topic": BASELINES}
"""What must not find less than which baselines: windows cut in mid-sentence, and Foveal's own, cut by size alone."""


@dataclass(frozen=True)
class Answers:
    """Documents, and for each question where in them its answers stand."""

    documents: list[Document]
    questions: list[str]
    spans: list[list[Span]]


def use(settings: BenchSettings, *, only: Sequence[str] | None = None) -> Iterator[Row]:
    """Recall with segments by headings, by dynamic programming and by the shipped same-topic model, beside windows of
    200 tokens; `only`: these systems."""
    answers = load_answers(settings)
    encoder = _Remembering(settings)
    yield Row.of("regulations", SIZE, len(answers.documents))
    yield Row.of("questions on regulations", SIZE, len(answers.questions))
    count = encoder.token_offsets
    systems: dict[str, Segmenter] = {
        "windows of 200 tokens": PlainWindows(encoder),
        "fixed": FixedSegmenter(max_tokens=TOKENS, token_offsets=count),
        "headings": HeadingSegmenter(max_tokens=TOKENS, token_offsets=count),
        "dynamic programming": DynamicProgrammingSegmenter(
            encoder=encoder, unit="paragraph", penalty=0.9, max_tokens=TOKENS, min_tokens=40
        ),
        "same-topic": SameTopicSegmenter(encoder=encoder, max_tokens=TOKENS, min_tokens=40, titles=False),
    }
    systems = {name: one for name, one in systems.items() if only is None or name in only}
    recalls: dict[int, dict[str, float]] = {budget: {} for budget in BUDGETS}
    for name, segmenter in systems.items():
        passages = [passage for document in answers.documents for passage in segmenter.segment(document)]
        ranked = rank(passages, answers.questions, depth=60)
        slack = 0.02 if settings.quick else 0.0
        for budget in BUDGETS:
            recall = fmean(one for read in _reads(passages, ranked, budget, encoder, answers) for one in read)
            floor = floor_of(name, recalls[budget])
            bar = None if floor is None else floor - slack
            recalls[budget][name] = recall
            yield Row.of(f"regulations: {name}", f"answer recall, {budget} tokens", recall, at_least=bar)
        yield Row.of(f"regulations: {name}", "segments", len(passages))


def floor_of(name: str, recalls: Mapping[str, float]) -> float | None:
    """The recall that a system must not fall below: the best of what it is held against; None: it is a baseline."""
    return max((recalls[other] for other in HELD.get(name, ()) if other in recalls), default=None)


@dataclass(frozen=True)
class PlainWindows:
    """The baseline: a cut after every TOKENS tokens, wherever that falls."""

    encoder: Encoder

    def segment(self, document: Document) -> list[Passage]:
        """The windows, in order."""
        starts = [start for start, _ in self.encoder.token_offsets(document.text)[::TOKENS]]
        edges = [0, *starts[1:], len(document.text)]
        spans = [Span(document.id, start, end) for start, end in pairwise(edges)]
        return [Passage(span, document.quote(span)) for span in spans]


class _Remembering:
    """The bench's encoder, with vectors from the bench's cache."""

    def __init__(self, settings: BenchSettings) -> None:
        self.settings = settings
        self.encoder = settings.encoder()
        self.name, self.fingerprint = self.encoder.name, self.encoder.fingerprint
        self.dimension, self.max_tokens = self.encoder.dimension, self.encoder.max_tokens

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.settings.cached_vectors(["segment", "obliqa"], texts, self.encoder)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        return self.encoder.token_offsets(text)


def load_answers(settings: BenchSettings) -> Answers:
    """The documents (`--quick`: drawn by the seed, 250,000 characters) and the questions that they answer."""
    folder = settings.folder("obliqa", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
    collection = load_beir(folder, "test")
    passages: dict[str, list[str]] = {}
    for identity, record in collection.corpus.items():
        given = record.metadata.get("metadata")
        if not isinstance(given, dict) or "document" not in given:
            raise InputError(f"{folder} has a passage {identity!r} without metadata.document; each needs its document.")
        passages.setdefault(str(given["document"]), []).append(identity)
    budget = QUICK_CHARACTERS if settings.quick else sys.maxsize
    order = np.random.default_rng(settings.seed).permutation(sorted(passages)).tolist()
    spans: dict[str, Span] = {}
    documents: list[Document] = []
    for name in order:
        document, placed = _rebuilt(name, passages[name], collection)
        if len(document.text) <= budget:
            documents.append(document)
            spans |= placed
            budget -= len(document.text)
    judged = [
        (query, [spans[hit] for hit, grade in hits.items() if grade > 0 and hit in spans])
        for query, hits in collection.qrels.items()
    ]
    kept = [(query, found) for query, found in judged if found]
    if not kept:
        raise InputError(f"No question of {folder} is answered in the documents that were drawn; run without --quick.")
    return Answers(documents, [collection.queries[query] for query, _ in kept], [found for _, found in kept])


def _rebuilt(name: str, identities: Sequence[str], collection: Collection) -> tuple[Document, dict[str, Span]]:
    texts = [collection.corpus[identity].text.strip() for identity in identities]
    document = Document.of(f"bench:obliqa/{name}", "\n\n".join(texts), f"Document {name}")
    placed, start = {}, 0
    for identity, text in zip(identities, texts, strict=True):
        placed[identity] = Span(document.id, start, start + len(text))
        start += len(text) + 2
    return document, placed


def rank(passages: Sequence[Passage], questions: Sequence[str], depth: int) -> list[list[int]]:
    """The `depth` best passages for each question, by BM25 over stems of heading and text."""
    bm25s, stemmer = require("bm25s", extra="bench"), require("Stemmer", extra="bench").Stemmer("english")
    texts = [f"{passage.heading or ''} {passage.text}" for passage in passages]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    asked = bm25s.tokenize(list(questions), stopwords="en", stemmer=stemmer, show_progress=False)
    found, _ = index.retrieve(asked, k=min(depth, len(passages)), show_progress=False)
    ranked: list[list[int]] = found.tolist()
    return ranked


def _reads(
    passages: Sequence[Passage], ranked: Sequence[Sequence[int]], budget: int, encoder: Encoder, answers: Answers
) -> Iterator[list[bool]]:
    """For each question whether each of its answers was read."""
    blocks: dict[int, Block] = {}
    for order, spans in zip(ranked, answers.spans, strict=True):
        read: list[Span] = []
        left = budget
        for at in order:
            span = passages[at].span
            if at not in blocks:
                blocks[at] = Block(passages[at].text, encoder.token_offsets)
            end = span.start + blocks[at].end(blocks[at].furthest(0, left))
            read.append(Span(span.document_id, span.start, end))
            left -= blocks[at].tokens(0, blocks[at].count)
            if left <= 0:
                break
        yield [covered(span, read) >= WHOLE * len(span) for span in spans]


def covered(span: Span, read: Sequence[Span]) -> int:
    """How many characters of `span` lie in the stretches read, which do not overlap."""
    same = [other for other in read if other.document_id == span.document_id]
    return sum(max(0, min(span.end, other.end) - max(span.start, other.start)) for other in same)
