"""A mail server on this machine that takes mail, refuses it, stalls, breaks off after the body, or dies (aiosmtpd).

    with MailServer(fault=lambda recipient, attempt: "drop-kept" if … else "") as server:
        …  # smtp://127.0.0.1:server.port
        server.taken           # what it took, in order: Taken(recipient, raw, at)
        server.die(0.5)        # all connections broken, nobody answers for half a second

Faults   later (450), never (550), policy (554 after the body), stall (a while at the recipient), drop (gone at the
         recipient), drop-kept (the message is taken, the answer is not given), drop-lost (neither)
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from foveal.registry import require

Fault = Callable[[str, int], str]
"""What happens to the n-th try (from 1) of a recipient: a fault's name, or "" for none."""


@dataclass(frozen=True)
class Taken:
    """A message that the server took."""

    sender: str
    recipient: str
    raw: bytes
    at: float  # time.time()


def no_fault(recipient: str, attempt: int) -> str:  # noqa: ARG001
    """A server without faults."""
    return ""


@dataclass
class MailServer:
    """The server; it runs inside the block."""

    fault: Fault = no_fault
    stall_s: float = 0.2
    tls: ssl.SSLContext | None = None  # for STARTTLS, which is then required; `implicit`: from the first byte
    implicit: bool = False
    passwords: dict[str, str] = field(default_factory=dict)  # of users; empty: nobody signs in
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()  # recipients whose body came, and who got no answer
        self._smtp = require("aiosmtpd.smtp", extra="dev")
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[Any] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> MailServer:
        self._thread.start()
        self._wait(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._silence())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def die(self, seconds: float) -> None:
        """Break all connections, and be away for a while."""
        self._wait(self._silence())
        time.sleep(seconds)
        self._wait(self._listen())

    # what aiosmtpd calls

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]  # noqa: ARG002
    ) -> str:  # fmt: skip
        """A recipient is named."""
        self.tries[address] += 1
        fault = self.fault(address, self.tries[address])
        envelope.fault = fault
        if fault == "later":
            return "450 4.2.0 try again later"
        if fault == "never":
            return "550 5.1.1 no such mailbox"
        if fault == "stall":
            await asyncio.sleep(self.stall_s)
        if fault == "drop":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 yes"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802
        """A body has come."""
        fault = getattr(envelope, "fault", "")
        if fault == "policy":
            return "554 5.7.1 not this message"
        if fault != "drop-lost":
            moment = time.time()
            self.taken += [
                Taken(envelope.mail_from, one, envelope.original_content, moment) for one in envelope.rcpt_tos
            ]
        if fault.startswith("drop"):
            self.dropped[envelope.rcpt_tos[0]] += 1
            server.transport.abort()
        return "250 2.0.0 taken"

    # the loop's side

    async def _listen(self) -> None:
        context = self.tls if self.implicit else None
        self._server = await self._loop.create_server(self._conversation, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    def _conversation(self) -> Any:
        self.connections += 1
        starttls = None if self.implicit else self.tls
        made = self._smtp.SMTP(
            self,
            hostname="mail.example.org",
            loop=self._loop,
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=self._authenticate if self.passwords else None,
            auth_required=bool(self.passwords),
            auth_require_tls=self.tls is not None,
        )
        self._open.add(made)
        return made

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:  # noqa: ARG002
        right = self.passwords.get(data.login.decode()) == data.password.decode()
        return self._smtp.AuthResult(success=right, handled=False)

    async def _silence(self) -> None:
        if self._server is not None:
            self._server.close()
        for one in self._open:
            if one.transport is not None:
                one.transport.abort()
        self._open.clear()
        await asyncio.sleep(0.01)  # lets the handlers of broken connections end
        left = [task for task in asyncio.all_tasks(self._loop) if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
