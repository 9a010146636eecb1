"""Signs that Word keeps as places in a font of signs: Greek and mathematics of Symbol, boxes and arrows of Wingdings.

    sign_at("Symbol", "F06D")            # "μ": without it 10 μm would be 10 m
    plain_signs("\\uf061 = 1", "Symbol")  # "α = 1"

Source    Symbol: the encoding of Adobe's font; of Wingdings the boxes, ticks, arrows and bullets that texts have
"""

from __future__ import annotations

import re

_FIRST, _LAST = 0xF000, 0xF0FF
"""The private places where Word puts the 256 signs of such a font."""

_SYMBOL: dict[int, str] = dict(
    zip(
        (*range(0x20, 0x7F), *range(0xA0, 0xF0), *range(0xF1, 0xFF)),
        " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"
        "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊⟨®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪"
        "⟩∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
        strict=True,
    )
)
_WINGDINGS: dict[int, str] = {
    0x20: " ",
    **dict.fromkeys((0x6F, 0x71, 0xA8), "☐"), **dict.fromkeys((0x78, 0xFD), "☒"), 0xFE: "☑", 0xFB: "✗", 0xFC: "✓",
    0x6C: "●", 0x6E: "■", 0x9F: "•", 0xA7: "▪", 0xD8: "➢", 0xDF: "←", 0xE0: "→", 0xE1: "↑", 0xE2: "↓", 0xF0: "⇨",
}  # fmt: skip
_WINGDINGS_2 = {0x20: " ", 0x50: "✓", 0x4F: "✗", 0x52: "☑", 0xA3: "☐", **dict.fromkeys((0x51, 0x53, 0x54), "☒")}
_FONTS: dict[str, dict[int, str]] = {
    "symbol": _SYMBOL, "wingdings": _WINGDINGS, "wingdings 2": _WINGDINGS_2, "wingdings 3": {}, "webdings": {},
}  # fmt: skip
_PRIVATE = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")


def sign_at(font: str, place: str) -> str:
    """The sign at a place, a hexadecimal number, of a font; "" where it is none that is known."""
    if not re.fullmatch(r"[0-9A-Fa-f]{1,4}", place):
        return ""
    code = int(place, 16)
    signs = _FONTS.get(font.strip().lower())
    if signs is not None and (code < 0x100 or _FIRST <= code <= _LAST):
        return signs.get(code & 0xFF, "")
    return chr(code) if chr(code).isprintable() else ""  # private and half characters are not


def plain_signs(text: str, font: str) -> str:
    """A text set in that font, with its private characters as others have them."""
    signs = _FONTS.get(font.strip().lower())
    return text if signs is None else _PRIVATE.sub(lambda one: signs.get(ord(one[0]) & 0xFF, one[0]), text)
