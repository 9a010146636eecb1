"""A report's outline: which evidence stands in which section, under what heading, at what length.

    outline(findings, evidence, likeness, brief, most=6)        # [Planned("Effects", goal, ("e3", "e7"), words=300), …]

A section is what one branch of the plan found; evidence stands in one section only, that of the branch whose goal it
fits best. Sections without evidence are left out, and named as not covered; too many become one by one with the goal
that is most alike. A section's length is its share of the evidence's relevance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foveal.research.evidence import Evidence
from foveal.research.likeness import Likeness
from foveal.research.planning import Finding
from foveal.research.report_parts import Brief

SECTION_WORDS = 180
"""Words below which a section of its own is not worth a heading."""

ITSELF = 0.85
"""Cosine from which on a goal is the question of the report in other words, or a large part of it."""

FINDINGS = "What the sources say"
"""The heading of a report of one section."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A section to be written from its evidence alone, the most relevant first."""

    heading: str
    goal: str
    evidence: tuple[str, ...]
    words: int = 0


def outline(
    findings: Sequence[Finding], evidence: Mapping[str, Evidence], likeness: Likeness, brief: Brief
) -> list[Planned]:
    """The sections, in the order of the plan."""
    goals = _goals(findings)
    held: dict[str, list[str]] = {name: [] for name in goals}
    for key, name in _placed(findings, goals, evidence, likeness).items():
        held[name].append(key)
    near = dict(zip(goals, likeness.to(brief.goal, list(goals.values())), strict=True))
    # First what answers the question itself, then what asks nearly the same
    order = sorted(goals, key=lambda name: (goals[name] != brief.goal, near[name] < ITSELF))
    sections = [
        Planned(heading_of(goals[name]), goals[name], _best_first(held[name], evidence)) for name in order if held[name]
    ]
    most = max(1, round(brief.words / SECTION_WORDS))
    if most == 1 and sections:
        sections = [_whole(sections, evidence, likeness, brief)]
    return _lengths(_joined(sections, most, likeness, evidence), evidence, brief.words)


def _whole(sections: Sequence[Planned], evidence: Mapping[str, Evidence], likeness: Likeness, brief: Brief) -> Planned:
    """All evidence as one section, what is nearest to the goal of the report first."""
    keys = [key for one in sections for key in one.evidence]
    near = dict(zip(keys, likeness.to(brief.goal, [evidence[key].summary for key in keys]), strict=True))
    return Planned(FINDINGS, brief.goal, tuple(sorted(keys, key=lambda key: (-near[key], int(key[1:])))))


def not_covered(
    findings: Sequence[Finding], sections: Sequence[Planned], brief: Brief, likeness: Likeness
) -> list[str]:
    """What was asked for and has no evidence: goals that found nothing; points of the brief that no section is like,
    and no goal whose evidence stands in one."""
    held = {key for one in sections for key in one.evidence}
    covered = [one.sub.goal for one in findings if held & set(one.evidence)]
    missing = [one.sub.goal for one in findings if one.sub.goal not in covered]
    told = [*(f"{one.heading} {one.goal}" for one in sections), *dict.fromkeys(covered)]
    missing += uncovered(brief.must_cover, told, likeness)
    return list(dict.fromkeys(missing))


def uncovered(points: Sequence[str], goals: Sequence[str], likeness: Likeness) -> list[str]:
    """The points that no goal is like."""
    if not points or not goals:
        return list(points)
    near = likeness.vectors(list(points)) @ likeness.vectors(list(goals)).T
    return [point for point, row in zip(points, near, strict=True) if row.max() < COVERED]


COVERED = 0.35
"""Likeness of a brief's point to a section's goal from which it is covered."""


def heading_of(goal: str) -> str:
    """A goal as a heading."""
    text = " ".join(goal.split()).rstrip(" .,:;")
    return f"{text[:1].upper()}{text[1:]}"[:120]


def _goals(findings: Sequence[Finding]) -> dict[str, str]:
    """First branch of the plan -> its goal; what asks the same goal is one branch."""
    goals: dict[str, str] = {}
    for one in findings:
        if not one.sub.parent and one.sub.goal not in goals.values():
            goals[one.name] = one.sub.goal
    return goals


def _placed(
    findings: Sequence[Finding], goals: Mapping[str, str], evidence: Mapping[str, Evidence], likeness: Likeness
) -> dict[str, str]:
    """Evidence -> the branch it stands in."""
    branch = _branches(findings, goals)
    found: dict[str, list[str]] = {}
    for one in findings:
        for key in one.evidence:
            found.setdefault(key, []).append(branch[one.name])
    keys = [key for key in evidence if key in found]
    names = list(goals)
    near = likeness.vectors([evidence[key].summary or evidence[key].passage.text for key in keys])
    near = near @ likeness.vectors([goals[name] for name in names]).T if keys else near
    return {
        key: max(dict.fromkeys(found[key]), key=lambda name: float(near[place][names.index(name)]))
        for place, key in enumerate(keys)
    }


def _branches(findings: Sequence[Finding], goals: Mapping[str, str]) -> dict[str, str]:
    """Finding -> the first branch above it."""
    by_goal = {goal: name for name, goal in goals.items()}
    branch: dict[str, str] = {}
    for one in findings:
        branch[one.name] = branch.get(one.sub.parent) or by_goal.get(one.sub.goal, next(iter(goals), one.name))
    return branch


def _best_first(keys: Sequence[str], evidence: Mapping[str, Evidence]) -> tuple[str, ...]:
    return tuple(sorted(keys, key=lambda key: (-evidence[key].relevance, int(key[1:]))))


def _joined(
    sections: Sequence[Planned], most: int, likeness: Likeness, evidence: Mapping[str, Evidence]
) -> list[Planned]:
    """At most so many sections: the two that are most alike become one, under the heading of the one with more."""
    left = list(sections)
    while len(left) > most:
        vectors = likeness.vectors([one.goal for one in left])
        near = vectors @ vectors.T
        pairs = [(float(near[a, b]), -a, -b) for a in range(len(left)) for b in range(a + 1, len(left))]
        _, first, second = max(pairs)
        one, other = left[-first], left[-second]
        larger = one if len(one.evidence) >= len(other.evidence) else other
        keys = _best_first([*one.evidence, *other.evidence], evidence)
        left[-first] = replace(larger, evidence=keys)
        del left[-second]
    return left


def _lengths(sections: Sequence[Planned], evidence: Mapping[str, Evidence], words: int) -> list[Planned]:
    weights = [sum(max(1.0, evidence[key].relevance) for key in one.evidence) for one in sections]
    total = sum(weights) or 1.0
    return [replace(one, words=round(words * weight / total)) for one, weight in zip(sections, weights, strict=True)]
