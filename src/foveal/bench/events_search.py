"""bench events, the search: does the event carry the gain? Controls, ablations, harm, and the fused system.

Systems    BM25 with the idf of the past, in a 14-day window, with a recency prior; MiniLM the same; MiniLM with the
           event's words put behind the query (concatenation); the trained model; all fused as `fresh` fuses them
Controls   the page that gave the top event taken out of results and gold; the events of another question; no events
Harm       the same questions a year later; questions about regulations, which need no events
Weights of the fusion and the need classifier are fitted on questions before the split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foveal.bench.events_arms import ABLATIONS, MAIN, SHORTER, Arm, largest_difference, trained
from foveal.bench.events_data import WINDOW_DAYS, News, judged_without, swapped, without
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import load_beir
from foveal.evaluation.metrics import Run, compare, evaluate
from foveal.evaluation.speed import percentiles
from foveal.evaluation.tables import Row
from foveal.models.event_attention import EventText
from foveal.retrieval.event_encoder import EventEncoder
from foveal.retrieval.event_examples import Swept, event_texts, sweep
from foveal.retrieval.event_items import DAY, datetime_of, seconds
from foveal.retrieval.event_matching import NeedClassifier, need_features
from foveal.retrieval.fusion import weighted_sum
from foveal.training.event_rows import EventExamples

METRICS = ("mrr@10", "recall@10")
WINDOWED_BM25 = "BM25, 14 days"
REMOVED, REMOVED_WINDOWED, NEAR, OVER, HARM, AUC = 0.36, 0.50, 0.01, 0.03, 0.01, 0.85
LOOKED_AT, LEAST_NEED = 20, 0.3

WEIGHTS = [round(0.1 * step, 1) for step in range(11)]


def search(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench events-search`."""
    news = News(settings)
    learnt, test = news.sides
    yield Row("questions", "size", len(test.examples.queries), note=f"{len(learnt.examples.queries)} learnt from")
    arm = trained(news, MAIN)
    yield training_row(arm)
    runs = run_table(news, test, arm)
    earlier = Asked.of(news, learnt, news.swept, news.at)
    tuned = Tuned.on(news, earlier, Asked.of(news, learnt, news.swept_later, news.later), arm)
    now = Asked.of(news, test, news.swept, news.at)
    runs["fresh, fused"] = tuned.run(news, now, arm)
    yield from table_rows(test, runs)
    yield from fused_rows(test, runs)
    yield from control_rows(news, test, arm, runs)
    yield from harm_rows(news, test, now, arm, tuned)
    yield latency_row(test, arm)
    if not settings.quick:
        yield from ablation_rows(news, test)


def training_row(arm: Arm) -> Row:
    """What the dev questions said."""
    before, after = arm.report.measured["dev"]
    note = f"MiniLM {before['mrr@10']:.4f}; {arm.report.curves.seconds:.0f} s of the last stage"
    return Row.of("event model, dev questions", "mrr@10", after["mrr@10"], note=note)


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
        "MiniLM, top event behind the query": news.nearest(data, news.vectors, concatenated(news, data, 1)),
        "MiniLM, all events behind the query": news.nearest(data, news.vectors, concatenated(news, data, 5)),
        "event attention, untrained": news.nearest(data, news.vectors, begun),
        "event model, without events": news.nearest(data, arm.documents, alone),
        "event model": news.nearest(data, arm.documents, looked),
        "event model, 14 days": news.nearest(data, arm.documents, looked, windowed=True),
        "event model, another question's events": news.nearest(data, arm.documents, other),
        "event model trained, top event behind the query": news.nearest(data, arm.documents, behind(arm, data)),
    }


def concatenated(news: News, data: EventExamples, count: int) -> np.ndarray:
    """MiniLM's vectors of the questions with the phrases of their first events behind them."""
    return news.encode(
        [_behind(text, data.events.get(query, ())[:count]) for query, text in data.examples.queries.items()]
    )


def behind(arm: Arm, data: EventExamples) -> np.ndarray:
    """The trained encoder's vectors of the questions with the top event behind them: no block, the same training."""
    return arm.model.encode_query(
        [_behind(text, data.events.get(query, ())[:1]) for query, text in data.examples.queries.items()]
    )


def _behind(text: str, events: Sequence[EventText]) -> str:
    return " ".join([text, *(event.text for event in events)])


def table_rows(data: EventExamples, runs: Mapping[str, Run]) -> Iterator[Row]:
    """Every system's metrics."""
    for system, run in runs.items():
        for metric, value in evaluate(run, data.examples.judged, METRICS).items():
            yield Row.of(system, metric, value)


