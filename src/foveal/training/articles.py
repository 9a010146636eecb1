"""Trains a model that ranks articles by their sentences (Paraformer, Attentive CNN) on judged questions.

    folder, report = train_articles(model, examples, FROM_SCRATCH, run=RunSettings(home=home))

Articles   texts of the examples' corpus, a sentence a line
Model      model(queries, groups) -> logits of "no" and "yes" (B, G, 2): of B queries with G articles each, an article
           being the list of its sentences; the second is the score
Groups     the relevant article, `hard` articles out of the first `depth` that the first stage finds (half of them were
           judged wrong, where so many were), and `random` ones from anywhere; none of them answers the query, and they
           are drawn anew in each epoch. Where they are `shared`, the rows of a batch get the same random ones: fewer
           texts to read
Losses     "group": softmax over the group's scores, the relevant one is right (Attentive CNN's). "pairs": "no" or "yes"
           for each article alone (Paraformer's); with 1 right of 10 a model gets 90 % by always saying no, so look at
           the metrics of the score alone, which are what is measured here
Source     Nguyen et al., Artificial Intelligence and Law, 2022, and its authors' code; see `ranking.paraformer`
Guard      the model as it was before and as it is after order the first stage's hits for the dev queries; the new one
           is kept only if it orders them better
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.evaluation.legal import answer_scores, first_answers, mean_scores
from foveal.evaluation.metrics import Run, evaluate
from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, require_settings
from foveal.training import checkpoints
from foveal.training.examples import Examples, Negatives, Rows, check_corpus, judged_half, shuffled, shuffled_anew
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.negatives import top_negatives
from foveal.training.report import Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import Search, WordSearch, run_of

METRICS = ("f2@1", "recall@20", "ndcg@20")
"""What is measured of an order of articles; the first is F2 of the first article alone."""


ENCODED_AT_ONCE = 64
"""Articles that a model encodes together while it is measured."""


class Scored(Protocol):
    """What a model says of an article."""

    @property
    def score(self) -> float: ...


class ArticleModel(Protocol):
    """An `nn.Module` that scores groups of articles (`ranking.article_models`)."""

    kind: str

    def __call__(self, queries: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]) -> Tensor: ...
    def encoded(self, articles: Sequence[Sequence[str]]) -> list[Any]: ...
    def weighed(self, query: str, encoded: Sequence[Any]) -> Sequence[Scored]: ...
    def identity(self) -> dict[str, str]: ...
    def save(self, folder: Path) -> Path: ...


@dataclass(frozen=True, kw_only=True)
class ArticleTraining:
    """How such a model is trained."""

    objective: str = "group"  # or "pairs"
    hard: int = 8  # negatives of a group that the first stage finds
    random: int = 8  # negatives of a group from anywhere
    shared: bool = False  # whether the rows of a batch have the same random ones
    depth: int = 30  # hits of the first stage that the hard ones are drawn from
    metric: str = METRICS[0]  # the one that chooses among steps, and decides whether the model is kept
    dev_share: float = 0.1
    dev_queries: int = 40  # looked at while training, to `dev_depth`; the guard takes all, to `candidates`
    dev_depth: int = 30
    candidates: int = 100  # hits of the first stage that are ordered
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=10, batch=8, learning_rate=1e-4, patience=2))

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES or self.metric not in METRICS:
            raise UnknownName(
                f"Training on articles got objective {self.objective!r} and metric {self.metric!r}. There are the "
                f"objectives {', '.join(OBJECTIVES)}, and the metrics {', '.join(METRICS)}."
            )
        require_settings(
            "Training on articles", self, hard=NOT_NEGATIVE, random=NOT_NEGATIVE, depth=COUNT, dev_share=INSIDE,
            dev_queries=COUNT, dev_depth=COUNT, candidates=COUNT,
        )  # fmt: skip
        if self.hard + self.random < 1:
            raise InputError("Training on articles got hard = 0 and random = 0; it needs a negative of either kind.")


def group_loss(logits: Tensor) -> Tensor:
    """Logits (B, G, 2), the first article of each group relevant: cross-entropy of a softmax over the scores."""
    scores = logits[..., 1].float()
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def pair_loss(logits: Tensor) -> Tensor:
    """Logits (B, G, 2), the first article of each group relevant: cross-entropy of "no" and "yes", each by itself."""
    right = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
    right[:, 0] = 1
    return F.cross_entropy(logits.float().flatten(0, 1), right.flatten())


OBJECTIVES: dict[str, Callable[[Tensor], Tensor]] = {"group": group_loss, "pairs": pair_loss}

FROZEN = ArticleTraining()
"""For a Paraformer whose encoder stays as it is, from the start "identity"; the published head, which starts anywhere,
takes 1e-3."""
TUNED = ArticleTraining(shared=True, loop=LoopSettings(epochs=10, batch=8, learning_rate=2e-5, patience=2))
"""For a Paraformer whose encoder learns, with a `head_rate` of 5 (50 from a random start)."""
FROM_SCRATCH = ArticleTraining(
    hard=16,
    random=16,
    shared=True,
    depth=55,
    metric="recall@20",
    loop=LoopSettings(epochs=20, batch=8, learning_rate=1e-3),
)
"""For an Attentive CNN: groups of 33; the authors' 101 are hard=50, random=50."""


