"""segment: how a text is cut into passages."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import AsJson, Home, print_json, results
from foveal.cli.pictures import drawable
from foveal.registry import SEGMENTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.text.segment_tree import Outline, Segment
    from foveal.types import Document, Passage

SAME_TOPIC = "same-topic"
SHOWN, LEAST = 80, 20
"""Characters of a segment's beginning; columns that a narrow terminal has of them, and of the headings, at least."""

GAPS = 6
"""Columns between those of the table."""


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(segment)


def segment(
    file: Annotated[str, typer.Argument(help="A file or URL.")],
    method: Annotated[
        str, typer.Option(help=f"One of {', '.join(SEGMENTERS)}; {SAME_TOPIC}:NAME takes a model of your own.")
    ] = "headings",
    encoder: Annotated[
        str, typer.Option(help="Encoder of same-topic, dp, depth, graphseg; its tokens are counted.")
    ] = "minilm",
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw where passages begin; by same-topic also how sure that is. A PNG.", callback=drawable),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show how FILE is cut into passages, each with its place and heading; by same-topic as a tree."""
    from foveal.models import load_encoder
    from foveal.settings import Settings
    from foveal.text.loading import read_document
    from foveal.text.segmenter_by_name import make_segmenter
    from foveal.text.sources import load_settings

    settings = Settings.load(home)
    learned = method.partition(":")[0] == SAME_TOPIC
    document = read_document(file, load_settings(settings))
    chosen = None if encoder == "none" else load_encoder(encoder, cache=settings.cache)
    segmenter = make_segmenter(method, chosen, home=settings.home)
    if not learned:
        passages = segmenter.segment(document)
        if picture is not None:
            drawn_passages(document, passages, picture)
        shown_passages(passages, as_json=as_json)
        return
    outline: Outline = segmenter.outline(document)  # type: ignore[attr-defined]
    if picture is not None:
        drawn(outline, picture)
    shown_outline(outline, as_json=as_json)


def shown_passages(passages: Sequence[Passage], *, as_json: bool) -> None:
    """A row for each passage."""
    if as_json:
        print_json([{"start": p.span.start, "end": p.span.end, "heading": p.heading, "text": p.text} for p in passages])
        return
    from rich.table import Table
    from rich.text import Text

    console = results()
    heads = ("start", "end", "heading", "begins")
    rows = [  # Text: a passage may look like markup
        (Text(str(p.span.start)), Text(str(p.span.end)), Text(p.heading or ""), Text(begins(p.text))) for p in passages
    ]
    if not console.soft_wrap:  # a person reads it: a line for each passage
        starts, ends, headings, _ = (
            max([len(head), *(cell.cell_len for cell in column)])
            for head, column in zip(heads, zip(*rows, strict=True) if rows else [()] * len(heads), strict=True)
        )
        room = max(2 * LEAST, console.width - starts - ends - GAPS)
        widest = min(headings, max(LEAST, room // 3))
        for _, _, heading, text in rows:
            heading.truncate(widest, overflow="ellipsis")
            text.truncate(room - widest, overflow="ellipsis")
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def shown_outline(outline: Outline, *, as_json: bool) -> None:
    """The tree: title, place, the confidence of both borders, and how each segment begins."""
    if as_json:
        passages = [
            {"start": p.span.start, "end": p.span.end, "heading": p.heading, "text": p.text} for p in outline.passages
        ]
        print_json({"passages": passages, "tree": outline.as_json()})
        return
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text(outline.document.title))

    def branch(above: Tree, part: Segment) -> None:
        label = Text(part.title or "(no title)", style="bold" if part.parts else "")
        sure = f"  {part.span.start}:{part.span.end}  {part.before:.2f} … {part.after:.2f}  {part.method}"
        label.append(sure, style="dim")
        if not part.parts:
            label.append(f"\n{begins(outline.document.text[part.span.start : part.span.end])}")
        below = above.add(label)
        for inner in part.parts:
            branch(below, inner)

    for part in outline.tree:
        branch(root, part)
    results().print(root)


def drawn(outline: Outline, path: Path) -> None:
    """The picture of the gaps."""
    from foveal.evaluation.plots import borders

    opened = [(start, level) for start, level in opened_levels(outline.tree).items() if start]
    named = [(part.span.start, part.span.end, part.title or "") for part in outline.tree]
    borders(outline.gaps, opened, len(outline.document.text), path, title=outline.document.title, parts=named)


def opened_levels(parts: Sequence[Segment]) -> dict[int, int]:
    """Where segments begin, with the level of the highest part of the tree that begins there: 1 is the top."""
    found = dict[int, int]()
    for part in parts:
        found |= {**opened_levels(part.parts), part.span.start: part.level}
    return found


def drawn_passages(document: Document, passages: Sequence[Passage], path: Path) -> None:
    """The picture of where passages begin; a thicker line where a higher heading does."""
    from foveal.evaluation.plots import borders

    opened = [(one.span.start, level) for one, level in zip(passages, levels(passages), strict=True) if one.span.start]
    borders((), opened, len(document.text), path, title=document.title, parts=headed_parts(passages))


def headed_parts(passages: Sequence[Passage]) -> list[tuple[int, int, str]]:
    """Start, end and heading of each run of passages below one heading, of the highest level that has several."""
    paths = [tuple(one.heading.split(" > ")) if one.heading else () for one in passages]
    shared = len(list(takewhile(lambda names: len({*names}) == 1, zip(*paths, strict=False))))
    found = list[tuple[int, int, str]]()
    for one, path in zip(passages, paths, strict=True):
        name = path[shared] if len(path) > shared else path[-1] if path else ""
        if found and found[-1][2] == name:
            found[-1] = (found[-1][0], one.span.end, name)
        else:
            found.append((one.span.start, one.span.end, name))
    return found


def levels(passages: Sequence[Passage]) -> list[int]:
    """The level from which on each passage is another part than the one before, by its headings: 1 is the top.

    What a limit of size alone cut off is one level below its heading.
    """
    found, before = list[int](), tuple[str, ...]()
    for passage in passages:
        path = tuple(passage.heading.split(" > ")) if passage.heading else ()
        shared = next((at for at, (a, b) in enumerate(zip(before, path, strict=False)) if a != b), None)
        found.append(1 + (min(len(before), len(path)) if shared is None else shared))
        before = path
    return found


def begins(text: str) -> str:
    """The first characters of a text, on one line."""
    return " ".join(text.split())[:SHOWN]
