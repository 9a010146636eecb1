"""What scores the classes of a headline: a classifier over features, or an encoder that reads headline and article.

FeatureScorer   [TF-IDF of the article; features; TF-IDF of the headline] -> LR, SVM, bagging or MLP
                (training/linear.py); with an encoder also the pooled states of both texts, multiplied, and the best
                sentence's cosine
EncoderScorer   a fine-tuned encoder (training/pair_classifiers.py)

Both give decisions (N, classes), and are saved as JSON and safetensors; nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.papers.headline_features import Extracted, Features, Ints, Pair, ReadArticle, places_of
from foveal.text.ngrams import CharacterTfIdf, GramSettings
from foveal.text.tokens import words
from foveal.training.checkpoints import load_weights, save_weights
from foveal.training.linear import Design, FitSettings, Mlp, Wide, empty, fit
from foveal.training.pair_classifiers import PairClassifier
from foveal.types import Encoder

WEIGHTS, GRAMS, ABOUT = "weights.safetensors", "grams.json", "scorer.json"

Floats = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Scores the classes of pairs: (N, classes), the highest is the class."""

    def decisions(self, pairs: Sequence[Pair], found: Extracted) -> Floats: ...
    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class FeatureDesign:
    """Makes the rows that a classifier reads."""

    features: Features
    texts: bool = True  # whether the TF-IDF of headline and article count
    encoder: Encoder | None = None
    _vectors: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def columns(self) -> int:
        """Dense features."""
        return len(self.features.names) + (1 + self.encoder.dimension if self.encoder else 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of the rows of articles, and of headlines."""
        return (len(self.features.vocabulary.grams),) * 2 if self.texts else ()

    def of(self, pairs: Sequence[Pair], found: Extracted) -> Design:
        """The rows of pairs whose features were `found`."""
        dense = found.values
        if self.encoder is not None:
            dense = np.hstack([dense, self._meanings(pairs)])
        if not self.texts:
            return Design(dense)
        rows, which = [], []
        for side in (1, 0):
            texts = [pair[side] for pair in pairs]
            which.append(places_of(texts))
            rows.append(self.features.vocabulary.rows(words(text) for text in dict.fromkeys(texts)))
        return Design(dense, tuple(rows), tuple(which))

    def _meanings(self, pairs: Sequence[Pair]) -> npt.NDArray[np.float32]:
        """The highest cosine with a sentence, and the product with the mean sentence: (N, 1 + dimension)."""
        articles = {text: self._sentences(text) for text in dict.fromkeys(text for _, text in pairs)}
        self._encode([*dict.fromkeys(head for head, _ in pairs), *(one for held in articles.values() for one in held)])
        rows = []
        for headline, text in pairs:
            head = self._vectors[headline]
            held = np.stack([self._vectors[one] for one in articles[text]])
            rows.append(np.concatenate([[(held @ head).max()], held.mean(axis=0) * head * len(head) ** 0.5]))
        return np.asarray(rows, dtype=np.float32).reshape(len(pairs), -1)

    def _sentences(self, text: str) -> list[str]:
        read = ReadArticle(text, self.features.language)
        return [text[start:end] for start, end, _ in read.sentences] or [text]

    def _encode(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new and self.encoder is not None:
            self._vectors.update(zip(new, self.encoder.encode(new), strict=True))


@dataclass(frozen=True)
class FeatureScorer:
    """A classifier over a `FeatureDesign`."""

    design: FeatureDesign
    model: Wide | Mlp
    settings: FitSettings
    count: int
    encoder_name: str | None = None

    @classmethod
    def fit(
        cls,
        design: FeatureDesign,
        pairs: Sequence[Pair],
        found: Extracted,
        classes: Ints,
        settings: FitSettings,
        *,
        count: int,
        dev: tuple[Sequence[Pair], Extracted, Ints] | None = None,
        encoder_name: str | None = None,
    ) -> FeatureScorer:
        """The classifier of `count` classes; `dev` stops an MLP."""
        held = (design.of(dev[0], dev[1]), dev[2]) if dev and settings.kind == "mlp" else None
        model = fit(design.of(pairs, found), classes, settings, count=count, dev=held)
        return cls(design, model, settings, count, encoder_name)

    @torch.inference_mode()
    def decisions(self, pairs: Sequence[Pair], found: Extracted) -> Floats:
        """Decisions (N, classes)."""
        scores: Floats = self.model(self.design.of(pairs, found)).double().numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        vocabulary = self.design.features.vocabulary
        save_weights(self.model, folder / WEIGHTS)
        _write(folder / GRAMS, {"grams": vocabulary.grams, "weights": [float(one) for one in vocabulary.weights]})
        about = {
            "kind": "features", "names": self.design.features.names, "language": self.design.features.language,
            "texts": self.design.texts, "encoder": self.encoder_name, "count": self.count,
            "fit": asdict(self.settings), "grams": asdict(vocabulary.settings),
        }  # fmt: skip
        _write(folder / ABOUT, about)

    @classmethod
    def load(cls, folder: Path, about: dict[str, Any], features: Features, encoder: Encoder | None) -> FeatureScorer:
        """What `save` wrote; `about` is the content of scorer.json."""
        design = FeatureDesign(features, bool(about["texts"]), encoder)
        settings = FitSettings(**about["fit"])
        model = empty(design.columns, design.widths, int(about["count"]), settings)
        load_weights(model, folder / WEIGHTS)
        return cls(design, model.requires_grad_(False), settings, int(about["count"]), about["encoder"])


@dataclass(frozen=True)
class EncoderScorer:
    """An encoder that reads both texts; its folder holds the features' vocabulary, too, for the evidence."""

    classifier: PairClassifier
    features: Features

    def decisions(self, pairs: Sequence[Pair], found: Extracted) -> Floats:  # noqa: ARG002 (the encoder reads texts)
        """Decisions (N, classes)."""
        return self.classifier.decisions(pairs)

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        own = self.classifier
        own.save(folder / "encoder")
        vocabulary = self.features.vocabulary
        _write(folder / GRAMS, {"grams": vocabulary.grams, "weights": [float(one) for one in vocabulary.weights]})
        about = {
            "kind": "encoder", "names": self.features.names, "language": self.features.language, "tokens": own.tokens,
            "overlap": own.overlap, "windows": own.windows, "grams": asdict(vocabulary.settings),
        }  # fmt: skip
        _write(folder / ABOUT, about)


def load_features(folder: Path, about: dict[str, Any], likelihood: Any = None) -> Features:
    """The features that a scorer in `folder` was saved with."""
    kept = _read(folder / GRAMS)
    weights = np.asarray(kept["weights"], dtype=np.float32)
    vocabulary = CharacterTfIdf(tuple(kept["grams"]), weights, GramSettings(**about["grams"]))
    return Features(vocabulary, tuple(about["names"]), about["language"], likelihood)


def load_scorer(folder: Path, features: Features, about: dict[str, Any], encoder: Encoder | None) -> Scorer:
    """The scorer that was saved in `folder`."""
    if about["kind"] == "features":
        return FeatureScorer.load(folder, about, features, encoder)
    settings = {name: about[name] for name in ("tokens", "overlap", "windows")}
    return EncoderScorer(PairClassifier.load(folder / "encoder", **settings), features)


def read_about(folder: Path) -> dict[str, Any]:
    """The content of scorer.json. ModelUnavailable: it is not there, or damaged."""
    return _read(folder / ABOUT)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{path} cannot be read ({error}); it is part of a headline judge. Train anew."
        ) from error
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def classes_of(labels: Sequence[str], known: Sequence[str]) -> Ints:
    """The number of each label. InputError: one is not known."""
    place = {label: at for at, label in enumerate(known)}
    unknown = next((one for one in labels if one not in place), None)
    if unknown is not None:
        raise InputError(f"There is no label {unknown!r}. There are: {', '.join(known)}.")
    return np.fromiter((place[one] for one in labels), np.int64, len(labels))
