"""A smaller cache by the role of each head: retrieval heads keep the whole text, the others the first and last tokens.

    method = HeadCache(scores=head_scores(model), keep=0.35)
    with attach(model.model, method):
        cache = method.make_cache(model.model)                  # a Cache of transformers
        model.model.generate(**inputs, cache=cache)             # past_key_values=cache up to transformers 5.20
    cache.nbytes, cache.share                                   # what is held, of what a full cache would hold

`keep` is the share of a full cache that may be held, whatever the policy, so that policies compare at equal size (in a
short prompt what every head keeps at least, `sinks` + `recent` or 32 tokens, may be more):

    razor      the best key-value heads keep everything, the others `sinks` + `recent` tokens, and one key and value
               that stand for what was dropped (RazorAttention)
    duo        the same without these (DuoAttention)
    headkv     every head keeps the tokens that the prompt's last queries look at most; how many goes by its score
    snapkv     the same, as many for every head (SnapKV): needs no scores
    streaming  every head keeps the first tokens and the last ones (StreamingLLM): needs no scores

A key-value head's score is the best of its query heads'. Prompts are read exactly, in one pass (or several, if
`make_cache` is told the number of tokens); layers with a sliding window stay as they are.

Shapes    queries (1, H, Q, D), keys and values (1, G, N, D); one sequence at a time
Scores    of any kind; DuoAttention's gates are trained by head_gates.py, RazorAttention's heads are told by
          head_repetition.py
Source    DuoAttention (arXiv 2410.10819: deployed form), HeadKV (arXiv 2410.19258), RazorAttention (arXiv 2407.15891),
          SnapKV (arXiv 2404.14469)
Against   retrieval_attention.py keeps everything and searches it; this forgets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from foveal.attention.head_layers import HeadLayer, Keep
from foveal.attention.key_index import every_product
from foveal.attention.memory_parts import Scores
from foveal.attention.owned_layers import SlidingLayer, Turn, layer_of
from foveal.attention.profiles import kv_heads
from foveal.attention.retrieval_attention import windows
from foveal.attention.retrieval_heads import HeadScores
from foveal.attention.rows import Rows
from foveal.errors import InputError, UnknownName
from foveal.models.key_values import KeyValues

if TYPE_CHECKING:
    from foveal.attention.attach import Context

POLICIES = ("razor", "duo", "headkv", "snapkv", "streaming")
BY_SCORE = ("razor", "duo", "headkv")
OBSERVED = 32
"""Last queries of a prompt that choose what a head keeps (SnapKV, HeadKV); they are kept too."""
POOL = 7
"""A token's vote is the greatest among so many neighbours."""


