"""The rows of tables that a question names: "What is the head of P-156?" names the one that holds P-156.

    evidence = with_named_rows(question, evidence)      # passages of a table become the rows that are named

A small model loses its place among many rows, and seldom in one of which each cell stands behind its column's name.

Named     a row that holds a word of the question that few of the rows found hold; not where that would be many rows
Left out  all other rows of its table; what stands beside them in a passage stays
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from foveal.reading.answering import Evidence, quotable
from foveal.reading.grounding import NO_ROWS
from foveal.reading.skim import content_words
from foveal.text.table_heads import Table

_HEADING = re.compile(r"^#[^\n]*", re.MULTILINE)

NAMED = 4
"""Most rows that a question can name."""

_Row = tuple[int, int, int, Table]
"""The number of an excerpt, the first and last character of a row in it, and the row's table."""


def with_named_rows(question: str, evidence: Sequence[Evidence]) -> list[Evidence]:
    """The evidence, in its order, with the rows that the question names in the place of all rows of their tables."""
    named = _named(content_words(question), evidence, list(_rows(evidence)))
    tables = {(evidence[number].document_id, table.start) for number, _, _, table in named}
    found: list[Evidence] = []
    for number, one in enumerate(evidence):
        if any((one.document_id, table.start) in tables for table in one.tables):
            found += [_alone(one, start, end, table) for n, start, end, table in named if n == number]
            found += _beside(one)
        else:
            found.append(one)
    return found


def _rows(evidence: Sequence[Evidence]) -> Iterator[_Row]:
    """The rows below the heads of tables, each once."""
    seen = set[tuple[str, int]]()
    for number, one in enumerate(evidence):
        for start, end in quotable(one) if one.rows != NO_ROWS else ():
            place = one.excerpt.start + start
            table = next((table for table in one.tables if table.start <= place < table.end), None)
            if table and (one.document_id, place) not in seen:
                seen.add((one.document_id, place))
                yield number, start, end, table


def _named(asked: set[str], evidence: Sequence[Evidence], rows: Sequence[_Row]) -> list[_Row]:
    held = [asked & content_words(evidence[number].excerpt.text[start:end]) for number, start, end, _ in rows]
    naming = {word for word in asked if 0 < sum(word in words for words in held) <= NAMED}
    shares = [len(words & naming) for words in held]
    for least in (1, max(shares, default=0)):
        found = [row for row, share in zip(rows, shares, strict=True) if share >= max(1, least)]
        if len(found) <= NAMED:
            return found
    return []


def _alone(one: Evidence, start: int, end: int, table: Table) -> Evidence:
    """One row of an excerpt as an excerpt of its own."""
    row = _cut(one, start, end)
    text = row.excerpt.text
    return replace(row, head=table.head, rows=(0, len(text)), tables=one.tables, told=table.told(text))


def _beside(one: Evidence) -> Iterator[Evidence]:
    """What stands before and behind an excerpt's rows, if it is more than headings."""
    first, last = one.rows
    for start, end in ((0, first), (last, len(one.excerpt.text))):
        if content_words(_HEADING.sub("", one.excerpt.text[start:end])):
            yield _cut(one, start, end)


def _cut(one: Evidence, start: int, end: int) -> Evidence:
    """Characters `start` to `end` of an excerpt, without what is blank around them, as an excerpt without rows."""
    whole = one.excerpt.text[start:end]
    text = whole.strip()
    first = one.excerpt.start + start + len(whole) - len(whole.lstrip())
    excerpt = replace(one.excerpt, start=first, end=first + len(text), text=text)
    return replace(one, excerpt=excerpt, head="", rows=NO_ROWS, tables=())
