"""Calls to a model server: never held by a silent one, tried again where that helps, failures in our words."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from foveal import faults
from foveal.errors import FetchFailed, FovealError, InputError
from foveal.models.chat import Cancel
from foveal.models.chat_pieces import EmptyAnswer, ToldError, message_in, status_in

TICK_S = 0.05
"""How often a waiting call looks whether it was cancelled."""

FIRST_WAIT_S = 0.5
"""Before the second try; doubled before each further one; a quarter of chance keeps clients out of step."""

LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause than this is taken to refuse."""

LIMITED, LIMITED_TRIES, SLOWER = 429, 6, 4
"""What a server says that is asked too often; the tries after the first, which outlast a limit by the minute; and how
much longer the pauses are than after another failure, where it names none."""

PASSING = (408, 409, LIMITED)
"""Refusals that may pass, beside all failures of a server."""

NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance")
"""Codes of a limit that no pause helps against."""

NO_MONEY = 402
"""What some say of an account without credit."""

_AGAIN_IN = re.compile(
    r"(?:try again|retry) (?:in|after)\W+(?:(\d{1,6})m)?(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s\b|sec)", re.IGNORECASE
)
_UNTRUSTED = re.compile(r"\[SSL\b.{0,40}(?:CERTIFICATE|WRONG.VERSION|UNKNOWN.PROTOCOL|RECORD.LAYER|HTTP.REQUEST)", re.I)
"""Of a handshake that fails each time; one that is broken off may pass."""

T = TypeVar("T")


class Silence(TimeoutError):
    """Nothing came for so many seconds; `first`: not even a first word."""

    def __init__(self, seconds: float, *, first: bool) -> None:
        super().__init__(f"nothing came for {seconds:g} s")
        self.seconds, self.first = seconds, first


class Pace:
    """When a server may be asked again: a pause that it asks one call for is kept by all that go to it."""

    def __init__(self) -> None:
        self._until, self._lock = 0.0, Lock()

    def hold(self, seconds: float) -> None:
        """Let nothing be asked for so long."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, cancel: Cancel | None) -> None:
        """Until it may be asked. Cancelled: `cancel` was set."""
        while (left := self._until - time.monotonic()) > 0:
            _sleep(left, cancel)


def heard(
    make: Callable[[], Generator[T, None, None]],
    *,
    silence_s: float,
    cancel: Cancel | None,
    first_s: float | None = None,
    begun: Callable[[T], bool] = bool,
) -> Iterator[T]:
    """What `make()` gives, read in a thread of its own, so that its reader can leave while the server is silent.

    Until an item has `begun` what is waited for, it may be silent for `first_s` (default: as long as later on).

    Silence: nothing came for `silence_s`. Cancelled: `cancel` was set. The thread ends with its next item, or at
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
    first, until_first = True, silence_s if first_s is None else first_s
    try:
        while True:
            kind, value = _next(box, until_first if first else silence_s, cancel, first=first)
            if kind == "end":
                return
            if kind == "error":
                raise value
            first = first and not begun(value)
            yield value
    finally:
        left.set()


def _next(
    box: SimpleQueue[tuple[str, Any]], silence_s: float, cancel: Cancel | None, *, first: bool
) -> tuple[str, Any]:
    until = time.monotonic() + silence_s
    while True:
        if cancel is not None:
            cancel.check()
        try:
            return box.get(timeout=TICK_S)
        except Empty:
            if time.monotonic() > until:
                raise Silence(silence_s, first=first) from None


def retried(
    run: Callable[[], T],
    *,
    retries: int,
    name: str,
    silence_s: float,
    cancel: Cancel | None,
    pace: Pace | None = None,
) -> T:
    """`run()`, again after a pause while the failure may pass, at most `retries` times more; at most `LIMITED_TRIES`
    where the server is only asked too often.

    `silence_s` is what `run` waits, for an error to name; `pace` is kept, and told of pauses that the server asks for.
    """
    pace = pace or Pace()
    for attempt in range(max(retries, LIMITED_TRIES) + 1):
        pace.wait(cancel)
        try:
            return run()
        except FovealError:
            raise
        except Exception as error:
            if isinstance(error.__cause__, FovealError):  # one of ours, that the client wrapped
                raise error.__cause__ from None
            limited = _status(error) == LIMITED
            wait = pause(error, attempt)
            if wait is None or attempt >= (max(retries, LIMITED_TRIES) if limited and retries else retries):
                told = translated(error, name, silence_s=silence_s, tries=attempt + 1)
                if told is error:  # a fault of ours: not its own cause, which nobody could walk along to its end
                    raise
                raise told from error
            if limited:
                pace.hold(wait)
            else:
                _sleep(wait, cancel)
    raise AssertionError  # the last attempt returned or raised


