"""Relations of a sentence: around a word the two words nearest to it, one on each side, and how they are bound to it.

    sentence = Sentence.of("Jones was succeeded by Smith.")
    list(relations(sentence, {"jon", "succe", "smith"}))     # Relation("precede", "jon", "smith", …)

Bound      directly, or by a preposition. "by" behind a participle, "'s" and "whose", and a word that tells it from the
           other side (buy, sell) exchange the sides, so that both ways of saying a thing are one relation. "than",
           "before", "north of" and "from … to" are relations, too
Limits     no parser: of two clauses a comma and the small words tell, of verbs their endings. English only
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from foveal.research.role_words import (
    ARTICLES,
    BEING,
    BOTH_WAYS,
    BRACKETS,
    CLAUSE,
    CONVERSE,
    CONVERSE_KEYS,
    DETERMINERS,
    DOING,
    MORE,
    NO_WAYS,
    OPPOSITES,
    PARTING,
    PLACES,
    PREPOSITIONS,
    RELATIVE,
    SYMMETRIC,
    Sentence,
    is_participle,
    is_verb_by_form,
    key_of,
    plain_forms,
)

WITHIN = 9
"""Words before a "than" among which its comparative stands."""
REACH = 40
"""Words on each side of another that may hang on it."""
LONGEST = 300
"""Words of a sentence; a longer one is a table or a list without stops, and not read."""


Sides = tuple[str, str, str]
"""The name of a relation, and the keys of its two sides."""


@dataclass(frozen=True)
class Relation:
    """What is related, by name; its two sides, by their keys; and how it is told."""

    name: str
    first: str
    second: str
    mark: str  # the preposition of the second side; "" for none
    before: str = ""  # a preposition between the first side and the word they hang on
    turned: bool = False  # whether the second side stands first in the text
    sure: bool = True  # whether active and passive cannot be mistaken
    key: str = ""  # of the word that they hang on
    told: tuple[int, ...] = field(default=(), compare=False)  # the places of that word, of both sides, of more

    @property
    def sides(self) -> Sides:
        """What it says, however told."""
        return self.name, self.first, self.second

    @property
    def reverse(self) -> Sides:
        """What it says with exchanged sides."""
        return self.name, self.second, self.first

    def is_like(self, other: Relation) -> bool:
        """Whether it is told as another one, so that their sides can be compared."""
        if self.mark != other.mark:
            return False
        return self.before == other.before if self.turned == other.turned else self.sure and other.sure


def relations(of: Sentence, keys: Set[str]) -> Iterator[Relation]:
    """The relations of a sentence between words of these keys."""
    if len(of.words) > LONGEST:
        return
    places = [at for at, key in enumerate(of.keys) if key in keys]
    for at, (word, key) in enumerate(zip(of.words, of.keys, strict=True)):
        if word in ("than", "as") or word in PLACES:
            yield from _compared(of, at, places)
        elif (key in keys or key in CONVERSE_KEYS) and _may_relate(of, at):
            yield from _around(of, at, places)
            yield from _object_first(of, at, places)
            yield from _noun_first(of, at, places)
    yield from _ways(of, places)


def _may_relate(of: Sentence, at: int) -> bool:
    """Whether the word at a place may be the one that two others hang on: no name, number, or part of a list."""
    joined = all(one in (",", "and", "or") for one in (of.word(at - 1), of.word(at + 1)))
    return of.keys[at] not in SYMMETRIC and not (of.capital[at] or of.words[at][0].isdigit() or joined)


def _sides(of: Sentence, at: int, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of places around another, of whose two words none stands nearer; a number goes with a number."""
    before = {of.keys[one]: one for one in places if at - REACH <= one < at}
    behind = {of.keys[one]: one for one in reversed(places) if at < one <= at + REACH}
    for first, left in before.items():
        for second, right in behind.items():
            if (
                first != second
                and of.keys[at] not in (first, second)
                and of.words[left][0].isdigit() == of.words[right][0].isdigit()
                and before.get(second, left) <= left
                and behind.get(first, right) >= right
            ):
                yield left, right


def _around(of: Sentence, at: int, places: Sequence[int]) -> Iterator[Relation]:
    """ "A verb B", "B was verbed by A", "A is noun of B", "B's noun is A"."""
    hanging = {one: _hanging(of, at, one) for one in places if at < one <= at + REACH}
    leading = {
        one: None if _parted_before(of, one, at) else _before(of, one, at) for one in places if at - REACH <= one < at
    }
    for left, right in _sides(of, at, places):
        bound, before = hanging[right], leading[left]
        if bound is None or before is None:
            continue
        mark, turned, sure = bound
        if mark in BOTH_WAYS or mark in PLACES or mark == before not in ("", "of"):
            continue
        if not turned and _owned(of, left, at) and _told(of, at, right):
            mark, before, turned, sure = "of", "", True, True
        yield _named(of, at, left, right, mark, before=before, turned=turned, sure=sure)


