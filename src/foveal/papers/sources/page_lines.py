"""A saved page as the lines that a browser would show, from HTML or plain text, for pasted.py to read.

    lines_of_html(content, name)      # what is drawn, a line for each block; links to papers are kept beside the line
    lines_of_text(text)               # trimmed; Markdown's marks taken off; a page wrapped at a width is unwrapped

Both give `Line(text, paper, gap)`: `paper` is the id that a link on the line leads to, `gap` whether a blank line or
another block stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from foveal.errors import InputError, UnreadableSource
from foveal.papers.records import paper_id
from foveal.text.dates import aware
from foveal.text.html import decode_html
from foveal.text.plain import storable

WRAPPED = 100
"""Where no line is longer, a page with abstracts was wrapped at a width."""

FEWEST = 5
"""Lines that go on in the next one, to say so of a page."""

_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "button", "center", "dd", "details", "div", "dl", "dt"),
        *(
            "fieldset",
            "figcaption",
            "figure",
            "footer",
            "form",
            "header",
            "hr",
            "html",
            "label",
            "legend",
            "li",
            "main",
        ),
        *("nav", "ol", "option", "p", "pre", "section", "select", "summary", "table", "tbody", "td", "tfoot", "th"),
        *("thead", "tr", "ul", "h1", "h2", "h3", "h4", "h5", "h6"),
    )
)
_UNSEEN = frozenset(
    (
        *("head", "script", "style", "noscript", "template", "svg", "title", "iframe", "object", "audio", "video"),
        *("input", "textarea"),
    )
)
_PAPER = re.compile(r"(?:/papers|arxiv\.org/(?:abs|pdf|html))/([^?#\s]+)")
_BLANKS = re.compile(r"[\s\u00a0\u200b\u200c\u200d\u2060\ufeff]+")
_BULLET_ONLY = re.compile(r"[*•+|]+|\+\d+")  # empty items of a list, "+106" more faces
_MARK = re.compile(r"^(?:#{1,6}|[-*•])\s+")  # of a heading, or of an item of a list
_BOLD = re.compile(r"^\*\*(.+)\*\*$")
_MARKDOWN_LINK = re.compile(r"\[([^\[\]]*)\]\((\S[^\s)]*+)(\))?")  # one that nothing closes is passed over at once
_STANDS_ALONE = re.compile(r"\d[\d,.]*k?|[-·]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Line:
    """A line as a person sees it, never empty."""

    text: str
    paper: str = ""  # id of the paper that a link on it leads to
    gap: bool = False  # something is left free before it


def lines_of_text(text: str) -> list[Line]:
    """The lines of a text that was copied from a browser, or saved as text."""
    lines: list[Line] = []
    gap = True
    for raw in text.splitlines():
        shown, paper = _unmarked(_BLANKS.sub(" ", storable(raw)).strip())
        if not shown or _BULLET_ONLY.fullmatch(shown):
            gap = True
            continue
        lines.append(Line(shown, paper, gap))
        gap = False
    return _unwrapped(lines) if _is_wrapped(lines) else lines


def lines_of_html(content: bytes, name: str) -> list[Line]:
    """The lines of a page. UnreadableSource: it is no HTML that can be read."""
    tree = tree_of(content, name)
    drawn = _Drawn()
    drawn.walk(tree)
    drawn.end()
    return drawn.lines


def tree_of(content: bytes, name: str) -> Any:
    """A page's elements."""
    from lxml import etree, html

    source = re.sub(r"^\s*<\?xml[^>]*\?>", "", storable(decode_html(content, name=name)))
    try:
        return html.document_fromstring(source.encode(), parser=html.HTMLParser(encoding="utf-8", huge_tree=True))
    except (etree.ParserError, ValueError) as error:
        raise UnreadableSource(f"{name} is no HTML that can be read: {error}. Save the page anew.") from error


