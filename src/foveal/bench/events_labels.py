"""bench events, the labels: what the model zoo agrees on is right, and training on it is worth nearly as much as gold.

Triples come from judged questions: a question, its top event, and a page (gold, what words find beside it within the
window, or any fresh one). Votes are calibrated on questions before the split and judged on 300 triples after it. Where
an offline language model is installed its kappa on an audit set decides whether it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from foveal.bench.events_arms import SHORTER, trained
from foveal.bench.events_data import WINDOW_DAYS, News
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.tables import Row
from foveal.models.offline import OFFLINE, installed
from foveal.retrieval.event_items import DAY, entities
from foveal.training.event_annotation import (
    Annotator,
    FineAnnotator,
    Triple,
    coarse_zoo,
    refined,
)
from foveal.training.event_rows import EventExamples
from foveal.training.examples import Examples

FITTED, JUDGED, AUDIT = 600, 300, 20
PRECISION, COVERAGE, WORTH = 0.9, 0.5, 0.95
CHAT = "qwen2.5-coder-0.5b"


def labels(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench events-labels`."""
    news = News(settings)
    learnt, test = news.sides
    fitted, wanted, _ = triples_of(news, learnt, FITTED, settings.seed)
    held, right, _ = triples_of(news, test, JUDGED, settings.seed + 1)
    annotator = Annotator.fit(coarse_zoo(news.encoder), fitted, wanted)
    found = annotator.annotate(held)
    kept = [(label.relevant, truth) for label, truth in zip(found, right, strict=True) if label.agreed]
    said = [truth for relevant, truth in kept if relevant]
    note = f"{len(held)} triples, {sum(right)} relevant; votes: {', '.join(annotator.zoo)}"
    yield Row.of("agreed labels", "precision", float(np.mean(said)) if said else 0.0, at_least=PRECISION, note=note)
    yield Row.of("agreed labels", "coverage", len(kept) / len(held), at_least=COVERAGE)
    agreed = float(np.mean([relevant == truth for relevant, truth in kept])) if kept else 0.0
    yield Row.of("agreed labels", "accuracy", agreed)
    every = float(np.mean([label.relevant == truth for label, truth in zip(found, right, strict=True)]))
    yield Row.of("all labels by majority", "accuracy", every)
    yield from language_model_rows(settings, held, right, found)
    if not settings.quick:
        yield from worth_rows(news, learnt, test, annotator)


def language_model_rows(
    settings: BenchSettings, held: Sequence[Triple], right: Sequence[bool], found: Sequence[object]
) -> Iterator[Row]:
    """The kappa of an offline model on an audit set, and what follows."""
    if settings.quick or not installed(OFFLINE[CHAT]):
        return
    from foveal.models import load_chat

    fine = FineAnnotator(load_chat(CHAT), settings.cache / "events" / "grades.jsonl")
    audit = list(held[:AUDIT]), list(right[:AUDIT])
    kappa = fine.kappa(*audit)
    _, told = refined(list(found)[:AUDIT], audit[0], fine, audit)  # type: ignore[arg-type]
    yield Row.of(f"{CHAT} as a judge", "kappa", kappa, note=f"{AUDIT} triples; {told}")


