"""Foretells daily counts: how many to expect on each of the next days and in all, with a band, at one cost a day.

    model = CountForecaster(CountSettings())
    told, state = model.step(count, votes, weekday, state)     # a day is over: what the next `horizon` days hold
    told.low, told.expected, told.high         # (B, horizon + 1): a tenth, the mean, nine tenths; last, of all days

What is told are factors of the seasonal mean, that of the same weekday in the last four weeks: untrained, the model is
the seasonal mean. A day's token is its count and the last week's against those of the four weeks, its votes, and the
day of the week; Aaren's decay lets old days weigh less. One model serves all series, whatever their size.

Source    Feng et al., 2024 (the encoder); the rest is ours
Shapes    counts, votes (B, T), weekdays (B, T) of 0 (Monday) to 6 -> (B, T, horizon + 1) thrice
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.nn.causal_attention import StreamSettings, encoder_of
from foveal.nn.states import State, own
from foveal.ranges import COUNT, require_settings

WEEKS = 4
"""Weeks of the seasonal mean."""

LOW, HIGH = 0.1, 0.9
"""The band."""


@dataclass(frozen=True, kw_only=True)
class CountSettings:
    """The model."""

    encoder: StreamSettings = field(
        default_factory=lambda: StreamSettings(dim=32, heads=2, layers=2, decay=0.03, conv_kernel=7)
    )
    horizon: int = 7  # days

    def __post_init__(self) -> None:
        require_settings("A forecaster of counts", self, horizon=COUNT)


class Band(NamedTuple):
    """Of each day to come, then of all of them together."""

    low: Tensor
    expected: Tensor
    high: Tensor


@dataclass(frozen=True)
class CountState(State):
    """The counts of the last weeks (NaN: before the beginning) and the encoder's state: the same size for ever."""

    recent: Tensor  # (B, 7 * WEEKS)
    encoder: State


class CountForecaster(nn.Module):
    """From the days so far to those to come."""

    def __init__(self, settings: CountSettings) -> None:
        super().__init__()
        self.settings, dim = settings, settings.encoder.dim
        self.embed, self.encoder = nn.Linear(6 + 7, dim), encoder_of(settings.encoder)
        told = settings.horizon + 1
        self.head = nn.Linear(dim + 7 + told, 3 * told)
        nn.init.zeros_(self.head.weight)  # at first: the seasonal mean, and a band around it
        nn.init.zeros_(self.head.bias)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> CountForecaster:
        """Of plain values."""
        return cls(CountSettings(**{**plain, "encoder": StreamSettings(**plain["encoder"])}))

    def init_state(self, batch: int) -> CountState:
        """Before the first day."""
        none = self.head.bias.new_full((batch, 7 * WEEKS), torch.nan)
        return CountState("daily counts", none, self.encoder.init_state(batch))

    def forward(
        self, counts: Tensor, votes: Tensor, weekdays: Tensor, state: CountState | None = None
    ) -> tuple[Band, CountState]:
        """All days; after each of them, what comes."""
        state = state or self.init_state(len(counts))
        seen, weeks, recent = self._seen(counts, votes, weekdays, state.recent)
        y, after = self.encoder(self.embed(seen), state.encoder)
        return self._band(y, weekdays, weeks), CountState(state.layout, recent, after)

    def step(self, count: Tensor, votes: Tensor, weekday: Tensor, state: CountState) -> tuple[Band, CountState]:
        """One day of each series (B,)."""
        seen, weeks, recent = self._seen(count[:, None], votes[:, None], weekday[:, None], state.recent)
        y, after = self.encoder.step(self.embed(seen)[:, 0], state.encoder)
        told = self._band(y[:, None], weekday[:, None], weeks)
        return Band(*(one[:, 0] for one in told)), CountState(state.layout, recent, after)

    def _seen(self, counts: Tensor, votes: Tensor, weekdays: Tensor, recent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens; the last weeks at each day (B, T, WEEKS, 7); the last days of all."""
        whole = torch.cat([recent, counts], 1)
        weeks = whole.unfold(1, 7 * WEEKS, 1)[:, 1:]
        weeks = weeks.reshape(*weeks.shape[:2], WEEKS, 7)
        level, week = weeks.flatten(-2).nanmean(-1).log1p(), weeks[..., -1, :].nanmean(-1).log1p()
        known = (~weeks.isnan()).to(counts.dtype).mean((-1, -2))
        numbers = [
            counts.log1p() - level, week - level, level / 4, (votes / (counts + 1)).log1p(),
            (counts == 0).to(counts.dtype), known,
        ]  # fmt: skip
        tokens = torch.cat([torch.stack(numbers, -1), F.one_hot(weekdays, 7).to(counts.dtype)], -1)
        return tokens, weeks, own(whole[:, -7 * WEEKS :])

    def _band(self, y: Tensor, weekdays: Tensor, weeks: Tensor) -> Band:
        usual = self._seasonal(weeks) + 0.05
        above_level = (usual / usual.mean(-1, keepdim=True)).log()  # so that a chance of few weeks can be taken back
        week = F.one_hot(weekdays, 7).to(y.dtype)
        mean, below, above = self.head(torch.cat([y, week, above_level], -1)).chunk(3, -1)
        expected = usual * mean.clamp(-6, 6).exp()
        spread = expected.sqrt() + 0.1
        low = (expected - spread * F.softplus(below + 1)).clamp_min(0)
        return Band(low, expected, expected + spread * F.softplus(above + 1))

    def _seasonal(self, weeks: Tensor) -> Tensor:
        """(B, T, horizon + 1): means of the same weekday; of a weekday that was not seen yet, of all days."""
        same = weeks.nanmean(-2)  # the first of a window's seven columns is the weekday that comes next
        same = torch.where(same.isnan(), weeks.flatten(-2).nanmean(-1, keepdim=True), same)
        days = same[..., torch.arange(self.settings.horizon, device=weeks.device) % 7]
        return torch.cat([days, days.sum(-1, keepdim=True)], -1)


def band_loss(told: Band, true: Tensor, there: Tensor) -> Tensor:
    """Poisson's log-likelihood of the mean and pinball losses of the band, where `there`; (B, T, horizon + 1) all."""
    scale = (told.expected.detach() + 1).sqrt()
    mean = (told.expected - true * told.expected.clamp_min(1e-6).log()) / scale
    edges = (pinball(told.low, true, LOW) + pinball(told.high, true, HIGH)) / scale
    return (mean + 2 * edges)[there].mean()


def targets(counts: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Of each day of counts (B, T): the next days' and their sum, (B, T, horizon + 1), and which are known."""
    padded = F.pad(counts, (0, horizon), value=float("nan"))
    later = padded.unfold(1, horizon, 1)[:, 1 : counts.shape[1] + 1]
    later = torch.cat([later, later.sum(-1, keepdim=True)], -1)
    return later.nan_to_num(0.0), ~later.isnan()


def pinball(told: Tensor, true: Tensor, share: float) -> Tensor:
    """What a quantile is judged by."""
    off = true - told
    return torch.maximum(share * off, (share - 1) * off)
