"""A ranker by the name that a person types: a method of the registry, a model trained here, a folder, or a hub id.

    load_ranker("blockrank")          the default language model reads the candidates
    load_ranker("my-reranker")        HOME/models/my-reranker, whichever kind `foveal train` made it

What a folder holds is told by its files: ranker.json (a neural ranker), blockrank.json (a language model that was
trained to rank), or a cross-encoder's config.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foveal.errors import UnknownName
from foveal.registry import RANKERS, lookup
from foveal.settings import Settings
from foveal.types import Ranker


def load_ranker(name: str, *, home: Path | None = None) -> Ranker:
    """The `Ranker` called `name`; `home` holds the models trained here (default: that of the settings).

    UnknownName: nothing is called so. ModelUnavailable, MissingExtra: as its kind says.
    """
    if name in RANKERS:
        from foveal.models.language import load_language_model

        made: Ranker = lookup(RANKERS, name, kind="ranker")(load_language_model())
        return made
    folder = _folder(name, home or Settings.load().home)
    if folder is None and name.count("/") != 1:
        raise UnknownName(
            f"No ranker is called {name!r}. There are: {', '.join(RANKERS)}; or name a model that `foveal train` made "
            'here, a folder that exists, or a hub id such as "cross-encoder/ms-marco-MiniLM-L6-v2".'
        )
    loaded: Ranker = _kind(folder)(str(folder or name))
    return loaded


def _folder(name: str, home: Path) -> Path | None:
    """The folder that is meant: a path that exists, or a model trained here."""
    for folder in (Path(name).expanduser(), home / "models" / name):
        if folder.is_dir():
            return folder
    return None


def _kind(folder: Path | None) -> Callable[[str], Any]:
    """What loads the ranker in `folder`; None is a hub id."""
    if folder is not None and (folder / "ranker.json").is_file():
        from foveal.ranking.neural.ranker import Neural

        return Neural
    if folder is not None and (folder / "blockrank.json").is_file():
        from foveal.ranking.blockrank import BlockRank
        from foveal.ranking.listwise import ListwiseRanker

        full = bool(json.loads((folder / "blockrank.json").read_text(encoding="utf-8")).get("full"))
        return ListwiseRanker.load if full else BlockRank.load
    from foveal.ranking.cross_encoder import CrossEncoderRanker

    return CrossEncoderRanker.load