@dataclass(frozen=True)
class ArticleRows:
    """A row for each relevant pair: query, and a group of articles, the relevant one first. Place n · len + i is row i
    as it is in epoch n. InputError: a query has too few articles that do not answer it.
    """

    examples: Examples
    pools: Negatives
    hard: int
    random: int
    seed: int = 0
    together: int = 1  # rows of a batch, which share their random negatives

    def __post_init__(self) -> None:
        holding = Counter(self.examples.codes.values())  # articles of one text
        for query in self.examples.queries:
            wrong = len(self.examples.corpus) - sum(holding[code] for code in self.examples.spared[query])
            if wrong < self.hard + self.random:
                raise InputError(
                    f"Query {query!r} was to get {self.hard + self.random} negatives, but only {wrong} articles do not "
                    "answer it. Ask for fewer, or add articles."
                )

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Query and relevant article of each row; of articles with one text the first."""
        return Rows(self.examples).pairs

    @cached_property
    def articles(self) -> dict[str, list[str]]:
        """The sentences of each article."""
        return {name: sentences_in(text) for name, text in self.examples.corpus.items()}

    def __len__(self) -> int:
        return len(self.pairs)

    def group(self, place: int) -> list[str]:
        """The row's articles: the relevant one, then the negatives drawn for that epoch, all different."""
        epoch, row = divmod(place, len(self))
        query, positive = self.pairs[row]
        generator = np.random.default_rng([self.seed, place])
        pool = self.pools.get(query, [])
        order = [pool[number] for number in generator.permutation(len(pool))]
        chosen = dict.fromkeys(judged_half(order, self.examples.irrelevant[query], self.hard, epoch))
        anywhere = generator if self.together == 1 else self._of_batch(place)
        for number in anywhere.permutation(len(self._ids)):  # in place of hard ones that there are not, too
            if len(chosen) == self.hard + self.random:
                break
            if self.examples.wrong(query, self._ids[number]):
                chosen.setdefault(self._ids[number])
        return [positive, *chosen]

    def __getitem__(self, place: int) -> tuple[str, list[list[str]]]:
        query, _ = self.pairs[place % len(self)]
        return self.examples.queries[query], [self.articles[name] for name in self.group(place)]

    def batches(self, epoch: int, batch: int) -> list[list[int]]:
        """The places of the rows of each batch of an epoch."""
        return shuffled_anew(len(self), batch, self.seed, epoch=epoch)

    def _of_batch(self, place: int) -> np.random.Generator:
        """What all rows of the row's batch draw the same from."""
        epoch, row = divmod(place, len(self))
        return np.random.default_rng([self.seed, epoch, _batch_of(len(self), self.together, self.seed, epoch)[row]])

    @cached_property
    def _ids(self) -> list[str]:
        return list(self.examples.corpus)


@lru_cache(maxsize=2)  # an epoch asks once a row
def _batch_of(count: int, batch: int, seed: int, epoch: int) -> dict[int, int]:
    """Row -> the number of its batch in that epoch."""
    batches = shuffled(count, batch, seed, epoch=epoch)
    return {row: number for number, rows in enumerate(batches) for row in rows}


def sentences_in(text: str) -> list[str]:
    """The sentences of a text with one a line; blank lines are none."""
    return [line for line in text.split("\n") if line.strip()]


def ordered(model: ArticleModel, examples: Examples, run: Run, depth: int) -> Run:
    """The first `depth` hits of each query by the model's score, and no others. Each article is encoded once."""
    best = {
        query: sorted(run.get(query, {}), key=lambda name: (-run[query][name], name))[:depth]
        for query in examples.queries
    }
    wanted = list(dict.fromkeys(name for names in best.values() for name in names))
    encoded: dict[str, Any] = {}
    for first in range(0, len(wanted), ENCODED_AT_ONCE):
        part = wanted[first : first + ENCODED_AT_ONCE]
        made = model.encoded([sentences_in(examples.corpus[name]) for name in part])
        encoded.update(zip(part, made, strict=True))
    scored: Run = {}
    for query, names in best.items():
        found = model.weighed(examples.queries[query], [encoded[name] for name in names]) if names else []
        scored[query] = {name: one.score for name, one in zip(names, found, strict=True)}
    return scored


