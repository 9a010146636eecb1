"""What can be loaded: a source, its address and kind, and the settings of loading. Nothing here is read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from foveal.errors import InputError
from foveal.settings import Settings
from foveal.text.arxiv import ArxivSettings
from foveal.text.fetching import FetchSettings
from foveal.text.recognition import RecognitionSettings


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """The limits of loading."""

    max_bytes: int = 256 * 2**20  # of a file or page, unpacked; a larger one is refused
    include_hidden: bool = False  # files and folders whose names begin with a dot
    bare_titles: bool = False  # a record of JSON lines that has only a title has that for a text, too
    home: Path | None = None  # Foveal's own files lie there: a folder that holds it is read without it
    fetch: FetchSettings = field(default_factory=FetchSettings)
    arxiv: ArxivSettings = field(default_factory=ArxivSettings)
    recognition: RecognitionSettings = field(default_factory=RecognitionSettings)

    def __post_init__(self) -> None:
        if self.max_bytes <= 0:
            raise InputError(f"LoadSettings.max_bytes is {self.max_bytes}; it needs to be above 0.")


DEFAULTS = LoadSettings()


@dataclass(frozen=True)
class Source:
    """Something that can be read into documents."""

    address: str  # file:///abs/path, https://…, arxiv:2103.00020
    kind: str  # "text", "markdown", "html", "pdf", "picture", "mail", "mailbox", "jsonl", "beir", "url", "arxiv", …
    size: int | None = None  # bytes as stored, where known


@dataclass(frozen=True)
class Skipped:
    """A source or record that gave no document, and why."""

    address: str
    reason: str


@dataclass(frozen=True)
class Part:
    """How far one source is that takes a while: so many of its pages or chapters have been read."""

    address: str
    what: str  # "pages", "scanned pages", "chapters"
    read: int
    of: int

    @property
    def name(self) -> str:
        """As people call the source."""
        return PurePosixPath(unquote(urlsplit(self.address).path)).name or self.address


OnPart = Callable[[Part], None]


def untold(_part: Part) -> None:
    """For those who do not ask how far it is."""


def load_settings(settings: Settings) -> LoadSettings:
    """How sources are read: within the limits of the settings."""
    fetch = FetchSettings(allow_private=settings.allow_private_addresses, cache=settings.cache / "fetched")
    arxiv = ArxivSettings(pace_file=settings.cache / "arxiv.pace")
    recognition = RecognitionSettings(
        ocr=settings.ocr, languages=settings.ocr_languages, cache=settings.cache / "recognised"
    )
    return LoadSettings(
        max_bytes=settings.max_bytes, home=settings.home, fetch=fetch, arxiv=arxiv, recognition=recognition
    )
