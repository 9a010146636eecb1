"""What is printed on a page: "xi", "11", "A-3", where that is another number than the page's own in its file.

    kept(["i", "ii", "1", "2"])                        # "1=i; 3=1": the page from which each run counts
    pages_said(document.pages, span)                   # "page 3 (printed 1)"

A file may say it itself (a PDF's page labels); else it is read off the heads and feet of its pages, where numbers count
along with them (`printed_on`). A document has it in its metadata as `PRINTED_PAGES`, and so its `pages` do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from foveal.types import Pages, Span, page_at

MOST_RUNS, LONGEST = 100, 16
"""More runs, or longer labels, are no numbering that helps anybody."""

NEAR, AROUND, FEWEST = 3, 5, 5
"""Pages that take part in the numbering beside them; and within so many to each side so many must count alike."""

_COUNTED = re.compile(r"(.*?)(\d{1,9})")
_ROMAN = re.compile(r"(?=.)(m{0,3})(cm|cd|d?c{0,3})(xc|xl|l?x{0,3})(ix|iv|v?i{0,3})")
_DIGITS = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"),
           (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_FIRST = re.compile(r"\A\d{1,4}(?!\S)|(?<=\A[-–—|\[] )\d{1,4}(?!\S)")  # of a head; a foot may begin with a note's
_LAST = re.compile(r"(?<![^\W_])\d{1,4}(?=\W*\Z)")
_RUN = re.compile(r"(\d+)=([^;=]*)")

Shift = tuple[bool, int]
"""Of a number on a page: whether it is roman, and how far it is from the page's own, counted from 0."""


def kept(labels: Sequence[str]) -> str:
    """What is printed on each page, "" where nothing is, as runs that count on; "" where all are the pages' own."""
    runs: list[tuple[int, str]] = []
    for number, label in enumerate(labels, start=1):
        said = " ".join(label.split())
        if len(said) > LONGEST or re.search("[;=]", said):
            said = ""
        if not runs or said != after(runs[-1][1], number - runs[-1][0]):
            runs.append((number, said))
    if len(runs) > MOST_RUNS or not any(_is_other(number, label) for number, label in runs):
        return ""
    return "; ".join(f"{number}={label}" for number, label in runs)


def printed_at(pages: Sequence[int], offset: int) -> str:
    """What is printed on the page of the character at `offset`; "" where nothing is, or the page's own number."""
    number = page_at(pages, offset)
    return "" if number is None else printed_on_page(pages, number)


def printed_on_page(pages: Sequence[int], number: int) -> str:
    """The same of a page by its number, counted from 1."""
    begun = None
    for found in _RUN.finditer(pages.printed if isinstance(pages, Pages) else ""):
        if int(found[1]) > number:
            break
        begun = found
    if begun is None:
        return ""
    label = after(begun[2], number - int(begun[1]))
    return "" if label == str(number) else label


def page_called(pages: Sequence[int], name: str) -> int | None:
    """The page, from 1, on which `name` is printed, or of this number if nothing else is on it; None: there is none."""
    name = " ".join(name.split())
    for number in range(1, len(pages) + 1):
        if name and printed_on_page(pages, number).casefold() == name.casefold():
            return number
    own = int(name) if re.fullmatch(r"\d{1,7}", name) and 1 <= int(name) <= len(pages) else None
    return own if own and not printed_on_page(pages, own) else None


def pages_said(pages: Sequence[int], span: Span) -> str:
    """ "page 3", "pages 3 to 7 (printed 1 to 5)"; "" where a text has no pages."""
    end = max(span.start, span.end - 1)
    first, last = page_at(pages, span.start), page_at(pages, end)
    if first is None:
        return ""
    told = list(dict.fromkeys(filter(None, (printed_at(pages, span.start), printed_at(pages, end)))))
    printed = f" (printed {' to '.join(told)})" if told else ""
    return f"{f'page {first}' if first == last else f'pages {first} to {last}'}{printed}"


