"""Where a command draws: what would end its picture is said before its work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from foveal.registry import require


def drawable(path: Path | None) -> Path | None:
    """The callback of an option that names a PNG. Wrong usage: it cannot be written. MissingExtra: nor drawn."""
    if path is None:
        return None
    if path.suffix != ".png":
        raise typer.BadParameter(f"The picture is a PNG; its name must end in .png, not as in {path.name!r}.")
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder. Name a file for the picture.")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise typer.BadParameter(f"Nothing can be written in {there}. Name another place.")
    require("matplotlib", extra="bench")
    return path
