import sys
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.evaluation.speed import paired, percentile, percentiles, process_seconds


class Clock:
    """Stands still but for what a call says that it took."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def taking(self, name, *seconds):
        """A call that takes `seconds`, one after the other, the last one from then on."""
        waiting = list(seconds)

        def call(*_):
            self.calls.append(name)
            self.now += waiting.pop(0) if len(waiting) > 1 else waiting[0]

        return call


def test_pairs_are_timed_in_turns_and_their_ratios_kept():
    clock = Clock()
    a = clock.taking("a", 100, 2, 4, 6)  # the first is the warm-up
    b = clock.taking("b", 100, 1, 1, 1)
    ratio = paired(a, b, runs=3, warmup=1, clock=clock)
    assert clock.calls == ["a", "b"] * 4
    assert (ratio.median, ratio.low, ratio.high) == (4, 2, 6)
    assert (ratio.a_ms, ratio.b_ms) == (4000, 1000)
    assert str(ratio) == "4× (2 to 6); 4e+03 ms against 1e+03 ms"


def test_a_call_too_short_to_time_gives_a_finite_ratio():
    clock = Clock()
    assert paired(clock.taking("a", 0), clock.taking("b", 0), clock=clock).median == 0


def test_percentiles_leave_the_warm_up_out():
    clock = Clock()
    call = clock.taking("call", 50, 50, *(n / 1000 for n in range(1, 101)))
    latency = percentiles(call, list(range(100)), warmup=2, clock=clock)
    assert latency.calls == 100
    assert (latency.p50_ms, latency.p95_ms, latency.worst_ms) == pytest.approx((50, 95, 100))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.integers(1, 100))
@example([float(n) for n in range(25)], 28)  # 0.28 * 25 is a little above 7
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values, percent):
    ordered = sorted(values)
    enough = next(v for v in ordered if 100 * sum(w <= v for w in values) >= percent * len(values))
    assert percentile(ordered, percent / 100) == enough


@pytest.mark.parametrize("timing", [lambda: paired(int, int, runs=0), lambda: percentiles(int, [])])
def test_nothing_to_time_is_an_error(timing):
    with pytest.raises(InputError, match="it needs at least 1"):
        timing()


def test_a_process_is_charged_for_its_own_memory_only():
    held = np.ones(40_000_000)  # 305 MiB here, which the kernel would count to a child started from here
    small = process_seconds([sys.executable, "-S", "-c", "print('x' * 100_000)"], runs=1, warmup=0)
    large = process_seconds([sys.executable, "-S", "-c", "x = b'1' * 200 * 2**20"], runs=2, warmup=0)
    assert held.nbytes / 2**20 > 300
    assert 3 < small.peak_mib < 100
    assert 200 < large.peak_mib < 300
    assert 0 < large.low_s <= large.median_s <= large.high_s < 60


def test_a_process_that_fails_is_an_error_with_what_it_said():
    with pytest.raises(InputError, match="exited with status 3") as caught:
        process_seconds([sys.executable, "-c", "import sys; print('no such book', file=sys.stderr); sys.exit(3)"])
    assert "no such book" in str(caught.value)
    with pytest.raises(InputError, match="could not be started"):
        process_seconds(["/no/such/program"])


def test_a_process_that_hangs_is_stopped(tmp_path):
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    for seconds in (2, 20):  # more than the first only where a busy machine has not begun it by then
        with pytest.raises(InputError, match=f"ran for more than {seconds} s"):
            process_seconds([sys.executable, "-S", "-c", code], timeout_s=seconds)
        if (tmp_path / "pid").exists():
            break
    pid = (tmp_path / "pid").read_text(encoding="utf-8")
    for _ in range(100):  # it dies at once, but not in no time
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} still runs")


def is_running(pid):
    """Whether the process lives; a dead one that nobody has buried yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
