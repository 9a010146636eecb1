"""What the trials of `scale-faults` share: a victim that can be killed at any instant, and what a trial found.

with Victim("add", home, folder) as victim:
    victim.begun(); victim.kill_within(draw, 0.8)
victim.acked          # what it had acknowledged until then
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from foveal.errors import FovealError

BEGINS_WITHIN_S, ENDS_WITHIN_S = 120.0, 240.0

MEMORY = "FOVEAL_VICTIM_MB"
"""The variable that says where a victim's memory ends; it sees to that itself, first of all."""

SETTINGS = 'encoder = "none"\n'
"""foveal.toml of the homes: what is tested is what lies on the disk, and encoding would only make it slow."""


@dataclass
class Found:
    """What came of one trial."""

    struck: int = 0  # faults that hit something at work
    checked: int = 0  # things that were held against what they must be
    violations: list[str] = field(default_factory=list)
    shown: int = 0  # passages of damaged files that a search showed (there is no hash of a passage)
    recovery_s: list[float] = field(default_factory=list)

    def hold(self, true: bool, said: str) -> None:
        """Count a check; remember it where it does not hold."""
        self.checked += 1
        if not true:
            self.violations.append(said)


Trial = Callable[[random.Random, Path], Found]
"""One fault, in a folder of its own; everything is drawn from the generator. Unavailable: this machine cannot."""


class Unavailable(Exception):
    """A fault that cannot be made here; says why."""


class Victim:
    """A process of scale_faults_victims.py, or of another module with `-m`."""

    def __init__(
        self,
        *arguments: str | Path,
        variables: Mapping[str, str] | None = None,
        module: str = "foveal.bench.scale_faults_victims",
        megabytes: int = 0,
    ) -> None:
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the victim)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FOVEAL_FAULTS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            env={**clean, **(variables or {}), **({MEMORY: str(megabytes)} if megabytes else {})},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._errors.close()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def acked(self) -> list[str]:
        """What it has acknowledged."""
        return [line[4:] for line in list(self.lines) if line.startswith("ack ")]

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return "done" in self.lines

    @property
    def errors(self) -> str:
        """The last of what it wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-1500:]

    def begun(self) -> str:
        """Wait until it has begun: what it said with that. FovealError: it did not."""
        return self.heard("begun", BEGINS_WITHIN_S)

    def heard(self, word: str, within: float) -> str:
        """Wait for a line that begins so: the rest of it; "" where it ended before."""
        until = time.monotonic() + within
        with self._heard:
            while True:
                found = next((line for line in self.lines if line.split(" ")[0] == word), None)
                if found is not None:
                    return found.partition(" ")[2]
                if not self._reader.is_alive():
                    return ""
                if time.monotonic() > until:
                    raise FovealError(f"A victim did not say {word!r} within {within:.0f} s: {self.errors}")
                self._heard.wait(0.1)

    def kill(self) -> bool:
        """SIGKILL; whether it was still at work."""
        at_work = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        return at_work

    def kill_within(self, draw: random.Random, seconds: float) -> bool:
        """Kill it at a random moment of the next seconds, or when it ends; whether it was still at work."""
        until = time.monotonic() + draw.random() * seconds
        while self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        return self.kill()

    def ended(self, within: float = ENDS_WITHIN_S) -> int:
        """Wait for its end: its exit status. FovealError: it does not end."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired as error:
            raise FovealError(f"A victim did not end within {within:.0f} s: {self.lines[-3:]} {self.errors}") from error
        self._reader.join(10)
        return int(self.process.returncode)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()


@dataclass
class Pace:
    """How long a victim is at work when nobody kills it, so that kills fall anywhere in that time."""

    seconds: float

    def learn(self, seconds: float) -> None:
        """From one that was not killed."""
        self.seconds += 0.3 * (seconds - self.seconds)


def home_in(folder: Path) -> Path:
    """A new home for a trial."""
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "foveal.toml").write_text(SETTINGS, encoding="utf-8")
    return home
