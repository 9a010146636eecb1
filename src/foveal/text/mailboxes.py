"""Archives of mail (mbox, as Thunderbird, Apple Mail and Gmail write them) to one document a mail.

Address   `<source>#<Message-ID>`; where a mail has none, or that of an earlier one, `<source>#<hash of its bytes>`: it
          keeps its address when others are added or deleted
Left out  the same mail once more, as archives hold it that was put into several folders
A mail that says nothing gives Skipped, and the rest goes on; a file without one good mail fails
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from foveal.errors import UnreadableSource
from foveal.text.files import path_of
from foveal.text.plain import storable
from foveal.text.sources import Skipped, Source
from foveal.types import Document

GIVE_UP_AFTER = 1000  # mails that say nothing, when not one did

LONGEST_ID = 200  # characters

_BEGINS = re.compile(rb"From \S.*\d{4}(?: [+-]\d{4})?\s*$")  # "From ada@example.org Mon Mar  4 10:00:00 2019"
_QUOTED = re.compile(rb">+From ")
_HEADER = re.compile(rb"[!-9;-~]+:")
_ID = re.compile(rb"^message-id:\s*<?([!-~]+?)>?\s*$", re.IGNORECASE | re.MULTILINE)


def is_mailbox(head: bytes) -> bool:
    """Whether a file that begins so is an archive of mail, whatever it is called."""
    first, second = [*head.split(b"\n", 2), b"", b""][:2]
    return _BEGINS.match(first) is not None and _HEADER.match(second) is not None


def mailbox(lines: Iterable[bytes], source: Source) -> Iterator[Document | Skipped]:
    """The mails in `lines`; UnreadableSource, at the end or after many that say nothing, where none says anything."""
    from foveal.text.messages import read_message

    name, good, bad, given = str(path_of(source.address)), 0, 0, set[str]()
    for number, content in enumerate(_mails(lines), 1):
        digest = hashlib.sha256(content).hexdigest()[:32]
        if digest in given:
            continue
        called = _id_of(content)
        address = f"{source.address}#{digest if called is None or called in given else called}"
        given |= {digest, called or digest}
        try:
            mail = read_message(content, name=f"Mail {number} of {name}")
        except UnreadableSource as error:
            bad += 1
            yield Skipped(address, str(error))
            if not good and bad >= GIVE_UP_AFTER:
                break
            continue
        good += 1
        about = {"source": source.address, "kind": "mail", "author": mail.author, "to": mail.to, "cc": mail.cc}
        yield Document.of(
            address,
            mail.text,
            mail.title or f"Mail {number}",
            published_at=mail.published_at,
            metadata={key: value for key, value in about.items() if value},
        )
    if not good:
        raise UnreadableSource(f"{name} holds no mail that says anything. Check what it is, and name it so.")


def _mails(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of each mail: it begins behind a line "From …", at the file's begin or below a blank line, with its
    headers. A line "From what we saw in 2019" that no program has quoted is part of a mail.
    """
    held, begun, blank, border = list[bytes](), False, True, b""
    for line in lines:
        if border:
            if not begun or _HEADER.match(line) or _QUOTED.match(line):  # programs quote a second such line, too
                if held:
                    yield b"".join(held[:-1])  # without the blank line
                held, begun = [], True
            else:
                held.append(border)
        border = line if blank and _BEGINS.match(line) else b""
        if begun and not border:
            held.append(line[1:] if _QUOTED.match(line) else line)
        blank = not line.strip()
    if border:
        held.append(border)
    if held:
        yield b"".join(held if held[-1].strip() else held[:-1])


def _id_of(content: bytes) -> str | None:
    """What a mail calls itself, from its headers."""
    head = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0]
    found = _ID.search(head)
    return storable(found[1].decode("ascii"))[:LONGEST_ID] if found else None
