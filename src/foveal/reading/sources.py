"""What a reader reads: a document in memory, or a plain text file of any size, block by block.

A file above the limit of `foveal add` (a log of a gigabyte) is never held or tokenised whole: it is decoded as it is
read, twice if need be, and only what is kept of it stays.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

from foveal.errors import InputError, UnreadableSource
from foveal.reading.sentences import BLOCK, blocks_of
from foveal.text.files import file_address, read_head
from foveal.text.plain import SAMPLE, decode
from foveal.types import Document, document_id, page_at

MARK = "\ufeff"
"""The byte order mark, where an encoding that was named leaves it: no part of a text, so that places are those of
`foveal add`."""


class Text(Protocol):
    """A text with an address. Offsets are in characters of what `blocks` join to."""

    document_id: str
    title: str
    url: str | None

    @property
    def revision(self) -> str:
        """Changes whenever the text does."""
        ...

    @property
    def characters(self) -> int:
        """The length; of a file that is not held, an estimate from its bytes."""
        ...

    def blocks(self) -> Iterator[str]:
        """The text from its beginning, in pieces of some 64k characters."""
        ...

    def page(self, offset: int) -> int | None:
        """The page, from 1, of the character at `offset`; None where there are no pages."""
        ...


class DocumentText:
    """A `Document` to read. InputError: it holds nothing but blanks."""

    def __init__(self, document: Document) -> None:
        if not document.text.strip():
            raise InputError(f"{document.title or document.id} holds no text to read. Give a document with text in it.")
        self.document = document
        self.document_id = document.id
        self.title = document.title
        self.url = document.url
        self.revision = document.revision
        self.characters = len(document.text)

    def blocks(self) -> Iterator[str]:
        """The text, in pieces."""
        return blocks_of(self.document.text)

    def page(self, offset: int) -> int | None:
        """The page of the character at `offset`."""
        return page_at(self.document.pages, offset)


class FileText:
    """A plain text file that is read as it goes. UnreadableSource: it is empty, no text, or of no known encoding."""

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        """`encoding` is the file's, where it is not UTF-8, or UTF-16 with its mark."""
        self.path = path
        self.document_id = document_id(file_address(path))
        self.title = path.stem
        self.url: str | None = None
        head = read_head(path, SAMPLE)
        if not head.strip():
            raise UnreadableSource(f"{path} holds no text: it is empty or blank. Name a file with text in it.")
        self._encoding = encoding or _encoding(head, path)
        try:
            text = head.decode(self._encoding, "ignore")
        except LookupError:  # for who asked by this name
            raise
        except ValueError as error:  # an encoding that cannot pass over what is none in it
            raise UnreadableSource(f"{path} cannot be read as {self._encoding} ({error}). Name another.") from error
        self.characters = max(1, int(path.stat().st_size * len(text) / len(head)))

    @cached_property
    def revision(self) -> str:
        """SHA-256 of the text, as of a document's: the same bytes in another encoding are another text."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def blocks(self) -> Iterator[str]:
        """The text, in pieces; bytes that are none in its encoding become U+FFFD."""
        try:
            with self.path.open("r", encoding=self._encoding, errors="replace", newline="") as file:
                start = file.read(BLOCK).removeprefix(MARK)
                yield from chain([start] if start else [], iter(lambda: file.read(BLOCK), ""))
        except OSError as error:
            raise UnreadableSource(f"{self.path} cannot be read any further ({error.strerror or error}).") from error
        except UnicodeError as error:  # UTF-16 without its mark
            reason = f"{error}. Name another encoding, such as utf-16-le or utf-16-be"
            raise UnreadableSource(f"{self.path} cannot be read as {self._encoding}: {reason}.") from error

    def page(self, offset: int) -> int | None:  # noqa: ARG002 (plain text has no pages)
        """None: a plain text has no pages."""
        return None


def text_of(source: Text | Document | str) -> Text:
    """The text of a document, or a plain string as a document of its own."""
    if isinstance(source, str):
        source = Document.of("text:given", source, "the text")
    return DocumentText(source) if isinstance(source, Document) else source


def questions_of(question: str | Sequence[str]) -> tuple[str, ...]:
    """One question or several. InputError: there is none, or one is empty or no text."""
    questions = (question,) if isinstance(question, str) else tuple(question)
    if not all(isinstance(one, str) for one in questions):
        raise InputError("A question is a text. Several of one document are asked by read_many or retrieve_many.")
    if not questions or not all(one.strip() for one in questions):
        raise InputError("The question is empty. Ask something that the text may answer.")
    return questions


def _encoding(head: bytes, path: Path) -> str:
    """UTF-8 (with or without its mark), UTF-16 by its mark, or refused: others cannot be told from a part."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not head.startswith(codecs.BOM_UTF32_LE):
        return "utf-16"
    decode(head[: head.rfind(b"\n") + 1] or head, str(path))  # refuses what is no text at all
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)  # a character cut at the end is no stray
    stray = text.count("\ufffd") + text.count("\0")
    if 10 * stray > sum(character > "\x7f" for character in text):
        raise UnreadableSource(f"{path} is not in UTF-8, and too large to be told from a part. Name its --encoding.")
    return "utf-8-sig"
