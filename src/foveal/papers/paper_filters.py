"""The filters of a search for papers, as typed in the query or given as arguments: one meaning, three ways to ask.

    text, filters = parse('sparse attention au:"Lea Martin" cat:cs.CL year:2023-2025 org:inria code:yes')
    filters.conditions()      # for the index (`Library.retriever(where=…)`): fast, and never too strict
    filters.holds(paper)      # exact, of a paper as the database has it: what is shown passes this
    filters.select()          # all papers that pass, as a query of the database

au     all its words stand in one author's name, whatever their accents: au:martin, au:"lea martin", au:lea-martin
cat    a subject; without a dot, or ending in .*, all below it: cat:cs.CL, cat:cs, cat:hep-th
year   of its first version: year:2024, year:2020-2023, year:2020-
org    all its words stand in the organisation's name
code   yes: has a repository; no: has none
Several filters must all hold. A word before a colon that is none of these is a word like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from foveal.errors import InputError
from foveal.papers.records import name_key
from foveal.papers.schema import AuthorRow, CategoryRow, PaperRow
from foveal.papers.store import Paper
from foveal.types import Scalar

_FILTER = re.compile(r'(?<!\S)(au|cat|year|org|code):(?:"([^"]*)"|(\S+))', re.IGNORECASE)
_YEARS = re.compile(r"(\d{4})(?:(-|\.\.)(\d{4})?)?")
_CATEGORY = re.compile(r"[a-z][a-z-]*(?:\.(?:[a-z-]+|\*))?", re.IGNORECASE)
FIRST_YEAR, LAST_YEAR = 1000, 9999


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a paper must be; all of it empty lets every paper pass."""

    authors: tuple[str, ...] = ()  # keys: parts with hyphens between
    categories: tuple[str, ...] = ()  # in lower case; one that ends in a dot takes all below it
    years: tuple[tuple[int, int], ...] = ()  # first and last
    organisations: tuple[str, ...] = ()  # keys
    code: bool | None = None

    def __bool__(self) -> bool:
        return self != Filters()

    def and_(self, other: Filters) -> Filters:
        """Both at once. InputError: one asks for code, the other for none."""
        if None not in (self.code, other.code) and self.code != other.code:
            raise InputError("The search asks for papers with code and for papers without; leave one of them out.")
        return replace(
            self,
            authors=self.authors + other.authors,
            categories=self.categories + other.categories,
            years=self.years + other.years,
            organisations=self.organisations + other.organisations,
            code=other.code if self.code is None else self.code,
        )

    def conditions(self) -> list[str]:
        """Conditions over `metadata_of` that every paper passes for which `holds`."""
        parts = [("authors", part) for key in self.authors for part in key.split("-")]
        parts += [("organisation", part) for key in self.organisations for part in key.split("-")]
        found = [f'{name}~"-{part}-"' for name, part in parts]
        found += [f'{"archives" if one.endswith(".") else "categories"}~" {one} "' for one in self.categories]
        for first, last in self.years:
            found += [f"year>={first}", f"year<={last}"]
        return [*found, *([] if self.code is None else [f"code={'yes' if self.code else 'no'}"])]

    def holds(self, paper: Paper) -> bool:
        """Whether the paper passes."""
        names = [name_key(author.name).split("-") for author in paper.named_authors] if self.authors else []
        year = paper.published_at.year if paper.published_at else 0
        return (
            all(any(_within(key, name) for name in names) for key in self.authors)
            and all(any(_below(one.lower(), wanted) for one in paper.categories) for wanted in self.categories)
            and all(first <= year <= last for first, last in self.years)
            and all(_within(key, name_key(paper.organisation).split("-")) for key in self.organisations)
            and self.code in (None, bool(paper.repo_url))
        )

    def select(self) -> Select[Any]:
        """Ids of the papers that pass: to read thousands of papers in order to ask `holds` takes seconds."""
        wanted = select(PaperRow.id)
        for key in self.authors:
            named = and_(AuthorRow.status != "hidden", *_words(AuthorRow.name_key, key))
            wanted = wanted.where(PaperRow.id.in_(select(AuthorRow.paper_id).where(named)))
        for category in self.categories:
            wanted = wanted.where(PaperRow.id.in_(select(CategoryRow.paper_id).where(_category_is(category))))
        for first, last in self.years:
            begin, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
            wanted = wanted.where(PaperRow.published_at.between(begin, end))
        for key in self.organisations:
            wanted = wanted.where(*_words(PaperRow.organisation_id, key))
        if self.code is not None:
            wanted = wanted.where(PaperRow.repo_url != "" if self.code else PaperRow.repo_url == "")
        return wanted


