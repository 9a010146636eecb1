"""Words of pages and models within Markdown of ours: nothing in them becomes a link, a picture, a heading or a cell."""

from __future__ import annotations

import re
from urllib.parse import quote

from foveal.evaluation.scripts import UNSPACED_RANGES

ENDS = ".!?。！？｡؟۔।॥"
"""What whole sentences end with."""

_ACTIVE = re.compile(r"(\\(?![A-Za-z0-9])|(?<![^\W_])_|_(?![^\W_])|[`*\[\]<>!#|])")
"""What Markdown may take for its own. Not a backslash before a letter, nor a single _ between letters: they stand for
themselves, and readers of Markdown that know mathematics find $\\alpha_1$ as it was written."""

_UNSPACED = re.compile(f"[{UNSPACED_RANGES}]")


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def plain(text: str) -> str:
    """A line of a page's own words, with nothing in it that Markdown would take for its own."""
    return _ACTIVE.sub(r"\\\1", one_line(text))


def address(url: str | None) -> str:
    """An address as it stands between < and >: nothing in it ends the line."""
    return re.sub(r"[<>\s\x00-\x1f\x7f]", lambda found: quote(found[0]), url or "")


def word_count(text: str) -> int:
    """The words of a text; where a script puts no spaces between words (Han, kana, Thai), two characters are one."""
    return len(text.split()) + len(_UNSPACED.findall(text)) // 2


def number_of(count: int, name: str, names: str = "") -> str:
    """A number and what it counts: "1 source", "1,200 sources"."""
    return f"{count:,} {name if count == 1 else names or f'{name}s'}"