def triples_of(
    news: News, data: EventExamples, count: int, seed: int
) -> tuple[list[Triple], list[bool], list[tuple[str, str]]]:
    """Triples, whether each is relevant, and their (question, page); one gold and two others of a question in turn."""
    draw = np.random.default_rng(seed)
    names = list(data.examples.queries)
    order = [names[place] for place in draw.permutation(len(names)).tolist()]
    titles = {item.id: item.title for item in news.items}
    texts = dict(zip(news.pages.ids, news.texts, strict=True))
    triples, right, pairs = [], [], []
    windowed = news.words(data, windowed=True)
    for query in order:
        moment = news.at[query]
        fresh = [
            news.pages.ids[row]
            for row in np.flatnonzero(
                (news.pages.moments <= moment) & (news.pages.moments > moment - WINDOW_DAYS * DAY)
            )
        ]
        near = [page for page in windowed[query] if page not in data.examples.judged[query]]
        gold = data.examples.positives[query]
        other = [page for page in fresh if page not in data.examples.judged[query]]
        chosen = [(gold[int(draw.integers(len(gold)))], True)]
        chosen += [(near[int(draw.integers(min(10, len(near))))], False)] if near else []
        chosen += [(other[int(draw.integers(len(other)))], False)] if other else []
        events = data.events.get(query, ())
        text = data.examples.queries[query]
        for page, truth in chosen:
            names_asked = frozenset(entities(f"x {text}"))
            gap = (moment - news.pages.dates[page]) / DAY
            event = events[0].text if events else ""
            triples.append(Triple(text, event, texts[page], gap, names_asked, frozenset(entities(titles[page]))))
            right.append(truth)
            pairs.append((query, page))
        if len(triples) >= count:
            break
    return triples[:count], right[:count], pairs[:count]


def worth_rows(news: News, learnt: EventExamples, test: EventExamples, annotator: Annotator) -> Iterator[Row]:
    """The same training on gold and on what the zoo agreed on; candidates are what words find in the window.

    MiniLM as it was stands beside: a share of a figure says little where training adds little to it. So do words in
    the window.
    """
    windowed = news.words(test, windowed=True)
    yield Row.of("BM25, 14 days", "mrr@10", evaluate(windowed, test.examples.judged, ("mrr@10",))["mrr@10"])
    labelled = annotated(news, learnt, annotator)
    plain = news.nearest(test, news.vectors, news.encode(list(test.examples.queries.values())))
    values = {"nothing": evaluate(plain, test.examples.judged, ("mrr@10",))["mrr@10"]}
    yield Row.of("trained on nothing: MiniLM, without events", "mrr@10", values["nothing"])
    for name, fine in (("gold", None), ("agreed labels", labelled)):
        arm = trained(news, SHORTER, fine=fine, called=None if fine is None else "labels")
        run = news.nearest(test, arm.documents, arm.queries(test))
        values[name] = evaluate(run, test.examples.judged, ("mrr@10",))["mrr@10"]
        yield Row.of(f"trained on {name}", "mrr@10", values[name])
    gained = [values[name] - values["nothing"] for name in ("agreed labels", "gold")]
    note = f"{len(labelled.examples.queries)} questions with a label; gained {gained[0]:+.3f} of {gained[1]:+.3f}"
    yield Row.of(
        "agreed labels over gold",
        "share of mrr@10",
        values["agreed labels"] / values["gold"],
        at_least=WORTH,
        note=note,
    )


def annotated(news: News, data: EventExamples, annotator: Annotator, *, depth: int = 10) -> EventExamples:
    """The questions with what the zoo agrees to be relevant among the first pages that words find in the window.

    Those that choose among steps (the last ones) are left out: the arm keeps its own.
    """
    from foveal.training.events import late_moment

    early, _ = data.split(late_moment(data, 0.15))
    windowed = news.words(early, windowed=True)
    texts = dict(zip(news.pages.ids, news.texts, strict=True))
    titles = {item.id: item.title for item in news.items}
    triples, pairs = [], []
    for query, text in early.examples.queries.items():
        events = early.events.get(query, ())
        for page in list(windowed[query])[:depth]:
            gap = (news.at[query] - news.pages.dates[page]) / DAY
            event = events[0].text if events else ""
            names = frozenset(entities(f"x {text}")), frozenset(entities(titles[page]))
            triples.append(Triple(text, event, texts[page], gap, *names))
            pairs.append((query, page))
    judged: dict[str, dict[str, int]] = {}
    for (query, page), label in zip(pairs, annotator.annotate(triples), strict=True):
        if label.agreed and label.relevant:
            judged.setdefault(query, {})[page] = 1
    queries = {query: early.examples.queries[query] for query in judged}
    examples = Examples(queries, early.examples.corpus, judged, "labelled")
    return EventExamples(examples, early.asked, early.events, early.facts)
