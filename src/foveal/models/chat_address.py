"""Where a model server is asked: its address and its key, checked before anything is sent."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from foveal.errors import InputError

LEAST_KEY = 8
"""Characters of a key that guards something; a shorter one, as "none", may be a word of an error."""


def address(url: str) -> tuple[str, str]:
    """An address as it is asked, and its host. InputError: it is none.

    It ends before /chat/completions: what is copied with it from a page goes without.
    """
    url = re.sub(r"/chat/completions/*$", "", url.strip())
    try:
        parts = urlsplit(url)
        host = (parts.scheme in ("http", "https") and parts.port != 0 and parts.hostname) or ""
    except ValueError:  # a bracket without its other half, or a port that is no number
        host = ""
    if not (host and url.isprintable()):
        told = re.sub(r"(?s)^(\w*://)?.*@", r"\1…@", url)  # a password may be what makes it no address
        raise InputError(f"The model server's address is {told!r}; it needs the form http://127.0.0.1:8080/v1.")
    return url, host


def key_of(*given: str | None) -> str:
    """The first key that is one, "none" where none is, as a header takes it: a file or a shell leaves a line end.

    InputError: it holds what no header takes. It is not shown: errors are read by others, too.
    """
    key = next(filter(None, ((one or "").strip() for one in given)), "none")
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"The key of the model server holds what no key has: of its {len(key)} characters not all are printable "
            "ASCII. Copy it anew, to wherever it came from: api_key, FOVEAL_CHAT_KEY or OPENAI_API_KEY."
        )
    return key


def shown(url: str) -> str:
    """An address without the name and password that may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def without_key(text: str, key: str) -> str:
    """A server's words without the key that it was sent, should it repeat it."""
    return text.replace(key, "…") if len(key) >= LEAST_KEY else text
