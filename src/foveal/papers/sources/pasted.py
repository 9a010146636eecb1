"""A page of daily papers that somebody copied or saved: plain text as select-all and copy gives it, or HTML.

    read_page(content, name, today=date(2026, 10, 2))      # records, in the page's order

How      every paper ends with people and a date: "18 authors · May 29 3", an organisation in the place of "N authors",
         both in one line or in several, the number of remarks behind the date, glued to it, below it, or absent for
         none. That line is the anchor. What stands between two anchors is the later one's: votes, title, abstract
Chrome   the page's own words (bars, banner, heading, foot) lie before the first title and after the last anchor; the
         first title is found from its anchor backwards, so that words we never saw do no harm
Votes    numbers before titles are votes if the first title has one; else a number after a date counts remarks
Dates    one without a year is of the year of `today`, or the year before if it would lie in the future. "May 293" is
         the 29th with 3 remarks: the longer day, unless it is still to come on a page that names last year's dates by
         their year, and so is of this one. (May 2 with 3 remarks, glued, cannot be told from May 23 with none.)
JSON     a page of the hub carries its listing as data; where that is there, it is read instead (hf.py)
"""

from __future__ import annotations

import html
import json
import logging
import re
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import takewhile
from typing import Any

from foveal.errors import InputError, UnreadableSource
from foveal.papers.records import PaperRecord
from foveal.papers.sources import hf
from foveal.papers.sources.page_lines import Line, lines_of_html, lines_of_text, tree_of
from foveal.text.plain import decode

SHORT = 120
"""Characters of a line of people, at most."""

PARAGRAPH = 250
"""Characters from which a line is a paragraph and no title."""

logger = logging.getLogger("foveal.papers.sources.pasted")

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    rf"(?:Published on )?({'|'.join(_MONTHS)})[a-z]*\.? (\d+)(?:, ?(\d{{4}}))?(?: ?(\d*))",
    re.IGNORECASE,
)
_AUTHORS = re.compile(r"(\d[\d,]*) authors?", re.IGNORECASE)
_COUNT = re.compile(r"\d[\d,]*|\d+(?:\.\d+)?k", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!:;][\"”’)\]]*$")
_HEADING = (
    r"new|subscribe|daily papers|trending papers|get trending papers in your email inbox.*|search any paper.*|"
    r"(?:by ?)?(?:ak ?)?(?:and ?the ?research ?community)?"
)
_CHROME = re.compile(
    rf"{_HEADING}|·|upvote|submitted by|daily|weekly|monthly|hugging face|models|datasets|spaces|buckets|community|"
    r"docs|enterprise|pricing|log ?in|sign ?up|papers|(?:arxiv|github)(?: page)?|view arxiv page|view pdf|skip to .*|"
    r"hugging face's logo|back to .*",
    re.IGNORECASE,
)
_ABOVE_A_DAY = re.compile(_HEADING, re.IGNORECASE)
"""What stands above the day of the page itself, which names nobody."""

_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body|main|div|section|article)\b",
    re.IGNORECASE | re.DOTALL,
)


class PastedPage:
    """Source: a page in a file; the one source that is not asked for by name."""

    name = "pasted"

    def records(self, content: bytes, name: str, *, today: date) -> tuple[PaperRecord, ...]:
        """The papers of a page; see `read_page`."""
        return read_page(content, name, today=today)


@dataclass(frozen=True)
class Anchor:
    """The end of a paper: the lines `first` to `last` (excluded) tell people, date and remarks."""

    first: int
    last: int
    people: str
    day: date
    comments: int | None  # None: nothing is told on these lines


def read_page(content: bytes, name: str, *, today: date) -> tuple[PaperRecord, ...]:
    """The papers of a saved page: text, HTML, or JSON in the shapes of hf.py. `name` is for messages.

    UnreadableSource: no paper is found. InputError: JSON that holds something else.
    """
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return hf.records(json.loads(content))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
    if _HTML.match(content):
        carried = tuple(_carried(content, name))
        return carried or records_of(lines_of_html(content, name), name, today=today)
    return records_of(lines_of_text(decode(content, name)), name, today=today)


def records_of(lines: Sequence[Line], name: str, *, today: date) -> tuple[PaperRecord, ...]:
    """The papers that the lines tell of."""
    anchors = list(anchors_of(lines, Calendar.of(lines, today)))
    if not anchors:
        raise UnreadableSource(
            f"{name} holds no papers: no line says who and when, such as '18 authors · May 29' or 'Some Lab · Feb 27, "
            "2025'. Copy the whole page of a search, or save it as HTML."
        )
    starts = [0, *(anchor.last for anchor in anchors)]
    blocks = [_trimmed(lines[start : anchor.first]) for start, anchor in zip(starts, anchors, strict=False)]
    heads = [_first_block(blocks[0]), *map(_later_block, blocks[1:])]
    voted = heads[0].votes is not None
    after = [head.numbers for head in heads[1:]] + [_trailing(lines[anchors[-1].last :])]
    made = []
    for head, anchor, numbers in zip(heads, anchors, after, strict=True):
        if not head.title or (not head.abstract and len(head.title) >= PARAGRAPH):
            logger.warning("%s: a paper of %s, %s, has no title there and is left out", name, anchor.day, anchor.people)
            continue
        told = _remarks(numbers, voted=voted, is_last=anchor is anchors[-1])
        made.append(_record(head, anchor, anchor.comments if anchor.comments is not None else told, voted=voted))
    return tuple(made)


