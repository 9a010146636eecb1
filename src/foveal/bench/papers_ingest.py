"""bench papers-ingest: what is read of arXiv's API and of a day's listing, beside feedparser and the arxiv package.

replayed   recorded answers of the API, sent again by a server on this machine, read over HTTP by our client and by the
           arxiv package's, and by feedparser from the same bytes; each field of each entry is held against theirs
refused    answers of the API that are complaints become errors of ours
again      all entries into a database, and once more: the second run adds and changes nothing
hf-day     the papers of one day, flat rows: each field as it stands in the file, and again into the database

Data       `papers/arxiv-fixtures/*.json` (url, status_code, body) and `papers/hf-day.json`
"""

from __future__ import annotations

import json
import tempfile
import threading
from calendar import timegm
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import InputError, UnreadableSource
from foveal.evaluation.files import present, text_in
from foveal.evaluation.tables import Row
from foveal.papers.ingest import import_page, store
from foveal.papers.sources import Connection, hf
from foveal.papers.sources.arxiv_api import ArxivApi, record_of
from foveal.papers.store import PaperStore
from foveal.papers.upserts import Fetched
from foveal.registry import require
from foveal.settings import Settings
from foveal.text.arxiv import ArxivEntry, parse_page
from foveal.text.fetching import FetchSettings

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Recorded:
    """An answer of the API: the query it answered, its status, its body."""

    query: tuple[tuple[str, str], ...]
    status: int
    body: bytes

    @classmethod
    def read(cls, path: Path) -> Recorded:
        """A fixture file. InputError: it is none."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return cls(query_key(held["url"]), int(held["status_code"]), held["body"].encode("latin-1"))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no recorded answer ({error!r}): url, status_code, body.") from error


def ingest_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench papers-ingest`."""
    folder = settings.folder("papers", ["hf-day.json"])
    recorded = [Recorded.read(path) for path in sorted((folder / "arxiv-fixtures").glob("*.json"))]
    if not recorded:
        raise InputError(f"{folder / 'arxiv-fixtures'} holds no recorded answers (*.json).")
    yield from recorded_rows(recorded)
    yield from hf_rows(text_in(present(folder, "hf-day.json")).encode())


def recorded_rows(recorded: Sequence[Recorded]) -> Iterator[Row]:
    """Recorded answers, replayed over HTTP."""
    ours: list[ArxivEntry] = []
    fed: list[tuple[Fields, Fields]] = []
    packaged: list[tuple[Fields, Fields]] = []
    refused = complaints = 0
    with replaying(recorded) as address:
        source = ArxivApi(Connection(fetch=FetchSettings(allow_private=True), interval_s=0.0, base_url=address))
        for one in recorded:
            url = f"{address}?{'&'.join(f'{name}={_quoted(value)}' for name, value in one.query)}"
            answer = source.get(url)
            if one.status != 200:
                complaints += 1
                refused += _refuses(answer.content, url)
                continue
            page = parse_page(answer.content, url)
            ours += page.entries
            fed += pairs(page.entries, by_feedparser(answer.content))
            packaged += pairs(page.entries, by_arxiv(address, one, len(page.entries)))
    yield Row("recorded answers", "size", len(recorded))
    yield Row.of("Foveal", "fields equal to feedparser's", equal_share(fed), at_least=1.0, note=f"{len(fed)} entries")
    yield Row.of(
        "Foveal", "fields equal to arxiv's", equal_share(packaged), at_least=1.0, note=f"{len(packaged)} entries"
    )
    if complaints:
        yield Row.of("Foveal", "complaints that become errors", refused / complaints, at_least=1.0)
    yield from again_rows(ours)


def again_rows(entries: Sequence[ArxivEntry]) -> Iterator[Row]:
    """The entries into a database, twice."""
    records = [record_of(entry) for entry in entries]
    with own_database() as database:
        first = store(database, records, Fetched(source="arxiv", url="recorded"))
        second = store(database, records, Fetched(source="arxiv", url="recorded"))
        kept = len({one.id for one in records})
        yield Row.of("Foveal", "papers kept", PaperStore(database).count() / max(1, kept), at_least=1.0, at_most=1.0)
    changed = len(second.added) + len(second.updated)
    yield Row.of("Foveal", "changed by a second run", changed, at_most=0, note=f"{len(first.added)} added by the first")


def hf_rows(content: bytes) -> Iterator[Row]:
    """A day's rows, against the file itself."""
    told: list[dict[str, Any]] = json.loads(content)
    found = hf.records(told)
    equal = [
        (one.id, one.title, one.abstract, [author.name for author in one.authors], one.votes, one.published_at)
        == (
            *(row["arxiv_id"] if "arxiv_id" in row else row["id"], " ".join(row["title"].split())),
            *(" ".join(row["abstract"].split()), [" ".join(name.split()) for name in row["authors"]], row["upvotes"]),
            datetime.fromisoformat(row["published_at"]).astimezone(UTC),
        )
        for one, row in zip(found, told, strict=True)
    ]
    with own_database() as database:
        first = import_page(database, content, "hf-day.json")
        second = import_page(database, content, "hf-day.json")
        papers = PaperStore(database).count()
    yield Row.of("a day's rows", "papers imported", papers / len(told), at_least=1.0, note=f"{papers} of {len(told)}")
    yield Row.of("a day's rows", "papers with every field", sum(equal) / len(told), at_least=1.0)
    changed = len(second.added) + len(second.updated)
    yield Row.of("a day's rows", "changed by a second run", changed, at_most=0, note=f"{len(first.added)} added")


