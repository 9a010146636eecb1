"""Runs in SQL, on SQLite and PostgreSQL: what a run's events add up to, who holds it, a kill, whose it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from postgres import with_tables
from sqlalchemy import inspect, update
from worlds import RESPOND, Facts, model_of, nodes_program

import foveal.papers.people_schema  # noqa: F401  (its tables are part of the chain)
from foveal import faults
from foveal.cli.research import _went_on
from foveal.database import Base, Database, upgrade
from foveal.errors import InputError, UnknownRun
from foveal.papers.schema import PersonRow
from foveal.research.answers import researched
from foveal.research.events import Event
from foveal.research.mindsearch import MindSearch
from foveal.research.runs import HELD_S, Keeper, Owner, Runs
from foveal.research.schema import RunRow
from foveal.research.state import RunState
from foveal.research.traces import load
from foveal.settings import Settings

QUESTION = "Who taught the architect?"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "sqlite"
    if request.param == "postgres":
        url = with_tables(request.getfixturevalue("postgres"))
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    yield opened
    opened.close()


def finished(runs: Runs, key: str, source: Facts | None = None) -> None:
    search = MindSearch(model_of(), source or Facts())
    search.start(QUESTION, key=key, keepers=[runs.keep(key)]).result()


def test_the_chain_makes_the_tables_that_are_declared_and_takes_them_back(database: Database) -> None:
    found = inspect(database.engine)
    own = [table for table in Base.metadata.sorted_tables if table.name.startswith("research_")]
    assert {table.name for table in own} == {"research_run", "research_event", "research_summary", "research_watch"}
    for table in own:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}
        assert {index["name"] for index in found.get_indexes(table.name)} == {index.name for index in table.indexes}
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [one.name for one in table.primary_key]
    from alembic import command
    from alembic.config import Config

    from foveal.database import MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    assert not [name for name in inspect(database.engine).get_table_names() if name.startswith("research")]
    upgrade(database.engine)


def test_a_run_is_kept_event_by_event_and_its_row_says_what_they_add_up_to(database: Database, tmp_path: Path) -> None:
    runs = Runs(database)
    key = runs.new(QUESTION, options={"sources": ["library"]})
    assert (runs.get(key).status, runs.events(key)) == ("waiting", [])
    trace = tmp_path / "run.jsonl"
    run = MindSearch(model_of(), Facts()).start(QUESTION, key=key, keepers=[runs.keep(key)], trace=trace)
    answer = run.result()
    lines = [json.loads(event.line()) for event in run.log.so_far()]
    assert [json.loads(event.line()) for event in runs.events(key)] == lines
    assert [json.loads(event.line()) for event in runs.events(key, after=17)] == lines[17:]
    kept = runs.get(key)
    assert (kept.status, kept.stopped_by, kept.question) == ("done", None, QUESTION)
    assert kept.options == {"sources": ["library"]}
    assert kept.used == answer.usage
    assert (kept.answer, list(kept.citations)) == (answer.text, answer.to_json()["citations"])
    assert researched(RunState.of(runs.events(key))).to_json() == answer.to_json()
    assert RunState.of(runs.events(key)).run["run_id"] == key
    imported = runs.take_in(load(trace))
    assert researched(RunState.of(runs.events(imported))).to_json() == answer.to_json()
    assert [one.key for one in runs.listed()] == [imported, key]
    assert (runs.find(key[:8]).key, runs.find(imported).key) == (key, imported)
    runs.remove(imported)
    with pytest.raises(UnknownRun):
        runs.get(imported)
    assert runs.events(imported) == []


def test_one_at_a_time_holds_a_run(database: Database) -> None:
    runs = Runs(database)
    key = runs.new("q")
    with runs.keep(key):
        assert runs.get(key).status == "running"
        with pytest.raises(InputError, match="goes on already"):
            runs.keep(key)
        with pytest.raises(InputError, match="Cancel it first"):
            runs.remove(key)
    with runs.keep(key):
        pass
    with database.writing() as session:  # another machine's process, which died
        until = faults.now() + timedelta(seconds=HELD_S)
        session.execute(update(RunRow).values(holder="elsewhere/1/x", held_until=until, status="running"))
    assert runs.get(key).status == "running"
    with pytest.raises(InputError, match="goes on already"):
        runs.keep(key)
    with faults.injected({}, clock=lambda: until + timedelta(seconds=1)):
        assert runs.get(key).status == "broken"
        runs.keep(key).close()


@pytest.mark.usefixtures("own_clock")
def test_a_run_held_by_a_clock_that_was_ahead_is_broken_once_its_holder_is_silent(database: Database) -> None:
    moment = [faults.now()]
    key = Runs(database).new("q")
    with faults.injected({}, clock=lambda: moment[0]):
        for days in (300, 301):
            with database.writing() as session:  # another machine's process says that it goes on
                until = moment[0] + timedelta(days=days)
                session.execute(update(RunRow).values(holder="elsewhere/1/x", held_until=until, status="running"))
            with pytest.raises(InputError, match=r"goes on already.*held until 20.*elsewhere/1/x.*clock is ahead"):
                Runs(database).keep(key)  # each a process that has just begun
            moment[0] += timedelta(seconds=HELD_S - 1)
            assert Runs(database).get(key).status == "running"
            with pytest.raises(InputError, match=r"Cancel it first.*clock is ahead"):
                Runs(database).remove(key)
        moment[0] += timedelta(seconds=1)
        assert Runs(database).get(key).status == "broken"
        Runs(database).keep(key).close()


def test_who_lost_a_run_adds_nothing_to_it(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(database)
    key = runs.new("q")
    keeper = runs.keep(key)
    with database.writing() as session:
        session.execute(update(RunRow).values(holder="elsewhere/1/x"))
    keeper.write(Event(1, "run", {"question": "q"}, 0.0))
    keeper.close()
    assert keeper.failed
    assert runs.events(key) == []
    assert "another process holds it" in caplog.text


def test_whatever_stands_in_a_text_is_kept(database: Database) -> None:
    runs = Runs(database)
    odd = "naïve \U0001f50e \x00 \ud800 'quoted' \\u0000 <b>"
    key = runs.new(odd)
    data = {"question": odd}
    with runs.keep(key) as keeper:
        keeper.write(Event(1, "run", data, 1.25))
    assert runs.get(key).question == odd.replace("\x00", "").replace("\ud800", "?")
    assert runs.events(key) == [Event(1, "run", {"question": odd.replace("\ud800", "?")}, 1.25)]


def test_runs_belong_to_people_browsers_or_the_command_line(database: Database) -> None:
    runs = Runs(database)
    with database.writing() as session:
        session.add_all(PersonRow(id=one, login=f"p{one}", email=f"{one}@example.org") for one in (1, 2))
    mine, theirs = Owner(person=1), Owner(person=2)
    visitor, nobody = Owner(browser="a" * 64), Owner()
    keys = {owner: runs.new(f"of {owner}", owner=owner) for owner in (mine, theirs, visitor, nobody)}
    for owner, key in keys.items():
        assert [one.key for one in runs.listed(owner)] == [key]
        assert [other for other in keys if runs.get(key).is_of(other)] == ([owner] if owner != nobody else [])
    assert len(runs.listed()) == 4
    assert len(runs.listed(limit=3)) == 3
    assert len(runs.listed(limit=3, page=1)) == 1
    both = Owner(
        person=1, browser="a" * 64
    )  # who signs in keeps what the browser asked for before, if it keeps its key
    assert runs.get(keys[visitor]).is_of(both)
    runs.share(keys[mine], True)
    assert [one.shared for one in runs.listed(mine)] == [True]
    with database.writing() as session:
        session.delete(session.get_one(PersonRow, 1))
    with pytest.raises(UnknownRun):
        runs.get(keys[mine])


def test_what_is_no_key_is_refused(database: Database) -> None:
    runs = Runs(database)
    keys = [runs.new("q") for _ in range(2)]
    with pytest.raises(UnknownRun, match="No run begins"):
        runs.find("zzzz")
    with pytest.raises(UnknownRun, match="No run begins"):
        runs.find(keys[0][:2])
    with pytest.raises(UnknownRun, match="No run begins"):
        runs.find("%%%%")
    with pytest.raises(UnknownRun):
        runs.keep("nothing")
    runs.called_off(keys[0])
    assert (runs.get(keys[0]).status, runs.get(keys[0]).stopped_by) == ("done", "cancelled")
    assert runs.get(keys[1]).status == "waiting"


def test_words_are_stored_while_they_come(database: Database) -> None:
    runs = Runs(database)
    key = runs.new("q")
    keeper = runs.keep(key)
    keeper.write(Event(1, "run", {"question": "q"}, 0.0))
    assert len(runs.events(key)) == 1  # what a run builds on is there when `write` returns
    for number in range(2, 40):
        keeper.write(Event(number, "answer.delta", {"text": "w "}, 0.0))
    until = time.monotonic() + 20
    while len(runs.events(key)) < 39:
        assert time.monotonic() < until
        time.sleep(0.01)
    keeper.close()
    assert not keeper.failed


def test_the_hold_is_said_again_while_nothing_happens(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.research.runs.BEAT_S", 0.02)
    runs = Runs(database)
    key = runs.new("q")
    keeper = runs.keep(key)
    with database.reading() as session:
        before = session.get_one(RunRow, key).held_until
    until = time.monotonic() + 20
    while True:
        with database.reading() as session:
            held = session.get_one(RunRow, key).held_until
        if held > before:
            break
        assert time.monotonic() < until
    keeper.close()


KILLED = """
import sys, time
from pathlib import Path
from foveal.database import Database
from foveal.research.mindsearch import MindSearch
from foveal.research.runs import Runs
from foveal.settings import Settings
from worlds import Facts, RESPOND, model_of, nodes_program
class Slow(Facts):
    def search(self, query, k, *, cancel=None):
        if "question 2" in query:
            print("there", flush=True)
            time.sleep(60)
        return super().search(query, k, cancel=cancel)
