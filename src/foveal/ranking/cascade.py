"""A cascade: cheap rankers order many candidates, dear ones the best few, within a budget of milliseconds a query.

    cascade = Cascade([Stage(knrm, 100), Stage(blockrank, 20)], budget_ms=300)
    cascade.rank(query, hits)                                       a `Ranker`; `run` tells what each stage did, too
    CascadeSearch(hybrid, cascade, depth=1000).run(query, k=10)     the search counts against the budget as well

What a stage costs is timed as it runs and kept with the cascade (`stage_cost.py`). A stage takes as many candidates as
fit into what is left of the budget, less the least that later stages need. If not even its own least fits, it is left
out, and the report says so. What a stage did not see stays in its order behind what it saw.

Cold      A stage that was never timed is timed on the hits at hand first, outside of the budget (`warm`)
Bound     Times are foretold, not enforced: a stage that has begun runs to its end
Repeated  `run(query, hits, counts=report.counts)` gives the same order again, whatever the clock says
Source    cascades: Wang, Lin and Metzler, "A cascade ranking model for efficient ranked retrieval", SIGIR 2011
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from foveal.errors import InputError
from foveal.models.chat import Cancel
from foveal.ranges import require_k
from foveal.ranking.stage_cost import StageCost
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.pipeline import followed_by, read_by, require_once
from foveal.types import Hit, Ranker, Retriever

LEAST = 5
"""Candidates below which a stage is not worth its time."""

Clock = Callable[[], float]
"""Seconds."""


def require_falling(sizes: Sequence[int]) -> None:
    """InputError: a stage takes more candidates than the one before it."""
    if any(one < two for one, two in pairwise(sizes)):
        raise InputError(
            f"A cascade's stages take {', '.join(map(str, sizes))} candidates; they must not grow from a stage to "
            "the next. Put the stage that takes the most first."
        )


# -- stages, and what is told of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """A ranker, and how many of the best candidates go into it."""

    ranker: Ranker
    candidates: int  # no more than its ranker reads, if that has a budget of its own
    least: int = LEAST  # it is left out rather than given fewer, where there are so many
    weight: float = 1.0  # of its scores beside those that it was given, both scaled 0 to 1 over what it saw; 1: alone
    name: str = ""  # in the report; "": the ranker's class

    def __post_init__(self) -> None:
        if min(self.candidates, self.least) < 1 or not 0 <= self.weight <= 1:
            raise InputError(
                f"A stage got candidates={self.candidates}, least={self.least}, weight={self.weight}; it needs at "
                "least 1 and 1, and a weight from 0 to 1."
            )
        if not callable(getattr(self.ranker, "rank", None)):
            raise InputError(f"A stage got a {type(self.ranker).__name__}, which has no rank(); give a ranker.")

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or type(self.ranker).__name__

    def most(self, hits: int) -> int:
        """How many of so many hits it takes at most: no more than its ranker reads, which may have a budget."""
        return read_by(self.ranker, min(self.candidates, hits))

    def ordered(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits as the ranker orders them, its scores beside those given if they are weighed; what it does not read
        follows below, and is no part of the scale. Where both together say the same the order stays as it was given.

        InputError: it gave a hit that it was not given, or one twice.
        """
        read = hits[: read_by(self.ranker, len(hits))]
        ranked = self.ranker.rank(query, read)
        known = {hit.passage.span for hit in read}
        if len({hit.passage.span for hit in ranked} & known) < len(ranked):
            raise InputError(f"{self.called} gave a passage twice, or one that it was not given. Mend that ranker.")
        if self.weight < 1:
            scores = [{hit.passage.span: hit.score for hit in one} for one in (read, ranked)]
            summed = weighted_sum(scores, [1 - self.weight, self.weight])
            weighed = {hit.passage.span: replace(hit, score=summed[hit.passage.span]) for hit in ranked}
            as_given = (weighed[hit.passage.span] for hit in read if hit.passage.span in weighed)
            ranked = sorted(as_given, key=lambda hit: -hit.score)
        return ranked if len(read) == len(hits) else followed_by(ranked, hits)


