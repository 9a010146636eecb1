"""bench rank-blockrank, observation: what the paper saw in a model that was not trained to rank (its section 3.1).

inside      under full attention, what documents' tokens pay to their own document and the instruction, by layer: the
            first document is left out, as it sees no other one
signal      what the prompt's end pays to each document, by layer, against relevance: area under the ROC curve, Spearman
            correlation, precision at 1; under full attention, BlockRank's mask, and the same with the query right
            after the longest document
anchors     three of these that were measured when the method was written down, on 24 questions: P@1 within 0.2, MRR
            within 0.15, two standard errors of so few
chosen      the layer that the other parts use: the best under BlockRank's mask

Lists of 8 of held-out training articles. Pictures: blockrank-inside.png, blockrank-signal.png.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from foveal.attention.recorder import Recorder
from foveal.attention.watch import watch
from foveal.bench.known_sets import all_held_to, is_set
from foveal.bench.rank_blockrank_arms import LAYOUT, Arms, Sizes, kept
from foveal.bench.rank_blockrank_data import DEV, Asked, Task, XQuad
from foveal.bench.settings import BenchSettings
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel
from foveal.models.threads import Threads
from foveal.ranking.blockrank import full_layers
from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import Prompter, Segments

DOCUMENTS = 8
FULL, BLOCK, TIGHT = "full attention", "BlockRank", "BlockRank, query right behind"
ANCHOR_LAYER = 15
ANCHORS = {FULL: (0.46, 0.62), BLOCK: (0.42, 0.61), TIGHT: (0.29, 0.49)}
"""Precision at 1 and mean reciprocal rank in `ANCHOR_LAYER`."""

ROWS = 4
"""Tokens of a document whose attention is looked at, spread over it."""
WATCHED = 8
"""Lists in which it is."""

ByLayer = dict[int, dict[str, float]]
"""Layer -> metric -> value."""


def observation(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank-observation`."""
    arms, task = Arms(settings), observed_task(settings)
    yield from inside_rows(arms, task)
    found = {name: by_layer(signals(arms, task, name), task) for name in ANCHORS}
    yield from signal_rows(found, settings)
    paragraphs = XQuad.of(settings)
    known = paragraphs.english and is_set("XQuAD", len(paragraphs.paragraphs))
    yield from all_held_to("XQuAD in English", known, anchor_rows(found, settings))
    layer = best(found[BLOCK])
    depth = (1 + layer) / (1 + max(found[BLOCK]))
    note = f"layer {layer}, the best of all by P@1, then MRR, on {len(task.asked)} lists of held-out training articles"
    yield Row.of("the chosen layer", "share of the depth", depth, at_least=0.25, at_most=0.8, note=note)


def observed_task(settings: BenchSettings) -> Task:
    """The lists of this part."""
    return XQuad.of(settings).task(DEV, Sizes.of(settings).dev, documents=DOCUMENTS)


def chosen_layer(arms: Arms, way: str = BLOCK) -> int:
    """The layer of the signal under that attention: chosen by held-out training articles, on the untrained model."""
    task = observed_task(arms.settings)
    return best(by_layer(signals(arms, task, way), task))


# -- where documents look ----------------------------------------------------------------------------------------------


def inside_rows(arms: Arms, task: Task) -> Iterator[Row]:
    """Shares of the attention of documents' tokens, mean over layers, heads and rows."""
    watched = task.first(WATCHED).asked
    made_by = {"what": "inside", "model": arms.digest(None)}
    found = list(kept(arms.settings, "xquad-inside", made_by, watched, lambda one: inside(arms.base, one)).values())
    mean = {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}
    layers = full_layers(arms.base.model.config)
    note = _spread(mean["seen"], layers)
    yield Row.of("attention of documents' tokens", "own document and instruction", mean["seen"].mean(), note=note)
    even = float(mean["even"].mean())
    note = f"{_spread(mean['own'], layers)}; {even:.3f} were it even over the documents"
    yield Row.of(
        "attention of documents' tokens to documents", "own document", mean["own"].mean(), at_least=even, note=note
    )
    lines(
        layers,
        {"own document and instruction": mean["seen"], "own, of all documents": mean["own"], "even": mean["even"]},
        arms.settings.cache / "pictures" / "blockrank-inside.png",
        title="Where documents' tokens look, full attention",
        x_label="layer",
        y_label="share of the attention",
    )


def inside(model: LanguageModel, asked: Asked) -> dict[str, list[float]]:
    """By layer: `seen`, what is paid to the own document and the instruction; `own`, that to the own document, as a
    share of what is paid to documents; `even`, the same if all tokens of documents that are seen got as much.
    """
    segments = Prompter(model, LAYOUT).segments(asked.query, asked.texts, full=True)
    starts = np.cumsum([0, *segments.lengths]).tolist()
    places, owner = _places(starts)
    first = torch.tensor([starts[1 + number] for number in owner])
    token = torch.arange(starts[-2])
    own = (token >= first[:, None]) & (token <= torch.tensor(places)[:, None])  # (rows, tokens before the query)
    before = token < starts[1]

    def shares(_: int, attention: Tensor) -> Tensor:
        paid = attention[0].mean(0)
        to_own, to_instruction = (paid * own).sum(-1), (paid * before).sum(-1)
        return torch.stack([to_own + to_instruction, to_own / (1 - to_instruction).clamp(min=1e-9)]).mean(-1)

    layers = full_layers(model.model.config)
    recorder = Recorder(torch.tensor([places]), dict.fromkeys(layers), stop=True, reduce=shares)
    ids = [*segments.instruction, *(token for one in segments.documents for token in one.ids)]
    with Threads(model.device).chosen():
        watch(model.model, torch.tensor([ids], device=model.device), recorder)
    told = torch.stack([recorder.attention[layer] for layer in layers])
    even = float((own.sum(-1) / (torch.tensor(places) + 1 - starts[1])).mean())
    return {"seen": told[:, 0].tolist(), "own": told[:, 1].tolist(), "even": [even] * len(layers)}


