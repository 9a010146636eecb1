"""The kinds of long jobs that outlive their process, and how each is made again from what the database has of it.

Each is a class of this package with `kind`, `to_row()`, `result()` and `remade(site, asked, result)`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from foveal.errors import InputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from foveal.web.job import Work
    from foveal.web.site import Site

KINDS = {
    "ask": "foveal.web.ask_pages:AskWork",
    "read": "foveal.web.read_pages:ReadWork",
    "add": "foveal.web.library_adding:AddWork",
    "research": "foveal.web.research_work:ResearchWork",
}

T = TypeVar("T")


def remade(site: Site, kind: str, asked: Mapping[str, Any], result: Mapping[str, Any] | None) -> Work:
    """The work of a kind. InputError: none is called that (a newer Foveal's), or it cannot be done on this machine."""
    if kind not in KINDS:
        raise InputError(f"No work is called {kind!r}. There are: {', '.join(KINDS)}.")
    work: Work = pkgutil.resolve_name(KINDS[kind]).remade(site, asked, result)
    return work


def plain(value: Any, kind: Any) -> Any:
    """A dataclass, or a collection of some, as JSON holds it; `kind` is its type."""
    return _adapter(kind).dump_python(value, mode="json")


def whole(kind: type[T], value: Any) -> T:
    """The dataclass again."""
    found: T = _adapter(cast(Any, kind)).validate_python(value)
    return found


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
