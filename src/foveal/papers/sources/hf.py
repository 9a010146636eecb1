"""Daily papers as JSON, in the shapes of Hugging Face's API: that of huggingface.co, of another Foveal, of a file.

    ""                     the listings of each day since the last reading (GET …/daily_papers?date=…)
    "2605.01234"           one paper, with its models, datasets and demos (GET …/papers/2605.01234)

Shapes    a listing entry {"paper": {…}, "publishedAt", "thumbnail", "numComments", "submittedBy", …}; a single paper
          {"id", "title", "summary", …}; and flat rows {"id" or "arxiv_id", "title", "abstract", "authors", "upvotes",
          "published_at"}, as archives of the feed keep them
Traps     the submitter's login is `user` inside and `name` outside; the outer `publishedAt` is not the paper's;
          `summary` is the abstract, `ai_summary` the sentence; keys that do not apply are absent; a day that is not
          (yet) there is answered by 400
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from foveal import faults
from foveal.errors import FetchFailed, InputError
from foveal.papers.records import Linked, Named, PaperRecord, paper_id
from foveal.papers.sources import DEFAULTS, Connection, Reading, each
from foveal.text.dates import aware, day_of
from foveal.text.fetching import Fetched, fetch
from foveal.text.plain import storable

BASE = "https://huggingface.co/api"
LIMIT = 100
"""Papers of a page."""

MODEL = "huggingface.co"
"""Who made a summary that comes with a listing, where it does not say."""

_LINKED = {  # key -> kind, path before the id
    "linkedModels": ("model", ""),
    "linkedDatasets": ("dataset", "datasets/"),
    "linkedSpaces": ("demo", "spaces/"),
}

MOST = 2**31 - 1
"""Of what is counted: no database keeps more in a column of integers."""

Held = Mapping[str, Any]


class HfPapers:
    """Source: an API in the shapes of Hugging Face's."""

    name = "hf"
    overlap_days = 2  # a day goes on being filled, and its votes go on being counted
    once_a_day = False
    conditional = True

    def __init__(self, connection: Connection = DEFAULTS) -> None:
        self._base = (connection.base_url or BASE).rstrip("/")
        self._fetch = replace(connection.fetch, respect_robots=False)  # an interface for programs

    def first_url(self, ask: str, *, since: date, today: date) -> str:
        """The first day's listing, or the paper."""
        if ask.strip():
            return f"{self._base}/papers/{paper_id(ask)}"
        return self._day(min(since, today), today)

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The answer; a day that is not there answers 400, a paper 404."""
        return fetch(url.partition("#")[0], self._fetch, accept=(200, 304, 400), headers=headers)

    def read(self, content: bytes | None, url: str) -> Reading:
        """The papers of a page, and the address of the next page or day."""
        asked = dict(parse_qsl(urlsplit(url).query))
        day = date.fromisoformat(asked["date"]) if "date" in asked else None
        last = date.fromisoformat(urlsplit(url).fragment) if urlsplit(url).fragment else day
        held = parsed(content, url) if content is not None else []
        if isinstance(held, dict) and set(held) <= {"error", "message", "statusCode"}:
            held = []
        following = None
        if day and last and isinstance(held, list) and len(held) >= LIMIT:
            following = self._day(day, last, page=int(asked.get("p", 0)) + 1)
        elif day and last and day < last:
            following = self._day(day + timedelta(days=1), last)
        behind = self._day(day, last, page=int(asked.get("p", 0)) + 1) if content is None and day and last else None
        made, wrong = each(lambda row: _record(*row, day), enumerate(_rows(held), 1))
        return Reading(records=made, next_url=following, behind_url=behind, left_out=wrong)

    def _day(self, day: date, last: date, page: int = 0) -> str:
        """A day's listing; the fragment, which no server sees, is the last day to be read."""
        query: dict[str, str | int] = {"date": str(day), "limit": LIMIT, **({"p": page} if page else {})}
        return f"{self._base}/daily_papers?{urlencode(query)}#{last}"


