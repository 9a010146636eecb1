"""Definitions in programs of most languages: lines that begin with a word for them, such as `class`, `def` and `fn`.

    line_definitions("class Eye:\\n    def look(self):\\n", "py")      # class Eye on level 1, def look on level 2

Levels    the less a line is indented, the higher; lines that are indented deeper than 8 columns define nothing
Language  by the ending of a file, without the dot; "" takes what is a definition in most. Settings (JSON, CSS, …) have
          none. Comments and strings are to be blanked before (program_syntax.py)
"""

from __future__ import annotations

import re
from functools import cache

from foveal.text.braced_heads import without_angles
from foveal.text.headings import LONGEST_LINE  # behind a name: a program without line ends defines nothing
from foveal.text.program_syntax import Definition

DEEPEST, TAB = 8, 4
"""Columns that a definition is indented by at most; of a tab."""

_INDENT = r"^(?P<indent>[ \t]{0,8})"
_BEFORE = (
    "export|default|public|private|protected|internal|fileprivate|static|abstract|final|async|unsafe|override|open|data"
    "|sealed|suspend|inline|extern|const|local|case|inner|annotation|value|companion|operator|infix|tailrec|external"
    "|expect|actual|mutating|nonisolated|convenience|required|indirect|dynamic|implicit|mutable|readonly"
    r"|private_class_method|module_function|pub(?:\([^()\n]*\))?|@[\w.]+(?:\([^()\n]{0,100}\))?"
)
_MODIFIERS = rf"(?:(?:{_BEFORE})[ \t]+){{0,6}}"
_END = (
    r"(?=[ \t]*(?:[({\[<:;=#,\r]|//|/\*|--|do\b|$|extends\b|implements\b|where\b|for\b|with\b|derives\b"
    r"|throws\b|constructor\b|private\b|protected\b|internal\b|(?:struct|interface)\b))"
)
_ANY = (
    "class|def|defp|defmodule|fn|func|fun|function|type|interface|struct|enum(?: class)?|trait|impl|module|namespace"
    "|object|sub|proc"
)


def _worded(words: str, name: str = r"[\w$.:~?!]{1,100}") -> str:
    """A pattern of lines in which a word says what follows; a method of Go tells first whose it is."""
    between = r"[ \t]+(?:\((?P<of>[^()\n]*)\)[ \t]*)?(?:<[^\n()]{0,100}?>[ \t]+)?&?"
    return rf"{_INDENT}{_MODIFIERS}(?P<word>{words}){between}(?P<name>{name}){_END}"


