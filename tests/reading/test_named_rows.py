"""Rows that a question names: which they are, and that each stays an exact place."""

from __future__ import annotations

import pytest
from honest import document

from foveal.reading.answering import checked, evidence_of, messages
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.memory import Excerpt
from foveal.reading.named_rows import NAMED, with_named_rows
from foveal.text.segmentation import HeadingSegmenter

NAMES = ("Alder", "Birch", "Cedar", "Dale", "Elm", "Fern", "Gorse", "Heath", "Ivy", "Juniper", "Larch", "Maple")
ROWS = "".join(f"| {name} | {1800 + n} | {'Pell' if n % 2 else 'Holm'} |\n" for n, name in enumerate(NAMES))
MANUAL = document(
    "manual", f"# Mills\n\nElm is a tree.\n\n| name | built | keeper |\n|---|---|---|\n{ROWS}\nMore words.\n"
)


def passages(of=MANUAL):
    """All of the manual, as a search might find it."""
    found = HeadingSegmenter(max_tokens=40, min_tokens=1).segment(of)
    return [evidence_of(of, Excerpt(one.span.start, one.span.end, one.text, 1.0), one.heading) for one in found]


def rows_of(question: str) -> list[str]:
    return [one.told for one in with_named_rows(question, passages()) if one.told]


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("When was Elm built?", ["Elm"]),
        ("When was Alder built?", ["Alder"]),
        ("Alder, Birch, Cedar or Dale?", ["Alder", "Birch", "Cedar", "Dale"]),
        ("Alder, Birch, Cedar, Dale or Fern?", []),
        ("Which is older, Larch or Birch?", ["Birch", "Larch"]),
        ("Who kept the mill of 1809?", ["Juniper"]),
        ("How many does Pell keep?", []),
        ("When was the first one built?", []),
        ("What is this?", []),
    ],
)
def test_a_row_is_named_by_a_word_that_few_rows_hold(question, names):
    found = rows_of(question)
    assert [one.split("; ")[0] for one in found] == [f"name: {name}" for name in names]
    assert len(found) <= NAMED


def test_a_named_row_stands_for_its_table_and_other_passages_stay():
    every = passages()
    found = with_named_rows("When was Maple built?", every)
    assert [one.told or one.excerpt.text for one in found] == [
        "# Mills\n\nElm is a tree.", "name: Maple; built: 1811; keeper: Pell", "More words.",
    ]  # fmt: skip
    assert all(MANUAL.text[one.excerpt.start : one.excerpt.end] == one.excerpt.text for one in found)
    assert with_named_rows("What is it?", every) == every


def test_a_row_that_is_found_twice_is_one_and_rows_of_two_documents_are_two():
    copy = document("copy", MANUAL.text.replace("1811", "1911"))
    found = [one.told for one in with_named_rows("When was Maple built?", passages() * 2 + passages(copy)) if one.told]
    assert found == ["name: Maple; built: 1811; keeper: Pell", "name: Maple; built: 1911; keeper: Pell"]


def test_a_named_row_is_an_exact_place_and_is_shown_with_its_columns():
    found = [one for one in with_named_rows("When was Maple built?", passages()) if one.told]
    (row,) = found
    assert MANUAL.text[row.excerpt.start : row.excerpt.end] == row.excerpt.text == "| Maple | 1811 | Pell |"
    shown = messages("When was Maple built?", found, AnswerSettings())[1]["content"].split("\n\n")[1]
    assert shown.endswith("name: Maple; built: 1811; keeper: Pell")
    draft = checked("It was built in 1811.", "When was Maple built?", found, AnswerSettings())
    assert [one.quote for one in draft.citations] == [row.excerpt.text]
    assert draft.unsupported == ()
