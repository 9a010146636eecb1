"""Watching a report's question: begun at the report, ended on the Research page.

POST /research/{key}/watch               begin; its report is what later ones are held against
POST /research/watches/{number}/remove   end

Only people who are signed in watch: what changes is mailed to their verified address (papers/mail/changes.py), and each
report made again is a run of theirs.
"""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from foveal.errors import InputError
from foveal.papers.mail import changes
from foveal.papers.rate_limits import CHANGES, take
from foveal.research.report_runs import ReportAsk, report_of
from foveal.research.runs import Owner
from foveal.research.watches import Watches
from foveal.web.research_work import Asked
from foveal.web.rights import Needs
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, ip_of
from foveal.web.site import site_of
from foveal.web.small_forms import Row, SmallForms, Text

router = APIRouter(include_in_schema=False, route_class=SmallForms)
writes = [Depends(guarded)]


@router.post("/research/{key}/watch", dependencies=[*writes, Depends(Needs("research"))])
def watch(request: Request, key: str, person: Member, every: Text = "weekly") -> Response:
    """Research this question again and again."""
    site = site_of(request)
    run = site.research.run(key, Owner(person=person.id))
    report = report_of(site.research.state(key))
    if report is None:
        raise InputError("There is no report to hold later ones against. Wait for its end, or go on with the run.")
    take(site.database, CHANGES, f"person:{person.id}")
    asked = Asked.of(run)
    ask = asked.report or ReportAsk()
    if ask.attended:  # nobody is there to be asked again: the brief holds that was looked over
        ask = replace(ask, attended=False, brief=report.brief)
    asked = Asked(run.question, asked.sources, asked.budget, report=ask)
    watches = Watches(site.database)
    address = person.email if site.mail is not None else ""
    watches.add(
        run.question, asked.options(), every=every, owner=person.id, address=address, report=report, run=run.key
    )
    if address:
        changes.wish(site.database, request.app.state.secret, person, on=True, ip=ip_of(request))
    return RedirectResponse(f"/research/{key}", 303)


@router.post("/research/watches/{number}/remove", dependencies=writes)
def remove(request: Request, number: Row, person: Member) -> Response:
    """Watch it no more."""
    site = site_of(request)
    take(site.database, CHANGES, f"person:{person.id}")
    Watches(site.database).remove(number, owner=person.id)
    return RedirectResponse("/research#watched-title", 303)
