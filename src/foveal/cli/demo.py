"""demo: a library made of what lies on every machine, and searches in it.

The text is Python's own reference manual (`pydoc_data.topics`, 79 topics) and the READMEs of the installed packages.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import notes, progress_bar, results
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


def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep the library in this folder, to search it further.")] = None,
) -> None:
    """Make a library of Python's manual and the installed packages' READMEs, and search it."""
    from foveal.library import Library
    from foveal.text.sample import manual, readmes

    console = results()
    home = keep or Path(tempfile.mkdtemp(prefix="foveal-demo-"))
    try:
        with notes().status("Loading the encoder …"):
            library = Library.open(home)
        documents = [*manual(), *readmes()]
        start = time.perf_counter()
        with progress_bar() as bar:
            task = bar.add_task("Adding passages", total=None)

            def advance(report: AddReport) -> None:
                done = len(report.added) + len(report.updated) + len(report.unchanged)
                bar.update(
                    task, completed=done, total=len(documents), description=f"{report.passages:,} passages; documents"
                )

            report = library.add_documents(documents, on_progress=advance)
        seconds = time.perf_counter() - start
        console.print(
            f"[bold]{len(documents)} documents[/], {report.passages:,} passages, {report.characters:,} characters, "
            f"added in {seconds:.1f} s.\n"
        )
        for question in QUESTIONS:
            _ask(library, question)
        if keep:
            console.print(f"Go on: foveal search --home {keep} QUERY")
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _ask(library: Library, question: str) -> None:
    from foveal.cli.library import hit_text

    console = results()
    start = time.perf_counter()
    hits = library.search(question, k=2)
    console.print(f"[bold green]? {question}[/]  [dim]{(time.perf_counter() - start) * 1000:.0f} ms[/]")
    for rank, hit in enumerate(hits, start=1):
        span = hit.passage.span
        document = library.get(span.document_id)
        if document.quote(span) != hit.passage.text:
            raise LibraryCorrupt(f"{span} does not cut out the passage that is stored. Please report this.")
        console.print(hit_text(rank, hit, library.store.entry(span.document_id), question, full=False))
