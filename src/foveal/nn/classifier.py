"""Classifies a series as it comes: the class after every value, by Aaren or its peers.

    recipe = classification(read_ts(train), read_ts(test), ClassifierSettings())     # evaluation/series.py
    folder, report = fit(recipe, CLASSIFICATION, run=RunSettings(home=home))
    model = load_model(folder)
    model.classes[int(model(x, mask)[0].argmax())]              # x (1, T, channels)
    logits, state = model.step(value, model.init_state(1))      # the class so far, in constant time

Causal: the class is read at the last value that counts, and so it can be asked for after any. Positions are sines of
the place; series are standardised with the mean and spread of each channel in the training series.

Source    Feng et al., 2024, section 4.4; the Transformer of Time-Series-Library made causal
Shapes    x (B, T, C), mask (B, T) -> (B, classes)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.evaluation.series import Labelled
from foveal.nn.causal_attention import StreamSettings, encoder_of, last_real, positions
from foveal.nn.inputs import checked
from foveal.nn.states import State
from foveal.nn.stream_training import DEV, TEST, Recipe, in_batches
from foveal.ranges import POSITIVE, require_settings
from foveal.training.loop import LoopSettings
from foveal.training.report import Metrics

CLASSIFICATION = LoopSettings(epochs=60, batch=16, learning_rate=1e-3, warm_up=0.05, patience=15)


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """The model; what is below `encoder` is known from the training series."""

    encoder: StreamSettings = field(default_factory=lambda: StreamSettings(feed_forward=256))
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()  # of each channel
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_settings("A classifier of series", self, spread=POSITIVE)


class Reading(NamedTuple):
    """The encoder's state, and the number of values read."""

    state: State
    read: int


class StreamClassifier(nn.Module):
    """From a series to its class."""

    mean: Tensor
    spread: Tensor

    def __init__(self, settings: ClassifierSettings) -> None:
        super().__init__()
        if len(settings.classes) < 2 or not settings.mean or len(settings.mean) != len(settings.spread):
            raise InputError("A classifier needs two classes, and a mean and a spread for each channel.")
        self.settings, dim = settings, settings.encoder.dim
        for name in ("mean", "spread"):
            self.register_buffer(name, torch.tensor(getattr(settings, name)), persistent=False)
        self.embed, self.encoder = nn.Linear(len(settings.mean), dim), encoder_of(settings.encoder)
        self.dropout, self.head = nn.Dropout(settings.encoder.dropout), nn.Linear(dim, len(settings.classes))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> StreamClassifier:
        """Of plain values."""
        lists = {name: tuple(plain[name]) for name in ("classes", "mean", "spread")}
        return cls(ClassifierSettings(encoder=StreamSettings(**plain["encoder"]), **lists))

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        return self.settings.classes

    def init_state(self, batch: int) -> Reading:
        """Nothing read."""
        return Reading(self.encoder.init_state(batch), 0)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits at the last value that counts."""
        y, _ = self.encoder(self._tokens(x, 0, mask), None, mask)
        logits: Tensor = self.head(self.dropout(last_real(y, mask)))
        return logits

    def step(self, x: Tensor, reading: Reading) -> tuple[Tensor, Reading]:
        """One value of each channel, (B, C): the logits so far."""
        token = self._tokens(x[:, None], reading.read)[:, 0]
        y, state = self.encoder.step(token, reading.state)
        return self.head(y), Reading(state, reading.read + 1)

    def _tokens(self, x: Tensor, first: int, mask: Tensor | None = None) -> Tensor:
        x = checked("A classifier", x, len(self.settings.mean), mask)
        places = positions(x.shape[1], self.settings.encoder.dim, first=first).to(x.device)
        tokens: Tensor = self.dropout(self.embed((x - self.mean) / self.spread) + places)
        return tokens


# -- the recipe --------------------------------------------------------------------------------------------------------


def collate(rows: Sequence[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """Series side by side, the padding on the right."""
    lengths = torch.tensor([len(x) for x, _ in rows])
    x = nn.utils.rnn.pad_sequence([x for x, _ in rows], batch_first=True)
    mask = torch.arange(x.shape[1]) < lengths[:, None]
    return {"x": x, "mask": mask, "y": torch.tensor([y for _, y in rows])}


def cross_entropy(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss."""
    return F.cross_entropy(model(batch["x"], batch["mask"]), batch["y"])


def classification(
    train: Labelled, test: Labelled, settings: ClassifierSettings | None = None, *, dev: float = 0.2, seed: int = 0
) -> Recipe:
    """A model and what it learns from; a share `dev` of each class's training series chooses the weights.

    InputError: fewer than two classes, one series of each, other channels in the test series, or a class that was not
    learnt.
    """
    settings = settings or ClassifierSettings()
    classes, channels = train.classes, train.series[0].shape[1]
    if unknown := sorted(set(test.labels) - set(classes)):
        raise InputError(f"The test series have the class {unknown[0]!r}, which no training series has.")
    if test.series[0].shape[1] != channels:
        raise InputError(f"The training series have {channels} channels, those of the test {test.series[0].shape[1]}.")
    values = np.concatenate(train.series)
    spread = np.where((found := values.std(0)) > 0, found, 1)
    settings = replace(
        settings, classes=classes, mean=tuple(values.mean(0).tolist()), spread=tuple(spread.astype(float).tolist())
    )
    rows = {
        name: [(torch.from_numpy(x), classes.index(y)) for x, y in zip(one.series, one.labels, strict=True)]
        for name, one in (("train", train), (TEST, test))
    }
    held = held_out([y for _, y in rows["train"]], dev, seed)
    if not held:
        raise InputError("Every class has one series only, so that none can be held out. Give more of each.")
    rows[DEV] = [rows["train"][place] for place in sorted(held)]
    learnt = [row for place, row in enumerate(rows["train"]) if place not in held]
    most = max(range(len(classes)), key=lambda one: train.labels.count(classes[one]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StreamClassifier(settings)
    tested = hashlib.sha256(np.concatenate(test.series).tobytes() + "|".join(test.labels).encode()).hexdigest()[:16]
    digest = hashlib.sha256(values.tobytes() + "|".join(train.labels).encode()).hexdigest()[:16]
    return Recipe(
        "classify", model, learnt, cross_entropy, lower=False, metric="accuracy",
        measure=lambda model, part: accuracy(model, rows[part]),
        baseline=lambda part: {"accuracy": float(np.mean([y == most for _, y in rows[part]]))},
        base="the most frequent class", data=digest, collate=collate,
        depends_on={"seed": str(seed), "dev": str(dev), "test": tested},
        notes=(f"{len(learnt)} series to learn from, {len(held)} to choose the weights, {len(classes)} classes.",),
    )  # fmt: skip


def held_out(labels: Sequence[int], share: float, seed: int) -> set[int]:
    """Places of a share of each class's series, one or more; of a class of one series, none."""
    draw, chosen = np.random.default_rng(seed), set[int]()
    for one in sorted(set(labels)):
        own = [place for place, label in enumerate(labels) if label == one]
        count = min(len(own) - 1, max(1, round(share * len(own))))  # one at least is learnt from
        chosen.update(int(place) for place in draw.permutation(own)[:count])
    return chosen


@torch.no_grad()
def accuracy(model: Any, rows: Sequence[tuple[Tensor, int]]) -> Metrics:
    """The share of series whose class is the likeliest."""
    right = [(model(b["x"], b["mask"]).argmax(-1) == b["y"]).float() for b in in_batches(rows, collate, 64, like=model)]
    return {"accuracy": float(torch.cat(right).mean())}
