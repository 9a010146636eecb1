"""For moderators and admins: what was reported, remarks and notes that were hidden, papers that were removed, claims,
roles, and all that was done.

/admin, /admin/reports, /admin/claims; POST /admin/people, /admin/roles, /admin/reports, /admin/claims
/admin/people/{login}/remove: what would go and what stays; POST: they are deleted
"""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Depends, Request, Response
from starlette.background import BackgroundTask

from foveal.errors import InputError
from foveal.papers import accounts, claims, complaints, moderation, notes, personal_data, removing
from foveal.papers.moderation import must
from foveal.papers.person import RIGHTS
from foveal.web.login_pages import knows_its_address, mailed
from foveal.web.own_data import counted_of
from foveal.web.pages import page
from foveal.web.safety import guarded
from foveal.web.signed_in import Member, back_to, private
from foveal.web.site import Site, base_url, in_the_log, site_of
from foveal.web.small_forms import FormRow, MaybeRow, SmallForms, Text

router = APIRouter(route_class=SmallForms, include_in_schema=False)
writes = [Depends(guarded)]

FOR_MODERATORS = "This page is for moderators and admins."
NOT_DELETED = "People are deleted by an admin only."


@router.get("/admin")
def desk(request: Request, person: Member, added: str = "", gone: str = "") -> Response:
    """Hidden remarks and notes, removed papers, people (who was just `added`, that somebody is `gone`), the audit."""
    must(person, "moderate", FOR_MODERATORS)
    site = site_of(request)
    database, hidden, unseen = site.database, moderation.hidden(site.database), notes.hidden(site.database)
    people = accounts.people(database) if person.may("administer") else []
    about = {one.paper_id for one in hidden} | {one.paper_id for one in unseen}
    values = {
        "hidden": hidden,
        "hidden_notes": unseen,
        "titles": {paper.id: paper.title for paper in site.papers.many(list(about))},
        "removed": removing.removed(database),
        "people": people,
        "added": next((one for one in people if one.login == added), None),
        "gone": gone == "yes",
        "sign_in_page": _sign_in_page(request),
        "mails": _mails(site_of(request)),
        "roles": list(RIGHTS),
        "acts": moderation.audit(database),
    }
    return page(request, "people/admin.html", values, headers=private())


@router.post("/admin/people", dependencies=writes)
def add_person(request: Request, person: Member, address: Text, name: Text = "", role: Text = "member") -> Response:
    """An account for an address, and a mail to it that says so."""
    site = site_of(request)
    must(person, "administer", "People are added by an admin only.")
    knows_its_address(site)
    made = accounts.add(site.database, address, name=name, role=role, by=person)
    answer = back_to(f"/admin?added={made.login}#people")
    if _mails(site):
        subject, text = accounts.invitation(site.options.title, _sign_in_page(request), person)
        answer.background = BackgroundTask(mailed, site.deliver, made.email, subject, text)
    return answer


@router.post("/admin/roles", dependencies=writes)
def set_role(request: Request, person: Member, login: Text, role: Text) -> Response:
    """Another role."""
    accounts.set_role(site_of(request).database, login, role, by=person)
    return back_to("/admin#people")


@router.get("/admin/people/{login}/remove")
def ask_about_person(request: Request, person: Member, login: str) -> Response:
    """What would go with an account, what stays, and the button; one's own is deleted on one's settings page."""
    must(person, "administer", NOT_DELETED)
    database = site_of(request).database
    which = accounts.find(database, login)
    if which.id == person.id:
        return back_to("/settings#data")
    values = {"which": which, "held": counted_of(database, which)}
    return page(request, "people/remove_person.html", values, headers=private())


@router.post("/admin/people/{login}/remove", dependencies=writes)
def remove_person(request: Request, person: Member, login: str, sure: Text = "", remarks: Text = "keep") -> Response:
    """Delete an account; `sure` is its login, typed."""
    must(person, "administer", NOT_DELETED)
    site = site_of(request)
    which = accounts.find(site.database, login)
    if which.id == person.id:
        raise InputError("Your own account is deleted on your settings page, below “Your data”. Nothing was deleted.")
    if sure.strip().lower() != which.login:
        raise InputError(f"To delete this account, type its login, {which.login}. Nothing was deleted.")
    erase = partial(personal_data.erase, site.database, which, remarks=remarks, by=person)
    site.research.left_by(which.id, erase)
    return back_to("/admin?gone=yes#people")


@router.get("/admin/reports")
def reports(request: Request, person: Member) -> Response:
    """What people reported, and nobody decided."""
    must(person, "moderate", FOR_MODERATORS)
    values = {"waiting": complaints.waiting(site_of(request).database)}
    return page(request, "people/reports.html", values, headers=private())


@router.post("/admin/reports", dependencies=writes)
def decide_report(
    request: Request,
    person: Member,
    verdict: Text,
    remark: MaybeRow = None,
    paper: Text = "",
    collection: MaybeRow = None,
    reason: Text = "",
) -> Response:
    """Hide the remark or note, or see no harm in it; a paper is removed on a page of its own."""
    must(person, "moderate", FOR_MODERATORS)
    database = site_of(request).database
    if verdict == "hide" and remark is not None:
        moderation.hide(database, remark, by=person, reason=reason)
    elif verdict == "hide" and collection is not None:
        notes.hide(database, collection, paper, by=person, reason=reason)
    elif verdict == "dismiss":
        which = paper or None
        complaints.dismiss(database, by=person, reason=reason, remark=remark, paper=which, collection=collection)
    else:
        raise InputError(f"What was reported can be hidden (a remark, a note) or dismissed, not {verdict[:20]!r}.")
    return back_to("/admin/reports")


@router.get("/admin/claims")
def open_claims(request: Request, person: Member) -> Response:
    """Claims that wait for a decision."""
    must(person, "moderate", FOR_MODERATORS)
    database = site_of(request).database
    values = {"waiting": claims.claims(database), "decided": claims.claims(database, state="refused")}
    return page(request, "people/claims.html", values, headers=private())


@router.post("/admin/claims", dependencies=writes)
def decide(
    request: Request,
    person: Member,
    paper: Text,
    claimant: FormRow,
    verdict: Text,
    reason: Text = "",
) -> Response:
    """Grant a claim, or refuse it."""
    granted = verdict == "grant"
    claims.decide(site_of(request).database, paper, claimant, granted=granted, by=person, reason=reason)
    return back_to("/admin/claims")


def _mails(site: Site) -> bool:
    return site.deliver is not in_the_log


def _sign_in_page(request: Request) -> str:
    return f"{base_url(request)}/login"
