"""What runs when: parents first, the rest side by side, a failure stays its own."""

from __future__ import annotations

import threading
import time

import pytest

from foveal.errors import InputError
from foveal.research.scheduling import Scheduler


def test_a_child_starts_when_its_own_parents_end_and_not_when_all_do():
    began: dict[str, float] = {}
    ended: dict[str, float] = {}

    def work(name: str) -> None:
        began[name] = time.monotonic()
        time.sleep({"slow": 0.6}.get(name, 0.1))
        ended[name] = time.monotonic()

    scheduler = Scheduler(work, parallel=4)
    scheduler.add({"child": ["fast", "root"], "fast": ["root"], "slow": ["root"], "both": ["fast", "slow"]})
    assert scheduler.wait(["child"])
    assert "slow" not in ended
    assert scheduler.wait(["both", "slow"])
    assert began["child"] >= ended["fast"]
    assert began["both"] >= max(ended["fast"], ended["slow"])
    scheduler.stop()


@pytest.mark.parametrize("parallel", [1, 3])
def test_no_more_than_so_many_run_at_once(parallel):
    lock, now, most = threading.Lock(), 0, 0

    def work(name: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.03)
        with lock:
            now -= 1

    scheduler = Scheduler(work, parallel=parallel)
    scheduler.add({str(one): () for one in range(9)})
    assert scheduler.wait(list(map(str, range(9))))
    assert most == parallel
    scheduler.stop()


def test_work_that_raises_leaves_the_others_and_its_children(caplog):
    done = []

    def work(name: str) -> None:
        if name == "bad":
            raise RuntimeError("broken")
        done.append(name)

    scheduler = Scheduler(work, parallel=2)
    scheduler.add({"bad": (), "good": (), "child": ("bad",)})
    assert scheduler.wait(["bad", "good", "child"])
    assert sorted(done) == ["child", "good"]
    assert "broken" in caplog.text
    scheduler.stop()


def test_waiting_ends_when_it_is_told_to_and_stop_begins_nothing_more():
    go = threading.Event()
    done = []

    def work(name: str) -> None:
        go.wait()
        done.append(name)

    scheduler = Scheduler(work, parallel=1)
    scheduler.add({"a": (), "b": ("a",), "c": ()})
    until = time.monotonic() + 0.2
    assert not scheduler.wait(["b"], until=lambda: time.monotonic() > until)
    scheduler.stop()
    go.set()
    assert scheduler.wait(["a"])
    assert done == ["a"]
    with pytest.raises(InputError, match="1 or more"):
        Scheduler(work, parallel=0)
