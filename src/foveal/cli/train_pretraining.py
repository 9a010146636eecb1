"""train pretraining: an encoder from texts alone, by a task that needs no query."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home, has_library
from foveal.cli.train_bprop import Base, Texts, titled_texts


def pretraining(
    data: Texts = None,
    task: Annotated[
        str,
        typer.Option(help="ict, simcse, contriever (views of a text), condenser, cocondenser, retromae, bow (masks)."),
    ] = "ict",
    base: Base = "minilm",
    name: training.Name = None,
    window: Annotated[int, typer.Option(min=3, help="Tokens of a text read while training: fewer is faster.")] = 128,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Passes over the texts, each drawn anew.")] = None,
    steps: training.Steps = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Texts of a batch.")] = None,
    learning_rate: training.Rate = None,
    seed: training.Seed = 0,
    patience: training.Patience = None,
    anew: training.Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train a sentence encoder on texts, without a query. Stopped with Ctrl-C, the same command goes on."""
    from foveal.settings import Settings
    from foveal.text.units import sentences
    from foveal.training.pretrained_encoders import PretrainingSettings, pretrain_encoder

    settings = Settings.load(home)
    chosen = PretrainingSettings(task=task, window=window)
    loop = training.loop_of(
        chosen.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=patience,
        mixed=True,
    )  # fmt: skip
    texts = titled_texts(data, settings)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = pretrain_encoder(texts, base, replace(chosen, loop=loop), sentences=sentences, run=run)
    of_home = training.of_home(settings)
    use = f"Go on with judged queries: foveal train encoder --base {report.name} {of_home}"
    if has_library(settings):
        use += f"; or use it as it is: foveal admin encoder {report.name} {of_home}"
    training.told(report, folder, use, settings, as_json=as_json)