def _object_first(of: Sentence, at: int, places: Sequence[int]) -> Iterator[Relation]:
    """ "B, which A verbed"."""
    opens = max((one for one in range(max(0, at - 5), at) if of.words[one] in ("that", "which", "whom")), default=-1)
    inside = [one for one in places if opens < one < at]
    if opens > 0 and (of.capital[opens + 1] or of.words[opens + 1] in DETERMINERS):
        for outer in (one for one in places if one < opens):
            if of.keys[outer] not in {of.keys[one] for one in inside}:
                for one in inside:
                    yield _named(of, at, one, outer, "", sure=False)


def _noun_first(of: Sentence, at: int, places: Sequence[int]) -> Iterator[Relation]:
    """ "The noun of B is A"."""
    be = next((one for one in range(at, len(of.words)) if of.words[one] in BEING), 0)
    if of.word(at + 1) != "of" or not CLAUSE.isdisjoint(of.words[at:be]) or not be:
        return
    for owner in (one for one in places if at < one < be and PREPOSITIONS.isdisjoint(of.words[at + 2 : one])):
        for one in (one for one in places if one > be):
            if of.keys[one] != of.keys[owner] and PREPOSITIONS.isdisjoint(of.words[be:one]):
                yield _named(of, at, one, owner, "of", sure=False)


def _compared(of: Sentence, at: int, places: Sequence[int]) -> Iterator[Relation]:
    """Around "than", "before", "north of": what is compared is the relation."""
    word = of.words[at]
    begins = at
    if word == "than":
        name, flipped, begins = _degree(of, at)
    elif word == "as":
        name, flipped = _times(of, at)
    elif word in ("north", "south", "east", "west") and of.word(at + 1) != "of":
        return
    else:
        name, flipped = PLACES[word]
    for left, right in _sides(of, at, places) if name else ():
        if all(one == "of" or one not in PREPOSITIONS for one in of.words[at + 1 : right - 1]):
            first, second = (right, left) if flipped else (left, right)
            told = (at, left, right, *range(begins, at))
            yield Relation(name, of.keys[first], of.keys[second], "than", turned=flipped, told=told)


def _degree(of: Sentence, at: int) -> tuple[str, bool, int]:
    """What the comparative before a "than" compares, whether it tells it from below, and where it begins; "" if there
    is none."""
    for back in range(at - 1, max(-1, at - WITHIN), -1):
        word = of.words[back]
        if word in MORE:
            name, less = OPPOSITES[word]
            compared = OPPOSITES.get(key_of(of.words[back + 1]))
            return (compared[0], less != compared[1], back) if compared else (name, less, back)
        known = next((one for one in plain_forms(word) if one in OPPOSITES), "")
        if known:
            return *OPPOSITES[known], back
        if word.endswith("er") and len(word) > 4 and back >= at - 2:
            return word[:-2], False, back
    return "", False, at


def _times(of: Sentence, at: int) -> tuple[str, bool]:
    """The same of the second "as" of "twice as much as" and "half as many as"."""
    before = of.words[max(0, at - WITHIN) : at]
    if "as" not in before:
        return "", False
    return next(((f"as {one}", False) for one in before if one in ("twice", "half", "times")), ("", False))


def _ways(of: Sentence, places: Sequence[int]) -> Iterator[Relation]:
    """ "from A to B", in any order; but a distance, a road or a range is the same both ways."""
    if not NO_WAYS.isdisjoint(of.keys):
        return
    bound = {at: _preposition(of, at) for at in places}
    for start in (at for at, word in bound.items() if word == "from"):
        for end in (at for at, word in bound.items() if word in ("to", "into")):
            if of.keys[start] != of.keys[end]:
                told = (min(start, end), start, end)
                yield Relation("from", of.keys[start], of.keys[end], "to", told=told)


def _named(
    of: Sentence,
    at: int,
    left: int,
    right: int,
    mark: str,
    *,
    before: str = "",
    turned: bool = False,
    sure: bool = True,
) -> Relation:
    """A relation under the name that it shares with its converse."""
    key = of.keys[at]
    name, flipped = CONVERSE.get((key, mark), (key, False))
    mark = "" if (key, mark) in CONVERSE else mark
    turned = turned != flipped
    first, second = (right, left) if turned else (left, right)
    return Relation(name, of.keys[first], of.keys[second], mark, before, turned, sure, key, (at, left, right))


# -- how words are bound ----------------------------------------------------------------------------------------------


