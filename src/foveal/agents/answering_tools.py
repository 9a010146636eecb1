"""Tools that answer: ask the library, read one whole text, research. Each tells how far it is, and can be stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from foveal.agents import asked, shapes
from foveal.agents.place import Call, Place
from foveal.errors import InputError, ModelUnavailable, NoLibrary
from foveal.web.answers import heading_at

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.reading import InfiniRetri, WindowRead
    from foveal.reading.asking import Asked
    from foveal.reading.sources import Text
    from foveal.research import Researched
    from foveal.retrieval.rows import Entry
    from foveal.types import Hit

PASSAGES = 8
"""Passages that an answer may come from."""

EFFORTS: Mapping[str, Mapping[str, Any]] = {"quick": {"effort": 0.1}, "normal": {}, "full": {"follow": 4}}
"""How much is read: as of `foveal read --effort`."""


def ask(place: Place, given: asked.Ask, call: Call) -> shapes.Answer:
    """An answer from the library."""
    from foveal.reading.answering_settings import settings_for
    from foveal.reading.asking import Asked, AskSettings, Chosen, Searched
    from foveal.web.offered import check_retriever

    question = _question(given.question)
    library, retriever, where = place.library, given.retriever or None, given.where.strip() or None
    check_retriever(retriever, place.settings.home)  # no folder or hub's model that nobody put here
    library.retriever(retriever, where=where)  # a filter that is wrong is said before a model is loaded
    call.progressed(f"Making {place.models.name} ready", 0, 3, now=True)
    chat = place.models.chat()
    call.progressed("Searching the library", 0, 3, now=True)
    hits: tuple[Hit, ...] = ()
    settings = AskSettings(answer=settings_for(chat))
    for event in library.ask_stream(
        question, PASSAGES, model=chat, retriever=retriever, where=where, settings=settings, cancel=call.cancel
    ):
        match event:
            case Searched():
                hits = event.hits
                call.progressed(f"Looking through {len(hits)} passages", 1, 3, now=True)
            case Chosen():
                call.progressed("Writing the answer", 2, 3, now=True)
            case Asked():
                answer = event
    return _asked(library, answer, hits)


def read(place: Place, given: asked.Read, call: Call) -> shapes.Answer:
    """An answer from one text, all of it."""
    from foveal.reading import Answering, Done, ReadStarted, WindowRead

    question = _question(given.question)
    call.progressed("Opening the text", now=True)
    text = place.text(given.source, call)
    call.progressed(f"Making {place.models.name} ready", now=True)
    reader = _reader(place, given.effort)
    windows = 1
    with closing(reader.stream(text, question, cancel=call.cancel)) as events:
        for event in events:
            match event:
                case ReadStarted():
                    windows = event.windows
                    call.progressed(f"Reading; about {event.tokens:,} tokens", 0, windows + 1, now=True)
                case WindowRead():
                    windows = max(event.window, event.windows)
                    call.progressed(_how_far(event, windows, text), event.window, windows + 1)
                case Answering():
                    said = f"Answering from {len(event.excerpts)} excerpts"
                    call.progressed(said, windows, windows + 1, now=True)
                case Done():
                    reading = event.readings[0]
    pages, places, held = _about(place, text)
    cited = [
        shapes.Citation.of(number, one, pages=pages, heading=heading_at(places, one.span.start), held=held)
        for number, one in enumerate(reading.citations, start=1)
    ]
    return shapes.Answer(
        text=reading.text,
        found=reading.found,
        unsupported=list(reading.unsupported),
        citations=cited,
        seconds=round(reading.stats.seconds, 2),
    )


def research(place: Place, given: asked.Research, call: Call) -> shapes.Answer:
    """An answer from many pages."""
    from foveal.research import MindSearch, MindSettings
    from foveal.research.budget import Budget
    from foveal.research.settings import load_research

    question = _question(given.question)
    sources = place.sources(list(given.sources))
    call.progressed(f"Making {place.models.name} ready", now=True)
    chat = place.models.chat()
    settings = MindSettings.of(chat).with_budget(Budget(seconds=given.seconds))
    search = MindSearch(chat, sources, settings=settings.without(load_research(place.settings).hosts))
    run, seen, over = search.start(question), 0, False
    try:
        while not over:
            over = run.join(0.2)
            events = run.log.so_far(seen)
            for event in events:
                if said := _step(event.kind, event.data):
                    call.progressed(said, event.id, now=True)
            seen = events[-1].id if events else seen
            call.cancel.check()
    except BaseException:
        run.cancel()
        raise
    return _researched(place, run.result())


def _question(given: str) -> str:
    question = " ".join(given.split())
    if not question:
        raise InputError("The question is empty. Ask something that the text may answer.")
    return question


def _asked(library: Library, answer: Asked, hits: Sequence[Hit]) -> shapes.Answer:
    entries = library.entries([one.span.document_id for one in answer.citations])
    cited = []
    for number, one in enumerate(answer.citations, start=1):
        own = [hit.passage for hit in hits if hit.passage.span.document_id == one.span.document_id]
        places = [(passage.span.start, passage.span.end, passage.heading) for passage in own]
        entry = entries.get(one.span.document_id)
        pages = entry.pages if entry and one.revision in (None, entry.revision) else ()
        cited.append(shapes.Citation.of(number, one, pages=pages, heading=heading_at(places, one.span.start)))
    return shapes.Answer(
        text=answer.text,
        found=answer.found,
        unsupported=list(answer.unsupported),
        citations=cited,
        seconds=round(answer.seconds, 2),
    )


def _reader(place: Place, effort: str) -> InfiniRetri:
    model, chat = place.models.reader(), place.models.chat()
    if model is None:
        raise ModelUnavailable(
            "Reading a whole text needs a model on this machine, whose attention can be seen, and there is none. "
            "Ask the library instead."
        )
    from foveal.reading import InfiniRetri, ReadSettings
    from foveal.reading.answering_settings import settings_for

    how: dict[str, Any] = {"attention": place.attention, "window": place.window, **EFFORTS[effort]}
    chosen = ReadSettings(answer=settings_for(chat), **how)
    return InfiniRetri(model, chosen, answerer=chat, home=place.settings.home)


def _how_far(event: WindowRead, windows: int, text: Text) -> str:
    """In words; by pages, where the text has some."""
    at = text.characters * event.window // max(1, windows)
    page, last = text.page(max(0, at - 1)), text.page(max(0, text.characters - 1))
    left = f", {event.seconds_left:.0f} s left" if event.seconds_left >= 2 else ""
    if page is None:
        return f"Reading: window {event.window:,} of {windows:,}{left}"
    return f"Reading: about page {page:,} of {last:,}{left}"


def _about(place: Place, text: Text) -> tuple[tuple[int, ...], Sequence[tuple[int, int, str | None]], bool]:
    """Pages and passages of a text, and whether the library holds it, as it was read."""
    document = getattr(text, "document", None)
    pages: tuple[int, ...] = document.pages if document is not None else ()
    entry = _held(place, [text.document_id]).get(text.document_id)
    if entry is None or entry.revision != text.revision:
        return pages, (), False
    return pages, place.library.store.places(entry.id), True


def _held(place: Place, ids: Sequence[str]) -> Mapping[str, Entry]:
    """Those of the documents that the library holds."""
    try:
        return place.library.entries(ids)
    except NoLibrary:
        return {}


def _step(kind: str, data: Mapping[str, Any]) -> str:
    """What an event of a run says of its progress; "" of most."""
    name = str(data.get("name", ""))
    if kind == "node.state" and data.get("state") == "running":
        return f"Searching: {name}"
    if kind == "node.page":
        return f"Read a page for {name}"
    if kind == "node.answer":
        return f"Answered: {name}"
    return "Planning" if kind == "plan.turn" else ""


def _researched(place: Place, found: Researched) -> shapes.Answer:
    from foveal.research.answers import BY_ITSELF, STOPPED, UNREAD

    missing = [f"{name}: {why}" for name, why in (*found.missing, *found.unsearched)]
    stopped = [f"Not complete: {STOPPED.get(found.stopped_by, found.stopped_by)}."] if found.stopped_by else []
    told = [BY_ITSELF] if found.by_itself else []
    told += [f"[{number}]: {UNREAD}" for number in sorted(found.unread)]
    held = _held(place, [one.span.document_id for one in found.citations])
    cited = [
        shapes.Citation.of(number, one, held=one.span.document_id in held and number not in found.unread)
        for number, one in zip(found.numbers, found.citations, strict=True)
    ]
    return shapes.Answer(
        text=found.text,
        found=found.found,
        unsupported=list(found.unsupported),
        citations=cited,
        seconds=None,
        note=" ".join([*stopped, *told, *missing]),
    )
