"""bench layers-stepnet, the images: ResNets for photographs of 16 x 16, with each gate and without, trained here.

Every arm of a seed begins with the same weights but for its gate's, sees the same batches, and is judged by its last
weights. Arms are kept in the bench's cache by the hash of what made them: a run that was stopped goes on.
"""

from __future__ import annotations

import math
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.bench.known_sets import is_set
from foveal.bench.photographs import SIDE, photographs
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.nn.gating import attach
from foveal.nn.resnet import ResNet, ResNetSettings
from foveal.training.examples import shuffled
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision

SET = "CIFAR-10, 10,000 of it"
"""The photographs that accuracies are specified for, as known_sets.py calls them."""

KINDS: dict[str, tuple[str, dict[str, Any]] | None] = {
    "none": None,
    "constant": ("constant", {}),
    "SE": ("se", {}),
    "ECA": ("eca", {}),
    "CBAM": ("cbam", {}),
    "SRM": ("srm", {}),
    "StepNet pair": ("step", {}),
    "StepNet diff": ("step", {"level": "diff"}),
}
"""What is on every branch. Reductions are 4, as these networks are narrow."""

PARTS = ("train.tar.gz", "test.tar.gz")
TESTED = 2000
"""Photographs to test with, at most."""
PADDED, RATE, MOMENTUM, DECAY = 2, 0.1, 0.9, 5e-4


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is trained."""

    learnt: int  # photographs to learn from, of at most 8,000
    epochs: int
    depth: int
    depths: tuple[int, ...]
    batch: int = 64
    seeds: int = 5  # of the main table
    few: int = 3  # of the other ones


@dataclass(frozen=True, eq=False)
class Photographs:
    """Rows by number: images (3, SIDE, SIDE) of bytes, and their classes."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"images": self.images[number], "labels": self.labels[number]}


def read(path: Path, most: int) -> Photographs:
    """The photographs of a tar."""
    pixels, names = photographs(path, most)
    classes = sorted(set(names))
    labels = torch.tensor([classes.index(name) for name in names])
    return Photographs(pixels.permute(0, 3, 1, 2).contiguous(), labels)


def sizes_of(path: Path) -> tuple[int, int]:
    """How many photographs a tar holds, and their bytes."""
    with tarfile.open(path) as tar:
        sizes = [one.size for one in tar.getmembers() if one.name.endswith(".jpg")]
    return len(sizes), sum(sizes)


def together(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows side by side."""
    return {name: torch.stack([one[name] for one in rows]) for name in rows[0]}


def varied(images: Tensor) -> Tensor:
    """Each image (B, 3, S, S) moved by up to two pixels, what comes in black, and half of them mirrored."""
    batch, colours, side, _ = images.shape
    padded = F.pad(images, (PADDED,) * 4)
    moved = torch.randint(2 * PADDED + 1, (batch, 2), device=images.device)
    steps = torch.arange(side, device=images.device)
    rows, columns = moved[:, :1] + steps, moved[:, 1:] + steps
    mirrored = torch.rand(batch, 1, device=images.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(batch, device=images.device)[:, None, None, None]
    colour = torch.arange(colours, device=images.device)[None, :, None, None]
    return padded[image, colour, rows[:, None, :, None], columns[:, None, None, :]]


def as_seen(images: Tensor) -> Tensor:
    """Bytes as a network takes them; the channels lie together, as convolutions in bfloat16 are fast then."""
    return ((images.float() / 255 - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)


def image_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The cross entropy of a varied batch."""
    return F.cross_entropy(model(as_seen(varied(batch["images"]))).float(), batch["labels"])


def descent(model: nn.Module) -> torch.optim.Optimizer:
    """Gradient descent with momentum; the loop raises the rate from 0 and lets it fall again."""
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)


def network(kind: str, depth: int, seed: int, placement: str | Sequence[str] = "all") -> nn.Module:
    """A ResNet with gates of the kind; its own weights are the seed's whatever the gates."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = ResNet(ResNetSettings(depth=depth))
        gate = KINDS[kind]
        if gate is not None:
            attach(model, gate[0], placement=placement, **gate[1])
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class Arms:
    """Networks, trained when they are first asked for."""

    def __init__(self, settings: BenchSettings, scale: Scale) -> None:
        folder = settings.folder("cifar10-small", PARTS)
        self.settings, self.scale = settings, scale
        self.known = is_set(SET, *(size for name in PARTS for size in sizes_of(folder / name)))
        self.learnt, self.held = (
            read(folder / name, most) for name, most in zip(PARTS, (scale.learnt, TESTED), strict=True)
        )

    @cached_property
    def steps(self) -> int:
        """Of a whole training."""
        return self.scale.epochs * math.ceil(len(self.learnt) / self.scale.batch)

    @cached_property
    def digest(self) -> str:
        """Of what is learnt from: as many photographs of another folder make other arms."""
        return data_digest(self.learnt.images, self.learnt.labels)

    def arm(self, kind: str, seed: int, *, depth: int | None = None, placement: Sequence[str] = ()) -> nn.Module:
        """The network in eval mode; with `placement` gates on those blocks only."""
        depth = depth or self.scale.depth
        model = network(kind, depth, seed, placement or "all")
        loop = LoopSettings(
            steps=self.steps, batch=self.scale.batch, learning_rate=RATE, warm_up=0.3, seed=seed,
            evaluate_every=self.steps, checkpoint_every=max(1, self.steps // 2), bfloat16=mixed_precision(),
        )  # fmt: skip
        told = {
            "kind": kind, "depth": depth, "images": self.digest, "side": SIDE, "placement": list(placement),
            "descent": [RATE, MOMENTUM, DECAY],
        }  # fmt: skip
        trained(
            self.settings, "layers", f"stepnet-{kind.replace(' ', '-').lower()}-{depth}-{seed}", model, self.learnt,
            image_loss, lambda epoch: shuffled(len(self.learnt), self.scale.batch, seed, epoch=epoch), loop, told,
            together=together, optimizer=descent,
        )  # fmt: skip
        return model

    def accuracy(self, model: nn.Module) -> float:
        """The share of held-out photographs that are told right."""
        return float((self.logits(model, self.held).argmax(-1) == self.held.labels).float().mean())

    def nats(self, model: nn.Module) -> float:
        """The mean cross entropy of what was learnt from: how far the training came."""
        return float(F.cross_entropy(self.logits(model, self.learnt), self.learnt.labels))

    @torch.no_grad()
    def logits(self, model: nn.Module, rows: Photographs, batch: int = 500) -> Tensor:
        """(n, classes), in mixed precision."""
        given = []
        for at in range(0, len(rows), batch):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed_precision()):
                given.append(model(as_seen(rows.images[at : at + batch])).float())
        return torch.cat(given)

    def batches(self, rows: Photographs, count: int = 500, batch: int = 250) -> list[Tensor]:
        """Photographs as a network takes them, evenly spread, for stiffness."""
        chosen = rows.images[:: max(1, len(rows) // count)][:count]
        return [as_seen(one) for one in chosen.split(batch)]  # type: ignore[no-untyped-call]
