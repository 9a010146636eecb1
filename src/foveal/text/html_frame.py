"""What the search for a page's main text needs to be told, so that it keeps headings, lists, code and words.

    tell(tree)              # before trafilatura's extraction, in place
    framed(tree) or tree    # what to extract from

Frame     a page without a part that bears a usual name (article, main, content, …), as manuals, standards and books
          mostly have none, is searched for bare paragraphs: its headings and lists are lost. There the body is the
          article, and words that stand bare in a box are a paragraph
Bare      in a part that does bear such a name, a sentence that stands bare in a box beside paragraphs would be lost
          behind a box or code, and with a link or emphasis in it: it is a paragraph, too. Labels, bylines and rows of
          links are none
Code      `pre` that reads as code is code, whatever is in it; in other `pre` a line that begins with "#" is no heading.
          Code within code, and links within it, are one piece: the words behind them would be lost. What holds
          headings was never closed, and stays as it is. Numbers of lines, in a column beside them, and buttons go
Indented  a `blockquote` around a table, a list or code is no quotation: it would be one paragraph
Anchors   an `a` that leads nowhere is no link, and a heading that holds one is no menu
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from foveal.text.code_blocks import no_heading, reads_as_code

LEAST = 250
"""Characters of a part below which the search passes over it (trafilatura's own measure)."""

_CODE = ("code", "kbd", "samp", "tt", "var")
_LAID_OUT = ("table", "pre", "ul", "ol", "dl")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BOXES = ("body", "article", "section", "main", "div", "center")
_NO_WORDS = ("button", "script", "style", "noscript", "template", "svg")
_LINES = ("br", "div", "p", "li", "tr")
_IN_LINE = frozenset((
    *("a", "abbr", "acronym", "bdi", "bdo", "big", "br", "cite", "data", "del", "dfn", "font", "img", "ins", "label"),
    *("mark", "math", "nobr", "q", "s", "small", "span", "strike", "time", "wbr", *_CODE),
))  # fmt: skip
_LETTER = re.compile(r"[^\W_]")
_ENDED = re.compile(r"[.!?…。！？][\"'”’»)\]]*$")
_WORDS = re.compile(r"\w+")
_ASIDE = ("nav", "aside", "footer", "form", "menu", "dialog")
_SHORT, _LONG = 4, 80  # words of the least sentence; characters from which on what has no end is no label either
_IDEOGRAMS = 10  # letters of the least sentence in a script without blanks


def tell(tree: Any) -> None:
    """Make plain what is code, what is a link, and what is a quotation."""
    for anchor in list(tree.iter("a")):
        if anchor.get("href") is None:
            anchor.drop_tag()
    for row in list(tree.iter("tr")):
        _drop_line_numbers(row)
    for block in list(tree.iter("pre")):
        _make_code(block)
    for code in list(tree.iter(*_CODE)):
        if not len(code) or next(code.iterancestors("pre", *_CODE), None) is not None:
            continue
        if next(code.iter("p", *_LAID_OUT, *_HEADINGS), None) is None:
            _flatten(code)
        else:  # it was never closed, or is the looks of a part
            code.tag = "font"
    for quotation in tree.iter("blockquote"):
        if next(quotation.iter(*_LAID_OUT), None) is not None:
            quotation.tag = "div"
    _keep_bare_sentences(tree)


def framed(tree: Any) -> Any | None:
    """A copy of a page whose body is its article; None where the extraction would find a part by its name."""
    if tree.find("body") is None or _frame(tree) is not None:
        return None
    copy = deepcopy(tree)
    body = copy.find("body")
    article = body.makeelement("article")
    article.text, body.text = body.text, None
    article.extend(list(body))
    body.append(article)
    for box in list(body.iter(*_BOXES)):
        _make_paragraphs(box, lambda text, run, _: _says(text, run))
    return copy


def _keep_bare_sentences(tree: Any) -> None:
    """Put sentences that stand bare beside paragraphs into such, in the part that the search finds by its name."""
    part = _frame(tree)
    for box in list(part.iter(*_BOXES)) if part is not None else ():
        beside = any(_LETTER.search(child.text_content()) for child in box.iterchildren("p"))
        if beside and next(box.iterancestors(*_ASIDE), None) is None:
            _make_paragraphs(box, _is_sentence)


def _make_paragraphs(box: Any, is_one: Callable[[str | None, list[Any], Any], bool]) -> None:
    """Put what stands bare in a box, line by line, into paragraphs: beside others the search passes over it."""
    run, before, text = list[Any](), None, box.text
    for child in [*box, None]:
        if child is not None and child.tag in _IN_LINE and _is_in_line(child):
            run.append(child)
            continue
        if is_one(text, run, child):
            paragraph = box.makeelement("p")
            paragraph.text = text
            if before is None:
                box.text = None
                box.insert(0, paragraph)
            else:
                before.tail = None
                before.addnext(paragraph)
            paragraph.extend(run)
        run, before, text = [], child, child.tail if child is not None else None


def _is_sentence(text: str | None, run: list[Any], following: Any) -> bool:
    """Whether bare text is a sentence, or so long that it is no label, or leads to the list or code that follows."""
    words = " ".join([text or "", *("".join(one.itertext()) + (one.tail or "") for one in run)]).split()
    said = " ".join(words)
    if not _says(text, run) or (len(_WORDS.findall(said)) < _SHORT and not _is_ideographic(said)):
        return False
    leads = said.endswith((":", "：")) and following is not None and following.tag in (*_LAID_OUT, "blockquote")
    return bool(_ENDED.search(said)) or len(said) >= _LONG or (leads and not _is_of_links(following))


def _is_ideographic(said: str) -> bool:
    return len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]", said)) >= _IDEOGRAMS


