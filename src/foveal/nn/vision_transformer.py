"""A small vision transformer (Dosovitskiy et al., ICLR 2021): patches as tokens, norm before each branch.

    model = VisionTransformer(VisionSettings(side=16, patch=4))      # images (B, 3, H, W) -> logits (B, classes)

A layer is x + attn(norm1(x)), then x + mlp(norm2(x)); modules bear timm's names (blocks.0.norm1, …). The class is told
from the mean of the tokens. Gates come by gating.py, one for each of a layer's two branches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import head_width
from foveal.ranges import COUNT, require_settings


@dataclass(frozen=True, kw_only=True)
class VisionSettings:
    """The model's shape; `side` and `patch` are in pixels.

    Checked when made. InputError: patches that do not fill a side, or a value out of its range.
    """

    side: int = 32  # pixels of an image's edge
    patch: int = 4  # pixels of a patch's edge; divides the side
    dim: int = 64
    layers: int = 4
    heads: int = 4
    expansion: int = 4  # of the MLP
    classes: int = 10
    colours: int = 3

    def __post_init__(self) -> None:
        require_settings(
            "VisionTransformer", self, side=COUNT, patch=COUNT, dim=COUNT, layers=COUNT, heads=COUNT, expansion=COUNT,
            classes=COUNT, colours=COUNT,
        )  # fmt: skip
        head_width("VisionTransformer", self.dim, self.heads)
        if self.side % self.patch:
            raise InputError(f"VisionTransformer got side = {self.side}, patch = {self.patch}; patches fill the side.")


class Attention(nn.Module):
    """Every patch attends to all."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, dim) -> (B, T, dim)."""
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(y)
        return out


class Layer(nn.Module):
    """Attention and an MLP, each on a branch of its own."""

    def __init__(self, settings: VisionSettings) -> None:
        super().__init__()
        dim = settings.dim
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, settings.heads)
        self.norm2 = nn.LayerNorm(dim)
        inner = settings.expansion * dim
        self.mlp = nn.Sequential(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, dim) -> (B, T, dim)."""
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """Images (B, colours, side, side) -> logits (B, classes): patches, learnt places, layers, a norm, the mean, a map.

    A small ViT (Dosovitskiy et al., ICLR 2021).
    """

    def __init__(self, settings: VisionSettings | None = None) -> None:
        """Places are drawn with a deviation of 0.02, all else as PyTorch draws it."""
        super().__init__()
        self.settings = s = settings or VisionSettings()
        self.patch_embed = nn.Conv2d(s.colours, s.dim, s.patch, s.patch)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (s.side // s.patch) ** 2, s.dim))
        self.blocks = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm, self.head = nn.LayerNorm(s.dim), nn.Linear(s.dim, s.classes)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, colours, side, side) -> logits (B, classes)."""
        s = self.settings
        if images.dim() != 4 or images.shape[1:] != (s.colours, s.side, s.side):
            raise InputError(
                f"VisionTransformer got images of shape {tuple(images.shape)}; it needs (batch, {s.colours}, {s.side}, "
                f"{s.side})."
            )
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed
        for layer in self.blocks:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits
