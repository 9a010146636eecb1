"""bench rank-blockrank, quality and ablations: what training gains, on questions of articles that were not trained on.

quality     lists of 10 of XQuAD's test articles by BM25, MiniLM, the untrained model in four ways, and four arms that
            had the same lists and steps: BlockRank, full attention, documents without the query before them (so that
            they can be kept), and a signal from layer 2. BlockRank by its attention and by decoding, full attention
            also in sliding windows. The held-out training articles choose a layer for each kind of attention
control     each list asked with the query of another one: the order must change, and precision fall
ablations   fewer lists: both losses, without the auxiliary one, without the completion's, and of the last with the
            query right behind the documents, or not before them; by attention and by decoding (the paper's tables)
Bars        P@1 0.25 above untrained, at most 0.02 below MiniLM; nDCG@10 above BM25, MiniLM and untrained; MRR of the
            attention at least that of decoding; 0.2 P@1 above layer 2; within a point of full attention
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from foveal.bench.rank_blockrank_arms import KEPT_LAYOUT, LAYOUT, Arm, Arms, Scores, Sizes
from foveal.bench.rank_blockrank_data import TEST, TRAIN, Asked, Task, XQuad
from foveal.bench.rank_blockrank_observation import FULL, chosen_layer
from foveal.bench.settings import BenchSettings, text_digest
from foveal.evaluation.metrics import Run, compare, evaluate, ranked
from foveal.evaluation.tables import Row
from foveal.ranking.blockrank_prompt import Prompter
from foveal.ranking.blockrank_training import listed_segments
from foveal.ranking.listwise import PointwiseRanker, RetrievalHeads, SlidingWindow
from foveal.training.blockrank import RankingList
from foveal.types import Hit

METRICS = ("precision@1", "mrr@10", "ndcg@10")
P1, MRR, NDCG = METRICS
SHALLOW = 2
"""The layer that is too early."""
WINDOW, STRIDE = 6, 4
QUICK_MARGIN = 0.15
"""What a quick run asks less: one list of its 16 is 0.06."""

BLOCK, KEPT, EARLY = "BlockRank", "BlockRank, documents kept", "BlockRank, trained at layer 2"
UNTRAINED = "untrained, "


@dataclass(frozen=True)
class Trained:
    """The arms of the quality part, by name: all of the same lists and steps."""

    arms: Arms
    layer: int  # BlockRank's
    by_name: Mapping[str, Arm]

    @classmethod
    def of(cls, arms: Arms) -> Trained:
        """Over XQuAD's training articles, at the layers that the held-out ones choose."""
        layer, lists = chosen_layer(arms), training_lists(arms.settings)
        main = Arm("blockrank", layer, lists)
        return cls(
            arms,
            layer,
            {
                BLOCK: main,
                FULL: replace(main, name="full", full=True, layer=chosen_layer(arms, FULL)),
                KEPT: replace(main, name="kept", layout=KEPT_LAYOUT),
                EARLY: replace(main, name="early", layer=min(SHALLOW, layer)),
            },
        )

    def __getitem__(self, name: str) -> Arm:
        return self.by_name[name]


def training_lists(settings: BenchSettings) -> tuple[RankingList, ...]:
    """XQuAD's lists to train on."""
    return tuple(XQuad.of(settings).lists(TRAIN, Sizes.of(settings).train))


def test_task(settings: BenchSettings) -> Task:
    """XQuAD's lists to measure on."""
    return XQuad.of(settings).task(TEST, Sizes.of(settings).test)


# -- quality -----------------------------------------------------------------------------------------------------------


