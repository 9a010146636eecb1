"""Timing that holds on a machine which others use too.

    paired(baseline, ours).median       how many times as fast ours is: A B A B …, one ratio per pair
    percentiles(search, queries).p50_ms one call after another, as a user would wait
    process_seconds(["foveal", …])      a whole process from start to exit, and the most memory it held

A ratio of neighbours in time suffers less from a busy moment than two medians taken one after the other; all are
wall-clock times, the warm-up is not counted, and the spread is kept beside the median.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from foveal.errors import InputError

Input = TypeVar("Input")


@dataclass(frozen=True)
class Ratio:
    """How many times as fast B is as A: a pair's time of A over its time of B."""

    median: float
    low: float
    high: float
    a_ms: float  # median time of A
    b_ms: float  # median time of B

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> Ratio:
        """Of seconds that A and B took, pair by pair."""
        pairs = list(pairs)
        ratios = [a_s / max(b_s, 1e-9) for a_s, b_s in pairs]
        a_ms, b_ms = (1e3 * median(times) for times in zip(*pairs, strict=True))
        return cls(median(ratios), min(ratios), max(ratios), a_ms, b_ms)

    def __str__(self) -> str:
        return f"{self.median:.3g}× ({self.low:.3g} to {self.high:.3g}); {self.a_ms:.3g} ms against {self.b_ms:.3g} ms"


@dataclass(frozen=True)
class Latency:
    """Times of single calls, in milliseconds."""

    p50_ms: float
    p95_ms: float
    worst_ms: float
    calls: int


@dataclass(frozen=True)
class ProcessTime:
    """Times of whole processes, in seconds, and the largest resident memory that one of them held, in MiB."""

    median_s: float
    low_s: float
    high_s: float
    peak_mib: float


def paired(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    runs: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time `a` and `b` in turn, `runs` times each after `warmup` untimed turns; `clock` gives seconds."""
    _at_least_one("runs", runs)
    for _ in range(warmup):
        a()
        b()
    return Ratio.of([(seconds_of(a, clock), seconds_of(b, clock)) for _ in range(runs)])


def percentiles(
    call: Callable[[Input], object],
    inputs: Sequence[Input],
    *,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time `call` on each of `inputs`, after `warmup` untimed calls on the first ones."""
    _at_least_one("inputs", len(inputs))
    for item in inputs[:warmup]:
        call(item)
    times = sorted(1e3 * seconds_of(lambda item=item: call(item), clock) for item in inputs)  # type: ignore[misc]
    return Latency(percentile(times, 0.5), percentile(times, 0.95), times[-1], len(times))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]  # 0.28 * 25 is a little above 7


def process_seconds(argv: Sequence[str], *, runs: int = 3, warmup: int = 1, timeout_s: float = 600) -> ProcessTime:
    """Run `argv` to its end `runs` times, output thrown away; InputError where it exits with another status than 0.

    A second process of Python, bare and small, starts and measures it: the kernel counts to a child's peak memory
    what its parent held when it was started, which would be all that a benchmark has loaded.
    """
    _at_least_one("runs", runs)
    results = [_measured_once(argv, timeout_s) for _ in range(warmup + runs)][warmup:]
    seconds = [seconds for seconds, _ in results]
    return ProcessTime(median(seconds), min(seconds), max(seconds), max(mib for _, mib in results))


_MEASURE = """
import json, os, sys, time
quiet = os.open(os.devnull, os.O_RDWR)
start = time.perf_counter()
files = [(os.POSIX_SPAWN_DUP2, quiet, 0), (os.POSIX_SPAWN_DUP2, quiet, 1)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=files)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - start
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss]))
"""

_KIB_PER_UNIT = 1 / 1024 if sys.platform == "darwin" else 1  # of ru_maxrss


def _measured_once(argv: Sequence[str], timeout_s: float) -> tuple[float, float]:
    """Seconds and peak MiB of one run."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        command = [sys.executable, "-I", "-S", "-c", _MEASURE, *argv]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True) as process:
            try:
                output, _ = process.communicate(timeout=timeout_s)
            except BaseException as stopped:
                _kill_group(process.pid)
                if isinstance(stopped, subprocess.TimeoutExpired):
                    raise InputError(f"{argv} ran for more than {timeout_s} s; raise timeout_s or do less.") from None
                raise
        complaints.seek(0)
        told = complaints.read().strip()[-500:]
    if process.returncode != 0:
        raise InputError(f"{list(argv)} could not be started: {told}")
    status, seconds, peak = json.loads(output)
    if status != 0:
        raise InputError(f"{list(argv)} exited with status {status}, so its time means nothing. It said: {told}")
    return seconds, peak * _KIB_PER_UNIT / 1024


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:  # it ended by itself in the meantime
        return


def seconds_of(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What one call takes."""
    start = clock()
    call()
    return clock() - start


def _at_least_one(what: str, count: int) -> None:
    if count < 1:
        raise InputError(f"Timing got {count} {what}; it needs at least 1.")
