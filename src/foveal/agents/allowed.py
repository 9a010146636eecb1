"""What of this machine and of the web an assistant may name: folders that the person gave, and pages where they let it.

    Allowed((Path("~/papers"),), web=True).source("mill.pdf")

Folders   a file counts by where it really lies, links resolved: one in a folder that leads out of it is refused. What
          is refused is told in the same words whether or not it is there
Web       https, http and arXiv ids, where the person allowed it: an address can carry off what an assistant has read.
          The fetcher refuses private addresses, as ever (text/fetching.py)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foveal.errors import InputError
from foveal.settings import expanded

_WEB = re.compile(r"https?://|arxiv:", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Allowed:
    """What may be named."""

    folders: tuple[Path, ...] = ()
    web: bool = False

    @classmethod
    def of(cls, folders: tuple[Path, ...] | list[Path], *, web: bool) -> Allowed:
        """InputError: one is no folder."""
        found = tuple(expanded(one) for one in folders)
        for one in found:
            if not one.is_dir():
                raise InputError(f"{str(one)!r} is no folder. Name one that is there: --folder FOLDER.")
        return cls(tuple(one.resolve() for one in found), web)

    def source(self, named: str) -> str:
        """What is named, as `foveal read` takes it: an address of the web, or a path. InputError: it may not be."""
        from foveal.text.arxiv import arxiv_address

        named = named.strip()
        if not named.removeprefix("file://"):  # as a path it would be the first folder, and all that is in it
            raise InputError("A source has no name. Name a file, a folder, a page or an arXiv id.")
        if (paper := arxiv_address(named) or arxiv_address(f"arxiv:{named}")) and not self._path(named):
            return self._of_web(paper)
        if _WEB.match(named):
            return self._of_web(named)
        if found := self._path(named):
            return str(found)
        raise InputError(
            f"{named[:200]!r} may not be read: it is no document of the library, and lies in no folder that was "
            f"allowed here ({self._said()}). The person allows one by foveal mcp --folder FOLDER."
        )

    def sources(self, named: list[str]) -> Iterator[str]:
        """The same for what is to be added: a folder as the files in it that may be read."""
        from foveal.text.discovery import discover
        from foveal.text.files import path_of
        from foveal.text.sources import Source

        for one in named:
            given = self.source(one)
            if _WEB.match(given) or not Path(given).is_dir():
                yield given
                continue
            for found in discover([given]):
                if isinstance(found, Source) and self._holds(path_of(found.address)):
                    yield str(path_of(found.address))

    def _of_web(self, address: str) -> str:
        if not self.web:
            raise InputError(
                f"{address[:200]!r} may not be fetched: this server was not allowed to. The person allows it by "
                "foveal mcp --web, or adds the page by foveal add."
            )
        return address

    def _path(self, named: str) -> Path | None:
        """The file or folder that is meant, if it may be read; one without a root is looked for in each folder."""
        from foveal.text.files import path_of

        if _SCHEME.match(named) and not named.startswith("file://"):
            return None
        path = path_of(named) if named.startswith("file://") else expanded(named)
        try:
            tried = [path] if path.is_absolute() else [folder / path for folder in self.folders]
            return next((one.resolve() for one in tried if self._holds(one) and one.exists()), None)
        except (OSError, RuntimeError, ValueError):  # too long for a path, a circle of links, a NUL
            return None

    def _holds(self, path: Path) -> bool:
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):
            return False
        return any(real.is_relative_to(folder) for folder in self.folders)

    def _said(self) -> str:
        return ", ".join(folder.name or str(folder) for folder in self.folders) or "none was"
