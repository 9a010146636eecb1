"""bench rank-blockrank, transfer: other collections than the one that was trained on.

cranfield   aeronautics, unseen: BM25's best 50, put in order by what was trained on XQuAD alone, with documents that
            are kept (all queries) and with documents read behind each query (some of them); of the latter also by what
            was trained on SciFact's claims behind XQuAD. Bar: not below BM25
scifact     BM25's best 20 of test claims: by the untrained model, by what was trained on XQuAD alone, and by that
            trained on, on SciFact's training claims; documents are read behind the query, as published. By documents
            that are kept, too, trained on XQuAD alone: what keeping loses
wikiqa      the candidate sentences of test questions: the first three
Bars        of what was trained on the set: nDCG@10 above BM25, MiniLM and the untrained model, P@1 0.25 above the last;
            MAP on WikiQA not below BM25

Sums are of scores scaled 0 to 1, half each, a weight that was not tuned. Documents lose what is beyond 200 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from foveal.bench.rank_blockrank_arms import KEPT_LAYOUT, Arm, Arms, Sizes, cached_scores
from foveal.bench.rank_blockrank_data import TEST, Task, collection_lists, collection_task, wikiqa_lists
from foveal.bench.rank_blockrank_quality import BLOCK, KEPT, P1, QUICK_MARGIN, UNTRAINED, Trained, difference
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import Run, evaluate
from foveal.evaluation.tables import Row
from foveal.retrieval.fusion import weighted_sum

CRANFIELD_DEPTH, SCIFACT_DEPTH = 50, 20
NDCG, MAP = "ndcg@10", "map"
BM25, MINILM, BEFORE = "BM25", "MiniLM", UNTRAINED + BLOCK
ON_SCIFACT = f"{BLOCK}, trained on SciFact, too"


def transfer(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank-transfer`."""
    trained, sizes = Trained.of(Arms(settings)), Sizes.of(settings)
    yield from cranfield_rows(trained, sizes)
    yield from scifact_rows(trained, sizes)
    yield from wikiqa_rows(trained, sizes)


def cranfield_rows(trained: Trained, sizes: Sizes) -> Iterator[Row]:
    """Out of domain, and nothing of it trained on."""
    arms = trained.arms
    task = collection_task(arms.settings, "cranfield", queries=sizes.cranfield, depth=CRANFIELD_DEPTH)
    task = task.mixed(arms.settings.seed)
    arm = trained[KEPT]
    runs = {BM25: task.given(), MINILM: task.dense(arms.settings), KEPT: kept_run(trained, task, arm)}
    yield from _rows(runs, task, NDCG, asked=(KEPT,))
    few = task.first(sizes.prefixed)
    main, layer = trained[BLOCK], trained.layer
    own = arms.run(f"attention {layer}", few, arms.block_rank(main, layer), main)
    runs = {BM25: few.given(), KEPT: {one.id: runs[KEPT][one.id] for one in few.asked}, BLOCK: own}
    arm = scifact_arm(trained)
    runs[ON_SCIFACT] = arms.run(f"attention {layer}", few, arms.block_rank(arm, layer), arm)
    few = replace(few, name=f"{few.name}, {len(few.asked)} queries")
    yield from _rows(runs, few, NDCG, asked=(BLOCK, ON_SCIFACT))


def scifact_rows(trained: Trained, sizes: Sizes) -> Iterator[Row]:
    """In domain after XQuAD: scientific claims."""
    arms = trained.arms
    task = collection_task(arms.settings, "scifact", queries=sizes.scifact, depth=SCIFACT_DEPTH)
    task = task.mixed(arms.settings.seed)
    arms, layer, arm = trained.arms, trained.layer, scifact_arm(trained)
    runs = {BM25: task.given(), MINILM: task.dense(arms.settings), BEFORE: untrained_run(trained, task)}
    runs[KEPT] = kept_run(trained, task, trained[KEPT])
    for name, one in ((BLOCK, trained[BLOCK]), (f"{BLOCK}, trained on", arm)):
        runs[name] = arms.run(f"attention {layer}", task, arms.block_rank(one, layer), one)
    yield from _rows(runs, task, NDCG)
    yield from learnt_rows(runs, task, f"{BLOCK}, trained on", quick=arms.settings.quick)


