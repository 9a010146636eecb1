"""Links of keywords in an abstract: whole words only, never in TeX, nothing lost."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.papers.keyword_links import Segment, _closings, keyword_links, occurs, protected

WORDS = ("attention", "sparse attention", "self-attention", "loss", "L", "naïve Bayes", "x", "α-divergence", "emph")
PIECES = st.sampled_from(
    [
        *WORDS,
        "$",
        "\\(",
        "\\)",
        "$$",
        "\\emph{",
        "}",
        "{",
        "-",
        " ",
        " ",
        "\n",
        ".",
        "s",
        "\\alpha",
        "\\$",
        "https://a.b/",
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60)
KEYWORDS = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=6)


def linked(text, *keywords):
    return [(one.text, one.keyword) for one in keyword_links(text, keywords) if one.keyword]


@given(TEXTS, KEYWORDS)
def test_the_pieces_joined_are_the_text(text, keywords):
    pieces = keyword_links(text, keywords)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text for piece in pieces)
    for piece in pieces:
        assert piece.keyword is None or piece.keyword in keywords
        assert piece.keyword is None or piece.text.split()


@given(TEXTS, KEYWORDS)
def test_no_word_is_split(text, keywords):
    at = 0
    cuts = set()
    for piece in keyword_links(text, keywords):
        cuts |= {at, at + len(piece.text)} if piece.keyword else set()
        at += len(piece.text)
    for word in re.finditer(r"\w+(?:-\w+)*", text):
        assert not cuts & set(range(word.start() + 1, word.end())), word[0]


@given(TEXTS, KEYWORDS)
def test_nothing_is_linked_within_a_formula(text, keywords):
    """Formulas by hand: signs in order, `$` opening and closing; a backslash takes the sign behind it along."""
    inside, opened, at = set(), None, 0
    if any(sign in text for sign in ("$$", "\\(", "\\emph", "\\alpha", "\\\\")):
        return
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == "$":
            if opened is not None:
                inside |= set(range(opened, at + 1))
            opened = at if opened is None else None
        at += 1
    at = 0
    for piece in keyword_links(text, keywords):
        if piece.keyword and "https" not in text:
            assert not inside & set(range(at, at + len(piece.text)))
        at += len(piece.text)


@pytest.mark.parametrize(
    ("text", "keywords", "expected"),
    [
        ("Sparse Attention is sparse.", ["attention", "sparse attention"], [("Sparse Attention", "sparse attention")]),
        ("self-attention, attentional attention", ["attention"], [("attention", "attention")]),
        ("BERT's\nloss  function", ["loss function", "loss"], [("loss  function", "loss function")]),
        ("$L$ and \\(L\\) and L", ["L"], [("L", "L")]),
        ("\\emph{loss} of \\cite[loss]{loss} loss", ["loss"], [("loss", "loss")]),
        ("\\begin{loss} loss \\end{loss}", ["loss"], []),
        ("costs \\$5, the loss is \\$6", ["loss"], [("loss", "loss")]),
        ("see https://loss.org/loss", ["loss"], []),
        ("an open $ formula of loss", ["loss"], [("loss", "loss")]),
        ("C++ and c", ["C++", "c"], [("C++", "C++"), ("c", "c")]),
        ("naïve Bayes", ["Naïve bayes"], [("naïve Bayes", "Naïve bayes")]),
        ("a < b & c > d <b>loss</b>", ["loss", "b"], [("b", "b"), ("b", "b"), ("loss", "loss"), ("b", "b")]),
        ("", ["loss"], []),
        ("loss", ["", " ", "-", "loss"], [("loss", "loss")]),
    ],
)  # fmt: skip
def test_links_as_a_reader_expects_them(text, keywords, expected):
    assert linked(text, *keywords) == expected


def test_an_abstract_without_keywords_is_one_piece():
    assert keyword_links("All of it.", []) == [Segment("All of it.", None)]
    assert occurs("all of", "All of it.")
    assert not occurs("al", "All of it.")
    assert protected("a $b$ c") == [(2, 5)]


def test_too_many_keywords_are_refused():
    with pytest.raises(InputError, match="at most 200"):
        keyword_links("text", [str(number) for number in range(201)])


def argument_by_definition(text, start):
    """The end of a bracket that opens at `start`: the first place at which as many have closed as opened."""
    opening, depth = text[start], 0
    for place in range(start, len(text)):
        if text[place] in (opening, {"{": "}", "[": "]"}[opening]) and text[place - 1 : place] != "\\":
            depth += 1 if text[place] == opening else -1
            if depth == 0:
                return place + 1
    return None


@given(st.text(alphabet="{}[]\\a", max_size=30))
def test_an_argument_ends_where_its_bracket_does(text):
    opened = [at for at, sign in enumerate(text) if sign in "{[" and text[at - 1 : at] != "\\"]
    ends = {at: argument_by_definition(text, at) for at in opened}
    assert _closings(text) == {at: end for at, end in ends.items() if end is not None}


@pytest.mark.parametrize("piece", ["\\a[", "\\a{", "\\(", "\\[", "\\begin{a}", "$$ $", "\\a a ", "\\a{a} "])
def test_no_text_takes_long(piece):
    text = (piece * 20_000)[:20_000]
    started = time.process_time()
    assert "".join(one.text for one in keyword_links(text, ["a", "attention"])) == text
    assert time.process_time() - started < 2
