"""What stands before a brace tells what the brace holds: for the languages of `braced_definitions.py`.

    c_head("static int Eye::look() const", SCOPE, "", "")      # Holds(BODY, "Eye::look()", sure=True)

Heads have "()" and "[]" in place of brackets and what is in them, and nothing of strings and comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

PARENS, SCOPE, TYPE, OBJECT, BODY = "parens", "scope", "type", "object", "body"
"""What a bracket holds: arguments; definitions that are in no type; those of a type; an object's; statements."""

LONGEST_ARGUMENTS = 60
"""Characters of the arguments of a macro in a title: `TEST(Eye, Looks)`."""


class Holds(NamedTuple):
    """What a brace holds, and what it defines, if it does."""

    kind: str
    title: str = ""
    name: str = ""  # of a type: its constructors are called so
    word: str = ""  # for a type whose name stands behind its braces
    sure: bool = False  # nothing but a function looks so, wherever it stands


BLOCK = Holds(BODY)

HeadReader = Callable[[str, str, str, str], Holds]
"""Takes a head, what the bracket around it holds, the name of the type that this is, or "", and what stands in the
head's first brackets."""

_NAME = r"[A-Za-z_$][\w$]*+"
_ANGLES = re.compile(r"<[^<>;]*+>")
_COLON = re.compile(r"(?<!:):(?!:)")
_CALLED = re.compile(rf"(?<![\w@$.:~])((?:::)?(?:{_NAME}\s*+(?:::|\.)\s*+)*+[~!]?{_NAME})\s*+\(\)")
_SYMBOL = re.compile(r"\boperator\s*+(\(\)(?=\s*\(\))|\[\]|\"[^\"]*+\"\s*+\w*+|[^\w\s()\[\]]{1,3})(?=\s*\()")
_CONVERSION = re.compile(r"\boperator\s++([\w\s:*&]++)(?=\()")
_TAIL = re.compile(
    r"(?:\s*+(?:(?:const|volatile|override|final|mutable|try|async|sync)\b|\*|&&?|\[\]"
    r"|(?:noexcept|throw|__\w++|[A-Z_][A-Z0-9_]*+)\b(?:\s*+\(\))?))*+"
    r"\s*+(?:(?:->|(?:requires|throws|where|default)\b).*)?",
    re.DOTALL,
)
_MODIFIERS = re.compile(
    r"\b(?:public|private|protected|internal|static|final|abstract|synchronized|native|default|inline|explicit|virtual"
    r"|constexpr|consteval|constinit|extern|friend|override|unsafe|async|sealed|partial|readonly|volatile|strictfp|const"
    r"|factory|external|late|covariant|register|template|typename|__attribute__|__declspec)\b(?:\s*\(\))?"
    r"|@[\w.]+(?:\s*\(\))?|\[\]|\"[^\"]*\""
)
_NO_FUNCTION = re.compile(
    r"(?<![\w$.@:])(?:(?:if|else|for|while|do|switch|case|catch|return|goto|throw|delete|using|typedef|namespace|sizeof"
    r"|foreach|lock|fixed|super|new)(?![\w$])|(?:synchronized|this)\s*\()|(?<![=!<>+*/%&|^-])=(?!=)"
)
_NO_NAME = frozenset(
    (
        *("alignas", "_Alignas", "decltype", "typeof", "__typeof__", "noexcept", "throw", "requires", "explicit"),
        *("static_assert", "asm", "__asm__", "defined", "__attribute__", "__attribute", "__declspec", "__nonnull"),
        "__launch_bounds__",
    )
)
"""What looks like a call in the head of a function."""


def function_in(head: str, where: str, type_name: str) -> tuple[str, bool] | None:
    """The name of the function that a head defines, and whether the head says its type; None: it defines none."""
    symbol = ""
    for pattern in (_SYMBOL, _CONVERSION):
        if not symbol and (operator := pattern.search(head)):
            symbol = " ".join(operator[1].split())
            head = f"{head[: operator.start()]}operator{head[operator.end() :]}"
        head = without_angles(head)
    own = _COLON.split(head, maxsplit=1)[0]
    for found in _CALLED.finditer(own):
        name = "".join(found[1].split())
        last = name.rpartition("::")[2]
        if last in _NO_NAME or not _TAIL.fullmatch(own, found.end()):
            continue
        before = own[: found.start()]
        if _NO_FUNCTION.search(f"{before} {name}()"):
            return None
        typed = "::" in name or bool(re.search(r"[\w>*&]", _MODIFIERS.sub("", before)))
        alone = last == type_name or last.isupper() or last[0] in "~!" or last == "operator"
        if not typed and where == TYPE and not alone:
            return None
        return (f"{name}{' ' if symbol[:1].isalpha() else ''}{symbol}" if last == "operator" else name), typed
    return None


def without_angles(head: str) -> str:
    """A head without arguments of templates and generic types, ten deep."""
    for _ in range(10):
        shorter = _ANGLES.sub("", head)
        if shorter == head:
            break
        head = shorter
    return head