def scifact_arm(trained: Trained) -> Arm:
    """What was trained on XQuAD, trained on, on SciFact's training claims."""
    lists = tuple(collection_lists(trained.arms.settings, "scifact", count=Sizes.of(trained.arms.settings).more))
    return Arm("scifact", trained.layer, lists, parent=trained[BLOCK])


def wikiqa_rows(trained: Trained, sizes: Sizes) -> Iterator[Row]:
    """Short candidates, few of a question."""
    arms, layer = trained.arms, trained.layer
    lists, more = (
        wikiqa_lists(arms.settings, split, count) for split, count in ((TEST, sizes.wikiqa), ("train", sizes.more))
    )
    corpus = {document.id: document.text for one in lists for document in one.documents}
    task = Task.of("wikiqa", lists, corpus)
    arm = Arm("wikiqa", layer, tuple(more), parent=trained[BLOCK])
    runs = {BM25: task.lexical(), MINILM: task.dense(arms.settings), BEFORE: untrained_run(trained, task)}
    for name, one in ((BLOCK, trained[BLOCK]), (f"{BLOCK}, trained on", arm)):
        runs[name] = arms.run(f"attention {layer}", task, arms.block_rank(one, layer), one)
    yield from _rows(runs, task, MAP, asked=(f"{BLOCK}, trained on",))
    yield from learnt_rows(runs, task, f"{BLOCK}, trained on", quick=arms.settings.quick)


def untrained_run(trained: Trained, task: Task) -> Run:
    """The candidates by the model that nothing was taught, in the layer that the trained ones have."""
    arms, layer = trained.arms, trained.layer
    return arms.run(f"attention {layer}", task, arms.block_rank(None, layer), None)


def kept_run(trained: Trained, task: Task, arm: Arm) -> Run:
    """The candidates by an arm whose documents are kept: each is read once."""
    arms, layer = trained.arms, trained.layer
    return arms.run(f"attention {layer}", task, cached_scores(arms, arm, layer), arm, layout=KEPT_LAYOUT)


def learnt_rows(runs: Mapping[str, Run], task: Task, name: str, *, quick: bool) -> Iterator[Row]:
    """What is promised of a model that was trained on the set itself; a quick run asks less, but of BM25."""
    above, margin = 1e-9, QUICK_MARGIN if quick else 0.0
    asked = (
        (BM25, NDCG, above),
        (MINILM, NDCG, above - margin),
        (BEFORE, NDCG, above - margin),
        (BEFORE, P1, 0.25 - margin),
    )
    for theirs, metric, bar in asked:
        row = difference(runs, task, name, theirs, metric, bar)
        yield replace(row, system=f"{task.name}: {row.system}")
    both = summed(runs[name], runs[BM25])
    yield Row.of(f"{task.name}: {name} and BM25", NDCG, evaluate(both, task.qrels, (NDCG,))[NDCG])


def _rows(runs: Mapping[str, Run], task: Task, metric: str, *, asked: tuple[str, ...] = ()) -> Iterator[Row]:
    """Each system, those that are `asked` beside BM25, and their sums with it."""
    for name, run in runs.items():
        yield Row.of(f"{task.name}: {name}", metric, evaluate(run, task.qrels, (metric,))[metric])
    for name in asked:
        row = difference(runs, task, name, BM25, metric, 0.0)
        yield replace(row, system=f"{task.name}: {row.system}")
        both = summed(runs[name], runs[BM25])
        yield Row.of(f"{task.name}: {name} and BM25", metric, evaluate(both, task.qrels, (metric,))[metric])


def summed(first: Run, second: Run) -> Run:
    """Both runs' scores, scaled 0 to 1 and half each."""
    return {query: dict(weighted_sum([first[query], second[query]], [0.5, 0.5])) for query in first}