# anchors: who and when


@dataclass(frozen=True)
class Calendar:
    """The day of the reading, and whether the page is known to be of its year."""

    today: date
    is_this_year: bool

    @classmethod
    def of(cls, lines: Sequence[Line], today: date) -> Calendar:
        """A page names the year of a date unless it is the page's own."""
        named = {int(found[3]) for line in lines for found in _DATE.finditer(line.text) if found[3]}
        return cls(today, today.year - 1 in named)


def anchors_of(lines: Sequence[Line], calendar: Calendar) -> Iterator[Anchor]:
    """The ends of papers, in order."""
    end = 0
    for place in range(len(lines)):
        if place >= end and (found := _anchor(lines, place, end, calendar)):
            end = found.last
            yield found


def _anchor(lines: Sequence[Line], place: int, begin: int, calendar: Calendar) -> Anchor | None:
    """The anchor whose date stands on the line `place`; its people stand there, too, or on the lines before."""
    people, dot, told = lines[place].text.rpartition("·")
    if not dot and (found := _AUTHORS.match(told)):  # "18 authors May 29"
        people, told = found[0], told[found.end() :]
    when = _dated(told.strip(), calendar)
    if when is None or len(people) > SHORT:
        return None
    first, people = (
        (place, people.strip(" ·")) if people.strip(" ·") else _people_before(lines, place, begin, bool(dot))
    )
    return Anchor(first, place + 1, people, *when) if people else None


def _people_before(lines: Sequence[Line], place: int, begin: int, dot: bool) -> tuple[int, str]:
    """Where the people of a date on the line `place` begin, and who they are; "" where nobody is named."""
    first, held = place, list[str]()
    while first > begin:
        text = lines[first - 1].text
        sure = dot or text.endswith("·")
        if text != "·" and not (
            _are_people(lines, first - 1, begin, text.rstrip(" ·"), sure=sure) if not held else sure
        ):
            break
        if len(text) > SHORT or (held and not sure):
            break
        held += [text.rstrip(" ·")] if text != "·" else []
        first, dot = first - 1, text == "·"
    return first, " · ".join(reversed(held))


def _are_people(lines: Sequence[Line], place: int, begin: int, people: str, *, sure: bool) -> bool:
    """Whether a line before a date tells people: by its words, by a dot between, or as it follows an abstract."""
    if _AUTHORS.fullmatch(people):
        return True
    if len(people) > SHORT:
        return False
    after_prose = place > begin and _is_prose(lines[place - 1].text)
    return sure or (after_prose and not _ABOVE_A_DAY.fullmatch(people))


def _dated(text: str, calendar: Calendar) -> tuple[date, int | None] | None:
    """The date and the number of remarks of "May 29", "May 293", "Feb 27, 2025 12"; None where a text is no date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    month, digits, year, rest = _MONTHS.index(found[1].lower()) + 1, found[2], found[3], found[4]
    if year is not None:
        return _with_count(_day(int(year), month, digits), rest)
    if rest or len(digits) == 1:
        return _with_count(_past(month, digits, calendar.today), rest)
    cuts = [(_past(month, digits[:cut], calendar.today), digits[cut:]) for cut in (2, 1)]  # the longer day first
    held = [(day, count) for day, count in cuts if day is not None and not count.startswith("0")]
    of_this_year = [one for one in held if one[0].year == calendar.today.year]
    return _with_count(*next(iter([*(of_this_year if calendar.is_this_year else ()), *held]), (None, "")))


def _with_count(day: date | None, digits: str) -> tuple[date, int | None] | None:
    return (day, int(digits) if digits else None) if day else None


def _past(month: int, digits: str, today: date) -> date | None:
    """The last such day that is not after `today`; a 29 February is looked for further back."""
    days = (_day(year, month, digits) for year in range(today.year, max(0, today.year - 9), -1))
    return next((day for day in days if day is not None and day <= today), None)


def _day(year: int, month: int, digits: str) -> date | None:
    held = int(digits) if len(digits) <= 2 and not digits.startswith("0") else 0
    return date(year, month, held) if year and 1 <= held <= monthrange(year, month)[1] else None


# between two anchors: votes, title, abstract


@dataclass(frozen=True)
class _Head:
    """What stands before an anchor. `numbers` are those before the title, some of which belong to the paper before."""

    title: str
    abstract: str
    paper: str
    numbers: tuple[int, ...]
    votes: int | None


def _trimmed(lines: Sequence[Line]) -> Sequence[Line]:
    """Without the dashes that some programs write for the faces of a paper's people."""
    end = len(lines)
    while end > 1 and lines[end - 1].text == "-":
        end -= 1
    return lines[:end]


