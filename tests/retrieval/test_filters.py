"""Conditions: what they select (over a real table), and that nothing but values comes through."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from honest import document
from hypothesis import given
from hypothesis import strategies as st
from retrieval.test_store import make, put

from foveal.errors import InputError
from foveal.retrieval.filters import DOCUMENT_COLUMNS, _parts, literal, sql


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("filters") / "library")
    put(
        made,
        [
            document("Alpha's", "every a\n", metadata={"kind": "pdf", "year": 2020, "draft": True}),
            document("Beta", "every b\n", metadata={"kind": "md", "year": "2021"}, url="https://example.org/b"),
            document(
                "Gamma",
                "every c\n",
                published_at=datetime(2024, 5, 6, 23, 30, tzinfo=UTC),
                pages=(0,),
                metadata={"poem": "ΟΔΥΣΣΕΙΑΣ ΤΕΛΟΣ"},
            ),
        ],
    )
    return made


@pytest.mark.parametrize(
    ("where", "titles"),
    [
        (None, "Alpha's Beta Gamma"),
        ([], "Alpha's Beta Gamma"),
        ("kind=pdf", "Alpha's"),
        ("kind!=pdf", "Beta"),
        ("title~BET", "Beta"),
        ("title=Alpha's", "Alpha's"),
        ("year=2020", "Alpha's"),
        ("year>=2020.5", "Beta"),
        ("year in 2020, 2021", "Alpha's Beta"),
        ("year>2000 and kind=md", "Beta"),
        (["year>2000", "kind = md"], "Beta"),
        ("draft=true", "Alpha's"),
        ("published=2024-05-06", "Gamma"),
        ("published>=2024-05-06", "Gamma"),
        ("published>2024-05-06", ""),
        ("published<=2024-05-06", "Gamma"),
        ("published<2024-05-06", ""),
        ("published>=2024-05-06T23:00:00+00:00", "Gamma"),
        ("page=1", "Gamma"),
        ("url~example.org", "Beta"),
        ('title="Beta"', "Beta"),
        ("colour=red", ""),
        ("poem~οδυσ", "Gamma"),
        ("poem~ΟΔΥΣ", "Gamma"),  # a small sigma is another one at a word's end
        ("poem~ΤΕΛΟΣ", "Gamma"),
        ("poem~τελοσ", "Gamma"),
        ("title=x' OR 1=1 --", ""),
        ("kind=it's", ""),
        ('title="Beta" and kind=md', "Beta"),
        ('title="Beta and kind=md"', ""),
        ("title~heart and brain damage", ""),
        ("published<=9999-12-30", "Gamma"),
        ("title=Alpha's and kind=pdf and year<=2020", "Alpha's"),
        ("title=O'Brien and kind=pdf and author=D'Arcy", ""),
        ("title in Alpha's, Beta", "Alpha's Beta"),
        ("title in Alpha's, Beta (2)", "Alpha's"),  # a bracket that nothing opened takes no first letter away
        ("title in (\"Alpha's\", 'Beta') and year=2021", "Beta"),
        ('title in "Alpha\'s, Beta", Gamma', "Gamma"),
        ('title in("Beta",Gamma)', "Beta Gamma"),
        ("year>+2020", "Beta"),
        ("year in +2020, 2.021e3", "Alpha's Beta"),
        ("year<1e999", "Alpha's Beta"),
        ("page=99999999999", ""),
        ("page<=99999999999", "Gamma"),
        ("page>=-99999999999", "Gamma"),
    ],
)
def test_a_condition_selects(store, where, titles):
    found = store.lexical("every", 10, sql(where))
    assert sorted(store.entry(one.passage.span.document_id).title for one in found) == sorted(titles.split())


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its zone")
def test_a_day_is_that_of_utc_wherever_the_machine_stands(monkeypatch):
    whole, moment = sql("published=2024-05-06"), sql("published<2024-05-06T23:00")
    try:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        assert (sql("published=2024-05-06"), sql("published<2024-05-06T23:00")) == (whole, moment)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "2024-05-06T23:00:00+00:00" in moment


def test_a_document_is_selected_by_the_beginning_of_its_id(store):
    one = document("Beta", "")
    assert len(store.lexical("every", 10, sql(f"document={one.id[:8]}"))) == 1
    assert len(store.lexical("every", 10, sql(f"document!={one.id[:8]}"))) == 2


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("kind", "is not understood"),
        ("=3", "is not understood"),
        ("published>=yesterday", "a date such as"),
        ("published=20240131", "a date such as"),
        ("published<=9999-12-31", "a date such as"),
        ("published~2024", "no text"),
        ("page~1", "no text"),
        ("page>=two", "a whole number"),
    ],
)
def test_a_wrong_condition_is_explained(where, said):
    with pytest.raises(InputError, match=said):
        sql(where)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("title=O'Brien and kind=pdf and author=D'Arcy", ["title=O'Brien", "kind=pdf", "author=D'Arcy"]),
        ("title='O'Brien' and kind=pdf", ["title='O'Brien'", "kind=pdf"]),
        ("title='tis and kind=pdf", ["title='tis", "kind=pdf"]),
        ('a="b and c=d" AND e=f', ['a="b and c=d"', "e=f"]),
        ("a in x, 'b and c=d' and e=f", ["a in x, 'b and c=d'", "e=f"]),
        ("a in ('b and c=d') and e=f", ["a in ('b and c=d')", "e=f"]),
    ],
)
def test_only_a_quote_at_a_values_beginning_keeps_an_and_together(text, parts):
    assert _parts(text) == parts


def test_a_comma_in_quotes_parts_no_values():
    expected = "((title = 'a, b') OR (title = 'O''Brien') OR (title = 'c (d)'))"
    assert sql('title in ("a, b", O\'Brien, c (d))') == expected


@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_a_value_stays_inside_its_quotes(text):
    quoted = literal(text)
    assert quoted[0] == quoted[-1] == "'"
    assert quoted[1:-1].replace("''", "").count("'") == 0
    assert quoted[1:-1].replace("''", "'") == text


def test_half_a_surrogate_pair_is_in_no_table_and_asks_for_none(store):
    """A shell's argument with stray bytes brings such halves, which no SQL can carry."""
    assert literal("a\udcff") == "'a\ufffd'"
    assert not store.lexical("every", 10, sql("title=Beta\udcff"))


