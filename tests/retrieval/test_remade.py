"""What takes long is made anew in a thread: by one at a time, with a rest, and what was made before serves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import pytest

from foveal.retrieval import remade
from foveal.retrieval.remade import Remade


class Maker:
    """Gives the state that it was asked for, once it may."""

    def __init__(self):
        self.made, self.may = [], Event()
        self.may.set()

    def of(self, state):
        def make():
            self.may.wait(10)
            self.made.append(state)
            return state

        return make


@pytest.fixture
def maker():
    return Maker()


def test_what_is_quick_is_made_at_once(maker):
    known = Remade()
    assert [known.get(state, maker.of(state)) for state in "aabbca"] == list("aabbca")
    assert maker.made == list("abca")


def test_what_is_slow_serves_until_the_next_is_there(maker, monkeypatch):
    monkeypatch.setattr(remade, "REST", 0.0)
    known = Remade(quick_s=-1.0)
    assert known.get("a", maker.of("a")) == "a"
    maker.may.clear()
    assert [known.get(state, maker.of(state)) for state in "bcb"] == list("aaa")
    maker.may.set()
    known.settle()
    assert maker.made == ["a", "b"]  # one at a time
    assert known.get("b", maker.of("b")) == "b"
    assert known.get("c", maker.of("c")) == "b"
    known.settle()
    assert known.get("c", maker.of("c")) == "c"


def test_a_library_that_changes_every_few_seconds_rests_between(maker, monkeypatch):
    monkeypatch.setattr(remade, "REST", 1e9)
    known = Remade(quick_s=-1.0)
    for state in "abc":
        assert known.get(state, maker.of(state)) == "a"
        known.settle()
    assert maker.made == ["a"]


def test_what_does_not_fit_is_waited_for(maker):
    known = Remade(kept=2, quick_s=-1.0)
    assert known.get("a", maker.of("a")) == "a"
    assert known.get("b", maker.of("b"), fits=lambda state: state != "a") == "b"
    assert [known.get(state, maker.of(state)) for state in "ab"] == ["a", "b"]
    assert known.get("c", maker.of("c"), fits=lambda _: False) == "c"
    assert known.get("a", maker.of("a"), fits=lambda state: state == "b") == "b"


def test_who_comes_together_makes_once(maker):
    known, together = Remade(), Barrier(4)

    def ask(_):
        together.wait(10)
        return known.get("a", maker.of("a"))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(4))) == {"a"}
    assert maker.made == ["a"]


def test_a_making_that_fails_is_told_where_nothing_serves_and_logged_where_something_does(maker, monkeypatch, caplog):
    monkeypatch.setattr(remade, "REST", 0.0)

    def fail():
        raise OSError("away")

    known = Remade(quick_s=-1.0)
    with pytest.raises(OSError, match="away"):
        known.get("a", fail)
    assert known.get("a", maker.of("a")) == "a"
    assert known.get("b", fail) == "a"
    known.settle()
    assert "not known to searches yet" in caplog.text
    assert known.get("b", maker.of("b")) == "a"
    known.settle()
    assert known.get("b", maker.of("b")) == "b"


def test_what_fails_at_each_request_is_logged_once_until_it_succeeds(maker, monkeypatch, caplog):
    monkeypatch.setattr(remade, "REST", 0.0)
    known = Remade(quick_s=-1.0)

    def ask(state, cause):
        def fail():
            raise OSError(cause)

        known.get(state, fail if cause else maker.of(state))
        known.settle()
        return len(caplog.records)

    ask("a", None)
    assert [ask("b", cause) for cause in ("away", "away", "full", "away", "full")] == [1, 1, 2, 2, 2]
    ask("b", None)
    assert [ask("c", "away") for _ in range(3)] == [3, 3, 3]
    assert ask("c", None) == 3
    assert {ask("d", f"no file {number}") for number in range(99)} == {4, 5, 6, 7, 8, 9, 10, 11}
    assert all(one.exc_info for one in caplog.records)


def test_where_no_thread_can_begin_what_was_made_before_serves_and_a_later_one_may(maker, monkeypatch, caplog):
    monkeypatch.setattr(remade, "REST", 0.0)
    known = Remade(quick_s=-1.0)
    assert known.get("a", maker.of("a")) == "a"

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        assert known.get("b", maker.of("b")) == "a"
    assert "can't start new thread" in caplog.text
    assert known.get("b", maker.of("b")) == "a"
    known.settle()
    assert known.get("b", maker.of("b")) == "b"


def test_what_is_made_in_a_thread_is_not_made_beside_it_too(maker, monkeypatch):
    monkeypatch.setattr(remade, "REST", 0.0)
    known = Remade(quick_s=-1.0)
    assert known.get("a", maker.of("a")) == "a"
    maker.may.clear()
    assert known.get("b", maker.of("b")) == "a"
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(known.get, "b", maker.of("b"), fits=lambda _: False)
        maker.may.set()
        assert waits.result(10) == "b"
    known.settle()
    assert maker.made == ["a", "b"]