_TYPED = r"(?:def|void|boolean|int|long|double|[A-Z][\w.<>\[\], ]{0,60}?)"
_SHELL = (
    rf"{_INDENT}(?P<name>[\w:.@+-]{{1,100}})[ \t]*\(\)(?=[ \t]*(?:[{{(\r]|$))",
    rf"{_INDENT}(?P<word>function)[ \t]+(?P<name>[^\s(){{}}]{{1,100}})",
)
_R = rf"{_INDENT}(?P<name>[\w.]{{1,100}}|`[^`\n]{{1,100}}`)[ \t]*(?:<-|=)[ \t]*(?:function[ \t]*\(|\\\()"
_SQL = (
    rf"{_INDENT}create[ \t]+(?:(?:or|replace|temp|temporary|unique|external|materialized|unlogged|global|local"
    r"|recursive|definer[ \t]*=[ \t]*\S{1,60})[ \t]+){0,4}(?P<word>table|view|function|procedure|trigger|index|type"
    r"|schema|sequence|database|domain|rule|aggregate|policy|package(?:[ \t]+body)?|role)[ \t]+"
    r"(?:concurrently[ \t]+)?(?:if[ \t]+not[ \t]+exists[ \t]+)?(?P<name>[\w.$\"`\[\]]{1,100})"
)
_LINES: dict[str, tuple[str, ...]] = {
    "": (_worded(_ANY),),
    **dict.fromkeys(("py", "pyi"), (_worded("class|def", r"\w{1,100}"),)),
    "pyx": (
        _worded("(?:cdef |cpdef )?class|def|(?:cdef|ctypedef) (?:struct|enum|union)", r"\w{1,100}"),
        rf"{_INDENT}(?P<word>cdef|cpdef)[ \t]+(?:[\w.*&\[\], ]{{0,80}}?[ \t*&])?(?P<name>\w{{1,100}})"
        r"(?=\([^\n]{0,200}:[ \t]*\r?$|\([^)\n]{0,200}$)",
    ),
    "go": (_worded("func"), rf"{_INDENT}(?P<word>type)[ \t]+(?P<name>\w{{1,100}})(?=[ \t]*[\w\[(*<=])"),
    "rs": (
        _worded("fn|struct|enum|trait|union|mod|macro_rules!"),
        rf"{_INDENT}(?:unsafe[ \t]+)?(?P<word>impl)\b(?P<name>[^{{;\n]{{1,200}}?)(?=[ \t]*(?:\{{|\bwhere\b|$))",
    ),
    "swift": (
        _worded("func|class|struct|enum|protocol|extension|actor|typealias", r"[\w.`]{1,100}|[^\w\s()]{1,3}"),
        rf"{_INDENT}{_MODIFIERS}(?P<name>init[?!]?|deinit|subscript)(?=[ \t]*[(<{{])",
    ),
    **dict.fromkeys(
        ("kt", "kts"),
        (
            _worded("fun interface|(?:enum )?class|interface|object|typealias", r"\w{1,100}"),
            _worded("fun", r"(?:[\w<>?,* ]{1,60}\.)?(?:\w{1,100}|`[^`\n]{1,100}`)"),
            rf"{_INDENT}{_MODIFIERS}(?P<name>constructor|companion object)(?=[ \t]*[({{:])",
        ),
    ),
    "scala": (_worded("def|class|trait|object|enum", r"[^\s(\[:{=]{1,100}"),),
    **dict.fromkeys(
        ("groovy", "gradle"),
        (
            _worded("class|interface|enum|trait|task"),
            rf"{_INDENT}{_MODIFIERS}{_TYPED}[ \t]+(?P<name>\w{{1,100}})(?=[ \t]*\([^\n]{{0,200}}\{{[ \t]*\r?$)",
        ),
    ),
    "php": (_worded("function|class|interface|trait|enum"),),
    "proto": (_worded("message|service|enum|rpc|extend"),),
    "rb": (
        _worded("class|module|def", r"[\w.:]{1,100}[?!=]?"),
        _worded("def", r"(?:self\.)?(?:\[\]=?|<=>|===?|=~|[+\-*/%<>!~^&|]{1,2})"),
    ),
    **dict.fromkeys(("pl", "pm"), (_worded("sub"), rf"{_INDENT}(?P<word>package)[ \t]+(?P<name>[\w:]{{1,100}})")),
    "lua": (
        _worded("function"),
        rf"{_INDENT}(?:local[ \t]+)?(?P<name>[\w.:]{{1,100}})[ \t]*=[ \t]*function(?=[ \t]*\()",
    ),
    **dict.fromkeys(("sh", "bash", "zsh"), _SHELL),
    "fish": (rf"{_INDENT}(?P<word>function)[ \t]+(?P<name>[^\s;]{{1,100}})",),
    "r": (_R,),
    "jl": (
        _worded("function|struct|module|baremodule|macro|(?:abstract|primitive) type", r"[\w.!:]{1,100}"),
        r"^(?P<indent>)(?P<name>[A-Za-z_][\w.!]{0,100})\([^\n=]{0,200}\)[ \t]*=(?!=)",
    ),
    **dict.fromkeys(("ex", "exs"), (_worded("defmodule|defp?|defmacrop?|defprotocol|defimpl|defguardp?"),)),
    "hs": (
        r"^(?P<indent>)(?P<word>module|data|newtype|class|instance|type)[ \t]+"
        r"(?P<name>[^\n={]{1,100}?)(?=[ \t]*(?:=|where\b|\(|$))",
        r"^(?P<indent>)(?P<name>[a-z_][\w']{0,100})(?=[ \t]*::)",
    ),
    **dict.fromkeys(
        ("ml", "mli", "fs"),
        (
            r"^(?P<indent>)(?P<word>let(?: rec)?(?: inline)?|and|val|external|module(?: type)?|type|class"
            r"|exception)[ \t]+(?:\([^()\n]*\)[ \t]*)?(?P<name>[A-Za-z_][\w'.]{0,100})",
            rf"{_INDENT}(?:static[ \t]+|abstract[ \t]+|override[ \t]+)?(?P<word>member)[ \t]+(?P<name>[\w.]{{1,100}})",
        ),
    ),
    "erl": (r"^(?P<indent>)(?P<name>[a-z]\w{0,100})(?=\([^\n]{0,200})",),
    **dict.fromkeys(
        ("clj", "el"),
        (
            rf"{_INDENT}\((?P<word>ns|(?:cl-)?def(?:n-?|un|macro|method|multi|type|record|protocol|subst|struct"
            r"|generic|advice)|define-[\w-]{1,40})[ \t]+(?:\^\S{1,60}[ \t]+)*(?P<name>[^\s()\[\]]{1,100})",
        ),
    ),
    "vim": (rf"{_INDENT}(?:export[ \t]+)?(?P<word>fu(?:n|nc|nction)?|def)!?[ \t]+(?P<name>[\w:.#<>]{{1,100}})(?=\()",),
    "sql": (_SQL,),
    **dict.fromkeys(("bat", "cmd"), (r"^(?P<indent>[ \t]{0,8}):(?P<name>[\w.-]{1,100})(?=[ \t]*\r?$)",)),
    "cmake": (rf"{_INDENT}(?P<word>function|macro)[ \t]*\([ \t]*(?P<name>[\w.-]{{1,100}})",),
    "mk": (
        r"^(?P<indent>)(?P<name>(?!\.PHONY\b)[\w./%$(){}-][^\n:=#]{0,100}?)(?=[ \t]*::?(?![=:]))",
        r"^(?P<indent>)(?P<word>define)[ \t]+(?P<name>[\w.-]{1,100})",
    ),
    "ps1": (rf"{_INDENT}(?P<word>function|filter|workflow|class|enum)[ \t]+(?P<name>[\w:.-]{{1,100}})",),
}
_ANY_CASE = frozenset(("sql", "ps1", "cmake"))
_CALLED = frozenset(("swift", "kt", "kts", "groovy", "gradle", "lua", "sh", "bash", "zsh", "r", "jl", "hs", "erl"))
"""Languages in which what no word tells is a function."""

