"""bench events, the search: does the event carry the gain? Controls, ablations, harm, and the fused system.

Systems    BM25 with the idf of the past, in a 14-day window, with a recency prior; MiniLM the same; with the event's
           words put behind the query (concatenation) MiniLM, and an encoder that was trained to read it so, as long
           as the model (events_search_concatenation.py); the trained model; `--retriever fresh` as it ships, with
           what the dev questions fitted, and without
Controls   the page that gave the top event taken out of results and gold; the events of another question; no events
Harm       the same questions a year later, when the pages have ended, and weeks later, while they go on; questions
           about regulations, which need no events
The weight of the fusion and the need classifier are fitted on the dev questions, from which no model learnt, and on
questions of before the split that are asked again months later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from foveal.bench.events_arms import ABLATIONS, MAIN, SHORTER, Arm, far_apart, learning_sides, trained
from foveal.bench.events_data import News, judged_without, swapped, without
from foveal.bench.events_search_concatenation import (
    CONCATENATING,
    behind,
    chosen_count,
    plainly,
    trained_to_concatenate,
)
from foveal.bench.known_sets import held_to
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import load_beir
from foveal.evaluation.legal import paired_bootstrap
from foveal.evaluation.metrics import Qrels, Run, compare, evaluate, per_query
from foveal.evaluation.speed import percentiles
from foveal.evaluation.tables import Row
from foveal.models.event_attention import EventText
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_encoder import EventEncoder
from foveal.retrieval.event_items import DAY, seconds
from foveal.retrieval.event_matching import NeedClassifier, has_time_words
from foveal.retrieval.fresh_fitting import (
    Asked,
    PastSearcher,
    asked_later,
    asked_of,
    called_later,
    fit_fusion,
    judged_later,
)
from foveal.retrieval.fresh_fusion import FreshSettings
from foveal.training.event_rows import EventExamples

METRICS = ("mrr@10", "recall@10")
WINDOWED_BM25 = "BM25, 14 days"
REMOVED, REMOVED_WINDOWED, NEAR, OVER, HARM, AUC = 0.36, 0.50, 0.01, 0.03, 0.01, 0.85
SAYS, SAYS_NOT = "that say when", "that do not say when"
FITTED, UNFITTED, PLAIN = SHIPPED = ("fresh, fused", "fresh, nothing fitted", "fresh, no model")
"""`--retriever fresh:MODEL` of a model trained on judged questions, of one trained on a library itself, and `fresh`."""
LIVE = (45, 90)
"""Days by which questions are moved while pages still come."""

ALWAYS = 1e6
"""Days of a window that holds all pages."""


def search(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench events-search`."""
    news = News(settings)
    learnt, test = news.sides
    yield Row("questions", "size", len(test.examples.queries), note=f"{len(learnt.examples.queries)} learnt from")
    arm = trained(news, MAIN)
    yield training_row("event model", arm)
    runs = run_table(news, test, arm)
    count = chosen_count(news)
    rival = trained_to_concatenate(news, count)
    yield training_row(f"{CONCATENATING} ({count})", rival)
    runs[CONCATENATING] = news.nearest(test, rival.documents, rival.queries(behind(test, count)))
    shipped = shipped_searches(news, arm)
    names = list(test.examples.queries)
    runs |= {name: one.run(one.over.now.only(names)) for name, one in shipped.items()}
    yield from table_rows(test, runs)
    yield from fused_rows(test, runs, quick=settings.quick)
    yield from control_rows(news, test, arm, runs)
    yield from harm_rows(test, shipped, quick=settings.quick)
    yield latency_row(test, arm)
    if not settings.quick:
        yield from ablation_rows(news, test)


def training_row(name: str, arm: Arm) -> Row:
    """What the dev questions said."""
    before, after = arm.report.measured["dev"]
    note = f"MiniLM {before['mrr@10']:.4f}; {arm.report.curves.seconds:.0f} s of the last stage"
    return Row.of(f"{name}, dev questions", "mrr@10", after["mrr@10"], note=note)


# -- the table --------------------------------------------------------------------------------------------------------


