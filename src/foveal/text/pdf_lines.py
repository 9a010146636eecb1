"""The lines of a PDF's pages, put together so that they read: hyphens mended, page numbers gone, paragraphs apart.

Lines that run along tops or feet of pages (title, chapter, address, "page 3 of 90") stay where they stand first, unless
the same was said before (on the cover, by a heading), and where their number is another one ("Invoice 4711"), but for
the page's own. Dots that lead to a page's number become one mark.

A PDF knows characters at places, not paragraphs. Line breaks stay as they are printed; a blank line is put where a
paragraph ends (a short line that ends a sentence) and around headings (a numbered or well-known title alone on its
line). A word that a hyphen cut, also over a page's end, is joined as the rest of the document writes it
(`pdf_hyphens.py`).

Marks     pdfium writes U+FFFE (older: U+0002) for a hyphen at a line's end, and drops the line break
Pages     offset of each page's first character in the joined text, also where a sentence runs on over the break
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from foveal.text.pdf_blocks import Block, fenced, is_mark
from foveal.text.pdf_hyphens import CONTROLS, FULL, Vocabulary, cut_marked, mended, mended_cell, mended_over_pages
from foveal.text.unspaced import ends_paragraph, goes_on, usual_width

SHORT = 0.85  # of the usual line length: below it, a line that ends a sentence ends its paragraph
LONGEST_HEADING = 10  # words
EDGE, RUNNING, LONGEST_RUNNING = 2, 4, 120  # outer lines of a page; pages in a row; characters
COUNTED = 3  # pages whose number is as far from the page's own: then it is one of them

_BLANK_END = re.compile(r"(?<![ \t])[ \t]++\n")  # here and below, a run is read once, not from each of its characters
_LEADING_POINT = re.compile(r"\n(?=[,.;:)\]](?:\s|$))")
_NUMBERED = re.compile(
    r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.?|[A-H]\.\d+(?:\.\d+)*\.?|Appendix [A-H]:?) +[A-Z][^.!?;…]{2,80}"
)
_STAMP = re.compile(r"^arXiv:\S+v\d+ +\[[\w.-]+\] +\d+ \w+ \d{4}\n?", re.MULTILINE)
_KNOWN = re.compile(
    r"(?:abstract|(?:\d\.? )?introduction|related work|background|methods?|results|discussion|conclusions?|limitations"
    r"|acknowledge?ments?|references|bibliography|appendix(?: [a-h])?|summary"
    r"|contents|table of contents|supplementary material)",
    re.IGNORECASE,
)
_MARKED = re.compile(r"#{1,6} ")  # as `pdf_headings.py` does it
_LEADERS = re.compile(r"(?:[ \t]?[.·…]){6,}[ \t]*+")
_HYPHEN_AND_NUMBER = re.compile(r"\ufffe(?=\d{1,4}\Z)")  # pdfium goes on with the page's number
_PAGE_NUMBER = re.compile(r"[-–—|\[ ]*(\d{1,4})(?: ?/ ?(\d{1,4}))?[-–—|\]\ufffe ]*")
_ROMAN = re.compile(r"(?=.)(?:x{0,3})(?:ix|iv|v?i{0,3})|(?=.)(?:X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10}
_EDGE_NUMBER = re.compile(r"^\W*\d{1,4}(?!\S)|(?<!\S)\d{1,4}\W*$")
_CHAPTER = re.compile(r"^\W*(?:chapter|section|part|book|appendix|kapitel|abschnitt|teil)\W+\w+\W+", re.IGNORECASE)
_CAPTION = re.compile(r"(?:figure|fig\.|table|tab\.|algorithm|listing) ?\d", re.IGNORECASE)
_SENTENCE_END = re.compile(
    r"[.!?:。！？：][\"'”’)\]」』）]*(?: ?[\d⁰¹²³⁴-⁹]{1,3}(?:[,–⁻-][\d⁰¹²³⁴-⁹]{1,3})*)?$"
)  # and marks of notes


def joined(pages: Sequence[str], blocks: Sequence[Block] = ()) -> tuple[str, tuple[int, ...]]:
    """The pages as one text, and the offset at which each begins; `blocks` are those that marks stand for."""
    marked = [_marked(page) for page in pages]
    vocabulary = Vocabulary.of(marked)
    lines = [mended(page, vocabulary).strip("\n").split("\n") for page in marked]
    paging = _paging(lines)
    lines = _without_page_numbers(lines, paging)
    lines = _without_page_numbers(_without_running_lines(lines), paging)  # some stand behind the head
    lines = [[line.replace("\ufffe", "-") for line in page] for page in mended_over_pages(lines, vocabulary)]
    width, unspaced = _usual_width(lines), usual_width(line for page in lines for line in page)
    parts, offsets, length = list[str](), list[int](), 0
    mend = partial(mended_cell, vocabulary=vocabulary)
    spaced, within = fenced([_spaced(page, width, unspaced) for page in lines], blocks, mend)
    for number, page in enumerate(spaced):
        if page and parts:
            parts.append(_between(parts[-1], page, width, unspaced, within=number in within))
            length += len(parts[-1])
        offsets.append(length)
        if page:
            parts.append(page)
            length += len(page)
    return "".join(parts), _with_empty_pages(offsets, [bool(page) for page in spaced], length)


def _between(text: str, page: str, width: float, unspaced: float, *, within: bool) -> str:
    """What stands between two pages; `within`: a block goes on over the page's end."""
    if not within and goes_on(text.rpartition("\n")[2], page, unspaced) and not _SENTENCE_END.search(text[-20:]):
        return ""
    return "\n" if within or _runs_on(text, page, width) else "\n\n"


