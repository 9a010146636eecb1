"""What bench rank-blockrank reads: queries with candidates, from four sets, training apart from test.

xquad       a paragraph, cut to 420 characters, is a document; of its questions those that what is left still answers.
            Candidates of a question: its paragraph, the others of the article, then those that MiniLM finds nearest.
            48 articles: 36 to train on, 6 of these held out to choose by, and 12 to test on; candidates come from the
            question's own part, so no document of one part is seen in another
collections SciFact and Cranfield: what BM25 finds, whether or not the answer is among it; in its order, which bench
            rank-blockrank mixes (`Task.mixed`), or an ID would tell what BM25 thinks
wikiqa      the candidate sentences of a question; questions with only right or only wrong ones are left out
Order       candidates of lists are shuffled, WikiQA's too, of which the right ones tend to come first in its files: IDs
            are places in the list, and names break ties, so that both must say nothing
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.quality import bm25s_run
from foveal.bench.settings import BenchSettings, text_digest
from foveal.errors import InputError
from foveal.evaluation.answer_selection import Choice, load_answer_selection
from foveal.evaluation.beir import Collection, Record, load_beir
from foveal.evaluation.files import text_in
from foveal.evaluation.metrics import Run
from foveal.training.blockrank import ListedDocument, RankingList
from foveal.types import Hit, Passage, Span

FILE = ("xquad", "xquad.en.json", "xquad.*.json")
"""Folder, file, and what stands in where it is not there."""

CHARACTERS = 420
TRAIN, DEV, TEST = "train", "dev", "test"
SHARES = {TEST: 1 / 4, DEV: 1 / 8}
"""Of the articles."""


@dataclass(frozen=True)
class Asked:
    """A query and its candidates; a candidate's document id is its name."""

    id: str
    query: str
    hits: tuple[Hit, ...]

    @property
    def names(self) -> list[str]:
        """The candidates' ids, in order."""
        return [hit.passage.span.document_id for hit in self.hits]

    @property
    def texts(self) -> list[str]:
        """The candidates' texts, in order."""
        return [hit.passage.text for hit in self.hits]

    @property
    def digest(self) -> str:
        """A hash of all that a ranker sees."""
        return text_digest(self.query, [*self.names, *self.texts])


@dataclass(frozen=True)
class Task:
    """Queries with candidates, their judgements, and the texts among which words are counted as rare or common."""

    name: str
    asked: tuple[Asked, ...]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, name: str, lists: Sequence[RankingList], corpus: Mapping[str, str]) -> Task:
        """Lists with known answers."""
        asked = tuple(asked_of(one) for one in lists)
        return cls(name, asked, {one.id: dict.fromkeys(one.answers, 1) for one in lists}, corpus)

    def first(self, count: int) -> Task:
        """The first `count` queries."""
        asked = self.asked[:count]
        return Task(self.name, asked, {one.id: self.qrels[one.id] for one in asked}, self.corpus)

    def mixed(self, seed: int) -> Task:
        """The same, the candidates of each query in an order drawn from the seed; their scores stay with them."""
        asked = []
        for number, one in enumerate(self.asked):
            order = np.random.default_rng([seed, number]).permutation(len(one.hits))
            asked.append(replace(one, hits=tuple(one.hits[place] for place in order)))
        return replace(self, asked=tuple(asked))

    def given(self) -> Run:
        """The candidates by the scores that they came with."""
        return {one.id: {hit.passage.span.document_id: hit.score for hit in one.hits} for one in self.asked}

    def lexical(self) -> Run:
        """The candidates by BM25S over the whole corpus; one without a word of the query has 0."""
        corpus = {name: Record(name, "", text) for name, text in self.corpus.items()}
        found = bm25s_run(Collection(self.name, corpus, {one.id: one.query for one in self.asked}, {}))
        return {one.id: {name: found[one.id].get(name, 0.0) for name in one.names} for one in self.asked}

    def dense(self, settings: BenchSettings) -> Run:
        """The candidates by the cosine of MiniLM."""
        texts = {name: text for one in self.asked for name, text in zip(one.names, one.texts, strict=True)}
        encoder = settings.encoder()
        vectors = settings.cached_vectors([self.name, "candidates"], list(texts.values()), encoder)
        place = {name: number for number, name in enumerate(texts)}
        queries = encoder.encode([one.query for one in self.asked])
        return {
            one.id: {name: float(vectors[place[name]] @ query) for name in one.names}
            for one, query in zip(self.asked, queries, strict=True)
        }


