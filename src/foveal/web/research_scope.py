"""What a report is to be: its questions back, and its brief, on the page of a run that waits for who asked.

POST /research/{key}/scope    `do` is answers (to its questions), brief (as it was looked over), or begin (ask no more)

A run that waits takes no turn and holds no model: it has ended, and goes on with what is said. So it may wait for a
week, and while the server is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from foveal.errors import InputError
from foveal.research.report import Brief
from foveal.research.scope import Said
from foveal.web.pages import page
from foveal.web.research_desk import checked
from foveal.web.research_pages import costs, number, own_desk, owner_of, whole
from foveal.web.signed_in import private
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms, Text

MOST_POINTS, LONGEST_POINT = 12, 200
"""Lines of a list of the brief, and characters of one."""

MOST_WORDS = 5000

router = APIRouter(include_in_schema=False, route_class=SmallForms)


@router.post("/research/{key}/scope", dependencies=costs)
def scope(
    request: Request,
    key: str,
    do: Text = "begin",
    answer: Annotated[Sequence[str], Form()] = (),
    goal: Text = "",
    cover: Text = "",
    without: Text = "",
    since: Text = "",
    until: Text = "",
    language: Text = "",
    format: Text = "",  # noqa: A002
    words: Text = "",
) -> Response:
    """Go on with what the person says."""
    desk = own_desk(request, key)
    given = {
        "goal": goal, "cover": cover, "without": without, "since": since, "until": until, "language": language,
        "format": format, "words": words,
    }  # fmt: skip
    try:
        said = Said(tuple(map(checked_answer, answer)) if do == "answers" else None, brief_in(given, do))
        desk.go_on(key, owner_of(request), said=said)
    except InputError as error:
        known = whole(request, desk.run(key, owner_of(request)), "")
        if known.get("asks") is None:  # it has gone on meanwhile: there is no form to show again
            raise
        wrong = {"given": given, "answered": list(answer), "wrong": site_of(request).told(error)}
        return page(request, "research/report.html", known | wrong, status=400, headers=private())
    return RedirectResponse(f"/research/{key}", 303)


def brief_in(given: Mapping[str, str], do: str) -> Brief | None:
    """The brief of a form. InputError: a field that cannot be used."""
    if do != "brief":
        return None
    words = number(given["words"], "number of words") if given["words"].strip() else 0
    if not 50 <= words <= MOST_WORDS:
        raise InputError(f"The number of words got {given['words'][:20]!r}; give one from 50 to {MOST_WORDS:,}.")
    row: dict[str, Any] = {name: given[name].strip() for name in ("since", "until", "language", "format")}
    lists = {"must_cover": points(given["cover"]), "out_of_scope": points(given["without"])}
    return Brief.from_row(row | lists | {"goal": checked(given["goal"].strip()), "words": words})


def points(text: str) -> list[str]:
    """The lines of a list. InputError: too many, or one that is too long."""
    found = [" ".join(line.split()).lstrip("-*• ") for line in text.splitlines()]
    found = list(dict.fromkeys(filter(None, found)))
    if len(found) > MOST_POINTS or any(len(one) > LONGEST_POINT for one in found):
        raise InputError(f"A list of the brief takes {MOST_POINTS} lines of {LONGEST_POINT} characters at most.")
    return found


def checked_answer(text: str) -> str:
    """An answer to a question back. InputError: it is too long."""
    return checked(text.strip()) if text.strip() else ""
