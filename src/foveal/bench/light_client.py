"""A reader's connection that costs the machine next to nothing: what is timed is the site, not who asks.

    reader = LightClient("http://127.0.0.1:8000")
    answer = await reader.get("/papers")               # Answer(status, headers, body)

One HTTP/1.1 connection, kept; compression as browsers ask for it. Where the server closed a connection that was idle,
the request is sent once more over a new one, as browsers do (RFC 9112, section 9.3.1): `reopened` counts these.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

FAILURES = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)
"""What `get` may raise: the connection, or what came over it, was no good."""

MOST_HEAD = 2**16


@dataclass(frozen=True)
class Answer:
    """A response; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LightClient:
    """One connection to a site."""

    def __init__(self, address: str, *, timeout_s: float = 60.0) -> None:
        """To the site at `address`, opened when it is first asked."""
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._timeout_s = timeout_s
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.reopened = 0

    async def get(self, path: str) -> Answer:
        """The answer to a GET. Any of `FAILURES`: there is none."""
        reused = self._open is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._asked(path)
                except (ConnectionError, asyncio.IncompleteReadError) as error:
                    self.close()
                    if not reused or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                        raise
                    self.reopened += 1
                    return await self._asked(path)
        except FAILURES:
            self.close()
            raise

    def close(self) -> None:
        """Let the connection go."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _asked(self, path: str) -> Answer:
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port, limit=MOST_HEAD)
        reader, writer = self._open
        head = f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAccept: text/html\r\n"
        writer.write(f"{head}Accept-Encoding: gzip\r\n\r\n".encode("ascii"))
        await writer.drain()
        status, headers = _parsed(await reader.readuntil(b"\r\n\r\n"))
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.partition(" ")[2][:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
