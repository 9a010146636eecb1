"""What breaks by no `Exception`, as a panic of Rust in a library does, is told, and is not taken for an end."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from report_worlds import QUESTION as REPORT_QUESTION
from report_worlds import Filler, Pages
from worlds import Facts, model_of

from foveal.errors import FovealError
from foveal.research.deep import DeepResearch
from foveal.research.events import Event
from foveal.research.mindsearch import MindSearch
from foveal.research.runs import Keeper
from foveal.research.scheduling import Scheduler

QUESTION = "Who taught the architect?"


class Panic(BaseException):
    """As PyO3's PanicException, which is no Exception."""


class Panicking(Facts):
    """Facts of which searches for the teacher panic."""

    def search(self, query, k, **rest):
        if "taught" in query:
            raise Panic("index out of bounds")
        return super().search(query, k, **rest)


class PanickingPlanner:
    def plan(self, *_, **__):
        raise Panic("index out of bounds")


class PanickingPages(Pages):
    def search(self, *_, **__):
        raise Panic("index out of bounds")


def test_work_that_panics_is_logged_and_leaves_the_others(caplog):
    done = []

    def work(name: str) -> None:
        if name == "bad":
            raise Panic("index out of bounds")
        done.append(name)

    scheduler = Scheduler(work, parallel=1)
    scheduler.add({"bad": (), "good": (), "child": ("bad",)})
    assert scheduler.wait(["bad", "good", "child"])
    assert sorted(done) == ["child", "good"]
    assert "index out of bounds" in caplog.text
    scheduler.stop()


def test_a_searcher_that_panics_has_failed_and_says_so(caplog):
    answer = MindSearch(model_of(), Panicking()).ask(QUESTION)
    assert answer.missing == (("Who taught that architect?", "The searcher broke (Panic). The log says more."),)
    assert "index out of bounds" in caplog.text


def test_a_run_whose_planner_panics_has_failed_and_says_so(caplog):
    run = MindSearch(model_of(), Facts(), planner=lambda _: PanickingPlanner()).start(QUESTION)
    with pytest.raises(FovealError, match=r"The run broke \(Panic: index out of bounds\)"):
        run.result()
    assert run.state.errors == ["The run broke (Panic). The log says more."]
    assert run.state.done["stopped_by"] == "error"
    assert "the run broke" in caplog.text


def test_a_report_whose_search_panics_has_failed_and_says_so(caplog):
    run = DeepResearch(Filler(), PanickingPages()).start(REPORT_QUESTION)
    with pytest.raises(FovealError, match=r"The run broke \(Panic: index out of bounds\)"):
        run.result()
    assert run.state.errors == ["The run broke (Panic). The log says more."]
    assert run.state.done["stopped_by"] == "error"
    assert "the run broke" in caplog.text


class Database:
    """One that breaks as nobody thought, once a run is held."""

    @contextmanager
    def writing(self):
        raise RuntimeError("cannot schedule new futures after shutdown")
        yield


def test_a_keeper_that_breaks_says_that_nothing_more_is_stored(caplog):
    keeper = Keeper(Database(), "5f")
    keeper._thread.start()  # as it holds the run
    keeper.write(Event(id=1, kind="run", at=0.0, data={"question": QUESTION, "run_id": "5f"}))
    keeper.close()
    assert keeper.failed
    assert "the run 5f is not stored any more" in caplog.text
    assert "cannot schedule new futures" in caplog.text
