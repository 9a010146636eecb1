"""Tasks of a Ray cluster that are tried again where their node or their process died, but not for ever.

    tasks = Tasks(ray, loaded)
    task = tasks.begin(recipe, part)        # of many, some waiting for each core
    rows = tasks.result(task)

A node that died    is no fault of the task's: it is begun again elsewhere, up to `LOSSES` times, and with it all others
                    that were lost by then
A process that died may have been killed by what it was given: it is tried `tries` times, and `crashed` knows the error

Ray itself is told to retry nothing. It counts both alike, and a task that was killed as its node ran out of memory it
retries without end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foveal.scale.cluster import cancel, our_errors, rays_own

TRIES = 3
"""Times that a task is begun whose process dies each time."""

LOSSES = 20
"""Times that a task is begun again because its node died: more, and it is the task that brings nodes down."""

CRASHED = {"WorkerCrashedError", "OutOfMemoryError"}
"""Ray's errors where the process of a task died, by itself or because its node ran out of memory."""

LOST = {"NodeDiedError", "ObjectLostError"}
"""Ray's errors (and what inherits from them) where a node died, with a task or with what one had made."""


@dataclass(eq=False)
class Task:
    """A call that is under way, and how often it may yet be begun."""

    given: tuple[Any, ...]
    ref: Any
    tries: int
    losses: int = LOSSES


class Tasks:
    """Calls of one function by tasks of one core each, on any node; who asks takes results in an order of its own."""

    def __init__(self, ray: Any, function: Callable[..., Any]) -> None:
        """`ray` is the module, connected."""
        self._ray = ray
        self._remote = ray.remote(function).options(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")
        self._under_way: set[Task] = set()

    def begin(self, *given: Any, tries: int = TRIES) -> Task:
        """A task that calls the function with what is given."""
        task = Task(given, self._remote.remote(*given), tries)
        self._under_way.add(task)
        return task

    def result(self, task: Task) -> Any:
        """What the call gave, or the error that it raised. LibraryError: its process or node died at every try."""
        with our_errors():
            while True:
                try:
                    value = self._ray.get(task.ref)
                except Exception as error:  # the task's own is raised as it is
                    if not self._again(task, error):
                        self._under_way.discard(task)
                        raise
                    if rays_own(error) & LOST:
                        self._renew()
                else:
                    self._under_way.discard(task)
                    return value

    def stop(self) -> None:
        """Cancel what is under way."""
        left, self._under_way = self._under_way, set()
        if self._ray.is_initialized():  # else they ended with the cluster, and Ray would start one to cancel them
            for task in left:
                cancel(self._ray, task.ref)

    def _again(self, task: Task, error: Exception) -> bool:
        """Begin a task again that died, if it may be. Whether it was."""
        kinds = rays_own(error)
        if kinds & LOST:
            task.losses -= 1
        elif kinds & CRASHED:
            task.tries -= 1
        if not kinds & (LOST | CRASHED) or task.losses < 0 or task.tries < 1:
            return False
        task.ref = self._remote.remote(*task.given)
        return True

    def _renew(self) -> None:
        """Begin again what else was lost with a node: they would be found, and waited for, one after the other."""
        tasks = {task.ref: task for task in self._under_way}
        over, _ = self._ray.wait(list(tasks), num_returns=len(tasks), timeout=0, fetch_local=False)
        for ref in over:
            try:
                self._ray.get(ref)
            except Exception as error:  # another's is raised where its result is asked for
                if rays_own(error) & LOST:
                    self._again(tasks[ref], error)


def crashed(error: Exception) -> bool:
    """Whether an error of `Tasks.result` says that a task's process died."""
    return bool(rays_own(error.__cause__) & CRASHED)
