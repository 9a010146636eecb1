"""The loss of a batch part by part: the gradients of one are taken before the next is read.

    loss = PartByPart(loss, documents)                # `Job.loss`: memory is that of one part, the sum stays

Shapes    of documents: ids (B, S, T), 0 is padding; labels and whatever else there is have a row for each document
Needs     a loss that is a mean over the rows: a part counts by its share of them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
Parts = Sequence[tuple[float, Batch]]
"""Shares of the rows, of sum 1, and the parts."""

MOST_WORDS = 2**16
"""Words of documents that are read together, sentences padded; a longer document is read alone."""


@dataclass(frozen=True)
class PartByPart:
    """A loss of model and batch, taken over the batch's parts; all but the last one's gradients are there already."""

    loss: Callable[[nn.Module, Batch], Tensor]
    parts: Callable[[Batch], Parts]

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """A scalar; what the loop takes its gradients of is the last part."""
        *first, last = self.parts(batch)
        done = 0.0
        for part in first:
            loss = self._of(model, part)
            if torch.is_grad_enabled():
                loss.backward()  # type: ignore[no-untyped-call]
            done += float(loss.detach())
        return self._of(model, last) + done

    def _of(self, model: nn.Module, part: tuple[float, Batch]) -> Tensor:
        share, rows = part
        return share * self.loss(model, rows)


def documents(batch: Batch, most: int = MOST_WORDS) -> Parts:
    """A batch of documents in parts of at most so many words, in their order; no part has sentences that are padding
    in all of its documents.
    """
    ids = batch["ids"]
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    sentences = ((ids != 0).any(-1) * places).amax(1).tolist()
    groups: list[list[int]] = []
    for row, count in enumerate(sentences):
        if groups and (sum(sentences[one] for one in groups[-1]) + count) * ids.shape[2] <= most:
            groups[-1].append(row)
        else:
            groups.append([row])
    made = []
    for rows in groups:
        part = {name: values[rows] for name, values in batch.items()}
        longest = max(1, *(sentences[row] for row in rows))
        made.append((len(rows) / len(ids), {**part, "ids": part["ids"][:, :longest]}))
    return made
