"""Streams of jobs and runs whose token was revoked, whose session was ended, or whose person is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from members import member
from reading_site import STORY, Held, OwnModels, made_app, served, wait_for
from research_site import QUESTION, research_app
from research_site import Held as HeldRules
from visitors import Visitor

from foveal.bench.research_world import Rules
from foveal.library import Library
from foveal.papers import personal_data, sessions, tokens
from foveal.settings import Settings
from foveal.types import Document
from foveal.web import safety, streams


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who asked is looked for twenty times a second."""
    monkeypatch.setattr(streams, "KNOWN_S", 0.05)
    return iter([None])


def mill(home: Path, held: Held) -> FastAPI:
    settings = Settings(home=home, cache=home / "cache", encoder="none")
    Library.open(settings=settings).add_documents([Document.of("x:mill", STORY, "The mill")])
    return made_app(home, OwnModels(held), writers="members")


def program(app: FastAPI) -> tuple[dict[str, str], Callable[[], object], Callable[[], object]]:
    """The headers of a program; what revokes its token, what removes its person."""
    database = app.state.site.database
    ana = member(database, "ana")
    made = tokens.make(database, ana, "test")
    headers = {"authorization": f"Bearer {made.secret}"}
    return headers, partial(tokens.revoke, database, ana, made.token.id), partial(personal_data.erase, database, ana)


def following(pool: ThreadPoolExecutor, url: str, **given: Any) -> Future[str]:
    """What a stream tells, read to its end in another thread; who asks was let in by now."""
    begun = Event()

    def whole() -> str:
        try:
            with httpx.stream("GET", url, timeout=60, **given) as answer:
                parts = answer.iter_text()
                first = next(parts)
                begun.set()
                return first + "".join(parts)
        finally:
            begun.set()

    told = pool.submit(whole)
    assert begun.wait(30)
    return told


@contextmanager
def let_go(held: Held | HeldRules) -> Iterator[None]:
    """Whatever fails inside, what is held goes on, and no stream with it stays open for ever."""
    try:
        yield
    finally:
        held.go.set()


def last_of(text: str) -> tuple[str, Any]:
    """Event and data of the last event of a stream."""
    fields = dict(line.partition(": ")[::2] for line in text.rstrip("\n").rsplit("\n\n", 1)[-1].split("\n"))
    return fields["event"], json.loads(fields["data"])


@pytest.mark.parametrize("removed", [False, True])
def test_the_events_of_a_question_end_with_the_token_and_the_question_goes_on(tmp_path: Path, removed: bool) -> None:
    held = Held()
    app = mill(tmp_path, held)
    headers, revoke, remove = program(app)
    with served(app) as base, ThreadPoolExecutor(1) as pool, let_go(held):
        begun = httpx.post(f"{base}/api/ask", json={"question": "Who keeps the mill?"}, headers=headers).json()
        events = f"{base}{begun['url']}/events"
        stream = following(pool, events, headers=headers)
        assert held.began.wait(30)
        (remove if removed else revoke)()
        event, told = last_of(stream.result(30))
        assert (event, "is not known here any more" in told["error"]) == ("refused", True)
        assert httpx.get(events, headers=headers).status_code == 401  # and not as a visitor's
        job = app.state.site.jobs.get(begun["job"])
        assert not job.over  # another token, or a browser, may look at it
        held.go.set()
        assert httpx.get(events, timeout=60).text.count("event: end") == 1
        wait_for(lambda: app.state.gates["stream"].inside == 0)


def test_a_browser_whose_session_was_ended_sees_what_a_visitor_may(tmp_path: Path) -> None:
    held = Held()
    app = mill(tmp_path, held)
    browser = Visitor(app)
    ana = browser.sign_in("ana")
    page = browser.submit("/ask", came_from="/ask", question="Who keeps the mill?").headers["location"]
    events = f"/jobs/{page.rpartition('/')[2]}/events"
    with served(app) as base, ThreadPoolExecutor(1) as pool, let_go(held):
        stream = following(pool, base + events, cookies=dict(browser.cookies))
        assert held.began.wait(30)
        database = app.state.site.database
        sessions.sign_out(database, ana)
        told = stream.result(30)
        assert "refused" not in told
        held.go.set()
        assert "event: end" in httpx.get(base + events, cookies=dict(browser.cookies), timeout=60).text


@pytest.mark.parametrize("path", ["events", "solve"])
def test_the_events_of_a_run_end_with_the_token(tmp_path: Path, path: str) -> None:
    held = HeldRules(Rules(()), at=QUESTION)
    app = research_app(tmp_path, held, writers="members")
    headers, revoke, _ = program(app)
    with served(app) as base, ThreadPoolExecutor(1) as pool, let_go(held):
        if path == "solve":
            asked = {"inputs": QUESTION}
            address = f"{base}/api/research/solve"
            stream = pool.submit(lambda: httpx.post(address, json=asked, headers=headers, timeout=60).text)
        else:
            asked = {"question": QUESTION, "sources": ["library"]}
            begun = httpx.post(f"{base}/api/research/runs", json=asked, headers=headers).json()
            stream = following(pool, base + begun["events"], headers=headers)
        assert held.began.wait(30)
        revoke()
        event, told = last_of(stream.result(30))
        assert (event, "is not known here any more" in told["error"]) == ("refused", True)
        if path == "solve":
            wait_for(lambda: not app.state.site.jobs.open_jobs())  # nobody else can know of it
        else:
            assert len(app.state.site.jobs.open_jobs()) == 1
        held.go.set()


def test_what_had_come_as_the_asker_went_is_closed_and_of_a_visitor_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "KNOWN_S", 0.0)
    monkeypatch.setattr(streams, "still_signed_in", lambda _: False)
    closed: list[str] = []

    async def parts() -> AsyncGenerator[str, None]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.append("closed")

    async def told(cookie: str) -> list[str]:
        headers = [(b"cookie", f"{safety.SESSION}={cookie}".encode())]
        request = Request({"type": "http", "method": "GET", "path": "/jobs/1/events", "headers": headers})
        held = parts()  # kept, so that no collector closes it
        whole = [one async for one in streams.while_signed_in(request, held, "last")]
        return [*whole, *closed]

    assert asyncio.run(told("key")) == ["last", "closed"]
    closed.clear()
    assert asyncio.run(told("")) == ["one", "two", "closed"]
