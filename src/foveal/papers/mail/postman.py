"""Mails that a page or command sends to one person: links to confirm, to sign in.

    deliver = Postman(home, mail, secret)             # deliver(address, subject, text)
    with postman: …                                   # the thread ends with the block, what is waiting is sent first

A page that hands over a mail goes on at once, whether or not there is somebody to write to: the time that an answer
takes says nothing. What cannot be sent is tried again for some minutes and then given up (a person asks for another
link); nothing is kept, since what is waiting holds links.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from contextlib import closing
from pathlib import Path

from foveal import faults
from foveal.errors import MailFailed
from foveal.papers.mail.message import single
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.signing import Dkim
from foveal.papers.mail.smtp import Gone, Refused, opened

WAITS_S = (2.0, 15.0, 60.0, 240.0)
MOST_WAITING = 1_000

logger = logging.getLogger("foveal.papers.mail")

Letter = tuple[str, str, str]


class Postman:
    """A thread that sends single mails, one after the other."""

    def __init__(
        self, home: Path, mail: MailSettings, *, dkim: Dkim | None = None, waits_s: tuple[float, ...] = WAITS_S
    ) -> None:
        self.home, self.mail, self.dkim, self.waits_s = home, mail.complete(), dkim, waits_s
        self._letters: queue.Queue[Letter | None] = queue.Queue(MOST_WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = threading.Lock()

    def __call__(self, address: str, subject: str, text: str) -> None:
        """Hand over a mail; with too many waiting, and at the end, it is dropped, and the log says so."""
        if self._stop.is_set():
            logger.error("a mail was dropped: the sending of mails has ended")
            return
        with self._started:
            if not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="foveal-postman", daemon=True)
                self._thread.start()
        try:
            self._letters.put_nowait((address, subject, text))
        except queue.Full:
            logger.error("a mail was dropped: %d are waiting", MOST_WAITING)

    def __enter__(self) -> Postman:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, timeout_s: float = 30) -> None:
        """Send what is waiting, without a second try, and end."""
        self._stop.set()
        if self._thread and self._thread.is_alive():
            self._letters.put(None)
            self._thread.join(timeout_s)
            if self._thread.is_alive():  # what waits, and the one that is under way
                logger.error("%d mails were not sent within %.0f s, and are dropped", self._letters.qsize(), timeout_s)

    def _run(self) -> None:
        while (letter := self._letters.get()) is not None:
            try:
                self._send(letter)
            except Exception:  # whatever it is: what waits behind this letter is sent
                logger.exception("a mail could not be sent")

    def _send(self, letter: Letter) -> None:
        for wait in (*self.waits_s, None):
            try:
                send_now(self.home, self.mail, *letter, dkim=self.dkim)
                return
            except Refused as refused:
                if refused.code >= 500 or wait is None or self._stop.wait(wait):
                    logger.warning("a mail was refused: %s", refused)
                    return
            except (Gone, MailFailed) as error:
                if wait is None or self._stop.wait(wait):
                    logger.error("a mail could not be sent: %s", error)
                    return


def send_now(
    home: Path, mail: MailSettings, address: str, subject: str, text: str, *, dkim: Dkim | None = None
) -> None:
    """Send a mail while the caller waits. Gone, Refused, MailFailed: it was not sent."""
    name = f"<{secrets.token_hex(16)}@{mail.domain}>"
    raw = single(mail, to=address, subject=subject, text=text, message_id=name, date=faults.now())
    with closing(opened(mail, home)) as server:
        server.begin(mail.return_address, address)
        server.finish(dkim.sign(raw) if dkim else raw)
