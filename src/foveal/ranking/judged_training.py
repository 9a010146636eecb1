"""Trains each kind of ranker on judged queries and the first stage that it will stand behind (`ranking.judged`).

    run = RunSettings(home=home)
    folder, report = train_neural("knrm", judged, NeuralSettings.of("knrm"), run=run)
    folder, report = train_cross_encoder(judged, "minilm", RerankerSettings(), run=run)
    folder, report = train_blockrank(judged, model, BlockRankSettings(), run=run)
    folder, report = train_articles(articles_of(judged), LegalForm(), TUNED, run=run)

Held out   a tenth of the queries, more where they are few: ten, if that is no more than three of ten
Negatives  as many as the settings ask for, or as there are where a library is small
Guard      the folder is None, and the model lies in the run's `rejected/`, unless it orders what the first stage finds
           for the held-out queries better than the first stage does
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.evaluation.legal import Article, LegalCollection
from foveal.evaluation.metrics import Run, evaluate
from foveal.ranking.judged import Judged
from foveal.retrieval.pipeline import CANDIDATES
from foveal.training.examples import Examples
from foveal.training.report import Report, seen_before
from foveal.training.runs import RunSettings
from foveal.training.searches import run_of
from foveal.training.watch import Progress

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel
    from foveal.ranking.blockrank_prompt import Layout
    from foveal.ranking.legal_training import Aside, LegalForm
    from foveal.ranking.neural.inputs import Vocabulary
    from foveal.ranking.neural.training import NeuralSettings
    from foveal.training.articles import ArticleTraining
    from foveal.training.blockrank import BlockRankSettings, RankingList
    from foveal.training.rerankers import RerankerSettings

Made = tuple[Path | None, Report]
"""The folder of the model (HOME/models/<name>; None if it was not kept) and the report."""

HELD, MOST_HELD, LEAST_HELD = 10, 0.3, 0.1
"""Queries that are held out, and the shares that this may be."""

LISTED = CANDIDATES
"""Candidates of a held-out list for BlockRank: as many as `foveal search --rank` gives."""


def require_own_dev(run: RunSettings[Any]) -> None:
    """InputError: dev data are given. Rankers are compared, so the same queries are held out for all."""
    if run.dev is not None:
        raise InputError("A ranker's training holds judged queries out by itself. Leave dev out of the run's settings.")


def held_share(count: int) -> float:
    """The share of `count` queries that is held out."""
    return min(MOST_HELD, max(LEAST_HELD, HELD / count))


def parted(examples: Examples) -> tuple[Examples, Examples]:
    """Queries to learn from, and those held out: whatever the seed of a training, so that runs can be compared.

    InputError: fewer than two different ones.
    """
    return examples.split(dev=held_share(len(examples.queries)))


def most_negatives(examples: Examples, wanted: int) -> int:
    """`wanted`, or as many texts as may be negatives of the query that has the fewest of those; at least 1."""
    holding = Counter(examples.codes.values())
    spared = max(sum(holding[code] for code in codes) for codes in examples.spared.values())
    return max(1, min(wanted, len(examples.corpus) - spared))


# -- neural rankers ---------------------------------------------------------------------------------------------------


def train_neural(
    name: str, judged: Judged, settings: NeuralSettings, *, run: RunSettings[Examples], encoder: str | None = "minilm"
) -> Made:
    """One of `neural.MODELS`. Its word vectors are rows of `encoder`'s table; None: they are learnt from the texts.

    InputError: the first stage finds nothing for any query, and as `train_ranker`.
    """
    from foveal.ranking.neural.training import KnownWords, train_ranker, vocabulary_of
    from foveal.ranking.neural.vectors import WordVectors

    require_own_dev(run)
    run.on_progress(Progress(0, 0, note=f"Searching for {len(judged.examples.queries):,} queries"))
    found = run_of(judged.search, judged.examples, settings.depth)
    examples, notes = _findable(judged.examples, found)
    learnt, dev = parted(examples)
    test, test_found = run.test, None
    if test is not None:
        test_found = run_of(judged.search, test, settings.depth)
        test, lost = _findable(test, test_found)
        notes = (*notes, *(f"test: {note}" for note in lost))
    vocabulary = vocabulary_of(learnt, settings)
    dimension = max(1, min(settings.dimension, _room(vocabulary, encoder, run.cache_at)))
    dimension -= dimension % 10 if dimension > 10 else 0  # TK's heads part the vectors
    settings = replace(settings, negatives=most_negatives(learnt, settings.per_row), dimension=dimension)
    if encoder is None:
        texts = learnt.corpus.values()
        vectors = WordVectors.trained_on(texts, vocabulary, settings.dimension, seed=settings.loop.seed)
        words = KnownWords(vocabulary, vectors)
    else:
        words = KnownWords.of_encoder(encoder, vocabulary, settings, run.cache_at)
    run = run.measured_by(dev, test)
    folder, report = train_ranker(name, learnt, found, settings, run=run, test_found=test_found, words=words)
    return folder, _with_notes(report, judged, notes)


def _room(vocabulary: Vocabulary, encoder: str | None, cache: Path) -> int:
    """Most numbers of a word vector: half as many as there are words to make them of, no more than the encoder has."""
    if encoder is None:
        return vocabulary.known // 2
    from foveal.models.hub import folder_of
    from foveal.models.word_vectors import word_vectors

    spelt, width = word_vectors(folder_of(encoder, cache, kind="encoder"), vocabulary.words)[1].shape
    return min(spelt // 2, width)


def _findable(examples: Examples, found: Run) -> tuple[Examples, tuple[str, ...]]:
    """The queries for which something was found. InputError: there are none."""
    kept = [query for query in examples.queries if found.get(query)]
    if not kept:
        raise InputError(
            f"The first stage finds nothing for any of the {len(examples.queries)} queries, so there is nothing to "
            "order. Do queries and texts belong together?"
        )
    lost = len(examples.queries) - len(kept)
    notes = (f"{lost} queries were left out: nothing is found for them.",) if lost else ()
    return examples.only(kept), notes


# -- the cross-encoder ------------------------------------------------------------------------------------------------


def train_cross_encoder(judged: Judged, base: str, settings: RerankerSettings, *, run: RunSettings[Examples]) -> Made:
    """A cross-encoder that begins as `base`; else as `train_reranker`."""
    from foveal.training.rerankers import train_reranker

    require_own_dev(run)
    learnt, dev = parted(judged.examples)
    settings = replace(settings, negatives=most_negatives(learnt, settings.negatives))
    run = replace(run, dev=dev)
    folder, report = train_reranker(learnt, judged.search, base, settings, run=run, first_stage_name=judged.stage)
    return folder, _with_notes(report, judged)


# -- BlockRank --------------------------------------------------------------------------------------------------------


def train_blockrank(
    judged: Judged,
    model: LanguageModel,
    settings: BlockRankSettings,
    *,
    run: RunSettings[Examples],
    layer: int | str = "auto",
    kept: bool = False,
) -> Made:
    """A copy of `model` that ranks by its attention (`fine_tune`); kept only if it beats both itself untrained and the
    first stage.

    Learnt lists hold the answers and what the first stage finds besides; lists that it is measured by hold only what
    the first stage finds. `kept`: by the layout under which documents can be kept and used again. InputError: it finds
    no answer for any held-out query, and as `fine_tune`.
    """
    from foveal.ranking.blockrank_training import fine_tune
    from foveal.training.blockrank import METRICS, lists_of
    from foveal.training.negatives import filled, top_negatives

    require_own_dev(run)
    learnt, dev = parted(judged.examples)
    wanted = most_negatives(learnt, settings.documents - 1)
    pools = top_negatives(run_of(judged.search, learnt, 2 * settings.documents), learnt, depth=2 * settings.documents)
    lists = lists_of(learnt, filled(pools, learnt, wanted, seed=settings.loop.seed))
    held, first = found_lists(judged, dev)
    test = found_lists(judged, run.test)[0] if run.test else None
    metric, shown = METRICS[0], {query: one for query, one in dev.judged.items() if query in first}
    before = evaluate(first, shown, METRICS)[metric]

    def decide(report: Report) -> Report:
        if report.measured["dev"][1][metric] > before:
            return report
        return refused(report, "The model was not kept: on the dev queries it orders no better than the first stage.")

    folder, report = fine_tune(
        model, [_titled(one, judged.headings) for one in lists], settings, run=run.measured_by(held, test),
        layer=layer, layout=_layout(model, kept=kept), decide=decide,
    )  # fmt: skip
    reached = report.measured["dev"][1][metric]
    said = f"dev: {metric} {before:.4f} by the first stage ({judged.stage}), {reached:.4f} by the model."
    return folder, _with_notes(report, judged, (said,))


def train_lists(
    lists: Sequence[RankingList],
    model: LanguageModel,
    settings: BlockRankSettings,
    *,
    run: RunSettings[Sequence[RankingList]],
    layer: int | str = "auto",
    kept: bool = False,
) -> Made:
    """The same from lists that hold their own candidates and answers; kept only if it beats itself untrained."""
    from foveal.ranking.blockrank_training import fine_tune

    queries = {" ".join(one.query.split()) for one in lists}
    settings = replace(settings, dev_share=held_share(len(queries)) if len(queries) > 1 else settings.dev_share)
    return fine_tune(model, lists, settings, run=run, layer=layer, layout=_layout(model, kept=kept))


def _layout(model: LanguageModel, *, kept: bool) -> Layout:
    from foveal.ranking.blockrank import KEPT
    from foveal.ranking.blockrank_prompt import Layout

    offset = min(Layout().query_offset, model.context_tokens // 2)  # for models of few positions
    return replace(KEPT if kept else Layout(), query_offset=offset)


def found_lists(judged: Judged, examples: Examples) -> tuple[list[RankingList], Run]:
    """What the first stage finds for each query, as lists in its order and as its run; queries of which it finds no
    answer are left out, since no order of it would be right. InputError: these are all.
    """
    from foveal.training.blockrank import ListedDocument, RankingList

    lists, run = [], {}
    for query, scores in run_of(judged.search, examples, LISTED).items():
        answers = frozenset(name for name in scores if examples.judged[query].get(name, 0) > 0)
        if answers:
            documents = tuple(ListedDocument(name, examples.corpus[name]) for name in scores)
            listed = RankingList(examples.queries[query], documents, answers, query)
            lists.append(_titled(listed, judged.headings))
            run[query] = dict(scores)
    if not lists:
        raise InputError(
            f"Among the first {LISTED} texts that are found for the {len(examples.queries)} held-out queries there is "
            "no relevant one, so nothing can be measured. Judge more queries, or more of what is found."
        )
    return lists, run


def _titled(listed: RankingList, headings: Mapping[str, str]) -> RankingList:
    """The list with the headings that its documents are shown with when they are ranked."""
    return replace(
        listed, documents=tuple(replace(one, title=headings.get(one.id, one.title)) for one in listed.documents)
    )


# -- models of articles -----------------------------------------------------------------------------------------------


def train_articles(
    collection: LegalCollection,
    form: LegalForm,
    training: ArticleTraining,
    *,
    run: RunSettings[LegalCollection],
    aside: Aside | None = None,
) -> Made:
    """A Paraformer or an Attentive CNN (`train_legal`), kept only if the weight that is best on held-out questions
    gives it a part in the ranking.

    The first stage is words, BM25, whatever search stands before it later: that is what the weight is tuned beside.
    """
    from foveal.ranking.legal_training import Tuned, examples_of, train_legal

    require_own_dev(run)
    learnt, dev = parted(examples_of(collection, form.corpus(collection.articles.values()), aside))
    wanted = training.hard + training.random
    room = most_negatives(learnt, wanted)
    hard = round(training.hard * room / wanted)
    training = replace(training, hard=hard, random=room - hard)

    def decide(found: Tuned, report: Report) -> Report:
        weight, curve = found.settings.weight, found.curve
        said = (
            f"dev: F2 of the first {curve[0.0]:.4f} by words alone, {curve[1.0]:.4f} by the model alone, "
            f"{curve[weight]:.4f} by both with weight {weight}."
        )
        report = replace(report, notes=(*report.notes, said))
        if curve[weight] > curve[0.0]:
            return report
        return refused(report, "The model was not kept: beside words it adds nothing on the dev questions.")

    folder, report = train_legal(
        _asking(collection, learnt), form, training, run=replace(run, dev=_asking(collection, dev)), aside=aside,
        decide=decide,
    )  # fmt: skip
    notes = seen_before(_asked(run.test), _asked(collection), "questions") if run.test else ()
    return folder, replace(report, notes=(*report.notes, *notes))


def articles_of(judged: Judged) -> LegalCollection:
    """A library's passages as articles, with what was asked of them."""
    examples = judged.examples
    articles = {name: Article(name, text, judged.headings.get(name)) for name, text in examples.corpus.items()}
    return LegalCollection(examples.name, articles, examples.queries, examples.judged)


def _asked(collection: LegalCollection) -> list[str]:
    return [" ".join(one.split()) for one in collection.queries.values()]


def _asking(collection: LegalCollection, examples: Examples) -> LegalCollection:
    return LegalCollection(collection.name, collection.articles, examples.queries, examples.judged)


# -- the guard --------------------------------------------------------------------------------------------------------


def refused(report: Report, reason: str) -> Report:
    """The report of a model that is not kept after all, said before it takes the place of an earlier one."""
    return replace(report, kept=False, notes=(*report.notes, reason))


def _with_notes(report: Report, judged: Judged, notes: Sequence[str] = ()) -> Report:
    return replace(report, notes=(*judged.notes, *notes, *report.notes))