def article_metrics(run: Run, examples: Examples) -> dict[str, float]:
    """`METRICS` of a run."""
    first = mean_scores(answer_scores(first_answers(run), examples.judged))["f2"]
    return {METRICS[0]: first} | evaluate(run, examples.judged, METRICS[1:])


def train_articles(
    model: ArticleModel,
    examples: Examples,
    settings: ArticleTraining | None = None,
    *,
    run: RunSettings[Examples],
    first_stage: Search | None = None,
    first_stage_name: str = "words",
    last: bool = False,
    decide: Callable[[Path, Report], Report] = lambda _, report: report,
) -> tuple[Path | None, Report]:
    """Train `model` in place; the folder it was saved to (HOME/models/<name>; None if it orders no better than before)
    and the report, whose notes say what the first stage does alone.

    `first_stage` finds what is ordered (default: words of the corpus). With `last` no step is chosen: the model is that
    of the last one (a control that dev queries chose might not have been trained at all). `decide` gets a model that
    would be kept, in a folder of its own, and the report; it may add files, and gives the report that counts, before
    the model takes the place of an earlier one. A run that was stopped goes on, one that is done is not done again: the
    model then is as it was given. Errors: as `loop.train`; InputError: other corpora, too few articles.
    """
    settings = settings or ArticleTraining()
    dev, test = run.dev, run.test
    check_corpus(examples, dev, test)
    learnt, dev = examples.beside(dev, settings.dev_share)
    depends_on = model.identity() | {
        "examples": learnt.fingerprint,
        "dev": dev.fingerprint,
        "test": test.fingerprint if test else "none",
        "first stage": first_stage_name,
        "how": without_loop(settings),
    }
    depends_on |= {"step": "the last"} if last else {}
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=model.kind)
    if (done := here.done()) is not None:
        return done
    search = first_stage or WordSearch(examples.corpus)
    judged = {"dev": dev} | ({"test": test} if test else {})
    found = {kind: run_of(search, queries, settings.candidates) for kind, queries in judged.items()}
    before = {kind: _measured(model, queries, found[kind], settings) for kind, queries in judged.items()}
    rows = ArticleRows(
        learnt,
        _pools(here, learnt, search, settings),
        settings.hard,
        settings.random,
        settings.loop.seed,
        settings.loop.batch if settings.shared else 1,
    )
    job = _job(model, rows, settings, depends_on, dev.only(list(dev.queries)[: settings.dev_queries]), found["dev"])
    job = replace(job, evaluate=None) if last else job
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    measured = {
        kind: (before[kind], _measured(model, queries, found[kind], settings)) for kind, queries in judged.items()
    }
    old, new = (values[settings.metric] for values in measured["dev"])
    notes = [_alone(kind, article_metrics(found[kind], queries)) for kind, queries in judged.items()]
    if not new > old:
        notes.append(not_kept("model", settings.metric, "dev queries", old, new))
    what = f"{model.kind}, {settings.objective}, over {first_stage_name}"
    report = Report(here.name, what, model.kind, curves, measured, new > old, tuple(notes), plain_settings(settings))
    with here.candidate() as made:
        saved = model.save(made)
        report = decide(saved, report) if report.kept else report
        here.settle(saved, report)
    return here.result(report)


def _job(
    model: ArticleModel,
    rows: ArticleRows,
    settings: ArticleTraining,
    depends_on: Mapping[str, str],
    dev: Examples,
    found: Run,
) -> Job:
    objective = OBJECTIVES[settings.objective]

    def collate(batch: Sequence[tuple[str, list[list[str]]]]) -> dict[str, Any]:
        return {"queries": [query for query, _ in batch], "groups": [group for _, group in batch]}

    return Job(
        model=cast("nn.Module", model),
        rows=rows,
        loss=lambda now, batch: objective(now(batch["queries"], batch["groups"])),
        identity=depends_on,
        evaluate=lambda now: article_metrics(ordered(now, dev, found, settings.dev_depth), dev),
        metric=settings.metric,
        plan=lambda epoch: rows.batches(epoch, settings.loop.batch),
        collate=collate,
    )


def _measured(model: ArticleModel, examples: Examples, found: Run, settings: ArticleTraining) -> dict[str, float]:
    return article_metrics(ordered(model, examples, found, settings.candidates), examples)


def _pools(run: TrainingRun, examples: Examples, search: Search, settings: ArticleTraining) -> Negatives:
    """What the first stage finds wrong, kept in the run's folder: a second start finds the same."""
    kept = checkpoints.read(run.folder / "negatives.json")
    if kept is None:
        spare = max(len(positives) for positives in examples.positives.values())
        found = run_of(search, examples, settings.depth + spare)
        kept = dict(top_negatives(found, examples, depth=settings.depth))
        checkpoints.write(run.folder / "negatives.json", kept)
    return kept


def _alone(kind: str, values: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    return f"The first stage alone on the {kind} queries: {shown}."
