"""demo: a library made of what lies on every machine, and searches in it.

The text is Python's own reference manual (`pydoc_data.topics`, 79 topics) and the READMEs of the installed packages.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from foveal.cli.library import hit_json, hit_text
from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.errors import LibraryCorrupt

if TYPE_CHECKING:
    from foveal.library import AddReport, Library

QUESTIONS = (
    "how does a class decide what happens when an attribute is missing",
    "release a resource even when an exception is raised",
    "vectors in an embedded database",
    '"global interpreter lock"',
)


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(demo)


def demo(home: Home = None, as_json: AsJson = False) -> None:
    """Make a library of Python's manual and the installed packages' READMEs, and search it; --home keeps it there."""
    if home:
        _demo(home, as_json=as_json)
        notes().print("Go on: foveal search QUERY --home", str(home), markup=False)
    else:
        with tempfile.TemporaryDirectory(prefix="foveal-demo-") as folder:
            _demo(Path(folder), as_json=as_json)


def _demo(home: Path, *, as_json: bool) -> None:
    from foveal.library import Library
    from foveal.text.sample import manual, readmes

    with notes().status("Loading the encoder …"):
        library = Library.open(home)
    documents = [*manual(), *readmes()]
    start = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("Adding passages", total=len(documents))

        def advance(report: AddReport) -> None:
            done = len(report.added) + len(report.updated) + len(report.unchanged)
            bar.update(task, completed=done, description=f"{report.passages:,} passages; documents")

        report = library.add_documents(documents, on_progress=advance)
    seconds = time.perf_counter() - start
    if not as_json:
        counts = f"{len(documents)} documents, {report.passages:,} passages, {report.characters:,} characters"
        results().print(f"[bold]{counts}[/], added in {seconds:.1f} s.\n")
    answers = {question: _asked(library, question, quiet=as_json) for question in QUESTIONS}
    if as_json:
        print_json({"documents": len(documents), "passages": report.passages, "seconds": seconds, "hits": answers})


def _asked(library: Library, question: str, *, quiet: bool) -> list[dict[str, Any]]:
    """Search, check that each passage is quoted exactly, and show it."""
    start = time.perf_counter()
    hits = library.search(question, k=2)
    took = f"{(time.perf_counter() - start) * 1000:.0f} ms"
    entries = library.entries([hit.passage.span.document_id for hit in hits])
    if not quiet:
        results().print(f"[bold green]? {escape(question)}[/]  [dim]{took}[/]")
    for rank, hit in enumerate(hits, start=1):
        span = hit.passage.span
        if library.get(span.document_id, revision=hit.revision).quote(span) != hit.passage.text:
            raise LibraryCorrupt(f"{span} does not cut out the passage that is stored. Please report this.")
        if not quiet:
            results().print(hit_text(rank, hit, entries[span.document_id], question, full=False))
    return [hit_json(hit, entries[hit.passage.span.document_id]) for hit in hits]
