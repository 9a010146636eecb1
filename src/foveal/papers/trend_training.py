"""Trains the forecast of attention on a home's own history: all its subjects and topics, day by day.

    folder, report = fit(own_history(database), TREND, run=RunSettings(home=home, name=MODEL))  # nn/

The last fifth of the days is held out: its first half chooses the weights and decides whether the model is kept, which
it is only if it beats the seasonal mean; its second half is told.

pinball    of the band's two edges and, as a median, the mean, over the root of the series' size: small is good
inside     the share of days that lie in the band; 0.8 is meant
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError
from foveal.nn.counts import HIGH, LOW, Band, CountForecaster, CountSettings, band_loss, pinball, targets
from foveal.nn.stream_training import DEV, TEST, Recipe, fit
from foveal.papers.attention_counts import chosen, counted, first_day
from foveal.papers.trend_forecast import HORIZON, LEAST, MODEL, seasonal
from foveal.training import checkpoints
from foveal.training.loop import LoopSettings, identity
from foveal.training.report import Metrics, Report
from foveal.training.runs import RunSettings
from foveal.training.watch import Progress

TREND = LoopSettings(steps=300, batch=16, learning_rate=3e-3, warm_up=0.1, weight_decay=1e-2, evaluate_every=25)
HELD_OUT = 0.2
WARM = 7
"""Days of a series after which it is learnt from."""


def train_trend(
    database: Database, home: Path, loop: LoopSettings = TREND, *, anew: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[Path | None, Report]:  # fmt: skip
    """Learn from the days that are over. With more days than at the last training, it begins anew by itself.

    InputError: too few days.
    """
    recipe = own_history(database, seed=loop.seed)
    begun = checkpoints.read(home / "runs" / "train" / MODEL / checkpoints.RUN)
    other = begun is not None and begun != identity(recipe.job(loop).identity, loop)
    run = RunSettings[Any](home=home, name=MODEL, anew=anew or other, on_progress=on_progress)
    return fit(recipe, loop, run=run)


def own_history(database: Database, *, seed: int = 0) -> Recipe:
    """The recipe. InputError: fewer than LEAST days."""
    last = faults.now().date() - timedelta(days=1)
    first = first_day(database, last)
    days = (last - first).days + 1 if first else 0
    if first is None or days < LEAST:
        raise InputError(
            f"This home has papers of {max(0, days)} days; a forecast is learnt from {LEAST} or more. Until then the "
            "seasonal mean is shown."
        )
    series = [one for one in chosen(database) if one.kind != "rising"]
    found = counted(database, series, first, last)
    both = ([getattr(found[one], name) for one in series] for name in ("papers", "votes"))
    counts, votes = (torch.tensor(values).float() for values in both)
    weekdays = torch.tensor([(first + timedelta(days=at)).weekday() for at in range(days)])
    return of_counts(counts, votes, weekdays, seed=seed)


def of_counts(
    counts: Tensor, votes: Tensor, weekdays: Tensor, *, seed: int = 0, settings: CountSettings | None = None
) -> Recipe:
    """From counts and votes (series, days) and the days' weekdays (days,)."""
    settings = settings or CountSettings(horizon=HORIZON)
    days = counts.shape[1]
    edges = round((1 - HELD_OUT) * days), round((1 - HELD_OUT / 2) * days), days
    parts = {DEV: (edges[0], edges[1]), TEST: (edges[1], edges[2])}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CountForecaster(settings)
    rows = [{"counts": one, "votes": two, "weekdays": weekdays} for one, two in zip(counts, votes, strict=True)]
    learnt = [{name: one[: edges[0]] for name, one in row.items()} for row in rows if row["counts"].sum() > 0]
    plain, week = seasonal_bands(counts, edges[0] - 1), weekdays.expand(len(counts), -1)

    @torch.no_grad()
    def measure(model: Any, part: str) -> Metrics:
        return measured(model(counts, votes, week)[0], counts, parts[part])

    digest = hashlib.sha256(torch.cat([counts, votes]).numpy().tobytes()).hexdigest()[:16]
    return Recipe(
        "papers", model, learnt, learning, metric="pinball", base="the seasonal mean", collate=collate,
        measure=measure,
        baseline=lambda part: measured(plain, counts, parts[part]), data=digest, depends_on={"seed": str(seed)},
        notes=(f"{len(learnt)} series of {edges[0]} days to learn from; {days - edges[0]} days held out.",),
    )  # fmt: skip


def collate(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Series side by side."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def learning(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss, from a series' second week on."""
    told, _ = model(batch["counts"], batch["votes"], batch["weekdays"])
    true, there = targets(batch["counts"], told.low.shape[-1] - 1)
    there[:, :WARM] = False
    return band_loss(told, true, there)


def measured(told: Band, counts: Tensor, part: tuple[int, int]) -> Metrics:
    """Of the forecasts whose days all lie in a part, each made on the day before."""
    horizon = told.low.shape[-1] - 1
    true, there = targets(counts, horizon)
    here = slice(part[0] - 1, part[1] - horizon)
    true, there = true[:, here], there[:, here]
    low, mean, high = (one[:, here] for one in told)
    low = torch.minimum(low, mean)
    scale = (counts.mean(1)[:, None, None] + 1).sqrt()
    edges = (pinball(low, true, LOW) + pinball(mean, true, 0.5) + pinball(high, true, HIGH)) / scale
    inside = (low <= true) & (true <= high)
    return {
        "pinball": float(edges[there].mean()),
        "mae": float((mean - true)[..., :-1][there[..., :-1]].abs().mean()),
        "inside": float(inside[there].float().mean()),
    }


def seasonal_bands(counts: Tensor, since: int = 0) -> Band:
    """The seasonal mean's forecasts after every day from `since` on, (series, days, horizon + 1) thrice; before: 0."""
    series, days = counts.shape
    told = torch.zeros(series, days, HORIZON + 1, 3)
    for at, one in enumerate(counts.long().tolist()):
        told[at, since:] = torch.tensor([seasonal(one[: day + 1]) for day in range(since, days)])
    return Band(*told.unbind(-1))
