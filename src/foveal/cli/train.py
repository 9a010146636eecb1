"""train: a better encoder or re-ranker from judged queries, or from the library itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, open_library, print_json, progress_bar, results
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.settings import Settings
    from foveal.training.examples import Examples
    from foveal.training.loop import LoopSettings
    from foveal.training.report import Report
    from foveal.training.searches import Search
    from foveal.training.watch import Progress

app = typer.Typer(help="Train a model on your own data; it is kept only if it is better.", no_args_is_help=True)

Data = Annotated[
    Path | None,
    typer.Option(help="Folder in BEIR's layout; without it the library's own headings, titles and sentences ask."),
]
Split = Annotated[str, typer.Option(help="Judgements to learn from: qrels/SPLIT.tsv.")]
TestSplit = Annotated[str | None, typer.Option(help="Judgements that are only measured: qrels/SPLIT.tsv.")]
Base = Annotated[str, typer.Option(help="Encoder to begin with: a name of `foveal models`, a folder, or a hub id.")]
Name = Annotated[str | None, typer.Option(help="Name of the model: HOME/models/NAME.")]
Epochs = Annotated[float | None, typer.Option(min=0.01, help="Times that each example is seen.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches, in place of epochs.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Examples of a batch.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate.")]
Negatives = Annotated[int | None, typer.Option(min=1, help="Negatives of an example.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same model.")]
Patience = Annotated[int | None, typer.Option(min=1, help="Evaluations without a better one before it stops.")]
Anew = Annotated[bool, typer.Option("--anew", help="Forget an earlier run of that name; else it goes on.")]


@app.callback()
def group() -> None:
    """Train a model on your own data; it is kept only if it is better."""


@app.command()
def encoder(
    data: Data = None,
    split: Split = "train",
    test_split: TestSplit = None,
    arm: Annotated[
        str,
        typer.Option(
            help="Where negatives come from: in-batch, bm25, mined, filtered, ance; or a teacher's margin-mse, kl."
        ),
    ] = "mined",
    base: Base = "minilm",
    teacher: Annotated[Path | None, typer.Option(help="A re-ranker's folder, for the arms margin-mse and kl.")] = None,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    negatives: Negatives = None,
    window: Annotated[int | None, typer.Option(help="Tokens of a text read while training: fewer is faster.")] = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a sentence encoder for search by meaning. Stopped with Ctrl-C, the same command goes on."""
    from foveal.settings import Settings
    from foveal.training.encoders import EncoderSettings, train_encoder
    from foveal.training.loop import LoopSettings
    from foveal.training.rerankers import Scorer

    settings = Settings.load(home)
    loop = _loop(LoopSettings(), epochs, steps, batch, learning_rate, seed, patience)
    chosen = EncoderSettings(arm=arm, window=window, loop=loop)
    chosen = replace(chosen, negatives=negatives or chosen.negatives)
    learnt, test = _examples(data, split, test_split, settings, seed)
    taught: dict[str, Any] = {"teacher": Scorer(teacher), "teacher_name": str(teacher)} if teacher else {}
    with _progress() as on_progress:
        folder, report = train_encoder(
            learnt, base, chosen, home=settings.home, name=name, test=test, on_progress=on_progress, anew=anew,
            cache=settings.cache, **taught,
        )  # fmt: skip
    use = f"Use it in a new library: foveal add … --encoder {folder} --home …"
    _told(report, folder if report.kept else None, use, settings, as_json)


