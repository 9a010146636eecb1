"""Who does what to whom: claims whose words all stand in the source, and whose roles are exchanged there.

    exchanged("Jones succeeded Smith.", ["After that Smith succeeded Jones."])            # ("Jones", "Smith")
    exchanged("Jones was succeeded by Smith.", ["After that Smith succeeded Jones."])     # (): the same in the passive
    said_conversely("B lost to A.", "A beat B.")                                # True: opposite words, the same matter

Relation   around a word that claim and sentence share (a verb, the noun of a role) the two words nearest to it, one on
           each side, and how they are bound to it: directly, or by a preposition. "by" behind a participle, "'s" and
           "whose", and a word that tells it from the other side (buy, sell) exchange the sides, so that both ways of
           saying a thing are one relation. "than", "before", "north of" and "from … to" are relations, too
Exchanged  the claim has a relation whose sides are exchanged in a sentence with most of its words, and no sentence has
           it as the claim does. What holds both ways is not looked at (role_words.py), nor a word that stands twice,
           unless two words have changed places throughout
Limits     no parser: of two clauses a comma and the small words tell, of verbs their endings. English only
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

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
    OPENERS,
    OPPOSITES,
    PARTING,
    PLACES,
    PREPOSITIONS,
    RELATIVE,
    SYMMETRIC,
    Sentence,
    is_english,
    is_participle,
    is_verb_by_form,
    key_of,
    listed,
    plain_forms,
)

TAKEN_FROM = 0.7
"""Share of a claim's words that a sentence must hold, so that it can say the same with exchanged roles."""

WITHIN = 9
"""Words before a "than" among which its comparative stands."""
REACH = 40
"""Words on each side of another that may hang on it."""
LONGEST = 300
"""Words of a sentence; a longer one is a table or a list without stops, and not read."""

_PRONOUNS = listed("he she it they")
_OBJECTS = _PRONOUNS | listed("him her them")


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

    @property
    def sides(self) -> tuple[str, str, str]:
        """What it says, however told."""
        return self.name, self.first, self.second


def exchanged(claim: str, said: Sequence[str]) -> tuple[str, ...]:
    """The two words of a claim whose roles are exchanged in one of some sentences, and in none as in it; () if none."""
    if not is_english((claim, *said)):
        return ()
    mine = Sentence.of(claim)
    hits: list[Relation] = []
    stands: set[tuple[str, str, str]] = set()
    for text in said:
        other = Sentence.of(text)
        shared = mine.places.keys() & other.places.keys()
        if len(shared) < 2:
            continue
        ours, theirs = set(relations(mine, shared)), set(relations(other, shared))
        whole: set[tuple[str, str, str]] = set()
        if len(shared) >= TAKEN_FROM * len(mine.places) and mine.denied == other.denied:
            found, whole = _turned(mine, other, ours, theirs)
            hits += found
        stands |= {one.sides for one in theirs} - whole
    vague = [one for one in map(Sentence.of, said) if not _OBJECTS.isdisjoint(one.words[1:])]
    left = [
        (mine.places[one.first][0], mine.places[one.second][0])
        for one in hits
        if one.sides not in stands and not any(_may_say(one, two) for two in vague)
    ]
    if not left:
        return ()
    shown = min(left, key=lambda both: (-sum(mine.capital[at] for at in both), sorted(both), both))  # names first
    return mine.written[shown[0]], mine.written[shown[1]]


def said_conversely(claim: str, said: str) -> bool:
    """Whether two texts say the same of two sides by opposite words: "older", "younger"; "beat", "lost to"."""
    mine, other = Sentence.of(claim), Sentence.of(said)
    shared = mine.places.keys() & other.places.keys()
    named = {name for name, _ in (*CONVERSE.values(), *OPPOSITES.values(), *PLACES.values())}
    ours, theirs = (
        {one.sides: one.turned for one in relations(text, shared) if one.name in named} for text in (mine, other)
    )
    return any(theirs.get(sides, turned) != turned for sides, turned in ours.items())


