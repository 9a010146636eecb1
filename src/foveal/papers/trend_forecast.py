"""What the next days hold: papers to expect of each subject and topic, with a band, brought up to date day by day.

    refresh(database, home)             # after new listings: folds in the days that are over, at one cost a day
    kept(database).of("category", "cs.CL")                # what pages and `foveal papers trend` show

By        Aaren (nn/counts.py), trained on the home's own history by `foveal train aaren papers` (trend_training.py);
          its state lies in the database, some two kilobytes a series, whatever the history's length
Else      the seasonal mean: of the same weekday in the last four weeks, and of the last weeks for all seven days.
          So it is without a trained model, and where there are fewer than LEAST days; `by` and `why` say so
Days      a day counts when it is over (UTC). Where papers are added to days that were counted, all is counted anew
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import fmean, pvariance
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError
from foveal.papers.attention_counts import Days, Series, chosen, counted, first_day, listed_before
from foveal.papers.kept_rows import keep
from foveal.papers.schema import KeptRow
from foveal.papers.store import PaperStore

if TYPE_CHECKING:
    from foveal.nn.counts import CountForecaster, CountState

NAME, MODEL = "attention forecast", "papers-attention"
HORIZON = 7
LEAST = 56
"""Days of history without which nothing is learnt, nor foretold by what was."""

WEEKS = 4
REMEMBERED = 56
"""Days that are kept of each series, for pages and for the seasonal mean."""

SILENT = 4
"""Days without any listing after which a home is taken to be asleep, and no longer to have days without papers."""

AAREN, SEASONAL = "Aaren", "seasonal mean"
EDGE = 1.2816  # of a normal distribution: a tenth lies below it


@dataclass(frozen=True)
class Expected:
    """A number of papers: the mean, and the band that eight of ten days should lie in."""

    low: float
    mean: float
    high: float


def shown(value: float) -> str:
    """An expected number, as it is written: whole where it is ten or more."""
    return f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


@dataclass(frozen=True)
class Forecast:
    """A series' last days, and what comes."""

    kind: str
    key: str
    title: str
    recent: tuple[int, ...]  # papers by day, up to `Forecasts.last`
    days: tuple[Expected, ...]  # from the day after
    whole: Expected  # of all these days together

    @property
    def before(self) -> int:
        """Papers of as many days before."""
        return sum(self.recent[-len(self.days) :])

    @property
    def address(self) -> str:
        """Where its papers are."""
        if self.kind in ("category", "topic"):
            return f"/{'categories' if self.kind == 'category' else 'topics'}/{quote(self.key)}"
        return f"/papers?q={quote(self.title)}" if self.kind == "rising" else "/papers"

    @property
    def change(self) -> float:
        """Expected papers by papers before; one is added to both, so that small numbers do not win."""
        return (self.whole.mean + 1) / (self.before + 1)


@dataclass(frozen=True)
class Forecasts:
    """Of a home: by what, why not by Aaren (""), and the last day that was counted."""

    by: str = SEASONAL
    why: str = ""
    last: date | None = None
    history: int = 0  # days
    made_at: datetime | None = None
    series: tuple[Forecast, ...] = ()

    @property
    def told(self) -> str:
        """By what, in a sentence."""
        if self.by == AAREN:
            return f"Foretold by Aaren, which has read {self.history} days of this home."
        return f"The seasonal mean: the same weekday in the last {WEEKS} weeks. It stands in because {self.why}."

    def of(self, kind: str, key: str) -> Forecast | None:
        """That of one series."""
        return next((one for one in self.series if (one.kind, one.key) == (kind, key)), None)

    def day(self, number: int) -> date:
        """The day that the forecast's number is of, from 0."""
        assert self.last is not None
        return self.last + timedelta(days=1 + number)

    def changing(self, most: int = 6, fewest: float = 3.0) -> list[Forecast]:
        """What grows most, of subjects and topics that are not too small to say."""
        able = [one for one in self.series if one.kind != "all" and max(one.whole.mean, one.before) >= fewest]
        return sorted(able, key=lambda one: (-one.change, one.kind, one.key))[:most]


def kept(database: Database) -> Forecasts:
    """What the last `refresh` made; nothing before the first."""
    told = _row(database)
    return _forecasts(told[1]) if told else Forecasts()