home, url, key = sys.argv[1:]
runs = Runs(Database.open(Settings(home=Path(home), cache=Path(home), database=url)))
search = MindSearch(model_of([nodes_program(4, chain=True), RESPOND]), Slow())
search.start("q", key=key, keepers=[runs.keep(key)]).result()
"""


def test_a_killed_run_goes_on_from_its_last_finished_step(database: Database, tmp_path: Path) -> None:
    runs = Runs(database)
    key = runs.new("q")
    url = database.engine.url.render_as_string(hide_password=False)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    arguments = [str(tmp_path), "sqlite" if url.startswith("sqlite") else url, key]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    assert runs.get(key).status == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert runs.get(key).status == "broken"
    events = runs.events(key)
    before = {event.data["name"]: event.data["text"] for event in events if event.kind == "node.answer"}
    assert set(before) == {"n0", "n1"}
    source = Facts()
    search = MindSearch(model_of([nodes_program(4, chain=True), RESPOND]), source)
    answer = search.go_on(events, keepers=[runs.keep(key)]).result()
    assert not any("question 0" in query or "question 1" in query for query in source.queries)
    assert (answer.missing, answer.stopped_by) == ((), None)
    assert {name: answer.graph.nodes[name].answer for name in before} == before
    assert runs.get(key).status == "done"
    assert [event.id for event in runs.events(key)] == list(range(1, len(runs.events(key)) + 1))


def test_an_edit_of_a_kept_run(database: Database) -> None:
    runs = Runs(database)
    key = runs.new(QUESTION)
    finished(runs, key)
    source = Facts()
    search = MindSearch(model_of(), source)
    with pytest.raises(InputError, match="not a sub-question"):
        search.go_on(runs.events(key), edits={"root": "x"})
    keeper: Keeper = runs.keep(key)
    answer = search.go_on(runs.events(key), edits={"teacher": "Who was born in 1871?"}, keepers=[keeper]).result()
    assert source.queries == ["Who was born in 1871?"]
    assert runs.get(key).answer == answer.text
    assert runs.get(key).status == "done"


def test_what_another_process_added_before_the_hold_is_known_to_who_goes_on(database: Database) -> None:
    class Late(Runs):
        def keep(self, key: str) -> Keeper:
            finished(Runs(database), key)
            return super().keep(key)

    runs, source = Runs(database), Facts()
    key = runs.new(QUESTION)
    _went_on(MindSearch(model_of([RESPOND]), source), Late(database), key, {}).result()
    events = runs.events(key)
    assert source.queries == []  # it was all found
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events].count("done") == 2
    assert runs.get(key).answer == researched(RunState.of(events)).text


def test_a_run_that_is_killed_within_a_turn_knows_what_it_spent(database: Database) -> None:
    runs = Runs(database)
    key = runs.new(QUESTION)
    finished(runs, key)
    events = runs.events(key)
    first = next(event.id for event in events if event.kind == "node.answer")
    assert RunState.of(events[: first + 1]).usage["tokens"] > 0