def parsed(content: bytes, url: str) -> Any:
    """The JSON of an answer. FetchFailed: it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FetchFailed(f"{url} answered with something other than JSON ({error}). Try again later.") from error


def records(held: Any, *, day: date | None = None) -> tuple[PaperRecord, ...]:
    """The papers of a listing, a single paper, or flat rows; `day` is the one whose listing it is, if it is known.

    InputError: the JSON holds something else, if only in one place.
    """
    return tuple(_record(number, row, day) for number, row in enumerate(_rows(held), 1))


def _rows(held: Any) -> list[Any]:
    return held if isinstance(held, list) else [held]


def _record(number: int, row: Any, day: date | None) -> PaperRecord:
    inner = row.get("paper", row) if isinstance(row, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("title", row.get("title")), str):
        raise InputError(
            f"Entry {number} is no paper in a shape that is known: it has no title. Known are the listing of "
            '/api/daily_papers, a paper of /api/papers/ID, and rows with "id", "title", "abstract", "authors".'
        )
    return _flat(inner, day) if "abstract" in inner else _hub(row, inner, day)


def _flat(row: Held, day: date | None) -> PaperRecord:
    """A row of an archive."""
    published = aware(row.get("published_at") or row.get("publishedAt"))
    return PaperRecord(
        id=_id(row),
        title=_line(row["title"]),
        abstract=_line(row.get("abstract")),
        authors=_authors(row.get("authors")),
        published_at=published,
        votes=_count(row.get("upvotes")),
        comments=_count(row.get("comments") if "comments" in row else row.get("numComments")),
        repo_url=_url(row.get("githubRepo") or row.get("repo_url")),
        listed_on=day or day_of(published, faults.now().date()),
        source=HfPapers.name,
    )


def _hub(row: Held, inner: Held, day: date | None) -> PaperRecord:
    """An entry of a listing (`row` around `inner`), or a single paper (both are one)."""
    listed = aware(inner.get("submittedOnDailyAt"))
    organisation = inner.get("organization") or row.get("organization")
    named = _mapping(organisation).get("fullname") or _mapping(organisation).get("name") or organisation
    return PaperRecord(
        id=_id(inner),
        title=_line(inner.get("title") or row.get("title")),
        abstract=_line(inner.get("summary") or row.get("summary")),
        authors=_authors(inner.get("authors")),
        organisation=_line(named),
        published_at=aware(inner.get("publishedAt")),
        project_url=_url(inner.get("projectPage")),
        repo_url=_url(inner.get("githubRepo")),
        repo_stars=_count(inner.get("githubStars")),
        votes=_count(inner.get("upvotes")),
        comments=_count(row.get("numComments") if "numComments" in row else _talk(inner)),
        summary=_line(inner.get("ai_summary")),
        summary_model=_line(inner.get("ai_summary_model")) or MODEL if inner.get("ai_summary") else "",
        keywords=tuple(_line(word) for word in _list(inner.get("ai_keywords"))),
        thumbnail=_url(row.get("thumbnail")),
        links=_links(inner),
        listed_on=day or day_of(listed, faults.now().date()),
        submitted_by=_submitter(row, inner),
        source=HfPapers.name,
    )


def _submitter(row: Held, inner: Held) -> str:
    """The login: `user` inside, `name` outside; never with the @ that says "a person here"."""
    within, around = _mapping(inner.get("submittedOnDailyBy")), _mapping(row.get("submittedBy"))
    return _line(within.get("user") or within.get("name") or around.get("name") or around.get("user")).lstrip("@ ")


def _talk(inner: Held) -> Any:
    """How many remarks a single paper has, where it tells them."""
    return len(inner["comments"]) if isinstance(inner.get("comments"), list) else inner.get("numComments")


def _links(inner: Held) -> tuple[Linked, ...]:
    found = [
        Linked(kind=kind, url=f"https://huggingface.co/{path}{name}", title=name)
        for key, (kind, path) in _LINKED.items()
        for one in _list(inner.get(key))
        if isinstance(one, Mapping) and (name := _line(one.get("id")))
    ]
    return tuple(found)


def _authors(given: object) -> tuple[Named, ...]:
    """Names, or objects with a name; those who asked not to be shown are left out."""
    told = given.split(", ") if isinstance(given, str) else _list(given)
    shown = [one for one in told if not (isinstance(one, Mapping) and one.get("hidden"))]
    names = (_line(one.get("name") if isinstance(one, Mapping) else one) for one in shown)
    return tuple(Named(name=name) for name in names if name)


def _id(held: Held) -> str:
    given = str(held.get("id") or held.get("arxiv_id") or "")
    return paper_id(given) if given else ""


def _mapping(value: object) -> Held:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _line(value: object) -> str:
    return storable(" ".join(value.split())) if isinstance(value, str) else ""


def _url(value: object) -> str:
    text = _line(value)
    try:
        return text if urlsplit(text).scheme in ("http", "https") else ""
    except ValueError:  # http://[
        return ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST else None
