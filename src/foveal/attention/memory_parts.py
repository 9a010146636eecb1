"""What one sequence of a layer keeps: a window in fast memory, and the keys behind an index; how a query reads both.

    window     the first tokens (sinks), the last ones, and all that came since: float32, always looked at
    hidden     every other token of the context: keys that are searched, values of which only the found ones are read

A query's softmax over the window and over what it found are merged by their log-sum-exps, which is the softmax over
both together. The two never share a token. What was not found may be stood for by its expectation (`Tail`).

Shapes    queries (H, Q, D), keys and values of a sequence (G, n, D); outputs (H, Q, D) and log-sum-exps (H, Q) float32
Source    RetrievalAttention (arXiv 2409.10516), section 3.4; the tail is ours
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.attention import memory_native
from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.estimates import capped
from foveal.attention.kernel import block_attention, merge
from foveal.attention.key_index import KeyIndex, every_product
from foveal.attention.roar_graph import Found, spread
from foveal.attention.rows import Rows

Part = tuple[Tensor, Tensor]
"""Output (H, Q, D) and log-sum-exp (H, Q) over some of the keys."""

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
TINY = 1e-30
"""In place of a distance of 0, so that something can be drawn where keys are all alike."""

FAR = -30.0
"""Deviations; that far below a mean nothing is left of a normal distribution, and float32 tells no ratios."""

MEMBERS, MEANT, ROUNDS, PART = 128, 8192, 16, 65_536
"""Least keys of a cluster, on average; keys that k-means looks at, its rounds, and keys compared at once."""


@dataclass(frozen=True)
class Scores:
    """How products become scores: the model's scale, and its cap."""

    scale: float
    softcap: float | None = None

    def __call__(self, products: Tensor) -> Tensor:
        """The scores of raw products."""
        return capped(products * self.scale, self.softcap)


