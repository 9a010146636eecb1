"""Ask: a question to the library, and its answer as it comes, each sentence with the place that bears it out.

GET  /ask            the form; ?q=, retriever and where fill it in
POST /ask            starts a job, and leads to its page
GET  /ask/{key}      passages found, words as they come, then the answer; can be shared while it is kept
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from foveal.errors import InputError, ModelUnavailable, UnknownDocument
from foveal.library import Library
from foveal.retrieval.rows import shown_from
from foveal.types import Citation, Hit
from foveal.web.answers import Cited, cited, one_line, pieces, where_of
from foveal.web.document_text import place_address
from foveal.web.job import MODEL, Job
from foveal.web.offered import check_retriever, searches
from foveal.web.pages import page
from foveal.web.rights import Needs, whose_job
from foveal.web.safety import guarded
from foveal.web.site import Site, site_of
from foveal.web.small_forms import SmallForms
from foveal.web.streams import shown
from foveal.web.works import plain, whole

if TYPE_CHECKING:  # what reads is imported when somebody asks: it takes seconds
    from foveal.reading.asking import Asked, AskEvent
    from foveal.web.models import Models

LONGEST_QUESTION = 2000
"""Characters."""

PASSAGES = 8
"""Passages that an answer may come from."""

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@dataclass
class AskWork:
    """A question to a library: what `jobs.Work` asks for, and what the page shows meanwhile."""

    question: str
    models: Models
    library: Callable[[], Library]
    retriever: str | None = None
    where: str | None = None
    lane: str = MODEL
    found: tuple[Cited, ...] = ()  # passages
    used: int | None = None  # excerpts that the answer is made from
    words: str = ""  # of the answer, as they come
    answer: Asked | None = None
    citations: tuple[Cited, ...] = ()
    kind: str = "ask"
    _hits: tuple[Hit, ...] = field(default=(), repr=False)

    @classmethod
    def remade(cls, site: Site, asked: Mapping[str, Any], result: Mapping[str, Any] | None) -> AskWork:
        """From what the database has of it."""
        work = cls(asked["question"], site.models, lambda: site.library, asked["retriever"], asked["where"])
        if result is not None:
            from foveal.reading.asking import Asked

            work.answer = Asked(result["text"], (), None, question=work.question, **result["answer"])
            work.used = result["used"]
            work.found, work.citations = (whole(tuple[Cited, ...], result[name]) for name in ("found", "citations"))
        return work

    def to_row(self) -> Mapping[str, Any]:
        """What it takes to ask again."""
        return {"question": self.question, "retriever": self.retriever, "where": self.where}

    def result(self) -> Mapping[str, Any]:
        """What the page shows of the answer."""
        if self.answer is None:
            return {"text": "", "answer": {}, "used": None, "found": [], "citations": []}
        told = {name: getattr(self.answer, name) for name in ("found", "unsupported", "seconds")}
        places = {"found": self.found, "citations": self.citations}
        return {"text": self.answer.text, "answer": told, "used": self.used} | {
            name: plain(value, tuple[Cited, ...]) for name, value in places.items()
        }

    @property
    def title(self) -> str:
        """For people."""
        return f"Ask: {one_line(self.question, 90)}"

    def page(self, key: str) -> str:
        """Its own page."""
        return f"/ask/{key}"

    def pieces(self) -> list[tuple[str, int | None]]:
        """The answer's words, and the numbers of its citations between them."""
        return list(pieces(self.answer.text if self.answer else "", len(self.citations)))

    def __call__(self, job: Job) -> None:
        """Search, read, answer."""
        from foveal.reading.answering_settings import settings_for
        from foveal.reading.asking import AskSettings

        job.progressed("Searching the library", 0, 3, now=True)
        library = self.library()
        job.progressed(f"Making {self.models.name} ready", 0, 3, now=True)
        chat = self.models.chat()
        settings = AskSettings(answer=settings_for(chat))
        events = library.ask_stream(
            self.question,
            PASSAGES,
            model=chat,
            retriever=self.retriever,
            where=self.where,
            settings=settings,
            cancel=job.cancel,
        )
        job.progressed("Searching the library", 0, 3, now=True)
        for event in events:
            self._take(event, library, job)

    def _take(self, event: AskEvent, library: Library, job: Job) -> None:
        from foveal.reading.asking import Asked, Chosen, Searched
        from foveal.reading.events import AnswerDelta

        match event:
            case Searched():
                self._hits = event.hits
                self.found = found_places(library, event.hits)
                job.tell("look", part="found")
                job.progressed(f"Looking through {len(event.hits)} passages", 1, 3, now=True)
            case Chosen():
                self.used = len(event.evidence)
                job.progressed("Writing the answer", 2, 3, now=True)
            case AnswerDelta():
                self.words += event.text
                job.tell("words", text=event.text)
            case Asked():
                self.citations = tuple(self._cited(library, event.citations))
                self.answer = event
                job.progressed("Answered", 3, 3, now=True)

    def _cited(self, library: Library, citations: Sequence[Citation]) -> Iterator[Cited]:
        from foveal.reading.cited_headings import cited_headings

        headings = cited_headings(citations, self._hits, lambda one, revision: library.get(one, revision=revision))
        for number, (one, heading) in enumerate(zip(citations, headings, strict=True), 1):
            pages = _pages_of(library, one.span.document_id, one.revision)
            yield cited(number, one, pages, [(one.span.start, one.span.end, heading)])


