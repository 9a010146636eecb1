"""Programs, and settings for them: files whose text is no prose.

A line of capitals in one is a constant and "# …" a comment: its headings are what it defines. In most languages a word
says so (line_definitions.py), in C, Java, JavaScript and their kin what stands before a brace (braced_definitions.py).
Comments right above a definition, and decorators, are part of its section. Its title is the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from foveal.text.headings import LONGEST_LINE, Heading, find_headings
from foveal.types import Document

if TYPE_CHECKING:
    from foveal.text.program_syntax import Definition

CODE = "code"
"""The kind of such a document."""

_LANGUAGES = """
    py pyi pyx js mjs cjs jsx ts tsx java kt kts scala groovy c h cc cpp cxx hh hpp hxx cu m mm cs fs go rs swift dart
    rb php pl pm lua jl r hs ml mli ex exs erl clj el vim sql sh bash zsh fish ps1 bat cmd cmake mk gradle
"""
_SETTINGS = "css scss less vue svelte json yaml yml toml ini cfg conf properties proto tf"

PROGRAMS = tuple(f".{ending}" for ending in (*_LANGUAGES.split(), *_SETTINGS.split()))
"""Endings of their names."""

_ENDING = re.compile(r"\.([A-Za-z0-9]{1,20})(?:\.gz)?(?:[?#].*)?$", re.IGNORECASE)

LONGEST_LEAD = 60
"""Lines above a definition that belong to it."""

_DECORATED, _CLOSED = ("@", "#["), (")", "]")
"""What lines begin with that decorate a definition below them; what the last of several such lines begins with."""


def language_of(document: Document) -> str | None:
    """The language of a program, by the ending of its file's name, without the dot; "": unknown; None: no program."""
    if document.metadata.get("kind") != CODE:
        return None
    told = (str(document.metadata.get("source", "")), document.url or "", document.title)
    endings = (found[1].lower() for one in told if (found := _ENDING.search(one)))
    return next((ending for ending in endings if f".{ending}" in PROGRAMS), "")


def headings_in(document: Document) -> list[Heading]:
    """The headings of a document; of a program its definitions."""
    return headings_as(document.text, language_of(document))


def headings_as(text: str, language: str | None) -> list[Heading]:
    """The same of a text in that language, as `language_of` tells it."""
    return find_headings(text) if language is None else definitions(text, language)


def definitions(text: str, language: str = "") -> list[Heading]:
    """What a program defines, as its headings: what stands in a definition is below it."""
    from foveal.text.braced_definitions import BRACED, braced_definitions
    from foveal.text.line_definitions import line_definitions
    from foveal.text.program_syntax import bare

    code = bare(text, language)
    found = braced_definitions(code, language) if language in BRACED else line_definitions(code, language)
    return list(_headings(text, code, found))


def _headings(text: str, code: str, found: list[Definition]) -> Iterator[Heading]:
    reached = 0
    for one in found:
        start, end = _line_start(code, one.start), _body(code, one.opened)
        if start is not None and end is not None and start >= reached:
            yield Heading(start, end, one.level, one.title, lead=start - _lead(text, code, start, reached))
            reached = end


def _line_start(code: str, at: int) -> int | None:
    """The begin of a line, where nothing else stands before `at` in it; else `at`. None: that line is too long."""
    line = code.rfind("\n", max(0, at - LONGEST_LINE), at) + 1
    if not line and at > LONGEST_LINE:
        return None
    return at if code[line:at].strip() else line


def _body(code: str, opened: int) -> int | None:
    """Where a body begins that is opened at a place: on the line below, or behind it; None: its line is too long."""
    end = code.find("\n", opened, opened + LONGEST_LINE)
    if end < 0 and len(code) > opened + LONGEST_LINE:
        return None
    end = len(code) if end < 0 else end + 1
    return opened if code[opened:end].strip() else end


def _lead(text: str, code: str, start: int, floor: int) -> int:
    """Where the comments and decorators begin that stand right above a line, at `floor` or behind it."""
    first = start
    for _ in range(LONGEST_LEAD):
        above = _line_above(text, first, floor)
        if above is None or not text[above:first].strip():
            break
        coded = code[above:first].strip()
        if coded.startswith(_CLOSED):
            above = _decorator(code, above, floor)
        if above is None or not (coded.startswith((*_DECORATED, *_CLOSED)) or not coded):
            break
        first = above
    return first


def _decorator(code: str, last: int, floor: int) -> int | None:
    """Where a decorator of several lines begins, given the begin of its last one; None: there is none."""
    closing = code[last : last + LONGEST_LINE].partition("\n")[0]
    indent = closing[: len(closing) - len(closing.lstrip())]
    first: int | None = last
    for _ in range(LONGEST_LEAD):
        above = None if first is None else _line_above(code, first, floor)
        if above is None or not code.startswith(f"{indent} ", above):
            return above if above is not None and code.startswith(f"{indent}@", above) else None
        first = above
    return None


def _line_above(text: str, first: int, floor: int) -> int | None:
    """The begin of the line above the one at `first`; None: it begins before `floor`, or `first` begins no line."""
    if first <= floor or text[first - 1] != "\n":
        return None
    above = text.rfind("\n", floor, first - 1) + 1 or floor
    return above if above == 0 or text[above - 1] == "\n" else None
