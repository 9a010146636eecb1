"""Reading, curating and forgetting on PostgreSQL, where other errors and other locks are to be had than in SQLite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from papers.arxiv_answers import PagedApi
from papers.test_ingest import NOON, connection
from postgres import emptied
from servers import serving

from foveal import faults
from foveal.database import Database
from foveal.papers.curating import order, pick, publish, queue
from foveal.papers.ingest import ingest
from foveal.papers.schedule import release, take
from foveal.papers.sources.arxiv_api import ArxivApi
from foveal.papers.store import PaperStore
from foveal.settings import Settings


@pytest.fixture(scope="module")
def database(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    home = tmp_path_factory.mktemp("home")
    opened = Database.open(Settings(home=home, cache=home, database=emptied(postgres)))
    yield opened
    opened.close()


def test_all_of_it_on_postgres(database: Database, tmp_path: Path) -> None:
    with faults.injected({}, clock=lambda: NOON):
        with serving({"/api": PagedApi(9)}) as server:
            source = ArxivApi(connection(server.url("/api")))
            told = ingest(database, source, "cs.CL", name="cs")
            again = ingest(database, source, "cs.CL", name="cs", force=True)
        assert (told.error, len(told.upserted.added), len(again.upserted.unchanged)) == ("", 9, 9)
        ids = [paper.id for paper in queue(database, limit=3)]
        tomorrow = NOON.date() + timedelta(days=1)
        for one in ids:
            pick(database, one, tomorrow, by="ana")
        order(database, tomorrow, ids[::-1], by="ana")
        assert (publish(database, NOON.date()), publish(database, tomorrow)) == (0, 3)
        assert PaperStore(database).latest_day() < NOON.date()  # what is to come is not the latest
        assert PaperStore(database).latest_day(tomorrow) == tomorrow


def test_of_many_takers_at_once_one_has_it(database: Database) -> None:
    taken: list[bool] = []

    def attempt(name: str) -> None:
        taken.append(take(database, "race", name, 60))

    threads = [threading.Thread(target=attempt, args=(f"t{n}",)) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(taken) == [False] * 5 + [True]
    release(database, "race", "nobody")
    assert not take(database, "race", "another", 60)
