"""Programs, and settings for them: files whose text is no prose.

A line of capitals in one is a constant and "# …" a comment: its headings are the lines that define a class or a
function, in the words of most languages; below them stand those that are indented deeper. Its title is the file's name.
"""

from __future__ import annotations

import re

from foveal.text.headings import Heading, find_headings
from foveal.types import Document

CODE = "code"
"""The kind of such a document."""

_LANGUAGES = """
    py pyi pyx js mjs cjs jsx ts tsx java kt kts scala groovy c h cc cpp cxx hh hpp hxx cu m mm cs fs go rs swift dart
    rb php pl pm lua jl r hs ml mli ex exs erl clj el vim sql sh bash zsh fish ps1 bat cmd cmake mk gradle
"""
_SETTINGS = "css scss less vue svelte json yaml yml toml ini cfg conf properties proto tf"

PROGRAMS = tuple(f".{ending}" for ending in (*_LANGUAGES.split(), *_SETTINGS.split()))
"""Endings of their names."""

DEEPEST, TAB = 8, 4
"""Columns that a definition is indented by at most; of a tab. What stands in a longer line, or has a longer name, as in
a program without line ends, is no heading: 300 and 100 characters."""

_BEFORE = (
    "export|default|public|private|protected|internal|static|abstract|final|async|unsafe|override|open|data|sealed|"
    r"suspend|inline|extern|const|local|pub(?:\([^()\n]*\))?"
)
_DEFINITION = re.compile(
    rf"^([ \t]{{0,8}})(?:(?:{_BEFORE})[ \t]+){{0,5}}"
    r"(class|def|defp|defmodule|fn|func|fun|function|type|interface|struct|enum(?: class)?|trait|impl|module|"
    r"namespace|object|sub|proc)"
    r"[ \t]+(?:\([^()\n]*\)[ \t]*)?([\w$.:~?!]{1,100})"  # methods of Go tell first whose they are
    r"(?=[ \t]*(?:[({\[<:;=#\r]|//|/\*|--|do\b|$|extends\b|implements\b|where\b|for\b|(?:struct|interface)\b))"
    r"[^\n]{0,300}(?:\n|\Z)",
    re.MULTILINE,
)


def headings_in(document: Document) -> list[Heading]:
    """The headings of a document; of a program its definitions."""
    return headings_as(document.text, document.metadata.get("kind"))


def headings_as(text: str, kind: object) -> list[Heading]:
    """The same of a text of that kind."""
    return definitions(text) if kind == CODE else find_headings(text)


def definitions(text: str) -> list[Heading]:
    """The lines of a program that define something, as its headings, the less indented the higher."""
    found = [(len(one[1].expandtabs(TAB)), one) for one in _DEFINITION.finditer(text)]
    deep = sorted({indent for indent, _ in found if indent <= DEEPEST})
    levels = {indent: level for level, indent in enumerate(deep, start=1)}
    return [
        Heading(one.start(), one.end(), levels[indent], f"{one[2]} {one[3].rstrip(':')}")
        for indent, one in found
        if indent in levels
    ]
