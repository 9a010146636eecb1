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


def linkless(text: str) -> str:
    """A model's Markdown in which nothing is a link, a picture or HTML: the addresses in it were checked by nobody.

    What stands in fences of code is shown as it is; one that is left open is closed.
    """
    from markdown_it import MarkdownIt

    lines = re.sub(r"\r\n?", "\n", text).rstrip().split("\n")
    fences = [one for one in MarkdownIt("commonmark", {"html": False}).parse("\n".join(lines)) if one.type == "fence"]
    held = {number for one in fences if one.level == 0 and one.map for number in range(*one.map)}
    shown = [line if number in held else _inert(line) for number, line in enumerate(lines)]
    last = max(held, default=-1)
    if last == len(lines) - 1 and not _closes(lines[last], fences[-1].markup, fences[-1].map):
        shown.append(fences[-1].markup)
    return "\n".join(shown)


def _closes(line: str, markup: str, place: list[int] | None) -> bool:
    """Whether the last line of a fence ends it; one of a single line is but its beginning."""
    ends = re.fullmatch(rf" {{0,3}}{re.escape(markup)}{re.escape(markup[0])}*[ \t]*", line)
    return ends is not None and place is not None and place[1] - place[0] > 1


def _inert(line: str) -> str:
    line = line.replace("](", "]\\(").replace("]:", "]\\:")
    return re.sub(r"(?<!\\)((?:\\\\)*)<(?=[a-z/!?])", r"\1\\<", line, flags=re.IGNORECASE)


def address(url: str | None) -> str:
    """An address as it stands between < and >: nothing in it ends the line."""
    return re.sub(r"[<>\s\x00-\x1f\x7f]", lambda found: quote(found[0]), url or "")


def word_count(text: str) -> int:
    """The words of a text; where a script puts no spaces between words (Han, kana, Thai), two characters are one."""
    return len(text.split()) + len(_UNSPACED.findall(text)) // 2


def number_of(count: int, name: str, names: str = "") -> str:
    """A number and what it counts: "1 source", "1,200 sources"."""
    return f"{count:,} {name if count == 1 else names or f'{name}s'}"
