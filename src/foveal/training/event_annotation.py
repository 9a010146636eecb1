"""Labels without click logs: cheap models vote, votes are calibrated, and what is disputed may go to a language model.

    zoo = coarse_zoo(encoder)                                  # name -> scores of triples
    annotator = Annotator.fit(zoo, judged, labels)             # a few hundred judged triples
    labels = annotator.annotate(triples)                       # only those that two thirds agree on
    fine = FineAnnotator(chat, log); fine.kappa(audit, grades) # below 0.4 it is not asked

A triple is a query, the event that was going on, and a document. Each model's score is made a probability by isotonic
regression (pool adjacent violators), each votes by whether that is a half or more; a label's weight is the share that
agrees. The language model gives grades 0 to 3 under a grammar, twice, with the evidence in another order; two different
grades are none. Prompts and answers go into a log; a line of it that a kill tore is passed over.
Source: coarse annotation by a model zoo and fine annotation by a language model are named by Yang et al., 2023,
arXiv 2312.00372; the votes, their calibration and the kappa below which the second is left out are ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.evaluation.scripts import word_runs
from foveal.types import Encoder

if TYPE_CHECKING:
    from foveal.models.chat import ChatModel

Array = npt.NDArray[np.float64]
LEAST_KAPPA = 0.4
AUDITED = 0.1
"""Share of the agreed triples that the language model sees, too."""

GRADES = {
    0: "off topic",
    1: "same topic, but another event",
    2: "the same event, in part",
    3: "the same event, and it answers the query",
}


@dataclass(frozen=True)
class Triple:
    """A query, the event that was going on, and a document; `gap_days` from the document's date to the query's."""

    query: str
    event: str
    document: str
    gap_days: float
    query_entities: frozenset[str] = frozenset()
    document_entities: frozenset[str] = frozenset()


Vote = Callable[[Sequence[Triple]], Array]
"""Triples -> scores (n,), higher is more relevant, on any scale."""


# -- the zoo ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WordsVote:
    """BM25's saturation over the query's and the event's words, weighed by how rare these are.

    Rare among the documents that it was `fitted` to, so that a triple's score is the same whatever stands beside it;
    before that, among those of the triples given.
    """

    holding: Mapping[str, int] | None = None  # word -> documents that hold it
    count: int = 0  # documents

    def fitted(self, triples: Sequence[Triple]) -> WordsVote:
        """The vote by the words of these triples' documents."""
        holding = Counter(word for one in triples for word in set(word_runs(one.document.lower())))
        return WordsVote(holding, len(triples))

    def __call__(self, triples: Sequence[Triple]) -> Array:
        if self.holding is None:
            return self.fitted(triples)(triples)
        scores = []
        for one in triples:
            counts = Counter(word_runs(one.document.lower()))
            asked = dict.fromkeys(word_runs(one.event.lower()), 1.0) | dict.fromkeys(word_runs(one.query.lower()), 2.0)
            held = ((weight, counts[word], self.holding.get(word, 0)) for word, weight in asked.items())
            scores.append(sum(weight * bm25.idf(self.count, known) * tf / (tf + bm25.K1) for weight, tf, known in held))
        return np.array(scores)


words_vote = WordsVote()


def cosine_vote(encoder: Encoder) -> Vote:
    """The cosine of query and event together with the document."""

    def vote(triples: Sequence[Triple]) -> Array:
        texts = [*(f"{one.query} {one.event}".strip() for one in triples), *(one.document for one in triples)]
        names = list(dict.fromkeys(texts))
        vectors = dict(zip(names, encoder.encode(names), strict=True))
        return np.array(
            [float(vectors[a] @ vectors[b]) for a, b in zip(texts[: len(triples)], texts[len(triples) :], strict=True)]
        )

    return vote


def names_vote(triples: Sequence[Triple]) -> Array:
    """The share of the query's names that the document has, in its own names or its words; 0 where it has none."""

    def share(one: Triple) -> float:
        text = one.document.lower()
        held = [name in one.document_entities or name in text for name in one.query_entities]
        return sum(held) / len(held) if held else 0.0

    return np.array([share(one) for one in triples])


def date_vote(triples: Sequence[Triple]) -> Array:
    """Near in time: 2^(-|gap| / 7 days)."""
    return np.array([2.0 ** (-abs(one.gap_days) / 7.0) for one in triples])


