"""Trains a goal ranker on judged queries, each a goal that some passages bear on and others do not.

    folder, report = train_goal_ranker(judged, GoalTraining(), run=RunSettings(home=home))

Loss       presence: cross-entropy of yes or no, for a relevant passage and those that the first stage finds wrongly
Held out   as for the other rankers (judged_training.py); what weighs the filter beside the first stage
Guard      kept only if it orders what the first stage finds for the queries held out better than the first stage does
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError
from foveal.evaluation.metrics import Run, evaluate
from foveal.nn.codebook import usage_in
from foveal.nn.text_filter import TextFilter, TextFilterSettings
from foveal.ranges import COUNT, require_settings
from foveal.ranking.goal_ranker import GoalRanker, GoalScorer, TokenStates
from foveal.ranking.judged import Judged
from foveal.ranking.judged_training import Made, most_negatives, parted, require_own_dev
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.training.examples import Examples, Rows, shuffled_anew
from foveal.training.loop import Curves, Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.negatives import filled, top_negatives
from foveal.training.report import Metrics, Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import fingerprint, run_of

METRICS = ("map", "mrr", "ndcg@10")


@dataclass(frozen=True, kw_only=True)
class GoalTraining:
    """How a goal ranker is made and trained."""

    bottleneck: str = "codebook"
    codebook: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 64  # of a passage that are read
    negatives: int = 3  # of a row
    depth: int = 100  # found passages from which they are drawn, and that are ordered
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=10, batch=32, learning_rate=1e-3))

    def __post_init__(self) -> None:
        require_settings("Training a goal ranker", self, tokens=COUNT, negatives=COUNT, depth=COUNT)


class Presences:
    """Rows as goals, texts, and whether the one is in the other."""

    def __init__(self, rows: Rows, states: TokenStates) -> None:
        self.rows, self.states = rows, states

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[str, list[str]]:
        """The goal, and the texts: the first bears on it."""
        query, _ = self.rows.pairs[place % len(self)]
        examples = self.rows.examples
        return examples.queries[query], [examples.corpus[one] for one in self.rows.documents(place)]

    def plan(self, epoch: int, *, batch: int, seed: int) -> list[list[int]]:
        """The batches of an epoch; each epoch draws negatives of its own."""
        return shuffled_anew(len(self), batch, seed, epoch=epoch)

    def joined(self, rows: Sequence[tuple[str, list[str]]]) -> dict[str, Tensor]:
        """Rows of L texts -> tokens, mask, goals and answers of B · L."""
        tokens, mask = self.states.texts([text for _, texts in rows for text in texts])
        goals = self.states.goals([goal for goal, texts in rows for _ in texts])
        answers = torch.tensor([float(place == 0) for _, texts in rows for place in range(len(texts))])
        return {"tokens": tokens, "mask": mask, "goals": goals, "answers": answers}


def presence(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss: what is rarer, the passages that bear on their goal, counts as much as the rest."""
    logits = model(batch["tokens"], batch["mask"], batch["goals"])
    answers = batch["answers"]
    rest = (len(answers) - answers.sum()) / answers.sum().clamp(min=1)
    return F.binary_cross_entropy_with_logits(logits, answers, pos_weight=rest)


def train_goal_ranker(
    judged: Judged, settings: GoalTraining, *, run: RunSettings[Examples], encoder: str = "minilm"
) -> Made:
    """Its folder (None: no better than the first stage) and the report. A run that was stopped goes on.

    InputError: the first stage finds nothing for any query, or too few are judged. ModelUnavailable: the encoder's
    token vectors cannot be had.
    """
    require_own_dev(run)
    found = run_of(judged.search, judged.examples, settings.depth)
    kept = [query for query in judged.examples.queries if found.get(query)]
    if not kept:
        raise InputError(f"The first stage finds nothing for any of the {len(judged.examples.queries)} queries.")
    learnt, dev = parted(judged.examples.only(kept))
    parts, given = {"dev": dev}, {"dev": found}  # test queries may have ids that others have, too
    if run.test is not None:
        given["test"] = run_of(judged.search, run.test, settings.depth)
        parts["test"] = run.test.only([query for query in run.test.queries if given["test"].get(query)])
    states = TokenStates.of(encoder, settings.tokens, run.cache)
    settings = replace(settings, negatives=most_negatives(learnt, settings.negatives), tokens=states.tokens)
    depends_on = _depends_on(judged, settings, states, given, {"examples": learnt, **parts})
    opened = TrainingRun.opened(run, identity(depends_on, settings.loop), kind="goal-ranker")
    if (done := opened.done()) is not None:
        return done
    scorer = GoalScorer(_untrained(settings, states), states)
    job = _job(scorer, learnt, dev, found, settings, depends_on)
    curves = train(job, settings.loop, opened.folder, on_progress=run.on_progress)
    used = _usage(scorer, job, settings)
    weight, report = _reported(opened.name, scorer, parts, given, curves, settings, (judged, used))
    with opened.candidate() as made:
        opened.settle(GoalRanker(scorer, weight=weight).save(made), report)
    return opened.result(report)


