"""train headline-judge, headline-writer: from labelled headlines with their articles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home
from foveal.cli.training import Anew, Batch, Epochs, Name, Patience, Rate, Seed, Steps

if TYPE_CHECKING:
    from foveal.evaluation.headlines import HeadlineSet

Pairs = Annotated[
    Path, typer.Argument(help="Labelled pairs: CSV (headline, article, label) or JSON lines, or TeClass's own folder.")
]


def headline_judge(
    pairs: Pairs,
    kind: Annotated[
        str, typer.Option(help="lr, svm, bagging, mlp, pmi (a language model's likelihood) or encoder.")
    ] = "lr",
    view: Annotated[str, typer.Option(help="Labels to learn: primary, binary or sub.")] = "primary",
    encoder: Annotated[
        str | None, typer.Option(help="Of kind encoder: which one; else: its vectors count beside the features.")
    ] = None,
    chat: Annotated[str | None, typer.Option(help="Language model of the feature likelihood, and of kind pmi.")] = None,
    abstain: Annotated[
        float, typer.Option(min=0.0, help="Lead of the best probability below which it is not sure.")
    ] = 0.0,
    test: Annotated[Path | None, typer.Option(help="Labelled pairs that are only measured.")] = None,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 42,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a judge of headlines on labelled pairs. Epochs, batch and rate are those of an encoder."""
    from foveal.papers.headline_training import train_headline_judge
    from foveal.papers.headlines import JudgeSettings
    from foveal.settings import Settings

    settings = Settings.load(home)
    chosen = JudgeSettings(
        kind=kind, view=view, abstain=abstain, chat=chat,
        encoder=encoder or ("minilm" if kind == "encoder" else None),
    )  # fmt: skip
    loop = training.loop_of(
        chosen.pairs.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed,
        patience=patience, mixed=kind == "encoder",
    )  # fmt: skip
    chosen = replace(chosen, pairs=replace(chosen.pairs, loop=loop), fit=replace(chosen.fit, seed=seed))
    training.require_base(chosen.encoder, "encoder", settings)
    training.require_base(chat, "language model", settings)
    learnt, dev, own_test = _sets(pairs)
    with training.progress() as on_progress:
        run = training.run_of(
            settings, name, on_progress, anew=anew, dev=dev, test=_measured(test) if test else own_test
        )
        folder, report = train_headline_judge(learnt, chosen, run=run)
    use = f'Use it: foveal headline judge "HEADLINE" ARTICLE --judge {report.name} --home {quote(str(settings.home))}'
    training.told(report, folder, use, settings, as_json=as_json)


def headline_writer(
    pairs: Pairs,
    base: Annotated[str, typer.Option(help="Language model to begin with.")] = "gemma3-270m",
    train_on: Annotated[
        list[str] | None, typer.Option(help="Label to learn from; may be given again (default: HREL).")
    ] = None,
    article_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens of an article that are read.")] = None,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 42,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a writer of headlines on the relevant pairs only. Stopped with Ctrl-C, the same command goes on."""
    from foveal.papers.headline_training import train_headline_writer
    from foveal.papers.headline_writer import TRAIN_ON
    from foveal.settings import Settings
    from foveal.training.headline_writers import WriterSettings

    settings = Settings.load(home)
    usual = WriterSettings()
    loop = training.loop_of(
        usual.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed,
        patience=patience, mixed=True,
    )  # fmt: skip
    chosen = replace(usual, loop=loop, article_tokens=article_tokens or usual.article_tokens)
    training.require_base(base, "language model", settings)
    learnt, dev, _ = _sets(pairs)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew, dev=dev)
        folder, report = train_headline_writer(learnt, base, chosen, train_on=tuple(train_on or TRAIN_ON), run=run)
    use = f"Use it: foveal headline write ARTICLE --writer {report.name} --home {quote(str(settings.home))}"
    training.told(report, folder, use, settings, as_json=as_json)


def _measured(path: Path) -> HeadlineSet:
    """What is only measured: of TeClass's folder its test pairs, not those that it has to learn from."""
    pairs, _, own_test = _sets(path)
    return pairs if own_test is None else own_test


def _sets(path: Path) -> tuple[HeadlineSet, HeadlineSet | None, HeadlineSet | None]:
    """What is learnt from, and, of TeClass's folder, its development and test pairs."""
    from foveal.evaluation.headlines import load_teclass, read_pairs

    if not path.is_dir():
        return read_pairs(path), None, None
    found = load_teclass(path)
    return found["training"], found["development"], found["test"]
