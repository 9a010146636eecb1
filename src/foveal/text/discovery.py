"""Paths, folders, URLs and arXiv ids to sources: what there is to read, without reading it.

Folders   read to the bottom in the order of names; a folder reached twice (links) is read once; a BEIR folder (with
          corpus.jsonl and queries or judgements beside it) is one source
Pictures  where they are named themselves; of a folder only with `ocr = "all"`, as most beside texts hold none
Left out  hidden files, and folders that hold no one's writing (.git, node_modules, __pycache__, …); Foveal's own home,
          which is said (files in it that are named themselves are read, such as what people sent to the site)
Skipped   said, with the reason: files that are no text, and formats that are not read
Kinds     by the name's ending; files with other endings by their first bytes
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from foveal.errors import InputError, UnreadableSource
from foveal.settings import expanded
from foveal.text.arxiv import arxiv_address
from foveal.text.files import file_address, path_of, read_head
from foveal.text.mailboxes import is_mailbox
from foveal.text.plain import format_of, is_text
from foveal.text.programs import CODE, PROGRAMS
from foveal.text.recognition import PICTURES
from foveal.text.sources import DEFAULTS, LoadSettings, Skipped, Source

HEAD = 4096  # bytes looked at to tell a file's kind

KINDS = {
    **dict.fromkeys((".txt", ".text"), "text"),
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".mhtml", ".mht"), "saved page"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys(PROGRAMS, CODE),
    ".pdf": "pdf",
    **dict.fromkeys(PICTURES, "picture"),
    ".ipynb": "notebook",
    ".eml": "mail",
    ".msg": "outlook mail",
    ".mbox": "mailbox",
    ".epub": "epub",
    **dict.fromkeys((".doc", ".dot"), "doc"),
    **dict.fromkeys((".ppt", ".pps", ".pot"), "ppt"),
    **dict.fromkeys((".xls", ".xlt"), "xls"),
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), "docx"),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"), "pptx"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx", ".xltm"), "xlsx"),
    **dict.fromkeys((".odt", ".ott"), "odt"),
    **dict.fromkeys((".odp", ".otp"), "odp"),
    **dict.fromkeys((".ods", ".ots"), "ods"),
    ".rtf": "rtf",
}
_JUNK = frozenset(
    (
        ".git",
        ".hg",
        ".svn",
        "node_modules",
        "__pycache__",
        "__MACOSX",
        ".venv",
        "venv",
        ".tox",
        ".DS_Store",
        "Thumbs.db",
    )
)
_UNREAD = {
    ".xlsb": "is a binary workbook, which is not read. Save it as .xlsx, and add that.",
    **dict.fromkeys((".mobi", ".azw3", ".djvu", ".ps"), "is a format not read. Convert it to PDF, HTML or text."),
    **dict.fromkeys((".pst", ".ost"), "is an archive of Outlook, which is not read. Export it as .mbox or .eml files."),
    **dict.fromkeys((".svg", ".svgz", ".eps"), "is a picture. Put what it says into a text beside it."),
    ".jxl": "is a picture of a kind not read. Save it as JPEG or PNG.",
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"), "is an archive. Unpack it first."),
}
_BESIDE = (
    "is a picture: of a folder they are not read. Name it, or set ocr to all (FOVEAL_OCR=all), and text recognition "
    "reads what stands in it."
)
_HTML = re.compile(  # a comment ends at its first -->: else many in a row could be read in very many ways
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.DOTALL
)
_TAR_MARK = slice(257, 262)


def discover(given: Sequence[str | Path], settings: LoadSettings = DEFAULTS) -> Iterator[Source | Skipped]:
    """The sources in `given`: files, folders, URLs, `arxiv:ID`. Each address comes once.

    InputError, at once, for a path that is not there or an address that cannot be one.
    """
    if isinstance(given, str | Path):
        raise InputError(f"discover got {given!r} alone; it needs a list. Write [{str(given)!r}].")
    if not isinstance(given, Iterable):
        raise InputError(f"discover got {given!r:.60}; it needs a list of paths, URLs and arXiv ids.")
    return _all([_start(item) for item in given], settings)


def kind_of(head: bytes) -> str | None:
    """The kind of a file of unknown name that begins with `head`; None where it is none that is read."""
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "html"
    return "text" if is_text(head) else None


def _start(item: str | Path) -> Source | Path:
    if not isinstance(item, str | os.PathLike):
        raise InputError(f"A source has to be a text (a str) or a Path; this got {item!r:.60}.")
    text = str(item).strip()
    if isinstance(item, str):
        if not text:  # to a path "" is this folder, and to a person a variable that is not set
            raise InputError("A source is empty. Name a file, a folder (. is this one), a URL, or arxiv:ID.")
        if address := arxiv_address(text):
            return Source(address, "arxiv")
        if re.match("https?://", text, re.IGNORECASE):
            return Source(_url_address(text), "url")
        if text.startswith("file://"):
            return _existing(path_of(text))
        if re.match(r"[a-z][a-z0-9+.-]*://|arxiv:", text, re.IGNORECASE):
            raise InputError(f"{text!r} is no address that is read. These are: a path, https://…, http://…, arxiv:ID.")
    return _existing(expanded(item))


def _url_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise InputError(f"{url!r} is not a valid address: {error}. Check its spelling.") from error
    if not host or "@" in parts.netloc:
        wrong = "holds a user name or password, which would be stored" if host else "names no host"
        raise InputError(f"The address of {host or repr(url)} {wrong}. Write it as https://host/page.")
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), fragment="").geturl()


def _existing(path: Path) -> Path:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no file or folder {str(path)!r} that can be read (looked in {Path.cwd()}): {error}. "
            "Check its spelling (a web address begins with https://)."
        ) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is neither a file nor a folder. Write what it gives to a file, and name that.")
    return path


def _all(starts: Sequence[Source | Path], settings: LoadSettings) -> Iterator[Source | Skipped]:
    given: set[str] = set()
    for start in starts:
        for found in [start] if isinstance(start, Source) else _walk(start, settings):
            if found.address not in given:
                given.add(found.address)
                yield found


def _walk(start: Path, settings: LoadSettings) -> Iterator[Source | Skipped]:
    stack, folders, home = [start], set[tuple[int, int]](), _home(settings)
    pictures = settings.recognition.ocr == "all"
    while stack:
        path = stack.pop()
        try:
            about = path.stat()
            if not stat.S_ISDIR(about.st_mode):
                found = _file(path, about)
                if isinstance(found, Source) and found.kind == "picture" and not (path == start or pictures):
                    found = Skipped(found.address, f"{path} {_BESIDE}")
                yield found
            elif (about.st_dev, about.st_ino) == home:
                if home not in folders:
                    folders.add(home)
                    own = f"{path} is Foveal's own home, whose files are no documents."
                    yield Skipped(file_address(path), f"{own} Name those in it that are to be read.")
            elif _is_beir(path):
                yield Source(file_address(path), "beir", _corpus_size(path))
            elif (about.st_dev, about.st_ino) not in folders:
                folders.add((about.st_dev, about.st_ino))
                stack += sorted(
                    (Path(entry) for entry in os.scandir(path) if _wanted(entry.name, settings)), reverse=True
                )
        except OSError as error:
            yield Skipped(path.absolute().as_uri(), f"{path} cannot be read: {error.strerror or error}.")


def _home(settings: LoadSettings) -> tuple[int, int] | None:
    try:
        about = settings.home.stat() if settings.home else None
    except OSError:  # there is none yet
        return None
    return about and (about.st_dev, about.st_ino)


def _wanted(name: str, settings: LoadSettings) -> bool:
    if name in _JUNK or name.startswith("~$"):  # beside a document that an office program has open
        return False
    return settings.include_hidden or not name.startswith(".")


def _file(path: Path, about: os.stat_result) -> Source | Skipped:
    address = file_address(path)
    ending = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()
    if not stat.S_ISREG(about.st_mode):
        return Skipped(address, f"{path} is no ordinary file.")
    if about.st_size == 0:
        return Skipped(address, f"{path} holds no text: it is empty. Leave it out, or check how it was made.")
    if ending in _UNREAD:
        return Skipped(address, f"{path} {_UNREAD[ending]}")
    if ending in KINDS:
        return Source(address, KINDS[ending], about.st_size)
    return _by_first_bytes(path, address, about.st_size)


def _by_first_bytes(path: Path, address: str, size: int) -> Source | Skipped:
    try:
        head = read_head(path, HEAD)
    except UnreadableSource as error:
        return Skipped(address, str(error))
    if head[_TAR_MARK] == b"ustar":
        return Skipped(address, f"{path} is an archive. Unpack it first.")
    kind = "mailbox" if is_mailbox(head) else kind_of(head)
    if kind is None:
        return Skipped(address, f"{path} is not text ({format_of(head) or 'by its bytes'}).")
    return Source(address, kind, size)


def _is_beir(folder: Path) -> bool:
    beside = ("queries.jsonl", "queries.jsonl.gz", "qrels")
    return beir_corpus(folder) is not None and any((folder / name).exists() for name in beside)


def beir_corpus(folder: Path) -> Path | None:
    """The corpus file of a BEIR folder."""
    return next((path for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path := folder / name).is_file()), None)


def _corpus_size(folder: Path) -> int | None:
    corpus = beir_corpus(folder)
    return corpus.stat().st_size if corpus else None
