"""train classifier: from labelled texts, or the home's papers with their subjects, to a model that names the class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.output import notes
from foveal.errors import InputError, ModelUnavailable, UnknownName

if TYPE_CHECKING:
    from foveal.evaluation.labelled import LabelledText
    from foveal.settings import Settings


@training.command
def classifier(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Texts with a label: .csv, .tsv or JSON lines, .gz too; may be given more than once."),
    ] = None,
    test_data: Annotated[list[Path] | None, typer.Option(help="Files that are only measured.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Field or column of the text; several are joined. Default: title and text.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Field or column of the label.")] = None,
    papers: Annotated[
        bool, typer.Option("--papers", help="Learn the first subject of the home's papers from title and abstract.")
    ] = False,
    documents: Annotated[
        bool, typer.Option("--documents", help="Read texts of any length, sentence by sentence; else their beginning.")
    ] = False,
    max_words: Annotated[int | None, typer.Option(min=1, help="Words that are read without --documents (500).")] = None,
    pooling: Annotated[
        str, typer.Option(help="lama; to compare with: mean, max, attention (one head), structured, mha.")
    ] = "lama",
    heads: Annotated[int | None, typer.Option(min=1, help="Heads (8).")] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Width of the GRU in each direction (50).")] = None,
    words_of: Annotated[
        str | None,
        typer.Option(
            help='Encoder whose word vectors are begun with, or "none" (default: that of foveal.toml, if it has any).'
        ),
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(min=0, help="What heads pay for looking at the same words.")
    ] = None,
    *,
    asked: training.Asked,
) -> None:
    """Train a text classifier that shows the words it looks at. Stopped with Ctrl-C, the same command goes on."""
    from foveal.nn.stream_training import fit
    from foveal.nn.text_classifier_training import CLASSIFYING, ClassifierSize, classifying

    if papers and data:
        raise InputError("--papers learns from the home's papers, --data from files; give one of the two.")
    sizes = {"heads": heads, "hidden": hidden, "diversity": diversity, "max_words": max_words}
    given: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    size = ClassifierSize(pooling=pooling, hierarchical=documents, **given)
    with notes().status("Reading …"):
        learnt = _papers(asked) if papers else _texts(data or (), text or (), label)
        tested = _texts(test_data, text or (), label) if test_data else []
        recipe = classifying(learnt, tested, size, seed=asked.seed, words_of=_words_of(words_of, asked.settings))
    use = 'Use it: foveal classify {} "TEXT" (--data FILE), foveal show ID --classifier {}, foveal papers show ID …'
    asked.carried_out(partial(fit, recipe, asked.loop(CLASSIFYING)), use)


def _texts(files: Sequence[Path], text: Sequence[str], label: str | None) -> list[LabelledText]:
    """The labelled texts of files. InputError: none is named."""
    from foveal.evaluation.labelled import TEXT_FORM, read_texts

    if not files:
        raise InputError(f"No texts are named; give a file by --data ({TEXT_FORM}), or --papers.")
    return [one for path in files for one in read_texts(path, text=text, label=label)]


def _papers(asked: training.Asked) -> list[LabelledText]:
    from foveal.cli.papers_output import papers_database
    from foveal.papers.classes import labelled_papers

    with papers_database(asked.settings.home) as database:
        return labelled_papers(database)


def _words_of(name: str | None, settings: Settings) -> Path | None:
    """The folder of the encoder that is meant; None where the usual one has no table of words, or cannot be had."""
    from foveal.models.hub import folder_of
    from foveal.models.word_vectors import word_vectors

    chosen = name or settings.encoder
    if chosen == "none":
        return None
    try:
        folder = folder_of(chosen, settings.cache, kind="encoder", home=settings.home)
        word_vectors(folder, ["word"])
    except (ModelUnavailable, UnknownName):
        if name:
            raise
        return None
    return folder
