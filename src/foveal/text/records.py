"""Lines of JSON to documents, one line held at a time: JSONL files, and the corpus of a BEIR folder.

Text      the first of the fields text, contents, content, body, abstract that is filled; a list of sentences is joined.
          By choice (`bare_titles`) the title, where none is: a stream of headlines has nothing else
Address   `<source>#<id>` by the field id or _id, else `<source>#<number of the line>`. Which of the two a source has,
          its first record says: those of the other sort are `<source>#line=<number>` and, numbers alone,
          `<source>#id=<id>`, so that no line takes the place of a record that is called by its number
Metadata  other fields with plain values; an object's are named with dots (`a.b`), those of `metadata` keep their own
          names; a list of plain values becomes one string joined by "; "; null, and lists of objects, are dropped;
          whole numbers of more than 64 bits become text
Bad lines give Skipped (`<source>#<number of the line>`), and the rest goes on; a source without one good line fails
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.dates import aware
from foveal.text.files import path_of
from foveal.text.plain import storable
from foveal.text.sources import Skipped, Source
from foveal.types import Document, Scalar

TEXT_FIELDS = ("text", "contents", "content", "body", "abstract")
GIVE_UP_AFTER = 1000  # bad lines, when not one was good
LONGEST_TITLE = 80  # characters of a title that is made from the text

STORED = range(-(2**63), 2**64)
"""Whole numbers that the store keeps to the last digit."""

_IDS = ("_id", "id")
_DATES = ("published_at", "date")
_OWN = ("source", "kind")


def records(lines: Iterable[bytes], source: Source, *, bare_titles: bool = False) -> Iterator[Document | Skipped]:
    """The documents in `lines`; UnreadableSource, at the end or after many bad lines, where none was good."""
    good, first_reason, names = 0, "it is empty", _Names(source)
    name = str(path_of(source.address)) if source.address.startswith("file://") else source.address
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = _document(line, number, names, bare_titles=bare_titles)
        except UnreadableSource as error:
            if number == 1 or first_reason == "it is empty":
                first_reason = str(error)
            yield Skipped(f"{source.address}#{number}", f"{name}: {error}")
            if not good and number >= GIVE_UP_AFTER:
                break
        else:
            good += 1
            yield document
    if not good:
        raise UnreadableSource(
            f"{source.address} holds no record with a text: {first_reason} "
            f"Each line needs to be a JSON object with one of the fields {', '.join(TEXT_FIELDS)}."
        )


@dataclass
class _Names:
    """The addresses of a source's records, each given once."""

    source: Source
    by_id: bool | None = None  # whether the first record has an id; None before it
    given: set[str] = field(default_factory=set)

    def of(self, record: Mapping[str, Any], number: int) -> str:
        """The address of the record in line `number`. UnreadableSource: an earlier one has it."""
        own = next((storable(str(record[name])) for name in _IDS if _is_id(record.get(name))), None)
        by_id = own is not None if self.by_id is None else self.by_id
        if own is None:
            name = f"line={number}" if by_id else str(number)
        else:
            name = own if by_id or not own.isdecimal() else f"id={own}"
        if name in self.given:
            raise UnreadableSource(f"Line {number} has the id {own or name!r} of an earlier line, which stays.")
        self.by_id = by_id
        self.given.add(name)
        return f"{self.source.address}#{name}"


def _document(line: bytes, number: int, names: _Names, *, bare_titles: bool) -> Document:
    source, record = names.source, _record(line, number)
    text = _text_field(record)[1] or (_title(record, "") if bare_titles else "")
    if not text.strip():
        raise UnreadableSource(f"Line {number} has no text; its fields are: {', '.join(record) or 'none'}.")
    own: dict[str, Scalar] = {"source": source.address, "kind": source.kind}
    return Document.of(
        names.of(record, number),
        text,
        _title(record, text),
        url=_url(record),
        published_at=_date(record),
        metadata={**_metadata(record), **own},
    )


def _record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise UnreadableSource(f"Line {number} is not UTF-8, which JSON needs (byte {error.start}).") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableSource(f"Line {number} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise UnreadableSource(f"Line {number} is a JSON {type(record).__name__}, not an object.")
    return record


def _text_field(record: Mapping[str, Any]) -> tuple[str, str]:
    """The field that the text is taken from, and the text; none is empty."""
    for name in TEXT_FIELDS:
        value = record.get(name)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = " ".join(value)
        if isinstance(value, str) and value.strip():
            return name, storable(value)
    return "text", ""


def _title(record: Mapping[str, Any], text: str) -> str:
    """The field `title`, else the beginning of the text, cut between words."""
    given = record.get("title")
    if isinstance(given, str) and given.strip():
        return storable(" ".join(given.split()))
    line = " ".join(text.strip().split("\n", 1)[0].split())
    return line if len(line) <= LONGEST_TITLE else line[:LONGEST_TITLE].rsplit(" ", 1)[0] + "…"


def _url(record: Mapping[str, Any]) -> str | None:
    inner = record.get("metadata")
    urls = (record.get("url"), inner.get("url") if isinstance(inner, dict) else None)
    return next(
        (storable(url) for url in urls if isinstance(url, str) and url.startswith(("https://", "http://"))), None
    )


def _date(record: Mapping[str, Any]) -> datetime | None:
    return next((date for name in _DATES if (date := aware(record.get(name)))), None)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _metadata(record: Mapping[str, Any]) -> dict[str, Scalar]:
    used = {"title", *_IDS, _text_field(record)[0]}
    used |= {"url"} if _url(record) else set()
    used |= {name for name in _DATES if aware(record.get(name))}
    rest = {name: value for name, value in record.items() if name not in used and name != "metadata"}
    inner = record.get("metadata")
    flat = dict(_flat(inner)) if isinstance(inner, dict) else {}
    flat |= dict(_flat(rest))
    return {f"record.{name}" if name in _OWN else name: value for name, value in flat.items()}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    for key, inner in value.items():
        name = prefix + storable(str(key))
        if isinstance(inner, dict):
            yield from _flat(inner, f"{name}.")
        elif isinstance(inner, list) and inner and all(_plain(part) is not None for part in inner):
            yield name, "; ".join(str(_plain(part)) for part in inner)
        elif (plain := _plain(inner)) is not None:
            yield name, plain


def _plain(value: object) -> Scalar | None:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and value not in STORED:
        return str(value)
    return value if isinstance(value, bool | int | float) else None
