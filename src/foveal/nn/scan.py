"""Softmax attention of one query over every prefix, as a scan of an associative operator.

A piece of text is summed up by three numbers (or vectors) per query: its greatest score m, the sum u of exp(s - m), and
the sum w of exp(s - m) v. Two neighbours A and B are one piece again:

    m = max(m_A, m_B)    u = u_A exp(m_A - m) + u_B exp(m_B - m)    w = w_A exp(m_A - m) + w_B exp(m_B - m)

The nothing is (-inf, 0, 0). Attention over a prefix is w / u. Four ways to all prefixes, equal but for rounding:

    step        token by token
    hillis      log2 T rounds over the whole sequence (Hillis and Steele), as in the paper
    assoc       torch's generic associative scan: works on a CPU with gradients; a prototype of PyTorch
    chunk       within blocks one product of matrices, then a scan over the blocks: what "auto" takes

Source    Feng et al., "Attention as an RNN", 2024 (arXiv 2405.13956), sections 3.1 and 3.2
Shapes    scores (…, T), values (…, T, D) -> pieces of m, u (…, T, 1) and w (…, T, D)
Decay     with a decay of lambda a score loses lambda for each token behind it: pieces then carry their lengths
Gradient  m is a constant to it: the quotient does not depend on m, and so its gradients are those of full attention
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError

BLOCK = 32


class Piece(NamedTuple):
    """Sums over a piece of text: greatest score, weights, weighted values, and the number of tokens that count."""

    m: Tensor  # (…, 1)
    u: Tensor  # (…, 1)
    w: Tensor  # (…, D)
    length: Tensor  # (…, 1)


def leaves(scores: Tensor, values: Tensor, real: Tensor | None = None) -> Piece:
    """A piece for each token; one that is not `real` is nothing."""
    if real is not None:
        scores = scores.masked_fill(~real, -torch.inf)
    fixed = scores.detach()
    there = ~torch.isneginf(fixed)
    u = torch.where(there, (scores - torch.where(there, fixed, 0)).exp(), 0)[..., None]
    length = there.to(scores.dtype)[..., None]
    return Piece(fixed[..., None], u, u * values, length)


def nothing(like: Piece) -> Piece:
    """The identity of `joined`, in the shape of `like`."""
    zeros = [torch.zeros_like(one) for one in (like.u, like.w, like.length)]
    return Piece(torch.full_like(like.m, -torch.inf), *zeros)


def joined(left: Piece, right: Piece, decay: float = 0.0) -> Piece:
    """The piece of two neighbours."""
    before = left.m - decay * right.length if decay else left.m
    m = torch.maximum(before, right.m)
    a, b = _shrink(before, m), _shrink(right.m, m)
    return Piece(m, left.u * a + right.u * b, left.w * a + right.w * b, left.length + right.length)


def _shrink(old: Tensor, new: Tensor) -> Tensor:
    """exp(old - new), also where both are -inf (there is nothing to shrink)."""
    return torch.where(old == new, 0.0, old - new).exp()


def output(piece: Piece) -> Tensor:
    """The attention's output (…, D); 0 where nothing was read."""
    return piece.w / torch.where(piece.u == 0, 1, piece.u)


# -- all prefixes -----------------------------------------------------------------------------------------------------


def step(pieces: Piece, decay: float = 0.0) -> Piece:
    """Token by token."""
    now, seen = nothing(_at(pieces, 0)), []
    for place in range(pieces.m.shape[-2]):
        now = joined(now, _at(pieces, place), decay)
        seen.append(now)
    return Piece(*(torch.stack(parts, -2) for parts in zip(*seen, strict=True)))


def hillis(pieces: Piece, decay: float = 0.0) -> Piece:
    """In round j the piece at i takes in the one at i - 2^j."""
    reach, tokens = 1, pieces.m.shape[-2]
    while reach < tokens:
        before = Piece(*(F.pad(one[..., :-reach, :], (0, 0, reach, 0)) for one in pieces))
        first = torch.arange(tokens, device=pieces.m.device)[:, None] < reach
        before = before._replace(m=before.m.masked_fill(first, -torch.inf))
        pieces = joined(before, pieces, decay)
        reach *= 2
    return pieces