def resolved(said: Sequence[str]) -> list[str]:
    """Of the sentences of one text those that open with "he", "it" and the like, with the name that opens the sentence
    before in its place."""
    found: list[str] = []
    name = ""
    for text in said:
        opens, _, rest = text.strip().partition(" ")
        if opens.lower() in _PRONOUNS:
            found += [f"{name} {rest}"] if name and rest else []
        else:
            words = text.split()
            size = next((at for at, word in enumerate(words) if not word[:1].isupper()), len(words))
            opening = " ".join(words[:size]).strip(",;:")
            if size:
                name = "" if words[0].lower() in OPENERS or not any(Sentence.of(opening).keys) else opening
    return found


def _turned(
    mine: Sentence, other: Sentence, ours: Set[Relation], theirs: Set[Relation]
) -> tuple[list[Relation], set[tuple[str, str, str]]]:
    """The claim's relations with exchanged sides there; and what of the sentence's own is all exchanged."""
    shared = mine.places.keys() & other.places.keys()
    once = {key for key in shared if len(mine.places[key]) == 1 == len(other.places[key])}
    own = {one.sides for one in ours}
    found: list[Relation] = []
    whole: set[tuple[str, str, str]] = set()
    by_sides: dict[tuple[str, ...], list[Relation]] = {}
    for one in theirs:
        by_sides.setdefault((*one.sides, one.mark), []).append(one)
    for one in ours:
        back = (one.name, one.second, one.first)
        if not any(_alike(one, two) for two in by_sides.get((*back, one.mark), ())):
            continue
        if {one.first, one.second} <= once:
            if (one.key in once or one.key not in shared) and back not in own:
                found.append(one)
        elif back in own and not mine.ordered:
            continue  # "A sued B, and B sued A"
        elif _changed_places(mine, other, {one.key, one.first, one.second} & shared, one):
            found.append(one)
            whole |= {one.sides, back}
    return found, whole


def _alike(one: Relation, other: Relation) -> bool:
    """Whether two relations are told so that their sides can be compared."""
    return one.before == other.before if one.turned == other.turned else one.sure and other.sure


def _may_say(one: Relation, of: Sentence) -> bool:
    """Whether a sentence with a pronoun may have a relation, the pronoun for one of its sides."""
    return one.key in of.places and (one.first in of.places) != (one.second in of.places)


def _changed_places(mine: Sentence, other: Sentence, keys: Set[str], of: Relation) -> bool:
    """Whether two words, one of which stands more than once, stand in each other's places throughout."""
    swap = {of.first: of.second, of.second: of.first}
    ours = [key for key in mine.keys if key in keys]
    theirs = [key for key in other.keys if key in keys]
    return [swap.get(key, key) for key in ours] == theirs != ours


# -- relations --------------------------------------------------------------------------------------------------------


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
    if word == "than":
        name, flipped = _degree(of, at)
    elif word == "as":
        name, flipped = _times(of, at)
    elif word in ("north", "south", "east", "west") and of.word(at + 1) != "of":
        return
    else:
        name, flipped = PLACES[word]
    for left, right in _sides(of, at, places) if name else ():
        if all(one == "of" or one not in PREPOSITIONS for one in of.words[at + 1 : right - 1]):
            first, second = (right, left) if flipped else (left, right)
            yield Relation(name, of.keys[first], of.keys[second], "than", turned=flipped)


def _degree(of: Sentence, at: int) -> tuple[str, bool]:
    """What the comparative before a "than" compares, and whether it tells it from below; "" if there is none."""
    for back in range(at - 1, max(-1, at - WITHIN), -1):
        word = of.words[back]
        if word in MORE:
            name, less = OPPOSITES[word]
            compared = OPPOSITES.get(key_of(of.words[back + 1]))
            return (compared[0], less != compared[1]) if compared else (name, less)
        known = next((one for one in plain_forms(word) if one in OPPOSITES), "")
        if known:
            return OPPOSITES[known]
        if word.endswith("er") and len(word) > 4 and back >= at - 2:
            return word[:-2], False
    return "", False


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
                yield Relation("from", of.keys[start], of.keys[end], "to")


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
    return Relation(name, of.keys[first], of.keys[second], mark, before, turned, sure, key)


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
