"""bench generative, end to end: passages found by writing their titles, read and answered, beside BM25.

The collection is what r1searcher's agent was shown for the first HotpotQA questions; the model learns the passages,
never a question. Measured: how often one of the first passages holds a gold answer, and how often the answer that a
0.5B gives from them does. The same reader, the same number of passages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.bench.code import code_digest
from foveal.bench.quality import bm25s_run
from foveal.bench.settings import BenchSettings
from foveal.evaluation.answers import contains
from foveal.evaluation.beir import Collection, Record
from foveal.evaluation.files import json_lines
from foveal.evaluation.tables import Row
from foveal.models import load_chat
from foveal.models.title_models import load_title_model
from foveal.reading.asking import Asked, Asker
from foveal.retrieval.corpusbrain import CorpusBrain, told_apart
from foveal.retrieval.title_measures import title_metrics
from foveal.settings import Settings
from foveal.text.units import sentences
from foveal.training.corpusbrain import CorpusBrainSettings, Lessons, naming_model, train_corpusbrain
from foveal.training.corpusbrain_pairs import (
    PairSettings,
    TitledCorpus,
    TitledText,
    TitlePair,
    hold_out,
    mention_links,
    units,
)
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision
from foveal.training.runs import RunSettings
from foveal.training.small_seq2seq import SmallSettings
from foveal.types import Document, Hit, Passage, Span

FIRST, ANSWERED, PASSAGES = 150, 24, 5
QUICK_FIRST, QUICK_ANSWERED = 30, 2
STEPS, QUICK_STEPS = 250, 30

MAX_QUERY = 96
"""Tokens of a query."""

BASE: str | None = "minilm"
SMALL = SmallSettings()
"""The model: an encoder that reads, and stays as it is; over it a decoder of random weights learns to write."""


@dataclass(frozen=True)
class Shown:
    """Questions with gold answers, and the passages that the agent was shown for them."""

    questions: Mapping[str, tuple[str, tuple[str, ...]]]
    passages: Mapping[str, Document]

    @classmethod
    def of(cls, folder: Path, first: int) -> Shown:
        """Those of the first questions for which the agent searched."""
        rows = _lines(folder, "queries")
        asked = [row for row in rows if any(step["passages"] for step in row["steps"]) and row["answers"]][:first]
        wanted = {one for row in asked for step in row["steps"] for one in step["passages"]}
        found = [row for row in _lines(folder, "corpus") if row["_id"] in wanted]
        documents = [Document.of(f"bench:r1searcher#{row['_id']}", row["text"], row["title"]) for row in found]
        questions = {row["_id"]: (row["text"], tuple(row["answers"])) for row in asked}
        return cls(questions, {one.id: one for one in documents})

    def hit(self, name: str, score: float, source: str) -> Hit:
        """A passage that is its whole document."""
        document = self.passages[name]
        return Hit(Passage(Span(name, 0, len(document.text)), document.text), score, source, document.revision)


def asking(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench generative-ask`."""
    folder = settings.folder("r1searcher/hotpotqa", ("corpus.jsonl", "queries.jsonl"))
    shown = Shown.of(folder, QUICK_FIRST if settings.quick else FIRST)
    brain, note = learned_brain(shown, settings)
    found = {"BM25": by_words(shown), "CorpusBrain": by_titles(shown, brain)}
    size = f"{len(shown.questions)} questions, {len(shown.passages)} passages"
    for (name, hits), how in zip(found.items(), ("k1 1.5, b 0.75, stemmed", note), strict=True):
        for depth in (1, PASSAGES):
            value = sum(holds(hits[one][:depth], golds) for one, (_, golds) in shown.questions.items())
            share = value / len(shown.questions)
            yield Row.of(f"HotpotQA, {name}", f"answer in the first {depth}", share, note=f"{size}; {how}")
    answered = dict(list(shown.questions.items())[: QUICK_ANSWERED if settings.quick else ANSWERED])
    chat = load_chat()
    for name, hits in found.items():
        answers = {one: answer(chat, shown, text, hits[one][:PASSAGES]) for one, (text, _) in answered.items()}
        right = sum(any(contains(answers[one], gold) for gold in golds) for one, (_, golds) in answered.items())
        yield Row.of(f"HotpotQA, {name} and a reader", "answers that hold the gold one", right / len(answered),
                     note=f"{len(answered)} questions, {PASSAGES} passages each")  # fmt: skip


