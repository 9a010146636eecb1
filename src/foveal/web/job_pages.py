"""What one has asked for here: what goes on, what is done and what failed, with the way to each.

GET /jobs      questions, readings and documents added of the last day, and runs of research; the newest first

Where members write the list is a person's, who signs in for it. Where anyone does (at home) it is that of the address
that asks, this machine above all; a site that strangers know by a name shows none then: they would share one address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, HTTPException, Request, Response

from foveal.web.job import Job
from foveal.web.pages import page
from foveal.web.research_pages import listed_as, owner_of
from foveal.web.research_work import ResearchWork
from foveal.web.rights import lists_jobs, whose_job
from foveal.web.signed_in import must_sign_in, private
from foveal.web.site import site_of

LISTED = 50
"""Jobs of each sort on the page."""

GOES_ON = ("waiting", "running")

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    title: str
    address: str
    state: str  # as of a job
    said: str  # how far it is, or how it ended
    at: datetime


@router.get("/jobs")
def jobs_page(request: Request) -> Response:
    """The list."""
    if site_of(request).options.writers == "members":
        must_sign_in(request)
    elif not lists_jobs(request):
        raise HTTPException(404, "This site keeps no list of who asked for what: it has no accounts that write.")
    rows = sorted([*_jobs(request), *_runs(request)], key=lambda row: row.at, reverse=True)
    values = {
        "open": [row for row in rows if row.state in GOES_ON],
        "over": [row for row in rows if row.state not in GOES_ON],
    }
    return page(request, "jobs/jobs.html", values, headers=private())


def _jobs(request: Request) -> list[Row]:
    found = site_of(request).jobs.of(whose_job(request), LISTED)
    return [
        Row(job.work.title, job.page, job.state, _said(job), began)
        for job, began in found
        if not isinstance(job.work, ResearchWork)
    ]


def _said(job: Job) -> str:
    if not job.over:
        return job.progress.text
    return job.error or {"done": "done", "cancelled": "cancelled"}.get(job.state, "failed")


def _runs(request: Request) -> list[Row]:
    desk = site_of(request).research
    rows = []
    for run in desk.runs.listed(owner_of(request), limit=LISTED):
        said = listed_as(desk, run)
        state = "running" if said in ("waits", "goes on", "goes on elsewhere") else run.status
        kind = "Report" if run.options.get("report") else "Research"
        rows.append(Row(f"{kind}: {run.question}", f"/research/{run.key}", state, said, run.created_at))
    return rows
