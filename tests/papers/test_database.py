"""Processes that open a home's database at once, before it has its tables."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from postgres import emptied
from sqlalchemy import Engine, delete, event, func, inspect, literal, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from foveal.database import (
    MIGRATIONS,
    Base,
    Database,
    Moment,
    _write_ahead,
    add_unless_taken,
    engine_of,
    next_number,
    rows_changed,
    upgrade,
)
from foveal.errors import InputError
from foveal.papers import accounts, collecting, complaints, personal_data
from foveal.papers.people_schema import DeliveryRow, DigestRunRow
from foveal.papers.records import PaperRecord
from foveal.papers.schema import TopicRow
from foveal.papers.sessions import sessions
from foveal.papers.upserts import upsert
from foveal.research.schema import WatchRow
from foveal.settings import Settings

OPENS = """
import sys
from pathlib import Path
import alembic.command, alembic.runtime.migration, alembic.script
from foveal.database import Database
from foveal.settings import Settings

home = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
Database.open(Settings(home=home, cache=home, database=sys.argv[2])).close()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_processes_that_find_no_tables_one_makes_them(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "sqlite" if kind == "sqlite" else emptied(request.getfixturevalue("postgres"))
    command = [sys.executable, "-c", OPENS, str(tmp_path), url]
    pipe = subprocess.PIPE
    opening = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    try:
        for one in opening:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in opening:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        for one in opening:
            _, said = one.communicate(timeout=60)
            assert one.returncode == 0, said
    finally:
        for one in opening:
            one.kill()
            one.communicate()


def test_tables_of_today_are_known_without_reading_the_migrations(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database.open(own_settings).close()
    read = []
    monkeypatch.setattr(ScriptDirectory, "from_config", lambda _: read.append(1))
    Database.open(own_settings).close()
    assert not read


class Contended:
    """A connection to a new file that others open, too: SQLite refuses it twice."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.asked = 0

    def execute(self, _: str) -> None:
        self.asked += 1
        if self.asked < 3:
            raise sqlite3.OperationalError(self.said)


def test_a_new_file_that_others_open_is_asked_again_and_a_bad_one_is_not() -> None:
    contended, bad = Contended("database is locked"), Contended("unable to open database file")
    _write_ahead(contended)
    assert contended.asked == 3
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        _write_ahead(bad)
    assert bad.asked == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_value_that_no_column_takes_is_said_to_be_one(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "sqlite" if kind == "sqlite" else emptied(request.getfixturevalue("postgres"))
    database = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    for wrong, said in (
        (select(TopicRow).where(TopicRow.id == "half \udcff"), "half of a surrogate pair"),
        (select(TopicRow).limit(10**20), "too large|does not take"),
    ):
        with pytest.raises(InputError, match=said), database.reading() as session:
            session.scalars(wrong).all()
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(TopicRow)) == 0
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_who_reads_sees_one_state_of_it_all_and_moments_in_utc(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "sqlite" if kind == "sqlite" else emptied(request.getfixturevalue("postgres"))
    database = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    topics = select(func.count()).select_from(TopicRow)
    with database.reading() as reader:
        before = reader.scalar(topics)
        with database.writing() as writer:
            writer.add(TopicRow(id="new", title="New", query="new"))
        assert (before, reader.scalar(topics)) == (0, 0)
    day = datetime(2024, 5, 6, 7, tzinfo=timezone(timedelta(hours=2)))
    with database.reading() as reader:
        assert reader.scalar(topics) == 1
        told = reader.scalar(select(literal(day, Moment())))
        assert (told, told.tzinfo) == (day, UTC)
    with pytest.raises(StatementError, match="has no zone"), database.reading() as reader:
        reader.scalar(select(literal(day.replace(tzinfo=None), Moment())))
    database.close()


def interrupted(session: Session) -> None:
    session.add(TopicRow(id="half", title="Half", query="half"))
    session.flush()
    raise KeyboardInterrupt


def test_a_transaction_that_fails_leaves_nothing_and_a_key_that_is_taken_spoils_none(own_settings: Settings) -> None:
    database = Database.open(own_settings)
    with pytest.raises(KeyboardInterrupt), database.writing() as session:
        interrupted(session)
    with database.writing() as session:
        assert session.scalar(select(func.count()).select_from(TopicRow)) == 0
        assert add_unless_taken(session, TopicRow(id="new", title="New", query="new"))
        assert not add_unless_taken(session, TopicRow(id="new", title="Other", query="other"))
    with database.writing() as session:
        assert session.get_one(TopicRow, "new").title == "New"
        changes = [update(TopicRow).where(TopicRow.id == name).values(title="Newer") for name in ("new", "none")]
        assert [rows_changed(session, one) for one in changes] == [1, 0]
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_breaks_another_constraint_is_not_taken_for_a_key_that_is_there(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    url = "sqlite" if kind == "sqlite" else emptied(request.getfixturevalue("postgres"))
    database = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    named = {"cadence": "daily", "period": "2026-10-02"}
    with database.writing() as session:
        assert add_unless_taken(session, TopicRow(id="new", title="New", query="new"))
        assert not add_unless_taken(session, TopicRow(id="new", title="Other", query="other"))
        assert add_unless_taken(session, DigestRunRow(**named))
        assert not add_unless_taken(session, DigestRunRow(**named))  # no key, and only one may have it
        for wrong in (TopicRow(id="no-title", title=None, query="new"), DeliveryRow(run_id=7, subscription_id=7)):
            with pytest.raises(IntegrityError):
                add_unless_taken(session, wrong)
    with database.reading() as session:
        assert session.scalars(select(TopicRow.title)).all() == ["New"]
    database.close()


def engine_at(revision: str, kind: str, home: Path, request: pytest.FixtureRequest) -> tuple[Settings, Engine]:
    """A home whose tables are those of an earlier Foveal, and its engine."""
    home.mkdir(parents=True, exist_ok=True)
    url = "sqlite" if kind == "sqlite" else emptied(request.getfixturevalue("postgres"))
    settings = Settings(home=home, cache=home, database=url)
    engine = engine_of(settings.database_url)
    upgrade(engine, revision)
    return settings, engine


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_of_every_earlier_foveal_opens_and_keeps_what_it_has(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    newest = sorted(one.name[:4] for one in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert newest[-1] == "0011"
    for revision in newest[:-1]:
        settings, engine = engine_at(revision, kind, tmp_path / revision, request)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO topic (id, title, query, position) VALUES ('kept', 'Kept', 'kept', 0)"
            )
            connection.exec_driver_sql(PERSON.format(7, 7, 7))
            if kind == "postgres" and revision >= "0008":  # which looked for numbers that were given by hand
                connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence('person', 'id'), 7)")
        engine.dispose()
        database = Database.open(settings)
        there = inspect(database.engine)
        assert set(Base.metadata.tables) <= set(there.get_table_names())
        for table in Base.metadata.sorted_tables:
            assert {one["name"] for one in there.get_columns(table.name)} == set(table.c.keys())
            own = {one["name"] for one in there.get_indexes(table.name) if "duplicates_constraint" not in one}
            assert own == {one.name for one in table.indexes}
        with database.reading() as session:
            assert session.get_one(TopicRow, "kept").title == "Kept"
        assert (accounts.find(database, "p7").id, accounts.add(database, "new@example.org").id) == (7, 8)
        database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("statement", ["CREATE TABLE removed_paper", "UPDATE alembic_version SET version_num='0008'"])
def test_a_migration_that_was_stopped_left_nothing_and_goes_on_at_the_next_start(
    kind: str, statement: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings, engine = engine_at("0002", kind, tmp_path, request)
    with engine.begin() as connection:
        connection.exec_driver_sql(PERSON.format(7, 7, 7))
    before = set(inspect(engine).get_table_names())

    def stops(*told: Any) -> None:
        if " ".join(told[2].split()).startswith(statement):
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", stops)
    with pytest.raises(KeyboardInterrupt):
        upgrade(engine)
    assert set(inspect(engine).get_table_names()) == before
    engine.dispose()
    database = Database.open(settings)
    assert accounts.find(database, "p7").id == 7
    assert accounts.add(database, "new@example.org").id in (8, 9)  # a server takes no number back
    database.close()


PERSON = (
    "INSERT INTO person (id, login, email, name, role, created_at) "
    "VALUES ({}, 'p{}', 'p{}@example.org', '', 'member', '2026-11-01')"
)

AUDIT = "INSERT INTO audit (at, actor, action, target, detail) VALUES ('2026-11-01', '{}', '{}', '{}', '{}')"

JOB = (
    "INSERT INTO web_job (id, kind, asked, state, progress, shown, error, tries, wish, holder, created_at) VALUES "
    "('j', 'ask', '{}', 'done', '{{}}', '', '', 1, '', '', '2026-11-01')"
)

OTHER_LINES = (
    ("system", "add person", "person:p50", "member"),
    ("deleted", "hide remark", "remark:51", "deleted-52"),
    ("deleted-by", "grant claim", "paper:deleted-53", "deleted-54 is author 1"),
    ("system", "delete person", "person:deleted-", "remarks: keep"),
    ("system", "delete person", "person:deleted-5x", "remarks: keep"),
    ("p3", "set role", "x person:deleted-55", "deleted-56"),
)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    ("told", "last"),
    [
        ([], 3),
        ([AUDIT.format(*line) for line in OTHER_LINES], 3),
        ([AUDIT.format("system", "delete person", "person:deleted-2", "")], 3),
        ([AUDIT.format("system", "delete person", f"person:deleted-{one}", "") for one in (9, 12, 5)], 12),
        ([AUDIT.format("deleted-9", "hide remark", "remark:1", "")], 9),  # the line of the deletion was pruned
        ([AUDIT.format("system", "add person", "person:deleted-9", "member")], 9),
        ([JOB.format('{"question": "\\"whose job\\": \\"person 60\\"?", "whose job": "person 9"}')], 9),
    ],
)
def test_of_people_who_were_deleted_before_no_number_is_given_again(
    kind: str, told: list[str], last: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings, engine = engine_at("0007", kind, tmp_path, request)
    with engine.begin() as connection:
        for statement in (PERSON.format(1, 1, 1), PERSON.format(3, 3, 3), *told):
            connection.execute(text(statement.replace(":", r"\:")))
    engine.dispose()
    database = Database.open(settings)
    new = [accounts.add(database, f"new{number}@example.org").id for number in range(2)]
    assert new == [last + 1, last + 2]
    personal_data.erase(database, accounts.find(database, "new1@example.org"))
    assert accounts.add(database, "again@example.org").id == last + 3
    database.close()


def test_who_was_deleted_by_hand_leaves_a_session_to_nobody(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings, engine = engine_at("0007", "sqlite", tmp_path, request)
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "foveal.db")) as by_hand, by_hand:  # foreign keys do not hold here
        by_hand.execute(PERSON.format(9, 9, 9))
        by_hand.execute(
            "INSERT INTO session_key (person_id, token_hash, created_at, seen_at, expires_at, agent, ip) "
            "VALUES (9, 'h', '2026-11-01', '2026-11-01', '2036-11-01', '', '')"
        )
        by_hand.execute("DELETE FROM person")
    database = Database.open(settings)
    new = accounts.add(database, "new@example.org")
    assert (new.id, sessions(database, new)) == (10, [])
    database.close()


def test_an_empty_home_begins_with_one(own_settings: Settings) -> None:
    database = Database.open(own_settings)
    assert accounts.add(database, "new@example.org").id == 1
    database.close()


def test_of_an_earlier_foveals_rows_no_number_is_given_again(own_settings: Settings) -> None:
    own_settings.home.mkdir(parents=True, exist_ok=True)
    engine = engine_of(own_settings.database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO research_watch (id, question, options, every, address, report, run_id, due_at, holder, error, "
            "created_at) VALUES (7, 'Why?', '{}', 'daily', '', '', '', '2026-11-01', '', '', '2026-11-01')"
        )
    engine.dispose()
    database = Database.open(own_settings)
    with database.writing() as session:
        session.execute(delete(WatchRow))
    with database.writing() as session:
        assert next_number(session, WatchRow.id) == 8
    database.close()


LISTED = (
    "INSERT INTO paper (id, version, title, title_key, abstract, primary_category, comment, journal_ref, doi, licence, "
    "url, project_url, repo_url, author_count, votes_elsewhere, comments_elsewhere, summary, summary_model, thumbnail, "
    "source, withdrawn, created_at, changed_at) VALUES ('2605.01234', 1, 'A Look', 'k', '', '', '', '', '', '', '', "
    "'', '', 0, 0, 0, '', '', '', 'arxiv', false, '2026-11-01', '2026-11-01')",
    "INSERT INTO collection (id, person_id, slug, title, description, public, created_at) "
    "VALUES ({0}, {0}, 'reads', 'Reads', '', true, '2026-11-01')",
    "INSERT INTO collected (collection_id, paper_id, position, note, added_at) "
    "VALUES ({0}, '2605.01234', 1, 'why', '2026-11-01')",
)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_lay_in_an_earlier_foveals_lists_their_owners_put_there_and_it_stays_on_the_way_back(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings, engine = engine_at("0008", kind, tmp_path, request)
    with engine.begin() as connection:
        for statement in (PERSON.format(7, 7, 7), *(one.format(7) for one in LISTED)):
            connection.exec_driver_sql(statement)
    database = Database.open(settings)
    ana = accounts.find(database, "p7")
    assert [(one.id, one.open, one.public, one.count) for one in collecting.shelves(database, ana)] == [
        (7, False, True, 1)
    ]
    (how,) = collecting.placed(database, 7, ["2605.01234"]).values()
    assert (how.login, how.person_id, how.note) == ("p7", 7, "why")
    with database.engine.begin() as connection:
        for statement in (
            PERSON.format(8, 8, 8),
            "UPDATE collected SET person_id = 8",
            "DELETE FROM person WHERE id = 8",
        ):
            connection.exec_driver_sql(statement)
    assert collecting.placed(database, 7, ["2605.01234"])["2605.01234"].person_id is None
    database.close()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT collection_id, note FROM collected").all() == [(7, "why")]
        assert connection.exec_driver_sql("SELECT id FROM collection").all() == [(7,)]
    engine.dispose()
    Database.open(settings).close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_what_was_reported_an_earlier_foveal_keeps_what_it_understands(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings, engine = engine_at("0008", kind, tmp_path, request)
    reported = (
        "INSERT INTO complaint (paper_id, person_id, reason, created_at) "
        "VALUES ('2605.01234', 7, 'no paper', '2026-11-01')"
    )
    with engine.begin() as connection:
        for statement in (PERSON.format(7, 7, 7), *(one.format(7) for one in LISTED), reported):
            connection.exec_driver_sql(statement)
    database = Database.open(settings)
    bo = accounts.add(database, "bo@example.org")
    assert [(one.paper_id, one.collection) for one in complaints.waiting(database)] == [("2605.01234", None)]
    complaints.report(database, bo, collection=7, paper="2605.01234", reason="rude")
    assert len(complaints.waiting(database)) == 2
    database.close()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0009")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT reason FROM complaint").all() == [("no paper",)]
        assert connection.exec_driver_sql("SELECT collection_id, note FROM collected").all() == [(7, "why")]
    engine.dispose()
    database = Database.open(settings)
    assert [one.said[0].reason for one in complaints.waiting(database)] == ["no paper"]
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_earlier_foveal_shows_no_note_that_a_moderator_hid(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings, engine = engine_at("0010", kind, tmp_path, request)
    second = LISTED[1].format(7).replace("VALUES (7, 7, 'reads'", "VALUES (8, 7, 'more'")
    with engine.begin() as connection:
        for statement in (PERSON.format(7, 7, 7), *(one.format(7) for one in LISTED), second):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("UPDATE collected SET note_hidden_at = '2026-11-02'")
        connection.exec_driver_sql(LISTED[2].format(8))
        connection.exec_driver_sql("INSERT INTO former_id (id, paper_id) VALUES ('title-k', '2605.01234')")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0009")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT collection_id, note FROM collected ORDER BY collection_id").all()
    assert found == [(7, ""), (8, "why")]
    engine.dispose()
    Database.open(settings).close()


def test_lists_of_somebody_deleted_by_hand_keep_no_earlier_foveal_closed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings, engine = engine_at("0008", "sqlite", tmp_path, request)
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "foveal.db")) as by_hand, by_hand:  # foreign keys do not hold here
        for statement in (PERSON.format(9, 9, 9), *(one.format(9) for one in LISTED), "DELETE FROM person"):
            by_hand.execute(statement)
    database = Database.open(settings)
    (how,) = collecting.placed(database, 9, ["2605.01234"]).values()
    assert (how.by, how.person_id) == ("", None)
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_dois_of_before_are_found_in_any_case(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings, engine = engine_at("0010", kind, tmp_path, request)
    with engine.begin() as connection:
        connection.exec_driver_sql(LISTED[0])
        connection.exec_driver_sql("UPDATE paper SET doi = '10.1000/Look'")
    engine.dispose()
    database = Database.open(settings)
    item = PaperRecord(title="Elsewhere", doi="10.1000/LOOK", url="https://example.org/1", source="feed")
    assert upsert(database, [item]).added == []
    if kind == "sqlite":
        asked = "EXPLAIN QUERY PLAN SELECT id FROM paper WHERE doi IN ('10.1000/look')"
        with database.engine.connect() as connection:
            assert "ix_paper_doi" in str(connection.exec_driver_sql(asked).all())
    database.close()
