"""bench events, the switch: does team-draft interleaving tell the better of two searches, and no other?

People are simulated: they look from the top, click a relevant page with probability 0.8 and another with 0.05, and go
on after each with 0.85. BM25 in a 14-day window is set against MiniLM, which is worse, and against itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from foveal.bench.events_data import News
from foveal.bench.settings import BenchSettings
from foveal.evaluation.interleaving import Impression, InterleavingLog, Mixed, Verdict, team_draft, verdict
from foveal.evaluation.metrics import Run, evaluate
from foveal.evaluation.tables import Row

CLICK, SLIP, ON = 0.8, 0.05, 0.85
SURE = 0.05


def switch(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench events-ab`."""
    news = News(settings)
    _, test = news.sides
    judged = test.examples.judged
    windowed = news.words(test, windowed=True)
    dense = news.nearest(test, news.vectors, news.encode(list(test.examples.queries.values())))
    better, worse = (evaluate(run, judged, ("mrr@10",))["mrr@10"] for run in (windowed, dense))
    told = through_a_log(simulated(windowed, dense, judged, seed=settings.seed))
    note = f"{told.a} to {told.b}, {told.ties} ties, {told.unclicked} without a click; MRR {better:.3f} and {worse:.3f}"
    yield Row.of("BM25 in 14 days against MiniLM", "p of the sign test", told.p_value, at_most=SURE, note=note)
    yield Row.of("BM25 in 14 days against MiniLM", "preference for the better", told.preference, at_least=1e-6)
    rounds = 10 if settings.quick else 40
    again = [verdict(simulated(windowed, windowed, judged, seed=settings.seed + 1 + n)) for n in range(rounds)]
    false = sum(one.p_value < SURE for one in again) / rounds
    yield Row.of("the same search against itself", "share of verdicts below p 0.05", false, at_most=0.2,
                 note=f"{rounds} rounds; mean {np.mean([one.preference for one in again]):+.3f}")  # fmt: skip


def simulated(a: Run, b: Run, judged: Mapping[str, Mapping[str, int]], *, seed: int, k: int = 10) -> list[Impression]:
    """What was shown and clicked over all questions, each asked once."""
    draw, shown = np.random.default_rng(seed), []
    for query, found in judged.items():
        mixed = team_draft(list(a[query]), list(b[query]), k, draw)
        clicks = []
        for place, page in enumerate(mixed.keys):
            if draw.random() < (CLICK if found.get(page, 0) > 0 else SLIP):
                clicks.append(place)
            if draw.random() >= ON:
                break
        shown.append(Impression(query, query, "A", "B", mixed.keys, mixed.teams, tuple(clicks)))
    return shown


def through_a_log(impressions: Sequence[Impression]) -> Verdict:
    """The verdict after all was written to a log and read again, as a search does it."""
    with tempfile.TemporaryDirectory() as place:
        log = InterleavingLog(Path(place) / "clicks.jsonl")
        for one in impressions:
            noted = log.shown(one.query, one.a, one.b, Mixed(one.keys, one.teams))
            for click in one.clicks:
                log.clicked(noted.id, click)
        return verdict(log.impressions())
