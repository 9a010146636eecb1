"""What the public methods of a class are given: checked at the door, so that an error says what was wrong.

    @takes(settings=optional(instance("Settings", "foveal.Settings")), on_progress=CALL)
    def add(self, sources, *, settings=None, on_progress=print): ...

Only the kind of an argument is looked at; what a right one may hold, whoever uses it says. Classes are told by their
names, so that none is imported for it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from numbers import Integral, Real
from typing import ParamSpec, TypeVar

from foveal.errors import InputError

P = ParamSpec("P")
Returned = TypeVar("Returned")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Kind:
    """What is expected: in words, behind "it needs", and as a test."""

    said: str
    fits: Callable[[object], bool]


def takes(**kinds: Kind) -> Callable[[Callable[P, Returned]], Callable[P, Returned]]:
    """Of a function's arguments those that are named have to be of these kinds. It raises InputError otherwise."""

    def checking(function: Callable[P, Returned]) -> Callable[P, Returned]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: P.args, **named: P.kwargs) -> Returned:
            given: Mapping[str, object] = {}
            with suppress(TypeError):  # the call below says best which argument is missing, or bears no such name
                given = signature.bind(*args, **named).arguments
            for name, kind in kinds.items():
                if name in given:
                    require(f"{function.__name__} got {name} =", given[name], kind)
            return function(*args, **named)

        return checked

    return checking


def require(what: str, value: object, kind: Kind) -> None:
    """InputError: `value` is of another kind; `what` begins the sentence."""
    if not kind.fits(value):
        raise InputError(f"{what} {value!r:.60}; it needs {kind.said}.")


def each(what: str, values: Iterable[Item], kind: Kind) -> Iterator[Item]:
    """The values as they come, each of that kind. InputError: one is not, or they are not several."""
    told: object = values
    if isinstance(told, str | bytes) or not isinstance(told, Iterable):
        raise InputError(f"{what} got {values!r:.60}; it needs a list, each item of it {kind.said}.")
    for one in values:
        require(f"{what} got, in a list,", one, kind)
        yield one


def instance(name: str, said: str) -> Kind:
    """Of the class of that name, or of one that is made from it."""
    return Kind(said, lambda value: any(one.__name__ == name for one in type(value).__mro__))


def able(method: str, said: str, *, or_name: bool = False) -> Kind:
    """Anything that has `method`, which is no property: that would be computed. With `or_name` a text will do, too."""
    return Kind(said, lambda value: hasattr(value, method) or (or_name and isinstance(value, str)))


def optional(kind: Kind) -> Kind:
    """That, or None."""
    return Kind(f"{kind.said}, or None", lambda value: value is None or kind.fits(value))


TEXT = Kind("a text (a str)", lambda value: isinstance(value, str))
PATH = Kind("a path (a str or a Path)", lambda value: isinstance(value, str | os.PathLike))
CALL = Kind("a function", callable)
NUMBER = Kind("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool))
WHOLE = Kind("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool))
COUNTS = optional(
    Kind(
        "a list of whole numbers",
        lambda value: (
            isinstance(value, Collection) and not isinstance(value, str | bytes) and all(map(WHOLE.fits, value))
        ),
    )
)
MAYBE_TEXT, MAYBE_NUMBER = optional(TEXT), optional(NUMBER)

SETTINGS = optional(instance("Settings", "foveal.settings.Settings (Settings.load() makes them)"))
READ, ASKS, CANCEL = (optional(instance(one, f"a {one}")) for one in ("ReadSettings", "AskSettings", "Cancel"))
DOCUMENT = instance(
    "Document", "a Document, as Document.of(address, text, title) makes it (`add` takes files and URLs)"
)
HIT = instance("Hit", "a Hit, as `search` gives them")
ENTRY = instance("Entry", "an Entry, as `find` gives them")
LOADED = optional(able("rank", "a ranker"))
RANKER = optional(able("rank", "a ranker, or the name of one", or_name=True))
CHAT = optional(able("chat", "a chat model, or the name of a model", or_name=True))
READS = optional(able("render", "a language model (foveal.models.load_language_model makes one)"))
WORK = optional(able("load", "a Work, such as RayWork"))
