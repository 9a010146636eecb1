"""What would change an answer: for each main claim of a report, what speaks against it, what it lacks, what is open.

    turning_of(report)        # Section("What would change this answer", Markdown with [[e7]] marks), or None

All of it is read off the report's ledger, no model is asked:

Main       claims of the short answer at the head ("In short"); where there is none, the best of each section; five
Against    evidence on the other side of a conflict in which a claim's own evidence stands, if the conflict is on the
           claim's words; evidence whose stance is against, on the question of the claim's own
Thin       it rests on one source; what it cites lacks a number or name; none of its sources has a date
Open       sub-questions that nothing was found on, each with the claim that shares most words with it, else at the end

Source     "Deep Research: A Systematic Survey" (arXiv 2512.02038), section 3.4.2: say what differs, and how sure one is
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from foveal.research.evidence import Claim, Evidence
from foveal.research.markdown import plain
from foveal.research.report_parts import ABOUT_ITSELF, LEAD, Conflict, ReportParts, Section
from foveal.retrieval.terms import terms

HEADING = "What would change this answer"
MOST_CLAIMS = 5
ON_IT = 0.3
"""Share of a claim's words that a conflict holds which is about it."""

SHOWN_WORDS = 30


@dataclass(frozen=True)
class TurningPoint:
    """One main claim: `against` are keys of evidence that says otherwise, with why the report does not follow it."""

    claim: Claim
    against: tuple[tuple[str, str], ...] = ()
    thin: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = field(default=())


def turning_points(report: ReportParts) -> list[TurningPoint]:
    """One for each main claim that anything would change."""
    claims = main_claims(report)
    nearest = {one: _nearest(one, claims) for one in unanswered(report)}
    found = []
    for place, claim in enumerate(claims):
        questions = tuple(one for one, at in nearest.items() if at == place)
        found.append(TurningPoint(claim, tuple(_against(report, claim)), tuple(_thin(report, claim)), questions))
    return [one for one in found if one.against or one.thin or one.unanswered]


def main_claims(report: ReportParts) -> list[Claim]:
    """The claims of the short answer, or the best of each section."""
    cited = [one for one in report.claims if any(key in report.by_key for key in one.evidence)]
    if lead := [one for one in cited if one.section == LEAD]:
        return lead[:MOST_CLAIMS]
    best: dict[str, Claim] = {}
    for one in cited:
        if one.section not in best or _score(one) > _score(best[one.section]):
            best[one.section] = one
    return list(best.values())[:MOST_CLAIMS]


def unanswered(report: ReportParts) -> list[str]:
    """What was asked for and not found; what a report says of itself is none."""
    return [one for one in report.not_covered if not one.startswith(ABOUT_ITSELF)]


def turning_of(report: ReportParts) -> Section | None:
    """The points as a section, None where nothing is known that would change the answer."""
    points = turning_points(report)
    told = {one for point in points for one in point.unanswered}
    rest = [one for one in unanswered(report) if one not in told]
    lines = [line for point in points for line in _lines(report, point)]
    lines += [f"- An answer to what stayed open: “{plain(one)}”" for one in rest if report.found]
    return Section(heading=HEADING, text="\n".join(lines)) if lines else None


# -- one claim --------------------------------------------------------------------------------------------------------


def _against(report: ReportParts, claim: Claim) -> Iterator[tuple[str, str]]:
    """Keys of evidence that says otherwise, each once, and why the other side is preferred."""
    own, seen = set(claim.evidence), set(claim.evidence)
    for conflict in report.conflicts:
        for key, why in _other_side(report, claim, conflict, own):
            if key not in seen:
                seen.add(key)
                yield key, why
    asked = {report.by_key[key].question for key in own if key in report.by_key}
    sources = {report.by_key[key].source for key in own if key in report.by_key}
    for one in report.evidence:
        contrary = one.stance == "contradicts" and one.question in asked and one.source not in sources
        if contrary and one.key in report.numbers and one.key not in seen:
            seen.add(one.key)
            yield one.key, ""


def _other_side(report: ReportParts, claim: Claim, conflict: Conflict, own: set[str]) -> Iterator[tuple[str, str]]:
    mine = [place for place, side in enumerate(conflict.sides) if own & set(side)]
    wanted = set(terms(claim.text))
    if not mine or not wanted or len(wanted & set(terms(conflict.about))) < ON_IT * len(wanted):
        return
    for place, side in enumerate(conflict.sides):
        if place == mine[0]:
            continue
        why = conflict.preferred if mine[0] == 0 else f"it is itself preferred, as it is {conflict.preferred}"
        yield from ((key, why if conflict.preferred else "") for key in side if key in report.by_key)


def _thin(report: ReportParts, claim: Claim) -> Iterator[str]:
    """What the claim's own support lacks."""
    sources = report.sources_of(claim)
    numbers = {report.numbers.get(key, key) for key in sources}
    if claim.verdict and claim.verdict.label == "contradicted":
        yield "Nothing more: what is cited says otherwise."
    elif claim.verdict and claim.verdict.missing:
        yield f"A source for “{plain(', '.join(claim.verdict.missing))}”: what is cited does not hold it."
    elif claim.verdict and claim.verdict.label == "partly":
        yield "A source that says all of it: what is cited bears it out in part."
    if len(numbers) == 1:
        yield "A second source that says otherwise: this rests on one alone."
    if sources and not any(one.published_at for one in sources.values()):
        yield "A date: nobody can say whether it still holds, as its source has none."


def _nearest(question: str, claims: Sequence[Claim]) -> int | None:
    """Which claim shares most words with a question; None where none shares any."""
    wanted = set(terms(question))
    shared = [len(wanted & set(terms(one.text))) for one in claims]
    return max(range(len(claims)), key=lambda place: (shared[place], -place)) if any(shared) else None


def _score(claim: Claim) -> float:
    return claim.verdict.score if claim.verdict else 0.0


# -- words ------------------------------------------------------------------------------------------------------------


def _lines(report: ReportParts, point: TurningPoint) -> Iterator[str]:
    marks = "".join(f"[[{key}]]" for key in point.claim.evidence if key in report.numbers)
    said = f"{plain(point.claim.text)} {marks}".strip()
    yield f"- **{said}**"  # the marks within: behind a full stop, Markdown would see no end of the emphasis
    for key, why in point.against:
        yield f"  - If the other side is right: {_said(report.by_key[key])} [[{key}]]{_weighed(why)}"
    for one in point.thin:
        yield f"  - {one}"
    for one in point.unanswered:
        yield f"  - An answer to what stayed open: “{plain(one)}”"


def _weighed(why: str) -> str:
    """Why the report follows the other side, or that nothing speaks for either."""
    if not why:
        return ". Nothing speaks for either."
    return (
        f"; {plain(why)}."
        if why.startswith("it is itself")
        else f". The claim's own is preferred, as it is {plain(why)}."
    )


def _said(one: Evidence) -> str:
    """What evidence says: in quotation marks where these are its own words."""
    text = " ".join((one.summary or one.passage.text).split())
    words = text.split()
    short = " ".join(words[:SHOWN_WORDS]).rstrip(".") + (" …" if len(words) > SHOWN_WORDS else "")
    return f"“{plain(short)}”" if text in " ".join(one.passage.text.split()) else plain(short)
