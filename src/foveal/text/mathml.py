"""Formulas of MathML in a line, as one types them: E=mc^2, (a+b)/2c, √(x+1), ∑_(i=1)^n i.

    in_a_line(math)         # its element, with or without a namespace

Left out  what says the formula in another language (annotations), and what is there for its room only (mphantom)
Against   html.py writes signs into the formulas of a page, which is then read as a whole
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

MOST_DEEP = 60
"""Elements within elements; of what lies deeper the letters are read only."""

_GONE = {"annotation", "annotation-xml", "mphantom", "mprescripts", "none"}
_BETWEEN = {
    "mfrac": "/", "msup": "^", "msub": "_", "msubsup": "_^", "munder": "_", "mover": "^", "munderover": "_^",
}  # fmt: skip
_UNSEEN = dict.fromkeys(range(0x2061, 0x2065))  # "applied to" and "times", which are understood, not written
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}


def in_a_line(formula: Any) -> str:
    """What a formula says; "" where it is empty."""
    return " ".join(_said(formula, 0).split())


def _said(part: Any, deep: int) -> str:
    name = _name(part)
    inner = [one for one in part if isinstance(one.tag, str)]
    if deep > MOST_DEEP or not inner:
        words = " ".join("".join(part.itertext("*")).translate(_UNSEEN).split())
        return f" {words} " if name == "mtext" and words else words
    seen = inner[:1] if name == "semantics" else [one for one in inner if _name(one) not in _GONE]
    said = [_said(one, deep + 1) for one in seen]
    if name in _BETWEEN:
        signs = ("", *_BETWEEN[name])
        return "".join(f"{sign}{_bare(words)}" for sign, words in zip(signs, said, strict=False) if words)
    if name == "mfenced":
        return f"{part.get('open', '(')}{', '.join(said)}{part.get('close', ')')}"
    return _AROUND.get(name, _joined)([words for words in said if words])


def _joined(said: Sequence[str]) -> str:
    """Parts in a row, words such as sin and log apart from what is beside them."""
    made: list[str] = []
    for words in said:
        if made and words[0].isalnum() and made[-1][-1].isalnum() and (_is_word(made[-1]) or _is_word(words)):
            made.append(" ")
        made.append(words)
    return "".join(made)


def _is_word(words: str) -> bool:
    return len(words) > 1 and words.isalpha()


def _bare(words: str) -> str:
    """Words, in brackets unless they are one sign, one word or in brackets already."""
    words = words.strip()
    return words if len(words) == 1 or words.isalnum() or _is_closed(words) else f"({words})"


def _is_closed(words: str) -> bool:
    """Whether the last character closes the bracket that words begin with."""
    if not words or _CLOSED_BY.get(words[0]) != words[-1]:
        return False
    depth = 0
    for at, sign in enumerate(words):
        depth += (sign == words[0]) - (sign == words[-1])
        if depth == 0:
            return at == len(words) - 1
    return False


def _name(part: Any) -> str:
    return str(part.tag).rpartition("}")[2]


_AROUND: dict[str, Callable[[Sequence[str]], str]] = {
    "msqrt": lambda said: f"√({_joined(said)})",
    "mroot": lambda said: f"√[{said[1]}]({said[0]})" if len(said) == 2 else f"√({_joined(said)})",
    "mtable": "; ".join,
    "mtr": ", ".join,
}
