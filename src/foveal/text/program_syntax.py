r"""Programs without what is no code in them: comments, and what strings hold, are blanked; the rest keeps its place.

    bare('f("{");  // why {', "c")          # 'f(" ");          ', of the same length

Languages by the endings of their files, without the dot; of others the text stays as it is
Strings   keep their marks, so that a line with one is not blank
#if       of C and C# is told in two characters at its place: "#i", "#e" (of #else and #elif), "#n" (of #endif); of the
          preprocessor's other lines a "#" is left
Time      linear: what nothing closes ends with the text, or is passed over once
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from functools import cache
from typing import NamedTuple

C_FAMILY = ("c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx", "cu", "m", "mm")
JAVASCRIPTS, COMPONENTS = ("js", "mjs", "cjs", "jsx", "ts", "tsx"), ("vue", "svelte")
"""Languages that are written alike; pages that hold scripts."""

_STARS = r"/\*(?:[^*]++|\*(?!/))*+(?:\*/)?"
_SLASHES = r"//[^\n]*+"
_HASH, _HASH_APART = r"#[^\n]*+", r"(?<![^\s;(])#[^\n]*+"
_DIRECTIVE = rf"^[ \t]*+#(?:[^\\\n/]++|\\\r?\n|\\.|{_STARS}|{_SLASHES}|/)*+"
_DASHES = r"--[^\n]*+"
_ML_COMMENT = r"\(\*(?!\))(?:[^*]++|\*(?!\)))*+(?:\*\))?"

_DOUBLE, _SINGLE = r'"(?:[^"\\\n]++|\\[^\n])*+"', r"'(?:[^'\\\n]++|\\[^\n])*+'"
_DOUBLE_LONG, _SINGLE_LONG = r'"(?:[^"\\]++|\\.)*+"', r"'(?:[^'\\]++|\\.)*+'"
_TRIPLE = r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"""|\Z)'
_TRIPLE_SINGLE = r"'''(?:[^'\\]++|\\.|'(?!''))*+(?:'''|\Z)"
_QUOTED = r"'[^']*+'"
_CHARACTER = r"'(?:[^'\\\n]|\\[^\n]{1,10}?)'"  # beside lifetimes of Rust and symbols of Scala
_RAW_C = r'R"(?P<fence>[^()\\\s]{0,16})\(.*?(?:\)(?P=fence)"|\Z)'
_RAW_RUST = r'\br(?P<fence>#*+)".*?(?:"(?P=fence)|\Z)'
_TEMPLATE = r"`(?:[^`\\]++|\\.)*+`"
_REGEX = (
    r"(?:(?<=[(,=:\[!&|?{;+*%~^\n])|(?<=\breturn))[ \t]*+"
    r"/(?![/*])(?:[^/\\\[\n]++|\\[^\n]|\[(?:[^\]\\\n]++|\\[^\n])*+\])++/"
)

_KEPT = r"\\.|\b\d[\w.']*+"  # no mark of 1'000'000 opens a string; nor does one behind a backslash
_MARKS = frozenset("\"'`Rr@$[")
"""What strings begin with, in one language or another."""

