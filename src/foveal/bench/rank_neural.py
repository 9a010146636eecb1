"""bench rank-neural: the small neural rankers, on questions with candidate answers, on Cranfield, and by their speed.

answers   WikiQA and TREC QA: each of the eighteen by three seeds, trained on the training questions, its weights chosen
          by MAP on the dev questions, measured on the test questions, alone and beside the number of shared words;
          BM25, shared words and MiniLM in the same table
adhoc     Cranfield in five folds (rank_neural_adhoc.py)
speed     pairs a second, and DRMM's histogram against a plain loop (rank_neural_speed.py)
          Each is a bench of its own: rank-neural-wikiqa, -trecqa, -adhoc, -speed

Bars      WikiQA: a test MAP no more than 0.03 below the lower published figure of a model, and above BM25 and shared
          words; of five interaction models the one with the best dev MAP 0.62; DSSM below the best interaction model
Beside    convolutional rankers were published on TREC QA with counts of shared words as further features (Yu et al.,
          2014; Severyn and Moschitti, SIGIR 2015): what they have to be compared with is the row "beside shared words"
Clean     questions with only right or only wrong candidates are left out, in all splits
Order     in these files right answers tend to come first. Candidates are put into an order drawn from the seed, so that
          ties give that away to nobody
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from foveal.bench.known_sets import held_to, is_set
from foveal.bench.parts import each
from foveal.bench.rank_neural_adhoc import adhoc
from foveal.bench.rank_neural_runs import VECTORS, Trained, Words, spread, trained
from foveal.bench.rank_neural_speed import speed
from foveal.bench.settings import BenchSettings
from foveal.evaluation.answer_selection import AnswerSelection, load_answer_selection
from foveal.evaluation.metrics import Qrels, Run, per_query, randomisation_p_value
from foveal.evaluation.tables import Row
from foveal.ranking.neural import MODELS, model_class
from foveal.ranking.neural.training import NeuralSettings
from foveal.registry import require
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.training.examples import Examples

METRICS = ("map", "mrr", "precision@1", "ndcg@3", "ndcg@5", "err@20")
SEEDS = (0, 1, 2)
SPLITS = ("train", "dev", "test")
QUICK = ("drmm-tks", "knrm", "dssm")
"""The rankers of a quick run."""

SETS: Mapping[str, Mapping[str, int]] = {
    "wikiqa": {"query_length": 10, "document_length": 40, "epochs": 12},  # lengths as for the published figures
    "trecqa": {"query_length": 20, "document_length": 40, "epochs": 30},  # a third of the pairs
}
"""Words of a question and of a candidate, and how often the training pairs are seen."""

PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "dssm": (0.5647, 0.5060),
    "cdssm": (0.5593, 0.6004),
    "arc-i": (0.5870, 0.6111),
    "arc-ii": (0.5845, 0.5643),
    "mv-lstm": (0.5988,),
    "drmm": (0.6195, 0.5804),
    "knrm": (0.6256, 0.5685),
    "conv-knrm": (0.5625,),
    "anmm": (0.6297, 0.5757),
    "duet": (0.6301,),  # MatchZoo-py has 0.3200 of one run that broke: no figure to be held to
    "match-pyramid": (0.6434, 0.5164),
    "drmm-tks": (0.6586, 0.5929),
}
"""Test MAP on WikiQA: MatchZoo's table, and the last epoch of MatchZoo-py's tutorial; both with GloVe vectors."""

BELOW = 0.03
FIVE = ("drmm-tks", "match-pyramid", "knrm", "drmm", "anmm")
BEST_OF_FIVE = 0.62
SHARED = "shared words"
WORD_COUNTS = ("BM25", SHARED)


def neural(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-neural`."""
    yield from each((answers, adhoc, speed), settings)


def answers(settings: BenchSettings) -> Iterator[Row]:
    """The rows of both sets; only WikiQA has published figures."""
    yield from each((wikiqa, trecqa), settings)


