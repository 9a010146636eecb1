"""A paper as a source tells of it, and the ids by which papers are one.

    paper_id("https://arxiv.org/pdf/2605.01234v2")      # "2605.01234"; also of huggingface.co/papers/…
    title_key("Where  to Look:\\nA Study")               # the same for every spelling of white space, case and marks

A record says only what its source knows: None and empty fields leave what is stored as it is. A record without id
(a pasted page) is matched by its title, and gets `title-<key>` until a source gives the real one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import unquote

from foveal.errors import InputError
from foveal.text.arxiv import arxiv_address

TITLED = "title-"
OURS = ("doc-", TITLED)
"""How ids begin that no archive gave."""

LONGEST_ID = 64
"""Characters of an id."""

_BARE = re.compile(r"(?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d+)?")
_VERSION = re.compile(r"v\d+$")
_OWN = re.compile(r"(?:doc|title)-[0-9a-f]{10,32}")


@dataclass(frozen=True, kw_only=True)
class Named:
    """An author."""

    name: str
    affiliation: str = ""


@dataclass(frozen=True, kw_only=True)
class Linked:
    """Something that belongs to a paper; `kind` is code, model, dataset, demo or page."""

    kind: str
    url: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class PaperRecord:
    """What one source says of one paper."""

    title: str
    source: str  # a name of registry.PAPER_SOURCES
    id: str = ""  # "" where the source knows none
    version: int = 1
    abstract: str = ""
    authors: tuple[Named, ...] = ()
    author_count: int | None = None  # where only the number is known
    organisation: str = ""
    published_at: datetime | None = None  # of version 1
    updated_at: datetime | None = None  # of this version
    categories: tuple[str, ...] = ()  # the primary one first
    comment: str = ""
    journal_ref: str = ""
    doi: str = ""
    licence: str = ""
    url: str = ""
    project_url: str = ""
    repo_url: str = ""
    repo_stars: int | None = None
    votes: int | None = None  # counted by the source
    comments: int | None = None  # counted by the source
    summary: str = ""  # one sentence, made by `summary_model`
    summary_model: str = ""
    keywords: tuple[str, ...] = ()
    thumbnail: str = ""
    links: tuple[Linked, ...] = ()
    withdrawn: bool = False
    listed_on: date | None = None  # the day whose page shows it
    submitted_by: str = ""
    known_only: bool = False  # it changes a paper that is here, and adds none

    def __post_init__(self) -> None:
        if not self.title.strip() or self.version < 1:
            raise InputError(
                f"A paper from {self.source} got the title {self.title!r} and version {self.version}; it needs a title "
                "and a version of 1 or more."
            )
        if len(self.id) > LONGEST_ID:
            raise InputError(
                f"A paper from {self.source} got the id {self.id[:40]!r} of {len(self.id)} characters; it can have "
                f"{LONGEST_ID}."
            )


def paper_id(given: str) -> str:
    """The id of a paper, without version, from an id or address as people paste it. InputError: it is none."""
    text = given.strip()
    address = arxiv_address(text)
    bare = address.removeprefix("arxiv:") if address else _of_page(text)
    if _OWN.fullmatch(bare):
        return bare
    if not _BARE.fullmatch(bare):
        raise InputError(
            f"{given[:80]!r} is no paper's id. One looks like 2103.00020, hep-th/9901001, "
            "or the address of a paper's page, at arXiv or here."
        )
    return _VERSION.sub("", bare)


def _of_page(text: str) -> str:
    """What stands for the paper in the address of its page, at any site with the shapes of ours; else the text."""
    path = text.partition("#")[0].partition("?")[0].rstrip("/")
    before, _, last = path.rpartition("/papers/")
    return unquote(last).removesuffix(".md") if before.lower().startswith(("http://", "https://")) else text


def title_key(title: str) -> str:
    """What titles that differ in case, marks and white space only have in common: 32 hexadecimal digits."""
    plain = unicodedata.normalize("NFKD", title).casefold()
    words = re.findall(r"\w+", plain) or plain.split()
    return hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def name_key(name: str) -> str:
    """An author's name in an address: "Léa N. Martin" is lea-n-martin, the same for every spelling of the accents."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    kept = "".join(character for character in plain if not unicodedata.combining(character))
    return (
        "-".join(re.findall(r"\w+", kept))[:120]
        or hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    )