def _first_block(lines: Sequence[Line]) -> _Head:
    """The page's own words stand before the title: it is the line before the prose that ends the block."""
    last = place = len(lines) - 1
    begin = max((n + 1 for n, line in enumerate(lines[: _last_title(lines)]) if _is_page(line.text)), default=0)
    while place > begin and (place == last or _is_prose(lines[place].text)):
        place -= 1
    return _head(lines[: max(0, place)], lines[max(0, place) :])


def _later_block(lines: Sequence[Line]) -> _Head:
    place = 0
    while place < _last_title(lines) and _is_page(lines[place].text):
        place += 1
    return _head(lines[:place], lines[place:])


def _last_title(lines: Sequence[Line]) -> int:
    """Where the title stands at the latest: a title may be called "0" or "Models", and then an abstract follows."""
    has_abstract = bool(lines) and _is_prose(lines[-1].text)
    return max(0, len(lines) - 1 - has_abstract)


def _head(before: Sequence[Line], held: Sequence[Line]) -> _Head:
    """Votes are the number just before the title; a dash stands for none."""
    numbers = [_number(line.text) for line in before if _is_count(line.text)]
    labelled = [line.text for line in before if line.text.lower() != "upvote"]
    votes = numbers[-1] if labelled and _is_count(labelled[-1]) else None
    paper = next((line.paper for line in held if line.paper), "")
    title = held[0].text if held else ""
    return _Head(title, " ".join(line.text for line in held[1:]), paper, tuple(numbers), votes)


def _trailing(lines: Sequence[Line]) -> tuple[int, ...]:
    """The numbers just after the last anchor; more than one are the numbers of further pages."""
    numbers = [_number(line.text) for line in takewhile(lambda line: _is_count(line.text), lines)]
    return tuple(numbers) if len(numbers) == 1 else ()


def _remarks(numbers: Sequence[int], *, voted: bool, is_last: bool) -> int:
    """Of the numbers between a date and the next title, the last is that title's votes where titles have votes."""
    of_this = numbers[:-1] if voted and not is_last else numbers
    return of_this[0] if of_this else 0


def _record(head: _Head, anchor: Anchor, comments: int, *, voted: bool) -> PaperRecord:
    told = [part.strip() for part in anchor.people.split("·") if part.strip()]
    counts = [int(found[1].replace(",", "")) for part in told if (found := _AUTHORS.fullmatch(part))]
    places = [part for part in told if not _AUTHORS.fullmatch(part)]
    return PaperRecord(
        id=head.paper,
        title=head.title,
        abstract=head.abstract,
        author_count=counts[0] if counts else None,
        organisation=" · ".join(places),
        published_at=datetime(anchor.day.year, anchor.day.month, anchor.day.day, tzinfo=UTC),
        votes=head.votes if voted else None,
        comments=comments,
        listed_on=anchor.day,
        source=PastedPage.name,
    )


def _is_prose(text: str) -> bool:
    """Whether a line is a paragraph rather than a title: long, or a sentence that ends as one."""
    return len(text) >= PARAGRAPH or (len(text.split()) >= 8 and bool(_SENTENCE_END.search(text)))


def _is_page(text: str) -> bool:
    """Whether a line is the page's own: its words, a number, the name of a day."""
    return bool(_CHROME.fullmatch(text) or _is_count(text) or _DATE.fullmatch(text) or re.fullmatch(r"W\d\d?", text))


def _is_count(text: str) -> bool:
    return text == "-" or bool(_COUNT.fullmatch(text))


def _number(text: str) -> int:
    plain = text.replace(",", "").replace("-", "0").lower()
    return round(float(plain[:-1]) * 1000) if plain.endswith("k") else int(plain)


# the listing that a page of the hub carries as data


def _carried(content: bytes, name: str) -> Iterator[PaperRecord]:
    for element in tree_of(content, name).iterfind(".//*[@data-props]"):
        try:
            held = json.loads(html.unescape(element.get("data-props")))
        except (ValueError, RecursionError):
            continue
        for listed in _listings(held):
            yield from hf.records(listed)


def _listings(held: Any) -> Iterator[list[Any]]:
    """Lists of listing entries, at any depth: each entry holds a paper with id and title."""
    waiting = [held]  # and no recursion: a page nests as deep as it likes
    while waiting:
        one = waiting.pop()
        if isinstance(one, list) and one and all(map(_is_listed, one)):
            yield one
        elif isinstance(one, dict | list):
            waiting += reversed(one.values() if isinstance(one, dict) else one)


def _is_listed(entry: Any) -> bool:
    paper = entry.get("paper") if isinstance(entry, dict) else None
    return isinstance(paper, dict) and {"id", "title"} <= paper.keys()
