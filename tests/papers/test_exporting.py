"""Papers to BibTeX, RIS and CSV, and a person's data: all of it out, all of it away, and nothing of anybody else's."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from foveal.database import Base, Database
from foveal.errors import UnknownPaper
from foveal.papers.exporting import EXPORTS, as_csv, bibtex, delete_person, person_data, ris
from foveal.papers.records import Named, PaperRecord
from foveal.papers.schema import (
    AuthorRow,
    CollectedRow,
    CollectionRow,
    CommentRow,
    ListingRow,
    PersonRow,
    PickRow,
    VoteRow,
)
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

RECORD = PaperRecord(
    id="2609.00001",
    title="Léa & Bo: 100 % of $a_b < c$ in {braces}_x",
    abstract="We look at $O(n)$ & more.\nOr so.",
    authors=(Named(name="Léa N. Martin"), Named(name="The Eye Collaboration")),
    categories=("cs.CL", "cs.AI"),
    published_at=datetime(2026, 9, 29, tzinfo=UTC),
    doi="10.1/x",
    source="arxiv",
    listed_on=date(2026, 10, 2),
    submitted_by="ana",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    upsert(opened, [RECORD, replace(RECORD, id="2609.00002", journal_ref="Eyes 1 (2021)", title="=SUM(A1)")])
    yield opened
    opened.close()


@pytest.fixture
def papers(database: Database) -> list[Paper]:
    return PaperStore(database).many(["2609.00001", "2609.00002"])


def test_bibtex_in_full(papers):
    first, second = bibtex(papers).split("\n\n")
    assert first == "\n".join(
        [
            "@misc{martin2026braces,",
            r"  title = {{Léa \& Bo: 100 \% of $a_b < c$ in \{braces\}\_x}},",
            "  author = {Léa N. Martin and The Eye Collaboration},",
            "  year = {2026},",
            "  month = sep,",
            "  doi = {10.1/x},",
            "  eprint = {2609.00001},",
            "  archiveprefix = {arXiv},",
            "  primaryclass = {cs.CL},",
            "  url = {https://arxiv.org/abs/2609.00001},",
            "  abstract = {We look at $O(n)$ \\& more. Or so.},",
            "}",
        ]
    ).replace("more. Or", "more.\nOr")
    assert second.startswith("@article{martin2026,\n")


def test_keys_differ(papers):
    keys = re.findall(r"@misc\{(.+),", bibtex([papers[0]] * 3))
    assert keys == ["martin2026braces", "martin2026braces-2", "martin2026braces-3"]


@given(st.text(alphabet="a{}\\$%&#_~^\n é", max_size=40))
def test_braces_close_whatever_a_title_holds(title):
    """A brace that does not would swallow the rest of the file."""
    from foveal.papers.exporting import _tex

    depth = 0
    for one in re.sub(r"\\[{}\\]", "", _tex(title)):
        depth += (one == "{") - (one == "}")
        assert depth >= 0
    assert depth == 0


def test_ris_in_full(papers):
    lines = ris(papers).split("\r\n")
    assert lines[:4] == ["TY  - UNPB", f"TI  - {RECORD.title}", "AU  - Martin, Léa N.", "AU  - Collaboration, The Eye"]
    assert "AB  - We look at $O(n)$ & more. Or so." in lines
    assert [line for line in lines if line.startswith("TY")] == ["TY  - UNPB", "TY  - JOUR"]
    assert lines.count("ER  - ") == 2


def test_csv_reads_back_and_holds_no_formula(papers):
    rows = list(csv.DictReader(io.StringIO(as_csv(papers))))
    assert [row["title"] for row in rows] == [RECORD.title, "'=SUM(A1)"]
    assert (rows[0]["authors"], rows[0]["published"], rows[0]["listed"]) == (
        *("Léa N. Martin; The Eye Collaboration", "2026-09-29", "2026-10-02"),
    )
    assert rows[0]["abstract"] == RECORD.abstract


def test_json_reads_back_and_nothing_is_an_empty_file(papers):
    assert [one["id"] for one in json.loads(EXPORTS["json"](papers))] == ["2609.00001", "2609.00002"]
    assert (bibtex([]), ris([]), json.loads(EXPORTS["json"]([]))) == ("", "", [])


# people


@pytest.fixture
def people(database: Database) -> Database:
    with database.writing() as session:
        for number, login in ((1, "ana"), (2, "bo")):
            session.add(PersonRow(id=number, login=login, email=f"{login}@example.org"))
        session.flush()
        for number in (1, 2):
            session.add(VoteRow(paper_id="2609.00001", person_id=number))
            session.add(CollectionRow(id=number, person_id=number, slug="mine", title=f"Of {number}"))
            session.flush()
            session.add(CollectedRow(collection_id=number, paper_id="2609.00001", note=f"note {number}"))
        session.add(CommentRow(id=1, paper_id="2609.00001", person_id=1, raw="answered", html="<p>answered</p>"))
        session.add(CommentRow(id=2, paper_id="2609.00001", person_id=1, raw="alone", html="alone"))
        session.flush()
        session.add(CommentRow(id=3, paper_id="2609.00001", person_id=2, parent_id=1, raw="answer", html="answer"))
        session.add(PickRow(paper_id="2609.00002", day=date(2027, 1, 1), picked_by="ana"))
        author = session.scalar(select(AuthorRow).where(AuthorRow.paper_id == "2609.00001", AuthorRow.position == 0))
        author.person_id, author.status = 1, "claimed"
    return database


def test_all_that_is_held_of_a_person(people):
    found = person_data(people, "ana")
    assert found.keys() == {
        *("exported_at", "person", "vote", "comment", "collection", "collected", "author", "listing", "pick"),
    }
    assert person_data(people, "ana@example.org").keys() == found.keys()
    assert [one["raw"] for one in found["comment"]] == ["answered", "alone"]
    assert [one["note"] for one in found["collected"]] == ["note 1"]
    assert found["person"][0]["email"] == "ana@example.org"
    assert [one["day"] for one in found["listing"]] == ["2026-10-02", "2026-10-02"]
    assert "bo@example.org" not in json.dumps(found, default=str)
    with pytest.raises(UnknownPaper, match="Nobody here is called 'eve'"):
        person_data(people, "eve")


def test_nothing_is_left_of_a_person_and_all_of_the_others(people):
    before = person_data(people, "bo")
    done = delete_person(people, "ana@example.org")
    assert done.rows == {"vote": 1, "collection": 1, "collected": 1, "comment": 1, "person": 1}
    assert done.emptied == 1
    with people.reading() as session:
        words = " ".join(
            str(value)
            for table in Base.metadata.sorted_tables
            for row in session.execute(select(table))
            for value in row
        )
        assert not re.search(r"\bana\b|ana@example|answered|alone", words)
        kept = session.get(CommentRow, 1)
        assert (kept.raw, kept.html, kept.person_id, kept.hidden_at is not None) == ("", "", None, True)
        assert session.get(CommentRow, 3).parent_id == 1
        assert session.scalar(select(func.count()).select_from(ListingRow)) == 2
        author = session.scalar(select(AuthorRow).where(AuthorRow.paper_id == "2609.00001", AuthorRow.position == 0))
        assert (author.person_id, author.status) == (None, "none")
    after = person_data(people, "bo")
    assert {name: value for name, value in after.items() if name != "exported_at"} == {
        name: value for name, value in before.items() if name != "exported_at"
    }
    with pytest.raises(UnknownPaper):
        delete_person(people, "ana")


LATER = (
    "CREATE TABLE later_subscription (id INTEGER PRIMARY KEY, address TEXT NOT NULL, confirm_hash TEXT NOT NULL,"
    " person_id INTEGER REFERENCES person (id) ON DELETE SET NULL)",
    "CREATE TABLE later_delivery (id INTEGER PRIMARY KEY, sent TEXT,"
    " subscription_id INTEGER NOT NULL REFERENCES later_subscription (id) ON DELETE CASCADE)",
    "CREATE TABLE later_follow (person_id INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE, value TEXT)",
    "CREATE TABLE later_audit (id INTEGER PRIMARY KEY, actor TEXT NOT NULL, action TEXT NOT NULL)",
    "INSERT INTO later_subscription VALUES (1, 'Ana@example.org', 's3cret', NULL), (2, 'bo@example.org', 's3cret', 2)",
    "INSERT INTO later_delivery VALUES (1, 'monday', 1), (2, 'tuesday', 2)",
    "INSERT INTO later_follow VALUES (1, 'cs.CL'), (2, 'cs.CL')",
    "INSERT INTO later_audit VALUES (1, 'ana', 'hid a comment'), (2, 'bo', 'hid a comment')",
)


def test_tables_of_later_versions_are_in_it_too(people):
    """Found by what refers to people, by addresses, and by what belongs to such rows; hashes are not given out."""
    with people.writing() as session:
        for statement in LATER:
            session.execute(text(statement))
    found = person_data(people, "ana")
    assert [one["sent"] for one in found["later_delivery"]] == ["monday"]
    assert found["later_subscription"] == [{"id": 1, "address": "Ana@example.org", "person_id": None}]
    assert (len(found["later_follow"]), len(found["later_audit"])) == (1, 1)
    delete_person(people, "ana")
    with people.reading() as session:
        left = {
            name: session.execute(text(f"SELECT * FROM {name}")).all()
            for name in ("later_subscription", "later_delivery", "later_follow")
        }
        assert session.execute(text("SELECT actor FROM later_audit ORDER BY id")).all() == [("",), ("bo",)]
    assert {name: len(rows) for name, rows in left.items()} == {
        "later_subscription": 1,
        "later_delivery": 1,
        "later_follow": 1,
    }
    assert left["later_delivery"] == [(2, "tuesday", 2)]
