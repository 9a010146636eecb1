"""Sources to documents: what `foveal add` and `foveal read` begin with.

    for found in discover(["papers/", "https://example.org/page", "arxiv:2103.00020"]):
        for document in load(found):        # Document, or Skipped with the reason
            …

One reader for each kind of source; heavy parsers load when the first source of their kind is read. A source that
fails as a whole raises UnreadableSource or FetchFailed; a bad record among good ones gives Skipped.
Every document's metadata holds `source` (the address of the file, page or folder that it came from) and `kind` (for a
URL: what the page turned out to be).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from foveal.errors import Cancelled, FovealError, InputError, UnreadableSource
from foveal.text.arxiv import ArxivClient
from foveal.text.discovery import KINDS, beir_corpus, discover, kind_of
from foveal.text.fetching import Fetched, fetch
from foveal.text.files import path_of, read_bytes, read_lines
from foveal.text.markdown import markdown_date, markdown_fields, markdown_title
from foveal.text.office import OfficeText
from foveal.text.ole import OLE
from foveal.text.openings import opening_of
from foveal.text.plain import decode, require_text, storable
from foveal.text.programs import CODE
from foveal.text.recognition import RecognitionSettings
from foveal.text.records import records
from foveal.text.sources import DEFAULTS, LoadSettings, OnPart, Part, Skipped, Source, untold
from foveal.types import PRINTED_PAGES, Document, Scalar

__all__ = ["LoadSettings", "Skipped", "Source", "discover", "documents_of", "load", "read_document", "readable"]

Loaded = Iterator[Document | Skipped]

logger = logging.getLogger("foveal.text.loading")

_MEDIA_KINDS = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    **{
        f"image/{one}": "picture"
        for one in ("png", "jpeg", "tiff", "webp", "bmp", "gif", "avif", "heic", "heif", "jp2")
    },
    "multipart/related": "saved page",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/epub+zip": "epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/msword": "doc",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-outlook": "outlook mail",
    "application/rtf": "rtf",
    "text/rtf": "rtf",
}

OLD_OFFICE = {"doc": "docx", "ppt": "pptx", "xls": "xlsx"}
"""Kinds of office documents of 1997 to 2003, and what such a file is if its bytes are of later years."""

OFFICE = ("docx", "pptx", "xlsx", "odt", "odp", "ods", "rtf", *OLD_OFFICE)
"""Kinds of office documents."""

_UNMISTAKEN = ("markdown", "jsonl", "saved page", CODE, "epub", "outlook mail", *OFFICE)
"""Kinds that an address's ending tells where the server says nothing precise."""


@dataclass(frozen=True)
class _Raw:
    """The bytes of one file or page, and what is known of them before they are parsed."""

    source: Source
    kind: str
    content: bytes
    name: str  # as errors call it
    stem: str  # the title, where the content has none
    max_bytes: int
    url: str | None = None
    charset: str | None = None
    recognition: RecognitionSettings = field(default_factory=RecognitionSettings)
    on_part: OnPart = untold


def load(source: Source, settings: LoadSettings = DEFAULTS, on_part: OnPart = untold) -> Loaded:
    """The documents of `source`, read as they are asked for; `on_part` hears of each page or chapter of a long one."""
    reader = _READERS.get(source.kind)
    if reader is None:
        raise InputError(f"A source of kind {source.kind!r} cannot be read. There are: {', '.join(_READERS)}.")
    return reader(source, settings, on_part)


def readable(source: Source, settings: LoadSettings = DEFAULTS, on_part: OnPart = untold) -> Loaded:
    """As `load`; a source that fails as a whole gives Skipped, too, after what was read of it.

    So does one on which our own code, or a parser's, fails: the log has the traceback, and the other sources go on.
    """
    try:
        yield from load(source, settings, on_part)
    except (Cancelled, MemoryError):
        raise
    except FovealError as error:
        yield Skipped(source.address, str(error))
    except Exception as error:  # a parser may stumble in any way, and the sources behind this one are to be read
        logger.exception("%s could not be read", source.address)
        reason = f"{source.address} could not be read, by a fault of ours ({type(error).__name__}: {error})."
        yield Skipped(source.address, f"{reason} The log says where; please report it.")