def fused_rows(data: EventExamples, runs: Mapping[str, Run]) -> Iterator[Row]:
    """The fused system over each of its rivals."""
    judged, ours = data.examples.judged, runs["fresh, fused"]
    for rival in ("BM25", WINDOWED_BM25, "MiniLM", "MiniLM, recency prior"):
        p_value = compare(ours, runs[rival], judged, "mrr@10")
        for metric in METRICS:
            a, b = (evaluate(run, judged, (metric,))[metric] for run in (ours, runs[rival]))
            least = OVER if rival == WINDOWED_BM25 and metric == "mrr@10" else 1e-6
            note = f"p {p_value:.2g}" if metric == "mrr@10" else ""
            yield Row.of(f"fresh, fused, over {rival}", metric, a - b, at_least=least, note=note)


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
        yield Row.of(f"source page removed: {system}", "mrr@10", value, at_least=bars.get(system), note=note)
    all_pages = {query: frozenset(_pages(data.events.get(query, ())[:1])) for query in data.examples.queries}
    rest = judged_without(judged, all_pages)
    if rest:
        for system in (WINDOWED_BM25, "event model, without events", "event model", "fresh, fused"):
            value = evaluate(without(runs[system], all_pages), rest, METRICS)["mrr@10"]
            yield Row.of(f"all pages of the top event removed: {system}", "mrr@10", value, note=f"{len(rest)} left")
    mrr = {system: evaluate(run, judged, METRICS)["mrr@10"] for system, run in runs.items()}
    gap = mrr["event model, without events"] - mrr["event model, another question's events"]
    yield Row.of("no events over another question's events", "mrr@10", gap, at_least=1e-6)
    texts = list(data.examples.queries.values())
    nothing = largest_difference(arm.model.encode_query(texts, [()] * len(texts)), arm.model.encoder.encode(texts))
    yield Row.of("no events: largest difference from the plain encoder", "of a number", nothing, at_most=0.0)
    same = abs(mrr["event model, without events"] - mrr["MiniLM"])
    note = "bar: the encoder alone, before and after training"
    yield Row.of("no events: distance from MiniLM as it was", "mrr@10", same, at_most=NEAR, note=note)
    rivals = ("MiniLM, top event behind the query", "MiniLM, all events behind the query",
              "event model trained, top event behind the query")  # fmt: skip
    for rival in rivals:
        p_value = compare(runs["event model"], runs[rival], judged, "mrr@10")
        yield Row.of(f"cross-attention over {rival}", "mrr@10", mrr["event model"] - mrr[rival], at_least=1e-6,
                     note=f"p {p_value:.2g}")  # fmt: skip


def _pages(events: Sequence[EventText]) -> list[str]:
    return [page for event in events for page in event.documents]


# -- fused ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """Questions at a moment of their own, with what was going on then."""

    data: EventExamples  # its events are those of the moment
    at: Mapping[str, float]
    features: Mapping[str, Sequence[float]]  # what the need classifier sees

    @classmethod
    def of(cls, news: News, data: EventExamples, swept: Swept, at: Mapping[str, float]) -> Asked:
        """The questions of `data` as `swept` answered them."""
        words, found = news.words(data, at=at), {}
        for query, text in data.examples.queries.items():
            best = list(words[query])[:LOOKED_AT]
            fresh = sum(news.dates[page] >= at[query] - WINDOW_DAYS * DAY for page in best) / max(1, len(best))
            found[query] = need_features(text, swept.matches.get(query, ()), fresh)
        events = {query: event_texts(swept.matches.get(query, ())) for query in data.examples.queries}
        return cls(replace(data, events=events), at, found)