def scorer_vote(score: Callable[[Sequence[tuple[str, str]]], Sequence[float]]) -> Vote:
    """A cross-encoder, or anything that scores (query, document) pairs."""
    return lambda triples: np.array([float(value) for value in score([(one.query, one.document) for one in triples])])


def coarse_zoo(*encoders: Encoder, scorer: Vote | None = None) -> dict[str, Vote]:
    """The votes that need nothing, one for each encoder, and a cross-encoder's where there is one."""
    zoo: dict[str, Vote] = {"words": words_vote, "names": names_vote, "date": date_vote}
    zoo |= {f"cosine {number} ({encoder.name})": cosine_vote(encoder) for number, encoder in enumerate(encoders, 1)}
    return zoo | ({"cross-encoder": scorer} if scorer else {})


# -- calibration ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Isotonic:
    """A rising step function through `values` at `scores`, straight between them."""

    scores: Array
    values: Array

    @classmethod
    def fit(cls, scores: Sequence[float] | Array, labels: Sequence[float] | Array) -> Isotonic:
        """The rising function of least squared error, by pooling adjacent violators. InputError: nothing to fit."""
        x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if not len(x) or len(x) != len(y) or not np.isfinite(x).all():
            raise InputError(
                f"Isotonic regression got {len(x)} scores and {len(y)} labels; give as many of both, finite."
            )
        places, inverse = np.unique(x, return_inverse=True)
        weights = np.bincount(inverse).astype(np.float64)
        means = np.bincount(inverse, weights=y) / weights
        blocks: list[list[float]] = []  # mean, weight, places
        for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
            blocks.append([mean, weight, 1])
            while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
                later, earlier = blocks.pop(), blocks.pop()
                whole = earlier[1] + later[1]
                blocks.append([(earlier[0] * earlier[1] + later[0] * later[1]) / whole, whole, earlier[2] + later[2]])
        values = np.concatenate([np.full(int(count), mean) for mean, _, count in blocks])
        return cls(places, values)

    def __call__(self, scores: Sequence[float] | Array) -> Array:
        """Probabilities; beyond the ends those of the ends."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.values)


@dataclass(frozen=True)
class Label:
    """What the zoo says of a triple; `agreed`: at least two thirds said it."""

    relevant: bool
    weight: float  # the share of votes that agree, 0.5 to 1
    agreed: bool
    votes: Mapping[str, bool]


@dataclass(frozen=True)
class Annotator:
    """Calibrated votes."""

    zoo: Mapping[str, Vote]
    calibrations: Mapping[str, Isotonic]

    @classmethod
    def fit(cls, zoo: Mapping[str, Vote], triples: Sequence[Triple], labels: Sequence[bool]) -> Annotator:
        """Calibrate each vote on judged triples. InputError: fewer than two votes, or labels of one kind only."""
        if len(zoo) < 2 or len(set(labels)) < 2 or len(triples) != len(labels):
            raise InputError(
                f"An annotator got {len(zoo)} votes, {len(triples)} triples and {len(labels)} labels; it needs two "
                "votes or more, and judged triples of both kinds."
            )
        wanted = np.array(labels, dtype=np.float64)
        zoo = {name: vote.fitted(triples) if isinstance(vote, WordsVote) else vote for name, vote in zoo.items()}
        return cls(zoo, {name: Isotonic.fit(vote(triples), wanted) for name, vote in zoo.items()})

    def annotate(self, triples: Sequence[Triple]) -> list[Label]:
        """A label for each triple."""
        if not triples:
            return []
        said = {name: self.calibrations[name](vote(triples)) >= 0.5 for name, vote in self.zoo.items()}
        needed = math.ceil(2 * len(self.zoo) / 3)
        labels = []
        for place in range(len(triples)):
            votes = {name: bool(values[place]) for name, values in said.items()}
            yes = sum(votes.values())
            most = max(yes, len(votes) - yes)
            labels.append(Label(yes * 2 > len(votes), most / len(votes), most >= needed, votes))
        return labels


def cohen_kappa(one: Sequence[object], other: Sequence[object]) -> float:
    """Agreement beyond chance, at most 1; 0 where chance alone would agree always. InputError: nothing to compare."""
    if not one or len(one) != len(other):
        raise InputError(f"Kappa got {len(one)} and {len(other)} labels; give as many of both, at least one.")
    agreed = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    left, right = Counter(one), Counter(other)
    chance = sum(left[label] * right[label] for label in left) / len(one) ** 2
    return (agreed - chance) / (1 - chance) if chance < 1 else 0.0


# -- the language model -----------------------------------------------------------------------------------------------


class FineAnnotator:
    """Grades by a language model, each asked for twice; what it said of a triple is read from the log the next time."""

    def __init__(self, chat: ChatModel, log: Path) -> None:
        self.chat, self.log = chat, log
        self._known = _logged(log, chat.name)

    def grade(self, triple: Triple) -> int | None:
        """0 to 3, a key of `GRADES`; None where two prompts gave different ones."""
        key = _key(triple)
        if key not in self._known:
            prompts = [grading_prompt(triple, document_first=first) for first in (False, True)]
            grades = [self._asked(prompt) for prompt in prompts]
            self._keep({"key": key, "model": self.chat.name, "prompts": prompts, "grades": grades})
            self._known[key] = grades
        first, second = self._known[key]
        return first if first == second else None

    def kappa(self, triples: Sequence[Triple], relevant: Sequence[bool]) -> float:
        """Its agreement with judged triples; relevant is a grade of 2 or 3, and none counts as not relevant."""
        said = [(grade := self.grade(one)) is not None and grade >= 2 for one in triples]
        return cohen_kappa(said, list(relevant))

    def _asked(self, prompt: str) -> int:
        from pydantic import BaseModel, ConfigDict

        class Grade(BaseModel):
            model_config = ConfigDict(extra="forbid")
            grade: Literal[0, 1, 2, 3]

        return int(self.chat.parse([{"role": "user", "content": prompt}], Grade).grade)

    def _keep(self, row: Mapping[str, object]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        with self.log.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else b"\n" + line  # what a kill tore stays a line of its own
            file.write(line)


def _logged(log: Path, model: str) -> dict[str, list[int]]:
    """Triple's key -> the two grades that the model gave; lines that are no rows, torn by a kill, are passed over."""
    known: dict[str, list[int]] = {}
    for line in log.read_bytes().split(b"\n") if log.is_file() else []:
        try:
            row = json.loads(line.decode("utf-8", "surrogatepass"))
            first, second = (int(grade) for grade in row["grades"])
            if row["model"] == model:
                known.setdefault(row["key"], [first, second])
        except (ValueError, TypeError, KeyError):
            continue
    return known


