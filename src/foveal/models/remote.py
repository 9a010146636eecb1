"""Calls to a model server: never held by a silent one, tried again where that helps, failures in our words."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from foveal import faults
from foveal.errors import FetchFailed, FovealError, InputError
from foveal.models.chat import Cancel

TICK_S = 0.05
"""How often a waiting call looks whether it was cancelled."""

FIRST_WAIT_S = 0.5
"""Before the second try; doubled before each further one; a quarter of chance keeps clients out of step."""

LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause than this is taken to refuse."""

T = TypeVar("T")


def heard(make: Callable[[], Generator[T, None, None]], *, silence_s: float, cancel: Cancel | None) -> Iterator[T]:
    """What `make()` gives, read in a thread of its own, so that its reader can leave while the server is silent.

    TimeoutError: nothing came for `silence_s`. Cancelled: `cancel` was set. The thread ends with its next item, or at
    the latest with the connection's own time-out.
    """
    box: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    left = Event()

    def read() -> None:
        try:
            with closing(make()) as items:
                for item in items:
                    if left.is_set():
                        return
                    box.put(("item", item))
            box.put(("end", None))
        except BaseException as error:
            box.put(("error", error))

    Thread(target=read, name="foveal-remote", daemon=True).start()
    try:
        while True:
            kind, value = _next(box, silence_s, cancel)
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        left.set()


def _next(box: SimpleQueue[tuple[str, Any]], silence_s: float, cancel: Cancel | None) -> tuple[str, Any]:
    until = time.monotonic() + silence_s
    while True:
        if cancel is not None:
            cancel.check()
        try:
            return box.get(timeout=TICK_S)
        except Empty:
            if time.monotonic() > until:
                raise TimeoutError(f"nothing came for {silence_s:g} s") from None


def retried(run: Callable[[], T], *, retries: int, name: str, silence_s: float, cancel: Cancel | None) -> T:
    """`run()`, again after a pause while the failure may pass, at most `retries` times more.

    `silence_s` is what `run` waits, for an error to name.
    """
    for attempt in range(retries + 1):
        try:
            return run()
        except FovealError:
            raise
        except Exception as error:
            wait = pause(error, attempt)
            if wait is None or attempt == retries:
                raise translated(error, name, silence_s=silence_s, tries=attempt + 1) from error
            _sleep(wait, cancel)
    raise AssertionError  # the last attempt returned or raised


def pause(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before the next try, or None where another try would fail alike."""
    import openai

    backoff = FIRST_WAIT_S * 2**attempt * random.uniform(0.75, 1.25)
    if isinstance(error, openai.APIStatusError):
        if error.status_code not in (408, 409, 429) and error.status_code < 500:
            return None
        asked = _retry_after(error.response.headers.get("retry-after"))
        return backoff if asked is None else asked if asked <= LONGEST_WAIT_S else None
    passing = isinstance(error, openai.APIConnectionError | TimeoutError | ConnectionError) or _transport(error)
    return backoff if passing else None


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - faults.now()).total_seconds())
    except (TypeError, ValueError):
        return None


def _transport(error: Exception) -> bool:
    """Whether the HTTP client (httpx, or httpx2 from openai 3 on) lost the connection."""
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")


def _connecting(error: Exception) -> bool:
    """Whether the time ran out before there was a connection."""
    return type(error.__cause__).__name__ == "ConnectTimeout"


def _sleep(seconds: float, cancel: Cancel | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if cancel is not None:
            cancel.check()
        time.sleep(min(left, TICK_S))


def translated(error: Exception, name: str, *, silence_s: float, tries: int = 1) -> Exception:
    """The failure as one of ours; an exception that no server caused stays as it is."""
    import openai

    times = f" after {tries} tries" if tries > 1 else ""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return InputError(
            f"{name} refuses the key ({_said(error)}). Give api_key, or set FOVEAL_CHAT_KEY (for api.openai.com "
            "OPENAI_API_KEY counts, too)."
        )
    if isinstance(error, openai.APIStatusError):
        if error.status_code in (400, 404, 413, 422):
            return InputError(f"{name} does not take this request (status {error.status_code}: {_said(error)}).")
        return FetchFailed(f"{name} failed{times} (status {error.status_code}: {_said(error)}). Try again later.")
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        ran_out = "took no connection for" if _connecting(error) else "was silent for"
        return FetchFailed(
            f"{name} did not answer{times}: it {ran_out} {silence_s:g} s. Give it longer (chat_timeout_s of "
            "foveal.toml, timeout_s of load_chat), or try again later."
        )
    if isinstance(error, openai.APIConnectionError | ConnectionError) or _transport(error):
        cause = error.__cause__ or error
        return FetchFailed(f"{name} cannot be reached, or broke off{times} ({cause}). Is the server running?")
    if isinstance(error, openai.OpenAIError | ValueError):
        return FetchFailed(f"{name} sent what is no answer ({_said(error)}). Is it an OpenAI-compatible server?")
    return error


def _said(error: Exception) -> str:
    return f"{str(error) or type(error).__name__:.300}"
