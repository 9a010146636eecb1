"""What the search for a page's main text would lose, marked before it and written as it should be after it.

    mark_kept(tree);  text = written(trafilatura's Markdown)
    blocks = set_apart(body);  text = put_back(lines of the body, blocks)      # where there was no search

Code      blank lines within `pre`
Lists     numbers that do not begin at one or leave some out, and letters or Roman numerals: "see point (b)" needs them
Asides    notes and boxes within the main part that are prose; those that are links, or stand beside it, are left to go
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

MARK = "\u205c\u2e17"
"""Two signs that nobody sets side by side, and that the search takes for words: it drops what cannot be printed."""

PROSE, LINKED = 60, 1 / 3
"""Characters from which on an aside says something, and the share that links may have."""

LONGEST = 10_000
"""Lists count so far: a number in a page may be any."""

LONGEST_CELL = 500
"""Characters of a table's cell; what is longer is a column of a page."""

_LAID_OUT = ("table", "pre", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6")
_BLOCK = re.compile(rf"{MARK}block(\d{{1,9}}){MARK}")
_BLANK_LINE = re.compile(rf"^[ \t]*{MARK}[ \t]*$", re.MULTILINE)
_LABEL = re.compile(rf"(?:(?<=\n)|^)([ \t]*)(?:\d+\.|-) {MARK}(\w+){MARK} ?|{MARK}(\w+){MARK} ?")
_ITEM = re.compile(rf"{MARK}\w+{MARK}\s*")
_TYPED = re.compile(r"\s*(?:[-*•‣◦–]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)])\s")
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip


def mark_kept(tree: Any) -> None:
    """Put marks into a page, in place."""
    for block in tree.iter("pre"):
        _mark_blank_lines(block)
    for listed in tree.iter("ol"):
        for place, (item, label) in enumerate(_labels(listed), 1):
            if label != str(place):
                item.text = f"{MARK}{label}{MARK} {(item.text or '').lstrip()}"
    for aside in tree.iter("aside"):
        if _is_prose(aside) and next(aside.iterancestors("main", "article"), None) is not None:
            aside.tag = "div"


def written(markdown: str) -> str:
    """The text with what the marks stand for."""
    if MARK not in markdown:
        return markdown
    return _LABEL.sub(_labelled, _BLANK_LINE.sub("", markdown)).replace(MARK, "")


def fences_alone(markdown: str) -> str:
    """Each fence that opens behind the words of an item or a paragraph on a line by itself: it would open no code."""
    lines, inside = list[str](), False
    for line in markdown.split("\n"):
        if inside:
            inside = line.rstrip() != "```"
        elif line.startswith("```"):
            inside = True
        elif line.endswith("```"):
            before, line, inside = line.removesuffix("```").rstrip(), "```", True
            lines += [before] if before.strip() not in ("", "-") else []
        lines.append(line)
    return "\n".join(lines)


def set_apart(body: Any) -> list[str]:
    """Code and tables as Markdown, each with a mark in its place: as lines of text they would lose their columns."""
    blocks: list[str] = []
    for outer in _outermost(body, "pre"):
        for end in outer.iter("br"):
            end.tail = f"\n{end.tail or ''}"
        code = "".join(outer.itertext()).strip("\n").rstrip()
        fence = "`" * max(3, *(len(found) + 1 for found in ("", *re.findall("`{3,}", code))))
        if code.strip():
            _put_mark(outer, f"{fence}\n{code}\n{fence}", blocks)
    for table in list(body.iter("table")):
        if not any(one.tag in _LAID_OUT for one in table.iter() if one is not table) and (rows := _rows(table)):
            _put_mark(table, rows, blocks)
    return blocks


def write_items(body: Any) -> None:
    """Put in front of each item of a list what a browser would, where none was typed: for the lines of a body."""
    for listed in body.iter("ol", "ul"):
        plain = ((item, "-") for item in listed.findall("li"))
        for item, label in plain if listed.tag == "ul" else ((item, f"{one}.") for item, one in _labels(listed)):
            own = (item.text or "").lstrip()
            marked = own.startswith(MARK)
            if marked and not _ITEM.fullmatch(own):
                continue
            item.text = "" if marked else own
            begins = _first_line(item)
            if begins is None:
                item.text = own
            elif not _TYPED.match(begins.text or ""):
                begins.text = f"{own.rstrip() if marked else label} {(begins.text or '').lstrip()}"


def _first_line(item: Any) -> Any | None:
    """The element with the first line of an item; None: it is a block of its own (a heading, code), or says nothing."""
    while not (item.text or "").strip():
        first = item[0] if len(item) else None
        if first is None or first.tag in (*_LAID_OUT, "blockquote"):
            return None
        if first.tag not in ("p", "div"):
            return item if "".join(first.itertext()).strip() or (first.tail or "").strip() else None
        item = first
    return None if _BLOCK.match(item.text.lstrip()) else item


def put_back(text: str, blocks: list[str]) -> str:
    """The text with the blocks where their marks are, each once: a page may spell a mark."""
    left = dict(enumerate(blocks))
    return _BLOCK.sub(lambda found: left.pop(int(found[1]), ""), text)


def _put_mark(element: Any, block: str, blocks: list[str]) -> None:
    for one in list(element):
        element.remove(one)
    element.text = f"{MARK}block{len(blocks)}{MARK}"
    blocks.append(block)


def _outermost(body: Any, tag: str) -> list[Any]:
    from lxml import etree

    found = []
    walk = etree.iterwalk(body, events=("start",), tag=tag)
    for _, element in walk:
        found.append(element)
        walk.skip_subtree()
    return found


def _rows(table: Any) -> str:
    """A table below its caption; "" where it has one row or column, or long texts, and is but a page's layout."""
    for one in table.iter("p", "div", "br"):
        one.tail = f" {one.tail or ''}"
    rows = [
        [" ".join("".join(cell.itertext()).split()).replace("|", "\\|") for cell in row if cell.tag in ("td", "th")]
        for row in table.iter("tr")
    ]
    rows = [cells for cells in rows if any(cells)]
    if len(rows) < 2 or max(map(len, rows)) < 2 or any(len(cell) > LONGEST_CELL for cells in rows for cell in cells):
        return ""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    caption = " ".join("".join(one for own in table.iter("caption") for one in own.itertext()).split())
    above = [caption, ""] if caption else []
    return "\n".join([*above, lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def _labelled(match: re.Match[str]) -> str:
    indent, label, alone = match.groups()
    return f"{alone}. " if alone else f"{indent}{label}. "


def _mark_blank_lines(block: Any) -> None:
    """The pieces of text of a block in their order: a line may begin in one and end in another."""
    empty = False  # whether the line so far has nothing in it; a block's first line is no blank one
    for element, part in _texts(block):
        lines = (getattr(element, part) or "").split("\n")
        for n, line in enumerate(lines):
            if n + 1 < len(lines) and empty and not line.strip():
                lines[n] = MARK
            empty = not line.strip() if n else empty and not line.strip()
            empty = empty or n + 1 < len(lines)
        if len(lines) > 1:
            setattr(element, part, "\n".join(lines))


def _texts(block: Any) -> Iterator[tuple[Any, str]]:
    from lxml import etree

    for event, element in etree.iterwalk(block, events=("start", "end")):
        if event == "start":
            yield element, "text"
        elif element is not block:
            yield element, "tail"


def _labels(listed: Any) -> Iterator[tuple[Any, str]]:
    """The items of a list, each with what a browser would write in front of it."""
    items = listed.findall("li")
    step = -1 if "reversed" in listed.attrib else 1
    number, kind = _number(listed.get("start"), len(items) if step < 0 else 1), listed.get("type", "1")
    for item in items:
        number = _number(item.get("value"), number)
        yield item, label_of(number, item.get("type", kind))
        number += step


def _number(stated: str | None, otherwise: int) -> int:
    with suppress(ValueError):
        return max(-LONGEST, min(int(stated or ""), LONGEST))
    return otherwise


def label_of(number: int, kind: str) -> str:
    """A number as lists of HTML write it: kind 1, a, A, i or I; what letters cannot say stays a number."""
    if number > 0 and kind in "aA":
        label = ""
        while number:
            number, rest = divmod(number - 1, 26)
            label = chr(ord("a") + rest) + label
        return label.upper() if kind == "A" else label
    if number > 0 and kind in "iI":
        label = ""
        for value, sign in _ROMAN:
            label += sign * (number // value)
            number %= value
        return label.upper() if kind == "I" else label
    return str(number)


def _is_prose(aside: Any) -> bool:
    words = " ".join(aside.text_content().split())
    linked = sum(len(" ".join(link.text_content().split())) for link in aside.iter("a"))
    return len(words) >= PROSE and linked <= LINKED * len(words) and re.search(r"\w[.!?。](\s|$)", words) is not None
