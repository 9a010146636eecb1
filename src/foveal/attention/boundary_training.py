"""Trains a boundary predictor on what a model's own attention shows, and measures it beside what needs no training.

Every text is read once; each layer's keys give the features and its attention the labels, while it passes (`capture`).
No text needs to be annotated. What is kept for training is the keys of the layers drawn: about
texts × layers × L × C × 2 bytes (100 texts of 2,048 tokens, 8 layers, C = 128: 420 MB).

Shapes    token ids (L,), queries (1, H, L, d), keys (1, G, L, d)  ->  the keys kept, and rho (L,)
Layers    those that see the whole text: in one that slides DHSA chooses nothing, and its labels are others
Loss      focal binary cross-entropy, mean over the positions where rho is defined
Source    DHSA (Xiong et al., arXiv 2510.24606): labels, loss, predictor
          ours: one step for each text and layer in shuffled order, where the published code takes one for all layers
          of a text; see `Recipe` for the rest
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, pad

from foveal.attention.attach import Context, attach
from foveal.attention.boundaries import CUT_RATIO, BoundaryPredictor, label_boundaries
from foveal.attention.profiles import whole_layers
from foveal.errors import InputError
from foveal.ranges import COUNT, NOT_NEGATIVE, POSITIVE, RATE, require_settings

OnLayer = Callable[[Tensor, Tensor, Context], None]
"""Called with a layer's queries (1, H, L, d) and keys (1, G, L, d), after the rotary embedding."""
FIXED = 16  # tokens of a chunk of the baseline that cuts without looking


@dataclass(frozen=True)
class TokenText:
    """A text as a model reads it; `sentence_ends` are the places of the tokens that end a sentence (a baseline)."""

    ids: Sequence[int]
    sentence_ends: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a predictor is trained. What the published code does otherwise stands in parentheses."""

    epochs: int = 5  # (2, of a hundred times more text)
    length: int = 2048  # tokens read of each text, at least 4·window + 1
    layers_per_text: int | None = None  # drawn anew for each text, of `chosen_layers`; None: all of them
    learning_rate: float = 2e-3  # of Adam; rises over a twentieth of the steps, then falls to 0 as a cosine (1e-4)
    focus: float = 2.0  # gamma of the focal loss
    positive_weight: float = 2.0  # so that p >= 0.5 marks about as many boundaries as there are (1.3)
    window: int = 4
    hidden: int = 256
    heads: int = 4
    encoder: str = "tokens"  # ("attn")
    standardise: bool = True  # (False)
    gated: bool = False  # whether a side's tokens are weighed (an option there, too)

    def __post_init__(self) -> None:
        """InputError: a number that cannot be."""
        require_settings(
            "A recipe", self, epochs=COUNT, length=COUNT, layers_per_text=COUNT, learning_rate=RATE, focus=NOT_NEGATIVE,
            positive_weight=POSITIVE, window=COUNT, hidden=COUNT, heads=COUNT,
        )  # fmt: skip
        if self.length <= 4 * self.window:
            raise InputError(f"A recipe got length = {self.length}; it needs more than {4 * self.window} tokens.")


@dataclass(frozen=True)
class Progress:
    """How far a training is; `stage` is reading, training or measuring, `loss` that of the last step."""

    stage: str
    done: int
    total: int
    loss: float | None = None


@dataclass(frozen=True)
class Found:
    """How well boundaries were found, over all positions of the texts held out and all layers that were measured."""

    precision: float
    recall: float
    f1: float
    overlap: float  # share of the L // 16 positions with the highest rho that are among as many of the best scores


Metrics = dict[str, Found]
"""By what found them: predictor, random, fixed, sentences, cosine. Only the predictor was trained. It and the marked
ones (fixed, sentences) choose how many; random and cosine are told how many there are."""


def train_boundary_predictor(
    model: Any,
    texts: Sequence[TokenText],
    *,
    held_out: Sequence[TokenText] | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[BoundaryPredictor, Metrics]:
    """A predictor for `model` (a transformers decoder), and what it finds in texts held out beside four baselines.

    `held_out`: None takes every tenth text, beginning with the first. The same seed gives the same predictor.
    InputError: fewer than two texts, one too short for a label, or a model that cannot be attached.
    """
    recipe = recipe or Recipe()
    if held_out is None:
        held_out, texts = texts[::10], [text for place, text in enumerate(texts) if place % 10]
    _check(texts, recipe)
    _check(held_out, recipe)
    report = on_progress or (lambda _: None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        samples = _samples(model, texts, recipe, report)
        predictor = BoundaryPredictor(
            samples[0].key.shape[1] * samples[0].key.shape[3],
            window=recipe.window, hidden=recipe.hidden, heads=recipe.heads, encoder=recipe.encoder,
            standardise=recipe.standardise, gated=recipe.gated,
        )  # fmt: skip
        fit(predictor, samples, recipe, report)
        return predictor, measure(model, predictor, held_out, length=recipe.length, on_progress=report)


def _check(texts: Sequence[TokenText], recipe: Recipe) -> None:
    least = 4 * recipe.window + 1
    if not texts or any(len(text.ids) < least for text in texts):
        raise InputError(f"To train and to measure, give texts of at least {least} tokens, two or more in all.")


# reading


class _Capture:
    """An AttentionMethod that shows each layer's queries and keys and leaves the attention to the model."""

    def __init__(self, on_layer: OnLayer) -> None:
        self._on_layer = on_layer

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> None:  # noqa: ARG002
        self._on_layer(query, key, context)

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own mask holds."""


@torch.no_grad()
def capture(model: Any, ids: Sequence[int], on_layer: OnLayer) -> None:
    """Read `ids` (L,) once and call `on_layer` as each layer attends; nothing is kept that it does not keep."""
    with attach(model, _Capture(on_layer)) as attached:
        attached.base(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)


@dataclass(frozen=True)
class Sample:
    """One layer of one text: keys (1, G, L, d) in the model's precision, and rho (L,), 0 where it is not defined."""

    key: Tensor
    rho: Tensor