def refresh(database: Database, home: Path, *, now: datetime | None = None) -> bool:
    """Fold in the days that are over since the last time; whether there were any, or another model or past."""
    today = (now or faults.now()).astimezone(UTC).date()
    last = today - timedelta(days=1)
    latest = PaperStore(database).latest_day(last)
    if latest is None:
        return False
    if (last - latest).days > SILENT:
        last = latest
    first = first_day(database, last) or last
    series, model_id = chosen(database), _model_id(home)
    state = f"{first} {last} {model_id} {listed_before(database, last + timedelta(days=1))} {series}"
    made_of = sha256(state.encode()).hexdigest()
    found = _row(database)
    if found and found[0] == made_of:
        return False
    told = _told(database, home, series, first, last, model_id, found[1] if found else None)
    keep(database, NAME, made_of=made_of, made_at=now or faults.now(), value=json.dumps(told))
    return True


def _told(
    database: Database, home: Path, series: Sequence[Series], first: date, last: date, model_id: str,
    before: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """The plain values of the new row."""
    model, why = _model(home, model_id, (last - first).days + 1)
    known = _goes_on(database, before, first, last, model_id, why)
    same = _unchanged(known) if known else frozenset()
    old = {one.name: known["recent"][one.name] for one in same} if known else {}
    begin = max(first, last - timedelta(days=REMEMBERED - 1)) if why else first  # the mean needs no more
    since = date.fromisoformat(known["last"]) + timedelta(days=1) if known else begin
    new = counted(database, series, since, last)
    fresh = [one for one in series if one not in same]
    past = counted(database, fresh, begin, since - timedelta(days=1)) if known else {}
    recent = {
        one.name: [*(past[one].papers if one in past else old.get(one.name, ())), *new[one].papers][-REMEMBERED:]
        for one in series
    }
    told = {
        "model": model_id, "why": why, "first": str(first), "last": str(last), "recent": recent, "state": "",
        "counted": listed_before(database, last + timedelta(days=1)), "series": [asdict(one) for one in series],
    }  # fmt: skip
    if why:
        return {**told, "bands": {name: seasonal(days) for name, days in recent.items()}}
    bands, state = _by_model(model, series, new, past, since, known)
    return {**told, "bands": bands, "state": state}


def _goes_on(
    database: Database, before: Mapping[str, Any] | None, first: date, last: date, model_id: str, why: str
) -> Mapping[str, Any] | None:
    """What was kept, if the days behind it are still as they were, and told by the same model, or by none."""
    if before is None or before["model"] != model_id or before["first"] != str(first):
        return None
    then = date.fromisoformat(before["last"])
    same = listed_before(database, then + timedelta(days=1)) == before["counted"]
    return before if same and then < last and bool(before["state"]) != bool(why) else None


def _unchanged(known: Mapping[str, Any]) -> frozenset[Series]:
    """The series that were counted: a topic whose search was changed is another one, and counted anew."""
    return frozenset(_series(one) for one in known["series"])


def _series(plain: Mapping[str, Any]) -> Series:
    return Series(**{**plain, "words": tuple(plain["words"])})


# -- by the seasonal mean ----------------------------------------------------------------------------------------------


def seasonal(days: Sequence[int]) -> list[list[float]]:
    """[low, mean, high] of each of the next seven days, then of all, from the last days of a series."""
    told = []
    for ahead in range(HORIZON):
        same = [days[at] for at in range(len(days) - 7 + ahead % 7, -1, -7)][:WEEKS]
        told.append(_band(same or list(days)))
    weeks = [sum(days[end - 7 : end]) for end in range(len(days), 6, -7)][:WEEKS]
    told.append(_band(weeks or [HORIZON * fmean(days)] if days else []))
    return told


def _band(values: Sequence[float]) -> list[float]:
    """As wide as Poisson's counts are, or as the values are spread, if that is wider."""
    mean = fmean(values) if values else 0.0
    off = EDGE * max(mean, pvariance(values) if len(values) > 1 else 0.0, 0.25) ** 0.5
    return [max(0.0, mean - off), mean, mean + off]


# -- by Aaren ----------------------------------------------------------------------------------------------------------


def _model_id(home: Path) -> str:
    """What tells the trained model from a later one; "" where there is none."""
    from foveal.nn.stream_training import TOLD, WEIGHTS

    folder = home / "models" / MODEL
    if not (folder / TOLD).is_file():
        return ""
    return sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]


