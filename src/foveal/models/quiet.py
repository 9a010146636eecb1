"""Calls into transformers without its progress bars, remarks and questions, as fast as they go; errors in a line."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

from foveal.models.dtypes import load_in_turn


class _Silence:
    """Of the whole process: the first thread that comes in makes it, the last that goes out puts back what was."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, ExitStack()

    def enter(self) -> None:
        """Be inside."""
        with self._lock:
            if not self._inside:
                with ExitStack() as before:  # what fails midway is undone
                    _silence(before)
                    self._before = before.pop_all()
            self._inside += 1

    def leave(self) -> None:
        """Be outside again."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.close()


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
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()


def in_a_line(error: Exception) -> str:
    """What an error says, by its kind and first line: in the next, transformers lists the hundreds of models it has."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
