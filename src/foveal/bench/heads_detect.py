"""bench heads, detect: the paper's claims on its own published files, and on the two models that come as wheels.

published   shares of heads by score, the heads that are always active, correlations within and across families, how
            few runs suffice; recounted from the score files of the paper's authors (data/retrieval_heads)
models      sentences unlike those that the shipped scores were made with, hidden in essays of 4k tokens: shares of
            heads, agreement of two halves and with the shipped scores, activation; as a control some of the questions
            behind no text

Runs are kept as they come: a stopped bench goes on. Not run here: the paper's grid of 600 runs up to 50k tokens, and
its models of 6B parameters and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from foveal.attention.head_detection import DetectionSettings, answered_without, detect, store_name
from foveal.attention.head_needles import retrieval_needles
from foveal.attention.retrieval_heads import RETRIEVAL, STRONG, HeadScores, find_scores, load_scores
from foveal.bench.attention_models import GEMMA, QWEN
from foveal.bench.code import code_digest
from foveal.bench.heads_data import essays
from foveal.bench.known_sets import held_to
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.classification import spearman
from foveal.evaluation.plots import heatmap, lines
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel, load_language_model

PUBLISHED = {
    "llama-2-7b-80k": (1024, 586, 70.2, 26.6, 2.6, 0.6),
    "llama-2-13b-64k": (1600, 367, 73.2, 24.7, 1.7, 0.4),
    "Mistral-7B-v0.2-hf": (1024, 362, 65.0, 30.8, 3.7, 0.5),
    "Mixtral-8x7B-v0.1": (1024, 390, 57.6, 36.2, 5.5, 0.7),
    "Yi-6B-200K": (1024, 567, 49.4, 45.4, 4.5, 0.7),
    "Qwen1.5-14B": (1600, 390, 53.4, 42.7, 3.2, 0.6),
    "Qwen1.5-14B-Chat": (1600, 221, 71.1, 24.6, 4.2, 0.1),
}
"""Heads, runs, and per cent of heads that score 0, up to 0.1, up to 0.5, more: counted when the files were taken."""

ALWAYS = ("llama-2-7b-80k", 12)
"""A model, and how many of its heads are active in every run."""

FEW_RETRIEVE, FEW_STRONG = 0.2, 0.05
"""The most of any model's heads that may score above 0.1, and above 0.5."""

TIE = 0.0501
"""24.75 may be printed as 24.7 or as 24.8."""

FAMILIES = (("Mistral-7B-v0.2-hf", "Mixtral-8x7B-v0.1"), ("Qwen1.5-14B", "Qwen1.5-14B-Chat"))
LENGTHS = {QWEN: 4096, GEMMA: 1024}
"""Tokens of a text; Gemma 3 270M answers next to nothing over 4,096."""
ASKED_WITHOUT = 6
"""Questions of the first sentences, asked behind no text."""

SEED = 11
"""Of the sentences; the shipped scores were made with seed 0."""


