"""Markdown: the text stays as it is written; title, date and the other fields of its front matter are read from it.

The title is that of the front matter, else the first heading (ATX or setext) as markdown-it reads it, so that a `#`
in a code block is none. Front matter (`---` lines at the top) must be set aside first: CommonMark would take its last
line for a setext heading.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise

from foveal.text.dates import aware

HEAD = 2**16  # characters searched for a title
LONGEST = 1_000  # characters of a field's value: more is a text, by which nobody asks

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(  # in one line, or as a block (`title: >-`) in the indented lines below
    r"^(title|date)[ \t]*:[ \t]*+(?:[|>][0-9+-]{0,2}[ \t]*\r?\n((?:[ \t]+\S.*(?:\n|\Z))+)|(.+)$)", re.MULTILINE
)

_LINE = re.compile(r"(\w[\w.-]*)[ \t]*:(?:[ \t]+(.*))?")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.+)")


def markdown_title(text: str) -> str | None:
    """The title of a Markdown text, in plain characters; None where it has neither front matter nor heading."""
    head = text[:HEAD]
    return _fields(head).get("title") or _first_heading(_body(head))


def markdown_date(text: str) -> datetime | None:
    """The date that the front matter gives."""
    return aware(_fields(text[:HEAD]).get("date"))


def markdown_fields(text: str) -> dict[str, str]:
    """The other fields of the front matter that are one value or a list of values, which "; " then joins.

    Maps, blocks of text, and what stands deeper in them, are passed over.
    """
    matter = _FRONT_MATTER.match(text[:HEAD])
    found: dict[str, list[str]] = {}
    name = ""
    for line in matter[1].splitlines() if matter else ():
        if field := _LINE.fullmatch(line):
            name = field[1]
            found[name] = _values(field[2] or "")
        elif (item := _ITEM.fullmatch(line)) and name:
            found[name] += _values(item[1])
        elif line.strip() and not line.lstrip().startswith("#"):
            name = ""
    joined = {name: "; ".join(values) for name, values in found.items() if name not in ("title", "date")}
    return {name: value for name, value in joined.items() if 0 < len(value) <= LONGEST}


def behind_front_matter(text: str) -> int:
    """Where the text behind the front matter begins; 0 where there is none, or nothing behind it."""
    matter = _FRONT_MATTER.match(text[:HEAD])
    if matter is None or not text[matter.end() :].strip():
        return 0
    return len(text) - len(text[matter.end() :].lstrip())


def _values(told: str) -> list[str]:
    told = told.strip()
    if told[:1] not in ("'", '"'):
        told = re.sub(r"(?:^|(?<![ \t])[ \t]++)#.*", "", told)
    if told.startswith("[") and told.endswith("]"):
        return [value for part in told[1:-1].split(",") if (value := _unquoted(part.strip()))]
    return [] if told[:1] in ("|", ">", "{", "&", "*", "!") or told in ("", "~", "null") else [_unquoted(told)]


def _fields(head: str) -> dict[str, str]:
    matter = _FRONT_MATTER.match(head)
    found = _FIELD.findall(matter[1]) if matter else []
    return {name: " ".join(block.split()) or _unquoted(line.strip()) for name, block, line in found}


def _unquoted(value: str) -> str:
    """A value without the quotes around it: an apostrophe at one end is its own."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _body(head: str) -> str:
    matter = _FRONT_MATTER.match(head)
    return head[matter.end() :] if matter else head


def _first_heading(body: str) -> str | None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(body)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            children = [child for child in inline.children or [] if child.type != "html_inline"]
            words = "".join(" " if child.type.endswith("break") else child.content for child in children)
            if title := " ".join(words.split()):
                return title
    return None
