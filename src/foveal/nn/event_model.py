"""Foretells the next event of a sequence: when it comes, by a mixture of log-normals, and which mark it bears.

    recipe = event_forecasting(train, test, EventModelSettings())          # Events, of evaluation/event_sequences.py
    folder, report = fit(recipe, EVENT_FORECASTING, run=RunSettings(home=home))
    told, state = model.step(gap, mark, model.init_state(1))               # after each event, in constant time

An event's token is its mark, the logarithm of the gap before it, and sines of the time since the first event. What
comes out of the encoder gives the mixture of the next gap, whose likelihood is exact: no intensity, no integral.

Units     gaps are divided by the training gaps' mean; nats are per event, of such gaps and marks together
Source    Shchur et al., ICLR 2020 (the mixture); Zuo et al., ICML 2020 (the encoding of time); Feng et al., 2024, 4.2
Shapes    gaps, marks, mask (B, T), the first gap of a row is 0 -> mixture (B, T, K) thrice, mark logits (B, T, marks)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.evaluation.event_sequences import Events
from foveal.nn.causal_attention import StreamSettings, encoder_of
from foveal.nn.inputs import require_ids
from foveal.nn.states import State
from foveal.nn.stream_training import DEV, TEST, Recipe, in_batches
from foveal.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Range, require_settings
from foveal.training.examples import in_parts, shuffled
from foveal.training.loop import LoopSettings
from foveal.training.report import Metrics

EVENT_FORECASTING = LoopSettings(epochs=6, batch=32, learning_rate=2e-3, warm_up=0.1, patience=3)
SHORTEST = 1e-9
"""The shortest gap, in mean gaps: two events at once are so far apart."""

SMALL = 1e-30
"""What a mean gap, and one divided by the greatest gap, are at least: numbers here are float32."""

MOST_MARKS = 2**17
"""Each has an embedding, and a logit of every event: greater numbers are names of something else."""

WIDEST = 1.5
"""Of a component's spread, in spreads of the logarithm: so that the mean of a gap stays finite in practice."""


@dataclass(frozen=True, kw_only=True)
class EventModelSettings:
    """The model; what is below `piece` is known from the training sequences."""

    encoder: StreamSettings = field(default_factory=lambda: StreamSettings(dim=64, layers=2))
    components: int = 16  # of the mixture
    piece: int = 256  # events that are read at once; longer sequences are cut
    marks: int = 0
    mean_gap: float = 1.0
    log_mean: float = 0.0  # of the logarithm of gaps in mean gaps
    log_spread: float = 1.0

    def __post_init__(self) -> None:
        require_settings(
            "A model of events", self, components=COUNT, piece=Range(2), marks=NOT_NEGATIVE, mean_gap=POSITIVE,
            log_spread=POSITIVE,
        )  # fmt: skip


class Told(NamedTuple):
    """Of the next gap's standardised logarithm: the mixture; and the next mark."""

    weights: Tensor  # (…, K), logarithms
    means: Tensor
    spreads: Tensor
    marks: Tensor  # (…, marks), logits


class Reading(NamedTuple):
    """The encoder's state, and the time since the first event, in mean gaps (B,).

    In float64, where the device has it: in float32 a clock that has run for 10^8 gaps moves by 8 at once.
    """

    state: State
    time: Tensor


