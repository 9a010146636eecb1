"""Answer selection: which of a question's candidate sentences answer it. WikiQA (Yang, Yih and Meek, EMNLP 2015) and
TREC QA (Wang, Smith and Mitamura, EMNLP 2007), as castorini/data has them.

    test = load_answer_selection(data / "wikiqa", "test").clean()
    evaluate(run, test.qrels, ("map", "mrr"))           a run over test.queries and the ids of test.corpus

Layout     <split>.jsonl[.gz], a candidate a line: `qid`, `question`, `doc`, `label` (0 or 1); of one question all lines
           have the same `question`
Ids        candidates have none: the id is "<qid>/<number>", from 0, in the order of the file
Clean      a question with only right or only wrong candidates says nothing about a ranker, and moves MAP up or down:
           published figures are over the others (WikiQA test 237 of 243, TREC QA test 68 of 95). MatchZoo's WikiQA
           figures leave out the questions without a wrong one, too
Mixed      in the files right candidates tend to come first, which an id or a tie would tell a ranker: mix them first
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.files import json_lines

LAYOUT = "each line needs qid, question and doc as strings, and label as 0 or 1"


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with its candidates; `labels` has 1 for each that answers it, else 0."""

    id: str
    question: str
    candidates: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The candidates' ids."""
        return tuple(f"{self.id}/{number}" for number in range(len(self.candidates)))


@dataclass(frozen=True)
class AnswerSelection:
    """One split of a set, its questions in the order of the file."""

    name: str
    split: str
    questions: tuple[Choice, ...]

    def clean(self) -> AnswerSelection:
        """The same without questions whose candidates are all right or all wrong."""
        return replace(self, questions=tuple(one for one in self.questions if len(set(one.labels)) == 2))

    def mixed(self, generator: np.random.Generator) -> AnswerSelection:
        """The same, the candidates of each question in an order drawn from the generator, by which their ids go."""
        questions = []
        for one in self.questions:
            order = generator.permutation(len(one.candidates))
            texts, labels = ([kept[place] for place in order] for kept in (one.candidates, one.labels))
            questions.append(replace(one, candidates=tuple(texts), labels=tuple(labels)))
        return replace(self, questions=tuple(questions))

    @property
    def queries(self) -> dict[str, str]:
        """Question id -> its text."""
        return {one.id: one.question for one in self.questions}

    @property
    def corpus(self) -> dict[str, str]:
        """Candidate id -> its text."""
        return {name: text for one in self.questions for name, text in zip(one.ids, one.candidates, strict=True)}

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Question id -> candidate id -> label, of all its candidates."""
        return {one.id: dict(zip(one.ids, one.labels, strict=True)) for one in self.questions}


def load_answer_selection(folder: Path, split: str = "test") -> AnswerSelection:
    """The split of the set in `folder`, whole: `clean` leaves questions out.

    InputError: no such split, a damaged file, or a line that is not in the layout.
    """
    questions: dict[str, str] = {}
    candidates: dict[str, list[tuple[str, int]]] = {}
    for where, row in json_lines(_present(folder, split)):
        identity, question, text, label = _fields(where, row)
        if questions.setdefault(identity, question) != question:
            raise InputError(f"{where} asks {question[:60]!r} as {identity!r}, an earlier line otherwise. Mend one.")
        candidates.setdefault(identity, []).append((text, label))
    if not questions:
        raise InputError(f"The split {split!r} of {folder} is empty; {LAYOUT}.")
    chosen = (Choice(name, questions[name], *zip(*rows, strict=True)) for name, rows in candidates.items())
    return AnswerSelection(folder.name, split, tuple(chosen))


def _fields(where: str, row: Any) -> tuple[str, str, str, int]:
    found = row if isinstance(row, dict) else {}
    texts, label = [found.get(name) for name in ("qid", "question", "doc")], found.get("label")
    if not all(isinstance(text, str) for text in texts) or label not in (0, 1) or isinstance(label, bool):
        raise InputError(f"{where} is {str(row)[:80]}; {LAYOUT}.")
    identity, question, text = map(str, texts)
    return identity, question, text, int(label)


def _present(folder: Path, split: str) -> Path:
    for path in (folder / f"{split}.jsonl", folder / f"{split}.jsonl.gz"):
        if path.is_file():
            return path
    splits = ", ".join(sorted({found.name.partition(".")[0] for found in folder.glob("*.jsonl*")})) or "none"
    raise InputError(f"{folder} has no split {split!r} ({split}.jsonl or {split}.jsonl.gz). It has: {splits}.")
