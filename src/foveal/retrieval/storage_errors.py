"""What a disk, an object store and Lance refuse, in our words.

Lance raises OSError, RuntimeError or ValueError, by the layer that a failure came from, and says what it was only in
the message; so the kind of failure is told by signs in it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.errors import FovealError, LibraryBusy, LibraryCorrupt, LibraryError, StorageFull
from foveal.settings import store_uri

DAMAGED = ("not found", "no such file", "corrupt", "invalid range", "magic", "unexpected eof", "failed to decode")
"""What Lance says of files that are not there or not whole."""

CONFLICTS = ("commit conflict", "conflicting", "concurrent commit", "too many concurrent writers")
"""What it says where another process committed at the same moment, and the two do not go together."""

REFUSED = (
    "accessdenied", "access denied", "forbidden", "unauthorized", "unauthenticated", "invalidaccesskeyid",
    "signaturedoesnotmatch", "credential", "missing region",
)  # fmt: skip
"""What an object store says to keys that it does not take, and Lance where it finds none."""

UNREACHABLE = (
    "failed to resolve region", "error sending request", "connect error", "connection refused", "dns error",
    "timed out", "max_retries",
)  # fmt: skip
"""What Lance says of an object store that does not answer."""


@contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Say in our words what the operating system refused."""
    try:
        yield
    except OSError as error:
        raise _translated(uri, error) from error


@contextmanager
def lance_errors(uri: str) -> Iterator[None]:
    """Say in our words what Lance raises (OSError, RuntimeError or ValueError, by the layer it came from)."""
    try:
        yield
    except FovealError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise _translated(uri, error) from error


def _translated(uri: str, error: Exception) -> LibraryError:
    text = re.sub(r",? \S+\.rs:\d+(:\d+)?", "", " ".join(str(error).split()))  # where in Lance's source: not ours
    short = text if len(text) <= 300 else text[:300] + " …"
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text:
        return StorageFull(
            f"No space is left for the library at {uri}. What was reported done is kept; free some space and run "
            "the same command again: it goes on from there."
        )
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return LibraryError(f"The library at {uri} may not be written or read by this user: {short}")
    if getattr(error, "errno", None) == errno.EROFS or "Read-only file system" in text:
        return LibraryError(
            f"The library at {uri} lies on a file system that can only be read: {short}. It can be searched; to change "
            "it, copy its home to where you may write, and name that by --home."
        )
    said = text.replace(uri, "").lower()
    if any(sign in said for sign in CONFLICTS):
        return LibraryBusy(
            f"Another process changed the library at {uri} at the same moment. What was reported done is kept; run the "
            "same command again: it goes on from there."
        )
    if store_uri(uri) and (remote := _of_object_store(uri, said, short)):
        return remote
    if any(sign in said for sign in DAMAGED):
        return LibraryCorrupt(
            f"Files of the library at {uri} are missing or damaged: {short}. Put the folder back from a copy, or "
            "move it away and add the sources again."
        )
    return LibraryError(f"The library at {uri} could not be used: {short}")


def _of_object_store(uri: str, said: str, short: str) -> LibraryError | None:
    """What only an object store says; None: something else."""
    if "nosuchbucket" in said or "bucket does not exist" in said:
        return LibraryError(f"There is no bucket for {uri}. Make it first, or mend the name: {short}")
    if any(sign in said for sign in REFUSED):
        return LibraryError(
            f"The store of {uri} does not let this user in: {short}. Its keys come from the environment (for S3: "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION)."
        )
    if any(sign in said for sign in UNREACHABLE):
        return LibraryError(
            f"The store of {uri} cannot be reached: {short}. Check the network, and for a server of your own "
            "AWS_ENDPOINT_URL (and AWS_ALLOW_HTTP=true where it speaks plain HTTP). What was reported done is kept."
        )
    return None
