"""Tools of the daily papers: search, those of a day, one of them, those near it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.agents import asked, shapes
from foveal.agents.place import Call, Place
from foveal.errors import InputError
from foveal.papers.periods import Period

if TYPE_CHECKING:
    from foveal.papers.store import Paper, PaperStore

NAMED = 30
"""Authors of a paper that are named."""


def search_papers(place: Place, given: asked.SearchPapers, call: Call) -> shapes.Papers:  # noqa: ARG001
    """Papers that fit, the best first."""
    found = place.paper_search.search(given.query, given.k, page=given.p - 1)
    papers = [shown(hit.paper) for hit in found.hits]
    full = len(papers) == given.k and (found.total is None or given.p * given.k < found.total)
    return shapes.Papers(
        papers=papers, period=None, count=found.total, next=given.p + 1 if full else None, note=found.note
    )


def daily_papers(place: Place, given: asked.DailyPapers, call: Call) -> shapes.Papers:  # noqa: ARG001
    """Papers of a day, a week or a month."""
    store = place.papers
    period = _period(store, given)
    found = store.page(
        period,
        sort=given.sort,
        page=given.p - 1,
        limit=given.limit,
        category=given.category or None,
        author=given.author or None,
        with_code=given.with_code,
    )
    papers = [shown(paper) for paper in found.papers]
    following = given.p + 1 if given.p < found.pages else None
    return shapes.Papers(papers=papers, period=period.key, count=found.total, next=following, note="")


def show_paper(place: Place, given: asked.ShowPaper, call: Call) -> shapes.Paper:  # noqa: ARG001
    """One paper."""
    return shown(place.papers.get(given.paper))


def similar_papers(place: Place, given: asked.SimilarPapers, call: Call) -> shapes.Papers:  # noqa: ARG001
    """Papers near another one."""
    near = place.paper_search.similar(given.paper, given.k)
    return shapes.Papers(papers=[shown(paper) for paper in near], period=None, count=len(near), next=None, note="")


def shown(paper: Paper) -> shapes.Paper:
    """A paper as tools give it, without the authors that are hidden."""
    return shapes.Paper(
        id=paper.id,
        title=paper.title,
        abstract=paper.abstract,
        authors=[author.name for author in paper.named_authors[:NAMED]],
        organisation=paper.organisation,
        categories=list(paper.categories),
        published_at=paper.published_at,
        listed_on=paper.listed_on.isoformat() if paper.listed_on else None,
        votes=paper.all_votes,
        comments=paper.all_comments,
        summary=paper.summary,
        keywords=list(paper.keywords),
        withdrawn=paper.withdrawn,
        url=paper.page_url,
        pdf_url=paper.pdf_url,
        repo_url=paper.repo_url,
        uri=shapes.paper_uri(paper.id),
    )


def _period(store: PaperStore, given: asked.DailyPapers) -> Period:
    from foveal import faults

    named = [(kind, key) for kind, key in (("day", given.day), ("week", given.week), ("month", given.month)) if key]
    if len(named) > 1:
        raise InputError("The papers of one period are asked for at a time: give day, week or month.")
    today = faults.now().date()
    return Period.said(*named[0], today) if named else Period.around("day", store.latest_day() or today)