@dataclass(frozen=True)
class Tuned:
    """How words, vectors and recency are joined, chosen on questions before the split."""

    weight: float  # of the vectors, against words
    need: NeedClassifier
    timeless: bool = False  # the control: the same parts, and time counts for nothing

    @classmethod
    def on(cls, news: News, now: Asked, later: Asked, arm: Arm) -> Tuned:
        """The weight with the best MRR on `now`; the classifier from the same questions now and later."""
        rows = [*now.features.values(), *later.features.values()]
        need = NeedClassifier.fit(rows, [True] * len(now.features) + [False] * len(later.features))
        begun = cls(0.5, need)
        parts, values = begun.parts(news, now, arm), {}
        for weight in WEIGHTS:
            run = replace(begun, weight=weight).joined(news, now, parts)
            values[weight] = evaluate(run, now.data.examples.judged, ("mrr@10",))["mrr@10"]
        return replace(begun, weight=max(values, key=lambda weight: (values[weight], -weight)))

    def run(self, news: News, asked: Asked, arm: Arm) -> Run:
        """Min-max scores of BM25 and of the model, over all pages and the last 14 days, summed, times the prior."""
        return self.joined(news, asked, self.parts(news, asked, arm))

    def needs(self, asked: Asked) -> dict[str, float]:
        """P(time-sensitive) of each question."""
        return {query: 0.0 if self.timeless else self.need.probability(one) for query, one in asked.features.items()}

    def parts(self, news: News, asked: Asked, arm: Arm) -> list[Run]:
        """Words, words of the last days, vectors, vectors of the last days; a question without need has no events."""
        need, data, at = self.needs(asked), asked.data, asked.at
        events = {query: found if need[query] >= LEAST_NEED else () for query, found in data.events.items()}
        vectors = arm.queries(replace(data, events=events))
        return [
            news.words(data, at=at),
            news.words(data, windowed=True, at=at),
            news.nearest(data, arm.documents, vectors, at=at),
            news.nearest(data, arm.documents, vectors, windowed=True, at=at),
        ]

    def joined(self, news: News, asked: Asked, parts: Sequence[Run]) -> Run:
        """The parts' weighted sum, times the recency prior by need."""
        need, fused = self.needs(asked), Run()
        for query in asked.data.examples.queries:
            words, vectors = 1 - self.weight, self.weight
            share = [words, words * need[query], vectors, vectors * need[query]]
            fused[query] = weighted_sum([part[query] for part in parts], share)
        return news.recent(fused, at=asked.at, need=need)


# -- harm -------------------------------------------------------------------------------------------------------------


def harm_rows(news: News, test: EventExamples, now: Asked, arm: Arm, tuned: Tuned) -> Iterator[Row]:
    """Recall of questions asked a year later, with the fused search and with the same parts without time; the AUC."""
    later = Asked.of(news, test, news.swept_later, news.later)
    runs = [one.run(news, later, arm) for one in (replace(tuned, timeless=True), tuned)]
    a, b = (evaluate(run, test.examples.judged, ("recall@10",))["recall@10"] for run in runs)
    yield Row.of("asked a year later, recall lost to what knows of time", "recall@10", a - b, at_most=HARM,
                 note=f"{a:.4f} without, {b:.4f} with")  # fmt: skip
    static = static_features(news, [news.at[query] for query in test.examples.queries])
    positive, negative = ([tuned.need.probability(one) for one in rows] for rows in (now.features.values(), static))
    note = f"{len(positive)} and {len(negative)} questions; fitted on earlier news, now and a year later"
    yield Row.of("P(time-sensitive), news against regulations", "AUC", auc(positive, negative), at_least=AUC, note=note)


def static_features(news: News, moments: Sequence[float]) -> list[list[float]]:
    """Questions about regulations, asked of the news at these moments, with the events that were matched then."""
    folder = news.settings.folder("obliqa", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"))
    texts = list(load_beir(folder).queries.values())[: len(moments)]
    asked = {
        f"s{row}": (text, datetime_of(at, aware=False))
        for row, (text, at) in enumerate(zip(texts, moments, strict=False))
    }
    swept, found = sweep(news.items, asked, news.encode), []
    for name, (text, moment) in asked.items():
        best = news.index.search(text, seconds(moment), LOOKED_AT)
        since = seconds(moment) - WINDOW_DAYS * DAY
        fresh = sum(news.moments[row] >= since for row in best) / max(1, len(best))
        found.append(need_features(text, swept.matches[name], fresh))
    return found


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
    """The whole recipe with few steps, and the same without one of its parts."""
    removed = news.sources(data)
    left = judged_without(data.examples.judged, removed)
    for name in (SHORTER, *ABLATIONS):
        arm = trained(news, name)
        shown = data.without_events() if name == "no events" else data
        run = news.nearest(shown, arm.documents, arm.queries(shown))
        value = evaluate(run, data.examples.judged, METRICS)
        gone = evaluate(without(run, removed), left, METRICS)["mrr@10"]
        note = f"recall@10 {value['recall@10']:.4f}; source page removed {gone:.4f}"
        yield Row.of(f"ablation: {'whole recipe' if name == SHORTER else name}", "mrr@10", value["mrr@10"], note=note)