def detection(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-detect`."""
    yield from published_rows(settings)
    for name in (QWEN, GEMMA):
        yield from model_rows(settings, name)


# -- the published files -----------------------------------------------------------------------------------------------


def published_rows(settings: BenchSettings) -> Iterator[Row]:
    """What the authors' files say; files of other models are held to what the paper claims of any."""
    found = {name: load_scores(path) for name, path in _files(settings).items()}
    for name, scores in found.items():
        yield from _counted_rows(name, scores)
    if ALWAYS[0] in found:
        count = len(found[ALWAYS[0]].always_active())
        yield Row.of(f"published, {ALWAYS[0]}", "heads active in every run", count, at_least=ALWAYS[1],
                     at_most=ALWAYS[1])  # fmt: skip
    for one, other in combinations(found, 2):
        if found[one].runs.shape[1:] == found[other].runs.shape[1:]:
            yield from _alike(one, other, found[one], found[other])
    yield from _few_runs(found, settings.seed)


def _files(settings: BenchSettings) -> dict[str, Path]:
    """A model's name -> its file; those that were counted before come first. InputError: there are none."""
    folder = settings.data / "retrieval_heads"
    found = {path.name.partition(".json")[0]: path for path in sorted(folder.glob("*.json*"), reverse=True)}
    if not found:
        raise InputError(
            f"{folder} holds no head scores: <model>.json or .json.gz, a list of a score per run for each layer-head. "
            "Name the folder that holds retrieval_heads/ by --data or FOVEAL_DATA."
        )
    names = [*(name for name in PUBLISHED if name in found), *sorted(found.keys() - PUBLISHED.keys())]
    return {name: found[name] for name in names}


def _counted_rows(name: str, scores: HeadScores) -> Iterator[Row]:
    """Of a model that was counted before, the figures that differ; of another one, that few heads retrieve."""
    told, system = _counted(scores), f"published, {name}"
    note = f"{told[0]} heads, {told[1]} runs; % 0, ≤ 0.1, ≤ 0.5, more: " + ", ".join(f"{one:.1f}" for one in told[2:])
    if name in PUBLISHED:
        wrong = sum(abs(one - other) > TIE for one, other in zip(told, PUBLISHED[name], strict=True))
        yield Row.of(system, "figures that differ", wrong, at_most=0, note=note)
        return
    yield Row.of(system, "heads above 0.1, share", scores.share(RETRIEVAL), at_most=FEW_RETRIEVE, note=note)
    yield Row.of(system, "heads above 0.5, share", scores.share(STRONG), at_most=FEW_STRONG)


def _counted(scores: HeadScores) -> tuple[int, int, float, float, float, float]:
    mean = scores.scores.double()
    bands = [mean == 0, (mean > 0) & (mean <= RETRIEVAL), (mean > RETRIEVAL) & (mean <= STRONG), mean > STRONG]
    zero, low, middle, high = (100 * float(band.double().mean()) for band in bands)
    return mean.numel(), len(scores.runs), zero, low, middle, high


WITHIN, ACROSS = 0.8, 0.1
"""Correlations of score tables: at least within a family, at most across families."""


def _alike(one: str, other: str, mine: HeadScores, theirs: HeadScores) -> Iterator[Row]:
    """Of scores (Pearson), and of ranks (Spearman), in which the many heads that score 0 are ties."""
    a, b = (scores.scores.flatten().double().tolist() for scores in (mine, theirs))
    r, ranks = float(np.corrcoef(a, b)[0, 1]), spearman(a, b)
    if unknown := [name for name in (one, other) if name not in PUBLISHED]:
        note = f"no bar: of which family {' and '.join(unknown)} is, is not known here"
        yield Row.of(f"{one}, {other}", "Pearson", r, note=note)
        yield Row.of(f"{one}, {other}", "Spearman", ranks, note=note)
    elif (one, other) in FAMILIES:
        yield Row.of(f"same family: {one}, {other}", "Pearson", r, at_least=WITHIN)
        yield Row.of(f"same family: {one}, {other}", "Spearman", ranks, at_least=WITHIN)
    else:
        yield Row.of(f"other family: {one}, {other}", "Pearson", r, at_least=-ACROSS, at_most=ACROSS)
        yield Row.of(f"other family: {one}, {other}", "Spearman", ranks, at_most=ACROSS)


FEW = {1: (0.72, 0.79), 3: (0.85, 0.92), 10: (0.91, 0.97), 20: (0.95, 0.98)}
"""Runs, and the least and the most of the 20 best heads that so many found, over the models, when it was specified."""


def _few_runs(found: dict[str, HeadScores], seed: int) -> Iterator[Row]:
    """The overlap of the 20 best heads by a few runs with those by all."""
    draw = np.random.default_rng(seed)
    for count, (least, most) in FEW.items():
        models = {name: _found_by(scores, count, draw) for name, scores in found.items()}
        note = (
            f"mean over {len(found)} models ({min(models.values()):.3f} to {max(models.values()):.3f}), 20 draws each"
        )
        value = fmean(models.values())
        row = Row.of(f"published, {count} runs", "of the 20 best heads found", value, at_least=least, at_most=most,
                     note=note)  # fmt: skip
        yield held_to("the authors' seven models", found.keys() == PUBLISHED.keys(), row)


def _found_by(scores: HeadScores, count: int, draw: np.random.Generator) -> float:
    best = set(scores.top(20))
    drawn = (draw.permutation(len(scores.runs))[:count] for _ in range(20))
    return fmean(len(best & set(HeadScores(scores.runs[torch.from_numpy(some)]).top(20))) / len(best) for some in drawn)


# -- models ------------------------------------------------------------------------------------------------------------


def model_rows(settings: BenchSettings, name: str) -> Iterator[Row]:
    """Detection on fresh sentences in essays."""
    model = load_language_model(name)
    grid = DetectionSettings(lengths=(LENGTHS[name],), texts=2 if settings.quick else 8, seed=SEED)
    total = grid.texts * grid.per_text
    needles, texts = retrieval_needles(total, SEED), essays(settings)
    found = detect(model, grid, texts=texts, needles=needles, store=runs_of(settings, model, grid, texts))
    where = f"{name}, {LENGTHS[name]:,} tokens"
    known = answered_without(model, needles[:ASKED_WITHOUT])
    note = f"{len(known)} questions"
    yield Row.of(f"control: {name}, no text", "questions answered", fmean(known), at_most=0, note=note)
    note = f"{found.settings['answered']} of {found.settings['asked']} runs answered"
    yield Row.of(where, "heads above 0.1, share", found.share(RETRIEVAL), at_most=FEW_RETRIEVE, note=note)
    yield Row.of(where, "heads above 0.5, share", found.share(STRONG), at_most=FEW_STRONG)
    yield Row.of(where, "heads at 0, share", float((found.scores == 0).double().mean()))
    yield from _stable(where, found)
    active = found.activation
    note = f"{len(found.always_active())} heads in every run"
    yield Row.of(where, "heads active in every run, share", len(found.always_active()) / active.numel(), note=note)
    spread = float((active - found.scores)[found.scores > RETRIEVAL].mean())
    yield Row.of(where, "activation less score, retrieval heads", spread, note="how much they depend on the text")
    _draw(found, settings.cache / "pictures" / f"heads-{name}.png")
    shipped = find_scores(model)
    if shipped is not None:
        together = spearman(found.scores.flatten().tolist(), shipped.scores.flatten().tolist())
        yield Row.of(f"{where}, beside the shipped scores", "Spearman", together, at_least=0.7, note="other sentences")


def runs_of(settings: BenchSettings, model: LanguageModel, grid: DetectionSettings, texts: Sequence[str]) -> Path:
    """The file of a detection's runs: other texts have another, and so has other code."""
    code = code_digest("foveal.attention.head_detection", within="foveal.attention")
    return settings.cache / "heads" / f"essays-{code}-{store_name(model, grid, texts=texts)}"


def _stable(where: str, found: HeadScores) -> Iterator[Row]:
    halves = [HeadScores(found.runs[start::2]) for start in (0, 1)]
    one, other = (half.scores.flatten().tolist() for half in halves)
    sizes = f"{len(halves[0].runs)} and {len(halves[1].runs)} runs of different sentences"
    yield Row.of(f"{where}, two halves", "Spearman", spearman(one, other), at_least=0.7, note=sizes)
    count = max(2, min(10, len(found.above(RETRIEVAL))))
    same = len(set(halves[0].top(count)) & set(halves[1].top(count))) / count
    yield Row.of(f"{where}, two halves", f"of the {count} best heads the same", same, at_least=0.7)


def _draw(found: HeadScores, path: Path) -> None:
    heatmap(
        found.scores.numpy(),
        path,
        title=f"Copy scores of {found.model}",
        x_label="head",
        y_label="layer",
        value_label="score",
    )
    order: Sequence[tuple[int, int]] = found.top(40)
    lines(
        range(1, len(order) + 1),
        {
            "score": [float(found.scores[head]) for head in order],
            "active in": [float(found.activation[head]) for head in order],
        },
        path.with_name(f"{path.stem}-activation.png"),
        title=f"The strongest heads of {found.model}",
        x_label="rank",
        y_label="share",
    )
