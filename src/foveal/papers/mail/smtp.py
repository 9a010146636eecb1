"""A conversation with the mail server, cut where it matters: before the message's body, and after it.

    with connect(mail, home) as server:
        server.begin(sender, recipient)     # MAIL, RCPT, DATA: the server would take it. Nothing is sent yet
        server.finish(message)              # the body; when this returns, the server has it

Refused    the server said no (code, text): certainly not taken
Gone       no answer came. Before `finish` the message was not taken; within it nobody knows
Security   STARTTLS or TLS, with the certificate checked against the name; never in the clear to another machine
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foveal.errors import MailFailed
from foveal.papers.mail.settings import MailSettings, password_of

GO_AHEAD = 354
_DOTS = re.compile(rb"^\.", re.MULTILINE)


class Refused(Exception):
    """The server's answer was no; `stage` is mail, rcpt, data or body."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.stage, self.code, self.text = stage, code, text

    @property
    def of_us(self) -> bool:
        """Whether it is no fault of a recipient or message: it came before both, or the server closes (421)."""
        return self.stage == "mail" or self.code == 421


class Gone(Exception):
    """The connection broke, or no answer came in time."""


class Server:
    """An open connection; made by `connect`."""

    def __init__(self, smtp: smtplib.SMTP) -> None:
        self._smtp = smtp
        self._amid = False  # the server waits for a body

    def begin(self, sender: str, recipient: str) -> None:
        """Ask the server to take a message. Refused, Gone: it does not."""
        try:
            self._taken("mail", (250,), *self._smtp.mail(sender))
            self._taken("rcpt", (250, 251), *self._smtp.rcpt(recipient))
            self._taken("data", (GO_AHEAD,), *self._smtp.docmd("DATA"))
            self._amid = True
        except (smtplib.SMTPException, OSError) as error:
            raise Gone(str(error)) from error

    def finish(self, message: bytes) -> str:
        """Send the body; what the server said. Refused: it does not keep it. Gone: nobody knows whether it does."""
        body = _DOTS.sub(b"..", message)
        try:
            self._smtp.send(body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n")
            code, text = self._smtp.getreply()
            self._amid = False
        except (smtplib.SMTPException, OSError) as error:
            raise Gone(str(error)) from error
        if code != 250:
            raise Refused("body", code, _said(text))
        return _said(text)

    def close(self) -> None:
        """Say goodbye, if anybody listens; in the middle of a message just leave."""
        if not self._amid:
            with suppress(smtplib.SMTPException, OSError):
                self._smtp.quit()
        self.drop()

    def drop(self) -> None:
        """Leave at once, in the middle of a message if need be: the server then keeps none of it."""
        self._smtp.close()

    def _taken(self, stage: str, wanted: tuple[int, ...], code: int, text: bytes) -> None:
        if code in wanted:
            return
        with suppress(smtplib.SMTPException, OSError):
            if code != 421:
                self._smtp.rset()
        raise Refused(stage, code, _said(text))


@contextmanager
def connect(mail: MailSettings, home: Path) -> Iterator[Server]:
    """A connection for the length of the block; see `opened`."""
    server = opened(mail, home)
    try:
        yield server
    finally:
        server.close()


def opened(mail: MailSettings, home: Path) -> Server:
    """A connection. Gone: nobody answers. MailFailed: the server cannot be trusted, or does not know us."""
    try:
        smtp = _plain_or_tls(mail, home)
    except ssl.SSLError as error:
        raise MailFailed(_untrusted(mail, error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Gone(f"{mail.host}:{mail.port} does not answer ({error})") from error
    try:
        _secured(smtp, mail, home)
        if mail.user:
            smtp.login(mail.user, password_of(mail, home))
    except ssl.SSLError as error:
        smtp.close()
        raise MailFailed(_untrusted(mail, error)) from error
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError) as error:
        smtp.close()
        raise MailFailed(
            f"{mail.host}:{mail.port} does not let {mail.user or 'us'} in ({error}). Check mail.user, its password and "
            "mail.security."
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        smtp.close()
        raise Gone(f"{mail.host}:{mail.port} broke off ({error})") from error
    except BaseException:
        smtp.close()
        raise
    return Server(smtp)


def _plain_or_tls(mail: MailSettings, home: Path) -> smtplib.SMTP:
    name, wait = mail.host_name, float(mail.timeout_s)
    if mail.security == "tls":
        return smtplib.SMTP_SSL(mail.host, mail.port, name, timeout=wait, context=_trust(mail, home))
    return smtplib.SMTP(mail.host, mail.port, name, timeout=wait)


def _secured(smtp: smtplib.SMTP, mail: MailSettings, home: Path) -> None:
    smtp.ehlo_or_helo_if_needed()
    if mail.security != "starttls":
        return
    if not smtp.has_extn("starttls"):
        raise MailFailed(
            f"{mail.host}:{mail.port} offers no STARTTLS, and nothing is sent in the clear. Use the port that has it "
            "(587), or mail.security = 'tls' (465)."
        )
    smtp.starttls(context=_trust(mail, home))
    smtp.ehlo()


def _trust(mail: MailSettings, home: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=home / mail.authority if mail.authority else None)
    except (OSError, ssl.SSLError) as error:
        raise MailFailed(
            f"The file of the setting mail.authority cannot be used ({error}): {mail.authority}."
        ) from error


def _untrusted(mail: MailSettings, error: Exception) -> str:
    return (
        f"{mail.host}:{mail.port} could not prove that it is {mail.host} ({error}). Check mail.host, mail.port and "
        "mail.security; mail.authority names the file of an authority of your own."
    )


def _said(text: bytes | str) -> str:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(plain.split())[:500]
