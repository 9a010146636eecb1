"""A compressed index and the query side of its encoder, trained together for what the index will be asked.

    model = JointPQ(centroids, codes)                       # of a quantiser that k-means fitted to the vectors
    fit(model, query_vectors, relevant, JointSettings())    # relevant: for each query the rows that answer it
    model.query_vectors(queries), model.centroids           # search with these: DenseIndex.build(quantiser=…, codes=…)

Shapes    documents (N, D), as rows 0 to N - 1; product codes (N, M) of centroids (M, C, D / M); inputs of B queries
          (B, …), whatever the query module takes (vectors (B, D), by default), which it maps to (B, D)
Methods   JointPQ          JPQ (Zhan et al., CIKM 2021): assignments stay, centroids and queries learn to rank
          ConstrainedPQ    RepCONC (Zhan et al., WSDM 2022): documents learn, too, under balanced assignments
          BinaryPassages   BPR (Yamada, Asai and Hajishirzi, ACL 2021): tanh(beta x) hardens to signs
          DistilledPQ      Distill-VQ (Xiao et al., SIGIR 2022): codes learn the order that float vectors give
          RotatedPQ        Poeem (Zhang et al., SIGIR 2021), in joint_rotation.py: the rotation before the codes, too
Needs     document vectors that stay as they are, in memory; hard negatives come from the index as it is at the time
Differs   JPQ and RepCONC train a transformer; here what is trained before the scores is a module of the caller's, by
          default a linear map that begins as the identity. Lambda weights of the pairs are left out
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranges import COUNT, SEED, SHARE, require_settings
from foveal.training.joint_losses import (
    balanced_codes,
    decode,
    distilled_loss,
    hamming_margin_loss,
    nearest_codes,
    own_scores,
    signs,
    soft_signs,
    straight_through,
)
from foveal.training.list_losses import localised_softmax, ranknet


@dataclass(frozen=True, kw_only=True)
class JointSettings:
    """How long and how fast `fit` trains, and what it trains against."""

    epochs: int = 10  # rounds over the pairs of a query and a relevant document
    batch: int = 32  # pairs of a step
    negatives: int = 16  # of each pair, drawn from the `depth` best that are not relevant
    depth: int = 200
    map_rate: float = 1e-4  # Adam's learning rate of the modules
    index_rate: float = 1e-3  # the same of the centroids
    refresh: int = 1  # steps between two readings of the index for negatives
    seed: int = 0

    def __post_init__(self) -> None:
        require_settings(
            "Joint training", self, epochs=COUNT, batch=COUNT, negatives=COUNT, depth=COUNT, map_rate=SHARE,
            index_rate=SHARE, refresh=COUNT, seed=SEED,
        )  # fmt: skip
        if self.depth < self.negatives:
            raise InputError(
                f"Joint training got depth={self.depth} and negatives={self.negatives}; it needs a depth of at least "
                "the negatives that are drawn from it."
            )


class JointModel(Protocol):
    """What `fit` trains."""

    def query_vectors(self, inputs: Tensor) -> Tensor:
        """What is compared with documents: (B, D)."""
        ...

    def document_vectors(self) -> Tensor:
        """What the index stands for now, (N, D), without gradients."""
        ...

    def loss(self, inputs: Tensor, rows: Tensor, step: int) -> Tensor:
        """The loss of queries whose documents are `rows` (B, 1 + n), the relevant one first, at step 0, 1, …"""
        ...

    def groups(self, settings: JointSettings) -> list[dict[str, object]]:
        """The parameters to train, with their learning rates, as an optimiser takes them."""
        ...

    def after_step(self) -> None:
        """What is done behind each step of the optimiser, gradients still at hand."""
        ...


# -- the models -------------------------------------------------------------------------------------------------------


def identity_map(dimension: int) -> nn.Linear:
    """A linear map (D, D) without bias that begins as the identity."""
    made = nn.Linear(dimension, dimension, bias=False)
    nn.init.eye_(made.weight)
    return made


class Joint(nn.Module):
    """A model whose optimiser does all there is to do."""

    def after_step(self) -> None:
        """Nothing."""


class JointPQ(Joint):
    """JPQ: fixed codes; their centroids and the query module learn by the pairwise log loss."""

    codes: Tensor
    rotation: Tensor

    def __init__(
        self,
        centroids: Tensor,
        codes: Tensor,
        *,
        rotation: Tensor | None = None,
        queries: nn.Module | None = None,
        temperature: float = 0.05,
    ) -> None:
        """Centroids (M, C, w) and codes (N, M) of a quantiser; `rotation` (D, D) is its, and stays as it is.

        `queries` maps inputs to vectors (B, D); without it, a linear map that begins as the identity.
        """
        super().__init__()
        parts, count, width = centroids.shape
        if codes.ndim != 2 or codes.shape[1] != parts or not len(codes) or not 0 <= codes.min() <= codes.max() < count:
            raise InputError(
                f"JPQ got codes of shape {tuple(codes.shape)} for centroids {tuple(centroids.shape)}; it needs rows of "
                f"{parts} numbers from 0 to {count - 1}, at least one. Encode the vectors with the same quantiser."
            )
        self.centroids = nn.Parameter(centroids.detach().clone())
        self.query_map = _module(queries, parts * width)
        self.temperature = temperature
        self.register_buffer("codes", codes.detach().clone())
        self.register_buffer("rotation", torch.eye(parts * width) if rotation is None else rotation.detach().clone())

    def query_vectors(self, inputs: Tensor) -> Tensor:
        """Mapped queries (B, D), on the vectors' own axes: what a search is asked with."""
        mapped: Tensor = self.query_map(inputs)
        return mapped

    def document_vectors(self) -> Tensor:
        """What the codes stand for, (N, D), on the vectors' own axes."""
        with torch.no_grad():
            return decode(self.centroids, self.codes) @ self.rotation.T

    def scores(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """Products of the queries with what the codes of `rows` (B, n) stand for: (B, n)."""
        return own_scores(self.query_vectors(inputs) @ self.rotation, decode(self.centroids, self.codes[rows]))

    def loss(self, inputs: Tensor, rows: Tensor, _step: int) -> Tensor:
        """The pairwise log loss of scores over the temperature."""
        return ranknet(self.scores(inputs, rows) / self.temperature)

    def groups(self, settings: JointSettings) -> list[dict[str, object]]:
        """The query module by one rate, the centroids by the other."""
        return _groups(settings, [self.query_map], [self.centroids])


class DistilledPQ(JointPQ):
    """Distill-VQ for product codes: the codes' scores learn the softmax of the float vectors' scores."""

    vectors: Tensor

    def __init__(
        self,
        centroids: Tensor,
        codes: Tensor,
        vectors: Tensor,
        *,
        teacher: Callable[[Tensor], Tensor] = lambda inputs: inputs,
        rotation: Tensor | None = None,
        queries: nn.Module | None = None,
        temperature: float = 0.05,
    ) -> None:
        """As `JointPQ`, with the float vectors (N, D) and `teacher`, which maps inputs to their float queries."""
        super().__init__(centroids, codes, rotation=rotation, queries=queries, temperature=temperature)
        _check_rows(vectors, len(codes), self.rotation.shape[0])
        self.register_buffer("vectors", vectors.detach().clone())
        self.teacher = teacher

    def loss(self, inputs: Tensor, rows: Tensor, _step: int) -> Tensor:
        """`distilled_loss` over the relevant document and the negatives alike; labels are not looked at."""
        with torch.no_grad():
            wanted = own_scores(self.teacher(inputs), self.vectors[rows])
        return distilled_loss(wanted, [self.scores(inputs, rows)], temperature=self.temperature)


class ConstrainedPQ(Joint):
    """RepCONC: a document module and centroids that learn to rank and to lie close, under balanced assignments."""

    vectors: Tensor

    def __init__(
        self,
        centroids: Tensor,
        vectors: Tensor,
        *,
        queries: nn.Module | None = None,
        documents: nn.Module | None = None,
        temperature: float = 0.05,
        closeness: float = 5.0,
        epsilon: float = 0.02,
    ) -> None:
        """Centroids (M, C, w) and vectors (N, D); `closeness` weighs the squared length of what coding loses."""
        super().__init__()
        dimension = centroids.shape[0] * centroids.shape[2]
        _check_rows(vectors, len(vectors), dimension)
        self.centroids = nn.Parameter(centroids.detach().clone())
        self.query_map = _module(queries, dimension)
        self.document_map = _module(documents, dimension)
        self.temperature, self.closeness, self.epsilon = temperature, closeness, epsilon
        self.register_buffer("vectors", vectors.detach().clone())

    def query_vectors(self, inputs: Tensor) -> Tensor:
        """Mapped queries (B, D)."""
        mapped: Tensor = self.query_map(inputs)
        return mapped

    def codes(self) -> Tensor:
        """The nearest centroids of all mapped documents, (N, M): what the finished index stores."""
        with torch.no_grad():
            return nearest_codes(self.document_map(self.vectors), self.centroids)

    def document_vectors(self) -> Tensor:
        """What these codes stand for, (N, D)."""
        with torch.no_grad():
            return decode(self.centroids, self.codes())

    def loss(self, inputs: Tensor, rows: Tensor, _step: int) -> Tensor:
        """The softmax loss over quantised documents, and `closeness` times what coding loses."""
        documents = self.document_map(self.vectors[rows.flatten()])
        quantised = decode(self.centroids, balanced_codes(documents, self.centroids, epsilon=self.epsilon))
        ranked = straight_through(documents, quantised).reshape(*rows.shape, -1)
        lost = (documents - quantised).square().sum(dim=-1).mean()
        scores = own_scores(self.query_vectors(inputs), ranked) / self.temperature
        loss: Tensor = localised_softmax(scores) + self.closeness * lost
        return loss

    def groups(self, settings: JointSettings) -> list[dict[str, object]]:
        """Both modules by one rate, the centroids by the other."""
        return _groups(settings, [self.query_map, self.document_map], [self.centroids])


class BinaryPassages(Joint):
    """BPR: query and document modules whose signs find candidates; the float query orders these."""

    vectors: Tensor

    def __init__(
        self,
        vectors: Tensor,
        *,
        queries: nn.Module | None = None,
        documents: nn.Module | None = None,
        margin: float = 2.0,
        gamma: float = 0.1,
    ) -> None:
        """Vectors (N, D); margin and gamma as in the paper (`hamming_margin_loss`, `soft_signs`)."""
        super().__init__()
        _check_rows(vectors, len(vectors), vectors.shape[-1])
        self.query_map = _module(queries, vectors.shape[1])
        self.document_map = _module(documents, vectors.shape[1])
        self.margin, self.gamma = margin, gamma
        self.register_buffer("vectors", vectors.detach().clone())

    def query_vectors(self, inputs: Tensor) -> Tensor:
        """Mapped float queries (B, D); their signs find candidates."""
        mapped: Tensor = self.query_map(inputs)
        return mapped

    def document_vectors(self) -> Tensor:
        """The documents' signs, (N, D), each 1 or -1."""
        with torch.no_grad():
            return signs(self.document_map(self.vectors))

    def loss(self, inputs: Tensor, rows: Tensor, step: int) -> Tensor:
        """The margin loss of signs against signs, and the softmax loss of float queries against signs."""
        queries = self.query_vectors(inputs)
        hard = soft_signs(self.document_map(self.vectors[rows]), step, gamma=self.gamma)
        found = hamming_margin_loss(soft_signs(queries, step, gamma=self.gamma), hard, margin=self.margin)
        return found + localised_softmax(own_scores(queries, hard))

    def groups(self, settings: JointSettings) -> list[dict[str, object]]:
        """Both modules by one rate."""
        return _groups(settings, [self.query_map, self.document_map], [])


# -- training ---------------------------------------------------------------------------------------------------------


def hard_negatives(scores: Tensor, relevant: Sequence[Collection[int]], count: int, *, depth: int, seed: int) -> Tensor:
    """For each row of scores (B, N), `count` of the `depth` best documents that are not relevant: (B, count)."""
    masked = scores.clone()
    for row, rows in enumerate(relevant):
        masked[row, list(rows)] = -torch.inf
    free = scores.shape[1] - max(map(len, relevant))
    if free < count:
        raise InputError(f"{count} negatives were asked for where {free} documents are not relevant. Ask for fewer.")
    best = masked.topk(min(depth, free)).indices
    drawn = torch.rand(best.shape, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)[:, :count]
    return best.gather(1, drawn.to(best.device))


def fit(
    model: JointModel,
    inputs: Tensor,
    relevant: Sequence[Collection[int]],
    settings: JointSettings | None = None,
    *,
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> list[float]:
    """Train `model` in place on inputs (Q, …), the rows in `relevant` for each, and give the mean loss of each epoch.

    Modules stay in the mode they are in (dropout). The same seed gives the same result. InputError: not one set of rows
    for each query, or none anywhere.
    """
    settings = settings or JointSettings()
    pairs = [(query, row) for query, rows in enumerate(relevant) for row in sorted(rows)]
    if len(relevant) != len(inputs) or not pairs:
        raise InputError(
            f"Joint training got {len(inputs)} queries and relevant rows for {len(relevant)}, {len(pairs)} in all; it "
            "needs a set of rows for each query, and one pair at least."
        )
    optimiser = torch.optim.Adam(model.groups(settings))
    losses, step = [], 0
    stored = model.document_vectors()
    for epoch in range(settings.epochs):
        total = 0.0
        for asked, positive in _batches(pairs, settings, epoch):
            if step % settings.refresh == 0:
                stored = model.document_vectors()
            with torch.no_grad():
                scores = model.query_vectors(inputs[asked]) @ stored.T
            answers = [relevant[query] for query in asked.tolist()]
            wrong = hard_negatives(
                scores, answers, settings.negatives, depth=settings.depth, seed=settings.seed * 1_000_003 + step
            )
            loss = model.loss(inputs[asked], torch.cat([positive[:, None].to(wrong.device), wrong], dim=1), step)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            model.after_step()
            total += float(loss.detach()) * len(asked)
            step += 1
        losses.append(total / len(pairs))
        on_epoch(epoch, losses[-1])
    return losses


def _batches(pairs: Sequence[tuple[int, int]], settings: JointSettings, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Queries (b,) and relevant rows (b,) of all pairs, in an order of the epoch's own."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    shuffled = torch.tensor(pairs)[torch.randperm(len(pairs), generator=generator)]
    for first in range(0, len(shuffled), settings.batch):
        part = shuffled[first : first + settings.batch]
        yield part[:, 0], part[:, 1]


def _groups(
    settings: JointSettings, modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]
) -> list[dict[str, object]]:
    mapped = [one for module in modules for one in module.parameters() if one.requires_grad]
    trained = [one for one in parameters if one.requires_grad]
    groups = [(mapped, settings.map_rate), (trained, settings.index_rate)]
    return [{"params": group, "lr": rate} for group, rate in groups if group]


def _module(given: nn.Module | None, dimension: int) -> nn.Module:
    return identity_map(dimension) if given is None else given


def _check_rows(vectors: Tensor, count: int, dimension: int) -> None:
    if vectors.ndim != 2 or not len(vectors) or vectors.shape != (count, dimension):
        raise InputError(
            f"Joint training got document vectors of shape {tuple(vectors.shape)}; it needs ({count or 'N'}, "
            f"{dimension}), at least one."
        )