# --- C, C++, Objective-C ---

_C_TYPE = re.compile(
    r"\b(class|struct|union|enum(?:\s+(?:class|struct))?)\b"
    r"((?:\s*+(?:\[\]|[\w$]++(?:\s*+::\s*+[\w$]++)*+(?:\s*+\(\))?+))*+)\s*$"
)
_C_WORDS = re.compile(r"([\w$]++(?:\s*+::\s*+[\w$]++)*+)(\s*\(\))?+")
_NAMESPACE = re.compile(r"\bnamespace\b\s*+(?:\[\]\s*+)?((?:\w++\s*+(?:::|\.)\s*+)*+(?:inline\s)?\w*+)")
_EXTERN = re.compile(r"\bextern\s*+\"[^\"]*+\"\s*$")
_METHOD = re.compile(r"(?:^|\s)([-+])\s*+\(\)\s*+(\w[\w\s:()*]*+)$")
_TWICE = re.compile(r"([\w\s*]*+)\(\)\s*+\(\)\s*+")
_WRAPPED = re.compile(r"\s*(\w+)\s*\(")
_POINTED = re.compile(r"\s*(\*?)\s*(\w+)\s*(?:\(|$)")


def c_head(head: str, where: str, type_name: str, inside: str) -> Holds:
    """What a brace holds in C, C++ and Objective-C."""
    head = head.replace("#", " ")
    if where in (SCOPE, TYPE) and (found := _c_function(head, where, type_name, inside)):
        return found
    if where == SCOPE and _EXTERN.search(head):
        return Holds(SCOPE)
    if where == SCOPE and "=" not in head and (space := _NAMESPACE.search(head)):
        name = "".join(space[1].split())
        return Holds(SCOPE, f"namespace {name}" if name else "")
    plain = without_angles(head)
    found_type = None if where == PARENS or "=" in plain else _C_TYPE.search(_COLON.split(plain, maxsplit=1)[0])
    return BLOCK if found_type is None else _c_type(found_type, plain)


def _c_type(found: re.Match[str], head: str) -> Holds:
    word = " ".join(found[1].split())
    names = ["".join(name.split()) for name, called in _C_WORDS.findall(found[2]) if not called and name != "final"]
    kind = BODY if word.startswith("enum") else TYPE
    if names:
        return Holds(kind, f"{word} {names[-1]}", names[-1].rpartition("::")[2])
    return Holds(kind, word=word if re.search(r"\btypedef\b", head) else "")


def _c_function(head: str, where: str, type_name: str, inside: str) -> Holds | None:
    if method := _METHOD.search(head):
        parts = re.findall(r"(\w+)\s*:", method[2]) or [""]
        named = "".join(f"{part}:" for part in parts) if parts[0] else method[2].split()[0]
        return Holds(BODY, f"{method[1]} {named}")
    if (twice := _TWICE.fullmatch(head)) and (own := _POINTED.match(inside)) and not _NO_FUNCTION.search(head):
        before = twice[1].split()[-1:]
        by_macro = before and before[0].isupper() and not own[1]  # NAMED(look)(int at)
        return Holds(BODY, f"{before[0]}({own[2]})" if by_macro else f"{own[2]}()")
    if (found := function_in(head, where, type_name)) is None:
        return None
    name, typed = found
    if typed and name.isupper() and (own := _WRAPPED.match(inside)):  # int NOTHROW(look(int at))
        return Holds(BODY, f"{own[1]}()", sure=True)
    said = " ".join(inside.split())
    shown = said if name.isupper() and not typed and len(said) <= LONGEST_ARGUMENTS else ""
    return Holds(BODY, f"{name}({shown})", sure=typed)


# --- Java, C#, Dart ---

_TYPE = re.compile(
    r"(?:@(?!interface\b)[\w.]++(?:\s*+\(\))?+\s*+|\[\]\s*+|(?:(?:public|private|protected|internal|static|final|abstract|sealed|partial"
    r"|non-sealed|readonly|ref|unsafe|strictfp|base|interface(?=\s+class)|mixin(?=\s+class)|new|file)\s++))*+"
    rf"(@interface|class|interface|enum|record(?:\s+(?:struct|class))?|struct|mixin|extension(?:\s+type)?)\s+({_NAME})"
)
_MADE = re.compile(r"\bnew\s+[\w.\s]+\(\)\s*$")
_CONSTANT = re.compile(r"[,\s]*+(?:@[\w.]++\s++)?\w++\s*+(?:\(\))?\s*+")
_GETTER = re.compile(r"\bget\s+(\w+)\s*(?:async\*?|sync\*)?\s*$")


