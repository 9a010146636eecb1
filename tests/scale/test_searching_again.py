"""A sub-question's task that dies is begun again by us, whole: nothing that it told is mixed into the second try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from one_process_ray import NodeDiedError, OneProcessRay, Ref, WorkerCrashedError
from ray_parts import parts

from foveal.errors import FetchFailed, LibraryError
from foveal.models.chat import Cancel
from foveal.research.budget import Budget, Meter
from foveal.research.prompts import Problem
from foveal.research.searcher import SearchSettings
from foveal.scale.searching import RaySearcher
from foveal.scale.tasks import TRIES

ASKED = Problem(root="q", question="Who taught Petra Lindqvist?", before=(), today=date(2026, 1, 1))


@dataclass
class Streaming(OneProcessRay):
    """One whose tasks give their results one by one; each try ends after as many as `lives` says, if it does."""

    lives: list[int] = field(default_factory=list)
    kind: type[Exception] = WorkerCrashedError
    tried: int = 0

    def remote(self, function: Any) -> Any:
        def begin(*given: Any) -> Iterator[Ref]:
            self.tried += 1
            life = self.lives.pop(0) if self.lives else None
            return self._refs(function(*given), life)

        def options(*, max_retries: int, **_: Any) -> Any:
            assert max_retries == 0  # else Ray leaves out of the second telling as much as came of the first
            return SimpleNamespace(remote=begin)

        return SimpleNamespace(options=options)

    def _refs(self, told: Iterator[Any], life: int | None) -> Iterator[Ref]:
        for place, one in enumerate(told):
            if place == life:
                yield Ref(lambda: None, made=(None, self.kind("killed")))
                return
            yield Ref(lambda: None, made=(one, None))


def searched(ray: Streaming) -> tuple[Any, list[str], Meter]:
    told: list[str] = []
    meter = Meter(Budget(pages=9))
    searcher = RaySearcher(ray, parts, meter, SearchSettings())
    found = searcher.run(ASKED, lambda kind, /, **_: told.append(kind), Cancel())
    return found, told, meter


@pytest.mark.parametrize("kind", [WorkerCrashedError, NodeDiedError])
def test_a_task_that_died_twice_gives_what_one_gives_that_did_not(kind):
    whole, _, once = searched(Streaming())
    ray = Streaming(lives=[3, 1], kind=kind)
    found, told, meter = searched(ray)
    assert ray.tried == 3
    assert found.answer == whole.answer != ""
    assert told.count("node.state") == 2  # each try begins the node anew
    assert meter.used()["pages"] == once.used()["pages"]
    assert meter.used()["tokens"] >= once.used()["tokens"]  # what a dead task's model wrote was spent, too


def test_one_that_dies_each_time_ends_with_an_error_that_says_so():
    ray = Streaming(lives=[2] * 9)
    with pytest.raises(LibraryError, match=r"The Ray cluster lost what it was asked for .WorkerCrashedError."):
        searched(ray)
    assert ray.tried == TRIES


def test_what_a_task_raises_itself_is_not_tried_again():
    ray = Streaming(lives=[1], kind=FetchFailed)
    with pytest.raises(FetchFailed, match="killed"):
        searched(ray)
    assert ray.tried == 1
