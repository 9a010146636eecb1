"""bench read, long documents: questions that people asked, on documents longer than a small model reads well.

Every way of choosing gives its characters to the same model with the same prompt. At equal tokens (an answer is made
from the reader's `answer.context`, evidence kept is told of its `budget`): BM25S, MiniLM (an English model), the first
and last tokens, StreamingLLM's sinks and recent keys. With far more: the first, or the last, 8k tokens. Sets: Natural
Questions and QuALITY (English), MultiFieldQA (Chinese), BABILong with one and with two facts (longdoc/; the terms of
the sets allow no copy of them here).

Answers are kept in the bench's cache as they come: a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from foveal.attention.retrieval_heads import HeadScores, copying_heads
from foveal.bench.code import code_digest, native_digest
from foveal.bench.read_needles import ranges_of
from foveal.bench.readers import Bench, streaming_answer
from foveal.bench.trained_arms import data_digest
from foveal.evaluation.answers import score
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.kept import Range
from foveal.evaluation.longdoc import Question, Task, load, sample
from foveal.evaluation.tables import Row
from foveal.reading.likeness import known_encoder
from foveal.types import Encoder

TASKS = {"natural_question": 24, "quality": 30, "multifieldqa_zh": 12, "babilong_8k_qa1": 8, "babilong_8k_qa2": 14}
"""Task -> questions of a full run."""

QUICK = {"quality": 4, "babilong_8k_qa2": 3}

LONG = 8192
STREAMING = "StreamingLLM's attention"
FEW = 3
"""Questions that the readers of 8k tokens are asked: each reads for a quarter of a minute."""

READING = (
    *(__name__, "foveal.bench.readers", "foveal.reading.infiniretri"),
    "foveal.reading.follow",  # of `from foveal.reading import follow`, which the hash sees as the package alone
)
"""What chooses, asks and answers; a reading draws on most packages, so that all that these import counts."""

COMPILED = (
    *(f"attention/native/{one}.cpp" for one in ("block_attention", "last_masses")),
    *(f"models/native/{one}.cpp" for one in ("byte_products", "half_products")),
)
"""Sources that are not Python."""

CHOOSING = ("bm25s", "PyStemmer")
"""What the lexical chooser is, by the names of their packages."""


@dataclass(frozen=True)
class Told:
    """What a system answered to a question, and the characters that it kept of the text."""

    task: str
    system: str
    question: str
    answer: str
    kept: list[Range]


@dataclass
class Answers:
    """The answers of a bench, kept as they come: a run that was stopped goes on."""

    store: Path
    done: list[Told]

    @classmethod
    def of(cls, bench: Bench) -> Answers:
        """Those that were made by this code, model, settings, heads and encoders; none before the first run."""
        looking = bench.reader.looking
        made_by = (
            *(bench.model.fingerprint, bench.model.dtype, looking.rough, looking.profile.heads),
            *(_copying(copying_heads(bench.reader.answerer)), _known_by(bench.encoder), _known_by(known_encoder())),
            *(bench.read, *map(version, CHOOSING)),
            *(code_digest(*READING, within="foveal"), native_digest(*COMPILED)),
        )
        digest = hashlib.sha256(repr(made_by).encode()).hexdigest()[:16]
        store = bench.settings.cache / "read" / f"longdoc-{digest}.jsonl"
        return cls(store, stored_lines(store, Told, what="answers of read-longdoc"))

    def told(self, task: Task, system: str, questions: Sequence[Question], make: _Make) -> list[Told]:
        """An answer for each question, in their order; what is not here is made by `make`, of one text at a time."""
        for of_text in _by_text(questions).values():
            missing = [one for one in of_text if self._known(task, system, one) is None]
            if missing:
                pairs = zip(missing, make(missing), strict=True)
                self.done += [Told(task.name, system, _name(one), answer, kept) for one, (answer, kept) in pairs]
                write_lines(self.store, self.done)
        known = [self._known(task, system, one) for one in questions]
        return [one for one in known if one is not None]

    def _known(self, task: Task, system: str, question: Question) -> Told | None:
        wanted = (task.name, system, _name(question))
        return next((one for one in self.done if (one.task, one.system, one.question) == wanted), None)


def _copying(heads: HeadScores | None) -> str:
    """What the heads are known by that say where an answer was copied from."""
    return "" if heads is None else data_digest(heads.kind, heads.runs)


def _known_by(encoder: Encoder | None) -> str:
    """An encoder's files, and how it multiplies."""
    in_bytes = getattr(encoder, "in_bytes", False)
    return f"{encoder.fingerprint} {getattr(encoder, 'dtype', '')} {in_bytes}" if encoder else ""


def _name(question: Question) -> str:
    """A question's id, with a hash of what it is asked of: data of the same ids may be others."""
    return f"{question.id} {hashlib.sha256(f'{question.question} {question.text}'.encode()).hexdigest()[:16]}"


def _by_text(questions: Sequence[Question]) -> dict[str, list[Question]]:
    by_text: dict[str, list[Question]] = defaultdict(list)
    for one in questions:
        by_text[one.text].append(one)
    return by_text


