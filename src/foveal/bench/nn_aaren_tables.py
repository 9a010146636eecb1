"""bench nn-aaren, tables: the paper's four settings, each by Aaren, causal attention and a GRU in the same block.

forecasts    ETTh1 or another table of ett/, 96 rows in; 96, 192, 336, 720 out; DLinear and the last value beside them
classes      JapaneseVowels, BasicMotions and GunPoint of the UEA and UCR archives, causal, read at the last value
events       so (the first fold is measured, the others learnt from) and hawkes, whose true likelihood is known
actions      CartPole-v1 and Pendulum-v1, learnt from a scripted behaviour of mixed quality; cloning beside them

All arms of a table have the same recipe, width, seed and data. Headline rows are means of three seeds, with the spread
(--quick: one, of the smallest settings alone). Bars: the specification's, against attention in the same run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch

from foveal.bench.code import digest_of
from foveal.bench.known_sets import is_set
from foveal.bench.nn_aaren_recall import Told, cell
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.errors import FovealError, InputError
from foveal.evaluation.event_sequences import Events, read_events
from foveal.evaluation.series import Labelled, Table, read_table, read_ts
from foveal.evaluation.tables import Row, largest
from foveal.nn.causal_attention import MIXERS, StreamSettings
from foveal.nn.classifier import CLASSIFICATION, ClassifierSettings, classification
from foveal.nn.decision_data import CONTROLLERS, collected, environment
from foveal.nn.decisions import DECISIONS, DecisionSettings, deciding, returns
from foveal.nn.event_model import EVENT_FORECASTING, EventModel, EventModelSettings, collate, event_forecasting, nats
from foveal.nn.forecaster import FORECASTING, ForecasterSettings, forecasting
from foveal.nn.stream_training import TEST, Recipe
from foveal.training.loop import LoopSettings, train

WORSE_MSE, POINTS, NATS, RETURN = 1.03, 0.02, 0.02, 10.0
HORIZONS = (96, 192, 336, 720)
LINEAR = "DLinear"
VOWELS, MOTIONS, GUN = "JapaneseVowels", "BasicMotions", "GunPoint"
HAWKES = 0.2, 0.8
"""Base rate and jump of the made set: rate 0.2 + 0.8 Σ exp(-(t - t_i))."""


def tables(settings: BenchSettings) -> Iterator[Row]:
    """All four."""
    yield from each((forecasts, classes, events, actions), settings)


def trained(
    settings: BenchSettings, name: str, make: Callable[[int], Recipe], loop: LoopSettings, seed: int,
    more: Callable[[Any], Mapping[str, float]] = lambda _: {},
) -> Told:  # fmt: skip
    """The test metrics of one arm, its baseline's, and its parameters."""
    recipe, loop = make(seed), replace(loop, seed=seed)

    def made(folder: Path) -> Told:
        train(recipe.job(loop), loop, folder)
        recipe.model.cpu().eval()  # the loop may leave it on a GPU
        with torch.no_grad():
            told = {**recipe.measure(recipe.model, TEST), **more(recipe.model)}
        count = sum(one.numel() for one in recipe.model.parameters())
        return {"told": told, "baseline": dict(recipe.baseline(TEST)), "parameters": count}

    code = digest_of(recipe.model, recipe.loss)
    return cell(settings, name, {**recipe.job(loop).identity, "loop": loop}, made, code=code)


def with_mixer(usual: StreamSettings, mixer: str) -> StreamSettings:
    """The same encoder around another mixer."""
    given: dict[str, Any] = {"mixer": mixer}
    return replace(usual, **given)


def seeds_of(settings: BenchSettings, *, headline: bool) -> range:
    """Three for headline rows."""
    return range(settings.seed, settings.seed + (3 if headline and not settings.quick else 1))


def spread(values: Sequence[float]) -> str:
    """Of the seeds, for a note."""
    return f"± {pstdev(values):.3g} of {len(values)} seeds" if len(values) > 1 else "one seed"


def missing(what: str, error: Exception) -> Row:
    """A row that falls short, because what it needs is not there."""
    return Row.of(what, "measured", 0, at_least=1, note=str(error))


# -- forecasts ---------------------------------------------------------------------------------------------------------


