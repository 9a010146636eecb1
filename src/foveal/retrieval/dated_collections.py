"""Dated pages and dated questions in BEIR's layout: what search for news is trained and measured on.

    corpus.jsonl      {"_id", "title", "text", "published_at", "source"}       published_at may be empty or null
    queries.jsonl     {"_id", "text", "date", "answers"}
    qrels/<split>.tsv

A question's moment is its date and `slack_days` more: what was published up to then may be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.beir import load_beir
from foveal.evaluation.files import json_lines
from foveal.retrieval.event_items import Item


@dataclass(frozen=True)
class DatedCollection:
    """Items in the order of the file; questions with their moments; judgements; the answers that are given."""

    items: tuple[Item, ...]
    asked: Mapping[str, tuple[str, datetime]]
    judged: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ASKED_AFTER = timedelta(days=1)
"""Behind its date, the beginning of a day: what came on that day may be seen."""


def load_dated(folder: Path, split: str = "test") -> DatedCollection:
    """The collection in `folder`. InputError: as `load_beir`, or a judged question or an item has no usable date."""
    collection = load_beir(folder, split)
    items = tuple(
        Item(
            name,
            record.title,
            record.text,
            _date(record.metadata.get("published_at"), f"{folder}: the document {name!r}"),
            str(record.metadata.get("source") or ""),
        )
        for name, record in collection.corpus.items()
    )
    asked, answers = {}, {}
    for where, row in json_lines(next(path for path in _forms(folder / "queries.jsonl") if path.is_file())):
        name = str(row.get("_id"))
        if name in collection.queries:
            date = _date(row.get("date"), where)
            if date is None:
                raise InputError(f"{where} has no `date`, so it is not known what may be seen. Give each question one.")
            asked[name] = (collection.queries[name], date + ASKED_AFTER)
            answers[name] = tuple(str(answer) for answer in row.get("answers") or ())
    return DatedCollection(items, asked, collection.qrels, answers)


def _forms(path: Path) -> tuple[Path, Path]:
    return path, path.with_name(f"{path.name}.gz")


def _date(value: object, where: str) -> datetime | None:
    if value in (None, ""):
        return None
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise InputError(f"{where} has the date {value!r}; it needs one such as 2024-01-31.") from None
