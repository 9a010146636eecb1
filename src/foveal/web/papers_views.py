"""What the pages of papers show, as values that templates only write down: no request, no database, no search.

Addresses   `address` builds every link that carries choices; a choice that says nothing is left out of it
Periods     tabs, the chip with its neighbours (the day before exists even if it is empty), the strip of a week
Papers      pictures, people (2,000 authors are counted, not listed), votes here and elsewhere in one sentence
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from foveal.papers.periods import Period
from foveal.papers.plain_titles import plain_tex
from foveal.papers.store import Author, Paper
from foveal.papers.thumbnails import kept
from foveal.web.markup import plain

SORTS = {"votes": "Most voted", "discussed": "Most discussed", "published": "Newest", "listed": "Last listed"}
"""Orders of a list, as people read them."""

ADDED = {"added": "Last added", "votes": "Most voted", "discussed": "Most discussed", "published": "Newest"}
"""Those of a collection."""

AUTHORS_SHOWN = 40
"""Authors on a paper's page, before "and 1,960 more"."""

ABSTRACT_SHOWN = 20_000
"""Characters of an abstract that a page shows."""

_TABS = {"day": ("Daily", "date"), "week": ("Weekly", "week"), "month": ("Monthly", "month")}


@dataclass(frozen=True)
class Choice:
    """A link among several; `count` where it has one."""

    name: str
    href: str
    current: bool = False
    count: int | None = None
    title: str = ""


@dataclass(frozen=True)
class Pager:
    """Links to the pages before and after this one, and where this one stands."""

    previous: str | None
    following: str | None
    page: int
    pages: int | None


def address(path: str, choices: Mapping[str, object] | None = None, **more: object) -> str:
    """The path with the choices that say something: None, "" and 0 are left out."""
    given = {**(choices or {}), **more}
    told = {name: str(value) for name, value in given.items() if value not in (None, "", 0, False)}
    return f"{path}?{urlencode(told)}" if told else path


def paper_address(paper_id: str) -> str:
    """The page of a paper."""
    return f"/papers/{quote(paper_id)}"


def period_address(period: Period) -> str:
    """The page of a day, week or month."""
    return f"/papers/{_TABS[period.kind][1]}/{period.key}"


def tabs(period: Period | None, today: date) -> list[Choice]:
    """Daily, Weekly, Monthly: around the period shown, or around today."""
    day = min(period.last, max(period.first, today)) if period else today
    return [
        Choice(name, period_address(Period.around(kind, day)), period is not None and period.kind == kind)
        for kind, (name, _) in _TABS.items()
    ]


def with_choices(one: Choice, choices: Mapping[str, object]) -> Choice:
    """The link with these choices in its address; one that leads nowhere stays so."""
    return replace(one, href=address(one.href, choices)) if one.href else one


def neighbours(period: Period, today: date) -> tuple[Choice | None, Choice | None]:
    """The periods before and after; none that begins after today."""
    before, after = period.before, period.after
    return (
        Choice(before.title, period_address(before)) if before else None,
        Choice(after.title, period_address(after)) if after and after.first <= today else None,
    )


def strip(period: Period, counts: Mapping[date, int], today: date) -> list[Choice]:
    """The seven days of the week of a period's first day, with their papers."""
    monday = period.first - timedelta(days=period.first.weekday())
    days = [monday + timedelta(days=number) for number in range(7)]
    return [
        Choice(
            f"{day:%a} {day.day}",
            period_address(Period("day", day, day)) if day <= today else "",
            period.kind == "day" and day == period.first,
            counts.get(day, 0),
            f"{day:%A}, {day:%B} {day.day}: {counted(counts.get(day, 0), 'paper')}",
        )
        for day in days
    ]


def week_of(period: Period) -> tuple[date, date]:
    """First and last day of the strip."""
    monday = period.first - timedelta(days=period.first.weekday())
    return monday, monday + timedelta(days=6)


def long_title(period: Period) -> str:
    """ "Friday, October 2, 2026", "Week 40 of 2026, September 28 to October 4", "October 2026"."""
    first, last = period.first, period.last
    if period.kind == "month":
        return f"{first:%B} {first.year}"
    if period.kind == "week":
        end = last.day if last.month == first.month else f"{last:%B} {last.day}"
        return f"Week {int(period.key[6:])} of {period.key[:4]}, {first:%B} {first.day} to {end}"
    return f"{first:%A}, {first:%B} {first.day}, {first.year}"


