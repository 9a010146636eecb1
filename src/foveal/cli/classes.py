"""The class of a document, its passages, or a paper, in the terminal: shares, and the words that were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import notes, print_json, results
from foveal.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from foveal.library import Library
    from foveal.nn.classified import Classified
    from foveal.nn.text_classifier import TextClassifier
    from foveal.papers.store import Paper
    from foveal.types import Document

ClassifierName = Annotated[
    str | None,
    typer.Option("--classifier", metavar="NAME", help="A model of `foveal train classifier`, or its folder."),
]

WORDS = 5
"""Words that are named."""
STYLES = ("", "yellow", "bold yellow", "black on yellow", "bold black on bright_yellow")
"""Of words, by how far above an even look they got."""


def show_document_classes(
    name: str, document: Document, part: tuple[int, int], places: Sequence[tuple[int, int]], library: Library, *,
    as_json: bool,
) -> None:  # fmt: skip
    """The class of a part of a document with its words marked; with places, a row for each passage instead."""
    model = _loaded(name, library.settings.home)
    start, end = part
    whole = model.classify([document.text[start:end]])[0]
    cut = [(a, b) for a, b in places if model.has_words(document.text[a:b])]
    with notes().status("Classifying …"):
        found = model.classify([document.text[a:b] for a, b in cut])
    if as_json:
        rows = [{"start": a, "end": b, **one.as_json()} for (a, b), one in zip(cut, found, strict=True)]
        print_json({"document_id": document.id, "start": start, "end": end, **whole.as_json(), "passages": rows})
        return
    results().print(headed(whole, document.title))
    if len(cut) < 2:
        results().print(coloured(whole))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("place", "class", "share", "looked at", box=None, pad_edge=False)
    for (a, b), one in zip(cut, found, strict=True):
        table.add_row(*map(Text, (f"{a}:{b}", one.label, f"{one.share:.0%}", looked_at(one))))
    results().print(table)
    results().print(f"The words of a passage, marked: foveal show {document.id[:8]} --span START:END …", style="dim")


def show_paper_class(name: str, paper: Paper, home: Path | None, *, as_json: bool) -> None:
    """The class of a paper, with the words of title and abstract marked."""
    from foveal.papers.classes import PaperClasses
    from foveal.settings import Settings

    found = PaperClasses(_loaded(name, Settings.load(home).home), name).of(paper)
    if found is None:
        raise InputError(f"The paper {paper.id} has neither title nor abstract in words, so that it has no class.")
    if as_json:
        print_json({"paper": paper.id, **found.as_json()})
        return
    results().print(headed(found, paper.title))
    results().print(coloured(found))


def headed(found: Classified, title: str) -> Text:
    """Title, class, the other classes, and what each head looked at."""
    from rich.text import Text

    others = ", ".join(f"{name} {share:.0%}" for name, share in found.ranked(4)[1:])
    text = Text.assemble((f"{title}\n", "bold"), (f"{found.label} {found.share:.0%}", "bold cyan"), f"; {others}\n")
    for head in range(len(found.weights)):
        words = " · ".join(f"{word} {share:.0%}" for word, share in found.best(WORDS, head=head))
        text.append(f"head {head + 1}: {words}\n", "dim")
    return text


def coloured(found: Classified) -> Text:
    """The text, its words the brighter the more they were looked at."""
    from rich.text import Text

    text = Text(found.text.rstrip())
    for (start, end), strength in zip(found.spans, found.strengths(), strict=True):
        if strength:
            text.stylize(STYLES[strength], start, end)
    return text


def looked_at(found: Classified) -> str:
    """The words that all heads together looked at most."""
    return ", ".join(word for word, _ in found.best(WORDS))


def _loaded(name: str, home: Path) -> TextClassifier:
    from foveal.nn.text_classifier_training import classifier_named

    with notes().status("Loading the classifier …"):
        return classifier_named(name, home)
