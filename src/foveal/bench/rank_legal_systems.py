"""bench rank-legal: models beside BM25, each alone on its candidates and added to it, and the rows about them.

systems = Systems(law)
systems.trained("Attentive CNN", 500)          trained, scored and tuned when it is first asked for
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from foveal.bench.rank_legal_runs import Law
from foveal.evaluation.legal import AnswerScores, answer_scores, first_answers, mean_scores, paired_bootstrap
from foveal.evaluation.metrics import Qrels, Run, evaluate, per_query
from foveal.evaluation.tables import Row
from foveal.ranking.legal import answers
from foveal.ranking.legal_training import Tuned, fused_run
from foveal.ranking.paraformer import Frozen, Paraformer, ParaformerSettings
from foveal.training.searches import VectorSearch

RECALLS = ("recall@5", "recall@10", "recall@20", "recall@30", "recall@100")
METRICS = (*RECALLS, "map@10", "ndcg@20")
FIRST, RULE = "F2 of the first", "F2 by the rule"
OF_FIRST = {"precision": "P of the first", "recall": "R of the first", "f2": FIRST}
BARRED = (*RECALLS, FIRST, RULE)
"""Metrics in which trained models are held above BM25 and MiniLM."""
ABOVE = 1e-4
"""The least that is more."""
BEST_SENTENCE = 1e5
"""A sharpness at which all attention is at the sentence with the highest cosine."""

PARAFORMER, CNN = "Paraformer", "Attentive CNN"


@dataclass(frozen=True)
class System:
    """A model's scores of the candidates of dev and test questions, and how they are added to BM25's."""

    name: str
    scores: Run
    tuned: Tuned
    seconds: float = math.nan  # of training

    @property
    def weight(self) -> float:
        """Of the model's score."""
        return self.tuned.settings.weight


@dataclass
class Systems:
    """The systems over one collection, each made when it is first asked for."""

    law: Law
    _made: dict[tuple[str, int, bool], System] = field(default_factory=dict)

    @cached_property
    def words(self) -> System:
        """BM25. Its scores stand for both stages, so any weight leaves them as they are."""
        found = {
            query: {name: self.law.found[query][name] for name in names} for query, names in self.law.candidates.items()
        }
        return System("BM25", found, self.law.tuned(found))

    def untrained(self) -> dict[str, Paraformer]:
        """MiniLM as it is, as Paraformers that have learnt nothing: by name."""
        frozen = Frozen(self.law.encoder)
        sharpest = ParaformerSettings(sharpness=BEST_SENTENCE)
        return {
            "MiniLM, whole article": Paraformer(frozen),
            "MiniLM, best sentence": Paraformer(frozen, sharpest),
            "Paraformer, not trained": Paraformer(frozen),
        }

    def of(self, name: str, model: Paraformer, corpus: Mapping[str, str] | None = None) -> System:
        """The system by a model that is not trained here."""
        scores = self.law.scores(json.dumps(model.identity()), lambda: model, corpus)
        return System(name, scores, self.law.tuned(scores))

    def trained(self, name: str, count: int | None = None, *, shuffled: bool = False) -> System:
        """The system by an arm trained on `count` questions, by default the most."""
        count = count or max(self.law.sizes.counts)
        if (name, count, shuffled) not in self._made:
            report, model = self.law.trained(name, count, shuffled=shuffled)
            scores = self.law.scores(f"{report.name}{'' if report.kept else ', not kept'}", lambda: model)
            self._made[name, count, shuffled] = System(name, scores, self.law.tuned(scores), report.curves.seconds)
        return self._made[name, count, shuffled]

    def fresh(self, name: str) -> System:
        """The system by an arm's model as it is before training."""
        model = self.law.fresh(name)
        scores = self.law.scores(f"{json.dumps(model.identity())}, not trained", lambda: model)
        return System(f"{name}, not trained", scores, self.law.tuned(scores))

    def alone(self, one: System) -> Run:
        """The test questions' candidates by the model's score."""
        return {query: one.scores[query] for query in self.law.test.queries}

    def fused(self, one: System, weight: float | None = None) -> Run:
        """The test questions' candidates by both scores."""
        return fused_run(self.law.hits(one.scores, self.law.test), one.weight if weight is None else weight)

    def values(self, run: Run, tuned: Tuned | None = None) -> dict[str, float]:
        """`METRICS`, P, R and F2 of the first article, and F2 by the tuned rule where there is one."""
        qrels = self.law.test.judged
        first = mean_scores(firsts(run, qrels))
        found = evaluate(run, qrels, METRICS) | {shown: first[name] for name, shown in OF_FIRST.items()}
        if tuned:
            given = answers(run, tuned.settings.most, tuned.settings.gap)
            found[RULE] = mean_scores(answer_scores(given, qrels))["f2"]
        return found

    @property
    def least(self) -> float:
        """The least that counts as more, on so many questions."""
        return ABOVE - self.law.sizes.slack

    @cached_property
    def bars(self) -> dict[str, float]:
        """What is above the better of BM25 and MiniLM, in each metric in which the candidates leave room."""
        ways = [self.values(self.fused(self.words), self.words.tuned), self.values(self.by_vectors)]
        ways += [self.values(self.alone(one)) for one in self.minilm]
        room = [metric for metric in BARRED if int(metric.partition("@")[2] or 1) < self.law.sizes.candidates]
        return {metric: max(found.get(metric, 0.0) for found in ways) + self.least for metric in room}

    @cached_property
    def minilm(self) -> list[System]:
        """MiniLM on BM25's candidates, by whole articles and by their best sentences."""
        corpora = {"MiniLM, whole article": self.law.wholes}
        return [self.of(name, model, corpora.get(name)) for name, model in self.untrained().items()]

    @cached_property
    def by_vectors(self) -> Run:
        """MiniLM's own search of all articles that are read."""
        texts, encode = self.law.wholes, self.law.encoder.encode
        search = VectorSearch(list(texts), encode(list(texts.values())), encode)
        queries = self.law.test.queries
        return dict(zip(queries, search(list(queries.values()), 100), strict=True))


