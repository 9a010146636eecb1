"""The numbers, dates and names of a text, in forms that can be compared: what a citation has to hold of a claim.

    anchors("On 5 March 2021 UNESCO gave 1.2 million euros.")   # a date, a name, a number with its unit
    missing(claim_anchors, Held.of(cited_text))                 # those that the text does not hold

Number   1,200 = 1200 = 1.2 thousand = twelve hundred; "3rd" and "third" are 3, "1970s" is 1970; with a unit where one
         stands by it (12 % is not 12 kg). A rounded one ("about 1,200", "1.2 million") is held by one that rounds to
         it; −5 by 5 only where a word beside it says so ("fell by 5"), and the other way round
Date     day, month and year as far as they are given: "March 2021" is held by 2021-03-05, not the other way round.
         A bare year is a number; "1913-16" is 1913 and 1916
Name     a run of capitalised words. Its last word must stand in the text, and half of all; a possessive, an accent, a
         plural and most adjectives of countries count as the name; an abbreviation is held by what
         it abbreviates, and a long word by one that differs in a letter
Limits   names are found in scripts that have capitals; a word that opens a sentence is taken for a name only where the
         next one has a capital too, or "is", "was" or "has" follows
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from foveal.research.quantities import MONTHS, Anchor, dates, numbers, same_date, same_number, take, within
from foveal.retrieval.words import FUNCTION_WORDS

_WORD = re.compile(r"[^\W_](?:[\w&'’.-]*\w)?")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_JOINING = _listed("of the de du da di la le van von der den del al el bin ibn")
_BEING = re.compile(r"(?:\s+(?:is|was|has)|[’']s)\b")
_ASKING = _listed("where when who whom whose what which why how did do does can could would should")
_NO_NAMES = FUNCTION_WORDS | _ASKING | set(MONTHS) | {"however", "although", "moreover", "according", "monday", "i"}
_ADJECTIVES = {
    "french": "france", "dutch": "netherlands", "spanish": "spain", "british": "britain", "danish": "denmark",
    "polish": "poland", "greek": "greece", "swiss": "switzerland", "irish": "ireland", "welsh": "wales",
    "scottish": "scotland", "turkish": "turkey", "finnish": "finland", "swedish": "sweden", "english": "england",
    "norwegian": "norway", "american": "america", "chinese": "china", "argentine": "argentina",
}  # fmt: skip
LONGEST_NAME = 100
"""Characters of a word of which endings are taken off; a longer one is data, and would take for ever."""

_ENDING = re.compile(r"(?:ians|ian|ans|an|eses|ese|s|n|i|ia|y)\Z")


def anchors(text: str) -> list[Anchor]:
    """The anchors of a text, in its order."""
    dated = dates(text)
    taken = bytearray(len(text))
    take(taken, *dated)
    counted = [one for one in numbers(text) if not within(one, taken)]
    take(taken, *counted)
    called = [one for one in _names(text) if not within(one, taken)]
    return sorted([*dated, *counted, *called], key=lambda one: (one.start, one.end))


def names_of(text: str) -> list[str]:
    """The names of a text, as they stand in it but for a possessive, in its order."""
    return [re.sub(r"['’]s?\Z", "", one.text) for one in _names(text)]


def name_words(text: str) -> list[str]:
    """The words of a text's names that have a capital, but for those that open a sentence."""
    return [word for one in _names(text) for word in one.words[_opens(text, one.start) :]]


def is_adjective(name: str) -> bool:
    """Whether a name is no more than a country's adjective: "French"."""
    return name.lower() in _ADJECTIVES


def plain(word: str) -> str:
    """A word to compare: lower case, without accents and possessive."""
    if word.isascii():
        return word.lower().removesuffix("'s").strip("'.")
    folded = unicodedata.normalize("NFKD", word.casefold().replace("’", "'"))
    return "".join(one for one in folded if not unicodedata.combining(one)).removesuffix("'s").strip("'.")


