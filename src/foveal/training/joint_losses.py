"""The equations of indexes that are trained together with their queries: see joint_index.py for the methods.

Shapes    product codes (…, M) of centroids (M, C, D / M); scores (B, 1 + n) hold the relevant document's first
Source    balanced codes: RepCONC (Zhan et al., WSDM 2022); soft signs, their margin loss and the search: BPR (Yamada,
          Asai and Hajishirzi, ACL 2021); distillation: Distill-VQ (Xiao et al., SIGIR 2022). JPQ's pairwise log loss
          (Zhan et al., CIKM 2021) and the softmax loss are those of lists: list_losses.py
All are differentiable where their results are not whole numbers, and run on any device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError
from foveal.ranges import require_k


def decode(centroids: Tensor, codes: Tensor) -> Tensor:
    """What codes (…, M) of centroids (M, C, w) stand for: (…, M w)."""
    return centroids[torch.arange(len(centroids), device=codes.device), codes.long()].flatten(-2)


def own_scores(queries: Tensor, documents: Tensor) -> Tensor:
    """Inner products of queries (B, D) with their own documents (B, n, D): (B, n)."""
    return torch.einsum("bd,bnd->bn", queries, documents)


def sinkhorn(costs: Tensor, *, epsilon: float = 0.02, rounds: int = 50) -> Tensor:
    """Shares (…, n, C) of n points in C clusters that make costs (…, n, C) small while each point has one whole share
    and each cluster about n / C of them (optimal transport with entropy, after Cuturi, NeurIPS 2013).

    `epsilon` is in units of the costs' mean. Smaller makes shares harder, so that the largest share of each point, too,
    is balanced; very small ones need more rounds.
    """
    if epsilon <= 0 or rounds < 1:
        raise InputError(f"Sinkhorn got epsilon={epsilon} and rounds={rounds}; it needs one above 0 and at least 1.")
    clusters = costs.shape[-1]
    shares = -costs / (epsilon * costs.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-12))
    full = torch.log(torch.tensor(costs.shape[-2] / clusters, dtype=costs.dtype, device=costs.device))
    for _ in range(rounds):
        shares = shares - shares.logsumexp(dim=-2, keepdim=True) + full
        shares = shares.log_softmax(dim=-1)
    return shares.exp()


def part_costs(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances of each part of vectors (n, D) to its centroids (M, C, w): (M, n, C)."""
    parts = vectors.reshape(len(vectors), len(centroids), -1).transpose(0, 1)
    return torch.cdist(parts, centroids).square()


def balanced_codes(vectors: Tensor, centroids: Tensor, *, epsilon: float = 0.02) -> Tensor:
    """Codes (n, M) such that each centroid of a part gets about as many of the n vectors as any other (RepCONC).

    The constraint is that of the vectors given here, as in the paper: a batch; give several times C of them.
    """
    with torch.no_grad():
        return sinkhorn(part_costs(vectors, centroids), epsilon=epsilon).argmax(dim=-1).T


def nearest_codes(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Codes (n, M) of the nearest centroids."""
    with torch.no_grad():
        return part_costs(vectors, centroids).argmin(dim=-1).T


def straight_through(vectors: Tensor, quantised: Tensor) -> Tensor:
    """The values of `quantised`, whose gradient reaches both it and `vectors`, unchanged."""
    return quantised + vectors - vectors.detach()


def soft_signs(vectors: Tensor, step: int, *, gamma: float = 0.1) -> Tensor:
    """tanh(beta x) with beta = sqrt(1 + gamma step): nearly x at first where x is small, nearly its sign later."""
    return torch.tanh((1 + gamma * step) ** 0.5 * vectors)


def signs(vectors: Tensor) -> Tensor:
    """1 where a number is above 0, and -1 elsewhere, as `retrieval.flat.binarise` has it."""
    return (vectors > 0).to(vectors.dtype) * 2 - 1


def hamming_margin_loss(queries: Tensor, documents: Tensor, *, margin: float = 2.0) -> Tensor:
    """The mean of max(0, margin - h_q · h+ + h_q · h-) over (soft) signs (B, D) and (B, 1 + n, D)."""
    scores = own_scores(queries, documents)
    return F.relu(margin - scores[:, :1] + scores[:, 1:]).mean()


def distilled_loss(teacher: Tensor, students: Sequence[Tensor], *, temperature: float = 1.0) -> Tensor:
    """The sum over students of the cross entropy between the teacher's softmax and theirs over the same documents.

    All are scores (B, n). Distill-VQ has two students: scores by cells, and scores by product codes.
    """
    if not students or any(one.shape != teacher.shape for one in students):
        shapes = [tuple(one.shape) for one in students]
        raise InputError(
            f"Distillation got a teacher {tuple(teacher.shape)} and students {shapes}; all need one shape."
        )
    wanted = (teacher.detach() / temperature).softmax(dim=-1)
    losses = [-(wanted * (one / temperature).log_softmax(dim=-1)).sum(dim=-1).mean() for one in students]
    return torch.stack(losses).sum()


def binary_search(queries: Tensor, stored: Tensor, k: int, *, candidates: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows and scores (Q, min(k, N)), the best first, by the two steps of BPR.

    Of the documents' signs (N, D), each 1 or -1, the `candidates` (4 k) nearest to the query's signs by Hamming
    distance; of these the `k` with the largest product of the float query (Q, D) and the signs.
    """
    require_k(k)
    count = min(len(stored), max(k, candidates or 4 * k))
    distances = (stored.shape[1] - signs(queries) @ stored.T) / 2
    near = distances.topk(count, largest=False).indices
    scores, best = own_scores(queries, stored[near]).topk(min(k, count))
    return near.gather(1, best), scores
