"""bench rank-cascade: SciFact's test claims, whole abstracts, ranked within 300 ms a claim by a cascade.

alone      the first stage, then each ranker over its candidates: nDCG@10, median and 95th percentile of a claim's time
blocks     what BlockRank's kept blocks take on disk, and what they save; kept is what each order that may stand before
           BlockRank puts first, so that none of the cascades pays for reading in its milliseconds
chosen     the stages of the cascade, by the dev claims within 300 ms
cascade    the chosen one at 50, 100, 300 and 1,000 ms, its times foretold as it runs; the same order again by counts
Bars       above 0.772 nDCG@10, the best before (codes that learn with the queries, `retrieval-index`;
           trained token vectors with BM25S, `retrieval-late`, have 0.759), a median and a 95th percentile of at most
           300 ms; a run of 40 claims (--quick) has to be no worse than its first stage instead

Times are those of one claim after another, from its text to the ranked list, search included; models are loaded,
abstracts' token vectors and blocks are read before. Scores of the token vectors, the cross-encoder and BlockRank are
weighed beside those they were given.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from foveal.bench.known_sets import is_collection_of
from foveal.bench.rank_cascade_parts import (
    BLOCK,
    CROSS,
    FULL,
    LATE,
    LATE_FIRST,
    LEARNED,
    QUICK,
    Parts,
    kept_blocks,
)
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import Run, compare, evaluate, per_query
from foveal.evaluation.plots import lines
from foveal.evaluation.speed import percentile
from foveal.evaluation.tables import Row
from foveal.ranking.blockrank import BlockRank
from foveal.ranking.cascade import Cascade, CascadeReport, CascadeSearch, Stage
from foveal.ranking.learned import LearnedRanker
from foveal.retrieval.fusion_weights import GRID, best_weight
from foveal.training.examples import Examples
from foveal.types import Hit

BEST, BUDGET = 0.772, 300.0
"""nDCG@10 of the project's best before, and milliseconds of a claim."""
ABOVE = 1e-4
"""The least that is more."""
METRIC = "ndcg@10"
SHARES = (0.25, 0.25, 0.5, 1.0, 1.0)
"""Shares of a stage's candidates that it is timed with before its times count."""
UNKEPT, REPEATED = 5, 20
"""Claims that BlockRank reads without kept blocks, and that are ranked again by their counts."""