def pause(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before the next try, or None where another try would fail alike."""
    import openai

    backoff: float = FIRST_WAIT_S * 2**attempt * random.uniform(0.75, 1.25)
    status = _status(error)
    if status is not None:
        if (status not in PASSING and status < 500) or _no_credit(error):
            return None
        asked = _asked_pause(error)
        if asked is None:
            return min(LONGEST_WAIT_S, SLOWER * backoff) if status == LIMITED else backoff
        return asked if asked <= LONGEST_WAIT_S else None
    if _untrusted(error) or (attempt and _costs(error)):
        return None
    passing = isinstance(error, openai.APIConnectionError | TimeoutError | ConnectionError) or _transport(error)
    return backoff if passing else None


def _costs(error: Exception) -> bool:
    """Whether a further try costs more than it promises: a slow server that is asked again and again only gets slower,
    and the same question mostly gets the same empty answer, each of which is paid for."""
    import openai

    late = isinstance(error, openai.APITimeoutError) and not _connecting(error)
    return late or isinstance(error, EmptyAnswer) or (isinstance(error, Silence) and error.first)


def _status(error: Exception) -> int | None:
    """The status of a failure, be it that of the answer or one that is told in it."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code
    if isinstance(error, ToldError):
        return error.status
    in_stream = isinstance(error, openai.APIError) and not isinstance(error, openai.APIConnectionError)
    return status_in(error.body) if in_stream and isinstance(error, openai.APIError) else None


def _no_credit(error: Exception) -> bool:
    """Whether an account has nothing left, which no pause helps against."""
    named = getattr(error, "code", None), getattr(error, "type", None)
    return _status(error) == NO_MONEY or any(one in NO_CREDIT for one in named)


def _asked_pause(error: Exception) -> float | None:
    """The pause that a server asks for: in a header, or in the words of its error."""
    response = getattr(error, "response", None)
    headers = response.headers if response is not None else {}
    asked, with_ms = _retry_after(headers.get("retry-after")), _retry_after(headers.get("retry-after-ms"))
    if asked is None and with_ms is not None:
        asked = with_ms / 1000
    if asked is None and (found := _AGAIN_IN.search(str(error))):
        minutes, number, unit = found.groups()
        asked = 60 * int(minutes or 0) + float(number) / (1000 if unit.lower() == "ms" else 1)
    return asked


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
    if isinstance(error, openai.APIStatusError):
        return _refused(error, name, times)
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        seconds = getattr(error, "seconds", silence_s)
        ran_out = "took no connection for" if _connecting(error) else "was silent for"
        return FetchFailed(
            f"{name} did not answer{times}: it {ran_out} {seconds:g} s. Give it longer (chat_timeout_s of "
            "foveal.toml, timeout_s of load_chat), or try again later."
        )
    if isinstance(error, EmptyAnswer):
        return FetchFailed(
            f"{name} gave an empty answer{times}. Look into the server's log, whether its chat template and its parser "
            "of reasoning fit the model; or ask another model."
        )
    in_stream = isinstance(error, openai.APIError) and not isinstance(error, openai.APIConnectionError) and error.body
    if isinstance(error, ToldError) or in_stream:
        return FetchFailed(f"{name} failed{times}, and says: {_said(error)}. {_advice(error)}")
    if isinstance(error, openai.APIConnectionError | ConnectionError) or _transport(error):
        return _unreachable(error, name, times)
    if isinstance(error, openai.OpenAIError | ValueError):
        return FetchFailed(f"{name} sent what is no answer ({_said(error)}). Is it an OpenAI-compatible server?")
    return error


def _refused(error: Any, name: str, times: str) -> FovealError:
    """An answer whose status says that it is none, as one of ours."""
    if error.status_code in (401, 403):
        return InputError(
            f"{name} refuses the key ({_said(error)}). Give api_key, or set FOVEAL_CHAT_KEY (for api.openai.com "
            "OPENAI_API_KEY counts, too)."
        )
    if error.status_code in (400, 404, 413, 422):
        return InputError(f"{name} does not take this request (status {error.status_code}: {_said(error)}).")
    return FetchFailed(f"{name} failed{times} (status {error.status_code}: {_said(error)}). {_advice(error)}")


def _unreachable(error: Exception, name: str, times: str) -> FovealError:
    cause = error.__cause__ or error
    if _untrusted(error):
        return FetchFailed(
            f"{name} shows no certificate that this machine trusts ({cause}). Name the file of the authority that "
            "signed it by SSL_CERT_FILE; a server without TLS has an address with http://."
        )
    return FetchFailed(
        f"{name} cannot be reached, or broke off{times} ({cause}). Is the server running?{_proxy(error)}"
    )


def _advice(error: Exception) -> str:
    """What to do about a server that fails."""
    if _no_credit(error):
        return "The account has no credit left there: add some, or ask another model."
    asked = _asked_pause(error)
    if asked is not None and asked > LONGEST_WAIT_S:
        return f"It asks to wait for {asked:,.0f} s. Try again then."
    return f"Try again later.{_proxy(error) if _status(error) in (502, 503, 504) else ''}"


def _proxy(error: Exception) -> str:
    """That a call went by a proxy, which may be what fails."""
    try:
        request = getattr(error, "request", None) or getattr(error.__cause__, "request", None)
    except RuntimeError:  # the HTTP client's error, of no request that it knows
        return ""
    parts = urlsplit(str(getattr(request, "url", "")))
    proxies = getproxies()
    own = parts.scheme if proxies.get(parts.scheme) else "all"
    used = proxies.get(own)
    if not (used and parts.hostname) or proxy_bypass(parts.hostname):
        return ""
    return f" It is asked by the proxy of {own.upper()}_PROXY; NO_PROXY={parts.hostname} goes past it."


def _untrusted(error: Exception) -> bool:
    """Whether a server's certificate was refused, or it speaks no TLS."""
    cause = error.__cause__
    return any(_UNTRUSTED.search(str(one)) for one in (error, cause, cause and cause.__cause__) if one)


def _said(error: Exception) -> str:
    body = getattr(error, "body", None)
    told = message_in(body) if body and not getattr(error, "message", "").strip() else ""
    text = str(error)
    response = getattr(error, "response", None)
    if response is not None and re.fullmatch(r"Error code: \d+", text):  # a body that the client does not read
        try:
            told = message_in(response.json())
        except ValueError:
            told = ""
        text = f"{text} - {' '.join(told.split())}" if told else text
    return f"{text or told or type(error).__name__:.300}"
