"""What an event store is fed: dated records, what of them counts as evidence, and the same text told apart from news.

    keep = ItemFilter(); keep.refused(item, words)       # None, or why: "too short", "bulletin", "language", …
    index = NearDuplicates(); index.seen(words, item.id) # the id of an earlier item with nearly the same words

Dates      naive or aware datetimes, but not both in one stream; naive ones are taken as UTC
Bulletins  listings, prices and adverts, by rules, and by a title that comes on many days with other numbers in it
MinHash    Broder, 1997: the share of equal minima over random orders of the 3-grams of words estimates their Jaccard
           coefficient; bands of 4 minima find candidates, whose coefficient is then computed exactly
Compiled   from some thousand texts on grams and minima are computed in C++ (`event_native.py`): the same numbers
Memory     all tables have a bound; the oldest entries go first. So they are ordered dictionaries: a plain one looks for
           its first entry behind the room of all that went before
"""

from __future__ import annotations

import math
import re
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation.scripts import word_runs
from foveal.retrieval.event_native import native
from foveal.retrieval.terms import terms
from foveal.retrieval.words import FUNCTION_WORDS

DAY = 86_400.0

Kept = TypeVar("Kept")
Words = Sequence[str]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Item:
    """A record of a stream: a page, a feed entry, a paper."""

    id: str
    title: str
    text: str = ""
    published_at: datetime | None = None
    source: str = ""


def event_terms(text: str) -> list[str]:
    """The terms of a text, an English plural as its singular."""
    plain = text.isascii()  # then the same as `terms`, which looks for ideographs in each word
    return list(filter(None, map(_TERMS.__getitem__, word_runs(text.lower()) if plain else terms(text))))


def _term(word: str) -> str:
    """The word's singular; "" for a function word."""
    if word in FUNCTION_WORDS:
        return ""
    return word[:-1] if word[-1] == "s" and len(word) > 3 and word[-2] != "s" else word


class _Remembered(dict[str, Kept]):
    """What a function makes of a word, remembered for 100,000 words; then it begins anew."""

    def __init__(self, make: Callable[[str], Kept]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, word: str) -> Kept:
        if len(self) >= 100_000:
            self.clear()
        found = self[word] = self.make(word)
        return found


_TERMS = _Remembered(_term)


