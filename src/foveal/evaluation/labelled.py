"""Prompts with what should follow them: one of some labels, or an answer in words; texts with a label. Files, splits.

    {"prompt": "Review: dull.\\nSentiment:", "choices": ["positive", "negative"], "gold": 1, "task": "reviews"}
    {"prompt": "Text: …\\nQuestion: …\\nAnswer:", "answers": ["Orsin Vale"]}

A line of such a file is one example. A gold label is its place, from 0, or the label itself. A choice follows the
prompt behind one space, unless the prompt ends in white space.
"""

from __future__ import annotations

import hashlib
import operator
import random
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.files import csv_rows, json_lines, text_in

FORM = '{"prompt": "…", "choices": ["yes", "no"], "gold": 0}, or {"prompt": "…", "answers": ["…"]}'


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt; either `choices` with the place of the right one (None: nobody said), or `answers` in words."""

    prompt: str
    choices: tuple[str, ...] = ()
    gold: int | None = None
    answers: tuple[str, ...] = ()
    task: str = ""

    def __post_init__(self) -> None:
        """InputError: no prompt, fewer than two choices and no answer, or a gold label that is none of the choices."""
        if not self.prompt.strip():
            raise InputError("An example has no prompt; give the text that a label is to follow.")
        if not self.answers and len(set(self.choices)) < 2:
            raise InputError(f"An example needs two different choices, or answers: {FORM}. It got {self.choices}.")
        if self.gold is not None and not 0 <= self.gold < len(self.choices):
            raise InputError(f"The gold label is number {self.gold} of {len(self.choices)} choices, counted from 0.")

    def continuation(self, choice: int) -> str:
        """What follows the prompt if that choice is made."""
        return ("" if self.prompt[-1:].isspace() else " ") + self.choices[choice]


def read_labelled(path: Path) -> list[Labelled]:
    """The examples of a file of JSON lines (`.gz` is unpacked). InputError: none, or one that is none of the forms."""
    found = []
    for place, row in json_lines(path):
        try:
            found.append(_example(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{place} is no example ({error}). A line is {FORM}.") from error
    if not found:
        raise InputError(f"{path} holds no example. A line is {FORM}.")
    return found


def _example(row: Mapping[str, Any]) -> Labelled:
    given, gold = row.get("choices", ()), row.get("gold")
    if isinstance(given, str):  # its letters are no labels
        raise TypeError(f"choices must be a list, not {given!r}")
    choices = tuple(str(one) for one in given)
    if isinstance(gold, str):
        gold = choices.index(gold)
    gold = None if gold is None else operator.index(gold)  # 1.0 is no place
    answers = row.get("answers", ())
    if isinstance(answers, str):
        answers = [answers]
    return Labelled(str(row["prompt"]), choices, gold, tuple(str(one) for one in answers), str(row.get("task", "")))


def lettered(question: str, options: Sequence[str], gold: int, *, task: str = "") -> Labelled:
    """A question with its options behind letters; the letter is what is to follow. InputError: over 26 options."""
    if len(options) > len(string.ascii_uppercase):
        raise InputError(f"{len(options)} options came; there are {len(string.ascii_uppercase)} letters.")
    letters = string.ascii_uppercase[: len(options)]
    lines = [f"{letter}. {' '.join(option.split())}" for letter, option in zip(letters, options, strict=True)]
    return Labelled("\n".join([question.strip(), *lines, "Answer:"]), tuple(letters), gold, task=task)


def split(examples: Sequence[Labelled], counts: Sequence[int], seed: int) -> list[list[Labelled]]:
    """Disjoint parts of these sizes, drawn by `seed`; a prompt that comes twice counts once. InputError: too few."""
    different = list({one.prompt: one for one in examples}.values())
    if sum(counts) > len(different) or any(count < 1 for count in counts):
        raise InputError(f"Parts of {', '.join(map(str, counts))} were asked of {len(different)} different examples.")
    random.Random(seed).shuffle(different)
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [different[end - count : end] for end, count in zip(ends, counts, strict=True)]


def template_of(examples: Sequence[Labelled]) -> str:
    """A hash of how each task is asked: its labels, and the lines that all its prompts begin and end with."""
    tasks: dict[str, list[Labelled]] = {}
    for one in examples:
        tasks.setdefault(one.task, []).append(one)
    told = []
    for _, own in sorted(tasks.items()):
        begins = _common([one.prompt for one in own]).rpartition("\n")[0]
        ends = _common([one.prompt[::-1] for one in own])[::-1].partition("\n")[2]
        labels = sorted({choice for one in own for choice in one.choices})
        told.append(repr((begins, ends, labels)))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _common(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    low, high = min(texts), max(texts)
    return low[: next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]


# -- texts with a label ------------------------------------------------------------------------------------------------

TEXT_FIELDS = ("text", "contents", "content", "body", "abstract", "review", "sentence", "question", "prompt")
BEFORE_FIELDS = ("title", "subject", "headline")
"""A field of these that is filled stands before the text, on a line of its own."""
LABEL_FIELDS = ("label", "class", "category", "topic", "stars", "rating", "gold")
TEXT_FORM = '{"text": "…", "label": "…"}, or a table with columns of these names'


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its class. InputError: one of the two is empty."""

    text: str
    label: str

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.label.strip():
            raise InputError(f"A labelled text lacks its {'label' if self.text.strip() else 'text'}: {TEXT_FORM}.")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file as it stands there, its text, and its label; "" where it has none."""

    fields: Mapping[str, Any]
    text: str
    label: str


def read_texts(path: Path, *, text: Sequence[str] = (), label: str | None = None) -> list[LabelledText]:
    """The labelled texts of a file: .csv or .tsv with a header, else JSON lines; `.gz` is unpacked.

    `text`: the fields that make the text, a line each; by default the first of TEXT_FIELDS that is there, behind one of
    BEFORE_FIELDS. `label`: its field; by default the first of LABEL_FIELDS. Lines of `Labelled` are read, too.
    InputError: no such file, a row without text or label, or none at all.
    """
    found = []
    for place, row in _rows(path):
        try:
            found.append(_labelled_text(row, text, label))
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{place} is no labelled text ({error}). A row is {TEXT_FORM}.") from error
    if not found:
        raise InputError(f"{path} holds no labelled text. A row is {TEXT_FORM}.")
    return found


def read_rows(path: Path, *, text: Sequence[str] = (), label: str | None = None) -> list[Row]:
    """The rows of such a file, of which none must have a label; of `.txt` each line is a text.

    InputError: no such file, a row without text, or none at all.
    """
    found = []
    for place, row in _rows(path):
        try:
            told = _text(row, text)
            lost = "no text" if not told.strip() else f"no {label}" if label and label not in row else ""
            if lost:
                raise InputError(f"it has {', '.join(map(str, row)) or 'nothing'}, and {lost}")
            found.append(Row(row, told, _label(row, label) if _label_field(row, label) in row else ""))
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(
                f"{place} is no text ({error}). A row is {TEXT_FORM}; --text takes other names."
            ) from error
    if not found:
        raise InputError(f"{path} holds no text. A row is {TEXT_FORM}.")
    return found


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of each row. InputError: no such file, or it is damaged."""
    if not path.is_file():
        raise InputError(f"There is no file {path}. Name a file of texts: {TEXT_FORM}.")
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".txt"):
        lines = text_in(path).replace("\r\n", "\n").split("\n")  # U+2028 and their like end no line of a file
        return ((f"{path}, line {number},", {"text": line}) for number, line in enumerate(lines, 1) if line.strip())
    return csv_rows(path) if plain.endswith((".csv", ".tsv")) else json_lines(path)


