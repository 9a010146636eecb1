"""Objectives of a cross-encoder over lists: a relevant document, and others that are not.

Shapes      scores s (B, m), the relevant document in the first column -> a scalar, the mean over lists
listwise    localised softmax: -log of the relevant one's share (LCE; Gao, Dai and Callan, ECIR 2021)
bce         binary cross-entropy of each document: scores are log-odds
listnet     cross-entropy of softmax(s) to softmax(labels), labels 1, 0, … 0 (Cao et al., ICML 2007)
listmle     -sum over places k of log(e^s_k / sum over l >= k of e^s_l) (Xia et al., ICML 2008); the others, which no
            label orders, stand as they were drawn, and are drawn anew in each epoch
plistmle    the same, place k of m weighed by 2^(m - k) - 1, weights summing to 1 (Lan et al., UAI 2014)
ranknet     log(1 + e^-(s_1 - s_j)), the mean over the others (Burges et al., ICML 2005)
lambda      ranknet, each pair weighed as in NDCG-Loss2++: 10 |1/D(d) - 1/D(d + 1)| + |1/D(r_1) - 1/D(r_j)|, with ranks
            r by the scores, d = |r_1 - r_j| and D(x) = log2(1 + x) (LambdaLoss; Wang et al., CIKM 2018, equation 16)

The definitions are those of sentence-transformers' losses of these names, but for logarithms, which are natural here;
theirs read a batch's texts themselves, a few at a time, these take scores.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

MU = 10.0
"""Weight of NDCG-Loss2 beside LambdaRank's in NDCG-Loss2++."""


def localised_softmax(scores: Tensor) -> Tensor:
    """-log of the first one's share of the softmax."""
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def binary(scores: Tensor) -> Tensor:
    """Binary cross-entropy over all documents."""
    return F.binary_cross_entropy_with_logits(scores, labels_of(scores))


def listnet(scores: Tensor) -> Tensor:
    """Its least value is the entropy of softmax(labels)."""
    return F.cross_entropy(scores, labels_of(scores).softmax(-1))


def listmle(scores: Tensor) -> Tensor:
    """-log of the chance to draw the documents in their order."""
    return _places(scores).sum(-1).mean()


def plistmle(scores: Tensor) -> Tensor:
    """The same, the first places counting most."""
    left = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    weights = 2.0**left - 1
    return (_places(scores) * weights / weights.sum()).sum(-1).mean()


def ranknet(scores: Tensor) -> Tensor:
    """The mean over pairs."""
    return F.softplus(scores[:, 1:] - scores[:, :1]).mean()


def lambda_loss(scores: Tensor) -> Tensor:
    """The mean over pairs, weighed by what changing places would do to nDCG; no gradient passes the weights."""
    ranks = scores.detach().argsort(dim=-1, descending=True, stable=True).argsort(-1) + 1
    first, others = ranks[:, :1], ranks[:, 1:]
    apart = (first - others).abs()
    weights = MU * (_discount(apart) - _discount(apart + 1)) + (_discount(first) - _discount(others)).abs()
    return (weights * F.softplus(scores[:, 1:] - scores[:, :1])).mean()


LIST_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "listwise": localised_softmax,
    "bce": binary,
    "listnet": listnet,
    "listmle": listmle,
    "plistmle": plistmle,
    "ranknet": ranknet,
    "lambda": lambda_loss,
}


def labels_of(scores: Tensor) -> Tensor:
    """1 in the first column, 0 in the others."""
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    return labels


def _places(scores: Tensor) -> Tensor:
    """(B, m): -log of the share that the document of a place has of those from there on."""
    return scores.flip(-1).logcumsumexp(-1).flip(-1) - scores


def _discount(rank: Tensor) -> Tensor:
    return 1 / torch.log2(1.0 + rank)
