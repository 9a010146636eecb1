"""Words and sentences of news in any script, by the rules of the TeClass features, with their places in the text.

Tokens     a text is cut at white space, punctuation and symbols of any script; marks stay with their letters; numbers
           keep `, . : /` between digits; a sign repeated is one token; Han, kana, Thai, Lao, Khmer and Burmese give a
           token a letter. U+200B to U+200D shape letters only, and are left out of a token
Sentences  end at a single full stop, `?`, `!`, their kin in other scripts (। ॥ 。 ؟ ۔ ።), and at a line's end. No end:
           two dots and more, a stop after an abbreviation or initial or inside a number, anything between two quotation
           marks of one line; a mark that is not closed is no quotation
Against    `units.py` cuts for reading: it covers the text without gaps, and its words are pieces of a prompt
Source     rules described in the specification of TeClass' tokenizer (Kanumolu et al., 2024); its read-me and its code
           differ on `?` and `!`, which end a sentence here
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from functools import lru_cache

from foveal.errors import UnknownName
from foveal.evaluation.scripts import JOINERS, classes, script_of, without_joiners
from foveal.text.abbreviations import ABBREVIATIONS, BY_SCRIPT

Offsets = list[tuple[int, int]]

QUOTES = {"“": "”", "«": "»", "「": "」", "『": "』", '"': '"'}
"""Opening mark -> closing mark. Single ones are apostrophes too often."""

_DOTS_BEFORE_SIGN = re.compile(r"(?<!\.)(\.{2,}+)(?=[\"'“”‘’«»\-–—])")
_END = re.compile(r"(?P<line>\n+)|(?P<dots>\.+)|(?P<more>…+)|(?P<mark>[?!।॥。！？｡؟۔።፧]+)")
_CLOSING = re.compile(r"[\"'”’»)\]」』）】]*")
_QUOTE = re.compile(f"[{''.join(QUOTES)}{''.join(QUOTES.values())}\n]")
_OPENING = "([{<\"'“‘«‹「『（【"
_LOOK_BACK = 24
"""Characters before a full stop in which the word before it is looked for."""


def normalised(text: str) -> str:
    """The text with tabs and line ends as one space, no joiners, a space between dots and a quote or dash."""
    apart = _DOTS_BEFORE_SIGN.sub(r"\1 ", text.translate({ord(one): None for one in JOINERS}))
    return " ".join(apart.split())


@lru_cache(1)
def _token() -> re.Pattern[str]:
    known = classes()
    run = f"[{known.spaced}]+"
    number = rf"(?:(?<=\d)[,.:/](?=\d){run})*"
    return re.compile(
        rf"(?P<word>[{known.unspaced}][{known.marks}]*|{run}{number})|(?P<sign>[{known.signs}])(?P=sign)*"
    )


def tokens(text: str) -> list[str]:
    """All tokens of `text`, signs too, as they are written."""
    return [token for found in _token().finditer(text) if (token := without_joiners(found[0]))]


def words(text: str) -> list[str]:
    """The tokens of `text` that are no signs, in lower case."""
    found = (match["word"] for match in _token().finditer(text))
    return [word for one in found if one and (word := without_joiners(one.lower()))]


def sentences(text: str, language: str | None = None) -> Offsets:
    """Start and end of each sentence of `text`, without white space around it; blank ones are left out.

    `language` is a key of `ABBREVIATIONS` (None: those of the text's script). UnknownName: it is not.
    """
    known = abbreviations(text, language)
    found, start = [], 0
    for end in (*_ends(text, known), len(text)):
        piece = text[start:end]
        if piece.strip():
            found.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
        start = end
    return found


def abbreviations(text: str, language: str | None = None) -> Collection[str]:
    """The abbreviations of a language, or of all languages of the text's script."""
    if language is not None and language not in ABBREVIATIONS:
        raise UnknownName(f"There are no abbreviations of {language!r}. There are: {', '.join(ABBREVIATIONS)}.")
    languages = (language,) if language else BY_SCRIPT.get(script_of(text), ())
    return frozenset().union(*(ABBREVIATIONS[one] for one in languages))


def _ends(text: str, known: Collection[str]) -> Iterator[int]:
    """Where sentences end: after the mark and what closes behind it."""
    quoted = list(_quotations(text))
    starts = [start for start, _ in quoted]
    for match in _END.finditer(text):
        place = bisect_right(starts, match.start()) - 1
        if place >= 0 and match.start() < quoted[place][1]:
            continue
        if match["line"]:
            yield match.end()
        elif match["mark"] or (match["dots"] == "." and _stop_ends(text, match.start(), known)):
            closing = _CLOSING.match(text, match.end())
            yield closing.end() if closing else match.end()


def _quotations(text: str) -> Iterator[tuple[int, int]]:
    """The outermost quotations that are closed in their line, in order."""
    opened: tuple[str, int] | None = None
    for match in _QUOTE.finditer(text):
        sign = match[0]
        if sign == "\n":
            opened = None
        elif opened and sign == opened[0]:
            yield opened[1], match.end()
            opened = None
        elif opened is None and sign in QUOTES:
            opened = (QUOTES[sign], match.start())


def _stop_ends(text: str, place: int, known: Collection[str]) -> bool:
    """Whether the single full stop at `place` ends a sentence."""
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if before.isdigit() and after.isdigit():
        return False
    if before.isascii() and before.isalnum() and after.isascii() and after.isalnum() and not after.isupper():
        return False  # an address, a file's name
    last = text[max(0, place - _LOOK_BACK) : place].split()[-1:]
    word = last[0].lstrip(_OPENING) if last and not before.isspace() else ""
    initial = len(word.rpartition(".")[2]) == 1 and word[-1].isupper()
    return not initial and without_joiners(word.lower()) not in known
