"""Progress where no terminal shows a bar: lines on standard error, seldom enough for a log; and the time that is left.

foveal add reports/ > log           # 3 documents, 1,024 passages (52/s); passages 1,024 of 2,678, 0:00:40
"""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import chain, repeat
from threading import Event, Thread
from typing import Any

from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

FIRST, LAST = 10.0, 60.0
"""Seconds to the first line, and between two later ones; those between grow."""


class TimeLeft(ProgressColumn):
    """How long a task will still take, behind the time that it took: "0:00:11 left"; nothing where nobody knows."""

    max_refresh = 0.5  # seconds: numbers that change faster cannot be read

    def render(self, task: Task) -> Text:
        """What is left, or nothing."""
        if task.finished or task.total is None or task.time_remaining is None:
            return Text()
        return Text(f"{timedelta(seconds=int(task.time_remaining))} left", style="progress.remaining")


class ProgressLines(Progress):
    """A `Progress` that draws nothing: from time to time it says in a line how far each task is.

    `logged`: by the log, not to the console.
    """

    def __init__(self, *columns: Any, logged: bool = False, **options: Any) -> None:
        super().__init__(*columns, **{"auto_refresh": False, **options})
        self._over, self._logged = Event(), logged
        self._teller: Thread | None = None

    def start(self) -> None:
        """Begin to tell; nothing is said of what is done before the first line is due."""
        if self._teller is None:
            self._teller = Thread(target=self._tell, name="progress", daemon=True)
            self._teller.start()

    def stop(self) -> None:
        """Say no more."""
        self._over.set()
        if self._teller is not None:
            self._teller.join()

    def _tell(self) -> None:
        for wait in chain((FIRST, FIRST, 2 * FIRST), repeat(max(FIRST, LAST))):
            if self._over.wait(wait):
                return
            for task in self.tasks:
                self._say(progress_line(task))

    def _say(self, line: str) -> None:
        if self._logged:
            logging.getLogger("foveal.cli").info(line)
        else:
            self.console.print(line, markup=False, soft_wrap=True)


def progress_line(task: Task) -> str:
    """What a task is about, how far it is, and how long it has taken."""
    took = timedelta(seconds=round(task.elapsed or 0))
    if task.total is None:
        return f"{task.description} …, {took}"
    return f"{task.description} {task.completed:,.0f} of {task.total:,.0f}, {took}"
