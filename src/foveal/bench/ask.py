"""bench ask: questions to a library that a model of this machine answers, and questions that the library cannot answer.

library     XQuAD's 48 English articles among the 100 long articles of wiki_toy
passages    answered from the best passages as they are, the default: the answer holds a gold one, or the sentence that
            is cited for it does
words       the same, found by words alone (`--retriever lexical`)
attention   the model reads around all passages and chooses sentences (`--attention auto`); the first questions only
absent      other questions, once XQuAD's articles are removed: how many of them nothing answers, which is right, beside
            those of the questions before, which is wrong; and how well what decides it tells them apart

--quick: few questions, among a part of the articles. Each system answers the same questions; seconds are the median of
a question's processor time. Nothing is trained, and the questions are drawn by the seed.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.answers import contains
from foveal.evaluation.beir import load_corpus
from foveal.evaluation.classification import auroc
from foveal.evaluation.files import text_in
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.models import load_chat
from foveal.reading.asking import Asked, AskSettings
from foveal.reading.likeness import likeness
from foveal.settings import Settings
from foveal.types import Document

ASKED, LOOKED, ABSENT = 60, 30, 60
QUICK, LOOKED_QUICK = 8, 4
PASSAGES = 8
ARTICLES_QUICK = 12
ANSWERED, REFUSED, WRONGLY, TOLD = 0.5, 0.4, 0.08, 0.85
"""Least share of answers that hold the gold one; of absent questions refused; most of others; least AUROC."""


@dataclass(frozen=True)
class Question:
    """One of XQuAD's, with the answers that people gave."""

    text: str
    golds: tuple[str, ...]


@dataclass
class Told:
    """What became of each question."""

    holds: list[bool] = field(default_factory=list)
    quoted: list[bool] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def ask(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench ask`."""
    articles, questions = xquad(settings)
    others = [
        Document.of(f"bench:wiki_toy#{name}", f"{one.title}\n\n{one.text}", one.title)
        for name, one in load_corpus(settings.folder("wiki_toy", ("corpus.jsonl",))).items()
    ]
    if settings.quick:
        others = others[:ARTICLES_QUICK]
    present, looked, absent = (QUICK, LOOKED_QUICK, QUICK) if settings.quick else (ASKED, LOOKED, ABSENT)
    present = min(present, len(questions) // 2)  # of few questions, some are left that nothing answers
    asked, strange = questions[:present], questions[present : present + absent]
    chat = load_chat()
    with tempfile.TemporaryDirectory() as folder:
        home = Settings(home=Path(folder), cache=Settings.load().cache)
        library = Library.open(settings=home, encoder="minilm")
        library.add_documents([*articles, *others])
        whole = told(library, chat, asked)
        words = told(library, chat, asked, retriever="lexical")
        looks = told(library, chat, asked[:looked], settings=AskSettings(looks=True))
        near = nearness(library, settings, asked)
        library.remove([one for one in library.documents() if one.id in {article.id for article in articles}])
        nowhere = told(library, chat, strange)
        far = nearness(library, settings, strange)
    yield from _answers(whole, words, looks, quick=settings.quick)
    share = 1 - fmean(nowhere.found)
    yield Row.of("absent, nothing answers", "share of questions", share, at_least=REFUSED, note=f"{len(strange)} asked")
    wrongly = 1 - fmean(whole.found)
    most = WRONGLY + (0.2 if settings.quick else 0)
    yield Row.of("present, nothing answers", "share of questions", wrongly, at_most=most, note=f"{len(asked)} asked")
    value = auroc([*near, *far], [True] * len(near) + [False] * len(far))
    yield Row.of("likeness, present above absent", "AUROC", value, at_least=TOLD - (0.15 if settings.quick else 0))


def xquad(settings: BenchSettings) -> tuple[list[Document], list[Question]]:
    """The articles, and their questions in an order drawn by the seed."""
    told = json.loads(text_in(settings.one_of("xquad", "xquad.en.json", "xquad.*.json")))["data"]
    articles, questions = [], []
    for one in told:
        text = "\n\n".join(paragraph["context"] for paragraph in one["paragraphs"])
        articles.append(Document.of(f"bench:xquad#{one['title']}", text, one["title"].replace("_", " ")))
        questions += [
            Question(asked["question"], tuple(answer["text"] for answer in asked["answers"]))
            for paragraph in one["paragraphs"]
            for asked in paragraph["qas"]
        ]
    if len(questions) < 2:
        raise InputError(
            f"{settings.data / 'xquad'} holds {len(questions)} questions; bench ask needs 2 at least: one that is "
            "answered, and one that is not."
        )
    random.Random(settings.seed).shuffle(questions)
    return articles, questions


def told(library: Library, chat: Any, questions: Sequence[Question], **how: Any) -> Told:
    """Ask each."""
    became = Told()
    for one in questions:
        begun = time.process_time()
        answer: Asked = library.ask(one.text, PASSAGES, model=chat, **how)
        became.seconds.append(time.process_time() - begun)
        became.found.append(answer.found)
        became.holds.append(answer.found and any(contains(answer.text, gold) for gold in one.golds))
        quotes = [citation.quote for citation in answer.citations]
        became.quoted.append(any(contains(quote, gold) for quote in quotes for gold in one.golds))
    return became


def nearness(library: Library, settings: BenchSettings, questions: Sequence[Question]) -> list[float]:
    """The likeness that decides whether a question is put to the model."""
    found = []
    for one in questions:
        hits = library.search(one.text, PASSAGES)
        found.append(likeness(one.text, [hit.passage.text for hit in hits], settings.encoder()) or 0.0)
    return found


def _answers(whole: Told, words: Told, looks: Told, *, quick: bool) -> Iterator[Row]:
    same = len(looks.holds)
    first = Told(whole.holds[:same], whole.quoted[:same], whole.found[:same], whole.seconds[:same])
    rows = {"passages": whole, "words": words, "attention": looks, "passages, the same questions": first}
    for name, became in rows.items():
        least = ANSWERED - (0.25 if quick else 0) if name == "passages" else None
        note = f"{len(became.holds)} questions"
        yield Row.of(name, "holds the answer", fmean(became.holds), at_least=least, note=note)
        yield Row.of(name, "a citation holds it", fmean(became.quoted))
        yield Row.of(name, "seconds", median(became.seconds), note="of a processor, a question")
    slack = 0.25 if quick else 0.0
    for metric, ours, theirs in (
        ("holds the answer", first.holds, looks.holds),
        ("a citation holds it", first.quoted, looks.quoted),
    ):
        yield Row.of("passages - attention", metric, fmean(ours) - fmean(theirs), at_least=0.0 - slack)
