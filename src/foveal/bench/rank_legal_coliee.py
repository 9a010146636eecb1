"""bench rank-legal, COLIEE: the articles of the Japanese civil code that a statement of the bar exam turns on.

The data are given out under an agreement; where DIR/coliee holds them (a civil_code….txt and riteval_….xml files,
anywhere below it) this is run: trained on the years H18 to H30, dev questions of R01, tested on R02 (the paper's year)
to R05. The bars are figures measured before on R02, and what the paper claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from foveal.bench.known_sets import held_to, is_set
from foveal.bench.rank_legal_arms import Sizes
from foveal.bench.rank_legal_runs import Law
from foveal.bench.rank_legal_systems import (
    ABOVE,
    CNN,
    FIRST,
    OF_FIRST,
    PARAFORMER,
    Systems,
    both_rows,
    difference_rows,
    firsts,
    gain_rows,
)
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.legal import load_coliee, mean_scores
from foveal.evaluation.metrics import Run, evaluate
from foveal.evaluation.tables import Row
from foveal.ranking.attentive_cnn import AttentiveCNNSettings

EVERY = 10_000
SIZES = Sizes(
    counts={EVERY: (3, 10)},
    compared=EVERY,
    steps_dev=EVERY,
    dev=EVERY,
    test=EVERY,
    candidates=100,
    planted=300,
    cnn=AttentiveCNNSettings(dimension=256, filters=256),
    cut="lines",
)
ANCHORED = "R02"
"""The year of the paper, and of the figures measured before."""
ANCHORS = {"BM25": 0.696, "MiniLM, whole article": 0.609, "MiniLM, best sentence": 0.535}
MARGIN = 0.03
OF_WORDS = {"P of the first": 0.728, "R of the first": 0.691, "recall@10": 0.846, "recall@100": 0.923}
"""What BM25 had there besides; recall among so many within `NEAR`, the others within `MARGIN`."""
NEAR = 0.02
GAIN, ALONE = 0.05, 0.55
"""What Paraformer gains over BM25 when added to it, on all tested years, and its own F2 on that year."""

_YEAR = re.compile(r"riteval_([HR]\d\d)")


def coliee_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows about COLIEE, or one that says that it is not run."""
    folder = settings.data / "coliee"
    if not folder.is_dir():
        note = "not run: there is no coliee/ in the data folder; its data are given out under an agreement"
        yield Row.of("COLIEE", "questions", 0, note=note)
        return
    law = coliee(folder, settings)
    systems = Systems(law)
    year = [query for query in law.test.queries if query.startswith(ANCHORED)]
    known = is_set("COLIEE's R02", len(year))
    year = year if known else list(law.test.queries)
    tested = ANCHORED if known else "all tested years"
    for one in (systems.words, *systems.minilm):
        run = systems.fused(one) if one is systems.words else systems.alone(one)
        low, high = (ANCHORS[one.name] + side if one.name in ANCHORS else None for side in (-MARGIN, MARGIN))
        value = _first(run, law, year)
        row = Row.of(f"COLIEE, {tested}, {one.name}", FIRST, value, at_least=low, at_most=high)
        yield held_to("COLIEE's R02", known, row)
    for row in words_rows(systems, year, f"COLIEE, {tested}, BM25"):
        yield held_to("COLIEE's R02", known, row)
    one = systems.trained(PARAFORMER)
    value = _first(systems.alone(one), law, year)
    row = Row.of(f"COLIEE, {tested}, {PARAFORMER}, alone", FIRST, value, at_least=ALONE)
    yield held_to("COLIEE's R02", known, row)
    for name in law.arms:
        yield from both_rows(systems, systems.trained(name), f"COLIEE, {name}")
    yield from gain_rows(systems, one, prefix="COLIEE, ", least=GAIN)
    own = firsts(systems.fused(one), law.test.judged)
    for name in ("Paraformer, frozen encoder", "Paraformer, mean in place of attention"):
        other = firsts(systems.fused(systems.trained(name)), law.test.judged)
        yield from difference_rows(f"COLIEE, Paraformer less {name.partition(', ')[2]}, fused", own, other, least=ABOVE)
    runs = [systems.alone(systems.trained(name)) for name in (PARAFORMER, CNN)]
    ahead = _first(runs[0], law, list(law.test.queries)) - _first(runs[1], law, list(law.test.queries))
    yield Row.of(
        f"COLIEE, {PARAFORMER} less {CNN}, alone", FIRST, ahead, at_least=ABOVE, note="few questions to learn from"
    )


def words_rows(systems: Systems, queries: list[str], name: str) -> Iterator[Row]:
    """BM25 beside what was measured before."""
    run, qrels = systems.fused(systems.words), {query: systems.law.test.judged[query] for query in queries}
    first = mean_scores(firsts(run, qrels))
    found = evaluate(run, qrels, [metric for metric in OF_WORDS if "@" in metric])
    found |= {OF_FIRST[one]: first[one] for one in ("precision", "recall")}
    for metric, anchor in OF_WORDS.items():
        margin = NEAR if "@" in metric else MARGIN
        yield Row.of(name, metric, found[metric], at_least=anchor - margin, at_most=anchor + margin)


def coliee(folder: Path, settings: BenchSettings) -> Law:
    """The code and the years in `folder`. InputError: a part is missing or damaged."""
    codes = sorted(folder.rglob("civil_code*.txt"))
    years = {found[1]: path for path in sorted(folder.rglob("*.xml")) if (found := _YEAR.search(path.name))}
    parts = {
        "training": [path for year, path in years.items() if year < "R01"],
        "dev": [path for year, path in years.items() if year == "R01"],
        "test": [path for year, path in years.items() if year > "R01"],
    }
    if missing := [name for name, paths in parts.items() if not paths] + (["code"] if not codes else []):
        raise InputError(
            f"{folder} lacks COLIEE's {', '.join(missing)}; it needs civil_code….txt, and riteval_….xml files of the "
            "years H18 to H30 (training), R01 (dev) and R02 on (test). Add them, or take the folder away."
        )
    learnt, dev, test = (load_coliee(codes[0], paths) for paths in parts.values())
    return Law(learnt, dev, test, settings, SIZES)


def _first(run: Run, law: Law, queries: list[str]) -> float:
    qrels = {query: law.test.judged[query] for query in queries}
    return mean_scores(firsts(run, qrels))["f2"] if qrels else 0.0
