"""Where Foveal keeps its files, and the few choices a person makes once.

Everything lies under one home: `library/` (Lance tables), `foveal.db`, `models/` (trained here), `runs/`. The library's
tables may lie on an object store instead, for many machines to read: name its URI as the home ("s3://bucket/papers"),
and the rest stays in the home that FOVEAL_HOME names, or in the user's data folder. What can be
made again (unpacked models, fetched pages, bench vectors) lies in the user's cache. A choice comes from, in this
order: an argument, a variable `FOVEAL_<NAME>`, `foveal.toml` in the home, the default below. A part with many choices
of its own has a table in that file (`PARTS`), and variables `FOVEAL_<PART>_<NAME>`: see `load_part`.
"""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foveal.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Part = TypeVar("Part", bound=DataclassInstance)

PARTS = ("mail", "headlines", "research", "web")
"""Tables of foveal.toml that belong to a part of Foveal, which reads them itself."""

NO_CHOICES = ("home", "cache", "ranker_in_file")
"""Fields of the settings that no line of foveal.toml sets."""

LEAST = {0: "or 0", 1: "above 0"}
"""What a number must be, by the least that its field's metadata allows."""

logger = logging.getLogger("foveal.settings")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices; `load` reads them."""

    home: Path
    cache: Path
    encoder: str = "minilm"  # of a new library: a name of `foveal models`, a folder, a hub id, or "none"
    segmenter: str = "headings"  # of a new library: a name of registry.SEGMENTERS
    ranker: str = ""  # orders searches that name neither retriever nor ranker: see `foveal train use`; "": none
    classifier: str = ""  # names the topic of papers on their pages: a model of `foveal train classifier`; "": none
    max_file_mb: int = 256  # a larger file or page is refused
    ocr: str = "auto"  # text recognition, where it is installed: of scans and of pictures that are named; "all"; "off"
    ocr_languages: str = ""  # of Tesseract, in which it reads scans: vie, rus+eng; "": those of other letters only
    chat_timeout_s: int = 60  # longest silence of a server whose model answers, in seconds
    chat_context: int = field(default=0, metadata={"least": 0})  # tokens that such a server reads; 0: it is asked
    database: str = "sqlite"  # papers, people, runs: `foveal.db` in the home, or the URL of a PostgreSQL
    library_at: str = "home"  # the library's tables: library/ in the home, or the URI of an object store
    allow_private_addresses: bool = False  # fetch from this machine and the local network, too
    papers: Mapping[str, Any] | None = field(default=None, hash=False)  # a table: see papers/schedule.py
    ranker_in_file: str | None = field(default=None, compare=False, repr=False)  # None: a variable or argument says it

    @classmethod
    def load(cls, home: str | Path | None = None, *, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings that hold for `home`; InputError names a setting that is not one or has a wrong type."""
        env = os.environ if environment is None else environment
        if not isinstance(home, str | os.PathLike | None):
            raise InputError(
                f"A home has to be a folder or the URI of an object store (a str or Path); this got {home!r:.60}."
            )
        asked = [one for one in (home, env.get("FOVEAL_HOME")) if one]
        local = next((one for one in asked if store_uri(one) is None), None)
        place = expanded(local or _user_folder("data")).resolve()
        settings = cls(home=place, cache=expanded(env.get("FOVEAL_CACHE") or _user_folder("cache")))
        named = {f.name: f for f in fields(cls) if f.name not in NO_CHOICES}
        given: dict[str, Any] = {**_from_file(place / "foveal.toml", named)}
        told = None if "FOVEAL_RANKER" in env else _typed("ranker", given.get("ranker", ""), named["ranker"])
        given |= {name: env[f"FOVEAL_{name.upper()}"] for name in named if f"FOVEAL_{name.upper()}" in env}
        if asked and (uri := store_uri(asked[0])):
            given["library_at"] = f"{uri}/library"
        typed = {name: _typed(name, value, named[name]) for name, value in given.items()}
        settings = replace(settings, **typed, ranker_in_file=told)
        if settings.library_at != "home" and store_uri(settings.library_at) is None:
            raise InputError(
                f"The setting library_at got {settings.library_at!r}; it needs home, or the URI of an object store, "
                "such as s3://bucket/papers/library."
            )
        return settings

    @property
    def library(self) -> Path:
        """The folder of the library's tables, where these lie in the home."""
        return self.home / "library"

    @property
    def library_uri(self) -> str:
        """Where the library's tables lie: a folder, or the URI of an object store."""
        return str(self.library) if self.library_at == "home" else str(store_uri(self.library_at))

    @property
    def place(self) -> str:
        """The home as its person named it: where the library is."""
        return str(self.home) if self.library_at == "home" else self.library_uri.removesuffix("/library")

    @property
    def database_url(self) -> str:
        """The SQL database, as SQLAlchemy names it."""
        if self.database == "sqlite":
            return f"sqlite:///{self.home / 'foveal.db'}"
        return re.sub("^postgres(ql)?://", "postgresql+psycopg://", self.database)

    @property
    def max_bytes(self) -> int:
        """`max_file_mb` in bytes."""
        return self.max_file_mb * 2**20


