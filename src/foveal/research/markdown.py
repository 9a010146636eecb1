"""Words of pages and models within Markdown of ours: nothing in them becomes a link, a picture, a heading or a cell."""

from __future__ import annotations

import re


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def plain(text: str) -> str:
    """A line of a page's own words, with nothing in it that Markdown would take for its own."""
    return re.sub(r"([\\`*_\[\]<>!#|])", r"\\\1", one_line(text))


def address(url: str | None) -> str:
    """An address as it stands between < and >."""
    return (url or "").replace(" ", "%20").replace("<", "%3C").replace(">", "%3E")


def number_of(count: int, name: str, names: str = "") -> str:
    """A number and what it counts: "1 source", "1,200 sources"."""
    return f"{count:,} {name if count == 1 else names or f'{name}s'}"