def _labelled_text(row: Mapping[str, Any], text: Sequence[str], label: str | None) -> LabelledText:
    told, called = _text(row, text, _label_field(row, label)), _label(row, label)
    if not told.strip() or not called:
        raise InputError(f"it has {', '.join(map(str, row))}, and no {'label' if told.strip() else 'text'}")
    return LabelledText(told, called)


def _label_field(row: Mapping[str, Any], label: str | None) -> str:
    return label or next((name for name in LABEL_FIELDS if row.get(name) not in (None, "")), "label")


def _text(row: Mapping[str, Any], text: Sequence[str], *needed: str) -> str:
    if missing := [name for name in (*text, *needed) if row.get(name) in (None, "")]:
        raise InputError(f"it lacks {', '.join(missing)}; it has {', '.join(map(str, row))}")
    parts = text or [
        *[name for name in BEFORE_FIELDS if row.get(name)][:1],
        *[name for name in TEXT_FIELDS if row.get(name)][:1],
    ]
    return "\n".join(str(row[name]) for name in parts)


def _label(row: Mapping[str, Any], label: str | None) -> str:
    called = _label_field(row, label)
    given = row[called]
    if called == "gold" and isinstance(given, int) and (choices := row.get("choices")):
        if not 0 <= given < len(choices):
            raise InputError(f"its gold label is number {given} of {len(choices)} choices, counted from 0")
        given = choices[given]
    if isinstance(given, float) and given.is_integer():
        given = int(given)  # 1.0 and 1 are one number, and so one class
    return "" if given is None else str(given).strip()
