"""Poeem: an index of product codes that is trained whole with its queries, the rotation before the codes, too.

    model = RotatedPQ(centroids, vectors)
    fit(model, query_vectors, relevant, JointSettings())       # joint_index.py

Documents are turned, coded by the nearest centroids and turned back; gradients pass the codes straight through. What
coding loses pulls rotation and centroids. The rotation stays one: after each step it is turned in D / 2 planes at once,
each of two axes, those in which the loss falls fastest (a block coordinate descent by Givens rotations).

Shapes    documents (N, D), centroids (M, C, D / M), rotation (D, D) orthogonal: turned = documents @ rotation
Source    Zhang et al., SIGIR 2021 (arXiv 2105.03933); the order of the planes as in Jiang et al., ICML 2022
Differs   a module over vectors stands for the transformer (see joint_index.py); no coarse cells; the warm start is the
          quantiser that one begins with
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.training.joint_index import ConstrainedPQ
from foveal.training.joint_losses import decode, nearest_codes, own_scores, straight_through
from foveal.training.list_losses import localised_softmax


def givens_planes(pull: Tensor) -> tuple[Tensor, Tensor]:
    """Disjoint pairs of axes (i, j), i < j, each the steepest of what is left, by the skew matrix `pull` (D, D).

    Two axes that are each other's steepest will be paired whatever else is, so a round takes all such pairs at once.
    """
    left = pull.detach().abs().cpu().numpy()
    np.fill_diagonal(left, -1)
    axes = np.arange(len(left))
    pairs: list[tuple[float, int, int]] = []
    while len(axes) > 1:
        best, places = left.argmax(axis=1), np.arange(len(axes))  # of equal ones the first, so that a pair is found
        i = np.flatnonzero((best[best] == places) & (places < best))
        j = best[i]
        pairs += zip(left[i, j].tolist(), axes[i].tolist(), axes[j].tolist(), strict=True)
        kept = np.delete(places, np.concatenate([i, j]))
        axes, left = axes[kept], left[np.ix_(kept, kept)]
    pairs.sort(key=lambda pair: (-pair[0], pair[1]))
    chosen = torch.tensor([pair[1:] for pair in pairs], dtype=torch.long, device=pull.device).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def turned_downhill(rotation: Tensor, gradient: Tensor, rate: float) -> Tensor:
    """The rotation (D, D) after a step against the gradient of a loss by it, still orthogonal.

    In each of the chosen planes columns i and j are turned by -rate times the loss's derivative by that angle.
    """
    pull = gradient.T @ rotation
    pull = pull - pull.T  # [i, j]: the derivative by the angle that turns column i to column j
    i, j = givens_planes(pull)
    angles = -rate * pull[i, j]
    cos, sin = angles.cos(), angles.sin()
    made = rotation.clone()
    made[:, i] = rotation[:, i] * cos + rotation[:, j] * sin
    made[:, j] = rotation[:, j] * cos - rotation[:, i] * sin
    return made


def _orthogonal(matrix: Tensor, dimension: int) -> bool:
    """Whether it is one of that size; one with a number that is none is not."""
    if matrix.shape != (dimension, dimension):
        return False
    eye = torch.eye(dimension, dtype=matrix.dtype, device=matrix.device)
    return bool((matrix.T @ matrix - eye).abs().max() <= 1e-3)


class RotatedPQ(ConstrainedPQ):
    """Poeem: query and document modules, centroids and the rotation learn to rank and to lie close."""

    def __init__(
        self,
        centroids: Tensor,
        vectors: Tensor,
        *,
        rotation: Tensor | None = None,
        queries: nn.Module | None = None,
        documents: nn.Module | None = None,
        temperature: float = 0.05,
        closeness: float = 1.0,
        rotation_rate: float = 0.01,
    ) -> None:
        """Centroids (M, C, w) of turned vectors, and vectors (N, D).

        `rotation` (D, D) is the quantiser's, the identity by default; `closeness` weighs the squared length of what
        coding loses; `rotation_rate`: radians for each unit of a derivative. InputError: shapes that do not fit, or a
        rotation that is none.
        """
        super().__init__(
            centroids, vectors, queries=queries, documents=documents, temperature=temperature, closeness=closeness
        )
        dimension = centroids.shape[0] * centroids.shape[2]
        begun = torch.eye(dimension, device=centroids.device) if rotation is None else rotation.detach().clone()
        if not _orthogonal(begun, dimension):
            raise InputError(
                f"Poeem got a rotation of shape {tuple(begun.shape)} for vectors of {dimension} numbers; it needs an "
                "orthogonal matrix of that size (a quantiser's, or None)."
            )
        if not (closeness >= 0 and rotation_rate >= 0):
            raise InputError(
                f"Poeem got closeness {closeness} and rotation_rate {rotation_rate}; neither may be below 0."
            )
        self.rotation, self.rotation_rate = nn.Parameter(begun), rotation_rate

    def codes(self) -> Tensor:
        """The codes (N, M) of all mapped documents: what the finished index stores."""
        with torch.no_grad():
            return nearest_codes(self.document_map(self.vectors) @ self.rotation, self.centroids)

    def document_vectors(self) -> Tensor:
        """What the codes stand for, (N, D), on the vectors' own axes."""
        with torch.no_grad():
            return decode(self.centroids, self.codes()) @ self.rotation.T

    def loss(self, inputs: Tensor, rows: Tensor, _step: int) -> Tensor:
        """The softmax loss over coded documents, and `closeness` times what coding loses."""
        documents = self.document_map(self.vectors[rows.flatten()])
        turned = documents @ self.rotation
        coded = decode(self.centroids, nearest_codes(turned, self.centroids))
        lost = (turned - coded).square().sum(dim=-1).mean()
        ranked = (straight_through(turned, coded) @ self.rotation.T).reshape(*rows.shape, -1)
        scores = own_scores(self.query_vectors(inputs), ranked) / self.temperature
        loss: Tensor = localised_softmax(scores) + self.closeness * lost
        return loss

    def after_step(self) -> None:
        """Turn the rotation against its gradient."""
        if self.rotation.grad is not None:
            with torch.no_grad():
                self.rotation.copy_(turned_downhill(self.rotation, self.rotation.grad, self.rotation_rate))
            self.rotation.grad = None
