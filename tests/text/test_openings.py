"""What a plain text states of itself at its beginning."""

from __future__ import annotations

import pytest

from foveal.text.loading import read_document
from foveal.text.openings import LONGEST, Opening, opening_of

GUTENBERG = """\ufeffThe Project Gutenberg eBook of Emma
\r
This ebook is for the use of anyone anywhere.\r
\r
Title: Emma, or\r
        the Matchmaker\r
\r
Author: Jane Austen\r
\r
Release date: August 1, 1994\r
\r
CHAPTER I\r
"""


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        (GUTENBERG, Opening("Emma, or the Matchmaker", "Jane Austen")),
        ("Title: Notes\nBody of the notes.", Opening("Notes", None)),
        ("Title: One\n\nTitle: Two\n", Opening("One", None)),
        (
            "WAR AND PEACE\n\n\nBy Leo Tolstoy/Tolstoi\n\n\n    CONTENTS\n",
            Opening("WAR AND PEACE", "Leo Tolstoy/Tolstoi"),
        ),
        ("\n\n  The Mill\n  by Ada Hart\n\nIt was built in 1820.", Opening("The Mill", "Ada Hart")),
        ("The mill burnt.\n\nBy Ada Hart\n\nMore.", Opening()),  # a sentence
        ("The Mill\n\nBy 1820 it was old.\n\nMore.", Opening()),  # no name
        ("The Mill\n\nBy Ada Hart and by night,\nthe wheel turned.\n", Opening()),  # the line goes on
        ("It was built.\nIts title: none.\n", Opening()),
        (f"Title: {'a' * (LONGEST + 1)}\n", Opening()),
        ("Title:\n\nBody", Opening()),
        ("", Opening()),
        ("By", Opening()),
    ],
)
def test_title_and_author(text, opening):
    assert opening_of(text) == opening


def test_a_title_far_behind_is_of_something_else():
    assert opening_of("a word " * 1000 + "\nTitle: Emma\n") == Opening()


def test_a_text_of_blanks_or_by_takes_no_time():
    assert opening_of("\n" * 5000) == opening_of("by " * 5000) == opening_of("By\n" * 5000) == Opening()


def test_a_text_is_named_by_its_title_and_else_by_its_file(tmp_path):
    (tmp_path / "pg158.txt").write_text(GUTENBERG, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("The mill burnt in 1901.", encoding="utf-8")
    book, notes = (read_document(tmp_path / name) for name in ("pg158.txt", "notes.txt"))
    assert (book.title, book.metadata["author"]) == ("Emma, or the Matchmaker", "Jane Austen")
    assert (notes.title, "author" in notes.metadata) == ("notes", False)
