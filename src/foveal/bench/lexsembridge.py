"""bench lexsembridge: what a bridge of words adds to an index that stays as it is.

SciFact    queries by keywords and by spans of held-out abstracts, and the test claims, over MiniLM's vectors of all
           abstracts; SLR, LLR and CLR trained on training claims and on the queries of other abstracts; SLR in its
           published form; the bridge that the collection gives untrained; the control with exchanged words; BM25S; and
           fusions by reciprocal ranks
Both       encoder and bridge trained together, measured with the bridge and without, beside the encoder trained alike
Costs      time of a query against the plain encoder's; the largest tensor with 250,000 units; int8 passages
LIMIT      who likes what: an elementwise product re-weighs what a vector holds and cannot bring back what it lacks, so
           no bar is set for it alone; token vectors and the fused run have theirs         (`lexsembridge_parts.py`)
Images     crops                                                                           (`lexsembridge_images.py`)

Units, weights and steps are chosen by dev queries; no query of a held-out abstract and no test claim is trained on. The
texts of all abstracts are known to every arm, as they are to BM25: word counts and W's beginning come from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foveal.bench.lexsembridge_data import ARMS, CLAIMS, CONTROL, KEYWORDS, METHODS, FineGrained
from foveal.bench.lexsembridge_images import images
from foveal.bench.lexsembridge_parts import both_rows, cost_rows, limit_bridges, limit_rows
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.fine_grained import Task
from foveal.evaluation.metrics import Run, compare, evaluate
from foveal.evaluation.tables import Row
from foveal.retrieval.fusion import reciprocal_ranks
from foveal.retrieval.lexsembridge import LexSemBridge

METRICS = ("ndcg@10", "recall@10")

GAIN, OVER_CONTROL, LOSS, LEAST_METHODS = 0.03, 0.02, 0.01, 2
"""nDCG@10 on three keywords over the plain encoder and over the control, the most that the test claims may lose by it,
and how many methods must have all three."""

RECALL_GAIN = 0.10
"""Recall@10 on one keyword. On three, the plain encoder already finds 95 of 100, so that ten more are not to be had."""


def lexsembridge(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench generative-lexsembridge`."""
    data = FineGrained(settings)
    yield from scifact(data)
    yield from cost_rows(data)
    yield from both_rows(data)

    def limit(settings: BenchSettings) -> Iterator[Row]:
        yield from limit_rows(settings)
        yield from limit_bridges(data)

    yield from each((limit, images), settings)


def scifact(data: FineGrained) -> Iterator[Row]:
    """Each system on each task, and what the bars ask of them."""
    runs: dict[str, Run] = {"MiniLM": data.run(data.plain()), "BM25S": data.lexical}
    yield from anchor_rows(data, runs)
    untrained = LexSemBridge.of_collection(data.encoder, list(data.corpus.values()), data.vectors)
    texts = list(data.queries.values())
    runs["untrained bridge"] = data.run(untrained.encode_query(texts))
    dev: dict[str, float] = {}
    for arm in ARMS:
        folder, report = trained = data.trained(arm)
        before, after = report.measured["dev"]
        dev[arm] = after["ndcg@10"]
        note = f"plain {before['ndcg@10']:.4f}; {report.curves.steps} steps, {report.curves.seconds:.0f} s"
        yield Row.of(f"{arm}, dev queries", "ndcg@10", after["ndcg@10"], note=f"{note}{'' if folder else '; not kept'}")
        runs[arm] = data.run(data.bridge(*trained).encode_query(texts))
    chosen = max((arm for arm in dev if arm in METHODS), key=lambda arm: dev[arm])
    for name, other in (("MiniLM", "MiniLM"), ("bridge", chosen)):
        runs[f"{name} and BM25S, reciprocal ranks"] = {
            query: reciprocal_ranks([runs[other][query], data.lexical[query]]) for query in data.queries
        }
    values = {system: measured(data, run) for system, run in runs.items()}
    for system in runs:
        for task in data.tasks:
            for metric in METRICS:
                yield Row.of(f"{task.name}: {system}", metric, values[system][task.name][metric], note=_sizes(task))
    yield from gain_rows(data, runs, values, chosen)


def measured(data: FineGrained, run: Run) -> dict[str, dict[str, float]]:
    """Task -> metric -> value."""
    return {task.name: evaluate({q: run[q] for q in task.queries}, task.qrels, METRICS) for task in data.tasks}


