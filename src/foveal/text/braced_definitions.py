"""Definitions in programs of C, C++, Java, C#, Dart, JavaScript and their kin, most of which no word tells.

    braced_definitions("int f(void)\\n{\\n}\\n", "c")        # [Definition(start=0, opened=13, level=1, title="f()")]

Head      what stands before a brace, from the end of the last statement on, tells what it holds (braced_heads.py)
Where     functions stand in types, in namespaces, and outside of all. In functions only types do, and in JavaScript
          the functions that a word or an arrow tells: so `if (…) {` and macros that look like it are none
#if       the braces of one branch do not count in the next. Where they do not fit all the same, a function of C that
          begins a line closes all before it
Time      linear: each character is part of one head, whose last 1,000 characters count
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from foveal.text.braced_heads import (
    BODY,
    OBJECT,
    PARENS,
    SCOPE,
    TYPE,
    HeadReader,
    Holds,
    c_head,
    dart_head,
    java_head,
    js_head,
)
from foveal.text.program_syntax import C_FAMILY, COMPONENTS, JAVASCRIPTS, Definition

LONGEST_HEAD = 1000
"""Characters of a head, what is in its brackets left out."""

LONGEST_BEGIN = 300
"""Characters of a head that goes on in the next line without a sign for it."""

DEEPEST, FUNCTIONS = 6, 3
"""Definitions within definitions; functions within functions."""

_JS = (*JAVASCRIPTS, *COMPONENTS)
_READERS: dict[str, HeadReader] = {
    **dict.fromkeys(C_FAMILY, c_head),
    **dict.fromkeys(("java", "cs"), java_head),
    "dart": dart_head,
    **dict.fromkeys(_JS, js_head),
}
BRACED = frozenset(_READERS)
"""The languages, by the endings of their files."""

_BRACKETS = r"[{}()\[\];]"
_ACCESS = r"\b(?:public|private|protected|signals|slots|Q_SIGNALS)\b[ \t]*+(?:\w++[ \t]*+)?:(?!:)"
_SIGNS = {
    **dict.fromkeys(C_FAMILY, re.compile(rf"{_BRACKETS}|#[ien]|{_ACCESS}")),
    "java": re.compile(_BRACKETS),
    "cs": re.compile(rf"{_BRACKETS}|#[ien]|=>"),
    "dart": re.compile(rf"{_BRACKETS}|=>"),
    **dict.fromkeys(_JS, re.compile(rf"{_BRACKETS}|=>|\n\s*+")),
}
_BEGUN = re.compile(
    r"(?:(?:export|default|declare|abstract|async|static|public|private|protected|readonly|override|get|set|return"
    r"|@[\w.$]++(?:\s*+\(\))?+)(?:\s++|$))*+(?:(?:class|interface)\b[^{]*,)?"
)
"""A statement that goes on in the next line, though no sign says so."""

_BEFORE_HEAD = re.compile(r"(?:[\s,;)\]}]++|#[ien]?)*+")
_NAME_BEHIND = re.compile(r"\s*+(?:__\w++\s*+\(\([^()\n]*+\)\)\s*+)?\*?\s*+([A-Za-z_]\w{0,99})\s*+[;,\[]")
_ALIAS = re.compile(r"^(?:(?:export|declare)[ \t]+)*type[ \t]+([A-Za-z_$][\w$]*+)[^=\n;(]{0,200}=", re.MULTILINE)
_KEY = re.compile(r"[A-Za-z_$][\w.$]{0,60}")
_OLD_STYLE = re.compile(r"[^=()]*\w\s*+\(\)(?=\s+[A-Za-z_][\w\s*,\[\]()]*$)")
_NAMES = re.compile(r"\s*\w+(?:\s*,\s*\w+)*\s*")


class _Head(NamedTuple):
    """A statement as far as it was read; what is in brackets left out."""

    begin: int
    said: str = ""
    group: tuple[int, int] | None = None  # its first brackets


_NOTHING = _Head(0)


@dataclass(frozen=True, slots=True)
class _Block:
    """An open bracket: what it holds, the definitions that it stands in, and what was read before it."""

    kind: str
    level: int = 0
    functions: int = 0
    name: str = ""  # of a type
    at: int = 0
    outer: _Block | None = None
    head: _Head = _NOTHING
    unnamed: Definition | None = None  # whose name stands behind it


def braced_definitions(code: str, language: str) -> list[Definition]:
    """The definitions of a program without comments (`program_syntax.bare`), in order."""
    reader = _Reader(code, language)
    reader.read()
    if language in ("ts", "tsx"):
        known = {one.start for one in reader.found}
        aliases = (Definition(one.start(), one.end(), 1, f"type {one[1]}") for one in _ALIAS.finditer(code))
        reader.found += (one for one in aliases if one.start not in known)
    return sorted(reader.found)


class _Reader:
    """Goes through a program from bracket to bracket."""

    def __init__(self, code: str, language: str) -> None:
        self.code, self.signs, self.told_by = code, _SIGNS[language], _READERS[language]
        self.block, self.head, self.mark = _Block(SCOPE), _NOTHING, 0
        self.branches: list[tuple[_Block, _Head]] = []
        self.old_style: _Head | None = None
        self.found: list[Definition] = []

    def read(self) -> None:
        steps = {
            **dict.fromkeys("([", self._open),
            **dict.fromkeys(")]", self._close),
            "{": self._begin,
            "}": self._end,
            ";": self._statement,
            "#": self._branch,
            "=": self._arrow,
            "\n": self._line,
        }
        for sign in self.signs.finditer(self.code):
            steps.get(sign[0][0], self._anew)(sign)

    def _said(self, until: int) -> str:
        return (self.head.said + self.code[max(self.mark, until - LONGEST_HEAD) : until])[-LONGEST_HEAD:]

    def _anew(self, sign: re.Match[str]) -> None:
        self.head, self.mark = _Head(sign.end()), sign.end()

    def _open(self, sign: re.Match[str]) -> None:
        before = self.head._replace(said=self._said(sign.start()))
        own = self.block
        self.block = _Block(PARENS, own.level, own.functions, at=sign.end(), outer=own, head=before)
        self._anew(sign)

    def _close(self, sign: re.Match[str]) -> None:
        block = self.block
        if block.kind == PARENS and block.outer is not None:
            before, group = block.head, (block.at, sign.start())
            said = f"{before.said}()" if sign[0] == ")" else f"{before.said}[{self._key(group)}]"
            first = before.group or (group if sign[0] == ")" else None)
            self.block, self.head, self.mark = block.outer, _Head(before.begin, said[-LONGEST_HEAD:], first), sign.end()

    def _key(self, group: tuple[int, int]) -> str:
        """What a name in brackets is, by which JavaScript calls methods, too: `[Symbol.iterator]() {`."""
        named = self.told_by is js_head and _KEY.fullmatch(self.code, *group)
        return named[0] if named else ""

    def _statement(self, sign: re.Match[str]) -> None:
        if self.block.kind == SCOPE and self.told_by is c_head and self.old_style is None:
            said = self.head._replace(said=self._said(sign.start()))
            self.old_style = said if said.group and _OLD_STYLE.match(said.said) else None
        self._anew(sign)

    def _begin(self, sign: re.Match[str]) -> None:
        said, block = self._said(sign.start()).strip(), self.block
        inside = self._inside(self.head.group)
        start = _end_of(_BEFORE_HEAD, self.code, self.head.begin)
        if not said and self.old_style is not None and block.kind == SCOPE:
            said, start = self._old_style(self.old_style)
        holds = self._told(said, inside)
        if not holds.title and self.told_by is c_head and block.kind in (BODY, OBJECT) and self._begins_line(start):
            resumed = c_head(said, SCOPE, "", inside)
            if resumed.sure:
                holds, block = resumed, _Block(SCOPE)
        self._define(sign, block, holds, start)

    def _define(self, sign: re.Match[str], block: _Block, holds: Holds, start: int) -> None:
        """Enter a brace; what it defines is found."""
        level, functions = block.level, block.functions
        is_function = holds.kind == BODY and (holds.title.endswith(")") or holds.title.startswith("function "))
        told = Definition(start, sign.end(), level + 1, holds.title)
        if holds.title and level < DEEPEST and not (is_function and functions >= FUNCTIONS):
            self.found.append(told)
            level, functions = level + 1, functions + is_function
        unnamed = told._replace(title=holds.word) if holds.word else None
        self.block = _Block(holds.kind, level, functions, holds.name, outer=block, head=self.head, unnamed=unnamed)
        self.old_style = None
        self._anew(sign)

    def _end(self, sign: re.Match[str]) -> None:
        block = self.block
        while block.kind == PARENS and block.outer is not None:
            block = block.outer
        if block.unnamed and (behind := _NAME_BEHIND.match(self.code, sign.end())):
            self.found.append(block.unnamed._replace(title=f"{block.unnamed.title} {behind[1]}"))
        self.block = block.outer or block
        self.old_style = None
        self._anew(sign)

    def _branch(self, sign: re.Match[str]) -> None:
        """At `#if` remember where one is; at `#else` go back there."""
        if sign[0] == "#e":
            if self.branches:
                self.block, head = self.branches[-1]
                self.head = head if head.said.strip() else _Head(sign.end())
        else:
            self.head = self.head._replace(said=self._said(sign.start()))
            if sign[0] == "#i":
                self.branches.append((self.block, self.head))
            elif self.branches:
                self.branches.pop()
        self.mark = sign.end()

    def _arrow(self, sign: re.Match[str]) -> None:
        """`int f() => …;`, a function without a brace."""
        behind = self.told_by is js_head and self.code[sign.end() : sign.end() + 2].lstrip(" ")[:1]
        if behind == "{" or self.block.kind not in (SCOPE, TYPE) or self.block.level >= DEEPEST:
            return
        said = self._said(sign.end() if self.told_by is js_head else sign.start()).strip()
        holds = self._told(said, "")
        if holds.title.endswith(")"):
            start = _end_of(_BEFORE_HEAD, self.code, self.head.begin)
            self.found.append(Definition(start, sign.end(), self.block.level + 1, holds.title))
        if holds.title.endswith(")") or self.told_by is not js_head:
            self._anew(sign)

    def _line(self, sign: re.Match[str]) -> None:
        """At the end of a line, which in JavaScript ends a statement that has no sign of going on."""
        if self.block.kind == PARENS:
            return
        said, following = self._said(sign.start()).strip(), self.code[sign.end() : sign.end() + 11]
        goes_on = following[:1] in "{.?:=&|+*)]" or following.startswith(("extends ", "implements "))
        if not said or not (goes_on or said[-1] in "=+-*/&|?:(<." or said.endswith("=>") or _is_begun(said)):
            self._anew(sign)

    def _told(self, said: str, inside: str) -> Holds:
        return self.told_by(said, self.block.kind, self.block.name, inside) if len(said) < LONGEST_HEAD else Holds(BODY)

    def _inside(self, group: tuple[int, int] | None) -> str:
        return "" if group is None else self.code[group[0] : min(group[1], group[0] + 300)]

    def _begins_line(self, start: int) -> bool:
        return start == 0 or self.code[start - 1] == "\n"

    def _old_style(self, head: _Head) -> tuple[str, int]:
        """The head and the begin of `int f(a, b) int a, b; {`, as C was written once."""
        found = _OLD_STYLE.match(head.said)
        if found is None or not _NAMES.fullmatch(self._inside(head.group)):
            return "", head.begin
        return found[0].strip(), _end_of(_BEFORE_HEAD, self.code, head.begin)


def _is_begun(said: str) -> bool:
    return len(said) < LONGEST_BEGIN and bool(_BEGUN.fullmatch(said))


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