def forecasts(settings: BenchSettings) -> Iterator[Row]:
    """Mean squared error of standardised values."""
    table = read_table(settings.one_of("ett", "ETTh1.csv", "*.csv"))
    name = table.name.partition(".")[0]
    loop = replace(FORECASTING, steps=120, evaluate_every=60) if settings.quick else FORECASTING
    for horizon in HORIZONS[::3] if settings.quick else HORIZONS:
        found = {mixer: _forecast_cells(settings, table, horizon, mixer, loop) for mixer in (*MIXERS, LINEAR)}
        peer = _mean(found["attention"], "mse")
        plain = found["aaren"][0]["baseline"]
        yield Row.of(f"{name}, {horizon} rows, last value", "mse", plain["mse"], note=f"mae {plain['mae']:.4f}")
        for mixer, cells in found.items():
            most = WORSE_MSE * peer if mixer == "aaren" else None
            note = f"mae {_mean(cells, 'mae'):.4f}; {spread([one['told']['mse'] for one in cells])}"
            yield Row.of(f"{name}, {horizon} rows, {mixer}", "mse", _mean(cells, "mse"), at_most=most, note=note)


def _forecast_cells(
    settings: BenchSettings, table: Table, horizon: int, mixer: str, loop: LoopSettings
) -> list[Told]:  # fmt: skip
    usual = StreamSettings(dim=64, layers=2, dropout=0.2)
    encoder = None if mixer == LINEAR else with_mixer(usual, mixer)
    model = ForecasterSettings(horizon=horizon, encoder=encoder)

    def make(seed: int) -> Recipe:
        return forecasting(table, model, seed=seed)

    seeds = seeds_of(settings, headline=horizon == HORIZONS[0] and mixer != LINEAR)
    return [trained(settings, f"forecast-{mixer}-{horizon}", make, loop, seed) for seed in seeds]


def _mean(cells: Sequence[Told], metric: str) -> float:
    return fmean(one["told"][metric] for one in cells)


# -- classes -----------------------------------------------------------------------------------------------------------


def archive(settings: BenchSettings, name: str) -> tuple[Path, Path]:
    """Training and test file of a set of the UEA archive. InputError: neither the data folder nor aeon has it."""
    found = importlib.util.find_spec("aeon")
    places = [settings.data / "uea"]
    if found is not None and found.submodule_search_locations:
        places += [Path(one) / "datasets" / "data" for one in found.submodule_search_locations]
    for place in places:
        files = place / name / f"{name}_TRAIN.ts", place / name / f"{name}_TEST.ts"
        if all(one.is_file() for one in files):
            return files
    raise InputError(f"{name} needs uea/{name}/{name}_TRAIN.ts and _TEST.ts in the data folder, or pip install aeon.")


def classes(settings: BenchSettings) -> Iterator[Row]:
    """Accuracy."""
    for name in (VOWELS, MOTIONS, GUN):
        try:
            train_file, test_file = archive(settings, name)
        except InputError as error:
            yield missing(f"{name}, Aaren", error)
            continue
        yield from _class_rows(settings, name, read_ts(train_file), read_ts(test_file))


def _class_rows(settings: BenchSettings, name: str, learnt: Labelled, test: Labelled) -> Iterator[Row]:
    loop = replace(CLASSIFICATION, steps=200 if settings.quick else 800, evaluate_every=20)
    usual, found = ClassifierSettings(), {}
    for mixer in MIXERS:
        model = replace(usual, encoder=with_mixer(usual.encoder, mixer))

        def make(seed: int, model: ClassifierSettings = model) -> Recipe:
            return classification(learnt, test, model, seed=seed)

        seeds = seeds_of(settings, headline=True)
        found[mixer] = [trained(settings, f"classify-{name}-{mixer}", make, loop, seed) for seed in seeds]
    peer = _mean(found["attention"], "accuracy")
    yield Row.of(f"{name}, most frequent class", "accuracy", found["aaren"][0]["baseline"]["accuracy"])
    for mixer, cells in found.items():
        least = peer - POINTS - (0.03 if settings.quick else 0) if mixer == "aaren" else None
        note = spread([one["told"]["accuracy"] for one in cells])
        yield Row.of(f"{name}, {mixer}", "accuracy", _mean(cells, "accuracy"), at_least=least, note=note)


