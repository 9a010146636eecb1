"""bench rank-legal: which article answers a question on regulations (ObliQA), and which sentence of it.

questions   BM25, held to figures measured before; MiniLM by whole article and by best sentence; Paraformer by both
            heads, over an encoder that stays or learns, and with the mean in place of attention; an Attentive CNN from
            scratch. Each alone on BM25's candidates and added to BM25 (z-scores, the weight and the rule of how many
            articles are given from dev questions)
controls    labels shuffled, those of dev questions too, at the last step: back to chance, beside the untrained model;
            what each article's number of training questions says by itself; questions none of whose articles has one
curve       Paraformer and the Attentive CNN on more and more training questions, with what training takes
attention   whether the sentence that answers is attended to      rank_legal_attention.py
COLIEE      the same on statute law, where DIR/coliee holds it (it is given out under an agreement)

Training questions are nine tenths of ObliQA's dev questions, the rest are the dev questions here; all is measured on
the first 1,000 test questions. Models: rank_legal_runs.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foveal.bench.known_sets import held_to, is_set
from foveal.bench.rank_legal_arms import FULL, QUICK, Sizes
from foveal.bench.rank_legal_attention import attention_rows, sparsemax_rows
from foveal.bench.rank_legal_coliee import coliee_rows
from foveal.bench.rank_legal_runs import Law, asked_before, bm25, only
from foveal.bench.rank_legal_systems import (
    CNN,
    FIRST,
    PARAFORMER,
    System,
    Systems,
    both_rows,
    chance_error,
    difference_rows,
    firsts,
    gain_rows,
    random_recall,
    value_rows,
)
from foveal.bench.settings import BenchSettings
from foveal.evaluation.legal import load_obliqa, mean_scores
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row
from foveal.ranking.legal_training import corpus_of, examples_of
from foveal.retrieval.fusion_weights import GRID

ANCHORS = {"recall@10": 0.763, "map@10": 0.609}
"""BM25 on the first 1,000 test questions, measured when the task was written down; ± `MARGIN`."""
MARGIN = 0.002

ERRORS = 2.0
"""Standard errors above a random order's recall@20 that still are chance, where labels were shuffled."""


