"""What visitors hand in, made into sources that `Library.add` takes: files kept in the home, URLs, arXiv ids, texts.

Address   a file lies at home/uploads/HASH/NAME, by the hash of its bytes: sent again, even under another name, it is
          the same document, also where the home was moved since, and two people's "paper.pdf" never meet
Kinds     PDF, EPUB, office documents, HTML, Markdown, text, programs, mail, notebooks; pictures where text recognition
          is installed, by the name's ending or the first bytes; all else is refused before it is kept
Names     only their last part, only what is printable, never hidden, never long; never a way out of the folder
URLs      http and https only, so that no path of this machine is ever read; the fetcher refuses private addresses
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.retrieval.sent_files import DIGITS, UPLOADS
from foveal.settings import Settings
from foveal.text.arxiv import arxiv_address
from foveal.text.discovery import HEAD, KINDS, discover, kind_of
from foveal.text.files import file_address
from foveal.text.loading import OFFICE
from foveal.text.plain import format_of
from foveal.text.programs import PROGRAMS
from foveal.text.recognition import PICTURES
from foveal.text.sources import load_settings

TAKEN = (
    "pdf",
    "picture",
    "html",
    "markdown",
    "text",
    "code",
    "epub",
    *OFFICE,
    "notebook",
    "mail",
    "outlook mail",
    "saved page",
)
"""Kinds of files that are taken."""

SAID = (
    "PDF, picture, EPUB, Word, PowerPoint, Excel, OpenDocument, RTF, HTML, Markdown, text, program, mail and notebook"
)
"""The same, for people."""

ENDINGS = {"pdf": ".pdf", "html": ".html", "text": ".txt"}
"""The ending of a file whose name has none, by its first bytes."""

LONGEST_NAME = 100
"""Bytes of a name; file systems take 255, and the title is read from it."""

LONGEST_TITLE = 80
"""Characters of a pasted text's first line that name it."""

SHORTEST_UNSPACED = 10
"""Characters of a text without a blank, in a script that is written so (Thai to Khmer, kana, Chinese)."""

ACCEPT = (
    ".pdf,.html,.htm,.xhtml,.mhtml,.mht,.md,.markdown,.txt,.text,.csv,.tsv,.epub,.doc,.dot,.ppt,.pps,.pot,.xls,.xlt,.docx,.docm,.dotx,.dotm,.pptx,.pptm,.ppsx,"
    ".ppsm,.potx,.potm,.xlsx,.xlsm,.xltx,.xltm,.odt,.ott,.odp,.otp,.ods,.ots,.rtf,.ipynb,.eml,.msg,"
    f"{','.join(PROGRAMS)},{','.join(PICTURES)},"
    "application/pdf,text/html,text/markdown,text/plain,text/csv,application/epub+zip,message/rfc822"
)
"""For the browser's own file dialog."""

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Given:
    """A source to add: what `Library.add` is given, the name that people see, and the file that is ours to delete."""

    source: str | Path
    name: str
    address: str
    kept: Path | None = None


def file_given(settings: Settings, name: str, content: bytes) -> Given:
    """Keep a file that was sent. InputError: it is empty, too large, or of a kind that is not taken."""
    shown = safe_name(name) or "file"
    if not content:
        raise InputError(f"{shown} is empty. Choose a file that has text in it.")
    if len(content) > settings.max_bytes:
        raise InputError(f"{shown} has {len(content):,} bytes; at most {settings.max_bytes:,} are read. Split it.")
    if KINDS.get(PurePosixPath(shown).suffix.lower()) == "picture" and not load_settings(settings).recognition.active:
        raise InputError(f"{shown} is a picture; what stands in pictures is not read here. Send it as a text or PDF.")
    folder = settings.home / UPLOADS / hashlib.sha256(content).hexdigest()[:DIGITS]
    path = _there(folder) or folder / _with_ending(shown, content)
    if not path.is_file():
        with whole_file(path, lasting=True) as partial:
            partial.write_bytes(content)
    return Given(path, shown, file_address(path), path)


def pasted_given(settings: Settings, pasted: str, title: str = "") -> Given:
    """What stands in the one field for all: a URL, an arXiv id, or a text. InputError: none of these."""
    text = pasted.strip()
    if not text:
        raise InputError("Nothing was given. Choose a file, or paste a URL, an arXiv id or a text.")
    if address := arxiv_address(text) or arxiv_address(f"arxiv:{text}"):
        return Given(address, address, address)
    if _URL.fullmatch(text):
        address = next(iter(discover([text]))).address  # as `add` will write it
        return Given(address, text, address)
    if not (re.search(r"\s", text) or len(_UNSPACED.findall(text)) >= SHORTEST_UNSPACED):
        raise InputError(
            f"{text[:200]!r} is neither a URL (https://…) nor an arXiv id (2103.00020), and too short for a text."
        )
    first = " ".join(text.split("\n", 1)[0].lstrip("#").split())[:LONGEST_TITLE]
    return file_given(settings, f"{safe_name(title.strip() or first) or 'Pasted text'}.txt", pasted.encode())


def addresses_in(pasted: str) -> list[str]:
    """The URLs and arXiv ids where nothing else was pasted; none of a text."""
    parts = pasted.split()
    known = all(_URL.fullmatch(one) or arxiv_address(one) or arxiv_address(f"arxiv:{one}") for one in parts)
    return parts if known else []


def safe_name(name: str) -> str:
    """The last part of a name without what could hurt: "../../etc/pass\\nwd" becomes "passwd"; "" if all is lost."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    printable = "".join(c for c in last if unicodedata.category(c)[0] not in "C" and c not in '<>:"|?*')
    stem, dot, ending = " ".join(printable.split()).strip(". ").rpartition(".")
    stem, ending = (stem, f".{ending}") if dot and len(ending) <= 10 else (stem + dot + ending, "")
    room = LONGEST_NAME - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore").strip() + ending


def forget(given: Given) -> None:
    """Delete a file that was kept and is in no library."""
    if given.kept:
        given.kept.unlink(missing_ok=True)
        if given.kept.parent.is_dir() and not any(given.kept.parent.iterdir()):
            given.kept.parent.rmdir()


def upload_of(settings: Settings, source: str) -> Path | None:
    """The kept file that a document's source names; None where it came from elsewhere.

    A home may have been moved since: its files are told by what follows "uploads/", in this home.
    """
    if not source.startswith("file:"):
        return None
    from foveal.text.files import path_of

    above, folder, name = ("", "", "", *path_of(source.partition("#")[0]).parts)[-3:]
    if above != UPLOADS or not re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", folder):
        return None
    path = settings.home / above / folder / name
    return path if path.is_file() else None


def _there(folder: Path) -> Path | None:
    """The file that was kept before with the same bytes."""
    return next((one for one in sorted(folder.glob("*")) if not one.name.startswith(".")), None)


def _with_ending(name: str, content: bytes) -> str:
    """The name, with an ending that says what it is. InputError: the kind is not taken."""
    kind = KINDS.get(PurePosixPath(name).suffix.lower())
    if kind in TAKEN:
        return name
    found = kind_of(content[:HEAD]) if kind is None and not name.lower().endswith(".gz") else None
    if found is None:
        said = format_of(content[:HEAD]) or (kind and f"a file of kind {kind}") or "no text"
        raise InputError(f"{name} is not taken: it is {said}. Taken are {SAID} files.")
    return name + ENDINGS[found]
