"""bench nn-routing, encoder: which of four long texts an excerpt of 1,024 bytes is from, read both ways.

Excerpts of the first nine tenths of two novels, Shakespeare's plays and Wikipedia are learnt from, of the last tenth
asked. Arms: routing and local heads, local heads alone, full attention; equal width, layers, steps and bytes. Beside
them letters alone (a linear model of byte counts, of the same excerpts), which is how much of it needs no order at all.
What the last layer's clusters took of the excerpts is told letter by letter.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.bench.nn_tasks import together
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import trained
from foveal.evaluation.tables import Row
from foveal.nn.causal_attention import positions
from foveal.nn.routing import RoutingSettings
from foveal.nn.routing_encoder import RoutingEncoder
from foveal.training.loop import LoopSettings

TEXTS = ("moby_dick", "war_and_peace", "tinyshakespeare", "wikitext2_valid")
LENGTH, ASKED = 1_024, 400
NEAR, QUICK_NEAR = 0.02, 0.1
"""How far routing may lie below full attention; more in the quick run, whose arms have hardly learnt."""
LAYERS, BATCH = 2, 16

SHAPE = {"dim": 64, "heads": 4, "clusters": 8, "window": 64, "local_window": 32, "causal": False, "selection": "topk"}
ARMS: dict[str, dict[str, Any]] = {
    "routing": {"routing_heads": 2},
    "local heads alone": {"routing_heads": 0},
    "full attention": {"routing_heads": 0, "local_window": LENGTH},
}


@dataclass(frozen=True, eq=False)
class Excerpts:
    """Rows by number: bytes of one of the texts, and which."""

    texts: tuple[Tensor, ...]
    seed: int

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        draw = np.random.default_rng([self.seed, number])
        which = int(draw.integers(len(self.texts)))
        at = int(draw.integers(len(self.texts[which]) - LENGTH))
        return {"bytes": self.texts[which][at : at + LENGTH].long(), "text": torch.tensor(which)}


class Told(nn.Module):
    """Bytes to the text that they are from."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        settings = RoutingSettings(**{**SHAPE, **options})
        self.embedding = nn.Embedding(256, settings.dim)
        self.encoder = RoutingEncoder(settings, layers=LAYERS)
        self.head = nn.Linear(settings.dim, len(TEXTS))
        self.register_buffer("places", positions(LENGTH, settings.dim), persistent=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) -> logits (B, texts), the commitment loss."""
        summary, loss = self.encoder.summary(self.embedding(ids) + self.places)
        return self.head(summary), loss


def told_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The cross entropy, and what draws queries to centroids."""
    logits, commitment = model(batch["bytes"])
    loss: Tensor = F.cross_entropy(logits, batch["text"]) + commitment
    return loss


def encoder(settings: BenchSettings) -> Iterator[Row]:
    """The rows."""
    whole = [_read(settings, name) for name in TEXTS]
    learnt = Excerpts(tuple(one[: len(one) * 9 // 10] for one in whole), settings.seed)
    asked = Excerpts(tuple(one[len(one) * 9 // 10 :] for one in whole), settings.seed + 1)
    steps, near = (60, QUICK_NEAR) if settings.quick else (400, NEAR)
    loop = LoopSettings(
        steps=steps, batch=BATCH, learning_rate=2e-3, warm_up=0.05, seed=settings.seed, evaluate_every=steps,
        checkpoint_every=100,
    )  # fmt: skip
    found = {"letters alone": _letters(learnt, asked, steps * BATCH)}
    texts = _digest(learnt)
    models: dict[str, Any] = {}
    for name, options in ARMS.items():
        torch.manual_seed(settings.seed)
        models[name] = model = Told(**options)
        plan = _plan(BATCH)
        told = {"arm": name, "shape": SHAPE | options, "layers": LAYERS, "length": LENGTH, "texts": texts}
        arm = f"encoder-{name.replace(' ', '-')}"
        trained(settings, "nn", arm, model, learnt, told_loss, plan, loop, told, together=together)
        found[name] = _right(model, asked)
    for name, value in found.items():
        yield Row.of(f"encoder, {name}", "accuracy", value, note=f"{ASKED} excerpts of {LENGTH:,} bytes, 4 texts")
    below = found["routing"] - found["full attention"]
    yield Row.of("encoder, routing less full attention", "accuracy", below, at_least=-near, note=f"{steps} steps")
    ahead, least = found["routing"] - found["local heads alone"], -near if settings.quick else 0.0
    yield Row.of("encoder, routing less local heads alone", "accuracy", ahead, at_least=least, note="what routing adds")
    yield from took(models["routing"], asked)


@torch.no_grad()
def took(model: Any, asked: Excerpts, count: int = 16) -> Iterator[Row]:
    """A row for each cluster of the last layer's first head: its share of what clusters took, and of which letters."""
    ids = torch.stack([asked[number]["bytes"] for number in range(count)])
    read = model.encoder.read_together(model.embedding(ids) + model.places).read[:, 0]  # (B, clusters, T)
    often = Counter(ids.flatten().tolist())
    for cluster in range(read.shape[1]):
        own = Counter(ids[read[:, cluster]].tolist())
        least = max(1, own.total() // 50)  # what comes seldom says little
        more = sorted((byte for byte in own if own[byte] >= least), key=lambda byte: -own[byte] / often[byte])
        letters = " ".join(repr(chr(byte)) if byte < 128 else f"byte {byte}" for byte in more[:6])
        share = own.total() / max(1, int(read.sum()))
        yield Row.of(f"encoder, cluster {cluster + 1}", "share of what was taken", share, note=f"above all {letters}")


def _read(settings: BenchSettings, name: str) -> Tensor:
    return torch.frombuffer(bytearray(settings.text("text", f"{name}.txt").encode()), dtype=torch.uint8)


def _digest(rows: Excerpts) -> str:
    """A hash of the texts: other ones are other arms."""
    found = hashlib.sha256()
    for one in rows.texts:
        found.update(hashlib.sha256(one.numpy().tobytes()).digest())
    return found.hexdigest()[:16]


def _plan(batch: int) -> Any:
    return lambda epoch: [
        list(range(at, at + batch)) for at in range(epoch * 100 * batch, (epoch + 1) * 100 * batch, batch)
    ]


@torch.no_grad()
def _right(model: Any, asked: Excerpts) -> float:
    right = 0
    for at in range(0, ASKED, 16):
        rows = [asked[number] for number in range(at, min(at + 16, ASKED))]
        logits, _ = model(torch.stack([row["bytes"] for row in rows]))
        right += int((logits.argmax(-1) == torch.stack([row["text"] for row in rows])).sum())
    return right / ASKED


def _letters(learnt: Excerpts, asked: Excerpts, count: int) -> float:
    """A linear model of how often each byte stands in the first `count` excerpts, which are those that arms see.

    By Newton's method of ridge regression.
    """

    def counted(rows: Excerpts, count: int) -> tuple[Tensor, Tensor]:
        made = [rows[number] for number in range(count)]
        counts = torch.stack([torch.bincount(row["bytes"], minlength=256) for row in made]).double() / LENGTH
        return torch.cat([counts.sqrt(), torch.ones(count, 1)], 1), torch.stack([row["text"] for row in made])

    x, y = counted(learnt, count)
    weights = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]), x.T @ F.one_hot(y, len(TEXTS)).double())
    held, wanted = counted(asked, ASKED)
    return float(((held @ weights).argmax(1) == wanted).double().mean())
