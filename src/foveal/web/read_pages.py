"""Read: one document, all of it, and a question; what the reader looked at as a picture along the text.

GET  /library/{which}/read          the form
POST /library/{which}/read          starts a job, and leads to its page
GET  /library/{which}/read/{key}    windows read, the picture as it fills, the answer with its places
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from foveal.errors import InputError, ModelUnavailable
from foveal.library import Library
from foveal.types import Document
from foveal.web.answers import Cited, cited, one_line, pieces
from foveal.web.ask_pages import checked_question
from foveal.web.documents import entry_of
from foveal.web.job import MODEL, Job
from foveal.web.models import is_served
from foveal.web.pages import page
from foveal.web.rights import Needs, whose_job
from foveal.web.safety import guarded
from foveal.web.settings import WebSettings
from foveal.web.site import Site, site_of
from foveal.web.small_forms import SmallForms
from foveal.web.streams import shown
from foveal.web.works import plain, whole

if TYPE_CHECKING:  # what reads is imported when somebody asks: it takes seconds
    from foveal.reading import InfiniRetri, ReadSettings
    from foveal.reading.events import Event, Reading, WindowRead
    from foveal.reading.heat import Heat
    from foveal.web.heat_strip import Strip, Text
    from foveal.web.models import Models

EFFORTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "normal": ("all of it", {}),
    "quick": ("the most promising tenth", {"effort": 0.1}),
    "full": ("all of it, with a larger second look", {"follow": 4}),
}
"""How much is read: what the page says, and the settings of it."""

READER = "reader"
"""The lane of reading where a server's model answers: what reads is still this machine's."""

DRAWN_EVERY = 8
"""The picture is drawn anew at most this often while a document is read: at each eighth of it."""

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@dataclass
class ReadWork:
    """One reading: what `jobs.Work` asks for, and what the page shows meanwhile."""

    which: str
    document_title: str
    question: str
    models: Models
    library: Callable[[], Library]
    effort: str = "normal"
    lane: str = MODEL
    attention: str = "auto"
    window: int = WebSettings.window
    best: str = ""  # the best sentence so far
    words: str = ""  # of the answer, as they come
    strip: Strip | None = None
    reading: Reading | None = None
    citations: tuple[Cited, ...] = ()
    kind: str = "read"
    _drawn: int = 0

    @classmethod
    def remade(cls, site: Site, asked: Mapping[str, Any], result: Mapping[str, Any] | None) -> ReadWork:
        """From what the database has of it."""
        known = {"attention": site.web.attention, "window": site.web.window, **asked}
        work = cls(models=site.models, library=lambda: site.library, **known)
        if result is not None and result["text"] is not None:
            from foveal.reading.events import Reading, ReadStats
            from foveal.web.heat_strip import Strip

            stats = whole(ReadStats, result["stats"])
            work.reading = Reading(result["text"], (), None, stats=stats, **result["reading"])
            work.citations = whole(tuple[Cited, ...], result["citations"])
            work.strip = whole(Strip, result["strip"]) if result["strip"] is not None else None
        return work

    def to_row(self) -> Mapping[str, Any]:
        """What it takes to read again."""
        known = ("which", "document_title", "question", "effort", "lane")
        return {name: getattr(self, name) for name in known}

    def result(self) -> Mapping[str, Any]:
        """What the page shows of the reading."""
        if self.reading is None:
            return {"text": None}
        from foveal.reading.events import ReadStats
        from foveal.web.heat_strip import Strip

        return {
            "text": self.reading.text,
            "reading": {name: getattr(self.reading, name) for name in ("question", "found", "unsupported")},
            "stats": plain(self.reading.stats, ReadStats),
            "citations": plain(self.citations, tuple[Cited, ...]),
            "strip": plain(self.strip, Strip) if self.strip is not None else None,
        }

    @property
    def title(self) -> str:
        """For people."""
        return f"Read “{one_line(self.document_title, 60)}”: {one_line(self.question, 90)}"

    def page(self, key: str) -> str:
        """Its own page."""
        return f"/library/{self.which}/read/{key}"

    def pieces(self) -> list[tuple[str, int | None]]:
        """The answer's words, and the numbers of its citations between them."""
        return list(pieces(self.reading.text if self.reading else "", len(self.citations)))

    def __call__(self, job: Job) -> None:
        """Read, look, answer."""
        from foveal.reading.heat import watch_heat
        from foveal.web.heat_strip import Text

        job.progressed(f"Making {self.models.name} ready", now=True)
        library = self.library()
        document = library.get(self.which)
        reader = self._reader(library)
        heat = watch_heat(reader)
        about = Text(
            document.id, document.title, document.revision, document.text, document.pages,
            library.store.places(document.id),
        )  # fmt: skip
        with closing(reader.stream(document, self.question, cancel=job.cancel)) as events:
            for event in events:
                self._take(event, job, heat, about)

    def _reader(self, library: Library) -> InfiniRetri:
        from foveal.reading import InfiniRetri, ReadSettings
        from foveal.reading.answering_settings import settings_for

        model, chat = self.models.reader(), self.models.chat()
        if model is None:
            raise ModelUnavailable(
                "Reading a whole document needs a model on this machine, whose attention can be seen. There is none: "
                "start `foveal serve` with one, or ask the library instead."
            )
        chosen: ReadSettings = ReadSettings(
            answer=settings_for(chat), attention=self.attention, window=self.window, **EFFORTS[self.effort][1]
        )
        return InfiniRetri(model, chosen, answerer=chat, home=library.settings.home)

    def _take(self, event: Event, job: Job, heat: Heat, about: Text) -> None:
        from foveal.reading.events import AnswerDelta, Answering, Done, ReadStarted, WindowRead

        match event:
            case ReadStarted():
                job.progressed(f"Reading; about {event.tokens:,} tokens", 0, event.windows, now=True)
            case WindowRead():
                self.best = one_line(event.best[0].text) if event.best else ""
                job.progressed(_said(event), event.window, max(event.window, event.windows))
                self._draw(heat, about, job, DRAWN_EVERY * event.window // max(1, event.windows))
            case Answering():
                self._draw(heat, about, job, DRAWN_EVERY + 1)
                job.progressed(f"Answering from {len(event.excerpts)} excerpts", now=True)
            case AnswerDelta():
                self.words += event.text
                job.tell("words", text=event.text)
            case Done():
                self._draw(heat, about, job, DRAWN_EVERY + 2)
                self.citations = tuple(
                    cited(number, one, about.pages, about.places)
                    for number, one in enumerate(event.readings[0].citations, start=1)
                )
                self.reading = event.readings[0]

    def _draw(self, heat: Heat, about: Text, job: Job, step: int) -> None:
        if step > self._drawn:
            from foveal.web.heat_strip import strip_of

            self._drawn = step
            self.strip = strip_of(heat, about)
            job.tell("look", part="heat")


@router.get("/library/{which}/read")
def read_form(request: Request, which: str, q: str = "") -> Response:
    """The form."""
    return _form(request, _document(request, which), q, "normal")


@router.post("/library/{which}/read", dependencies=[Depends(guarded), Depends(Needs("read"))])
def read(
    request: Request, which: str, question: Annotated[str, Form()] = "", effort: Annotated[str, Form()] = "normal"
) -> Response:
    """Begin to read."""
    site = site_of(request)
    document = _document(request, which)
    try:
        work = read_work(site, document.id, document.title, question, effort)
    except InputError as error:
        return _form(request, document, question, effort, wrong=str(error))
    return RedirectResponse(site.jobs.start(work, whose=whose_job(request)).page, 303)


@router.get("/library/{which}/read/{key}")
def reading_page(request: Request, which: str, key: str) -> Response:
    """The answer, or how far the reading is."""
    job = site_of(request).jobs.get(key)
    if not isinstance(job.work, ReadWork) or job.work.which != which:
        return RedirectResponse(job.page, 303)
    return shown(request, job, "read/reading.html", model=job.work.models.name)


def read_work(site: Site, which: str, title: str, question: str, effort: str = "normal") -> ReadWork:
    """A reading of a document. InputError: no such effort, or no question."""
    if effort not in EFFORTS:
        raise InputError(f"No effort is called {effort[:40]!r}. There are: {', '.join(EFFORTS)}.")
    asked = checked_question(question)
    lane = READER if is_served(site.models) else MODEL
    web = site.web
    return ReadWork(which, title, asked, site.models, lambda: site.library, effort, lane, web.attention, web.window)


def _document(request: Request, which: str) -> Document:
    site = site_of(request)
    return site.library.get(entry_of(site, which).id)


def _form(request: Request, document: Document, question: str, effort: str, wrong: str = "") -> Response:
    known = {
        "document": document,
        "question": question,
        "effort": effort,
        "efforts": {name: said for name, (said, _) in EFFORTS.items()},
        "model": site_of(request).models.name,
        "wrong": wrong,
    }
    return page(request, "read/read.html", known, status=400 if wrong else 200)


def _said(event: WindowRead) -> str:
    windows = max(event.window, event.windows)
    rate = f"Reading: window {event.window:,} of {windows:,}, {event.tokens_per_second:,.0f} tokens/s"
    return f"{rate}, {event.seconds_left:.0f} s left" if event.seconds_left >= 2 else rate
