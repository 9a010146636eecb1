"""Trains a text classifier on labelled texts, and keeps it if it is better than always naming the most frequent class.

    folder, report = fit(classifying(train, test), CLASSIFYING, run=RunSettings(home=home))   # stream_training.py
    model = text_classifier(folder)

Batches hold texts of like length, so that little is padding. A tenth of each class is held out and chooses the weights.
Classes that are all numbers are ratings: the mean absolute error is told, and chooses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.errors import InputError, UnknownName
from foveal.evaluation.classification import Confusion
from foveal.evaluation.labelled import LabelledText
from foveal.models.folders import fingerprint
from foveal.models.word_vectors import principal, word_vectors
from foveal.nn.classified import Classified, numbers_of
from foveal.nn.classifier import held_out
from foveal.nn.stream_training import DEV, TEST, Recipe
from foveal.nn.text_classifier import TextClassifier, TextClassifierConfig, length_of, together
from foveal.nn.words import FIRST, Words
from foveal.training import checkpoints
from foveal.training.examples import alike_in_length
from foveal.training.loop import LoopSettings
from foveal.training.part_by_part import PartByPart, documents
from foveal.training.report import Metrics

CLASSIFYING = LoopSettings(epochs=8, batch=32, learning_rate=3e-3, warm_up=0.02, patience=3)
SHARPNESS = 10.0
"""Where the learned scale of a classifier's heads begins: with scores in [-1, 1] alone they stay nearly even."""

SPREAD = 0.5
"""Of word vectors that an encoder gives, against drawn ones, whose numbers spread by 1."""

POOL = 20
"""Batches among which texts are sorted by length."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSize:
    """What of a model's config a person chooses; the fields are those of TextClassifierConfig."""

    pooling: str = "lama"
    heads: int = 8
    pooler: Mapping[str, Any] = field(default_factory=lambda: {"learn_scale": True, "scale": SHARPNESS})
    encoder: str = "gru"
    word_dim: int = 100
    hidden: int = 50
    inside: int = 64
    dropout: float = 0.3
    diversity: float = 0.0
    hierarchical: bool = False
    max_words: int = 500

    def config(self, words: Words, classes: Sequence[str]) -> TextClassifierConfig:
        """The config of a model of these words and classes."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        own["pooler"] = dict(self.pooler) if self.pooling == "lama" else {}
        return TextClassifierConfig(vocab_size=len(words), classes=list(classes), **own)


def classes_of(texts: Sequence[LabelledText]) -> list[str]:
    """The labels, numbers by their size, else by name."""
    found = sorted({one.label for one in texts})
    values = numbers_of(found)
    return found if values is None else sorted(found, key=lambda one: float(one))


def made(
    texts: Sequence[str], classes: Sequence[str], size: ClassifierSize, seed: int, words_of: Path | None = None
) -> TextClassifier:
    """A model that knows the words of these texts, its weights drawn from the seed.

    `words_of`: the folder of an encoder whose table the words' vectors begin with, where it can spell them.
    ModelUnavailable: it has no table.
    """
    words = Words.of(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TextClassifier(size.config(words, classes))
    model.words = words
    if words_of is not None:
        _begin_with(model, *word_vectors(words_of, words.words))
    return model


@torch.no_grad()
def _begin_with(model: TextClassifier, places: Sequence[int], vectors: Tensor) -> None:
    """Give words, by their places, vectors (N, D), brought to the model's width and `SPREAD` of what is drawn."""
    width = model.config.word_dim
    if min(vectors.shape) < width:
        return  # so few words are learnt as they come
    own = principal(vectors, width)
    own *= SPREAD * width**0.5 / own.norm(dim=1).mean()
    model.embed.weight[torch.tensor(places) + FIRST] = own


def text_classifier(folder: Path) -> TextClassifier:
    """A model that was trained, ready to classify. ModelUnavailable: the folder holds none."""
    model: TextClassifier = TextClassifier.from_pretrained(folder)
    model.train(False)
    return model


def classifier_named(name: str, home: Path) -> TextClassifier:
    """The classifier HOME/models/NAME, or that of a folder. UnknownName: there is none."""
    folder = next((one for one in (home / "models" / name, Path(name)) if _is_one(one)), None)
    if folder is None:
        there = ", ".join(sorted(one.name for one in (home / "models").glob("*") if _is_one(one)))
        raise UnknownName(
            f"No text classifier is called {name!r}. There are: {there or 'none'}. Train one: foveal train classifier."
        )
    return text_classifier(folder)


def _is_one(folder: Path) -> bool:
    return (checkpoints.read(folder / "config.json") or {}).get("model_type") == TextClassifierConfig.model_type


