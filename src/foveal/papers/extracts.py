"""One sentence and a few words of an abstract that say what it is about, chosen by rule: no model is needed.

    central_sentence(abstract, title)                  # the sentence that shares most with the rest and the title
    keyphrases(abstract, title, most=15)               # ["sparse attention", …], each stands so in the abstract

Sentence  of those of at most 40 words, the one whose words weigh most among all of the abstract's (count over length),
          those of the title twice; one that says "we propose" or the like is preferred, asides at the end are not
Phrases   runs of 1 to 3 words between function words and signs (Rose et al., 2010, RAKE), scored by count, length and
          whether they stand in the title; words that every paper uses are no phrase by themselves
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from foveal.retrieval.terms import terms
from foveal.retrieval.words import FUNCTION_WORDS
from foveal.text.units import sentences

MOST_WORDS = 40
FEWEST_KEYWORDS, MOST_KEYWORDS = 5, 15
LONGEST_PHRASE = 3
PREFERRED = 1.6
"""Factor of a sentence that says what was done."""

_CLAIM = re.compile(
    r"\b(we|this (paper|work|article|study)|here)\b.{0,40}\b(propos|introduc|present|develop|show|describ|demonstrat|"
    r"investigat|study|studies|address|report|outlin|stud(y|ies)|find)",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\b(code|data|models?|source|implementation)\b.{0,60}\b(available|released?)\b|https?://", re.I)
_RUN = re.compile(r"[\w\u0300-\u036f]+(?:[-'’][\w\u0300-\u036f]+)*")
_COMMON_WORDS = (
    "abstract achieve achieves across address addresses aim allow allows also although among analysis applied apply "
    "approach approaches based best better between beyond both built can capabilities capability compared consider "
    "could crucial current data demonstrate demonstrates describe despite develop different does due during each "
    "effective efficient enable enables enabling entire especially evaluate evaluation even existing experiment "
    "experimental experiments extensive finally find findings first following four fully further given good help high "
    "higher how however important improve improved improvement improves including increase introduce introduces "
    "investigate key large largely less leverage leverages leveraging like low make many may method methods more "
    "moreover most much multiple need new no not novel number often one only other our out outperforms over paper "
    "particular perform performance possible present presented presents previous problem problems propose proposed "
    "proposes provide provides rapid rapidly recent recently reduce reduces reducing remain remains report require "
    "requires requiring research result results same second set several show shown shows significant significantly "
    "simple since single so some specifically state-of-the-art still strategies strategy strong study such suggest "
    "system systems task tasks technique techniques then three through thus toward towards two under up us use used "
    "useful user users uses using various very via way ways well when where whether which while widely within without "
    "work works year years yield yields"
)
_EVERYWHERE = frozenset(_COMMON_WORDS.split())
"""Words that every paper uses: none of them is in a phrase."""

_WEAK_WORDS = (
    "application applications approach benchmark benchmarks context data dataset datasets form framework frameworks "
    "heads information layer layers long model models progress scores structure structures tool training usage"
)
_WEAK = frozenset(_WEAK_WORDS.split())
"""Words that say little without another one."""


def central_sentence(abstract: str, title: str = "") -> str:
    """The sentence that says most, of at most `MOST_WORDS` words; "" where there is no text."""
    found = [" ".join(abstract[start:end].split()) for start, end in sentences(abstract)]
    found = [one for one in found if any(map(str.isalnum, one))]
    if not found:
        return ""
    weights = _by_words(found, title)
    scores = [
        weight * (PREFERRED if _CLAIM.search(one) else 0.5 if _ASIDE.search(one) else 1.0)
        for one, weight in zip(found, weights, strict=True)
    ]
    short = [place for place, one in enumerate(found) if len(one.split()) <= MOST_WORDS]
    if short:
        return found[max(short, key=lambda place: (scores[place], -place))]
    longest = found[max(range(len(found)), key=lambda place: (scores[place], -place))]
    return " ".join(longest.split()[: MOST_WORDS - 1]).rstrip(",;:") + " …"


def _by_words(found: Sequence[str], title: str) -> list[float]:
    """Mean weight of each sentence's words: how often they come in the abstract, and in the title twice that."""
    counts = Counter(word for one in found for word in terms(one))
    named = set(terms(title))
    weights = []
    for one in found:
        own = terms(one)
        total = sum(counts[word] * (2.0 if word in named else 1.0) for word in set(own))
        weights.append(total / (8 + len(own)))  # a sentence of three words must not win by one of them
    return weights


def keyphrases(abstract: str, title: str = "", most: int = MOST_KEYWORDS) -> list[str]:
    """Up to `most` phrases as they first stand in the abstract, the best first; none holds another."""
    shown: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for phrase in _phrases(abstract):
        key = phrase.casefold()
        shown.setdefault(key, phrase)
        counts[key] += 1
    named = f" {' '.join(_RUN.findall(title)).casefold()} "
    scores = {
        key: count * (0.5 + 0.5 * len(key.split())) * (2.0 if f" {key} " in named else 1.0)
        for key, count in counts.items()
    }
    chosen: list[str] = []
    for key in sorted(scores, key=lambda one: (-scores[one], abstract.casefold().find(one), one)):
        if len(chosen) == most:
            break
        if not any(f" {key} " in f" {other} " or f" {other} " in f" {key} " for other in chosen):
            chosen.append(key)
    return [shown[key] for key in chosen]


def _phrases(text: str) -> Iterator[str]:
    """Runs of 1 to 3 words that may be a phrase, as they stand: no function word, sign or common word at an end."""
    run: list[tuple[int, int]] = []
    for start, end in [*(found.span() for found in _RUN.finditer(text)), (len(text), len(text))]:
        gap = text[run[-1][1] : start] if run else ""
        if run and (not gap.isspace() or start == len(text)):
            yield from _within(text, run)
            run = []
        word = text[start:end]
        if word.casefold() in FUNCTION_WORDS or not any(map(str.isalpha, word)):
            yield from _within(text, run)
            run = []
        elif start < len(text):
            run.append((start, end))


def _within(text: str, run: Sequence[tuple[int, int]]) -> Iterator[str]:
    words = [text[start:end].casefold() for start, end in run]
    for first in range(len(run)):
        for last in range(first, min(len(run), first + LONGEST_PHRASE)):
            if _names(words[first : last + 1]):
                yield " ".join(text[run[first][0] : run[last][1]].split())


def _names(words: Sequence[str]) -> bool:
    """Whether words may be a name: no common word, no adverb at an end, no verb such as "produces" before others."""
    if any(len(word) < 3 or word.endswith("ly") for word in (words[0], words[-1])) or not _EVERYWHERE.isdisjoint(words):
        return False
    if len(words) == 1:
        return words[0] not in _WEAK
    return not words[0].endswith("s") or words[0].endswith(("ss", "us", "is", "ics"))
