"""segment: how a text is cut into passages."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.output import AsJson, Home, print_json, results
from foveal.registry import SEGMENTERS


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(segment)


def segment(
    file: Annotated[str, typer.Argument(help="A file or URL.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(SEGMENTERS)}.")] = "headings",
    encoder: Annotated[str, typer.Option(help="Encoder of depth and dp, and whose tokens are counted.")] = "minilm",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show how FILE is cut into passages, each with its place and heading."""
    from foveal.library import load_settings, make_segmenter
    from foveal.models import load_encoder
    from foveal.settings import Settings
    from foveal.text.loading import read_document

    settings = Settings.load(home)
    document = read_document(file, load_settings(settings))
    chosen = None if encoder == "none" else load_encoder(encoder, cache=settings.cache)
    passages = make_segmenter(method, chosen).segment(document)
    if as_json:
        print_json([{"start": p.span.start, "end": p.span.end, "heading": p.heading, "text": p.text} for p in passages])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("start", "end", "heading", "begins", box=None, pad_edge=False)
    for passage in passages:
        begins = " ".join(passage.text.split())[:80]
        cells = (str(passage.span.start), str(passage.span.end), passage.heading or "", begins)
        table.add_row(*map(Text, cells))  # Text: a passage may look like markup
    results().print(table)
