"""bench read-absent: is a question told from one whose answer stands in another text?

Natural Questions, each asked of its own document and of another one, a quarter of which is read. Those whose answer is
not there are to be refused, the others are not; and what decides it, how like the question the best sentence is, is to
tell them apart. No answer is made: whether a model of this machine would be asked for one is what is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from foveal.bench.ask import REFUSED, TOLD, WRONGLY
from foveal.bench.readers import Bench
from foveal.evaluation.classification import auroc
from foveal.evaluation.longdoc import load, sample
from foveal.evaluation.tables import Row
from foveal.reading import InfiniRetri
from foveal.reading.likeness import nothing_answers

TASK, QUESTIONS, QUICK = "natural_question", 24, 4
EFFORT = 0.25


def absent(bench: Bench) -> Iterator[Row]:
    """Rows of the shares, and of how well likeness tells."""
    task = sample(load(TASK, bench.settings.data), QUICK if bench.settings.quick else QUESTIONS, bench.settings.seed)
    reader = InfiniRetri(bench.model, replace(bench.read, effort=EFFORT))
    names = list(task.documents)
    own: list[Mapping[str, float]] = []
    strange: list[Mapping[str, float]] = []
    for place, name in enumerate(names):
        other = names[place - 1]
        here, there = ([one.question for one in task.questions if one.document_id == of] for of in (name, other))
        told = [reading.details for reading in reader.retrieve_many(task.documents[name], [*here, *there])]
        own += told[: len(here)]
        strange += told[len(here) :]
    note = f"{len(own)} questions, {len(names)} texts; a quarter of each is read"
    yield Row.of("Foveal, of another text", "refused", _refused(strange), at_least=REFUSED, note=note)
    yield Row.of("Foveal, of this text", "refused", _refused(own), at_most=WRONGLY, note="should be none")
    for name, metric in (("nearest", "likeness"), ("looked_at", "attention")):
        values = [one[name] for one in (*own, *strange)]
        value = auroc(values, [True] * len(own) + [False] * len(strange))
        least = TOLD if name == "nearest" else None
        yield Row.of(f"{metric}, this text above another", "AUROC", value, at_least=least)


def _refused(told: Sequence[Mapping[str, float]]) -> float:
    return fmean(nothing_answers(**one) for one in told)
