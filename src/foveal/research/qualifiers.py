"""Words that turn what they stand at into its lack, or bound it, and claims that leave them out.

    dropped("Vitamin D raises the risk.", "A low serum vitamin D concentration raises the risk.")     # "low"
    widened("All mills burnt down.", "Some of the mills burnt down.")                                 # "some"

A short sentence of a model keeps the words of its passage and loses the one on which all hangs: "a lack of", "loss of",
"deficiency", "anti-". All words of such a claim stand in the passage, and their meaning is near, so that no other
signal sees it. A claim with a word of lack or denial that its sentence does not have is not looked at: it says so in
other words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from itertools import pairwise, takewhile

from foveal.research.anchors import plain
from foveal.retrieval.words import FUNCTION_WORDS


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


BEFORE = _listed(
    "low lower lowered reduced decreased diminished insufficient inadequate deficient poor impaired absent missing "
    "lacking suppressed inhibited blocked depleted defective attenuated limited minimal scarce weak weakened abolished "
    "knockout knockdown downregulated former unlikely failed unsuccessful refused rejected false alleged opposing"
)
"""Said of the words behind them."""

JOINED = _listed("anti non")
"""Said of the very next word."""

BEHIND = _listed(
    "deficiency deficiencies deficient insufficiency insufficient depletion deprivation ablation deletion knockout "
    "knockdown deficits deficit inhibitor inhibitors inhibition antagonist antagonists blockade blocker blockers "
    "withdrawal loss losses shortage shortages reduction reductions decrease decline suppression failure failures "
    "resistance null free opponents critics ban"
)
"""Said of the words right before them."""

OF = _listed(
    "lack lacks absence loss losses deficiency deficiencies insufficiency depletion deprivation ablation deletion "
    "inhibition inhibitors inhibitor antagonists antagonist blockade withdrawal removal reduction reductions decrease "
    "decline suppression failure failures abolition attenuation destruction rejection refusal end "
    "shortage shortages ban opponents critics"
)
"""Said of what they are “of”, “in”, “on”, “to”, “for”."""

DENIES = _listed(
    "not no never none neither nor without cannot few fewer little less lacked too under fails lost lose loses "
    "worse poorer weak weaker weakened small smaller stop stops stopped prevent prevents prevented block blocks "
    "blocking inhibit inhibits inhibiting reduce reduces reducing lowers lowering decreases decreasing decline "
    "declines deny denies denied oppose opposes opposed against avoid avoids remove removes removed removing "
    "deplete depletes depleting delete deletes deleted impair impairs suppress suppresses deprived ablated restrict "
    "restricts restricted restriction limited limits minimal"
)
"""Words, beside those above, that a claim may say it with."""

ALL = _listed("all every each always entire everyone everybody")
SOME = _listed(
    "some many most several few certain various numerous half part often sometimes usually frequently occasionally "
    "generally typically mostly mainly partly rarely seldom majority minority"
)
"""Words that say of how much of a thing, or how often, something is said: of all of it, or of less."""

PHRASE = 2
"""Words with a meaning behind such a word that it is said of."""

NEAR, COMPOUND = 3, 2
"""Words behind a word of `BEFORE` or `OF`, and before one of `BEHIND`, that it is said of."""

_DENYING = BEFORE | JOINED | BEHIND | OF | DENIES
_LACK = (BEFORE | JOINED | BEHIND | OF) - _listed("end free null poor critics opponents")  # what says it by itself
_HOW_OFTEN = _listed("always often sometimes usually frequently occasionally generally typically rarely seldom")
_LINKS = _listed("of in on to for")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def dropped(claim: str, said: str) -> str:
    """The word of lack in a sentence that hangs on words which the claim keeps, and that it leaves out; "" if none.

    Nothing is dropped where the sentence has a word without it as often as the claim does.
    """
    mine, words = _words(claim), _words(said)
    own, theirs = _denied(mine), _denied(words)
    if own - theirs:
        return ""
    kept, gone = set(mine) - FUNCTION_WORDS, set(theirs) - set(own)
    left = [at for at, word in enumerate(words) if word in gone and not _joined(words, at, own)]
    turned = {place: at for at in left for place in _said_of(words, at)}
    turned = {place: at for place, at in turned.items() if words[place] in kept}
    free = Counter(word for place, word in enumerate(words) if place not in turned)
    said_so = Counter(mine)
    return next((words[at] for place, at in sorted(turned.items()) if said_so[words[place]] > free[words[place]]), "")


def joined_over(claim: str, said: str) -> str:
    """The word of lack over which the claim joins its two neighbours in the sentence: "the weak signal" told as "the
    signal"; "" if none.

    What the sentence itself has side by side tells nothing, nor a claim that denies in words of its own.
    """
    mine, words = _words(claim), _words(said)
    own, theirs = _denied(mine), _denied(words)
    if own - theirs:
        return ""
    joined = set(pairwise(mine)) - set(pairwise(words))
    lost = (theirs - own).keys() & _LACK
    places = (at for at, word in enumerate(words) if word in lost and at and not _joined(words, at, own))
    return next((words[at] for at in places if any((words[at - 1], one) in joined for one in _next(words, at))), "")


def widened(claim: str, said: str) -> str:
    """The word that bounds a sentence, where the claim says it of all: "some mills" told as "all mills"; "" if none.

    A sentence that speaks of all of anything is not looked at, nor a claim that keeps the word.
    """
    mine, words = _words(claim), _words(said)
    if ALL.intersection(words):
        return ""
    whole = [_named(mine, _around(mine, at)) for at, word in enumerate(mine) if word in ALL and not _idle(mine, at)]
    bounds = {at: _around(words, at) for at, word in enumerate(words) if word in SOME and not _idle(words, at)}
    bounded = {place for places in bounds.values() for place in places}
    free = _named(words, set(range(len(words))) - bounded)
    left = {at: _named(words, places) - free for at, places in bounds.items() if words[at] not in mine}
    return next((words[at] for at, named in left.items() if any(named & one for one in whole)), "")


def _around(words: Sequence[str], at: int) -> set[int]:
    """The places of what the word at one speaks of: the next words with a meaning; where it says how often, those
    before it, too."""
    behind = [place for place in range(at + 1, len(words)) if words[place] not in FUNCTION_WORDS][:PHRASE]
    before = [place for place in range(at) if words[place] not in FUNCTION_WORDS][-PHRASE:]
    return {*behind, *(before if words[at] in _HOW_OFTEN else ())}


def _named(words: Sequence[str], places: Iterable[int]) -> set[str]:
    """The words at these places, one and many alike."""
    return {words[place].removesuffix("s") for place in places}


def _idle(words: Sequence[str], at: int) -> bool:
    """Whether such a word says nothing of the kind: "after all", "each other", "the most common"."""
    before, after = words[at - 1] if at else "", words[at + 1] if at + 1 < len(words) else ""
    if words[at] == "most":
        return before in ("the", "a", "its", "their", "his", "her")
    return after in ("other", "but") or (words[at] == "all" and before in ("at", "after", "above", "first"))


def _next(words: Sequence[str], at: int) -> Sequence[str]:
    """What may be told right after the word before the one at a place: its own next word, or what it is "of"."""
    after = words[at + 1 : at + 4]
    if words[at] not in OF or not after or after[0] not in _LINKS:
        return after[:1]
    return after[1:3] if after[1:2] in (["the"], ["a"], ["an"]) else after[1:2]


def _denied(words: Sequence[str]) -> Counter[str]:
    """The words of lack among these, each as often as it is there."""
    return Counter(filter(_denies, words))


def _denies(word: str) -> bool:
    return word in _DENYING or word.endswith("n't")


def _joined(words: Sequence[str], at: int, own: Container[str]) -> bool:
    """Whether an "and" or "or" joins the word at a place to one that the claim has: "insufficiency and deficiency"."""
    pairs = ((at - 1, at - 2), (at + 1, at + 2))
    return any(
        0 <= other < len(words) and words[link] in ("and", "or") and words[other] in own for link, other in pairs
    )


def _said_of(words: Sequence[str], at: int) -> list[int]:
    """The places of the words that the one at a place turns."""
    word, behind = words[at], range(at + 1, len(words))
    found: list[int] = []
    if word in JOINED:
        found += behind[:1]
    if word in BEFORE:
        found += _run(words, behind)[:NEAR]
    if word in BEHIND:
        found += _run(words, range(at - 1, -1, -1))[:COMPOUND]
    if word in OF and behind and words[at + 1] in _LINKS:
        found += [place for place in behind[1:] if words[place] not in FUNCTION_WORDS][:NEAR]
    return found


def _run(words: Sequence[str], places: Iterable[int]) -> list[int]:
    """The places up to the first function word."""
    return list(takewhile(lambda place: words[place] not in FUNCTION_WORDS, places))


def _words(text: str) -> list[str]:
    return [plain(found[0]) for found in _WORD.finditer(text)]
