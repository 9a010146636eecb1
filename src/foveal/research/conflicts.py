"""Where sources say against each other: found by the checks, told with dates and trust, and weighed.

    conflicts(evidence, sources, likeness, checks)         # [Conflict(about, sides, preferred), …]
    debated(question, conflict, evidence, model)           # the same, after its sources argued

Two passages of different sources that speak of the same thing (likeness of their summaries) conflict where the checks
find that one contradicts what the other says. Passages that bear one of the two out stand on its side, so that a reader
sees how many sources say what. A paper is preferred to what retells, then the newer to the older; where neither says
more, nothing is preferred, and the report says so.

Debate     one agent for each side, which sees its own evidence and what the others said; at most 3 rounds, or until
           nobody changes their answer; an aggregator, which may only name a side or none (MADAM-RAG, arXiv 2504.13079)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, create_model

from foveal.evaluation.answers import normalised
from foveal.models.chat import ChatModel, Message, Sampling
from foveal.research.checks import Checks
from foveal.research.evidence import Evidence, SourceRecord
from foveal.research.likeness import Likeness
from foveal.research.planning import parsed
from foveal.research.prompts import CONCISE, as_data
from foveal.research.report_parts import Conflict
from foveal.research.report_writing import first_sentence

ALIKE = 0.6
"""Likeness of two summaries from which they speak of the same thing."""

PAIRS = 24
"""Pairs that are checked, the likest first."""

BESIDE = 8
"""Passages of other sources that may stand on a side of one conflict, the likest first."""

ROUNDS = 3


def conflicts(
    evidence: Mapping[str, Evidence], sources: Mapping[str, SourceRecord], likeness: Likeness, checks: Checks
) -> list[Conflict]:
    """The conflicts among evidence, those between the likest passages first; a passage is in one at most."""
    found: list[Conflict] = []
    used: set[str] = set()
    near = Near.of(evidence, likeness)
    for one, other in near.pairs():
        if {one.key, other.key} & used:
            continue
        stances = _opposed(one, other)
        if stances or checks.check(_sentence(one), [other.passage]).label == "contradicted":
            left = [near_by for near_by in near.beside(one, other) if near_by.key not in used]
            sides = _sides(one, other, left, checks, by_stance=stances)
            used |= {own.key for side in sides for own in side}
            found.append(_told(*sides, sources))
    return found


@dataclass(frozen=True)
class Near:
    """Evidence, and how alike its summaries are: cosines (evidence, evidence)."""

    evidence: Sequence[Evidence]
    cosines: NDArray[Any]

    @classmethod
    def of(cls, evidence: Mapping[str, Evidence], likeness: Likeness) -> Near:
        """All evidence of a run."""
        listed = list(evidence.values())
        vectors = likeness.vectors([one.summary for one in listed])
        return cls(listed, vectors @ vectors.T)

    def pairs(self) -> list[tuple[Evidence, Evidence]]:
        """Passages of two sources that speak of the same thing, the likest first."""
        held, near = self.evidence, self.cosines
        pairs = [
            (float(near[a, b]), a, b)
            for a in range(len(held))
            for b in range(a + 1, len(held))
            if held[a].source != held[b].source and near[a, b] >= ALIKE
        ]
        return [(held[a], held[b]) for _, a, b in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:PAIRS]]

    def beside(self, one: Evidence, other: Evidence) -> list[Evidence]:
        """Passages of third sources that speak of what two do, the likest first."""
        places = [self.evidence.index(one), self.evidence.index(other)]
        alike = self.cosines[places].max(axis=0)
        order = sorted(range(len(alike)), key=lambda place: (-float(alike[place]), place))
        third = [place for place in order if self.evidence[place].source not in (one.source, other.source)]
        return [self.evidence[place] for place in third if alike[place] >= ALIKE][:BESIDE]


Side = tuple[Evidence, ...]


def _sides(
    one: Evidence, other: Evidence, beside: Sequence[Evidence], checks: Checks, *, by_stance: bool
) -> tuple[Side, Side]:
    """Both sides, with who else is on them: what bears out the one, and not the other."""
    asked = [(_sentence(side), [near_by.passage]) for near_by in beside for side in (one, other)]
    labels = [verdict.label == "supported" for verdict in checks.check_many(asked)]
    sides: tuple[list[Evidence], list[Evidence]] = [one], [other]
    for place, near_by in enumerate(beside):
        own, its = labels[2 * place : 2 * place + 2]
        if own == its and by_stance and near_by.question == one.question:
            own, its = (near_by.stance == side.stance for side in (one, other))
        if own != its:
            sides[its].append(near_by)
    return tuple(sides[0]), tuple(sides[1])


def _opposed(one: Evidence, other: Evidence) -> bool:
    """Whether the one supports what a question supposes, and the other contradicts it."""
    return {one.stance, other.stance} == {"supports", "contradicts"} and one.question == other.question


def _sentence(one: Evidence) -> str:
    return first_sentence(one.summary) or one.summary


def _told(one: Side, other: Side, sources: Mapping[str, SourceRecord]) -> Conflict:
    """The conflict, the side that is preferred first."""
    mine, its = ([sources[own.source] for own in side] for side in (one, other))
    why = _preferred(mine, its)
    if not why and (back := _preferred(its, mine)):
        one, other, why = other, one, back
    about = "; ".join(f"{_dated(sources[side[0].source])}: “{_short(side[0])}”" for side in (one, other))
    sides = tuple(tuple(own.key for own in side) for side in (one, other))
    return Conflict(about=about, sides=sides, preferred=why)


def _preferred(one: Sequence[SourceRecord], other: Sequence[SourceRecord]) -> str:
    """Why the first side is preferred; "" where it is not. Of a side counts the paper among its sources, and the newest
    of those with a date."""
    papers, others = (any(source.trust == "primary" for source in side) for side in (one, other))
    if papers != others:
        return "primary" if papers else ""
    newest, its = (max((source.published_at or "")[:10] for source in side) for side in (one, other))
    return "newer" if newest and its and newest > its else ""


def _dated(source: SourceRecord) -> str:
    date = source.published_at[:10] if source.published_at else "no date"
    return f"{source.title[:80]} ({', '.join(filter(None, (date, source.trust)))})"


def _short(one: Evidence) -> str:
    words = _sentence(one).split()
    return " ".join(words[:40]) + (" …" if len(words) > 40 else "")


# -- debate -----------------------------------------------------------------------------------------------------------


def debated(question: str, conflict: Conflict, evidence: Mapping[str, Evidence], model: ChatModel) -> Conflict:
    """The conflict after its sides argued; where the aggregator names a side, that one is preferred."""
    said = [""] * len(conflict.sides)
    for _ in range(ROUNDS):
        asked = [_agent(question, side, said, place, evidence) for place, side in enumerate(conflict.sides)]
        new = model.chat_many(asked, Sampling(max_tokens=64, stop=("\n",)))
        over = [normalised(one) for one in new] == [normalised(one) for one in said]
        said = list(new)
        if over:
            break
    verdict = parsed(model, _aggregator(question, said), _verdict(len(said)), 32)
    if verdict is None or verdict.side == "none":
        return conflict
    place = int(verdict.side) - 1
    order = [conflict.sides[place], *(side for at, side in enumerate(conflict.sides) if at != place)]
    why = (
        conflict.preferred
        if place == 0 and conflict.preferred
        else "better argued when the sources were set against each other"
    )
    return replace(conflict, sides=tuple(order), preferred=why)


def _agent(
    question: str, side: Sequence[str], said: Sequence[str], place: int, evidence: Mapping[str, Evidence]
) -> list[Message]:
    shown = "\n".join(as_data(evidence[key].passage.text)[:1200] for key in side)
    others = "".join(f"\nAnother source says: {as_data(one)}" for at, one in enumerate(said) if at != place and one)
    content = f"{CONCISE}\n\n{shown}\n{others}\n\nQuestion: {question}\n\nWhat do these excerpts say? Answer:"
    return [{"role": "system", "content": ""}, {"role": "user", "content": content}]


def _aggregator(question: str, said: Sequence[str]) -> list[Message]:
    shown = "\n".join(f"{place}. {as_data(one)}" for place, one in enumerate(said, 1))
    content = (
        f"Question: {question}\n\nSources answer:\n{shown}\n\nWhich answer is better supported? Its number, or none "
        'where that cannot be said. JSON: {"side": "…"}.'
    )
    return [{"role": "system", "content": ""}, {"role": "user", "content": content}]


def _verdict(count: int) -> type[BaseModel]:
    named: Any = Literal[("none", *(str(place) for place in range(1, count + 1)))]
    return create_model("Side", __config__=ConfigDict(extra="forbid"), side=(named, ...))
