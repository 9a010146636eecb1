"""The headings of a text: those that its author marked, else those that look like one and prove reliable.

Marked    Markdown `#` and underlined titles, reStructuredText underlines, `<h2>` lines, wiki `== titles ==`. Taken as
          they are. Lines of bold text alone stand below them.
Guessed   where fewer than three are marked, and below these: "Chapter 4", "Article II", "PART B" (in some more
          languages, too); "Psalms 23" where one name is counted; "1.2 Title", "IV. Title"; bold lines; SHORT LINES IN
          CAPITALS. Each kind is kept only if the headings together stay reliable: at least 3 segments, a median
          segment of 1 to 25 units (chapters: 250), headings at most half of all units. Three of a kind in a row with
          nothing between are a list or contents. "4 Then he" is text if the next line goes on in small letters.
Never     inside fenced code and front matter

Levels    marked: by their mark; underlines of reStructuredText by first appearance. Guessed: words such as "Part" and
          "Article" stand above the rest, the rarer above the more frequent; numbers by depth; others by appearance.
Time      linear: patterns find candidate lines, and only these are looked at one by one
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from foveal.text.units import Offsets, paragraphs

LONGEST_LINE = 300
"""Characters of a line that can be a heading."""

TITLE_WORDS = 14
"""Words of a line that is guessed to be a heading."""

LONGEST_TITLE = 120
"""Characters of a title in a heading path; a longer one is shortened there (in the text it stays whole)."""

MARKED_SHARE = 0.75
"""Marked headings that make up more of the units are no headings but, say, a list of links."""

LONGEST_SEGMENT, LONGEST_CHAPTER = 25, 250
"""Units of the median segment that headings may be believed to have; "Chapter 4" is believed more than a bold line."""

FEW = 3
"""Where fewer headings are marked, others are guessed below them."""

MARKED_LEVELS = 6
"""Levels that marks can have."""

COUNTED_WORDS = 5
"""Words of a name that is counted, at most."""

UNNUMBERED = 9
"""The depth of a bold line without a number: below those with one."""

Style = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Heading:
    """Characters `start` to `end` of a text hold a heading's line or lines; level 1 is the highest."""

    start: int
    end: int
    level: int
    title: str
    lead: int = 0  # characters before it that belong below it: a comment above a function


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may be a heading, before its style is given a level."""

    start: int
    end: int
    title: str
    style: Style


def find_headings(text: str) -> list[Heading]:
    """The headings of `text`, in order; none where nothing is marked and no guess is reliable."""
    closed = closed_regions(text)
    units = [_first_visible(text, start) for start, _ in paragraphs(text)]
    marked = _outside(closed, _marked(text))
    if marked and _share(marked, _bodies(text, marked, units)) > MARKED_SHARE:
        marked = []
    below = _bold_below(text, closed, units, marked) if len(marked) >= FEW else _guessed(text, closed, units, marked)
    lowest = MARKED_LEVELS if marked else 0
    guessed_levels = {style: lowest + level for style, level in _guessed_levels(below).items()}
    levels = {**_marked_levels(marked), **guessed_levels}
    lines = _in_order([*marked, *below])
    return [Heading(line.start, line.end, levels[line.style], plain_title(line.title)) for line in lines]


# --- what is never a heading ---

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(?:[^\n]*\n){0,200}?(?:---|\.\.\.)[ \t]*\r?(?:\n|\Z)")
_FENCE = re.compile(r"^([ \t]*+)(`{3,}|~{3,})([^\n]*)(?:\n|\Z)", re.MULTILINE)


def closed_regions(text: str) -> Offsets:
    """Front matter and fenced code, in order."""
    matter = _FRONT_MATTER.match(text)
    return [matter.span(), *fenced_blocks(text, matter.end())] if matter else fenced_blocks(text)


def fenced_blocks(text: str, start: int = 0) -> Offsets:
    """Fenced code behind `start`, each with its fences, in a list's item, too.

    A fence that nothing closes is none, and hides none behind it; one that stands deeper than the block is its code.
    """
    regions: Offsets = []
    if "```" not in text and "~~~" not in text:
        return regions
    opened: re.Match[str] | None = None
    fences = list(_FENCE.finditer(text, start))
    for fence, closes in zip(fences, _closed_later(fences), strict=True):
        if opened is None:
            opened = fence if closes and not _underlines(text, fence) else None
        elif fence[2].startswith(opened[2]) and not fence[3].strip() and _depth(fence) < _depth(opened) + 4:
            regions.append((opened.start(), fence.end()))
            opened = None
    return regions


def _closed_later(fences: Sequence[re.Match[str]]) -> list[bool]:
    """Of each fence whether one behind it could close it: of its mark, as long or longer, with nothing else."""
    longest, found = {"`": 0, "~": 0}, list[bool]()
    for fence in reversed(fences):
        mark = fence[2]
        found.append(len(mark) <= longest[mark[0]])
        if not fence[3].strip():
            longest[mark[0]] = max(longest[mark[0]], len(mark))
    return found[::-1]


def _underlines(text: str, fence: re.Match[str]) -> bool:
    """Whether what could open a block of code is the underline of a title instead."""
    title = _line_before(text, fence.start()).strip()
    return bool(title) and not fence[3].strip() and len(fence[2]) >= len(title) and not _NO_TITLE.match(title)


def _depth(fence: re.Match[str]) -> int:
    """Columns that a fence is indented by."""
    return len(fence[1].expandtabs(4))


def _outside(regions: Offsets, lines: Iterable[_Line]) -> list[_Line]:
    """The lines that begin in no region and have a title, in order."""
    starts = [start for start, _ in regions]
    kept = []
    for line in lines:
        at = bisect_right(starts, line.start) - 1
        if (at < 0 or line.start >= regions[at][1]) and plain_title(line.title):
            kept.append(line)
    return _in_order(kept)


def _in_order(lines: Iterable[_Line]) -> list[_Line]:
    """By place; of lines that overlap, the first."""
    kept: list[_Line] = []
    for line in sorted(lines, key=lambda line: (line.start, -line.end)):
        if not kept or line.start >= kept[-1].end:
            kept.append(line)
    return kept


def _within(line: _Line, others: Sequence[_Line]) -> bool:
    at = bisect_right(others, line.start, key=lambda other: other.start) - 1
    return at >= 0 and line.start < others[at].end


# --- headings that are marked ---

_HASHES = re.compile(r"^ {0,2}(#{1,6})[ \t]++(\S[^\n]*)(?:\n|\Z)", re.MULTILINE)
_TAG = re.compile(r"^ {0,3}<h([1-6])\b[^>\n]*>([^\n]*)</h\1>[^\n]*(?:\n|\Z)", re.MULTILINE | re.IGNORECASE)
_WIKI = re.compile(r"^ ?((?:= ?){2,6}|= )([^=\n]{1,150})((?:= ?){1,6})\s*?(?:\n|\Z)", re.MULTILINE)
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:])\1{2,}[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_NO_TITLE = re.compile(r"[|>]|[-*+][ \t]|(?:(\W)\1+|[\W_]*)$|.*(?:\S[ \t]{3,}\S|\t)")


def _marked(text: str) -> Iterator[_Line]:
    for match in _HASHES.finditer(text):
        title = re.sub(r"(?:^|\s)#+$", "", match[2].rstrip())
        if title and len(title) <= LONGEST_LINE:
            yield _Line(*match.span(), title, ("mark", len(match[1])))
    for match in _TAG.finditer(text):
        if plain_title(match[2]):
            yield _Line(*match.span(), match[2], ("mark", int(match[1])))
    for match in _WIKI.finditer(text):
        level = match[1].count("=")
        if level == match[3].count("=") and match[2].strip():
            yield _Line(*match.span(), match[2], ("mark", level))
    yield from _underlined(text)


def _underlined(text: str) -> Iterator[_Line]:
    """Titles over a line of marks; in reStructuredText any mark, as long as the title, and one above it, too."""
    for match in _UNDERLINE.finditer(text):
        title = _line_before(text, match.start())
        start = match.start() - len(title) - 1
        if start < 0 or not title.strip() or _NO_TITLE.match(title.strip()):
            continue
        mark, length = match[1], len(match[0].rstrip())
        above = _line_before(text, start) if start else ""
        over = above.strip() == mark * len(above.strip()) and len(above.strip()) >= 3
        if above.strip() and not over and not _HASHES.match(above):
            continue
        if len(title) <= LONGEST_LINE and (mark in "=-" or length >= len(title.rstrip())):
            yield _Line(start - len(above) - 1 if over else start, match.end(), title, (mark, int(over)))


def _marked_levels(lines: Sequence[_Line]) -> dict[Style, int]:
    """Hashes, tags and plain Markdown underlines say their level; other underlines take theirs by appearance."""
    styles = list(dict.fromkeys(line.style for line in lines))
    underlines = [style for style in styles if style[0] != "mark"]
    if set(underlines) <= {("=", 0), ("-", 0)}:
        named = {("=", 0): 1, ("-", 0): 2}
    else:
        named = {style: level for level, style in enumerate(underlines, 1)}
    return {style: style[1] if style[0] == "mark" else named[style] for style in styles}


# --- headings that are guessed ---

_BOLD = re.compile(r"^(\*\*|__)(?=\S)([^\n]{1,120}?)\1[ \t]*+(?:[:.][ \t]*+)?\r?(?:\n|\Z)", re.MULTILINE)
_KEYWORD = re.compile(
    r"^[ \t]*(?:(?P<word>chapter|section|article|part|book|title|volume|appendix|annex|schedule|exhibit|act|scene"
    r"|rule|division|subpart|subchapter|letter|canto|lecture|lesson|unit|chapitre|kapitel|cap[ií]tulo|capitolo|artikel"
    r"|art[ií]culo|articolo|artigo|abschnitt|teil|titel|titre|t[ií]tulo|partie|parte|livre|buch|libro|глава|раздел"
    r"|статья|часть|том|книга)[ \t]+(?:the[ \t]+)?"
    r"(?P<number>\d{1,4}(?:[.-]\d{1,4}){0,4}[a-z]?|[ivxlcdm]{1,8}|[a-z]|one|two|three|four|five|six|seven|eight|nine"
    r"|ten|eleven|twelve|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)(?![\w'’])"
    r"|(?P<sign>§)[ \t]*\d{1,4}[a-z]?(?!\w)|第[一二三四五六七八九十百千零〇两\d]{1,7}(?P<cjk>[编編部卷章节節条條回]))"
    r"(?P<rest>[^\n]{0,120})(?:\n|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"^[ \t]{0,8}(?:(?P<decimal>\d{1,3}(?:\.\d{1,3}){0,5})\\?\.?|(?P<roman>[IVXLC]{1,7})\\?\.|(?P<letter>[A-Z])\\?\."
    r"|(?P<cjk>[一二三四五六七八九十]{1,3})、)[ \t]*(?<=[\s、])(?P<title>\S[^\n]{0,100})(?:\n|\Z)",
    re.MULTILINE,
)
_COUNTED = re.compile(
    r"^[ \t]{0,8}(?P<name>(?:\d[ \t]++)?[^\W\d_][^\n\d]{0,60}?)(?<![ \t])[ \t]++(?P<number>\d{1,4})[ \t]*\r?(?:\n|\Z)",
    re.MULTILINE,
)
_PLACES = re.compile(
    r"(?:p|page|line|fig(?:ure)?|table|seite|zeile|abb(?:ildung)?|tabelle|página|tabla|tableau)\.?", re.I
)
_KNOWN = re.compile(
    r"^[ \t]*(?:abstract|introduction|related work|background|(?:materials and )?methods?|results(?: and discussion)?"
    r"|discussion|conclusions?|limitations|acknowledge?ments?|references|bibliography|preface|foreword|prologue"
    r"|epilogue|contents|table of contents|glossary|index|appendix)[ \t]*+(?:[.:][ \t]*+)?\r?(?:\n|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
_CAPITALS = re.compile(r"^[^\na-z]{4,90}(?:\n|\Z)", re.MULTILINE)
_RUN_ON = re.compile(r"[.!?]\s+\S+\s+\S+\s+\S|[,;]$|[。；，]")


def _guessed(text: str, closed: Offsets, units: Sequence[int], marked: Sequence[_Line]) -> list[_Line]:
    """Kinds of guesses, the surest first, each kept if the headings stay reliable; twice, as one may need another."""
    kinds: list[Callable[[str], Iterator[_Line]]] = [_keywords, _counted, _numbered, _bold, _capitals]
    found = {kind: _apart(text, _outside(closed, kind(text)), marked) for kind in kinds}
    kept: list[_Line] = []
    for kind in [*kinds, *kinds]:
        trial = _without_lists(text, _in_order([*kept, *found[kind]]))
        longest = LONGEST_CHAPTER if kind in (_keywords, _counted) and not kept else LONGEST_SEGMENT
        if len(trial) > len(kept) and reliable(len(trial), _bodies(text, trial, units), longest=longest):
            kept = trial
    return kept


def _bold_below(text: str, closed: Offsets, units: Sequence[int], marked: Sequence[_Line]) -> list[_Line]:
    """Bold lines between marked headings, unless the headings would then be more than half of the units."""
    bold = _apart(text, _outside(closed, _bold(text)), marked)
    both = _in_order([*marked, *bold])
    return bold if bold and len(both) <= sum(_bodies(text, both, units)) else []


def reliable(headings: int, bodies: Sequence[int], *, longest: int) -> bool:
    """Whether so many headings, with so many units of text before the first and after each, look like a structure."""
    segments = [units for at, units in enumerate(bodies) if at or units]
    return len(segments) >= 3 and 1 <= median(segments) <= longest and headings <= sum(bodies)


def _keywords(text: str) -> Iterator[_Line]:
    for match in _KEYWORD.finditer(text):
        word = match["word"] or match["sign"] or match["cjk"]
        rest = match["rest"].strip()
        if (match["word"] and match["word"].islower()) or not _title_like(rest, after=match["rest"][:1]):
            continue
        title = match[0].strip()
        if not rest:
            title = f"{title} {_line_below(text, match.end())}"
        yield _Line(*match.span(), title, (word.lower(), 0))


def _title_like(rest: str, *, after: str) -> bool:
    """Whether what follows "Section 4" can be its title: nothing, or a few words, the first of them no small one."""
    if after.isalnum() or _RUN_ON.search(rest.lstrip(".:-–—)( ")) or len(rest.split()) > TITLE_WORDS:
        return False
    return not rest or rest[0] in ".:-–—)(" or not rest[0].islower()


def _line_below(text: str, start: int) -> str:
    """The title that stands on the line under "Chapter 4"; empty where that line is text."""
    end = text.find("\n", start, start + LONGEST_LINE)
    below = text[start : end if end >= 0 else start + LONGEST_LINE].strip()
    after = text[end + 1 : end + 1 + LONGEST_LINE].partition("\n")[0].strip() if end >= 0 else ""
    return below if len(below) <= 80 and not after and not re.search(r"[.,;:]$", below) else ""


def _counted(text: str) -> Iterator[_Line]:
    """Lines of a name and a number alone, "Genesis 1" to "Genesis 50", where some name is counted up.

    A name begins with 1 and goes on a little above its last number: two lines may be missing between.
    """
    lines, last, counted = list[_Line](), dict[str, int](), Counter[str]()
    for match in _COUNTED.finditer(text):
        name, number = match["name"], int(match["number"])
        titled = (name[0].isdigit() or name[0].isupper()) and len(name.split()) <= COUNTED_WORDS
        alone = not _line_before(text, match.start()).strip() and not _line_after(text, match.end()).strip()
        follows = number == 1 or (name in last and 0 < number - last[name] <= FEW)
        if titled and alone and follows and not _PLACES.fullmatch(name):
            lines.append(_Line(*match.span(), match[0].strip(), ("counted", 0)))
            last[name] = number
            counted[name] += 1
    yield from lines if max(counted.values(), default=0) >= FEW else ()


def _numbered(text: str) -> Iterator[_Line]:
    lines, counted = list[_Line](), list[int]()
    for match in _NUMBERED.finditer(text):
        kind = next(name for name in ("decimal", "roman", "letter", "cjk") if match[name])
        title = match["title"].strip()
        named = title[0].isalpha() and not title[0].islower() and not title.endswith((":", "?"))
        short = len(title.split()) <= (5 if title.endswith(".") else TITLE_WORDS)
        style = (kind, match[kind].count("."))
        bare = match[0].split()[0].isdecimal()  # unlike "1. You may", "1 Now he" is a verse where the next line goes on
        goes_on = bare and _line_after(text, match.end())[:1].islower()
        if named and short and not goes_on and not _RUN_ON.search(title):
            lines.append(_Line(*match.span(), match[0].strip(), style))
            counted += [int(match[kind])] if style == WHOLE else []
    count = _count_up(counted)
    yield from (line for line in lines if count or line.style != WHOLE)
    for match in _KNOWN.finditer(text):
        yield _Line(*match.span(), match[0].strip(), WHOLE)


WHOLE: Style = ("decimal", 0)
"""Numbered by a whole number."""


def _count_up(numbers: Sequence[int]) -> bool:
    """Whether most numbers are a little above the one before, or begin anew: verses that look like titles do not."""
    steps = [after <= 2 or 0 < after - before <= 3 for before, after in pairwise(numbers)]
    return len(steps) < 2 * FEW or sum(steps) >= 0.6 * len(steps)


def _bold(text: str) -> Iterator[_Line]:
    for match in _BOLD.finditer(text):
        title = match[2].strip()
        sentence = title.endswith((".", ",", ";")) and len(title.split()) > 6
        if match[1] not in title and not sentence and any(map(str.isalpha, title)):
            number = re.match(r"\d+(?:\.\d+)*", title)
            yield _Line(*match.span(), title, ("bold", number[0].count(".") if number else UNNUMBERED))


def _capitals(text: str) -> Iterator[_Line]:
    for match in _CAPITALS.finditer(text):
        title = match[0].strip()
        letters = sum(map(str.isalpha, title))
        wordy = title.isupper() and letters >= max(4, 0.6 * len(title.replace(" ", "")))
        short = len(title.split()) <= TITLE_WORDS and not title.endswith((",", ";", ":", "-"))
        if wordy and short and not _NO_TITLE.match(title):
            yield _Line(*match.span(), title, ("capitals", 0))


def _apart(text: str, lines: Iterable[_Line], marked: Sequence[_Line]) -> list[_Line]:
    """The lines with a blank line, or nothing, before them, that are no part of a marked heading."""
    return [line for line in lines if not _line_before(text, line.start).strip() and not _within(line, marked)]


def _without_lists(text: str, lines: Sequence[_Line]) -> list[_Line]:
    """`lines` without runs of three or more of one style that have nothing between them: lists and contents."""
    runs: list[list[_Line]] = []
    for line in lines:
        joins = runs and runs[-1][-1].style == line.style and not text[runs[-1][-1].end : line.start].strip()
        runs[-1].append(line) if joins else runs.append([line])
    return [line for run in runs if len(run) < 3 for line in run]


def _guessed_levels(lines: Sequence[_Line]) -> dict[Style, int]:
    """Words first, the rarer the higher; then what is counted, numbers (by depth), bold, capitals, as they appear."""
    counts = Counter(line.style for line in lines)
    kinds = ("counted", "decimal", "roman", "letter", "cjk", "bold", "capitals")
    words = sorted((style for style in counts if style[0] not in kinds), key=lambda style: counts[style])
    others = list(dict.fromkeys(line.style[0] for line in lines if line.style[0] in kinds))
    ordered = [*words, *(style for kind in others for style in sorted(counts) if style[0] == kind)]
    return {style: level for level, style in enumerate(ordered, 1)}


# --- shared ---

_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
_TAGS = re.compile(r"</?[a-zA-Z][^>\n]*>|\{:?\s*[#.][^}\n]*\}")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|`{1,2})(?=\S)([^\n]*?\S)\1(?!\w)")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def plain_title(line: str) -> str:
    """A heading's words without Markdown, shortened to LONGEST_TITLE characters."""
    title = _TAGS.sub("", _LINK.sub(r"\1", line[: 4 * LONGEST_LINE]))
    title = _ESCAPE.sub(r"\1", _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", title)))
    title = " ".join(title.split())
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"


def _bodies(text: str, lines: Sequence[_Line], units: Sequence[int]) -> list[int]:
    """Units of text before the first heading and after each: paragraphs, and what follows a heading's line at once."""
    spans = [(0, lines[0].start), *((a.end, b.start) for a, b in pairwise(lines)), (lines[-1].end, len(text))]
    counts = []
    for start, end in spans:
        visible = _first_visible(text, start)
        started = bisect_left(units, end) - bisect_right(units, visible)
        counts.append(started + 1 if visible < end else 0)
    return counts


def _share(lines: Sequence[_Line], bodies: Sequence[int]) -> float:
    return len(lines) / (len(lines) + sum(bodies))


_VISIBLE = re.compile(r"\S")


def _first_visible(text: str, start: int) -> int:
    found = _VISIBLE.search(text, start)
    return found.start() if found else len(text)


def _line_before(text: str, start: int) -> str:
    """The line that ends where the line at `start` begins, without its line break; its end only, if it is long."""
    lowest = max(0, start - 1 - 2 * LONGEST_LINE)
    return text[max(lowest, text.rfind("\n", lowest, max(0, start - 1)) + 1) : max(0, start - 1)]


def _line_after(text: str, start: int) -> str:
    """The line that begins at `start`; its beginning only, if it is long."""
    return text[start : start + LONGEST_LINE].partition("\n")[0]