def run_table(news: News, data: EventExamples, arm: Arm) -> dict[str, Run]:
    """System -> run."""
    texts = list(data.examples.queries.values())
    plain = news.encode(texts)
    minilm = news.nearest(data, news.vectors, plain)
    looked, alone = arm.queries(data), arm.model.encode_query(texts)
    other = arm.queries(swapped(data))
    untrained = EventEncoder.untrained(news.encoder, arm.model.attention.settings)
    begun = untrained.encode_query(texts, [data.events.get(query, ()) for query in data.examples.queries])
    return {
        "BM25": news.words(data),
        WINDOWED_BM25: news.words(data, windowed=True),
        "BM25, recency prior": news.recent(news.words(data)),
        "MiniLM": minilm,
        "MiniLM, 14 days": news.nearest(data, news.vectors, plain, windowed=True),
        "MiniLM, recency prior": news.recent(minilm),
        "MiniLM, top event behind the query": news.nearest(data, news.vectors, plainly(news, data, 1)),
        "MiniLM, all events behind the query": news.nearest(data, news.vectors, plainly(news, data, 5)),
        "event attention, untrained": news.nearest(data, news.vectors, begun),
        "event model, without events": news.nearest(data, arm.documents, alone),
        "event model": news.nearest(data, arm.documents, looked),
        "event model, 14 days": news.nearest(data, arm.documents, looked, windowed=True),
        "event model, another question's events": news.nearest(data, arm.documents, other),
        "event model, top event behind the query": news.nearest(data, arm.documents, arm.queries(behind(data, 1))),
    }


def table_rows(data: EventExamples, runs: Mapping[str, Run]) -> Iterator[Row]:
    """Every system's metrics."""
    for system, run in runs.items():
        for metric, value in evaluate(run, data.examples.judged, METRICS).items():
            yield Row.of(system, metric, value)


def fused_rows(data: EventExamples, runs: Mapping[str, Run], *, quick: bool) -> Iterator[Row]:
    """What ships over each of its rivals; bars are of what is fitted on judged questions.

    That it is above BM25 in a window must also hold of questions drawn anew (`quick`: too few to tell).
    """
    judged = data.examples.judged
    single = {name: per_query(runs[name], judged, ("mrr@10",))["mrr@10"] for name in (FITTED, WINDOWED_BM25)}
    found = paired_bootstrap(single[FITTED], single[WINDOWED_BM25])
    note = f"of a paired bootstrap, 95 %; up to {found.high:+.3f}"
    asked = None if quick else 1e-6
    yield Row.of(f"{FITTED}, over {WINDOWED_BM25}", "low end of the interval", found.low, at_least=asked, note=note)
    for ours in SHIPPED:
        for rival in ("BM25", WINDOWED_BM25, "MiniLM", "MiniLM, recency prior"):
            p_value = compare(runs[ours], runs[rival], judged, "mrr@10")
            for metric in METRICS:
                a, b = (evaluate(run, judged, (metric,))[metric] for run in (runs[ours], runs[rival]))
                least = OVER if rival == WINDOWED_BM25 and metric == "mrr@10" else 1e-6
                note = f"p {p_value:.2g}" if metric == "mrr@10" else ""
                bar = least if ours == FITTED else None
                yield Row.of(f"{ours}, over {rival}", metric, a - b, at_least=bar, note=note)


# -- controls ---------------------------------------------------------------------------------------------------------