def read_document(path_or_url: str | Path, settings: LoadSettings = DEFAULTS, on_part: OnPart = untold) -> Document:
    """The one document at a path or URL; an error where there is none, or more than one."""
    found = list(discover([path_or_url], settings))
    if len(found) == 1 and isinstance(found[0], Source):
        documents = load(found[0], settings, on_part)
        first = next((item for item in documents if isinstance(item, Document)), None)
        if first and not any(isinstance(item, Document) for item in documents):
            return first
    elif len(found) == 1 and isinstance(found[0], Skipped):
        raise UnreadableSource(found[0].reason)
    raise InputError(
        f"{path_or_url} does not hold exactly one document. Name one file or page, or add it to a library."
    )


def _load_file(source: Source, settings: LoadSettings, on_part: OnPart) -> Loaded:
    path = path_of(source.address)
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    content = read_bytes(path, settings.max_bytes)
    stem = storable(_printable(name.name if source.kind == CODE else name.stem))
    most, recognition = settings.max_bytes, settings.recognition
    raw = _Raw(source, source.kind, content, str(path), stem, most, recognition=recognition, on_part=on_part)
    yield _PARSERS[raw.kind](raw)


def _load_jsonl(source: Source, settings: LoadSettings, _: OnPart) -> Loaded:
    lines = read_lines(path_of(source.address), settings.max_bytes)
    return records(lines, source, bare_titles=settings.bare_titles)


def _load_mailbox(source: Source, settings: LoadSettings, _: OnPart) -> Loaded:
    from foveal.text.mailboxes import mailbox

    return mailbox(read_lines(path_of(source.address), settings.max_bytes), source)


def _load_beir(source: Source, settings: LoadSettings, _: OnPart) -> Loaded:
    folder = path_of(source.address)
    corpus = beir_corpus(folder)
    if corpus is None:
        raise UnreadableSource(f"{folder} holds no corpus.jsonl or corpus.jsonl.gz (any more). Check the folder.")
    return records(read_lines(corpus, settings.max_bytes), source, bare_titles=settings.bare_titles)


def _load_arxiv(source: Source, settings: LoadSettings, on_part: OnPart) -> Loaded:
    client = ArxivClient(settings.arxiv, settings.fetch)
    told = _told(source, "pages", on_part)
    paper, recognition = source.address.removeprefix("arxiv:"), settings.recognition
    yield client.document(paper, max_bytes=_limit(settings), on_page=told, recognition=recognition)


def _load_url(source: Source, settings: LoadSettings, on_part: OnPart) -> Loaded:
    page = fetch(source.address, replace(settings.fetch, max_bytes=_limit(settings)))
    yield from documents_of(page, source, settings, on_part)


def documents_of(page: Fetched, source: Source, settings: LoadSettings = DEFAULTS, on_part: OnPart = untold) -> Loaded:
    """The documents in a page that was fetched from `source`."""
    kind = _kind_of_page(page)
    if kind == "jsonl":
        yield from records(io.BytesIO(page.content), source, bare_titles=settings.bare_titles)
        return
    parts = urlsplit(page.final_url)
    path = PurePosixPath(unquote(parts.path))
    stem = storable((path.name if kind == CODE else path.stem) or parts.netloc)
    most, url = settings.max_bytes, page.final_url
    raw = _Raw(source, kind, page.content, url, stem, most, url, page.charset, settings.recognition, on_part)
    yield _PARSERS[kind](raw)


_READERS: dict[str, Callable[[Source, LoadSettings, OnPart], Loaded]] = {
    **dict.fromkeys(
        (
            "text",
            CODE,
            "markdown",
            "html",
            "saved page",
            "pdf",
            "picture",
            "notebook",
            "mail",
            "outlook mail",
            "epub",
            *OFFICE,
        ),
        _load_file,
    ),
    "jsonl": _load_jsonl,
    "mailbox": _load_mailbox,
    "beir": _load_beir,
    "url": _load_url,
    "arxiv": _load_arxiv,
}


