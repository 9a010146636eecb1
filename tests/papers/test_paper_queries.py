"""What is typed: filters parted from words, words and their stems, and queries made as people type them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.papers.paper_filters import Filters, made, parse
from foveal.papers.paper_marks import folded, marks_of, stem
from foveal.papers.paper_queries import is_held_out, typed_queries
from foveal.retrieval.terms import terms


def test_a_query_is_parted_from_its_filters():
    text, filters = parse('sparse au:"Lea Martin" attention  year:2020..2023 http://x.org cat:cs.CL foo:bar')
    assert text == "sparse attention http://x.org foo:bar"
    assert filters == Filters(authors=("lea-martin",), categories=("cs.cl",), years=((2020, 2023),))
    assert not parse("nothing")[1]
    assert made(author="", category=None, code="") == Filters()


@pytest.mark.parametrize(
    "forms",
    [
        "model models modeling modelled modelling", "retrieve retrieval retrieving retrieved", "study studies studied",
        "generate generation generative generating", "network networks", "train trained training", "run running runs",
        "efficient efficiently", "classify classified", "attention attentions", "optimize optimization optimizing",
    ],
)  # fmt: skip
def test_forms_of_a_word_have_one_stem(forms):
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize("pair", ["loss lose", "graph gram", "class clay", "data date", "speech speed", "is as"])
def test_different_words_keep_their_stems(pair):
    one, other = pair.split()
    assert stem(one) != stem(other)


@given(st.text(max_size=80), st.text(max_size=80))
def test_marks_are_words_of_the_text_in_order(query, text):
    title, abstract = marks_of(query, text, f"{query} {text}")
    for source, spans in ((text, title), (f"{query} {text}", abstract)):
        assert list(spans) == sorted(spans)
        assert all(0 <= start < end <= len(source) for start, end in spans)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert all(re.fullmatch(r"[\w\u0300-\u036f]+", source[start:end]) for start, end in spans)


@given(st.text(max_size=30))
def test_a_word_is_always_the_same_as_itself(word):
    assert stem(folded(word)) == stem(folded(word.upper().lower())) or word.upper().lower() != word.lower()
    assert stem("") == ""


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=60), st.lists(st.text(max_size=20), max_size=4))))
def test_typed_queries_have_two_to_six_words_of_the_paper(papers):
    for one in typed_queries(papers):
        words = one.text.split()
        source = [word for _, title, keywords in papers for text in (title, *keywords) for word in terms(text)]
        assert 2 <= len(words) <= 6
        assert set(words) <= set(source)


def test_typed_queries_repeat_and_halves_differ():
    papers = [
        (f"p{n}", f"Where to look first in a library of {n} thousand long books", ("sparse reading",))
        for n in range(200)
    ]
    made_queries = typed_queries(papers, seed=1)
    assert made_queries == typed_queries(papers, seed=1) != typed_queries(papers, seed=2)
    assert {one.source for one in made_queries} == {"title", "keywords"}
    assert len({len(one.text.split()) for one in made_queries}) == 5
    held = [is_held_out(paper) for paper, _, _ in papers]
    assert 60 < sum(held) < 140