def _reported(
    name: str, scorer: GoalScorer, parts: Mapping[str, Examples], given: Mapping[str, Run], curves: Curves,
    settings: GoalTraining, about: tuple[Judged, tuple[str, ...]],
) -> tuple[float, Report]:  # fmt: skip
    """The weight beside the first stage, and what was measured with it; `given`: what was found, as `parts`."""
    (judged, used), dev = about, parts["dev"]
    runs = {kind: scored(scorer, part, given[kind]) for kind, part in parts.items()}
    first = {kind: {query: dict(given[kind][query]) for query in part.queries} for kind, part in parts.items()}
    weight = tuned_weight((first["dev"], runs["dev"]), dev.judged, metric=METRICS[0])
    measured = {kind: _beside(part, first[kind], runs[kind], weight) for kind, part in parts.items()}
    before, after = (one[METRICS[0]] for one in measured["dev"])
    kept = after > before
    notes = (*judged.notes, f"The filter's weight beside the first stage is {weight}.", *used)
    if not kept:
        notes += ("The ranker was not kept: it orders no better than the first stage.",)
    what, plain = f"goal ranker, {settings.bottleneck}", plain_settings(settings)
    return weight, Report(name, what, judged.stage, curves, measured, kept, notes, plain)


def scored(scorer: GoalScorer, examples: Examples, found: Mapping[str, Mapping[str, float]]) -> Run:
    """What the filter says of all that was found for each query."""
    asked = [(query, document) for query in examples.queries for document in found[query]]
    texts = [(examples.queries[query], examples.corpus[document]) for query, document in asked]
    run: Run = {query: {} for query in examples.queries}
    for (query, document), score in zip(asked, scorer(texts), strict=True):
        run[query][document] = score
    return run


def _untrained(settings: GoalTraining, states: TokenStates) -> TextFilter:
    width, book = states.encoder.dimension, dict(settings.codebook)
    form = TextFilterSettings(
        channels=width, goal_width=width, tokens=states.tokens, bottleneck=settings.bottleneck, codebook=book
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.loop.seed)
        return TextFilter(form)


def _job(
    scorer: GoalScorer, learnt: Examples, dev: Examples, found: Run, settings: GoalTraining,
    depends_on: Mapping[str, str],
) -> Job:  # fmt: skip
    pools = filled(
        top_negatives(found, learnt, depth=settings.depth), learnt, settings.negatives, seed=settings.loop.seed
    )
    rows = Presences(Rows(learnt, pools, settings.negatives, seed=settings.loop.seed), scorer.states)
    return Job(
        scorer.model, rows, presence, identity=depends_on, metric=METRICS[0], collate=rows.joined,
        evaluate=lambda _: evaluate(scored(scorer, dev, found), dev.judged, METRICS),
        plan=lambda epoch: rows.plan(epoch, batch=settings.loop.batch, seed=settings.loop.seed),
    )  # fmt: skip


def _usage(scorer: GoalScorer, job: Job, settings: GoalTraining) -> tuple[str, ...]:
    """How the codebook is used over a few batches, and its alarms."""
    rows = [job.rows[place] for place in range(min(len(job.rows), 8 * settings.loop.batch))]
    batch = job.rows.joined(rows)
    given = (batch[name].to(scorer.device) for name in ("tokens", "mask", "goals"))
    found = usage_in(scorer.model.eval(), [tuple(given)])
    if found is None:
        return ()
    return (f"Codes in use: {found.perplexity_marginal:.1f} of {found.codes} (perplexity).", *found.alarms())


def _beside(examples: Examples, first: Run, run: Run, weight: float) -> tuple[Metrics, Metrics]:
    """The first stage, and the filter beside it."""
    fused: Run = {query: weighted_sum([first[query], run[query]], [1 - weight, weight]) for query in run}
    return evaluate(first, examples.judged, METRICS), evaluate(fused, examples.judged, METRICS)


def _depends_on(
    judged: Judged, settings: GoalTraining, states: TokenStates, given: Mapping[str, Run],
    parts: Mapping[str, Examples],
) -> dict[str, str]:  # fmt: skip
    return {
        "what": "goal ranker", "encoder": states.encoder.fingerprint, "first stage": judged.stage,
        "ranker": without_loop(settings), **{f"found, {kind}": fingerprint(found) for kind, found in given.items()},
        **{kind: part.fingerprint for kind, part in parts.items()},
    }  # fmt: skip
