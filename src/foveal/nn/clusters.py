"""Spherical k-means that learns while a model trains: centroids as moving averages, updated once per optimiser step.

    means = OnlineMeans(heads=2, clusters=16, width=32)
    ids = means.nearest(x)                   # x (B, H, T, D) on the sphere -> (B, H, T)
    means.observe(x, ids, real)              # counted, until …
    means.commit()                           # … the averages take it in

Vectors are put on the sphere by a layer norm without weights; the nearest centroid is then the one with the greatest
product. Counts N and sums M are averages with decay lambda:

    N_c <- lambda N_c + (1 - lambda) tokens of c     M_c <- lambda M_c + (1 - lambda) sum of c     mu_c = M_c / N_c

on the sphere again, so that a centroid's length never makes it nearer. A centroid that was nearest to nothing for
1 / (1 - lambda) updates is moved to the token that fits its own centroid worst.

Source    Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers", TACL 2021 (arXiv
          2003.05997), section 4.1; the move of unused centroids and the faster decay at first are ours
Replicas  each process has its own averages; DistributedDataParallel then hands those of the first to all
"""

from __future__ import annotations

import logging
import math
from typing import Any

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
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

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
        fits = (wide * self.of(ids)).sum(-1).masked_fill(~counts[..., 0], torch.inf).transpose(0, 1).flatten(1)
        fit, worst = fits.topk(min(self.clusters, fits.shape[1]), largest=False)
        worst = torch.where(fit.isfinite(), worst, worst[:, :1])  # there may be fewer tokens than clusters
        strange = wide.transpose(0, 1).flatten(1, 2).gather(1, worst[..., None].expand(-1, -1, x.shape[-1]))
        told = (kind.sum((0, 2)), torch.einsum("bhtk,bhtd->hkd", kind, wide), strange)
        before = self._seen
        self._seen = told if before is None else (before[0] + told[0], before[1] + told[1], strange)

    @torch.no_grad()
    def commit(self) -> None:
        """Take in what was observed since the last commit, as one update."""
        if self._seen is None:
            return
        (count, total, strange), self._seen = self._seen, None
        keep = min(self.decay, WARM_DECAY) if int(self.updates) < WARM_UPDATES else self.decay
        self.updates += 1
        self.counts.mul_(keep).add_(count, alpha=1 - keep)
        self.sums.mul_(keep).add_(total, alpha=1 - keep)
        self.unused.add_(1).mul_(count == 0)
        self._move_unused(strange, keep)
        self.means.copy_(on_sphere(self.sums))
        if int(self.updates) % WARM_UPDATES == 0 and self.entropy() < 0.5 * math.log(max(2, self.clusters)):
            log.warning("The clusters collapse: a few of %d hold nearly all tokens.", self.clusters)

    def _move_unused(self, strange: Tensor, keep: float) -> None:
        for head, cluster in (self.unused >= 1 / max(1 - keep, 1e-9)).nonzero().tolist():
            place = int(self.moved) % strange.shape[1]
            self.sums[head, cluster] = strange[head, place]
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

    def train(self, mode: bool = True) -> OnlineMeans:
        """As a module's; what was observed in training is taken in before it is evaluated."""
        if not mode:
            self.commit()
        return super().train(mode)