def asked_of(listed: RankingList) -> Asked:
    """A list as a ranker gets it."""
    hits = (Hit(Passage(Span(one.id, 0, len(one.text)), one.text, one.title), 0.0, "list") for one in listed.documents)
    return Asked(listed.id, listed.query, tuple(hits))


# -- XQuAD -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paragraph:
    """A paragraph as far as it is kept, and the questions (id, text) that it then still answers."""

    id: str
    article: int
    text: str
    questions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class XQuad:
    """The paragraphs, English ones where they are there; `part` says to which part an article belongs."""

    paragraphs: tuple[Paragraph, ...]
    part: Mapping[int, str]
    settings: BenchSettings = field(repr=False)

    @classmethod
    def of(cls, settings: BenchSettings) -> XQuad:
        """The set of the data folder, its articles dealt to the parts by the seed. InputError: it is not there."""
        found = tuple(_paragraphs(settings.one_of(*FILE)))
        articles = sorted({one.article for one in found})
        order = np.random.default_rng(settings.seed).permutation(articles).tolist()
        test, dev = (max(1, round(SHARES[name] * len(articles))) for name in (TEST, DEV))
        names = [TEST] * test + [DEV] * dev + [TRAIN] * (len(order) - test - dev)
        return cls(found, dict(zip(order, names, strict=True)), settings)

    @property
    def english(self) -> bool:
        """Whether no other language stands in."""
        return self.settings.one_of(*FILE).name.startswith(FILE[1])

    @property
    def corpus(self) -> dict[str, str]:
        """Paragraph id -> its text, of all parts."""
        return {one.id: one.text for one in self.paragraphs}

    def task(self, part: str, count: int, *, documents: int = 10) -> Task:
        """`count` lists of a part, as a task."""
        return Task.of(f"xquad-{part}", self.lists(part, count, documents=documents), self.corpus)

    def lists(self, part: str, count: int, *, documents: int = 10) -> list[RankingList]:
        """`count` questions of a part, drawn by the seed; a list has at most `documents` candidates."""
        rows = [
            (row, place, question)
            for row, place, question in self._questions
            if self.part[self.paragraphs[place].article] == part
        ]
        order = np.random.default_rng([self.settings.seed, 1]).permutation(len(rows))[:count]
        return [self._list(*rows[int(number)], part, documents) for number in order]

    @cached_property
    def _questions(self) -> list[tuple[int, int, tuple[str, str]]]:
        """Row of `_near`, place of the paragraph, and the question."""
        pairs = [(place, asked) for place, one in enumerate(self.paragraphs) for asked in one.questions]
        return [(row, place, asked) for row, (place, asked) in enumerate(pairs)]

    @cached_property
    def _near(self) -> np.ndarray:
        """Cosines of every question and paragraph."""
        encoder = self.settings.encoder()
        texts = [one.text for one in self.paragraphs]
        asked = [question for _, _, (_, question) in self._questions]
        documents, queries = (
            self.settings.cached_vectors(["xquad", what], of, encoder)
            for what, of in (("paragraphs", texts), ("questions", asked))
        )
        near: np.ndarray = queries @ documents.T
        return near

    def _list(self, row: int, place: int, asked: tuple[str, str], part: str, documents: int) -> RankingList:
        own = self.paragraphs[place]
        nearest = [int(other) for other in np.argsort(-self._near[row], kind="stable") if other != place]
        same = [other for other in nearest if self.paragraphs[other].article == own.article]
        others = [
            other
            for other in nearest
            if self.paragraphs[other].article != own.article and self.part[self.paragraphs[other].article] == part
        ]
        chosen = [place, *same, *others][:documents]
        order = np.random.default_rng([self.settings.seed, 2, row]).permutation(len(chosen))
        listed = (self.paragraphs[chosen[number]] for number in order)
        return RankingList(
            asked[1], tuple(ListedDocument(one.id, one.text) for one in listed), frozenset({own.id}), asked[0]
        )