def wikiqa(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-neural-wikiqa`."""
    yield from of_set("wikiqa", settings)


def trecqa(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-neural-trecqa`."""
    yield from of_set("trecqa", settings)


def of_set(name: str, settings: BenchSettings) -> Iterator[Row]:
    """The rows of one set."""
    seeds = SEEDS[:1] if settings.quick else SEEDS
    drawn = [Questions.of(settings, name, settings.seed + seed) for seed in seeds]
    asked = drawn[0].splits["test"].questions
    known = name == "wikiqa" and is_set("WikiQA", len(asked), sum(len(one.candidates) for one in asked))
    yield Row.of(f"{name}: test questions", "size", len(asked))
    words = drawn[0].words()
    counted = word_counts(drawn)
    systems = {system: runs["test"] for system, runs in counted.items()}
    systems["MiniLM"] = [minilm(one, settings) for one in drawn]
    measured = {system: Measured.of(system, runs, drawn) for system, runs in systems.items()}
    for one in measured.values():
        yield from one.rows(name)
    level = max((measured[system] for system in WORD_COUNTS), key=lambda one: one.mean("map"))
    rankers = {}
    for model in QUICK if settings.quick else MODELS:
        made = [
            trained(model, words, one.examples, one.found, chosen(model, name, one.seed), settings) for one in drawn
        ]
        dev, test = ([one.runs[split] for one in made] for split in ("dev", "test"))
        rankers[model] = Measured.of(model, test, drawn, dev)
        for row in ranker_rows(name, rankers[model], made, level):
            yield held_to("WikiQA", known, row) if row.metric == "map" else row
        yield beside_row(name, model, made, drawn, counted[SHARED])
    if name == "wikiqa":
        yield from together(rankers, known=known)


def chosen(model: str, name: str, seed: int) -> NeuralSettings:
    """How a ranker is trained on a set: by its recipe, on short texts."""
    of = SETS[name]
    made = NeuralSettings.of(model, query_length=of["query_length"], document_length=of["document_length"])
    return replace(made, loop=replace(made.loop, epochs=of["epochs"], seed=seed))


# -- the questions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Questions:
    """A set's clean questions, their candidates in an order drawn from the seed."""

    name: str
    seed: int
    splits: Mapping[str, AnswerSelection]

    @classmethod
    def of(cls, settings: BenchSettings, name: str, seed: int) -> Questions:
        """The set of that name in the data folder. InputError: it is not there whole."""
        folder = settings.folder(name, [f"{split}.jsonl" for split in SPLITS])
        generator = np.random.default_rng(seed)
        splits = {split: load_answer_selection(folder, split).clean() for split in SPLITS}
        return cls(name, seed, {split: one.mixed(generator) for split, one in splits.items()})

    @cached_property
    def examples(self) -> dict[str, Examples]:
        """Each split with the candidates of its own questions alone."""
        return {
            split: Examples(one.queries, one.corpus, one.qrels, f"{self.name}, {split}")
            for split, one in self.splits.items()
        }

    @cached_property
    def found(self) -> dict[str, dict[str, float]]:
        """The candidates of each question of any split."""
        return {q.id: dict.fromkeys(q.ids, 0.0) for one in self.splits.values() for q in one.questions}

    @property
    def candidates(self) -> list[str]:
        """The texts of all splits."""
        return [text for one in self.splits.values() for text in one.corpus.values()]

    def words(self) -> Words:
        """The words of all candidates, and of the questions but for those of the test."""
        asked = [text for split in ("train", "dev") for text in self.splits[split].queries.values()]
        return Words.of(self.candidates, asked)


# -- what needs no training -------------------------------------------------------------------------------------------


def word_counts(drawn: Sequence[Questions]) -> dict[str, dict[str, list[Run]]]:
    """BM25S, and how many words question and candidate share; stems and stop words as is best on the dev questions.

    System -> split -> a run for each of `drawn`.
    """
    best: dict[str, tuple[float, dict[str, list[Run]]]] = {}
    for stemmed in (True, False):
        for stop in (True, False):
            found = [_counted(one, stemmed=stemmed, stop=stop) for one in drawn]
            for system in WORD_COUNTS:
                runs = {split: [one[system][split] for one in found] for split in ("dev", "test")}
                dev = fmean(_mean(run, one.splits["dev"].qrels) for run, one in zip(runs["dev"], drawn, strict=True))
                if system not in best or dev > best[system][0]:
                    best[system] = (dev, runs)
    return {system: runs for system, (_, runs) in best.items()}


def _counted(questions: Questions, *, stemmed: bool, stop: bool) -> dict[str, dict[str, Run]]:
    """System -> split -> scores of dev and test candidates; BM25's idf is that of all candidates."""
    bm25s: Any = require("bm25s", extra="bench")
    stemmer = require("Stemmer", extra="bench").Stemmer("english") if stemmed else None

    def cut(texts: Sequence[str]) -> list[list[str]]:
        tokens: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en" if stop else [], stemmer=stemmer, show_progress=False, return_ids=False
        )
        return tokens

    names = [name for one in questions.splits.values() for name in one.corpus]
    tokens = cut(questions.candidates)
    index = bm25s.BM25(k1=1.5, b=0.75)
    index.index(tokens, show_progress=False)
    row = {name: place for place, name in enumerate(names)}
    runs: dict[str, dict[str, Run]] = {system: {"dev": {}, "test": {}} for system in WORD_COUNTS}
    for split in ("dev", "test"):
        one = questions.splits[split]
        for question, asked in zip(one.questions, cut(list(one.queries.values())), strict=True):
            known = [word for word in asked if word in index.vocab_dict]
            scores = index.get_scores(known) if known else np.zeros(len(names))
            runs["BM25"][split][question.id] = {name: float(scores[row[name]]) for name in question.ids}
            shared = {name: float(len(set(asked) & set(tokens[row[name]]))) for name in question.ids}
            runs["shared words"][split][question.id] = shared
    return runs


