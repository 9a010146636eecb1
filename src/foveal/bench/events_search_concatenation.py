"""bench events-search, the rival of cross-attention that learns, too: the same encoder, trained to read events as text.

Its queries are the questions with the phrases of their first events behind them, in all rows of both stages; it has no
block. Data, steps, negatives and the losses that need no block are the event model's. Of one event and five it reads
what serves MiniLM better on the dev questions, from which nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from foveal.bench import events_arms
from foveal.bench.events_arms import MAIN, Arm, learning_sides
from foveal.bench.events_data import News
from foveal.evaluation.metrics import evaluate
from foveal.models.event_attention import EventText
from foveal.retrieval.event_encoder import EventEncoder
from foveal.training.event_rows import EventExamples
from foveal.training.events import train_events
from foveal.training.runs import RunSettings
from foveal.training.searches import Floats

CONCATENATING = "encoder trained to read events behind the query"
COUNTS = 1, 5
"""Events behind a question."""


def behind(data: EventExamples, count: int) -> EventExamples:
    """The same questions, each with the phrases of its first events behind it, in place of the events."""
    queries = {query: joined(text, data.events.get(query, ())[:count]) for query, text in data.examples.queries.items()}
    return replace(data, examples=replace(data.examples, queries=queries), events={})


def joined(text: str, events: Sequence[EventText]) -> str:
    """A question and the phrases of events."""
    return " ".join([text, *(event.text for event in events)])


def plainly(news: News, data: EventExamples, count: int) -> Floats:
    """MiniLM's vectors of questions with so many events behind them."""
    return news.encode(list(behind(data, count).examples.queries.values()))


def chosen_count(news: News) -> int:
    """The events that MiniLM finds most for dev questions with."""
    _, dev = learning_sides(news)

    def found(count: int) -> float:
        run = news.nearest(dev, news.vectors, plainly(news, dev, count))
        return evaluate(run, dev.examples.judged, ("mrr@10",))["mrr@10"]

    return max(COUNTS, key=found)


def trained_to_concatenate(news: News, count: int) -> Arm:
    """The encoder, trained now or before; its model is never given an event."""
    whole = events_arms.settings_of(news, MAIN)
    tokens = whole.attention.query_tokens + count * whole.attention.event_tokens
    settings = replace(
        whole, attention=replace(whole.attention, query_tokens=tokens), dropout=0.0, query_event=0.0, event_document=0.0
    )
    learnt, dev = (behind(side, count) for side in learning_sides(news))
    home, name = events_arms.home_of(news), f"events-concatenating-{count}"
    encoded = partial(news.vectors_by, name=name)
    base = str(getattr(news.encoder, "folder", news.encoder.name))
    folder, report = train_events(
        learnt,
        base,
        settings,
        coarse=behind(news.coarse, count),
        encoded=encoded,
        run=RunSettings(home=home, dev=dev),
    )
    model = EventEncoder.load(folder or home / "runs" / "train" / report.name / "rejected")
    return Arm(name, model, encoded(model.encoder, news.texts), report)
