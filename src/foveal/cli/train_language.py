"""train language-model: a small model of text, of the layers of foveal.nn, on one's own files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home
from foveal.cli.training import Anew, Batch, Epochs, Name, Patience, Rate, Seed, Steps
from foveal.settings import Settings


def language_model(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files and folders of text to learn from; may be given more than once. Default: the library."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="lmm, mac, mag, mal (Titans), routing, aaren; or window, full, gru, delta, which these are beside."
        ),
    ] = "mag",
    layers: Annotated[int | None, typer.Option(min=1, help="Layers (default 4).")] = None,
    width: Annotated[int | None, typer.Option(min=8, help="Width of the layers (default 128).")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads of a layer (default 4).")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Bytes that attention sees (default 64).")] = None,
    length: Annotated[int | None, typer.Option(min=2, help="Bytes of a training window (default 512).")] = None,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a small language model, byte by byte, on your own text. Stopped with Ctrl-C, the same command goes on."""
    from foveal.nn.language_training import LanguageTraining, train_language

    settings = Settings.load(home)
    usual = LanguageTraining()
    loop = training.loop_of(
        usual.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=patience
    )
    if epochs is not None and steps is None:
        loop = replace(loop, steps=None)
    given: dict[str, Any] = {"layers": layers, "width": width, "heads": heads, "window": window}
    size = replace(usual.size, **{key: value for key, value in given.items() if value is not None})
    chosen = replace(usual, model=model, size=size, length=length or usual.length, loop=loop)
    texts = training.texts_of(data, settings)
    with training.progress() as on_progress:
        folder, report = train_language(
            texts, chosen, home=settings.home, name=name, on_progress=on_progress, anew=anew
        )
    use = f'Use it: foveal.nn.language_training.language_model(Path("{folder}")) (docs/nn.md)'
    training.told(report, folder if report.kept else None, use, settings, as_json=as_json)
