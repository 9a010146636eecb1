"""bench bprop, the training: five beginnings of a re-ranker, the same fine-tuning, on SciFact and on Cranfield.

arms       MiniLM as it is; trained on the collection's texts alone by B-PROP, PROP, word sets drawn evenly (scored as
           B-PROP's), masked words only. The same texts, steps, window and seed; no query is seen. The last step is
           taken, so that the texts held out measure and do not choose. B-PROP by its code's loss is told apart only
zero-shot  the trained head orders BM25S's best for test queries: against a random order of the same
labels     each arm is fine-tuned by `train_reranker` on some queries and what BM25S finds wrong for them, and orders
           BM25S's best for the test queries; which epoch is taken is up to dev queries, for every arm alike
Bars       held-out pairs 0.85; zero-shot 0.10 above random; B-PROP over PROP over even draws over none, 0.01 each, and
           B-PROP over none

Test queries decide nothing. Pre-trained models and the scores of fine-tuned ones are kept in the bench's cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from foveal.bench.code import code_digest
from foveal.bench.quality import bm25s_run
from foveal.bench.retrieval_fusion import Judged, fuse
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.metrics import Run, compare, evaluate, ranked
from foveal.evaluation.tables import Row
from foveal.models.dtypes import native_bfloat16
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.settings import Settings
from foveal.training import checkpoints
from foveal.training.bprop import BPropSettings, pretrain_bprop
from foveal.training.bprop_sampling import Contrast
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision
from foveal.training.report import Report
from foveal.training.rerankers import RerankerSettings, Scorer, reranked, train_reranker
from foveal.training.runs import RunSettings

METRIC = "ndcg@10"
PAIRS_RIGHT, OVER_RANDOM, STEP = 0.85, 0.10, 0.01
NONE, CODES_LOSS = "no pre-training", "B-PROP, softmax-margin"
ORDER = ("B-PROP", "PROP", "even draws", NONE)
"""Each is to be better than the next one."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run; learning rates and steps were not tuned."""

    window: int = 128  # tokens of query, or word set, and document together
    steps: int = 240  # of pre-training
    pairs: int = 16  # of a batch of pre-training: 32 inputs
    rate: float = 2e-4
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"scifact": (50, 200), "cranfield": (50,)})
    fewer: tuple[str, ...] = ("B-PROP", "PROP", NONE)  # arms on Cranfield, and on all of SciFact's training claims
    all_labels: bool = True  # fine-tune on all of SciFact's training claims, too
    rows: int = 400  # judged pairs, with negatives, that fine-tuning reads: at most eight epochs, at least one
    dev: int = 24  # queries
    tests: int = 300  # queries
    depth: int = 20  # hits of a test query that are ordered
    zero_shot: tuple[int, int] = (300, 100)  # queries, and hits of each

    @property
    def bprop(self) -> BPropSettings:
        """B-PROP's settings."""
        loop = LoopSettings(
            steps=self.steps, batch=self.pairs, learning_rate=self.rate, weight_decay=0.01,
            bfloat16=mixed_precision(), evaluate_every=self.steps, checkpoint_every=max(1, self.steps // 6),
        )  # fmt: skip
        return BPropSettings(max_tokens=self.window, loop=loop)

    @property
    def arms(self) -> dict[str, BPropSettings]:
        """What is trained, by name."""
        return {
            "B-PROP": self.bprop,
            CODES_LOSS: replace(self.bprop, rop_loss="softmax-margin"),
            "PROP": replace(self.bprop, objective="prop"),
            "even draws": replace(self.bprop, contrast=Contrast(temperature=math.inf)),
            "masked words only": replace(self.bprop, rop_weight=0.0),
        }

    def fine_tuning(self, few: Examples) -> RerankerSettings:
        """The same for every arm; an epoch ends with a look at few dev queries."""
        pairs = sum(map(len, few.positives.values()))
        steps = math.ceil(max(pairs, min(8 * pairs, self.rows)) / 8)
        loop = LoopSettings(steps=steps, batch=8, learning_rate=1e-4, bfloat16=mixed_precision())
        return RerankerSettings(
            window=self.window, depth=self.depth, negatives=3, dev_queries=self.dev, dev_depth=10, loop=loop
        )


QUICK = Scale(
    steps=12, labels={"scifact": (16,), "cranfield": ()}, all_labels=False, rows=16, dev=6, tests=30, depth=10,
    zero_shot=(30, 10),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A collection, its queries in three parts, and what BM25S finds for each."""

    name: str
    texts: Mapping[str, str]
    learnt: Examples
    dev: Examples
    test: Examples
    lexical: Run

    @classmethod
    def scifact(cls, judged: Judged, scale: Scale, seed: int) -> Task:
        """Dev claims are training claims."""
        train, test = (_shuffled(Examples.of(one), seed) for one in (judged.train, judged.test))
        learnt, dev = _part(train, scale.dev, None), _part(train, 0, scale.dev)
        return cls("scifact", _texts(judged.test), learnt, dev, _part(test, 0, scale.tests), bm25s_run(judged.whole))

    @classmethod
    def cranfield(cls, settings: BenchSettings, scale: Scale) -> Task:
        """It has one set of queries, in an order drawn from the seed: those learnt from, dev queries, test queries."""
        folder = settings.folder("cranfield", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"))
        collection = load_beir(folder)
        queries = _shuffled(Examples.of(collection), settings.seed)
        first = scale.dev + max(scale.labels["cranfield"])
        parts = _part(queries, scale.dev, first), _part(queries, 0, scale.dev), _part(queries, first, None)
        return cls("cranfield", _texts(collection), *parts, bm25s_run(collection))

    def first_stage(self, queries: Sequence[str], k: int) -> list[dict[str, float]]:
        """BM25S's best for the texts of queries."""
        return [_best(self._by_text[query], k) for query in queries]

    def found(self, examples: Examples, k: int) -> Run:
        """BM25S's best for the queries of `examples`."""
        return {query: _best(self.lexical[query], k) for query in examples.queries}

    @cached_property
    def _by_text(self) -> dict[str, dict[str, float]]:
        parts = (self.learnt, self.dev, self.test)
        return {text: self.lexical[query] for part in parts for query, text in part.queries.items()}


def training(settings: BenchSettings, scale: Scale | None = None, *, base: str = "minilm") -> Iterator[Row]:
    """The rows of both collections."""
    scale = scale or (QUICK if settings.quick else Scale())
    arms = Arms(Task.scifact(Judged.of(settings), scale, settings.seed), settings, scale, base=base)
    yield from pretraining_rows(arms)
    yield from zero_shot_rows(arms)
    yield from label_rows(arms)
    if scale.labels["cranfield"]:
        smaller = replace(scale, steps=scale.steps // 2)
        yield from label_rows(Arms(Task.cranfield(settings, smaller), settings, smaller, base=base))


class Arms:
    """The beginnings on one collection, and what becomes of them."""

    def __init__(self, task: Task, settings: BenchSettings, scale: Scale, *, base: str = "minilm") -> None:
        self.task, self.settings, self.scale, self.base = task, settings, scale, base

    def pretrained(self, arm: str) -> tuple[Path, Report]:
        """The folder of an arm, trained now or before; also of one that was not kept."""
        home = self.settings.cache / "training" / f"bprop-{trained_by()}"
        chosen = self.scale.arms[arm]
        chosen = replace(chosen, loop=replace(chosen.loop, seed=self.settings.seed))
        folder, report = pretrain_bprop(self.task.texts, self.base, chosen, run=RunSettings(home=home))
        return folder or home / "runs" / "train" / report.name / "rejected", report

    def beginning(self, arm: str) -> Path:
        """The model that fine-tuning begins with."""
        if arm == NONE:
            return folder_of(self.base, Settings.load().cache, kind="encoder")
        return self.pretrained(arm)[0]

    def zero_shot(self, arm: str, queries: Examples, depth: int) -> Run:
        """BM25S's best `depth` in the order of the arm's head."""
        folder = self.beginning(arm)
        run = self.task.found(queries, depth)
        parts = ("zero-shot", fingerprint(folder), queries.fingerprint, str(depth), str(self.scale.window))
        return self._kept(parts, lambda: {"test": self._ordered(folder, queries, run)})["test"]

    def tuned(self, arm: str, labels: int) -> dict[str, Run]:
        """Test and dev queries after fine-tuning on the first `labels` queries."""
        folder = self.beginning(arm)
        task = self.task
        few = _part(task.learnt, 0, labels)
        chosen = self.scale.fine_tuning(few)
        chosen = replace(chosen, loop=replace(chosen.loop, seed=self.settings.seed))

        def made() -> dict[str, Run]:
            with tempfile.TemporaryDirectory() as place:
                home = Path(place)
                found, report = train_reranker(
                    few,
                    task.first_stage,
                    str(folder),
                    chosen,
                    first_stage_name="BM25S",
                    run=RunSettings(home=home, dev=task.dev),
                )
                trained = found or home / "runs" / "train" / report.name / "rejected"
                return {
                    kind: self._ordered(trained, queries, task.found(queries, chosen.depth))
                    for kind, queries in (("test", task.test), ("dev", task.dev))
                }

        parts = (fingerprint(folder), few.fingerprint, task.dev.fingerprint, task.test.fingerprint)
        return self._kept((*parts, json.dumps(asdict(chosen))), made)

    def _ordered(self, folder: Path, queries: Examples, run: Run) -> Run:
        fast = torch.autocast("cpu", torch.bfloat16) if native_bfloat16() else nullcontext()
        with fast:
            scorer = Scorer(folder)
            scorer.model.max_seq_length = self.scale.window
            return reranked(queries, run, scorer, len(self.task.texts))

    def _kept(self, parts: Sequence[str], make: Callable[[], dict[str, Run]]) -> dict[str, Run]:
        code = code_digest("foveal.training.rerankers", "foveal.training.losses", __name__)
        digest = hashlib.sha256("\n".join([*parts, code]).encode()).hexdigest()[:24]
        path = self.settings.cache / "bprop" / f"{digest}.json"
        found: dict[str, Run] | None = checkpoints.read(path)
        if found is None:
            found = make()
            checkpoints.write(path, found)
        return found


def trained_by() -> str:
    """The code by which word sets are drawn and learnt: by other code arms are trained anew."""
    return code_digest(
        *(f"foveal.training.bprop{part}" for part in ("", "_attention", "_model", "_pairs", "_sampling"))
    )


def pretraining_rows(arms: Arms) -> Iterator[Row]:
    """What each arm learnt of texts that it did not see."""
    for arm, chosen in arms.scale.arms.items():
        _, report = arms.pretrained(arm)
        before, after = report.measured["held out"]
        note = (
            f"{chosen.loop.steps} steps of {chosen.loop.batch} pairs, {chosen.max_tokens} tokens; "
            f"{report.curves.seconds:.0f} s; {report.notes[0]}"
        )
        if chosen.rop_weight:
            bar = {"at_least": PAIRS_RIGHT} if arm == "B-PROP" and not arms.settings.quick else {}
            told = f"before {before['pairs']:.3f}; {note}"
            yield Row.of(f"{arm}, texts held out", "pairs told apart", after["pairs"], note=told, **bar)
        told = f"before {before['masked']:.3f}; {note}"
        yield Row.of(f"{arm}, texts held out", "masked tokens guessed", after["masked"], note=told)


def zero_shot_rows(arms: Arms) -> Iterator[Row]:
    """B-PROP's head on queries that it never saw, against chance."""
    count, depth = arms.scale.zero_shot
    queries = arms.task.test.only(list(arms.task.test.queries)[:count])
    run = arms.task.found(queries, depth)
    random = by_chance(run, queries, seed=arms.settings.seed)
    note = f"{len(queries.queries)} test claims, BM25S's best {depth}"
    yield Row.of("zero-shot: a random order", METRIC, random, note=note)
    yield Row.of("zero-shot: BM25S's order", METRIC, evaluate(run, queries.judged, [METRIC])[METRIC], note=note)
    value = evaluate(arms.zero_shot("B-PROP", queries, depth), queries.judged, [METRIC])[METRIC]
    bar = random + (OVER_RANDOM if not arms.settings.quick else 0)
    yield Row.of("zero-shot: B-PROP", METRIC, value, at_least=bar, note=note)


def label_rows(arms: Arms) -> Iterator[Row]:
    """Each arm after each number of labels; then each step of the order that is claimed."""
    task, qrels = arms.task, arms.task.test.judged
    bm25 = task.found(task.test, arms.scale.depth)
    note = f"its best {arms.scale.depth}, which all others order; {len(qrels)} test queries"
    yield Row.of(f"{task.name}: BM25S", METRIC, evaluate(bm25, qrels, [METRIC])[METRIC], note=note)
    every = [len(task.learnt.queries)] if task.name == "scifact" and arms.scale.all_labels else []
    for labels in (*arms.scale.labels[task.name], *every):
        few = task.name != "scifact" or labels in every
        names = arms.scale.fewer if few else (*ORDER[:3], "masked words only", NONE)
        runs = {name: arms.tuned(name, labels) for name in names}
        for name, found in runs.items():
            value = evaluate(found["test"], qrels, [METRIC])[METRIC]
            yield Row.of(f"{task.name}, {labels} queries: {name}", METRIC, value, note=_joined(task, bm25, found))
        steps = list(pairwise(name for name in ORDER if name in runs))
        for better, worse in (*steps, (ORDER[0], NONE)):
            yield _step_row(f"{task.name}, {labels} queries", better, worse, runs, qrels, bar=not arms.settings.quick)


def _step_row(
    where: str, better: str, worse: str, runs: Mapping[str, Mapping[str, Run]], qrels: Mapping[str, Mapping[str, int]],
    *, bar: bool,
) -> Row:  # fmt: skip
    one, other = (runs[name]["test"] for name in (better, worse))
    rise = evaluate(one, qrels, [METRIC])[METRIC] - evaluate(other, qrels, [METRIC])[METRIC]
    note = f"p {compare(one, other, qrels, METRIC):.2g}, paired randomisation"
    return Row.of(f"{where}: {better} over {worse}", METRIC, rise, at_least=STEP if bar else None, note=note)


def _joined(task: Task, bm25: Run, found: Mapping[str, Run]) -> str:
    """What the order is worth beside BM25S's: the sum of both, its weight from the dev queries."""
    dev_bm25 = task.found(task.dev, len(next(iter(bm25.values()))))
    weight = tuned_weight((dev_bm25, found["dev"]), task.dev.judged, held_out=task.test.judged)
    value = evaluate(fuse("weighted", bm25, found["test"], weight), task.test.judged, [METRIC])[METRIC]
    return f"with BM25S {value:.4f}, weight {weight} from {len(task.dev.queries)} dev queries"


def by_chance(run: Run, queries: Examples, *, seed: int, draws: int = 50) -> float:
    """Mean nDCG@10 of random orders of what a run holds."""
    rng = np.random.default_rng(seed)
    values = [
        evaluate({q: dict(zip(found, rng.random(len(found)).tolist(), strict=True)) for q, found in run.items()},
                 queries.judged, [METRIC])[METRIC]
        for _ in range(draws)
    ]  # fmt: skip
    return float(np.mean(values))


def _shuffled(examples: Examples, seed: int) -> Examples:
    """The same, the queries in an order drawn from the seed."""
    names = list(examples.queries)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    return replace(examples, queries={name: examples.queries[name] for name in order})


def _part(examples: Examples, first: int, last: int | None) -> Examples:
    """The queries from one place to another, in their order."""
    return examples.only(list(examples.queries)[first:last])


def _best(found: Mapping[str, float], k: int) -> dict[str, float]:
    return {name: found[name] for name in ranked(found)[:k]}


def _texts(collection: Collection) -> dict[str, str]:
    """What is trained on: title, full stop, text; documents without text are left out."""
    return {
        name: f"{one.title}. {one.text}" if one.title else one.text
        for name, one in collection.corpus.items()
        if one.text.strip()
    }
