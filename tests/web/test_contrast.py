"""The colours of the pages, computed: what is read stands out 4.5 to 1, what shows where one is 3 to 1 (WCAG AA)."""

from __future__ import annotations

import re

import pytest

from foveal.web.pages import STATIC

GROUNDS = ("ground", "raised", "sunken")
READ = [
    *((ink, on) for ink in ("text", "soft", "link", "good", "bad", "accent-text") for on in GROUNDS),
    *(("text", on) for on in ("accent-ground", "bad-ground")),
    *(("accent-text", "accent-ground"), ("bad", "bad-ground"), ("mark-text", "mark"), ("soft", "accent-ground")),
]
SEEN = [(ink, on) for ink in ("focus", "edge") for on in (*GROUNDS, "accent-ground")]


def themes() -> dict[str, dict[str, str]]:
    """The tokens of each block that sets them, by what stands before it."""
    css = (STATIC / "foveal.css").read_text("utf-8")
    blocks = re.findall(r'(:root(?:\[data-theme="dark"\]|:not[^{]*)?) \{([^}]*--ground[^}]*)\}', css)
    return {name: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", tokens)) for name, tokens in blocks}


def luminance(colour: str) -> float:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_dark_is_the_same_by_the_system_and_by_choice() -> None:
    light, by_system, by_choice = themes().values()
    assert by_system == by_choice
    assert by_system.keys() == light.keys()


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(READ, 4.5), (SEEN, 3.0)], ids=["read", "seen"])
def test_all_of_it_stands_out(theme: int, pairs: list[tuple[str, str]], least: float) -> None:
    tokens = list(themes().values())[theme]
    weak = {(ink, on): contrast(tokens[ink], tokens[on]) for ink, on in pairs}
    assert {pair: found for pair, found in weak.items() if found < least} == {}


def test_text_is_as_large_as_the_browser_is_told_to_show_it() -> None:
    """Sizes in pixels stay as they are: those of a drawing alone may, whose boxes are as large as their words."""
    for file in STATIC.glob("*.css"):
        sizes = re.findall(r"([^{}]*)\{[^{}]*\bfont(?:-size)?:[^;}]*\dpx", file.read_text("utf-8"))
        assert [one.strip() for one in sizes] in ([], [".box text"]), file.name
