"""Nine objectives of neural ranking, each for any model: over lists of scores and their labels.

Shapes    scores f and labels y (B, L), mask (B, L) bool, False where a list is shorter -> the loss, a scalar
Pointwise bce -[y log p + (1 - y) log(1 - p)], p = sigmoid(gamma (f - middle)), y > 0 counts 1;
          mse (f - y)^2
Pairwise  over all pairs of a list with y_i > y_j: hinge max(0, margin - f_i + f_j), the mean of the hinges and not the
          hinge of a mean; ranknet log(1 + exp(-gamma (f_i - f_j))) (Burges et al., ICML 2005)
Listwise  softmax -log(sum of exp(gamma f) over the relevant / over all) (DSSM: Huang et al., CIKM 2013);
          listnet -sum softmax(y) log softmax(gamma f) (Cao et al., ICML 2007);
          listmle -sum_k log(exp(f_k) / sum_{l >= k} exp(f_l)) in the order of the labels (Xia et al., ICML 2008);
          attention-rank: binary cross entropy of shares a = e^y / sum e^y over y > 0 (0 elsewhere) and softmax(gamma f)
          (Ai et al., SIGIR 2018); lambdarank: ranknet with |change of nDCG| as weight (Burges, 2010; gain = y)
Tasks     "softmax+bce": their sum, an order and for each text whether it is relevant, learnt together (multi-task)
Lists     each counts the same; one from which nothing can be learnt (no better and worse document) counts nothing,
          and `teaches` says which those are. Pointwise losses take all that the mask lets through

gamma is 10 where scores are bounded (a cosine, a tanh): else softmax(f) could never tell a good document for sure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import UnknownName
from foveal.ranges import POSITIVE, require_settings

ListLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scores, labels, mask, each (B, L) -> a scalar."""


@dataclass(frozen=True, kw_only=True)
class RankLossSettings:
    """The numbers of the losses; each uses its own."""

    margin: float = 1.0  # of the hinge
    gamma: float | None = None  # scores are multiplied by it in the logistic ones; None: 10 if bounded, else 1

    def __post_init__(self) -> None:
        require_settings("A loss", self, margin=POSITIVE, gamma=POSITIVE)


def make_loss(
    name: str, settings: RankLossSettings | None = None, *, bounded: bool = False, middle: float = 0.0
) -> ListLoss:
    """The loss of that name, or the sum of those with "+" between, for a model whose scores are bounded or not, and for
    which `middle` is the score of an even chance (which only bce needs). UnknownName lists them.
    """
    settings = settings or RankLossSettings()
    parts = name.split("+")
    if len(parts) > 1:
        each = [make_loss(part, settings, bounded=bounded, middle=middle) for part in parts]
        return lambda scores, labels, mask: torch.stack([one(scores, labels, mask) for one in each]).sum()
    if name not in LOSSES:
        raise UnknownName(f"No ranking loss is called {name!r}. There are: {', '.join(LOSSES)}; or a sum, a+b.")
    if name == "hinge":
        return partial(hinge, margin=settings.margin)
    if name == "mse":
        return mse
    gamma = settings.gamma or (10.0 if bounded else 1.0)
    return partial(bce, gamma=gamma, middle=middle) if name == "bce" else partial(LOSSES[name], gamma=gamma)


def teaches(labels: Tensor, mask: Tensor) -> Tensor:
    """(B,) bool: whether one document of the list is better than another."""
    highest = labels.masked_fill(~mask, -torch.inf).amax(1)
    lowest = labels.masked_fill(~mask, torch.inf).amin(1)
    return highest > lowest


# -- pointwise --------------------------------------------------------------------------------------------------------


def bce(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0, middle: float = 0.0) -> Tensor:
    """Binary cross entropy of each document; the mean over all."""
    each = F.binary_cross_entropy_with_logits(gamma * (scores - middle), (labels > 0).float(), reduction="none")
    return _mean(each, mask)