@app.command()
def reranker(
    data: Data = None,
    split: Split = "train",
    test_split: TestSplit = None,
    objective: Annotated[str, typer.Option(help="listwise or bce.")] = "listwise",
    base: Base = "minilm",
    first_stage: Annotated[str, typer.Option(help="Encoder of the search whose hits it will order.")] = "minilm",
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    negatives: Negatives = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a cross-encoder that orders the hits of hybrid search. Stopped with Ctrl-C, the same command goes on."""
    from foveal.settings import Settings
    from foveal.training.rerankers import RerankerSettings, train_reranker

    settings = Settings.load(home)
    chosen = RerankerSettings(objective=objective)
    loop = _loop(chosen.loop, epochs, steps, batch, learning_rate, seed, patience)
    chosen = replace(chosen, negatives=negatives or chosen.negatives, loop=loop)
    learnt, test = _examples(data, split, test_split, settings, seed)
    with _progress() as on_progress:
        search, called = _hybrid(learnt, first_stage, settings)
        folder, report = train_reranker(
            learnt, search, base, chosen, home=settings.home, name=name, first_stage_name=called, test=test,
            on_progress=on_progress, anew=anew, cache=settings.cache,
        )  # fmt: skip
    _told(report, folder, "It orders hits, and teaches an encoder: foveal train encoder --teacher …", settings, as_json)


def _loop(
    defaults: LoopSettings,
    epochs: float | None,
    steps: int | None,
    batch: int | None,
    learning_rate: float | None,
    seed: int,
    patience: int | None,
) -> LoopSettings:
    given: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "patience": patience,
    }
    return replace(defaults, seed=seed, **{name: value for name, value in given.items() if value is not None})


def _examples(
    data: Path | None, split: str, test_split: str | None, settings: Settings, seed: int
) -> tuple[Examples, Examples | None]:
    """What is learnt from, and what is only measured."""
    if data is None:
        if test_split:
            raise InputError("--test-split names judgements of a collection; give its folder by --data.")
        return _pseudo(open_library(settings.home), seed), None
    from foveal.evaluation.beir import load_beir
    from foveal.training.examples import Examples

    test = Examples.of(load_beir(data, test_split)) if test_split else None
    return Examples.of(load_beir(data, split)), test


def _pseudo(library: Library, seed: int) -> Examples:
    """Queries made of the library's own passages."""
    from foveal.text.units import sentences
    from foveal.training.pseudo_queries import Piece, PseudoSettings, pseudo_examples

    pieces = []
    with notes().status("Making queries of the library's headings, titles and sentences …"):
        for entry in library.documents():
            document = library.get(entry.id)
            for passage in library.segmenter.segment(document):
                place = f"{entry.id}:{passage.span.start}-{passage.span.end}"
                pieces.append(Piece(place, entry.id, passage.text, document.title, passage.heading or ""))
        return pseudo_examples(pieces, sentences, PseudoSettings(seed=seed), name="library")


def _hybrid(examples: Examples, encoder_name: str, settings: Settings) -> tuple[Search, str]:
    """Words and vectors blended as the library blends them, and what that is called."""
    from foveal.models import load_encoder
    from foveal.retrieval.hybrid import DENSE_WEIGHT
    from foveal.training.searches import VectorSearch, WordSearch, blended

    chosen = load_encoder(encoder_name, cache=settings.cache)
    parts: list[Search] = [WordSearch(examples.corpus), VectorSearch.over(examples.corpus, chosen.encode)]
    called = f"words and {encoder_name} ({chosen.fingerprint[:8]})"
    return blended(parts, [1 - DENSE_WEIGHT, DENSE_WEIGHT]), called


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar over the steps, with the loss and what was measured last."""
    with progress_bar() as bar:
        task = bar.add_task("Preparing", total=None)
        measured = ""

        def advance(progress: Progress) -> None:
            nonlocal measured
            if progress.note:
                bar.console.print(progress.note, markup=False)
            if progress.metrics:
                measured = ", ".join(f"{name} {value:.4f}" for name, value in progress.metrics.items())
            loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
            text = "; ".join(part for part in ("Training", loss, measured) if part)
            bar.update(task, completed=progress.step, total=progress.steps or None, description=text)

        yield advance


def _told(report: Report, folder: Path | None, use: str, settings: Settings, as_json: bool) -> None:
    run = settings.home / "runs" / "train" / report.name
    if as_json:
        print_json({**report.as_json(), "model": None if folder is None else str(folder), "run": str(run)})
        return
    from foveal.evaluation.tables import table

    console = results()
    console.print(table(report.rows(), title=report.what))
    lines = [*report.notes, f"Curves: {run / 'curves.png'}"]
    if folder is not None:
        lines += [f"The model: {folder}", use]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