class EventModel(nn.Module):
    """From a sequence to the next event, after each."""

    turns: Tensor

    def __init__(self, settings: EventModelSettings) -> None:
        super().__init__()
        if settings.marks < 1 or not settings.mean_gap > 0:
            raise InputError("An event model needs the number of marks and the mean gap of its training sequences.")
        self.settings, dim = settings, settings.encoder.dim
        self.mark, self.gap = nn.Embedding(settings.marks, dim), nn.Linear(2, dim)
        self.encoder = encoder_of(settings.encoder)
        self.mixture = nn.Linear(dim, 3 * settings.components)
        self.next_mark = nn.Linear(dim, settings.marks)
        turns = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
        self.register_buffer("turns", turns, persistent=False)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> EventModel:
        """Of plain values."""
        return cls(EventModelSettings(**{**plain, "encoder": StreamSettings(**plain["encoder"])}))

    def init_state(self, batch: int) -> Reading:
        """Nothing seen."""
        return Reading(self.encoder.init_state(batch), self.turns.new_zeros(batch, dtype=_of_clocks(self.turns)))

    def forward(self, gaps: Tensor, marks: Tensor, mask: Tensor | None = None) -> Told:
        """After each event, of what comes next. Gaps in the unit of the data.

        InputError: shapes that differ, or a mark that was not learnt.
        """
        if gaps.dim() != 2 or marks.shape != gaps.shape:
            shapes = f"gaps {tuple(gaps.shape)} and marks {tuple(marks.shape)}"
            raise InputError(f"An event model got {shapes}; it needs (B, T) of both.")
        gaps = gaps / self.settings.mean_gap
        first = torch.zeros_like(gaps, dtype=torch.bool)
        first[:, 0] = True
        y, _ = self.encoder(self._tokens(gaps, marks, gaps.cumsum(1, dtype=_of_clocks(gaps)), first), None, mask)
        return self._told(y)

    def step(self, gap: Tensor, mark: Tensor, reading: Reading, *, first: bool = False) -> tuple[Told, Reading]:
        """One event of each row: gap (B,), mark (B,); `first`: nothing came before it."""
        gap = torch.zeros_like(gap) if first else gap / self.settings.mean_gap
        time = reading.time.to(_of_clocks(gap)) + gap
        begins = torch.full_like(gap, first, dtype=torch.bool)
        y, state = self.encoder.step(self._tokens(gap, mark, time, begins), reading.state)
        return self._told(y), Reading(state, time)

    def _tokens(self, gaps: Tensor, marks: Tensor, times: Tensor, first: Tensor) -> Tensor:
        angles = times[..., None] * self.turns
        require_ids("An event model", "marks", marks, self.settings.marks)
        phases = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., : self.settings.encoder.dim]
        phases = phases.to(gaps.dtype)
        told = torch.where(first, 0.0, self.standard(gaps))
        seen = torch.stack([told, first.to(told.dtype)], -1)
        tokens: Tensor = self.mark(marks) + self.gap(seen) + phases
        return tokens

    def _told(self, y: Tensor) -> Told:
        weights, means, spreads = self.mixture(y).chunk(3, -1)
        spreads = 0.02 + (WIDEST - 0.02) * spreads.sigmoid()
        return Told(weights.log_softmax(-1), means, spreads, self.next_mark(y))

    def standard(self, gaps: Tensor) -> Tensor:
        """The standardised logarithm of gaps in mean gaps."""
        return (gaps.clamp_min(SHORTEST).log() - self.settings.log_mean) / self.settings.log_spread

    def time_nats(self, told: Told, gaps: Tensor) -> Tensor:
        """Minus the log-density of the gaps (…), in the unit of the data; the density is that of gaps in mean gaps."""
        gaps = gaps / self.settings.mean_gap
        z = self.standard(gaps)[..., None]
        parts = -0.5 * ((z - told.means) / told.spreads).square() - told.spreads.log() - 0.5 * math.log(2 * math.pi)
        inner = (told.weights + parts).logsumexp(-1)
        return -(inner - gaps.clamp_min(SHORTEST).log() - math.log(self.settings.log_spread))

    def expected(self, told: Told) -> Tensor:
        """The mean of the next gap, in the unit of the data."""
        s = self.settings
        mean = s.log_mean + s.log_spread * told.means + (s.log_spread * told.spreads).square() / 2
        return (told.weights + mean).logsumexp(-1).exp() * s.mean_gap


def _of_clocks(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64


# -- the recipe --------------------------------------------------------------------------------------------------------


def collate(rows: Sequence[Events]) -> dict[str, Tensor]:
    """Sequences side by side, the padding on the right; `gaps` begin with 0."""
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(one.times), dtype=torch.bool) for one in rows], batch_first=True)
    gaps = [torch.from_numpy(np.concatenate([[0.0], one.gaps])).float() for one in rows]
    marks = [torch.from_numpy(one.marks) for one in rows]
    pad = nn.utils.rnn.pad_sequence
    return {"gaps": pad(gaps, batch_first=True), "marks": pad(marks, batch_first=True), "mask": mask}


def nats(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Told, Tensor]:
    """Of each event but the first: nats of its time (N,), of its mark (N,), what was told of it, and which they are."""
    told = model(batch["gaps"], batch["marks"], batch["mask"])
    there = batch["mask"][:, 1:]
    told = Told(*(one[:, :-1][there] for one in told))
    time = EventModel.time_nats(_bare(model), told, batch["gaps"][:, 1:][there])
    return time, F.cross_entropy(told.marks, batch["marks"][:, 1:][there], reduction="none"), told, there


def _bare(model: Any) -> EventModel:
    """The model itself, where the loop has wrapped it."""
    return model.module if hasattr(model, "module") else model  # type: ignore[no-any-return]


