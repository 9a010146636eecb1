"""The ranker of a home: what orders its searches that name neither a retriever nor a ranker.

    choose(home, "mine")      foveal.toml gets `ranker = "mine"`, as by `foveal train use mine`; "none" takes it out
    load_chosen(settings)     the ranker, or None: what `Library.search`, `foveal search` and the page order by
    by_now(settings)          its name at this moment: who has a home open, such as a server, follows at the next search

It may be whatever `load_ranker` takes, a cascade too. A search that names a retriever is not ordered by it: it learnt
behind the home's own search.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import tomllib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.files import forced, whole_file
from foveal.ranking.by_name import edition, load_ranker
from foveal.settings import Settings, make_home
from foveal.types import Ranker

NONE = "none"
"""In place of a ranker's name: passages stay in the order in which they were found."""

logger = logging.getLogger("foveal.ranking")

_LINE = re.compile(r"\s*ranker\s*=")
_TABLE = re.compile(r"\s*\[")


def chosen(settings: Settings, *, retriever: str | None = None, rank: str | None = None) -> str:
    """The name of what orders a search: `rank` where it is given, else the home's; "" where nothing does."""
    name = rank or ("" if retriever else by_now(settings))
    return "" if name == NONE else name


def by_now(settings: Settings) -> str:
    """The home's ranker as foveal.toml names it at this moment, though these settings were read long ago.

    What a variable or an argument said stays. A file that is wrong just now changes nothing, and a warning is logged.
    """
    if settings.ranker != settings.ranker_in_file:
        return settings.ranker
    try:
        about = (settings.home / "foveal.toml").stat()
        return _in_file(settings.home, (about.st_mtime_ns, about.st_size, about.st_ino))
    except FileNotFoundError:
        return ""
    except (InputError, OSError) as error:
        logger.warning("Searches stay ordered as they were (%s): %s", settings.ranker or NONE, error)
        return settings.ranker


@lru_cache(maxsize=16)
def _in_file(home: Path, version: tuple[int, ...]) -> str:  # noqa: ARG001 - a file that changed is read again
    return Settings.load(home, environment={}).ranker


def load_chosen(settings: Settings, **cascade: Any) -> Ranker | None:
    """The home's ranker; None: there is none. ModelUnavailable: it cannot be had any more, and what to do."""
    name = chosen(settings)
    if not name:
        return None
    try:
        return load_ranker(name, home=settings.home, **cascade)
    except (UnknownName, ModelUnavailable) as error:
        raise ModelUnavailable(
            f"Searches here are ordered by the ranker {name!r} (`foveal train use`), which is not there any more: "
            f"{error} Put it back, choose another (foveal train use NAME), or none (foveal train use none)."
        ) from error


class Usual:
    """The ranker of a home that is open: loaded when it is wanted, and again once it was chosen or trained anew."""

    def __init__(self) -> None:
        self._loaded: tuple[tuple[Any, ...], Ranker | None] = (), None

    def ranker(self, settings: Settings) -> Ranker | None:
        """As `load_chosen`."""
        name = chosen(settings)
        if not name:
            return None
        wanted = settings, name, edition(name, settings.home)
        if self._loaded[0] != wanted:
            self._loaded = wanted, load_chosen(settings)
        return self._loaded[1]


def uses(settings: Settings, name: str) -> bool:
    """Whether the home's ranker is that model, or a cascade with it among its stages."""
    ranker = by_now(settings)
    stages = (part.strip() for part in ranker.split(","))
    return name in (ranker, *(re.sub(r":\d+$", "", stage) for stage in stages))


def choose(home: Path, name: str) -> Path:
    """Let searches be ordered by `name` from now on, "none": by nothing; the file that says so, all else as it was.

    The name is not looked at: load it first. InputError: the file is no TOML, or says it in a way that a line cannot
    take the place of.
    """
    path = (home / "foveal.toml").resolve()
    before = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    lines = before.splitlines(keepends=True)
    top = next((place for place, line in enumerate(lines) if _TABLE.match(line)), len(lines))
    own, rest = [line for line in lines[:top] if not _LINE.match(line)], lines[top:]
    said = [] if name == NONE else [f"ranker = {json.dumps(name, ensure_ascii=False)}\n"]
    while said and own and not own[-1].strip():  # before the blank lines that part it from a table
        rest.insert(0, own.pop())
    if said and own and not own[-1].endswith("\n"):
        own[-1] += "\n"
    text = "".join([*own, *said, *rest])
    try:
        wanted = {key: value for key, value in tomllib.loads(before).items() if key != "ranker"}
        agreed = tomllib.loads(text) == wanted | ({"ranker": name} if said else {})
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML ({error}). Mend that line, or delete the file.") from error
    if not agreed:
        by_hand = said[0].strip() if said else "no line with ranker ="
        raise InputError(f"{path} is written in a way that is not changed here. Let it hold, by your hand: {by_hand}")
    if text != before:
        _write(path, text)
    return path


def _write(path: Path, text: str) -> None:
    """Whole or not at all, with the owner and rights that it had: it may hold passwords, and a service reads it."""
    if not path.exists():
        make_home(path.parent)
        with whole_file(path, lasting=True) as new:
            new.write_text(text, encoding="utf-8")
        return
    about = path.stat()
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=".toml")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(PermissionError):  # a member of its group, who may write
            os.chown(partial, about.st_uid, about.st_gid)
        Path(partial).chmod(about.st_mode & 0o777)
        Path(partial).replace(path)
        with suppress(OSError):  # a system that cannot force folders
            forced(path.parent)
    finally:
        Path(partial).unlink(missing_ok=True)