def cascade(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-cascade`."""
    sizes = QUICK if settings.quick else FULL
    parts = Parts(Judged.of(settings), settings, sizes)
    yield Row.of("test claims", "size", len(parts.test.queries))
    first = measured(parts, CascadeSearch(parts.first, Cascade([Stage(Given(), 1)]), sizes.ranked), parts.test)
    yield from rows("first stage, BM25S and MiniLM", first, parts)
    taught, learned = parts.learned(parts.taught.queries), parts.learned([*parts.taught.queries, *parts.dev.queries])
    tuning = {claim: taught.rank(text, parts.first.search([text], sizes.ranked)[0]) for claim, text in asked(parts.dev)}
    stages = {LEARNED: Stage(learned, sizes.ranked, name=LEARNED)}
    alone = measured(parts, behind(parts, [stages[LEARNED]]), parts.test)
    tokens = ", token vectors" if sizes.tokens else ""
    note = f"{len(learned.features.names)} features: BM25S, MiniLM{tokens}, words; best {sizes.ranked}"
    yield from rows("learned, LambdaMART", alone, parts, note=note, against=first.run)
    if parts.late is not None:
        stages[LATE] = weighed(parts, parts.late, LATE, tuning, sizes.ranked)
        stages[LATE_FIRST] = Stage(parts.late, sizes.ranked, name=LATE_FIRST)
        yield from over(parts, stages, LATE, alone.run)
    stages[CROSS] = weighed(parts, parts.reranker, CROSS, tuning)
    yield from over(parts, stages, CROSS, alone.run)
    yield from block_rows(parts, stages, taught)
    stages[BLOCK] = weighed(parts, parts.blockrank, BLOCK, tuning)
    yield from over(parts, stages, BLOCK, alone.run)
    chosen = yield from chosen_stages(parts, stages, taught)
    yield from sweep(parts, [stages[name] for name in chosen], first, alone.run)


# -- measuring ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """A `Ranker` that leaves all as it is."""

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:  # noqa: ARG002
        """The hits."""
        return list(hits)


@dataclass(frozen=True)
class Measured:
    """A run, and what each of its claims took."""

    run: Run
    reports: Mapping[str, CascadeReport]

    def ms(self, share: float) -> float:
        """The time of a claim that `share` of them do not exceed."""
        return percentile(sorted(report.ms for report in self.reports.values()), share)


def asked(examples: Examples) -> list[tuple[str, str]]:
    """Ids and texts of the claims."""
    return list(examples.queries.items())


def behind(parts: Parts, stages: Sequence[Stage], budget_ms: float | None = None) -> CascadeSearch:
    """The first stage and these behind it."""
    return CascadeSearch(parts.first, Cascade(stages, budget_ms, warms=False), parts.sizes.ranked)


def measured(parts: Parts, search: CascadeSearch, examples: Examples) -> Measured:
    """All claims, one after another, once each stage was timed on dev claims in several sizes."""
    warm = [text for _, text in asked(parts.dev)]
    for place, share in enumerate(SHARES):
        text = warm[place % len(warm)]
        counts = [max(1, round(share * stage.candidates)) for stage in search.cascade.stages]
        search.cascade.run(text, parts.first.search([text], search.depth)[0], counts=counts)
    run: Run = {}
    reports = {}
    for claim, text in asked(examples):
        done = search.run(text, search.depth)
        run[claim] = as_ranking(done.hits)
        reports[claim] = done.report
    return Measured(run, reports)


def as_ranking(hits: Sequence[Hit]) -> dict[str, float]:
    """Document ids in the order of the hits: scores of several stages have no common scale."""
    return {hit.passage.span.document_id: -float(place) for place, hit in enumerate(hits)}


def rows(
    system: str, found: Measured, parts: Parts, *, note: str = "", against: Run | None = None, **bars: float
) -> Iterator[Row]:
    """Quality and times of a run over the test claims; `bars` are about nDCG@10."""
    if against is not None:
        p_value = compare(found.run, against, parts.test.judged)
        note = f"{note}; p {p_value:.2g} against {quality(against, parts):.4f}"
    yield Row.of(system, METRIC, quality(found.run, parts), note=note, **bars)
    yield Row.of(system, "median ms a claim", found.ms(0.5))
    yield Row.of(system, "95th percentile ms a claim", found.ms(0.95))


def quality(run: Run, parts: Parts) -> float:
    """nDCG@10 on the test claims."""
    return evaluate(run, parts.test.judged, (METRIC,))[METRIC]


# -- stages ------------------------------------------------------------------------------------------------------------


def weighed(
    parts: Parts, ranker: object, name: str, tuning: Mapping[str, Sequence[Hit]], candidates: int | None = None
) -> Stage:
    """The ranker behind learning to rank, its scores at the weight that is best on the dev claims."""
    candidates = candidates or parts.sizes.best
    best = {claim: list(hits[:candidates]) for claim, hits in tuning.items()}
    stage = Stage(ranker, candidates, name=name)  # type: ignore[arg-type]
    told = Told({claim: stage.ordered(parts.dev.queries[claim], hits) for claim, hits in best.items()})
    values = {}
    for weight in GRID:
        now = replace(stage, ranker=told, weight=weight)  # the stage's own order, so that its ties count as they will
        run = {claim: as_ranking(now.ordered(claim, hits)) for claim, hits in best.items()}
        values[weight] = per_query(run, parts.dev.judged, (METRIC,))[METRIC]
    return replace(stage, weight=best_weight(values))


@dataclass(frozen=True)
class Told:
    """A `Ranker` that gives what another one gave for the same claim, by the claim's id."""

    ranked: Mapping[str, list[Hit]]

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:  # noqa: ARG002
        """The hits as they were ranked."""
        return self.ranked[query]


def over(parts: Parts, stages: Mapping[str, Stage], name: str, learned: Run) -> Iterator[Row]:
    """A ranker alone, then beside the learned scores; no budget. BlockRank's blocks are those of the learned order."""
    stage, made = stages[name], parts.notes[name]
    pure = replace(stage, weight=1.0)
    before = [stages[LEARNED]] if name == BLOCK else []
    found = measured(parts, behind(parts, [*before, pure]), parts.test)
    yield from rows(f"{name} alone", found, parts, note=f"{made}; best {stage.candidates}", against=learned)
    found = measured(parts, behind(parts, [stages[LEARNED], stage]), parts.test)
    note = f"weight {stage.weight}, from the dev claims"
    yield from rows(f"{name}, weighed beside learned", found, parts, note=note, against=learned)


def met(parts: Parts, stages: Mapping[str, Stage], examples: Examples) -> dict[tuple[str, ...], list[list[Hit]]]:
    """What BlockRank is given for each claim, by what stands first: the names of these stages -> the best hits."""
    found = {}
    for names in firsts(stages):
        search = behind(parts, [stages[name] for name in names])
        found[names] = [search.run(text, parts.sizes.best).hits for _, text in asked(examples)]
    return found


def block_rows(parts: Parts, stages: Mapping[str, Stage], taught: LearnedRanker) -> Iterator[Row]:
    """Read the blocks of all that BlockRank will meet; their bytes; its time on some claims without them.

    `taught`: what learned from the claims that are not the dev claims' and orders these.
    """
    ranker, best = parts.blockrank, parts.sizes.best
    by_test, by_dev = met(parts, stages, parts.test), met(parts, with_taught(stages, taught), parts.dev)
    tested = by_test[LEARNED,]
    seen = [hit for orders in (by_test, by_dev) for lists in orders.values() for hits in lists for hit in hits]
    done = max(kept_blocks(ranker, seen), default=0)
    cache = ranker.cache
    assert cache is not None
    each = cache.bytes / max(1, done)
    note = (
        f"{done:,} abstracts, the best {best} of {len(tested)} test and {len(parts.dev.queries)} dev claims by "
        f"{len(by_test)} order(s), up to {parts.sizes.document_tokens} tokens each; all "
        f"{len(parts.judged.texts):,} would take {each * len(parts.judged.texts) / 1e9:.1f} GB"
    )
    yield Row.of("blockrank, kept blocks", "bytes", cache.bytes, note=note)
    yield Row.of("blockrank, kept blocks", "bytes an abstract", each)
    claims = asked(parts.test)[:UNKEPT]
    bare = BlockRank(ranker.model, layer=ranker.depth, layout=ranker.layout)
    times = {}
    for name, one in (("kept", ranker), ("not kept", bare)):
        search = Cascade([Stage(one, best)])
        runs = [search.run(text, hits[:best]).report.ms for (_, text), hits in zip(claims, tested, strict=False)]
        times[name] = sorted(runs)[len(runs) // 2]
    note = f"{times['not kept']:.0f} ms a claim without, {times['kept']:.0f} with; best {best}, {len(claims)} claims"
    yield Row.of("blockrank, kept blocks", "times as fast", times["not kept"] / times["kept"], note=note)


# -- the cascade -------------------------------------------------------------------------------------------------------


def chosen_stages(
    parts: Parts, stages: Mapping[str, Stage], taught: LearnedRanker
) -> Generator[Row, None, tuple[str, ...]]:
    """The names of the stages that do best on the dev claims within the budget; of equal ones the fewest."""
    fitted = with_taught(stages, taught)
    values: dict[tuple[str, ...], float] = {}
    for names in ways(fitted):
        found = measured(parts, behind(parts, [fitted[name] for name in names], BUDGET), parts.dev)
        values[names] = evaluate(found.run, parts.dev.judged, (METRIC,))[METRIC]
        note = f"{len(parts.dev.queries)} dev claims, {BUDGET:g} ms; 95th percentile {found.ms(0.95):.0f} ms"
        yield Row.of(f"dev: {', '.join(names)}", METRIC, values[names], note=note)
    return max(values, key=lambda names: (round(values[names], 6), -len(names)))


def with_taught(stages: Mapping[str, Stage], taught: LearnedRanker) -> dict[str, Stage]:
    """The stages as dev claims have to meet them: the learned one did not learn from these."""
    return {**stages, LEARNED: replace(stages[LEARNED], ranker=taught)}


def firsts(stages: Collection[str]) -> list[tuple[str, ...]]:
    """What may stand first in a cascade of these stages."""
    found: list[tuple[str, ...]] = [(LEARNED,), (LEARNED, LATE), (LATE_FIRST,)]
    return [names for names in found if set(names) <= set(stages)]


def ways(stages: Collection[str]) -> list[tuple[str, ...]]:
    """The cascades that are tried: what stands first, and then none, one or both of the dear ones."""
    dear: list[tuple[str, ...]] = [(), (CROSS,), (BLOCK,), (CROSS, BLOCK)]
    return [(*first, *last) for first in firsts(stages) for last in dear]


def sweep(parts: Parts, stages: Sequence[Stage], first: Measured, learned: Run) -> Iterator[Row]:
    """The chosen cascade at each budget; the bars at `BUDGET`; then the same order by the counts."""
    names = ", ".join(stage.called for stage in stages)
    points: dict[float, float] = {}
    for budget in parts.sizes.budgets:
        search = behind(parts, stages, budget)
        found = measured(parts, search, parts.test)
        points[budget] = quality(found.run, parts)
        system, asks = f"cascade, {budget:g} ms", budget == BUDGET
        known = is_collection_of("SciFact", parts.judged.test)
        least = BEST + ABOVE if known and not parts.settings.quick else quality(first.run, parts)
        p_value = compare(found.run, learned, parts.test.judged)
        note = f"took {taken(found)}; p {p_value:.2g} against learned alone"
        yield Row.of(system, METRIC, points[budget], note=note, at_least=least if asks else None)
        for name, share in (("median", 0.5), ("95th percentile", 0.95)):
            yield Row.of(system, f"{name} ms a claim", found.ms(share), at_most=budget if asks else None)
        if asks:
            yield repeated(parts, search, found)
    lines(
        list(points), {"cascade": list(points.values()), "first stage": [quality(first.run, parts)] * len(points)},
        parts.settings.cache / "pictures" / "cascade.png", title=f"SciFact within a budget: {names}",
        x_label="milliseconds a claim", y_label="nDCG@10", logarithmic="x",
    )  # fmt: skip


def taken(found: Measured) -> str:
    """The mean count of each stage, and how often it was left out."""
    told = []
    for runs in zip(*(report.stages for report in found.reports.values()), strict=True):
        missing = sum(not run.taken for run in runs)
        out = f", left out {missing} times" if missing else ""
        told.append(f"{runs[0].name} {fmean(run.taken for run in runs):.1f}{out}")
    return "; ".join(told)


def repeated(parts: Parts, search: CascadeSearch, found: Measured) -> Row:
    """Whether the counts that a claim's stages took give its order again."""
    claims = asked(parts.test)[:REPEATED]
    same = 0
    for claim, text in claims:
        hits = parts.first.search([text], search.depth)[0]
        again = search.cascade.run(text, hits, counts=found.reports[claim].counts).hits
        same += as_ranking(again) == found.run[claim]
    return Row.of("cascade, by its counts", "share of claims in the same order", same / len(claims), at_least=1)
