"""Blocks of code: which lines are code, which its fences, and what only looks like it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.text.code_blocks import code_blocks

FENCED = "Run:\n\n```sh\nls -l\n\n# no heading\n```\n\nDone.\n"


def found(text, *, indented=True):
    """The code of each block, and all of it with its fences."""
    blocks = code_blocks(text, indented=indented)
    return [(text[one.body : one.stop], text[one.start : one.end]) for one in blocks]


def test_a_fenced_block_is_its_code_between_its_fences():
    assert found(FENCED) == [("ls -l\n\n# no heading\n", "```sh\nls -l\n\n# no heading\n```\n")]
    assert found("```\n```") == [("", "```\n```")]


def test_an_indented_block_is_code_where_it_is_asked_for():
    text = "Run:\n\n    make\n\n    make test\n\nDone.\n\n\tls\n"
    assert [code for code, _ in found(text)] == ["    make\n\n    make test\n", "\tls\n"]
    assert found(text, indented=False) == []


@pytest.mark.parametrize(
    "text",
    [
        "A line\n    that goes on",
        "- an item\n\n    goes on\n\n    and on",
        "1. an item\nin two lines\n\n    goes on",
        "[^1]: a note\n\n    goes on",
        "---\nnames:\n\n    - Ada\n---\ntext",
        "   three columns",
        "```\n\nnothing closes this",
    ],
    ids=["a line", "item", "item of two lines", "note", "front matter", "three columns", "an open fence"],
)
def test_what_is_no_code(text):
    assert found(text) == []


def test_a_fence_in_an_item_is_one_and_a_fence_within_a_block_is_none():
    assert [code for code, _ in found("10. Do:\n\n    ```sh\n    ls\n    ```\n")] == ["    ls\n"]
    nested = "```md\nText\n\n    ```\n    ls\n    ```\n```\n"
    assert [whole for _, whole in found(nested)] == [nested]


@given(st.lists(st.sampled_from(["```\n", "~~~~\n", "    x\n", "\n", "word\n", "- y\n", "\tz", "---\n"]), max_size=30))
def test_blocks_of_any_text_are_whole_lines_in_order_and_apart(pieces):
    text = "".join(pieces)
    blocks = code_blocks(text, indented=True)
    assert all(one.start <= one.body <= one.stop <= one.end for one in blocks)
    assert all(one.end <= after.start for one, after in pairwise(blocks))
    assert all(at in (0, len(text)) or text[at - 1] == "\n" for one in blocks for at in (one.start, one.body, one.end))
