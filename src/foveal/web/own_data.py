"""All that is stored of a person, of papers and research alike: for their settings and `foveal admin user export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal.papers import personal_data
from foveal.research.runs import Owner, Runs
from foveal.research.watches import Watches

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.papers.accounts import Person


def everything_of(database: Database, person: Person) -> dict[str, Any]:
    """As values that JSON can hold."""
    return personal_data.export(database, person) | {
        "research": Runs(database).exported(Owner(person=person.id)),
        "watched_questions": Watches(database).exported(person.id),
    }


def counted_of(database: Database, person: Person) -> dict[str, int]:
    """How much there is of each, by its name there; what there is none of is left out."""
    more = {
        "research": Runs(database).count(Owner(person=person.id)),
        "watched_questions": len(Watches(database).listed(person.id, reports=False)),
    }
    return personal_data.held(database, person) | {name: count for name, count in more.items() if count}
