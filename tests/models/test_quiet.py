"""Silence is of the whole process: threads that are inside together leave it as it was, in whatever order they go."""

from __future__ import annotations

import gc
from contextlib import ExitStack

import pytest
from transformers import dynamic_module_utils
from transformers.utils import logging

from foveal.models.quiet import quiet


def state() -> tuple[object, ...]:
    bars = logging.is_progress_bar_enabled()
    return logging.get_verbosity(), bars, dynamic_module_utils.TIME_OUT_REMOTE_CODE, gc.isenabled()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_what_was_comes_back_with_the_last_who_leaves(order):
    before = state()
    inside = [ExitStack() for _ in order]
    for one in inside:
        one.enter_context(quiet())
    silent = (logging.ERROR, False, 0, False)
    for number in order:
        assert state() == silent
        inside[number].close()
    assert state() == before


def test_an_error_inside_ends_it_too():
    before = state()
    with pytest.raises(OSError, match="away"), quiet():
        raise OSError("away")
    assert state() == before
