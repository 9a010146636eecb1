"""Calls into transformers without its progress bars, remarks and questions, as fast as they go; errors in a line."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import RLock, get_ident
from typing import Any

from foveal.models.dtypes import changing, load_in_turn


class _Silence:
    """Of the whole process: the first thread that comes in makes it, the last that goes out puts back what was.

    A fork waits until nobody is just coming in, who may be importing transformers: in the child that thread would be
    gone, and its locks held for ever. Of those inside only who forks is in the child.
    """

    def __init__(self) -> None:
        self._lock, self._before = RLock(), ExitStack()
        self._inside: dict[object, int] = {}  # who is inside: its thread

    def enter(self) -> object:
        """Be inside; what `leave` is given."""
        self._mind_forks()
        with self._lock:
            if not self._inside:
                with ExitStack() as before:  # what fails midway is undone
                    _silence(before)
                    self._before = before.pop_all()
            who = object()
            self._inside[who] = get_ident()
            return who

    def leave(self, who: object) -> None:
        """Be outside again."""
        with self._lock:
            del self._inside[who]
            if not self._inside:
                self._before.close()

    @cache  # noqa: B019 (there is one)
    def _mind_forks(self) -> None:
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._wait, after_in_parent=self._go_on, after_in_child=self._alone)

    def _wait(self) -> None:
        changing.acquire()  # first, as a thread does that comes in here while it makes a model
        self._lock.acquire()

    def _go_on(self) -> None:
        self._lock.release()
        changing.release()

    def _alone(self) -> None:
        """In a child: only the thread that forked is left."""
        here, silent = get_ident(), bool(self._inside)
        self._inside = {who: thread for who, thread in self._inside.items() if thread == here}
        if silent and not self._inside:
            self._before.close()
        self._go_on()


def _silence(before: ExitStack) -> None:
    """Make it quiet; `before` puts all back as it was."""
    if gc.isenabled():  # imports and tokenizers make millions of objects that stay: looking at them is a quarter
        before.callback(gc.enable)
        gc.disable()
    from transformers import dynamic_module_utils, utils

    load_in_turn()
    code: Any = dynamic_module_utils
    logging: Any = utils.logging
    before.callback(setattr, code, "TIME_OUT_REMOTE_CODE", code.TIME_OUT_REMOTE_CODE)
    before.callback(logging.set_verbosity, logging.get_verbosity())
    if logging.is_progress_bar_enabled():
        before.callback(logging.enable_progress_bar)
    code.TIME_OUT_REMOTE_CODE = 0  # seconds for a "y" on the terminal, which would run it
    logging.set_verbosity_error()
    logging.disable_progress_bar()


_SILENCE = _Silence()


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers shows errors only, asks nobody whether to run a model's code (it is an error then), loads in
    turn with other threads, and the garbage collector waits; in all threads, until the last of them is outside."""
    who = _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave(who)


def in_a_line(error: Exception) -> str:
    """What an error says, by its kind and first line: in the next, transformers lists the hundreds of models it has."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
