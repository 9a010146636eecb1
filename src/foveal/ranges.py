"""What the settings of a part may be: one function checks them where they are made, by a call or from a file.

    @dataclass(frozen=True, kw_only=True)
    class AarenSettings:
        dim: int
        dropout: float = 0.0
        decay: float | None = None

        def __post_init__(self) -> None:
            require_settings("Aaren", self, dim=COUNT, dropout=BELOW_ONE, decay=NOT_NEGATIVE)

What kind a value is of, its annotation says: int is a whole number, float a finite one, bool True or False, tuple[int,
...] several; with "| None" it may be None. Other kinds are not looked at. A field that is given no range must still be
of its kind; 2.5 is no whole number, nor is 4.0 or True, and no size is above `LARGEST`.
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any

from foveal.errors import InputError

LARGEST = 2**31 - 1
"""Of a whole number: more is a slip of the keyboard, not a size."""

_KIND = re.compile(r"(tuple\[)?(int|float|bool)\b")


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, one or both left out where they are `open_`."""

    least: float = -math.inf
    most: float = math.inf
    open_least: bool = False
    open_most: bool = False
    infinite: bool = False  # whether infinity will do

    def __contains__(self, value: float) -> bool:
        over = value > self.least if self.open_least else value >= self.least
        under = value < self.most if self.open_most else value <= self.most
        return over and under

    def __str__(self) -> str:
        """In words, behind "a number"."""
        if self.most == math.inf:
            least = f" above {self.least}" if self.open_least else f", at least {self.least}"
            return least if self.least > -math.inf else ""
        if self.open_least and self.open_most:
            return f" between {self.least} and {self.most}"
        if self.open_least:
            return f" above {self.least}, at most {self.most}"
        return f" from {self.least} to {'below ' if self.open_most else ''}{self.most}"


ANY = Range()
COUNT = Range(1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, open_least=True)
SHARE = Range(0, 1)
BELOW_ONE = Range(0, 1, open_most=True)
INSIDE = Range(0, 1, open_least=True, open_most=True)
EPOCHS = Range(0, 1_000_000, open_least=True)
RATE = Range(0, 1, open_least=True)
"""Of learning: an optimiser such as Adam moves a weight by about that much a step. Of masking: a share, not 0."""
SEED = Range(0, 2**32 - 1)
"""NumPy takes no other."""


@dataclass(frozen=True)
class _Kind:
    name: str  # int, float or bool
    count: int | None  # of a tuple; 0: any; None: it is no tuple
    optional: bool


def require_settings(what: str, settings: Any, **allowed: Range) -> None:
    """InputError names the first field that is not of its kind, or out of its range; `what` is whose settings it is of.

    TypeError: a range is given for what is no number of the settings.
    """
    kinds = _kinds(type(settings))  # type: ignore[arg-type]  # a class has a hash, whatever its instances have
    if unknown := sorted(allowed.keys() - kinds.keys()):
        raise TypeError(f"{type(settings).__name__} has no numbers called {', '.join(unknown)}.")
    for name, kind in kinds.items():
        _require(what, name, getattr(settings, name), kind, allowed.get(name, ANY))


def require_number(what: str, name: str, value: object, allowed: Range = ANY, *, whole: bool = False) -> None:
    """InputError: not a finite number, or whole one, of that range."""
    _require(what, name, value, _Kind("int" if whole else "float", None, optional=False), allowed)


def require_k(k: int) -> None:
    """InputError: fewer than one result of a search is asked for, or no whole number of them."""
    require_number("A search", "k", k, COUNT, whole=True)


def require_one_of(what: str, settings: object, name: str, choices: tuple[str, ...]) -> None:
    """InputError: the field is none of the choices."""
    if getattr(settings, name) not in choices:
        raise InputError(f"{what} got {name} = {getattr(settings, name)!r}; there are: {', '.join(choices)}.")


def _require(what: str, name: str, value: object, kind: _Kind, allowed: Range) -> None:
    if value is None and kind.optional:
        return
    parts = [value]
    if kind.count is not None:
        if not isinstance(value, tuple | list) or (kind.count and len(value) != kind.count):
            raise InputError(f"{what} got {name} = {value!r}; it needs {_told(kind, allowed, value)}.")
        parts = list(value)
    if not all(_fits(one, kind.name, allowed) for one in parts):
        raise InputError(f"{what} got {name} = {value!r}; it needs {_told(kind, allowed, value)}.")


def _fits(value: object, kind: str, allowed: Range) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "int":
        most = max(LARGEST, allowed.most) if allowed.most < math.inf else LARGEST
        return isinstance(value, Integral) and int(value) in allowed and abs(int(value)) <= most
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:  # a whole number of more than 308 digits
        return False
    return number in allowed and (allowed.infinite or math.isfinite(number))


def _told(kind: _Kind, allowed: Range, value: object) -> str:
    """What is needed in place of `value`."""
    several = kind.count is not None
    noun = {"int": "whole number", "float": "number", "bool": "True or False"}[kind.name]
    if kind.name != "bool":
        noun = f"{noun}s{allowed}" if several else f"a {noun}{allowed}"
    if kind.name == "int" and _above(value):
        noun += f", and no more than {LARGEST}"
    if several:
        noun = f"{kind.count or 'a list of'} {noun}"
    return f"{noun}, or None" if kind.optional else noun


def _above(value: object) -> bool:
    parts = value if isinstance(value, tuple | list) else [value]
    return any(isinstance(one, int | float) and one > LARGEST for one in parts)


@cache
def _kinds(settings: type) -> dict[str, _Kind]:
    """The fields that are looked at, by the annotations of our own classes; what a base class says comes first."""
    found: dict[str, _Kind] = {}
    for one in reversed(settings.__mro__):
        if one.__module__.partition(".")[0] in ("builtins", "transformers"):
            continue
        for name, annotation in inspect.get_annotations(one).items():
            parts = str(getattr(annotation, "__name__", annotation)).split(" | ")
            kinds = [part for part in parts if part != "None"]
            said = _KIND.match(kinds[0]) if len(kinds) == 1 else None
            found.pop(name, None)
            if said:
                found[name] = _Kind(said[2], _count(kinds[0]) if said[1] else None, "None" in parts)
    return found


def _count(annotation: str) -> int:
    """Of tuple[int, int] 2; of tuple[int, ...] 0."""
    return 0 if "..." in annotation else annotation.count(",") + 1