def seconds(moment: datetime) -> float:
    """Seconds since 1970; a moment without a zone is taken as UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def datetime_of(moment: float, *, aware: bool) -> datetime:
    """The inverse of `seconds`."""
    found = datetime.fromtimestamp(moment, UTC)
    return found if aware else found.replace(tzinfo=None)


# -- evidence or not --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """What counts as evidence of an event."""

    min_words: int = 4  # of the title
    max_words: int = 40
    languages: tuple[str, ...] = ()  # codes of `language_of`; empty: all; what cannot be told passes
    bulletins: bool = False  # keep listings, prices and adverts, too
    bulletin_days: int = 3  # days on which a title came, its numbers aside, from which it is a bulletin
    bulletin_gap_days: int = 31  # without it, after which its days are counted anew: what strikes again is news again
    jaccard: float = 0.8  # of 3-grams of words, from which a text is the same; above 1: none is
    remembered: int = 20_000  # items, and titles, that are remembered

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.max_words or self.bulletin_days < 2:
            raise InputError(
                f"A filter got min_words={self.min_words}, max_words={self.max_words}, bulletin_days="
                f"{self.bulletin_days}; it needs 1 <= min <= max, and 2 days or more."
            )
        if min(self.bulletin_gap_days, self.remembered) < 1:
            raise InputError(
                f"A filter got bulletin_gap_days={self.bulletin_gap_days}, remembered={self.remembered}; it needs 1 or "
                "more of each."
            )
        if not self.jaccard > 0:
            raise InputError(f"A filter got jaccard={self.jaccard}; it needs a number above 0.")


class _Pattern:
    """A pattern in lower case for any: a text of ASCII that is lowered itself is looked through faster."""

    def __init__(self, pattern: str) -> None:
        self.plain, self.any = re.compile(pattern), re.compile(pattern, re.IGNORECASE)


_BULLETIN = _Pattern(
    r"^\s*(?:today'?s|daily|weekly|morning|evening|midday)\s+(?:briefing|digest|newsletter|horoscope|crossword|quiz)\b"
    r"|\b(?:highlights|futures|prices?|quotations?|exchs?|exchange rates?|spot|fixing|deposit rates?|midsession|"
    r"t-?bills?)\b[^a-z]*(?:noon|close|closing|opening|opg|open|gmt|ends?|report|table|[-–]\s*\w+\s*\d)"
    r"|\b(?:live updates?|live blog|as it happened|in pictures|photos of the (?:day|week))\s*$"
    r"|\b(?:coupons?|promo codes?|best deals?|black friday deals?|\d+\s?% off|sponsored|advertisement)\b"
    r"|\b(?:shr|qtr|qtly|div)\b.*\b(?:net|vs|shr|qtr|pay)\b|\b(?:1st|2nd|3rd|4th|first|second|third|fourth) qtr\b",
)
_VARIES = _Pattern(
    r"\d[\d.,:/%-]*|\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
)
_NOT_WORDS = re.compile(r"[\W_]+")
LOOKED_AT = 1_000
"""Characters of a title that rules look at: a page may have any title, and some rules take the square of its length."""


def is_bulletin(title: str) -> bool:
    """Whether a title reads as a listing, a price table or an advert, by rule; numbers for most of its words do."""
    title = title[:LOOKED_AT]
    if _BULLETIN.plain.search(title.lower()) if title.isascii() else _BULLETIN.any.search(title):
        return True
    if not any(map(str.isdigit, title)):
        return False
    words = title.split()
    return sum(any(map(str.isdigit, word)) for word in words) > len(words) / 2


def template(title: str) -> str:
    """A title without what changes from one issue of a bulletin to the next: numbers, months, days."""
    lowered = title.lower()
    varies = _VARIES.plain if lowered.isascii() else _VARIES.any
    return _NOT_WORDS.sub(" ", varies.sub(" ", lowered)).strip()


class ItemFilter:
    """Says which items are no evidence, and why; what it remembers of titles is bounded."""

    def __init__(self, settings: FilterSettings | None = None) -> None:
        self.settings = settings or FilterSettings()
        self._days: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Template -> days on which it came, the last of them."""

    def refused(self, item: Item, words: int, day: int) -> str | None:
        """Why the item of `day` with so many words in its title is no evidence; None: it is."""
        settings = self.settings
        if not item.title.strip():
            return "no title"
        if words < settings.min_words:
            return "too short"
        if words > settings.max_words:
            return "too long"
        if settings.languages and language_of(f"{item.title} {item.text[:300]}") not in (None, *settings.languages):
            return "language"
        if not settings.bulletins and (self._came(item.title, day) or is_bulletin(item.title)):
            return "bulletin"
        return None

    def _came(self, title: str, day: int) -> bool:
        """Note that the title came, and say whether it did on many days of late."""
        key = template(title)
        count, last = self._days.pop(key, (0, day - 1))
        if day - last > self.settings.bulletin_gap_days:
            count = 0
        count += day > last  # what comes late makes no day anew
        self._days[key] = (count, max(day, last))  # at the end: the one that came last
        if len(self._days) > self.settings.remembered:
            self._days.popitem(last=False)
        return count >= self.settings.bulletin_days

    def state(self) -> list[Any]:
        """What is remembered, as plain values."""
        return [[key, *value] for key, value in self._days.items()]

    def restore(self, state: Sequence[Any]) -> None:
        """Take what `state` gave."""
        self._days = OrderedDict((key, (count, last)) for key, count, last in state)


_SCRIPTS = (
    ("ja", "\u3040", "\u30ff"), ("zh", "\u4e00", "\u9fff"), ("ko", "\uac00", "\ud7af"), ("ru", "\u0400", "\u04ff"),
    ("ar", "\u0600", "\u06ff"), ("hi", "\u0900", "\u097f"), ("te", "\u0c00", "\u0c7f"), ("th", "\u0e00", "\u0e7f"),
)  # fmt: skip
_COMMON = {
    "en": "the of and to in a is that for on with as at by from was are be has it his he will an this",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an",
    "fr": "de la le et les des en un une du pour que dans qui est sur au par pas il plus avec ce",
    "es": "de la que el en y a los se del las un por con una su para es al lo como más",
    "it": "di e il la che in un per è una del della con non si da le al dei sono nel",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais dos",
    "nl": "de van het een en in is dat op te voor met zijn niet aan er om ook als door",
}
_PROFILES = {code: frozenset(words.split()) for code, words in _COMMON.items()}


