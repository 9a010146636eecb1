"""train language-model: a small model of text, of the layers of foveal.nn, on one's own files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli import training


@training.command
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
    *,
    asked: training.Asked,
) -> None:
    """Train a small language model, byte by byte, on your own text. Stopped with Ctrl-C, the same command goes on."""
    from foveal.nn.language_training import LanguageTraining, train_language

    usual = LanguageTraining()
    given: dict[str, Any] = {"layers": layers, "width": width, "heads": heads, "window": window}
    size = replace(usual.size, **{key: value for key, value in given.items() if value is not None})
    chosen = replace(usual, model=model, size=size, length=length or usual.length, loop=asked.loop(usual.loop))
    texts = training.texts_of(data, asked.settings)
    use = 'Use it: foveal.nn.language_training.language_model(Path("{}")) (docs/nn.md)'
    asked.carried_out(partial(train_language, texts, chosen), use)
