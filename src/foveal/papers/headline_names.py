"""Headline judges and writers by name, as far as that can be told without loading one: what a setting names is checked
before there is anything to judge.
"""

from __future__ import annotations

from pathlib import Path

from foveal.errors import UnknownName
from foveal.models.hub import require_known
from foveal.settings import expanded

JUDGE, WRITER = "judge.json", "writer.json"
"""The file by which a folder is one."""


def judge_folder(name: str, home: Path) -> Path:
    """The folder of the judge called `name`: HOME/models/NAME, or a folder. UnknownName: there is none."""
    folder = _folder(name, home, JUDGE)
    if folder is None:
        there = sorted(one.parent.name for one in (home / "models").glob(f"*/{JUDGE}"))
        raise UnknownName(
            f"No headline judge is called {name!r}. There are: {', '.join(there) or 'none'}. Train one: foveal train "
            "headline-judge."
        )
    return folder


def writer_folder(name: str, home: Path) -> Path | None:
    """The folder of the writer called `name`; None: a language model as it is. UnknownName: there is neither."""
    folder = _folder(name, home, WRITER)
    if folder is None:
        try:
            require_known(name, kind="language model", home=home)
        except UnknownName as error:
            there = sorted(one.parent.name for one in (home / "models").glob(f"*/{WRITER}"))
            raise UnknownName(
                f"No headline writer is called {name!r}. Trained here: {', '.join(there) or 'none'} (foveal train "
                f"headline-writer). {error}"
            ) from error
    return folder


def _folder(name: str, home: Path, file: str) -> Path | None:
    return next((one for one in (home / "models" / name, expanded(name)) if (one / file).is_file()), None)
