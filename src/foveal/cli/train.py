"""train: a better encoder or ranker from judged queries, or from the library itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import (
    train_aaren,
    train_boundaries,
    train_bprop,
    train_classifier,
    train_codebook,
    train_corpusbrain,
    train_events,
    train_headlines,
    train_kept,
    train_landmark,
    train_language,
    train_lexsembridge,
    train_planner,
    train_pretraining,
    train_rankers,
    train_segmenter,
    train_titans_reader,
)
from foveal.cli.output import has_library, notes, open_library
from foveal.cli.train_bprop import Base
from foveal.cli.training import AskedOfJudged, FirstStage, Negatives, command, of_home, progress, require_base, told
from foveal.errors import InputError
from foveal.settings import expanded

if TYPE_CHECKING:
    from foveal.settings import Settings
    from foveal.training.examples import Examples
    from foveal.training.searches import Floats

app = typer.Typer(help="Train a model on your own data; it is kept only if it is better.", no_args_is_help=True)

Window = Annotated[int | None, typer.Option(help="Tokens of a text read while training: fewer is faster.")]


@app.callback()
def group() -> None:
    """Train a model on your own data; it is kept only if it is better."""


@app.command()
@command
def encoder(
    arm: Annotated[
        str,
        typer.Option(
            help="Where negatives come from: in-batch, bm25, mined, filtered, ance, simans, with a --teacher denoised; "
            "or whose scores are learnt: margin-mse, kl, with a --teacher adversarial."
        ),
    ] = "mined",
    objective: Annotated[
        str,
        typer.Option(
            help="What is made small, where no teacher's scores are: in-batch, symmetric, cached (large batches in "
            "little memory), passage-centric, memory-bank, matryoshka."
        ),
    ] = "in-batch",
    base: Base = "minilm",
    teacher: Annotated[
        str | None,
        typer.Option(
            help="A re-ranker trained here, or its folder: for the arms margin-mse, kl, denoised, adversarial."
        ),
    ] = None,
    typos: Annotated[
        float, typer.Option(help="Share of the queries that are misspelt while it learns: 0.5 where people type fast.")
    ] = 0.0,
    negatives: Negatives = None,
    window: Window = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train a sentence encoder for search by meaning. Stopped with Ctrl-C, the same command goes on."""
    from foveal.ranking.judged import as_encoded
    from foveal.ranking.judged_training import parted
    from foveal.training.encoders import EncoderSettings, check_teacher, train_encoder
    from foveal.training.loop import LoopSettings

    settings, loop = asked.settings, asked.loop(LoopSettings(), mixed=True)
    chosen = EncoderSettings(arm=arm, objective=objective, negatives=negatives, window=window, loop=loop, typos=typos)
    check_teacher(arm, given=teacher is not None)  # before anything is read
    require_base(base, "encoder", settings)
    place = None if teacher is None else _reranker(teacher, settings.home)
    judged, test = asked.learnt_from("none" if asked.data else None)
    taught = {} if place is None else _taught_by(place)
    learnt, dev = parted(as_encoded(judged))
    known = None if asked.data else _vectors_here(learnt, base, settings)
    with progress() as on_progress:
        run = asked.run(on_progress, dev=dev, test=test)
        folder, report = train_encoder(learnt, base, chosen, vectors=known, run=run, **taught)
    report = replace(report, notes=(*judged.notes, *report.notes))
    use = f"in a new library: foveal add … --encoder {folder} --home NEW"
    if has_library(settings):
        use = f"in this library: foveal admin encoder {report.name} {of_home(settings)}; or {use}"
    told(report, folder if report.kept else None, f"Use it {use}", settings, as_json=asked.as_json)


def _vectors_here(learnt: Examples, base: str, settings: Settings) -> Floats | None:
    """What the library has of the base's vectors, so that these texts are not encoded again; None: it has none."""
    from foveal.models import load_encoder
    from foveal.ranking.judged import vectors_of

    library = open_library(settings)
    if library.store.dimension is None:
        return None
    with notes().status("Looking for vectors in the library …"):
        return vectors_of(library.store, learnt.corpus, load_encoder(base, cache=settings.cache, home=settings.home))


def _reranker(name: str, home: Path) -> Path:
    """The folder of the cross-encoder that is meant: a path, or a model trained here. InputError: it is none."""
    place = next((one for one in (expanded(name), home / "models" / name) if one.is_dir()), None)
    if place is None:
        raise InputError(
            f"There is no re-ranker {name!r}, here or in {home / 'models'}. Give the name of one that `foveal train "
            "reranker` made, or a folder."
        )
    try:
        kinds = [str(one) for one in json.loads((place / "config.json").read_text("utf-8"))["architectures"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place} holds no cross-encoder ({error}). Train one: foveal train reranker") from error
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):  # else its head would be drawn
        raise InputError(f"{place} holds {', '.join(kinds)}, no cross-encoder. Train one: foveal train reranker")
    return place


def _taught_by(place: Path) -> dict[str, Any]:
    """The teacher, known by its files: trained anew in the same place it is another."""
    from foveal.models.folders import fingerprint
    from foveal.training.rerankers import Scorer

    return {"teacher": Scorer(place), "teacher_name": f"{place.name} {fingerprint(place)}"}


@app.command()
@command
def late(
    dimension: Annotated[int, typer.Option(help="Numbers of a token's vector.", min=1)] = 128,
    base: Base = "minilm",
    negatives: Negatives = None,
    window: Window = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train token vectors that order a search's hits (late interaction). After Ctrl-C the same command goes on."""
    from foveal.ranking.judged_training import parted
    from foveal.training.late_encoders import LateEncoderSettings, train_late_encoder

    usual = LateEncoderSettings()
    loop = asked.loop(replace(usual.loop, epochs=3, batch=16), mixed=True)
    chosen = LateEncoderSettings(
        dimension=dimension, negatives=usual.negatives if negatives is None else negatives, window=window, loop=loop
    )
    require_base(base, "encoder", asked.settings)
    judged, test = asked.learnt_from("none" if asked.data else None)
    learnt, dev = parted(judged.examples)
    with progress() as on_progress:
        run = asked.run(on_progress, dev=dev, test=test)
        folder, report = train_late_encoder(learnt, base, chosen, run=run)
    report = replace(report, notes=(*judged.notes, *report.notes))
    asked.told_ranker(report, folder)


@app.command()
@command
def reranker(
    objective: Annotated[
        str, typer.Option(help="listwise, bce, listnet, listmle, plistmle, ranknet, or lambda.")
    ] = "listwise",
    base: Base = "minilm",
    first_stage: FirstStage = None,
    negatives: Negatives = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train a cross-encoder that orders the hits of a search; `train ranker cross-encoder` is the same."""
    train_rankers.trained(
        train_rankers.CROSS_ENCODER, asked, loss=objective, base=base, first_stage=first_stage, negatives=negatives
    )


train_rankers.register(app)
for _command in (
    train_lexsembridge.lexsembridge,
    train_bprop.bprop,
    train_pretraining.pretraining,
    train_corpusbrain.corpusbrain,
    train_headlines.headline_judge,
    train_headlines.headline_writer,
    train_segmenter.segmenter,
    train_events.events,
    train_landmark.landmark,
    train_boundaries.boundaries,
    train_aaren.aaren,
    train_classifier.classifier,
    train_language.language_model,
    train_titans_reader.titans_reader,
    train_codebook.agent,
    train_codebook.goal_ranker,
    train_planner.planner,
):
    app.command()(_command)
train_kept.register(app)
