"""train corpusbrain: a model that finds a library's documents by writing their titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home, notes, open_library
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.settings import Settings
    from foveal.training.corpusbrain_pairs import TitledText, TitlePair
    from foveal.training.report import Report
    from foveal.training.runs import RunSettings

HELD_OUT = 300
"""Documents of which a sentence is held out."""

FINE_TUNING = 10
"""Passes over judged queries, where nothing else is said."""


def corpusbrain(
    data: Annotated[
        Path | None, typer.Option(help="Folder in BEIR's layout; without it the library's own documents are learned.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="With --data: judgements to learn from in the end, qrels/SPLIT.tsv.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Model to begin with: an encoder-decoder, a causal model, or an encoder, over which a decoder is set; "
            "without it, a small one of random weights, with a vocabulary of its own."
        ),
    ] = None,
    tasks: Annotated[str, typer.Option(help="Of ISS (sentences), LPS (beginnings), HIP (links).")] = "ISS,LPS,HIP",
    mentions: Annotated[bool, typer.Option(help="Take a title that stands in another text for a link.")] = True,
    name: training.Name = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Passes over the documents, each drawn anew.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches, in place of passes.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pairs of a batch.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate: 1e-3 where what writes has random weights, else 3e-5.")
    ] = None,
    seed: training.Seed = 0,
    patience: training.Patience = None,
    anew: training.Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a model that finds documents by writing their titles. Stopped with Ctrl-C, the same command goes on."""
    from foveal.settings import Settings

    if split and data is None:
        raise InputError("--split names judgements of a collection; give its folder by --data.")
    settings = Settings.load(home)
    given = {"epochs": epochs, "steps": steps, "batch": batch, "learning_rate": learning_rate, "patience": patience}
    given = {"seed": seed, **{key: value for key, value in given.items() if value is not None}}
    texts = _texts(data, settings, base)
    judged = _judged(data, split, texts) if split and data is not None else None  # before hours of training
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        report, folder = _pretrained(texts, base, tasks, mentions, given, run)
        if judged:
            titles = [text.title for text in texts]
            report, folder = _fine_tuned(judged, titles, folder or base, given, replace(run, name=_tuned(name)))
    use = f"Search with it: foveal search … --retriever generative:{report.name} {training.of_home(settings)}"
    training.told(report, folder if report.kept else None, use, settings, as_json=as_json)


def _pretrained(
    texts: Sequence[TitledText],
    base: str | None,
    tasks: str,
    mentions: bool,
    given: Mapping[str, Any],
    run: RunSettings[Any],
) -> tuple[Report, Path | None]:
    """Learn the documents."""
    from foveal.models.bert import supports
    from foveal.retrieval.title_measures import title_metrics
    from foveal.training.corpusbrain import CorpusBrainSettings, Lessons, base_folder, train_corpusbrain
    from foveal.training.corpusbrain_pairs import PairSettings, TitledCorpus, hold_out, mention_links

    pairs = PairSettings(tasks=tuple(one.strip().upper() for one in tasks.split(",")), seed=given["seed"])
    linked = mention_links(texts) if mentions and "HIP" in pairs.tasks else list(texts)
    kept, dev = hold_out(linked, documents=HELD_OUT)  # the same whatever the seed is
    encoder = base is not None and supports(base_folder(base, run.cache_at))
    chosen = _settings(CorpusBrainSettings(), base, given, encoder=encoder)
    lessons = Lessons.of_corpus(TitledCorpus.of(kept, pairs), pairs)
    folder, report = train_corpusbrain(lessons, base, chosen, judge=title_metrics, run=replace(run, dev=dev))
    return report, folder


def _judged(data: Path, split: str, texts: Sequence[TitledText]) -> tuple[list[TitlePair], list[TitlePair]]:
    """What judged queries ask for, by title: to learn from, and a tenth that chooses among the steps."""
    from foveal.evaluation.beir import load_beir
    from foveal.training.corpusbrain_pairs import TitlePair
    from foveal.training.examples import Examples

    titles = {text.id: text.title for text in texts}

    def pairs(examples: Examples) -> list[TitlePair]:
        found = ((q, tuple(titles[d] for d in ids if d in titles)) for q, ids in examples.positives.items())
        return [TitlePair(examples.queries[q], named, "judged") for q, named in found if named]

    learnt, dev = map(pairs, Examples.of(load_beir(data, split)).split())
    if not learnt or not dev:
        raise InputError(
            f"Of the queries that {split}.tsv judges {len(learnt)} to learn from and {len(dev)} to choose by ask for a "
            "document with a title and a text; it needs some of each. Judge more, or leave out --split."
        )
    return learnt, dev


def _fine_tuned(
    judged: tuple[list[TitlePair], list[TitlePair]], titles: list[str], base: str | Path | None,
    given: Mapping[str, Any], run: RunSettings[Any],
) -> tuple[Report, Path | None]:  # fmt: skip
    """Learn judged queries, a part of which choose among the steps."""
    from foveal.retrieval.title_measures import title_metrics
    from foveal.training.corpusbrain import CorpusBrainSettings, Lessons, train_corpusbrain

    learnt, dev = judged
    named = str(base) if base else None
    chosen = _settings(CorpusBrainSettings(), named, {"epochs": FINE_TUNING, **given})
    lessons = Lessons.of_pairs(learnt, titles)
    folder, report = train_corpusbrain(lessons, named, chosen, judge=title_metrics, run=replace(run, dev=dev))
    return report, folder


def _settings(defaults: Any, base: str | None, given: Mapping[str, Any], *, encoder: bool = False) -> Any:
    """An encoder that is no model of titles yet stays as it is, while a decoder from random weights learns."""
    from foveal.training.precision import mixed_precision

    rate = defaults.loop.learning_rate if base is None or encoder else 3e-5
    loop = replace(defaults.loop, **{"learning_rate": rate, "bfloat16": mixed_precision(), **given})
    return replace(defaults, frozen_encoder=encoder, loop=loop)


def _tuned(name: str | None) -> str | None:
    return None if name is None else f"{name}-tuned"


def _texts(data: Path | None, settings: Settings, base: str | None) -> list[TitledText]:
    """The documents that have a title which the base can write, cut into sentences.

    Titles that are alike to the base are numbered, as the retriever does it.
    """
    from foveal.evaluation.beir import load_corpus
    from foveal.retrieval.corpusbrain import told_apart
    from foveal.text.units import sentences
    from foveal.training.corpusbrain import naming_model, taught
    from foveal.training.corpusbrain_pairs import TitledText, units

    model = naming_model(base, settings.cache)
    with notes().status("Reading the documents …"):
        if data is not None:
            named = [(name, record.title, record.text) for name, record in load_corpus(data).items()]
        else:
            library = open_library(settings, said=False)
            named = [(one.id, one.title, one.text) for one in library.store.texts()]
        if not named and data is None:
            raise InputError("The library holds no document to learn. Fill it: foveal add FILE_OR_FOLDER")
        count, named = len(named), [one for one in named if one[1].strip() and one[2].strip()]
        if not named:
            raise InputError(
                f"None of {count} documents has both a title and a text, and what is learned is to write titles. Name "
                "documents by foveal rename, or give a folder whose corpus.jsonl has titles."
            )
        titles = told_apart({name: title for name, title, _ in named}, model, learned=taught(base, settings.cache))
        named = [one for one in named if one[0] in titles]
        cut = [units(text, sentences) for _, _, text in named]
    return [TitledText(name, titles[name], parts) for (name, _, _), parts in zip(named, cut, strict=True)]
