"""Which index of passages is asked for: of which library, of which kind, by which model, and where it lies.

    Asked.of(library, "late", "my-late").open()       the index that `passage_making.py` wrote, or None

Models    late     a model of `foveal train late`, a folder of ColBERT's kind, or any encoder ("minilm", the default)
          sparse   a SPLADE model: its name in HOME/models, a folder, or a hub id
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from foveal.errors import ModelUnavailable, UnknownName
from foveal.retrieval import passage_files
from foveal.retrieval.late import TokenModel
from foveal.retrieval.late_tokens import load_token_model
from foveal.retrieval.passage_files import ABOUT, About
from foveal.retrieval.passage_kinds import LatePassages, PassageKind, SparsePassages
from foveal.retrieval.passage_segments import PassageIndex
from foveal.retrieval.sparse_encoders import SparseEncoder, load_sparse_encoder
from foveal.retrieval.store import Collection, Store
from foveal.settings import Settings, expanded

OWN_CHOICE = {"late": "minilm"}
"""Kind -> the model that it takes where none is named."""


def late_model(name: str | None, settings: Settings) -> TokenModel:
    """The model of token vectors of that name: of HOME/models, else as `load_token_model`; None: MiniLM's."""
    try:
        return load_token_model(_named(name or OWN_CHOICE["late"], settings.home))
    except UnknownName as error:
        raise UnknownName(f"{error} To train one of your own: foveal train late") from None


def sparse_model(name: str | None, settings: Settings) -> SparseEncoder:
    """The SPLADE model of that name: of HOME/models, else as `load_sparse_encoder`. ModelUnavailable: None."""
    if name is None:
        raise ModelUnavailable(
            "Sparse search needs a SPLADE model, and none was named. Say sparse:NAME, where NAME is a model in "
            'HOME/models, a folder, or a hub id such as "naver/splade-v3".'
        )
    return load_sparse_encoder(_named(name, settings.home), cache=settings.cache)


KINDS: Mapping[str, tuple[Callable[[str | None, Settings], Any], Callable[[Any], PassageKind[Any]]]] = {
    "late": (late_model, LatePassages),
    "sparse": (sparse_model, SparsePassages),
}
"""Name of a kind -> what loads its model, and what makes indexes by it."""


@dataclass(frozen=True)
class Asked:
    """An index that somebody asks for."""

    store: Store
    kind: PassageKind[Any]
    about: About
    home: Path

    @classmethod
    def of(cls, collection: Collection, kind: str, model: str | None) -> Asked:
        """UnknownName: no kind is called so. Else as the model's loading."""
        if kind not in KINDS:
            raise UnknownName(f"No index of passages is called {kind!r}. There are: {', '.join(KINDS)}.")
        settings = getattr(collection, "settings", None) or Settings.load()
        home, store = settings.home, collection.store
        loaded = _loaded(kind, model, settings, _written_at(home / "models" / (model or OWN_CHOICE.get(kind, ""))))
        library = passage_files.library_key(store.uri, home)
        about = About(kind, _stated(model, kind, home), library, loaded.fingerprint)
        return cls(store, KINDS[kind][1](loaded), about, home)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return passage_files.folder_of(self.about, self.home)

    def open(self, listed: str = ABOUT) -> PassageIndex[Any] | None:
        """What is written, as `passage_files.opened`; None: nothing."""
        return passage_files.opened(self.folder, self.about, self.kind, listed=listed)

    def write(self, index: PassageIndex[Any], listed: str = ABOUT) -> PassageIndex[Any]:
        """`passage_files.written`."""
        return passage_files.written(self.folder, self.about, index, listed=listed)


@lru_cache(maxsize=4)
def _loaded(kind: str, model: str | None, settings: Settings, _written: int) -> Any:
    """The model; loaded anew where its folder was written anew."""
    return KINDS[kind][0](model, settings)


def _written_at(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


def _named(name: str, home: Path) -> str:
    place = home / "models" / name
    return str(place) if place.is_dir() else name


def _stated(model: str | None, kind: str, home: Path) -> str:
    """The model's name for all times: "" for the kind's own choice, the whole path of a folder of this machine."""
    if model in (None, OWN_CHOICE.get(kind)):
        return ""
    elsewhere = expanded(str(model))
    own = (home / "models" / str(model)).is_dir()
    return str(elsewhere.resolve()) if elsewhere.is_dir() and not own else str(model)
