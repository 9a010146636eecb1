"""Processes that open a home's database at once, before it has its tables."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from postgres import emptied
from sqlalchemy import delete, func, inspect, literal, select, update
from sqlalchemy.exc import StatementError
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
from foveal.papers.schema import TopicRow
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


def test_a_database_of_every_earlier_foveal_opens_and_keeps_what_it_has(own_settings: Settings) -> None:
    newest = sorted(one.name[:4] for one in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert newest[-1] == "0007"
    for revision in newest[:-1]:
        home = own_settings.home / revision
        settings = Settings(home=home, cache=home)
        home.mkdir(parents=True)
        engine = engine_of(settings.database_url)
        upgrade(engine, revision)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO topic (id, title, query, position) VALUES ('kept', 'Kept', 'kept', 0)"
            )
        engine.dispose()
        database = Database.open(settings)
        there = inspect(database.engine)
        assert set(Base.metadata.tables) <= set(there.get_table_names())
        for table in Base.metadata.sorted_tables:
            assert {one["name"] for one in there.get_columns(table.name)} == set(table.c.keys())
            assert {one["name"] for one in there.get_indexes(table.name)} == {one.name for one in table.indexes}
        with database.reading() as session:
            assert session.get_one(TopicRow, "kept").title == "Kept"
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