def _is_of_links(element: Any) -> bool:
    """Whether most of what an element says leads elsewhere."""
    linked = sum(len("".join(link.itertext()).strip()) for link in element.iter("a"))
    return 2 * linked >= len("".join(element.itertext()).strip())


def _says(text: str | None, run: list[Any]) -> bool:
    """Whether bare text, and what stands in line behind it, has words besides code, and more than its links have."""
    pieces = [text or ""]
    for one in run:
        pieces += ["" if one.tag in _CODE else "".join(one.itertext(with_tail=False)), one.tail or ""]
    plain = "".join(pieces)
    linked = sum(len("".join(link.itertext())) for one in run for link in one.iter("a"))
    return bool(_LETTER.search(plain)) and 2 * linked < len(plain.strip())


def _is_in_line(element: Any) -> bool:
    return all(one.tag in _IN_LINE for one in element.iter())


def _drop_line_numbers(row: Any) -> None:
    """Put code in the place of a table of one row that only has numbers beside it."""
    cells, table = list(row), next(row.iterancestors("table"), None)
    if len(cells) != 2 or table is None or next(cells[0].iter("pre"), None) is None:
        return
    codes = list(cells[1].iter("pre"))
    alone = len(codes) == 1 and len(list(table.iter("tr"))) == 1
    if alone and "".join(cells[0].itertext()).replace("\n", "").replace(" ", "").isdecimal():
        codes[0].tail = None
        table.addprevious(codes[0])
        table.drop_tree()


def _make_code(block: Any) -> None:
    if next(block.iter(*_HEADINGS), None) is not None or next(block.iterancestors("td", "th"), None) is not None:
        return  # in a cell it would be a line of marks
    for one in list(block.iter(*_NO_WORDS)):
        one.drop_tree()
    alone = len(block) == 1 and not (block.text or "").strip() and not (block[0].tail or "").strip()
    if alone and block[0].tag == "code":  # it is taken for code as it is, with its language
        return
    _flatten(block)
    if reads_as_code((block.text or "").strip("\n").split("\n")):
        within = block.makeelement("span")  # by a single one the extraction knows code
        within.text, block.text = block.text, None
        block.append(within)
    else:
        block.text = no_heading(block.text or "")


def _flatten(element: Any) -> None:
    """Make one text of what is within, with the lines as a browser sets them."""
    for line in reversed(list(element.iterdescendants(*_LINES))):
        last = (line[-1].tail if len(line) else line.text) or ""
        if line.tag == "br" or not (last.endswith("\n") or (line.tail or "").startswith("\n")):
            line.tail = f"\n{line.tail or ''}"
    words = "".join(element.itertext())
    for one in list(element):
        element.remove(one)
    element.text = words


def _frame(tree: Any) -> Any | None:
    """The part that the search will find by its name; None: there is none that says enough."""
    from trafilatura.xpaths import BODY_XPATH

    parts = (found[0] for named in BODY_XPATH if (found := named(tree)))
    return next((part for part in parts if len(part.text_content()) >= LEAST), None)
