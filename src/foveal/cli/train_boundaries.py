"""train boundaries: where DHSA cuts a text into chunks, learnt from what a model looks at in one's own texts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.asking import DEFAULT_MODEL, MODELS, language_model


@training.command
def boundaries(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files and folders of text to learn from; may be given more than once. Default: the library."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help=f"Model whose attention is learnt from: {MODELS}.")] = DEFAULT_MODEL,
    texts: Annotated[int | None, typer.Option(min=1, help="Windows of text that are read (default 48).")] = None,
    length: Annotated[int | None, typer.Option(min=512, help="Tokens of a window (default 2048).")] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="Layers of each window, drawn from those that see it whole (default 12).")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="What reads the keys around a cut: tokens (default), attn, stack, cnn.")
    ] = None,
    *,
    asked: training.Asked,
) -> None:
    """Train DHSA's boundary predictor for a model; from then on it is used. After Ctrl-C the same command goes on."""
    from foveal.attention.boundary_runs import BoundaryTraining, train_boundaries

    usual = BoundaryTraining()
    given: dict[str, Any] = {"length": length, "layers_per_text": layers, "encoder": encoder}
    recipe = replace(usual.recipe, **{name: value for name, value in given.items() if value is not None})
    settings = replace(usual, recipe=recipe, texts=texts or usual.texts, loop=asked.loop(usual.loop))
    learnt = training.texts_of(data, asked.settings)
    loaded = language_model(model, asked.settings)
    use = (
        f"Used from now on, where this home is: foveal prefill … --attention dhsa --model {model}, and DHSA() in Python"
    )
    asked.carried_out(partial(train_boundaries, loaded, learnt, settings), use)
