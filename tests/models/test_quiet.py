"""Silence is of the whole process: threads that are inside together leave it as it was, in whatever order they go."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
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


FORKING = """
import os, signal, threading, time
from transformers.utils import logging
from foveal.models.quiet import quiet

INSIDE, OVER = threading.Event(), threading.Event()
STATE = logging.get_verbosity()

def forked(run):
    child = os.fork()
    if not child:
        signal.alarm(20)  # what hangs ends by it
        os._exit(int(not run()))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

WHILE_ENTERING = """
quietly = logging.set_verbosity_error

def slowly():
    INSIDE.set()
    time.sleep(0.5)
    quietly()

def another():
    with quiet():
        OVER.wait()

def enters():
    with quiet():
        return logging.get_verbosity() == logging.ERROR

logging.set_verbosity_error = slowly
thread = threading.Thread(target=another)
thread.start()
INSIDE.wait()
code = forked(enters)
OVER.set()
thread.join()
raise SystemExit(code)
"""

WHILE_INSIDE = """
def another():
    with quiet():
        INSIDE.set()
        OVER.wait()

def as_it_was():
    return logging.get_verbosity() == STATE != logging.ERROR

thread = threading.Thread(target=another)
thread.start()
INSIDE.wait()
code = forked(as_it_was)
with quiet():
    code = code or forked(lambda: not as_it_was())
    OVER.set()
    thread.join()
raise SystemExit(code or not as_it_was())
"""


WHILE_MAKING = """
from foveal.models.dtypes import usual_type

def another():
    with usual_type():
        INSIDE.set()
        OVER.wait(0.5)
        {more}

def makes():
    with usual_type(), quiet():
        return True

{first}
thread = threading.Thread(target=another)
thread.start()
INSIDE.wait()
raise SystemExit(forked(makes))
"""
THEN_QUIET = WHILE_MAKING.format(first="with quiet(): pass", more="with quiet(): pass")
"""Both locks, in the order in which a fork must take them."""
WHILE_MAKING = WHILE_MAKING.format(first="", more="")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "script",
    [WHILE_ENTERING, WHILE_INSIDE, WHILE_MAKING, THEN_QUIET],
    ids=["entering", "inside", "making", "making, then quiet"],
)
def test_a_fork_meets_no_thread_that_is_gone(script):
    ran = subprocess.run([sys.executable, "-c", FORKING + script], timeout=120, check=False)
    assert ran.returncode == 0
