"""The rule of the neural memory: what a token writes into a small network's weights, one by one and a chunk at once.

    S_t = eta_t S_(t-1) - theta_t * gradient at the chunk's base          momentum: how past surprise lasts
    W_t = I + (1 - alpha_t) (W_(t-1) - I) + S_t                           forgetting, towards I (or 0)
    y_t = M_(W_t)(q_t)                                                    reading writes nothing

Over a chunk the same is products of matrices alone. With A[t,i] and E[t,i] the products of 1 - alpha and of eta over
i < j <= t (0 above the diagonal), beta and m the same from the chunk's start, the gradient of token i in layer l the
outer product of delta_i and z_i, and G = A E diag(theta):

    W_t = I + beta_t (W_0 - I) + (A m)_t S_0 - sum_(i <= t) G[t,i] delta_i z_i^T

is never made: a query x goes through a layer as x I^T + beta (x (W_0 - I)^T) + (A m)(x S_0^T) - ((x z^T) * G) delta.

Source    Behrouz et al., "Titans", 2025 (arXiv 2501.00663), equations 8 to 18; the form over chunks is ours
Shapes    keys, values, queries (B, H, b, D); gates (B, H, b); weights of layer l (B, H, out, in)
Idle      a token that is not active leaves W and S as they are (its theta, alpha are 0, its eta 1, and S is not added)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Weights = tuple[Tensor, ...]

EDGE = 1e-6
"""How close eta may come to 0, and alpha to 1: their logarithms are taken."""


@dataclass(frozen=True)
class Gates:
    """What a token decides: theta (its step), eta (momentum kept), alpha (forgotten), and whether it writes at all."""

    theta: Tensor
    eta: Tensor
    alpha: Tensor
    active: Tensor  # 1 or 0

    @classmethod
    def of(cls, theta: Tensor, eta: Tensor, alpha: Tensor, active: Tensor) -> Gates:
        """Gates in their ranges; an idle token's say: nothing changes."""
        idle = active == 0
        return cls(
            theta * active,
            eta.clamp(min=EDGE).masked_fill(idle, 1.0),
            alpha.clamp(max=1 - EDGE) * active,
            active,
        )

    def at(self, place: int) -> Gates:
        """Those of one chunk (or token) of (B, H, n, …)."""
        return Gates(self.theta[:, :, place], self.eta[:, :, place], self.alpha[:, :, place], self.active[:, :, place])


@dataclass(frozen=True)
class Decays:
    """How much of what stood at a chunk's start, and of each of its writes, is there after each token (…, b, …)."""

    kept: Tensor  # beta (…, b, 1): of W_0 - I
    pushed: Tensor | None  # A m (…, b, 1): of S_0; None without momentum
    written: Tensor  # G (…, b, b)
    momentum: Tensor | None  # m (…, 1, 1) of the last token
    surprise: Tensor | None  # E theta (…, b, 1) of the last token

    @classmethod
    def of(cls, gates: Gates, *, momentum: bool) -> Decays:
        """From gates (…, b)."""
        survive, beta = _triangle(1 - gates.alpha)
        if not momentum:
            return cls(beta[..., None], None, survive * gates.theta[..., None, :], None, None)
        last, m = _triangle(gates.eta)
        survive = survive * gates.active[..., None, :]
        return cls(
            beta[..., None],
            survive @ m[..., None],
            (survive @ last) * gates.theta[..., None, :],
            m[..., -1:, None],
            (last[..., -1, :] * gates.theta)[..., None],
        )

    def each(self, chunks: int) -> list[Decays]:
        """Those of each chunk of (B, H, chunks, …): cut at once, since a gradient of each cut is as long as all."""
        parts = (self.kept, self.pushed, self.written, self.momentum, self.surprise)
        cut = ([None] * chunks if one is None else one.unbind(2) for one in parts)
        return [Decays(*of_one) for of_one in zip(*cut, strict=True)]

    def before(self) -> Decays:
        """What is there before each token instead of after it, for reading."""
        pushed = None if self.pushed is None else F.pad(self.pushed, (0, 0, 1, 0))[..., :-1, :]
        kept = F.pad(self.kept, (0, 0, 1, 0), value=1.0)[..., :-1, :]
        return Decays(kept, pushed, F.pad(self.written, (0, 0, 1, 0))[..., :-1, :], self.momentum, self.surprise)