_C = (_DIRECTIVE, _STARS, _SLASHES, _RAW_C, _DOUBLE, _SINGLE)
_JS = (_STARS, _SLASHES, _REGEX, _TEMPLATE, _DOUBLE, _SINGLE)
_SKIPPED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(C_FAMILY, _C),
    "cs": (_DIRECTIVE, _STARS, _SLASHES, r'\$?@\$?"(?:[^"]++|"")*+"', _TRIPLE, _DOUBLE, _SINGLE),
    "java": (_STARS, _SLASHES, _TRIPLE, _DOUBLE, _SINGLE),
    **dict.fromkeys(("groovy", "gradle", "dart"), (_STARS, _SLASHES, _TRIPLE, _TRIPLE_SINGLE, _DOUBLE, _SINGLE)),
    **dict.fromkeys(JAVASCRIPTS, _JS),
    **dict.fromkeys(COMPONENTS, (r"(?:\A|</script\b).*?(?:<script\b[^>]*+>|\Z)", *_JS)),
    "go": (_STARS, _SLASHES, r"`[^`]*+`", _DOUBLE, _CHARACTER),
    "rs": (_STARS, _SLASHES, _RAW_RUST, _DOUBLE_LONG, _CHARACTER),
    **dict.fromkeys(("kt", "kts", "scala", "swift"), (_STARS, _SLASHES, _TRIPLE, _DOUBLE, _CHARACTER)),
    "php": (
        r"(?:\A(?!<\?)|\?>).*?(?:<\?(?:php\b|=)?|\Z)",
        *(_STARS, _SLASHES, r"#(?!\[)[^\n]*+", _DOUBLE_LONG, _SINGLE_LONG),
    ),
    "proto": (_STARS, _SLASHES, _DOUBLE),
    **dict.fromkeys(("py", "pyi", "pyx"), (_HASH, _TRIPLE, _TRIPLE_SINGLE, _DOUBLE, _SINGLE)),
    "rb": (r"^=begin\b.*?(?:^=end\b|\Z)", r"^__END__.*", _HASH_APART, _DOUBLE, _SINGLE),
    **dict.fromkeys(("pl", "pm"), (r"^=[a-z].*?(?:^=cut\b|\Z)", r"^__(?:END|DATA)__.*", _HASH_APART)),
    "lua": (
        r"--\[(?P<fence>=*+)\[.*?(?:\](?P=fence)\]|\Z)",
        *(_DASHES, r"\[(?P<level>=*+)\[.*?(?:\](?P=level)\]|\Z)", _DOUBLE, _SINGLE),
    ),
    **dict.fromkeys(("sh", "bash", "zsh"), (_HASH_APART, _DOUBLE_LONG, _QUOTED)),
    "fish": (_HASH_APART, _DOUBLE_LONG, _SINGLE_LONG),
    "r": (_HASH, _DOUBLE_LONG, _SINGLE_LONG),
    "jl": (r"#=.*?(?:=#|\Z)", _HASH, _TRIPLE, _DOUBLE),
    **dict.fromkeys(("ex", "exs"), (_HASH, _TRIPLE, _TRIPLE_SINGLE, _DOUBLE, _SINGLE)),
    "hs": (r"\{-.*?(?:-\}|\Z)", r"--++(?![!#$%&*+./<=>?@\\^|~:])[^\n]*+", _DOUBLE),
    **dict.fromkeys(("ml", "mli"), (_ML_COMMENT, _DOUBLE_LONG)),
    "fs": (_ML_COMMENT, _SLASHES, _TRIPLE, _DOUBLE_LONG),
    "erl": (r"%[^\n]*+", _DOUBLE_LONG),
    **dict.fromkeys(("clj", "el"), (r";[^\n]*+", _DOUBLE_LONG)),
    "sql": (_DASHES, _STARS, _QUOTED, r"\$(?P<fence>\w*+)\$.*?(?:\$(?P=fence)\$|\Z)"),
    "cmake": (r"#\[(?P<fence>=*+)\[.*?(?:\](?P=fence)\]|\Z)", _HASH, _DOUBLE_LONG),
    "mk": (_HASH_APART,),
    "ps1": (
        r"<#.*?(?:#>|\Z)",
        *(r"""@(?P<fence>["'])[ \t]*+\r?\n.*?(?:^(?P=fence)@|\Z)""", _HASH, r'"(?:[^"`\n]++|`[^\n])*+"', r"'[^'\n]*+'"),
    ),
}

_DOCUMENT = {
    **dict.fromkeys(("sh", "bash", "zsh"), re.compile(r"(?<!<)<<-?[ \t]*+[\"'\\]?([A-Za-z_]\w*+)")),
    **dict.fromkeys(("rb", "pl", "pm"), re.compile(r"(?<!<)<<[-~]?[\"']?([A-Z_]\w*+)")),
    "php": re.compile(r"<<<[ \t]*+[\"']?([A-Za-z_]\w*+)"),
}
"""How a text begins, on the line below, that ends where the word stands alone."""

_ALONE = re.compile(r"^[ \t]*+(\w++)[ \t;,.)\]]*+\r?$", re.MULTILINE)


class Definition(NamedTuple):
    """What is defined from character `start` on, whose body begins at `opened`; level 1 is the highest."""

    start: int
    opened: int
    level: int
    title: str


def bare(text: str, language: str) -> str:
    """The program, as long as it was, with blanks in place of comments and of what its strings say."""
    text = _without_documents(text, language)
    pattern = _pattern(language)
    if pattern is None:
        return text
    return pattern.sub(_directive_or_blank if _DIRECTIVE in _SKIPPED[language] else _blank_if_skipped, text)


@cache
def _pattern(language: str) -> re.Pattern[str] | None:
    skipped = _SKIPPED.get(language)
    return re.compile("|".join((*skipped, _KEPT)), re.MULTILINE | re.DOTALL) if skipped else None


def _blank_if_skipped(found: re.Match[str]) -> str:
    said = found[0]
    if said[0] == "\\" or said[0].isdigit():
        return said
    if said[0] in _MARKS and len(said) > 1:
        return said[0] + _blank(said[1:-1]) + (said[-1] if said[-1] in _MARKS else " ")
    return _blank(said)


def _directive_or_blank(found: re.Match[str]) -> str:
    line = found[0].lstrip(" \t")
    if line[0] != "#":
        return _blank_if_skipped(found)
    told = line[1:].lstrip(" \t")[:2]
    sign = "#" + {"if": "i", "el": "e", "en": "n"}.get(told, "")
    return " " * (len(found[0]) - len(line)) + sign + _blank(line[len(sign) :])


def _blank(said: str) -> str:
    return "\n".join(" " * len(line) for line in said.split("\n"))


def _without_documents(text: str, language: str) -> str:
    """The program with blank lines for texts within it, as `cat <<EOF` begins one."""
    opened = _DOCUMENT.get(language)
    if opened is None or "<<" not in text:
        return text
    ends = defaultdict[str, list[int]](list)
    for line in _ALONE.finditer(text):
        ends[line[1]].append(line.start())
    kept, at = list[str](), 0
    for one in opened.finditer(text):
        closed = ends.get(one[1], ())
        begin = text.find("\n", one.end()) + 1
        last = bisect_right(closed, begin - 1)
        if one.start() >= at and begin and last < len(closed):
            kept += [text[at:begin], _blank(text[begin : closed[last]])]
            at = closed[last]
    return "".join([*kept, text[at:]])
