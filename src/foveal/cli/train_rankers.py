"""train ranker, train blockrank, train legal: what orders the hits of a search, from judgements of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, notes, open_library
from foveal.cli.training import (
    Anew,
    Batch,
    Data,
    Epochs,
    FirstStage,
    Judgements,
    LibraryHome,
    Name,
    Negatives,
    Patience,
    Queries,
    Rate,
    Seed,
    Split,
    Steps,
    TestSplit,
    judged_library,
    learnt_from,
    loop_of,
    progress,
    require_one_source,
    told_ranker,
)
from foveal.errors import InputError, UnknownName
from foveal.ranking.neural import MODELS

if TYPE_CHECKING:
    from foveal.evaluation.legal import LegalCollection
    from foveal.ranking.judged import Judged
    from foveal.ranking.legal_training import Aside
    from foveal.settings import Settings

CROSS_ENCODER = "cross-encoder"
OF_FEATURES = ("pairwise", "coordinate-ascent", "lambdamart")
ENGINES = ("paraformer", "attentive-cnn")


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    for command in (ranker, blockrank, legal):
        app.command()(command)


def ranker(
    which: Annotated[
        str, typer.Argument(help=f"{CROSS_ENCODER}; {', '.join(OF_FEATURES)}; {', '.join(MODELS)}.", metavar="WHICH")
    ],
    data: Data = None,
    split: Split = "train",
    test_split: TestSplit = None,
    judgements: Judgements = None,
    queries: Queries = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help=f"{CROSS_ENCODER}: listwise, bce; the others: hinge, ranknet, softmax, listnet, listmle, "
            "attention-rank, lambdarank, bce, mse."
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
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    negatives: Negatives = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: LibraryHome = None,
    as_json: AsJson = False,
) -> None:
    """Train WHICH ranker to order what a search finds. Stopped with Ctrl-C, the same command goes on."""
    if which not in (CROSS_ENCODER, *OF_FEATURES, *MODELS):
        known = ", ".join((CROSS_ENCODER, *OF_FEATURES, *MODELS))
        raise UnknownName(f"No ranker is called {which!r}. There are: {known}.")
    from foveal.ranking.feature_ranker import train_features
    from foveal.ranking.judged_training import RunSettings, train_cross_encoder, train_neural
    from foveal.ranking.neural.training import NeuralSettings
    from foveal.settings import Settings
    from foveal.training.rerankers import RerankerSettings

    settings = Settings.load(home)
    if which in OF_FEATURES:
        _refuse(
            which, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, negatives=negatives,
            patience=patience, loss=loss, base=base, query_words=query_words, document_words=document_words,
        )  # fmt: skip
        judged, test = learnt_from(
            settings, data=data, split=split, test_split=test_split, judgements=judgements, queries=queries,
            first_stage=first_stage, seed=seed,
        )  # fmt: skip
        with progress() as on_progress:
            run = RunSettings(home=settings.home, name=name, test=test, on_progress=on_progress, anew=anew)
            folder, report = train_features(which, judged, run=run, seed=seed)
        told_ranker(report, folder, settings, as_json=as_json)
        return
    crossed = which == CROSS_ENCODER
    if crossed and (query_words or document_words):
        raise InputError(
            f"A {CROSS_ENCODER} reads what fits its window; --query-words and --document-words are for the others."
        )
    chosen: Any = RerankerSettings() if crossed else NeuralSettings.of(which)
    loop = loop_of(
        chosen.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed,
        patience=patience, mixed=crossed,
    )  # fmt: skip
    given = {
        "negatives": negatives,
        "objective" if crossed else "loss": loss,
        "query_length": query_words,
        "document_length": document_words,
    }
    chosen = replace(chosen, loop=loop, **{key: value for key, value in given.items() if value is not None})
    judged, test = learnt_from(
        settings, data=data, split=split, test_split=test_split, judgements=judgements, queries=queries,
        first_stage=first_stage, seed=seed,
    )  # fmt: skip
    base = base or _own_encoder(data, settings)
    with progress() as on_progress:
        run = RunSettings(
            home=settings.home, name=name, test=test, on_progress=on_progress, anew=anew, cache=settings.cache
        )
        if crossed:
            folder, report = train_cross_encoder(judged, "minilm" if base == "none" else base, chosen, run=run)
        else:
            folder, report = train_neural(which, judged, chosen, run=run, encoder=None if base == "none" else base)
    told_ranker(report, folder, settings, as_json=as_json)


def _refuse(which: str, **given: object) -> None:
    """InputError: an option was given that a model of features has no use for."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if named:
        raise InputError(f"{which} is fitted at once to what the first stage finds; leave out {', '.join(named)}.")