def _places(starts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Tokens that are looked at, and the number of each one's document; the first document sees no other."""
    places, owner = [], []
    for number in range(1, len(starts) - 3):
        start, end = starts[1 + number], starts[2 + number]
        chosen = sorted({start + (end - start) * (2 * n + 1) // (2 * ROWS) for n in range(ROWS)})
        places += chosen
        owner += [number] * len(chosen)
    return places, owner


def _spread(values: np.ndarray, layers: Sequence[int]) -> str:
    low, high = int(values.argmin()), int(values.argmax())
    return f"lowest {values[low]:.3f} (layer {layers[low]}), highest {values[high]:.3f} (layer {layers[high]})"


# -- the signal --------------------------------------------------------------------------------------------------------


def signals(arms: Arms, task: Task, way: str) -> dict[str, dict[str, list[float]]]:
    """Query id -> layer -> the signal of each candidate, in one of the three ways."""
    prompter, layers = Prompter(arms.base, LAYOUT), tuple(full_layers(arms.base.model.config))

    def of(asked: Asked) -> dict[str, list[float]]:
        segments = prompter.segments(asked.query, asked.texts, full=way == FULL)
        if way == TIGHT:
            segments = behind(segments)
        with torch.inference_mode(), Threads(arms.base.device).chosen():
            found = read(arms.base.model, segments, Ask(layers=layers, full=way == FULL))
        return {str(layer): found.scores(layer).tolist() for layer in layers}

    made_by = {"what": f"signals, {way}", "model": arms.digest(None)}
    return kept(arms.settings, f"{task.name}-signals", made_by, task.asked, of)


def behind(segments: Segments) -> Segments:
    """The same prompt with the query right after the longest document."""
    return replace(segments, offset=len(segments.instruction) + max(len(one.ids) for one in segments.documents))


def by_layer(found: Mapping[str, Mapping[str, Sequence[float]]], task: Task) -> ByLayer:
    """Each layer's metrics, means over the lists."""
    told: dict[int, list[dict[str, float]]] = {}
    for one in task.asked:
        relevant = np.array([task.qrels[one.id].get(name, 0) > 0 for name in one.names])
        for layer, scores in found[one.id].items():
            told.setdefault(int(layer), []).append(agreement(np.array(scores), relevant))
    return {
        layer: {metric: fmean(value[metric] for value in values) for metric in values[0]}
        for layer, values in sorted(told.items())
    }


def agreement(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """How scores (N,) go with relevance (N,) bool, of which some are true and some are not; of equal scores those of
    what is relevant count as the lower ones for the first two.
    """
    right, wrong = scores[relevant], scores[~relevant]
    pairs = right[:, None] - wrong
    rank = 1 + int((wrong >= right.max()).sum())
    ranks = (scores[:, None] > scores).sum(1) + ((scores[:, None] == scores).sum(1) - 1) / 2
    spread = ranks.std() * relevant.std()
    return {
        "precision@1": float(rank == 1),
        "mrr": 1 / rank,
        "area under ROC": float((pairs > 0).mean() + (pairs == 0).mean() / 2),
        "Spearman": float(((ranks - ranks.mean()) * (relevant - relevant.mean())).mean() / spread) if spread else 0.0,
    }


def best(found: ByLayer) -> int:
    """The layer with the highest precision at 1, then reciprocal rank, then the shallowest, as `best_layer` has it."""
    return max(found, key=lambda layer: (found[layer]["precision@1"], found[layer]["mrr"], -layer))


def signal_rows(found: Mapping[str, ByLayer], settings: BenchSettings) -> Iterator[Row]:
    """The layer where the signal goes best with relevance, by each measure, and a picture of all layers."""
    for name, layers in found.items():
        for metric in ("area under ROC", "Spearman"):
            top = max(layers, key=lambda layer: layers[layer][metric])
            shown = ", ".join(f"{layer}: {layers[layer][metric]:.2f}" for layer in layers)
            bars = {"at_least": 0.6} if (name, metric) == (FULL, "area under ROC") else {}
            yield Row.of(f"signal, {name}", metric, layers[top][metric], note=f"layer {top}; {shown}", **bars)
    lines(
        list(next(iter(found.values()))),
        {name: [values["area under ROC"] for values in layers.values()] for name, layers in found.items()},
        settings.cache / "pictures" / "blockrank-signal.png",
        title="The prompt's end knows what is relevant, untrained",
        x_label="layer",
        y_label="area under the ROC curve",
    )


def anchor_rows(found: Mapping[str, ByLayer], settings: BenchSettings) -> Iterator[Row]:
    """What was measured before, in the same layer."""
    wider = 0.2 if settings.quick else 0.0
    for name, anchors in ANCHORS.items():
        told = found[name].get(ANCHOR_LAYER)
        if told is None:
            continue
        for metric, anchor, margin in zip(("precision@1", "mrr"), anchors, (0.2, 0.15), strict=True):
            low, high = max(0.0, anchor - margin - wider), anchor + margin + wider
            note = f"measured before: {anchor}, on 24 questions"
            yield Row.of(
                f"signal, {name}, layer {ANCHOR_LAYER}", metric, told[metric], at_least=low, at_most=high, note=note
            )
