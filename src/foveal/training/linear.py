"""Classifiers over a few dense features and two texts' sparse rows: logistic regression, linear SVM, bagging, MLP.

    design = Design(dense, (rows_of_articles, rows_of_headlines), (article_of, headline_of))
    model = fit(design, classes, FitSettings(kind="lr"), count=3)
    model(design)                                             # decisions (N, C): the highest is the class

A text that many rows share (an article with many headlines) is multiplied once: X W = D W_d + A[i] W_a + H[j] W_h.

Loss      one class against the rest, each with its own weights: 1/2 |w|² + C sum_i s_i loss(y_i z_i), y in {-1, 1};
          logistic ln(1 + e^-m) (lr), squared hinge max(0, 1 - m)² (svm); the bias is free; L-BFGS
Balanced  s_i weighs the class and the rest alike: N / (2 N_class), N / (2 N_rest)
Bagging   SVMs on rows drawn with return; their decisions are averaged, and so are their weights: one linear model
MLP       features -> 64 ReLU -> classes by Adam, stopped by the accuracy on dev rows (Kanumolu et al., 2024)
Dense     features are scaled to mean 0 and deviation 1 of the rows that are learnt from
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.models.dtypes import usual_type
from foveal.ranges import COUNT, POSITIVE, RATE, SEED, require_settings
from foveal.training.sparse_rows import SparseRows

KINDS = ("lr", "svm", "bagging", "mlp")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a classifier is fitted; checked when made."""

    kind: str = "lr"
    c: float = 1.0  # C: the higher, the freer the weights
    balanced: bool = True  # each class counts as much as the rest
    rounds: int = 100  # of L-BFGS, at most
    bags: int = 10
    hidden: int = 64  # of the MLP, as are those below
    learning_rate: float = 1e-3
    batch: int = 32
    epochs: int = 10
    patience: int = 3  # epochs without a better accuracy on dev rows
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName(f"No classifier is called {self.kind!r}. There are: {', '.join(KINDS)}.")
        require_settings(
            "A classifier", self, c=POSITIVE, rounds=COUNT, bags=COUNT, hidden=COUNT, learning_rate=RATE, batch=COUNT,
            epochs=COUNT, patience=COUNT, seed=SEED,
        )  # fmt: skip


@dataclass(frozen=True)
class Design:
    """N rows: dense features (N, F), and for each kind of text its rows and which of them row n has (N,)."""

    dense: npt.NDArray[np.float32]
    texts: tuple[SparseRows, ...] = ()
    which: tuple[Ints, ...] = ()

    def __len__(self) -> int:
        return len(self.dense)

    def take(self, places: Ints) -> Design:
        """The rows at `places`."""
        return replace(self, dense=self.dense[places], which=tuple(one[places] for one in self.which))


class Wide(nn.Module):
    """A linear map of a design: decisions (N, outputs)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.dense = nn.Parameter(torch.zeros(features, outputs))
        self.texts = nn.ParameterList([nn.Parameter(torch.zeros(width, outputs)) for width in widths])
        self.bias = nn.Parameter(torch.zeros(outputs))

    def scaled_to(self, dense: npt.NDArray[np.float32]) -> None:
        """Scale by the mean and deviation of these rows; a feature that never changes counts nothing."""
        spread = dense.std(axis=0)
        self.mean.copy_(torch.from_numpy(dense.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(np.where(spread > 1e-6, spread, np.inf).astype(np.float32)))

    def forward(self, design: Design) -> Tensor:
        """Decisions (N, outputs)."""
        out = ((torch.from_numpy(design.dense) - self.mean) / self.scale) @ self.dense + self.bias
        for weights, rows, which in zip(self.texts, design.texts, design.which, strict=True):
            out = out + product(rows, weights)[torch.from_numpy(which)]
        return out


class Mlp(nn.Module):
    """A wide layer, ReLU, and a linear one."""

    def __init__(self, features: int, widths: tuple[int, ...], outputs: int, hidden: int) -> None:
        super().__init__()
        self.wide, self.top = Wide(features, widths, hidden), nn.Linear(hidden, outputs)

    def forward(self, design: Design) -> Tensor:
        """Decisions (N, outputs)."""
        out: Tensor = self.top(torch.relu(self.wide(design)))
        return out


def product(rows: SparseRows, weights: Tensor) -> Tensor:
    """Sparse rows (R, V) times weights (V, outputs): (R, outputs)."""
    found: Tensor = _Product.apply(weights, rows)  # type: ignore[no-untyped-call]
    return found


class _Product(torch.autograd.Function):
    """`product`. The gradient of an `embedding_bag` sorts all columns anew at each step, fifty times the product's own
    work; that of the rows' transposed, made once, is a product like any other.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: SparseRows) -> Tensor:
        ctx.rows = rows
        return _multiplied(rows, weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, told: Tensor) -> tuple[Tensor, None]:
        return _multiplied(ctx.rows.transposed, told.contiguous()), None


