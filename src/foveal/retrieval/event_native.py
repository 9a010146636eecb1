"""The compiled part of the event stream: native/event_stream.cpp by the names of its functions.

    calls = native()                    # None: there is no compiler
    calls.best(index, ...)              # foveal_events_best

Who asks says from when on it is worth to load and compile it: both ways give the same numbers, or this one is not
taken.
"""

from __future__ import annotations

import ctypes
import logging
import math
from array import array
from functools import cache
from types import SimpleNamespace
from typing import Any

log = logging.getLogger("foveal.retrieval")

SOURCE = "retrieval/native/event_stream.cpp"

_PLACE, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_ITEM = (_PLACE, _PLACE, _NUMBER)  # terms, weights, how many
_FORMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "product": (_REAL, (_PLACE, _PLACE, _NUMBER)),
    "new": (_PLACE, (_NUMBER, _NUMBER, _REAL, _REAL, _REAL)),
    "free": (None, (_PLACE,)),
    "name": (None, (_PLACE, _NUMBER, ctypes.c_char_p, _NUMBER)),
    "heaviest": (_NUMBER, (_PLACE, *_ITEM, _NUMBER, _PLACE)),
    "best": (_NUMBER, (_PLACE, *_ITEM, _PLACE, _NUMBER, _REAL)),
    "open": (_NUMBER, (_PLACE, _NUMBER)),
    "span": (None, (_PLACE, _NUMBER, _REAL, _REAL)),
    "add": (_NUMBER, (_PLACE, _NUMBER, *_ITEM, _PLACE, _NUMBER, _PLACE)),
    "put": (None, (_PLACE, _NUMBER, *_ITEM, _PLACE, _PLACE, _NUMBER, _REAL)),
    "sizes": (None, (_PLACE, _NUMBER, _PLACE)),
    "read": (None, (_PLACE, _NUMBER, _PLACE, _PLACE, _PLACE, _PLACE)),
    "top": (_NUMBER, (_PLACE, _NUMBER, _NUMBER, _PLACE)),
    "forget": (None, (_PLACE, _NUMBER)),
    "held": (_NUMBER, (_PLACE,)),
    "used": (None, (_PLACE, _PLACE)),
    "grams": (_NUMBER, (_PLACE, _NUMBER, _PLACE, _PLACE, _NUMBER, _PLACE, _PLACE)),
}
"""What each function gives and takes."""


def native() -> SimpleNamespace | None:
    """The functions; None, and a warning, without a compiler, or with one that sums up in another order."""
    from foveal.models.compiled import library

    found = library(SOURCE)
    return None if found is None else _calls(found)


@cache
def _calls(library: ctypes.CDLL) -> SimpleNamespace | None:
    """Python waits for them: they are short, and no two may be in one index at once."""
    held, calls = ctypes.PyDLL(library._name, handle=library._handle), SimpleNamespace()
    for name, (gives, takes) in _FORMS.items():
        function = getattr(held, f"foveal_events_{name}")
        function.restype, function.argtypes = gives, takes
        setattr(calls, name, function)
    if agrees(calls):
        return calls
    log.warning("The compiled event stream does not sum up as Python does; streams go on without it, more slowly.")
    return None


def agrees(calls: SimpleNamespace) -> bool:
    """Whether products are rounded and added up one after the other."""
    for first in range(2, 40):
        weights = array("d", (math.log(first + number) for number in range(first)))
        by_hand, place = 0.0, weights.buffer_info()[0]
        for weight in weights:
            by_hand += weight * weight
        if calls.product(place, place, len(weights)) != by_hand:
            return False
    return True
