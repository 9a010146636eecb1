"""Answers on the terminal: a bar while a text is read, the words as they come, then the answer with its places.

`Watch` shows the events of `read` and `ask`; `answer_text` and `answer_json` are what stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foveal.cli.output import below_title, notes, progress_bar, results

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress
    from rich.text import Text

    from foveal.reading.asking import Asked, AskEvent
    from foveal.reading.events import Event, Reading, WindowRead
    from foveal.reading.memory import Excerpt
    from foveal.types import Citation, Document

LONG_S = 120.0
"""A reading that will take longer says so."""

STEADY = 6
"""Windows after which the time that is left can be told."""


@dataclass(frozen=True)
class Place:
    """What is said of a citation beside its characters."""

    page: int | None = None
    heading: str | None = None
    printed: str = ""  # on that page, where it is another number


@dataclass
class Watch:
    """Shows a reading's events; use it as a context. Where no terminal is, lines tell how far it is."""

    remark: str = ""  # said once of a reading that will take long; {minutes} is filled in
    stream: bool = True  # whether the answer's words are shown as they come
    windows: int = 0  # read so far
    _live: Live | None = None
    _bar: Progress | None = None
    _words: list[str] = field(default_factory=list)

    def __enter__(self) -> Watch:
        """Nothing is shown before the first event."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take away what was shown while it went on."""
        self._stop()

    def show(self, event: Event | AskEvent) -> None:
        """Show an event of `InfiniRetri.stream` or of `Library.ask_stream`."""
        from foveal.reading.asking import Asked, Chosen
        from foveal.reading.events import AnswerDelta, Answering, Done, ReadStarted, WindowRead

        match event:
            case ReadStarted():
                self._begin(event.windows, event.resumed)
            case WindowRead():
                self._advance(event)
            case AnswerDelta():
                self._word(event.text)
            case Answering() | Chosen() | Done() | Asked():
                self._stop()

    def _begin(self, windows: int, resumed: int) -> None:
        from rich.live import Live

        self.windows = resumed
        self._bar = progress_bar()
        self._bar.add_task("Reading windows", total=windows, completed=resumed)
        if not self._bar.console.is_terminal:
            self._bar.start()
            return
        self._live = Live(self._bar, console=notes(), transient=True, refresh_per_second=4)
        self._live.start()

    def _advance(self, event: WindowRead) -> None:
        from rich.console import Group
        from rich.text import Text

        self.windows = event.window
        if self._bar is None:
            return
        rate = f"Reading, {event.tokens_per_second:,.0f} tokens/s; windows"
        self._bar.update(self._bar.task_ids[0], completed=event.window, total=event.windows, description=rate)
        if self._live is None:
            return
        best = (f"  best so far: {_one_line(one.text)}" for one in event.best)
        lines = [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in best]
        self._live.update(Group(self._bar, *lines))
        if self.remark and event.window >= STEADY:
            if event.seconds_left > LONG_S:
                self._live.console.print(self.remark.format(minutes=f"{event.seconds_left / 60:.0f}"), markup=False)
            self.remark = ""

    def _word(self, text: str) -> None:
        from rich.live import Live
        from rich.text import Text

        self._words.append(text)
        if not (self.stream and sys.stdout.isatty()):
            return
        if self._live is None:
            self._live = Live(console=results(), transient=True, refresh_per_second=12)
            self._live.start()
        self._live.update(Text("".join(self._words), "italic"))

    def _stop(self) -> None:
        if self._live:
            self._live.stop()
        elif self._bar:
            self._bar.stop()
        self._live, self._bar, self._words = None, None, []


@contextmanager
def loading(what: str) -> Iterator[Callable[[int, int], None]]:
    """While a model loads: a remark, and a bar once it is told how far a conversion is."""
    with notes().status(f"Loading {what} …") as status:

        def advance(done: int, total: int) -> None:
            status.update(f"Converting {what}, once for all times: {100 * done // max(1, total)} % …")

        yield advance


def answer_text(answer: Reading | Asked, places: Sequence[Place]) -> Text:
    """An answer with its citations below it: number, quote, where it stands; then what nothing bears out."""
    from rich.text import Text

    text = Text.assemble((answer.text, "bold" if answer.found else ""), "\n")
    for number, (citation, place) in enumerate(zip(answer.citations, places, strict=True), start=1):
        text.append(f"\n[{number}] ", "cyan").append(f"“{_one_line(citation.quote)}”\n")
        text.append(f"    {_where(citation, place)}\n", "dim")
    for claim in answer.unsupported:
        text.append(f"\nNot borne out by the text: “{claim}”\n", "yellow")
    return text


def _where(citation: Citation, place: Place) -> str:
    """A citation's document, page, heading and characters, as far as they are known."""
    heading, span = below_title(place.heading, citation.title), citation.span
    known = (citation.title, heading, page_said(place), f"{span.document_id[:8]} {span.start}:{span.end}")
    return " · ".join(part for part in known if part)


def page_said(place: Place) -> str | None:
    """ "page 3 (printed 1)"; None where there are no pages."""
    printed = f" (printed {place.printed})" if place.printed else ""
    return f"page {place.page}{printed}" if place.page else None


def answer_json(answer: Reading | Asked, places: Sequence[Place]) -> dict[str, Any]:
    """An answer for other programs."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "found": answer.found,
        "confidence": answer.confidence,
        "grounded": answer.grounded,
        "citations": [citation_json(*one) for one in zip(answer.citations, places, strict=True)],
        "unsupported": list(answer.unsupported),
    }


def citation_json(citation: Citation, place: Place) -> dict[str, Any]:
    """A citation for other programs."""
    return {
        "quote": citation.quote,
        "title": citation.title,
        "url": citation.url,
        "revision": citation.revision,
        "page": place.page,
        "printed_page": place.printed or None,
        "heading": place.heading,
        "span": span_json(citation.span.document_id, citation.span.start, citation.span.end),
    }


def span_json(document_id: str, start: int, end: int) -> dict[str, Any]:
    """A span, as all of Foveal's JSON has it."""
    return {"document_id": document_id, "start": start, "end": end}


def passage_json(document_id: str, excerpt: Excerpt) -> dict[str, Any]:
    """An excerpt for other programs."""
    place = span_json(document_id, excerpt.start, excerpt.end)
    return {"span": place, "quote": excerpt.text, "score": excerpt.score}


def headings_of(document: Document, offsets: Sequence[int]) -> list[str | None]:
    """The path of headings that each character of a document stands under."""
    from foveal.text.programs import headings_in
    from foveal.text.segmentation import sections

    found = sections(document.text, headings_in(document))
    paths = [next((one.path for one in found if one.start <= place < one.end), ()) for place in offsets]
    return [" > ".join(path) or None for path in paths]


def _one_line(text: str) -> str:
    return " ".join(text.split())