def _with_empty_pages(offsets: Sequence[int], filled: Sequence[bool], length: int) -> tuple[int, ...]:
    """The offsets, where a page without text begins where the next one with text does, or at the end."""
    moved = list(offsets)
    for n in reversed(range(len(moved))):
        if not filled[n]:
            moved[n] = moved[n + 1] if n + 1 < len(moved) else length
    return tuple(moved)


def _marked(page: str) -> str:
    """Plain newlines, no control characters, and one mark for a hyphen at a line's end."""
    page = page.replace("\r\n", "\n").replace("\r", "\n").replace("\x02", "\ufffe")
    page = _STAMP.sub("", CONTROLS.sub("", page).replace(FULL, ""))
    page = _HYPHEN_AND_NUMBER.sub("\ufffe\n", _LEADERS.sub(" … ", page.rstrip()))
    return cut_marked(_LEADING_POINT.sub("", _BLANK_END.sub("\n", page)))


def _paging(pages: Sequence[Sequence[str]]) -> int | None:
    """How far the numbers in heads and feet ("12 Eyes", "Light 13") are from the pages' own; None: nothing counts.

    A chapter's first page often has its number alone at the foot, and is too rare to be known for one by itself.
    """
    steps = Counter[int]()
    for n, page in enumerate(pages):
        found = (one for line in {page[0], page[-1]} for one in _EDGE_NUMBER.findall(line))
        steps.update({int("".join(filter(str.isdigit, one))) - n for one in found})
    shift = max(steps, key=steps.__getitem__, default=0)
    return shift if steps[shift] >= max(COUNTED, len(pages) // 3) else None


def _without_page_numbers(pages: list[list[str]], paging: int | None = None) -> list[list[str]]:
    """Drop a first or last line that is a number which counts along with the pages, or is as far from them as `paging`
    says."""
    for edge in (0, -1):
        for number_of, least, told in ((_arabic, max(2, len(pages) // 3), paging), (_roman, COUNTED, None)):
            found = {n: number_of(page[edge].strip()) for n, page in enumerate(pages)}
            numbers = {n: value for n, value in found.items() if value is not None}
            steps = Counter(value - n for n, value in numbers.items())
            shift = max(steps, key=steps.__getitem__, default=0)
            shifts = {shift, told} if steps[shift] >= least else {told}
            counted = {n for n, value in numbers.items() if value - n in shifts}
            pages = [_trimmed(page, edge) if n in counted else page for n, page in enumerate(pages)]
    return pages


def _arabic(line: str) -> int | None:
    """The number that a line is: "3", "- 3 -", "3 / 90"; "2019/20" are years."""
    found = _PAGE_NUMBER.fullmatch(line)
    return int(found[1]) if found and int(found[1]) <= int(found[2] or found[1]) else None


def _roman(line: str) -> int | None:
    """The same of "iv", as pages before a book's first are called."""
    if not _ROMAN.fullmatch(line):
        return None
    values = [_ROMAN_DIGITS[one] for one in line.lower()]
    return sum(-one if one < after else one for one, after in pairwise([*values, 0]))


def _without_running_lines(pages: list[list[str]]) -> list[list[str]]:
    """Drop the outer lines that stand there on the pages before, too, or repeat a heading; numbers may count along with
    the pages."""
    headings = _first_said(pages, lambda line: _said(line) if _MARKED.match(line) else ())
    for edge in (0, -1) * EDGE:
        found: dict[str, list[int]] = defaultdict(list)
        dropped = set[int]()
        for number, page in enumerate(pages):
            line = re.sub(r"\d+", "#", page[edge]).strip()
            if _may_run(page[edge], line):
                found[line].append(number)
                if any(headings.get(said, len(pages)) <= number for said in _said(page[edge])):
                    dropped.add(number)
        rows = [row for at in found.values() for row in _rows(at)]
        for row in rows:
            dropped.update(_said_before([pages[n][edge] for n in row], row))
        dropped.update(_repeated(pages, edge, rows))
        pages = [_trimmed(page, edge) if number in dropped else page for number, page in enumerate(pages)]
    return pages


def _may_run(line: str, shape: str) -> bool:
    """Whether an outer line may be one that runs along: no heading, and no end of a sentence, as of a note."""
    if not re.search(r"[^\W\d_]", shape) or len(shape) > LONGEST_RUNNING or _MARKED.match(line):
        return False
    if _CAPTION.match(line):  # of another table, though it be called as the one before
        return False
    return not (shape[0].islower() and shape[-1] in ".!?")


def _repeated(pages: Sequence[Sequence[str]], edge: int, rows: Sequence[Sequence[int]]) -> Iterator[int]:
    """The first page of each row whose line stands on an earlier page, too, as on the cover."""
    heads = {row[0]: _whole(re.sub(r"\d+", "", pages[row[0]][edge])) for row in rows if _counts(pages, edge, row)}
    heads |= {row[0]: _whole(pages[row[0]][edge]) for row in rows if row[0] not in heads}
    wanted = {*heads.values()}
    first = _first_said(pages, lambda line: {_whole(line)} & wanted) if wanted else {}
    return (number for number, said in heads.items() if first.get(said, number) < number)


def _counts(pages: Sequence[Sequence[str]], edge: int, row: Sequence[int]) -> bool:
    """Whether the numbers in the line of a row are the page's own."""
    one, other = (re.findall(r"\d+", pages[number][edge]) for number in row[:2])
    return bool(one) and all(map(str.__ne__, one, other))


def _first_said(pages: Sequence[Sequence[str]], says: Callable[[str], Iterable[str]]) -> dict[str, int]:
    """What the lines say, and the first page on which they do."""
    found = dict[str, int]()
    for number, page in enumerate(pages):
        for line in page:
            for said in says(line) if len(line) <= LONGEST_RUNNING else ():
                found.setdefault(said, number)
    return found


def _said(line: str) -> set[str]:
    """What a heading, or a head that repeats it, says: without the page's number, also without the chapter's."""
    named = _EDGE_NUMBER.sub("", line.lstrip("# "))
    return {said for said in (_whole(named), _whole(_CHAPTER.sub("", named))) if len(said) > 3}


def _whole(line: str) -> str:
    return "".join(filter(str.isalnum, line.casefold()))


def _rows(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """The pages of each run of at least `RUNNING`, side by side or every other one."""
    starts = [0, *(n for n, (a, b) in enumerate(pairwise(numbers), 1) if b - a > 2), len(numbers)]
    for start, end in pairwise(starts):
        if end - start >= RUNNING:
            yield numbers[start:end]


def _said_before(lines: Sequence[str], pages: Sequence[int]) -> Iterator[int]:
    """The pages whose line is that of the page before: its numbers are, too, or count along as page numbers do."""
    found = [tuple(map(int, re.findall(r"\d+", line))) for line in lines]
    shifts = Counter(
        (at, value - page) for page, values in zip(pages, found, strict=True) for at, value in enumerate(values)
    )
    for before, values, page in zip(found, found[1:], pages[1:], strict=False):
        if all(
            value == old or shifts[at, value - page] >= COUNTED
            for at, (old, value) in enumerate(zip(before, values, strict=True))
        ):
            yield page


def _trimmed(page: list[str], edge: int) -> list[str]:
    return (page[1:] if edge == 0 else page[:-1]) or [""]


def _usual_width(pages: Sequence[Sequence[str]]) -> float:
    lengths = sorted(len(line) for page in pages for line in page if len(line) > 20)
    return float(lengths[len(lengths) * 3 // 4]) if lengths else 0.0


def _spaced(lines: Sequence[str], width: float, unspaced: float) -> str:
    """The lines with a blank one at each end of a paragraph, and around headings; those that no blank parts are one."""
    parts = list(lines[:1])
    for n, (before, line) in enumerate(pairwise(lines)):
        after = "".join(lines[n + 2 : n + 3])
        alone = n == 0 or parts[-2:-1] == [""]
        if (
            is_mark(before)
            or is_mark(line)
            or is_heading(before)
            or (alone and _stands_out(before, line, width))
            or (is_heading(line) and _ended(before, width))
            or (_stands_out(line, after, width) and _SENTENCE_END.search(before))
            or _ends_paragraph(before, line, width)
            or ends_paragraph(before, line, unspaced)
        ):
            parts += "", line
        elif goes_on(before, line, unspaced) and not _MARKED.match(before):
            parts[-1] += line
        else:
            parts.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).replace(FULL, "").strip()


def _stands_out(line: str, after: str, width: float) -> bool:
    """A short line of few words in front of a full one: a heading without number."""
    few = len(line.split()) <= 6 and len(line) < 0.5 * width and line[:1].isupper() and line[-1:].isalpha()
    return few and after[:1].isupper() and len(after) >= SHORT * width


def _ended(line: str, width: float) -> bool:
    return bool(_SENTENCE_END.search(line)) or len(line) < SHORT * width


def is_heading(line: str) -> bool:
    """Whether a line, alone, looks like the title of a section."""
    line = line.strip()
    if len(line.split()) > LONGEST_HEADING or line.endswith((",", ";", ":", "-")):
        return False
    return bool(_NUMBERED.fullmatch(line) or _KNOWN.fullmatch(line))


def _ends_paragraph(before: str, line: str, width: float) -> bool:
    begins = line[:1].isupper() or line[:1] in "“\"'(•–[" or line[:1].isdigit()
    return begins and len(before) < SHORT * width and bool(_SENTENCE_END.search(before))


def _runs_on(text: str, page: str, width: float) -> bool:
    """Whether a sentence goes on over the page's end: in small letters, or behind a full line of text."""
    if _SENTENCE_END.search(text[-20:]):
        return False
    last, first = text.rpartition("\n")[2], page.partition("\n")[0]
    if last.startswith("| "):  # the row of a table
        return False
    full = len(last) >= SHORT * width and not last[-1:].isdigit() and not _MARKED.match(last)
    return page[:1].islower() or (full and first[:1].isalpha() and not is_heading(first) and not _CAPTION.match(first))
