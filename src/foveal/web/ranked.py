"""Searches of strangers that a ranker orders: each within `ranking_s` seconds, and `ranked_per_minute` of an address.

    ranker = within(request, "pairwise")        # of request_limits.py; None: this machine asks, and may take its time
    hits = site.library.search(query, k, rank=ranker, candidates=ranker.candidates)
    ranker.said()                               # "pairwise read 8 of 20 …", where it was not all; else ""

Why         A language model needs minutes for a hundred candidates, two such searches run at a time, and a visitor who
            may do nothing but look could keep both going
Bound       by a cascade's budget (ranking/cascade.py): the times of earlier searches foretell how many candidates fit;
            a ranker that was never timed here is timed on a few first, beyond the budget
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from foveal.types import Hit, Ranker

if TYPE_CHECKING:
    from foveal.ranking.cascade import Cascade, CascadeReport

MOST_TIMED = 2
"""Rankers whose times are kept: as many as are kept loaded."""


@dataclass
class Within:
    """A `Ranker` for one search: what fits into the time is ordered, the rest follows as it was found."""

    cascade: Cascade
    report: CascadeReport | None = None

    @property
    def candidates(self) -> int:
        """How many hits it is to be given."""
        return self.cascade.stages[0].candidates

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits, best first."""
        done = self.cascade.run(query, hits)
        self.report = done.report
        return done.hits

    def said(self) -> str:
        """For the page: which stages read fewer than they would have; "" where none did."""
        stages = zip(self.cascade.stages, self.report.stages if self.report else (), strict=False)
        short = [(run, stage.most(run.given)) for stage, run in stages if run.taken < stage.most(run.given)]
        if not short or not self.cascade.budget_ms:
            return ""
        parts = [f"{run.name} read {run.taken} of {most} candidates" for run, most in short]
        seconds = self.cascade.budget_ms / 1000
        return (
            f"{', '.join(parts)}: more would have taken longer than the {seconds:g} s that this site gives a search. "
            "The others follow as they were found."
        )


@dataclass
class Timed:
    """The rankers of a site with the times that they took, those used last."""

    _kept: dict[str, tuple[Ranker, Cascade]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, name: str, ranker: Ranker, seconds: float) -> Cascade:
        """`ranker` within so many seconds a search; with the times of before, if it is still the same."""
        from foveal.ranking.cascade import Cascade, Stage
        from foveal.retrieval.pipeline import usual_candidates

        with self._lock:
            before, cascade = self._kept.pop(name, (None, None))
            if cascade is None or before != ranker:
                alone = [Stage(ranker, usual_candidates(ranker), name=name)]
                cascade = Cascade(ranker.stages if isinstance(ranker, Cascade) else alone, seconds * 1000)
            self._kept[name] = (ranker, cascade)
            for old in list(self._kept)[:-MOST_TIMED]:
                del self._kept[old]
        return cascade
