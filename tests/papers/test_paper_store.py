"""The database of papers, on SQLite and PostgreSQL: what a record changes, what it must not, what a page then holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgres import with_tables
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import StatementError

import foveal.papers.people_schema  # noqa: F401  (its tables are part of the chain)
from foveal.database import Base, Database, upgrade
from foveal.errors import DatabaseError, InputError, UnknownPaper
from foveal.papers import removing
from foveal.papers.periods import Period
from foveal.papers.records import Linked, Named, PaperRecord, name_key, paper_id, title_key
from foveal.papers.schema import EditionRow, FetchRow, PersonRow, VoteRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import Fetched, upsert
from foveal.settings import Settings

DAY = date(2026, 10, 2)
RECORD = PaperRecord(
    id="2605.01234",
    title="Where to Look",
    abstract="We choose where to look.",
    authors=(Named(name="Léa Martin"), Named(name="Bo Li", affiliation="Somewhere")),
    categories=("cs.CL", "cs.AI"),
    published_at=datetime(2026, 5, 2, tzinfo=UTC),
    source="arxiv",
    listed_on=DAY,
)
PASTED = PaperRecord(
    title="Where  to look", abstract="A cut abstr", author_count=12, votes=7, source="pasted", listed_on=DAY
)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "sqlite"
    if request.param == "postgres":
        url = with_tables(request.getfixturevalue("postgres"))
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    yield opened
    opened.close()


def test_the_chain_makes_the_tables_that_are_declared(database: Database) -> None:
    found = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        assert {column["name"] for column in found.get_columns(table.name)} == set(table.columns.keys())
        assert {index["name"] for index in found.get_indexes(table.name)} >= {index.name for index in table.indexes}


def test_the_same_record_twice_changes_nothing(database: Database) -> None:
    assert upsert(database, [RECORD]).added == ["2605.01234"]
    before = PaperStore(database).get("2605.01234")
    again = upsert(database, [RECORD, RECORD], fetched=Fetched(source="arxiv", url="https://example.org/api"))
    assert again.unchanged == ["2605.01234"] * 2
    assert PaperStore(database).get("2605.01234") == before
    with database.reading() as session:
        seen = session.scalars(select(FetchRow)).one()
    assert (seen.added, seen.updated, seen.unchanged) == (0, 0, 1)


def test_a_paper_without_id_becomes_the_one_that_has_it_and_keeps_its_votes(database: Database) -> None:
    first = upsert(database, [PASTED]).added[0]
    assert first == f"title-{title_key('where to LOOK')}"
    assert PaperStore(database).id_of(first[:20]) == first
    with database.writing() as session:
        session.add(PersonRow(id=1, login="ana", email="ana@example.org"))
        session.flush()
        session.add(VoteRow(paper_id=first, person_id=1))
    assert upsert(database, [RECORD]).updated == ["2605.01234"]
    store = PaperStore(database)
    paper = store.get("2605.01234")
    assert store.count() == 1
    assert (paper.votes, paper.votes_elsewhere, paper.all_votes) == (1, 7, 8)
    assert paper.abstract == RECORD.abstract
    assert [author.name for author in paper.authors] == ["Léa Martin", "Bo Li"]
    assert [listing.day for listing in paper.listings] == [DAY]
    assert store.id_of(first) == "2605.01234"  # a mail that was sent meanwhile leads there
    assert upsert(database, [PASTED]).unchanged == ["2605.01234"]


def test_an_old_address_leads_to_a_paper_whatever_its_title_became(database: Database) -> None:
    store = PaperStore(database)
    first = upsert(database, [PASTED]).added[0]
    by_address = upsert(database, [replace(PASTED, title="Of a Feed", url="https://lab.example/look")]).added[0]
    upsert(database, [RECORD])  # its id is known
    upsert(database, [replace(RECORD, version=2, title="Where to Look, Twice")])
    upsert(database, [replace(RECORD, version=3, title="Where to Look, Thrice")])
    assert store.get("2605.01234").title == "Where to Look, Thrice"
    second = f"title-{title_key('Where to Look, Twice')}"
    assert {store.id_of(one) for one in (first, first[:20], second)} == {"2605.01234"}
    assert store.id_of(by_address) == by_address
    other = upsert(database, [replace(PASTED, title="Where to Look, Twice", url="")]).added[0]
    assert (other, store.id_of(second)) == (second, second)  # of another paper that is called so now
    with pytest.raises(UnknownPaper, match="is not here"):
        store.id_of(f"title-{'0' * 32}")


def test_an_old_address_of_one_of_an_earlier_foveal_leads_on_once_its_title_changes(database: Database) -> None:
    upsert(database, [RECORD])
    old = f"title-{title_key(RECORD.title)}"  # which nothing has written down
    upsert(database, [replace(RECORD, title="Another", abstract="Same version.")])
    assert PaperStore(database).id_of(old) == "2605.01234"


def test_an_old_address_says_that_its_paper_was_removed_and_hides_none_that_is_here(database: Database) -> None:
    store = PaperStore(database)
    upsert(database, [RECORD])
    upsert(database, [replace(RECORD, version=2, title="Another")])
    upsert(database, [replace(RECORD, id="2605.09999")])  # which has the title that the first one had
    old = f"title-{title_key(RECORD.title)}"
    assert store.id_of(old) == "2605.01234"
    removing.remove(database, "2605.01234")
    with pytest.raises(UnknownPaper, match=r"2605\.01234 was removed here"):
        store.id_of(old)
    assert removing.found(database, old).id == "2605.01234"
    removing.readmit(database, "2605.01234")  # and no source has brought it yet
    assert (store.id_of(old), removing.found(database, old)) == ("2605.09999", None)


def test_a_new_version_replaces_the_words_and_keeps_the_old_ones(database: Database) -> None:
    upsert(database, [RECORD])
    upsert(database, [replace(RECORD, version=3, abstract="We look again.")])
    upsert(database, [replace(RECORD, version=2, abstract="Between.")])
    paper = PaperStore(database).get("2605.01234v1")
    assert (paper.version, paper.abstract) == (3, "We look again.")
    with database.reading() as session:
        kept = session.scalars(select(EditionRow)).all()
    assert [(edition.version, edition.abstract) for edition in kept] == [(1, RECORD.abstract)]


def test_a_lesser_source_fills_but_does_not_replace(database: Database) -> None:
    upsert(database, [RECORD])
    told = replace(
        RECORD, source="hf", abstract="Cut", repo_url="https://github.com/a/b", repo_stars=5, votes=9, authors=()
    )
    upsert(database, [told])
    paper = PaperStore(database).get("2605.01234")
    assert (paper.abstract, paper.repo_url, paper.repo_stars, paper.votes_elsewhere) == (
        RECORD.abstract,
        "https://github.com/a/b",
        5,
        9,
    )
    assert paper.author_count == 2


def test_nothing_of_a_batch_is_kept_when_one_record_fails(database: Database) -> None:
    broken = replace(RECORD, id="2605.01235", title="Another", published_at=datetime(2026, 1, 1))
    with pytest.raises(StatementError, match="zone"):
        upsert(database, [RECORD, broken])
    assert PaperStore(database).count() == 0


def test_an_address_that_no_index_takes_costs_itself_alone(database: Database) -> None:
    """PostgreSQL refused the row, and with it all papers of the answer, each day anew."""
    noise = "".join(sha256(str(n).encode()).hexdigest() for n in range(150))
    wide = "https://example.org/" + "ü" * 1_500
    links = tuple(
        Linked(kind="model", url=url) for url in (f"https://example.org/{noise}", wide, "https://example.org/m")
    )
    odd = replace(RECORD, repo_url=f"https://github.com/a/{noise}", links=links)
    other = replace(RECORD, id="2605.02000", title="Another", repo_url="https://github.com/a/b")
    assert len(upsert(database, [odd, other]).added) == 2
    store = PaperStore(database)
    assert ([one.url for one in store.get(odd.id).links], store.get(odd.id).repo_url) == (["https://example.org/m"], "")
    assert store.get(other.id).repo_url == "https://github.com/a/b"
    with pytest.raises(InputError, match="of 65 characters; it can have 64"):
        replace(RECORD, id="x" * 65)


def test_pages_filter_order_and_count(database: Database) -> None:
    others = [
        replace(
            RECORD, id=f"2605.0200{n}", title=f"Paper {n}", votes=n, comments=9 - n, listed_on=date(2026, 10, n + 1)
        )
        for n in range(5)
    ]
    upsert(
        database, [*others, replace(RECORD, id="2605.03000", title="Chaos", categories=("nlin.CD",), listed_on=None)]
    )
    store = PaperStore(database)
    week = store.page(Period.of("week", "2026-W40"), limit=2)
    assert ([paper.id for paper in week.papers], week.total, week.pages) == (["2605.02003", "2605.02002"], 4, 2)
    assert [paper.id for paper in store.page(Period.of("day", "2026-10-02")).papers] == ["2605.02001"]
    assert [paper.id for paper in store.page(sort="discussed", category="cs.*", limit=1).papers] == ["2605.02000"]
    assert store.page(author="Lea  Martin").total == 6
    assert store.page(category="nlin.CD").total == 1
    assert store.page(category="nlin%").total == 0
    assert store.latest_day() == date(2026, 10, 5)
    assert store.days(DAY, DAY) == {DAY: 1}
    assert store.latest_day(DAY) == DAY
    assert store.first_day() == date(2026, 10, 1)
    first, second = (
        replace(RECORD, listed_on=date(2026, 9, day), submitted_by=by) for day, by in ((1, "bo"), (2, "mira"))
    )
    upsert(database, [first, second])
    ninth = {by: store.page(Period.of("day", "2026-09-01"), submitter=by).total for by in ("bo", "mira")}
    assert ninth == {"bo": 1, "mira": 0}  # who listed it on another day did not on this one
    assert store.page(Period.of("month", "2026-09"), submitter="mira").total == 1
    assert store.page(submitter="mira").total == 1
    with pytest.raises(InputError, match="No order"):
        store.page(sort="best")
    with pytest.raises(InputError, match="page of 0 or more"):
        store.page(page=-1)
    with pytest.raises(UnknownPaper, match="is not here"):
        store.get("2605.09999")


def test_days_that_no_calendar_of_papers_has_are_neither_the_first_nor_the_last(database: Database) -> None:
    """Such days were stored before sources looked at them."""
    odd = [
        replace(RECORD, id=f"2605.0300{n}", title=f"{n}", listed_on=date(year, 1, 1)) for n, year in ((0, 1), (1, 2099))
    ]
    upsert(database, odd)
    store = PaperStore(database)
    assert (store.first_day(), store.latest_day()) == (date(2099, 1, 1), None)
    upsert(database, [RECORD])
    assert (store.first_day(), store.latest_day()) == (DAY, DAY)


def test_a_newer_database_is_refused(database: Database, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="newer Foveal"):
        upgrade(database.engine)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.db", "postgresql://nobody@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_opened_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="database"):
        Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("2103.00020", "2103.00020"),
        ("arXiv:2103.00020v3", "2103.00020"),
        (" https://arxiv.org/pdf/2103.00020v1.pdf ", "2103.00020"),
        ("https://arxiv.org/abs/hep-th/9901001", "hep-th/9901001"),
        ("math.GT/0309136v2", "math.GT/0309136"),
        ("doc-0123456789ab", "doc-0123456789ab"),
        ("https://huggingface.co/papers/2103.00020", "2103.00020"),
        ("http://localhost:8000/papers/title-0123456789ab?authors=all#c-1", "title-0123456789ab"),
        ("https://a.example/foveal/papers/hep-th%2F9901001.md", "hep-th/9901001"),
    ],
)
def test_ids_as_people_paste_them(given_id: str, expected: str) -> None:
    assert paper_id(given_id) == expected


@pytest.mark.parametrize(
    "given_id",
    ["", "http://x/papers/date/2026-10-02", "../../etc/passwd", "2103.1", "<script>", "2103.00020/../x", "x" * 999],
)
def test_what_is_no_id_is_refused(given_id: str) -> None:
    with pytest.raises(InputError, match="is no paper's id"):
        paper_id(given_id)


def test_the_first_digits_of_an_id_of_ours_are_enough_where_they_are_of_one_paper(database: Database) -> None:
    ids = ["title-0123456789abcdef0123456789abcdef", "title-0123456789abff000000000000000000", "title-" + "f" * 32]
    upsert(database, [replace(RECORD, id=one, title=one) for one in (*ids, "2605.01234")])
    store = PaperStore(database)
    assert [store.id_of(one) for one in (ids[0], "title-0123456789abc", "title-ffffffffff", "2605.01234v2")] == [
        *(ids[0], ids[0], ids[2], "2605.01234"),
    ]
    assert store.get("title-0123456789abf").id == ids[1]
    with pytest.raises(InputError, match="Several papers"):
        store.id_of("title-0123456789")
    for unknown in ("title-1123456789", "2605.01235"):
        with pytest.raises(UnknownPaper, match="is not here"):
            store.id_of(unknown)


@given(st.text(min_size=1))
def test_keys_are_stable_and_bounded(name: str) -> None:
    assert title_key(f"  {name}\n") == title_key(name)
    assert 1 <= len(name_key(name)) <= 120
    assert name_key(name_key(name)) == name_key(name)


def test_a_name_of_bytes_that_are_no_text_has_a_key() -> None:
    assert name_key("\udcff") not in ("", name_key("\udcfe"))