def _bound(of: Sentence, at: int, right: int) -> tuple[str, bool, bool] | None:
    """How a word hangs on the one at a place: its preposition, whether it is the agent of a passive, and whether that
    is sure; None if it does not."""
    participle, being = is_participle(of.words[at]), _being_before(of, at)
    mark, agent = "", False
    for place in range(at + 1, right):
        word = of.words[place]
        if word in DOING or word == "than" or (word == "by" and of.word(place + 1).endswith("ing")):
            return None
        if word == "by":
            agent = place == at + 1 or (participle and (being or of.words[at + 1] in PREPOSITIONS))
            mark = "by"
        elif word == "of":
            if of.keys[place - 1] and "and" in of.words[at + 1 : place]:
                return None  # of another noun: "the mother of Ann and the daughter of Bo"
            mark, agent = ("of", False) if place == at + 1 else (mark, agent)
        elif word not in ("and", "or") and (word in PREPOSITIONS or word in PLACES or word in BOTH_WAYS):
            mark, agent = word, False
    if agent:
        return "", True, being and participle
    passive = being and participle
    return None if passive and not mark else (mark, False, not passive)


def _hanging(of: Sentence, at: int, right: int) -> tuple[str, bool, bool] | None:
    """The same, and None where a clause ends between, or the word only qualifies the next one."""
    return None if _parted_behind(of, at, right) or _qualifies(of, at, right) else _bound(of, at, right)


def _being_before(of: Sentence, at: int) -> bool:
    """Whether "is", "was" and the like stand before a word, with nothing but adverbs between."""
    for back in range(at - 1, max(-1, at - 4), -1):
        if of.words[back] in BEING:
            return True
        if of.words[back] == "," or (of.keys[back] and not of.words[back].endswith("ly")):
            return False
    return False


def _before(of: Sentence, left: int, at: int) -> str | None:
    """The first preposition between a word and the one that it hangs on; None if a "did" makes it the object."""
    between = range(left + 1, at)
    if any(of.words[one] in DOING and any(of.keys[one + 1 : at]) for one in between):
        return None
    joined = of.word(at - 1) in ("and", "or")  # to another verb, whose prepositions say nothing of this one
    return "" if joined else next((of.words[one] for one in between if of.words[one] in PREPOSITIONS), "")


def _qualifies(of: Sentence, at: int, right: int) -> bool:
    """Whether a word only qualifies the next one: "the first film", "surveillance pathways", "the engineer Ann"."""
    after, before = at + 1, of.word(at - 1)
    if after >= len(of.words) or not of.keys[after]:
        return False
    if before in ARTICLES or before == "'s":
        return True
    if of.capital[after]:
        return False
    if before in PREPOSITIONS or before[:1].isdigit():
        return True
    return right == after and not is_verb_by_form(of.words[at])


def _owned(of: Sentence, left: int, at: int) -> bool:
    """Whether a word is the owner of the one at a place: "Ann's", "Ann, whose"."""
    return at - left <= 4 and any(one in ("'s", "whose") for one in of.words[left + 1 : min(at, left + 3)])


def _told(of: Sentence, at: int, right: int) -> bool:
    """Whether the word behind a place names what stands at it: "is A", ", A", or a name at once."""
    after = of.words[at + 1]
    return (after in BEING or after == "," or of.capital[at + 1]) and PREPOSITIONS.isdisjoint(of.words[at + 1 : right])


def _parted_behind(of: Sentence, at: int, right: int) -> bool:
    """Whether a clause ends between a word and one behind it."""
    between = of.words[at + 1 : right]
    if not (PARTING | CLAUSE).isdisjoint(between):
        return True
    commas = [place for place in range(at + 1, right) if of.words[place] in BRACKETS]
    return len(commas) == 1 and of.word(commas[0] + 1) not in PREPOSITIONS


def _parted_before(of: Sentence, left: int, at: int) -> bool:
    """Whether a clause ends between a word and one before it; "A, who verbed" and "A, a noun of" are no ends."""
    between = range(left + 1, at)
    if not PARTING.isdisjoint(of.words[left + 1 : at]):
        return True
    opens = [place for place in between if of.words[place] in CLAUSE]
    if opens:
        last = opens[-1]
        if any(of.keys[last + 1 : at]) or of.words[last] not in RELATIVE - {"whom"}:
            return True
        if of.words[last] != "whose" and (last - 1 if of.words[last - 1] != "," else last - 2) != left:
            return True
    commas = [place for place in between if of.words[place] in BRACKETS]
    if len(commas) != 1:
        return False
    after = of.words[commas[0] + 1]
    return after not in DETERMINERS and after not in CLAUSE and commas[0] + 1 != at


def _preposition(of: Sentence, at: int) -> str:
    """The preposition right before a word or the name that it ends."""
    for back in range(at - 1, max(-1, at - 4), -1):
        if of.words[back] in PREPOSITIONS:
            return of.words[back]
        if of.words[back] not in DETERMINERS and not (of.keys[back] and of.capital[back] == of.capital[at]):
            return ""
    return ""
