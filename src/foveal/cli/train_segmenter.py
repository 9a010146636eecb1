"""train segmenter: from documents with headings to a model that finds sections where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home, notes, open_library
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.settings import Settings
    from foveal.text.sectioned import SectionSettings
    from foveal.text.topic_tables import TopicTable
    from foveal.training.same_topic_pairs import Sectioned
    from foveal.types import Document

TERMS = "terms"
"""Said in place of a file: the topics of terms, policies and contracts that Foveal knows."""


def segmenter(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder, file or JSONL of documents with headings; may be given more than once. Without it the "
            "library's own documents."
        ),
    ] = None,
    heads: Annotated[
        str, typer.Option(help="What decides, with commas: vectors, topics, layout (seconds); bi, cross (minutes).")
    ] = "vectors,topics,layout",
    strategy: Annotated[
        str, typer.Option(help="Pairs besides the true gaps: consecutive, random_paragraph, section.")
    ] = "consecutive",
    topics: Annotated[
        str | None,
        typer.Option(
            help=f'Headings that mean the same: "{TERMS}", or a JSON file of topics, each with a list of headings. '
            "Without it each heading is a topic of its own."
        ),
    ] = None,
    only_topics: Annotated[
        bool, typer.Option("--only-topics", help="Leave out paragraphs whose headings the topics lack, as the paper.")
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(help="Field of the metadata that names the author; dev documents are of others. Default: folder."),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="The encoder: a name of `foveal models`, a folder, or a hub id.")
    ] = "minilm",
    name: Annotated[str | None, typer.Option(help="Name of the model: HOME/models/NAME.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs that bi and cross learn from: their price.")] = 8000,
    window: Annotated[int, typer.Option(min=8, help="Tokens of a pair (cross) or paragraph (bi) that are read.")] = 256,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Times that bi and cross see each pair.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches, in place of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pairs of a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of bi and cross.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 0,
    credit: Annotated[str, typer.Option(help="Whose texts these are, and their licence: kept with the model.")] = "",
    anew: Annotated[bool, typer.Option("--anew", help="Forget an earlier run of that name; else it goes on.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a segmenter on documents with headings. Stopped with Ctrl-C, the same command goes on."""
    from foveal.settings import Settings
    from foveal.text.sectioned import SectionSettings
    from foveal.training.same_topic import SameTopicSettings, train_same_topic

    settings = Settings.load(home)
    table = _table(topics)
    if only_topics and table is None:
        raise InputError(f"--only-topics needs a table of topics: --topics {TERMS}, or --topics FILE.json.")
    wanted = tuple(part.strip() for part in heads.split(",") if part.strip())
    chosen = SameTopicSettings(heads=wanted, strategy=strategy, tuned_pairs=pairs, window=window)
    loop = training.loop_of(
        chosen.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=None
    )
    with notes().status("Reading documents …"):
        documents = _documents(data, settings, SectionSettings(group=group), table, only=only_topics)
        documents, said = _parted(documents)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = train_same_topic(documents, encoder, replace(chosen, loop=loop), credit=credit, run=run)
    report = replace(report, notes=(*said, *report.notes))
    called = f"same-topic:{report.name}"
    where = training.of_home(settings)
    use = f"Use it: foveal segment … --method {called} {where}, or foveal add … --segmenter {called} {where}"
    training.told(report, folder, use, settings, as_json=as_json)


def _parted(documents: list[Sectioned]) -> tuple[list[Sectioned], tuple[str, ...]]:
    """The documents, and a remark: those of one author are groups by themselves, since something must be held out."""
    if len({one.group for one in documents}) > 1 or len(documents) < 2:
        return documents, ()
    said = (
        f"All {len(documents):,} documents are of one folder, site or author, so single documents were held out: where "
        "they share a template, the figures are too good. Put them into folders by author, or name a field by --group."
    )
    return [replace(one, group=f"{place} {one.name}") for place, one in enumerate(documents)], (said,)


def _table(topics: str | None) -> TopicTable | None:
    from foveal.text.topic_tables import TopicTable

    if topics is None:
        return None
    return TopicTable.terms() if topics == TERMS else TopicTable.read(topics)


def _documents(
    data: list[Path] | None, settings: Settings, chosen: SectionSettings, table: TopicTable | None, *, only: bool
) -> list[Sectioned]:
    """The documents that have sections enough. InputError: none has."""
    from foveal.text.sectioned import sectioned

    read: Iterator[Document]
    if data:
        read = training.documents_of(data, settings)
    else:
        library = open_library(settings, said=False)
        read = library.store.texts()
    found = [made for one in read if (made := sectioned(one, chosen, table, only_topics=only)) is not None]
    if not found:
        raise InputError(
            f"No document has {chosen.least_sections} sections with headings and {chosen.least_paragraphs} paragraphs, "
            "so there is nothing to learn from. Give documents with headings (Markdown, HTML, …) by --data."
        )
    return found
