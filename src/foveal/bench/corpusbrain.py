"""bench generative-corpusbrain: what a small model learns of a collection by CorpusBrain's tasks, and what it finds.

wiki_toy   100 long articles: sentences held out ask for their article, joins of three for theirs, and what stands
           around a mention for the article mentioned; arms: titles alone, ISS, + LPS, + HIP, as many steps each
SciFact    5,183 abstracts: a sentence held out of each asks for it; then 0, 50, 200 and 800 labelled claims, a fifth of
           which choose the step and the weight of the fusion; no test claim decides anything
Peers      BM25 over whole texts without what is held out; MiniLM by the best of a document's sentences
Decoder    corpusbrain_decoder.py: exactness, speed, the tree        End to end  corpusbrain_ask.py: with a reader

The model is MiniLM, which reads and stays as it is, and a decoder of two layers over it, trained from random weights in
minutes: it says whether the tasks teach, not how good CorpusBrain can be. A trained model is kept in the bench's cache;
a bench that was stopped goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench import corpusbrain_ask
from foveal.bench.corpusbrain_ask import asking, home_of, small_training
from foveal.bench.corpusbrain_decoder import decoder, exact_rows, speed_rows, wikipedia_titles
from foveal.bench.known_sets import all_held_to, is_set
from foveal.bench.parts import each
from foveal.bench.quality import bm25s_run
from foveal.bench.retrieval_fusion import Judged, fuse
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, Record
from foveal.evaluation.files import json_lines
from foveal.evaluation.metrics import Run, compare, evaluate
from foveal.evaluation.tables import Row
from foveal.models.title_models import TitleModel, load_title_model
from foveal.retrieval.constrained_beams import BeamSettings, search_titles
from foveal.retrieval.corpusbrain import told_apart
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.retrieval.title_measures import title_metrics
from foveal.retrieval.title_trie import TitleTrie
from foveal.settings import Settings
from foveal.text.units import sentences
from foveal.training.corpusbrain import CorpusBrainSettings, Lessons, naming_model, train_corpusbrain
from foveal.training.corpusbrain_pairs import (
    PairSettings,
    TitledCorpus,
    TitledText,
    TitlePair,
    hold_out,
    mention_links,
    units,
    without,
)
from foveal.training.runs import RunSettings

METRICS = ("recall@1", "recall@10")
ARMS: dict[str, tuple[str, ...]] = {
    "ISS": ("ISS",),
    "ISS, LPS": ("ISS", "LPS"),
    "ISS, LPS, HIP": ("ISS", "LPS", "HIP"),
}
TARGET = 0.60
"""Sentences of wiki_toy whose article is written first, after ISS and LPS."""

LABELS, QUICK_LABELS = (0, 50, 200, 800), (0, 50)
QUICK_LOSS = 0.05
"""nDCG@10 that the fusion may lose with `--quick`, where ten labels choose its weight; else nothing."""

STEPS = {"wiki": 500, "scifact": 500, "labels": 60}
QUICK_STEPS = {"wiki": 40, "scifact": 30, "labels": 10}
PAIRS = PairSettings(inner=60, leading=20, linked=20)
"""Units are sentences, and articles have hundreds: more of them a pass than of the paper's paragraphs; all links."""


