"""bench nn, language: byte by byte on two novels, the same bytes, steps and numbers learnt for every mixer.

Where the novels are not in text/, its longest other texts stand in.

bits       bits per character of the second novel's end, window by window
stream     the same read as one stream, the state carried over; with updates off, where there are any
rare       nats per byte at words of the novel that stand once before, 64 to a window of bytes ago: what looking back
           by content is for
cloze      a word is left out whose only other places lie far back: which of ten words of the text stood there?

The arms are kept in the bench's cache by the hash of what made them, and gone on with after a stop.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.bench.read import text_of, texts_of
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.errors import InputError
from foveal.nn.language_models import StreamLM
from foveal.nn.language_training import (
    LanguageSize,
    config_of,
    encoded,
    made,
    next_bytes,
    stream_nats,
    window_nats,
    without_updates,
)
from foveal.training.loop import LoopSettings
from foveal.training.windows import Windows, batches_of

BOOKS = ("war_and_peace.txt", "moby_dick.txt")
LEAST_APART = 64
"""Bytes between a word and its only place before, at least."""
WORD = re.compile(rb"[A-Za-z]{5,}")


AS_LARGE = "mag"
"""The arm whose numbers all have; the others' MLPs are made wider or narrower."""


def count_of(model: torch.nn.Module) -> int:
    """Numbers that are learnt."""
    return sum(one.numel() for one in model.parameters())


