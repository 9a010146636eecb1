"""train ranker, train blockrank, train legal: what orders the hits of a search, from judgements of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import notes, open_library
from foveal.cli.training import AskedOfJudged, FirstStage, Negatives, command, judged_library, progress, require_base
from foveal.errors import InputError, UnknownName
from foveal.ranking.neural import MODELS

if TYPE_CHECKING:
    from foveal.evaluation.legal import LegalCollection
    from foveal.ranking.judged import Judged
    from foveal.ranking.legal_training import Aside
    from foveal.training.blockrank import RankingList

CROSS_ENCODER = "cross-encoder"
OF_FEATURES = ("pairwise", "coordinate-ascent", "lambdamart")
ENGINES = ("paraformer", "attentive-cnn")
ELSEWHERE = {
    **{name: name for name in ("blockrank", "late", "reranker", "goal-ranker")},
    **{engine: f"legal {engine}" for engine in ENGINES},
}
"""Rankers that are trained by other commands, and by which."""


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    for one in (ranker, blockrank, legal):
        app.command()(one)


@command
def ranker(
    which: Annotated[
        str, typer.Argument(help=f"{CROSS_ENCODER}; {', '.join(OF_FEATURES)}; {', '.join(MODELS)}.", metavar="WHICH")
    ],
    loss: Annotated[
        str | None,
        typer.Option(
            help=f"{CROSS_ENCODER}: listwise, bce, listnet, listmle, plistmle, ranknet, lambda; the others: hinge, "
            "ranknet, softmax, listnet, listmle, attention-rank, lambdarank, bce, mse, or a sum: softmax+bce."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help=f"Encoder that the {CROSS_ENCODER} begins as, or whose word vectors the others take "
            '("none": learnt from the texts). Default: the library\'s.'
        ),
    ] = None,
    first_stage: FirstStage = None,
    query_words: Annotated[int | None, typer.Option(min=1, help="Words of a query that are read.")] = None,
    document_words: Annotated[int | None, typer.Option(min=1, help="Words of a passage that are read.")] = None,
    negatives: Negatives = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train WHICH ranker to order what a search finds. Stopped with Ctrl-C, the same command goes on."""
    trained(
        which, asked, loss=loss, base=base, first_stage=first_stage, negatives=negatives, query_words=query_words,
        document_words=document_words,
    )  # fmt: skip


def trained(
    which: str, asked: AskedOfJudged, *, loss: str | None, base: str | None, first_stage: str | None,
    negatives: int | None, query_words: int | None = None, document_words: int | None = None,
) -> None:  # fmt: skip
    """Train one of the rankers, and tell what came of it. UnknownName: there is none of that name."""
    if which not in (CROSS_ENCODER, *OF_FEATURES, *MODELS):
        known = ", ".join((CROSS_ENCODER, *OF_FEATURES, *MODELS))
        if which in ELSEWHERE:
            raise UnknownName(f"{which} has a command of its own: foveal train {ELSEWHERE[which]}. Here are: {known}.")
        raise UnknownName(f"No ranker is called {which!r}. There are: {known}.")
    from foveal.ranking.feature_ranker import train_features
    from foveal.ranking.judged_training import train_cross_encoder, train_neural
    from foveal.ranking.neural.training import NeuralSettings
    from foveal.training.rerankers import RerankerSettings

    if which in OF_FEATURES:
        _refuse(
            which, epochs=asked.epochs, steps=asked.steps, batch=asked.batch, learning_rate=asked.learning_rate,
            negatives=negatives, patience=asked.patience, loss=loss, base=base, query_words=query_words,
            document_words=document_words,
        )  # fmt: skip
        judged, test = asked.learnt_from(first_stage)
        with progress() as on_progress:
            folder, report = train_features(which, judged, run=asked.run(on_progress, test=test), seed=asked.seed)
        asked.told_ranker(report, folder, first_stage)
        return
    crossed = which == CROSS_ENCODER
    if crossed and (query_words or document_words):
        raise InputError(
            f"A {CROSS_ENCODER} reads what fits its window; --query-words and --document-words are for the others."
        )
    chosen: Any = RerankerSettings() if crossed else NeuralSettings.of(which)
    given = {
        "negatives": negatives,
        "objective" if crossed else "loss": loss,
        "query_length": query_words,
        "document_length": document_words,
    }
    loop = asked.loop(chosen.loop, mixed=crossed)
    chosen = replace(chosen, loop=loop, **{key: value for key, value in given.items() if value is not None})
    require_base(None if base == "none" else base, "encoder", asked.settings)
    judged, test = asked.learnt_from(first_stage)
    base = base or _own_encoder(asked)
    with progress() as on_progress:
        run = asked.run(on_progress, test=test)
        if crossed:
            folder, report = train_cross_encoder(judged, "minilm" if base == "none" else base, chosen, run=run)
        else:
            folder, report = train_neural(which, judged, chosen, run=run, encoder=None if base == "none" else base)
    asked.told_ranker(report, folder, first_stage)