@dataclass(frozen=True)
class StageRun:
    """What one stage did for one query; 0 candidates: it was left out, and `left_out` says why."""

    name: str
    given: int  # hits that there were
    taken: int  # of them, the best so many were read and ordered anew
    ms: float
    expected_ms: float  # what was foretold; 0: nothing was known
    left_out: str = ""

    def __str__(self) -> str:
        if self.left_out:
            return f"{self.name} left out: {self.left_out}"
        return f"{self.name} {self.taken} of {self.given} in {self.ms:.0f} ms"


@dataclass(frozen=True)
class CascadeReport:
    """What a cascade did for one query."""

    stages: tuple[StageRun, ...]
    budget_ms: float | None
    spent_ms: float  # before the first stage, by the search
    ms: float  # in all: the search, the stages, and what lies between them

    @property
    def counts(self) -> tuple[int, ...]:
        """The candidates that each stage took: with them the order can be had again."""
        return tuple(stage.taken for stage in self.stages)

    def __str__(self) -> str:
        of = "" if self.budget_ms is None else f" of {self.budget_ms:g}"
        search = [f"search {self.spent_ms:.0f} ms"] if self.spent_ms else []
        return "; ".join([*search, *map(str, self.stages)]) + f". {self.ms:.0f}{of} ms."


@dataclass(frozen=True)
class Cascaded:
    """The hits, best first, and what the stages did."""

    hits: list[Hit]
    report: CascadeReport


