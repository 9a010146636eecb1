"""The class of a document, its passages, a paper, or texts of a file: shares, and the words that were looked at."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, results, shortened
from foveal.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from foveal.evaluation.labelled import Row
    from foveal.library import Library
    from foveal.nn.classified import Classified
    from foveal.nn.text_classifier import TextClassifier
    from foveal.papers.store import Paper
    from foveal.types import Document

ClassifierName = Annotated[
    str | None,
    typer.Option("--classifier", metavar="NAME", help="A model of `foveal train classifier`, or its folder."),
]

PREDICTED = "predicted"
"""Column of the class in a file that is written."""
SHOWN = 60
"""Characters of a text in a table."""
WORDS = 5
"""Words that are named."""
STYLES = ("", "yellow", "bold yellow", "black on yellow", "bold black on bright_yellow")
"""Of words, by how far above an even look they got."""


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(classify)


def classify(
    name: Annotated[str, typer.Argument(help="A model of `foveal train classifier`, or its folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts to classify, each in quotation marks; - for stdin.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Classify each row of a file: .csv, .tsv or JSON lines; of .txt each line."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Field or column of the text; several are joined. Default: title and text.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Field or column of the right class: it is told how many have theirs.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"Write the rows with {PREDICTED} and share: .csv, .tsv, else JSON lines.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say the class of texts, or of each row of a file, with the words that were looked at."""
    from foveal.evaluation.labelled import read_rows
    from foveal.settings import Settings

    if bool(texts) == (data is not None):
        raise InputError(
            "Give texts to classify, each in quotation marks, or a file of them by --data: one of the two."
        )
    if data is None and (out is not None or text or label):
        raise InputError("--text, --label and --out are for a file; name it by --data.")
    rows = [] if data is None else read_rows(data, text=text or (), label=label)
    model = _loaded(name, Settings.load(home).home)
    asked = [row.text for row in rows] or [_piped() if one == "-" else one for one in texts or ()]
    if unread := [one for one in asked if not model.has_words(one)]:
        raise InputError(
            f"{len(unread)} of {len(asked)} texts hold no word, such as {unread[0][:40]!r}. Leave them out."
        )
    with notes().status(f"Classifying {len(asked):,} texts …"):
        found = model.classify(asked)
    if out is not None:
        _written(rows, found, out)
    if as_json:
        print_json([one.as_json() for one in found])
    elif data is None:
        for one in found:
            results().print(headed(one, ""), end="")
            results().print(coloured(one))
    else:
        _show_rows(rows, found, out)


def _piped() -> str:
    """What stands on standard input, one text. InputError: it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"Standard input is not UTF-8 text ({error.reason}). Give a text in UTF-8.") from error


def _show_rows(rows: Sequence[Row], found: Sequence[Classified], out: Path | None) -> None:
    """A row for each text, unless they were written; how many have each class, and how many the one they should."""
    from rich.table import Table
    from rich.text import Text

    if out is None:
        table = Table("class", "share", "text", "looked at", box=None, pad_edge=False)
        for one in found:
            table.add_row(*map(Text, (one.label, f"{one.share:.0%}", shortened(one.text, SHOWN), looked_at(one))))
        results().print(table)
    counts = ", ".join(f"{name} {count:,}" for name, count in Counter(one.label for one in found).most_common())
    results().print(f"{len(found):,} texts: {counts}", markup=False, soft_wrap=True)
    labelled = [(row.label, one.label) for row, one in zip(rows, found, strict=True) if row.label]
    if labelled:
        right = sum(said == label for label, said in labelled)
        share = f"{right / len(labelled):.1%}"
        results().print(f"{right:,} of {len(labelled):,} have the class of their label: {share}.", markup=False)
    if out is not None:
        results().print(f"Written: {out}", markup=False, soft_wrap=True)


def _written(rows: Sequence[Row], found: Sequence[Classified], out: Path) -> None:
    """The rows as they came, each with its class and how likely that is; whole or not at all."""
    from foveal.evaluation.files import whole_file

    made = [
        {**row.fields, PREDICTED: one.label, "share": round(one.share, 4)} for row, one in zip(rows, found, strict=True)
    ]
    with whole_file(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        if out.suffix in (".csv", ".tsv"):
            columns = list(dict.fromkeys(column for one in made for column in one))
            writer = csv.DictWriter(file, columns, delimiter="\t" if out.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(made)
        else:
            file.writelines(f"{json.dumps(one, ensure_ascii=False)}\n" for one in made)


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
    text = Text.assemble(
        (f"{title}\n" if title else "", "bold"), (f"{found.label} {found.share:.0%}", "bold cyan"), f"; {others}\n"
    )
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
