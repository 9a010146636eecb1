"""A run whose disk is full says which folder has no room, and that it goes on: before it begins, and when it ends."""

import errno

import pytest

from foveal.errors import StorageFull
from foveal.training import runs
from foveal.training.runs import RunSettings, TrainingRun

KNOWN_BY = {"what": "a model"}
SAID = r"could not be written into .*runs/train/mine, whose disk has .* MB left\. Make room, and give the same command"


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_that_cannot_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "hold", full)
    with pytest.raises(StorageFull, match=SAID):
        TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), KNOWN_BY, kind="model")


def test_a_model_that_cannot_be_written(tmp_path):
    """Of a ranker of features, say, whose files are JSON; afterwards nothing half lies there."""
    run = TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), KNOWN_BY, kind="model")
    with pytest.raises(StorageFull, match=SAID), run.candidate() as made:
        full(made.mkdir())
    assert not list(run.folder.glob("candidate-*"))


def test_what_is_no_full_disk_stays_what_it_is(tmp_path):
    run = TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), KNOWN_BY, kind="model")
    with pytest.raises(PermissionError), run.candidate():
        raise PermissionError(errno.EACCES, "Permission denied")
