"""bench nn-routing, the images: bits per dimension of photographs of 16 x 16 x 3 bytes, one byte after another.

The photographs are CIFAR-10's, halved in size by averaging; a row is 768 bytes, pixel by pixel, its colours in turn.
Local heads see a line or two above; routing heads whatever is alike. Each arm learns from the same rows, and in the
full run is to know more than counts of which byte follows which of its colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from foveal.bench.nn_routing_arms import routed_model
from foveal.bench.photographs import SIDE, photographs
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.evaluation.tables import Row
from foveal.nn.language_training import LanguageSize, next_bytes, window_nats
from foveal.training.examples import shuffled
from foveal.training.loop import LoopSettings


def pixels(path: Path, most: int) -> Tensor:
    """At most so many images of a tar, evenly spread over it: (n, 768) bytes."""
    return photographs(path, most)[0].flatten(1).long()


@dataclass(frozen=True, eq=False)
class Images:
    """Rows (768,) by number."""

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Tensor:
        return self.rows[number]


def counted_bits(learnt: Tensor, held: Tensor, *, apart: int = 3, weight: float = 20.0) -> float:
    """Bits per dimension of rows `held` (n, T) by counts: each byte by the one `apart` before it.

    Counts are of `learnt`; the bytes' own frequencies count as much as `weight` of them, and tell a row's first bytes.
    """
    alone = torch.bincount(learnt.flatten(), minlength=256).double() + 1
    alone /= alone.sum()
    pairs = torch.bincount((256 * learnt[:, :-apart] + learnt[:, apart:]).flatten(), minlength=256 * 256)
    pairs = pairs.double().view(256, 256) + weight * alone
    behind = (pairs / pairs.sum(1, keepdim=True)).log2()
    told = behind[held[:, :-apart], held[:, apart:]].sum() + alone.log2()[held[:, :apart]].sum()
    return -float(told) / held.numel()


def images(settings: BenchSettings) -> Iterator[Row]:
    """Routing, local heads alone, and full attention in the full run."""
    folder = settings.folder("cifar10-small", ["train.tar.gz", "test.tar.gz"])
    learnt = pixels(folder / "train.tar.gz", 400 if settings.quick else 4000)
    held = pixels(folder / "test.tar.gz", 64 if settings.quick else 256)
    mixer = {"window": 64, "clusters": 12, "local_window": 64}
    size = LanguageSize(layers=2 if settings.quick else 4, width=64, heads=4, window=64, mixer=mixer)
    steps, batch = (60, 8) if settings.quick else (400, 8)
    loop = LoopSettings(
        steps=steps, batch=batch, learning_rate=3e-3, warm_up=0.05, seed=settings.seed, evaluate_every=steps,
        checkpoint_every=max(1, steps // 4),
    )  # fmt: skip
    counted = counted_bits(learnt, held)
    yield Row.of(
        "images: counts of bytes behind bytes", "bits per dimension", counted, note="of one colour; no network"
    )
    bits: dict[str, float] = {}
    for name in ("local", "routing") if settings.quick else ("local", "routing", "random", "full"):
        model = routed_model(name, size, 256, settings.seed)
        trained(
            settings, "nn", f"images-{name}", model, Images(learnt), next_bytes,
            lambda epoch: shuffled(len(learnt), batch, settings.seed, epoch=epoch), loop,
            {"size": repr(size), "images": data_digest(learnt), "side": SIDE},
        )  # fmt: skip
        bits[name] = window_nats(model, held) / math.log(2)
        note = f"{steps * batch:,} images of {SIDE} x {SIDE} learnt from; 8 bits is nothing known"
        most = 7.5 if settings.quick else counted
        yield Row.of(f"images: {name}", "bits per dimension", bits[name], at_most=most, note=note)
    yield Row.of("images: routing / local", "bits per dimension", bits["routing"] / bits["local"], at_most=1.01)
