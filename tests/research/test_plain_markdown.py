"""Words of pages within Markdown: they read as they were, and become nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from markdown_it import MarkdownIt

from foveal.research.markdown import linkless, one_line, plain

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


BLOCKS = ("\n", "\n\n", "\r", "  ", "    ", "- ", "> ", "1. ", "```", "~~~", "````", ": http://e", "<!--")
INLINE = ("a", "`", "\\", "!", "[a]", "[a", "]", "(http://e)", "<b>", "<http://e>")


@given(st.lists(st.sampled_from(BLOCKS + INLINE), max_size=14).map("".join))
def test_nothing_of_a_models_markdown_leads_or_loads_and_what_stands_below_it_stays(text):
    shown = html.fromstring(f"<div>{MarkdownIt('commonmark').render(linkless(text) + chr(10) * 2 + '[1] below')}</div>")
    assert not {one.tag for one in shown.iter()} & {"a", "img", "b"}
    assert not any(callable(one.tag) for one in shown.iter())  # comments
    assert (shown[-1].tag, shown[-1].text) == ("p", "[1] below")


def test_code_in_a_models_markdown_is_shown_as_it_is():
    code = "See:\n\n```c++\nvector<int> a[](int);\n```"
    assert linkless(code) == code
    assert linkless("```html\n<b>") == "```html\n<b>\n```"
    assert linkless("**So** [it](http://e) is, at 1 < 2.") == r"**So** [it]\(http://e) is, at 1 < 2."
