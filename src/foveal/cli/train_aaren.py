"""train aaren: a model of a stream: values to come, a class, the next event, actions, papers of the next days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.output import notes
from foveal.errors import InputError, UnknownName

if TYPE_CHECKING:
    from foveal.nn.causal_attention import StreamSettings
    from foveal.nn.stream_training import Recipe
    from foveal.training.loop import LoopSettings

PAPERS = "papers"
"""The task that learns from the home's database."""

MIXERS, LINEAR = ("aaren", "attention", "gru", "lmm"), "linear"
"""Of an encoder, and what is named in the place of one: a model without."""


@dataclass(frozen=True)
class _Wanted:
    """What was said on the command line."""

    data: Sequence[Path]
    test: Sequence[Path]
    encoder: dict[str, Any]  # fields of StreamSettings that were given
    model: dict[str, Any]  # fields of the model's settings that were given
    linear: bool
    environment: str
    episodes: int
    seed: int

    def stream(self, usual: StreamSettings) -> StreamSettings | None:
        """The encoder: as usual, but for what was given; none where a model without one was asked for.

        InputError: sizes were given for one that there is not.
        """
        if self.linear and self.encoder:
            raise InputError(
                "The mixer linear has no layers, so --width, --layers, --heads, --decay and --conv-kernel say nothing "
                "to it. Leave them out, or take another mixer."
            )
        return None if self.linear else replace(usual, **self.encoder)

    def one_file(self, task: str) -> Path:
        """InputError: none was named, or several."""
        if len(self.data) != 1:
            raise InputError(f"{task} needs one file by --data, got {len(self.data)}.")
        return self.data[0]

    def only(self, task: str, *fields: str) -> None:
        """InputError: something was given that this task has no use for, and would pass over."""
        if self.test and task not in ("classify", "events"):
            raise InputError(f"The task {task} takes no --test-data: it makes its test part itself.")
        if wrong := sorted(self.model.keys() - set(fields)):
            raise InputError(f"The task {task} takes no --{wrong[0]}.")


@training.command
def aaren(
    task: Annotated[str, typer.Argument(help="forecast, classify, events, decide or papers.", metavar="TASK")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="forecast: a CSV, dates first. classify: a .ts file. events, decide: JSON lines."),
    ] = None,
    test_data: Annotated[
        list[Path] | None, typer.Option(help="classify, events: files that are only measured.")
    ] = None,
    mixer: Annotated[
        str, typer.Option(help="aaren; to compare with: attention, gru, lmm (Titans), linear (DLinear, cloning).")
    ] = "aaren",
    input: Annotated[int | None, typer.Option(min=1, help="forecast: rows read (96).")] = None,  # noqa: A002
    horizon: Annotated[int | None, typer.Option(min=1, help="forecast: rows foretold (96).")] = None,
    patch: Annotated[int | None, typer.Option(min=1, help="forecast: values of a token (8).")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="decide: steps read (20).")] = None,
    environment: Annotated[str, typer.Option(help="decide: a name of gymnasium's.")] = "CartPole-v1",
    episodes: Annotated[
        int, typer.Option(min=2, help="decide, without --data: trajectories that a scripted behaviour makes.")
    ] = 200,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the layers.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads of a layer.")] = None,
    decay: Annotated[float | None, typer.Option(min=0, help="What a score loses for each token behind it.")] = None,
    conv_kernel: Annotated[int | None, typer.Option(min=0, help="Tokens that keys and values are mixed from.")] = None,
    *,
    asked: training.Asked,
) -> None:
    """Train a model that reads a stream at one cost a token. Stopped with Ctrl-C, the same command goes on."""
    from foveal.nn.stream_training import fit

    if task not in (*TASKS, PAPERS):
        raise UnknownName(f"No task is called {task!r}. There are: {', '.join((*TASKS, PAPERS))}.")
    if mixer not in (*MIXERS, LINEAR):
        raise UnknownName(
            f"No mixer is called {mixer!r}. There are: {', '.join(MIXERS)}; of forecast and decide also {LINEAR}."
        )
    sizes = {"dim": width, "layers": layers, "heads": heads, "decay": decay, "conv_kernel": conv_kernel}
    encoder = _given(sizes) if mixer == LINEAR else {"mixer": mixer, **_given(sizes)}
    model = _given({"input": input, "horizon": horizon, "patch": patch, "context": context})
    wanted = _Wanted(data or (), test_data or (), encoder, model, mixer == LINEAR, environment, episodes, asked.seed)
    if task == PAPERS:
        _papers(wanted, asked)
        return
    with notes().status("Reading …"):
        recipe, usual = TASKS[task](wanted)
    use = 'Use it: foveal.nn.stream_training.load_model(Path("{}")) (docs/aaren.md)'
    asked.carried_out(partial(fit, recipe, asked.loop(usual)), use)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


