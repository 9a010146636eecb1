"""What a person names, as a text to read: a path, a URL, an arXiv id, or "-" for standard input.

A plain text above the limit of `foveal add` is read as it goes (see sources.py); all else is loaded as a document, as
`foveal add` would.
"""

from __future__ import annotations

import sys
from pathlib import Path

from foveal.errors import InputError, UnreadableSource
from foveal.reading.sources import MARK, DocumentText, FileText, Text
from foveal.settings import expanded
from foveal.text.files import file_address, path_of, read_bytes, too_large
from foveal.text.loading import LoadSettings, Source, discover, read_document
from foveal.text.plain import decode, require_text
from foveal.text.sources import DEFAULTS, OnPart, untold
from foveal.types import Document

STDIN = "-"
_PLAIN = ("text", "markdown", "code")


def opened(
    source: str | Path,
    settings: LoadSettings = DEFAULTS,
    *,
    encoding: str | None = None,
    on_part: OnPart = untold,
) -> Text:
    """The text at `source`. `encoding` is that of a file or of standard input, where it cannot be told.

    `on_part` hears of each page or chapter of a long one.

    InputError: a path that is not there, or several documents. UnreadableSource: no text. FetchFailed: no page.
    """
    if str(source) == STDIN:
        return DocumentText(_from_stdin(settings.max_bytes, encoding))
    if encoding:
        return _in_encoding(expanded(source), settings.max_bytes, encoding)
    found = list(discover([source], settings))
    if len(found) == 1 and isinstance(found[0], Source) and _beyond(found[0], settings.max_bytes):
        return FileText(path_of(found[0].address))
    return DocumentText(read_document(source, settings, on_part))


def _beyond(source: Source, max_bytes: int) -> bool:
    return source.kind in _PLAIN and (source.size or 0) > max_bytes and not source.address.endswith(".gz")


def _from_stdin(max_bytes: int, encoding: str | None) -> Document:
    data = sys.stdin.buffer.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise too_large("Standard input", None, max_bytes)
    name = "Standard input"
    text = _decoded(data, encoding, name) if encoding else decode(data, name)
    return Document.of("text:stdin", require_text(text, name), name)


def _in_encoding(path: Path, max_bytes: int, encoding: str) -> Text:
    if not path.is_file():
        raise InputError(f"An encoding goes with a file or standard input, and there is no file {str(path)!r}.")
    if path.stat().st_size > max_bytes and path.suffix.lower() != ".gz":
        try:
            return FileText(path, encoding)
        except LookupError as error:
            raise _no_encoding(encoding) from error
    text = _decoded(read_bytes(path, max_bytes), encoding, str(path))
    return DocumentText(Document.of(file_address(path), require_text(text, str(path)), path.stem))


def _decoded(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding).removeprefix(MARK)
    except LookupError as error:
        raise _no_encoding(encoding) from error
    except UnicodeDecodeError as error:
        raise UnreadableSource(
            f"{name} is not {encoding}: byte {error.start} does not fit ({error.reason}). Name another encoding."
        ) from error
    except UnicodeError as error:
        raise UnreadableSource(f"{name} is not {encoding} ({error}). Name another encoding.") from error


def _no_encoding(name: str) -> InputError:
    return InputError(f"No encoding is called {name!r}. Name one such as utf-8, cp1252 or gb18030.")
