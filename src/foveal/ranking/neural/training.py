"""Trains any neural ranker on judged queries and what a first stage finds for them.

    folder, report = train_ranker("knrm", examples, found, NeuralSettings(loss="hinge"), run=RunSettings(home=home))
    load_ranker(folder)                          a `Scorer`; Neural(folder) is the ranker

Examples   queries, texts and judgements; `found`: query id -> document id -> first-stage score, for training, dev and
           test queries alike: the documents to choose among (judged ones alone, where a set comes with its candidates);
           `test_found`, where test queries have ids that others have, too
Rows       a relevant document and its query's negatives, drawn anew each epoch from those that were found: one for
           losses over pairs, four for losses over lists
Guard      the weights with the best dev MAP stay; beside the first stage, by the weight that is best on the dev queries
           (0 to 1 in steps of 0.05), the ranker is kept only if dev MAP rises. The same queries choose and judge, so
           that the dev figure is too high: the test figure is the one to tell
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.evaluation.metrics import Run, evaluate
from foveal.models.hub import folder_of
from foveal.ranges import COUNT, INSIDE, require_settings
from foveal.ranking.neural import build, model_class, settings_class
from foveal.ranking.neural.inputs import Prepared, Vocabulary, joined
from foveal.ranking.neural.losses import ListLoss, RankLossSettings, make_loss, negatives_of
from foveal.ranking.neural.recipes import recipe
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.vectors import WordVectors
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.training.examples import Examples, Rows, Scores, check_corpus, shuffled_anew
from foveal.training.loop import Curves, Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.negatives import filled, top_negatives
from foveal.training.report import Report, beside, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import fingerprint
from foveal.training.watch import Progress

METRICS = ("map", "mrr", "ndcg@10")


@dataclass(frozen=True, kw_only=True)
class NeuralSettings:
    """How a neural ranker is made and trained."""

    loss: str = "hinge"  # a name of `losses.LOSSES`, or several with "+" between
    numbers: RankLossSettings = field(default_factory=RankLossSettings)
    negatives: int | None = None  # of a row; None: 1, or 4 for losses over lists
    depth: int = 100  # found documents from which they are drawn
    query_length: int = 20  # words; question answering 10 and 40, long documents 20 and 2000
    document_length: int = 200
    content_only: bool = False  # leave function words of documents out: for long ones
    min_frequency: int = 2
    dimension: int = 100  # of word vectors
    train_vectors: bool | None = None  # None: as the model has it
    sizes: Mapping[str, Any] = field(default_factory=dict)  # fields of the model's own settings
    interpolate: bool = True  # fit a weight beside the first stage; else the model's scores stand alone
    dev_share: float = 0.1
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=10, batch=32, learning_rate=1e-3))

    def __post_init__(self) -> None:
        make_loss(self.loss, self.numbers)
        require_settings(
            "Training a neural ranker", self, negatives=COUNT, depth=COUNT, query_length=COUNT, document_length=COUNT,
            min_frequency=COUNT, dimension=COUNT, dev_share=INSIDE,
        )  # fmt: skip

    @classmethod
    def of(cls, name: str, **changes: Any) -> NeuralSettings:
        """The settings with which the model called `name` learns best (recipes.py). UnknownName: there is none."""
        model_class(name)
        known, made = recipe(name), cls()
        loop = replace(made.loop, learning_rate=known.learning_rate)
        given = {"loss": known.loss, "train_vectors": known.train_vectors, "sizes": known.sizes, "loop": loop}
        return replace(made, **{**given, **changes})

    @property
    def per_row(self) -> int:
        """Negatives of a row."""
        return self.negatives or negatives_of(self.loss)


@dataclass(frozen=True)
class KnownWords:
    """The words that a ranker knows, and a vector for each."""

    vocabulary: Vocabulary
    vectors: WordVectors

    @classmethod
    def of_encoder(cls, name: str, vocabulary: Vocabulary, settings: NeuralSettings, cache: Path) -> KnownWords:
        """With rows of an encoder's table. UnknownName, ModelUnavailable: the encoder."""
        folder = folder_of(name, cache, kind="encoder")
        return cls(
            vocabulary, WordVectors.from_encoder(folder, vocabulary, settings.dimension, seed=settings.loop.seed)
        )


