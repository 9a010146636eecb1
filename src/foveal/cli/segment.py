"""segment: how a text is cut into passages."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.output import AsJson, print_json, results
from foveal.registry import SEGMENTERS


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(segment)


def segment(
    file: Annotated[str, typer.Argument(help="A file or URL.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(SEGMENTERS)}.")] = "headings",
    encoder: Annotated[str, typer.Option(help="Encoder of depth and dp, and whose tokens are counted.")] = "minilm",
    as_json: AsJson = False,
) -> None:
    """Show how FILE is cut into passages, each with its place and heading."""
    from foveal.library import make_segmenter
    from foveal.models import load_encoder
    from foveal.text.loading import read_document

    document = read_document(file)
    passages = make_segmenter(method, None if encoder == "none" else load_encoder(encoder)).segment(document)
    if as_json:
        print_json([{"start": p.span.start, "end": p.span.end, "heading": p.heading, "text": p.text} for p in passages])
        return
    from rich.table import Table

    table = Table("start", "end", "heading", "begins", box=None, pad_edge=False)
    for passage in passages:
        begins = " ".join(passage.text.split())[:80]
        table.add_row(str(passage.span.start), str(passage.span.end), passage.heading or "", begins)
    results().print(table)
