"""robots.txt as RFC 9309 has it: the group that names us, else `*`; the longest rule that fits; `*` and `$` in paths.

The parser of the standard library takes the first rule that fits and reads `*` as a plain character, so that a site's
`Disallow: /*?` would be passed over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

KEEP_S = 3600.0  # seconds a site's rules are kept
MAX_SITES = 1000


@dataclass(frozen=True)
class Rule:
    """A path pattern of `Allow:` or `Disallow:`."""

    allow: bool
    pattern: str

    def fits(self, path: str) -> bool:
        """Whether `path` begins as the pattern says; each part between wildcards is sought behind the one before."""
        body = self.pattern.removesuffix("$")
        to_the_end = body != self.pattern
        first, *parts = body.split("*")
        if not path.startswith(first) or (to_the_end and not parts):
            return path == first
        last = parts.pop() if to_the_end else ""
        at = len(first)
        for part in parts:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return len(path) - len(last) >= at and path.endswith(last)


@dataclass(frozen=True)
class Rules:
    """The rules that one site has for one program."""

    rules: tuple[Rule, ...] = ()

    def allow(self, path: str) -> bool:
        """Whether `path` (with its query) may be read: the longest pattern that fits decides, `Allow` where equal."""
        path = _same_form(path)
        fitting = [rule for rule in self.rules if rule.fits(path)]
        best = max(fitting, key=lambda rule: (len(rule.pattern), rule.allow), default=None)
        return best is None or best.allow


ALL_OPEN = Rules()
ALL_CLOSED = Rules((Rule(False, "/"),))


def parse(text: str, program: str) -> Rules:
    """The rules of a robots.txt for `program` (the product token of its user agent)."""
    groups: dict[str, list[Rule]] = {}
    names: set[str] = set()  # of the group that is being read: only those that may count here, however many it has
    in_names = False
    for field, value in _fields(text):
        if field == "user-agent":
            names = (names if in_names else set()) | ({value.lower()} & {program.lower(), "*"})
            for name in names:
                groups.setdefault(name, [])
        elif field in ("allow", "disallow") and value:
            for name in names:
                groups[name].append(Rule(field == "allow", _same_form(value)))
        in_names = field == "user-agent"
    return Rules(tuple(groups.get(program.lower(), groups.get("*", []))))


class RobotsCache:
    """Rules by site, kept in memory for an hour."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[float, Rules]] = {}
        self._lock = threading.Lock()

    def rules(self, site: str, program: str, read: Callable[[], Rules]) -> Rules:
        """The rules of `site` for `program`, got by `read` where none are kept."""
        with self._lock:
            expires, rules = self._kept.get((site, program), (0.0, ALL_OPEN))
        if expires > time.monotonic():
            return rules
        rules = read()
        with self._lock:
            if len(self._kept) >= MAX_SITES:
                self._kept.clear()
            self._kept[(site, program)] = (time.monotonic() + KEEP_S, rules)
        return rules


def _fields(text: str) -> list[tuple[str, str]]:
    lines = (line.partition("#")[0].partition(":") for line in text.lstrip("\ufeff").splitlines())
    return [(field.strip().lower(), value.strip()) for field, colon, value in lines if colon]


def _same_form(path: str) -> str:
    """One percent-encoding for paths and patterns, so that they can be compared."""
    return quote(unquote(path), safe="/?&=*$:;,@!+~'()[]#%")
