"""What the commands that train have in common: options, what is learnt from, a bar, and what is told at the end.

@training.command                              # adds --name, --epochs … --json, and gives them as one argument
def classifier(data: …, asked: training.Asked) -> None:
    asked.carried_out(partial(fit, recipe, asked.loop(CLASSIFYING)), "Use it: …")

@training.command                              # adds --data, --split … --judgements --queries, too
def late(dimension: …, asked: training.AskedOfJudged) -> None:
    judged, test = asked.learnt_from(first_stage)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property, wraps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from foveal.cli.output import AsJson, Home, at_home, notes, open_library, print_json, progress_bar, results
from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.registry import RETRIEVERS

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.ranking.judged import Judged
    from foveal.settings import Settings
    from foveal.training.examples import Examples
    from foveal.training.loop import LoopSettings
    from foveal.training.report import Report
    from foveal.training.runs import RunSettings
    from foveal.training.watch import Progress
    from foveal.types import Document, Encoder

MADE = "none"
"""Said in place of a file of judgements: let headings, titles and sentences ask."""

FEW = 50
"""Judged queries below which a remark says that the figures are rough."""

LibraryHome = Annotated[
    Path | None,
    typer.Option(
        "--library",
        "--home",
        callback=at_home,
        help="Home of the library that is learnt from, and of the model.",
        envvar="FOVEAL_HOME",
        show_default=False,
    ),
]
Data = Annotated[Path | None, typer.Option(help="Learn from a folder in BEIR's layout, not from the library.")]
Split = Annotated[str, typer.Option(help="Judgements of --data to learn from: qrels/SPLIT.tsv.")]
TestSplit = Annotated[str | None, typer.Option(help="Judgements of --data that are only measured: qrels/SPLIT.tsv.")]
Judgements = Annotated[
    str | None,
    typer.Option(
        help="Judgements of the library's passages or documents: a qrels file, or "
        f'"{MADE}" (its headings, titles and sentences ask). Default: what `foveal judge` kept, if it kept any.',
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(help="Texts of the queries of --judgements: JSON lines, or id, tab, text. Default: the file beside."),
]
FirstStage = Annotated[
    str | None,
    typer.Option(
        help=f"The search that it will stand behind. Of a library: {', '.join(RETRIEVERS)}; of --data: the encoder "
        'beside words, or "none" (default: minilm).'
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the model: HOME/models/NAME.")]
Epochs = Annotated[float | None, typer.Option(min=0.01, help="Times that each example is seen.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches, in place of epochs.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Examples of a batch.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate.")]
Negatives = Annotated[int | None, typer.Option(min=1, help="Negatives of an example.")]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**32 - 1, help="The same seed gives the same model; the same queries are held out whatever it is."
    ),
]
Patience = Annotated[int | None, typer.Option(min=1, help="Evaluations without a better one before it stops.")]
Anew = Annotated[bool, typer.Option("--anew", help="Forget an earlier run of that name; else it goes on.")]


def loop_of(
    defaults: LoopSettings,
    *,
    epochs: float | None,
    steps: int | None,
    batch: int | None,
    learning_rate: float | None,
    seed: int,
    patience: int | None,
    mixed: bool = False,
) -> LoopSettings:
    """The defaults, but for what was given; `mixed`: in bfloat16, where that is faster here."""
    given: dict[str, Any] = {
        "epochs": epochs, "steps": steps, "batch": batch, "learning_rate": learning_rate, "patience": patience,
    }  # fmt: skip
    if mixed:
        from foveal.training.precision import mixed_precision

        given["bfloat16"] = mixed_precision()
    return replace(defaults, seed=seed, **{name: value for name, value in given.items() if value is not None})


def require_base(name: str | None, kind: str, settings: Settings) -> None:
    """Before anything is read. UnknownName, ModelUnavailable: no model of that kind is called so; None is right."""
    from foveal.models.hub import require_known

    if name is not None:
        require_known(name, kind=kind, home=settings.home)


def run_of(
    settings: Settings, name: str | None, on_progress: Callable[[Progress], None], *, anew: bool,
    dev: Any = None, test: Any = None,
) -> RunSettings[Any]:  # fmt: skip
    """What a training in the home of these settings is told of its run."""
    from foveal.training.runs import RunSettings

    return RunSettings(
        home=settings.home, name=name, dev=dev, test=test, on_progress=on_progress, anew=anew, cache=settings.cache
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options that a training of any model takes, as they were given."""

    name: Name = None
    epochs: Epochs = None
    steps: Steps = None
    batch: Batch = None
    learning_rate: Rate = None
    seed: Seed = 0
    patience: Patience = None
    anew: Anew = False
    home: Home = None
    as_json: AsJson = False

    @cached_property
    def settings(self) -> Settings:
        """Those that hold for the home."""
        from foveal.settings import Settings

        return Settings.load(self.home)

    def loop(self, usual: LoopSettings, *, mixed: bool = False) -> LoopSettings:
        """The usual one, but for what was given; epochs that were given count where steps are usual."""
        made = loop_of(
            usual, epochs=self.epochs, steps=self.steps, batch=self.batch, learning_rate=self.learning_rate,
            seed=self.seed, patience=self.patience, mixed=mixed,
        )  # fmt: skip
        return replace(made, steps=None) if self.epochs is not None and self.steps is None else made

    def run(self, on_progress: Callable[[Progress], None], *, dev: Any = None, test: Any = None) -> RunSettings[Any]:
        """What a training is told of its run."""
        return run_of(self.settings, self.name, on_progress, anew=self.anew, dev=dev, test=test)

    def carried_out(self, train: Callable[..., tuple[Path | None, Report]], use: str) -> None:
        """Train with a bar, and tell what came of it. `use` says how the model is used; {} in it is its folder."""
        with progress() as on_progress:
            folder, report = train(run=self.run(on_progress))
        kept = folder if report.kept else None
        told(report, kept, use.replace("{}", str(kept)), self.settings, as_json=self.as_json)


