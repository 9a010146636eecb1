"""Titles and abstracts as plain text: mathematics in letters that any reader shows, nothing that harms a header.

    plain_tex(r"An $O(n^2)$ bound for $\\alpha$-mixing")     # "An O(n²) bound for α-mixing"
    one_line("Lookup\\n\\u202eTables")                        # "Lookup Tables"
    header_line("Is P=?utf-8?q?NP?=")                       # "Is P= ?utf-8?q?NP?=": nothing that a header decodes

Only what stands in $…$, \\(…\\) or after a backslash is read as TeX; "$5 and $6" stays (a dollar sign opens where no
space follows, and closes where none stands before it and no digit follows). What is not known keeps its name.
"""

from __future__ import annotations

import re
import unicodedata

_MATHS = re.compile(
    r"\$\$(?P<d>[^$]+)\$\$|\$(?P<s>[^\s$](?:[^$]{0,400}?[^\s$\\])?)\$(?!\d)|\\\((?P<p>.{1,600}?)\\\)", re.DOTALL
)
_ACCENT = re.compile(r"\\(?P<mark>[`'^\"~=.]|[uvHcdbrk](?=[\s{]))\s*\{?(?P<letter>\\?[A-Za-z])\}?")
_MARKS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307",
    "u": "\u0306", "v": "\u030c", "H": "\u030b", "c": "\u0327", "d": "\u0323", "b": "\u0331", "r": "\u030a",
    "k": "\u0328",
}  # fmt: skip
_FONTS = re.compile(
    r"\\(?:math(?:bb|cal|frak|rm|bf|it|sf|tt|scr)|text(?:bf|it|tt|sc|rm|sf|up|sl)?|emph|operatorname\*?|boldsymbol|bm"
    r"|mbox|hat|tilde|bar|vec|overline|underline|widetilde|widehat)\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_RAISED = re.compile(r"\^(?:\{([^{}]*)\}|(\\[A-Za-z]+|[^\s{}]))")
_LOWERED = re.compile(r"_(?:\{([^{}]*)\}|(\\[A-Za-z]+|[^\s{}]))")
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?\s*")
_UP = str.maketrans("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ")
_DOWN = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ",
    "sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "φ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ",
    "Psi": "Ψ", "Omega": "Ω", "times": "×", "cdot": "·", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥",
    "neq": "≠", "ne": "≠", "approx": "≈", "sim": "∼", "equiv": "≡", "to": "→", "rightarrow": "→", "leftarrow": "←",
    "Rightarrow": "⇒", "infty": "∞", "in": "∈", "subset": "⊂", "cup": "∪", "cap": "∩", "forall": "∀", "exists": "∃",
    "nabla": "∇", "partial": "∂", "sum": "∑", "prod": "∏", "int": "∫", "ell": "ℓ", "ldots": "…", "dots": "…",
    "cdots": "⋯", "circ": "∘", "otimes": "⊗", "oplus": "⊕", "langle": "⟨", "rangle": "⟩", "ll": "≪", "gg": "≫",
    "star": "⋆", "dagger": "†", "top": "⊤", "perp": "⊥", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|",
    "Vert": "‖", "lVert": "‖", "rVert": "‖", "parallel": "∥", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "leqslant": "≤", "geqslant": "≥", "lesssim": "≲", "gtrsim": "≳", "simeq": "≃", "cong": "≅", "propto": "∝",
    "notin": "∉", "ni": "∋", "subseteq": "⊆", "supset": "⊃", "supseteq": "⊇", "setminus": "∖", "emptyset": "∅",
    "varnothing": "∅", "wedge": "∧", "vee": "∨", "neg": "¬", "mapsto": "↦", "leftrightarrow": "↔", "uparrow": "↑",
    "downarrow": "↓", "hbar": "ℏ", "odot": "⊙", "bullet": "•", "ast": "∗", "div": "÷", "mp": "∓", "vartheta": "ϑ",
    "vdots": "⋮", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "middle": "", "limits": "",
    "prime": "′", "quad": " ", "qquad": " ", "left": "", "right": "", "big": "", "Big": "",
    "displaystyle": "", "textstyle": "", "ss": "ß", "ae": "æ", "o": "ø", "aa": "å", "AA": "Å", "O": "Ø", "l": "ł",
    "L": "Ł", "i": "ı",
}  # fmt: skip
_ESCAPED = re.compile(r"\\([%&#_{}$])")
_SPACES = re.compile(r"\\[,;:! ]|(?<=\S)~(?=\S)")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s]+")
_HIDDEN = re.compile(r"[\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Marks that turn the direction of what follows or cannot be seen, and halves of characters."""


def one_line(text: str) -> str:
    """The text without line breaks, control characters and marks that turn the direction of what follows."""
    return _BREAKS.sub(" ", _HIDDEN.sub("", text)).strip()


def header_line(text: str) -> str:
    """The text as a header's value: one line without encoded words (RFC 2047), which may hold line breaks.

    EmailMessage decodes those it is given: `=?utf-8?q?=0d=0aBcc:_x@y.org?=` would be a header of its own.
    """
    return one_line(text).replace("=?", "= ?")


def plain_tex(text: str) -> str:
    """The text on one line, its TeX in letters."""
    return one_line(_commands(_MATHS.sub(_maths, one_line(text))))


def clipped(text: str, most: int) -> str:
    """The text, or its first words and … within `most` characters."""
    if len(text) <= most:
        return text
    head = text[: most - 1]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;:–-") + "…"


def _maths(found: re.Match[str]) -> str:
    inner = found["d"] or found["s"] or found["p"]
    for pattern, made in ((_FONTS, r"\1"), (_FRACTION, r"\1/\2"), (_ROOT, r"√(\1)")):
        inner = pattern.sub(made, inner)
    inner = _commands(inner)
    inner = _RAISED.sub(lambda one: _shifted(one, _UP, "^"), inner)
    inner = _LOWERED.sub(lambda one: _shifted(one, _DOWN, "_"), inner)
    return re.sub(r"[{}]", "", inner).strip()


def _shifted(found: re.Match[str], table: dict[int, int], sign: str) -> str:
    inner = found[1] if found[1] is not None else found[2]
    if all(ord(one) in table for one in inner):
        return inner.translate(table)
    return sign + (inner if len(inner) == 1 else f"({inner})")


def _commands(text: str) -> str:
    """TeX outside of mathematics, and signs inside."""
    text = _ACCENT.sub(_accented, text)
    text = _FONTS.sub(r"\1", text)
    text = _COMMAND.sub(_sign, text).replace("\\|", "‖")
    return _ESCAPED.sub(r"\1", _SPACES.sub(" ", text))


def _sign(found: re.Match[str]) -> str:
    name = found[1]
    return _SIGNS.get(name, name + (" " if found[0][-1:].isspace() else ""))


def _accented(found: re.Match[str]) -> str:
    letter = found["letter"].removeprefix("\\")
    return unicodedata.normalize("NFC", letter + _MARKS[found["mark"]])
