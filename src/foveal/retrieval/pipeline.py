"""Search in stages: a retriever finds candidates, rankers order fewer and fewer of them anew, each within a budget.

    Pipeline([hybrid, cross_encoder], budgets=[200, 50]).search(queries, k=10)
    Pipeline(…).run(queries, k=10).stages          what each stage took and gave, in hits and seconds

A stage orders the best `budget` hits of the one before; what lies beyond follows below, in the order it had, so that a
small budget costs no recall. A pipeline is a `Retriever`, so it can be fused, measured, or a stage of another one. A
reader reads what it gives: the third stage of retrieve, re-rank and read has a budget of its own (`reading/`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

from foveal.errors import InputError
from foveal.models.chat import Cancel
from foveal.ranges import require_k
from foveal.retrieval.fusion import weighted_sum
from foveal.types import Hit, Ranker, Retriever, Span, require_hits

CANDIDATES = 20
"""Hits that a ranker orders where nobody says how many: a language model is slow at it."""


@dataclass(frozen=True)
class StageReport:
    """What one stage did, over all queries of a search."""

    name: str  # the class of the retriever or ranker
    budget: int
    queries: int
    taken: int  # hits that it read to order them; 0 for the retriever
    given: int  # hits that it gave
    seconds: float


@dataclass(frozen=True)
class Piped:
    """The hits of each query, and what the stages did for them."""

    hits: list[list[Hit]]
    stages: tuple[StageReport, ...]

    @property
    def seconds(self) -> float:
        """The time of all stages."""
        return math.fsum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class Pipeline:
    """A `Retriever` and any number of `Ranker`s behind it; `budgets` holds the hits that each works on."""

    stages: Sequence[Retriever | Ranker]
    budgets: Sequence[int]

    def __post_init__(self) -> None:
        if not self.stages or len(self.stages) != len(self.budgets):
            raise InputError(
                f"A pipeline got {len(self.stages)} stages and {len(self.budgets)} budgets; it needs a retriever, "
                "rankers behind it, and a budget for each."
            )
        for place, stage in enumerate(self.stages):
            verb = "rank" if place else "search"
            if not callable(getattr(stage, verb, None)):
                raise InputError(
                    f"Stage {place + 1} of a pipeline is a {type(stage).__name__}, which has no {verb}(); the first "
                    "stage must be a retriever, the others rankers."
                )
        falling = all(one >= two for one, two in pairwise(self.budgets))
        if not falling or min(self.budgets) < 1:
            raise InputError(
                f"A pipeline got budgets {list(self.budgets)}; they must be at least 1 and not grow from a stage to "
                "the next: it can order no more than it is given."
            )

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the best `k` passages after all stages."""
        return self.run(queries, k).hits

    def run(self, queries: Sequence[str], k: int, *, cancel: Cancel | None = None) -> Piped:
        """`search`, with what each stage did.

        InputError: a stage gave hits that are no ranking. Cancelled: by `cancel`, looked at before each query's stage.
        """
        require_k(k)
        retriever, budget = cast("Retriever", self.stages[0]), max(self.budgets[0], k)
        _check(cancel)
        start = time.perf_counter()
        found = retriever.search(queries, budget)
        seconds = time.perf_counter() - start
        _require_rankings(retriever, queries, found)
        given = sum(map(len, found))
        reports = [StageReport(type(retriever).__name__, budget, len(queries), 0, given, seconds)]
        for stage, ranked_at_most in zip(self.stages[1:], self.budgets[1:], strict=True):
            found, report = _ranked(cast("Ranker", stage), ranked_at_most, queries, found, cancel)
            reports.append(report)
        return Piped([hits[:k] for hits in found], tuple(reports))


def beside_search(scores: Sequence[float], hits: Sequence[Hit], share: float) -> list[float]:
    """A ranker's score of each hit by `share`, and the hit's own by the rest, each laid over 0 to 1 among these hits.

    A hit whose own score is not finite counts as the lowest.
    """
    own = {place: hit.score for place, hit in enumerate(hits) if math.isfinite(hit.score)}
    blended = weighted_sum([dict(enumerate(scores)), own], [share, 1 - share])
    return [blended[place] for place in range(len(hits))]