@dataclass
class _Drawn:
    """The lines so far, the words of the line that is being drawn, the papers it leads to, and the links around it."""

    lines: list[Line] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    papers: list[str] = field(default_factory=list)
    around: list[str] = field(default_factory=list)
    opened: list[tuple[bool, str, int]] = field(default_factory=list)
    """Of each element that is being drawn: whether it is a block, what stands at its ends, how many papers it adds."""

    def walk(self, root: Any) -> None:
        """Draw an element and what is in it, without recursion: a page nests as deep as it likes."""
        from lxml import etree

        steps = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
        for event, element in steps:
            if event == "start":
                if not self._open(element):
                    steps.skip_subtree()
                continue
            if event == "end":
                self._close()
            if element is not root:
                self.words.append(element.tail or "")

    def _open(self, element: Any) -> bool:
        """Begin an element; whether what is in it is drawn, too."""
        name = element.tag
        seen = name not in _UNSEEN and not _is_hidden(element)
        block, ends, papers = seen and name in _BLOCKS, "", list[str]()
        if block or (seen and name == "br"):
            self.end()
        day = aware(element.get("datetime")) if seen and name == "time" else None
        if day:
            self.words.append(f" {_MONTHS[day.month - 1]} {day.day}, {day.year} ")
        inside = seen and name != "br" and not day
        if inside:
            target = str(element.get("href") or "") if name == "a" else ""
            ends = " " if target.endswith("#community") else ""  # the number of remarks would stick to the date
            papers = [paper_in(target)] if paper_in(target) else []
            self.papers += papers
            self.around += papers
            self.words += [ends, element.text or ""]
        self.opened.append((block, ends, len(papers)))
        return inside

    def _close(self) -> None:
        block, ends, papers = self.opened.pop()
        self.words.append(ends)
        del self.around[len(self.around) - papers :]
        if block:
            self.end()

    def end(self) -> None:
        """The line is full."""
        text = _BLANKS.sub(" ", "".join(self.words)).strip()
        if text:
            self.lines.append(Line(text, next(iter([*self.papers, *self.around]), ""), gap=True))
        self.words, self.papers = [], []


def _is_hidden(element: Any) -> bool:
    style = (element.get("style") or "").replace(" ", "").lower()
    return (
        element.get("hidden") is not None
        or "display:none" in style
        or "sr-only" in (element.get("class") or "").split()
    )


def paper_in(address: str) -> str:
    """The id of the paper whose page a link leads to, "" for other links."""
    found = _PAPER.search(address)
    if not found:
        return ""
    try:
        return paper_id(found[1].removesuffix(".pdf"))
    except InputError:  # /papers/trending, /papers/date/…
        return ""


def _unmarked(text: str) -> tuple[str, str]:
    """A line without Markdown's heading and link marks, and the paper that it links to."""
    text = _BOLD.sub(r"\1", _MARK.sub("", text, count=1))
    papers = [paper for _, target, closed in _MARKDOWN_LINK.findall(text) if closed and (paper := paper_in(target))]
    return (
        (_MARKDOWN_LINK.sub(lambda found: found[1 if found[3] else 0], text).strip(), papers[0])
        if papers
        else (text, "")
    )


def _is_wrapped(lines: Sequence[Line]) -> bool:
    """Whether no line is long, and lines that go on in the next one are nearly as long as the longest."""
    longest = max((len(line.text) for line in lines), default=0)
    going_on = [len(line.text) for line, following in pairwise(lines) if not following.gap]
    full = sum(length >= 0.6 * longest for length in going_on)
    return longest <= WRAPPED and len(going_on) >= FEWEST and full >= 0.8 * len(going_on)


def _unwrapped(lines: Sequence[Line]) -> list[Line]:
    """Each paragraph as one line; numbers and dots that stand alone stay alone."""
    return [Line(" ".join(one.text for one in held), _first(held), held[0].gap) for held in _paragraphs(lines)]


def _paragraphs(lines: Sequence[Line]) -> Iterator[list[Line]]:
    held: list[Line] = []
    for line in lines:
        alone = _STANDS_ALONE.fullmatch(line.text) or (held and _STANDS_ALONE.fullmatch(held[-1].text))
        if held and (line.gap or alone):
            yield held
            held = []
        held.append(line)
    if held:
        yield held


def _first(lines: Sequence[Line]) -> str:
    return next((line.paper for line in lines if line.paper), "")
