"""What a run kept stays where a disk answers by an error just now, and an older model where a new one cannot come."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.errors import InputError
from foveal.training import checkpoints
from foveal.training.model_folders import moved

FAILING = Path("/proc/self/mem")
"""A file that is there, and whose reading is an error of the machine (EIO)."""


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "weights").write_text("hours of work")
    return made


def test_a_checkpoint_that_cannot_be_read_just_now_is_kept(tmp_path):
    made = checkpoint(tmp_path, 10)
    (made / checkpoints.WHOLE).symlink_to(FAILING)
    with pytest.raises(InputError, match=r"checkpoint-10.*cannot be read.*Nothing of it was removed"):
        checkpoints.latest(tmp_path)
    assert (made / "weights").read_text() == "hours of work"
    (made / checkpoints.WHOLE).unlink()
    assert checkpoints.latest(tmp_path) is None  # it is a half
    assert not made.exists()


def test_a_run_whose_name_cannot_be_read_just_now_is_nobody_elses(tmp_path):
    (tmp_path / checkpoints.RUN).symlink_to(FAILING)
    checkpoints.write(tmp_path / checkpoints.DONE, {"of": "another run"})
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.claim(tmp_path, {"base": "mine"})
    assert (tmp_path / checkpoints.RUN).is_symlink()


def model(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "weights").write_text(text)
    return folder


def test_a_model_whose_successor_cannot_take_its_place_stays(tmp_path):
    place = model(tmp_path / "models" / "mine", "old")
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError):
        moved(tmp_path / "run" / "gone", place, replace=True)
    assert (place / "weights").read_text() == "old"


def test_a_model_that_a_kill_left_aside_comes_back_where_the_new_one_fails(tmp_path):
    work = tmp_path / "run"
    model(work / ".mine-before", "old")  # killed between the two renamings
    place = tmp_path / "models" / "mine"
    with pytest.raises(FileNotFoundError):
        moved(work / "gone", place, replace=True)
    assert (place / "weights").read_text() == "old"
    moved(model(work / "new", "new"), place, replace=True)
    assert (place / "weights").read_text() == "new"
    assert list(work.iterdir()) == []