def small_training(steps: int, settings: BenchSettings, *, learning_rate: float = 1e-3) -> CorpusBrainSettings:
    """How the small model is trained, in all parts of this bench."""
    loop = LoopSettings(
        steps=steps, batch=64, learning_rate=learning_rate, warm_up=0.05, weight_decay=0.01, seed=settings.seed,
        evaluate_every=max(1, steps // 5), bfloat16=mixed_precision(),
    )  # fmt: skip
    return CorpusBrainSettings(max_query=MAX_QUERY, dev_pairs=200, frozen_encoder=True, small=SMALL, loop=loop)


def home_of(settings: BenchSettings) -> Path:
    """Where what this bench trains lies, by the code that teaches it: by other code it is trained anew."""
    teaching = ("foveal.training.corpusbrain", "foveal.training.corpusbrain_pairs", "foveal.training.small_seq2seq")
    return settings.cache / "training" / f"corpusbrain-{code_digest(*teaching, 'foveal.models.title_models')}"


def learned_brain(shown: Shown, settings: BenchSettings) -> tuple[CorpusBrain, str]:
    """A small model that learned the passages, and what it took."""
    documents = shown.passages
    titles = told_apart({name: one.title for name, one in documents.items()}, naming_model(BASE, Settings.load().cache))
    texts = mention_links(
        [TitledText(name, title, units(documents[name].text, sentences)) for name, title in titles.items()]
    )
    kept, dev = hold_out(texts, documents=300, seed=settings.seed)
    corpus = TitledCorpus.of(kept)
    chosen = PairSettings(inner=60, seed=settings.seed)
    steps = QUICK_STEPS if settings.quick else STEPS
    lessons = Lessons.of_corpus(corpus, chosen)
    folder, report = train_corpusbrain(
        lessons_with_titles(lessons),
        BASE,
        small_training(steps, settings),
        judge=title_metrics,
        run=RunSettings(dev=dev, home=home_of(settings)),
    )
    place = folder or home_of(settings) / "runs" / "train" / report.name / "rejected"
    note = f"{report.curves.steps} steps, {report.curves.seconds:.0f} s"
    return CorpusBrain.of(load_title_model(place), corpus.titles), note


def lessons_with_titles(lessons: Lessons) -> Lessons:
    """The lessons, and each title as a source of itself: questions name what they are about."""
    named = [TitlePair(title, (title,), "title") for title in lessons.titles]
    return Lessons(
        lessons.titles, lambda number: [*lessons.draw(number), *named], f"{lessons.fingerprint} titles", lessons.texts
    )


def by_words(shown: Shown) -> dict[str, list[Hit]]:
    """BM25 over title and text."""
    records = {name: Record(name, one.title, one.text) for name, one in shown.passages.items()}
    texts = {one: text for one, (text, _) in shown.questions.items()}
    run = bm25s_run(Collection("passages", records, texts, {}))
    return {
        one: [shown.hit(name, score, "lexical") for name, score in list(found.items())[:PASSAGES]]
        for one, found in run.items()
    }


def by_titles(shown: Shown, brain: CorpusBrain) -> dict[str, list[Hit]]:
    """Written titles."""
    texts = [text for text, _ in shown.questions.values()]
    found = brain.retrieve(texts, min(PASSAGES, len(brain.trie)))
    return {
        one: [shown.hit(hit.document, hit.score, "generative") for hit in hits]
        for one, hits in zip(shown.questions, found, strict=True)
    }


def holds(hits: Sequence[Hit], golds: Sequence[str]) -> bool:
    """Whether a passage holds an answer."""
    return any(contains(hit.passage.text, gold) for hit in hits for gold in golds)


def answer(chat: Any, shown: Shown, question: str, hits: Sequence[Hit]) -> str:
    """What the reader says."""
    asker = Asker(lambda name, _: shown.passages[name], chat)
    for event in asker.stream(question, hits):
        last = event
    return last.text if isinstance(last, Asked) else ""


def _lines(folder: Path, name: str) -> list[dict[str, Any]]:
    path = next(path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file())
    return [line for _, line in json_lines(path)]