def expansion_for(model: StreamLM, numbers: int) -> float:
    """The MLPs' inner width over dim at which a model of this one's config has about so many numbers."""
    config = model.config
    inner = round(config.expansion * config.hidden_size)
    more = (numbers - count_of(model)) / (3 * config.hidden_size * config.num_hidden_layers)  # of a unit of all MLPs
    expansion: float = max(1, inner + round(more)) / config.hidden_size
    return expansion


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is trained and measured. Nothing was tuned on what is held out."""

    size: LanguageSize = field(default_factory=lambda: LanguageSize(layers=3, width=96, heads=4, window=64))
    length: int = 1024
    steps: int = 250
    batch: int = 4
    rate: float = 3e-3
    held: int = 65_536  # last bytes of the second novel

    def loop(self, seed: int) -> LoopSettings:
        """The same for every arm."""
        return LoopSettings(
            steps=self.steps, batch=self.batch, learning_rate=self.rate, warm_up=0.05, weight_decay=1e-2, seed=seed,
            evaluate_every=self.steps, checkpoint_every=max(1, self.steps // 4),
        )  # fmt: skip


@dataclass(frozen=True)
class Novels:
    """The two books as bytes, and the arms that learn from them."""

    settings: BenchSettings
    scale: Scale

    @cached_property
    def data(self) -> bytes:
        """Both books."""
        return "\n\n".join(text_of(book) for book in texts_of(self.settings, BOOKS)).encode()

    @cached_property
    def tokens(self) -> Tensor:
        """(N,) bytes."""
        return torch.frombuffer(bytearray(self.data), dtype=torch.uint8)

    @property
    def held(self) -> Tensor:
        """What is only measured."""
        return self.tokens[-self.scale.held :].long()

    @property
    def learnt(self) -> Tensor:
        """The rest."""
        return self.tokens[: -self.scale.held]

    @property
    def bits(self) -> float:
        """Of a nat per byte, in bits per character."""
        return len(self.data) / len(self.data.decode()) / math.log(2)

    @cached_property
    def numbers(self) -> int:
        """Of the arm that all arms are as large as."""
        return count_of(made(config_of(AS_LARGE, self.scale.size), self.settings.seed))

    def arm(self, name: str, **mixer: Any) -> StreamLM:
        """A model by its name (`language_training.MODELS`), trained or found trained.

        Its MLPs are as wide as makes it as large as the others: a memory adds to what an arm can learn by heart.
        """
        size = LanguageSize(**{**asdict(self.scale.size), "mixer": {**self.scale.size.mixer, **mixer}})
        config = config_of(name, size)
        config.expansion = expansion_for(made(config, self.settings.seed), self.numbers)
        model = made(config, self.settings.seed)
        learnt: StreamLM = self.learn(name, model, f"{sorted(mixer.items())}, MLPs times {config.expansion:g}")
        return learnt

    def at(self, times: float) -> Novels:
        """The same books, learnt from at so many times the rate."""
        return replace(self, scale=replace(self.scale, rate=times * self.scale.rate))

    def learn(self, name: str, model: Any, told: str) -> Any:
        """Train a model on the books; `told` says what of its mixers its name and the scale do not."""
        rows = Windows(self.learnt, self.scale.length, self.settings.seed)
        scale = {key: value for key, value in asdict(self.scale).items() if key != "steps"}
        trained(
            self.settings, "nn", f"language-{name}", model, rows, next_bytes,
            batches_of(rows, self.scale.batch, self.settings.seed), self.scale.loop(self.settings.seed),
            {"scale": repr(sorted(scale.items(), key=str)), "mixer": told, "bytes": data_digest(self.learnt)},
        )  # fmt: skip
        return model

    # -- what is measured ----------------------------------------------------------------------------------------

    def windows(self) -> Tensor:
        """The held-out end, (n, length)."""
        length = self.scale.length
        return self.held[: len(self.held) // length * length].view(-1, length)

    def window_bits(self, model: Any) -> float:
        """Bits per character, window by window."""
        return self.bits * window_nats(model, self.windows())

    def stream_bits(self, model: StreamLM) -> float:
        """Bits per character, as one stream."""
        return self.bits * stream_nats(model, self.held[: 16 * self.scale.length], self.scale.length)

    @cached_property
    def rare(self) -> Tensor:
        """(n, length) bool: bytes of words that stand once before in the window, at least `LEAST_APART` bytes ago."""
        found = torch.zeros(self.windows().shape, dtype=torch.bool)
        for row, window in enumerate(self.windows()):
            last: dict[bytes, list[int]] = {}
            for match in WORD.finditer(bytes(window.tolist())):
                before = last.setdefault(match.group(), [])
                if len(before) == 1 and match.start() - before[0] > LEAST_APART:
                    found[row, match.start() + 2 : match.end()] = True  # two letters say which word it may be
                before.append(match.start())
        return found

    @torch.no_grad()
    def rare_nats(self, model: Any) -> float:
        """Nats per byte at `rare` bytes."""
        total, count = 0.0, 0
        for some, where in zip(torch.split(self.windows(), 8), torch.split(self.rare, 8), strict=True):
            logits = model(some).logits[:, :-1].float()
            nats = F.cross_entropy(logits.flatten(0, 1), some[:, 1:].flatten(), reduction="none").view(len(some), -1)
            total += float(nats[where[:, 1:]].sum())
            count += int(where[:, 1:].sum())
        return total / max(1, count)


# -- cloze -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloze:
    """A text up to a word that is left out, and ten words, the right one first."""

    context: bytes
    words: tuple[bytes, ...]


def clozes(data: bytes, count: int, length: int, seed: int) -> list[Cloze]:
    """Names (words with a capital in mid-sentence) that stand in the context, but not in its last 64 bytes."""
    draw = np.random.default_rng([seed, 7])
    found: list[Cloze] = []
    names = [match for match in re.finditer(rb"(?<=[a-z,;] )[A-Z][a-z]{3,}", data) if match.start() > length]
    for place in draw.permutation(len(names)):
        match = names[int(place)]
        context = data[match.start() - length : match.start()]
        others = [word for word in Counter(re.findall(rb"[A-Z][a-z]{3,}", context)) if word != match.group()]
        if match.group() in context[:-LEAST_APART] and match.group() not in context[-LEAST_APART:] and len(others) >= 9:
            chosen = [others[int(one)] for one in draw.permutation(len(others))[:9]]
            found.append(Cloze(context, (match.group(), *chosen)))
        if len(found) == count:
            break
    return found


@torch.no_grad()
def cloze_share(model: StreamLM, asked: list[Cloze]) -> float:
    """The share of texts after which the right word is the likeliest, per byte."""
    if not asked:
        raise InputError("The held-out text has no name that stands far back; hold out more of it.")
    return sum(_told(model, one) for one in asked) / len(asked)


def _told(model: StreamLM, one: Cloze) -> bool:
    output = model(encoded(one.context.decode("utf-8", "replace")), keep_state=True)
    first = output.logits[0, -1].float().log_softmax(-1)
    size = max(map(len, one.words))
    rows = torch.zeros(len(one.words), size, dtype=torch.int64)
    real = torch.zeros(len(one.words), size, dtype=torch.bool)
    for row, word in enumerate(one.words):
        rows[row, : len(word)], real[row, : len(word)] = torch.tensor(list(word)), True
    state = output.state.rows(torch.zeros(len(rows), dtype=torch.int64))
    logits = model(rows, state=state, attention_mask=real.long()).logits.float().log_softmax(-1)
    told = torch.cat([first[rows[:, :1]], logits[:, :-1].gather(-1, rows[:, 1:, None])[..., 0]], 1)
    return int((told * real).sum(1).div(real.sum(1)).argmax()) == 0


def measured(arms: Novels, model: StreamLM) -> Mapping[str, float]:
    """Both likelihoods, with updates and without."""
    told = {"": arms.window_bits(model), ", as a stream": arms.stream_bits(model)}
    with without_updates(model) as has_any:
        if has_any:
            told |= {", updates off": arms.window_bits(model), ", as a stream, updates off": arms.stream_bits(model)}
    return told