def require_once(hits: Sequence[Hit]) -> None:
    """InputError: a passage comes twice, or a plain text is there. Equal texts at two places are two passages."""
    first: dict[Span, int] = {}
    for place, hit in enumerate(require_hits(hits)):
        if (before := first.setdefault(hit.passage.span, place)) < place:
            raise InputError(
                f"Candidates {before} and {place} are the same passage ({hit.passage.span}). Leave one of them out."
            )


def by_score(taken: Sequence[Hit], scores: Iterable[float], source: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits that were taken, each with its new score, best first; then the others of `hits` (`followed_by`)."""
    scored = [replace(hit, score=float(score), source=source) for hit, score in zip(taken, scores, strict=True)]
    return followed_by(sorted(scored, key=lambda hit: -hit.score), hits)


def by_span(scores: Mapping[Span, float], known: Mapping[Span, Hit], source: str) -> list[Hit]:
    """The known hits of these spans with these scores, best first, ties in the order of documents and their texts."""
    best = sorted(scores, key=lambda span: (-scores[span], span.document_id, span.start))
    return [replace(known[span], score=scores[span], source=source) for span in best]


def followed_by(ranked: Sequence[Hit], hits: Sequence[Hit]) -> list[Hit]:
    """`ranked`, then those of `hits` that it lacks in their order, with scores 1, 2, … below its last one."""
    seen = {hit.passage.span for hit in ranked}
    rest = [hit for hit in hits if hit.passage.span not in seen]
    if not ranked:
        return rest
    last = ranked[-1].score
    return [*ranked, *(replace(hit, score=last - place) for place, hit in enumerate(rest, start=1))]


def usual_candidates(ranker: Ranker) -> int:
    """How many hits a ranker orders where nobody says: those that its weight beside the search was fitted over, if it
    has one (`fitted_over`). Scores are laid over the range of a list, so that a weight is right for lists as long.
    """
    fitted: int | None = getattr(ranker, "fitted_over", None)
    return fitted or CANDIDATES


def read_by(ranker: Ranker, hits: int) -> int:
    """How many of so many hits a ranker reads: all of them, or the first `budget` if it has one of its own."""
    budget: int | None = getattr(ranker, "budget", None)
    return hits if budget is None else min(hits, budget)


def _ranked(
    ranker: Ranker, budget: int, queries: Sequence[str], found: Sequence[Sequence[Hit]], cancel: Cancel | None
) -> tuple[list[list[Hit]], StageReport]:
    """The hits of each query with the first `budget` ordered anew, and what that took."""
    seconds, taken, given = 0.0, 0, 0
    ordered: list[list[Hit]] = []
    for query, hits in zip(queries, found, strict=True):
        _check(cancel)
        start = time.perf_counter()
        best = ranker.rank(query, hits[:budget]) if hits else []
        seconds += time.perf_counter() - start
        _require_rankings(ranker, [query], [best])
        taken, given = taken + read_by(ranker, len(hits[:budget])), given + len(best)
        ordered.append(followed_by(best, hits))
    return ordered, StageReport(type(ranker).__name__, budget, len(queries), taken, given, seconds)


def _require_rankings(stage: Retriever | Ranker, queries: Sequence[str], found: Sequence[Sequence[Hit]]) -> None:
    """InputError: not a list for each query, a score that is not finite, a worse hit before a better, or one twice."""
    name = type(stage).__name__
    if len(found) != len(queries):
        raise InputError(
            f"{name} gave {len(found)} lists of hits for {len(queries)} queries; it must give one for each."
        )
    for query, hits in zip(queries, found, strict=True):
        scores = [hit.score for hit in hits]
        if not all(map(math.isfinite, scores)):
            raise InputError(f"{name} gave a score that is not finite for {query!r}. Mend it, or leave it out.")
        if any(one < two for one, two in pairwise(scores)):
            raise InputError(f"{name} gave a worse hit before a better one for {query!r}; hits must come best first.")
        if len({hit.passage.span for hit in hits}) < len(hits):
            raise InputError(f"{name} gave a passage twice for {query!r}; each must come once.")


def _check(cancel: Cancel | None) -> None:
    if cancel:
        cancel.check()