# -- the tasks ---------------------------------------------------------------------------------------------------------


def _forecast(wanted: _Wanted) -> tuple[Recipe, LoopSettings]:
    from foveal.evaluation.series import read_table
    from foveal.nn.forecaster import FORECASTING, ForecasterSettings, forecasting

    wanted.only("forecast", "input", "horizon", "patch")
    usual = ForecasterSettings()
    assert usual.encoder is not None
    settings = replace(usual, encoder=wanted.stream(usual.encoder), **wanted.model)
    return forecasting(read_table(wanted.one_file("forecast")), settings, seed=wanted.seed), FORECASTING


def _classify(wanted: _Wanted) -> tuple[Recipe, LoopSettings]:
    from foveal.evaluation.series import read_ts
    from foveal.nn.classifier import CLASSIFICATION, ClassifierSettings, classification

    wanted.only("classify")
    train = wanted.one_file("classify")
    if len(wanted.test) > 1:
        raise InputError("classify measures one file: give --test-data once.")
    beside = train.with_name(train.name.replace("_TRAIN", "_TEST"))
    test = wanted.test[0] if wanted.test else beside
    if test == train:
        raise InputError(f"{train} is no …_TRAIN.ts, so its test file is not known; name it by --test-data.")
    settings = ClassifierSettings()
    encoder = wanted.stream(settings.encoder)
    if encoder is None:
        raise InputError(f"A classifier needs an encoder: the mixers are {', '.join(MIXERS)}.")
    made = classification(read_ts(train), read_ts(test), replace(settings, encoder=encoder), seed=wanted.seed)
    return made, CLASSIFICATION


def _events(wanted: _Wanted) -> tuple[Recipe, LoopSettings]:
    from foveal.evaluation.event_sequences import read_events
    from foveal.nn.event_model import EVENT_FORECASTING, EventModelSettings, event_forecasting

    wanted.only("events")
    if not wanted.data:
        raise InputError("events needs files of sequences by --data.")
    settings = EventModelSettings()
    encoder = wanted.stream(settings.encoder)
    if encoder is None:
        raise InputError(f"A model of events needs an encoder: the mixers are {', '.join(MIXERS)}.")
    train = [one for path in wanted.data for one in read_events(path)]
    test = [one for path in wanted.test for one in read_events(path)]
    if not test:  # the last tenth
        cut = max(1, len(train) // 10)
        train, test = train[:-cut], train[-cut:]
    return event_forecasting(train, test, replace(settings, encoder=encoder), seed=wanted.seed), EVENT_FORECASTING


def _decide(wanted: _Wanted) -> tuple[Recipe, LoopSettings]:
    from foveal.nn.decision_data import CONTROLLERS, collected, environment, read_trajectories
    from foveal.nn.decisions import DECISIONS, DecisionSettings, deciding

    wanted.only("decide", "context")
    data = [one for path in wanted.data for one in read_trajectories(path)]
    if not data:
        if wanted.environment not in CONTROLLERS:
            raise InputError(
                f"No behaviour is written for {wanted.environment}, only for {', '.join(CONTROLLERS)}; give "
                "trajectories by --data."
            )
        data = collected(environment(wanted.environment), CONTROLLERS[wanted.environment], wanted.episodes, wanted.seed)
    settings = DecisionSettings()
    assert settings.encoder is not None
    settings = replace(settings, encoder=wanted.stream(settings.encoder), **wanted.model)
    return deciding(wanted.environment, data, settings, seed=wanted.seed), DECISIONS


def _papers(wanted: _Wanted, asked: training.Asked) -> None:
    """Learn from the home's own papers, and foretell anew."""
    from foveal.cli.papers_output import papers_database
    from foveal.papers.trend_forecast import MODEL, refresh
    from foveal.papers.trend_training import TREND, train_trend

    wanted.only(PAPERS)
    own = wanted.data or wanted.test or len(wanted.encoder) > 1 or wanted.encoder.get("mixer") != "aaren"
    if own or asked.name:
        raise InputError(
            f"The task papers learns from the home's papers, into {MODEL}: it takes no file, size or name."
        )
    home = asked.settings.home
    with papers_database(home) as database:
        with training.progress() as on_progress:
            folder, report = train_trend(database, home, asked.loop(TREND), anew=asked.anew, on_progress=on_progress)
        refresh(database, home)
    training.told(report, folder, "Shown by: foveal papers trend", asked.settings, as_json=asked.as_json)


TASKS: dict[str, Callable[[_Wanted], tuple[Recipe, LoopSettings]]] = {
    "forecast": _forecast,
    "classify": _classify,
    "events": _events,
    "decide": _decide,
}
