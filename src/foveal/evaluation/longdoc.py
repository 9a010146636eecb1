"""Questions on long documents: the sets of the data folder's `longdoc/`, with the places that answer them.

    task = sample(load("natural_question", Path(os.environ["FOVEAL_DATA"])), 50, seed=0)
    mean(score(task.metric, reader(q.text, q.question), q.answers) for q in task.questions)

Layout      longdoc/<task>.jsonl[.gz], a document a line: `_id`, `title`, `text`, `questions`, each of these with
            `_id`, `question`, `answers` (at least one)
Evidence    alternatives, each a set of spans that together give the answer; none where it is not known.
            natural_question, multifieldqa_zh: each place where an answer stands verbatim, also where by chance
            babilong: the one or two facts that the story rests on
            quality: none, as its answers are in the question's own words
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foveal.errors import InputError, UnknownName
from foveal.evaluation.answers import whole
from foveal.evaluation.babilong import support
from foveal.evaluation.files import json_lines
from foveal.evaluation.kept import Range, covered
from foveal.types import Span

Evidence = tuple[tuple[Span, ...], ...]
"""Sets of spans; all spans of any one set are enough to answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question on the document whose text is `text`."""

    id: str
    document_id: str
    text: str
    question: str
    answers: tuple[str, ...]
    evidence: Evidence = ()

    def supported_by(self, kept: Iterable[Range]) -> bool | None:
        """Whether these characters hold one whole set of the evidence; None where no evidence is known."""
        if not self.evidence:
            return None
        ranges = sorted(kept)
        return any(all(covered(self.text, (s.start, s.end), ranges) for s in spans) for spans in self.evidence)


@dataclass(frozen=True, slots=True)
class Task:
    """Questions in the order of the file; `metric` is a name that `answers.score` knows."""

    name: str
    metric: str
    questions: tuple[Question, ...]

    @property
    def documents(self) -> dict[str, str]:
        """Document id -> text."""
        return {question.document_id: question.text for question in self.questions}


def load(name: str, data: Path) -> Task:
    """The task `name` of the data folder `data`.

    UnknownName: no task is called that. InputError: the folder or file is missing, damaged, empty or not in the layout.
    """
    if name not in TASKS:
        raise UnknownName(f"No task on long documents is called {name!r}. There are: {', '.join(TASKS)}.")
    metric, evidence = TASKS[name]
    path = _present(data, name)
    questions = tuple(_questions(path, evidence))
    if not questions:
        raise InputError(f"{path} holds no question. Fetch it again: {LAYOUT}.")
    return Task(name, metric, questions)


def sample(task: Task, count: int, seed: int) -> Task:
    """The task with `count` of its questions drawn by `seed`, in their order; all of them where it has no more."""
    if count < 1:
        raise InputError(f"A sample of {count} questions was asked for; it needs at least 1.")
    places = range(len(task.questions))
    drawn = sorted(random.Random(seed).sample(places, min(count, len(places))))
    return Task(task.name, task.metric, tuple(task.questions[place] for place in drawn))


def verbatim(document_id: str, text: str, _question: str, answers: tuple[str, ...]) -> Evidence:
    """Each place where an answer stands in the text at the edges of words, its closing full stop left out."""
    found: set[Range] = set()
    for answer in answers:
        wanted = answer.strip().rstrip("。.").strip()
        if wanted:
            found.update(match.span() for match in re.finditer(whole(wanted), text))
    return tuple((Span(document_id, start, end),) for start, end in sorted(found))


def story(document_id: str, text: str, question: str, answers: tuple[str, ...]) -> Evidence:
    """The facts of a BABILong text that give the answer; nothing if following the story gives another one."""
    followed = support(text, question)
    if followed is None or followed.place not in answers:
        return ()
    return (tuple(Span(document_id, start, end) for start, end in followed.ranges),)


def unknown(_document_id: str, _text: str, _question: str, _answers: tuple[str, ...]) -> Evidence:
    """No evidence."""
    return ()


Finder = Callable[[str, str, str, tuple[str, ...]], Evidence]
"""Document id, text, question and answers -> evidence."""

TASKS: dict[str, tuple[str, Finder]] = {
    "natural_question": ("f1", verbatim),
    "quality": ("choice", unknown),
    "multifieldqa_zh": ("f1_zh", verbatim),
    "babilong_8k_qa1": ("contains", story),
    "babilong_8k_qa2": ("contains", story),
}
"""Name, which is that of the file -> metric, and what finds the evidence."""

LAYOUT = "each line needs _id, text and questions, each of those _id, question and answers (strings, at least one)"


def _questions(path: Path, evidence: Finder) -> Iterator[Question]:
    for where, row in json_lines(path):
        try:
            identity, text, asked = _string(row["_id"]), _string(row["text"]), list(row["questions"])
            parts = [(_string(q["_id"]), _string(q["question"]), _strings(q["answers"])) for q in asked]
        except (KeyError, TypeError) as error:
            raise InputError(f"{where} is not in the layout ({error!r}); {LAYOUT}.") from error
        for question_id, question, answers in parts:
            if not answers:
                raise InputError(f"{where} has no answer to {question_id!r}; {LAYOUT}.")
            found = evidence(identity, text, question, answers)
            yield Question(question_id, identity, text, question, answers, found)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no string")
    return value


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.60} is no list")
    return tuple(map(_string, value))


def _present(data: Path, name: str) -> Path:
    folder = data / "longdoc"
    for path in (folder / f"{name}.jsonl.gz", folder / f"{name}.jsonl"):
        if path.is_file():
            return path
    raise InputError(
        f"{folder} holds neither {name}.jsonl.gz nor {name}.jsonl{'' if folder.is_dir() else ' (it does not exist)'}. "
        "Name the folder that has longdoc/ in it by --data or FOVEAL_DATA."
    )