def train_ranker(
    name: str,
    examples: Examples,
    found: Scores,
    settings: NeuralSettings | None = None,
    *,
    run: RunSettings[Examples],
    test_found: Scores | None = None,
    words: str | KnownWords = "minilm",
) -> tuple[Path | None, Report]:
    """The folder of the ranker (HOME/models/<run_name>; None if it was no better than the first stage, and then it
    lies in HOME/runs/train/<run_name>/rejected) and the report. A run that was killed goes on; one that is done is not
    done again.

    `words`: or of the examples, with the vectors of an encoder's table. UnknownName: no such model, loss or encoder.
    InputError: no found documents for a query, or sizes that the model refuses.
    """
    settings = settings or NeuralSettings.of(name)
    dev, test = run.dev, run.test
    learnt, dev = examples.beside(dev, settings.dev_share)
    check_corpus(learnt, dev, test)
    judged = {"dev": dev} | ({"test": test} if test else {})
    given = {"dev": found} | ({"test": found if test_found is None else test_found} if test else {})
    _require_found(learnt, found)
    for kind, queries in judged.items():
        _require_found(queries, given[kind])
    if isinstance(words, str):
        words = KnownWords.of_encoder(words, vocabulary_of(learnt, settings), settings, run.cache_at)
    scorer = untrained(name, words.vocabulary, words.vectors, settings)
    depends_on = _depends_on(name, words.vectors, given, {"examples": learnt, **judged}, settings)
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=name)
    if (done := here.done()) is not None:
        return done
    curves = fit_ranker(
        scorer, learnt, found, settings, here.folder, dev=dev, known_by=depends_on, on_progress=run.on_progress
    )
    weight, report = _reported(here.name, scorer, judged, given, settings, curves)
    with here.candidate() as made:
        here.settle(scorer.weighed(weight).save(made), report)
    return here.result(report)


def load_ranker(folder: Path) -> Scorer:
    """A trained ranker. InputError: the folder holds none."""
    return Scorer.load(folder)


def vocabulary_of(examples: Examples, settings: NeuralSettings) -> Vocabulary:
    """The words of the corpus and of the queries."""
    return Vocabulary.of_texts(
        examples.corpus.values(), examples.queries.values(), min_frequency=settings.min_frequency
    )


def untrained(name: str, vocabulary: Vocabulary, vectors: WordVectors, settings: NeuralSettings) -> Scorer:
    """A model as it is before training, with weights drawn from the loop's seed."""
    trained = model_class(name).trains_vectors if settings.train_vectors is None else settings.train_vectors
    sizes = dict(settings.sizes)
    for one in fields(settings_class(name)):
        if one.name in ("query_length", "document_length"):
            sizes.setdefault(one.name, getattr(settings, one.name))
    model = build(name, vectors.like(trained=trained), seed=settings.loop.seed, **sizes)
    return Scorer(model, vocabulary, settings.query_length, settings.document_length, settings.content_only)


