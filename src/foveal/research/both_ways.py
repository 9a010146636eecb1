"""What a source tells in both directions: "A beat B in 2001, and B beat A in 2003".

    source = Sentence.of("Arden beat Bexley in 2001, and Bexley beat Arden in 2003.")
    crossed(Sentence.of("Arden beat Bexley in 2003."), [source])                              # [Relation("beat", …)]
    out_of_turn(Sentence.of("B sued A before A sued B."), Sentence.of("A sued B before B sued A."), relation)   # True

Crossed     each direction has its clause, from one relation to the next, and in it dates, numbers and names of its own.
            A claim of one direction with those of the other says a false thing; where the source gives its direction
            none of that kind, nothing tells
In turn     two directions of which one is told to be the earlier: by "before" and "after" in front of a clause, or
            "earlier" and "later"
Limits      as those of relations (role_relations.py). What else tells the directions apart ("in the final") is not
            looked at
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from foveal.research.role_relations import Relation, Sides, relations
from foveal.research.role_words import CLAUSE, DETERMINERS, Sentence, listed

_OPENING = CLAUSE | listed("and or before after until then")
"""Words in front of a clause."""
_FIRST = {"before": False, "earlier": True, "after": True, "later": False}
"""Whether what stands behind such a word is the earlier thing."""
_KINDS: tuple[Callable[[Sentence, int], bool], ...] = (
    lambda of, at: of.words[at][0].isdigit(),
    lambda of, at: at > 0 and of.capital[at],  # the first word has a capital anyhow
)
"""Dates and numbers; names, those of months among them."""


@dataclass(frozen=True)
class Clause:
    """A relation where it is told, and what distinguishes it there: by kind (`_KINDS`) the keys of its clause."""

    relation: Relation
    start: int  # of its words the first that no other clause has
    marks: tuple[frozenset[str], ...]


def crossed(mine: Sentence, others: Sequence[Sentence]) -> list[Relation]:
    """The relations of a claim that a source has in both directions, and with this date, number or name in the other
    one only. Of sentences that both deny, or both do not."""
    own: dict[tuple[Sides, int], Clause] = {}
    told = defaultdict[Sides, list[Clause]](list)
    for other in (one for one in others if one.denied == mine.denied):
        shared = mine.places.keys() & other.places.keys()
        if len(shared) < 2:
            continue
        own |= {(one.relation.sides, one.relation.told[0]): one for one in clauses(mine, shared)}
        for one in clauses(other, shared):
            told[one.relation.sides].append(one)
    return [one.relation for one in own.values() if _is_crossed(one, told)]


def out_of_turn(mine: Sentence, other: Sentence, of: Relation) -> bool:
    """Whether two sentences with both directions of a relation tell them in different orders."""
    orders = [_earlier(one, mine.places.keys() & other.places.keys(), of) for one in (mine, other)]
    return None not in orders and orders[0] != orders[1]


def in_turn(mine: Sentence, other: Sentence) -> set[str]:
    """The words of a claim by which it tells two directions to be in the order that the other sentence has, too."""
    shared = mine.places.keys() & other.places.keys()
    both = [one.relation for one in clauses(mine, shared)]
    told = {one.sides for one in both}
    for one in both:
        if one.reverse in told and (order := _earlier(mine, shared, one)) and order == _earlier(other, shared, one):
            return set(mine.words) & _FIRST.keys()
    return set()


def clauses(of: Sentence, keys: Set[str]) -> list[Clause]:
    """Each relation of a sentence with its clause: the whole sentence, unless it tells others of the same two sides."""
    found = defaultdict[tuple[str, Set[str]], dict[int, Relation]](dict)
    for one in relations(of, keys):
        found[one.name, frozenset((one.first, one.second))].setdefault(one.told[0], one)
    return [clause for told in found.values() for clause in _parted(of, [told[at] for at in sorted(told)])]


def _parted(of: Sentence, told: Sequence[Relation]) -> Iterator[Clause]:
    """The clauses of relations in the order of a sentence."""
    begins, starts = [0], [min(told[0].told)]
    for before, one in pairwise(told):
        end = max(at for at in before.told if at < one.told[0]) + 1
        starts.append(min(at for at in one.told if at >= end))
        begins.append(_border(of, end, starts[-1]))
    for one, start, first, last in zip(told, starts, begins, [*begins[1:], len(of.words)], strict=True):
        own = {of.keys[at] for side in one.told for at in _name(of, side)}
        within = [at for at in range(first, last) if of.keys[at] and of.keys[at] not in own]
        yield Clause(one, start, tuple(frozenset(of.keys[at] for at in within if kind(of, at)) for kind in _KINDS))


def _name(of: Sentence, at: int) -> range:
    """A word, and where it has a capital what stands by it with one: "Oxley Steel"."""
    first = last = at
    while of.capital[at] and first and of.capital[first - 1]:
        first -= 1
    while of.capital[at] and last + 1 < len(of.words) and of.capital[last + 1]:
        last += 1
    return range(first, last + 1)


def _border(of: Sentence, end: int, start: int) -> int:
    """Where, between the last word of one relation and the first of the next, the clause of the next begins."""
    between = range(end, start)
    stops = [at for at in between if of.words[at] in (";", "—", "–")]
    opens = [at for at in between if of.words[at] in _OPENING]
    commas = [at for at in between if of.words[at] == ","]
    behind = [at for at in opens if of.word(at - 1) == ","]
    return next((places[-1] for places in (stops, behind, opens, commas) if places), start)


def _is_crossed(one: Clause, told: dict[Sides, list[Clause]]) -> bool:
    """Whether a clause of a claim has what distinguishes the other direction in place of what does so its own."""
    forward, back = (
        [each for each in told.get(sides, ()) if one.relation.is_like(each.relation)]
        for sides in (one.relation.sides, one.relation.reverse)
    )
    if not forward or not back:
        return False
    for kind in range(len(_KINDS)):
        ours, theirs = (frozenset().union(*(each.marks[kind] for each in some)) for some in (forward, back))
        its = one.marks[kind] - (ours & theirs)
        if its and its <= theirs and all(each.marks[kind] - theirs - its for each in forward):
            return True
    return False


def _earlier(of: Sentence, keys: Set[str], relation: Relation) -> Sides | None:
    """The earlier one of the two directions of a relation, where a sentence tells each once and says it."""
    both = [one for one in clauses(of, keys) if one.relation.sides in (relation.sides, relation.reverse)]
    if len(both) != 2 or both[0].relation.sides == both[1].relation.sides:
        return None
    for one, other in (both, both[::-1]):
        if (opens := _opens(of, one.start)) in _FIRST:
            return one.relation.sides if _FIRST[opens] else other.relation.sides
    return None


def _opens(of: Sentence, start: int) -> str:
    """The word in front of a clause: before its first name and what belongs to that."""
    at = start - 1
    while at >= 0 and (of.words[at] in DETERMINERS or of.keys[at]) and of.words[at] not in _FIRST:
        at -= 1
    return of.word(at)
