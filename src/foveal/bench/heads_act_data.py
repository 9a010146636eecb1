"""The examples of bench heads-act: labels to search by, other data sets to test on, questions with answers in words.

search    clickbait or news (headlines), topics of newsgroups, topics of Reuters notes
test      polarity of reviews (SST-2), type of a question (TREC), topics of news (AG News); XQuAD as four options and in
          words. None is of a data set that heads are chosen by

Each class is drawn as often as the others. Parts (search, validation, test) share no prompt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import csv_rows
from foveal.evaluation.labelled import Labelled, lettered, split

LONGEST = 220
"""Characters of a text; more are cut at a word."""


@dataclass(frozen=True)
class Task:
    """A data set as prompts: its folder and file, the column of the text, what each label is called."""

    name: str
    file: str  # below the data folder
    text: Callable[[Mapping[str, str]], str]
    ask: str  # holds {text}
    labels: Mapping[str, str]  # in the file -> in the prompt


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
        lambda row: row["headline"],
        "Is the headline clickbait? Say yes or no.\nHeadline: {text}\nClickbait:",
        {"clickbait": "yes", "news": "no"},
    ),
    Task(
        "20ng",
        "classification/20ng/train.csv",
        lambda row: row["subject"],
        "What is the message about: computers, sports, space, medicine, cars or religion?\nSubject: {text}\nTopic:",
        _GROUPS,
    ),
    Task(
        "r8",
        "classification/r8/train.csv",
        lambda row: row["text"],
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
        lambda row: row["text"],
        "Is the review positive or negative?\nReview: {text}\nSentiment:",
        {"positive": "positive", "negative": "negative"},
    ),
    Task(
        "trec",
        "classification/trec/test.csv",
        lambda row: row["text"],
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
        lambda row: f"{row['title']}. {row['text']}",
        "What is the article about: world, sports, business or technology?\nArticle: {text}\nTopic:",
        {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"},
    ),
)


def examples(settings: BenchSettings, task: Task, count: int) -> list[Labelled]:
    """`count` examples of a task, or as many as there are, its labels in turn, in a drawn order."""
    folder, name = task.file.rsplit("/", 1)
    path = settings.file(folder, name)
    labels = tuple(dict.fromkeys(task.labels.values()))
    by_label: dict[str, list[str]] = {label: [] for label in labels}
    for _, row in csv_rows(path, ("label",)):
        label = task.labels.get(row["label"])
        if label and (text := _cut(task.text(row))):
            by_label[label].append(text)
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
    articles: list[dict[str, Any]] = json.loads(settings.text("xquad", "xquad.en.json"))["data"]
    draw = random.Random(settings.seed)
    options, open_ = [], []
    for article in draw.sample(articles, len(articles)):
        pairs = [(part["context"], one) for part in article["paragraphs"] for one in part["qas"]]
        answers = sorted({one["answers"][0]["text"] for _, one in pairs})
        for context, one in draw.sample(pairs, min(2, len(pairs))):
            gold = one["answers"][0]["text"]
            asked = f"{context}\n\nQuestion: {one['question']}"
            given = [gold, *draw.sample([other for other in answers if other != gold], 3)]
            draw.shuffle(given)
            options.append(lettered(asked, given, given.index(gold), task="xquad, four options"))
            every = tuple(answer["text"] for answer in one["answers"])
            open_.append(Labelled(f"{asked}\nShort answer:", answers=every, task="xquad, in words"))
    return options[:count], open_[:count]


def _cut(text: str) -> str:
    told = " ".join(text.split())
    return told if len(told) <= LONGEST else told[:LONGEST].rsplit(" ", 1)[0]
