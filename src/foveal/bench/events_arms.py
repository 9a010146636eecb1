"""The trained arms of `bench events`: the whole model, and the same without one of its parts, each from the cache.

Every ablation has the steps of the arm "short" (the whole recipe with fewer steps), so that only the part differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.events_data import News
from foveal.errors import InputError
from foveal.models.event_attention import EventAttentionSettings
from foveal.retrieval.event_encoder import EventEncoder
from foveal.training.event_rows import EventExamples
from foveal.training.events import EventTrainingSettings, late_moment, train_events
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision
from foveal.training.report import Report
from foveal.training.runs import RunSettings
from foveal.training.searches import Floats

STEPS, SHORT, QUICK = (60, 160), (40, 40), (4, 4)
"""Steps of both stages: of the model (once over what the stream asks, three times over the questions, as `train events`
has it), of the ablations, of all in the quick run."""

BATCH, FROZEN = 24, 3
MAIN, SHORTER = "events", "short"


def settings_of(news: News, arm: str) -> EventTrainingSettings:
    """How an arm is trained."""
    steps = QUICK if news.settings.quick else STEPS if arm == MAIN else SHORT

    def loop(count: int) -> LoopSettings:
        return LoopSettings(
            steps=count, batch=BATCH, seed=news.settings.seed, evaluate_every=max(1, count // 2),
            bfloat16=mixed_precision(),
        )  # fmt: skip

    first, second = map(loop, steps)
    whole = EventTrainingSettings(frozen_layers=FROZEN, first=first, second=second, dev_documents=600)
    arms = {
        MAIN: whole,
        SHORTER: whole,
        "no events": replace(whole, dropout=1.0, query_event=0.0, event_document=0.0),
        "one task": replace(whole, margin=0.0, query_event=0.0, event_document=0.0, writing=0.0),
        "stage 1 only": replace(whole, stages=1, first=loop(sum(steps))),
        "random negatives": replace(whole, negatives="random"),
        "one event": replace(whole, attention=EventAttentionSettings(events=1)),
        "no gate": replace(whole, attention=EventAttentionSettings(gate=False)),
    }
    if arm not in arms:
        raise InputError(f"No arm is called {arm!r}. There are: {', '.join(arms)}.")
    return arms[arm]


ABLATIONS = ("no events", "one task", "stage 1 only", "random negatives", "one event", "no gate")


@dataclass(frozen=True)
class Arm:
    """A trained arm: its model, the pages' vectors by it, and its report."""

    name: str
    model: EventEncoder
    documents: Floats
    report: Report

    def queries(self, data: EventExamples) -> Floats:
        """The questions with their events."""
        texts = list(data.examples.queries.values())
        return self.model.encode_query(texts, [data.events.get(query, ()) for query in data.examples.queries])


def trained(news: News, arm: str, *, fine: EventExamples | None = None, called: str | None = None) -> Arm:
    """An arm, trained now or before; `fine` (default: the questions before the split) with its own name `called`.

    Its run is named by the hash of what it depends on: of other news, or other settings, it is another run.
    """
    settings = settings_of(news, arm)
    learnt, dev = learning_sides(news)
    learnt = fine or learnt
    if arm == "no events":
        learnt, dev = learnt.without_events(), dev.without_events()
    home = home_of(news)
    base = str(getattr(news.encoder, "folder", news.encoder.name))
    coarse = news.coarse.without_events() if arm == "no events" else news.coarse
    encoded = partial(news.vectors_by, name=f"events-{(called or arm).replace(' ', '-')}")
    folder, report = train_events(
        learnt, base, settings, coarse=coarse, encoded=encoded, run=RunSettings(home=home, dev=dev)
    )
    model = EventEncoder.load(folder or home / "runs" / "train" / report.name / "rejected")
    return Arm(arm, model, encoded(model.encoder, news.texts), report)


def home_of(news: News) -> Path:
    """Where trained arms lie, by the code that trains them: by other code they are trained anew."""
    training = (f"foveal.training.event{part}" for part in ("s", "_losses", "_model", "_negatives", "_rows"))
    return news.settings.cache / "training" / f"events-{code_digest(*training, 'foveal.models.event_attention')}"


def learning_sides(news: News) -> tuple[EventExamples, EventExamples]:
    """Questions before the split, the last seventh of which chooses among steps."""
    before, _ = news.sides
    return before.split(late_moment(before, 0.15))


def far_apart(one: Floats, other: Floats) -> float:
    """Between two arrays."""
    return float(np.abs(one - other).max()) if len(one) else 0.0