def classifying(
    train: Sequence[LabelledText], test: Sequence[LabelledText] = (), size: ClassifierSize | None = None, *,
    dev: float = 0.1, seed: int = 0, words_of: Path | None = None,
) -> Recipe:  # fmt: skip
    """A model and what it learns from; `test` is only measured. `words_of` as in `made`.

    InputError: fewer than two classes, a text without a word, or a class of the test that was not learnt.
    ModelUnavailable: `words_of` holds no encoder with a table of words.
    """
    size = size or ClassifierSize()
    train, test = _spelled_alike(train, test)
    classes = classes_of(train)
    if len(classes) < 2:
        found = f"the label {classes[0]!r} only" if classes else "no label"
        raise InputError(f"The texts have {found}; a classifier needs two or more.")
    if unknown := sorted({one.label for one in test} - set(classes)):
        raise InputError(f"The test texts have the label {unknown[0]!r}, which no training text has.")
    held = held_out([classes.index(one.label) for one in train], dev, seed)
    learnt = [one for place, one in enumerate(train) if place not in held]
    parts = {DEV: [train[place] for place in sorted(held)], TEST: list(test)}
    if not parts[DEV]:
        raise InputError("Every label has one text only, so that none can be held out. Give more of each.")
    model = made([one.text for one in learnt], classes, size, seed, words_of)
    rows = [(model.read(one.text), classes.index(one.label)) for one in learnt]
    for one in (*parts[DEV], *test):
        model.read(one.text)  # a text without a word is named now, not after the training
    ratings = numbers_of(classes) is not None
    told = {name: part for name, part in parts.items() if part}
    lengths = [length_of(row) for row, _ in rows]
    in_parts = PartByPart(loss, documents) if size.hierarchical else loss  # a batch may hold the words of books
    return Recipe(
        "classifier", model, rows, in_parts, lower=ratings, metric="mean absolute error" if ratings else "accuracy",
        measure=lambda model, part: measured(model, told[part]), parts=tuple(told), base="the most frequent class",
        baseline=lambda part: guessed(classes, learnt, told[part]), data=digest([*train, *test]), collate=collate,
        plan=lambda epoch, batch, seed: by_length(lengths, batch, seed, epoch),
        depends_on={"seed": str(seed), "dev": str(dev), "words": fingerprint(words_of) if words_of else ""},
        title=f"text classifier, {size.pooling}",
        settings=model.config.plain, save=lambda model, folder: model.save_pretrained(folder),
        notes=(f"{len(learnt):,} texts to learn from, {len(held):,} to choose the weights, {len(classes)} classes.",),
    )  # fmt: skip


def _spelled_alike(*parts: Sequence[LabelledText]) -> list[list[LabelledText]]:
    """The same texts; where all labels are numbers, equal ones as they are spelled shortest: "1" for "1.0", too."""
    labels = sorted({one.label for part in parts for one in part}, key=lambda label: (len(label), label))
    values = numbers_of(labels)
    if values is None:
        return [list(part) for part in parts]
    shortest: dict[float, str] = {}
    for label, value in zip(labels, values, strict=True):
        shortest.setdefault(value, label)
    return [[replace(one, label=shortest[float(one.label)]) for one in part] for part in parts]


def collate(rows: Sequence[tuple[Any, int]]) -> dict[str, Tensor]:
    """Texts side by side."""
    return {"ids": together([row for row, _ in rows]), "labels": torch.tensor([label for _, label in rows])}


def loss(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The cross entropy, and what heads pay for being alike."""
    found: Tensor = model(batch["ids"], labels=batch["labels"]).loss
    return found


def by_length(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """Places in batches of like length, sorted within POOL batches."""
    return alike_in_length(lengths, batch, POOL, seed, epoch=epoch)


def measured(model: Any, texts: Sequence[LabelledText]) -> Metrics:
    """How right the model is on texts; in eval mode meanwhile, as it was afterwards."""
    training = model.training
    found = model.classify([one.text for one in texts], batch=64)
    model.train(training)
    return told_of(found, [one.label for one in texts], model.classes)


def told_of(found: Sequence[Classified], gold: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """Accuracy and macro F1; of ratings the mean absolute error first."""
    confusion = Confusion.of(gold, [one.label for one in found], classes)
    metrics = {"accuracy": confusion.accuracy, "macro F1": confusion.macro}
    ratings = [one.rating for one in found]
    if None in ratings:
        return metrics
    errors = [abs(float(right) - given) for right, given in zip(gold, ratings, strict=True) if given is not None]
    return {"mean absolute error": float(np.mean(errors)), **metrics}


def guessed(classes: Sequence[str], learnt: Sequence[LabelledText], texts: Sequence[LabelledText]) -> Metrics:
    """The same of always naming the most frequent class, of ratings the one in the middle."""
    labels = [one.label for one in learnt]
    shares = tuple(labels.count(one) / len(labels) for one in classes)
    always = [Classified(one.text, tuple(classes), shares, (), np.zeros((1, 0), np.float32)) for one in texts]
    return told_of(always, [one.label for one in texts], classes)


def digest(texts: Sequence[LabelledText]) -> str:
    """A hash of texts and labels."""
    found = hashlib.sha256()
    for one in texts:
        found.update(f"{one.text}\0{one.label}\0".encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:16]