def load_part(name: str, of: type[Part], home: Path, *, environment: Mapping[str, str] | None = None) -> Part:
    """A part's settings: defaults of the dataclass `of`, table [name] of foveal.toml, variables FOVEAL_<PART>_<NAME>.

    InputError names a setting that is not one or has a wrong type. A variable that is none is a warning only: clusters
    set some of such names by themselves, for every service.
    """
    env = os.environ if environment is None else environment
    named = {field.name: field for field in fields(of)}
    given = _toml(home / "foveal.toml").get(name, {})
    if not isinstance(given, dict):
        raise InputError(f"{home / 'foveal.toml'} sets {name!r} to a value; it is a table: write [{name}].")
    _only(given, named, f"{home / 'foveal.toml'}, [{name}],")
    prefix = f"FOVEAL_{name.upper()}_"
    _tell_strange(name, tuple(sorted(one for one in env if one.startswith(prefix))), tuple(named))
    given = given | {one: env[prefix + one.upper()] for one in named if prefix + one.upper() in env}
    return of(**{one: _typed(f"{name}.{one}", value, named[one]) for one, value in given.items()})


@lru_cache(maxsize=64)  # once: some parts are looked up every minute
def _tell_strange(part: str, variables: tuple[str, ...], named: tuple[str, ...]) -> None:
    known = {f"FOVEAL_{part}_{name}".upper() for name in named}
    if strange := [one for one in variables if one not in known]:
        logger.warning("%s: no setting of [%s]. There are: %s.", ", ".join(strange), part, ", ".join(named))


def make_home(home: Path) -> None:
    """The folder of a home, where it is not there yet, for its owner alone: addresses, mails and keys will lie in it.

    One that is there keeps its rights: a group may share it.
    """
    if not home.is_dir():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)


def store_uri(place: str | Path) -> str | None:
    """The URI of an object store ("s3://bucket/papers"), without a slash at its end; None where `place` is a path.

    A URI that became a `Path` on its way (and so "s3:/bucket/papers") is one, too.
    """
    found = re.fullmatch(r"([a-z][a-z0-9+.-]+):/{1,2}([^/].*)", str(place))
    return f"{found[1]}://{found[2].rstrip('/')}" if found and found[1] != "file" else None


def expanded(path: str | Path) -> Path:
    """`path` with `~` or `~name` as the home that it stands for; as it is where nobody is called so (`~$notes.txt`)."""
    path = Path(path)
    try:
        return path.expanduser()
    except (RuntimeError, ValueError):
        return path


def existing(name: str | Path) -> Path | None:
    """The path that is meant, `~` resolved, if something is there; None also for a text that no path can be."""
    try:
        path = Path(name).expanduser()
        return path if str(name) and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user's home, not to be looked into
        return None


def _user_folder(kind: str) -> str:
    import platformdirs

    return platformdirs.user_data_dir("foveal") if kind == "data" else platformdirs.user_cache_dir("foveal")


def _from_file(path: Path, named: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in _toml(path).items() if name not in PARTS}
    tables = {f"[{part}]": None for part in PARTS}
    _only(given, {**named, **tables}, str(path))
    return given


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML ({error}). Mend that line, or delete the file.") from error


def _only(given: Mapping[str, Any], named: Mapping[str, Any], where: str) -> None:
    for name in given.keys() - named.keys():
        raise InputError(f"{where} sets {name!r}, which is no setting. There are: {', '.join(named)}.")


def _typed(name: str, value: Any, field: Field[Any]) -> Any:
    wanted = str(field.type)
    if wanted.startswith("Mapping"):
        if isinstance(value, Mapping):
            return value
        raise InputError(
            f"The setting {name} got {value!r}; it needs a table of foveal.toml, such as [{name}.sources]."
        )
    text = str(value).strip()
    if wanted == "bool" and text.lower() in ("1", "true", "yes", "0", "false", "no"):
        return text.lower() in ("1", "true", "yes")
    least = field.metadata.get("least", 1)
    if wanted == "int" and text.isdecimal() and int(text) >= least:
        return int(text)
    if wanted == "str" and (text or field.default == ""):  # where "" means something, a person may say so
        return text
    kinds = {"bool": "true or false", "int": f"a whole number {LEAST[least]}", "str": "a name"}
    raise InputError(f"The setting {name} got {value!r}; it needs {kinds[wanted]}.")
