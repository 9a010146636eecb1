"""Title and author as a plain text states them at its beginning; nothing is guessed.

    opening_of("Title: Emma\\n\\nAuthor: Jane Austen\\n…")      # Opening("Emma", "Jane Austen")
    opening_of("WAR AND PEACE\\n\\n\\nBy Leo Tolstoy\\n…")      # Opening("WAR AND PEACE", "Leo Tolstoy")

Fields    lines "Title: …" and "Author: …", as Project Gutenberg writes them; what is indented below goes on with them
By line   a line alone, and as the next one "by" with a name
"""

from __future__ import annotations

import re
from typing import NamedTuple

LOOKED_AT = 3000
"""Characters in which a title is looked for."""

LONGEST = 200
"""Characters of a title or name; what is longer is none."""

_FIELD = re.compile(r"^(?P<name>Title|Authors?): *(?P<value>\S.*(?:\n[ \t]{2,}\S.*)*)$", re.MULTILINE)
_BY_LINE = re.compile(r"\s*(?P<title>\S.*)\n(?:\s*\n)?[ \t]*[Bb][Yy] (?P<author>\S.*)(?:\n\s*\n|\Z)")
_NAME = re.compile(r"[^\W\d_][^\d?!:;()<>]*")
_SENTENCE_END = re.compile(r"[.,;:]\Z")


class Opening(NamedTuple):
    """What a text states of itself; None where it does not."""

    title: str | None = None
    author: str | None = None


def opening_of(text: str) -> Opening:
    """Title and author of a text, where it begins with them."""
    begin = text[:LOOKED_AT].replace("\r\n", "\n").lstrip("\ufeff")
    fields = {found["name"].rstrip("s"): _line(found["value"]) for found in reversed(list(_FIELD.finditer(begin)))}
    if title := fields.get("Title"):
        return Opening(title, fields.get("Author"))
    found = _BY_LINE.match(begin)
    if found is None:
        return Opening()
    title, author = _line(found["title"]), _line(found["author"])
    if title is None or author is None or _SENTENCE_END.search(title) or not _NAME.fullmatch(author):
        return Opening()
    return Opening(title, author)


def _line(text: str) -> str | None:
    line = " ".join(text.split())
    return line if 0 < len(line) <= LONGEST else None
