"""bench layers-lama, the arms: text classifiers that differ in one part, trained once and kept; and their data.

All have word vectors of 100 (drawn at random but for one arm; words seen twice), a GRU of 50 in each direction, dropout
0.3, a layer of 64 and a softmax, and read the first 100 words; five epochs of AdamW, batches of 64, at a rate that
falls from 2e-3 to 0: in the mean the 1e-3 at which the specification's figures were reached. At half of it no arm
reaches them, the poolings without heads least of all.

    "LAMA"  as in the paper     "learned scale"  its scores times a learned number     "ctx"  the mean word as context
    "CNN", "BiLSTM"  other encoders, under max-pooling     all others  the same GRU under another pooling
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import trained
from foveal.evaluation.labelled import LabelledText, read_texts
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.nn.text_classifier import TextClassifier, length_of
from foveal.nn.text_classifier_training import (
    ClassifierSize,
    by_length,
    classes_of,
    collate,
    digest,
    loss,
    made,
    measured,
)
from foveal.settings import Settings
from foveal.training.loop import LoopSettings
from foveal.training.report import Metrics

FIRST_WORDS = 100
SEEDS, EPOCHS = 3, 5
PENALTY = 0.1
RATE = 2e-3
"""At its height."""


@dataclass(frozen=True)
class Arm:
    """A classifier by its name."""

    name: str
    size: ClassifierSize
    words_of_encoder: bool = False  # word vectors begin with the encoder's


def _of(pooling: str, **more: object) -> ClassifierSize:
    return ClassifierSize(pooling=pooling, max_words=FIRST_WORDS, **{"pooler": {}, **more})  # type: ignore[arg-type]


SCALED: dict[str, object] = {"learn_scale": True, "scale": 10.0}
ARMS = {
    name: Arm(name, size)
    for name, size in {
        "LAMA": _of("lama"),
        "LAMA, learned scale": _of("lama", pooler=SCALED),
        "LAMA + ctx": _of("lama", pooler={"context": "mean"}),
        "mean": _of("mean"),
        "max": _of("max"),
        "one head": _of("attention"),
        "structured": _of("structured"),
        "full multi-head": _of("mha"),
        "CNN": _of("max", encoder="cnn", hidden=100),
        "BiLSTM": _of("max", encoder="lstm"),
    }.items()
} | {"LAMA, words of MiniLM": Arm("LAMA, words of MiniLM", _of("lama"), words_of_encoder=True)}
QUICK = {
    "r8": ("LAMA", "LAMA, learned scale", "mean", "max", "one head", "structured", "full multi-head"),
    "mr": ("LAMA", "mean", "structured", "full multi-head"),
}
APART = {
    "penalty": Arm("penalty", _of("lama", pooler=SCALED, diversity=PENALTY)),
    "words alone": Arm("words alone", _of("lama", encoder="none")),
}
"""Arms of single questions."""


@dataclass(frozen=True)
class Texts:
    """A set, parted."""

    train: list[LabelledText]
    test: list[LabelledText]


class Arms:
    """The models of a run, each trained when it is asked for."""

    def __init__(self, settings: BenchSettings) -> None:
        self.settings = settings
        self.seeds = [settings.seed + one for one in range(1 if settings.quick else SEEDS)]
        self.epochs = 1 if settings.quick else EPOCHS
        self.texts = cache(self._texts)
        self._models: dict[tuple[str, str, int], TextClassifier] = {}

    def chosen(self, name: str) -> list[Arm]:
        """The arms that are measured on a set."""
        return [arm for arm in ARMS.values() if not self.settings.quick or arm.name in QUICK[name]]

    def learnt(self, name: str, arm: Arm, seed: int) -> TextClassifier:
        """An arm's model of a set."""
        place = name, arm.name, seed
        if place not in self._models:
            texts = self.texts(name).train
            self._models[place] = learnt_on(
                self.settings, f"{name}-{arm.name}", texts, arm.size, seed, self.epochs,
                folder_of("minilm", Settings.load().cache, kind="encoder") if arm.words_of_encoder else None,
            )  # fmt: skip
        return self._models[place]

    def _texts(self, name: str) -> Texts:
        if name == "mr":  # no split is given: a third is the test, as in the spec of TextGCN
            every = self._file("mr", "all.csv")
            order = np.random.default_rng(self.settings.seed).permutation(len(every)).tolist()
            cut = len(every) * 2 // 3
            return Texts([every[place] for place in order[:cut]], [every[place] for place in order[cut:]])
        return Texts(self._file(name, "train.csv"), self._file(name, "test.csv"))

    def _file(self, name: str, file: str) -> list[LabelledText]:
        folder = self.settings.folder(f"classification/{name}", (file,))
        path = next(one for one in (folder / file, folder / f"{file}.gz") if one.is_file())
        return [one for one in read_texts(path) if any(map(str.isalnum, one.text))]


def learnt_on(
    settings: BenchSettings, name: str, texts: Sequence[LabelledText], size: ClassifierSize, seed: int, epochs: int,
    words_of: Path | None = None,
) -> TextClassifier:  # fmt: skip
    """A classifier of these texts, trained or found trained."""
    classes = classes_of(texts)
    model = made([one.text for one in texts], classes, size, seed, words_of)
    rows = [(model.read(one.text), classes.index(one.label)) for one in texts]
    lengths = [length_of(row) for row, _ in rows]
    loop = LoopSettings(epochs=epochs, batch=64, learning_rate=RATE, warm_up=0.02, seed=seed)
    told = {"config": repr(sorted(model.config.plain.items(), key=str)), "texts": digest(texts)}
    if words_of is not None:
        told["words"] = fingerprint(words_of)
    called = f"lama-{name}-{seed}".lower().replace(" ", "-").replace(",", "").replace("+", "and")
    with torch.enable_grad():
        trained(
            settings, "layers", called, model, rows, loss, lambda epoch: by_length(lengths, 64, seed, epoch), loop,
            told, together=collate,
        )  # fmt: skip
    return model


def scores_of(model: TextClassifier, texts: Sequence[LabelledText]) -> Metrics:
    """Accuracy and macro F1."""
    return measured(model, texts)
