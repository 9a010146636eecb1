"""A `ray` without processes, for tests: a task runs when its result is first asked for, and may die instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """As Ray's, which all of its own inherit from."""


class WorkerCrashedError(RayError):
    """As Ray's, of a task whose process died."""


class OutOfMemoryError(RayError):
    """As Ray's, of a task whose process was killed."""


class NodeDiedError(RayError):
    """As Ray's, of a task whose node died."""


@dataclass(eq=False)
class Ref:
    """An `ObjectRef`: what its task gave or raised stays."""

    call: Callable[[], Any]
    made: Any = None  # (value, error), once it ran


@dataclass
class OneProcessRay:
    """The module `ray`, connected; `dies` is given what a task is, and raises what it dies of."""

    dies: Callable[..., None] = lambda *_: None
    cores: int = 1
    connected: bool = True
    begun: list[Ref] = field(default_factory=list)
    cancelled: list[Ref] = field(default_factory=list)

    def remote(self, function: Callable[..., Any]) -> Any:
        def begin(*given: Any) -> Ref:
            def call() -> Any:
                self.dies(*given)
                return function(*given)

            self.begun.append(Ref(call))
            return self.begun[-1]

        def options(*, max_retries: int, **_: Any) -> Any:
            assert max_retries == 0  # else Ray itself would try again without end where memory runs out
            return SimpleNamespace(remote=begin)

        return SimpleNamespace(options=options)

    def get(self, ref: Ref) -> Any:
        if ref.made is None:
            try:
                ref.made = ref.call(), None
            except Exception as error:
                ref.made = None, error
        if ref.made[1] is not None:
            raise ref.made[1]
        return ref.made[0]

    def wait(self, refs: list[Ref], **_: Any) -> tuple[list[Ref], list[Ref]]:
        return refs, []

    def cancel(self, ref: Ref) -> None:
        self.cancelled.append(ref)

    def waiting(self) -> int:
        return sum(ref.made is None for ref in self.begun)

    def is_initialized(self) -> bool:
        return self.connected

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cores)}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeManagerAddress": "127.0.0.1", "Alive": True}]
