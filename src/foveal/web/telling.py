"""What a visitor reads of an error: its sentence, without where anything lies on this machine.

    told("…/foveal/models/mine is damaged", settings)       # "HOME/models/mine is damaged"

An operator reads the whole of it in the log.
"""

from __future__ import annotations

import re
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import foveal
from foveal.settings import Settings

LEAST_PARTS = 2
"""Parts of a folder's path, the root counted; "/" alone stands before everything."""


def told(said: str, settings: Settings) -> str:
    """The sentence with HOME, CACHE and the like in the place of the machine's folders."""
    for place, name in _places(settings.home, settings.cache):
        said = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w-])", name, said)
    for address, name in ((settings.library_uri, "LIBRARY"), (settings.database, "DATABASE")):
        if "://" in address:
            said = said.replace(address, name)
    return said


@lru_cache(maxsize=8)
def _places(home: Path, cache: Path) -> list[tuple[str, str]]:
    """The folders that have a name, those inside another one first."""
    named = {
        Path(tempfile.gettempdir()): "TEMP",
        Path(sys.prefix): "PYTHON",
        Path(foveal.__file__).parent: "FOVEAL",
        _own_folder(): "~",
        cache: "CACHE",
        home: "HOME",
    }
    known = {one: name for path, name in named.items() for one in (path, path.absolute()) if _says(one)}
    return sorted(((str(path), name) for path, name in known.items()), key=lambda one: -len(one[0]))


def _own_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without one
        return Path("/")


def _says(path: Path) -> bool:
    return path.is_absolute() and len(path.parts) >= LEAST_PARTS