# the peers' readings, as plain fields


def pairs(entries: Sequence[ArxivEntry], theirs: Sequence[Fields]) -> list[tuple[Fields, Fields]]:
    """Our entries beside theirs, in order; one that a side lacks stands beside nothing."""
    ours = [fields_of(entry) for entry in entries]
    longest = max(len(ours), len(theirs))
    padded = ([*held, *({} for _ in range(longest - len(held)))] for held in (ours, list(theirs)))
    return list(zip(*padded, strict=True))


def equal_share(held: Sequence[tuple[Fields, Fields]]) -> float:
    """The share of their fields that ours equal."""
    told = [(ours.get(name), value) for ours, theirs in held for name, value in (theirs or {"entry": "none"}).items()]
    return sum(mine == value for mine, value in told) / max(1, len(told))


def fields_of(entry: ArxivEntry) -> Fields:
    """Our reading."""
    return {
        "id": f"http://arxiv.org/abs/{entry.id}v{entry.version}",
        "title": entry.title,
        "abstract": entry.abstract,
        "authors": list(entry.authors),
        "affiliations": list(entry.affiliations),
        "published": entry.published,
        "updated": entry.updated,
        "categories": list(entry.categories),
        "primary category": entry.primary_category,
        "comment": entry.comment or "",
        "doi": entry.doi or "",
        "journal": entry.journal_ref or "",
        "links": [(link.href, link.rel, link.title) for link in entry.links],
    }


def by_feedparser(content: bytes) -> list[Fields]:
    """feedparser's reading; it joins all authors' affiliations, which are left out here."""
    feedparser = require("feedparser", extra="dev")
    return [
        {
            "id": entry.id,
            "title": _folded(entry.title),
            "abstract": _folded(entry.summary),
            "authors": [author.name for author in entry.authors],
            "published": datetime.fromtimestamp(timegm(entry.published_parsed), UTC),
            "updated": datetime.fromtimestamp(timegm(entry.updated_parsed), UTC),
            "categories": [tag.term for tag in entry.tags],
            "primary category": entry.arxiv_primary_category["term"],
            "comment": _folded(entry.get("arxiv_comment")),
            "doi": _folded(entry.get("arxiv_doi")),
            "journal": _folded(entry.get("arxiv_journal_ref")),
            "links": [(link.href, link.rel, link.get("title")) for link in entry.links],
        }
        for entry in feedparser.parse(content).entries
    ]


def by_arxiv(address: str, recorded: Recorded, count: int) -> list[Fields]:
    """The arxiv package's reading, which it asks for itself."""
    package = require("arxiv", extra="dev")
    asked = dict(recorded.query)
    client = package.Client(page_size=int(asked["max_results"]), delay_seconds=0, num_retries=0)
    client.query_url_format = address + "?{}"
    ids = [one for one in asked.get("id_list", "").split(",") if one]
    search = package.Search(query=asked.get("search_query", ""), id_list=ids)
    results = islice(client.results(search, offset=int(asked.get("start", 0))), count)
    return [
        {
            "id": one.entry_id,
            "title": _folded(one.title),
            "abstract": _folded(one.summary),
            "authors": [author.name for author in one.authors],
            "affiliations": ["; ".join(map(_folded, author.affiliation)) for author in one.authors],
            "published": one.published,
            "updated": one.updated,
            "categories": one.categories,
            "primary category": one.primary_category,
            "comment": _folded(one.comment),
            "doi": _folded(one.doi),
            "journal": _folded(one.journal_ref),
            "links": [(link.href, link.rel, link.title) for link in one.links],
        }
        for one in results
    ]


# a server that says again what was recorded


@contextmanager
def replaying(recorded: Sequence[Recorded]) -> Iterator[str]:
    """The address of a server on this machine that answers each recorded query; any other gets 404."""
    answers = {one.query: one for one in recorded}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(query_key(self.path))
            self.send_response(found.status if found else 404)
            self.send_header("Content-Type", "application/atom+xml; charset=utf-8")
            self.end_headers()
            self.wfile.write(found.body if found else b"")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def query_key(url: str) -> tuple[tuple[str, str], ...]:
    """The names and values of a query, in an order of their own; what is empty counts as left out."""
    return tuple(sorted((name, value) for name, value in parse_qsl(urlsplit(url).query) if value))


@contextmanager
def own_database() -> Iterator[Database]:
    """An empty database that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Settings(home=Path(folder), cache=Path(folder)))
        try:
            yield database
        finally:
            database.close()


def _refuses(content: bytes, url: str) -> bool:
    try:
        parse_page(content, url)
    except UnreadableSource:
        return True
    return False


def _folded(text: str | None) -> str:
    return " ".join((text or "").split())


def _quoted(value: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(value)