@dataclass(frozen=True, kw_only=True)
class AskedOfJudged(Asked):
    """And those of what was judged: of a library, in a file, or in a collection's folder."""

    data: Data = None
    split: Split = "train"
    test_split: TestSplit = None
    judgements: Judgements = None
    queries: Queries = None
    home: LibraryHome = None

    def require_one_source(self) -> None:
        """InputError: options of a folder and of a library were given together."""
        require_one_source(self.data, self.test_split, self.judgements, self.queries)

    def learnt_from(self, first_stage: str | None) -> tuple[Judged, Examples | None]:
        """What is learnt from, with its first stage, and what is only measured: `learnt_from` below."""
        return learnt_from(
            self.settings, data=self.data, split=self.split, test_split=self.test_split, judgements=self.judgements,
            queries=self.queries, first_stage=first_stage,
        )  # fmt: skip

    def told_ranker(self, report: Report, folder: Path | None, first_stage: str | None = None) -> None:
        """The report, with the search that uses the ranker: the library's own, or the one that was named."""
        named = f"{report.name} {of_home(self.settings)}"
        use = f"Use it: foveal search … --rank {named}; in all searches from now on: foveal train use {named}"
        if first_stage and self.data is None:
            behind = f"--retriever {first_stage} --rank {named}"
            use = f"Use it behind the search that it learnt behind: foveal search … {behind}"
        told(report, folder, use, self.settings, as_json=self.as_json)


