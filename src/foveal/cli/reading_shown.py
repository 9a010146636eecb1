"""What a reading found, as a person reads it in the terminal, or a program as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.cli.answers import Place, answer_json, answer_text, headings_of, page_said, passage_json
from foveal.cli.citing import write_sources
from foveal.cli.output import notes, print_json, results, shortened

if TYPE_CHECKING:
    from foveal.reading import Reading
    from foveal.reading.sources import Text as Readable

NEAREST, QUOTED = 3, 240
"""Places that are shown where an answer cites nothing, and the most characters of each."""


def show(
    text: Readable, readings: Sequence[Reading], *, as_json: bool, passages_only: bool, cite: Path | None = None
) -> None:
    """Print what a reader found, in the way that was asked for, and write what it cites to a file."""
    if cite:
        from foveal.reading import DocumentText
        from foveal.retrieval.cited_sources import Known

        known = {text.document_id: Known.of(text.document)} if isinstance(text, DocumentText) else {}
        write_sources(cite, [one for reading in readings for one in reading.citations], known)
    if as_json:
        print_json(readings_json(text, readings))
    elif passages_only:
        _print_passages(text, readings)
    else:
        print_readings(text, readings)


def print_readings(text: Readable, readings: Sequence[Reading]) -> None:
    """Each answer with its citations, and what the reading cost."""
    console = results()
    for reading in readings:
        if len(readings) > 1:
            console.print(f"? {reading.question}", style="bold green", markup=False)
        console.print(answer_text(reading, _cited_places(text, reading)))
        if not reading.citations and reading.excerpts:
            _print_nearest(text, reading)
    stats = readings[0].stats
    windows = f"{stats.windows:,} window{'s' * (stats.windows != 1)}"
    notes().print(f"{stats.tokens:,} tokens in {windows}; {stats.seconds:.1f} s", style="dim")


def _print_nearest(text: Readable, reading: Reading) -> None:
    """What a person may judge alone, where nothing can be cited: the best of what was kept."""
    from rich.text import Text

    best = sorted(reading.excerpts, key=lambda one: -one.worth)[:NEAREST]
    console = results()
    console.print("What comes nearest:", style="dim")
    for one, place in zip(best, _places(text, [one.start for one in best]), strict=True):
        where = [page_said(place), place.heading, f"{one.start}:{one.end}"]
        quote = shortened(one.text, QUOTED)
        console.print(Text.assemble("  “", quote, "”\n    ", (" · ".join(part for part in where if part), "dim")))
    console.print()


def _print_passages(text: Readable, readings: Sequence[Reading]) -> None:
    from rich.text import Text

    console = results()
    for reading in readings:
        console.print(f"? {reading.question}", style="bold green", markup=False)
        places = _places(text, [one.start for one in reading.excerpts])
        for one, place in zip(reading.excerpts, places, strict=True):
            where = [page_said(place), place.heading, f"{one.start}:{one.end}"]
            said = " · ".join(part for part in (*where, f"{one.score:.3f}") if part)
            console.print(Text.assemble((said, "dim"), "\n", one.text, "\n"))
        if not reading.excerpts:
            console.print("Nothing in the text was looked at because of this question.")
        elif len(reading.excerpts) > 1:
            notes().print(
                "In the order of the text; the last number of each line: how much it was looked at.", style="dim"
            )


def readings_json(text: Readable, readings: Sequence[Reading]) -> dict[str, Any]:
    """The first answer, the others below `also`, and what the reading cost."""
    first, *rest = [_reading_json(text, reading) for reading in readings]
    document = {"document_id": text.document_id, "title": text.title, "url": text.url, "revision": text.revision}
    return first | {"also": rest, "document": document, "stats": asdict(readings[0].stats)}


def _reading_json(text: Readable, reading: Reading) -> dict[str, Any]:
    places = _cited_places(text, reading)
    passages = [passage_json(text.document_id, one) for one in reading.excerpts]
    return answer_json(reading, places) | {"passages": passages}


def _cited_places(text: Readable, reading: Reading) -> list[Place]:
    """Page and heading of each citation; nothing of one that stands in another document."""
    own = [one.span.start for one in reading.citations if one.span.document_id == text.document_id]
    found = iter(_places(text, own))
    return [next(found) if one.span.document_id == text.document_id else Place() for one in reading.citations]


def _places(text: Readable, offsets: Sequence[int]) -> list[Place]:
    """Page and heading of each character; a text that is not held has neither."""
    from foveal.reading import DocumentText
    from foveal.text.printed_pages import printed_at

    held = text.document if isinstance(text, DocumentText) and offsets else None
    headings = headings_of(held, offsets) if held else [None] * len(offsets)
    pages = text.document.pages if isinstance(text, DocumentText) else ()
    places = zip(offsets, headings, strict=True)
    return [Place(text.page(offset), heading, printed_at(pages, offset)) for offset, heading in places]
