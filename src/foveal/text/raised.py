"""What is set higher or lower than its line (10⁶, H₂O), in a text that has no such place: else 10⁶ would be 106.

    raised("-3")  ->  "⁻³"        raised("2.5")  ->  "^2.5"        raised("th")  ->  "th"

Raised signs are those of Unicode where there are such; other exponents stand behind "^", in brackets if they are
several. Words (1st, Mme) and letters behind a word (Ada a) stay: they are no exponents.
"""

from __future__ import annotations

import re

_RAISED = str.maketrans("0123456789+-−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
_LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")

_SIGNS = re.compile(r"(?=.*[0-9+\-−])[0-9+\-−=()ni, –]+|[n+\-−]")  # of several marks of notes ("1, 2") the comma stays
_EXPONENT = re.compile(r"(?=.*(?:[0-9]|\w[+\-−*/=·⋅]\w))(?:(?!\w{4})[\w.,+\-−*/=()·⋅ ])+")
_ONE = re.compile(r"\w+|[0-9.]+")
_VARIABLE = "ijkmpqtxyzNT"
"""Letters that are exponents behind a number, a bracket or a letter alone; others are of ordinals there (2e, 1a)."""
_BASE = re.compile(r"(?:[0-9)\]]|(?<![^\W_])[^\W\d_])\Z")


def raised(words: str, before: str = "") -> str:
    """Words that are set higher; `before` is what stands in front of them."""
    said = words.strip()
    if _SIGNS.fullmatch(said):
        return words.translate(_RAISED)
    if said in _VARIABLE and len(said) == 1 and _BASE.search(before):
        return words.replace(said, f"^{said}")
    if _EXPONENT.fullmatch(said):
        return words.replace(said, f"^{said}" if _ONE.fullmatch(said) else f"^({said})")  # blanks around it stay
    return words


def lowered(words: str) -> str:
    """Words that are set lower: numbers and signs, as in H₂O; letters stay."""
    return words.translate(_LOWERED) if re.fullmatch(r"[0-9+\-−=()]+", words.strip()) else words
