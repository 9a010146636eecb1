"""What the suite does once instead of for each test: the commands' tree, a database's first tables, the walk of the
garbage collector over all that was imported."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import sys
from functools import cache, wraps
from pathlib import Path

import pytest
import typer.testing
from sqlalchemy import Engine

from foveal import database

IMPORTED = 300
"""Modules that have come since the last time, from which on what there is is put out of the collector's sight again."""


def one_tree(patch: pytest.MonkeyPatch) -> None:
    """A Typer's command is made once; it holds nothing of a call."""
    patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))


def one_migration(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """A new SQLite database begins as a copy of one whose tables our migrations made."""
    made = folder / "tables.db"
    upgrade = database.upgrade

    @wraps(upgrade)
    def copied(engine: Engine, revision: str = "head") -> None:
        path = Path(engine.url.database or ":memory:")
        if revision == "head" and engine.dialect.name == "sqlite" and path.parent.is_dir() and not path.exists():
            if not made.exists():
                first = database.engine_of(f"sqlite:///{made}")
                upgrade(first)
                first.dispose()
            own = Path(f"{path}.{secrets.token_hex(4)}")
            shutil.copyfile(made, own)
            try:
                os.link(own, path)
            except FileExistsError:  # another thread was quicker
                pass
            finally:
                own.unlink()
        upgrade(engine, revision)

    patch.setattr(database, "upgrade", copied)


class Unseen:
    """Puts what was imported out of the collector's sight: trainers, among others, collect at each start and end."""

    def __init__(self) -> None:
        self.imported, self.file = 0, ""

    def at(self, file: str) -> None:
        """Called before each test with its file."""
        if file != self.file and len(sys.modules) >= self.imported + IMPORTED:
            gc.collect()
            gc.freeze()
            self.imported = len(sys.modules)
        self.file = file
