"""The `where` of a search: conditions on a document's title, address, date, place and metadata, as SQL for Lance.

    kind=pdf                      metadata or column equals; repeat `where`, or join with " and "
    published>=2024-01-01         dates and numbers compare with = != < <= > >=
    title~neural                  contains, whatever the case
    year in 2020, 2021            one of
    document=3f2a  source~reports/  heading~method  page<=10      (a document by the beginning of its id)

A name that is no column is a key of the metadata. Values are escaped; nothing else of a condition reaches the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from foveal.errors import InputError

COLUMNS = {
    "document": "document_id",
    "document_id": "document_id",
    "title": "title",
    "url": "url",
    "source": "source",
    "heading": "heading",
    "page": "page",
    "published": "published_at",
    "published_at": "published_at",
}

_CONDITION = re.compile(r"\s*(?P<name>[\w.\-]+)\s*(?P<op>!=|<=|>=|=|<|>|~|\bin\b)\s*(?P<value>.+?)\s*", re.DOTALL)
_AND = re.compile(r"\s+and\s+(?=[\w.\-]+\s*(?:[!<>=~]|in\s))", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def sql(where: str | Sequence[str] | None) -> str | None:
    """`where` as one SQL expression over the passages, None where it asks for nothing. InputError: not understood."""
    given = [where] if isinstance(where, str) else list(where or ())
    conditions = [part for text in given if text.strip() for part in _AND.split(text)]
    return " AND ".join(f"({_condition(text)})" for text in conditions) or None


def _condition(text: str) -> str:
    found = _CONDITION.fullmatch(text)
    if not found:
        raise InputError(
            f"The condition {text!r} is not understood; it needs a name, one of = != < <= > >= ~ in, and a value, "
            'such as "kind=pdf", "published>=2024-01-01" or "title~neural".'
        )
    name, op, value = found["name"], found["op"], found["value"]
    if op == "in":
        values = [part.strip() for part in value.strip("()").split(",") if part.strip()]
        return " OR ".join(f"({_compare(name, '=', one)})" for one in values) or "FALSE"
    return _compare(name, op, value)


def _compare(name: str, op: str, value: str) -> str:
    value = _unquoted(value)
    column = COLUMNS.get(name)
    text = column or f"json_get_string(metadata, {literal(name)})"
    if op == "~":
        return f"contains(lower({text}), {literal(value.lower())})"
    if column == "document_id" and op == "=":
        return f"starts_with(document_id, {literal(value)})"
    if column == "published_at":
        return _compare_date(op, value)
    if column == "page":
        return f"page {op} {_whole(name, value)}"
    if column is None and _NUMBER.fullmatch(value) and op not in ("=", "!="):
        return f"try_cast({text} as double) {op} {value}"
    if column is None and _NUMBER.fullmatch(value):
        same = f"({text} = {literal(value)} OR coalesce(try_cast({text} as double) = {value}, false))"
        return same if op == "=" else f"NOT {same}"
    return f"{text} {op} {literal(value)}"


def _compare_date(op: str, value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(f"published got {value!r}; it needs a date such as 2024-01-31 or 2024-01-31T09:00.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    start, end = _stamp(moment), _stamp(moment + timedelta(days=1))
    whole_day = len(value) == len("2024-01-31")
    if whole_day and op == "=":
        return f"(published_at >= {start} AND published_at < {end})"
    if whole_day and op == "!=":
        return f"(published_at < {start} OR published_at >= {end})"
    if whole_day and op in ("<=", ">"):
        return f"published_at {'<' if op == '<=' else '>='} {end}"
    return f"published_at {op} {start}"


def _stamp(moment: datetime) -> str:
    return f"timestamp '{moment.astimezone(UTC).isoformat()}'"


def _whole(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InputError(f"{name} got {value!r}; it needs a whole number.") from None


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" else value


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
