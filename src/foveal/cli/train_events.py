"""train events: queries that look at what is going on, learnt from dated questions or from a stream of dated texts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home, notes, open_library
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.retrieval.dated_collections import DatedCollection
    from foveal.retrieval.event_items import Item
    from foveal.training.event_rows import EventExamples

COARSE = 2000
"""Queries that the stream asks itself, if nothing else is said."""


def events(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dated pages and questions in BEIR's layout (docs/events.md); without it the library itself."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Judgements to learn from: qrels/SPLIT.tsv.")] = "train",
    before: Annotated[
        str | None, typer.Option(help="Learn from questions before this date; those after it are only measured.")
    ] = None,
    coarse: Annotated[int, typer.Option(min=1, help="Queries that the stream asks itself, for stage 1.")] = COARSE,
    stages: Annotated[int, typer.Option(min=1, max=2, help="1: without hard negatives.")] = 2,
    events_of_query: Annotated[int, typer.Option("--events", min=1, help="Events that a query looks at.")] = 5,
    frozen_layers: Annotated[int, typer.Option(min=0, help="Lowest layers that stay as they are: faster.")] = 0,
    base: Annotated[
        str, typer.Option(help="The encoder: a name of `foveal models`, a folder, or a hub id.")
    ] = "minilm",
    name: Annotated[str | None, typer.Option(help="Name of the model: HOME/models/NAME.")] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Times that each question is seen in stage 2.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches of stage 2, in place of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Questions of a batch.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the encoder; the block learns 15 times as fast.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Forget an earlier run of that name; else it goes on.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train event attention: a query's tokens look at the events of its day. Stopped, the same command goes on."""
    from foveal.models.event_attention import EventAttentionSettings
    from foveal.retrieval.dated_collections import load_dated
    from foveal.retrieval.event_items import seconds
    from foveal.retrieval.fresh_fitting import write_fitted
    from foveal.settings import Settings
    from foveal.text.dates import moment
    from foveal.training.events import EventTrainingSettings, train_events

    settings = Settings.load(home)
    if before is not None and len(before) <= len("2023-05-01"):
        moment(before)  # an error says it as it was given
        before = f"{before}T00:00"  # before the day: `moment` takes a day for its end
    parted = None if before is None else seconds(moment(before))
    chosen = EventTrainingSettings(
        attention=EventAttentionSettings(events=events_of_query), stages=stages, frozen_layers=frozen_layers
    )
    loop = training.loop_of(
        chosen.second, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=None,
        mixed=True,
    )  # fmt: skip
    chosen = replace(chosen, first=replace(loop, steps=steps and max(1, steps // 2), epochs=1), second=loop)
    with notes().status("Mining events …"):
        news = None if data is None else load_dated(data, split)
        fine, stream, test = _learnt_from(news, parted, coarse, base, settings.cache, home, seed)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew, test=test)
        folder, report = train_events(
            fine, base, chosen, coarse=stream, fit=None if news is None else partial(write_fitted, news), run=run
        )
    training.told(report, folder, _use_of(folder), settings, as_json=as_json)


def _use_of(folder: Path | None) -> str:
    """How to search with the model in a folder: a library has another home, so that the folder is named."""
    made = quote(str(folder))
    return (
        f"Search with it: foveal add … --encoder {made}/encoder --home NEW, then foveal search … --retriever "
        f"fresh:{made} --home NEW"
    )


def _learnt_from(
    news: DatedCollection | None,
    before: float | None,
    coarse: int,
    base: str,
    cache: Path,
    home: Path | None,
    seed: int,
) -> tuple[EventExamples, EventExamples | None, EventExamples | None]:
    """Fine and coarse examples, and what is only measured."""
    from foveal.models import load_encoder
    from foveal.retrieval.event_examples import coarse_examples, fine_examples, sweep
    from foveal.retrieval.event_items import datetime_of
    from foveal.training.events import EventTrainingSettings, late_moment

    encode = load_encoder(base, cache=cache).encode
    if news is None:
        if before is not None:
            raise InputError("--before parts judged questions; name them by --data.")
        return coarse_examples(_library_items(home), encode, most=coarse, seed=seed), None, None
    fine = fine_examples(news.items, news.asked, news.judged, sweep(news.items, news.asked, encode))
    learnt, test = (fine, None) if before is None else fine.split(before)
    aware = any(moment.tzinfo is not None for _, moment in news.asked.values())
    until = datetime_of(late_moment(learnt, EventTrainingSettings.dev_share), aware=aware)  # dev questions are later
    return learnt, coarse_examples(news.items, encode, before=until, most=coarse, seed=seed), test


def _library_items(home: Path | None) -> list[Item]:
    from foveal.retrieval.event_library import items_of

    return list(items_of(open_library(home).store))
