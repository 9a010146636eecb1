"""arXiv's feeds of a day's announcements: RSS and Atom, by category.

    "cs.CL", "cs.CL+cs.IR"      categories, joined by +; "cs.CL cross" keeps cross-lists as well as what is new

An item says in its description "arXiv:2605.01234v1 Announce Type: new" and then "Abstract: …". Kept are `new` papers
(and `cross` where asked for); `replace` and `replace-cross` are new versions of papers that were announced before: of
these the withdrawn ones are told of the papers that are here, and of no others.
The feed is made at midnight US Eastern time and is empty at weekends, which is no error.

Listed    on the day of the announcement (pubDate), in UTC
Against   arxiv_api.py has comments, links and exact times, by day of submission; here is what a day announced
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from foveal import faults
from foveal.errors import InputError
from foveal.papers.records import Named, PaperRecord
from foveal.papers.sources import DEFAULTS, Connection, Reading, each
from foveal.papers.sources.arxiv_api import is_withdrawn, repository_in
from foveal.papers.sources.feed import items_of
from foveal.papers.sources.feed_items import Item
from foveal.text.arxiv import ArxivClient, ArxivSettings
from foveal.text.dates import day_of
from foveal.text.fetching import Fetched

BASE = "https://rss.arxiv.org/rss"

_HEAD = re.compile(r"arXiv:(\S{1,40}?)(?:v(\d{1,6}))?\s{1,9}Announce Type:\s*([\w-]+)\s*(?:Abstract:\s*)?", re.DOTALL)
_GUID = re.compile(r"oai:arXiv\.org:(\S{1,40}?)(?:v(\d{1,6}))?$")
_CATEGORIES = re.compile(r"[a-z-]+(?:\.[A-Za-z-]+)?(?:\+[a-z-]+(?:\.[A-Za-z-]+)?)*")


class ArxivFeed:
    """Source: what arXiv announced today in some categories."""

    name = "arxiv-feed"
    overlap_days = 0
    once_a_day = False
    conditional = True

    def __init__(self, connection: Connection = DEFAULTS) -> None:
        self._base = (connection.base_url or BASE).rstrip("/")
        settings = ArxivSettings(interval_s=connection.interval_s, pace_file=connection.pace_file)
        self._client = ArxivClient(settings, connection.fetch)

    def first_url(self, ask: str, *, since: date, today: date) -> str:  # noqa: ARG002
        """The feed's address; its fragment, which no server sees, says what is kept."""
        categories, *rest = ask.split() or [""]
        if not _CATEGORIES.fullmatch(categories) or rest not in ([], ["cross"]):
            raise InputError(
                f"arXiv's feeds got {ask!r}; they need categories such as cs.CL or cs.CL+cs.IR, and after a blank "
                "the word cross where cross-lists are wanted."
            )
        return f"{self._base}/{categories}" + ("#cross" if rest else "")

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The feed, or 304, at its turn."""
        return self._client.get(url, headers)

    def read(self, content: bytes | None, url: str) -> Reading:
        """The papers that are new."""
        if content is None:
            return Reading()
        kept = ("new", "cross") if url.endswith("#cross") else ("new",)
        items, unread = items_of(content, url)
        wanted = (item for item in items if item.title and (announce_type(item) in kept or _takes_back(item)))
        made, wrong = each(record_of, wanted)
        return Reading(records=made, left_out=unread + wrong)


def announce_type(item: Item) -> str:
    """new, cross, replace or replace-cross; "" where the item does not say."""
    told = _HEAD.search(item.summary)
    return item.extra.get("announce_type") or (told[3] if told else "")


def _takes_back(item: Item) -> bool:
    """Whether the item says that a paper which was announced before is withdrawn."""
    return announce_type(item).startswith("replace") and is_withdrawn(None, _abstract(item))


def _abstract(item: Item) -> str:
    head = _HEAD.search(item.summary)
    return " ".join(item.summary[head.end() if head else 0 :].split())


def record_of(item: Item) -> PaperRecord:
    """An item of arXiv as a record. InputError: it has no id."""
    found = _GUID.search(item.id) or _HEAD.search(item.summary)
    if found is None:
        raise InputError(f"An item of arXiv's feed, {item.title[:60]!r}, has no id. Was the feed changed?")
    abstract, moment = _abstract(item), item.published or item.updated
    replaced = announce_type(item).startswith("replace")
    names = [name for told in item.authors for name in told.split(", ")] if len(item.authors) == 1 else item.authors
    return PaperRecord(
        id=found[1],
        version=int(found[2] or 1),
        title=item.title,
        abstract=abstract,
        authors=tuple(Named(name=" ".join(name.split())) for name in names if name.strip()),
        categories=item.categories,
        published_at=None if replaced else moment,
        updated_at=moment,
        journal_ref=item.extra.get("journal_reference", ""),
        doi=item.extra.get("DOI", ""),
        licence=item.extra.get("rights", ""),
        url=f"https://arxiv.org/abs/{found[1]}",
        repo_url=repository_in(abstract),
        withdrawn=is_withdrawn(None, abstract),
        listed_on=None if replaced else day_of(moment, faults.now().date()),
        known_only=replaced,
        source=ArxivFeed.name,
    )
