"""BibTeX: entries with keys that differ, and text that TeX takes as it is. Papers and reports write theirs by it.

keys = Keys()
entry("misc", keys.fresh(key_of("Ada Lovelace", 1843, "Notes on …")), {"title": "{Notes}", "year": "1843"})
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

BARE = ("month",)
"""Fields whose values are macros, and stand without braces."""

_TEX = {
    **{one: f"\\{one}" for one in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_MATH = re.compile(r"(\$[^$]*\$)")


@dataclass
class Keys:
    """The keys of one file, each once."""

    _used: dict[str, int] = field(default_factory=dict)

    def fresh(self, key: str) -> str:
        """The key, or the key with a number behind it."""
        self._used[key] = self._used.get(key, 0) + 1
        return key if self._used[key] == 1 else f"{key}-{self._used[key]}"


def entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    """One entry, `fields` in their order, the empty ones left out; values are TeX already."""
    lines = [f"  {name} = {value if name in BARE else f'{{{value}}}'}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def key_of(family: str, year: int | str, title: str) -> str:
    """Family name, year, first long word of the title: martin2026looking."""
    word = next((one for one in _ascii(title).split() if len(one) > 3), "")
    return f"{_ascii(family).replace(' ', '')}{year}{word}" or "paper"


def tex(text: str) -> str:
    """Text for TeX; what stands between dollars is TeX already, if the dollars come in pairs."""
    parts = _MATH.split(text) if text.count("$") % 2 == 0 else [text]
    return "".join(
        part if _MATH.fullmatch(part) and _balanced(part) else "".join(_TEX.get(one, one) for one in part)
        for part in parts
    )


def _balanced(text: str) -> bool:
    """Whether the braces close in order: one that does not would swallow the rest of the file."""
    depth = 0
    for one in re.sub(r"\\[{}]", "", text):
        depth += (one == "{") - (one == "}")
        if depth < 0:
            return False
    return depth == 0


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", plain.lower()))
