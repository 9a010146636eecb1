"""Papers to other programs: BibTeX, RIS, CSL-JSON, CSV, JSON.

EXPORTS["bibtex"](papers)                      # one text; also "ris", "csl", "csv", "json"
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any

from foveal.papers.store import Paper
from foveal.text import references

CSV_COLUMNS = (
    *(
        "id",
        "version",
        "title",
        "authors",
        "author_count",
        "organisation",
        "published",
        "listed",
        "categories",
        "votes",
    ),
    *("comments", "doi", "journal_ref", "url", "repo_url", "repo_stars", "abstract", "withdrawn"),
)


# papers


def bibtex(papers: Sequence[Paper], *, abstract: bool = True) -> str:
    """One @article or @misc for each paper, with keys that differ; whole, or without abstracts."""
    known = [_reference(paper) for paper in papers]
    return references.bibtex(known if abstract else [replace(one, abstract="") for one in known])


def ris(papers: Sequence[Paper]) -> str:
    """One record for each paper, lines ended as the format has them."""
    return references.ris([_reference(paper) for paper in papers])


def csl(papers: Sequence[Paper]) -> str:
    """An item for each paper, as Zotero, Pandoc and citeproc read them."""
    return references.csl([_reference(paper) for paper in papers])


def as_csv(papers: Sequence[Paper]) -> str:
    """A table with a head; cells that a spreadsheet would take for a formula are quoted by an apostrophe."""
    held = io.StringIO()
    writer = csv.writer(held)
    writer.writerow(CSV_COLUMNS)
    for paper in papers:
        writer.writerow([_cell(value) for value in _row(paper)])
    return held.getvalue()


def as_json(papers: Sequence[Paper]) -> str:
    """The papers as objects, times in ISO format."""
    told = [asdict(replace(paper, authors=paper.named_authors)) for paper in papers]
    return json.dumps(told, default=_plain, ensure_ascii=False, indent=1) + "\n"


EXPORTS: Mapping[str, Callable[[Sequence[Paper]], str]] = {
    "bibtex": bibtex,
    "ris": ris,
    "csl": csl,
    "csv": as_csv,
    "json": as_json,
}


def _reference(paper: Paper) -> references.Reference:
    return references.Reference(
        title=paper.title,
        authors=tuple(name for author in paper.named_authors if (name := " ".join(author.name.split()))),
        organisation=paper.organisation,
        dated=paper.published_at.date() if paper.published_at else None,
        kind="paper",
        url=paper.page_url,
        journal=paper.journal_ref,
        doi=paper.doi,
        arxiv=paper.id if paper.is_arxiv else "",
        category=paper.categories[0] if paper.is_arxiv and paper.categories else "",
        note="Withdrawn" if paper.withdrawn else "",
        keywords=tuple(paper.keywords),
        abstract=paper.abstract,
        pdf=paper.pdf_url,
        id=paper.id,
    )


def _row(paper: Paper) -> list[Any]:
    published = paper.published_at.date() if paper.published_at else ""
    return [
        *(
            paper.id,
            paper.version,
            paper.title,
            "; ".join(author.name for author in paper.named_authors),
            paper.author_count,
        ),
        *(paper.organisation, published, paper.listed_on or "", " ".join(paper.categories), paper.all_votes),
        *(paper.all_comments, paper.doi, paper.journal_ref, paper.page_url, paper.repo_url),
        *("" if paper.repo_stars is None else paper.repo_stars, paper.abstract, "yes" if paper.withdrawn else ""),
    ]


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)