def grading_prompt(triple: Triple, *, document_first: bool) -> str:
    """What the language model is asked; the event and the document in either order."""
    parts = [f"What is happening: {triple.event}", f"Document: {triple.document[:600]}"]
    rubric = "\n".join(f"{grade}: {meaning}" for grade, meaning in GRADES.items())
    evidence = "\n".join(parts[::-1] if document_first else parts)
    return f"Query: {triple.query}\n{evidence}\n\nGrade the document for the query:\n{rubric}"


def _key(triple: Triple) -> str:
    shown = {**asdict(triple), "query_entities": sorted(triple.query_entities)}
    shown["document_entities"] = sorted(triple.document_entities)
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def refined(
    labels: Sequence[Label],
    triples: Sequence[Triple],
    fine: FineAnnotator | None,
    audit: tuple[Sequence[Triple], Sequence[bool]] | None,
    *,
    seed: int = 0,
) -> tuple[list[tuple[int, bool, float]], str]:
    """(place, relevant, weight) of the triples that are kept, and what was done.

    The agreed ones, and of the disputed ones those that the language model grades; it is asked only where its kappa on
    the audit set is 0.4 or more. Of the agreed ones it sees a tenth, and takes out those that it contradicts.
    """
    kept = {place: (label.relevant, label.weight) for place, label in enumerate(labels) if label.agreed}
    if fine is None or audit is None:
        return [(place, *value) for place, value in sorted(kept.items())], "votes only: no language model was given"
    kappa = fine.kappa(*audit)
    if kappa < LEAST_KAPPA:
        told = f"votes only: the language model's kappa is {kappa:.2f}, below {LEAST_KAPPA}"
        return [(place, *value) for place, value in sorted(kept.items())], told
    agreed = sorted(kept)
    drawn = np.random.default_rng(seed).permutation(len(agreed))[: math.ceil(AUDITED * len(agreed))]
    for place in sorted(agreed[number] for number in drawn.tolist()):
        grade = fine.grade(triples[place])
        if grade is not None and (grade >= 2) != kept[place][0]:
            del kept[place]
    for place, label in enumerate(labels):
        if not label.agreed and (grade := fine.grade(triples[place])) is not None:
            kept[place] = (grade >= 2, 0.5)
    return [(place, *value) for place, value in sorted(kept.items())], f"language model asked, kappa {kappa:.2f}"
