"""Papers that go for good, for moderators and admins: asked first, and let back.

/papers/{paper}/remove: what goes with it; POST: it goes. POST /admin/removed: a source may bring it again
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from foveal.papers import removing
from foveal.papers.moderation import must
from foveal.web import papers_views as views
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, private
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]


@router.get("/papers/{which:path}/remove")
def ask(request: Request, which: str, person: Member) -> Response:
    """What would go, and the button."""
    must(person, "moderate", "Papers are removed by a moderator only.")
    paper = site_of(request).papers.get(which)
    return page(request, "people/remove_paper.html", {"paper": paper}, headers=private())


@router.post("/papers/{which:path}/remove", dependencies=writes)
def remove(request: Request, which: str, person: Member, reason: Text = "", same_as: Text = "") -> Response:
    """It is gone; on to the other entry of it, or to where it is named."""
    site = site_of(request)
    home = site.settings.home
    gone = removing.remove(site.database, which, by=person, reason=reason, same_as=same_as, home=home)
    return back_to(views.paper_address(gone.same_as) if gone.same_as else "/admin#removed")


@router.post("/admin/removed", dependencies=writes)
def let_back(request: Request, person: Member, paper: Text) -> Response:
    """Sources may bring it again."""
    removing.readmit(site_of(request).database, paper, by=person)
    return back_to("/admin#removed")
