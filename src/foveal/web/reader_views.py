"""What pages of papers show to the one who looks: their votes, what they read and muted, what they follow.

    yours_of(request, papers)          # Yours(voted={"2605.01234"}, read=frozenset(), …): two questions for a page
    without_muted(request, papers)     # the papers without muted words, and how many were left out
    follow_of(request, "author", "lea-martin")

A visitor has nothing of it, and no question is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from foveal.errors import InputError
from foveal.papers import follows, votes
from foveal.papers.store import Paper
from foveal.web.signed_in import signed_in
from foveal.web.site import site_of


@dataclass(frozen=True, kw_only=True)
class Yours:
    """Of the papers of a page: those that the reader voted for, and read."""

    voted: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()


NOBODYS = Yours()


def yours_of(request: Request, papers: Sequence[Paper]) -> Yours:
    """What the reader did with the papers."""
    person = signed_in(request)
    if person is None or not papers:
        return NOBODYS
    database, ids = site_of(request).database, [paper.id for paper in papers]
    return Yours(voted=votes.mine(database, ids, person), read=follows.read_marks(database, person, ids))


def without_muted(request: Request, papers: Sequence[Paper]) -> tuple[list[Paper], int]:
    """The papers that the reader wants to see, and how many are left out."""
    seen = follows.unmuted(site_of(request).database, signed_in(request), papers)
    return seen, len(papers) - len(seen)


def follow_of(request: Request, kind: str, value: str) -> Mapping[str, Any]:
    """What the template people/_follow.html shows; {} for what cannot be followed (a search of 900 characters)."""
    person = signed_in(request)
    try:
        on = person is not None and follows.is_followed(site_of(request).database, person, kind, value)
    except InputError:
        return {}
    return {"follow": {"kind": kind, "value": value, "on": on}}