# -- the cascade -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cascade:
    """A `Ranker` of rankers."""

    stages: Sequence[Stage]
    budget_ms: float | None = None  # of a query; None: every stage takes its candidates
    warms: bool = True  # whether what was never timed, the search too, runs once outside of the budget
    on_report: Callable[[CascadeReport], None] = lambda _: None  # told of each query
    clock: Clock = time.perf_counter  # seconds
    costs: tuple[StageCost, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("A cascade got no stage; give at least one ranker.")
        if self.budget_ms is not None and not 0 < self.budget_ms < math.inf:
            raise InputError(
                f"A cascade got a budget of {self.budget_ms} ms; it needs more than 0, or None for no limit."
            )
        require_falling([stage.candidates for stage in self.stages])
        object.__setattr__(self, "costs", tuple(StageCost() for _ in self.stages))

    @property
    def begins(self) -> bool:
        """Whether stages are still to be timed, outside of the budget."""
        return self.warms and self.budget_ms is not None and not all(cost.known for cost in self.costs)

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits as the last stages order them, then what they did not see; no hits give none."""
        return self.run(query, hits).hits

    def run(
        self,
        query: str,
        hits: Sequence[Hit],
        *,
        spent_ms: float = 0.0,
        counts: Sequence[int] | None = None,
        cancel: Cancel | None = None,
    ) -> Cascaded:
        """`rank`, with what each stage did. `spent_ms` of the budget are spent already.

        `counts` sets the candidates of each stage, 0 to leave it out, whatever the budget: no clock changes the order.
        InputError: another number of counts than stages, a passage comes twice, or a stage gave no ranking. Cancelled:
        before a stage.
        """
        if counts is not None and (len(counts) != len(self.stages) or min(counts) < 0):
            raise InputError(
                f"A cascade of {len(self.stages)} stages got the counts {list(counts)}; give one of 0 or more for each."
            )
        require_once(hits)
        if self.begins and counts is None:
            self.warm(query, hits, cancel=cancel)
        start, ordered, runs = self.clock(), list(hits), []
        for place in range(len(self.stages)):
            if cancel:
                cancel.check()
            spent = spent_ms + 1e3 * (self.clock() - start)
            if counts is None:
                count, why = self._count(place, len(ordered), spent)
            else:
                count = read_by(self.stages[place].ranker, min(counts[place], len(ordered)))
                why = "it was given no candidates"
            ordered, done = self._ran(place, query, ordered, count, why)
            runs.append(done)
        report = CascadeReport(tuple(runs), self.budget_ms, spent_ms, spent_ms + 1e3 * (self.clock() - start))
        self.on_report(report)
        return Cascaded(ordered, report)

    def warm(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> None:
        """Time each stage that was never timed, on a few of these hits, then on more while that is cheap."""
        for stage, cost in zip(self.stages, self.costs, strict=True):
            most = stage.most(len(hits))
            size = min(stage.least, most)
            if cost.known or not size:
                continue
            self._timed(stage, cost, query, hits[:size], cancel)  # cold
            while True:
                ms = self._timed(stage, cost, query, hits[-size:], cancel)
                if size >= most or ms > (self.budget_ms or math.inf) / 2:
                    break
                size = min(4 * size, most)

    def _ran(self, place: int, query: str, hits: list[Hit], count: int, why: str) -> tuple[list[Hit], StageRun]:
        """The hits after a stage took the first `count` of them; `why` it took none."""
        stage, cost = self.stages[place], self.costs[place]
        if not count:
            return hits, StageRun(stage.called, len(hits), 0, 0.0, 0.0, why)
        expected, begun = cost.ms(count), self.clock()
        ordered = followed_by(stage.ordered(query, hits[:count]), hits)
        ms = 1e3 * (self.clock() - begun)
        cost.add(count, ms)
        return ordered, StageRun(stage.called, len(hits), count, ms, expected)

    def _timed(self, stage: Stage, cost: StageCost, query: str, hits: Sequence[Hit], cancel: Cancel | None) -> float:
        if cancel:
            cancel.check()
        start = self.clock()
        stage.ordered(query, hits)
        ms = 1e3 * (self.clock() - start)
        cost.add(len(hits), ms)
        return ms

    def _count(self, place: int, hits: int, spent: float) -> tuple[int, str]:
        """How many of the hits a stage takes once `spent` ms are gone; 0, and why, where it is left out."""
        stage, cost = self.stages[place], self.costs[place]
        most = stage.most(hits)
        least = min(stage.least, most)
        if not hits:
            return 0, "there is nothing to rank"
        if self.budget_ms is None:
            return most, ""
        rest, needed = self.budget_ms - spent, cost.ms(least)
        if rest <= 0:
            return 0, "no time is left"
        if not cost.known:
            return least, ""
        if needed > rest and not cost.left_out():
            return 0, f"its least of {least} takes {needed:.0f} ms, and {rest:.0f} are left"
        return max(least, cost.most(rest - self._reserved(place, hits, rest - needed), most)), ""

    def _reserved(self, place: int, hits: int, spare: float) -> float:
        """Milliseconds kept free for the least of later stages, as far as they fit beside this one's."""
        reserved = 0.0
        for stage, cost in zip(self.stages[place + 1 :], self.costs[place + 1 :], strict=True):
            needed = cost.ms(min(stage.least, stage.most(hits)))
            reserved += needed if reserved + needed <= spare else 0.0
        return reserved


@dataclass(frozen=True)
class CascadeSearch:
    """A `Retriever`: a search of `depth` hits, and a cascade that has what the search leaves of the budget."""

    retriever: Retriever
    cascade: Cascade
    depth: int = 1000

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"A search before a cascade got a depth of {self.depth}; it needs at least 1.")

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the best `k` hits; the budget is that of one query."""
        return [self.run(query, k).hits for query in queries]

    def run(self, query: str, k: int, *, cancel: Cancel | None = None) -> Cascaded:
        """The best `k` hits, and what the stages did. InputError: k is below 1. Cancelled: by `cancel`."""
        require_k(k)
        if self.cascade.begins:  # the first search loads an encoder, say: it is not counted either
            self.retriever.search([query], 1)
        start = self.cascade.clock()
        hits = self.retriever.search([query], max(self.depth, k))[0]
        spent = 1e3 * (self.cascade.clock() - start)
        done = self.cascade.run(query, hits, spent_ms=spent, cancel=cancel)
        return Cascaded(done.hits[:k], done.report)
