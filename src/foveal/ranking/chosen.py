"""The ranker of a home: what orders its searches that name neither a retriever nor a ranker.

    choose(home, "mine")      foveal.toml gets `ranker = "mine"`, as by `foveal train use mine`; "none" takes it out
    load_chosen(settings)     the ranker, or None: what `Library.search`, `foveal search` and the page order by

It may be whatever `load_ranker` takes, a cascade too. A search that names a retriever is not ordered by it: it learnt
behind the home's own search. Who has a home open keeps the ranker that was chosen then.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.files import whole_file
from foveal.ranking.by_name import load_ranker
from foveal.settings import Settings
from foveal.types import Ranker

NONE = "none"
"""In place of a ranker's name: passages stay in the order in which they were found."""

_LINE = re.compile(r"\s*ranker\s*=")
_TABLE = re.compile(r"\s*\[")


def chosen(settings: Settings, *, retriever: str | None = None, rank: str | None = None) -> str:
    """The name of what orders a search: `rank` where it is given, else the home's; "" where nothing does."""
    name = rank or ("" if retriever else settings.ranker)
    return "" if name == NONE else name


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


def uses(settings: Settings, name: str) -> bool:
    """Whether the home's ranker is that model, or a cascade with it among its stages."""
    stages = (part.strip() for part in settings.ranker.split(","))
    return name in (settings.ranker, *(re.sub(r":\d+$", "", stage) for stage in stages))


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
        with whole_file(path) as new:
            new.write_text(text, encoding="utf-8")
        return
    about = path.stat()
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=".toml")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        with suppress(PermissionError):  # a member of its group, who may write
            os.chown(partial, about.st_uid, about.st_gid)
        Path(partial).chmod(about.st_mode & 0o777)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
