"""A long-text encoder of routing attention: every token may look both ways, nearby and within its cluster.

    encoder = RoutingEncoder(RoutingSettings(dim=64, causal=False, selection="topk"), layers=3)
    y, loss = encoder(x, mask)               # x (B, T, dim); the loss draws queries to their centroids
    encoder.read_together(x)                 # the clusters of each token: what was read together

Clusters take their nearest tokens of the whole text (`selection="topk"`, the paper's rule), which no language model may
do and an encoder should: a token is seen for what it says, before or behind.

Shapes    x (B, T, dim) -> (B, T, dim); mask (B, T), True where a token counts
Source    Roy, Saffar, Vaswani and Grangier, TACL 2021 (arXiv 2003.05997), section 4.1 and the encoder of its appendix
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.norms import RMSNorm
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.nn.stack import Block

__all__ = ["EncodedText", "RoutingEncoder"]


class EncodedText(NamedTuple):
    """What an encoder gives."""

    output: Tensor
    loss: Tensor


class RoutingEncoder(nn.Module):
    """A stack of blocks whose tokens look both ways."""

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
        """x (B, T, dim) -> (B, T, dim), and the sum of the layers' commitment losses (a number)."""
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
        return EncodedText(made.masked_fill(~mask[..., None], 0).sum(1) / counts.to(made.dtype), loss)

    @torch.no_grad()
    def read_together(self, x: Tensor, *, layer: int = -1) -> Tensor:
        """The cluster of each token in each routing head of a layer, (B, H, T). InputError: no routing heads."""
        blocks = self._blocks
        for block in blocks[: range(len(blocks))[layer]]:
            x = block(x, None, None, keep=False).x
        chosen = blocks[layer]
        return cast("RoutingAttention", chosen.mixer).assignments(chosen.before(x))

    @property
    def _blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))
