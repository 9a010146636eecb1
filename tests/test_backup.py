"""A home is copied while it is used, and put back whole; what is no backup, or a damaged one, is refused."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foveal import backup as backups
from foveal.backup import MANIFEST, RESTORING, backup, restore
from foveal.cli.main import app
from foveal.database import Database
from foveal.errors import InputError, LibraryBusy, StorageFull
from foveal.library import Library
from foveal.papers import accounts
from foveal.papers.secrets import secret_of
from foveal.settings import Settings
from foveal.types import Document

TEXTS = [f"# Mill {n}\n\nThe keeper of mill {n} is called Orsin {n}." for n in range(12)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "home", cache=tmp_path / "cache", encoder="none")
    Library.open(settings=made).add_documents(Document.of(f"x:{n}", text, f"Mill {n}") for n, text in enumerate(TEXTS))
    database = Database.open(made)
    accounts.add(database, "ana@example.org", login="ana")
    database.close()
    secret_of(made.home)
    for name in ("uploads/ab/paper.pdf", "models/mine/config.json", "memory/big.npy", "runs/train/x/run.json"):
        (made.home / name).parent.mkdir(parents=True, exist_ok=True)
        (made.home / name).write_text(name, encoding="utf-8")
    (made.home / "foveal.toml").write_text('encoder = "none"\n', encoding="utf-8")
    return made


def is_whole(home: Path, cache: Path) -> None:
    settings = Settings(home=home, cache=cache, encoder="none")
    library = Library.open(settings=settings, create=False)
    assert sorted(library.get(entry.id).text for entry in library.documents()) == sorted(TEXTS)
    assert library.search("Orsin 7", 1, retriever="lexical")[0].passage.text.endswith("Orsin 7.")
    library.add_documents([Document.of("x:new", "# New\n\nIt can be written to.", "New")])
    database = Database.open(settings)
    assert accounts.find(database, "ana").login == "ana"
    database.close()


def test_a_home_is_put_back_as_it_was(settings: Settings, tmp_path: Path) -> None:
    made = backup(settings, tmp_path / "copy")
    assert made.elsewhere == ()
    assert (tmp_path / "copy" / "uploads/ab/paper.pdf").is_file()
    assert not (tmp_path / "copy" / "memory").exists()
    assert not (tmp_path / "copy" / "runs").exists()
    back = restore(tmp_path / "copy", tmp_path / "new")
    assert (back.files, back.bytes) == (made.files, made.bytes)
    assert secret_of(tmp_path / "new") == secret_of(settings.home)
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o077 == 0
    is_whole(tmp_path / "new", settings.cache)
    everything = backup(settings, tmp_path / "all", everything=True)
    assert everything.files == made.files + 2


def test_a_backup_that_is_used_as_a_home_can_be_backed_up_and_put_back(settings: Settings, tmp_path: Path) -> None:
    backup(settings, tmp_path / "copy")
    made = backup(replace(settings, home=tmp_path / "copy"), tmp_path / "again")
    told = json.loads((tmp_path / "again" / MANIFEST).read_text(encoding="utf-8"))
    assert MANIFEST not in told["files"]
    assert restore(tmp_path / "again", tmp_path / "new").files == made.files
    is_whole(tmp_path / "new", settings.cache)
    told["files"][MANIFEST] = [7, "0"]  # as earlier ones have it, whose every file is there
    (tmp_path / "again" / MANIFEST).write_text(json.dumps(told), encoding="utf-8")
    assert restore(tmp_path / "again", tmp_path / "newer").files == made.files


def test_a_home_that_was_put_back_is_copied_whole_again(settings: Settings, tmp_path: Path) -> None:
    """Its libraries have no locks yet."""
    backup(settings, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new")
    again = backup(replace(settings, home=tmp_path / "new"), tmp_path / "second")
    assert again.elsewhere == ()
    assert not list((tmp_path / "second").rglob(".writer"))
    restore(tmp_path / "second", tmp_path / "newer")
    is_whole(tmp_path / "newer", settings.cache)


def test_tables_that_are_no_librarys_are_copied_as_files(settings: Settings, tmp_path: Path) -> None:
    other = settings.home / "uploads" / "rows.lance" / "data" / "x.bin"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"rows")
    backup(settings, tmp_path / "copy")
    assert (tmp_path / "copy" / other.relative_to(settings.home)).read_bytes() == b"rows"


def test_what_is_being_written_and_what_is_held_are_not_copied(settings: Settings, tmp_path: Path) -> None:
    (settings.home / "models" / ".partial-a1" / "deep").mkdir(parents=True)
    for name in ("models/.partial-a1/deep/model.bin", "uploads/.partial-b2", "models/.writer", "foveal.db-journal"):
        (settings.home / name).touch()
    backup(settings, tmp_path / "copy")
    found = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert "foveal.db" in found
    assert not {name for name in found if name.startswith((".partial-", ".writer", "foveal.db-"))}
    assert not {"deep", "model.bin"} & found


def test_a_library_in_an_object_store_is_said_to_be_elsewhere(settings: Settings, tmp_path: Path) -> None:
    made = backup(replace(settings, library_at="s3://bucket/papers/library"), tmp_path / "copy")
    assert [one for one in made.elsewhere if "s3://bucket/papers/library" in one]


def test_a_linked_file_is_copied_and_a_linked_folder_is_said_to_be_elsewhere(
    settings: Settings, tmp_path: Path
) -> None:
    """As where dotfiles are kept together, and models on a larger disk; "memory" is left out anyway."""
    kept, large = tmp_path / "kept.toml", tmp_path / "large"
    (settings.home / "foveal.toml").rename(kept)
    (settings.home / "foveal.toml").symlink_to(kept)
    (settings.home / "models").rename(large)
    (settings.home / "models").symlink_to(large)
    (settings.home / "memory" / "more").symlink_to(large)
    (settings.home / "gone").symlink_to(tmp_path / "nowhere")
    made = backup(settings, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new")
    back = tmp_path / "new" / "foveal.toml"
    assert (back.is_symlink(), back.read_bytes()) == (False, kept.read_bytes())
    assert not (tmp_path / "new" / "models").exists()
    assert [str(settings.home / "models") in one for one in made.elsewhere] == [True]


def test_a_library_that_is_a_link_is_copied(settings: Settings, tmp_path: Path) -> None:
    (settings.home / "library").rename(tmp_path / "large")
    (settings.home / "library").symlink_to(tmp_path / "large")
    assert backup(settings, tmp_path / "copy").elsewhere == ()
    restore(tmp_path / "copy", tmp_path / "new")
    is_whole(tmp_path / "new", settings.cache)


def test_a_database_of_its_own_place_is_said_to_be_elsewhere(settings: Settings, tmp_path: Path) -> None:
    made = backup(replace(settings, database=f"sqlite:///{tmp_path}/own.db"), tmp_path / "copy")
    assert [f"{tmp_path}/own.db" in one for one in made.elsewhere] == [True]


def test_a_name_that_is_no_text_comes_back(settings: Settings, tmp_path: Path) -> None:
    name = os.fsdecode(b"uploads/ab/caf\xe9.pdf")
    (settings.home / name).write_bytes(b"%PDF-")
    backup(settings, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new")
    assert (tmp_path / "new" / name).read_bytes() == b"%PDF-"


def test_a_file_is_no_folder_to_copy_to(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="there already"):
        backup(settings, tmp_path / "file")
    backup(settings, tmp_path / "copy")
    with pytest.raises(InputError, match="not an empty folder"):
        restore(tmp_path / "copy", tmp_path / "file")


def test_a_copy_that_is_made_while_others_write_is_of_one_moment(settings: Settings, tmp_path: Path) -> None:
    stop, database = threading.Event(), Database.open(settings)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            accounts.add(database, f"p{number}@example.org", login=f"p{number}")

    thread = threading.Thread(target=write)
    thread.start()
    for turn in range(5):
        backup(settings, tmp_path / f"copy-{turn}")
    stop.set()
    thread.join()
    database.close()
    counts = []
    for turn in range(5):
        restore(tmp_path / f"copy-{turn}", tmp_path / f"new-{turn}")
        opened = sqlite3.connect(tmp_path / f"new-{turn}" / "foveal.db")
        assert opened.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        counts.append(opened.execute("SELECT COUNT(*) FROM person").fetchone()[0])
        opened.close()
    assert counts == sorted(counts)
    assert counts[-1] > 1
    is_whole(tmp_path / "new-4", settings.cache)


def test_a_library_that_is_written_to_is_not_copied(settings: Settings, tmp_path: Path) -> None:
    with Library.open(settings=settings).store.writing(), pytest.raises(LibraryBusy):
        backup(settings, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(InputError, match="no backup"):
        restore(tmp_path / "copy", tmp_path / "new")


def test_whoever_adds_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    """As a nightly backup does; of two libraries none is held while the other is waited for."""
    held, let_go = threading.Event(), threading.Event()

    def add() -> None:
        with Library.open(settings=settings).store.writing():
            held.set()
            let_go.wait(60)

    writer = threading.Thread(target=add)
    writer.start()
    try:
        assert held.wait(60)
        with pytest.raises(LibraryBusy):
            backup(settings, tmp_path / "copy", wait_s=0.1)
        threading.Timer(0.7, let_go.set).start()
        done = CliRunner().invoke(
            app, ["admin", "backup", str(tmp_path / "copy"), "--wait", "60", "--home", str(settings.home)]
        )
    finally:
        let_go.set()
        writer.join()
    assert done.exit_code == 0, done.output
    restore(tmp_path / "copy", tmp_path / "new")
    is_whole(tmp_path / "new", settings.cache)


def test_nobody_else_may_read_a_backup_or_what_was_put_back(settings: Settings, tmp_path: Path) -> None:
    """Whatever the umask is: people's addresses are in it, and passwords."""
    (settings.home / "foveal.db").chmod(0o600)
    before = os.umask(0o000)
    try:
        backup(settings, tmp_path / "copies" / "monday")
        restore(tmp_path / "copies" / "monday", tmp_path / "new")
    finally:
        os.umask(before)
    for private in (tmp_path / "copies" / "monday", tmp_path / "new"):
        assert private.stat().st_mode & 0o077 == 0
        assert (private / "foveal.db").stat().st_mode & 0o077 == 0