def quality(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank-quality`."""
    arms, task = Arms(settings), test_task(settings)
    trained = Trained.of(arms)
    yield Row.of("XQuAD, lists to train on", "size", len(trained[BLOCK].lists))
    yield Row.of("XQuAD, lists to test on", "size", len(task.asked))
    runs: dict[str, Run] = {}
    for name, run, note in _measured(trained, task):
        runs[name] = run
        for metric, value in evaluate(run, task.qrels, METRICS).items():
            yield Row.of(name, metric, value, note=note)
    yield from compared(runs, task, margin=QUICK_MARGIN if settings.quick else 0.0)
    yield from control_rows(trained, task)


def _measured(trained: Trained, task: Task) -> Iterator[tuple[str, Run, str]]:
    """Name, run and note of each system, from the first stage to the trained arms."""
    arms, layer, settings = trained.arms, trained.layer, trained.arms.settings
    yield "BM25", task.lexical(), "BM25S over all paragraphs"
    yield "MiniLM", task.dense(settings), ""
    base = arms.base
    yield UNTRAINED + BLOCK, arms.run(f"attention {layer}", task, arms.block_rank(None, layer), None), f"layer {layer}"
    deep = trained[FULL].layer
    full = arms.listwise(None, deep, mode="attention")
    yield UNTRAINED + FULL, arms.run(f"full attention {deep}", task, full, None), f"layer {deep}"
    ranker = RetrievalHeads(base, document_tokens=200)
    heads = arms.run(f"retrieval heads {heads_of(ranker)}", task, ranker.scores, None)
    yield UNTRAINED + "retrieval heads", heads, "full attention, calibrated: less what they look at under N/A"
    pointwise = PointwiseRanker(base, document_tokens=200)
    yield UNTRAINED + "pointwise", arms.run("pointwise", task, pointwise.scores, None), "P(Yes) against No"
    yield from _trained_rows(trained, task)


def heads_of(ranker: RetrievalHeads) -> str:
    """A name of the heads that it looks at: a home may have others, whose scores are not those that are kept."""
    looked_at = sorted((layer, sorted(heads)) for layer, heads in ranker.watched.items())
    return text_digest("heads", [str(looked_at)])[:8]


def _trained_rows(trained: Trained, task: Task) -> Iterator[tuple[str, Run, str]]:
    arms, layer = trained.arms, trained.layer
    main, full = trained[BLOCK], trained[FULL]
    run = arms.run(f"attention {layer}", task, arms.block_rank(main, layer), main)
    yield BLOCK, run, _learned(arms, main)
    decoded = arms.run("decoded", task, arms.block_rank(main, layer, mode="decode"), main)
    yield f"{BLOCK}, decoded", decoded, "the auxiliary loss alone does not teach to decode; see the ablations"
    early = arms.run(f"attention {SHALLOW}", task, arms.block_rank(main, SHALLOW), main)
    yield f"{BLOCK}, signal of layer {SHALLOW}", early, f"trained at layer {layer}"
    scores = arms.listwise(full, full.layer, mode="attention")
    run = arms.run(f"full attention {full.layer}", task, scores, full)
    yield FULL, run, _learned(arms, full)
    windows = arms.run(f"windows {WINDOW}, {STRIDE}", task, lambda q, h: windowed(scores, q, h), full)
    yield f"{FULL}, sliding window", windows, f"{WINDOW} at a time, {STRIDE} on"
    for name in (EARLY, KEPT):
        arm = trained[name]
        run = arms.run(
            f"attention {arm.layer}", task, arms.block_rank(arm, arm.layer, arm.layout), arm, layout=arm.layout
        )
        yield name, run, _learned(arms, arm)


def _learned(arms: Arms, arm: Arm) -> str:
    seconds = arms.seconds(arm)
    loop = arm.learning.loop
    told = f"{len(arm.lists)} lists of {arm.learning.documents}, batches of {loop.batch}, rate {loop.learning_rate:g}"
    return f"layer {arm.layer}; {told}; {seconds:.0f} s of training"


@dataclass(frozen=True)
class ByScores:
    """A `Ranker` that puts in order what a function scores."""

    scores: Scores

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits, best first."""
        scored = [replace(hit, score=score) for hit, score in zip(hits, self.scores(query, hits), strict=True)]
        return sorted(scored, key=lambda hit: -hit.score)


def windowed(scores: Scores, query: str, hits: Sequence[Hit]) -> list[float]:
    """Scores by a sliding window over the ranking by `scores`, in the order of the hits."""
    found = SlidingWindow(ByScores(scores), window=WINDOW, stride=STRIDE).rank(query, hits)
    told = {hit.passage.span: hit.score for hit in found}
    return [told[hit.passage.span] for hit in hits]


# -- bars --------------------------------------------------------------------------------------------------------------


def compared(runs: Mapping[str, Run], task: Task, *, margin: float) -> Iterator[Row]:
    """Each promise as a difference of two systems; `margin` widens what is asked of few lists.

    Where the chosen layer itself is as shallow as `SHALLOW`, its bars fall short: the signal is promised to be deeper.
    """
    above = 1e-9
    pairs = (
        (BLOCK, UNTRAINED + BLOCK, P1, 0.25),
        (BLOCK, "MiniLM", P1, -0.02),
        (BLOCK, "BM25", NDCG, above),
        (BLOCK, "MiniLM", NDCG, above),
        (BLOCK, UNTRAINED + BLOCK, NDCG, above),
        (BLOCK, UNTRAINED + FULL, NDCG, above),
        (BLOCK, f"{BLOCK}, decoded", MRR, 0.0),
        (BLOCK, f"{BLOCK}, signal of layer {SHALLOW}", P1, 0.2),
        (BLOCK, EARLY, P1, 0.2),
        (BLOCK, FULL, P1, -0.01),
        (BLOCK, FULL, NDCG, -0.01),
        (KEPT, BLOCK, P1, None),
        (KEPT, "BM25", NDCG, None),
    )
    for ours, theirs, metric, bar in pairs:
        yield difference(runs, task, ours, theirs, metric, None if bar is None else bar - margin)


def difference(
    runs: Mapping[str, Run], task: Task, ours: str, theirs: str, metric: str, bar: float | None = None
) -> Row:
    """What one system has more than another, with the p-value of a paired test."""
    first, second = (evaluate(runs[name], task.qrels, (metric,))[metric] for name in (ours, theirs))
    p_value = compare(runs[ours], runs[theirs], task.qrels, metric)
    note = f"{first:.4f} against {second:.4f}; p {p_value:.2g}"
    return Row.of(f"{ours}, less {theirs}", metric, first - second, at_least=bar, note=note)


def control_rows(trained: Trained, task: Task, count: int = 24) -> Iterator[Row]:
    """Lists asked with each other's queries: what does not read the query would rank as before."""
    arms, main, few = trained.arms, trained[BLOCK], task.first(count)
    moved = [few.asked[(place + 1) % len(few.asked)].query for place in range(len(few.asked))]
    swapped = Task(
        f"{task.name}-swapped",
        tuple(Asked(one.id, query, one.hits) for one, query in zip(few.asked, moved, strict=True)),
        few.qrels,
        few.corpus,
    )
    scores, what = arms.block_rank(main, trained.layer), f"attention {trained.layer}"
    right, wrong = arms.run(what, few, scores, main), arms.run(what, swapped, scores, main)
    changed = sum(ranked(right[one.id]) != ranked(wrong[one.id]) for one in few.asked) / len(few.asked)
    yield Row.of("control: queries swapped", "share of lists in another order", changed, at_least=0.9)
    before, after = (evaluate(run, few.qrels, (P1,))[P1] for run in (right, wrong))
    note = f"{before:.3f} with their own queries; by chance 0.1"
    yield Row.of("control: queries swapped", P1, after, at_most=0.4, note=note)


# -- ablations ---------------------------------------------------------------------------------------------------------

BOTH, ALONE = "both losses", "no completion loss"


def ablations(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank-ablations`."""
    arms, sizes = Arms(settings), Sizes.of(settings)
    task = test_task(settings).first(sizes.ablated)
    lists, layer = training_lists(settings)[: sizes.few], chosen_layer(arms)
    both = Arm("both", layer, lists, objective="ntp+aux")
    found = {
        BOTH: both,
        "no auxiliary loss": replace(both, name="completion-alone", weight=0.0),
        ALONE: replace(both, name="auxiliary-alone", objective="aux"),
        f"{ALONE}, query right behind": replace(
            both,
            name="right-behind",
            objective="aux",
            layout=replace(LAYOUT, query_offset=right_behind(arms, lists, task)),
        ),
        f"{ALONE}, query not before": replace(
            both, name="not-before", objective="aux", layout=replace(LAYOUT, prefix_query=False)
        ),
    }
    runs: dict[str, Run] = {}
    for name, arm in found.items():
        for way in ("attention", "decode"):
            if way == "decode" and arm.layout != LAYOUT:
                continue
            scores = arms.block_rank(arm, layer, arm.layout, mode=way)
            run = runs[f"{name}, {way}"] = arms.run(f"{way} {layer}", task, scores, arm, layout=arm.layout)
            for metric, value in evaluate(run, task.qrels, METRICS).items():
                yield Row.of(f"ablation: {name}, {way}", metric, value, note=_learned(arms, arm))
    margin = QUICK_MARGIN if settings.quick else 0.0
    yield difference(runs, task, f"{BOTH}, attention", f"{BOTH}, decode", MRR, -margin)
    yield difference(runs, task, f"{BOTH}, attention", "no auxiliary loss, attention", P1)
    for other in ("query right behind", "query not before"):
        yield difference(runs, task, f"{ALONE}, attention", f"{ALONE}, {other}, attention", P1)


def right_behind(arms: Arms, lists: Sequence[RankingList], task: Task) -> int:
    """The smallest round offset behind the longest instruction and document of the lists and of the task: with less a
    document would lose its end, and the arm differ in two things.
    """
    prompter = Prompter(arms.base, LAYOUT)
    lengths = [listed_segments(prompter, one).lengths for one in lists]
    lengths += [prompter.segments(one.query, one.texts).lengths for one in task.asked]
    longest = max(one[0] for one in lengths) + max(max(one[1:-1]) for one in lengths)
    return -(-longest // 32) * 32