def sample_of(query: Tensor, key: Tensor, context: Context, *, window: int = 4) -> Sample:
    """The keys and the label of a layer that `capture` shows."""
    rho = label_boundaries(query, key, window=window, query_window=context.mask.window, scale=context.scale)
    return Sample(key.clone(), rho[0])


def chosen_layers(model: Any) -> list[int]:
    """The layers that DHSA chooses in: those that see the whole text. Of a model without any: all of them."""
    config = model.config.get_text_config()
    return whole_layers(config) or list(range(config.num_hidden_layers))


def _samples(
    model: Any, texts: Sequence[TokenText], recipe: Recipe, report: Callable[[Progress], None]
) -> list[Sample]:
    samples: list[Sample] = []
    layers = chosen_layers(model)
    for done, text in enumerate(texts, start=1):
        wanted = _drawn(layers, recipe.layers_per_text)

        def keep(query: Tensor, key: Tensor, context: Context, wanted: frozenset[int] = wanted) -> None:
            if context.layer in wanted:
                samples.append(sample_of(query, key, context, window=recipe.window))

        capture(model, text.ids[: recipe.length], keep)
        report(Progress("reading", done, len(texts)))
    return samples


def _drawn(layers: Sequence[int], count: int | None) -> frozenset[int]:
    return frozenset(layers[place] for place in torch.randperm(len(layers))[:count].tolist())


# learning


def focal_loss(logits: Tensor, target: Tensor, *, focus: float, positive_weight: float) -> Tensor:
    """(1 - p_t)^focus × binary cross-entropy of each logit against a target of 0 or 1, positives weighted."""
    probability = logits.sigmoid()
    hit = probability * target + (1 - probability) * (1 - target)
    weight = logits.new_tensor(positive_weight)
    return (1 - hit) ** focus * binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")


