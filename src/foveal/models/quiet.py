"""Calls into transformers without its progress bars and remarks, and as fast as they go."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers shows errors only, and the garbage collector waits."""
    collecting = gc.isenabled()
    gc.disable()  # imports and tokenizers make millions of objects that stay: looking through them takes a quarter
    try:
        from transformers import utils

        logging: Any = utils.logging
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
    finally:
        if collecting:
            gc.enable()