def after(label: str, steps: int = 1) -> str:
    """The label that stands so many pages behind `label`: "iv" is behind "iii", "A-10" behind "A-9"."""
    if found := _COUNTED.fullmatch(label):
        return f"{found[1]}{int(found[2]) + steps:0{len(found[2]) if found[2][0] == '0' else 1}d}"
    if value := roman_value(label):
        return _roman(value + steps, upper=label.isupper())
    if len(label) == 1 and label.isalpha() and label.isascii():
        last = chr(ord(label) + steps)
        return last if last.isalpha() and last.isupper() == label.isupper() and last.isascii() else ""
    return label if not steps else ""


def roman_value(label: str) -> int:
    """The number that "xiv" or "XIV" is; 0 where it is none."""
    low = label.lower()
    if low not in (label, label.swapcase()) or not _ROMAN.fullmatch(low):
        return 0
    value, rest = 0, low
    for worth, digits in _DIGITS:
        while rest.startswith(digits):
            value, rest = value + worth, rest[len(digits) :]
    return value


def _roman(value: int, *, upper: bool) -> str:
    said = ""
    for worth, digits in _DIGITS:
        count, value = divmod(value, worth)
        said += digits * count
    return said.upper() if upper else said


def _is_other(number: int, label: str) -> bool:
    return bool(label) and label != str(number)


def printed_on(pages: Sequence[str]) -> str:
    """What is printed on pages, as `kept` has it: numbers in first and last lines that count along with them."""
    found = [_shifts(n, page) for n, page in enumerate(pages)]
    near = [
        Counter(one for other in found[max(0, n - AROUND) : n + AROUND + 1] for one in other) for n in range(len(pages))
    ]
    sure = {}
    for n, own in enumerate(found):
        counted = [one for one in own if near[n][one] >= FEWEST]
        if counted:
            sure[n] = max(counted, key=lambda one: (near[n][one], -abs(one[1] - 1)))
    labels = [""] * len(pages)
    for n, shift in _filled(sure, len(pages)):
        labels[n] = _label(n, shift)
    return kept(labels)


def _shifts(n: int, page: str) -> set[Shift]:
    """What the first and the last line of a page may count from: "12 Eyes", "Light 13", "- 3 -", "xiv"."""
    lines = [line for line in page.split("\n") if line.strip()]
    edges = {line.strip() for line in (lines[:1] + lines[-1:])}
    numbers = {int(found) for line in lines[:1] for found in _FIRST.findall(line.strip())}
    numbers |= {int(found) for line in edges for found in _LAST.findall(line)}
    romans = {roman_value(line.strip("-–— |[]")) for line in edges} - {0}
    return {(False, value - n) for value in numbers} | {(True, value - n) for value in romans}


def _filled(sure: Mapping[int, Shift], count: int) -> Iterator[tuple[int, Shift]]:
    """The pages whose number is known, and those between two, or before and behind some, that count alike."""
    known = sorted(sure)
    for n in known:
        yield n, sure[n]
    for one, other in pairwise(known):
        if sure[one] == sure[other]:
            yield from ((n, sure[one]) for n in range(one + 1, other))
        else:
            first, (roman, step) = max(one + 1, other - NEAR), sure[other]
            past = one + sure[one][1] if sure[one][0] == roman else 0  # the number before: none comes twice
            yield from ((n, sure[other]) for n in range(first, other) if n + step > past)
    if known:
        yield from ((n, sure[known[0]]) for n in range(max(0, known[0] - NEAR), known[0]))
        yield from ((n, sure[known[-1]]) for n in range(known[-1] + 1, min(count, known[-1] + 1 + NEAR)))


def _label(n: int, shift: Shift) -> str:
    roman, step = shift
    if n + step < 1:
        return ""
    return _roman(n + step, upper=False) if roman else str(n + step)