def _told(source: Source, what: str, on_part: OnPart) -> Callable[[int, int], None]:
    """What a parser calls with how many of its pages or chapters it has read, and of how many."""
    return lambda read, of: on_part(Part(source.address, what, read, of))


def _limit(settings: LoadSettings) -> int:
    return min(settings.max_bytes, settings.fetch.max_bytes)


def _kind_of_page(page: Fetched) -> str:
    """By the server's word, where it is precise; then by the address, and the first bytes."""
    if page.media_type in _MEDIA_KINDS:
        return _MEDIA_KINDS[page.media_type]
    ending = KINDS.get(PurePosixPath(urlsplit(page.final_url).path).suffix.lower())
    if ending in _UNMISTAKEN:
        return ending
    kind = kind_of(page.content[:4096])
    if kind is None:
        raise UnreadableSource(
            f"{page.final_url} is {page.media_type or 'of no stated type'}, which is not read. "
            "Read are web pages, PDF, pictures, EPUB, office documents, Markdown, text and JSON lines."
        )
    return kind


def _from_text(raw: _Raw) -> Document:
    text = _decoded(raw)
    opening = opening_of(text)
    return _made(raw, text, opening.title or raw.stem, author=opening.author)


def _from_code(raw: _Raw) -> Document:
    return _made(raw, _decoded(raw), raw.stem)


def _from_markdown(raw: _Raw) -> Document:
    text = _decoded(raw)
    stated = markdown_fields(text)
    return _made(raw, text, markdown_title(text) or raw.stem, published_at=markdown_date(text), stated=stated)


def _from_notebook(raw: _Raw) -> Document:
    from foveal.text.notebooks import notebook_text

    text = require_text(storable(notebook_text(_decoded(raw), raw.name)), raw.name)
    return _made(raw, text, markdown_title(text) or raw.stem)


def _from_mail(raw: _Raw) -> Document:
    from foveal.text.messages import read_message
    from foveal.text.msg import read_msg

    read = read_msg if raw.kind == "outlook mail" else read_message
    mail = read(raw.content, name=raw.name)
    stated = {key: value for key, value in (("to", mail.to), ("cc", mail.cc)) if value}
    title = mail.title or raw.stem
    raw = replace(raw, kind="mail")
    return _made(raw, mail.text, title, author=mail.author, published_at=mail.published_at, stated=stated)


def _from_epub(raw: _Raw) -> Document:
    from foveal.text.epub import read_epub

    told = _told(raw.source, "chapters", raw.on_part)
    book = read_epub(raw.content, name=raw.name, max_bytes=raw.max_bytes, on_chapter=told)
    return _made(raw, book.text, book.title or raw.stem, author=book.author, published_at=book.published_at)


def _from_office(raw: _Raw) -> Document:
    older = next((old for old, new in OLD_OFFICE.items() if new == raw.kind), None)
    if older and raw.content.startswith(OLE):
        raw = replace(raw, kind=older)
    found = _office_text(raw)
    return _made(raw, found.text, found.title or raw.stem, author=found.author, created=found.created)


def _from_old_office(raw: _Raw) -> Document:
    """By its bytes: many a file with the name of an old one is one of today, or a web page, or text."""
    head = raw.content[:4096]
    if head.startswith(b"PK"):
        return _from_office(replace(raw, kind=OLD_OFFICE[raw.kind]))
    if head.startswith(b"{\\rtf"):
        return _from_office(replace(raw, kind="rtf"))
    kind = kind_of(head)
    return _PARSERS[kind](replace(raw, kind=kind)) if kind else _from_office(raw)


def _office_text(raw: _Raw) -> OfficeText:
    from foveal.text.doc import read_doc
    from foveal.text.docx import read_docx
    from foveal.text.opendocument import read_opendocument
    from foveal.text.ppt import read_ppt
    from foveal.text.pptx import read_pptx
    from foveal.text.rtf import read_rtf
    from foveal.text.xls import read_xls
    from foveal.text.xlsx import read_xlsx

    plain: dict[str, Callable[..., OfficeText]] = {"rtf": read_rtf, "doc": read_doc, "ppt": read_ppt}
    if raw.kind in plain:
        return plain[raw.kind](raw.content, name=raw.name)
    readers: dict[str, Callable[..., OfficeText]] = {
        "docx": read_docx, "pptx": read_pptx, "xlsx": read_xlsx, "xls": read_xls,
    }  # fmt: skip
    return readers.get(raw.kind, read_opendocument)(raw.content, name=raw.name, max_bytes=raw.max_bytes)


