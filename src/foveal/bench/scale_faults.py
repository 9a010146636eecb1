"""bench scale-faults: what can go wrong, at random for an hour; after each fault, what must hold is looked at.

    library    add, change, remove, compact: killed, on a full disk, with too little memory, its store away, a file
               damaged (scale_faults_library.py); on an object store, which goes away (scale_faults_store.py)
    jobs       digest, research, training: killed at any instant; clocks that jump (scale_faults_jobs.py)
    site       one server killed, one of two, stopped; its database away; slow peers (scale_faults_site.py)

Everything is drawn from the seed: which fault, when, on what. A violation is said with its trial, and counts; so does a
trial that breaks. A bar is 0 violations in all. That the checks can fail is shown by the bench's tests, which feed them
libraries that lose, tear and show what was never written; what a plain loop of "send, then write down" comes to under
kills is in `bench mail`.
"""

from __future__ import annotations

import logging
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foveal.bench import scale_faults_jobs, scale_faults_library, scale_faults_site, scale_faults_store
from foveal.bench.scale_faults_trials import Found, Trial, Unavailable
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row

SECONDS, QUICK_SECONDS = 3_480.0, 360.0

Trials = Mapping[str, Trial]

KINDS = (scale_faults_library, scale_faults_store, scale_faults_jobs, scale_faults_site)

TRIALS: Trials = {name: trial for kind in KINDS for name, trial in kind.TRIALS}

log = logging.getLogger("foveal.bench")


@dataclass
class Tally:
    """What the trials of one kind came to."""

    trials: int = 0
    found: Found = field(default_factory=Found)
    unavailable: str = ""
    seconds: float = 0.0

    def add(self, one: Found) -> None:
        """Count a trial."""
        self.trials += 1
        self.found.struck += one.struck
        self.found.checked += one.checked
        self.found.shown += one.shown
        self.found.violations += one.violations
        self.found.recovery_s += one.recovery_s


def faults(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench scale-faults`."""
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    begun = time.perf_counter()
    tallies = run(TRIALS, seconds, settings.seed)
    spent = time.perf_counter() - begun
    yield Row.of("all trials", "size", sum(one.trials for one in tallies.values()), note=f"{spent:.0f} s")
    for name, one in tallies.items():
        yield from _rows(name, one)
    struck = sum(one.found.struck for one in tallies.values())
    checked = sum(one.found.checked for one in tallies.values())
    violations = sum(len(one.found.violations) for one in tallies.values())
    yield Row.of("all", "faults that struck", struck, note=f"{checked:,} things were looked at afterwards")
    yield Row.of("all", "violations", violations, at_most=0)


def _rows(name: str, one: Tally) -> Iterator[Row]:
    if one.unavailable:
        yield Row.of(name, "trials", one.trials, note=f"not here: {one.unavailable}")
        return
    note = f"{one.trials} trials, {one.found.checked:,} checks, {one.seconds / max(1, one.trials):.1f} s each"
    yield Row.of(name, "faults that struck", one.found.struck, at_least=1, note=note)
    seen = "; ".join(dict.fromkeys(one.found.violations))[:600]
    yield Row.of(name, "violations", len(one.found.violations), at_most=0, note=seen)
    if one.found.recovery_s:
        yield Row.of(name, "p95, s to be whole again", float(np.percentile(one.found.recovery_s, 95)))
    if one.found.shown:
        yield Row.of(name, "damaged passages that a search showed", one.found.shown, note="its text was refused")


def run(trials: Trials, seconds: float, seed: int) -> dict[str, Tally]:
    """Trials in a random order, each kind as often as the others, until the time is over; each kind once at least."""
    tallies = {name: Tally() for name in trials}
    until = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until or turn == 0:
        order = random.Random(f"{seed}/{turn}").sample(sorted(trials), len(trials))
        for name in order:
            if (turn and time.monotonic() >= until) or tallies[name].unavailable:
                continue
            _tried(trials[name], name, f"{seed}/{turn}/{name}", tallies[name])
        if all(one.unavailable for one in tallies.values()):
            break
        turn += 1
    return tallies


def _tried(trial: Trial, name: str, seed: str, tally: Tally) -> None:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="foveal-faults-", ignore_cleanup_errors=True) as place:
        os.chmod(place, 0o755)  # noqa: PTH101 (a database server runs as another user)
        try:
            one = trial(random.Random(seed), Path(place))
        except Unavailable as missing:
            tally.unavailable = str(missing)
            return
        except Exception as error:  # a trial that breaks has found something, too
            log.exception("the trial %s broke (%s)", name, seed)
            one = Found(violations=[f"the trial broke: {type(error).__name__}: {error!s:.300}"])
    tally.seconds += time.perf_counter() - begun
    for said in one.violations:
        log.warning("violation in %s (%s): %s", name, seed, said)
    tally.add(one)
