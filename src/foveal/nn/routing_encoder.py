"""A long-text encoder of routing attention: every token may look both ways, nearby and within its cluster.

    encoder = RoutingEncoder(RoutingSettings(dim=64, causal=False, selection="topk"), layers=3)
    y, loss = encoder(x, mask)               # x (B, T, dim); the loss draws queries to their centroids
    encoder.read_together(x, mask).read      # (B, heads, clusters, T): which tokens each cluster took

Clusters take their nearest tokens of the whole text (`selection="topk"`, the paper's rule), which no language model may
do and an encoder should: a token is seen for what it says, before or behind.

Shapes    x (B, T, dim) -> (B, T, dim); mask (B, T), True where a token counts
Source    Roy, Saffar, Vaswani and Grangier, TACL 2021 (arXiv 2003.05997), section 4.1 and the encoder of its appendix
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import checked
from foveal.nn.lama import masked_mean
from foveal.nn.norms import RMSNorm
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.nn.routing_heads import Members
from foveal.nn.stack import Block

__all__ = ["EncodedText", "RoutingEncoder"]


class EncodedText(NamedTuple):
    """What an encoder gives."""

    output: Tensor
    loss: Tensor


class RoutingEncoder(nn.Module):
    """A stack of routing blocks whose tokens look both ways: x (B, T, dim) -> (B, T, dim), and a commitment loss.

    Roy et al., TACL 2021 (arXiv 2003.05997), section 4.1 and the encoder of its appendix.
    """

    def __init__(
        self, settings: RoutingSettings, *, layers: int = 3, expansion: float = 8 / 3, dropout: float = 0.0
    ) -> None:
        """`layers` blocks of the same settings. InputError: settings that are causal, or no layer."""
        super().__init__()
        if settings.causal or layers < 1:
            raise InputError(
                f"RoutingEncoder got causal = {settings.causal}, layers = {layers}; it needs RoutingSettings(causal="
                "False, selection='topk'), and at least 1 layer. For a language model take RoutingTransformerLM."
            )
        self.settings = settings
        self.blocks = nn.ModuleList(
            Block(RoutingAttention(settings), settings.dim, expansion=expansion, dropout=dropout) for _ in range(layers)
        )
        self.norm = RMSNorm(settings.dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> EncodedText:
        """x (B, T, dim) -> (B, T, dim), and the sum of the layers' commitment losses (a number).

        InputError: wrong shapes, or a token that counts and is no number, with its place.
        """
        x = checked("RoutingEncoder", x, self.settings.dim, mask)
        loss = x.new_zeros(())
        for block in self._blocks:
            x, _, own = block(x, None, mask, keep=False)
            loss = loss if own is None else loss + own
        return EncodedText(self.norm(x), loss)

    def summary(self, x: Tensor, mask: Tensor | None = None) -> EncodedText:
        """x (B, T, dim) -> the mean of the tokens that count, (B, dim). InputError: none counts in a row."""
        made, loss = self(x, mask)
        if mask is None:
            return EncodedText(made.mean(1), loss)
        counts = mask.sum(1, keepdim=True)
        if not bool(counts.all()):
            raise InputError(f"Row {int((counts[:, 0] == 0).nonzero()[0])} has no token that counts, so no summary.")
        return EncodedText(masked_mean(made, mask), loss)

    @torch.no_grad()
    def read_together(self, x: Tensor, mask: Tensor | None = None, *, layer: int = -1) -> Members:
        """What each routing head of a layer took into its clusters, (B, H, k, T) bool; as evaluated, in training too.

        A token may be in several clusters or in none. InputError: as `forward`, no such layer, or no routing heads.
        """
        x = checked("RoutingEncoder", x, self.settings.dim, mask)
        blocks, count = self._blocks, len(self.blocks)
        if not -count <= layer < count:
            raise InputError(f"RoutingEncoder got layer = {layer}; it has {count}: 0 to {count - 1}, -1 is the last.")
        *before, chosen = blocks[: range(count)[layer] + 1]
        with self._as_evaluated():
            for block in before:
                x = block(x, None, mask, keep=False).x
            return cast("RoutingAttention", chosen.mixer).members(chosen.before(x), mask)

    @contextmanager
    def _as_evaluated(self) -> Iterator[None]:
        """Neither dropout nor learning. `eval()` would take in what a training step has counted so far."""
        modes = [(one, one.training) for one in self.modules()]
        try:
            for one, _ in modes:
                one.training = False
            yield
        finally:
            for one, mode in modes:
                one.training = mode

    @property
    def _blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))