def _paragraphs(path: Path) -> list[Paragraph]:
    """The paragraphs of the file that answer at least one question after they were cut, and the others."""
    try:
        articles = json.loads(text_in(path))["data"]
        return [
            _paragraph(f"{number}/{place}", number, paragraph)
            for number, article in enumerate(articles)
            for place, paragraph in enumerate(article["paragraphs"])
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no set of questions in SQuAD's layout ({type(error).__name__}: {error}); it needs data, each "
            "with paragraphs, each with context and qas (id, question, answers with answer_start and text)."
        ) from error


def _paragraph(identity: str, article: int, told: Mapping[str, Any]) -> Paragraph:
    text = cut(told["context"], CHARACTERS)
    questions = []
    for asked in told["qas"]:
        start, answer = asked["answers"][0]["answer_start"], asked["answers"][0]["text"]
        if start + len(answer) <= len(text):
            questions.append((str(asked["id"]), str(asked["question"])))
    return Paragraph(identity, article, text, tuple(questions))


def cut(text: str, characters: int) -> str:
    """The beginning of a text, up to the last whole word that fits."""
    return text if len(text) <= characters else text[: characters + 1].rpartition(" ")[0] or text[:characters]


# -- collections -------------------------------------------------------------------------------------------------------


def collection_task(settings: BenchSettings, name: str, *, queries: int, depth: int, seed: int = 0) -> Task:
    """`queries` test queries of a collection, drawn by `seed`, each with the `depth` documents that BM25 puts first."""
    found = _collection(settings, name, "test")
    ids = list(found.queries)
    drawn = np.random.default_rng(seed).permutation(len(ids))[:queries]
    asked = {ids[number]: found.queries[ids[number]] for number in drawn}
    texts = {one.id: whole(one) for one in found.corpus.values()}
    run = bm25s_run(Collection(found.name, found.corpus, asked, {}))
    listed = []
    for query, text in asked.items():
        best = sorted(run[query].items(), key=lambda pair: -pair[1])
        hits = (Hit(Passage(Span(one, 0, len(texts[one])), texts[one]), score, "bm25s") for one, score in best)
        listed.append(Asked(query, text, tuple(hit for hit in hits if hit.passage.text)[:depth]))
    return Task(name, tuple(listed), {query: found.qrels[query] for query in asked}, texts)


def collection_lists(settings: BenchSettings, name: str, *, count: int, negatives: int = 12) -> list[RankingList]:
    """`count` training queries of a collection, each with its relevant documents and the best others by BM25."""
    found = _collection(settings, name, "train")
    run = bm25s_run(found)
    order = np.random.default_rng(settings.seed).permutation(list(found.queries))[:count]
    texts = {one.id: whole(one) for one in found.corpus.values()}
    lists = []
    for query in map(str, order):
        right = [one for one, grade in found.qrels[query].items() if grade > 0 and texts[one]]
        best = sorted(run[query], key=lambda one: -run[query][one])
        wrong = [one for one in best if one not in found.qrels[query] and texts[one]][:negatives]
        if right and wrong:
            documents = tuple(ListedDocument(one, texts[one]) for one in [*right, *wrong])
            lists.append(RankingList(found.queries[query], documents, frozenset(right), query))
    return lists


def whole(record: Record) -> str:
    """Title and text; once where the text opens with its title."""
    return record.text if record.text.startswith(record.title) else record.whole


def _collection(settings: BenchSettings, name: str, split: str) -> Collection:
    needs = ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")
    return load_beir(settings.folder(name, needs), split)


# -- WikiQA ------------------------------------------------------------------------------------------------------------


def wikiqa_lists(settings: BenchSettings, split: str, count: int) -> list[RankingList]:
    """`count` questions of a split, drawn by the seed, with all their candidate sentences, in an order drawn, too."""
    folder = settings.folder("wikiqa", (f"{split}.jsonl",))
    generator = np.random.default_rng([settings.seed, 3])
    questions = load_answer_selection(folder, split).clean().mixed(generator).questions
    order = np.random.default_rng(settings.seed).permutation(len(questions))[:count]
    return [_of_choice(questions[number]) for number in sorted(order)]


def _of_choice(asked: Choice) -> RankingList:
    rows = zip(asked.ids, asked.candidates, asked.labels, strict=True)
    kept = [(name, text, label) for name, text, label in rows if text.strip()]
    documents = tuple(ListedDocument(name, text) for name, text, _ in kept)
    return RankingList(asked.question, documents, frozenset(name for name, _, label in kept if label), asked.id)
