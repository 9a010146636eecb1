"""The losses of event attention: one ranking loss three times, a margin, and what a decoder writes.

    L = L_qd + w1 L_margin + w2 L_qe + w3 L_ed + w4 L_gen

L_qd       a query that looked at its events, and its document, against the batch's documents
L_qe       a query alone and the event that its document reports; L_ed: that event and the document
L_margin   max(0, 0.1 - cos(q, d+) + cos(q, d-)), mean over the query's negatives
Source     InfoNCE with scale 20 and the margin: Event-enhanced Retrieval (Zhang et al., LREC-COLING 2024,
           arXiv 2404.05989); L_qe and L_ed, and all weights but those, are ours: the paper's abstract names none
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.training.pretraining_contrast import info_nce

SCALE, MARGIN = 20.0, 0.1


def scaled_info_nce(queries: Tensor, candidates: Tensor, targets: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Mean of -log softmax at `targets` (B,) of 20 cos, over unit vectors (B, d) and (C, d), of which `allowed` count.

    Rows whose target is -1 are left out; without any the loss is 0.
    """
    rows = targets >= 0
    if not bool(rows.any()):
        return queries.sum() * 0.0
    left_out = None if allowed is None else ~allowed[rows]
    return info_nce(queries[rows], candidates, targets[rows], left_out=left_out, temperature=1 / SCALE)


def margin_loss(queries: Tensor, candidates: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Mean over the queries that have `negatives` (B, C) of the mean of max(0, 0.1 - cos(q, d+) + cos(q, d-))."""
    scores = queries.float() @ candidates.float().T
    positive = scores.gather(1, targets[:, None])
    lacking = (MARGIN - positive + scores).relu() * negatives
    counts = negatives.sum(dim=1)
    there = counts > 0
    if not bool(there.any()):
        return scores.sum() * 0.0
    return (lacking.sum(dim=1)[there] / counts[there]).mean()


def own_negatives(allowed: Tensor, group: int) -> Tensor:
    """(B, B·G): a query's own negatives, those that are allowed; where rows have none, the other rows' documents."""
    count = len(allowed)
    columns = torch.arange(allowed.shape[1], device=allowed.device)
    row = torch.arange(count, device=allowed.device)[:, None]
    of_row, first = columns[None] // group == row, columns[None] == row * group
    return allowed & (of_row if group > 1 else ~of_row) & ~first