def mse(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Squared error to the label; the mean over all."""
    return _mean((scores - labels).square(), mask)


# -- pairwise ---------------------------------------------------------------------------------------------------------


def hinge(scores: Tensor, labels: Tensor, mask: Tensor, *, margin: float = 1.0) -> Tensor:
    """The mean over a list's pairs of max(0, margin - f+ + f-), then over lists."""
    apart, better = _apart(scores), _better(labels, mask)
    return _over_lists(_pair_means((margin - apart).relu(), better), better.any(2).any(1))


def ranknet(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """The mean over a list's pairs of log(1 + exp(-gamma (f+ - f-))), then over lists."""
    better = _better(labels, mask)
    return _over_lists(_pair_means(F.softplus(-gamma * _apart(scores)), better), better.any(2).any(1))


def lambdarank(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """The sum over a list's pairs of |change of nDCG if they changed places| · ranknet, then the mean over lists."""
    better = _better(labels, mask)
    weights = ndcg_changes(scores.detach(), labels, mask)
    each = (F.softplus(-gamma * _apart(scores)) * weights * better).sum((1, 2))
    return _over_lists(each, better.any(2).any(1))


def ndcg_changes(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """(B, L, L): how much nDCG changes when two documents change places in the order of the scores."""
    held = scores.masked_fill(~mask, -torch.inf)
    ranks = held.argsort(dim=1, descending=True, stable=True).argsort(1) + 1  # from 1
    discounts = 1 / torch.log2(1 + ranks.float())
    gains = labels.clamp(min=0).masked_fill(~mask, 0).float()
    places = torch.log2(torch.arange(2, 2 + labels.shape[1], device=labels.device).float())
    ideal = (gains.sort(1, descending=True).values / places).sum(1).clamp(min=1e-9)
    changes = (gains.unsqueeze(2) - gains.unsqueeze(1)) * (discounts.unsqueeze(2) - discounts.unsqueeze(1))
    return changes.abs() / ideal.view(-1, 1, 1)


# -- listwise ---------------------------------------------------------------------------------------------------------


def softmax(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """-log of the softmax share of the relevant documents, those with the highest label of a list."""
    held = (gamma * scores).masked_fill(~mask, -torch.inf)
    highest = labels.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
    right = held.masked_fill(labels < highest, -torch.inf)
    return _over_lists(held.logsumexp(1) - right.logsumexp(1), teaches(labels, mask))


def listnet(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Cross entropy of softmax(gamma f) to softmax(y); its least value is the entropy of the latter."""
    target = labels.float().masked_fill(~mask, -torch.inf).softmax(1)
    return _over_lists(-(target * _log_shares(scores, mask, gamma)).sum(1), teaches(labels, mask))


def listmle(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """-log of the chance to draw the documents in the order of their labels; equal labels in the order given."""
    order = labels.float().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    drawn, held = (gamma * scores).gather(1, order), mask.gather(1, order)
    rest = drawn.masked_fill(~held, -1e9).flip(1).logcumsumexp(1).flip(1)
    each = (rest - drawn).masked_fill(~held, 0).sum(1)
    return _over_lists(each, teaches(labels, mask))


def attention_rank(scores: Tensor, labels: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """-sum [a log s + (1 - a) log(1 - s)]: shares a of the labels above 0, s of the scores."""
    relevant = (labels > 0) & mask
    somewhere = relevant.any(1, keepdim=True)
    target = labels.float().masked_fill(~relevant & somewhere, -torch.inf).softmax(1) * relevant
    log_share = _log_shares(scores, mask, gamma)
    log_rest = torch.log1p(-log_share.exp().clamp(max=1 - 1e-6))
    each = -((target * log_share + (1 - target) * log_rest) * mask).sum(1)
    return _over_lists(each, teaches(labels, mask) & somewhere.squeeze(1))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": bce,
    "mse": mse,
    "hinge": hinge,
    "ranknet": ranknet,
    "softmax": softmax,
    "listnet": listnet,
    "listmle": listmle,
    "attention-rank": attention_rank,
    "lambdarank": lambdarank,
}
NEGATIVES = {"bce": 1, "mse": 1, "hinge": 1, "ranknet": 1}
"""Negatives for each relevant document by default; `OF_LISTS` for the others, which look at lists."""
OF_LISTS = 4


def negatives_of(name: str) -> int:
    """Negatives for each relevant document of a loss, or of the most demanding one of a sum."""
    return max(NEGATIVES.get(part, OF_LISTS) for part in name.split("+"))


def _apart(scores: Tensor) -> Tensor:
    """(B, L, L): f_i - f_j."""
    return scores.unsqueeze(2) - scores.unsqueeze(1)


def _better(labels: Tensor, mask: Tensor) -> Tensor:
    """(B, L, L) bool: y_i > y_j, where both are."""
    return (labels.unsqueeze(2) > labels.unsqueeze(1)) & mask.unsqueeze(2) & mask.unsqueeze(1)


def _pair_means(values: Tensor, chosen: Tensor) -> Tensor:
    """(B, L, L) -> (B,): the mean over the chosen pairs, 0 where there are none."""
    return (values * chosen).sum((1, 2)) / chosen.sum((1, 2)).clamp(min=1)


def _log_shares(scores: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """(B, L): log softmax of gamma f over the mask, 0 elsewhere."""
    return (gamma * scores).masked_fill(~mask, -torch.inf).log_softmax(1).masked_fill(~mask, 0)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _over_lists(values: Tensor, counted: Tensor) -> Tensor:
    """(B,) -> the mean over the lists that count, 0 (with a gradient of 0) where none does."""
    return values.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)
