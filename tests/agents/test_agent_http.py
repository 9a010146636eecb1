"""The tools at /mcp of a served site: the same accounts, rights and limits as its API, and nothing of its machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from members import member
from web.reading_site import STORY, Held, OwnModels, served, text_of, wait_for

from foveal.agents.http import mount
from foveal.library import Library
from foveal.papers import tokens
from foveal.settings import Settings
from foveal.types import Document
from foveal.web.app import create_app
from foveal.web.settings import WebSettings
from foveal.web.site import SiteSettings

LOOKS = {"search", "show", "outline", "documents", "search_papers", "daily_papers", "show_paper", "similar_papers"}
ASK = {"question": "What is the keeper of the mill called?"}


@pytest.fixture(autouse=True)
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app in this process leaves the garbage collector alone (as in tests/web)."""
    monkeypatch.setattr("foveal.web.app.settle", lambda: None)


def site(folder: Path, models: Any = None, *, changes: bool = False, **options: Any) -> FastAPI:
    """A site with one document, at which tools are offered."""
    settings = Settings(home=folder, cache=folder / "cache", encoder="none")
    Library.open(settings=settings).add_documents([Document.of("test:mill", STORY, "The mill")])
    options = {"writers": "members", "api_per_hour": 0, "search_per_minute": 0} | options
    app = create_app(settings, SiteSettings(**options), models=models or OwnModels(), web=WebSettings())
    mount(app, changes=changes)
    return app


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FastAPI, dict[str, str]]]:
    """The address of a site where members write, and the tokens of two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foveal.web.app.settle", lambda: None)
        app = site(tmp_path_factory.mktemp("site"), changes=True)
        database = app.state.site.database
        keys = {
            login: tokens.make(database, member(database, login, role), "test").secret
            for login, role in (("ana", "member"), ("mo", "moderator"))
        }
        with served(app) as address:
            yield address, app, keys


def calling(address: str, work: Callable[[Client], Awaitable[Any]], token: str = "", mode: str = "auto") -> Any:
    """What `work` gives with a client of the site."""

    async def all_of_it() -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with (
            create_mcp_http_client(headers) as http,
            Client(streamable_http_client(f"{address}/mcp", http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return asyncio.run(all_of_it())


def called(address: str, tool: str, token: str = "", **given: Any) -> Any:
    return calling(address, lambda client: client.call_tool(tool, given), token)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_visitors_look_and_nothing_of_the_machine_is_told(members: Any, mode: str) -> None:
    address, app, _ = members

    async def work(client: Client) -> None:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == LOOKS | {"ask", "read", "add", "remove"}
        found = (await client.call_tool("search", {"query": "keeper"})).structured_content["hits"][0]
        assert found["text"] == STORY[found["span"]["start"] : found["span"]["end"]]
        held = await client.read_resource(found["uri"])
        assert held.contents[0].text == found["text"]
        shown = (await client.call_tool("show", {"which": found["span"]["document_id"]})).structured_content
        assert shown["text"] == STORY
        for path in (str(app.state.site.settings.home), "/etc/passwd", "../foveal.db", "test:mill"):
            wrong = await client.call_tool("show", {"which": path})
            assert wrong.is_error
            assert "is no id of a document" in wrong.content[0].text

    calling(address, work, mode=mode)


@pytest.mark.parametrize(
    ("tool", "given"),
    [("ask", ASK), ("read", {"source": "WHICH", "question": "Who?"}), ("add", {"text": "A text of the weir."})],
)
def test_who_asks_reads_or_adds_is_somebody_by_a_token(members: Any, tool: str, given: dict[str, str]) -> None:
    address, app, keys = members
    which = app.state.site.library.documents()[0].id
    given = {name: which if value == "WHICH" else value for name, value in given.items()}
    refused = called(address, tool, **given)
    assert refused.is_error
    assert "No program may" in refused.content[0].text
    assert "/settings/tokens" in refused.content[0].text
    made = called(address, tool, keys["ana"], **given)
    if tool == "read":  # this site has no model that reads
        assert "needs a model on this machine" in made.content[0].text
        return
    assert not made.is_error, made.content
    if tool == "ask":
        assert made.structured_content["citations"][0]["quote"] in STORY
        job = list(app.state.site.jobs._jobs.values())[-1]
        assert (job.work.title, job.whose) == (f"Ask the library: {ASK['question']}", "person 1")
        return
    added = made.structured_content["became"][0]
    assert (added["state"], made.structured_content["added"]) == ("added", 1)
    assert called(address, "remove", which=added["id"]).is_error
    assert "Only whoever added" in called(address, "remove", which=which, token=keys["ana"]).content[0].text
    assert called(address, "remove", which=added["id"], token=keys["ana"]).structured_content["id"] == added["id"]


def test_a_moderator_may_remove_and_a_page_that_is_private_is_never_fetched(members: Any) -> None:
    address, app, keys = members
    app.state.site.library.add_documents([Document.of("test:gone", "A text to be gone.", "Gone")])
    which = Document.of("test:gone", "", "").id
    assert called(address, "remove", which=which, token=keys["mo"]).structured_content["title"] == "Gone"
    told = called(address, "add", keys["ana"], sources=["http://127.0.0.1:9/secret"]).structured_content
    assert (told["skipped"], told["became"][0]["state"]) == (1, "skipped")
    for source in ("/etc/passwd", "file:///etc/passwd"):
        assert "is neither a URL" in called(address, "add", keys["ana"], sources=[source]).content[0].text


def test_a_call_that_its_client_leaves_is_stopped(tmp_path: Path) -> None:
    held = Held()
    app = site(tmp_path, OwnModels(held), writers="anyone")
    with served(app) as address:

        async def work(client: Client) -> None:
            told: list[str | None] = []

            async def note(_done: float, _total: float | None, said: str | None) -> None:
                told.append(said)

            first = asyncio.create_task(client.call_tool("ask", ASK, progress_callback=note))
            await asyncio.to_thread(held.began.wait, 20)
            assert (await client.call_tool("search", {"query": "keeper"})).structured_content["hits"]
            assert told
            listed = await asyncio.to_thread(httpx.get, f"{address}/jobs")
            assert "Going on Ask the library: " in text_of(listed.text)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            jobs = list(app.state.site.jobs._jobs.values())
            await asyncio.to_thread(wait_for, lambda: all(job.over for job in jobs))
            assert [job.state for job in jobs] == ["cancelled"]
            page = await asyncio.to_thread(httpx.get, f"{address}{jobs[0].page}")
            assert "Ask the library: " in page.text
            held.go.set()
            await client.call_tool("ask", ASK)
            done = list(app.state.site.jobs._jobs.values())[-1]
            page = await asyncio.to_thread(httpx.get, f"{address}{done.page}")
            assert "Whoever called has the answer" in page.text

        calling(address, work)


def test_a_wrong_token_a_page_elsewhere_and_too_many_calls_are_refused_at_the_door(tmp_path: Path) -> None:
    app = site(tmp_path, api_per_hour=4)
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    takes = {"accept": "application/json, text/event-stream"}
    with TestClient(app, base_url="http://localhost") as client:
        wrong = client.post("/mcp", json=body, headers=takes | {"authorization": "Bearer foveal_nobody"})
        assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
        elsewhere = client.post("/mcp", json=body, headers=takes | {"origin": "https://evil.example"})
        assert (elsewhere.status_code, elsewhere.json()["error"]) == (
            403,
            "This request comes from a page of another site.",
        )
        named = client.post("/mcp", json=body, headers=takes | {"host": "evil.example"})
        assert named.status_code == 400
        statuses = [client.post("/mcp", json=body, headers=takes).status_code for _ in range(4)]
        assert statuses[-1] == 429


def test_without_being_asked_for_there_is_nothing_there(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none"), models=OwnModels())
    with TestClient(app, base_url="http://localhost") as client:
        assert client.post("/mcp", json={}, headers={"accept": "application/json"}).status_code == 404
