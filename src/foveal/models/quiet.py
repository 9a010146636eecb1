"""Calls into transformers without its progress bars, remarks and questions, as fast as they go; errors in a line."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from foveal.models.dtypes import load_in_turn


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers shows errors only, asks nobody whether to run a model's code (it is an error then), loads in
    turn with other threads, and the garbage collector waits."""
    collecting = gc.isenabled()
    gc.disable()  # imports and tokenizers make millions of objects that stay: looking through them takes a quarter
    try:
        from transformers import dynamic_module_utils, utils

        load_in_turn()
        code: Any = dynamic_module_utils
        logging: Any = utils.logging
        waits = code.TIME_OUT_REMOTE_CODE  # seconds for a "y" on the terminal, which would run it
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        code.TIME_OUT_REMOTE_CODE = 0
        try:
            yield
        finally:
            code.TIME_OUT_REMOTE_CODE = waits
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
    finally:
        if collecting:
            gc.enable()


def in_a_line(error: Exception) -> str:
    """What an error says, by its kind and first line: in the next, transformers lists the hundreds of models it has."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
