"""Ctrl-C and SIGTERM end what is open first: a server waits for open streams before it tells its app that it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def closed_by_signals(close: Callable[[], None]) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM call `close` (in a thread: it takes locks) before what they did until now.

    Only in the main thread, where signals are handled; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=close, daemon=True).start()
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        elif previous is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
