"""train titans-reader: the memory of `read --reader titans`, on one's own texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home
from foveal.cli.training import Anew, Batch, Name, Patience, Rate, Seed, Steps
from foveal.settings import Settings


def titans_reader(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files and folders of text to learn from; may be given more than once. Default: the library."
        ),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, max=4, help="Layers of the memory.")] = 1,
    codes: Annotated[
        int, typer.Option(min=64, help="Numbers of a place's code, a multiple of 64: the state grows with it.")
    ] = 1024,
    name: Name = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train the memory that `read --reader titans` reads into. Stopped with Ctrl-C, the same command goes on."""
    from foveal.models import load_encoder
    from foveal.reading.titans_training import ReaderTraining, train_reader

    settings = Settings.load(home)
    usual = ReaderTraining()
    loop = training.loop_of(
        usual.loop, epochs=None, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=patience
    )
    texts = training.texts_of(data, settings)
    encoder = load_encoder("minilm", cache=settings.cache)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = train_reader(texts, encoder, replace(usual, depth=depth, codes=codes, loop=loop), run=run)
    use = f"Use it: foveal read SOURCE QUESTION --reader titans --memory {folder.name} {training.of_home(settings)}"
    training.told(report, folder if report.kept else None, use, settings, as_json=as_json)