NO_FILTERS = Filters()
"""Every paper passes."""


def parse(query: str) -> tuple[str, Filters]:
    """The query without its filters, and these. InputError: a filter whose value is none, and which."""
    filters = Filters()
    for name, quoted, bare in _FILTER.findall(query):
        filters = filters.and_(made(**{NAMES[name.lower()]: quoted or bare}))
    return " ".join(_FILTER.sub(" ", query).split()), filters


NAMES = {"au": "author", "cat": "category", "year": "year", "org": "organisation", "code": "code"}
"""Filter -> its name as an argument."""


def made(
    *,
    author: str | None = None,
    category: str | None = None,
    year: str | int | None = None,
    organisation: str | None = None,
    code: str | bool | None = None,
) -> Filters:
    """The filters that these ask for; "" and None ask for nothing. InputError: a value that is none."""
    return Filters(
        authors=(_key("au", author),) if author else (),
        categories=(_category(category),) if category else (),
        years=(_years(str(year)),) if year else (),
        organisations=(_key("org", organisation),) if organisation else (),
        code=None if code in (None, "") else _yes(code),
    )


def metadata_of(paper: Paper) -> dict[str, Scalar]:
    """What the index keeps of a paper so that `conditions` can be asked."""
    names = [name_key(author.name) for author in paper.named_authors]
    subjects = [one.lower() for one in paper.categories]
    return {
        "authors": " ".join(f"-{name}-" for name in dict.fromkeys(names)),
        "organisation": f"-{name_key(paper.organisation)}-" if paper.organisation else "",
        "categories": f" {' '.join(subjects)} ",
        "archives": f" {' '.join(dict.fromkeys(one.partition('.')[0] + '.' for one in subjects))} ",
        "year": paper.published_at.year if paper.published_at else 0,
        "code": "yes" if paper.repo_url else "no",
    }


def _key(name: str, value: str) -> str:
    if not re.search(r"\w", value):
        raise InputError(f"The filter {name}: got {value[:40]!r}; it needs a name, such as {name}:martin.")
    return name_key(value)


def _category(value: str) -> str:
    if not _CATEGORY.fullmatch(value):
        raise InputError(f"The filter cat: got {value[:40]!r}; it needs a subject such as cs.CL, cs.* or hep-th.")
    lower = value.lower()
    return lower[:-1] if lower.endswith(".*") else lower if "." in lower else f"{lower}."


def _years(value: str) -> tuple[int, int]:
    found = _YEARS.fullmatch(value.strip())
    first = int(found[1]) if found else 0
    last = (int(found[3]) if found[3] else LAST_YEAR if found[2] else first) if found else 0
    if not FIRST_YEAR <= first <= last:
        raise InputError(f"The filter year: got {value[:40]!r}; it needs a year or two, as 2024, 2020-2023 or 2020-.")
    return first, last


def _yes(value: str | bool) -> bool:
    said = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(str(value).lower())
    if said is None:
        raise InputError(f"The filter code: got {str(value)[:40]!r}; it needs yes or no.")
    return said


def _within(key: str, name: list[str]) -> bool:
    return set(key.split("-")) <= set(name)


def _words(column: Any, key: str) -> list[Any]:
    """Conditions on a column of keys: each word of `key` is one of its words."""
    return [("-" + column + "-").contains(f"-{part}-", autoescape=True) for part in key.split("-")]


def _below(category: str, wanted: str) -> bool:
    return f"{category}.".startswith(wanted) if wanted.endswith(".") else category == wanted


def _category_is(wanted: str) -> Any:
    """The condition on a row, whatever the case of its name."""
    name = func.lower(CategoryRow.name)
    if wanted.endswith("."):
        return or_(name == wanted[:-1], name.startswith(wanted, autoescape=True))
    return name == wanted