def language_of(text: str) -> str | None:
    """A code such as "en", by script or by function words; None where that cannot be told."""
    for code, first, last in _SCRIPTS:
        if sum(first <= sign <= last for sign in text) * 4 > len(text.replace(" ", "")):
            return code
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {code: sum(word in common for word in words) for code, common in _PROFILES.items()}
    best = max(hits, key=lambda code: hits[code])
    others = max(count for code, count in hits.items() if code != best)
    return best if hits[best] >= 2 and hits[best] > others else None


class LastIds:
    """The ids that came last: a feed that is polled brings the same entries many times."""

    def __init__(self, remembered: int) -> None:
        self.remembered = remembered
        self._ids: OrderedDict[str, None] = OrderedDict()

    def again(self, name: str) -> bool:
        """Whether the id is remembered; then it counts as come anew."""
        known = name in self._ids
        if known:
            self.note(name)
        return known

    def note(self, name: str) -> None:
        """Remember the id; the one that came longest ago is forgotten."""
        self._ids.pop(name, None)
        self._ids[name] = None
        if len(self._ids) > self.remembered:
            self._ids.popitem(last=False)

    def __len__(self) -> int:
        return len(self._ids)

    def state(self) -> list[str]:
        """What is remembered."""
        return list(self._ids)

    def restore(self, state: Sequence[str]) -> None:
        """Take what `state` gave."""
        self._ids = OrderedDict.fromkeys(state)


# -- the same text again ----------------------------------------------------------------------------------------------

ORDERS, BAND = 48, 4
"""Minima of a text, and of a band: two texts of coefficient 0.8 share a band with a probability of 0.998."""

