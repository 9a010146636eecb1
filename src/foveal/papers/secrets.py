"""The home's secret, and what is made with it: tokens that nobody can guess, and of which only a hash is kept.

secret = secret_of(settings.home)
token = token_for(secret, "unsubscribe", seed)     # the same each time: it need not be stored to be sent again
kept = hash_of(token)                              # what the database holds; who reads it can use nothing
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.files import forced
from foveal.settings import make_home

BYTES = 32


def secret_of(home: Path) -> bytes:
    """The home's secret, 32 random bytes that only its owner may read; made at the first call.

    InputError: the file holds something else, such as nothing, with which anybody could make our tokens.
    """
    path = home / "secret.key"
    if not path.exists():
        _make(path)
    held = path.read_bytes()
    if len(held) < BYTES or len(set(held)) < BYTES // 4:  # as chance never makes them
        raise InputError(
            f"{path.name} of the home holds {len(held)} bytes that are no secret; it needs {BYTES} random ones. Delete "
            "it: another is made at the next start, and links that were sent before are of no use any more."
        )
    return held


def _make(path: Path) -> None:
    """Whole or not at all; of two processes at once the first one's stands."""
    make_home(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")  # for its owner only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(BYTES))
        forced(Path(name))  # a power cut would leave an empty one, and links that were sent would be of no use
        try:
            path.hardlink_to(name)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            Path(name).replace(path)
        with suppress(OSError):  # a system that cannot force folders
            forced(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def new_token() -> str:
    """32 random bytes as they stand in an address."""
    return secrets.token_urlsafe(BYTES)


def token_for(secret: bytes, purpose: str, subject: str) -> str:
    """32 bytes that follow from the secret, what they are for, and whom they name; none begins as an option does."""
    made = hmac.new(secret, f"{purpose}:{subject}".encode(), hashlib.sha256).digest()
    return base64.b64encode(made, altchars=b"__").rstrip(b"=").decode()


def hash_of(token: str) -> str:
    """SHA-256 of a token, in hexadecimal; any text has one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
