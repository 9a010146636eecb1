"""The routing heads: attention within clusters of content, by two rules of who is seen (routing.py says more).

    causal    tokens are put in the order of cluster and time; each sees those of its cluster among the window tokens
              that end with it. Decoding keeps the last window tokens of each cluster
    topk      each centroid takes its window nearest tokens; a token in several clusters gets the mean

Source    Roy, Saffar, Vaswani and Grangier, TACL 2021 (arXiv 2003.05997), section 4; the causal rule is ours
Shapes    x (B, T, dim) -> (B, T, dim), the output projection included; ids (B, H, T)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.clusters import OnlineMeans, on_sphere
from foveal.nn.inputs import head_width
from foveal.nn.range_attention import fits, range_attention
from foveal.nn.states import State
from foveal.nn.window_attention import merged, softmax_over
from foveal.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, require_one_of, require_settings

SOFTENED = 1e-2
"""Added to the number of a token's clusters, as in the paper's code."""


@dataclass(frozen=True, kw_only=True)
class RoutingSettings:
    """A routing layer's shape and rules; windows are in tokens.

    Checked when made. InputError: a value out of its range.
    """

    dim: int
    heads: int = 4
    routing_heads: int = 2  # of these; the others are local
    clusters: int = 16
    window: int = 128  # tokens of a cluster that are seen (causal), or that it holds (topk)
    local_window: int = 64  # tokens of a block; local heads see their own and the one before
    causal: bool = True
    selection: Literal["causal", "topk"] = "causal"
    share_qk: bool | None = None  # queries are keys; None: where it is causal
    ema_decay: float = 0.999  # of centroids; 0.99 for the first thousand updates
    commitment: float = 1e-4  # weight of the squared distance to the centroid
    logit_scale: Literal["1/sqrt(d)", "none"] = "1/sqrt(d)"  # "none" as in the paper's code
    self_penalty: float = 0.0  # taken from a token's score of itself, which is its greatest

    def __post_init__(self) -> None:
        require_settings(
            "Routing attention", self, dim=COUNT, heads=COUNT, clusters=COUNT, window=COUNT, local_window=COUNT,
            ema_decay=BELOW_ONE, commitment=NOT_NEGATIVE, self_penalty=NOT_NEGATIVE,
        )  # fmt: skip
        require_one_of("Routing attention", self, "selection", ("causal", "topk"))
        require_one_of("Routing attention", self, "logit_scale", ("1/sqrt(d)", "none"))
        head_width("Routing attention", self.dim, self.heads)
        if not 0 <= self.routing_heads <= self.heads:
            raise InputError(f"Routing attention got routing_heads = {self.routing_heads} of heads = {self.heads}.")
        if self.selection == "causal" and not (self.causal and self.shared):
            raise InputError(
                "The causal selection needs causal = True and shared queries and keys; take selection = 'topk'."
            )

    @property
    def shared(self) -> bool:
        """Whether queries are keys."""
        return self.causal if self.share_qk is None else self.share_qk

    @property
    def width(self) -> int:
        """Of one head."""
        return self.dim // self.heads

    @property
    def scale(self) -> float:
        """Of scores."""
        return 1.0 if self.logit_scale == "none" else self.width**-0.5


@dataclass(frozen=True)
class ClusterState(State):
    """The last tokens of each cluster, newest last."""

    keys: Tensor  # (B, H, k, window, D)
    values: Tensor
    there: Tensor  # (B, H, k, window) bool


class Routed(NamedTuple):
    """What a layer gives; there is no state where it was not asked for, or cannot be (topk)."""

    output: Tensor
    state: ClusterState | None
    loss: Tensor


class Members(NamedTuple):
    """What topk put into each cluster, (B, H, k, T) bool: each of its `readers` saw all tokens that were `read`.

    Both are the same where queries are keys. Where it is causal, a reader saw of them those up to itself.
    """

    readers: Tensor
    read: Tensor


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What one place of a text sees: of each routing head the tokens, and how much of what it gets is theirs."""

    weights: Tensor  # (B, H, T), 0 where nothing is seen; by topk they add up to a little less than 1, or to 0
    seen: Tensor  # (B, H, T) bool

    def listed(self, *, row: int = 0, head: int = 0) -> list[tuple[int, float]]:
        """Places of tokens and their weights, the greatest first."""
        weights = self.weights[row, head]
        places = self.seen[row, head].nonzero()[:, 0].tolist()
        return sorted(((place, float(weights[place])) for place in places), key=lambda one: -one[1])


