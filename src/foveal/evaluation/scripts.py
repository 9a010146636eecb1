"""Letters, marks and numbers of every script, as classes of regular expressions; which script a text is in.

Python's `\\w` knows no marks: it cuts a Telugu word at each vowel sign. Here a word is a run of letters, marks and
numbers (Unicode categories L, M, N) and of the joiners U+200B to U+200D, which do not count. Where no space parts words
(Han, kana, Thai, Lao, Khmer, Burmese) each letter, with its marks, is a word.

    words("Don't! తెలుగులో 東京")  ->  ["don", "t", "తెలుగులో", "東", "京"]
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

JOINERS = "\u200b\u200c\u200d"
"""Zero-width space, non-joiner, joiner: they shape a word's look and are left out of it."""

SOFT_HYPHEN = "\u00ad"

UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x20000, 0x323AF),
)  # fmt: skip
"""Blocks whose letters stand for about a word or a syllable each."""

UNSPACED_RANGES = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
"""The same as the inside of `[…]`."""

LAST = 0x323AF
"""Past this point there are no letters, only tags and private use; the selectors of planes 14 and up are no words."""

SYLLABIC_RANGES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Of these Thai, Lao, Burmese and Khmer, whose words are of several letters, as the inside of `[…]`."""

SEEN = 4096
"""Letters that a text's script is told by."""

_PLAIN = re.compile(r"\w+")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_SYLLABIC = re.compile(f"[{SYLLABIC_RANGES}]+")
_SYLLABIC_OR_NOT = re.compile(f"[{SYLLABIC_RANGES}]+|[^{SYLLABIC_RANGES}]+")
_DROP = {ord(one): None for one in JOINERS}


@dataclass(frozen=True)
class Classes:
    """Insides of `[…]`: letters and numbers that words are runs of, those that stand alone, marks, punctuation."""

    spaced: str  # letters, numbers, marks, joiners; without `unspaced`
    unspaced: str
    marks: str  # and joiners
    signs: str  # punctuation and symbols (categories P and S)


@lru_cache(1)
def classes() -> Classes:
    """The classes; they are found once, in some 30 ms."""
    kinds: dict[str, list[int]] = {"spaced": [], "unspaced": [], "marks": [], "signs": []}
    alone = {point for first, last in UNSPACED for point in range(first, last + 1)}
    for point in range(min(LAST, sys.maxunicode) + 1):
        category = unicodedata.category(chr(point))[0]
        if category in "LN":
            kinds["unspaced" if point in alone else "spaced"].append(point)
        elif category == "M":
            kinds["marks"].append(point)
            kinds["spaced"].append(point)
        elif category in "PS":
            kinds["signs"].append(point)
    return Classes(*(_ranges(kinds[name]) + extra for name, extra in _EXTRA))


_EXTRA = (("spaced", JOINERS), ("unspaced", ""), ("marks", JOINERS), ("signs", ""))


def _ranges(points: list[int]) -> str:
    """Sorted code points as ranges of a regular expression."""
    parts = []
    for _, run in groupby(enumerate(points), key=lambda pair: pair[1] - pair[0]):
        row = [point for _, point in run]
        parts.append(re.escape(chr(row[0])) + (f"-{re.escape(chr(row[-1]))}" if len(row) > 1 else ""))
    return "".join(parts)


@lru_cache(1)
def _word() -> re.Pattern[str]:
    known = classes()
    return re.compile(f"[{known.unspaced}][{known.marks}]*|[{known.spaced}]+")


def words(text: str) -> list[str]:
    """The words of `text` in lower case, in composed form, without joiners; digits are cut at `,` and `.`, as ROUGE
    has it. On ASCII these are the runs of letters and digits.
    """
    found = _word().findall(unicodedata.normalize("NFC", text).lower())
    return [word for one in found if (word := without_joiners(one))]


@lru_cache(1)
def run_pattern() -> re.Pattern[str]:
    """Runs of letters, marks, numbers and `_`: `\\w+` that cuts no word at a vowel sign or an accent of its own."""
    return re.compile(rf"\w[\w{classes().marks}]*")


def composed(text: str) -> str:
    """The text with letter and accent as one character (NFC), and without soft hyphens: words are cut at both.
    Names of files from a Mac have them apart, and so have texts that were copied from there.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text.replace(SOFT_HYPHEN, ""))


def word_runs(text: str) -> list[str]:
    """The runs of `text`, as they stand there."""
    return (_PLAIN if text.isascii() else run_pattern()).findall(text)


def pieces(run: str) -> list[str]:
    """A run of `word_runs` as things to count: itself, or where no space parts words what overlaps in it.

    Of kana and ideographs that is each pair; of Thai, Lao, Burmese and Khmer three letters with their marks, about a
    syllable and a half: two stand in too many words.
    """
    if run.isascii():
        return [run]
    if _IDEOGRAPH.search(run):
        return [run[at : at + 2] for at in range(max(1, len(run) - 1))]
    if not _SYLLABIC.search(run):
        return [run]
    found: list[str] = []
    for part in _SYLLABIC_OR_NOT.findall(run):
        letters = _letter().findall(part) if _SYLLABIC.match(part) else [part]
        found += ["".join(letters[at : at + 3]) for at in range(max(1, len(letters) - 2))]
    return found


def counted_words(text: str) -> list[str]:
    """The words of `text` as things to count, in order: composed, in lower case; `pieces` where no space parts them."""
    found = word_runs(composed(text).lower())
    return found if text.isascii() else [piece for run in found for piece in pieces(run)]


def word_count(text: str) -> int:
    """How many words `text` has about: runs between white space; where no space parts words, two letters are one."""
    if text.isascii() or not _alone().search(text):
        return len(text.split())
    return sum(max(1, len(_alone().findall(run)) // 2) for run in text.split())


@lru_cache(1)
def _alone() -> re.Pattern[str]:
    return re.compile(f"[{classes().unspaced}]")


@lru_cache(1)
def _letter() -> re.Pattern[str]:
    return re.compile(rf".[{classes().marks}]*")


def without_joiners(word: str) -> str:
    """The word without U+200B to U+200D."""
    return word.translate(_DROP) if any(one in word for one in JOINERS) else word


def script_of(text: str) -> str:
    """The script of most letters, as Unicode names them: "LATIN", "TELUGU", "CJK", …; "" where there are none."""
    counts: Counter[str] = Counter()
    for character in text:
        if character.isalpha():
            counts[_script(character)] += 1
            if counts.total() == SEEN:
                break
    return counts.most_common(1)[0][0] if counts else ""


@lru_cache(4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "UNNAMED").replace("-", " ").split()[0]
