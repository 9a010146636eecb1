"""What article models have in common: what they are asked, and the folders they are saved in.

    article-model.json    the kind, its settings, the SHA-256 of the weights     model.safetensors    the weights

An article is the list of its sentences, at least one. A model scores it in two steps, of which the first does not know
the query and is done once; `sections.SectionRanker` makes a `Ranker` of it, `training.articles` trains it.
"""

from __future__ import annotations

import hashlib
import pkgutil
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, ModelUnavailable
from foveal.training import checkpoints, model_folders

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = npt.NDArray[np.float32]
Sentences = Sequence[str]
"""The sentences of one article, in order."""

ABOUT = "article-model.json"
"""The file that makes a folder that of an article model; its `kind` is a key of `MODELS`."""

VERSION = 1

MODELS = {
    "paraformer": "foveal.ranking.paraformer:Paraformer",
    "attentive-cnn": "foveal.ranking.attentive_cnn:AttentiveCNN",
}


@dataclass(frozen=True)
class Weighed:
    """What a model says of one article: its score, higher is better, and the weights of its sentences (m,)."""

    score: float
    weights: Floats


class ArticleModel(Protocol):
    """A model that scores articles by their sentences, in two steps: the first does not know the query."""

    kind: str

    def knows(self, query: str) -> bool:
        """Whether the model can read anything of the query."""
        ...

    def encoded(self, articles: Sequence[Sentences]) -> list[Any]:
        """What it keeps of each article."""
        ...

    def weighed(self, query: str, encoded: Sequence[Any]) -> list[Weighed]:
        """Score and weights of each article."""
        ...


def flat(queries: Sequence[str], groups: Sequence[Sequence[Sentences]]) -> list[Sentences]:
    """The articles of all groups. InputError: groups of several sizes, or an article without a sentence."""
    if len(queries) != len(groups) or len({len(group) for group in groups}) > 1:
        raise InputError(
            f"{len(queries)} queries came with groups of {[len(group) for group in groups]} articles; each query needs "
            "as many as the others."
        )
    articles = [article for group in groups for article in group]
    if empty := [place for place, article in enumerate(articles) if not article]:
        raise InputError(f"Article {empty[0]} holds no sentence. Leave it out, or give its text.")
    return articles


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists of numbers as one table (N, longest), filled up with 0, and which of it is real."""
    import torch

    longest = max(map(len, rows))
    table = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.long)
    return table, torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]


@contextmanager
def judging(model: nn.Module) -> Iterator[None]:
    """Inside, the model neither learns nor drops anything out."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place when the block ends without error. InputError: the place is taken."""
    partial = folder.parent / f".{folder.name}-partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        model_folders.moved(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_weights(model: nn.Module, folder: Path, about: dict[str, Any], *, without: str | None = None) -> None:
    """Write a model's weights, those left out whose name begins so, and beside them what the folder says of itself."""
    from safetensors.torch import save_file

    kept = {
        name: one.contiguous() for name, one in model.state_dict().items() if not (without and name.startswith(without))
    }
    save_file(kept, str(folder / "model.safetensors"))
    checkpoints.write(folder / ABOUT, {**about, "version": VERSION, "weights": _digest(folder)})


def read_weights(model: nn.Module, folder: Path, about: dict[str, Any]) -> None:
    """Give the model the weights of `folder`. ModelUnavailable: they are not those that were saved, or do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if _digest(folder) != about["weights"]:
            raise InputError("its weights are not those that were saved")
        model.load_state_dict(load_file(str(folder / "model.safetensors")))
    except (OSError, InputError, RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise ModelUnavailable(f"{folder} is damaged ({first}). Copy it anew, or train it again.") from error
    model.eval()


def _digest(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load_article_model(folder: Path, **options: Any) -> Any:
    """The model that was saved in `folder`, whichever kind it is. ModelUnavailable: there is none."""
    kind = saved_about(folder).get("kind")
    if kind not in MODELS:
        raise ModelUnavailable(
            f"{folder} holds an article model of kind {kind!r}; this Foveal has {', '.join(MODELS)}. Train it anew."
        )
    return pkgutil.resolve_name(MODELS[str(kind)]).load(folder, **options)


def saved_about(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """What the folder of an article model says of it. ModelUnavailable: it is no such folder, or of another kind."""
    about = checkpoints.read(folder / ABOUT)
    if about is None or (kind is not None and about.get("kind") != kind):
        held = "no article model" if about is None else f"a model of kind {about.get('kind')!r}"
        raise ModelUnavailable(
            f"{folder} holds {held} ({ABOUT}{'' if kind is None else f' of kind {kind!r}'} is wanted). Name the folder "
            "that a model was saved to."
        )
    return about