def anchor_rows(data: FineGrained, runs: Mapping[str, Run]) -> Iterator[Row]:
    """The two published figures that this is held against."""
    qrels = data.tasks[-1].qrels
    bars = {"MiniLM": (0.642, 0.648, "published: 0.64508"), "BM25S": (0.6843, 0.6883, "measured for the spec: 0.6863")}
    for system, (low, high, note) in bars.items():
        value = evaluate(runs[system], qrels, ("ndcg@10",))["ndcg@10"]
        row = Row.of(f"anchor, test claims: {system}", "ndcg@10", value, at_least=low, at_most=high, note=note)
        yield data.judged.asked(row)


def gain_rows(
    data: FineGrained, runs: Mapping[str, Run], values: Mapping[str, Mapping[str, Mapping[str, float]]], chosen: str
) -> Iterator[Row]:
    """What the bridges gain over the plain encoder and the control, and the bars."""
    share = 0.5 if data.settings.quick else 1.0  # few queries: wider margins
    best = f"keyword-{KEYWORDS[-1]}"

    def gain(system: str, other: str, task: str, metric: str) -> float:
        return values[system][task][metric] - values[other][task][metric]

    passing = []
    for method in (arm for arm in ARMS if arm in METHODS):
        over_plain, over_control = (gain(method, other, best, "ndcg@10") for other in ("MiniLM", CONTROL))
        yield Row.of(f"{method}: {best}, over MiniLM", "ndcg@10", over_plain)
        yield Row.of(f"{method}: {best}, over the control", "ndcg@10", over_control)
        gains = over_plain >= GAIN * share and over_control >= OVER_CONTROL * share
        change = gain(method, "MiniLM", CLAIMS, "ndcg@10")
        yield Row.of(f"{method}: {CLAIMS}, over MiniLM", "ndcg@10", change, at_least=-LOSS if gains else None,
                     note="of a method that gains on keywords" if gains else "")  # fmt: skip
        if gains and change >= -LOSS:
            passing.append(method)
    note = f"{', '.join(passing) or 'none'}: {GAIN} over MiniLM and {OVER_CONTROL} over the control on {best}, "
    note += f"{LOSS} lost on {CLAIMS} at most"
    yield Row.of("methods that gain", "of 3", len(passing), at_least=LEAST_METHODS, note=note)
    for task in data.tasks:
        name = task.name
        system = f"{chosen}, chosen by dev queries: {name}"
        ours, plain = ({q: runs[one][q] for q in task.queries} for one in (chosen, "MiniLM"))
        p_value = compare(ours, plain, task.qrels)
        for metric in METRICS:
            bar = _bar(name, metric, share)
            yield Row.of(f"{system}, over MiniLM", metric, gain(chosen, "MiniLM", name, metric), at_least=bar,
                         note=f"p {p_value:.2g}" if metric == METRICS[0] else "")  # fmt: skip
        over = gain(chosen, CONTROL, name, "ndcg@10")
        yield Row.of(f"{system}, over the control", "ndcg@10", over, at_least=None if name == CLAIMS else 1e-4)
        fused = gain("bridge and BM25S, reciprocal ranks", "MiniLM and BM25S, reciprocal ranks", name, "ndcg@10")
        yield Row.of(f"{system}, fused with BM25S, over MiniLM fused", "ndcg@10", fused)
    failed = gain(CONTROL, "MiniLM", f"keyword-{KEYWORDS[0]}", "recall@10")
    yield Row.of("the control gains nothing on one keyword", "recall@10", failed, at_most=RECALL_GAIN / 2)


def _bar(task: str, metric: str, share: float) -> float | None:
    """What the chosen bridge is asked to gain over the plain encoder: the stricter of issue and spec."""
    if task.startswith("P-o-P"):
        return 1e-4 if metric == METRICS[0] else 0.0
    if metric == "recall@10":
        return RECALL_GAIN * share if task == f"keyword-{KEYWORDS[0]}" else 0.0 if task == CLAIMS else None
    return GAIN * share if task == f"keyword-{KEYWORDS[-1]}" else 0.0 if task == CLAIMS else None


def _sizes(task: Task) -> str:
    skipped = f", {task.skipped} too short" if task.skipped else ""
    return f"{len(task.queries)} queries{skipped}"
