"""Routing attention: some heads see the tokens nearby, others the tokens whose content falls into the same cluster.

    layer = RoutingAttention(RoutingSettings(dim=128, heads=4, routing_heads=2, clusters=16, window=128))
    y, state, loss = layer(x)                # x (B, T, dim); the loss draws queries to their centroids
    y, state, _ = layer.step(token, state)   # decoding, from a cache indexed by cluster

Two rules say which tokens of a cluster are seen:

    causal      (default) a token belongs to its nearest centroid, and sees itself and the window - 1 tokens of that
                cluster before it. Nothing depends on what is to come
    topk        the paper's: each centroid takes its window nearest tokens; one may be in no cluster or in several.
                Whether a token is taken depends on later ones: in a language model that is a leak (tests measure it),
                so this is for encoders, and for repeating the paper

Source    Roy, Saffar, Vaswani and Grangier, TACL 2021 (arXiv 2003.05997); the causal rule is ours
Shapes    x (B, T, dim) -> (B, T, dim); queries are keys, put on the sphere by a layer norm without weights
Cost      T window D a routing head, and T clusters D to find the cluster; the state holds clusters * window rows a head
Against   LSH attention draws its buckets; here they are learnt, by moving averages (clusters.py)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import checked, require_result, require_token
from foveal.nn.routing_heads import ClusterState, Members, Neighbours, RoutingHeads, RoutingSettings
from foveal.nn.states import State, state_or_first
from foveal.nn.window_attention import WindowAttention, WindowSettings, WindowState

__all__ = ["RoutedOutput", "RoutingAttention", "RoutingSettings", "RoutingState"]


@dataclass(frozen=True)
class RoutingState(State):
    """Of both kinds of heads; None where there are none of a kind."""

    local: WindowState | None
    routed: ClusterState | None


class RoutedOutput(NamedTuple):
    """What a layer gives; there is no state where it was not asked for, or cannot be (topk)."""

    output: Tensor
    state: RoutingState | None
    loss: Tensor


class RoutingAttention(nn.Module):
    """Local heads and heads that see clusters of content: x (B, T, dim) -> (B, T, dim), a state, a commitment loss.

    Routing Transformer (Roy et al., TACL 2021, arXiv 2003.05997), section 4; the default, causal selection is ours.
    """

    optional_state = True  # `keep` says whether one is made

    def __init__(self, settings: RoutingSettings) -> None:
        """Weights and centroids are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        s = settings
        self.routed = RoutingHeads(s) if s.routing_heads else None
        self.local = None
        if s.heads > s.routing_heads:
            window = WindowSettings(
                dim=s.dim,
                heads=s.heads - s.routing_heads,
                dim_head=s.width,
                window=s.local_window,
                kind="blocks",
                causal=s.causal,
            )
            self.local = WindowAttention(window)

    @property
    def layout(self) -> str:
        """What a state must be of."""
        return f"routing attention, {self.settings.routing_heads} of {self.settings.heads} heads routed"

    def init_state(self, batch: int) -> RoutingState:
        """Before the first token. InputError: routing heads by topk, which no state can go on from."""
        local = None if self.local is None else self.local.init_state(batch)
        return RoutingState(self.layout, local, None if self.routed is None else self.routed.init_state(batch))

    def forward(
        self, x: Tensor, state: RoutingState | None = None, mask: Tensor | None = None, *, keep: bool = True
    ) -> RoutedOutput:
        """x (B, T, dim) -> (B, T, dim), the state (where `keep`), the commitment loss (a number).

        Tokens where `mask` is False are seen by none and in no cluster. InputError: wrong shapes, tokens that are no
        numbers or too large for products of them, or another's state.
        """
        x = checked("Routing attention", x, self.settings.dim, mask)
        if state is not None or (keep and self.streams):
            state = state_or_first(state, self.init_state, len(x))
        y, loss, local, routed = x.new_zeros(x.shape), x.new_zeros(()), None, None
        if self.local is not None:
            y, local = self.local(x, state.local if state else None, mask)
        if self.routed is not None:
            seen, routed, loss = self.routed(x, state.routed if state else None, mask)
            y = y + seen
        y = require_result("Routing attention", y)
        return RoutedOutput(y, RoutingState(self.layout, local, routed) if state else None, loss)

    def step(self, x: Tensor, state: RoutingState) -> RoutedOutput:
        """One token (B, dim)."""
        require_token("Routing attention", x, self.settings.dim)
        state = state_or_first(state, self.init_state, len(x))
        y, local, routed = torch.zeros_like(x), None, None
        if self.local is not None and state.local is not None:
            y, local = self.local.step(x, state.local)
        if self.routed is not None and state.routed is not None:
            seen, routed = self.routed.step(x, state.routed)
            y = y + seen
        y = require_result("Routing attention", y)
        return RoutedOutput(y, RoutingState(self.layout, local, routed), y.new_zeros(()))

    @property
    def streams(self) -> bool:
        """Whether a state can go on: not where heads are routed by topk."""
        return self.settings.causal and (self.routed is None or self.settings.selection == "causal")

    # -- clusters -------------------------------------------------------------------------------------------------

    @property
    def centroids(self) -> Tensor:
        """(H, k, D)."""
        return self._routing.means.means

    def freeze_centroids(self, frozen: bool = True) -> None:
        """Keep the centroids as they are, in training too; or let them go on."""
        self._routing.frozen = frozen

    def assignments(self, x: Tensor) -> Tensor:
        """The cluster of each token, (B, H, T)."""
        return self._routing.assignments(checked("Routing attention", x, self.settings.dim))

    def members(self, x: Tensor, mask: Tensor | None = None) -> Members:
        """Which tokens topk puts into each cluster, (B, H, k, T) bool. InputError: the selection is causal."""
        return self._routing.members(checked("Routing attention", x, self.settings.dim, mask), mask)

    def neighbours(self, x: Tensor, place: int, mask: Tensor | None = None) -> Neighbours:
        """The tokens that the one at `place` of x (B, T, dim) sees by its clusters, and their weights.

        InputError: there is no such place, or no routing head.
        """
        x = checked("Routing attention", x, self.settings.dim, mask)
        if not 0 <= place < x.shape[1]:
            raise InputError(f"neighbours got place {place}; the text has places 0 to {x.shape[1] - 1}.")
        return self._routing.neighbours(x, place, mask)

    def stats(self, x: Tensor) -> dict[str, float]:
        """How tokens x fall into clusters; see `RoutingHeads.stats`."""
        return self._routing.stats(checked("Routing attention", x, self.settings.dim))

    @property
    def _routing(self) -> RoutingHeads:
        if self.routed is None:
            raise InputError("This layer has no routing heads, and so no clusters: give it routing_heads of 1 or more.")
        return self.routed