# -- events ------------------------------------------------------------------------------------------------------------


def event_sets(settings: BenchSettings, name: str) -> tuple[list[Events], list[Events]]:
    """What is learnt from, and what is measured."""
    if name == "hawkes":
        folder = settings.folder("events/hawkes", ["train.jsonl", "test.jsonl"])
        return tuple(read_events(_there(folder / f"{part}.jsonl")) for part in ("train", "test"))  # type: ignore[return-value]
    folder = settings.data / "events" / "so"
    names = sorted({path.name.removesuffix(".gz") for path in folder.glob("fold*_test.jsonl*")})
    if len(names) < 2:
        raise InputError(
            f"{folder} holds {len(names)} folds, fold<number>_test.jsonl (or .gz); the first is measured, so it needs "
            "two. Name the folder that holds events/ by --data or FOVEAL_DATA."
        )
    folds = [read_events(_there(folder / name)) for name in names]
    held = {one.times.tobytes() for one in folds[0]}
    learnt = [one for fold in folds[1:] for one in fold if one.times.tobytes() not in held]
    return (learnt[:400], folds[0][:150]) if settings.quick else (learnt, folds[0])


def _there(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def events(settings: BenchSettings) -> Iterator[Row]:
    """Nats per event, the next gap's error, the next mark's accuracy."""
    usual = EventModelSettings().encoder
    arms = {mixer: with_mixer(usual, mixer) for mixer in MIXERS}
    arms["aaren, decay 0.1, kernel 4"] = replace(usual, decay=0.1, conv_kernel=4)
    for name, epochs in (("so", 3), ("hawkes", 20)):
        learnt, test = event_sets(settings, name)
        loop = replace(EVENT_FORECASTING, epochs=2 if settings.quick else epochs)
        found = {arm: _event_cells(settings, name, arm, encoder, loop, (learnt, test)) for arm, encoder in arms.items()}
        yield from _event_rows(name, found, test)


def _event_cells(
    settings: BenchSettings, name: str, arm: str, encoder: StreamSettings, loop: LoopSettings,
    data: tuple[list[Events], list[Events]],
) -> list[Told]:  # fmt: skip
    def make(seed: int) -> Recipe:
        return event_forecasting(*data, EventModelSettings(encoder=encoder), seed=seed)

    def more(model: EventModel) -> Mapping[str, float]:
        return {"streamed": streamed(model, data[1][0]), "mean gap": model.settings.mean_gap}

    seeds = seeds_of(settings, headline=name == "so" and arm in ("aaren", "attention"))
    called = f"events-{name}-{arm.split(',')[0]}"
    return [trained(settings, called, make, loop, seed, more) for seed in seeds]


def _event_rows(name: str, found: Mapping[str, Sequence[Told]], test: Sequence[Events]) -> Iterator[Row]:
    peer, plain = _mean(found["attention"], "nll"), found["aaren"][0]["baseline"]
    yield Row.of(f"{name}, constant rate", "nats an event", plain["nll"], note=_event_note(plain))
    true = None
    if name == "hawkes" and is_set("Hawkes", len(test), sum(len(one.times) for one in test)):
        true = true_nats(test) - float(np.log(found["aaren"][0]["told"]["mean gap"]))
        note = "of gaps in mean gaps; its marks say nothing"
        yield Row.of("hawkes, the true rate", "nats an event", true, note=note)
    for arm, cells in found.items():
        most = peer + NATS if arm == "aaren" else None
        told = {metric: _mean(cells, metric) for metric in ("nll", "time_nll", "mark_nll", "rmse", "accuracy")}
        note = f"{_event_note(told)}; {spread([one['told']['nll'] for one in cells])}"
        yield Row.of(f"{name}, {arm}", "nats an event", told["nll"], at_most=most, note=note)
        if true is not None:  # far below it nothing can be but what sees the event that it foretells
            gap = told["time_nll"] - true
            yield Row.of(f"{name}, {arm} less the true rate", "nats of a gap", gap, at_least=-NATS)
        if arm == "aaren":
            apart = largest(*(one["told"]["streamed"] for one in cells))
            yield Row.of(f"{name}, Aaren, event by event", "largest difference in nats", apart, at_most=1e-4)


def _event_note(told: Mapping[str, float]) -> str:
    parts = {"times": "time_nll", "marks": "mark_nll", "rmse": "rmse", "accuracy": "accuracy"}
    return ", ".join(f"{name} {told[metric]:.4f}" for name, metric in parts.items())


@torch.no_grad()
def streamed(model: EventModel, one: Events) -> float:
    """The largest difference of an event's nats, told event by event and at once."""
    batch = collate(one.pieces(model.settings.piece)[:1])
    time, _, _, _ = nats(model, batch)
    reading, apart = model.init_state(1), []
    for at in range(batch["gaps"].shape[1] - 1):
        told, reading = model.step(batch["gaps"][:, at], batch["marks"][:, at], reading, first=at == 0)
        apart.append(model.time_nats(told, batch["gaps"][:, at + 1]))
    return float((torch.cat(apart) - time).abs().max())


def true_nats(sequences: Sequence[Events]) -> float:
    """Of a gap under the rate that made the set, in gaps as they are: the whole past of each sequence counts."""
    base, jump = HAWKES
    nats_sum, count = 0.0, 0
    for one in sequences:
        excited = 0.0
        for gap in one.gaps:
            excited += 1
            left = excited * np.exp(-gap)
            nats_sum += base * gap + jump * (excited - left) - np.log(base + jump * left)
            excited, count = left, count + 1
    return nats_sum / count


# -- actions -----------------------------------------------------------------------------------------------------------


def actions(settings: BenchSettings) -> Iterator[Row]:
    """Normalised returns: 0 for random actions, 100 for the controller."""
    for name in ("CartPole-v1",) if settings.quick else ("CartPole-v1", "Pendulum-v1"):
        try:
            environment(name).close()
        except FovealError as error:
            yield missing(f"{name}, Aaren", error)
            continue
        yield from _environment_rows(settings, name)


def _environment_rows(settings: BenchSettings, name: str) -> Iterator[Row]:
    episodes = 5 if settings.quick else 20
    data = _trajectories(name, 60 if settings.quick else 200)
    steps = 150 if settings.quick else 1500
    loop = replace(DECISIONS, steps=steps, evaluate_every=steps)
    usual = DecisionSettings(context=8 if settings.quick else 20)
    assert usual.encoder is not None
    if settings.quick:
        usual = replace(usual, encoder=replace(usual.encoder, dim=64, layers=2))
    assert usual.encoder is not None
    arms: dict[str, StreamSettings | None] = {one: with_mixer(usual.encoder, one) for one in MIXERS}
    found = {}
    for arm, encoder in {**arms, "cloning": None}.items():
        model = replace(usual, encoder=encoder)

        def make(seed: int, model: DecisionSettings = model) -> Recipe:
            return deciding(name, data, model, episodes=episodes, seed=seed)

        def more(model: Any, arm: str = arm) -> Mapping[str, float]:
            return _on_and_on(model, name) if arm == "aaren" else {}

        seeds = seeds_of(settings, headline=arm in ("aaren", "attention"))
        found[arm] = [trained(settings, f"decide-{name}-{arm}", make, loop, seed, more) for seed in seeds]
    metric = "normalised return"
    peer, plain = _mean(found["attention"], metric), found["aaren"][0]["baseline"]
    yield Row.of(
        f"{name}, the behaviour that was learnt from", metric, plain[metric], note=f"return {plain['return']:.1f}"
    )
    for arm, cells in found.items():
        least = peer - RETURN if arm == "aaren" else None
        note = f"return {_mean(cells, 'return'):.1f}; {spread([one['told'][metric] for one in cells])}"
        yield Row.of(f"{name}, {arm}", metric, _mean(cells, metric), at_least=least, note=note)
    streamed_return = _mean(found["aaren"], "streamed return")
    yield Row.of(
        f"{name}, aaren, one state for the episode", "return", streamed_return, note="trained on 20 steps at once"
    )


@cache
def _trajectories(name: str, episodes: int) -> Any:
    env = environment(name)
    made = collected(env, CONTROLLERS[name], episodes, seed=0)
    env.close()
    return made


def _on_and_on(model: Any, name: str) -> Mapping[str, float]:
    return {"streamed return": fmean(returns(model, name, range(20_000, 20_010), stream=True))}
