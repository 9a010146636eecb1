"""What runs beside a site goes on whatever one look raises: a thread that ended would not begin again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from foveal.errors import Cancelled, DatabaseError, InputError
from foveal.papers import schedule
from foveal.papers.mail import morning
from foveal.web import background
from foveal.web.background import Background

ERRORS = (OperationalError("SELECT 1", {}, Exception("the server is gone")), RuntimeError("as nobody thought"))


class Failing:
    """A part of a site of which every look raises the next error, and the last one ends the thread's work."""

    def __init__(self) -> None:
        self.looks = 0
        self.beside: Background | None = None

    def look(self, *_: Any) -> Any:
        """Fail."""
        self.looks += 1
        if self.looks > len(ERRORS):
            assert self.beside is not None
            self.beside.stop.set()
        raise ERRORS[self.looks % len(ERRORS)]


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Failing:
    monkeypatch.setattr(background, "LOOK_S", 0.001)
    return Failing()


def test_search_is_kept_ready_after_any_error(part: Failing) -> None:
    index = SimpleNamespace(unindexed=part.look)
    part.beside = Background(SimpleNamespace(search=SimpleNamespace(index=index)))  # type: ignore[arg-type]
    part.beside.keep_search_ready()
    assert part.looks == 3


def test_watched_questions_are_looked_at_after_any_error(part: Failing) -> None:
    site = SimpleNamespace(mail=None, database=SimpleNamespace(reading=part.look, writing=part.look))
    part.beside = Background(site)  # type: ignore[arg-type]
    part.beside.watch_questions()
    assert part.looks == 3


@pytest.mark.parametrize("job", ["read_sources", "send_mail"])
def test_a_site_that_begins_before_its_database_does_its_work_once_that_is_there(
    part: Failing, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    tried, begun = [], []

    class Starting(SimpleNamespace):
        @property
        def database(self) -> str:
            tried.append(job)
            if len(tried) < 3:
                raise DatabaseError("nobody answers")
            return "a database"

    class Work(SimpleNamespace):
        run = staticmethod(begun.append)

    del part  # makes the waits short
    monkeypatch.setattr(schedule, "Schedule", lambda *given: Work(given=given))
    monkeypatch.setattr(morning, "Morning", lambda *given: Work(given=given))
    beside = Background(Starting(settings=None))  # type: ignore[arg-type]
    getattr(beside, job)()
    assert (len(tried), begun) == (3, [beside.stop])


def test_sources_that_are_set_up_wrong_are_told_of_once(part: Failing, monkeypatch, caplog) -> None:
    del part
    monkeypatch.setattr(schedule, "Schedule", lambda *_: (_ for _ in ()).throw(InputError("sources has no such name")))
    Background(SimpleNamespace(settings=None, database=None)).read_sources()  # type: ignore[arg-type]
    assert [one.getMessage() for one in caplog.records] == ["the schedule of papers waits: sources has no such name"]


def test_a_look_that_is_called_off_ends_no_other_while_the_site_goes_on(
    part: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who began it may have stopped that one research."""
    monkeypatch.setattr(f"{__name__}.ERRORS", (Cancelled("The run was stopped."),) * 2)
    site = SimpleNamespace(mail=None, database=SimpleNamespace(reading=part.look, writing=part.look))
    part.beside = Background(site)  # type: ignore[arg-type]
    part.beside.watch_questions()
    assert part.looks == 3