@dataclass(frozen=True)
class Held:
    """What a text holds: its anchors, and its words in plain form."""

    found: tuple[Anchor, ...]
    words: frozenset[str]
    initials: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, text: str) -> Held:
        """What `text` holds."""
        return _held(text)

    @classmethod
    def read(cls, text: str) -> Held:
        """`of`, read anew."""
        words = [plain(part) for found in _WORD.finditer(text) for part in re.split(r"[-–/]", found[0])]
        named = _words_with_capital(text)
        runs = (
            "".join(one[0] for one in named[at : at + size]) for size in (2, 3, 4, 5, 6) for at in range(len(named))
        )
        return cls(tuple(anchors(text)), frozenset(_stem(one) for one in words if one), frozenset(map(str.lower, runs)))

    def holds(self, one: Anchor) -> bool:
        """Whether the text holds an anchor of another one."""
        match one.kind:
            case "number":
                return any(same_number(one, other) for other in self.found)
            case "date":
                return any(same_date(one.date, other) for other in self.found)
            case _:
                return self._holds_name(one)

    def _holds_name(self, one: Anchor) -> bool:
        held = [self.holds_word(word) for word in one.words]
        return bool(held) and held[-1] and sum(held) * 2 >= len(held)

    def holds_word(self, word: str) -> bool:
        """Whether the text holds a word of a name, in another form, too."""
        parts = [_stem(plain(part)) for part in re.split(r"[-–/]", word)]
        if all(part in self.words or self._misspelt(part) for part in parts if part):
            return True
        return word.isupper() and len(word) > 1 and word.replace(".", "").lower() in self.initials

    def _misspelt(self, word: str) -> bool:
        """Whether a word of six letters and more is held but for one letter, or two that changed places."""
        if len(word) < 6 or not word.isalpha():
            return False
        return any(abs(len(one) - len(word)) < 2 and one[0] == word[0] and _one_apart(word, one) for one in self.words)


@lru_cache(maxsize=1024)
def _held(text: str) -> Held:
    """Kept, since many claims cite the same passages."""
    return Held.read(text)


def _one_apart(one: str, other: str) -> bool:
    """Whether two words differ by a letter more, less, another one, or two neighbours exchanged."""
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    left, right = one[start:], other[start:]
    return (
        left[1:] == right[1:]
        or left[1:] == right
        or left == right[1:]
        or (left[2:] == right[2:] and left[:2] == right[:2][::-1])
    )


def missing(of: Iterable[Anchor], held: Held) -> list[Anchor]:
    """The anchors that a text does not hold."""
    return [one for one in of if not held.holds(one)]


def _stem(word: str) -> str:
    """A name without its adjective's or plural's ending."""
    word = _ADJECTIVES.get(word, word)
    if len(word) > LONGEST_NAME:
        return word
    while len(cut := _ENDING.sub("", word)) >= 3 and cut != word:  # German-y, Germ-an
        word = cut
    return word


def _words_with_capital(text: str) -> list[str]:
    return [found[0] for found in _WORD.finditer(text) if found[0][0].isupper()]


def _names(text: str) -> list[Anchor]:
    """Runs of capitalised words, joined over "of", "de" and the like."""
    found = list(_WORD.finditer(text))
    names: list[Anchor] = []
    at = 0
    while at < len(found):
        if not _capital(found[at][0]):
            at += 1
            continue
        end = at + 1
        while end < len(found) and (step := _goes_on(found, end, text)):
            end += step
        names += _name(found[at:end], text)
        at = end
    return names


def _goes_on(found: Sequence[re.Match[str]], at: int, text: str) -> int:
    """How many words from `at` on belong to the name before it: 0, 1, or 2 and more with the joining ones."""
    for ahead in range(3):
        if at + ahead >= len(found) or not _joined(text[found[at + ahead - 1].end() : found[at + ahead].start()]):
            return 0
        word = found[at + ahead][0]
        if _capital(word):
            return ahead + 1
        if word not in _JOINING:
            return 0
    return 0


def _joined(between: str) -> bool:
    return between in (" ", "\u00a0", " & ", "-", " '", ". ") and len(between) <= 3


def _capital(word: str) -> bool:
    return word[0].isupper()


def _name(run: Sequence[re.Match[str]], text: str) -> list[Anchor]:
    named = next((n for n, one in enumerate(run) if plain(one[0]) not in _NO_NAMES), len(run))
    opens = not named and _opens(text, run[0].start())
    words = run[next((n for n in range(named, len(run)) if _capital(run[n][0])), len(run)) :]
    if not words or (opens and len(words) == 1 and not _sure(words[0], text)):
        return []
    start, end = words[0].start(), words[-1].end()
    capitals = tuple(one[0] for one in words if _capital(one[0]))
    return [Anchor("name", text[start:end], start, end, words=capitals)]


def _opens(text: str, start: int) -> bool:
    """Whether a sentence, or a quotation, begins here."""
    while start and text[start - 1] in " \"'“‘«([*_":
        start -= 1
    return not start or text[start - 1] in ".!?:;\n•-–—|"


def _sure(word: re.Match[str], text: str) -> bool:
    """Whether a word that opens a sentence is a name all the same."""
    if any(one.isupper() or one.isdigit() for one in word[0][1:]):
        return True
    return _BEING.match(text, word.end()) is not None
