"""Queries of a prompt as they would be asked from behind it, by which a graph of its keys learns where later ones look.

    asked = later_queries(queries, places, rotation, end)     # half of them turned to places behind the context

Where a query looks hangs on what it says and, in models with rotary positions, on how far away the keys are. A query
of the prompt stands among the keys; those that will search stand behind all of them, farther from most than any query
of the prompt. A turn by its own place and one by the rest of the way are a turn by all of it, so the same query can be
asked again from there: its vector, turned on. Half stay as they are, since these cover more of the keys: a head that
looks at one distance alone would teach the graph nothing but that.

Shapes    queries (H, T, D), places (T,) of them in the text
Source    ours; RetrievalAttention (arXiv 2409.10516) learns from the prompt's queries as they are
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.attention.rotation import Rotation

AHEAD = 1024
"""Places behind the context from which queries are asked again: those of an answer."""


def later_queries(
    queries: Tensor, places: Tensor, rotation: Rotation, end: int, *, share: float = 0.5, ahead: int = AHEAD
) -> Tensor:
    """These queries, a `share` of them (always the same) turned to places from `end` to `end + ahead`."""
    draw = torch.Generator().manual_seed(0)
    turned = torch.rand(len(places), generator=draw, dtype=torch.float32) < share
    to = end + (ahead * torch.rand(len(places), generator=draw, dtype=torch.float32)).long()
    way = torch.where(turned, to - places.cpu(), 0).to(queries.device)
    return rotation(queries.float(), way).to(queries.dtype)