class RoutingHeads(nn.Module):
    """The heads that see their clusters."""

    def __init__(self, settings: RoutingSettings) -> None:
        """Weights and centroids are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        s, inner = settings, settings.routing_heads * settings.width
        self.project = nn.Linear(s.dim, (2 if s.shared else 3) * inner, bias=False)
        self.out = nn.Linear(inner, s.dim, bias=False)
        self.means = OnlineMeans(heads=s.routing_heads, clusters=s.clusters, width=s.width, decay=s.ema_decay)
        self.frozen = False
        self._stamp: Tensor | None = None  # no tensor: one made on "meta", as for loading, would stay there

    # -- states ---------------------------------------------------------------------------------------------------

    @property
    def layout(self) -> str:
        """What a state must be of."""
        s = self.settings
        return f"{s.routing_heads} heads, {s.clusters} clusters of {s.window}"

    def init_state(self, batch: int) -> ClusterState:
        """Empty clusters. InputError: the selection is topk, which no state can go on from."""
        s, like = self.settings, self.project.weight
        if s.selection == "topk":
            raise InputError(
                "The topk selection has no state: later tokens decide which earlier ones a cluster holds. Give whole "
                "texts, or take selection = 'causal'."
            )
        nothing = like.new_zeros(batch, s.routing_heads, s.clusters, s.window, s.width)
        there = torch.zeros(nothing.shape[:-1], dtype=torch.bool, device=like.device)
        return ClusterState(self.layout, nothing, nothing, there)

    # -- attention ------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, state: ClusterState | None = None, mask: Tensor | None = None) -> Routed:
        """x (B, T, dim) -> (B, T, dim), the state that follows `state`, the commitment loss (a number)."""
        q, k, v = self._heads(x)
        routed, real = q, mask
        if not self.settings.shared:  # queries and keys have the centroids in common
            routed, real = torch.cat([q, k], 2), None if mask is None else torch.cat([mask, mask], 1)
        learns = self.training and not self.frozen
        ids = self._learn(routed, real) if learns else self.means.nearest(routed)
        loss = self._pull(routed, ids, real)
        if self.settings.selection == "topk":
            return Routed(self._given(self._topk(q, k, v, mask), x), None, loss)
        seen, after = self._in_clusters(q, v, ids, mask, state)  # by this rule queries are keys
        return Routed(self._given(seen, x), after, loss)

    def step(self, x: Tensor, state: ClusterState) -> tuple[Tensor, ClusterState]:
        """One token (B, dim): it joins its cluster, and sees what that holds."""
        q, _, v = self._heads(x[:, None])
        where = self.means.nearest(q)[..., None]  # (B, H, 1, 1)
        keys = _put(state.keys, where, q.to(state.keys.dtype))
        values = _put(state.values, where, v.to(state.values.dtype))
        there = _put(state.there[..., None], where, torch.ones_like(where, dtype=torch.bool))
        k, near, seen = _row(keys, where).to(q), _row(values, where).to(v), _row(there, where)
        scores = q @ k.mT * self.settings.scale
        own = torch.arange(k.shape[2], device=k.device) == k.shape[2] - 1
        given = softmax_over(scores - self.settings.self_penalty * own, near, seen.mT, q, None, self.settings.scale)
        return self._given(given, x[:, None])[:, 0], ClusterState(self.layout, keys, values, there[..., 0])

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys on the sphere, and values, (B, H, T, D)."""
        s = self.settings
        made = self.project(x).view(*x.shape[:2], -1, s.routing_heads, s.width).permute(2, 0, 3, 1, 4)
        q = on_sphere(made[0])
        return q, q if s.shared else on_sphere(made[1]), made[-1]

    def _given(self, seen: Tensor, x: Tensor) -> Tensor:
        given: Tensor = self.out(merged(seen.to(x.dtype)))
        return given

    def _in_clusters(
        self, q: Tensor, v: Tensor, ids: Tensor, mask: Tensor | None, state: ClusterState | None
    ) -> tuple[Tensor, ClusterState | None]:
        """The causal rule: tokens in the order of cluster and time, each seeing the window that ends with it."""
        s, tokens = self.settings, q.shape[2]
        if mask is not None:
            ids = ids.masked_fill(~mask[:, None], s.clusters)
        if state is not None:
            old = torch.arange(s.clusters, device=ids.device)[:, None].masked_fill(~state.there, s.clusters)
            ids = torch.cat([old.flatten(2), ids], 2)
            q = torch.cat([state.keys.flatten(2, 3).to(q), q], 2)
            v = torch.cat([state.values.flatten(2, 3).to(v), v], 2)
        order = ids.argsort(dim=-1, stable=True)
        ids = ids.gather(2, order)
        y = None if s.self_penalty or not fits(q) else self._in_runs(q, v, ids, order)
        if y is None or state is not None:
            q, v = _taken(q, order), _taken(v, order)
        if y is None:
            y = self._sliding(q, v, ids)
            y = torch.zeros_like(y).scatter(2, order[..., None].expand_as(y), y)
        return y[:, :, -tokens:], None if state is None else self._latest(q, v, ids, state)

    def _in_runs(self, q: Tensor, v: Tensor, ids: Tensor, order: Tensor) -> Tensor:
        """By the compiled kernel: place i of the sorted list sees the run of its cluster that ends with it."""
        s, place = self.settings, torch.arange(ids.shape[2], device=ids.device)
        counts = _sizes(ids, s.clusters)
        starts = (counts.cumsum(-1) - counts).gather(2, ids)
        first = torch.maximum(starts, place - s.window + 1)
        first = first.masked_fill(ids == s.clusters, ids.shape[2])  # in no cluster: sees nothing
        return range_attention(q, q, v, first, place[None, None], scale=s.scale, order=order)

    def _sliding(self, q: Tensor, v: Tensor, ids: Tensor) -> Tensor:
        """Sorted tokens (B, H, N, D): each sees those of its cluster among the last `window` of the list.

        In blocks of a window, each of which is shown to itself and the next; more, and smaller, ones took longer.
        """
        s, rows, count = self.settings, q.shape[:2], q.shape[2]
        window = min(s.window, count)
        room = -count % window
        queries, values = (F.pad(one, (0, 0, 0, room)).view(*rows, -1, window, one.shape[-1]) for one in (q, v))
        own = F.pad(ids, (0, room), value=s.clusters).view(*rows, -1, window)
        k, v = (_with_before(one) for one in (queries, values))
        theirs = _with_before(own, s.clusters)
        place = torch.arange(window, device=q.device)[:, None] + window - torch.arange(2 * window, device=q.device)
        near = (place >= 0) & (place < window)
        visible = (own[..., :, None] == theirs[..., None, :]) & near  # those in no cluster see each other; see below
        seen: Tensor = visible
        if s.self_penalty:
            seen = torch.zeros_like(visible, dtype=q.dtype).masked_fill(~visible, -torch.inf)
            seen = seen - s.self_penalty * (place == 0)
        queries, k, v, seen = (one.flatten(1, 2) for one in (queries, k, v, seen))
        y = F.scaled_dot_product_attention(queries, k, v, attn_mask=seen, scale=s.scale)
        y = y.view(*rows, -1, q.shape[-1])[:, :, :count]
        return y * (ids < s.clusters)[..., None].to(y.dtype)

    def _latest(self, q: Tensor, v: Tensor, ids: Tensor, state: ClusterState) -> ClusterState:
        """The last `window` tokens of each cluster of a sorted list."""
        s = self.settings
        counts = _sizes(ids, s.clusters)[..., : s.clusters]
        ends = counts.cumsum(-1)[..., None]
        places = ends + torch.arange(-s.window, 0, device=q.device)  # (B, H, k, window)
        there = places >= ends - counts[..., None]
        flat = places.clamp(min=0).flatten(2)
        keys, values = (_taken(one, flat).view_as(state.keys).to(state.keys.dtype) * there[..., None] for one in (q, v))
        return ClusterState(self.layout, keys, values, there)

    def _topk(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The balanced rule: `window` tokens for each centroid, attention within, a mean over a token's clusters."""
        asking, asked = self._members(q, mask), self._members(k, mask)
        scores = _members_of(q, asking) @ _members_of(k, asked).mT * self.settings.scale  # (B, H, k, w, w)
        apart = asking[..., :, None] - asked[..., None, :]
        if self.settings.self_penalty:
            scores = scores - self.settings.self_penalty * (apart == 0)
        visible = apart >= 0 if self.settings.causal else torch.ones_like(apart, dtype=torch.bool)
        real = torch.ones_like(asked, dtype=torch.bool)
        if mask is not None:
            real = mask[:, None].expand(-1, q.shape[1], -1).gather(2, asked.flatten(2)).view_as(asked)
            visible = visible & real[..., None, :]
        y = softmax_over(scores, _members_of(v, asked), visible, q, None, self.settings.scale)
        where = asking.flatten(2)[..., None]
        total = torch.zeros_like(v).scatter_add(2, where.expand(*where.shape[:3], v.shape[-1]), y.flatten(2, 3))
        count = torch.zeros_like(v[..., :1]).scatter_add(2, where, torch.ones_like(where, dtype=v.dtype))
        return total / (count + SOFTENED)

    def _members(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, H, k, w): the places of each centroid's nearest tokens, ascending."""
        products = self.means.products(x.detach())
        if mask is not None:
            products = products.masked_fill(~mask[:, None, :, None], -torch.inf)
        return products.topk(min(self.settings.window, x.shape[2]), dim=2).indices.transpose(2, 3).sort(-1).values

    # -- clusters -------------------------------------------------------------------------------------------------

    def _pull(self, q: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
        """commitment * the mean over vectors q (B, H, T, D) of |q - mu|^2; no gradient reaches the centroid."""
        apart = (q - self.means.of(ids).to(q.dtype)).square().sum(-1)
        if mask is None:
            return self.settings.commitment * apart.mean()
        real = mask[:, None].expand_as(apart)
        total = (apart * real).sum(dtype=torch.promote_types(apart.dtype, torch.float32))  # float16 ends at 65,504
        return (self.settings.commitment * total / real.sum().clamp(min=1)).to(apart.dtype)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it looks at counters that a graph cannot hold
    def _learn(self, q: Tensor, mask: Tensor | None) -> Tensor:
        """The clusters of a training step's tokens, which are counted for the next update.

        The first forward after the weights have changed takes in what was counted, before anything is routed. So one
        step is one update, and a forward that is done again for its gradients counts nothing and routes the same.
        """
        if q.is_meta or torch._C._current_graph_task_id() != -1:  # inside a backward pass: this forward was counted
            return self.means.nearest(q)
        weight = self.project.weight
        now = weight.detach()[0].clone()  # by value: fused optimisers do not raise the weight's version
        if not weight.requires_grad or self._stamp is None or not torch.equal(now, self._stamp.to(now)):
            self.means.commit()
            self._stamp = now
        ids = self.means.nearest(q)
        self.means.observe(q, ids, mask)
        return ids

    @torch.no_grad()
    def assignments(self, x: Tensor) -> Tensor:
        """The cluster of each token, (B, H, T)."""
        return self.means.nearest(self._heads(x)[0])

    @torch.no_grad()
    def members(self, x: Tensor, mask: Tensor | None = None) -> Members:
        """Which tokens topk puts into each cluster; those where `mask` is False are in none."""
        if self.settings.selection != "topk":
            raise InputError("Only the topk selection gathers members; by the causal one, see `assignments`.")
        q, k, _ = self._heads(x)
        return Members(self._held(q, mask), self._held(k, mask))

    def _held(self, x: Tensor, mask: Tensor | None) -> Tensor:
        places = self._members(x, mask)
        held = torch.zeros(*places.shape[:3], x.shape[2], dtype=torch.bool, device=x.device)
        held = held.scatter(3, places, torch.ones_like(places, dtype=torch.bool))
        return held if mask is None else held & mask[:, None, None]  # a window may be longer than what counts

    @torch.no_grad()
    def neighbours(self, x: Tensor, place: int, mask: Tensor | None = None) -> Neighbours:
        """What the token at `place` sees: of the causal rule its cluster so far, of topk all of its clusters."""
        s, (q, k, _) = self.settings, self._heads(x)
        there = torch.arange(x.shape[1], device=x.device)
        past = there <= place if s.causal else torch.ones_like(there, dtype=torch.bool)
        if mask is not None:
            past = past & mask[:, None]  # (B, 1, T)
        if s.selection == "topk":
            mine = self._held(q, mask)[..., place]  # (B, H, k)
            seen = mine[..., None] & self._held(k, mask) & past[..., None, :]
        else:
            ids = self.means.nearest(q)
            alike = (ids == ids[..., place, None]) & past
            latest = alike.flip(-1).cumsum(-1).flip(-1) <= s.window
            seen = (alike & latest)[..., None, :]  # a cluster of its own
            mine = torch.ones_like(seen[..., 0]) if mask is None else mask[:, None, place, None]
            seen = seen & mine[..., None]
        scores = (q[:, :, place, None] @ k.mT)[..., 0, :] * s.scale - s.self_penalty * (there == place)
        weights = scores[:, :, None].masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0).sum(2)
        if s.selection == "topk":
            weights = weights / (mine.sum(-1, keepdim=True, dtype=weights.dtype) + SOFTENED)
        return Neighbours(weights, seen.any(2))

    @torch.no_grad()
    def stats(self, x: Tensor) -> dict[str, float]:
        """How tokens x fall into clusters.

        Shares of the smallest and largest, the entropy (at most log k), empty clusters, and how many unused centroids
        were moved so far; with topk also the share of tokens in no cluster, and the clusters of one that is in any.
        """
        ids = self.assignments(x)
        share = F.one_hot(ids, self.settings.clusters).float().mean((0, 2))  # (H, k)
        entropy = -(share * share.clamp(min=1e-12).log()).sum(-1).mean()
        told = {
            "smallest": float(share.min()),
            "largest": float(share.max()),
            "entropy": float(entropy),
            "entropy / log k": float(entropy) / math.log(self.settings.clusters) if self.settings.clusters > 1 else 1.0,
            "empty": float((share == 0).sum()),
            "moved": float(self.means.moved),
        }
        if self.settings.selection == "topk":
            places = self._members(self._heads(x)[0], None).flatten(2)
            count = torch.zeros(ids.shape, device=x.device).scatter_add(2, places, torch.ones_like(places).float())
            told["in none"] = float((count == 0).float().mean())
            told["clusters of one in any"] = float(count[count > 0].mean())
        return told


def _sizes(ids: Tensor, clusters: int) -> Tensor:
    """(B, H, clusters + 1): how many tokens are in each cluster, and in none."""
    counts = torch.zeros(*ids.shape[:2], clusters + 1, dtype=ids.dtype, device=ids.device)
    return counts.scatter_add(2, ids, torch.ones_like(ids))


def _with_before(x: Tensor, missing: int = 0) -> Tensor:
    """Blocks (B, H, n, b, …), each behind the one before it: (B, H, n, 2 b, …)."""
    around = (0, 0) * (x.dim() - 3)
    return torch.cat([F.pad(x, (*around, 1, 0), value=missing)[:, :, :-1], x], 3)


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x (B, H, N, D) at places (B, H, M)."""
    return x.gather(2, places[..., None].expand(-1, -1, -1, x.shape[-1]))


def _members_of(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x (B, H, N, D) at places (B, H, k, w)."""
    return _taken(x, places.flatten(2)).view(*places.shape, x.shape[-1])


def _row(held: Tensor, where: Tensor) -> Tensor:
    """The rows of one cluster a head: (B, H, k, window, D), (B, H, 1, 1) -> (B, H, window, D)."""
    index = where[..., None].expand(-1, -1, 1, *held.shape[3:])
    return held.gather(2, index)[:, :, 0]


def _put(held: Tensor, where: Tensor, new: Tensor) -> Tensor:
    """The same with a new row (B, H, 1, D) at the end of that cluster; its oldest goes."""
    row = torch.cat([_row(held, where)[:, :, 1:], new], 2)
    index = where[..., None].expand(-1, -1, 1, *held.shape[3:])
    return held.scatter(2, index, row[:, :, None])
