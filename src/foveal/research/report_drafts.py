"""Drafts of a report: written, checked, mended, brought to length; the one that is borne out best is kept.

    desk, writer, plan -> best(drafts)           # Draft(sections, score)

check     each sentence against the passages that it cites; one that calls something recent needs a source with a date
mend      one that nothing bears out is searched for once more; what still is not goes, or is marked
repeat    a sentence that says what one before it said goes, over all sections
length    the target within 15 %: what is borne out least goes, or the passages' own sentences come in; where the
          evidence holds no more, a report is shorter, not padded
guard     more drafts may not make a report worse: kept is the one with the highest share of what was asked for that is
          borne out
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from foveal.research.checks import Checks
from foveal.research.evidence import Claim, Evidence, SourceRecord, Verdict
from foveal.research.likeness import SAME, Likeness
from foveal.research.outline import Planned
from foveal.research.report_parts import Section
from foveal.research.report_writing import Sentence, leans

SLACK = 0.15
"""Of the length that was asked for, either way."""

PARAGRAPH = 110
"""Words after which a paragraph may end: a section of a long report would be one of two pages."""

_RECENT = re.compile(r"\b(?:recent(?:ly)?|latest|newest|nowadays|currently|up-to-date)\b", re.IGNORECASE)

Drafted = tuple[tuple[Planned, tuple[Sentence, ...]], ...]


@dataclass(frozen=True)
class Draft:
    """A draft: its sections with their sentences, all checked; what nothing bears out; how good it is, 0 to 1."""

    sections: Drafted
    dropped: tuple[Sentence, ...] = ()
    score: float = 0.0

    def to_sections(self, form: str = "") -> tuple[Section, ...]:
        """As a report holds them, in a form of `FORMATS`; sections without a sentence are none."""
        return tuple(
            Section(heading=plan.heading, text=points(said) if form == "points" else paragraphs(said))
            for plan, said in self.sections
            if said
        )

    def claims(self) -> tuple[Claim, ...]:
        """All sentences, with their verdicts."""
        return tuple(
            Claim(text=one.claim, evidence=one.keys, section=plan.heading, verdict=one.verdict)
            for plan, said in self.sections
            for one in said
        )

    def left_out(self) -> list[Sentence]:
        """Of what nothing bears out, what does not stand in the sections, marked."""
        held = {one.text for _, said in self.sections for one in said if one.marked}
        return [one for one in self.dropped if one.text not in held]

    @property
    def words(self) -> int:
        """Its length."""
        return sum(one.words for _, said in self.sections for one in said)


def paragraphs(said: Sequence[Sentence]) -> str:
    """Sentences as Markdown, in paragraphs. One ends where it is long enough, enough is left for another, and the next
    sentence stands by itself; what begins with a sign would be a list or a heading there."""
    parts: list[list[Sentence]] = [[]]
    left = sum(one.words for one in said)
    for one in said:
        full = sum(other.words for other in parts[-1]) >= PARAGRAPH
        if full and left >= PARAGRAPH // 2 and one.text[:1].isalpha() and not leans(one.text):
            parts.append([])
        parts[-1].append(one)
        left -= one.words
    return "\n\n".join(" ".join(one.shown() for one in part) for part in parts)


def points(said: Sequence[Sentence]) -> str:
    """Sentences as Markdown, each an item of a list."""
    return "\n".join(f"- {one.shown()}" for one in said)


def checked(sections: Drafted, evidence: Mapping[str, Evidence], checks: Checks) -> Drafted:
    """Each sentence with its verdict; those that have one keep it."""
    open_ones = [one for _, said in sections for one in said if one.verdict is None]
    pairs = [(one.text, [evidence[key].passage for key in one.keys]) for one in open_ones]
    verdicts = iter(checks.check_many(pairs))
    return tuple(
        (plan, tuple(one if one.verdict else replace(one, verdict=next(verdicts)) for one in said))
        for plan, said in sections
    )


def undated(sections: Drafted, evidence: Mapping[str, Evidence], sources: Mapping[str, SourceRecord]) -> Drafted:
    """The sentences, of which those are not borne out that call something recent where no source that they cite has a
    date, nor says so itself: nobody can know."""

    def one(said: Sentence) -> Sentence:
        words = {found.lower() for found in _RECENT.findall(said.text)}
        cited = [evidence[key] for key in said.keys]
        told = " ".join(own.passage.text for own in cited).lower()
        lost = sorted(word for word in words if word not in told)
        if said.verdict is None or not lost or any(sources[own.source].published_at for own in cited):
            return said
        missing = tuple(dict.fromkeys((*said.verdict.missing, *lost)))
        return replace(said, verdict=replace(said.verdict, label="unsupported", missing=missing))

    return tuple((plan, tuple(map(one, said))) for plan, said in sections)


def mended(
    sections: Drafted,
    search: Callable[[str], Sequence[str]],
    evidence: Mapping[str, Evidence],
    checks: Checks,
    most: int,
) -> Drafted:
    """Up to `most` sentences that nothing bears out, with other evidence, where one more search finds some."""
    left = most

    def one(sentence: Sentence) -> Sentence:
        nonlocal left
        if sentence.stands or left < 1:
            return sentence
        left -= 1
        for key in search(sentence.text):
            verdict = checks.check(sentence.text, [evidence[key].passage])
            if verdict.label == "supported":
                return replace(sentence, keys=(key,), verdict=verdict)
        return sentence

    return tuple((plan, tuple(map(one, said))) for plan, said in sections)


def without_unsupported(sections: Drafted, *, mark: bool = False) -> tuple[Drafted, tuple[Sentence, ...]]:
    """The sentences that stand, and those that do not; `mark` keeps the latter, and says so in the text."""
    dropped = tuple(one for _, said in sections for one in said if not one.stands)
    if not mark:
        return tuple((plan, tuple(one for one in said if one.stands)) for plan, said in sections), dropped
    marked = tuple(
        (plan, tuple(one if one.stands else replace(one, marked=True) for one in said)) for plan, said in sections
    )
    return marked, dropped


def without_repeats(sections: Drafted, likeness: Likeness) -> Drafted:
    """Each sentence once: what is nearly one before it, in any section, goes."""
    flat = [one for _, said in sections for one in said]
    vectors = likeness.vectors([one.text for one in flat])
    kept: list[int] = []
    for place in range(len(flat)):
        if not kept or float((vectors[kept] @ vectors[place]).max()) <= SAME:
            kept.append(place)
    allowed, place, made = set(kept), 0, []
    for plan, said in sections:
        made.append((plan, tuple(one for number, one in enumerate(said, place) if number in allowed)))
        place += len(said)
    return tuple(made)


def fitted(
    sections: Drafted, words: int, spare: Callable[[Planned], Sequence[Sentence]], likeness: Likeness
) -> Drafted:
    """The draft at its length, as near as its evidence allows; a section keeps one sentence at least."""
    plans, held = [plan for plan, _ in sections], [list(said) for _, said in sections]
    _shorten(plans, held, words)
    if _size(held) < (1 - SLACK) * words:
        _lengthen(held, [iter(spare(plan)) for plan in plans], [max(1, plan.words) for plan in plans], words, likeness)
    return tuple((plan, tuple(said)) for plan, said in zip(plans, held, strict=True))


def _shorten(plans: Sequence[Planned], held: list[list[Sentence]], words: int) -> None:
    """Take out what is borne out least, from the sections that are most above their length."""
    while _size(held) > (1 + SLACK) * words and any(len(said) > 1 for said in held):
        long = [place for place, said in enumerate(held) if len(said) > 1]
        place = max(long, key=lambda at: sum(one.words for one in held[at]) - plans[at].words)
        held[place].remove(min(held[place], key=lambda one: (one.verdict.score if one.verdict else 1.0, -one.words)))


def _lengthen(
    held: list[list[Sentence]], spare: list[Iterator[Sentence]], wanted: Sequence[int], words: int, likeness: Likeness
) -> None:
    """Put in more, where it is missing most, up to the length or until there is no more."""
    open_ones = set(range(len(held)))
    while open_ones and _size(held) < (1 - SLACK / 3) * words:
        place = min(open_ones, key=lambda at: (sum(one.words for one in held[at]) / wanted[at], at))
        new = next(spare[place], None)
        if new is None:
            open_ones.remove(place)
        elif _size(held) + new.words <= (1 + SLACK) * words and _is_new(new, held, likeness):
            held[place].append(new)


def _size(held: Sequence[Sequence[Sentence]]) -> int:
    return sum(one.words for said in held for one in said)


def _is_new(new: Sentence, held: Sequence[Sequence[Sentence]], likeness: Likeness) -> bool:
    texts = [one.text for said in held for one in said]
    return not texts or max(likeness.to(new.text, texts)) <= SAME


def scored(draft: Draft, planned: Sequence[Planned], words: int) -> Draft:
    """With its score: the share of sentences that are borne out (a part counts half), of all that were written, times
    the shares of the sections and of the length that there are."""
    said = [one for _, part in draft.sections for one in part]
    borne = sum({"supported": 1.0, "partly": 0.5}.get(one.verdict.label, 0.0) if one.verdict else 0.0 for one in said)
    written = len(said) + len(draft.left_out())
    covered = sum(1 for _, part in draft.sections if part) / max(1, len(planned))
    length = min(1.0, draft.words / max(1.0, (1 - SLACK) * words))
    return replace(draft, score=round((borne / written if written else 0.0) * covered * length, 4))


def to_rows(draft: Draft) -> dict[str, Any]:
    """The draft as plain values."""
    return {
        "score": draft.score,
        "dropped": [_row(one) for one in draft.dropped],
        "sections": [[asdict(plan), [_row(one) for one in said]] for plan, said in draft.sections],
    }


def from_rows(row: Mapping[str, Any]) -> Draft:
    """The draft of `to_rows`."""
    sections = tuple((planned_of(plan), tuple(map(sentence_of, said))) for plan, said in row["sections"])
    return Draft(sections, tuple(map(sentence_of, row["dropped"])), row["score"])


def planned_of(row: Mapping[str, Any]) -> Planned:
    """A planned section of its row."""
    return Planned(row["heading"], row["goal"], tuple(row["evidence"]), row["words"])


def sentence_of(row: Mapping[str, Any]) -> Sentence:
    """A sentence of its row."""
    verdict = Verdict.from_row(row["verdict"]) if row["verdict"] else None
    return Sentence(row["text"], tuple(row["keys"]), row["quoted"], verdict, row.get("marked", False))


def _row(one: Sentence) -> dict[str, Any]:
    return asdict(one)
