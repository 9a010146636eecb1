"""A neural ranker with all that it takes to score texts: its vocabulary, lengths, and weight beside the first stage.

    Scorer.load(folder)([("where is sight sharpest?", "The fovea …")])      scores; also a teacher for another model

    ranker.json          the model's name, its settings, the lengths, the weight
    vocabulary.json      words with their ids and idf
    model.safetensors    all weights, those of the word vectors included

A folder is written whole or not at all, and nothing in it is unpickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.models.dtypes import usual_type
from foveal.ranking.neural import model_class, settings_class
from foveal.ranking.neural.base import NeuralRanker
from foveal.ranking.neural.inputs import Pairs, Prepared, Vocabulary, joined, prepared
from foveal.ranking.neural.vectors import WordVectors
from foveal.training import checkpoints, model_folders

RANKER, VOCABULARY, WEIGHTS = "ranker.json", "vocabulary.json", "model.safetensors"


@dataclass(frozen=True)
class Scorer:
    """Scores of (query, document) texts; a `negatives.Teacher`. The model is put into evaluation mode."""

    model: NeuralRanker
    vocabulary: Vocabulary
    query_length: int = 20  # words
    document_length: int = 200
    content_only: bool = False  # leave function words of documents out, for long ones
    weight: float = 1.0  # of these scores beside the first stage's, each from 0 to 1; 1: these alone
    batch: int = 256  # pairs

    def __post_init__(self) -> None:
        least = min(self.query_length, self.document_length, self.batch)
        if least < 1 or not 0 <= self.weight <= 1:
            raise InputError(
                f"A neural ranker got lengths {self.query_length} and {self.document_length}, batch={self.batch}, "
                f"weight={self.weight}; it needs at least 1 each, and a weight from 0 to 1."
            )
        if len(self.model.vectors.table) != len(self.vocabulary):
            raise InputError(
                f"The model has {len(self.model.vectors.table)} word vectors and the vocabulary {len(self.vocabulary)} "
                "ids. Give it the vocabulary that it was trained with."
            )

    def __call__(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        """The score of each pair. InputError: one is not finite."""
        queries = {text: self.query(text) for text in dict.fromkeys(query for query, _ in texts)}
        documents = {text: self.document(text) for text in dict.fromkeys(text for _, text in texts)}
        return self.of_prepared([(queries[query], documents[text]) for query, text in texts])

    def of_prepared(self, read: Sequence[tuple[Prepared, Prepared]]) -> list[float]:
        """The same of queries and documents that were cut into words before."""
        order = sorted(range(len(read)), key=lambda place: len(read[place][1].ids))  # little padding
        scores = [0.0] * len(read)
        self.model.eval()
        for first in range(0, len(order), self.batch):
            part = order[first : first + self.batch]
            found = self.of_pairs(joined(self.vocabulary, *zip(*(read[place] for place in part), strict=True)))
            for place, score in zip(part, found.tolist(), strict=True):
                scores[place] = score
            if not bool(found.isfinite().all()):
                query = " ".join(read[part[int((~found.isfinite()).nonzero()[0])]][0].words)
                raise InputError(f"{self.model.name} gave no finite score for {query!r}. Train it anew.")
        return scores

    def of_pairs(self, pairs: Pairs) -> Tensor:
        """Scores (B,), on the CPU, without gradient."""
        with torch.no_grad():
            found: Tensor = self.model(pairs.to(self.model.vectors.table.device)).float().cpu()
        return found

    def query(self, text: str) -> Prepared:
        """A query's words as the model reads them."""
        return prepared(self.vocabulary, text, length=self.query_length)

    def document(self, text: str) -> Prepared:
        """A document's words as the model reads them."""
        return prepared(self.vocabulary, text, length=self.document_length, content_only=self.content_only)

    def save(self, folder: Path, *, replace: bool = False) -> Path:
        """Write the folder. InputError: it is taken, and not to be replaced."""
        partial = folder.parent / f".{folder.name}-partial"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        vectors = self.model.vectors
        told = {
            "model": self.model.name,
            "settings": asdict(self.model.settings),
            "vectors": {"dimension": vectors.dimension, "unit": vectors.unit, "trained": vectors.trained},
            **{name: getattr(self, name) for name in _OWN},
        }
        with whole_file(partial / RANKER) as path:
            path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        self.vocabulary.save(partial / VOCABULARY)
        checkpoints.save_weights(self.model, partial / WEIGHTS)
        return model_folders.moved(partial, folder, replace=replace)

    @classmethod
    def load(cls, folder: Path) -> Scorer:
        """What `save` wrote. InputError: the folder holds no neural ranker, or one whose parts do not fit."""
        if not (folder / RANKER).is_file():
            raise InputError(f"{folder} holds no neural ranker ({RANKER} is not there). Train one: train_ranker.")
        try:
            told = json.loads((folder / RANKER).read_text(encoding="utf-8"))
            chosen = {name: told[name] for name in _OWN}
            vectors, name, settings = told["vectors"], str(told["model"]), dict(told["settings"])
            size = (int(vectors["dimension"]), bool(vectors["unit"]), bool(vectors["trained"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{folder / RANKER} is damaged ({error!r}). Train the ranker anew.") from error
        vocabulary = Vocabulary.load(folder / VOCABULARY)
        table = torch.zeros(len(vocabulary), size[0], dtype=torch.float32)
        empty = WordVectors(table, unit=size[1], trained=size[2])
        with usual_type(), torch.random.fork_rng(devices=[]):  # what is drawn here is replaced by what was saved
            model = model_class(name)(empty, settings_of(name, settings))
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder} lacks {WEIGHTS}. Train the ranker anew.")
        checkpoints.load_weights(model, folder / WEIGHTS)
        return cls(model.eval(), vocabulary, **chosen)

    def weighed(self, weight: float) -> Scorer:
        """The same with another weight beside the first stage."""
        return replace(self, weight=weight)


_OWN = tuple(one.name for one in fields(Scorer) if one.name not in ("model", "vocabulary"))


def settings_of(name: str, values: dict[str, Any]) -> Any:
    """The settings of the model called `name` from plain values, lists as tuples. InputError: no such field."""
    try:
        return settings_class(name)(**{key: _tuples(value) for key, value in values.items()})
    except TypeError as error:
        raise InputError(f"{name} cannot have the settings {values} ({error}).") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