def control_rows(news: News, data: EventExamples, arm: Arm, runs: Mapping[str, Run]) -> Iterator[Row]:
    """The source page removed; other events; no events; cross-attention against concatenation."""
    judged = data.examples.judged
    removed = news.sources(data)
    left = judged_without(judged, removed)
    note = f"{len(left)} questions left"
    values = {system: evaluate(without(run, removed), left, METRICS)["mrr@10"] for system, run in runs.items()}
    bars = {"event model": REMOVED, "event model, 14 days": REMOVED_WINDOWED}
    for system, value in values.items():
        row = Row.of(f"source page removed: {system}", "mrr@10", value, at_least=bars.get(system), note=note)
        yield held_to("RealtimeQA", news.known, row)
    all_pages = {query: frozenset(_pages(data.events.get(query, ())[:1])) for query in data.examples.queries}
    rest = judged_without(judged, all_pages)
    if rest:
        for system in (WINDOWED_BM25, "event model, without events", "event model", *SHIPPED):
            value = evaluate(without(runs[system], all_pages), rest, METRICS)["mrr@10"]
            yield Row.of(f"all pages of the top event removed: {system}", "mrr@10", value, note=f"{len(rest)} left")
    mrr = {system: evaluate(run, judged, METRICS)["mrr@10"] for system, run in runs.items()}
    gap = mrr["event model, without events"] - mrr["event model, another question's events"]
    yield Row.of("no events over another question's events", "mrr@10", gap, at_least=1e-6)
    texts = list(data.examples.queries.values())
    nothing = far_apart(arm.model.encode_query(texts, [()] * len(texts)), arm.model.encoder.encode(texts))
    yield Row.of("no events: largest difference from the plain encoder", "of a number", nothing, at_most=0.0)
    lost = mrr["MiniLM"] - mrr["event model, without events"]
    note = "the encoder alone, before and after training; what it gained counts as no loss"
    yield Row.of("no events: lost to MiniLM as it was", "mrr@10", lost, at_most=NEAR, note=note)
    rivals = ("MiniLM, top event behind the query", "MiniLM, all events behind the query",
              "event model, top event behind the query", CONCATENATING)  # fmt: skip
    for rival in rivals:
        p_value = compare(runs["event model"], runs[rival], judged, "mrr@10")
        yield Row.of(f"cross-attention over {rival}", "mrr@10", mrr["event model"] - mrr[rival], at_least=1e-6,
                     note=f"p {p_value:.2g}")  # fmt: skip


def _pages(events: Sequence[EventText]) -> list[str]:
    return [page for event in events for page in event.documents]