@router.get("/ask")
def ask_form(request: Request, q: str = "", retriever: str = "", where: str = "") -> Response:
    """The form."""
    known = {"question": q, "where": where, "retriever": retriever, "wrong": ""}
    return page(request, "ask/ask.html", _about(site_of(request), retriever) | known)


@router.post("/ask", dependencies=[Depends(guarded), Depends(Needs("ask"))])
def ask(
    request: Request,
    question: Annotated[str, Form()] = "",
    retriever: Annotated[str, Form()] = "",
    where: Annotated[str, Form()] = "",
) -> Response:
    """Begin to answer."""
    site = site_of(request)
    try:
        work = ask_work(site, question, retriever, where)
    except (InputError, ModelUnavailable) as error:
        known = {"question": question, "where": where, "retriever": retriever, "wrong": site.told(error)}
        return page(request, "ask/ask.html", _about(site, retriever) | known, status=400)
    return RedirectResponse(site.jobs.start(work, whose=whose_job(request)).page, 303)


@router.get("/ask/{key}")
def answer_page(request: Request, key: str) -> Response:
    """The answer, or how far it is."""
    job = site_of(request).jobs.get(key)
    if not isinstance(job.work, AskWork):
        return RedirectResponse(job.page, 303)
    return shown(request, job, "ask/answer.html", model=job.work.models.name)


def ask_work(site: Site, question: str, retriever: str = "", where: str = "") -> AskWork:
    """A question to the library. InputError, ModelUnavailable: it cannot be asked so."""
    check_retriever(retriever, site.settings.home)
    work = AskWork(
        checked_question(question), site.models, lambda: site.library, retriever or None, where.strip() or None
    )
    if site.has_library:
        site.library.retriever(work.retriever, where=work.where)  # a name or filter that is wrong is said at once
    return work


def checked_question(question: str) -> str:
    """The question. InputError: it is empty, or too long."""
    question = " ".join(question.split())
    if not question:
        raise InputError("The question is empty. Ask something that the text may answer.")
    if len(question) > LONGEST_QUESTION:
        raise InputError(f"The question has {len(question):,} characters; at most {LONGEST_QUESTION:,} are read.")
    return question


def found_places(library: Library, hits: tuple[Hit, ...]) -> tuple[Cited, ...]:
    """Passages that were found, as places to look at."""
    entries = library.entries([hit.passage.span.document_id for hit in hits])
    found = []
    for number, hit in enumerate(hits, start=1):
        span, entry = hit.passage.span, entries.get(hit.passage.span.document_id)
        if entry:
            where = where_of(entry.pages, hit.passage.heading, entry.title, span)
            address = place_address(span.document_id, span.start, span.end, hit.revision)
            text = hit.passage.text[shown_from(hit, entry) :]
            found.append(Cited(number, one_line(text), entry.title, where, address))
    return tuple(found)


def _pages_of(library: Library, document_id: str, revision: str | None) -> tuple[int, ...]:
    """Where the pages of a text begin, in the revision that is cited; none where it was removed meanwhile."""
    entry = library.entries([document_id]).get(document_id)
    if entry and revision in (None, entry.revision):
        return entry.pages
    try:
        return library.get(document_id, revision=revision).pages
    except UnknownDocument:
        return ()


def _about(site: Site, retriever: str) -> dict[str, object]:
    """What the form shows besides what was asked; the chosen search is among those that it offers."""
    documents = site.library.store.counts()["documents"] if site.has_library else 0
    return {"model": site.models.name, "documents": documents, "retrievers": searches(site.settings.home, retriever)}