def random_recall(law: Law, depth: int = 20) -> float:
    """The recall that a random order of the candidates has on average."""
    held = []
    for query, gold in law.test.positives.items():
        found = law.candidates[query]
        held.append(len(set(gold) & set(found)) / len(gold) * min(1.0, depth / max(1, len(found))))
    return math.fsum(held) / len(held)


def chance_error(law: Law, depth: int = 20) -> float:
    """The standard error of that recall over the test questions: of each question's candidates `depth` are drawn, and
    how many of its articles are among them is hypergeometric.
    """
    variances = []
    for query, gold in law.test.positives.items():
        found = law.candidates[query]
        count, right, drawn = len(found), len(set(gold) & set(found)), min(depth, len(found))
        share = right / max(1, count)
        spread = drawn * share * (1 - share) * (count - drawn) / max(1, count - 1)
        variances.append(spread / len(gold) ** 2)
    return math.sqrt(math.fsum(variances)) / len(variances)


def firsts(run: Run, qrels: Qrels) -> dict[str, AnswerScores]:
    """How right the first article of each judged question is."""
    return answer_scores(first_answers({query: run[query] for query in qrels}), qrels)


# -- rows -------------------------------------------------------------------------------------------------------------


def both_rows(systems: Systems, one: System, name: str, *, alone: bool = False, fused: bool = False) -> Iterator[Row]:
    """A system alone and added to BM25, the asked ones held above BM25 and MiniLM."""
    trained = "" if math.isnan(one.seconds) else f"{one.seconds:.0f} s of training"
    yield from value_rows(
        f"{name}, alone", systems.values(systems.alone(one)), systems.bars if alone else {}, note=trained
    )
    rule = one.tuned.settings
    note = f"weight {one.weight}; the rule: at most {rule.most}, gap {rule.gap:.3g}"
    values = systems.values(systems.fused(one), one.tuned)
    yield from value_rows(f"{name}, fused", values, systems.bars if fused else {}, note=note)


def gain_rows(
    systems: Systems, one: System, *, prefix: str = "", least: float = 0.0, sure: bool = True
) -> Iterator[Row]:
    """What a fused system gains over BM25, by questions: more than `least` in F2, surely if `sure`."""
    qrels = systems.law.test.judged
    name = f"{prefix}{one.name}, fused, less BM25"
    runs = [systems.fused(found) for found in (one, systems.words)]
    yield from difference_rows(
        name,
        *(firsts(run, qrels) for run in runs),
        least=least + systems.least,
        most_p=systems.law.sizes.sure if sure else None,
    )
    recalls = [per_query(run, qrels, ("recall@20",))["recall@20"] for run in runs]
    found = paired_bootstrap(*recalls)
    note = f"95 %: {found.low:.4f} to {found.high:.4f}, p {found.p_value:.2g}"
    yield Row.of(name, "recall@20", found.difference, at_least=systems.least, note=note)


def difference_rows(
    name: str,
    one: Mapping[str, AnswerScores],
    other: Mapping[str, AnswerScores],
    *,
    least: float,
    most_p: float | None = None,
) -> Iterator[Row]:
    """The difference of F2 of the first article, and the p of a paired bootstrap."""
    found = paired_bootstrap(*({query: scores.f2 for query, scores in side.items()} for side in (one, other)))
    note = f"95 %: {found.low:.4f} to {found.high:.4f}"
    yield Row.of(name, FIRST, found.difference, at_least=least, note=note)
    note = f"paired bootstrap over {len(one)} questions"
    yield Row.of(name, "p", found.p_value, at_most=most_p, note=note)


def value_rows(
    name: str, values: Mapping[str, float], asked: Mapping[str, float] | None = None, *, note: str = ""
) -> Iterator[Row]:
    """A row of each value; the note stands at the first. `asked`: the least of some."""
    for metric, value in values.items():
        bars = {"at_least": asked[metric]} if asked and metric in asked else {}
        yield Row.of(name, metric, value, note=note, **bars)
        note = ""
