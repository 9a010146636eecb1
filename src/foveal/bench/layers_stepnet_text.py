"""bench layers-stepnet, the text: a BERT of four layers learns Reuters-8 with gates on its branches and without.

The gates are put into transformers' own model; their means leave out padding, which must change no output.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.evaluation.files import csv_rows, present
from foveal.evaluation.tables import Row
from foveal.nn.gating import attach
from foveal.training.examples import shuffled
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision

KINDS: dict[str, tuple[str, dict[str, Any]] | None] = {
    "none": None,
    "SE": ("se", {}),
    "StepNet pair": ("step", {}),
}
WORDS, LENGTH, BATCH = 8000, 48, 32
UNKNOWN, BEGINS = 1, 2
RATE = 2e-3
EXACT = 1e-5


@dataclass(frozen=True, eq=False)
class Texts:
    """Rows by number: ids (LENGTH,), the first BEGINS, 0 where the text has ended, and the class."""

    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"ids": self.ids[number], "labels": self.labels[number]}


def together(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows side by side, as long as the longest."""
    batch = {name: torch.stack([one[name] for one in rows]) for name in rows[0]}
    longest = max(1, int((batch["ids"] != 0).sum(1).max()))
    return {**batch, "ids": batch["ids"][:, :longest]}


def rows_of(path: Path) -> list[tuple[str, list[str]]]:
    """Class and words of each line."""
    return [(row["label"], row["text"].split()) for _, row in csv_rows(path, ("label", "text"))]


def read(folder: Path) -> tuple[Texts, Texts]:
    """What is learnt from and what is held out, in the most frequent words of the first."""
    learnt, held = (rows_of(present(folder, f"{name}.csv")) for name in ("train", "test"))
    counts = Counter(word for _, words in learnt for word in words)
    ids = {word: BEGINS + 1 + place for place, (word, _) in enumerate(counts.most_common(WORDS))}
    classes = sorted({label for label, _ in learnt})

    def texts(rows: list[tuple[str, list[str]]]) -> Texts:
        made = torch.zeros(len(rows), LENGTH, dtype=torch.long)
        for row, (_, words) in zip(made, rows, strict=True):
            told = [BEGINS, *(ids.get(word, UNKNOWN) for word in words)][:LENGTH]
            row[: len(told)] = torch.tensor(told)
        return Texts(made, torch.tensor([classes.index(label) for label, _ in rows]))

    return texts(learnt), texts(held)


def model_of(kind: str, classes: int, seed: int) -> Any:
    """A BERT that begins the same for each kind."""
    import transformers

    config = transformers.BertConfig(  # type: ignore[call-arg]
        vocab_size=BEGINS + 1 + WORDS, hidden_size=64, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=2 * LENGTH, num_labels=classes,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    config._attn_implementation = "eager"  # the fused one is slow on processors where heads are narrow
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = transformers.BertForSequenceClassification(config)
        gate = KINDS[kind]
        if gate is not None:
            attach(model, gate[0], **gate[1])
    return model


def logits_of(model: Any, ids: Tensor) -> Tensor:
    """(B, classes)."""
    logits: Tensor = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
    return logits


def text_loss(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The cross entropy."""
    return F.cross_entropy(logits_of(model, batch["ids"]).float(), batch["labels"])


def texts(settings: BenchSettings) -> Iterator[Row]:
    """Accuracy of each kind, and what padding changes."""
    folder = settings.folder("classification/r8", ["train.csv", "test.csv"])
    learnt, held = read(folder)
    classes = int(learnt.labels.max()) + 1
    epochs, seeds = (1, 1) if settings.quick else (3, 3)
    found: dict[str, list[float]] = {}
    for kind in KINDS:
        for seed in range(seeds):
            model = _learned(settings, kind, classes, seed, learnt, epochs)
            found.setdefault(kind, []).append(_accuracy(model, held))
        note = f"seeds: {seeds}, epochs: {epochs}"
        if seeds > 1:
            note += f", sd {stdev(found[kind]):.4f}"
        yield Row.of(f"Reuters-8: {kind}", "accuracy", fmean(found[kind]), note=note)
        yield Row.of(
            f"Reuters-8: {kind}, padded to twice the length", "largest change of a logit", _padding(model, held),
            at_most=EXACT,
        )  # fmt: skip
    gain = fmean(a - b for a, b in zip(found["StepNet pair"], found["none"], strict=True))
    yield Row.of("Reuters-8: StepNet pair - none", "accuracy", gain)


def _learned(settings: BenchSettings, kind: str, classes: int, seed: int, learnt: Texts, epochs: int) -> Any:
    steps = epochs * math.ceil(len(learnt) / BATCH)
    loop = LoopSettings(
        steps=steps, batch=BATCH, learning_rate=RATE, seed=seed, evaluate_every=steps, checkpoint_every=steps,
        bfloat16=mixed_precision(),
    )  # fmt: skip
    model = model_of(kind, classes, seed)
    told = {"kind": kind, "words": WORDS, "length": LENGTH, "rows": data_digest(learnt.ids, learnt.labels)}
    trained(
        settings, "layers", f"stepnet-r8-{'-'.join(kind.replace(',', '').split()).lower()}-{seed}", model, learnt,
        text_loss, lambda epoch: shuffled(len(learnt), BATCH, seed, epoch=epoch), loop, told, together=together,
    )  # fmt: skip
    return model


@torch.no_grad()
def _accuracy(model: Any, held: Texts, batch: int = 256) -> float:
    right = 0
    for at in range(0, len(held), batch):
        some = slice(at, at + batch)
        right += int((logits_of(model, held.ids[some]).argmax(-1) == held.labels[some]).sum())
    return right / len(held)


@torch.no_grad()
def _padding(model: Any, held: Texts, count: int = 64) -> float:
    ids = held.ids[:count]
    longer = F.pad(ids, (0, LENGTH))
    return float((logits_of(model, ids) - logits_of(model, longer)).abs().max())
