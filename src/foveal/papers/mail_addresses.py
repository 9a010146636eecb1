"""An e-mail address as it is kept: two spellings of one mailbox are one, two mailboxes stay two.

    canonical(" Ana+Papers@EXAMPLE.org ")      # "Ana+Papers@example.org"
    canonical("ana@straße.example")            # "ana@xn--strae-oqa.example"

The domain is written in small letters and in ASCII (IDNA 2008, which keeps ß apart from ss). What stands before the @
is the receiving server's business: its case and its +tag stay. Letters beyond ASCII there need a server that takes
them (RFC 6531); few do, and they are refused. So is =?, with which a header says that what follows is encoded.
"""

from __future__ import annotations

import re

from foveal.errors import InputError

MOST = 254
"""Characters of an address (RFC 5321: a path of 256, with its brackets)."""

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")


def canonical(address: str) -> str:
    """The address as it is kept and compared. InputError: it is none that we can write to."""
    local, at, domain = address.strip().rpartition("@")
    plain = _ascii(domain)
    if not at or len(local) > 64 or not _LOCAL.fullmatch(local) or "=?" in local or not _DOMAIN.fullmatch(plain):
        raise _refused(address)
    whole = f"{local}@{plain}"
    if len(whole) > MOST:
        raise _refused(address)
    return whole


def domain_of(address: str) -> str:
    """What stands behind the @."""
    return address.rpartition("@")[2]


def _ascii(domain: str) -> str:
    if domain.isascii():
        return domain.lower()
    import idna  # httpx brings it

    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return ""


def _refused(address: str) -> InputError:
    return InputError(
        f"{address.strip()[:80]!r} is no e-mail address that we can write to. One looks like ana@example.org."
    )