# -- what ships -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewsFresh:
    """The fresh search over the news: its vectors, and the events that its own encoder matches, now and later."""

    news: News
    searcher: PastSearcher
    encode: Encode

    @cached_property
    def now(self) -> Asked:
        """All questions at their moments."""
        return self.asked(self.news.collection.asked)

    @cached_property
    def later(self) -> Asked:
        """The same, a year later."""
        return self.asked(self.news.later)

    def asked(self, asked: Mapping[str, tuple[str, datetime]]) -> Asked:
        """Questions with the events of their moments."""
        return asked_of(self.news.items, asked, self.encode)

    def weeks_later(self, names: Sequence[str]) -> dict[str, Asked]:
        """Those that are asked again while pages still come, by whether they say when."""
        last = max(self.news.pages.moments)
        moved: dict[str, dict[str, tuple[str, datetime]]] = {}
        for name in names:
            text, moment = self.news.collection.asked[name]
            said = SAYS if has_time_words(text) else SAYS_NOT
            for days in LIVE:
                if seconds(moment) + days * DAY <= last:
                    moved.setdefault(said, {})[called_later(name, days)] = (text, moment + timedelta(days=days))
        return {said: self.asked(moved[said]) for said in sorted(moved)}

    def static(self, names: Sequence[str]) -> Asked:
        """Questions about regulations, asked of the news at the moments of these questions."""
        folder = self.news.settings.folder("obliqa", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"))
        moments = [self.news.collection.asked[name][1] for name in names]
        texts = load_beir(folder).queries.values()
        return self.asked({f"s{row}": one for row, one in enumerate(zip(texts, moments, strict=False))})


@dataclass(frozen=True)
class Shipped:
    """A search as `--retriever fresh` does it."""

    over: NewsFresh
    need: NeedClassifier | float
    settings: FreshSettings

    def run(self, asked: Asked) -> Run:
        """What it finds."""
        return self.over.searcher.run(asked, self.need, self.settings)

    @property
    def timeless(self) -> Shipped:
        """The control: the same parts, and time counts for nothing."""
        return replace(self, need=0.0, settings=replace(self.settings, fresh_days=ALWAYS))


def shipped_searches(news: News, arm: Arm) -> dict[str, Shipped]:
    """What is fitted on the dev questions, the same model without, and what there is without any model."""
    model = NewsFresh(
        news,
        PastSearcher(news.pages, arm.documents, arm.model.encode_query),
        news.encoding(arm.model.encoder, f"{arm.report.name} titles"),
    )
    plain = NewsFresh(news, PastSearcher(news.pages, news.vectors, lambda texts, _: news.encode(texts)), news.encode)
    _, dev = learning_sides(news)
    asked = {name: news.collection.asked[name] for name in dev.examples.queries}
    now, later = model.now.only(list(asked)), model.asked(asked_later(news.collection, asked))
    fusion = fit_fusion(model.searcher, now, later, judged_later(news.collection))
    return {
        FITTED: Shipped(model, fusion.need, fusion.settings()),
        UNFITTED: Shipped(model, NeedClassifier(), FreshSettings()),
        PLAIN: Shipped(plain, NeedClassifier(), FreshSettings()),
    }


# -- harm -------------------------------------------------------------------------------------------------------------


def harm_rows(test: EventExamples, shipped: Mapping[str, Shipped], *, quick: bool) -> Iterator[Row]:
    """Recall of questions asked later, with each search and with the same parts without time; the AUC.

    Who says "this week" weeks later means that week: what such questions lose is shown, and no harm (`quick`: too few
    to tell).
    """
    names, judged = list(test.examples.queries), test.examples.judged
    again = {called_later(name, days): judged[name] for name in names for days in LIVE}
    for name, one in shipped.items():
        yield harm_row(f"{name}: a year later", one, one.over.later.only(names), judged, at_most=HARM)
        for said, moved in one.over.weeks_later(names).items():
            bar = HARM if said == SAYS_NOT and not quick else None
            yield harm_row(f"{name}: weeks later, {said}", one, moved, again, at_most=bar)
        if isinstance(one.need, NeedClassifier):
            search, settings = one.over.searcher, one.settings
            asked = (one.over.now.only(names), one.over.static(names))
            needs = [list(search.needs(each, one.need, settings).values()) for each in asked]
            note = f"{len(needs[0])} and {len(needs[1])} questions"
            yield Row.of(f"{name}: P(time-sensitive), news against regulations", "AUC", auc(*needs), at_least=AUC,
                         note=note)  # fmt: skip


def harm_row(system: str, one: Shipped, asked: Asked, judged: Qrels, *, at_most: float | None) -> Row:
    """The share of recall that time costs these questions."""
    own = {name: judged[name] for name in asked.queries}
    a, b = (evaluate(each.run(asked), own, ("recall@10",))["recall@10"] for each in (one.timeless, one))
    lost = (a - b) / a if a else float("nan")  # where nothing is found at all, nothing is known of a loss
    return Row.of(f"{system}, lost to the same without time", "share of recall@10", lost, at_most=at_most,
                  note=f"{len(own)} questions; {a:.4f} without, {b:.4f} with")  # fmt: skip


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive scores above a negative; ties count a half."""
    a, b = np.asarray(positive), np.asarray(negative)
    return float(((a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])).mean())


def latency_row(data: EventExamples, arm: Arm) -> Row:
    """One question with five events whose states are known."""
    asked = [(text, data.events.get(query, ())) for query, text in data.examples.queries.items()][:50]
    took = percentiles(lambda one: arm.model.encode_query([one[0]], [one[1]]), asked)
    return Row.of("a question looks at its events", "median ms", took.p50_ms, note=f"95 %: {took.p95_ms:.1f} ms")


# -- ablations --------------------------------------------------------------------------------------------------------


def ablation_rows(news: News, data: EventExamples) -> Iterator[Row]:
    """The whole recipe with few steps, and the same without one of its parts, beside what needs no training."""
    removed = news.sources(data)
    left = judged_without(data.examples.judged, removed)

    def runs() -> Iterator[tuple[str, Run]]:
        yield WINDOWED_BM25, news.words(data, windowed=True)
        yield "MiniLM", news.nearest(data, news.vectors, news.encode(list(data.examples.queries.values())))
        for name in (SHORTER, *ABLATIONS):
            arm = trained(news, name)
            shown = data.without_events() if name == "no events" else data
            found = news.nearest(shown, arm.documents, arm.queries(shown))
            yield "whole recipe" if name == SHORTER else name, found

    for name, run in runs():
        value = evaluate(run, data.examples.judged, METRICS)
        gone = evaluate(without(run, removed), left, METRICS)["mrr@10"]
        note = f"recall@10 {value['recall@10']:.4f}; source page removed {gone:.4f}"
        yield Row.of(f"ablation: {name}", "mrr@10", value["mrr@10"], note=note)
