"""Words of pages within Markdown: they read as they were, and become nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from markdown_it import MarkdownIt

from foveal.research.markdown import one_line, plain

PIECES = [
    "a",
    "é",
    "_",
    "__",
    "*",
    "\\",
    "\\alpha",
    "$",
    "`",
    "[x](y)",
    "<b>",
    "!",
    "#",
    "|",
    " ",
    "^2",
    "{",
    "}",
    "1.",
]


@pytest.mark.parametrize("formula", [r"$6\times 10^6$", r"$O(n\log n)$", r"$\mathcal{O}(x_1^2)$", r"snake_case_name"])
def test_formulas_stand_as_they_were_written(formula):
    assert plain(f"It takes {formula} steps.") == f"It takes {formula} steps."


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_what_is_written_is_what_is_read(text):
    shown = html.fromstring(MarkdownIt("commonmark").render(f"x, {plain(text)}, x"))
    assert [one.tag for one in shown.iter()] == ["p"]
    assert shown.text_content().rstrip("\n") == f"x, {one_line(text)}, x"
