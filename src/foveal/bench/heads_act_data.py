"""The examples of bench heads-act: labels to search by, other data sets to test on, questions with answers in words.

search    clickbait or news (headlines), topics of newsgroups, topics of Reuters notes
test      polarity of reviews (SST-2), type of a question (TREC), topics of news (AG News); XQuAD as four options and in
          words. None is of a data set that heads are chosen by

Each class is drawn as often as the others. Parts (search, validation, test) share no prompt.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.files import csv_rows, text_in
from foveal.evaluation.labelled import Labelled, lettered, split

MOST_LABELS = 6
"""Of a file whose labels are not known here."""

LONGEST, OPTIONS = 220, 4
"""Characters of a text, of which more are cut at a word; answers that a question of XQuAD is put with."""


@dataclass(frozen=True)
class Task:
    """A data set as prompts: its folder and file, the columns of the text, what each label is called."""

    name: str
    file: str  # below the data folder
    columns: tuple[str, ...]  # of the text
    ask: str  # holds {text}
    labels: Mapping[str, str]  # in the file -> in the prompt

    def with_labels(self, told: Iterable[str]) -> Task:
        """The same over a file whose labels are others: its most frequent ones, as they are."""
        most = [label for label, _ in Counter(told).most_common(MOST_LABELS) if label]
        ask = f"Which is it: {', '.join(most[:-1])} or {most[-1] if most else ''}?\nText: {{text}}\nAnswer:"
        return replace(self, ask=ask, labels={label: label for label in most})


_GROUPS = {
    "comp.graphics": "computers",
    "comp.os.ms-windows.misc": "computers",
    "rec.sport.baseball": "sports",
    "rec.sport.hockey": "sports",
    "sci.space": "space",
    "sci.med": "medicine",
    "rec.autos": "cars",
    "soc.religion.christian": "religion",
}

SEARCH = (
    Task(
        "clickbait",
        "classification/clickbait/all.csv",
        ("headline",),
        "Is the headline clickbait? Say yes or no.\nHeadline: {text}\nClickbait:",
        {"clickbait": "yes", "news": "no"},
    ),
    Task(
        "20ng",
        "classification/20ng/train.csv",
        ("subject",),
        "What is the message about: computers, sports, space, medicine, cars or religion?\nSubject: {text}\nTopic:",
        _GROUPS,
    ),
    Task(
        "r8",
        "classification/r8/train.csv",
        ("text",),
        "What is the note about: earnings, oil, trade, interest, shipping or grain?\nNote: {text}\nTopic:",
        {
            "earn": "earnings",
            "crude": "oil",
            "trade": "trade",
            "interest": "interest",
            "ship": "shipping",
            "grain": "grain",
        },
    ),
)

TEST = (
    Task(
        "sst2",
        "classification/sst2/test.csv",
        ("text",),
        "Is the review positive or negative?\nReview: {text}\nSentiment:",
        {"positive": "positive", "negative": "negative"},
    ),
    Task(
        "trec",
        "classification/trec/test.csv",
        ("text",),
        "What does the question ask for: a description, an entity, an abbreviation, a person, a number or a location?\n"
        "Question: {text}\nType:",
        {
            "DESC": "description",
            "ENTY": "entity",
            "ABBR": "abbreviation",
            "HUM": "person",
            "NUM": "number",
            "LOC": "location",
        },
    ),
    Task(
        "ag_news",
        "classification/ag_news/test.csv",
        ("title", "text"),
        "What is the article about: world, sports, business or technology?\nArticle: {text}\nTopic:",
        {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"},
    ),
)


def examples(settings: BenchSettings, task: Task, count: int) -> list[Labelled]:
    """`count` examples of a task, or as many as there are, its labels in turn, in a drawn order."""
    folder, name = task.file.rsplit("/", 1)
    path = settings.file(folder, name)
    rows = [row for _, row in csv_rows(path, ("label", *task.columns))]
    task = task if any(row["label"] in task.labels for row in rows) else task.with_labels(row["label"] for row in rows)
    labels = tuple(dict.fromkeys(task.labels.values()))
    by_label: dict[str, list[str]] = {label: [] for label in labels}
    for row in rows:
        label = task.labels.get(row["label"])
        if label and (text := _cut(". ".join(row[column] or "" for column in task.columns))):
            by_label[label].append(text)
    if sum(map(bool, by_label.values())) < 2:
        raise InputError(f"{path} has texts of fewer than two labels; this bench needs two. Give it more, or another.")
    draw = random.Random(f"{task.name} {settings.seed}")
    for texts in by_label.values():
        draw.shuffle(texts)
    taken = list(_in_turn(by_label, count))
    draw.shuffle(taken)
    return [Labelled(task.ask.format(text=text), labels, labels.index(label), task=task.name) for label, text in taken]


def _in_turn(by_label: Mapping[str, Sequence[str]], count: int) -> Iterator[tuple[str, str]]:
    given, seen = 0, set()
    for place in range(max(map(len, by_label.values()))):
        for label, texts in by_label.items():
            if place < len(texts) and texts[place] not in seen and given < count:
                seen.add(texts[place])
                given += 1
                yield label, texts[place]


def search_parts(settings: BenchSettings, each: int, validation: int) -> tuple[list[Labelled], list[Labelled]]:
    """Examples to search by, `each` of every task, and `validation` others of every task."""
    parts = [split(examples(settings, task, each + validation), (each, validation), settings.seed) for task in SEARCH]
    return [one for own, _ in parts for one in own], [one for _, own in parts for one in own]


def test_examples(settings: BenchSettings, each: int) -> dict[str, list[Labelled]]:
    """Test examples by task."""
    return {task.name: examples(settings, task, each) for task in TEST}


def words(settings: BenchSettings, count: int) -> tuple[list[Labelled], list[Labelled]]:
    """Questions of XQuAD with four options, the others being answers of the same article; and with answers in words."""
    path = settings.one_of("xquad", "xquad.en.json", "xquad.*.json")
    articles: list[dict[str, Any]] = json.loads(text_in(path))["data"]
    draw = random.Random(settings.seed)
    options, open_ = [], []
    for article in draw.sample(articles, len(articles)):
        pairs = [(part["context"], one) for part in article["paragraphs"] for one in part["qas"]]
        answers = sorted({one["answers"][0]["text"] for _, one in pairs})
        if len(answers) < OPTIONS:
            continue
        for context, one in draw.sample(pairs, min(2, len(pairs))):
            gold = one["answers"][0]["text"]
            asked = f"{context}\n\nQuestion: {one['question']}"
            given = [gold, *draw.sample([other for other in answers if other != gold], OPTIONS - 1)]
            draw.shuffle(given)
            options.append(lettered(asked, given, given.index(gold), task="xquad, four options"))
            every = tuple(answer["text"] for answer in one["answers"])
            open_.append(Labelled(f"{asked}\nShort answer:", answers=every, task="xquad, in words"))
    return options[:count], open_[:count]


def _cut(text: str) -> str:
    told = " ".join(text.split())
    return told if len(told) <= LONGEST else told[:LONGEST].rsplit(" ", 1)[0]
