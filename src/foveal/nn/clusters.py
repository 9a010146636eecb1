"""Spherical k-means that learns while a model trains: centroids as moving averages, updated once per optimiser step.

    means = OnlineMeans(heads=2, clusters=16, width=32)
    ids = means.nearest(x)                   # x (B, H, T, D) on the sphere -> (B, H, T)
    means.observe(x, ids, real)              # counted, until …
    means.commit()                           # … the averages take it in

Vectors are put on the sphere by a layer norm without weights; the nearest centroid is then the one with the greatest
product. Counts N and sums M are averages with decay lambda:

    N_c <- lambda N_c + (1 - lambda) tokens of c     M_c <- lambda M_c + (1 - lambda) sum of c     mu_c = M_c / N_c

on the sphere again, so that a centroid's length never makes it nearer. A centroid that was nearest to nothing for
1 / (1 - lambda) updates is moved to a token of the cluster whose tokens lie farthest from it, all in all: crowds are
split. Moved to the tokens that fit worst, centroids held outliers, and a few clusters nearly all tokens.

Source    Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers", TACL 2021 (arXiv
          2003.05997), section 4.1; the move of unused centroids and the faster decay at first are ours
Replicas  each process has its own averages; DistributedDataParallel then hands those of the first to all
"""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.nn.inputs import as_it_is

log = logging.getLogger("foveal.nn")

EPSILON = 1e-6
WARM_DECAY, WARM_UPDATES = 0.99, 1000
"""The decay of the first updates: at 0.999 a centroid takes a thousand to move."""


def on_sphere(x: Tensor) -> Tensor:
    """Layer norm without weights: every vector's mean is 0 and its norm about sqrt(D)."""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON)


def crowded(weights: Tensor, ids: Tensor, clusters: int, count: int) -> list[int]:
    """Where new centroids split crowds: `count` places or fewer of tokens of squared distances (n,), clusters ids (n,).

    Each goes to the cluster with the greatest sum of distances over the centroids that it then has; those of a cluster
    to even shares of its sum, as if drawn by distance. No generator: it would stand elsewhere where a forward is done
    again for its gradients. Tokens of weight 0 are passed over.
    """
    sums = torch.zeros(clusters, dtype=weights.dtype, device=weights.device).scatter_add(0, ids, weights)
    shared = torch.ones_like(sums)
    for _ in range(count if bool(sums.any()) else 0):
        shared[(sums / shared).argmax()] += 1
    places: list[int] = []
    for cluster in (shared > 1).nonzero()[:, 0].tolist():
        own, many = (ids == cluster).nonzero()[:, 0], int(shared[cluster]) - 1
        up_to = weights[own].cumsum(0)
        shares = (torch.arange(many, device=ids.device, dtype=weights.dtype) + 0.5) / many
        places += own[torch.searchsorted(up_to, up_to[-1] * shares).clamp(max=len(own) - 1)].tolist()
    return places


class _Seen(NamedTuple):
    """What was observed since the last update: counts and sums of clusters; of the last batch the tokens themselves."""

    counts: Tensor  # (H, k)
    sums: Tensor  # (H, k, D)
    tokens: Tensor  # (B, H, T, D), zeros where none counts
    ids: Tensor  # (B, H, T)


