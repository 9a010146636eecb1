"""Who may do what on a served site: one rule for pages, forms, uploads, the API and jobs.

    writers     who may add, ask, read, research, grade      who may remove
    nobody      nobody                                       nobody
    members     whoever is signed in                         moderators, admins; of a document who added it (or rename)
    anyone      anyone                                       anyone

    @router.post("/ask", dependencies=[Depends(guarded), Depends(Needs("ask"))])       # 403 where it is not allowed
    {% if may.ask %} … {% elif may.sign_in %} … {% endif %}                            # in every template

To look is everybody's. What belongs to a person (votes, remarks, lists, mail) needs `Member` of signed_in.py, and what
belongs to a role asks for it in papers/moderation.py, whoever the writers are. The address that somebody comes from
gives no rights where members write: behind a proxy that names none, everybody would be this machine itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastapi import HTTPException, Request

from foveal.papers.accounts import Person
from foveal.web.job import Job
from foveal.web.request_limits import asked_by
from foveal.web.signed_in import BY_TOKEN, FOR_PROGRAMS, SignInFirst, sign_in_address, signed_in
from foveal.web.site import site_of

ACTS: Mapping[str, str] = MappingProxyType(
    {
        "add": "add documents",
        "submit": "add papers",
        "ask": "ask",
        "read": "have a document read",
        "research": "research",
        "judge": "grade what a search finds",
        "remove": "remove documents",
        "rename": "rename documents",
    }
)
"""What changes the site or costs it something, and how a page calls it."""

RESERVED = {"remove": "moderate", "rename": "moderate"}
"""Acts that need a right of a role (papers/person.py) where members write, unless it is of one's own (documents.py)."""

KEEPERS = {act: f"Only whoever added a document, moderators and admins {act} it." for act in ("remove", "rename")}
"""What those are told who may not."""

LOOK_ONLY = "Visitors may look around here, but not add, ask or remove."
BY_COMMAND = {
    "add": " Whoever runs this site adds with foveal add.",
    "submit": " Whoever runs this site adds papers: foveal papers add ID.",
}
"""What stands in for an act where nobody does it in the browser."""


@dataclass(frozen=True)
class Needs:
    """Dependency of a route: 403 with what to do, unless whoever asks may do this."""

    act: str

    def __post_init__(self) -> None:
        """KeyError: no such act; a mistake of ours, told when the site starts."""
        ACTS[self.act]

    def __call__(self, request: Request) -> None:
        """HTTPException 403: not here, or not you; 503: who you are cannot be looked up."""
        if may(request, self.act):
            return
        person = signed_in(request)
        if site_of(request).options.writers != "members":
            said = LOOK_ONLY if person is None else f"Nobody may {ACTS[self.act]} here, signed in or not."
            raise HTTPException(403, said + BY_COMMAND.get(self.act, ""))
        if person is not None:
            raise HTTPException(403, f"{KEEPERS[self.act]} Ask one of them.")
        if getattr(request.state, "session_unread", False):  # to send them to sign in would lose what they did
            raise HTTPException(503, "Who you are cannot be looked up just now. Send it again.", {"Retry-After": "10"})
        headers = {"hx-redirect": sign_in_address(request)} if "hx-request" in request.headers else None
        if request.url.path.startswith(FOR_PROGRAMS):
            said = f"No program may {ACTS[self.act]} here without being somebody: {BY_TOKEN}"
            raise SignInFirst(401, said, {"www-authenticate": "Bearer"})
        if self.act in RESERVED:
            raise SignInFirst(403, f"{KEEPERS[self.act]} Sign in as one of them.", headers)
        raise SignInFirst(403, f"Sign in to {ACTS[self.act]}: visitors of this site may only look.", headers)


def may(request: Request, act: str) -> bool:
    """Whether whoever asks may do this here."""
    writers = site_of(request).options.writers
    return writers == "anyone" or (writers == "members" and _as_member(signed_in(request), act))


def rights(request: Request) -> dict[str, bool]:
    """What templates know as `may`: each act, and `sign_in`, whether to sign in would allow more."""
    helps = site_of(request).options.writers == "members" and signed_in(request) is None
    return {act: may(request, act) for act in ACTS} | {"sign_in": helps}


def whose_job(request: Request) -> str:
    """Whose a job is that begins now: a person's where members write; else an address's, "" for this machine itself."""
    person = signed_in(request) if site_of(request).options.writers == "members" else None
    return _of(person) if person is not None else asked_by(request)


def lists_jobs(request: Request) -> bool:
    """Whether whoever asks has a list of jobs (job_pages.py): not where strangers who write would share one."""
    options = site_of(request).options
    if options.writers == "members":
        return signed_in(request) is not None
    return options.writers == "anyone" and not options.base_url and "*" not in options.hosts


def person_number(whose: str) -> int | None:
    """The number of the person whose a job is; None where it is an address's."""
    kind, _, number = whose.partition(" ")
    return int(number) if kind == "person" and number.isdecimal() else None


def check_stop(request: Request, job: Job) -> None:
    """HTTPException 403: it is somebody else's."""
    if not may_stop(request, job):
        members = site_of(request).options.writers == "members"
        others = "So can moderators." if members else "Whoever runs the site can, on its machine."
        raise HTTPException(403, f"Only who asked for this can cancel it. {others}")


def may_stop(request: Request, job: Job) -> bool:
    """Whether whoever asks may cancel a job: its page can be shared, the library's page names all."""
    if site_of(request).options.writers == "members":
        person = signed_in(request)
        return person is not None and (job.whose == _of(person) or person.may("moderate"))
    return asked_by(request) in ("", job.whose)


def _as_member(person: Person | None, act: str) -> bool:
    return person is not None and (act not in RESERVED or person.may(RESERVED[act]))


def _of(person: Person) -> str:
    return f"person {person.id}"
