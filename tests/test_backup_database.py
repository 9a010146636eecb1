"""What a backup says of a database that cannot be copied."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from foveal.backup import MANIFEST, backup
from foveal.errors import InputError, StorageFull
from foveal.settings import Settings


@pytest.mark.parametrize("damage", ["no database", "a page"])
def test_a_damaged_database_is_said_and_makes_no_backup(tmp_path: Path, damage: str) -> None:
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", encoder="none")
    settings.home.mkdir()
    path = settings.home / "foveal.db"
    if damage == "no database":
        path.write_bytes(b"no database at all\n" * 1000)
    else:
        with closing(sqlite3.connect(path)) as made, made:
            made.execute("CREATE TABLE paper (id INTEGER PRIMARY KEY, title TEXT)")
            made.executemany("INSERT INTO paper (title) VALUES (?)", [("x" * 500,)] * 200)
        content = bytearray(path.read_bytes())
        content[4096:8192] = bytes(4096)  # the table's own
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"foveal\.db.*older backup"):
        backup(settings, tmp_path / "copy")
    assert not (tmp_path / "copy" / MANIFEST).exists()


def test_a_full_disk_is_said_and_makes_no_backup(tmp_path: Path) -> None:
    settings, disk = Settings(home=tmp_path / "home", cache=tmp_path / "cache", encoder="none"), tmp_path / "disk"
    settings.home.mkdir()
    disk.mkdir()
    with closing(sqlite3.connect(settings.home / "foveal.db")) as made, made:
        made.execute("CREATE TABLE paper (title TEXT)")
        made.executemany("INSERT INTO paper VALUES (?)", [("x" * 500,)] * 2000)
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a small disk")
    try:
        with pytest.raises(StorageFull, match="No space is left"):
            backup(settings, disk / "copy")
        assert not (disk / "copy" / MANIFEST).exists()
    finally:
        subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)
