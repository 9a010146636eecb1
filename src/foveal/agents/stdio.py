"""A server by standard input and output: what an assistant starts as a program of its own.

Output    nothing but the protocol: what else is printed, by us or by a library, goes to standard error
Input     a message in which JSON names half of a character, as JavaScript cuts texts, is read without it: the package
          `mcp` would pass it over, and its call would wait for ever
End       at the end of input, or at Ctrl-C; calls that go on are stopped, and have a while to end what they write
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from foveal.agents.server import Calls, make_server
from foveal.models.characters import scalar

INPUT, OUTPUT, ERRORS = 0, 1, 2
"""File descriptors."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")

logger = logging.getLogger("foveal.agents")


def serve(calls: Calls) -> bool:
    """Answer until the input ends, or Ctrl-C; whether all calls have ended by then, too."""
    with suppress(KeyboardInterrupt), _wire() as (told, answers):  # as a server is stopped
        try:
            anyio.run(_served, make_server(calls), told, answers)
        except* (BrokenPipeError, ConnectionResetError):
            logger.info("whoever asked has gone")
    return calls.threads.close()


async def _served(server: Server[Any], told: TextIO, answers: TextIO) -> None:
    lines = cast(anyio.AsyncFile[str], _Lines(told))
    async with stdio_server(lines, anyio.wrap_file(answers)) as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


@contextmanager
def _wire() -> Iterator[tuple[TextIO, TextIO]]:
    """The two streams, taken from everybody else: meanwhile standard input is empty, and output goes to errors."""
    told, answers, nothing = os.dup(INPUT), os.dup(OUTPUT), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, INPUT)
    os.dup2(ERRORS, OUTPUT)
    os.close(nothing)
    try:
        yield (
            io.TextIOWrapper(os.fdopen(told, "rb", closefd=False), encoding="utf-8", errors="replace"),
            io.TextIOWrapper(os.fdopen(answers, "wb"), encoding="utf-8", newline=""),
        )
    finally:
        with suppress(OSError):
            os.dup2(told, INPUT)


class _Lines:
    """Lines of a stream as they come, read by a thread that nobody waits for: a read cannot be stopped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[str]:
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[str]()

        def read() -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                try:
                    for line in self._stream:
                        loop.call_soon_threadsafe(lines.put_nowait, whole(line))
                except (OSError, ValueError) as error:  # its terminal is gone, it is closed
                    logger.error("the input cannot be read any more, which ends this: %s", error)
                loop.call_soon_threadsafe(lines.put_nowait, "")

        threading.Thread(target=read, name="standard input", daemon=True).start()
        while line := await lines.get():
            yield line


def whole(line: str) -> str:
    """A message without halves of characters; what is no JSON stays as it is."""
    if not _HALF.search(line):
        return line
    try:
        return scalar(json.dumps(json.loads(line), ensure_ascii=False)) + "\n"
    except (ValueError, RecursionError):
        return line
