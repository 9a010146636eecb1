"""Two processes that train under one name: the second is told of the first, and a kill leaves no lock."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from foveal.training import checkpoints
from foveal.training.alone import LOCK, RunBusy, hold
from foveal.training.loop import Curves, Job, LoopSettings, train
from foveal.training.report import Report
from foveal.training.runs import RunSettings, TrainingRun

OTHER = """
import sys
from pathlib import Path
from foveal.training.alone import RunBusy, hold
try:
    held = hold(Path(sys.argv[1]))
except RunBusy as error:
    sys.exit(str(error))
print("held", flush=True)
sys.stdin.read()
"""
KNOWN = {"base": "line"}


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def refused(folder: Path) -> str:
    """What another process is told that wants the folder; "": nothing, it got it."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER, str(folder)], input="", capture_output=True, text=True, check=False
    )
    return done.stderr


def line() -> Job:
    model = nn.Linear(1, 1)
    return Job(model, [{"x": torch.ones(1)}] * 4, lambda one, batch: one(batch["x"]).square().mean())


def test_the_second_is_told_of_the_first_and_a_kill_leaves_no_lock(tmp_path):
    folder = tmp_path / "runs" / "train" / "mine"
    with another(folder) as process:
        for train_it in (
            lambda: TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), KNOWN, kind="line"),
            lambda: train(line(), LoopSettings(steps=1, batch=2), folder),
        ):
            with pytest.raises(RunBusy, match=rf"pid {process.pid} .*another name"):
                train_it()
        assert [path.name for path in folder.iterdir()] == [LOCK]
        process.send_signal(signal.SIGKILL)
    assert TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), KNOWN, kind="line").folder == folder


def test_a_run_holds_its_folder_until_it_is_settled(tmp_path):
    run = TrainingRun.opened(RunSettings(home=tmp_path, name="mine", anew=True), KNOWN, kind="line")
    checkpoints.write(run.folder / "negatives.json", {})
    run = TrainingRun.opened(RunSettings(home=tmp_path, name="mine", anew=True), KNOWN, kind="line")
    assert {path.name for path in run.folder.iterdir()} == {LOCK, checkpoints.RUN}
    curves = train(line(), LoopSettings(steps=1, batch=2), run.folder / "stage-1")
    assert f"pid {os.getpid()}" in refused(run.folder)
    assert not refused(run.folder / "stage-1")
    with run.candidate() as made:
        made.mkdir()
        run.settle(made, Report("mine", "a line", "nothing", curves, {}, True))
    assert not refused(run.folder)
    assert isinstance(curves, Curves)


def test_a_run_that_is_given_up_holds_nothing(tmp_path):
    run = TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), KNOWN, kind="line")
    assert hold(run.folder) is run.held
    folder = run.folder
    del run
    gc.collect()
    assert not refused(folder)