def test_what_is_no_backup_is_refused_and_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    backup(settings, tmp_path / "copy")
    for wrong in (tmp_path / "copy", settings.home / "inside"):
        with pytest.raises(InputError):
            backup(settings, wrong)
    with pytest.raises(InputError, match="not an empty"):
        restore(tmp_path / "copy", settings.home)
    victim = tmp_path / "copy" / "uploads/ab/paper.pdf"
    victim.write_text("uploads/ab/papEr.pdf", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        restore(tmp_path / "copy", tmp_path / "new")
    victim.unlink()
    with pytest.raises(InputError, match="damaged"):
        restore(tmp_path / "copy", tmp_path / "new")
    told = json.loads((tmp_path / "copy" / MANIFEST).read_text(encoding="utf-8"))
    told["files"] = {"../outside": [1, "x"]}
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(InputError, match="outside"):
        restore(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_one_that_cannot_be_put_back_whole_is_not_put_back(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    """Half a home would open, with some of its texts and an empty database."""
    made = backup(settings, tmp_path / "copy")
    copied = shutil.copy2
    left = iter(range(made.files - 1))

    def full(path: Path, to: Path) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copied(path, to)

    with monkeypatch.context() as small:
        small.setattr(shutil, "copy2", full)
        with pytest.raises(StorageFull):
            restore(tmp_path / "copy", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    restore(tmp_path / "copy", tmp_path / "new")
    is_whole(tmp_path / "new", settings.cache)


@pytest.mark.parametrize("was_there", [False, True])
def test_a_backup_for_which_there_is_no_space_leaves_nothing_and_may_be_run_again(
    settings: Settings, tmp_path: Path, monkeypatch, was_there: bool
) -> None:
    """What it says is to run the command again: that must not be refused because the folder is there."""
    copied, left, copy = shutil.copy2, iter(range(2)), tmp_path / "copy"
    if was_there:
        copy.mkdir()

    def full(path: Path, to: Path) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copied(path, to)

    with monkeypatch.context() as small:
        small.setattr(shutil, "copy2", full)
        with pytest.raises(StorageFull, match="nothing of the copy is kept"):
            backup(settings, copy)
    assert copy.exists() == was_there
    assert not was_there or not list(copy.iterdir())
    backup(settings, copy)
    restore(copy, tmp_path / "new")
    is_whole(tmp_path / "new", settings.cache)


def test_a_backup_that_another_began_meanwhile_is_left_alone(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    """Between the first look at the folder and the right to the library another process may have filled it."""
    taken = backups._locked

    def late(*given: object) -> object:
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "theirs").write_text("theirs", encoding="utf-8")
        return taken(*given)

    monkeypatch.setattr(backups, "_locked", late)
    with pytest.raises(InputError, match="is there already"):
        backup(settings, tmp_path / "copy")
    assert (tmp_path / "copy" / "theirs").is_file()


def test_where_no_folder_can_be_made_the_place_is_named_and_not_the_library(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"Nothing was copied to .*file/copy.*or name another folder"):
        backup(settings, tmp_path / "file" / "copy")


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from foveal.backup import restore

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def after(call, times):
    left = iter(range(times))
    return lambda *given: die() if next(left, None) is None else call(*given)

if sys.argv[3] == "copying":
    shutil.copy2 = after(shutil.copy2, 5)
else:
    Path.rename = after(Path.rename, 2 if sys.argv[3] == "moving" else 0)
restore(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def restore_killed(folder: Path, home: Path, at: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, home, at], check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("at", ["copying", "moving"])
def test_a_kill_leaves_no_half_home_and_the_same_command_goes_on(settings: Settings, tmp_path: Path, at: str) -> None:
    backup(settings, tmp_path / "copy")
    backup(replace(settings, home=settings.home / "library"), tmp_path / "other")
    new = tmp_path / "new"
    restore_killed(tmp_path / "copy", new, at)
    left = {path.name for path in new.iterdir()}
    assert RESTORING in left
    if at == "copying":
        assert left == {RESTORING}
    else:
        with pytest.raises(InputError, match="not an empty folder"):
            restore(tmp_path / "other", new)
    restore(tmp_path / "copy", new)
    assert not (new / RESTORING).exists()
    is_whole(new, settings.cache)


def test_a_kill_within_another_backup_leaves_nothing_of_the_first(settings: Settings, tmp_path: Path) -> None:
    """All of one was copied, and then a part of the other: that part is not the first one's."""
    backup(settings, tmp_path / "copy")
    backup(replace(settings, home=settings.home / "library"), tmp_path / "other")
    new = tmp_path / "new"
    restore_killed(tmp_path / "copy", new, "copied")
    restore_killed(tmp_path / "other", new, "copying")
    restore(tmp_path / "copy", new)
    is_whole(new, settings.cache)


def test_a_home_that_another_process_restored_meanwhile_stays_as_it_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, new, read = tmp_path / "copy", tmp_path / "new", backups._hash
    backup(settings, copy)

    def quicker(path: Path) -> str:
        monkeypatch.setattr(backups, "_hash", read)
        restore(copy, new)
        (new / "foveal.db").write_text("what was written since")
        return read(path)

    monkeypatch.setattr(backups, "_hash", quicker)
    with pytest.raises(InputError, match="not an empty folder"):
        restore(copy, new)
    assert (new / "foveal.db").read_text() == "what was written since"
    assert not (new / RESTORING).exists()


def test_two_processes_do_not_restore_at_once(settings: Settings, tmp_path: Path) -> None:
    backup(settings, tmp_path / "copy")
    (tmp_path / "new" / RESTORING).mkdir(parents=True)
    with (tmp_path / "new" / RESTORING / ".writer").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="Another process"):
            restore(tmp_path / "copy", tmp_path / "new")
    restore(tmp_path / "copy", tmp_path / "new")
    is_whole(tmp_path / "new", settings.cache)


def test_the_commands(settings: Settings, tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["admin", "backup", str(tmp_path / "copy"), "--home", str(settings.home), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["files"] > 10
    done = run.invoke(app, ["admin", "restore", str(tmp_path / "copy"), "--home", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert "files" in done.stdout
    is_whole(tmp_path / "new", settings.cache)


def test_what_is_left_of_another_backup_and_cannot_be_removed_gets_into_no_home(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(settings, tmp_path / "copy")
    left = tmp_path / "new" / RESTORING / "files" / "of another"
    left.mkdir(parents=True)
    removed = shutil.rmtree

    def refused(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(InputError, match="Permission denied"):
        restore(tmp_path / "copy", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [RESTORING]
    monkeypatch.setattr(shutil, "rmtree", removed)
    restore(tmp_path / "copy", tmp_path / "new")
    is_whole(tmp_path / "new", settings.cache)
