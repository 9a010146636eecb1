"""Forecasts a table of series: the next values of each from its last ones, by Aaren, its peers, or a linear map.

    table = read_table(Path("ETTh1.csv"))                        # evaluation/series.py
    recipe = forecasting(table, ForecasterSettings(horizon=96))
    folder, report = fit(recipe, FORECASTING, run=RunSettings(home=home))         # stream_training.py
    load_model(folder).forecast(last_rows)                       # in the table's units: (rows, C) -> (horizon, C)

Every series is a stream of its own, cut into patches of `patch` values, which may overlap; one model serves all. The
window's own mean and spread are taken off and put back (Liu et al., NeurIPS 2022, the stationarisation alone); the last
output of the encoder gives all of the horizon at once.

dlinear   no encoder: the window's moving average and what is left of it, each by one matrix (Zeng et al., AAAI 2023)

Source    Feng et al., 2024, section 4 (a Transformer with Aaren in its place); patches: Nie et al., ICLR 2023
Shapes    window (B, input, C) -> (B, horizon, C), standardised
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.evaluation.series import Floats, Parts, Table, split_rows, standardised
from foveal.nn.causal_attention import StreamSettings, encoder_of, positions
from foveal.nn.inputs import require_numbers
from foveal.nn.stream_training import DEV, TEST, Recipe, in_batches
from foveal.ranges import COUNT, POSITIVE, require_settings
from foveal.training.loop import LoopSettings
from foveal.training.report import Metrics

AVERAGED = 25
"""Values of DLinear's moving average."""

FORECASTING = LoopSettings(epochs=5, batch=32, learning_rate=1e-3, warm_up=0.1, patience=3)
"""How a forecaster is trained unless it is told otherwise."""


@dataclass(frozen=True, kw_only=True)
class ForecasterSettings:
    """What is read and foretold; checked when made."""

    input: int = 96  # rows read
    horizon: int = 96  # rows foretold
    patch: int = 8  # values of a token
    stride: int | None = None  # rows from the first value of a token to that of the next; None: patch
    encoder: StreamSettings | None = field(default_factory=lambda: StreamSettings(dim=64, layers=2, dropout=0.2))
    mean: tuple[float, ...] = ()  # of each series in the training rows; what `forecast` takes off and puts back
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_settings("A forecaster", self, input=COUNT, horizon=COUNT, patch=COUNT, stride=COUNT, spread=POSITIVE)
        if self.patch > self.input or (self.input - self.patch) % self.step:
            apart = "" if self.stride is None else f", {self.stride} rows apart"
            raise InputError(
                f"A forecaster got input = {self.input} and patch = {self.patch}{apart}; it needs whole patches."
            )
        if len(self.mean) != len(self.spread):
            raise InputError("A forecaster needs a spread for each mean.")

    @property
    def step(self) -> int:
        """Rows from patch to patch."""
        return self.stride or self.patch

    @property
    def patches(self) -> int:
        """Tokens of a window."""
        return (self.input - self.patch) // self.step + 1