def _triangle(factors: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (…, b) -> products over i < j <= t as (…, b, b), 0 above the diagonal, and over j <= t as (…, b).

    By differences of logarithms: a ratio of products would be 0 / 0 once a chunk has forgotten all.
    """
    logs = factors.log().cumsum(-1)
    size = factors.shape[-1]
    above = torch.ones(size, size, dtype=torch.bool, device=factors.device).triu(1)
    apart = logs[..., :, None] - logs[..., None, :]
    return apart.masked_fill(above, -torch.inf).exp(), logs.exp()


@dataclass(frozen=True)
class Surprise:
    """What tokens would write: per layer its input z (B, H, b, in) and delta (B, H, b, out); their loss (B, H, b)."""

    inputs: Weights
    deltas: Weights
    loss: Tensor


def surprise(keys: Tensor, values: Tensor, base: Weights, limit: float | None = None) -> Surprise:
    """Of the loss |M(k) - v|^2 at the weights `base`: the gradient of layer l is the outer product of delta and z.

    `limit` is the greatest norm of an error that is written; a greater one is shortened to it.
    """
    inputs, sums, x = [keys], [], keys
    for weights in base[:-1]:
        sums.append(x @ weights.mT)
        x = F.silu(sums[-1])
        inputs.append(x)
    error = x @ base[-1].mT - values
    loss = error.square().sum(-1)
    if limit is not None:
        error = error * (limit / loss.clamp(min=limit**2).sqrt())[..., None]  # the root of 0 has no slope
    deltas = [2 * error]
    for weights, before in zip(reversed(base[1:]), reversed(sums), strict=True):
        deltas.append(_silu_slope(before) * (deltas[-1] @ weights))
    return Surprise(tuple(inputs), tuple(reversed(deltas)), loss)


def _silu_slope(x: Tensor) -> Tensor:
    share = torch.sigmoid(x)
    return share * (1 + x * (1 - share))


def through(x: Tensor, weights: Weights) -> Tensor:
    """M(x): the network as it stands."""
    for one in weights[:-1]:
        x = F.silu(x @ one.mT)
    return x @ weights[-1].mT


@dataclass(frozen=True)
class Carried:
    """What goes from token to token: how far the weights are from their rest I, and the momentum (none without)."""

    drift: Weights
    momentum: Weights

    def weights(self, rest: Weights) -> Weights:
        """The weights themselves."""
        return tuple(i + one for i, one in zip(rest, self.drift, strict=True))


def read_chunk(queries: Tensor, carried: Carried, rest: Weights, told: Surprise, over: Decays) -> Tensor:
    """Each query through the weights after its own token."""
    x = queries
    for layer, (drift, i, z, delta) in enumerate(zip(carried.drift, rest, told.inputs, told.deltas, strict=True)):
        if layer:
            x = F.silu(x)
        y = x @ i.mT + over.kept * (x @ drift.mT) - ((x @ z.mT) * over.written) @ delta
        x = y if over.pushed is None else y + over.pushed * (x @ carried.momentum[layer].mT)
    return x


def carry(carried: Carried, told: Surprise, over: Decays) -> Carried:
    """What is carried after the chunk's last token."""
    after, pushed = [], []
    kept, written = over.kept[..., -1:, :], over.written[..., -1, :, None]
    for layer, (drift, z, delta) in enumerate(zip(carried.drift, told.inputs, told.deltas, strict=True)):
        if over.pushed is None or over.momentum is None or over.surprise is None:
            after.append(kept * drift - (written * delta).mT @ z)
            continue
        both = torch.cat([written * delta, over.surprise * delta], -1).mT @ z  # one product for drift and momentum
        # in the backward pass `tensor_split` would fill two whole ones and add them
        lost, told_now = both.split(delta.shape[-1], -2)  # type: ignore[no-untyped-call]
        after.append(torch.addcmul(kept * drift - lost, over.pushed[..., -1:, :], carried.momentum[layer]))
        pushed.append(over.momentum * carried.momentum[layer] - told_now)
    return Carried(tuple(after), tuple(pushed))


def write_token(carried: Carried, told: Surprise, gates: Gates) -> Carried:
    """What is carried after one token, by the recurrence itself; `told` of (B, H, 1, …), gates (B, H)."""
    theta, eta, alpha, active = (one[..., None, None] for one in (gates.theta, gates.eta, gates.alpha, gates.active))
    after, pushed = [], []
    for layer, (drift, z, delta) in enumerate(zip(carried.drift, told.inputs, told.deltas, strict=True)):
        push = -theta * (delta.mT @ z)
        if carried.momentum:
            push = eta * carried.momentum[layer] + push
            pushed.append(push)
        after.append((1 - alpha) * drift + active * push)
    return Carried(tuple(after), tuple(pushed))