def legal(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-legal`."""
    yield from sparsemax_rows(settings.seed)
    yield from anchor_rows(settings)
    systems = Systems(obliqa(settings, QUICK if settings.quick else FULL))
    for part in (size_rows, untrained_rows, trained_rows, control_rows, curve_rows, attended_rows):
        yield from part(systems)
    yield from coliee_rows(settings)


# -- data -------------------------------------------------------------------------------------------------------------


def obliqa(settings: BenchSettings, sizes: Sizes) -> Law:
    """ObliQA, its dev questions parted. InputError: it is not there whole."""
    dev, test = (load_obliqa(_folder(settings), split) for split in ("dev", "test"))
    learnt, held = examples_of(dev, corpus_of(dev.articles.values())).split(dev=0.1, seed=settings.seed)
    return Law(only(dev, list(learnt.queries)), only(dev, list(held.queries)), test, settings, sizes)


def _folder(settings: BenchSettings) -> Path:
    own = settings.data / "obliqa"
    if (own / "StructuredRegulatoryDocuments").is_dir():  # the set's own files, which whoever reads them checks
        return own
    return settings.folder("obliqa", ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv", "qrels/test.tsv"))


def anchor_rows(settings: BenchSettings) -> Iterator[Row]:
    """BM25 on the first 1,000 test questions over all articles, whatever else is run."""
    test = load_obliqa(_folder(settings), "test")
    first = only(test, list(test.qrels)[:1_000])
    found = evaluate(bm25(first.articles, first.queries, 100, settings), first.qrels, tuple(ANCHORS))
    for metric, value in found.items():
        bars = {"at_least": ANCHORS[metric] - MARGIN, "at_most": ANCHORS[metric] + MARGIN}
        row = Row.of("BM25, first 1,000 questions", metric, value, note="k1 1.2, b 0.75, words in lower case", **bars)
        yield held_to("ObliQA", is_set("ObliQA", len(test.articles), len(test.queries)), row)


# -- rows -------------------------------------------------------------------------------------------------------------


def size_rows(systems: Systems) -> Iterator[Row]:
    """How much is measured."""
    law = systems.law
    counted = {"articles": len(law.articles), "articles that are read": len(law.corpus)}
    counted |= {f"{name} questions": len(getattr(law, name).queries) for name in ("learnt", "dev", "test")}
    for name, count in counted.items():
        yield Row.of(f"{law.name}: {name}", "size", count)


def untrained_rows(systems: Systems) -> Iterator[Row]:
    """BM25 and MiniLM, and a random order of the candidates."""
    words = systems.words
    rule = words.tuned.settings
    note = f"{systems.law.sizes.candidates} candidates; the rule: at most {rule.most}, gap {rule.gap:.3g}"
    yield from value_rows("BM25", systems.values(systems.fused(words), words.tuned), note=note)
    yield Row.of("random order of the candidates", "recall@20", random_recall(systems.law))
    yield from value_rows("MiniLM, all articles searched", systems.values(systems.by_vectors))
    for one in systems.minilm:
        yield from both_rows(systems, one, one.name)


def trained_rows(systems: Systems) -> Iterator[Row]:
    """Each arm; the two that are asked to be above BM25 and MiniLM on all questions, the others on fewer."""
    law = systems.law
    for name in (PARAFORMER, CNN):
        one = systems.trained(name)
        yield from both_rows(systems, one, name, alone=name == PARAFORMER, fused=True)
        yield from gain_rows(systems, one, sure=name == PARAFORMER)
    ratio = systems.values(systems.alone(systems.trained(CNN)))["recall@20"] / random_recall(law)
    yield Row.of(f"{CNN}, alone, over a random order", "recall@20, ratio", ratio, at_least=law.sizes.times)
    few = law.sizes.compared
    for name in law.arms:
        if name != CNN:
            yield from both_rows(systems, systems.trained(name, few), f"{name}, {few} questions")
    own = firsts(systems.fused(systems.trained(PARAFORMER, few)), law.test.judged)
    for name in ("Paraformer, frozen encoder", "Paraformer, mean in place of attention"):
        other = firsts(systems.fused(systems.trained(name, few)), law.test.judged)
        less = f"Paraformer less {name.partition(', ')[2]}, fused, {few} questions"
        yield from difference_rows(less, own, other, least=systems.least)


def control_rows(systems: Systems) -> Iterator[Row]:
    """Shuffled labels, what the judgements say without any text, and questions with articles that are new."""
    law = systems.law
    chance = random_recall(law)
    fresh = systems.values(systems.alone(systems.fresh(CNN)))
    note = "its towers begin alike, so it finds the words of a question"
    yield Row.of(f"{CNN}, not trained, alone, over a random order", "recall@20, ratio", fresh["recall@20"] / chance,
                 note=note)  # fmt: skip
    shuffled = systems.trained(CNN, shuffled=True)
    single, error = systems.values(systems.alone(shuffled)), chance_error(law)
    note = f"the last step; chance is {chance:.4f} ± {error:.4f}, so the bar is {ERRORS:g} standard errors above 1"
    yield Row.of(f"{CNN}, labels shuffled, alone, over a random order", "recall@20, ratio",
                 single["recall@20"] / chance, at_most=1 + ERRORS * error / chance, note=note)  # fmt: skip
    yield from value_rows(f"{CNN}, labels shuffled, alone", single)
    gain = systems.values(systems.fused(shuffled))[FIRST] - systems.values(systems.fused(systems.words))[FIRST]
    yield Row.of(
        f"{CNN}, labels shuffled, fused, less BM25", FIRST, gain, at_most=0.01, note=f"weight {shuffled.weight}"
    )
    counted = asked_before(law.learnt, {query: systems.words.scores[query] for query in law.test.queries})
    note = "the order by how many training questions an article answers; no text is read"
    yield Row.of("asked before", "recall@20, ratio", systems.values(counted)["recall@20"] / chance, note=note)
    yield from new_rows(systems)
    yield from fusion_rows(systems, shuffled)


def new_rows(systems: Systems) -> Iterator[Row]:
    """Recall and F2 on the test questions of which no article answers a training question."""
    law = systems.law
    known = {name for found in law.learnt.positives.values() for name in found}
    qrels = {query: law.test.judged[query] for query, gold in law.test.positives.items() if known.isdisjoint(gold)}
    if not qrels:
        yield Row.of("new articles", "questions", 0, note="each test question has an article that was asked for before")
        return
    for one in (systems.words, systems.trained(PARAFORMER), systems.trained(CNN)):
        run = {query: found for query, found in systems.fused(one).items() if query in qrels}
        note = f"{len(qrels)} test questions; no training question has one of their articles"
        name = f"{one.name}{'' if one is systems.words else ', fused'}, new articles"
        yield Row.of(name, "recall@20", evaluate(run, qrels, ("recall@20",))["recall@20"], note=note)
        yield Row.of(name, FIRST, mean_scores(firsts(run, qrels))["f2"])


def fusion_rows(systems: Systems, shuffled: System) -> Iterator[Row]:
    """F2 against the weight of the model's score: a real model has its best between the ends."""
    curves: dict[str, list[float]] = {}
    weights = GRID[::2]
    for name, one in ((PARAFORMER, systems.trained(PARAFORMER)), (CNN, systems.trained(CNN)), ("shuffled", shuffled)):
        curves[name] = [systems.values(systems.fused(one, weight))[FIRST] for weight in weights]
        inner = max(curves[name][1:-1]) - max(curves[name][0], curves[name][-1])
        bars = {"at_least": systems.least} if name != "shuffled" else {}
        note = ", ".join(f"{weight:g} {value:.3f}" for weight, value in zip(weights, curves[name], strict=True))
        yield Row.of(f"{name}, best weight between the ends less the better end", FIRST, inner, note=note, **bars)
    path = systems.law.settings.cache / "pictures" / f"legal-fusion-{systems.law.name}.png"
    lines(weights, curves, path, title="Adding a model to BM25", x_label="weight of the model", y_label=FIRST)


def curve_rows(systems: Systems) -> Iterator[Row]:
    """Both engines by training questions, alone and fused, and where the second overtakes the first."""
    counts = sorted(systems.law.sizes.counts)
    asked = [min(count, len(systems.law.learnt.queries)) for count in counts]
    found = {name: [systems.trained(name, count) for count in counts] for name in (PARAFORMER, CNN)}
    curves: dict[str, list[float]] = {}
    for name, row in found.items():
        for way, run_of in (("alone", systems.alone), ("fused", systems.fused)):
            values = [systems.values(run_of(one)) for one in row]
            curves[f"{name}, {way}"] = [one["recall@20"] for one in values]
            for count, one, value in zip(asked, row, values, strict=True):
                note = f"{one.seconds:.0f} s of training"
                yield Row.of(f"{name}, {way}, {count} questions", "recall@20", value["recall@20"], note=note)
                yield Row.of(f"{name}, {way}, {count} questions", FIRST, value[FIRST])
    ahead = [curves[f"{CNN}, alone"][at] - curves[f"{PARAFORMER}, alone"][at] for at in range(len(counts))]
    first = next((count for count, value in zip(asked, ahead, strict=True) if value > 0), None)
    seconds = " / ".join(f"{a.seconds:.0f} and {b.seconds:.0f} s" for a, b in zip(*found.values(), strict=True))
    note = f"{'does not overtake' if first is None else f'overtakes at {first}'}; {PARAFORMER} and {CNN}: {seconds}"
    yield Row.of(f"{CNN} less {PARAFORMER}, alone, {asked[-1]} questions", "recall@20", ahead[-1], note=note)
    curves["BM25"] = [systems.values(systems.fused(systems.words))["recall@20"]] * len(counts)
    path = systems.law.settings.cache / "pictures" / f"legal-learning-{systems.law.name}.png"
    lines(asked, curves, path, title="Learning to find the article", x_label="training questions", y_label="recall@20",
          logarithmic="x")  # fmt: skip


def attended_rows(systems: Systems) -> Iterator[Row]:
    """Where both engines look, and MiniLM before it was trained."""
    law, most = systems.law, max(systems.law.sizes.counts)
    models = {name: law.trained(name, most)[1] for name in (PARAFORMER, CNN)}
    models["Paraformer, not trained"] = systems.untrained()["Paraformer, not trained"]
    yield from attention_rows(law, models, asked=PARAFORMER, most=law.sizes.planted)
