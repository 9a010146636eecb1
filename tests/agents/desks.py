"""What tests of assistants' tools share: a home with two documents and two papers, and a client of its tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.shared.exceptions import MCPError
from members import with_papers
from web.reading_site import STORY, OwnModels

from foveal.agents.allowed import Allowed
from foveal.agents.home import HomePlace
from foveal.agents.server import Calls, make_server
from foveal.agents.threads import Threads
from foveal.library import Library
from foveal.settings import Settings

CHRONICLE = "# Chronicle\n\n" + "\n\n".join(
    f"## Year {year}\n\nIn year {year} the water stood high, and the miller counted {year * 7} sacks."
    for year in range(1, 31)
)


def home(folder: Path) -> tuple[Settings, Path]:
    """A home whose library, searched by words, holds the files of a folder; and that folder."""
    files = folder / "files"
    files.mkdir()
    (files / "mill.md").write_text(STORY)
    (files / "chronicle.md").write_text(CHRONICLE)
    settings = Settings(home=folder / "home", cache=folder / "cache", encoder="none")
    Library.open(settings=settings).add([files])
    return settings, files


def desk(settings: Settings, models: Any = None, *, changes: bool = False, **allowed: Any) -> Calls:
    """The desk of a home."""
    folders = allowed.pop("folders", [])
    place = HomePlace(settings, models or OwnModels(), Allowed.of(folders, web=allowed.pop("web", False)))
    return Calls(place, changes, Threads(every_s=0.0))  # all notes, however fast the machine is


def papers_of(calls: Calls) -> None:
    """Put two papers into its home."""
    with_papers(calls.place.database)  # type: ignore[attr-defined]


@asynccontextmanager
async def client_of(calls: Calls, mode: str = "auto") -> AsyncIterator[Client]:
    """A client of a desk, without a process between."""
    async with Client(make_server(calls), mode=mode) as client:
        yield client


def calling(calls: Calls, work: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    """What `work` gives with a client of a desk."""

    async def all_of_it() -> Any:
        failed: MCPError | None = None
        async with client_of(calls, mode) as client:
            try:
                return await work(client)
            except MCPError as error:  # as it is, and in no group of the client's tasks
                failed = error
        raise failed

    return asyncio.run(all_of_it())


def called(calls: Calls, tool: str, **given: Any) -> Any:
    """What a tool gives; its arguments, and what it gives, fit its schemas."""

    async def work(client: Client) -> Any:
        await client.list_tools()  # so that the client holds what comes against the schema
        return await client.call_tool(tool, given)

    made = calling(calls, work)
    assert not made.is_error, made.content[0].text
    return made.structured_content


def refused(calls: Calls, tool: str, **given: Any) -> str:
    """What a tool says that fails."""
    made = calling(calls, lambda client: client.call_tool(tool, given))
    assert made.is_error
    return str(made.content[0].text)
