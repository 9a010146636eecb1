"""SPLADE: texts as weights over the vocabulary, few of them above 0, learnt with a ranking loss and a price on each.

Shapes    logits (B, L, V), mask (B, L) bool -> weights (B, V), w_t = max over j of log(1 + ReLU(z_jt))
Source    SPLADE v2: Formal et al., arXiv 2109.10086; the price (FLOPS): Paria et al., ICLR 2020
Against   sentence-transformers has SpladeLoss around its own SparseEncoder; this one runs in any torch loop, and begins
          at what `pretraining_bottleneck.py` trained (`model` may be its MaskedEncoder)

`Splade.masked_model().save_pretrained(folder)` beside a saved tokenizer is a folder that
`foveal.retrieval.sparse.load_sparse_encoder` and `sentence_transformers.SparseEncoder` both load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foveal.errors import InputError
from foveal.ranges import NOT_NEGATIVE, require_settings
from foveal.training.pretraining_masked import MaskedEncoder

Distillation = Callable[[Tensor, Tensor], Tensor]
"""Student's and teacher's scores (B, C) of each query's own C candidates, the positive first -> a loss."""


def splade(logits: Tensor, mask: Tensor) -> Tensor:
    """The weights (B, V) of the tokens that the mask lets through; 0 for a text of none.

    The logarithm is taken after the maximum: it rises with its argument, so that the weights are the same.
    """
    highest = logits.masked_fill(~mask[..., None], 0).amax(dim=1)
    return torch.log1p(highest.relu())


def flops(weights: Tensor) -> Tensor:
    """Sum over the vocabulary of the squared mean weight in the batch (B, V): what an inverted index pays, smoothed."""
    return weights.abs().mean(dim=0).square().sum()


def ramp(step: int, steps: int) -> float:
    """The share of the full price at `step`: rises as a square from 0 and is 1 from `steps` on."""
    return min(1.0, step / steps) ** 2 if steps else 1.0


@dataclass(frozen=True, kw_only=True)
class SpladePrice:
    """What a weight costs. The prices are those of sentence-transformers' examples, not tuned here."""

    queries: float = 5e-5  # times the FLOPS of the queries
    documents: float = 3e-5  # the same for the documents
    steps: int = 1_000  # forward passes in training until the full price

    def __post_init__(self) -> None:
        require_settings(
            "The price of a weight", self, queries=NOT_NEGATIVE, documents=NOT_NEGATIVE, steps=NOT_NEGATIVE,
        )  # fmt: skip


class Splade(nn.Module):
    """The encoder: ids (B, L), mask (B, L) bool -> weights (B, V)."""

    def __init__(self, model: Any) -> None:
        """`model`: a BertForMaskedLM, a BertModel (its head then begins untrained), or a MaskedEncoder."""
        super().__init__()
        self.model = model if isinstance(model, MaskedEncoder) else MaskedEncoder(model)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return splade(self.model.logits(self.model.hidden(ids, mask)[-1]), mask)

    def masked_model(self) -> Any:
        """A transformers BertForMaskedLM with copies of these weights, to be saved."""
        return self.model.masked_model()


class SpladeTraining(nn.Module):
    """Ranking loss over a query's own candidates and those of the batch, price, and distillation by choice.

    Shapes    first (B, L) queries; second (B·C, L) candidates, those of query i at rows i·C to i·C + C - 1, its
              positive first; teacher (B, C) scores of another model, or None
    """

    def __init__(
        self,
        splade: Splade,
        *,
        price: SpladePrice | None = None,
        temperature: float = 1.0,
        distillation: Distillation | None = None,
        distillation_weight: float = 1.0,
    ) -> None:
        """`distillation`: any loss of scores, such as MarginMSE or KL. InputError: a temperature of 0 or less."""
        super().__init__()
        if not temperature > 0 or distillation_weight < 0:
            raise InputError(
                f"SPLADE got temperature={temperature}, distillation_weight={distillation_weight}; it needs a "
                "temperature above 0 and a weight of 0 or more."
            )
        self.splade, self.price, self.temperature = splade, price or SpladePrice(), temperature
        self.distillation, self.distillation_weight = distillation, distillation_weight
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.long))  # in the state dict: a resume goes on

    def forward(
        self,
        first: Tensor,
        first_mask: Tensor,
        second: Tensor,
        second_mask: Tensor,
        teacher: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if len(second) % len(first):
            raise InputError(f"{len(first)} queries got {len(second)} candidates; each needs the same number.")
        queries, documents = self.splade(first, first_mask), self.splade(second, second_mask)
        scores = queries @ documents.T
        losses = {"rank": ranking_loss(scores, second, temperature=self.temperature)}
        share = ramp(int(self.step), self.price.steps)
        losses["price"] = share * (self.price.queries * flops(queries) + self.price.documents * flops(documents))
        if teacher is not None:
            if self.distillation is None:
                raise InputError("A batch has teacher's scores, but no loss for them was given (distillation=...).")
            losses["distillation"] = self.distillation_weight * self.distillation(own_scores(scores), teacher)
        if self.training:
            self.step += 1
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


def ranking_loss(scores: Tensor, candidates: Tensor, *, temperature: float) -> Tensor:
    """Scores (B, B·C) of the candidates' ids (B·C, L): each query's positive, at i·C, among all candidates.

    A candidate of the very text of the positive is no negative.
    """
    positives = torch.arange(len(scores), device=scores.device) * (len(candidates) // len(scores))
    same = (candidates[positives][:, None] == candidates[None]).all(-1)
    same[torch.arange(len(scores), device=scores.device), positives] = False
    return cross_entropy(scores.masked_fill(same, -torch.inf) / temperature, positives)


def own_scores(scores: Tensor) -> Tensor:
    """(B, B·C) -> (B, C): each query's scores of its own candidates."""
    count = scores.shape[1] // len(scores)
    places = torch.arange(len(scores), device=scores.device)[:, None] * count
    return scores.gather(1, places + torch.arange(count, device=scores.device))