def minilm(questions: Questions, settings: BenchSettings) -> Run:
    """The cosine of the encoder's vectors of question and candidate."""
    test = questions.splits["test"]
    texts = sorted({*test.queries.values(), *test.corpus.values()})
    vectors = settings.cached_vectors((questions.name, "test"), texts, settings.encoder())
    of = dict(zip(texts, vectors, strict=True))
    return {
        one.id: {name: float(of[one.question] @ of[text]) for name, text in zip(one.ids, one.candidates, strict=True)}
        for one in test.questions
    }


# -- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A system's values on the test questions, each the mean over seeds."""

    system: str
    values: Mapping[str, Mapping[str, float]]  # metric -> question -> value
    by_seed: tuple[float, ...]  # MAP
    dev: float | None = None  # MAP on the dev questions

    @classmethod
    def of(
        cls, system: str, runs: Sequence[Run], drawn: Sequence[Questions], dev: Sequence[Run] | None = None
    ) -> Measured:
        """From a run for each seed."""
        each = [per_query(run, one.splits["test"].qrels, METRICS) for run, one in zip(runs, drawn, strict=True)]
        values = {
            metric: {query: fmean(one[metric][query] for one in each) for query in each[0][metric]}
            for metric in METRICS
        }
        by_seed = tuple(fmean(one["map"].values()) for one in each)
        if dev is None:
            return cls(system, values, by_seed)
        means = [_mean(run, one.splits["dev"].qrels) for run, one in zip(dev, drawn, strict=True)]
        return cls(system, values, by_seed, fmean(means))

    def mean(self, metric: str) -> float:
        """Over the questions."""
        return fmean(self.values[metric].values())

    def rows(self, name: str, note: str = "", **bars: float) -> Iterator[Row]:
        """A row for each metric; note and bars are of the first, MAP."""
        for metric in METRICS:
            asked = bars if metric == METRICS[0] else {}
            shown = note if metric == METRICS[0] else ""
            yield Row.of(f"{name}: {self.system}", metric, self.mean(metric), note=shown, **asked)

    def above(self, other: Measured) -> tuple[float, float]:
        """How far the MAP lies above another system's, and the p-value of a paired test."""
        differences = [value - other.values["map"][query] for query, value in self.values["map"].items()]
        return fmean(differences), randomisation_p_value(np.array(differences), rounds=10_000, seed=0)