def _from_html(raw: _Raw) -> Document:
    from foveal.text.html import read_html

    page = read_html(raw.content, name=raw.name, charset=raw.charset)
    return _made(
        raw,
        page.text,
        page.title or raw.stem,
        author=page.author,
        licence=page.licence,
        url=raw.url or page.url,
        published_at=page.published_at,
    )


def _from_saved_page(raw: _Raw) -> Document:
    from foveal.text.messages import read_saved_page

    page = read_saved_page(raw.content, name=raw.name)
    url = raw.url or page.url
    return _from_html(replace(raw, kind="html", content=page.content, charset=page.charset, url=url))


def _from_pdf(raw: _Raw) -> Document:
    from foveal.text.pdf import read_pdf

    if b"%PDF-" not in raw.content[:1024]:
        raise UnreadableSource(f"{raw.name} is no PDF: it does not begin as one. Check what it is, and name it so.")
    pdf = read_pdf(
        raw.content,
        name=raw.name,
        max_characters=raw.max_bytes,
        on_page=_told(raw.source, "pages", raw.on_part),
        recognition=raw.recognition,
        on_scan=_told(raw.source, "scanned pages", raw.on_part),
    )
    created = pdf.created.isoformat() if pdf.created else None
    counted: dict[str, Scalar] = {"unread_pages": pdf.unread, "recognised_pages": pdf.recognised}
    counted[PRINTED_PAGES] = pdf.printed
    return _made(
        raw, pdf.text, pdf.title or raw.stem, author=pdf.author, created=created, pages=pdf.pages, counted=counted
    )


def _from_picture(raw: _Raw) -> Document:
    from foveal.text.pictures import read_picture

    told = _told(raw.source, "scanned pages", raw.on_part)
    found = read_picture(raw.content, name=raw.name, recognition=raw.recognition, on_page=told)
    taken = found.taken.isoformat() if found.taken else None
    counted = {"unread_pages": found.unread, "recognised_pages": max(1, len(found.pages)) - found.unread}
    return _made(raw, found.text, found.title or raw.stem, created=taken, pages=found.pages, counted=counted)


_PARSERS: dict[str, Callable[[_Raw], Document]] = {
    "text": _from_text,
    CODE: _from_code,
    "markdown": _from_markdown,
    "html": _from_html,
    "saved page": _from_saved_page,
    "pdf": _from_pdf,
    "picture": _from_picture,
    "notebook": _from_notebook,
    "mail": _from_mail,
    "outlook mail": _from_mail,
    "epub": _from_epub,
    **dict.fromkeys(OFFICE, _from_office),
    **dict.fromkeys(OLD_OFFICE, _from_old_office),
}


def _made(
    raw: _Raw,
    text: str,
    title: str,
    *,
    author: str | None = None,
    created: str | None = None,
    licence: str | None = None,
    stated: Mapping[str, str] | None = None,
    counted: Mapping[str, Scalar] | None = None,
    **origin: object,
) -> Document:
    metadata: dict[str, Scalar | None] = {
        "source": raw.source.address,
        "kind": raw.kind,
        "author": author,
        "created": created,
        "licence": licence,
        **{name: count for name, count in (counted or {}).items() if count},
    }
    own = {name: value for name, value in metadata.items() if value is not None}
    whole = {f"record.{name}" if name in own else name: value for name, value in (stated or {}).items()} | own
    return Document.of(raw.source.address, text, title, **{"url": raw.url, **origin}, metadata=whole)


def _decoded(raw: _Raw) -> str:
    return require_text(decode(raw.content, raw.name, stated=raw.charset), raw.name)


def _printable(name: str) -> str:
    """A file's name as text of one line; bytes of it that are no UTF-8 become U+FFFD."""
    return " ".join(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").split())
