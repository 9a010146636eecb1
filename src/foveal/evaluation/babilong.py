"""BABILong's stories: which sentences of a long text answer its question (Kuratov et al., NeurIPS 2024, D&B track).

The facts of bAbI (Weston et al., 2015) stand between the sentences of a book: people move, take things, put them down.

qa1    Where is Mary?        her last move
qa2    Where is the milk?    the last sentence that takes it or puts it down, and the last move of that person: until
                             now if the thing is still carried, else until it was put down

The data names no supporting facts. They are found by following the story, and the place that follows is compared
with the gold answer wherever this is used: on the two sets of 100 questions at 8k tokens it is the same in all 200.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PEOPLE = "Daniel|John|Mary|Sandra"
THINGS = "apple|football|milk"
FACT = re.compile(
    rf"\b(?P<person>{PEOPLE})\s+(?:"
    r"(?:moved|journeyed|travelled|went(?:\s+back)?)\s+to\s+the\s+(?P<place>bathroom|bedroom|garden|hallway|kitchen|office)"
    rf"|(?P<taken>got|grabbed|took|picked\s+up)\s+the\s+(?P<got>{THINGS})(?:\s+there)?"
    rf"|(?:discarded|dropped|left|put\s+down)\s+the\s+(?P<lost>{THINGS})(?:\s+there)?"
    r")\."
)
QUESTION = re.compile(rf"Where is (?:(?P<person>{PEOPLE})|the (?P<thing>{THINGS}))\?")


@dataclass(frozen=True, slots=True)
class Support:
    """Where a person or thing is, and the ranges of characters of the sentences that say so, in the text's order."""

    place: str
    ranges: tuple[tuple[int, int], ...]


def support(text: str, question: str) -> Support | None:
    """What the story says about a question of qa1 or qa2; None if nothing, or if it is none of these."""
    asked = QUESTION.fullmatch(question.strip())
    if asked is None:
        return None
    facts = list(FACT.finditer(text))
    if asked["person"]:
        return _where_is(asked["person"], facts)
    return _where_lies(asked["thing"], facts)


def _where_is(person: str, facts: list[re.Match[str]]) -> Support | None:
    """The last move of `person` in `facts`."""
    moves = (fact for fact in reversed(facts) if fact["person"] == person and fact["place"])
    last = next(moves, None)
    return None if last is None else Support(last["place"], (last.span(),))


def _where_lies(thing: str, facts: list[re.Match[str]]) -> Support | None:
    touched = [number for number, fact in enumerate(facts) if thing in (fact["got"], fact["lost"])]
    if not touched:
        return None
    last = facts[touched[-1]]
    known = facts if last["got"] else facts[: touched[-1]]  # where its bearer went after putting it down says nothing
    carried = _where_is(last["person"], known)
    return None if carried is None else Support(carried.place, tuple(sorted((last.span(), *carried.ranges))))