def fit(
    predictor: BoundaryPredictor,
    samples: Sequence[Sample],
    recipe: Recipe,
    report: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Train `predictor` in place, one sample a step, in an order drawn from PyTorch's generator."""
    steps = recipe.epochs * len(samples)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    predictor.train()
    for step, sample in enumerate(_shuffled(samples, recipe.epochs), start=1):
        loss = sample_loss(predictor, sample, recipe)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        report(Progress("training", step, steps, loss.item()))
    predictor.eval()


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at `step`."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def _shuffled(samples: Sequence[Sample], epochs: int) -> Iterator[Sample]:
    for _ in range(epochs):
        for place in torch.randperm(len(samples)).tolist():
            yield samples[place]


def sample_loss(predictor: BoundaryPredictor, sample: Sample, recipe: Recipe) -> Tensor:
    """The mean focal loss over the positions of a sample where rho is defined."""
    logits = predictor(predictor.features(sample.key))[0]
    losses = focal_loss(
        logits, (sample.rho >= CUT_RATIO).float(), focus=recipe.focus, positive_weight=recipe.positive_weight
    )
    return losses[sample.rho > 0].mean()


# measuring


def cosine_distance(key: Tensor, window: int) -> Tensor:
    """1 - the cosine of the mean keys of the `window` tokens up to each position and behind it: (1, G, L, d) to (L,).

    Keys as they are: brought to mean 0 and deviation 1 they told less.
    """
    x = key[0].transpose(0, 1).flatten(1).float()
    sums = pad(pad(x, (0, 0, window - 1, window)).cumsum(0), (0, 0, 1, 0))
    sides = sums[window:] - sums[:-window]  # the sum of each window of `window` tokens, the first ending at token 0
    return 1 - cosine_similarity(sides[:-window], sides[window:], dim=-1)


@dataclass
class _Count:
    """Positions counted over many samples."""

    both: int = 0
    marked: int = 0
    true: int = 0
    shared: int = 0
    best: int = 0

    def add(self, marks: Tensor, scores: Tensor, rho: Tensor) -> None:
        """`marks`, `scores` and `rho` (V,) of the positions where rho is defined."""
        true, best = rho >= CUT_RATIO, max(1, len(rho) // FIXED)
        self.both += int((marks & true).sum())
        self.marked += int(marks.sum())
        self.true += int(true.sum())
        self.shared += int(torch.isin(scores.topk(best).indices, rho.topk(best).indices).sum())
        self.best += best

    def found(self) -> Found:
        precision, recall = self.both / max(1, self.marked), self.both / max(1, self.true)
        f1 = 2 * self.both / max(1, self.marked + self.true)
        return Found(precision, recall, f1, self.shared / max(1, self.best))


@torch.no_grad()
def found_in(predictor: BoundaryPredictor, samples: Iterable[Sample]) -> Found:
    """How well `predictor` (p >= 0.5) finds rho >= 2 in samples that were read before."""
    count = _Count()
    for sample in samples:
        valid = sample.rho > 0
        logits = predictor(predictor.features(sample.key))[0][valid]
        count.add(logits >= 0, logits, sample.rho[valid])
    return count.found()


def measure(
    model: Any,
    predictor: BoundaryPredictor,
    texts: Sequence[TokenText],
    *,
    length: int = 2048,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Metrics:
    """How well `predictor` (p >= 0.5) and the baselines find rho >= 2 in `texts`, cut at `length`, in the layers that
    DHSA chooses in."""
    counts = {name: _Count() for name in ("predictor", "random", "fixed", "sentences", "cosine")}
    generator, layers = torch.Generator().manual_seed(seed), frozenset(chosen_layers(model))
    for done, text in enumerate(texts, start=1):

        def count(query: Tensor, key: Tensor, context: Context, text: TokenText = text) -> None:
            if context.layer not in layers:
                return
            sample = sample_of(query, key, context, window=predictor.window)
            valid = sample.rho > 0
            rho = sample.rho[valid]
            for name, (marks, scores) in _guesses(predictor, sample, text, generator).items():
                scores = scores[valid]
                counts[name].add(_as_many(scores, rho) if marks is None else marks[valid], scores, rho)

        capture(model, text.ids[:length], count)
        on_progress(Progress("measuring", done, len(texts)))
    return {name: one.found() for name, one in counts.items()}


def _guesses(
    predictor: BoundaryPredictor, sample: Sample, text: TokenText, generator: torch.Generator
) -> dict[str, tuple[Tensor | None, Tensor]]:
    """By name: the positions marked (L,) bool, None for as many as there are; and scores (L,) to rank them by."""
    length, device = len(sample.rho), sample.rho.device
    chance = torch.rand(length, generator=generator, dtype=torch.float32).to(device)
    place = torch.arange(length, device=device)
    fixed = place % FIXED == FIXED - 1
    ends = torch.isin(place, torch.tensor(list(text.sentence_ends), dtype=torch.int64, device=device))
    logits = predictor(predictor.features(sample.key))[0]
    return {
        "predictor": (logits >= 0, logits),
        "random": (None, chance),
        "fixed": (fixed, fixed + chance / 2),  # chance breaks the ties
        "sentences": (ends, ends + chance / 2),
        "cosine": (None, cosine_distance(sample.key, predictor.window)),
    }


def _as_many(scores: Tensor, rho: Tensor) -> Tensor:
    """As many of the best scores marked as there are boundaries: the kindest threshold."""
    marks = torch.zeros_like(scores, dtype=torch.bool)
    marks[scores.topk(int((rho >= CUT_RATIO).sum())).indices] = True
    return marks