@dataclass(frozen=True, kw_only=True)
class HeadCache:
    """Decoding holds a share of the cache: all tokens of retrieval heads, few of the others.

    RazorAttention (arXiv 2407.15891), DuoAttention (arXiv 2410.10819), HeadKV (arXiv 2410.19258), SnapKV (arXiv
    2404.14469) and StreamingLLM, by `policy`. `keep`: the share of a full cache that may be held, above 0 and at most
    1; `sinks`, `recent`: tokens that every head keeps. UnknownName: no such policy. InputError: a value out of range.
    """

    policy: str = "razor"  # one of POLICIES
    keep: float = 0.35  # share of a full cache that may be held, above 0 to 1
    sinks: int = 64  # first tokens that every head keeps
    recent: int = 256  # last tokens that every head keeps (duo, razor)
    floor: float = 0.2  # headkv: share of the budget that heads get whatever their score
    scores: HeadScores | None = None  # of the model's heads; snapkv and streaming need none
    name: ClassVar[str] = "head-cache"
    takes_sinks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """InputError: a value out of its range. UnknownName: no such policy."""
        if self.policy not in POLICIES:
            raise UnknownName(f"No policy is called {self.policy!r}. There are: {', '.join(POLICIES)}.")
        if not 0 < self.keep <= 1 or self.sinks < 0 or self.recent < 1 or not 0 <= self.floor <= 1:
            raise InputError(
                f"HeadCache got keep {self.keep}, sinks {self.sinks}, recent {self.recent}, floor {self.floor}; keep "
                "is a share above 0, floor a share, sinks at least 0, recent at least 1."
            )

    def make_cache(self, model: Any, *, tokens: int | None = None) -> RoleCache:
        """An empty cache for `model`; `tokens` of the prompt, where it will be read in several passes.

        InputError: scores are missing, or of another model's shape.
        """
        return RoleCache.empty(model.config, self, tokens=tokens)

    def of_read(self, model: Any, layers: Sequence[KeyValues], observed: Mapping[int, Tensor]) -> RoleCache:
        """A settled cache out of what a full one holds, by the last queries (H, T, D) of each layer."""
        made = self.make_cache(model)
        own = {
            part.layer_idx: part for part in model.modules() if hasattr(part, "layer_idx") and hasattr(part, "scaling")
        }
        for layer, held in zip(made.layers, layers, strict=True):
            keys, values = held.keys[:, :, : held.length], held.values[:, :, : held.length]
            if isinstance(layer, HeadLayer):
                module = own.get(layer.number)  # what it hands to its attention function
                scale = getattr(module, "scaling", None) or keys.shape[3] ** -0.5
                scores = Scores(scale, getattr(module, "attn_logit_softcapping", None))
                layer.settle(keys[0], values[0], observed[layer.number], scores)
            else:
                layer.update(keys, values)
        return made

    # -- as an attention method ------------------------------------------------------------------------------------

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """The output (1, H, Q, D); None, dense attention, while the prompt is read, and with any other cache."""
        owner = layer_of(key)
        if not isinstance(owner, HeadLayer):
            return None
        owner.check(context)
        if not context.mask.by_position or context.mask.real is not None:
            raise InputError("A cache by heads needs one causal text without padding; no mask can be kept to.")
        if owner.settled:
            return owner.attend(query, context)
        owner.observe(query, context, OBSERVED)
        return None

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """A recorder shows the model's own attention."""
        return None

    # -- what is kept ----------------------------------------------------------------------------------------------

    def keeps(self, table: Tensor | None, layer: int, keys: Tensor, observed: Tensor, scores: Scores) -> list[Keep]:
        """What each head of a layer keeps of keys (G, N, D), by the scores `table` (layers, G), NaN where it slides."""
        groups, count = keys.shape[:2]
        if self.policy == "streaming":
            size = max(round(self.keep * count), self.sinks + 1)
            return [Keep(self._ends(count, size), self.sinks, size)] * groups
        if self.policy == "snapkv":
            least = max(OBSERVED, round(self.keep * count))
            return [Keep(ids) for ids in self._voted(keys, observed, scores, [least] * groups)]
        assert table is not None
        if self.policy == "headkv":
            return [Keep(ids) for ids in self._voted(keys, observed, scores, capacities(table, count, self)[layer])]
        whole = full_heads(table, count, self)
        size = self.sinks + self.recent
        few = Keep(self._ends(count, size), self.sinks, size, compensated=self.policy == "razor")
        return [Keep() if (layer, group) in whole else few for group in range(groups)]

    def _ends(self, count: int, most: int) -> Tensor:
        """The places of the first `sinks` and of the last tokens, `most` in all."""
        most = min(count, most)
        first = min(self.sinks, most)
        return torch.cat([torch.arange(first), torch.arange(count - (most - first), count)])

    def _voted(self, keys: Tensor, observed: Tensor, scores: Scores, capacity: Sequence[int]) -> list[Tensor]:
        """For each head the places of its capacity: the last ones, and those that the observed queries look at."""
        groups, count = keys.shape[:2]
        rows = observed.shape[1]
        found = scores(every_product(observed, Rows(keys)))
        places = torch.arange(count, device=keys.device)
        later = places > places[count - rows :, None]
        votes = found.masked_fill(later, -torch.inf).softmax(-1).mean(1).view(groups, -1, count).mean(1)
        pooled = torch.nn.functional.max_pool1d(votes[:, None], POOL, 1, POOL // 2)[:, 0]
        pooled[:, count - min(OBSERVED, count) :] = torch.inf
        return [own.topk(min(count, size)).indices.sort().values for own, size in zip(pooled, capacity, strict=True)]


def full_heads(table: Tensor, count: int, method: HeadCache) -> set[tuple[int, int]]:
    """The key-value heads (layer, group) that keep all `count` tokens: the best that fit into the share."""
    eligible = int((~table.isnan()).sum())
    few = min(count, method.sinks + method.recent)
    room = method.keep * eligible * count - eligible * few
    whole = min(eligible, int(room / max(1, count - few))) if room > 0 else 0
    order = table.nan_to_num(-torch.inf).flatten().argsort(descending=True, stable=True)[:whole].tolist()
    return {divmod(place, table.shape[1]) for place in order}


def capacities(table: Tensor, count: int, method: HeadCache) -> list[list[int]]:
    """HeadKV: how many of `count` tokens each head (layer, group) keeps; all together the share.

    A head that would get more than there are gives the rest to the others.
    """
    eligible = ~table.isnan()
    heads = int(eligible.sum())
    total = max(heads * OBSERVED, method.keep * heads * count)
    size = eligible.float() * max(OBSERVED, method.floor * total / heads)
    weight = torch.where(eligible, table.nan_to_num(0.0).clamp(min=0.0) + 1e-6, 0.0)
    for _ in range(heads):
        left = total - float(size.sum())
        open_ = eligible & (size < count)
        if left < 1 or not open_.any():
            break
        size = torch.where(open_, size + left * weight / weight[open_].sum(), size).clamp(max=count)
    return [[int(one) for one in row] for row in size.round().tolist()]


class RoleCache(Cache):
    """The keys and values of a model, some heads' in part. `layers` are `HeadLayer`s and `SlidingLayer`s."""

    layers: list[Any]

    def __init__(self, layers: list[HeadLayer | SlidingLayer]) -> None:
        super().__init__(layers=[*layers])

    @classmethod
    def empty(cls, config: Any, method: HeadCache, *, tokens: int | None = None) -> RoleCache:
        """A cache for a model of this configuration; errors as in `HeadCache.make_cache`."""
        if tokens is not None and tokens < 1:
            raise InputError(f"A cache was asked for {tokens} tokens of prompt; it needs at least 1.")
        text = config.get_text_config(decoder=True)
        sliding = windows(config)
        table = score_table(method, text, sliding)
        turn = Turn()
        choose = partial(method.keeps, table)
        return cls(
            [
                HeadLayer(choose, number, turn, tokens) if window is None else SlidingLayer(window)
                for number, window in enumerate(sliding)
            ]
        )

    @property
    def owned(self) -> list[HeadLayer]:
        """The layers that see the whole text."""
        return [layer for layer in self.layers if isinstance(layer, HeadLayer)]

    @property
    def nbytes(self) -> int:
        """Bytes that the layers which see the whole text hold."""
        return sum(layer.nbytes for layer in self.owned)

    @property
    def share(self) -> float:
        """What is held, of what a full cache of these layers would hold."""
        stores = [(layer.length, store) for layer in self.owned for store in layer.stores]
        full = sum(length * (one.keys[0, :1].nbytes + one.values[0, :1].nbytes) for length, one in stores)
        return self.nbytes / full if full else 1.0

    def fork(self) -> RoleCache:
        """A cache that goes on by itself from here, as for another question; what is held so far is shared.

        InputError: the prompt is not read yet.
        """
        if any(not layer.settled for layer in self.owned):
            raise InputError("A cache by heads can be forked once the prompt is read.")
        turn = Turn()
        return RoleCache([one.fork(turn) if isinstance(one, HeadLayer) else deepcopy(one) for one in self.layers])


def score_table(method: HeadCache, config: Any, sliding: Sequence[int | None]) -> Tensor | None:
    """The scores (layers, G), NaN for layers that slide; None where the policy needs none."""
    if method.policy not in BY_SCORE:
        return None
    if method.scores is None:
        raise InputError(
            f"The policy {method.policy} needs to know which heads retrieve: HeadCache(scores=head_scores(model)), by "
            "foveal.attention.retrieval_heads. snapkv and streaming need no scores."
        )
    method.scores.check(config)
    table = method.scores.of_groups(kv_heads(config)).clone()
    table[[number for number, window in enumerate(sliding) if window is not None]] = torch.nan
    return table
