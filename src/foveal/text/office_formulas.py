"""Formulas of Office documents (OMML) in a line, as those of web pages: (a+b)/2c, x^2, √(x+1).

    formula(paragraph.find("{*}oMath"))         # "E=mc^2"

Elements are known by their names within their namespace, as strict documents have others.
"""

from __future__ import annotations

from typing import Any

DEEPEST = 60  # formulas within formulas; what is deeper is read as its words

_BETWEEN = {"f": "/", "sSup": "^", "sSub": "_", "sSubSup": "_^", "limLow": "_", "limUpp": "^"}
_APART = {"m": "; ", "mr": ", ", "eqArr": "; "}  # rows and cells of a matrix, equations one below the other
_SILENT = ("rPr", "ctrlPr")


def local(element: Any) -> str:
    """The name of an XML element within its namespace; "" of comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def formula(part: Any, deep: int = 0) -> str:
    """What a formula, or a part of one, says."""
    name = local(part)
    if name == "t":
        return part.text or ""
    if deep > DEEPEST:
        return "".join(one.text or "" for one in part.iter("{*}t"))
    below = [one for one in part.iterchildren("*") if local(one) not in _SILENT]
    signs = {local(one): _value(one) for about in below if local(about) == f"{name}Pr" for one in about.iterchildren()}
    parts = [words for one in below if local(one) != f"{name}Pr" and (words := formula(one, deep + 1))]
    return _written(name, parts, signs)


def _written(name: str, parts: list[str], signs: dict[str, str]) -> str:
    """A formula of that kind, of its parts; `signs` are those that it sets between or around them."""
    if name in _BETWEEN:
        bare = [words if words.isalnum() else f"({words})" for words in parts]
        return "".join(f"{sign}{words}" for sign, words in zip(("", *_BETWEEN[name]), bare, strict=False))
    if name == "d":
        return f"{signs.get('begChr', '(')}{signs.get('sepChr', '|').join(parts)}{signs.get('endChr', ')')}"
    if name == "rad":
        return f"√({''.join(parts)})" if len(parts) < 2 else f"√[{parts[0]}]({''.join(parts[1:])})"
    if name == "nary":
        return f"{signs.get('chr', '∫')}{' '.join(parts)}"
    if name in _APART:
        joined = _APART[name].join(parts)
        return joined.replace("&", "") if name == "eqArr" else joined  # there "&" is where they are aligned
    return "".join(parts)


def _value(element: Any) -> str:
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == "val"), "")
