"""train lexsembridge: a bridge by which the vectors of an index find exact words and pasted fragments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, open_library

if TYPE_CHECKING:
    from foveal.settings import Settings
    from foveal.training.examples import Examples

TASK_PASSAGES = 2000
"""Passages that keywords and spans are made of, if nothing else is said."""


def lexsembridge(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder in BEIR's layout; without it the library: what was judged of it asks, else its headings, "
            "titles and sentences."
        ),
    ] = None,
    split: training.Split = "train",
    test_split: training.TestSplit = None,
    judgements: training.Judgements = None,
    queries: training.Queries = None,
    method: Annotated[str, typer.Option(help="SLR (words present), LLR (learnt weights) or CLR (expanded).")] = "SLR",
    units: Annotated[
        str | None, typer.Option(help="words of the collection, or the encoder's tokens (CLR: always tokens).")
    ] = None,
    train_encoder: Annotated[
        bool, typer.Option("--train-encoder", help="Train the encoder, too: the index has to be made anew.")
    ] = False,
    keywords: Annotated[int, typer.Option(min=0, help="Also ask by so many keywords of a passage; 0: do not.")] = 3,
    spans: Annotated[int, typer.Option(min=0, help="Also ask by so many words in a row; 0: do not.")] = 16,
    passages: Annotated[int, typer.Option(min=1, help="Passages asked for so.")] = TASK_PASSAGES,
    base: Annotated[
        str | None,
        typer.Option(help="The encoder: a name of `foveal models`, a folder, or a hub id. Default: the library's."),
    ] = None,
    name: training.Name = None,
    epochs: training.Epochs = None,
    steps: training.Steps = None,
    batch: training.Batch = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate: 1e-3 for the bridge alone, 1e-5 with the encoder.")
    ] = None,
    seed: training.Seed = 0,
    patience: training.Patience = None,
    anew: training.Anew = False,
    home: training.LibraryHome = None,
    as_json: AsJson = False,
) -> None:
    """Train a bridge for exact words and fragments over an index that stays. Stopped, the same command goes on."""
    from foveal.models.lexsembridge import BridgeSettings
    from foveal.models.lexsembridge_reading import REACH
    from foveal.ranking.judged_training import parted
    from foveal.settings import Settings
    from foveal.training.lexsembridge import train_lexsembridge
    from foveal.training.lexsembridge_settings import LexSemBridgeSettings

    settings = Settings.load(home)
    clr = method == "CLR"
    chosen = LexSemBridgeSettings(
        bridge=BridgeSettings(method=method, reach=REACH),
        units=units or ("tokens" if clr else "words"),
        encoder="both" if train_encoder else "frozen",
        init_mlm_head=clr,
    )
    defaults = replace(chosen.loop, batch=32, learning_rate=1e-5) if train_encoder else chosen.loop
    loop = training.loop_of(
        defaults, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=patience,
        mixed=train_encoder,
    )  # fmt: skip
    training.require_base(base, "encoder", settings)
    judged, test = training.learnt_from(
        settings,
        data=data,
        split=split,
        test_split=test_split,
        judgements=judgements,
        queries=queries,
        first_stage="none" if data else "lexical",
    )
    learnt, dev = parted(judged.examples)
    learnt = with_own_tasks(learnt, keywords, spans, passages, seed)
    base = base or _own_encoder(data, settings)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew, dev=dev, test=test)
        folder, report = train_lexsembridge(learnt, base, replace(chosen, loop=loop), run=run)
    report = replace(report, notes=(*judged.notes, *report.notes))
    use = f"Search through it: foveal search … --retriever lexsembridge:{report.name} {training.of_home(settings)}"
    training.told(report, folder, use, settings, as_json=as_json)


def _own_encoder(data: Path | None, settings: Settings) -> str:
    """The encoder that made the library's vectors; the default one where there are none."""
    made_by = "none" if data is not None else str(open_library(settings, said=False).store.settings["encoder"])
    return "minilm" if made_by == "none" else made_by


def with_own_tasks(examples: Examples, keywords: int, spans: int, passages: int, seed: int) -> Examples:
    """The examples, and queries by keywords and by spans of at most so many passages."""
    import numpy as np

    from foveal.evaluation.fine_grained import make_keyword_task, make_part_of_passage_task
    from foveal.training.lexsembridge import with_tasks

    names = list(examples.corpus)
    drawn = [names[place] for place in np.random.default_rng(seed).permutation(len(names))[:passages]]
    tasks = []
    if keywords:
        tasks.append(make_keyword_task(examples.corpus, keywords, seed, passages=drawn))
    if spans:
        tasks.append(make_part_of_passage_task(examples.corpus, spans, seed, passages=drawn))
    return with_tasks(examples, tasks)
