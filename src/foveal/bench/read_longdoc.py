"""bench read, long documents: questions that people asked, on documents longer than a small model reads well.

Every way of choosing gives its characters to the same model with the same prompt. At equal tokens (an answer is made
from the reader's `answer.context`, evidence kept is told of its `budget`): BM25S, MiniLM (an English model), the first
and last tokens, StreamingLLM's sinks and recent keys. With far more: the first, or the last, 8k tokens. Sets: Natural
Questions and QuALITY (English), MultiFieldQA (Chinese), BABILong with one and with two facts (longdoc/; the terms of
the sets allow no copy of them here).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from foveal.bench.read_needles import ranges_of
from foveal.bench.readers import Bench, streaming_answer
from foveal.evaluation.answers import score
from foveal.evaluation.kept import Range
from foveal.evaluation.longdoc import Question, Task, load, sample
from foveal.evaluation.tables import Row
from foveal.reading.events import Reading

TASKS = {"natural_question": 24, "quality": 30, "multifieldqa_zh": 12, "babilong_8k_qa1": 8, "babilong_8k_qa2": 14}
"""Task -> questions of a full run."""

QUICK = {"quality": 4, "babilong_8k_qa2": 3}

LONG = 8192
FEW = 3
"""Questions that the readers of 8k tokens are asked: each reads for a quarter of a minute."""


def longdoc(bench: Bench) -> Iterator[Row]:
    """Rows for each task: ours, then the others, then the differences that are asked for."""
    ahead: dict[str, list[float]] = defaultdict(list)
    for name, count in (QUICK if bench.settings.quick else TASKS).items():
        task = sample(load(name, bench.settings.data), count, bench.settings.seed)
        ours = _read(bench, task)
        support = _supported(task.questions, [ranges_of(reading) for reading in ours])
        yield _row("Foveal", task, _mean(task, [reading.text for reading in ours], task.questions), support)
        for other, (choose, questions) in _choosers(bench, task).items():
            context, memory = bench.read.answer.context, bench.read.budget
            answers = [bench.answer(one.text, choose(one, context), one.question) for one in questions]
            value = _mean(task, answers, questions)
            kept = _supported(questions, [choose(one, memory) for one in questions])
            yield _row(other, task, value, kept, of=len(questions))
            mine = _mean(task, [_answer_to(question, task, ours) for question in questions], questions)
            ahead[other].append(mine - value)
        few = task.questions[: 1 if bench.settings.quick else FEW]
        answers = [streaming_answer(bench, q.text, q.question, recent=bench.read.answer.context) for q in few]
        value = _mean(task, answers, few)
        yield _row("StreamingLLM's attention", task, value, None, of=len(few))
        ahead["StreamingLLM's attention"].append(_mean(task, [_answer_to(one, task, ours) for one in few], few) - value)
        if name == "babilong_8k_qa2":
            yield from _two_facts(bench, task, support)
    for other, differences in ahead.items():
        note = "mean over the tasks, on the same questions"
        yield Row.of(f"Foveal less {other}", "score", fmean(differences), at_least=0.0001, note=note)


def _read(bench: Bench, task: Task) -> list[Reading]:
    """Ours on every question of the task, one pass for each document; in the order of the task."""
    by_text: dict[str, list[Question]] = defaultdict(list)
    for question in task.questions:
        by_text[question.text].append(question)
    found: dict[str, Reading] = {}
    for text, questions in by_text.items():
        readings = bench.reader.read_many(text, [question.question for question in questions])
        found |= {question.id: reading for question, reading in zip(questions, readings, strict=True)}
    return [found[question.id] for question in task.questions]


def _choosers(bench: Bench, task: Task) -> dict[str, tuple[_Choose, Sequence[Question]]]:
    every, few = task.questions, task.questions[: 1 if bench.settings.quick else FEW]
    return {
        "BM25S": (lambda q, budget: bench.bm25(q.text, q.question, budget=budget), every),
        "MiniLM": (lambda q, budget: bench.minilm(q.text, q.question, budget=budget), every),
        "first and last tokens": (lambda q, budget: bench.ends(q.text, q.question, budget=budget), every),
        "first 8k tokens": (lambda q, _: bench.first(q.text, q.question, budget=LONG), few),
        "last 8k tokens": (lambda q, _: bench.last(q.text, q.question, budget=LONG), few),
    }


_Choose = Callable[[Question, int], list[Range]]
"""From a question and a number of tokens to the characters that are kept."""


def _two_facts(bench: Bench, task: Task, ours: float | None) -> Iterator[Row]:
    """Whether both facts are kept, beside MiniLM and BM25 together at the same tokens."""
    memory = bench.read.budget
    other = _supported(task.questions, [bench.both(q.text, q.question, budget=memory) for q in task.questions])
    if ours is not None and other is not None:
        yield Row.of("MiniLM + BM25S, two facts", "retention", other)
        yield Row.of("Foveal less MiniLM + BM25S, two facts", "retention", ours - other, at_least=0.01)


def _answer_to(question: Question, task: Task, readings: Sequence[Reading]) -> str:
    return next(r.text for q, r in zip(task.questions, readings, strict=True) if q.id == question.id)


def _mean(task: Task, answers: Sequence[str], questions: Sequence[Question]) -> float:
    return fmean(score(task.metric, _bare(a), q.answers) for a, q in zip(answers, questions, strict=True))


def _bare(answer: str) -> str:
    """An answer without its numbered citations."""
    return re.sub(r"\s*\[\d+\]", "", answer)


def _supported(questions: Sequence[Question], ranges: Sequence[Sequence[Range]]) -> float | None:
    known = [q.supported_by(kept) for q, kept in zip(questions, ranges, strict=True)]
    judged = [value for value in known if value is not None]
    return fmean(judged) if judged else None


def _row(system: str, task: Task, value: float, support: float | None, *, of: int | None = None) -> Row:
    note = f"{of or len(task.questions)} questions"
    note += "" if support is None else f"; evidence kept {support:.2f}"
    return Row.of(f"{system}, {task.name}", task.metric, value, note=note)
