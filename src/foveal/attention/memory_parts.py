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
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.estimates import capped
from foveal.attention.kernel import block_attention, merge
from foveal.attention.key_index import KeyIndex, every_product
from foveal.attention.roar_graph import Found
from foveal.attention.rows import Rows

Part = tuple[Tensor, Tensor]
"""Output (H, Q, D) and log-sum-exp (H, Q) over some of the keys."""

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


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
    """Hidden keys that were not found, by segments of the text, each taken as normally distributed with its values.

    What they would add is known in closed form: a query's scores over a segment are normal, and those above the lowest
    found one are cut off; a value is expected where its score puts it on the line that ties values to scores.

    Shapes    counts (S,), keys (G, S, D), covariance (G, S, D, D), values (G, S, E), cross (G, S, D, E)
    """

    counts: Tensor
    keys: Tensor
    covariance: Tensor
    values: Tensor
    cross: Tensor

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, segments: int) -> Tail:
        """Of hidden keys (G, n, D) and values (G, n, E)."""
        sizes = [len(part) for part in torch.arange(keys.shape[1]).tensor_split(max(1, min(segments, keys.shape[1])))]
        found = []
        for some, read in zip(torch.split(keys, sizes, 1), torch.split(values, sizes, 1), strict=True):
            of_keys, of_values = some.float().mean(1), read.float().mean(1)
            centred, apart = some.float() - of_keys[:, None], read.float() - of_values[:, None]
            turned = centred.transpose(1, 2) / some.shape[1]
            found.append((of_keys, turned @ centred, of_values, turned @ apart))
        return cls(torch.tensor(sizes), *(torch.stack(parts, 1) for parts in zip(*found, strict=True)))

    def joined(self, keys: Tensor, values: Tensor) -> Tail:
        """These and further hidden keys (G, m, D) and values (G, m, E), which belong to the last segment."""
        new = Tail.of(keys, values, 1)
        share = float(new.counts[0] / (self.counts[-1] + new.counts[0]))
        apart, told = ((two[:, -1] - one[:, -1]) for one, two in ((self.keys, new.keys), (self.values, new.values)))
        between = share * (1 - share) * apart[..., None]
        covariance = self._mixed("covariance", new, share) + between * apart[:, None]
        cross = self._mixed("cross", new, share) + between * told[:, None]
        last = {"keys": self._mixed("keys", new, share), "values": self._mixed("values", new, share)}
        last |= {"covariance": covariance, "cross": cross}
        grown = {name: torch.cat([getattr(self, name)[:, :-1], part[:, None]], 1) for name, part in last.items()}
        counts = torch.cat([self.counts[:-1], self.counts[-1:] + new.counts])
        return replace(self, counts=counts, **grown)

    def _mixed(self, name: str, new: Tail, share: float) -> Tensor:
        one: Tensor = getattr(self, name)[:, -1]
        two: Tensor = getattr(new, name)[:, -1]
        return one + share * (two - one)

    def beyond(self, queries: Tensor, lowest: Tensor, scale: float) -> Part:
        """The expected attention of queries (H, Q, D) over keys that score below `lowest` (H, Q)."""
        heads, each, width = queries.shape
        groups = len(self.keys)
        asked = (queries.float() * scale).reshape(groups, 1, -1, width)
        least = lowest.reshape(groups, 1, -1)
        mean = (asked @ self.keys[..., None])[..., 0]  # (G, S, heads of the group * Q), as all that follows
        variance = ((asked @ self.covariance) * asked).sum(-1).clamp(min=1e-9)
        deviation = variance.sqrt()
        above = (least - mean - variance) / deviation
        below = torch.special.log_ndtr(above)
        mass = self.counts[:, None].log() + mean + variance / 2 + below
        cut = (-above * above / 2 - HALF_LOG_2_PI - below).exp()  # how far the cut draws the scores' mean down
        along = (variance - deviation * cut) / variance
        values = self.values[:, :, None] + (asked @ self.cross) * along[..., None]
        total = mass.logsumexp(1)
        output = ((mass - total[:, None]).exp()[..., None] * values).sum(1)
        return output.view(heads, each, -1), total.view(heads, each)

    @property
    def nbytes(self) -> int:
        """Bytes, all of which a step reads."""
        return sum(part.nbytes for part in (self.keys, self.covariance, self.values, self.cross))


def read_found(found: Found, values: Rows, scores: Scores) -> Part:
    """The attention over what each query found."""
    heads, each, k = found.ids.shape
    if not k:
        return queries_saw_nothing(heads, each, values.width)
    logits = scores(found.products).masked_fill(found.ids < 0, -math.inf)
    sums = logits.logsumexp(-1)
    weights = (logits - sums[..., None]).exp().nan_to_num(0.0)
    group = (torch.arange(heads) // (heads // values.groups))[:, None, None]
    picked = values.gather(group, found.ids.clamp(min=0)).float()
    return (weights[..., None, :] @ picked)[..., 0, :], sums


def queries_saw_nothing(heads: int, each: int, width: int) -> Part:
    """The part of no keys at all."""
    return torch.zeros(heads, each, width), torch.full((heads, each), -math.inf)


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
        none = torch.empty((heads, each, 0))
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
