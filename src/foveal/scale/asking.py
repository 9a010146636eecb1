"""Calls of the deployments of `foveal serve --ray`: what they refuse is said in words, or waited for.

asked(handle.score, messages, "there")              # one request
asked_at_once(handle.encode, texts)                 # several, made together; one refusal is enough
asked_until_answered(handle.chat, conversations)    # of one run, more than may wait: the rest is asked again
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from foveal.errors import FetchFailed
from foveal.models.chat import Cancel
from foveal.scale.cluster import our_errors

AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds after which a deployment that takes nothing of many requests is asked again, one wait after the other."""

TICK_S = 0.1
"""How often such a wait looks whether it was cancelled."""

GONE = ("BackPressureError", "DeploymentUnavailableError", "RayActorError")
"""Ray's errors (and what inherits from them) of a deployment that takes no more requests, or whose replica died."""


class _Full(FetchFailed):
    """The deployment takes no more, or is gone."""


@contextmanager
def answering() -> Iterator[None]:
    """Around every call of a deployment. FetchFailed, which a site answers with 503: it takes no more, or is gone."""
    with our_errors():
        try:
            yield
        except Exception as error:  # of Ray Serve's errors, known by name: others are raised as they are
            if not any(kind.__name__ in GONE for kind in type(error).__mro__):
                raise
            raise _Full(
                f"The cluster takes no more requests of this kind now ({type(error).__name__}). Try again in a moment."
            ) from error


def asked(method: Any, *given: Any) -> Any:
    """What a deployment answers. FetchFailed: it takes no more, or is gone."""
    with answering():
        return method.remote(*given).result()


def asked_until_answered(method: Any, given: Sequence[Any], cancel: Cancel | None) -> list[Any]:
    """What it answers to many requests, in their order; those that were refused are asked again, each time later.

    FetchFailed: none of what was left was taken, however long that was waited for.
    """
    answers: dict[int, Any] = {}
    waits = iter(AGAIN_S)
    while left := [place for place in range(len(given)) if place not in answers]:
        refused = _asked_some(method, {place: given[place] for place in left}, answers, cancel)
        if refused is None:
            break
        if len(answers) > len(given) - len(left):  # it takes some, so the rest will have its turn
            waits = iter(AGAIN_S)
        wait = next(waits, None)
        if wait is None:
            raise refused
        _paused(wait, cancel)
    return [answers[place] for place in range(len(given))]


def _asked_some(method: Any, given: Mapping[int, Any], answers: dict[int, Any], cancel: Cancel | None) -> _Full | None:
    """Ask all of these together; `answers` gets what came, and a refusal is returned."""
    begun, refused = [], None
    for place, one in given.items():
        try:
            with answering():
                begun.append((place, method.remote(one)))
        except _Full as full:
            refused = full
    for place, response in begun:
        check(cancel)
        try:
            with answering():
                answers[place] = response.result()
        except _Full as full:
            refused = full
    return refused


def _paused(seconds: float, cancel: Cancel | None) -> None:
    """Wait. Cancelled: meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check(cancel)
        time.sleep(min(left, TICK_S))


def asked_at_once(method: Any, given: Iterable[Any]) -> list[Any]:
    """What it answers to several requests that are made together; errors as above."""
    with answering():
        begun = [method.remote(one) for one in given]
        return [one.result() for one in begun]


def check(cancel: Cancel | None) -> None:
    """Cancelled: it was."""
    if cancel is not None:
        cancel.check()
