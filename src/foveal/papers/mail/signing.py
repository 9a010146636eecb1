"""What makes a message ours: its Message-ID, the token by which one leaves, a DKIM signature.

Message-ID   HMAC of run and subscription under the home's secret: a second try of one message has the same, and a
             report that names one was written by somebody who got it
Token        HMAC of the subscription's seed: it is in every message, and only its hash in the database
DKIM         RSA-SHA256 by dkimpy, relaxed/relaxed; covers both List-Unsubscribe headers, as RFC 8058 asks; From,
             Subject and the list's headers are signed once more than they occur, so that none can be added
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.papers.mail.settings import MailSettings, read_secret
from foveal.papers.secrets import token_for

SIGNED = (
    "from", "to", "subject", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding",
    "list-id", "list-unsubscribe", "list-unsubscribe-post", "auto-submitted",
)  # fmt: skip
ONCE_MORE = ("from", "subject", "list-unsubscribe", "list-unsubscribe-post")


def message_id(secret: bytes, run: str, seed: str, domain: str) -> str:
    """The Message-ID of a run's message to the subscription with that seed."""
    made = hmac.new(secret, f"message:{run}:{seed}".encode(), hashlib.sha256).hexdigest()[:32]
    return f"<{made}@{domain}>"


def unsubscribe_token(secret: bytes, seed: str) -> str:
    """The token in the messages of the subscription with that seed."""
    return token_for(secret, "unsubscribe", seed)


@dataclass(frozen=True, kw_only=True)
class Dkim:
    """A key to sign with; made by `dkim_of`."""

    domain: str
    selector: str
    key: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The message with its signature before it."""
        signer = _dkim().DKIM(message)
        there = {name.lower().decode("ascii") for name, _ in signer.headers}
        names = [name for name in SIGNED if name in there] + [name for name in ONCE_MORE if name in there]
        header: bytes = signer.sign(
            self.selector.encode(),
            self.domain.encode(),
            self.key,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[name.encode() for name in names],
        )
        return header + message


def dkim_of(mail: MailSettings, home: Path) -> Dkim | None:
    """The signer of these settings, None where the relay signs. InputError: the key cannot be used."""
    if not mail.dkim_key:
        return None
    key = read_secret(home, mail.dkim_key, what="dkim_key").replace(b"\r\n", b"\n")
    signer = Dkim(domain=mail.dkim_domain or mail.domain, selector=mail.dkim_selector, key=key)
    try:
        signer.sign(f"From: a@{signer.domain}\r\n\r\n".encode())
    except _dkim().DKIMException as error:
        raise InputError(
            f"The file of the setting mail.dkim_key holds no RSA key that can sign ({error}). Make one: "
            "openssl genrsa -out dkim.pem 2048."
        ) from error
    return signer


def _dkim() -> Any:
    from foveal.registry import require

    return require("dkim", extra="mail")
