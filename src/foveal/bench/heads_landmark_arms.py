"""bench heads-landmark, the arms: what is trained, kept by the hash of what made it, and gone on with after a stop.

novels       landmark attention, full attention, and a Transformer-XL (Dai et al., ACL 2019) of the same decoder: the
             same tokens a step, steps, seed and schedule. The Transformer-XL attends to the segment before, which is
             kept without a gradient; its positions are rotary, which is not its own form

The arm of records stands in heads_landmark_questions.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.attention.attach import Context, attach
from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings
from foveal.attention.landmark_training import (
    DecoderSize,
    WindowLoss,
    Windows,
    own_decoder,
    own_tokenizer,
)
from foveal.attention.unrotated import Rotations
from foveal.bench.read import text_of
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.training.loop import Curves, LoopSettings
from foveal.training.precision import mixed_precision
from foveal.training.windows import batches_of

BOOKS = ("war_and_peace.txt", "moby_dick.txt")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is trained. Nothing was tuned."""

    landmarks: LandmarkSettings = field(default_factory=lambda: LandmarkSettings(block=16, train_length=256))
    size: DecoderSize = field(default_factory=lambda: DecoderSize(layers=4, width=192, heads=4, vocabulary=1024))
    steps: int = 1400
    windows: int = 8  # of a step; a Transformer-XL has twice as many segments of half the length
    rate: float = 2e-3
    held: int = 16_384 + 1  # last tokens of the second book, which are only measured

    def loop(self, steps: int, batch: int, rate: float, seed: int) -> LoopSettings:
        """The same for every arm of a kind."""
        return loop_of(steps, batch, rate, seed)


