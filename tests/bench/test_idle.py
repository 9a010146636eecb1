"""Waiting for a machine that others have left alone."""

from itertools import count

import pytest

from foveal.bench import machine


@pytest.fixture
def looks(monkeypatch):
    """The machine's times at each look, from a list of (busy, all)."""
    monkeypatch.setattr(machine.time, "sleep", lambda _: None)

    def given(times):
        rest = iter(times)
        monkeypatch.setattr(machine, "_cpu_times", lambda: next(rest))
        return rest

    return given


def test_it_waits_until_the_cores_were_idle(looks):
    rest = looks([(100, 200), (190, 300), (250, 400), (255, 500), (999, 999)])
    assert machine.wait_until_idle(60)  # busy for 90, 60 and 5 of 100 ticks
    assert next(rest) == (999, 999)


def test_it_gives_up_in_time(looks, monkeypatch):
    looks((100 * n, 100 * n) for n in count(1))
    clock = iter(range(100))
    monkeypatch.setattr(machine.time, "monotonic", lambda: float(next(clock)))
    assert not machine.wait_until_idle(5)
    assert next(clock) < 10


def test_it_does_not_wait_where_the_system_does_not_tell(looks):
    looks([None])
    assert not machine.wait_until_idle(60)


def test_this_system_tells_of_growing_times():
    before = machine._cpu_times()
    if before is None:
        pytest.skip("this system has no /proc/stat")
    sum(range(2_000_000))
    now = machine._cpu_times()
    assert before[0] <= now[0]
    assert before[1] <= now[1]
    assert now[0] <= now[1]
