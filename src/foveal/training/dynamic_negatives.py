"""Negatives that follow the model while it learns: ANCE mines them anew every m steps, ADORE at each step.

ANCE       every m steps the corpus is encoded and searched by the model as it is now, and the rows' negatives are what
           it finds wrong (T5; Xiong et al., ICLR 2021). Here it happens in the loop, not beside it: on one machine both
           would share the same cores
ADORE      documents are encoded once and stay; each step retrieves with the current query encoder from all of them and
           trains the query side only (T5; Zhan et al., SIGIR 2021; STAR before it = static and in-batch negatives)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.training.examples import Examples, Negatives, Scores
from foveal.training.losses import Features, vectors_of
from foveal.training.negatives import filled, top_negatives
from foveal.training.watch import same_randomness


@dataclass
class Refresh:
    """ANCE, as a hook of the loop: `search(model)` gives a run over the training queries.

    `negatives` are those that the rows read (`Rows.negatives`), changed in place. Between a refresh and the next epoch
    a row's new negatives are not yet kept apart from other rows' answers, so let `every` be a number of epochs.
    """

    examples: Examples
    negatives: Negatives
    search: Callable[[Any], Scores]
    every: int  # steps
    depth: int = 30
    count: int = 1  # negatives at least, filled up at random
    seed: int = 0
    done: list[int] = field(default_factory=list)  # steps at which it happened

    def __post_init__(self) -> None:
        if self.every < 1 or self.depth < 1:
            raise InputError(f"A refresh got every {self.every} steps to depth {self.depth}; both must be at least 1.")

    def at_step(self, step: int, model: Any) -> None:
        """Mine anew if it is time."""
        if step % self.every:
            return
        training = model.training
        model.eval()
        with same_randomness(), torch.no_grad():
            found = top_negatives(self.search(model), self.examples, depth=self.depth)
        model.train(training)
        self.negatives.update(filled(found, self.examples, self.count, seed=self.seed + step))
        self.done.append(step)

    def state(self) -> dict[str, Any]:
        """The negatives as they are."""
        return {"negatives": self.negatives, "done": self.done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the negatives of a checkpoint."""
        self.negatives.update(state["negatives"])
        self.done[:] = state["done"]


class Adore(nn.Module):
    """The loss of ADORE for a batch of queries (one column) whose label is their row in `answers`.

    For each query the `k` nearest of all documents (N, D) that are not relevant are its negatives, its relevant ones
    take turns as positive: -log of the softmax share of each positive against those negatives, mean over all. The
    documents have no gradient. `answers` holds rows of documents.
    """

    documents: Tensor

    def __init__(
        self,
        model: nn.Module,
        documents: Tensor,
        answers: Sequence[Sequence[int]],
        *,
        k: int = 200,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        if k < 1 or not len(documents) or any(not rows for rows in answers):
            raise InputError(
                f"ADORE got k = {k}, {len(documents)} documents, and answers; it needs at least one of each, and at "
                "least one for each query."
            )
        self.model, self.answers, self.k, self.temperature = model, answers, k, temperature
        self.register_buffer("documents", torch.nn.functional.normalize(documents.detach().float(), dim=-1), False)

    def forward(self, columns: Sequence[Features], labels: Tensor) -> Tensor:
        """Queries' token features, and labels (B,) or (B, 1): the row of each query in `answers`."""
        queries = torch.nn.functional.normalize(vectors_of(self.model, columns[0]), dim=-1)
        return self.of_vectors(queries, [int(row) for row in labels.reshape(-1)])

    def of_vectors(self, queries: Tensor, rows: Sequence[int]) -> Tensor:
        """The loss for query vectors (B, D)."""
        scores = queries @ self.documents.T / self.temperature
        losses = []
        for query, row in enumerate(rows):
            relevant = torch.tensor(list(self.answers[row]), device=scores.device)
            wrong = scores[query].index_fill(0, relevant, -torch.inf)
            hardest = wrong.topk(min(self.k, len(wrong))).values
            right = scores[query, relevant]
            losses.append((torch.logaddexp(right, hardest.logsumexp(0)) - right).mean())
        return torch.stack(losses).mean()
