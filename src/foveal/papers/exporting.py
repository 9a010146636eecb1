"""Papers to other programs: BibTeX, RIS, CSL-JSON, CSV, JSON.

EXPORTS["bibtex"](papers)                      # one text; also "ris", "csl", "csv", "json"
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from foveal.papers.store import Paper
from foveal.text import references
from foveal.text.bibtex import Keys, entry, key_of, tex

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
    keys = Keys()
    return "\n".join(_bibtex(paper, keys.fresh(_key(paper)), abstract=abstract) for paper in papers)


def ris(papers: Sequence[Paper]) -> str:
    """One record for each paper, lines ended as the format has them."""
    return "".join(f"{line}\r\n" for paper in papers for line in _ris(paper))


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
    from dataclasses import asdict, replace

    told = [asdict(replace(paper, authors=paper.named_authors)) for paper in papers]
    return json.dumps(told, default=_plain, ensure_ascii=False, indent=1) + "\n"


EXPORTS: Mapping[str, Callable[[Sequence[Paper]], str]] = {
    "bibtex": bibtex,
    "ris": ris,
    "csl": csl,
    "csv": as_csv,
    "json": as_json,
}


def _bibtex(paper: Paper, key: str, *, abstract: bool) -> str:
    fields = {
        "title": f"{{{tex(paper.title)}}}",
        "author": " and ".join(tex(author.name) for author in paper.named_authors),
        "year": str(paper.published_at.year) if paper.published_at else "",
        "month": f"{paper.published_at:%b}".lower() if paper.published_at else "",
        "journal": tex(paper.journal_ref),
        "doi": paper.doi,
        "eprint": paper.id if paper.is_arxiv else "",
        "archiveprefix": "arXiv" if paper.is_arxiv else "",
        "primaryclass": paper.categories[0] if paper.is_arxiv and paper.categories else "",
        "url": paper.page_url,
        "note": "Withdrawn" if paper.withdrawn else "",
        "abstract": tex(paper.abstract) if abstract else "",
    }
    return entry("article" if paper.journal_ref else "misc", key, fields)


def _key(paper: Paper) -> str:
    names = (author.name.split() for author in paper.named_authors)  # a source may give one that is blank
    family = next((words[-1] for words in names if words), paper.organisation or "anonymous")
    return key_of(family, paper.published_at.year if paper.published_at else "", paper.title)


def _ris(paper: Paper) -> Iterator[str]:
    yield f"TY  - {'JOUR' if paper.journal_ref else 'UNPB'}"
    fields = [
        ("TI", paper.title),
        *(("AU", references.last_first(author.name)) for author in paper.named_authors),
        ("PY", str(paper.published_at.year) if paper.published_at else ""),
        ("DA", f"{paper.published_at:%Y/%m/%d}" if paper.published_at else ""),
        ("JO", paper.journal_ref),
        ("DO", paper.doi),
        ("UR", paper.page_url),
        ("L1", paper.pdf_url),
        *(("KW", word) for word in paper.keywords),
        ("N1", "Withdrawn" if paper.withdrawn else ""),
        ("AB", paper.abstract),
        ("ID", paper.id),
    ]
    yield from (f"{tag}  - {' '.join(value.split())}" for tag, value in fields if value)
    yield "ER  - "


def _reference(paper: Paper) -> references.Reference:
    return references.Reference(
        title=paper.title,
        authors=tuple(name for author in paper.named_authors if (name := " ".join(author.name.split()))),
        dated=paper.published_at.date() if paper.published_at else None,
        url=paper.page_url,
        journal=paper.journal_ref,
        doi=paper.doi,
        arxiv=paper.id if paper.is_arxiv else "",
        note="Withdrawn" if paper.withdrawn else "",
        abstract=paper.abstract,
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
