"""Titles and abstracts as HTML: TeX as MathML, words that were matched, keywords as links.

    html_of("Attention in $O(n)$ time", marks=((0, 9),))      # <mark>Attention</mark> in <math>…</math> time

Text      is what the source gave, with TeX in `$…$`, `$$…$$`, `\\(…\\)`, `\\[…\\]` and a few commands (`\\emph{…}`)
Maths     latex2mathml, then nh3 lets through `MATHML` and nothing else; the TeX is kept as an annotation, for those
          who copy it. What does not convert stands as it came, in <code class="tex">
Prices    a `$` opens maths only before a character that is no space, and closes it only after one and not before a
          digit; what reads as prose in between is prose: "$5 and $6" are prices
Whole     a mark that touches maths covers all of it, a link that would cut maths is left out; nothing nests in a link
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from markupsafe import Markup

from foveal.papers.safe_markdown import MATHML as OF_REMARKS
from foveal.papers.safe_markdown import spaced, together

MATHML: dict[str, set[str]] = {
    **OF_REMARKS,
    "math": {"display"},
    "semantics": set(),
    "annotation": {"encoding"},
    "mo": OF_REMARKS["mo"] | {"lspace", "rspace"},
}
"""Those of remarks, and what keeps the TeX for those who copy it."""

LONGEST_TEX = 600
"""Characters of a formula that is converted; `_PIECE` looks no further for its end, so that no text is slow to read."""

DEEPEST_TEX = 20
"""Braces within braces of a formula that is converted."""

_PIECE = re.compile(
    r"\\(?P<escaped>[$%&#_{}])"
    r"|\$\$(?P<shown>[^$]{1,600})\$\$"
    r"|\\\[(?P<bracket>.{1,600}?)\\\]"
    r"|\\\((?P<round>.{1,600}?)\\\)"
    r"|\$(?=[^\s$])(?P<inline>(?:[^$\\]|\\[^\n]){1,600}?(?<=\S))\$(?!\d)"
    r"|\\(?P<command>emph|textit|textbf|texttt|textsc|textrm|text)\{(?P<inner>[^{}$\\]{0,600})\}",
    re.DOTALL,
)
_ELEMENTS = {"emph": "em", "textit": "em", "textbf": "strong", "texttt": "code"}
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?![A-Za-z])")
_UNCONVERTED = re.compile(r"<m[io][^>]*>\\")

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Piece:
    """A part of a text: kind is text, tex, code or the element that stands for a command; `shown` is cut out of it."""

    kind: str
    start: int
    end: int
    shown_start: int
    shown_end: int
    display: bool = False


@dataclass(frozen=True)
class Linked:
    """The characters `start` to `end` lead to `href`."""

    start: int
    end: int
    href: str


def html_of(text: str, *, marks: Ranges = (), links: Sequence[Linked] = ()) -> Markup:
    """The text as safe HTML; `marks` and `links` are ranges of its characters."""
    if not (marks or links or "$" in text or "\\" in text):
        return Markup(escape(text))
    pieces = list(pieces_of(text))
    kept = _whole_links(links, pieces)
    html = []
    for piece in pieces:
        if piece.kind == "tex":
            html.append(_maths(text, piece, marks))
        else:
            runs = _runs(text, piece.shown_start, piece.shown_end, marks, kept)
            element = _ELEMENTS.get(piece.kind)
            html.append(f"<{element}>{runs}</{element}>" if element else runs)
    return Markup(together("".join(html)))


def links_of(pieces: Iterable[tuple[str, str | None]], address: str) -> tuple[str, list[Linked]]:
    """Pieces (text, keyword or None) in their order -> the whole text and its links, to `address` + the keyword."""
    from urllib.parse import quote_plus

    text, links = "", []
    for piece, keyword in pieces:
        if keyword:
            links.append(Linked(len(text), len(text) + len(piece), address + quote_plus(keyword)))
        text += piece
    return text, links


def plain(text: str) -> str:
    """The text on one line, for programs and feeds: TeX stays as it is (`plain_tex` writes it in letters)."""
    return " ".join(text.split())


def pieces_of(text: str) -> Iterator[Piece]:
    """The text cut into prose, maths and commands, without a gap."""
    at = 0
    for found in _PIECE.finditer(text):
        piece = _piece(found)
        if piece is None:
            continue
        if found.start() > at:
            yield Piece("text", at, found.start(), at, found.start())
        yield piece
        at = found.end()
    if at < len(text):
        yield Piece("text", at, len(text), at, len(text))


def _piece(found: re.Match[str]) -> Piece | None:
    """What a match stands for; None: prose after all."""
    group = found.lastgroup or ""
    start, end = found.span("inner" if group == "inner" else group)
    if group == "escaped":
        return Piece("text", *found.span(), start, end)
    if group == "inner":
        return Piece(found["command"], *found.span(), start, end)
    if group == "inline" and _is_prose(found["inline"]):
        return None
    return Piece("tex", *found.span(), start, end, display=group in ("shown", "bracket"))


def _is_prose(inner: str) -> bool:
    """Whether what stands between two `$` reads as words and not as a formula."""
    return not re.search(r"[\\^_=<>{}]", inner) and len(_WORDS.findall(inner)) >= 2


def _whole_links(links: Sequence[Linked], pieces: Sequence[Piece]) -> list[Linked]:
    """The links that lie wholly in prose, in order, none over another."""
    kept: list[Linked] = []
    for link in sorted(links, key=lambda one: (one.start, -one.end)):
        inside = any(
            piece.kind != "tex" and piece.shown_start <= link.start < link.end <= piece.shown_end for piece in pieces
        )
        if inside and (not kept or kept[-1].end <= link.start):
            kept.append(link)
    return kept


def _runs(text: str, start: int, end: int, marks: Ranges, links: Sequence[Linked]) -> str:
    """Prose from `start` to `end`: each link once and whole, marks inside and outside of links."""
    html, at = [], start
    for link in links:
        if start <= link.start and link.end <= end:
            html.append(_marked(text, at, link.start, marks))
            inner = _marked(text, link.start, link.end, marks)
            html.append(f'<a class="keyword" href="{escape(link.href)}">{inner}</a>')
            at = link.end
    html.append(_marked(text, at, end, marks))
    return "".join(html)


def _marked(text: str, start: int, end: int, marks: Ranges) -> str:
    html, at = [], start
    for first, last in sorted(marks):
        first, last = max(first, at), min(last, end)
        if first < last:
            html.append(f"{escape(text[at:first])}<mark>{escape(text[first:last])}</mark>")
            at = last
    html.append(escape(text[at:end]))
    return "".join(html)


def _maths(text: str, piece: Piece, marks: Ranges) -> str:
    tex = text[piece.shown_start : piece.shown_end]
    html = mathml(tex, display=piece.display) or f'<code class="tex">{escape(text[piece.start : piece.end])}</code>'
    touched = any(first < piece.end and piece.start < last for first, last in marks)
    return f"<mark>{html}</mark>" if touched else html


@lru_cache(maxsize=4096)
def mathml(tex: str, *, display: bool = False) -> str | None:
    """The formula as MathML with its TeX beside it; None where it is too long, too deep, or does not convert."""
    import nh3

    if len(tex) > LONGEST_TEX or _depth(tex) > DEEPEST_TEX:
        return None
    shown = _converted(tex, "block" if display else "inline")
    if shown is None or _UNCONVERTED.search(shown):
        return None
    inner = spaced(shown[shown.index(">") + 1 : shown.rindex("</math>")])
    how = "block" if display else "inline"
    whole = (
        f'<math display="{how}"><semantics>{inner}<annotation encoding="application/x-tex">{escape(tex)}</annotation>'
        "</semantics></math>"
    )
    clean = nh3.clean(whole, tags=set(MATHML), attributes=MATHML, link_rel=None)
    return clean if f">{escape(tex, quote=False)}</annotation>" in clean else None


def _converted(tex: str, display: str) -> str | None:
    from latex2mathml.converter import convert

    try:
        return str(convert(tex, display=display))
    except Exception:  # the converter has some fifteen errors without a common root, and stumbles in other ways, too
        return None


def _depth(tex: str) -> int:
    """How deep braces and `\\left` stand in each other, at the most."""
    deepest = depth = 0
    for found in re.finditer(r"\\left|\\right|\\begin|\\end|(?<!\\)[{}]", tex):
        depth += 1 if found[0] in ("{", "\\left", "\\begin") else -1
        deepest = max(deepest, depth)
    return deepest