class OnlineMeans(nn.Module):
    """Centroids (H, k, D), saved with the model, changed by `commit` alone."""

    means: Tensor
    counts: Tensor
    sums: Tensor
    unused: Tensor
    updates: Tensor
    moved: Tensor

    def __init__(self, *, heads: int, clusters: int, width: int, decay: float = 0.999) -> None:
        """Centroids are drawn at once, from torch's generator."""
        super().__init__()
        self.heads, self.clusters, self.decay = heads, clusters, decay
        first = on_sphere(torch.randn(heads, clusters, width))
        self.register_buffer("means", first)
        self.register_buffer("counts", torch.zeros(heads, clusters))
        self.register_buffer("sums", first.clone())
        self.register_buffer("unused", torch.zeros(heads, clusters))  # updates since it was last nearest to a token
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("moved", torch.zeros((), dtype=torch.int64))
        self._seen: _Seen | None = None

    def products(self, x: Tensor) -> Tensor:
        """x (B, H, T, D) -> (B, H, T, k), with gradients to x alone; in float32, or wider, also under autocast.

        What is chosen by them would else be another choice wherever two are nearly alike.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        with as_it_is(x):
            return x.to(wide) @ self.means.detach().to(wide).mT

    def nearest(self, x: Tensor) -> Tensor:
        """x (B, H, T, D) -> the number of its centroid (B, H, T)."""
        return self.products(x.detach()).argmax(-1)

    def of(self, ids: Tensor) -> Tensor:
        """The centroids with these numbers: (B, H, T) -> (B, H, T, D)."""
        return self.means.detach()[torch.arange(self.heads, device=ids.device)[:, None], ids]

    @torch.no_grad()
    def observe(self, x: Tensor, ids: Tensor, real: Tensor | None = None) -> None:
        """Count tokens x (B, H, T, D) of these clusters towards the next update; `real` (B, T).

        Vectors that are no numbers are passed over: averages would keep them for good.
        """
        self._widen()
        wide = x.detach().to(self.sums.dtype)
        counts = torch.isfinite(wide.sum(-1, keepdim=True))  # (B, H, T, 1)
        if real is not None:
            counts = counts & real[:, None, :, None]
        wide = wide.masked_fill(~counts, 0)
        kind = F.one_hot(ids, self.clusters).to(self.sums.dtype) * counts  # (B, H, T, k)
        count, total = kind.sum((0, 2)), torch.einsum("bhtk,bhtd->hkd", kind, wide)
        if self._seen is not None:
            count, total = self._seen.counts + count, self._seen.sums + total
        self._seen = _Seen(count, total, wide, ids)

    @torch.no_grad()
    def commit(self) -> None:
        """Take in what was observed since the last commit, as one update; none where no token counted."""
        if self._seen is None:
            return
        seen, self._seen = self._seen, None
        if not bool(seen.counts.any()):
            return
        keep = min(self.decay, WARM_DECAY) if int(self.updates) < WARM_UPDATES else self.decay
        self.updates += 1
        self.counts.mul_(keep).add_(seen.counts, alpha=1 - keep)
        self.sums.mul_(keep).add_(seen.sums, alpha=1 - keep)
        self.unused.add_(1).mul_(seen.counts == 0)
        self._move_unused(seen, keep)
        self.means.copy_(on_sphere(self.sums))
        if int(self.updates) % WARM_UPDATES == 0 and self.entropy() < 0.5 * math.log(max(2, self.clusters)):
            log.warning("The clusters collapse: a few of %d hold nearly all tokens.", self.clusters)

    def _move_unused(self, seen: _Seen, keep: float) -> None:
        unused = self.unused >= 1 / max(1 - keep, 1e-9)
        for head in unused.any(-1).nonzero()[:, 0].tolist():
            homeless = unused[head].nonzero()[:, 0].tolist()
            tokens, ids = (one[:, head].flatten(0, 1) for one in (seen.tokens, seen.ids))
            apart = (tokens - self.means[head, ids]).square().sum(-1) + EPSILON
            apart = apart.masked_fill(~tokens.any(-1), 0)  # a vector of 0 lies on no sphere
            for cluster, place in zip(homeless, crowded(apart, ids, self.clusters, len(homeless)), strict=False):
                self.sums[head, cluster] = tokens[place]
                self.counts[head, cluster] = self.unused[head, cluster] = 0
                self.moved += 1

    def _widen(self) -> None:
        """In bfloat16 a thousandth changes no average, and nothing is counted beyond 256."""
        for name in ("means", "counts", "sums", "unused"):
            held = getattr(self, name)
            setattr(self, name, held.to(torch.promote_types(held.dtype, torch.float32)))

    def entropy(self) -> float:
        """Of the average occupancy, in nats, the lowest of the heads; at most log k."""
        share = self.counts / self.counts.sum(-1, keepdim=True).clamp(min=1e-12)
        return float(-(share * share.clamp(min=1e-12).log()).sum(-1).min())

    def _save_to_state_dict(self, *where: Any) -> None:
        """What was observed goes into what is saved, so that a training that goes on from it is the same."""
        self.commit()
        super()._save_to_state_dict(*where)

    def _load_from_state_dict(self, *where: Any) -> None:
        """What was observed belongs to the weights that are replaced."""
        self._seen = None
        super()._load_from_state_dict(*where)

    def _apply(self, *how: Any, **options: Any) -> OnlineMeans:
        """What was observed is taken in where it was: the averages may go to another device."""
        self.commit()
        moved: OnlineMeans = super()._apply(*how, **options)  # type: ignore[no-untyped-call]
        return moved

    def train(self, mode: bool = True) -> OnlineMeans:
        """As a module's; what was observed in training is taken in before it is evaluated."""
        if not mode:
            self.commit()
        return super().train(mode)
