"""What belongs to a paper, by those who may say so (papers/linking.py); the form is on the paper's page.

POST /link/{paper}: `url`, `kind`, `title`; `on=no` takes it out
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from foveal.papers import linking
from foveal.web import papers_views as views
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, changing
from foveal.web.small_forms import SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@router.post("/link/{paper:path}", dependencies=[Depends(guarded)])
def link(
    request: Request, person: Member, paper: str, url: Text, kind: Text = "code", title: Text = "", on: Text = "yes"
) -> Response:
    """Add a link, or take one out that a person added."""
    database = changing(request, person)
    if on == "yes":
        which = linking.link(database, paper, url, kind=kind, title=title, by=person)
    else:
        which = linking.unlink(database, paper, url, by=person)
    return back_to(views.paper_address(which))