def _model(home: Path, model_id: str, history: int) -> tuple[Any, str]:
    """The trained model, or why it does not foretell."""
    if not model_id:
        return None, "no model is trained on this home’s history yet"
    if history < LEAST:
        return None, f"{history} days of history are too few, {LEAST} are needed"
    from foveal.nn.stream_training import load_model

    try:
        return load_model(home / "models" / MODEL, task="papers"), ""
    except InputError:
        return None, "the trained model is of another version (train it anew: foveal train aaren papers --anew)"


def _by_model(
    model: CountForecaster,
    series: Sequence[Series],
    new: Mapping[Series, Days],
    past: Mapping[Series, Days],
    since: date,
    known: Mapping[str, Any] | None,
) -> tuple[dict[str, list[list[float]]], str]:
    """Bands of each series after the new days, and the state after them. Only series that are new read the past."""
    import torch

    with torch.no_grad():
        state = model.init_state(len(series))
        if known:
            state = _continued(model, known, series, past, since)
        told, state = _read(model, [new[one] for one in series], since, state, known)
    rows = torch.stack([torch.minimum(told.low, told.expected), told.expected, told.high], -1).double()
    bands = {one.name: [[round(x, 3) for x in day] for day in rows[at].tolist()] for at, one in enumerate(series)}
    return bands, packed(state)


def _read(model: CountForecaster, days: Sequence[Days], since: date, state: CountState, known: object) -> Any:
    """The bands after the last day, and the state: at once from the beginning, else day by day."""
    import torch

    counts, votes = (torch.tensor([getattr(one, name) for one in days]).float() for name in ("papers", "votes"))
    weekdays = torch.tensor([(since + timedelta(days=at)).weekday() for at in range(counts.shape[1])])
    if known is None:
        told, state = model(counts, votes, weekdays.expand(len(days), -1), state)
        return type(told)(*(one[:, -1] for one in told)), state
    for at, weekday in enumerate(weekdays):
        told, state = model.step(counts[:, at], votes[:, at], weekday.expand(len(days)), state)
    return told, state


def _continued(
    model: CountForecaster, known: Mapping[str, Any], series: Sequence[Series], past: Mapping[Series, Days], since: date
) -> CountState:
    """The states as they were kept, in the order of `series`; those of new ones read from their past."""
    import torch

    old, same = [f"{one['kind']}:{one['key']}" for one in known["series"]], _unchanged(known)
    kept_state = unpacked(model.init_state(len(old)), known["state"])
    places = [old.index(one.name) if one.name in old else 0 for one in series]
    state = kept_state.rows(torch.tensor(places))
    fresh = [at for at, one in enumerate(series) if one not in same]
    if not fresh:
        return state
    days = [past[series[at]] for at in fresh]
    begin = since - timedelta(days=len(days[0].papers))
    _, made = _read(model, days, begin, model.init_state(len(fresh)), None)
    wide = made.rows(torch.tensor([fresh.index(at) if at in fresh else 0 for at in range(len(series))]))
    return state.reset(fresh, wide)


def packed(state: CountState) -> str:
    """A state as text for the database."""
    from safetensors.torch import save

    return base64.b64encode(save({name: one.contiguous().clone() for name, one in state.tensors().items()})).decode()


def unpacked(like: CountState, text: str) -> CountState:
    """What `packed` wrote, of `like`'s layout."""
    from safetensors.torch import load

    found = load(base64.b64decode(text))
    names = iter(like.tensors())
    return like.map(lambda _: found[next(names)])


def _row(database: Database) -> tuple[str, dict[str, Any]] | None:
    with database.reading() as session:
        row = session.get(KeptRow, NAME)
        return (row.made_of, {**json.loads(row.value), "made_at": row.made_at}) if row else None


def _forecasts(told: Mapping[str, Any]) -> Forecasts:
    made = []
    for plain in told["series"]:
        one = _series(plain)
        bands = [Expected(*band) for band in told["bands"][one.name]]
        recent = tuple(told["recent"][one.name])
        made.append(Forecast(one.kind, one.key, one.title, recent, tuple(bands[:-1]), bands[-1]))
    first, last = (date.fromisoformat(told[name]) for name in ("first", "last"))
    by = SEASONAL if told["why"] else AAREN
    return Forecasts(by, told["why"], last, (last - first).days + 1, told["made_at"], tuple(made))