def loop_of(steps: int, batch: int, rate: float, seed: int) -> LoopSettings:
    """How an arm of this bench is trained."""
    return LoopSettings(
        steps=steps, batch=batch, learning_rate=rate, warm_up=0.03, weight_decay=1e-2, seed=seed,
        bfloat16=mixed_precision(), evaluate_every=steps, checkpoint_every=max(1, steps // 10),
    )  # fmt: skip


QUICK = Scale(size=DecoderSize(layers=2, width=128, heads=4, vocabulary=512), steps=120, held=4096 + 1)


class FullAttention(nn.Module):
    """A decoder as it is."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base = base

    def loss(self, ids: Tensor) -> Tensor:
        """Of windows (B, T), all at once."""
        told: Tensor = self.base(input_ids=ids, labels=ids, use_cache=False).loss
        return told

    @torch.no_grad()
    def logprobs(self, ids: Tensor) -> Tensor:
        """(B, T - 1), all at once."""
        logits = self.base(input_ids=ids, use_cache=False).logits[:, :-1].float()
        told: Tensor = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return told


class TransformerXL(nn.Module):
    """A decoder that reads segments of `segment` tokens, each with the keys and values of the one before."""

    def __init__(self, base: Any, segment: int) -> None:
        super().__init__()
        self.rotations, self.base, self.segment = Rotations.take(base), base, segment
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * base.config.num_hidden_layers

    def forget(self) -> None:
        """Begin new texts."""
        self.kept = [None] * len(self.kept)

    def logits(self, ids: Tensor) -> Tensor:
        """Of the next segment (B, T), which is then kept."""
        with attach(self.base, _Segments(self)):
            states = self.base.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits: Tensor = self.base.get_output_embeddings()(states)
        return logits

    def loss(self, ids: Tensor) -> Tensor:
        """Of the next segments (B, segment + 1)."""
        logits = self.logits(ids[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    @torch.no_grad()
    def logprobs(self, ids: Tensor) -> Tensor:
        """(B, T - 1), segment by segment from the beginning."""
        self.forget()
        found = []
        for at in range(0, ids.shape[1] - 1, self.segment):
            some = ids[:, at : at + self.segment + 1]
            logits = self.logits(some[:, :-1]).float().log_softmax(-1)
            found.append(logits.gather(-1, some[:, 1:, None])[..., 0])
        self.forget()
        return torch.cat(found, 1)


class _Segments:
    def __init__(self, model: TransformerXL) -> None:
        self.model = model

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        before = self.model.kept[context.layer]
        self.model.kept[context.layer] = key.detach(), value.detach()
        if before is not None and len(before[0]) == len(key):
            key, value = (torch.cat([old, new], 2) for old, new in zip(before, (key, value), strict=True))
        count, queries = key.shape[2], query.shape[2]
        places = torch.arange(count)
        q = self.model.rotations.turned(query, places[-queries:], context.layer).to(value.dtype)
        k = self.model.rotations.turned(key, places, context.layer).to(value.dtype)
        seen = places <= places[-queries:, None]
        return F.scaled_dot_product_attention(q, k, value, attn_mask=seen, scale=context.scale)

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments (segment + 1,) of a text that is cut into as many lanes as a batch has rows, one after another."""

    tokens: Tensor
    segment: int
    lanes: int

    def __len__(self) -> int:
        return self.lanes * self.steps

    @property
    def steps(self) -> int:
        """Segments of a lane."""
        return (len(self.tokens) - 1) // (self.lanes * self.segment)

    def __getitem__(self, number: int) -> Tensor:
        lane, step = number % self.lanes, number // self.lanes % self.steps
        at = (lane * self.steps + step) * self.segment
        return self.tokens[at : at + self.segment + 1].long()

    def plan(self, epoch: int) -> list[list[int]]:
        """All lanes side by side, in the order of the text."""
        del epoch
        return [list(range(step * self.lanes, (step + 1) * self.lanes)) for step in range(self.steps)]


@dataclass(frozen=True)
class Novels:
    """The two books as tokens, and the arms that learn from them."""

    settings: BenchSettings
    scale: Scale

    @cached_property
    def tokens(self) -> Tensor:
        """Of both books, by byte pairs learned from them."""
        folder = self.settings.folder("text", BOOKS)
        texts = [text_of(folder / book) for book in BOOKS]
        tokenizer = own_tokenizer(texts, self.scale.size.vocabulary)
        return torch.tensor(tokenizer.backend_tokenizer.encode("\n\n".join(texts)).ids, dtype=torch.int32)

    @property
    def held(self) -> Tensor:
        """What is only measured."""
        return self.tokens[-self.scale.held :].long()

    @property
    def learnt(self) -> Tensor:
        """The rest."""
        return self.tokens[: -self.scale.held]

    def _base(self) -> Any:
        return own_decoder(
            self.scale.size, self.scale.size.vocabulary, self.settings.seed, positions=self.scale.landmarks.train_length
        )

    @cached_property
    def landmark(self) -> LandmarkModel:
        """Trained with landmarks."""
        scale, seed = self.scale, self.settings.seed
        model = LandmarkModel(self._base(), scale.landmarks)
        rows = Windows(self.learnt, scale.landmarks.window_tokens, seed)
        self._train("landmark", model, rows, WindowLoss(model), batches_of(rows, scale.windows, seed), scale.windows)
        return model

    @cached_property
    def full(self) -> FullAttention:
        """Trained with full attention, on windows of the same number of positions: more tokens, by the landmarks."""
        scale, seed = self.scale, self.settings.seed
        model = FullAttention(self._base())
        rows = Windows(self.learnt, scale.landmarks.train_length, seed)
        self._train("full", model, rows, own_loss, batches_of(rows, scale.windows, seed), scale.windows)
        return model

    @cached_property
    def xl(self) -> TransformerXL:
        """Trained with the segment before: as many positions as the others."""
        scale = self.scale
        model = TransformerXL(self._base(), scale.landmarks.train_length // 2)
        rows = Segments(self.learnt, model.segment, 2 * scale.windows)
        self._train("xl", model, rows, own_loss, rows.plan, 2 * scale.windows)
        model.forget()
        return model

    def _train(self, name: str, model: nn.Module, rows: Any, loss: Any, plan: Any, batch: int) -> Curves:
        loop = self.scale.loop(self.scale.steps, batch, self.scale.rate, self.settings.seed)
        told = {"size": asdict(self.scale.size), "landmarks": asdict(self.scale.landmarks), "held": self.scale.held}
        return trained(
            self.settings, "landmark", name, model, rows, loss, plan, loop, {**told, "tokens": data_digest(self.learnt)}
        )


def own_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """What a peer says of a batch."""
    loss: Tensor = model.loss(batch["ids"])  # type: ignore[operator]
    return loss
