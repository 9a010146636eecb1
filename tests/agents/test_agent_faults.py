"""What goes wrong below a tool is told: a library that cannot be used, a thread that does not start, a lost input."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from desks import calling, desk, home
from mcp.shared.exceptions import MCPError
from test_agent_stdio import FOVEAL

from foveal.agents import asked
from foveal.agents.threads import Threads
from foveal.errors import LibraryBusy, LibraryCorrupt
from foveal.retrieval.tables import writer_lock
from foveal.settings import Settings


async def nothing(*_: Any) -> None:
    """What progress is told to."""


def test_a_library_that_is_damaged_is_not_listed_as_an_empty_one(tmp_path: Path) -> None:
    settings, files = home(tmp_path)
    shutil.rmtree(settings.library / "documents.lance")
    calls = desk(settings, folders=[files])
    with pytest.raises(MCPError, match="lacks its table documents"):
        calling(calls, lambda client: client.list_resources())
    with pytest.raises(LibraryCorrupt, match="lacks its table documents"):
        calls.place.text(str(files / "mill.md"), object())  # type: ignore[arg-type]


def test_a_home_without_a_library_lists_nothing(tmp_path: Path) -> None:
    calls = desk(Settings(home=tmp_path / "home", cache=tmp_path / "cache", encoder="none"))
    assert calling(calls, lambda client: client.list_resources()).resources == []


def test_a_text_that_could_not_be_added_leaves_no_file(tmp_path: Path) -> None:
    settings, _ = home(tmp_path)
    calls = desk(settings, changes=True)
    with writer_lock(str(settings.library)), pytest.raises(LibraryBusy):
        calls.place.add(asked.Add(text="The mill burnt down in 1901.", title="Fire"), _call())
    assert [path.name for path in settings.home.rglob("*") if path.is_file() and "Fire" in path.name] == []


def _call() -> Any:
    from foveal.agents.place import Call
    from foveal.models.chat import Cancel

    return Call(Cancel(), lambda *_: None, 0.0)


def test_a_call_whose_thread_does_not_start_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            asyncio.run(threads.run(lambda _: 1, nothing))
    assert threads.close()
    assert asyncio.run(threads.run(lambda _: 1, nothing)) == 1


def test_an_input_that_breaks_ends_the_program_and_says_so(tmp_path: Path) -> None:
    broken = os.open("/proc/self/mem", os.O_RDONLY)  # whoever reads it gets an error, as of a terminal that is gone
    try:
        done = subprocess.run(
            [*FOVEAL, "mcp"], stdin=broken, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "FOVEAL_HOME": str(tmp_path), "NO_COLOR": "1"},
        )  # fmt: skip
    finally:
        os.close(broken)
    assert done.returncode == 0
    assert "input cannot be read any more" in done.stderr
    assert "Traceback" not in done.stderr