def sorts(path: str, choices: Mapping[str, object], default: str, titles: Mapping[str, str] = SORTS) -> list[Choice]:
    """Links to the orders of a list; the default one needs no choice."""
    now = choices.get("sort") or default
    return [
        Choice(title, address(path, choices, sort="" if name == default else name), name == now)
        for name, title in titles.items()
    ]


def pager(path: str, choices: Mapping[str, object], page: int, *, pages: int | None, more: bool = False) -> Pager:
    """Where a page of a list leads: `pages` in all, or whether there is one more."""
    follows = page + 1 < pages if pages is not None else more
    return Pager(
        address(path, choices, p=page - 1) if page > 0 else None,
        address(path, choices, p=page + 1) if follows else None,
        page,
        pages,
    )


def counted(number: int, word: str) -> str:
    """1 paper, 1,204 papers."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def votes_told(paper: Paper) -> str:
    """Where the votes are from, in words."""
    if not paper.all_votes:
        return "No votes yet"
    if not paper.votes_elsewhere:
        return f"{counted(paper.votes, 'vote')} here"
    return f"{counted(paper.votes, 'vote')} here, {paper.votes_elsewhere:,} on other sites"


def shown_authors(paper: Paper, most: int) -> tuple[tuple[Author, ...], int]:
    """The first `most` authors that are not hidden, and how many more there are."""
    seen = paper.named_authors[:most]
    return seen, max(0, max(paper.author_count, len(paper.authors)) - len(seen))


def people(paper: Paper, most: int = 2) -> str:
    """The authors on one line: "Léa Martin, Bo Li +10"; "12 authors" where only the number is known."""
    seen, more = shown_authors(paper, most)
    if not seen:
        return counted(more, "author") if more else ""
    names = ", ".join(plain(author.name)[:60] for author in seen)
    return f"{names} +{more:,}" if more else names


def thumbnail(home: Path, paper: Paper) -> str:
    """The address of a paper's picture; it changes when the picture does, so that a browser may keep it for ever."""
    page = kept(home, paper.id)
    if page is not None:
        return f"{paper_address(paper.id)}/thumbnail.png?{page.stat().st_mtime_ns:x}"
    return f"{paper_address(paper.id)}/thumbnail.svg?{_title_hash(paper.title, subject(paper))}"


def subject(paper: Paper) -> str:
    """The paper's first category."""
    return paper.categories[0] if paper.categories else ""


def description(paper: Paper, most: int = 200) -> str:
    """A line for search engines and previews: the summary, or the beginning of the abstract, cut after a word."""
    text = plain_tex(paper.summary or paper.abstract)
    return text if len(text) <= most else text[: text.rfind(" ", 0, most) if " " in text[:most] else most] + " …"


def safe_link(url: str) -> str:
    """The address where it is one that a page may lead to (http, https), else ""."""
    try:
        return url if urlsplit(url.strip()).scheme.lower() in ("http", "https") else ""
    except ValueError:
        return ""


def site_name(url: str) -> str:
    """The name of the site that an address leads to, without "www."; "" of one that is long, or has none."""
    name = (urlsplit(safe_link(url).strip()).hostname or "").removeprefix("www.")
    return name if len(name) <= 40 else ""


def repository(url: str) -> str:
    """ "owner/name" of a repository's address."""
    parts = urlsplit(url).path.strip("/").removesuffix(".git").split("/")
    return "/".join(parts[:2]) or url


def takes(schema: Mapping[str, Any]) -> str:
    """What a parameter of the API takes, from its JSON schema: "integer, 1 to 100, 50 if left out"."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    kind = kinds[0]
    said = [" or ".join(map(str, kind["enum"])) if "enum" in kind else str(kind.get("type", "any"))]
    if "minimum" in kind and "maximum" in kind:
        said.append(f"{kind['minimum']} to {kind['maximum']}")
    if schema.get("default") not in (None, ""):
        said.append(f"{schema['default']} if left out")
    return ", ".join(said)


def feeds(base: str, name: str, choices: Sequence[str] = ("xml", "json")) -> dict[str, str]:
    """The addresses of a feed by kind of file (bib, ris and csl are references); `name` is below /feed/."""
    return {kind: f"{base}/feed/{quote(name)}.{kind}" for kind in choices}


@lru_cache(maxsize=8192)
def _title_hash(title: str, category: str) -> str:
    return sha256(f"{category}\n{title}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