def _refuse(which: str, **given: object) -> None:
    """InputError: an option was given that a model of features has no use for."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if named:
        raise InputError(f"{which} is fitted at once to what the first stage finds; leave out {', '.join(named)}.")


@command
def blockrank(
    model: Annotated[
        str | None, typer.Option(help="Language model to begin with: one of `foveal models`, a folder, or a hub id.")
    ] = None,
    layer: Annotated[str, typer.Option(help='Layer of the signal, from 0; "auto": the best one untrained.')] = "auto",
    objective: Annotated[str, typer.Option(help="ntp+aux, or aux: cheaper, no layer above the signal's.")] = "ntp+aux",
    learned: Annotated[str, typer.Option(help="lora, layers, or full.")] = "lora",
    documents: Annotated[int | None, typer.Option(min=2, help="Documents of a list that is learnt from.")] = None,
    kept: Annotated[
        bool, typer.Option("--kept", help="No question before a passage: what was read is kept, and searches are fast.")
    ] = False,
    lists: Annotated[
        Path | None, typer.Option(help="Learn from JSON lines of a query, its candidates and answer_ids, no library.")
    ] = None,
    first_stage: FirstStage = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train a language model to rank by where it looks. Stopped with Ctrl-C, the same command goes on."""
    from foveal.models.language import DEFAULT, load_language_model
    from foveal.ranking.judged_training import train_blockrank, train_lists
    from foveal.training.blockrank import BlockRankSettings

    chosen = BlockRankSettings(objective=objective, learned=learned)
    chosen = replace(chosen, loop=asked.loop(chosen.loop, mixed=True), documents=documents or chosen.documents)
    signal = int(layer) if layer.isdecimal() else layer
    if lists is None:
        judged, test = asked.learnt_from(first_stage)
        train: Callable[..., Any] = partial(train_blockrank, judged)
    else:
        test, train = None, partial(train_lists, _listed(lists, asked, first_stage))
    with notes().status("Loading the language model …"):
        loaded = load_language_model(model or DEFAULT, dtype="float32", cache=asked.settings.cache)
    with progress() as on_progress:
        run = asked.run(on_progress, test=test)
        folder, report = train(loaded, chosen, run=run, layer=signal, kept=kept)
    asked.told_ranker(report, folder, first_stage)


def _listed(lists: Path, asked: AskedOfJudged, first_stage: str | None) -> list[RankingList]:
    """The lists of a file. InputError: another source is named beside them, or they are none."""
    from foveal.training.blockrank import read_lists

    if any((asked.data, asked.test_split, asked.judgements, asked.queries, first_stage)):
        raise InputError(
            "--lists has queries, candidates and answers of its own; leave out --data, --test-split, --judgements, "
            "--queries and --first-stage."
        )
    return read_lists(lists)


@command
def legal(
    engine: Annotated[str, typer.Argument(help=f"{', '.join(ENGINES)}.")] = "paraformer",
    base: Annotated[str | None, typer.Option(help="Encoder of a Paraformer. Default: the library's.")] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="The encoder stays as it is: far cheaper.")] = False,
    language: Annotated[str, typer.Option(help="How words are cut: plain, ja, vi.")] = "plain",
    cut: Annotated[
        str | None,
        typer.Option(help="Sentences of an article: lines (default of --data), sentences (of a library), or clauses."),
    ] = None,
    negatives: Negatives = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train a model that ranks articles by their sentences. Stopped with Ctrl-C, the same command goes on."""
    if engine not in ENGINES:
        raise UnknownName(f"No engine of legal search is called {engine!r}. There are: {', '.join(ENGINES)}.")
    if engine == "attentive-cnn" and (base is not None or frozen):
        raise InputError(f"{engine} reads by word vectors of its own; --base and --frozen are for a Paraformer.")
    asked.require_one_source()
    require_base(base, "encoder", asked.settings)
    from foveal.ranking.judged_training import train_articles
    from foveal.ranking.legal_training import LegalForm
    from foveal.training.articles import TUNED

    cut = cut or ("lines" if asked.data else "sentences")
    form = LegalForm(engine=engine, learns=not frozen, language=language, cut=cut)
    chosen = replace(form.usual, loop=asked.loop(form.usual.loop, mixed=form.usual is TUNED))
    if negatives:
        chosen = replace(chosen, hard=negatives - negatives // 2, random=negatives // 2)
    collection, test, aside, said = _articles(asked)
    base = base or _own_encoder(asked)
    form = replace(form, encoder="minilm" if base == "none" else base)
    with progress() as on_progress:
        run = asked.run(on_progress, test=test)
        folder, report = train_articles(collection, form, chosen, run=run, aside=aside)
    asked.told_ranker(replace(report, notes=(*said, *report.notes)), folder)


def _articles(asked: AskedOfJudged) -> tuple[LegalCollection, LegalCollection | None, Aside, tuple[str, ...]]:
    """Articles with their questions, those that are only measured, what counts neither way, and what was left out."""
    if asked.data is not None:
        from foveal.evaluation.legal import load_obliqa

        test = load_obliqa(asked.data, asked.test_split) if asked.test_split else None
        return load_obliqa(asked.data, asked.split), test, {}, ()
    from foveal.ranking.judged_training import articles_of

    judged: Judged = judged_library(open_library(asked.settings), asked.judgements, asked.queries, None)
    return articles_of(judged), None, judged.examples.aside, judged.notes


def _own_encoder(asked: AskedOfJudged) -> str:
    """The encoder that the library was made with, "none" among them; of a folder the default one."""
    return "minilm" if asked.data is not None else str(open_library(asked.settings).store.settings["encoder"])