BAND_BYTES = 4 * BAND
BANDS = tuple((bytes([band]), BAND_BYTES * band) for band in range(ORDERS // BAND))
"""What a band's key begins with, and where its minima stand."""


COMPILED_FROM = 2000
"""Texts remembered from which on minima are computed by compiled code: before that it is not worth to load it."""


def shingles(words: Words) -> Hashes:
    """The distinct hashes of all 3-grams of the words; shorter texts are one gram."""
    if not words:
        return np.empty(0, dtype=np.uint64)
    hashes = np.frombuffer(b"".join(map(_HASHES.__getitem__, words)), dtype=np.uint64)
    if len(words) < 3:
        return np.array([int(hashes.sum()) & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    a, b, c = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
    grams: Hashes = hashes[:-2] * a + hashes[1:-1] * b + hashes[2:] * c
    grams.sort()
    new = grams[1:] != grams[:-1]
    return grams if np.count_nonzero(new) == len(new) else np.concatenate([grams[:1], grams[1:][new]])


def _hash(word: str) -> bytes:
    """A number of the word as the bytes of an array's element: joined they are read at once."""
    return np.uint64(zlib.crc32(word.encode("utf-8", "surrogatepass")) + 1).tobytes()


_HASHES = _Remembered(_hash)


def jaccard(a: Hashes, b: Hashes) -> float:
    """The share of common elements in two sets; 0 where both are empty."""
    both = np.concatenate([a, b])
    both.sort()
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    whole = len(a) + len(b) - common
    return common / whole if whole else 0.0


def _banded(minima: bytes) -> tuple[bytes, ...]:
    """The keys of a text with these minima."""
    return tuple([band + minima[at : at + BAND_BYTES] for band, at in BANDS])


class NearDuplicates:
    """The items remembered last, by what their words are."""

    def __init__(self, threshold: float = 0.8, remembered: int = 20_000) -> None:
        self.threshold, self.remembered = threshold, remembered
        draw = np.random.default_rng(0)
        self._multiply = draw.integers(1, 2**63, size=ORDERS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._plus = draw.integers(0, 2**63, size=ORDERS, dtype=np.uint64)
        self._orders = self._multiply.ctypes.data, self._plus.ctypes.data
        self.compiled_from: float = COMPILED_FROM
        self._native: SimpleNamespace | None = None
        self._sets: OrderedDict[str, Hashes] = OrderedDict()  # in the order in which they came
        self._bands: dict[bytes, tuple[str, ...]] = {}  # tuples of strings are none of the garbage collector's work
        self._keys: dict[str, tuple[bytes, ...]] = {}

    def seen(self, words: Words, name: str) -> str | None:
        """The earlier item that is nearly the same; None: there is none, and this one is remembered."""
        if not words or self.threshold > 1:
            return None
        if len(self._sets) >= self.compiled_from:
            self.compiled_from, self._native = math.inf, native()
        own, keys = self._known_by(words)
        known: dict[str, None] = {}
        for key in filter(self._bands.__contains__, keys):
            known.update(dict.fromkeys(self._bands[key]))
        for one in known:
            other = self._sets[one]
            smaller, larger = sorted((len(own), len(other)))
            if smaller / larger >= self.threshold and jaccard(own, other) >= self.threshold:  # the first is the most
                return one
        self._remember(name, own, keys)
        return None

    def _known_by(self, words: Words) -> tuple[Hashes, tuple[bytes, ...]]:
        """The text's shingles, and its keys."""
        if self._native is None:
            own = shingles(words)
            return own, self._keys_of(own)
        hashes, count = b"".join(map(_HASHES.__getitem__, words)), len(words)
        grams, minima = array("Q", bytes(8 * count)), array("I", bytes(4 * ORDERS))
        places = grams.buffer_info()[0], minima.buffer_info()[0]
        found = self._native.grams(hashes, count, *self._orders, ORDERS, *places)
        return np.array(grams[:found], dtype=np.uint64), _banded(minima.tobytes())

    def _keys_of(self, own: Hashes) -> tuple[bytes, ...]:
        minima = np.minimum.reduce(own[:, None] * self._multiply + self._plus)  # the upper halves' minima, too
        packed = (minima >> np.uint64(32)).astype(np.uint32).tobytes()
        return _banded(packed)

    def _remember(self, name: str, own: Hashes, keys: tuple[bytes, ...]) -> None:
        if name in self._sets:
            self._forget(name)
        self._sets[name], self._keys[name] = own, keys
        for key in keys:
            self._bands[key] = (*self._bands.get(key, ()), name)
        if len(self._sets) > self.remembered:
            self._forget(next(iter(self._sets)))

    def _forget(self, name: str) -> None:
        del self._sets[name]
        for key in self._keys.pop(name):
            left = tuple([one for one in self._bands.pop(key) if one != name])
            if left:
                self._bands[key] = left

    def __len__(self) -> int:
        return len(self._sets)

    def __contains__(self, name: str) -> bool:
        return name in self._sets

    def state(self) -> list[Any]:
        """What is remembered, as plain values."""
        return [[name, own.tolist()] for name, own in self._sets.items()]

    def restore(self, state: Sequence[Any]) -> None:
        """Take what `state` gave."""
        self._sets, self._bands, self._keys = OrderedDict(), {}, {}
        for name, held in state:
            own = np.array(held, dtype=np.uint64)
            self._remember(name, own, self._keys_of(own))


# -- names ------------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"(?:[A-Z][\w'’.-]+|[A-Z]{2,})(?:\s+(?:(?:of|the|and|de|von|van)\s*)?(?:[A-Z][\w'’.-]+|[A-Z]{2,}))*")


def entities(title: str) -> tuple[str, ...]:
    """Names in a title, in lower case: runs of capitalised words, the first word of the title only within a run.

    A title in capitals throughout has none: they cannot be told from other words.
    """
    if title.isascii() and title.isupper():
        return ()
    letters = [sign for sign in title if sign.isalpha()]
    if not letters or sum(sign.isupper() for sign in letters) > 0.7 * len(letters) or _headline_case(title):
        return ()
    found = []
    for match in _NAME.finditer(title):
        name = match.group().strip(" .-'’")
        if match.start() == 0 and " " not in name and not name.isupper():
            continue
        found.append(name.lower().removesuffix("'s").removesuffix("’s"))
    return tuple(dict.fromkeys(found))


def _headline_case(title: str) -> bool:
    """Whether Nearly Every Word Begins With A Capital, so that capitals mark no names."""
    words = [word for word in title.split() if word[:1].isalpha()]
    return len(words) >= 4 and sum(word[0].isupper() for word in words) > 0.8 * len(words)


def half_life(age: float, half: float) -> float:
    """2^(-age / half), both in the same unit; an age below 0 counts as 0."""
    return math.pow(2.0, -max(0.0, age) / half)
