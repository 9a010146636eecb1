"""InfiniRetri's map mode by a Ray cluster: windows are scored by tasks, `ahead` batches at once; all else stays here.

    with cluster() as ray:
        model = load_language_model()
        reader = InfiniRetri(model, looking=RayLooking.of(model, ray))

Windows are read independently, so which process scores one does not matter; scores come back in the order of the text
and go into the same memory. The second look and the answer are this process's. A task whose node died is run again
(`tasks.py`). Each core of the cluster holds the model once it has scored a window. A model that is a folder of one's
own is found by its path, which the nodes must share.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention import AUTO
from foveal.attention.profiles import Profile, profile_of
from foveal.models.offline import OFFLINE
from foveal.reading.looking import Batch, Looking, SpreadLooking, Window
from foveal.reading.prompts import TEMPLATE
from foveal.scale.tasks import Task, Tasks

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

AHEAD_A_CORE = 2
"""Batches that are scored or wait for it, for each core."""


class RayLooking(SpreadLooking):
    """A `Looking` whose batches are scored by a cluster. Single windows it scores itself."""

    def __init__(
        self,
        model: LanguageModel,
        profile: Profile,
        ray: Any,
        template: str = TEMPLATE,
        *,
        attention: str = AUTO,
        row_beta: float = 1.0,
        int8: bool = True,
    ) -> None:
        """As `Looking`; `ray` is the module, connected."""
        super().__init__(model, profile, template, attention=attention, row_beta=row_beta, int8=int8)
        self._ray = ray
        self._sight = sight(self, str(model.dtype).removeprefix("torch."))
        self._ahead = AHEAD_A_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))

    @classmethod
    def of(cls, model: LanguageModel, ray: Any, home: Path | None = None, **options: Any) -> RayLooking:
        """By the model's own profile; `options` as of `Looking`."""
        return cls(model, profile_of(model, home), ray, **options)

    def over(
        self, batches: Iterable[Batch], questions: Sequence[str], *, content_free: bool = True
    ) -> Iterator[tuple[Batch, list[Tensor]]]:
        """`ahead` batches are asked for before the first is taken."""
        begun: deque[tuple[Batch, Task]] = deque()
        tasks = Tasks(self._ray, scored)
        try:
            for batch in batches:
                windows = [window for _, window in batch]
                begun.append((batch, tasks.begin(self._sight, windows, list(questions), content_free)))
                if len(begun) > self._ahead:
                    yield _taken(tasks, *begun.popleft())
            while begun:
                yield _taken(tasks, *begun.popleft())
        finally:
            tasks.stop()  # what is under way where who reads has stopped


def _taken(tasks: Tasks, batch: Batch, task: Task) -> tuple[Batch, list[Tensor]]:
    return batch, [torch.from_numpy(one.copy()) for one in tasks.result(task)]


def sight(looking: Looking, dtype: str | None = None) -> bytes:
    """What makes a `Looking` again in another process."""
    model = looking.model
    known_as = model.name if model.name in OFFLINE or model.name.count("/") == 1 else str(model.folder)
    options = {"attention": looking.attention, "row_beta": looking.row_beta, "int8": looking.int8}
    return pickle.dumps((known_as, dtype, model.cache, looking.profile, looking.template, options))


def scored(sight: bytes, windows: Sequence[Window], questions: Sequence[str], content_free: bool) -> list[Any]:
    """In a task: the scores of each window, (questions, sentences)."""
    return [one.numpy() for one in _looking(sight).scores(windows, questions, content_free=content_free)]


@lru_cache(maxsize=1)
def _looking(sight: bytes) -> Looking:
    from foveal.models import load_language_model

    name, dtype, cache, profile, template, options = pickle.loads(sight)
    return Looking(load_language_model(name, dtype=dtype, cache=cache), profile, template, **options)