def test_part_of_an_address_is_found_as_people_write_it(tmp_path):
    made = make(tmp_path / "library")
    address = "file:///data/Z%C3%BCrich%20%28Akten%29/a%20b.md"
    put(made, [document("one", "every a\n", metadata={"source": address}, url="https://e.example/wiki/Z%C3%BCrich")])
    for where in (
        "source~Zürich", "source~zu\u0308rich", 'source~"zürich (akten)/"', "source~a b.md", "source~a%20b",
        "source~%C3%BC", "source~file:///data/zürich", "url~Zürich", "url~e.example/wiki",
    ):  # fmt: skip
        assert made.counts()["documents"] == len(made.entries(sql(where, DOCUMENT_COLUMNS))), where
    for where in ("source~Bern", "source~half \ud800"):
        assert not made.entries(sql(where, DOCUMENT_COLUMNS))


@pytest.mark.parametrize("where", ["title={}x", "title{}=x", "title=x{}and year=2020", "year in{}(2020)"])
def test_very_many_blanks_are_as_one(where):
    """A pattern that can part them in two ways would look at each pair of places: hours, for who types nothing else."""
    assert sql(where.format(" " * 300_000)) == sql(where.format(" "))


def test_blanks_alone_part_nothing():
    assert sql(f"title=a{' ' * 300_000}b") == f"(title = 'a{' ' * 300_000}b')"
    with pytest.raises(InputError, match="not understood"):
        sql(f"title{' ' * 300_000}b")
