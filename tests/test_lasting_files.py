"""What nobody can make again is on the disk before it is said to be kept: a power cut leaves no empty file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.backup import RESTORING, backup, restore
from foveal.evaluation.files import whole_file
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.papers.secrets import secret_of
from foveal.ranking.chosen import choose
from foveal.reading import titans_memory
from foveal.reading.state import State, save
from foveal.settings import Settings
from foveal.web.uploads import file_given


class Disk:
    """What was forced to the disk: the content of files then, and the names in folders."""

    def __init__(self) -> None:
        self.contents: set[bytes] = set()
        self.names: dict[Path, set[str]] = {}

    def __call__(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        if path.is_dir():
            self.names[path] = {one.name for one in path.iterdir()}
        else:
            self.contents.add(path.read_bytes())

    def has(self, path: Path, home: Path) -> bool:
        """Whether a file, and each folder down to it, would be there after a power cut."""
        places = [path, *path.parents]
        below = places[: places.index(home)]
        return path.read_bytes() in self.contents and all(one.name in self.names.get(one.parent, ()) for one in below)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(os, "fsync", made)
    return made


def settings_at(home: Path) -> Settings:
    return Settings(home=home, cache=home, encoder="none")


def uploaded(home: Path) -> Path:
    return Path(file_given(settings_at(home), "tides.md", b"Water comes twice a day.").source)


def read_so_far(home: Path) -> Path:
    path = home / "states" / "a.json"
    save(path, State({"model": "m"}))
    return path


class Blind:
    """An encoder that is never asked."""

    fingerprint = "none"


def remembered(home: Path) -> Path:
    path, memory = home / "memories" / "a.safetensors", PassageMemory(PassageSettings(vector=8, codes=64))
    titans_memory.save(path, titans_memory.begun(memory), memory, Blind())
    return path


def ranker_chosen(home: Path) -> Path:
    return choose(home, "blockrank")


def ranker_chosen_anew(home: Path) -> Path:
    (home / "foveal.toml").write_text('encoder = "none"\n', encoding="utf-8")
    return choose(home, "blockrank")


def secret(home: Path) -> Path:
    secret_of(home)
    return home / "secret.key"


@pytest.mark.parametrize("keep", [uploaded, read_so_far, remembered, ranker_chosen, ranker_chosen_anew, secret])
def test_what_a_person_gave_is_on_the_disk(keep: Callable[[Path], Path], tmp_path: Path, disk: Disk) -> None:
    assert disk.has(keep(tmp_path), tmp_path)


def test_what_can_be_made_again_does_not_wait_for_the_disk(tmp_path: Path, disk: Disk) -> None:
    with whole_file(tmp_path / "a" / "b") as partial:
        partial.write_bytes(b"x")
    assert (disk.contents, disk.names) == (set(), {})


def test_a_system_that_cannot_force_folders_keeps_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError("no folders")

    monkeypatch.setattr(os, "fsync", refused)
    with whole_file(tmp_path / "a" / "b", lasting=True) as partial:
        partial.write_bytes(b"x")
    assert (tmp_path / "a" / "b").read_bytes() == b"x"


def test_a_backup_is_on_the_disk_before_it_is_one(tmp_path: Path, disk: Disk) -> None:
    home, kept = tmp_path / "home", tmp_path / "kept" / "today"
    uploaded(home)
    disk.contents.clear()
    backup(settings_at(home), kept)
    copies = [path for path in kept.rglob("*") if path.is_file()]
    assert len(copies) == 2
    assert all(disk.has(path, kept.parent) for path in copies)
    disk.contents.clear()
    restore(kept, tmp_path / "new")
    (restored,) = (path for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert restored.read_bytes() in disk.contents
    assert "uploads" in disk.names[tmp_path / "new" / RESTORING / "files"]