def blockrank(
    data: Data = None,
    split: Split = "train",
    test_split: TestSplit = None,
    judgements: Judgements = None,
    queries: Queries = None,
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
    first_stage: FirstStage = None,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: LibraryHome = None,
    as_json: AsJson = False,
) -> None:
    """Train a language model to rank by where it looks. Stopped with Ctrl-C, the same command goes on."""
    from foveal.models.language import DEFAULT, load_language_model
    from foveal.ranking.judged_training import RunSettings, train_blockrank
    from foveal.settings import Settings
    from foveal.training.blockrank import BlockRankSettings

    settings = Settings.load(home)
    chosen = BlockRankSettings(objective=objective, learned=learned)
    loop = loop_of(
        chosen.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed,
        patience=patience,
    )  # fmt: skip
    chosen = replace(chosen, loop=loop, documents=documents or chosen.documents)
    signal = int(layer) if layer.isdecimal() else layer
    judged, test = learnt_from(
        settings, data=data, split=split, test_split=test_split, judgements=judgements, queries=queries,
        first_stage=first_stage, seed=seed,
    )  # fmt: skip
    with notes().status("Loading the language model …"):
        loaded = load_language_model(model or DEFAULT, dtype="float32", cache=settings.cache)
    with progress() as on_progress:
        run = RunSettings(
            home=settings.home, name=name, test=test, on_progress=on_progress, anew=anew, cache=settings.cache
        )
        folder, report = train_blockrank(judged, loaded, chosen, run=run, layer=signal, kept=kept)
    told_ranker(report, folder, settings, as_json=as_json)


def legal(
    engine: Annotated[str, typer.Argument(help=f"{', '.join(ENGINES)}.")] = "paraformer",
    data: Data = None,
    split: Split = "train",
    test_split: TestSplit = None,
    judgements: Judgements = None,
    queries: Queries = None,
    base: Annotated[str | None, typer.Option(help="Encoder of a Paraformer. Default: the library's.")] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="The encoder stays as it is: far cheaper.")] = False,
    language: Annotated[str, typer.Option(help="How words are cut: plain, ja, vi.")] = "plain",
    cut: Annotated[
        str | None,
        typer.Option(help="Sentences of an article: lines (default of --data), sentences (of a library), or clauses."),
    ] = None,
    name: Name = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    negatives: Negatives = None,
    seed: Seed = 0,
    patience: Patience = None,
    anew: Anew = False,
    home: LibraryHome = None,
    as_json: AsJson = False,
) -> None:
    """Train a model that ranks articles by their sentences. Stopped with Ctrl-C, the same command goes on."""
    if engine not in ENGINES:
        raise UnknownName(f"No engine of legal search is called {engine!r}. There are: {', '.join(ENGINES)}.")
    if engine == "attentive-cnn" and (base is not None or frozen):
        raise InputError(f"{engine} reads by word vectors of its own; --base and --frozen are for a Paraformer.")
    require_one_source(data, test_split, judgements, queries)
    from foveal.ranking.judged_training import RunSettings, train_articles
    from foveal.settings import Settings
    from foveal.training.articles import FROM_SCRATCH, FROZEN, TUNED

    settings = Settings.load(home)
    defaults = FROM_SCRATCH if engine == "attentive-cnn" else FROZEN if frozen else TUNED
    loop = loop_of(
        defaults.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed,
        patience=patience, mixed=defaults is TUNED,
    )  # fmt: skip
    chosen = replace(defaults, loop=loop)
    if negatives:
        chosen = replace(chosen, hard=negatives - negatives // 2, random=negatives // 2)
    collection, test, aside, said = _articles(settings, data, split, test_split, judgements, queries, seed)
    base = base or _own_encoder(data, settings)
    with progress() as on_progress:
        run = RunSettings(home=settings.home, name=name, on_progress=on_progress, anew=anew, cache=settings.cache)
        folder, report = train_articles(
            collection, engine, chosen, run=run, test=test, encoder="minilm" if base == "none" else base,
            learns=not frozen, language=language, cut=cut or ("lines" if data else "sentences"), aside=aside,
        )  # fmt: skip
    report = replace(report, notes=(*said, *report.notes))
    told_ranker(report, folder, settings, as_json=as_json)


def _articles(
    settings: Settings,
    data: Path | None,
    split: str,
    test_split: str | None,
    judgements: str | None,
    queries: Path | None,
    seed: int,
) -> tuple[LegalCollection, LegalCollection | None, Aside, tuple[str, ...]]:
    """Articles with their questions, those that are only measured, what counts neither way, and what was left out."""
    if data is not None:
        from foveal.evaluation.legal import load_obliqa

        return load_obliqa(data, split), load_obliqa(data, test_split) if test_split else None, {}, ()
    from foveal.ranking.judged_training import articles_of

    judged: Judged = judged_library(open_library(settings), judgements, queries, None, seed)
    return articles_of(judged), None, judged.examples.aside, judged.notes


def _own_encoder(data: Path | None, settings: Settings) -> str:
    """The encoder that the library was made with, "none" among them; of a folder the default one."""
    return "minilm" if data is not None else str(open_library(settings).store.settings["encoder"])