def _multiplied(rows: SparseRows, weights: Tensor) -> Tensor:
    if not len(rows.columns):
        return weights.new_zeros(len(rows), weights.shape[1])
    return F.embedding_bag(
        torch.from_numpy(rows.columns),
        weights,
        torch.from_numpy(rows.start),
        mode="sum",
        per_sample_weights=torch.from_numpy(rows.values).to(weights.dtype),
        include_last_offset=True,
    )


def empty(features: int, widths: tuple[int, ...], count: int, settings: FitSettings) -> Wide | Mlp:
    """The model before it is fitted, its random weights drawn from the seed."""
    if settings.kind != "mlp":
        with usual_type():
            return Wide(features, widths, count)
    with usual_type(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Mlp(features, widths, count, settings.hidden)
        for weights in (model.wide.dense, *model.wide.texts):
            nn.init.normal_(weights, std=0.1)
    return model


def fit(
    design: Design, classes: Ints, settings: FitSettings, *, count: int, dev: tuple[Design, Ints] | None = None
) -> Wide | Mlp:
    """The classifier of `count` classes; `dev` stops the MLP (default: a tenth of the rows).

    InputError: no rows, another number of classes than rows, or only one class comes.
    """
    if len(design) != len(classes) or len(np.unique(classes)) < 2:
        raise InputError(
            f"{len(design)} rows with {len(classes)} labels of {len(np.unique(classes))} classes came; it needs as "
            "many labels as rows, and at least two classes."
        )
    model = empty(design.dense.shape[1], tuple(rows.width for rows in design.texts), count, settings)
    if isinstance(model, Mlp):
        model.wide.scaled_to(design.dense)
        return _fit_mlp(model, design, classes, settings, dev)
    model.scaled_to(design.dense)
    if settings.kind == "bagging":
        return _bagged(model, design, classes, settings)
    return minimised(model, design, classes, torch.ones(len(design)), settings)


# -- linear -----------------------------------------------------------------------------------------------------------


def logistic(margins: Tensor) -> Tensor:
    """ln(1 + e^-m)."""
    return F.softplus(-margins)


def squared_hinge(margins: Tensor) -> Tensor:
    """max(0, 1 - m)²."""
    return torch.clamp(1 - margins, min=0).square()


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"lr": logistic, "svm": squared_hinge, "bagging": squared_hinge}


def minimised(model: Wide, design: Design, classes: Ints, weights: Tensor, settings: FitSettings) -> Wide:
    """`model` at the minimum of the loss, rows weighed by `weights` (N,)."""
    sides = 2.0 * F.one_hot(torch.from_numpy(classes), model.bias.shape[0]).float() - 1  # (N, C) of -1, 1
    importance = weights[:, None] * (balance(sides, weights) if settings.balanced else torch.ones_like(sides))
    loss_of = LOSSES[settings.kind]
    scale = 1 / (settings.c * float(weights.sum()))

    def objective() -> Tensor:
        size = sum((part.square().sum() for part in (model.dense, *model.texts)), torch.zeros(()))
        return scale * (0.5 * size + settings.c * (importance * loss_of(sides * model(design))).sum())

    minimise(objective, list(model.parameters()), rounds=settings.rounds)
    return model.requires_grad_(False)