def longdoc(bench: Bench) -> Iterator[Row]:
    """Rows for each task: ours, then the others, then the differences that are asked for."""
    ahead: dict[str, list[float]] = defaultdict(list)
    answers = Answers.of(bench)
    for name, count in (QUICK if bench.settings.quick else TASKS).items():
        task = sample(load(name, bench.settings.data), count, bench.settings.seed)
        ours = answers.told(task, "Foveal", task.questions, partial(_read, bench))
        support = _supported(task.questions, ours)
        yield _row("Foveal", task, _mean(task, ours, task.questions), support)
        for other, (make, questions) in _others(bench, task).items():
            told = answers.told(task, other, questions, make)
            value = _mean(task, told, questions)
            kept = None if other == STREAMING else _supported(questions, told)
            yield _row(other, task, value, kept, of=len(questions))
            mine = answers.told(task, "Foveal", questions, partial(_read, bench))
            ahead[other].append(_mean(task, mine, questions) - value)
        if name == "babilong_8k_qa2":
            yield from _two_facts(bench, task, support)
    for other, differences in ahead.items():
        note = "mean over the tasks, on the same questions"
        yield Row.of(f"Foveal less {other}", "score", fmean(differences), at_least=0.0001, note=note)


_Pair = tuple[str, list[Range]]
_Make = Callable[[Sequence[Question]], list[_Pair]]
"""From questions about one text to their answers and what was kept of it."""


def _read(bench: Bench, questions: Sequence[Question]) -> list[_Pair]:
    """Ours, in one pass."""
    readings = bench.reader.read_many(questions[0].text, [one.question for one in questions])
    return [(reading.text, ranges_of(reading)) for reading in readings]


def _others(bench: Bench, task: Task) -> dict[str, tuple[_Make, Sequence[Question]]]:
    """The other systems, each with the questions that it is asked."""
    every, few = task.questions, task.questions[: 1 if bench.settings.quick else FEW]
    choosers: dict[str, tuple[_Choose, Sequence[Question]]] = {
        "BM25S": (lambda q, budget: bench.bm25(q.text, q.question, budget=budget), every),
        "MiniLM": (lambda q, budget: bench.minilm(q.text, q.question, budget=budget), every),
        "first and last tokens": (lambda q, budget: bench.ends(q.text, q.question, budget=budget), every),
        "first 8k tokens": (lambda q, _: bench.first(q.text, q.question, budget=LONG), few),
        "last 8k tokens": (lambda q, _: bench.last(q.text, q.question, budget=LONG), few),
    }
    made = {name: (partial(_chosen, bench, choose), asked) for name, (choose, asked) in choosers.items()}
    return {**made, STREAMING: (partial(_streamed, bench), few)}


_Choose = Callable[[Question, int], list[Range]]
"""From a question and a number of tokens to the characters that are kept."""


def _chosen(bench: Bench, choose: _Choose, questions: Sequence[Question]) -> list[_Pair]:
    """Answers from what `choose` keeps at the tokens of an answer, and what it keeps at those of the memory."""
    context, memory = bench.read.answer.context, bench.read.budget
    return [(bench.answer(one.text, choose(one, context), one.question), choose(one, memory)) for one in questions]


def _streamed(bench: Bench, questions: Sequence[Question]) -> list[_Pair]:
    recent = bench.read.answer.context
    return [(streaming_answer(bench, one.text, one.question, recent=recent), []) for one in questions]


def _two_facts(bench: Bench, task: Task, ours: float | None) -> Iterator[Row]:
    """Whether both facts are kept, beside MiniLM and BM25 together at the same tokens."""
    memory = bench.read.budget
    other = _mean_support(task.questions, [bench.both(q.text, q.question, budget=memory) for q in task.questions])
    if ours is not None and other is not None:
        yield Row.of("MiniLM + BM25S, two facts", "retention", other)
        yield Row.of("Foveal less MiniLM + BM25S, two facts", "retention", ours - other, at_least=0.01)


def _mean(task: Task, told: Sequence[Told], questions: Sequence[Question]) -> float:
    return fmean(score(task.metric, _bare(a.answer), q.answers) for a, q in zip(told, questions, strict=True))


def _bare(answer: str) -> str:
    """An answer without its numbered citations."""
    return re.sub(r"\s*\[\d+\]", "", answer)


def _supported(questions: Sequence[Question], told: Sequence[Told]) -> float | None:
    return _mean_support(questions, [[(start, end) for start, end in one.kept] for one in told])


def _mean_support(questions: Sequence[Question], ranges: Sequence[Sequence[Range]]) -> float | None:
    known = [q.supported_by(kept) for q, kept in zip(questions, ranges, strict=True)]
    judged = [value for value in known if value is not None]
    return fmean(judged) if judged else None


def _row(system: str, task: Task, value: float, support: float | None, *, of: int | None = None) -> Row:
    note = f"{of or len(task.questions)} questions"
    note += "" if support is None else f"; evidence kept {support:.2f}"
    return Row.of(f"{system}, {task.name}", task.metric, value, note=note)
