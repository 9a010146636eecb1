"""Residual networks for small images, in the CIFAR form of He et al. (CVPR 2016): three stages, no pooling before.

    model = ResNet(ResNetSettings(depth=20))        # images (B, 3, H, W) -> logits (B, classes)

A block is x -> relu(s(x) + f(x)), f = conv, norm, relu, conv, norm (a bottleneck has three of them), s the identity or,
where the shape changes, a 1 x 1 convolution and a norm. Modules bear torchvision's names (layer1.0.conv1, …,
downsample), so that weights and tools that know those know these. Gates come by gating.py.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranges import COUNT, require_settings

EXPANSION = 4
"""Channels of a bottleneck's end over those of its middle."""


@dataclass(frozen=True, kw_only=True)
class ResNetSettings:
    """The network's shape.

    Checked when made. InputError: a depth that no whole number of blocks gives, or a value out of its range.
    """

    depth: int = 20  # 6 n + 2, of bottlenecks 9 n + 2; n blocks a stage
    widths: tuple[int, int, int] = (16, 32, 64)
    classes: int = 10
    colours: int = 3
    bottleneck: bool = False

    def __post_init__(self) -> None:
        require_settings("ResNet", self, depth=COUNT, widths=COUNT, classes=COUNT, colours=COUNT)
        layers = 9 if self.bottleneck else 6
        if self.depth < layers + 2 or (self.depth - 2) % layers:
            kind = " of bottlenecks" if self.bottleneck else ""
            raise InputError(f"ResNet got depth = {self.depth}; a network{kind} has {layers} n + 2 layers, n above 0.")

    @property
    def blocks(self) -> int:
        """Blocks a stage."""
        return (self.depth - 2) // (9 if self.bottleneck else 6)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, before, H, W) -> (B, width, H / stride, W / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions; four times as wide at its end as in its middle."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(EXPANSION * width)
        self.downsample = _projection(before, EXPANSION * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, before, H, W) -> (B, 4 width, H / stride, W / stride)."""
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Images (B, colours, H, W) -> logits (B, classes): a convolution, three stages, the mean over places, a map.

    The CIFAR form of He et al. (CVPR 2016).
    """

    def __init__(self, settings: ResNetSettings | None = None) -> None:
        """Convolutions are drawn as He et al. (ICCV 2015) say, from torch's generator; norms begin as the identity."""
        super().__init__()
        self.settings = s = settings or ResNetSettings()
        self.conv1 = nn.Conv2d(s.colours, s.widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(s.widths[0])
        before = s.widths[0]
        for number, width in enumerate(s.widths, 1):
            stage, before = _stage(s, before, width, stride=1 if number == 1 else 2)
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(before, s.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """images (B, colours, H, W), H and W at least 1 -> logits (B, classes)."""
        if images.dim() != 4 or images.shape[1] != self.settings.colours or 0 in images.shape:
            raise InputError(
                f"ResNet got images of shape {tuple(images.shape)}; it needs (batch, {self.settings.colours}, height, "
                "width), none of them 0."
            )
        x = F.relu(self.bn1(self.conv1(images)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _stage(settings: ResNetSettings, before: int, width: int, *, stride: int) -> tuple[nn.Sequential, int]:
    """The blocks of a stage, and the channels that leave it."""
    kind, after = (Bottleneck, EXPANSION * width) if settings.bottleneck else (BasicBlock, width)
    blocks = [
        kind(before if number == 0 else after, width, stride if number == 0 else 1) for number in range(settings.blocks)
    ]
    return nn.Sequential(OrderedDict((str(number), block) for number, block in enumerate(blocks))), after


def _projection(before: int, after: int, stride: int) -> nn.Sequential | None:
    if before == after and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