def mean_nats(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss."""
    time, mark, *_ = nats(model, batch)
    return (time + mark).mean()


@torch.no_grad()
def measured(model: Any, rows: Sequence[Events]) -> Metrics:
    """Nats per event (of both, times, marks), root mean squared error of gaps in mean gaps, accuracy of marks."""
    sums, count = torch.zeros(4, dtype=torch.float64), 0
    for batch in in_batches(sorted(rows, key=lambda one: len(one.times)), collate, 64, like=model):
        time, mark, told, there = nats(model, batch)
        off = (model.expected(told) - batch["gaps"][:, 1:][there]) / model.settings.mean_gap
        right = told.marks.argmax(-1) == batch["marks"][:, 1:][there]
        sums += torch.stack([one.double().sum() for one in (time, mark, off.square(), right)]).cpu()
        count += len(time)
    time, mark, square, right = (sums / count).tolist()
    return {"nll": time + mark, "time_nll": time, "mark_nll": mark, "rmse": square**0.5, "accuracy": right}


def constant_rate(train: Sequence[Events], rows: Sequence[Events], mean_gap: float, marks: int) -> Metrics:
    """A Poisson process of the training sequences' rate, whose marks are as frequent as there."""
    seen = np.bincount(np.concatenate([one.marks for one in train]), minlength=marks) + 1.0
    shares = seen / seen.sum()
    gaps = np.concatenate([one.gaps for one in rows]) / mean_gap
    next_marks = np.concatenate([one.marks[1:] for one in rows])
    time, mark = float(gaps.mean()), float(-np.log(shares[next_marks]).mean())
    right = float((next_marks == shares.argmax()).mean())
    rmse = float(np.sqrt(((gaps - 1) ** 2).mean()))
    return {"nll": time + mark, "time_nll": time, "mark_nll": mark, "rmse": rmse, "accuracy": right}


def event_forecasting(
    train: Sequence[Events],
    test: Sequence[Events],
    settings: EventModelSettings | None = None,
    *,
    dev: float = 0.1,
    seed: int = 0,
) -> Recipe:
    """A model and what it learns from; a share `dev` of the sequences chooses the weights.

    InputError: fewer than two sequences of a part, all events at one time, or marks that are numbers of no kind.
    """
    settings = settings or EventModelSettings()
    if len(train) < 2 or not test:
        raise InputError(f"There are {len(train)} sequences to learn from and {len(test)} to measure; give 2 and 1.")
    order = np.random.default_rng(seed).permutation(len(train))
    held = set(order[: max(1, round(dev * len(train)))].tolist())
    learnt = [one for place, one in enumerate(train) if place not in held]
    gaps = np.concatenate([one.gaps for one in learnt])
    if not gaps.mean() > 0:
        raise InputError("All events stand at one time; there is nothing to foretell.")
    if not SMALL < gaps.mean() < 1 / SMALL or max(one.gaps.max() for one in (*train, *test)) > 1 / SMALL:
        raise InputError(f"Gaps of {gaps.mean():.3g} in the mean are beyond float32. Give times in another unit.")
    logs = np.log(np.maximum(gaps / gaps.mean(), SHORTEST))
    marks = 1 + max(int(one.marks.max()) for one in (*train, *test))
    if marks > MOST_MARKS:
        raise InputError(
            f"A mark is {marks - 1:,}; there may be {MOST_MARKS:,}. Number the kinds of events from 0, without holes."
        )
    settings = replace(
        settings, marks=marks, mean_gap=float(gaps.mean()), log_mean=float(logs.mean()),
        log_spread=float(max(logs.std(), 1e-3)),
    )  # fmt: skip
    cut: dict[str, list[Events]] = {
        name: [piece for one in rows for piece in one.pieces(settings.piece)]
        for name, rows in (("train", learnt), (DEV, [train[place] for place in sorted(held)]), (TEST, test))
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EventModel(settings)
    digest = hashlib.sha256()
    for one in (*train, *test):
        digest.update(one.times.tobytes() + one.marks.tobytes())
    return Recipe(
        "events", model, cut["train"], mean_nats, metric="nll", base="a constant rate", collate=collate,
        measure=lambda model, part: measured(model, cut[part]),
        baseline=lambda part: constant_rate(learnt, cut[part], settings.mean_gap, marks),
        plan=alike_batches([len(one.times) for one in cut["train"]]), data=digest.hexdigest()[:16],
        depends_on={"seed": str(seed), "dev": str(dev)},
        notes=(f"{len(cut['train']):,} pieces of {sum(len(one.times) for one in cut['train']):,} events; "
               f"{marks} marks; nats of gaps in mean gaps ({settings.mean_gap:.4g}).",),
    )  # fmt: skip


def alike_batches(lengths: Sequence[int], blocks: int = 16) -> Callable[[int, int, int], list[list[int]]]:
    """Batches of sequences of like lengths, drawn anew in each epoch: (epoch, batch, seed) -> places."""

    def plan(epoch: int, batch: int, seed: int) -> list[list[int]]:
        places = [one for some in shuffled(len(lengths), batch, seed, epoch=epoch) for one in some]
        made: list[list[int]] = []
        for block in in_parts(places, batch * blocks):
            made += in_parts(sorted(block, key=lambda one: lengths[one]), batch)
        order = np.random.default_rng([seed, epoch]).permutation(len(made))
        return [made[place] for place in order]

    return plan
