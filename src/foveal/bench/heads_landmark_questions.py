"""bench heads-landmark, the arm of records: landmark attention that learns to answer from records in short windows.

Windows are random symbols with records (RECORD, key, value) and questions (ASK, key, value) at any place: a question is
answered by the record of its key, in whichever block that stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings
from foveal.attention.landmark_training import DecoderSize, own_decoder
from foveal.bench.heads_landmark_arms import loop_of
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import place_of, trained
from foveal.training.checkpoints import DONE
from foveal.training.loop import LoopSettings

KEYS = VALUES = 16
FILLER = 16
RECORD, ASK = FILLER, FILLER + 1
FIRST_KEY = FILLER + 2
FIRST_VALUE = FIRST_KEY + KEYS
SYMBOLS = FIRST_VALUE + VALUES


@dataclass(frozen=True, kw_only=True)
class RecordScale:
    """How much is trained. Tuned were how many records are in a window, how many windows are learnt from at once (of
    16, answers stay a draw among the records' values), and the layers: where a record lies over two blocks, one layer
    brings its key to its value, the next both to the block's landmark, and the third finds it."""

    landmarks: LandmarkSettings = field(default_factory=lambda: LandmarkSettings(block=8, train_length=64))
    size: DecoderSize = field(default_factory=lambda: DecoderSize(layers=3, width=128, heads=4, vocabulary=300))
    steps: int = 3000
    windows: int = 64  # of a step
    rate: float = 2e-3


@dataclass(frozen=True)
class Records:
    """Windows of fillers with 1 to 4 records (RECORD, key, value) and 2 to 10 questions (ASK, key, value)."""

    length: int
    seed: int
    most: int = 4
    questions: int = 10

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, number: int) -> Tensor:
        draw = np.random.default_rng([self.seed, number])
        made = draw.integers(FILLER, size=self.length)
        count = int(draw.integers(1, self.most + 1))
        keys, values = drawn_records(draw, count)
        asked = int(draw.integers(2, self.questions + 1))  # few, too: blocks of nothing but fillers are to be known
        places = apart(draw, self.length, count + asked)
        told = np.zeros(len(places), dtype=bool)
        told[[0, *(1 + draw.permutation(len(places) - 1)[: count - 1])]] = True
        which = (draw.random(len(places)) * told.cumsum()).astype(int)  # of those told before
        which[told] = np.arange(count)
        made[places], made[places + 1], made[places + 2] = np.where(told, RECORD, ASK), keys[which], values[which]
        return torch.from_numpy(made)


def apart(draw: np.random.Generator, length: int, count: int) -> np.ndarray:
    """Where so many triples begin in a text, in order: at any distance, so that none can be told by its remainder."""
    return np.sort(draw.permutation(length - 2 * count)[:count]) + 2 * np.arange(count)


def drawn_records(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys, all different, and values."""
    return FIRST_KEY + draw.permutation(KEYS)[:count], FIRST_VALUE + draw.integers(VALUES, size=count)


@dataclass(frozen=True, eq=False)
class AnswerLoss:
    """The cross entropy of answers alone: the rest cannot be foretold."""

    model: LandmarkModel

    def __call__(self, learning: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        self.model.train(learning.training)
        ids = batch["ids"]
        asked = F.pad(ids[:, :-2] == ASK, (2, 0))
        loss: Tensor = self.model(ids, labels=ids.where(asked, -100)).loss
        return loss


def record_model(settings: BenchSettings, scale: RecordScale) -> LandmarkModel:
    """The arm of records."""
    model, rows, loss, loop, told = parts_of(settings, scale)

    def plan(epoch: int) -> list[list[int]]:
        first = epoch * scale.steps
        return [list(range(n * scale.windows, (n + 1) * scale.windows)) for n in range(first, first + scale.steps)]

    trained(settings, "landmark", "records", model, rows, loss, plan, loop, told)
    return model


def is_trained(settings: BenchSettings, scale: RecordScale) -> bool:
    """Whether the cache holds the arm as `record_model` would train it, which takes long."""
    model, _, loss, loop, told = parts_of(settings, scale)
    return (place_of(settings, "landmark", "records", model, loss, loop, told)[1] / DONE).is_file()


def parts_of(
    settings: BenchSettings, scale: RecordScale
) -> tuple[LandmarkModel, Records, AnswerLoss, LoopSettings, dict[str, Any]]:
    """The arm before it is trained, its rows and loss, how it is trained, and what it is known by."""
    size, few = scale.size, scale.landmarks
    model = LandmarkModel(own_decoder(size, SYMBOLS, settings.seed, positions=few.train_length), few)
    rows = Records(few.window_tokens, settings.seed)
    told = {"size": asdict(size), "landmarks": asdict(few), "symbols": SYMBOLS, "rows": asdict(rows)}
    loop = loop_of(scale.steps, scale.windows, scale.rate, settings.seed)
    return model, rows, AnswerLoss(model), loop, told


def asked_texts(length: int, count: int, seed: int, *, records: int) -> tuple[Tensor, Tensor, Tensor]:
    """Texts (count, length) of fillers and records with one question at the end; its answers, and where they stand.

    The record that is asked for lies evenly over the depths of the text.
    """
    texts, answers, places = [], [], []
    for number in range(count):
        draw = np.random.default_rng([seed, length, number])
        made = draw.integers(FILLER, size=length)
        keys, values = drawn_records(draw, records)
        at = [int((number + draw.random()) / count * (length - 4))]
        at += [one for one in draw.permutation(length - 4).tolist() if abs(one - at[0]) > 2]
        for place, key, value in zip(_apart(at, records), keys, values, strict=True):
            made[place : place + 3] = RECORD, key, value
        made[-2:] = ASK, keys[0]
        texts.append(torch.from_numpy(made))
        answers.append(int(values[0]))
        places.append(int(at[0]))
    return torch.stack(texts), torch.tensor(answers), torch.tensor(places)


def _apart(places: Sequence[int], count: int) -> list[int]:
    """The first `count` of the places that are no less than three apart from each before."""
    taken: list[int] = []
    for one in places:
        if len(taken) < count and all(abs(one - other) > 2 for other in taken):
            taken.append(one)
    return taken
