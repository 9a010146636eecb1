"""Where the models that a retriever searches with lie: HOME/models/NAME, made by a command of `foveal train`."""

from __future__ import annotations

from pathlib import Path

from foveal.errors import ModelUnavailable, UnknownName
from foveal.settings import expanded
from foveal.training.kept import lost


def trained_folder(
    home: Path, about: str, name: str | Path | None = None, *, kind: str, command: str, held: str | None = None
) -> Path:
    """The folder of a trained model, which holds a file called `about`: of that name, or, None, the one trained last.

    `name` may also be a folder that holds `held` (None: `about`). `kind` ("model of titles") and `command` are what an
    error says. UnknownName: no model is called so. ModelUnavailable: none was trained here, or the folder holds none.
    """
    models = home / "models"
    trained = sorted((path.stat().st_mtime_ns, path.parent) for path in models.glob(f"*/{about}"))
    if name is None and trained:
        return trained[-1][1]
    if name is None:
        raise ModelUnavailable(f"There is no {kind} in {models} yet. Train one on this library: {command}")
    for place in (models / name, expanded(name)):
        if (place / (held or about)).is_file():
            return place
    if (folder := expanded(name)).is_dir():
        raise ModelUnavailable(
            f"{folder} holds no {kind}: it has no {held or about}. Name the folder of one, or train one: {command}"
        )
    there = ", ".join(sorted(path.name for _, path in trained)) or "none yet"
    raise UnknownName(
        f"No {kind} is called {str(name)!r}{lost(str(name), home)}. Trained here: {there}; or give a folder. To train "
        f"one: {command}"
    )
