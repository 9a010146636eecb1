"""Who does what to whom: claims whose words all stand in the source, and whose roles are exchanged there.

    exchanged("Jones succeeded Smith.", ["After that Smith succeeded Jones."])            # ("Jones", "Smith")
    exchanged("Jones was succeeded by Smith.", ["After that Smith succeeded Jones."])     # (): the same in the passive
    told_conversely("B lost to A.", "A beat B.")                  # {"lost"}: an opposite word that says the same matter

Exchanged  the claim has a relation (role_relations.py) whose sides are exchanged in a sentence with most of its words,
           and no sentence has it as the claim does. What holds both ways is not looked at (role_words.py), nor a word
           that stands twice, unless two words have changed places throughout
Both ways  a source that has both is told by both_ways.py: there a claim is exchanged only by the date, number or place
           of the other direction, or by the order of both
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from foveal.research.both_ways import crossed, in_turn, out_of_turn
from foveal.research.role_relations import Relation, Sides, relations
from foveal.research.role_words import CONVERSE, OPENERS, OPPOSITES, PLACES, Sentence, is_english, keys_of, listed

TAKEN_FROM = 0.7
"""Share of a claim's words that a sentence must hold, so that it can say the same with exchanged roles."""

_PRONOUNS = listed("he she it they")
_OBJECTS = _PRONOUNS | listed("him her them")
_OPPOSITE = frozenset(name for name, _ in (*CONVERSE.values(), *OPPOSITES.values(), *PLACES.values()))
"""The relations that opposite words tell."""


def exchanged(claim: str, said: Sequence[str]) -> tuple[str, ...]:
    """The two words of a claim whose roles are exchanged in one of some sentences, and in none as in it; () if none."""
    if not is_english((claim, *said)):
        return ()
    mine = Sentence.of(claim)
    others = [Sentence.of(text) for text in said]
    hits: list[Relation] = []
    stands: set[Sides] = set()
    claimed: set[Relation] = set()
    told: set[Sides] = set()
    for other in others:
        shared = mine.places.keys() & other.places.keys()
        if len(shared) < 2:
            continue
        ours, theirs = set(relations(mine, shared)), set(relations(other, shared))
        claimed |= ours
        told |= {one.sides for one in theirs}
        whole: set[Sides] = set()
        if len(shared) >= TAKEN_FROM * len(mine.places) and mine.denied == other.denied:
            found, whole = _turned(mine, other, ours, theirs)
            hits += found
        stands |= {one.sides for one in theirs} - whole
    vague = [one for one in others if not _OBJECTS.isdisjoint(one.words[1:])]
    hits = [one for one in hits if one.sides not in stands and not any(_may_say(one, two) for two in vague)]
    both_ways = any(one.sides in told and one.reverse in told for one in claimed)
    hits += crossed(mine, others) if both_ways else []
    left = [(mine.places[one.first][0], mine.places[one.second][0]) for one in hits]
    if not left:
        return ()
    shown = min(left, key=lambda both: (-sum(mine.capital[at] for at in both), sorted(both), both))  # names first
    return mine.written[shown[0]], mine.written[shown[1]]


def told_conversely(claim: str, said: str) -> frozenset[str]:
    """The words of a claim by which it tells from the other side what is said of two sides: "younger" where that has
    "older", "lost to" for "beat"; and "before", where that has the same two things in the same order by "after"."""
    mine, other = Sentence.of(claim), Sentence.of(said)
    shared = mine.places.keys() & other.places.keys()
    theirs = {(one.sides, one.turned) for one in relations(other, shared)}
    told = {
        mine.words[at]
        for one in relations(mine, shared)
        if one.name in _OPPOSITE and ((one.sides, not one.turned) in theirs or other.is_mutual(one.name))
        for at in (one.told[0], *one.told[3:])
    }
    return frozenset(told | in_turn(mine, other))


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
) -> tuple[list[Relation], set[Sides]]:
    """The claim's relations with exchanged sides there; and what of the sentence's own is all exchanged."""
    shared = mine.places.keys() & other.places.keys()
    once = {key for key in shared if len(mine.places[key]) == 1 == len(other.places[key])}
    own = {one.sides for one in ours}
    found: list[Relation] = []
    whole: set[Sides] = set()
    by_sides: dict[tuple[str, ...], list[Relation]] = {}
    for one in theirs:
        by_sides.setdefault((*one.sides, one.mark), []).append(one)
    for one in ours:
        back = one.reverse
        if other.is_mutual(one.name) or not any(one.is_like(two) for two in by_sides.get((*back, one.mark), ())):
            continue
        if {one.first, one.second} <= once:
            if (one.key in once or one.key not in shared) and back not in own:
                found.append(one)
        elif back in own and "than" not in mine.words:
            if out_of_turn(mine, other, one):  # "A sued B before B sued A"
                found.append(one)
                whole |= {one.sides, back}
        elif _changed_places(mine, other, {one.key, one.first, one.second} & shared, one):
            found.append(one)
            whole |= {one.sides, back}
    return found, whole


def _may_say(one: Relation, of: Sentence) -> bool:
    """Whether a sentence with a pronoun may have a relation, the pronoun for one of its sides: it lacks that side, or
    says it twice of both ("A beat B, but was beaten by them")."""
    times = sum(len(of.places.get(key, ())) for key in keys_of(one.name))
    sides = (one.first in of.places) + (one.second in of.places)
    return times >= sides > 0


def _changed_places(mine: Sentence, other: Sentence, keys: Set[str], of: Relation) -> bool:
    """Whether two words, one of which stands more than once, stand in each other's places throughout."""
    swap = {of.first: of.second, of.second: of.first}
    ours = [key for key in mine.keys if key in keys]
    theirs = [key for key in other.keys if key in keys]
    return [swap.get(key, key) for key in ours] == theirs != ours