class Window:
    """The keys and values that every query sees; `sinks` of them are the first of the context."""

    def __init__(self, keys: Tensor, values: Tensor, sinks: int) -> None:
        self.sinks = sinks
        self._keys, self._values = Rows(keys[:, :0].float()), Rows(values[:, :0].float())
        self.append(keys, values)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> Tensor:
        """(G, w, D) float32."""
        return self._keys.added

    @property
    def values(self) -> Tensor:
        return self._values.added

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Put tokens behind the others."""
        self._keys.append(keys.float())
        self._values.append(values.float())

    def give(self, count: int) -> tuple[Tensor, Tensor]:
        """Take out the oldest `count` tokens that are no sinks."""
        end = self.sinks + count
        given = self.keys[:, self.sinks : end].clone(), self.values[:, self.sinks : end].clone()
        for name, held in (("_keys", self.keys), ("_values", self.values)):
            left = Rows(held[:, :0])
            left.append(torch.cat([held[:, : self.sinks], held[:, end:]], 1))
            setattr(self, name, left)
        return given

    def attend(self, queries: Tensor, scores: Scores) -> Part:
        """What queries see here; of several each sees, of the last tokens, those up to itself."""
        heads, each, width = queries.shape
        keys, values = self.keys, self.values
        folded = queries.float().reshape(len(keys), -1, width)
        found = scores(folded @ keys.transpose(1, 2)).view(len(keys), -1, each, keys.shape[1])
        if each > 1:
            later = torch.ones(each, each, dtype=torch.bool, device=found.device).triu(1)
            found[..., keys.shape[1] - each :] = found[..., keys.shape[1] - each :].masked_fill(later, -math.inf)
        sums = found.logsumexp(-1)
        weights = (found - sums[..., None]).exp().view(len(keys), -1, keys.shape[1])
        return (weights @ values).view(heads, each, -1), sums.view(heads, each)

    def paid(self, queries: Tensor, heads: list[int], total: Tensor, scores: Scores) -> Tensor:
        """What these heads of one query each (H, 1, D) pay together to each token here (w,).

        `total` (H, 1) is the log-sum-exp of all that a head looks at, here and elsewhere.
        """
        group = torch.tensor(heads) // (len(queries) // len(self.keys))
        products = (self.keys[group] @ queries[heads, 0].float()[..., None])[..., 0]
        return (scores(products) - total[heads]).exp().sum(0)


@dataclass(frozen=True)
class Tail:
    """Hidden keys that were not found, in clusters, each taken as normally distributed with its values.

    What they would add is known in closed form: a query's scores over a cluster are normal, and those above the lowest
    found one are cut off; a value is expected where its score puts it on the line that ties values to scores.

    Shapes    counts (G, S), keys (G, S, D), covariance (G, S, D, D), values (G, S, E), cross (G, S, D, E)
    """

    counts: Tensor
    keys: Tensor
    covariance: Tensor
    values: Tensor
    cross: Tensor

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, clusters: int) -> Tail:
        """Of hidden keys (G, n, D) and values (G, n, E)."""
        centres = [centres_of(some, clusters) for some in keys.float()]
        return cls._around(torch.stack(centres), keys, values)

    @classmethod
    def _around(cls, centres: Tensor, keys: Tensor, values: Tensor) -> Tail:
        """Each key (G, n, D) and its value in the cluster of the nearest centre (G, S, D); one without any is zeros."""
        count = centres.shape[1]
        found: list[tuple[Tensor, ...]] = []
        for some, read, around in zip(keys.float(), values.float(), centres, strict=True):
            near = nearest(some, around)
            for number in range(count):
                members, told = some[near == number], read[near == number]
                size = torch.tensor(len(members), device=keys.device)
                of_keys, of_values = (part.sum(0) / size.clamp(min=1) for part in (members, told))
                apart = members - of_keys
                turned = apart.T / size.clamp(min=1)
                found.append((size, of_keys, turned @ apart, of_values, turned @ (told - of_values)))
        stacked = (torch.stack(parts) for parts in zip(*found, strict=True))
        return cls(*(part.view(len(keys), count, *part.shape[1:]) for part in stacked))

    def joined(self, keys: Tensor, values: Tensor) -> Tail:
        """These and further hidden keys (G, m, D) and values (G, m, E), each in the cluster that is nearest to it."""
        new = Tail._around(self.keys, keys, values)
        counts = self.counts.expand(len(self.keys), -1) + new.counts
        share = new.counts.float() / counts.clamp(min=1)
        apart, told = new.keys - self.keys, new.values - self.values
        between = (share * (1 - share))[..., None, None] * apart[..., None]
        return Tail(
            counts,
            self._mixed("keys", new, share),
            self._mixed("covariance", new, share) + between * apart[..., None, :],
            self._mixed("values", new, share),
            self._mixed("cross", new, share) + between * told[..., None, :],
        )

    def _mixed(self, name: str, new: Tail, share: Tensor) -> Tensor:
        one: Tensor = getattr(self, name)
        two: Tensor = getattr(new, name)
        return one + share.view(*share.shape, *(1,) * (one.ndim - 2)) * (two - one)

    def beyond(self, queries: Tensor, lowest: Tensor, scale: float) -> Part:
        """The expected attention of queries (H, Q, D) over keys that score below `lowest` (H, Q)."""
        clusters = self.counts, self.keys, self.covariance, self.values, self.cross
        found = memory_native.expect_rest(queries, lowest, clusters, scale)
        return self._beyond(queries, lowest, scale) if found is None else found

    def _beyond(self, queries: Tensor, lowest: Tensor, scale: float) -> Part:
        heads, each, width = queries.shape
        groups = len(self.keys)
        asked = (queries.float() * scale).reshape(groups, 1, -1, width)
        least = lowest.reshape(groups, 1, -1)
        mean = (asked @ self.keys[..., None])[..., 0]  # (G, S, heads of the group * Q), as all that follows
        variance = ((asked @ self.covariance) * asked).sum(-1).clamp(min=1e-9)
        deviation = variance.sqrt()
        above = (least - mean - variance) / deviation
        below = torch.special.log_ndtr(above)
        counts = self.counts.expand(groups, -1)[..., None]  # those of a text kept earlier are the same for all groups
        mass = counts.float().log() + mean + variance / 2 + below
        cut = (-above * above / 2 - HALF_LOG_2_PI - below).exp()  # how far the cut draws the scores' mean down
        cut = torch.where(above < FAR, -above, cut)  # to what it comes near there, where both terms are huge
        along = (variance - deviation * cut) / variance
        values = self.values[:, :, None] + (asked @ self.cross) * along[..., None]
        total = mass.logsumexp(1)
        output = ((mass - total[:, None]).exp()[..., None] * values).sum(1)
        return output.view(heads, each, -1), total.view(heads, each)

    @property
    def nbytes(self) -> int:
        """Bytes, all of which a step reads."""
        return sum(part.nbytes for part in (self.keys, self.covariance, self.values, self.cross))


def centres_of(keys: Tensor, count: int) -> Tensor:
    """Centres (at most `count`, D) of keys (n, D): k-means over some of them, from drawn ones, always the same.

    They are drawn as k-means++ does (Arthur and Vassilvitskii 2007): the farther from those before, the likelier.
    """
    some = keys[spread(len(keys), MEANT)]
    count = max(1, min(count, len(keys) // MEMBERS))
    draw = torch.Generator(keys.device).manual_seed(0)
    centres, far = some[:1], some.new_full((len(some),), math.inf)
    for _ in range(count - 1):
        far = torch.minimum(far, (some - centres[-1]).square().sum(1)).nan_to_num(0, 0, 0)
        centres = torch.cat([centres, some[torch.multinomial(far.clamp(min=TINY), 1, generator=draw)]])
    for _ in range(ROUNDS):
        near = nearest(some, centres)
        held = near.bincount(minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, near, some)
        centres = torch.where(held > 0, sums / held.clamp(min=1), centres)
    return centres


def nearest(keys: Tensor, centres: Tensor) -> Tensor:
    """The number of the nearest centre (S, D) of each key (n, D)."""
    half = centres.square().sum(1) / 2
    return torch.cat([(some @ centres.T - half).argmax(1) for some in torch.split(keys, PART)])


def read_found(found: Found, values: Rows, scores: Scores) -> Part:
    """The attention over what each query found."""
    heads, each, k = found.ids.shape
    if not k:
        return queries_saw_nothing(heads, each, values.width)
    read = memory_native.read_found(found.ids, found.products, values, scores.scale, scores.softcap)
    return _read_found(found, values, scores) if read is None else read


def _read_found(found: Found, values: Rows, scores: Scores) -> Part:
    heads = len(found.ids)
    logits = scores(found.products).masked_fill(found.ids < 0, -math.inf)
    sums = logits.logsumexp(-1)
    weights = (logits - sums[..., None]).exp().nan_to_num(0.0)
    group = (torch.arange(heads) // (heads // values.groups))[:, None, None]
    picked = values.gather(group, found.ids.clamp(min=0)).float()
    return (weights[..., None, :] @ picked)[..., 0, :], sums


def queries_saw_nothing(heads: int, each: int, width: int) -> Part:
    """The part of no keys at all."""
    sums = torch.full((heads, each), -math.inf, dtype=torch.float32)
    return sums.new_zeros(heads, each, width), sums


def exact(queries: Tensor, keys: Rows, values: Rows, scores: Scores) -> Part:
    """The attention over all hidden keys, by blocks; queries (H, Q, D) in the keys' type."""
    parts = []
    for held, read in zip(keys.parts, values.parts, strict=True):
        shape = -(-queries.shape[1] // BLOCK), -(-held.shape[1] // BLOCK)
        keep = torch.ones(1, 1, *shape, dtype=torch.bool, device=queries.device)
        blocks = Blocks(keep, queries.shape[1], held.shape[1], is_causal=False)
        asked = queries.to(held.dtype)[None]
        out, sums = block_attention(asked, held[None], read[None], blocks, scale=scores.scale, softcap=scores.softcap)
        parts.append((out[0].float(), sums[0]))
    return merge(parts)


# -- what takes the place of an index, as a baseline -------------------------------------------------------------------


class Nothing:
    """StreamingLLM: hidden keys stay hidden (Xiao et al., ICLR 2024)."""

    kind: ClassVar[str] = "streaming"

    def __init__(self, keys: Rows) -> None:
        self.keys = keys

    def search(self, queries: Tensor, k: int) -> Found:  # noqa: ARG002
        heads, each, _ = queries.shape
        none = torch.empty((heads, each, 0), dtype=torch.float32)
        return Found(none.long(), none, torch.zeros((heads, each), dtype=torch.int64))

    def add(self, keys: Tensor) -> None:
        self.keys.append(keys)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def stats(self) -> dict[str, float]:
        return {"bytes": 0.0}


class Snapped(Nothing):
    """The keys that the prompt's last queries looked at most, the same for every later query (SnapKV, Li et al. 2024).

    A key's vote is the mean attention of the observed queries over the hidden keys, of which the greatest among its
    seven neighbours counts.
    """

    kind: ClassVar[str] = "snapkv"
    POOL: ClassVar[int] = 7

    def __init__(self, keys: Rows, ids: Tensor) -> None:
        super().__init__(keys)
        self.ids = ids  # (H, k)

    @classmethod
    def build(cls, keys: Tensor, observed: Tensor, k: int, scores: Scores) -> Snapped:
        """Of hidden keys (G, n, D) the k that the queries (H, T, D) vote for."""
        votes = scores(every_product(observed, Rows(keys))).softmax(-1).mean(1)
        pooled = torch.nn.functional.max_pool1d(votes[None], cls.POOL, 1, cls.POOL // 2)[0]
        return cls(Rows(keys), pooled.topk(min(k, keys.shape[1])).indices)

    def search(self, queries: Tensor, k: int) -> Found:
        heads, each, _ = queries.shape
        ids = self.ids[:, :k]
        group = (torch.arange(heads) // (heads // self.keys.groups))[:, None]
        held = self.keys.gather(group, ids).float()  # (H, k, D)
        products = queries.float() @ held.transpose(1, 2)
        visited = torch.full((heads, each), ids.shape[1])
        return Found(ids[:, None].expand(-1, each, -1), products, visited)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"ids": self.ids.numpy().astype(np.int32)}


@dataclass
class Hidden:
    """The searched part of one sequence."""

    index: KeyIndex
    values: Rows
    tail: Tail

    def __len__(self) -> int:
        return len(self.values)

    def add(self, keys: Tensor, values: Tensor) -> None:
        """Take in tokens that leave the window."""
        kept = self.values.base.dtype
        self.index.add(keys.to(kept))
        self.values.append(values.to(kept))
        self.tail = self.tail.joined(keys, values)
