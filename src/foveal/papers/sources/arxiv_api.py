"""arXiv's API: papers by query, category or ids, in pages of a hundred, the earliest submitted first.

    "cat:cs.CL AND ti:retrieval"    a query in the API's own language
    "cs.CL", "cs.*", "hep-th"       all papers of a category
    "id:2605.01234,hep-th/9901001"  these papers, whenever they were submitted

Order     by submission, ascending, within fixed days: what is submitted meanwhile comes last and shifts no page
Much      of one query the API gives 30,000 papers; then it is asked anew, from the last one's minute on
Trouble   a later page may come back empty although the total says more: such a page is asked for again
Listed    on the day of the first version's submission, in UTC: the API does not tell when a paper was announced
Needs     text/arxiv.py, the client and its pace
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date
from urllib.parse import parse_qsl, urlsplit

from foveal import faults
from foveal.errors import InputError
from foveal.papers.records import Linked, Named, PaperRecord, paper_id
from foveal.papers.sources import DEFAULTS, Connection, Reading, each
from foveal.text.arxiv import ArxivClient, ArxivEntry, ArxivLink, ArxivSettings, parse_page
from foveal.text.dates import day_of
from foveal.text.fetching import Fetched

MOST = 30_000
"""Results of one query that the API gives at most."""

_SINCE = re.compile(r"(submittedDate:\[)\d{12}(?= TO \d{12}\]$)")
_CATEGORY = re.compile(r"[a-z][a-z-]*\.(?:[A-Za-z][A-Za-z-]+|\*)")
_ARCHIVES = frozenset(
    "gr-qc hep-ex hep-lat hep-ph hep-th math-ph nucl-ex nucl-th quant-ph".split()  # noqa: SIM905
)
_REPOSITORY = re.compile(r"https?://(?:www\.)?(?:github|gitlab)\.com/[\w.-]+/[\w.-]*\w")
_WITHDRAWN = re.compile(
    r"\b(?:this (?:paper|submission|article) has been withdrawn|withdrawn by)\b"
    # at a sentence's beginning, and not from a conference: "Paper withdrawn", "Withdrawn due to an error"
    r"|(?:^|[.;:]\s+)(?:(?:this|the|our)\s+)?(?:(?:paper|submission|article|manuscript|preprint|work)\s+)?"
    r"(?:(?:has|have)\s+been\s+|is\s+|was\s+)?withdrawn"
    r"(?=\W*$|\s*[.,;:(]|\s+(?:due|because|as|since|for|owing|pending|until|from\s+arxiv)\b)",
    re.IGNORECASE,
)


class ArxivApi:
    """Source: the API of arXiv."""

    name = "arxiv"
    overlap_days = 7  # a paper is announced days after it was submitted, later if a moderator looks at it
    once_a_day = True
    conditional = False

    def __init__(self, connection: Connection = DEFAULTS) -> None:
        settings = ArxivSettings(interval_s=connection.interval_s, pace_file=connection.pace_file)
        if connection.base_url:
            settings = replace(settings, base_url=connection.base_url)
        self._client = ArxivClient(settings, connection.fetch)
        self._page_size = connection.page_size

    def first_url(self, ask: str, *, since: date, today: date) -> str:
        """The first page."""
        if ask.startswith("id:"):
            ids = ids_of(ask.removeprefix("id:"))
            return self._client.url(id_list=",".join(ids), start=0, max_results=min(self._page_size, len(ids)))
        days = f"submittedDate:[{since:%Y%m%d}0000 TO {today:%Y%m%d}2359]"
        return self._client.url(
            search_query=f"({query_of(ask)}) AND {days}",
            sortBy="submittedDate",
            sortOrder="ascending",
            start=0,
            max_results=self._page_size,
        )

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The answer, at its turn."""
        return self._client.get(url, headers)

    def read(self, content: bytes | None, url: str) -> Reading:
        """The papers of a page."""
        page = parse_page(content or b"", url)
        query: dict[str, str] = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        asked = int(query.get("start", 0))
        after = asked + int(query.get("max_results", self._page_size))
        following = None
        if after < min(page.total, MOST):
            following = self._client.url(**{**query, "start": str(after)})
        elif after < page.total:
            following = self._rest(query, page.entries)
        made, wrong = each(record_of, page.entries)
        empty = not page.entries and asked < page.total
        return Reading(records=made, next_url=following, empty=empty, left_out=wrong)

    def _rest(self, query: Mapping[str, str], entries: Sequence[ArxivEntry]) -> str | None:
        """The first page of what is left behind the `MOST` that a query gives; None where it would begin no later."""
        last = entries[-1].published if entries else None
        asked = query.get("search_query", "")
        moved = _SINCE.sub(rf"\g<1>{last.astimezone(UTC):%Y%m%d%H%M}", asked) if last else asked
        return self._client.url(**{**query, "search_query": moved, "start": "0"}) if moved > asked else None


def query_of(ask: str) -> str:
    """A query of the API: a bare category becomes `cat:…`."""
    text = " ".join(ask.split())
    if not text:
        raise InputError(
            "arXiv's API got an empty query. Give a category such as cs.CL, or a query such as ti:attention."
        )
    return f"cat:{text}" if text in _ARCHIVES or _CATEGORY.fullmatch(text) else text


def ids_of(given: str) -> list[str]:
    """The ids of arXiv in a text, between commas or blanks, without versions. InputError: there is none, or another."""
    ids = [paper_id(one) for one in re.split(r"[,\s]+", given) if one]
    own = [one for one in ids if one.startswith(("doc-", "title-"))]
    if own or not ids:
        wrong = f"arXiv has no paper {own[0]!r}." if own else "No paper was named."
        raise InputError(f"{wrong} The ids of arXiv look like 2103.00020 or hep-th/9901001.")
    return list(dict.fromkeys(ids))


def record_of(entry: ArxivEntry) -> PaperRecord:
    """An entry of the API as a record."""
    affiliations = entry.affiliations or ("",) * len(entry.authors)
    named = zip(entry.authors, affiliations, strict=True)
    repository = repository_in(f"{entry.comment or ''} {entry.abstract}")
    return PaperRecord(
        id=entry.id,
        version=entry.version,
        title=entry.title,
        abstract=entry.abstract,
        authors=tuple(Named(name=name, affiliation=affiliation) for name, affiliation in named),
        published_at=entry.published,
        updated_at=entry.updated,
        categories=tuple(dict.fromkeys(filter(None, (entry.primary_category, *entry.categories)))),
        comment=entry.comment or "",
        journal_ref=entry.journal_ref or "",
        doi=entry.doi or "",
        url=f"https://arxiv.org/abs/{entry.id}",
        repo_url=repository,
        links=tuple(Linked(kind="page", url=link.href, title="doi") for link in entry.links if _is_doi(link)),
        withdrawn=is_withdrawn(entry.comment, entry.abstract),
        listed_on=day_of(entry.published, faults.now().date()),
        source=ArxivApi.name,
    )


def _is_doi(link: ArxivLink) -> bool:
    return link.title == "doi" and link.href.startswith(("http://", "https://"))


def repository_in(text: str) -> str:
    """The first repository that a text names, "" where it names none."""
    found = _REPOSITORY.search(text)
    return found[0].removesuffix(".git").replace("http://", "https://").replace("//www.", "//") if found else ""


def is_withdrawn(comment: str | None, abstract: str) -> bool:
    """Whether the authors or arXiv took the paper back, which arXiv says in the comment or the abstract only."""
    return bool(_WITHDRAWN.search(comment or "") or _WITHDRAWN.match(abstract))