_TO_THE_NAME = frozenset(("sql", "r", "hs", "ml", "mli", "fs", "erl", "clj", "el", "mk", "sh", "bash", "zsh"))
"""Languages whose definitions may go on, and end, in the line that they begin in, with no sign between."""

_DEPTH = {"(": 1, "[": 1, ")": -1, "]": -1}


def line_definitions(code: str, language: str) -> list[Definition]:
    """The definitions of a program without comments, in order."""
    found = [(len(one["indent"].expandtabs(TAB)), one) for each in _patterns(language) for one in each.finditer(code)]
    found = sorted(((indent, one) for indent, one in found if indent <= DEEPEST), key=lambda each: each[1].start())
    deep = sorted({indent for indent, _ in found})
    levels = {indent: level for level, indent in enumerate(deep, start=1)}
    told = [
        Definition(one.start(), _opened(code, one, language), levels[indent], _title(one, language))
        for indent, one in found
    ]
    if language == "erl":  # a function says its name anew for each way to call it
        return [one for n, one in enumerate(told) if not n or one.title != told[n - 1].title]
    return told


@cache
def _patterns(language: str) -> tuple[re.Pattern[str], ...]:
    flags = re.MULTILINE | (re.IGNORECASE if language in _ANY_CASE else 0)
    return tuple(re.compile(line, flags) for line in _LINES.get(language, ()))


def _title(found: re.Match[str], language: str) -> str:
    said = found.groupdict()
    name = " ".join(said["name"].split())
    word = " ".join((said.get("word") or "").lower().split())
    if language == "rs" and word == "impl":
        return f"impl {' '.join(without_angles(name).split())}"
    if of := re.findall(r"\w+", (said.get("of") or "").partition("[")[0]):
        name = f"{of[-1]}.{name}"
    if not word:
        return f"{name}()" if language in _CALLED and name != "companion object" else name
    return f"{word} {name.rstrip(':') if language == '' else name.strip()}"


def _opened(code: str, found: re.Match[str], language: str) -> int:
    """Where the body begins: behind the sign for it, if it follows in the line; else that of most on the next one."""
    end = code.find("\n", found.end(), found.end() + LONGEST_LINE)
    if end < 0:
        end = min(len(code), found.end() + LONGEST_LINE)
    signs, depth = (":" if language in ("py", "pyi", "pyx") else "{="), 0
    for at in range(found.end(), end):
        depth += _DEPTH.get(code[at], 0)
        if depth == 0 and code[at] in signs:
            return at + 1
    is_long = end < len(code) and code[end] != "\n"
    return found.end() if is_long or language in _TO_THE_NAME else end