def assoc(pieces: Piece, decay: float = 0.0) -> Piece:
    """PyTorch's own scan."""
    from torch._higher_order_ops.associative_scan import associative_scan

    def both(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(joined(Piece(*left), Piece(*right), decay))

    if pieces.m.shape[-2] == 1:
        return pieces
    return Piece(*associative_scan(both, tuple(pieces), dim=pieces.m.dim() - 2, combine_mode="generic"))


def chunk(pieces: Piece, decay: float = 0.0, block: int = BLOCK) -> Piece:
    """Each block's prefixes by one lower-triangular product, then the blocks before joined to them."""
    tokens = pieces.m.shape[-2]
    block = min(block, tokens)
    room = -tokens % block
    empty = Piece(*(F.pad(one, (0, 0, 0, room)) for one in pieces))
    empty = empty._replace(m=F.pad(pieces.m, (0, 0, 0, room), value=-torch.inf))
    cut = Piece(
        *(one.reshape(*one.shape[:-2], -1, block, one.shape[-1]) for one in empty)
    )  # (…, blocks, block, 1 or D)
    inside = _within(cut, decay)
    ends = _at(inside, block - 1)
    through = hillis(ends, decay)
    before = Piece(*(F.pad(one[..., :-1, :], (0, 0, 1, 0))[..., None, :] for one in through))
    before = before._replace(m=F.pad(through.m[..., :-1, :], (0, 0, 1, 0), value=-torch.inf)[..., None, :])
    whole = joined(before, inside, decay)
    return Piece(*(one.flatten(-3, -2)[..., :tokens, :] for one in whole))


def _within(pieces: Piece, decay: float) -> Piece:
    """The prefixes of each block (…, b, ·)."""
    size, length = pieces.m.shape[-2], pieces.length.cumsum(-2)
    level = pieces.m + decay * length if decay else pieces.m  # a later token's loss is the same for all before it
    m = level.cummax(-2).values
    above = torch.ones(size, size, dtype=torch.bool, device=m.device).triu(1)
    apart = level.mT - torch.where(torch.isneginf(m), 0, m)
    share = apart.masked_fill(above, -torch.inf).exp()
    return Piece(m - decay * length if decay else m, share @ pieces.u, share @ pieces.w, length)


def _at(pieces: Piece, place: int) -> Piece:
    return Piece(*(one[..., place, :] for one in pieces))


SCANS: dict[str, Callable[[Piece, float], Piece]] = {"step": step, "hillis": hillis, "assoc": assoc, "chunk": chunk}


def prefixes(pieces: Piece, *, decay: float = 0.0, scan: str = "auto", before: Piece | None = None) -> Piece:
    """The piece of every prefix, after what was `before` (its shapes without T)."""
    seen = SCANS["chunk" if scan == "auto" else scan](pieces, decay)
    if before is None:
        return seen
    first = Piece(*(one[..., None, :] for one in before))
    return joined(first, seen, decay)


def last(scores: Tensor, values: Tensor, *, block: int = BLOCK, before: Piece | None = None) -> Piece:
    """The piece of the whole sequence alone, block by block: the memory of one block, whatever the length.

    Of no tokens it is what was `before`. InputError: there is neither.
    """
    if scores.shape[-1] == 0:
        if before is None:
            raise InputError("A scan got no tokens and nothing before them; give at least one.")
        return before
    whole = before
    for one, two in zip(torch.split(scores, block, -1), torch.split(values, block, -2), strict=True):
        part = summed(one, two)
        whole = part if whole is None else joined(whole, part)
    return cast("Piece", whole)


def summed(scores: Tensor, values: Tensor) -> Piece:
    """The piece of a sequence at once: scores (…, T), values (…, T, D)."""
    m: Tensor = scores.detach().amax(-1, keepdim=True)
    share = (scores - torch.where(torch.isneginf(m), 0, m)).exp()
    length = (~torch.isneginf(scores)).sum(-1, keepdim=True).to(scores.dtype)
    return Piece(m, share.sum(-1, keepdim=True), (share[..., None, :] @ values)[..., 0, :], length)


def attention_by_definition(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What all of the above compute, plainly: masked softmax attention of one query (D,) at every prefix, (T, D).

    The query is scaled by 1 / sqrt(D).
    """
    scores = (keys @ query) * query.shape[-1] ** -0.5
    later = torch.ones(len(keys), len(keys), dtype=torch.bool, device=keys.device).triu(1)
    shares: Tensor = scores.expand(len(keys), -1).masked_fill(later, -torch.inf).softmax(-1)
    return shares @ values
