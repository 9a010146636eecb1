"""train planner: a small model on this machine learns from recorded runs how to plan searches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home
from foveal.cli.training import Anew, Batch, Epochs, Name, Patience, Rate, Seed

REWARD_STEPS = 30


def planner(
    recorded: Annotated[
        list[Path], typer.Argument(help="Folders of recorded runs (corpus.jsonl, queries.jsonl); several are joined.")
    ],
    base: Annotated[str | None, typer.Option(help="Language model to begin with (default: gemma3-270m).")] = None,
    reward_steps: Annotated[
        int, typer.Option(min=0, help="Steps by reward behind the distillation, with the search in the loop; 0: none.")
    ] = REWARD_STEPS,
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds in which it plans by itself, and learns its plans that found the answer.")
    ] = 0,
    queries: Annotated[
        int | None, typer.Option(min=1, max=8, help="Queries of a recorded run that are learnt; turns of a plan (2).")
    ] = None,
    names: Annotated[
        int | None,
        typer.Option(min=0, max=8, help="Names that each turn behind the first asks of (2); 0: one free query."),
    ] = None,
    passages: Annotated[
        int | None, typer.Option(min=1, help="Passages that a question may find: what rewards count (default: 9).")
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers that learn, from the last (default: 8).")] = None,
    name: Name = None,
    epochs: Epochs = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a planner on recorded runs of a search agent. Stopped with Ctrl-C, the same command goes on."""
    from foveal.research.planner_evolving import EvolvingSettings
    from foveal.research.planner_runs import joined, train_planner
    from foveal.research.planner_settings import BASE, PlannerSettings, RewardSettings
    from foveal.research.trajectories import load_recorded
    from foveal.settings import Settings

    settings = Settings.load(home)
    training.require_base(base, "language model", settings)
    usual = PlannerSettings()
    loop = training.loop_of(
        usual.loop, epochs=epochs, steps=None, batch=batch, learning_rate=learning_rate, seed=seed, patience=patience
    )
    chosen = replace(
        usual, loop=loop, most_queries=queries or usual.most_queries, budget=passages or usual.budget,
        upper=layers or usual.upper, named=usual.named if names is None else names,
    )  # fmt: skip
    by = RewardSettings()
    rewarded = replace(by, loop=replace(by.loop, steps=reward_steps, seed=seed)) if reward_steps else None
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = train_planner(
            joined([load_recorded(one) for one in recorded]), base or BASE, chosen, rewarded,
            EvolvingSettings(rounds=rounds) if rounds else None, run=run,
        )  # fmt: skip
    use = f'Use it: foveal research "QUESTION" --planner {report.name} --home {quote(str(settings.home))}'
    training.told(report, folder, use, settings, as_json=as_json)
