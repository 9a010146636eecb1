"""The `where` of a search: conditions on a document's title, address, date, place and metadata, as SQL for Lance.

    kind=pdf                      metadata or column equals; repeat `where`, or join with " and "
    published>=2024-01-01         dates and numbers compare with = != < <= > >=
    title~neural                  contains, whatever the case
    year in 2020, 2021            one of
    from~ada  to~mary             of mails (the sender is their author, as of all documents)
    document=3f2a  source~reports/  heading~method  page<=10      (a document by the beginning of its id)

Quotes keep an "and" or a comma within a value. One opens right after the operator, a comma or a "(", and closes where
the value ends; anywhere else (O'Brien) it is a letter. A name that is no column is a key of the metadata. Values are
escaped; nothing else of a condition reaches the SQL.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from foveal.errors import InputError
from foveal.models.characters import one_text, scalar

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

DOCUMENT_COLUMNS = {
    name: "id" if column == "document_id" else column
    for name, column in COLUMNS.items()
    if column not in ("heading", "page")
}
"""The same in the table of documents, which knows no passages."""

ALIASES = {"from": "author"}
"""Other names of metadata, where documents have none of that name."""

DATES, NUMBERS, ADDRESSES = {"published_at"}, {"page"}, {"source", "url"}

_NAME = r"[\w.\-]+"
_OPERATOR = r"!=|<=|>=|=|<|>|~|(?<=\s)in(?=[\s(])"
_CONDITION = re.compile(rf"(?P<name>{_NAME})\s*(?P<op>{_OPERATOR})\s*(?P<value>\S.*)", re.DOTALL)
"""Of a condition without white space around it; a run of blanks can be parted in one way only, or it takes minutes."""
_QUOTED = r"""(?:"[^"]*"|'[^']*')(?=\s*(?:[,)]|$)|\s+and\s)"""
_JOIN = rf"(?<!\s)\s+and\s+(?={_NAME}(?:\s*[!<>=~]|\s+in[\s(]))"
_AND = re.compile(rf"(?:[=<>~,(]|\sin(?=\s))\s*({_QUOTED})|{_JOIN}", re.IGNORECASE)
_LISTED = re.compile(rf"\s*({_QUOTED}|[^,]*)(?:,|$)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LARGEST = 2**31 - 1  # of a page, as tables have it


def sql(where: str | Sequence[str] | None, columns: Mapping[str, str] = COLUMNS) -> str | None:
    """`where` as one SQL expression, over the passages or, by DOCUMENT_COLUMNS, over the documents.

    None where it asks for nothing. InputError: not understood.
    """
    given = _given(where)
    conditions = [part for text in given if text.strip() for part in _parts(text)]
    return " AND ".join(f"({_condition(text, columns)})" for text in conditions) or None


def metadata_keys(where: str | Sequence[str] | None) -> list[str]:
    """The names in `where` that are neither columns nor aliases, so keys of the metadata, in their order."""
    given = _given(where)
    found = [_CONDITION.fullmatch(part.strip()) for text in given if text.strip() for part in _parts(text)]
    own = {*COLUMNS, *ALIASES}
    return list(dict.fromkeys(one["name"] for one in found if one and one["name"] not in own))


def _given(where: str | Sequence[str] | None) -> list[str]:
    given = where or ()
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return [one_text(one, "A condition of where") for one in several]


def _parts(text: str) -> list[str]:
    """The conditions that "and" joins; an "and" inside quotes joins nothing."""
    parts, start = [], 0
    for found in _AND.finditer(text):
        if found[1] is None:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _condition(text: str, columns: Mapping[str, str]) -> str:
    found = _CONDITION.fullmatch(text.strip())
    if not found:
        raise InputError(
            f"The condition {text!r} is not understood; it needs a name, one of = != < <= > >= ~ in, and a value, "
            'such as "kind=pdf", "published>=2024-01-01" or "title~neural".'
        )
    name, op, value = found["name"], found["op"], found["value"]
    if name in COLUMNS and name not in columns:
        raise InputError(f"The condition {text!r} is of passages, and documents are asked for; leave {name} out.")
    if op == "in":
        inner = value[1:-1] if value.startswith("(") and value.endswith(")") else value
        values = [found[1].strip() for found in _LISTED.finditer(inner) if found[1].strip()]
        return " OR ".join(f"({_compare(name, '=', one, columns)})" for one in values) or "FALSE"
    return _compare(name, op, value, columns)


def _compare(name: str, op: str, value: str, columns: Mapping[str, str]) -> str:
    value = _unquoted(value)
    column = columns.get(name)
    if op == "~" and column in DATES | NUMBERS:
        raise InputError(f"{name} is no text, so nothing can be contained in it; compare it with = != < <= > >=.")
    if column in DATES:
        return _compare_date(name, op, value)
    if column in NUMBERS:
        return f"{column} {op} {_whole(name, value)}"
    if column == columns["document"] and op in ("=", "!="):
        return f"{'' if op == '=' else 'NOT '}starts_with({column}, {literal(value)})"
    return _compare_text(column or _stated(name), op, value, numeric=column is None)


def _stated(name: str) -> str:
    """A value of the metadata, as text."""
    keys = [name, *([ALIASES[name]] if name in ALIASES else [])]
    values = [f"json_get_string(metadata, {literal(key)})" for key in keys]
    return f"coalesce({', '.join(values)})" if len(values) > 1 else values[0]


def _compare_text(text: str, op: str, value: str, *, numeric: bool) -> str:
    """A text column, or a value of the metadata (as text, and as a number where both sides are one)."""
    if op == "~":
        held, wanted = f"lower({text})", value.lower()
        if "ς" in wanted or "σ" in wanted:  # one Greek letter, small in two forms: the first ends a word
            held, wanted = f"replace({held}, 'ς', 'σ')", wanted.replace("ς", "σ")
        forms = _forms(wanted)
        if text in ADDRESSES:  # where a name's spaces and accents are written in per cent
            forms = list(dict.fromkeys([*forms, *map(_quoted, forms)]))
        return " OR ".join(f"contains({held}, {literal(form)})" for form in forms)
    if not numeric or not _NUMBER.fullmatch(value):
        forms = _forms(value) if op in ("=", "!=") else [value]
        return (" AND " if op == "!=" else " OR ").join(f"{text} {op} {literal(form)}" for form in forms)
    most = sys.float_info.max  # SQL has no infinity
    number = repr(max(-most, min(float(value), most)))
    if op not in ("=", "!="):
        return f"try_cast({text} as double) {op} {number}"
    same = f"({text} = {literal(value)} OR coalesce(try_cast({text} as double) = {number}, false))"
    return same if op == "=" else f"NOT {same}"


def _forms(value: str) -> list[str]:
    """The value as given, and with each accent in its letter and apart from it: both are one text, and files' names
    have either."""
    return list(dict.fromkeys([value, *(unicodedata.normalize(form, value) for form in ("NFC", "NFD"))]))


def _quoted(wanted: str) -> str:
    """A part of an address as addresses have it, in lower case."""
    scheme = "file://" if wanted.startswith("file://") else ""
    return scheme + quote(scalar(wanted).removeprefix(scheme)).lower()


def _compare_date(name: str, op: str, value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        start = _stamp(moment)
        if not _DAY.fullmatch(value):
            if re.fullmatch(r"\d+(-?W\d+(-?\d)?)?", value):  # other ways to write a day: which is meant is not plain
                raise ValueError
            return f"published_at {op} {start}"
        end = _stamp(moment + timedelta(days=1))
    except (ValueError, OverflowError):
        raise InputError(f"{name} got {value!r}; it needs a date such as 2024-01-31 or 2024-01-31T09:00.") from None
    whole_days = {
        "=": f"(published_at >= {start} AND published_at < {end})",
        "!=": f"(published_at < {start} OR published_at >= {end})",
        "<=": f"published_at < {end}",
        ">": f"published_at >= {end}",
    }
    return whole_days.get(op, f"published_at {op} {start}")


def _stamp(moment: datetime) -> str:
    return f"timestamp '{moment.astimezone(UTC).isoformat()}'"


def _whole(name: str, value: str) -> int:
    try:
        return max(-_LARGEST, min(int(value), _LARGEST))  # beyond there is no page, on either side
    except ValueError:
        raise InputError(f"{name} got {value!r}; it needs a whole number.") from None


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" else value


def literal(text: str) -> str:
    """`text` as an SQL string; halves of surrogate pairs, which are in no table, become U+FFFD."""
    return "'" + scalar(text).replace("'", "''") + "'"
