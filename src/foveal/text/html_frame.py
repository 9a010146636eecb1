"""What the search for a page's main text needs to be told, so that it keeps headings, lists, code and words.

    tell(tree)              # before trafilatura's extraction, in place
    framed(tree) or tree    # what to extract from

Frame     a page without a part that bears a usual name (article, main, content, …), as manuals, standards and books
          mostly have none, is searched for bare paragraphs: its headings and lists are lost. There the body is the
          article
Code      `pre` that reads as code is code, whatever is in it; in other `pre` a line that begins with "#" is no heading.
          Code within code, and links within it, are one piece: the words behind them would be lost
Indented  a `blockquote` around a table, a list or code is no quotation: it would be one paragraph
Anchors   an `a` that leads nowhere is no link, and a heading that holds one is no menu
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from foveal.text.code_blocks import no_heading, reads_as_code

LEAST = 250
"""Characters of a part below which the search passes over it (trafilatura's own measure)."""

_CODE = ("code", "kbd", "samp", "tt", "var")
_LAID_OUT = ("table", "pre", "ul", "ol", "dl")


def tell(tree: Any) -> None:
    """Make plain what is code, what is a link, and what is a quotation."""
    for anchor in list(tree.iter("a")):
        if anchor.get("href") is None:
            anchor.drop_tag()
    for block in list(tree.iter("pre")):
        _make_code(block)
    for code in list(tree.iter(*_CODE)):
        if len(code) and next(code.iterancestors("pre"), None) is None:
            _flatten(code)
    for quotation in tree.iter("blockquote"):
        if next(quotation.iter(*_LAID_OUT), None) is not None:
            quotation.tag = "div"


def framed(tree: Any) -> Any | None:
    """A copy of a page whose body is its article; None where the extraction would find a part by its name."""
    if tree.find("body") is None or _has_frame(tree):
        return None
    copy = deepcopy(tree)
    body = copy.find("body")
    article = body.makeelement("article")
    article.text, body.text = body.text, None
    article.extend(list(body))
    body.append(article)
    return copy


def _make_code(block: Any) -> None:
    alone = len(block) == 1 and not (block.text or "").strip() and not (block[0].tail or "").strip()
    if alone and block[0].tag == "code":  # it is taken for code as it is, with its language
        return
    for end in block.iter("br"):
        end.tail = f"\n{end.tail or ''}"
    _flatten(block)
    if reads_as_code((block.text or "").strip("\n").split("\n")):
        within = block.makeelement("span")  # by a single one the extraction knows code
        within.text, block.text = block.text, None
        block.append(within)
    else:
        block.text = no_heading(block.text or "")


def _flatten(element: Any) -> None:
    words = "".join(element.itertext())
    for one in list(element):
        element.remove(one)
    element.text = words


def _has_frame(tree: Any) -> bool:
    from trafilatura.xpaths import BODY_XPATH

    return any(len(found[0].text_content()) >= LEAST for named in BODY_XPATH if (found := named(tree)))
