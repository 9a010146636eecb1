"""Match matrices of query and document words, and what models take from them; padding never counts.

Shapes    vectors (B, m, E) and (B, n, E) -> matches (B, m, n); masks (B, m), (B, n), (B, m, n) bool
Exact     equal ids match with exactly 1: a cosine of equal vectors may miss 1 by rounding, in bfloat16 by 0.004
Source    kernels: Xiong et al., "End-to-End Neural Ad-hoc Ranking with Kernel Pooling", SIGIR 2017; histograms: Guo et
          al., "A Deep Relevance Matching Model", CIKM 2016
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError
from foveal.ranking.neural.inputs import Pairs

TINY = 1e-12
"""A shorter vector counts as one of this length."""

FAR = 1e3
"""A match that no kernel sees: exp(-(1000 - mu)^2 / …) is 0 in float32."""


def both(query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """(B, m), (B, n) -> (B, m, n) bool: where both sides have a word."""
    return query_mask.unsqueeze(2) & document_mask.unsqueeze(1)


def pair_mask(pairs: Pairs) -> Tensor:
    """(B, m, n) bool: where both sides have a word."""
    return both(pairs.query_mask, pairs.document_mask)


def same_word(pairs: Pairs) -> Tensor:
    """(B, m, n) bool: where both sides have the same word."""
    return (pairs.query.unsqueeze(2) == pairs.document.unsqueeze(1)) & (pairs.query > 0).unsqueeze(2)


def indicator_matches(pairs: Pairs) -> Tensor:
    """(B, m, n): 1 where both sides have the same word, else 0."""
    return same_word(pairs).float()


def dot_matches(query: Tensor, document: Tensor, pairs: Pairs) -> Tensor:
    """Vectors (B, m, E) and (B, n, E) -> their dot products, 0 at padding, in float32."""
    with torch.autocast(query.device.type, enabled=False):
        return (query.float() @ document.float().transpose(1, 2)) * pair_mask(pairs)


def cosines(query: Tensor, document: Tensor) -> Tensor:
    """Vectors (B, m, E) and (B, n, E) -> cosines (B, m, n), in float32; a zero vector has cosine 0 with all."""
    with torch.autocast(query.device.type, enabled=False):
        query, document = query.float(), document.float()
        left, right = (one.norm(dim=-1).clamp(min=TINY) for one in (query, document))
        found: Tensor = query @ document.transpose(1, 2) / left.unsqueeze(2) / right.unsqueeze(1)
    return found  # divided last: the texts are not copied


def cosine_matches(query: Tensor, document: Tensor, pairs: Pairs) -> Tensor:
    """Vectors of the words (B, m, E) and (B, n, E) -> cosines; exactly 1 where ids are equal, 0 at padding."""
    found = cosines(query, document).masked_fill(same_word(pairs), 1.0)
    return found * pair_mask(pairs)


# -- kernels ----------------------------------------------------------------------------------------------------------


def kernels(count: int = 11, *, sigma: float = 0.1, exact: float = 1e-3) -> tuple[tuple[float, float], ...]:
    """(mu, sigma) of each: one for exact matches at 1, the others in the middle of `count` - 1 equal parts of -1 to 1,
    the highest first. With 11: 1.0, then 0.9, 0.7, … -0.9.
    """
    if count < 2 or not sigma > 0 or not exact > 0:
        raise InputError(f"Kernels got count={count}, sigma={sigma}, exact={exact}; they need at least 2, above 0.")
    width = 2 / (count - 1)
    return ((1.0, exact), *((1 - width / 2 - width * place, sigma) for place in range(count - 1)))


def kernel_sums(matches: Tensor, mask: Tensor, chosen: Sequence[tuple[float, float]]) -> Tensor:
    """Matches and mask (B, m, n) -> (B, m, K): sum over j of exp(-(M_ij - mu)^2 / (2 sigma^2)) where the mask is."""
    held = matches.masked_fill(~mask, FAR)
    # one at a time: (B, m, n, K) would be the largest tensor of all
    return torch.stack([_kernel(held - mu, -0.5 / sigma**2).sum(2) for mu, sigma in chosen], dim=-1)


def _kernel(apart: Tensor, factor: float) -> Tensor:
    """exp(factor apart^2); in the memory of `apart`, which is lost, where no gradient wants it."""
    if apart.requires_grad:
        return torch.exp(apart.square() * factor)
    return apart.square_().mul_(factor).exp_()


def log_sums(sums: Tensor, query_mask: Tensor, *, smooth: bool = False) -> Tensor:
    """(B, m, K) -> (B, m, K): log max(x, 1e-10), or log(1 + x) if `smooth`; 0 where the query has no word."""
    logs = torch.log1p(sums) if smooth else sums.clamp(min=1e-10).log()
    return logs * query_mask.unsqueeze(-1)


# -- counts, best values, shares --------------------------------------------------------------------------------------


def bins(matches: Tensor, exact: Tensor, count: int) -> Tensor:
    """Cosines and `exact` (B, m, n) -> (B, m, n) long: the last of `count` bins for exact matches, the others equal
    parts of -1 to 1.
    """
    place = ((matches + 1) * ((count - 1) / 2)).long().clamp_(0, count - 2)
    return place.masked_fill(exact, count - 1)


def binned(values: Tensor, places: Tensor, mask: Tensor, count: int) -> Tensor:
    """Values, bins and mask (B, m, n) -> (B, m, count): the sum of the values of each bin where the mask is."""
    sums = torch.zeros(*values.shape[:2], count, dtype=values.dtype, device=values.device)
    return sums.scatter_add(2, places, values * mask)


def histograms(matches: Tensor, pairs: Pairs, count: int) -> Tensor:
    """M (B, m, n) -> (B, m, count), float32: how many matches of each query word each of its `bins` holds.

    The same as summing ones into `bins` by `binned`, in a third of the time.
    """
    rows, words, _ = matches.shape
    places = matches.add(1).mul_((count - 1) / 2).int().clamp_(0, count - 2)
    places.masked_fill_(same_word(pairs), count - 1).masked_fill_(~pairs.document_mask.unsqueeze(1), count)
    lines = torch.arange(rows * words, dtype=torch.int32, device=matches.device).view(rows, words, 1)
    places += lines * (count + 1)  # one bin more, of what is no word
    found = torch.bincount(places.view(-1), minlength=rows * words * (count + 1)).view(rows, words, count + 1)
    return found[..., :count].float() * pairs.query_mask.unsqueeze(-1)


def top_matches(matches: Tensor, mask: Tensor, k: int, *, fill: float = 0.0) -> Tensor:
    """Values and mask (…, n) -> (…, k): the highest where the mask is, falling, then `fill` where there are fewer."""
    if k < 1:
        raise InputError(f"The best {k} matches were asked for; it needs at least 1.")
    best = matches.masked_fill(~mask, -torch.inf).topk(min(k, matches.shape[-1]), dim=-1).values
    best = best.masked_fill(best == -torch.inf, fill)
    return F.pad(best, (0, k - best.shape[-1]), value=fill)


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where the mask is; all 0 where it is nowhere (no NaN, no gradient)."""
    somewhere = mask.any(-1, keepdim=True)
    held = logits.float().masked_fill(~mask & somewhere, -torch.inf)  # a row of -inf alone has a NaN gradient
    return held.softmax(-1) * mask