def fit_ranker(
    scorer: Scorer,
    examples: Examples,
    found: Scores,
    settings: NeuralSettings,
    folder: Path,
    *,
    dev: Examples | None = None,
    known_by: Mapping[str, str] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Curves:
    """Train the scorer's model in place, with checkpoints in `folder`; it ends with the weights of the best dev MAP.

    `known_by`: what the run depends on besides the loop, so that another one does not go on from its checkpoints
    (None: model, word vectors, data and settings).
    """
    negatives = filled(
        top_negatives(found, examples, depth=settings.depth), examples, settings.per_row, seed=settings.loop.seed
    )
    rows = Rows(examples, negatives, settings.per_row, seed=settings.loop.seed)
    lists, model = Lists(rows, scorer), scorer.model
    read: dict[str, Prepared] = {}
    if known_by is None:
        judged = {"examples": examples} | ({"dev": dev} if dev else {})
        known_by = _depends_on(model.name, model.vectors, {"dev": found}, judged, settings)
    job = Job(
        model=model,
        rows=lists,
        loss=ListsLoss(make_loss(settings.loss, settings.numbers, bounded=model.bounded, middle=model.middle)),
        identity=known_by,
        evaluate=(lambda _: evaluate(scored(scorer, dev, found, read), dev.judged, METRICS)) if dev else None,
        metric=METRICS[0],
        plan=partial(lists.plan, batch=settings.loop.batch, seed=settings.loop.seed),
        collate=lists.joined,
    )
    return train(job, settings.loop, folder, on_progress=on_progress)


@dataclass(frozen=True)
class Lists:
    """Rows as lists of documents with their grades; texts are cut into words once."""

    rows: Rows
    scorer: Scorer

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _queries(self) -> dict[str, Prepared]:
        return {name: self.scorer.query(text) for name, text in self.rows.examples.queries.items()}

    @cached_property
    def _documents(self) -> dict[str, Prepared]:
        return {}

    def __getitem__(self, place: int) -> tuple[str, list[str]]:
        """Query and documents, the relevant one first."""
        return self.rows.pairs[place % len(self.rows)][0], self.rows.documents(place)

    def plan(self, epoch: int, *, batch: int, seed: int) -> list[list[int]]:
        """The places of the rows of each batch, all of them once, as they are in that epoch."""
        return shuffled_anew(len(self), batch, seed, epoch=epoch)

    def joined(self, lists: Sequence[tuple[str, list[str]]]) -> dict[str, Any]:
        """B lists of L documents -> pairs of B · L, grades (B, L)."""
        queries = [self._queries[query] for query, documents in lists for _ in documents]
        read = [self._document(document) for _, documents in lists for document in documents]
        grades = [[self.rows.examples.judged[query].get(one, 0) for one in documents] for query, documents in lists]
        return {
            "pairs": joined(self.scorer.vocabulary, queries, read),
            "grades": torch.tensor(grades, dtype=torch.float32).clamp(min=0),
        }

    def _document(self, name: str) -> Prepared:
        if name not in self._documents:
            self._documents[name] = self.scorer.document(self.rows.examples.corpus[name])
        return self._documents[name]


class ListsLoss:
    """The loss of a model over a batch of `Lists`."""

    def __init__(self, of_scores: ListLoss) -> None:
        self.of_scores = of_scores

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """A scalar."""
        device = next(model.parameters()).device
        grades = batch["grades"].to(device)
        scores = model(batch["pairs"].to(device)).view(grades.shape)
        return self.of_scores(scores, grades, torch.ones_like(grades, dtype=torch.bool))


def scored(scorer: Scorer, examples: Examples, found: Scores, read: dict[str, Prepared] | None = None) -> Run:
    """The model's scores of all that was found for each query; `read` keeps the documents' words for the next time."""
    read = {} if read is None else read
    for document in dict.fromkeys(document for query in examples.queries for document in found[query]):
        if document not in read:
            read[document] = scorer.document(examples.corpus[document])
    queries = {query: scorer.query(text) for query, text in examples.queries.items()}
    asked = [(query, document) for query in queries for document in found[query]]
    run: Run = {query: {} for query in queries}
    scores = scorer.of_prepared([(queries[query], read[document]) for query, document in asked])
    for (query, document), score in zip(asked, scores, strict=True):
        run[query][document] = score
    return run


def _reported(
    name: str,
    scorer: Scorer,
    judged: Mapping[str, Examples],
    given: Mapping[str, Scores],
    settings: NeuralSettings,
    curves: Curves,
) -> tuple[float, Report]:
    """The weight beside the first stage, and what was measured with it; `given`: what was found, as `judged`."""
    runs = {kind: scored(scorer, queries, given[kind]) for kind, queries in judged.items()}
    dev, weight = judged["dev"], 1.0
    if settings.interpolate:
        weight = tuned_weight((_of(dev, given["dev"]), runs["dev"]), dev.judged, metric=METRICS[0])
    first = {kind: _of(queries, given[kind]) for kind, queries in judged.items()}
    together = {kind: _together(first[kind], run, weight) for kind, run in runs.items()}
    measured, told = beside(judged, first, together, METRICS)
    notes = list[str]()
    for kind, queries in judged.items():
        alone = evaluate(runs[kind], queries.judged, METRICS[:1])["map"]
        notes.append(f"{kind}: MAP {alone:.4f} by the model alone; its weight is {weight}.")
    notes += told
    kept = measured["dev"][1]["map"] > measured["dev"][0]["map"]
    if not kept:
        notes.append("The ranker was not kept: on the dev queries it orders no better than the first stage.")
    what = f"neural ranker {scorer.model.name}, {settings.loss}"
    return weight, Report(name, what, "first stage", curves, measured, kept, tuple(notes), plain_settings(settings))


def _depends_on(
    name: str,
    vectors: WordVectors,
    given: Mapping[str, Scores],
    examples: Mapping[str, Examples],
    settings: NeuralSettings,
) -> dict[str, str]:
    """What a run is known by, besides the loop."""
    return {
        "what": f"neural ranker {name}",
        "vectors": hashlib.sha256(vectors.table.detach().cpu().numpy().tobytes()).hexdigest(),
        **{f"found, {kind}": fingerprint(found) for kind, found in given.items()},
        **{kind: queries.fingerprint for kind, queries in examples.items()},
        "ranker": without_loop(settings),
    }


def _together(first: Run, run: Run, weight: float) -> Run:
    """The ranker beside the first stage, by its weight there; a weight of 1 is the ranker alone."""
    if weight == 1:
        return run
    return {query: weighted_sum([first[query], run[query]], [1 - weight, weight]) for query in run}


def _of(examples: Examples, found: Scores) -> Run:
    return {query: dict(found[query]) for query in examples.queries}


def _require_found(examples: Examples, found: Scores) -> None:
    missing = next((query for query in examples.queries if not found.get(query)), None)
    if missing is not None:
        raise InputError(
            f"Nothing was found for query {missing!r}, so there is nothing to order. Leave it out, or give the "
            "documents to choose among (searches.run_of gives what a first stage finds)."
        )
    for query in examples.queries:
        strange = next((document for document in found[query] if document not in examples.corpus), None)
        if strange is not None:
            raise InputError(f"{strange!r} was found for query {query!r}, but {examples.name} does not hold it.")
