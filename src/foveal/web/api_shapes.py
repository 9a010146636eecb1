"""What the API about the library answers, as values with a schema: documents, hits, jobs, what came of a job.

A moment is ISO 8601 in UTC; a place in a text is `{document_id, start, end}`, in characters of that revision's text. A
field that has no value is null, and never absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from foveal.retrieval.rows import Entry
from foveal.web.answers import Cited
from foveal.web.ask_pages import AskWork
from foveal.web.job import Job
from foveal.web.library_adding import Added, AddWork
from foveal.web.library_search import Found
from foveal.web.library_shapes import DocumentShape, HitShape, Span, Way, told_of
from foveal.web.papers_views import safe_link
from foveal.web.read_pages import ReadWork


class Shape(BaseModel):
    """A value that is answered."""

    model_config = ConfigDict(frozen=True)


class Error(Shape):
    """What every refusal says; 429 and 503 say in `Retry-After` when to come again."""

    error: str


class Me(Shape):
    """Who a token, or a session, is; `may` names what the site allows them, signed in or not."""

    login: str | None
    name: str | None
    role: str | None
    may: dict[str, bool]


class Document(DocumentShape, Shape):
    """A document of the library, without its text."""

    page: str = Field(description="Where it is shown.")


class Documents(Shape):
    """A page of the library's documents, the newest first; `next` is the number of the page behind it."""

    documents: list[Document]
    count: int = Field(description="Of all pages.")
    next: int | None


class Text(Shape):
    """Characters of a document; `next` is where the rest begins."""

    id: str
    revision: str
    start: int
    end: int
    characters: int = Field(description="Of the whole text.")
    text: str
    next: int | None


class Hit(HitShape, Shape):
    """A passage that a search found, the best first."""

    page: str = Field(description="Where it is shown.")


class Hits(Shape):
    """What a search found; `note` says what a ranker had no time for."""

    hits: list[Hit]
    note: str


class Citation(Shape):
    """A place that an answer names by its number: [2]. `revision` is the beginning of that revision's hash."""

    number: int
    span: Span
    revision: str | None
    quote: str
    title: str
    where: str
    page: str


class Answer(Shape):
    """What came of asking or reading; `found` is false where the text does not hold the answer."""

    text: str
    found: bool
    unsupported: list[str] = Field(description="Sentences of the answer that no passage bears out.")
    citations: list[Citation]
    seconds: float | None


class Became(Shape):
    """What became of one thing that was given."""

    name: str
    state: Literal["added", "updated", "unchanged", "skipped"]
    id: str | None = Field(description="Of the first document that it gave.")
    count: int = Field(description="Documents that it gave.")
    said: str = Field(description="Why it was skipped.")


class Progress(Shape):
    """How far a job is; `total` is null where nobody can tell."""

    text: str
    done: int
    total: int | None


class Started(Shape):
    """A job that was begun: look at `url` until its state is done, failed or cancelled."""

    job: str
    url: str
    events: str = Field(description="Server-sent events, as they come.")
    page: str


class JobState(Shape):
    """A job as it is now. Asking and reading end with an `answer`, adding with what `became` of each thing given."""

    job: str
    kind: str
    title: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    progress: Progress
    ahead: int = Field(description="Jobs that go first.")
    error: str | None
    answer: Answer | None
    became: list[Became] | None
    page: str


def document_of(entry: Entry) -> Document:
    """A document."""
    url = safe_link(entry.url or "") or None
    return Document(**{**told_of(entry), "url": url}, page=f"/library/{entry.id}")


def hit_of(found: Found) -> Hit:
    """A hit."""
    return Hit(
        span=Span.of(found.span), revision=found.revision, text=found.passage, title=found.title, where=found.where,
        score=found.score, source=found.source, page=found.address,
        via=[Way.of(one.span, one.title) for one in found.via],
    )  # fmt: skip


def started(job: Job) -> Started:
    """A job that was begun."""
    return Started(job=job.id, url=f"/api/jobs/{job.id}", events=f"/api/jobs/{job.id}/events", page=job.page)


def state_of(job: Job, ahead: int) -> JobState:
    """A job as it is now."""
    work, done, total = job.work, job.progress.done, job.progress.total
    return JobState(
        job=job.id,
        kind=str(getattr(work, "kind", "")),
        title=work.title,
        state=job.state,
        progress=Progress(text=job.progress.text, done=done, total=total),
        ahead=ahead,
        error=job.error,
        answer=answer_of(work) if job.state == "done" else None,
        became=[_became(one) for one in work.outcome] if job.state == "done" and isinstance(work, AddWork) else None,
        page=job.page,
    )


def answer_of(work: Any) -> Answer | None:
    """The answer that a question, or a reading, has come to; None: none yet, or it is another work."""
    if isinstance(work, AskWork) and work.answer is not None:
        seconds: float | None = work.answer.seconds
        return _told(work.answer.text, work.answer.found, work.answer.unsupported, work.citations, seconds)
    if isinstance(work, ReadWork) and work.reading is not None:
        seconds = getattr(work.reading.stats, "seconds", None)
        return _told(work.reading.text, work.reading.found, work.reading.unsupported, work.citations, seconds)
    return None


def _told(
    text: str, found: bool, unsupported: Sequence[str], citations: Sequence[Cited], seconds: float | None
) -> Answer:
    places = [_citation(one) for one in citations]
    return Answer(text=text, found=found, unsupported=list(unsupported), citations=places, seconds=seconds)


def _citation(one: Cited) -> Citation:
    """A cited place: its address names the characters."""
    parts = urlsplit(one.address)
    asked: Mapping[str, list[str]] = parse_qs(parts.query)
    start, end = (int(number) for number in re.findall(r"\d+", asked["span"][0]))
    span = Span(document_id=parts.path.rpartition("/")[2], start=start, end=end)
    revision = asked.get("revision", [None])[0]
    return Citation(
        number=one.number, span=span, revision=revision, quote=one.quote, title=one.title, where=one.where,
        page=one.address,
    )  # fmt: skip


def _became(one: Added) -> Became:
    named = one.entry.id if one.entry is not None else None
    return Became(name=one.name, state=one.state, id=named, count=one.count if named else 0, said=one.said)  # type: ignore[arg-type]