def java_head(head: str, where: str, type_name: str, _inside: str) -> Holds:
    """What a brace holds in Java, C# and Dart."""
    head = head.replace("#", " ").strip()
    if found := _TYPE.match(head):
        word = " ".join(found[1].split())
        return Holds(TYPE, f"{word} {found[2]}", found[2])
    if _MADE.search(without_angles(head)):
        return Holds(TYPE)
    if where not in (SCOPE, TYPE):
        return BLOCK
    if space := _NAMESPACE.match(head):
        return Holds(SCOPE, f"namespace {''.join(space[1].split())}")
    function = function_in(head, where, type_name)
    if function and (function[1] or function[0] in (type_name, f"~{type_name}") or function[0].startswith("operator")):
        return Holds(BODY, f"{function[0]}()")
    return Holds(TYPE) if where == TYPE and _CONSTANT.fullmatch(head) and head != "static" else BLOCK


def dart_head(head: str, where: str, type_name: str, inside: str) -> Holds:
    """The same in Dart, whose functions need not say a type."""
    if where in (SCOPE, TYPE):
        if found := _GETTER.search(head):
            return Holds(BODY, f"{found[1]}()")
        if not _TYPE.match(head) and (function := function_in(head, SCOPE, type_name)):
            return Holds(BODY, f"{function[0]}()")
    return java_head(head, where, type_name, inside)


# --- JavaScript, TypeScript ---

_BEFORE = r"(?:@[\w.$]++(?:\s*+\(\))?+\s*+|(?:export|default|declare|abstract|async|const)\s++)*+"
_JS_TYPE = re.compile(
    rf"{_BEFORE}(?:(class|interface|enum|namespace|module)\s++({_NAME}(?:\.{_NAME})*+)(?!\s*[=.,(])"
    rf"|(type)\s++({_NAME})[^=]*+=\s*$)"
)
_CLASS = re.compile(rf"(?:^|[=(:,?&|]|\breturn|\bdefault)\s*class\b(?:\s+(?!extends\b)({_NAME}))?[^=]*$")
_FUNCTION = re.compile(rf"(?<![\w$.])function\b\s*+\*?\s*+({_NAME})?+\s*+\(\)\s*+(?::.*)?$", re.DOTALL)
_ARROW = re.compile(rf"(?<![\w$.])(?:async\b\s*)?(?:\(\)\s*(?::[^=]*)?|{_NAME}\s*)=>\s*$")
_SET = re.compile(rf"((?:#?{_NAME}\s*+\.\s*+)*+#?{_NAME}(?:\[[\w.$]+\])?+)\s*+[?!]?\s*+(?::[^=]*)?=\s*$")
_KEPT_AS = re.compile(rf"(?:^|[,\s])({_NAME})\s*:\s*$")
_JS_METHOD = re.compile(
    rf"(?:@[\w.$]++(?:\s*+\(\))?+\s*+|(?:public|private|protected|static|abstract|override|readonly|async|get|set)\s++(?=[\w$#*\[]))*+"
    rf"\*?\s*+(#?{_NAME}|\[[\w.$]+\])\s*+\??\(\)\s*+(?::.*)?",
    re.DOTALL,
)
_JS_STATEMENT = frozenset(
    (
        *("if", "for", "while", "switch", "catch", "with", "function", "return", "else", "do", "try", "new", "typeof"),
        *("await", "super"),
    )
)
_OBJECT = re.compile(r"(?:(?:^|[^=!<>])=|[(\[?:,]|\breturn|\bdefault|&&|\|\||\?\?|\.\.\.)\s*$")


def js_head(head: str, where: str, _type_name: str, _inside: str) -> Holds:
    """What a brace holds in JavaScript and TypeScript."""
    head = without_angles(head.replace("=>", "\0")).replace("\0", "=>").strip()
    if found := _JS_TYPE.match(head):
        word, name = found[1] or found[3], found[2] or found[4]
        kinds = {"class": TYPE, "namespace": SCOPE, "module": SCOPE}
        return Holds(kinds.get(word, BODY), f"{word} {name}", name)
    last = head.rpartition(",")[2].strip()
    if found := _CLASS.search(last):
        name = found[1] or _assigned(last[: found.start() + 1])
        return Holds(TYPE, f"class {name}" if name else "", name)
    if found := _FUNCTION.search(last):
        name = _assigned(last[: found.start()])
        return Holds(BODY, f"{name}()" if name else f"function {found[1]}" if found[1] else "")
    if found := _ARROW.search(last):
        name = _assigned(last[: found.start()])
        return Holds(BODY, f"{name}()" if name else "")
    if where in (TYPE, OBJECT) and (found := _JS_METHOD.fullmatch(last)) and found[1] not in _JS_STATEMENT:
        return Holds(BODY, f"{found[1]}()")
    is_object = _OBJECT.search(head) if head else where in (PARENS, OBJECT)
    is_label = where == BODY and head.endswith(":") and "?" not in head
    return Holds(OBJECT) if is_object and not is_label else BLOCK


def _assigned(before: str) -> str:
    """The name that what follows is given, by `=` or `:`."""
    found = _SET.search(before) or _KEPT_AS.search(before)
    return "".join(found[1].split()) if found else ""
