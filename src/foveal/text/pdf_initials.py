"""Large first letters of a PDF's chapters, which reach down over several lines, go back to the word that they begin.

In the file such a letter is a line of its own, often far from its paragraph: "T", and elsewhere "he house stood". Its
paragraph is what stands close to its right, beginning with the highest line beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from foveal.text.pdf_headings import Line
from foveal.text.pdf_letters import Glyphs, first_of

LARGER = 1.6
"""Size of such a letter over that of its line, at least."""
NEAR = 1.2
"""Sizes of its line's letters that the line may lie from it."""

LONGEST = 4
"""Characters of a line that is an initial, with a quotation mark before it and a sign behind it."""

Placed = tuple[Line, tuple[int, int]]

_INITIAL = re.compile(r"[\"“”‘’'«„¿¡—]?\s?[^\W\d_][’'.]?")
_RAISED = re.compile(r"([\"“‘'«„¿¡]?)([^\W\d_])( ?)(?=[^\W\d_])")
_WORD = re.compile(r"[^\W\d_]+")
_ALONE = frozenset("aioyeàéêuwz")
"""Letters that are a word in some language."""
_BEHIND_A = frozenset({
    "board", "bout", "bove", "broad", "cross", "ct", "dam", "fraid", "frica", "gain", "gainst", "ged", "go", "gree",
    "greed", "head", "lbert", "lice", "like", "live", "lone", "long", "loft", "loud", "mazed", "merica", "merican",
    "mericans", "mong", "mid", "nimal", "nimals", "new", "ny", "nyone", "nything", "part", "pril", "re", "rise",
    "rose", "round", "side", "sleep", "t", "war", "ware", "way", "woke",
})  # fmt: skip
"""What goes on a word with A, though it might be one itself."""
_BEGINS_NONE = re.compile(
    r"(?!kn|gn|ps)[bcdfghjklmnpqrtvwxz](?![aeiouyhlrw’'])|[lmnr][^aeiouy’']|.$"
    r"|(?!uni|us[eu]|euro|ewe|one\b|once)[aeiou]"
)
"""What cannot stand behind the article, as in After, All, August: no word begins so, or it would be "an"."""
_BEHIND_I = frozenset({
    "am", "asked", "began", "believe", "came", "can", "cannot", "could", "did", "do", "don’t", "don't", "dreamed",
    "entered", "felt", "first", "found", "gave", "got", "grew", "had", "have", "heard", "held", "kept", "knew",
    "know", "learned", "left", "lived", "looked", "love", "loved", "made", "met", "might", "must", "never", "once",
    "opened", "owe", "ran", "read", "remember", "said", "sat", "saw", "say", "shall", "should", "stood", "suppose",
    "take", "tell", "think", "thought", "told", "took", "turned", "used", "walked", "want", "wanted", "was", "went",
    "will", "wish", "wonder", "woke", "would", "write", "wrote",
})  # fmt: skip


def with_initials(parts: Sequence[Placed], characters: str, glyphs: Glyphs) -> Iterator[Placed]:
    """The lines of a page with their places in its `characters`, as they came, each initial within its line."""
    joined: dict[int, str] = {}
    gone: set[int] = set()

    @cache
    def words() -> Counter[str]:
        return Counter(_WORD.findall(characters.lower()))

    for number, (line, place) in enumerate(parts):
        text = line.text.strip()
        if line.table or place[1] <= place[0]:
            continue
        raised = _RAISED.match(text)
        if raised and _stands_out(raised, characters, place, glyphs):
            rest = text[raised.end() :]
            if raised[3] and _is_over(raised[2], rest):
                continue
            joined[number] = raised[1] + raised[2] + " " * _apart(raised[2], rest, words()) + rest
        elif len(text) <= LONGEST and _INITIAL.fullmatch(text):
            found = _beside(parts, number, characters, glyphs)
            rest = parts[found][0].text.lstrip() if found is not None else ""
            if found is not None and found not in joined and not _is_over(text[-1], rest):
                joined[found] = text + " " * (text[-1].isalpha() and _apart(text[-1], rest, words())) + rest
                gone.add(number)
    for number, (line, place) in enumerate(parts):
        if number not in gone:
            yield (replace(line, text=joined[number]) if number in joined else line), place


def _is_over(letter: str, rest: str) -> bool:
    """Whether a letter stands over, or beside, words that begin with it, as in an index: C, and "cat 17"."""
    return rest[:1].lower() == letter.lower() and _WORD.match(rest) is not None and any(one.isdigit() for one in rest)


def _stands_out(raised: re.Match[str], characters: str, place: tuple[int, int], glyphs: Glyphs) -> bool:
    """Whether a line begins with a larger letter, and the blank behind it, if there is one, is pdfium's own."""
    if not raised[2].isupper() or not (raised[3] or raised[2].lower() in _ALONE):
        return False
    letter = first_of(characters, place) + len(raised[1])
    after = letter + 1 + len(raised[3])
    if after >= place[1] or (raised[3] and (characters[letter + 1] != " " or glyphs.width_of(letter + 1) > 0)):
        return False
    return glyphs.look_of(letter)[0] >= LARGER * glyphs.look_of(after)[0] > 0


def _beside(parts: Sequence[Placed], number: int, characters: str, glyphs: Glyphs) -> int | None:
    """The number of the highest line that begins close to the right of an initial; it may be anywhere on the page."""
    start, end = parts[number][1]
    places = [place for place in range(start, end) if characters[place].isalpha()]
    if len(places) != 1 or not characters[places[0]].isupper():
        return None
    left, bottom, right, top = glyphs.box_of(places[0])
    size, best, highest = glyphs.look_of(places[0])[0], None, bottom
    for other, (line, place) in enumerate(parts):
        if other == number or line.table or place[1] <= place[0] or LARGER * line.size > size or len(line.text) < 2:
            continue
        first = first_of(characters, place)
        if first >= place[1]:
            continue
        x, level = glyphs.origin_of(first)
        if left < x and x - right <= NEAR * line.size and highest - line.size / 3 <= level < top:
            best, highest = other, level + line.size / 3
    return best


def _apart(letter: str, rest: str, words: Mapping[str, int]) -> bool:
    """Whether an initial is a word of its own, as in "A house" and "I had"; `words`: how often its page has each, in
    small letters."""
    found = _WORD.match(rest)
    first, alone = found.group().lower() if found else "", letter.lower()
    if not found or alone not in _ALONE or alone + first in words:
        return False
    if alone == "à" or (rest[0].isupper() and rest[1:2].islower()):
        return True
    if alone == "i":
        return first in _BEHIND_I
    if alone == "a":
        return first not in _BEHIND_A and not _BEGINS_NONE.match(first)
    return len(first) > 1 and words.get(first, 0) > 1
