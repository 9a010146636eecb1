"""train landmark: a decoder that opens only the blocks of a text that it needs, from scratch or from another one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home
from foveal.cli.training import Anew, Batch, Epochs, Name, Rate, Seed, Steps
from foveal.errors import InputError
from foveal.settings import Settings


def landmark(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files and folders of text to learn from; may be given more than once. Default: the library."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="A decoder to go on from: a name of `foveal models`, a folder, a hub id.")
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=2, help="Positions of a block (default 32; of a decoder 64).")
    ] = None,
    train_length: Annotated[
        int | None, typer.Option(min=4, help="Positions of a training window, landmarks among them (default 512).")
    ] = None,
    jump: Annotated[int, typer.Option(min=0, help="Positions that may be skipped after a landmark; 0: none.")] = 0,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers, from scratch (default 6).")] = None,
    width: Annotated[int | None, typer.Option(min=8, help="Width of the layers, from scratch (default 256).")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads of a layer, from scratch (default 4).")] = None,
    vocabulary: Annotated[int | None, typer.Option(min=300, help="Tokens, from scratch (default 2048).")] = None,
    rank: Annotated[
        int | None, typer.Option(min=0, help="Rank of what a decoder learns (default 16); 0: all of its weights learn.")
    ] = None,
    pass_keys: Annotated[
        float, typer.Option(min=0, max=1, help="Share of windows with a number that is asked for at the end.")
    ] = 0.0,
    miss: Annotated[
        float, typer.Option(min=0, max=1, help="Share of landmarks that a context-miss token controls (paper: 0.5).")
    ] = 0.0,
    group_dropout: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of the looks at earlier blocks that is dropped in training.")
    ] = 0.0,
    masked: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of tokens that are masked, and told from both sides.")
    ] = 0.0,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a decoder with landmarks, to read far beyond its window. Stopped with Ctrl-C, the same command goes on."""
    from foveal.attention.landmark_training import LandmarkTraining, train_landmark
    from foveal.attention.landmark_variant_training import train_variant
    from foveal.attention.landmark_variants import LandmarkVariantSettings

    settings = Settings.load(home)
    usual = LandmarkTraining.usual(fine_tuned=base is not None)
    loop = training.loop_of(
        usual.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=None,
        mixed=True,
    )  # fmt: skip
    if epochs is not None and steps is None:
        loop = replace(loop, steps=None)
    size = {"layers": layers, "width": width, "heads": heads, "vocabulary": vocabulary}
    if base is not None and any(value is not None for value in size.values()):
        raise InputError(
            "A decoder has its own size; leave out --layers, --width, --heads and --vocabulary, or --base."
        )
    if base is None and rank is not None:
        raise InputError(
            "From scratch all weights learn: --rank is of what a decoder learns. Leave it out, or add --base."
        )
    landmarks = _given(usual.landmarks, block=block, train_length=train_length, jump=jump)
    varied = bool(miss or group_dropout or masked)
    if varied:
        landmarks = LandmarkVariantSettings(
            **asdict(landmarks), miss=miss, group_dropout=group_dropout, masked=masked
        )  # fmt: skip
    chosen = replace(
        usual, landmarks=landmarks,
        size=_given(usual.size, **size), rank=usual.rank if rank is None else rank or None,
        pass_keys=pass_keys,
        loop=loop,
    )  # fmt: skip
    texts = training.texts_of(data, settings)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = (train_variant if varied else train_landmark)(texts, base, chosen, run=run)
    made_by = "MaskedLandmarks" if masked else "LandmarkVariant" if varied else "LandmarkModel"
    use = f'Use it: foveal.attention.{made_by}.from_pretrained("{folder}") (docs/landmark.md)'
    training.told(report, folder if report.kept else None, use, settings, as_json=as_json)


def _given(settings: Any, **values: Any) -> Any:
    """The settings with those values that were given."""
    return replace(settings, **{name: value for name, value in values.items() if value is not None})