def command(of: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of its argument `asked`, an `Asked`: those of what is learnt from before its
    own, and the others behind them.
    """
    signature = inspect.signature(of, eval_str=True)
    kind = signature.parameters["asked"].annotation
    hints = get_type_hints(kind, include_extras=True)
    usual = {one.name for one in fields(Asked)}
    shared = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(kind)
    ]
    parts = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    parts = [one for one in parts if one.name != "asked"]
    parts = [*(one for one in shared if one.name not in usual), *parts, *(one for one in shared if one.name in usual)]

    @wraps(of)
    def asked_for(**given: Any) -> None:
        asked = kind(**{one.name: given.pop(one.name) for one in shared})
        of(**given, asked=asked)

    asked_for.__signature__ = signature.replace(parameters=parts)  # type: ignore[attr-defined]
    asked_for.__annotations__ = {one.name: one.annotation for one in parts}
    return asked_for


# -- what is learnt from ----------------------------------------------------------------------------------------------


def require_one_source(data: Path | None, test_split: str | None, judgements: str | None, queries: Path | None) -> None:
    """InputError: options of a folder and of a library were given together."""
    if data is not None and (judgements or queries):
        raise InputError("--data has its own queries and judgements; leave --judgements and --queries out, or --data.")
    if data is None and test_split:
        raise InputError("--test-split names judgements of a collection; give its folder by --data.")
    if queries and not judgements:
        raise InputError("--queries has the texts for a file of judgements; give that by --judgements.")


def learnt_from(
    settings: Settings,
    *,
    data: Path | None,
    split: str,
    test_split: str | None,
    judgements: str | None,
    queries: Path | None,
    first_stage: str | None,
) -> tuple[Judged, Examples | None]:
    """What is learnt from, with its first stage, and what is only measured; no query is in both. InputError: as they
    say, or nothing is left to learn from.
    """
    require_one_source(data, test_split, judgements, queries)
    if data is None:
        return judged_library(open_library(settings), judgements, queries, first_stage), None
    from foveal.evaluation.beir import load_beir
    from foveal.ranking.judged import of_beir
    from foveal.training.examples import Examples

    _require_judged(data)
    name = first_stage or "minilm"
    encoder = None if name == "none" else _encoder(name, settings)
    with notes().status("Reading and encoding the collection …"):
        judged = of_beir(data, split, encoder, name=name)
    if test_split is None:
        return judged, None
    test = Examples.of(load_beir(data, test_split))
    return kept_apart(judged, test, split, test_split), test


def _require_judged(data: Path) -> None:
    """InputError: a folder in BEIR's layout has texts, and nothing says which of them answer a query."""
    where = quote(str(data))
    if any(data.glob("corpus.jsonl*")) and not any((data / "qrels").glob("*.tsv*")):
        raise InputError(
            f"{data} judges nothing: it has no qrels/SPLIT.tsv. Let its texts ask, in a library (foveal add {where}, "
            f"then foveal train encoder), or learn without a query: foveal train pretraining --data {where}"
        )


def kept_apart(judged: Judged, test: Examples, split: str, test_split: str) -> Judged:
    """What is learnt from without the queries that are only measured: neither by id, nor by their words.

    InputError: none is left.
    """
    from foveal.training.examples import words_of

    asked = {words_of(text) for text in test.queries.values()}
    queries = judged.examples.queries
    left = [query for query, text in queries.items() if query not in test.queries and words_of(text) not in asked]
    if len(left) == len(queries):
        return judged
    if not left:
        raise InputError(
            f"All {len(queries):,} queries of qrels/{split}.tsv are in qrels/{test_split}.tsv, too, which is only "
            "measured, so nothing is left to learn from. Name another split by --split or --test-split."
        )
    said = f"{len(queries) - len(left):,} queries of {split} are asked in {test_split}, too, and were not learnt from."
    return replace(judged, examples=judged.examples.only(left), notes=(*judged.notes, said))


def judged_library(library: Library, judgements: str | None, queries: Path | None, first_stage: str | None) -> Judged:
    """The library with what was judged of it: in a file, by `foveal judge`, or nothing, so that its headings ask."""
    from foveal.evaluation.judgements import FILE, read_judgements
    from foveal.ranking import judged

    own = [] if judgements else read_judgements(library.settings.home / FILE)
    with notes().status("Reading the library …"):
        shelf = judged.Shelf.of(library)
        if (not judgements and not own) or judgements == MADE:
            return judged.of_headings(shelf, encoder_of(library))
        retriever, stage = library.retriever(first_stage), _stage(library, first_stage)
        if judgements:
            texts, qrels = _file(Path(judgements), queries)
            found = judged.of_qrels(shelf, texts, qrels, retriever, stage=stage)
        else:
            found = judged.of_judgements(shelf, own, retriever, stage=stage)
    count = len(found.examples.queries)
    few = f" They are few: what is measured by {FEW} or more is less a matter of luck." if count < FEW else ""
    return replace(found, notes=(f"{count:,} judged queries.{few}", *found.notes))


def encoder_of(library: Library) -> Encoder | None:
    """The library's encoder; None where it was made without."""
    return None if library.store.settings["encoder"] == "none" else library.encoder


def _stage(library: Library, retriever: str | None) -> str:
    """What the library's search is called; another encoder or another retriever is another first stage."""
    called = retriever or ("hybrid" if library.store.dimension else "lexical")
    made_with = library.store.settings.get("fingerprint", "")[:8]
    return f"{called} search of the library" + (f" ({made_with})" if made_with else "")


def _encoder(name: str, settings: Settings) -> Encoder:
    from foveal.models import load_encoder

    return load_encoder(name, cache=settings.cache)


def _file(path: Path, queries: Path | None) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    from foveal.evaluation.judgements import read_qrels, read_queries

    qrels = read_qrels(path)
    beside = [
        folder / name for folder in (path.parent, path.parent.parent) for name in ("queries.jsonl", "queries.tsv")
    ]
    found = queries or next((one for one in beside if one.is_file()), None)
    if found is None:
        raise InputError(
            f"{path} names its queries by ids, and there is no queries.jsonl or queries.tsv beside it. Give their "
            "texts by --queries."
        )
    return read_queries(found), qrels


SHOWN_SKIPPED = 5
"""Files that could not be read, of which it is told why."""


def documents_of(data: list[Path], settings: Settings) -> Iterator[Document]:
    """The documents of files and folders; at the end it is told what could not be read, on standard error."""
    from foveal.text.loading import Skipped, discover, load
    from foveal.text.sources import load_settings

    loading, lost = load_settings(settings), []
    for source in discover(data, loading):
        try:
            for one in (source,) if isinstance(source, Skipped) else load(source, loading):
                if isinstance(one, Skipped):
                    lost.append(one.reason)
                else:
                    yield one
        except (UnreadableSource, FetchFailed) as error:
            lost.append(str(error))
    for reason in lost[:SHOWN_SKIPPED]:
        notes().print(f"Not learnt from: {reason}", markup=False, soft_wrap=True)
    if len(lost) > SHOWN_SKIPPED:
        notes().print(f"… and {len(lost) - SHOWN_SKIPPED:,} more could not be read.")


def texts_of(data: list[Path] | None, settings: Settings) -> list[str]:
    """The texts of files, or of the library's documents."""
    if not data:
        library = open_library(settings)
        with notes().status("Reading the library …"):
            return [document.text for document in library.store.texts()]
    with notes().status("Reading texts …"):
        found = [one.text for one in documents_of(data, settings)]
    if not any(text.strip() for text in found):
        raise InputError(f"{', '.join(map(str, data))} hold no text. Name files or folders of text by --data.")
    return found


# -- what is shown ----------------------------------------------------------------------------------------------------


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
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
            text = progress.doing or "; ".join(part for part in ("Training", loss, measured) if part)
            bar.update(task, completed=progress.step, total=progress.steps or None, description=text)

        yield advance


def of_home(settings: Settings) -> str:
    """The option by which a command finds what was trained, wherever it is given."""
    return f"--home {quote(str(settings.home))}"


def told(report: Report, folder: Path | None, use: str, settings: Settings, *, as_json: bool) -> None:
    """The table of before and after, what was remarked, and where curves and model lie."""
    run = settings.home / "runs" / "train" / report.name
    if as_json:
        print_json({**report.as_json(), "model": None if folder is None else str(folder), "run": str(run)})
        return
    from foveal.evaluation.tables import table
    from foveal.training.report import panels

    console = results()
    console.print(table(report.rows(), title=report.what))
    lines = [*report.notes, *([f"Curves: {run / 'curves.png'}"] if panels(report.curves) else [])]
    if folder is not None:
        lines += [f"The model: {folder}", use]
    elif (run / "rejected").is_dir():
        lines += [f"All is as it was before. What was no better lies in {run / 'rejected'}."]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