def ranker_rows(name: str, one: Measured, made: Sequence[Trained], level: Measured) -> Iterator[Row]:
    """A ranker's values, held to its published figures, and to the better of BM25 and shared words."""
    published = PUBLISHED.get(one.system, ()) if name == "wikiqa" else ()
    bars = {"at_least": min(published) - BELOW} if published else {}
    first = made[0]
    size = f"{first.parameters:,} numbers trained, "
    size += f"and {first.vectors:,} of word vectors" if first.vectors else "word vectors frozen"
    told = f"published {', '.join(f'{value:.4f}' for value in published)}; " if published else ""
    note = (
        f"{told}dev {one.dev:.4f}; {len(made)} seed(s){spread(one.by_seed)}; {size}; "
        f"{fmean(run.seconds for run in made):.0f} s of training"
    )
    yield from one.rows(name, note, **bars)
    gain, p_value = one.above(level)
    asked = {"at_least": 1e-4} if name == "wikiqa" else {}
    note = f"{level.system}, {level.mean('map'):.4f}, is the better of it and shared words; p {p_value:.2g}"
    yield Row.of(f"{name}: {one.system}", "map above word counts", gain, note=note, **asked)


def beside_row(
    name: str, model: str, made: Sequence[Trained], drawn: Sequence[Questions], counted: Mapping[str, Sequence[Run]]
) -> Row:
    """A ranker beside the number of shared words, as the published figures of convolutional rankers on TREC QA are."""
    weights, values = [], []
    for place, (one, run) in enumerate(zip(drawn, made, strict=True)):
        first = {split: counted[split][place] for split in ("dev", "test")}
        judged = one.splits["dev"].qrels
        weight = tuned_weight((first["dev"], run.runs["dev"]), judged, metric="map", held_out=first["test"])
        fused = {
            query: weighted_sum([scores, run.runs["test"][query]], [1 - weight, weight])
            for query, scores in first["test"].items()
        }
        weights.append(weight)
        values.append(_mean(fused, one.splits["test"].qrels))
    note = f"its weight {min(weights)} to {max(weights)}, from the dev questions{spread(values)}"
    return Row.of(f"{name}: {model} beside {SHARED}", "map", fmean(values), note=note)


def together(rankers: Mapping[str, Measured], *, known: bool = True) -> Iterator[Row]:
    """What is asked of several rankers at once; `known`: of WikiQA, which has published figures."""
    five = [one for name, one in rankers.items() if name in FIVE]
    if five:
        best = max(five, key=lambda one: one.dev or 0.0)
        highest = max(five, key=lambda one: one.mean("map"))
        note = f"{best.system}, by dev MAP {best.dev:.4f}; the highest of them on test: {highest.system}, "
        note += f"{highest.mean('map'):.4f}; {VECTORS}"
        row = Row.of("wikiqa: the best of five", "map", best.mean("map"), at_least=BEST_OF_FIVE, note=note)
        yield held_to("WikiQA", known, row)
    meeting = [one for name, one in rankers.items() if model_class(name).focus == "interaction"]
    if "dssm" in rankers and meeting:
        best = max(meeting, key=lambda one: one.dev or 0.0)
        below = best.mean("map") - rankers["dssm"].mean("map")
        note = f"{best.system} has the best dev MAP of those that compare words"
        yield Row.of("wikiqa: DSSM below the best interaction model", "map", below, at_least=1e-4, note=note)


def _mean(run: Run, qrels: Qrels) -> float:
    return fmean(per_query(run, qrels, ("map",))["map"].values())