def minimise(objective: Callable[[], Tensor], parameters: Sequence[Tensor], *, rounds: int) -> None:
    """Bring a convex objective to its minimum by L-BFGS, in at most `rounds` rounds."""
    solver = torch.optim.LBFGS(
        parameters, max_iter=rounds, history_size=20, tolerance_grad=1e-6, tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        solver.zero_grad()
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]


def balance(sides: Tensor, weights: Tensor) -> Tensor:
    """Weights (N, C) by which a class and the rest count alike; `sides` (N, C) is 1 for the class, else -1."""
    own = (weights[:, None] * (sides > 0)).sum(0).clamp(min=1e-9)
    total = weights.sum()
    return torch.where(sides > 0, total / (2 * own), total / (2 * (total - own).clamp(min=1e-9)))


def _bagged(model: Wide, design: Design, classes: Ints, settings: FitSettings) -> Wide:
    """The mean of SVMs, each on as many rows as there are, drawn with return."""
    generator = np.random.default_rng(settings.seed)
    means = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for _ in range(settings.bags):
        drawn = np.bincount(generator.integers(0, len(design), len(design)), minlength=len(design))
        one = empty(design.dense.shape[1], tuple(rows.width for rows in design.texts), model.bias.shape[0], settings)
        assert isinstance(one, Wide)
        one.scaled_to(design.dense)
        minimised(one, design, classes, torch.from_numpy(drawn).float(), settings)
        for name, value in one.named_parameters():
            means[name] += value / settings.bags
    model.load_state_dict({**model.state_dict(), **means})
    return model.requires_grad_(False)


# -- MLP --------------------------------------------------------------------------------------------------------------


def _fit_mlp(model: Mlp, design: Design, classes: Ints, settings: FitSettings, dev: tuple[Design, Ints] | None) -> Mlp:
    generator = np.random.default_rng(settings.seed)
    if dev is None:
        order = generator.permutation(len(design))
        held, learnt = np.split(order, [max(1, len(order) // 10)])
        dev = (design.take(held), classes[held])
        design, classes = design.take(learnt), classes[learnt]
    counts = torch.bincount(torch.from_numpy(classes), minlength=model.top.out_features).float()
    weights = len(classes) / (len(counts) * counts.clamp(min=1)) if settings.balanced else torch.ones_like(counts)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    best, kept, worse = -1.0, model.state_dict(), 0
    for _ in range(settings.epochs):
        for places in np.array_split(generator.permutation(len(design)), max(1, len(design) // settings.batch)):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(_own(design, places)), torch.from_numpy(classes[places]), weights)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        accuracy = _accuracy(model, *dev)
        if accuracy > best:
            best, worse = accuracy, 0
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        else:
            worse += 1
        if worse == settings.patience:
            break
    model.load_state_dict(kept)
    return model.requires_grad_(False)


def _own(design: Design, places: Ints) -> Design:
    """The rows at `places` with only the texts that they have: a batch multiplies no more."""
    chosen = design.take(places)
    texts, which = [], []
    for rows, own in zip(chosen.texts, chosen.which, strict=True):
        used, back = np.unique(own, return_inverse=True)
        texts.append(rows.take(used))
        which.append(back.astype(np.int64))
    return Design(chosen.dense, tuple(texts), tuple(which))


@torch.no_grad()
def _accuracy(model: Mlp, design: Design, classes: Ints) -> float:
    return float((model(design).argmax(1) == torch.from_numpy(classes)).float().mean())


# -- probabilities ----------------------------------------------------------------------------------------------------

TEMPERATURES = np.exp(np.linspace(-3, 3, 121))


def temperature(decisions: npt.NDArray[np.float64], classes: Ints) -> float:
    """The T of softmax(decisions / T) that makes the classes (N,) likeliest (Guo et al., ICML 2017)."""
    rows = np.arange(len(classes))
    losses = [-np.log(softmax(decisions / t)[rows, classes].clip(1e-12)).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Shares of e^v along the last axis."""
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return shares