def corpusbrain(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench generative-corpusbrain`."""
    yield from each((wiki, scifact, asking, decoder), settings)


# -- what is learned and asked ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probes:
    """A collection to learn, dev pairs that choose the step, and test pairs by the name of their task."""

    corpus: TitledCorpus
    dev: list[TitlePair]
    tests: dict[str, list[TitlePair]]

    def found(self, model: TitleModel, pairs: Sequence[TitlePair], k: int = 10) -> Run:
        """What a model writes, by numbers of pairs and ids of documents."""
        names, titles = list(self.corpus.titles), list(self.corpus.titles.values())
        trie = TitleTrie.of(model.title_ids(titles), model.end)
        found = search_titles(model, trie, [pair.source for pair in pairs], min(k, len(titles)), BeamSettings())
        return {str(n): {names[one.title]: one.score for one in written} for n, written in enumerate(found)}

    def qrels(self, pairs: Sequence[TitlePair]) -> dict[str, dict[str, int]]:
        """The document of each pair."""
        by_title = {title: name for name, title in self.corpus.titles.items()}
        return {str(n): {by_title[pair.titles[0]]: 1} for n, pair in enumerate(pairs)}

    def words(self, pairs: Sequence[TitlePair]) -> Run:
        """What BM25 finds over whole texts."""
        records = {one.id: Record(one.id, one.title, " ".join(one.paragraphs)) for one in self.corpus.texts}
        return bm25s_run(Collection("texts", records, {str(n): pair.source for n, pair in enumerate(pairs)}, {}))

    def meaning(self, pairs: Sequence[TitlePair], name: str, settings: BenchSettings) -> Run:
        """What MiniLM finds: the best of a document's sentences."""
        texts = [(one.id, part) for one in self.corpus.texts for part in one.paragraphs]
        encoder = settings.encoder()
        vectors = settings.cached_vectors((name, "sentences"), [part for _, part in texts], encoder)
        scores = encoder.encode([pair.source for pair in pairs]) @ vectors.T
        names = list(self.corpus.titles)
        owner = np.array([names.index(one) for one in dict.fromkeys(name for name, _ in texts)])
        lengths = [len(one.paragraphs) for one in self.corpus.texts]
        best = np.maximum.reduceat(scores, np.cumsum([0, *lengths[:-1]]), axis=1)
        return {
            str(row): {names[owner[at]]: float(values[at]) for at in np.argsort(-values, kind="stable")[:10]}
            for row, values in enumerate(best)
        }

    def rows(self, system: str, task: str, run: Run, *, note: str = "", at_least: float | None = None) -> Iterator[Row]:
        """recall@1 (which the bar is about) and recall@10."""
        pairs = self.tests[task]
        for metric, value in evaluate(run, self.qrels(pairs), METRICS).items():
            bar = at_least if metric == METRICS[0] else None
            yield Row.of(f"{system}: {task}", metric, value, at_least=bar, note=note or f"{len(pairs)} queries")


def learned(
    lessons: Lessons, dev: Sequence[TitlePair], settings: BenchSettings, chosen: CorpusBrainSettings,
    base: Path | None = None,
) -> tuple[Path, str]:  # fmt: skip
    """The folder of what a run learned, now or before, and how long it took. Runs are named by what they depend on.

    What is no better than it began with is shown as it is, so that no untrained model stands in for an arm; a run that
    went on from `base` gives that back, as a user would have it.
    """
    folder, report = train_corpusbrain(
        lessons,
        corpusbrain_ask.BASE if base is None else str(base),
        chosen,
        judge=title_metrics,
        run=RunSettings(dev=dev, home=home_of(settings)),
    )
    note = f"{report.curves.steps} steps, the best after {report.curves.best_step}, {report.curves.seconds:.0f} s"
    if folder is None:
        note += f"; no better on dev pairs{'' if base is None else ': what it began with'}"
    return folder or base or home_of(settings) / "runs" / "train" / report.name / "rejected", note


# -- wiki_toy --------------------------------------------------------------------------------------------------------


def wiki(settings: BenchSettings) -> Iterator[Row]:
    """Each task's gain on its own probe, and the arm with ISS and LPS against its bar."""
    probes = wiki_probes(settings)
    steps = (QUICK_STEPS if settings.quick else STEPS)["wiki"]
    for task, pairs in probes.tests.items():
        yield from probes.rows("wiki_toy, BM25", task, probes.words(pairs))
        yield from probes.rows("wiki_toy, MiniLM", task, probes.meaning(pairs, "wiki_toy", settings))
    titles = list(probes.corpus.titles.values())
    chosen = small_training(steps, settings)
    runs: dict[str, dict[str, float]] = {}
    every: dict[str, Lessons] = {"titles alone": replace(Lessons.of_titles(titles), texts=_texts(probes.corpus))}
    every |= {arm: Lessons.of_corpus(probes.corpus, replace(PAIRS, tasks=tasks)) for arm, tasks in ARMS.items()}
    for arm, lessons in every.items():
        place, note = learned(lessons, probes.dev, settings, chosen)
        model = load_title_model(place)
        runs[arm] = {}
        for task, pairs in probes.tests.items():
            run = probes.found(model, pairs)
            runs[arm][task] = evaluate(run, probes.qrels(pairs), METRICS[:1])[METRICS[0]]
            bar = TARGET if (arm, task) == ("ISS, LPS", "sentence") else None
            found = probes.rows(f"wiki_toy, {arm}", task, run, note=note, at_least=bar)
            yield from all_held_to("wiki_toy", is_set("wiki_toy", len(titles)), found)
    for before, after, task in (
        ("titles alone", "ISS", "sentence"), ("ISS", "ISS, LPS", "beginning"), ("ISS, LPS", "ISS, LPS, HIP", "mention")
    ):  # fmt: skip
        system, metric = f"wiki_toy, {after} over {before}", f"recall@1 of {task}, rise"
        if task not in probes.tests:
            yield Row.of(system, metric, math.nan, at_least=1e-4, note="not run: no article gives such a query")
            continue
        yield Row.of(system, metric, runs[after][task] - runs[before][task], at_least=1e-4)


def wiki_probes(settings: BenchSettings) -> Probes:
    """Articles cut into sentences; held out: two sentences, three in a row near the beginning, half of the mentions.

    What no article gives is not asked: short ones have no such beginning, and some mention no other.
    """
    folder = settings.folder("wiki_toy", ("corpus.jsonl",))
    texts = mention_links(_titled(folder))
    draw = np.random.default_rng(settings.seed)
    texts, mentions = hold_out_mentions(texts, draw)
    texts, beginnings = hold_out_beginnings(texts)
    texts, tests = hold_out(texts, each=2, seed=settings.seed)
    texts, dev = hold_out(texts, each=2, seed=settings.seed + 1)
    asked = {"sentence": tests, "beginning": beginnings, "mention": mentions}
    return Probes(TitledCorpus.of(texts), dev, {task: pairs for task, pairs in asked.items() if pairs})


def hold_out_beginnings(texts: Sequence[TitledText]) -> tuple[list[TitledText], list[TitlePair]]:
    """Sentences 3 to 5 of each text, joined, and the texts without them."""
    kept, held = [], []
    for text in texts:
        gone = text.paragraphs[3:6] if len(text.paragraphs) > 12 else ()
        if gone:
            held.append(TitlePair(" ".join(gone), (text.title,), "beginning"))
        kept.append(without(text, set(gone)))
    return kept, held


def hold_out_mentions(
    texts: Sequence[TitledText], draw: np.random.Generator
) -> tuple[list[TitledText], list[TitlePair]]:
    """Half of the mentions: what stands around them asks for what is mentioned; their sentences are learned by none."""
    titles = {text.id: text.title for text in texts}
    kept, held = [], []
    for text in texts:
        inside = [link for link in text.links if 0 < link.paragraph < len(text.paragraphs) - 1]
        chosen = [link for link in inside if draw.random() < 0.5]
        for link in chosen:
            around = text.paragraphs[link.paragraph - 1 : link.paragraph + 2]
            held.append(TitlePair(" ".join(around), (titles[link.target],), "mention"))
        kept.append(without(text, {text.paragraphs[link.paragraph] for link in chosen}))
    return kept, held


# -- SciFact ---------------------------------------------------------------------------------------------------------


def scifact(settings: BenchSettings) -> Iterator[Row]:
    """Held-out sentences, labelled claims, fusion, speed and sizes of the small model."""
    judged = Judged.of(settings)
    probes = scifact_probes(judged, settings)
    steps = QUICK_STEPS if settings.quick else STEPS
    pairs = probes.tests["sentence"]
    yield from reference_rows(probes, settings)
    lessons = Lessons.of_corpus(probes.corpus, replace(PAIRS, tasks=("ISS", "LPS")))
    place, note = learned(lessons, probes.dev, settings, small_training(steps["scifact"], settings))
    model = load_title_model(place)
    yield from probes.rows("SciFact, ISS, LPS", "sentence", probes.found(model, pairs), note=note)
    titles = list(probes.corpus.titles.values())
    queries = [pair.source for pair in pairs]
    few = titles[: 60 if settings.quick else 500]
    yield from exact_rows("small model", model, few, queries[: 1 if settings.quick else 5])
    yield from speed_rows("small model", model, wikipedia_titles(settings)[:500], queries, alone=24)
    yield from size_rows(model, probes, settings)
    yield from label_rows(judged, probes, place, settings, steps["labels"])


def reference_rows(probes: Probes, settings: BenchSettings) -> Iterator[Row]:
    """What words and vectors find for the sentences held out."""
    pairs = probes.tests["sentence"]
    yield from probes.rows("SciFact, BM25", "sentence", probes.words(pairs))
    if not settings.quick:  # 40,000 sentences are encoded
        yield from probes.rows("SciFact, MiniLM", "sentence", probes.meaning(pairs, "scifact", settings))


def scifact_probes(judged: Judged, settings: BenchSettings) -> Probes:
    """Abstracts as sentences, one held out of each; of 300 more one that chooses the step."""
    records = [one for one in judged.test.corpus.values() if one.title.strip() and one.text.strip()]
    model = naming_model(corpusbrain_ask.BASE, Settings.load().cache)
    titles = told_apart({one.id: one.title for one in records}, model)
    texts = [TitledText(one.id, titles[one.id], units(one.text, sentences)) for one in records if one.id in titles]
    texts, tests = hold_out(texts, seed=settings.seed)
    texts, dev = hold_out(texts, documents=300, seed=settings.seed + 1)
    order = np.random.default_rng(settings.seed).permutation(len(tests))[: 200 if settings.quick else 1000]
    return Probes(TitledCorpus.of(texts), dev, {"sentence": [tests[place] for place in order]})


def label_rows(judged: Judged, probes: Probes, base: Path, settings: BenchSettings, steps: int) -> Iterator[Row]:
    """nDCG@10 on the test claims by labels; the fusion with BM25 by a weight that the labels chose."""
    names = probes.corpus.titles
    lexical = bm25s_run(judged.whole)
    words = evaluate(lexical, judged.test.qrels, ("ndcg@10",))["ndcg@10"]
    yield Row.of("SciFact claims, BM25", "ndcg@10", words, note="whole abstracts, the test claims")
    claims = [query for query in judged.train.queries if set(judged.train.qrels[query]) & names.keys()]
    order = np.random.default_rng(settings.seed).permutation(len(claims))
    labels, loss = (QUICK_LABELS, QUICK_LOSS) if settings.quick else (LABELS, 0.0)
    for count in labels:
        chosen = [claims[place] for place in order[:count]]
        dev, learnt = chosen[: count // 5], chosen[count // 5 :]
        place, note = base, "no label"
        if count:
            tuned = small_training(steps, settings, learning_rate=2e-4)
            lessons = Lessons.of_pairs(_claims(judged, names, learnt), list(names.values()))
            own = _claims(judged, names, dev)
            place, note = learned(lessons, own, settings, tuned, base)
        queries = {query: judged.queries[query] for query in [*judged.test.queries, *dev]}
        run = _written(load_title_model(place), names, queries)
        value = evaluate(run, judged.test.qrels, ("ndcg@10",))["ndcg@10"]
        yield Row.of(f"SciFact claims, {count} labels", "ndcg@10", value, note=note)
        if not count:
            continue
        asked = {query: judged.train.qrels[query] for query in dev}
        both = (lexical, {query: run.get(query, {}) for query in lexical})
        weight = tuned_weight(both, asked, held_out=judged.test.qrels)
        fused = fuse("weighted", *both, weight)
        gained = evaluate(fused, judged.test.qrels, ("ndcg@10",))["ndcg@10"]
        p_value = compare(fused, lexical, judged.test.qrels)
        note = f"weight {weight} from {len(dev)} labels; p {p_value:.2g} against BM25 alone, {words:.4f}"
        bar = words - loss if count == max(labels) else None
        yield Row.of(f"SciFact claims, {count} labels, with BM25", "ndcg@10", gained, at_least=bar, note=note)


def size_rows(model: TitleModel, probes: Probes, settings: BenchSettings) -> Iterator[Row]:
    """Bytes of the model and its tree, beside those of the other indexes of the same texts."""
    weights = sum(weight.numel() * weight.element_size() for weight in model.model.parameters())
    titles = list(probes.corpus.titles.values())
    trie = TitleTrie.of(model.title_ids(titles), model.end)
    count = len(titles)
    words = sum(len(set(" ".join(one.paragraphs).lower().split())) for one in probes.corpus.texts)
    vectors = 4 * settings.encoder().dimension * count
    yield Row.of("small model", "bytes", weights, note=f"{weights / count:.0f} a document, the same for any number")
    yield Row.of("tree of titles", "bytes", trie.bytes, note=f"{trie.bytes / count:.0f} a document")
    yield Row.of("vectors, one a document", "bytes", vectors, note="float32; the encoder comes on top")
    yield Row.of("words, postings", "bytes", 8 * words, note="a document and a weight for each different word, no text")


def _written(model: TitleModel, names: dict[str, str], queries: dict[str, str]) -> Run:
    """What a model writes for queries by id."""
    ids, titles = list(names), list(names.values())
    trie = TitleTrie.of(model.title_ids(titles), model.end)
    found = search_titles(model, trie, list(queries.values()), 10, BeamSettings())
    return {query: {ids[one.title]: one.score for one in each} for query, each in zip(queries, found, strict=True)}


def _claims(judged: Judged, names: dict[str, str], chosen: Sequence[str]) -> list[TitlePair]:
    made = []
    for query in chosen:
        titles = tuple(names[one] for one, grade in judged.train.qrels[query].items() if grade and one in names)
        made.append(TitlePair(judged.queries[query], titles, "claim"))
    return made


def _titled(folder: Path) -> list[TitledText]:
    path: Any = next(path for path in (folder / "corpus.jsonl", folder / "corpus.jsonl.gz") if path.is_file())
    lines = [line for _, line in json_lines(path)]
    return [TitledText(str(one["_id"]), str(one["title"]), units(str(one["text"]), sentences)) for one in lines]


def _texts(corpus: TitledCorpus) -> list[str]:
    return [part for text in corpus.texts for part in (text.title, *text.paragraphs)]