class Forecaster(nn.Module):
    """From a window of a series to what comes."""

    def __init__(self, settings: ForecasterSettings) -> None:
        """`encoder` None makes DLinear."""
        super().__init__()
        self.settings = settings
        if settings.encoder is None:
            self.slow, self.quick = (nn.Linear(settings.input, settings.horizon) for _ in range(2))
            return
        dim = settings.encoder.dim
        self.embed, self.encoder = nn.Linear(settings.patch, dim), encoder_of(settings.encoder)
        self.register_buffer("places", positions(settings.patches, dim), persistent=False)
        self.dropout, self.head = nn.Dropout(settings.encoder.dropout), nn.Linear(dim, settings.horizon)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Forecaster:
        """Of plain values, as `stream_training` keeps them."""
        encoder = None if plain["encoder"] is None else StreamSettings(**plain["encoder"])
        scale = {name: tuple(plain[name]) for name in ("mean", "spread")}
        return cls(ForecasterSettings(**{**plain, "encoder": encoder, **scale}))

    def forward(self, x: Tensor) -> Tensor:
        """Windows (B, input, C) -> (B, horizon, C). InputError: another length, or a NaN."""
        if x.dim() != 3 or x.shape[1] != self.settings.input:
            raise InputError(f"A forecaster got windows {tuple(x.shape)}; it needs (B, {self.settings.input}, C).")
        require_numbers("A forecaster", x)
        series = x.transpose(1, 2)  # (B, C, input)
        mean = series.mean(-1, keepdim=True)
        spread = (series.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        if self.settings.encoder is None:
            return (self._linear(series - mean) + mean).transpose(1, 2)
        return (self._encoded((series - mean) / spread) * spread + mean).transpose(1, 2)

    def _encoded(self, series: Tensor) -> Tensor:
        patches = series.unfold(-1, self.settings.patch, self.settings.step).flatten(0, 1)  # (B C, n, patch)
        tokens = self.embed(patches) + self.places
        y, _ = self.encoder(self.dropout(tokens))
        told: Tensor = self.head(self.dropout(y[:, -1])).view(*series.shape[:2], -1)
        return told

    def _linear(self, series: Tensor) -> Tensor:
        """DLinear; the mean of the window is off already, which keeps its two maps well scaled."""
        side = AVERAGED // 2
        slow = F.avg_pool1d(F.pad(series, (side, AVERAGED - 1 - side), mode="replicate"), AVERAGED, 1)
        told: Tensor = self.slow(slow) + self.quick(series - slow)
        return told

    @torch.no_grad()
    def forecast(self, rows: Floats) -> Floats:
        """The rows that come after the last ones (≥ input, series), in the units of the table. InputError: too few."""
        settings = self.settings
        if rows.ndim != 2 or len(rows) < settings.input or rows.shape[1] != len(settings.mean):
            raise InputError(
                f"A forecast got rows of shape {rows.shape}; it needs {settings.input} or more, of "
                f"{len(settings.mean)} series."
            )
        mean, spread = (np.array(one, dtype=np.float32) for one in (settings.mean, settings.spread))
        window = torch.from_numpy(((rows[-settings.input :] - mean) / spread).astype(np.float32))
        told: Floats = self(window[None].to(next(self.parameters()).device))[0].cpu().numpy() * spread + mean
        return told


# -- the recipe --------------------------------------------------------------------------------------------------------


class Windows:
    """Windows and what follows them, of the rows of a part; its first windows reach back before it."""

    def __init__(self, values: Floats, part: tuple[int, int], settings: ForecasterSettings) -> None:
        self.values, self.settings = torch.from_numpy(values), settings
        self.first = max(0, part[0] - settings.input)
        self.count = part[1] - self.first - settings.input - settings.horizon + 1

    def __len__(self) -> int:
        return max(0, self.count)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        at = self.first + place
        middle = at + self.settings.input
        return self.values[at:middle], self.values[middle : middle + self.settings.horizon]


def collate(rows: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Windows side by side."""
    return {"x": torch.stack([x for x, _ in rows]), "y": torch.stack([y for _, y in rows])}


def squared_error(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss."""
    return F.mse_loss(model(batch["x"]), batch["y"])


def forecasting(
    table: Table, settings: ForecasterSettings | None = None, *, parts: Parts | None = None, seed: int = 0
) -> Recipe:
    """A model and what it learns from. Errors are those of standardised values, as published figures are.

    InputError: too few rows, or rows that go back in time.
    """
    settings = settings or ForecasterSettings()
    back = next((after for before, after in pairwise(table.moments) if after < before), None)
    if back is not None:
        raise InputError(f"{table.name} goes back in time at {back}. Sort its rows by date, the oldest first.")
    parts = parts or split_rows(table)
    values, mean, spread = standardised(table.values, parts.train)
    plain = {name: getattr(settings, name) for name in ("input", "horizon", "patch", "stride", "encoder")}
    settings = ForecasterSettings(**plain, mean=tuple(mean.tolist()), spread=tuple(spread.tolist()))
    windows = {name: Windows(values, part, settings) for name, part in
               (("train", parts.train), (DEV, parts.dev), (TEST, parts.test))}  # fmt: skip
    if short := [name for name, one in windows.items() if not len(one)]:
        raise InputError(
            f"{table.name} has {len(table.values)} rows; too few for a window of {settings.input} and a horizon of "
            f"{settings.horizon} in its part {short[0]}. Give more rows, or a shorter input or horizon."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Forecaster(settings)
    digest = hashlib.sha256(np.ascontiguousarray(table.values).tobytes()).hexdigest()[:16]
    return Recipe(
        "forecast", model, windows["train"], squared_error,
        measure=lambda model, part: errors(model, windows[part]),
        baseline=lambda part: errors(lambda x: x[:, -1:].expand(-1, settings.horizon, -1), windows[part]),
        metric="mse", base="the last value, repeated", data=f"{table.name} {digest} {parts}", collate=collate,
        notes=(f"{len(windows['train']):,} windows to learn from; errors of standardised values.",),
        depends_on={"seed": str(seed)},
    )  # fmt: skip


@torch.no_grad()
def errors(model: Any, windows: Windows, batch: int = 256) -> Metrics:
    """Mean squared and mean absolute error over all windows."""
    squares, apart, count = 0.0, 0.0, 0
    for rows in in_batches(windows, collate, batch, like=model):
        off = model(rows["x"]) - rows["y"]
        squares += float(off.square().sum(dtype=torch.float64))
        apart += float(off.abs().sum(dtype=torch.float64))
        count += off.numel()
    return {"mse": squares / count, "mae": apart / count}
