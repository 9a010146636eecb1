"""bench nn, the tasks: made texts whose answers tell a memory from a window, and the models that learn them.

recall    n pairs of a key and its value, then the keys again at drawn even places, other tokens 0 (multi-query
          associative recall, of the Zoology benchmark): the value is to be told at its key
needles   bytes of a novel, in which sentences say " The key of X is ddd." and ask " The key of X is" again later; the
          three digits are to be told. In training several are told and asked; in the test one, at a known depth
motifs    letters A, C, G, T with one of two motifs early and one of two late; at the end, whether they are of a kind
          (in training also which kind either is: of the last answer alone no arm learnt what it is made of)

A row is {"ids" (T,), "targets" (T,)}: targets[t] is what is to be told at token t, -100 where nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.nn.language_training import encoded
from foveal.nn.next_tokens import IGNORED
from foveal.training.loop import LoopSettings

Row_ = dict[str, Tensor]


@dataclass(frozen=True)
class Recall:
    """Rows by number of multi-query associative recall."""

    length: int
    pairs: int
    vocabulary: int
    seed: int
    within: int | None = None  # pairs stand at drawn places of the first so many tokens; None: at the beginning
    after: int | None = None  # questions stand after so many tokens; None: right after the pairs
    asked: int = 1  # times that each pair is asked for, where there is room: what is learnt from may ask often

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, number: int) -> Row_:
        draw = np.random.default_rng([self.seed, self.length, number])
        half = self.vocabulary // 2
        keys = 1 + draw.permutation(half - 1)[: self.pairs]
        values = half + draw.permutation(self.vocabulary - half)[: self.pairs]  # distinct: a guess is 1 in `pairs`
        ids, targets = np.zeros(self.length, dtype=np.int64), np.full(self.length, IGNORED)
        told = 2 * np.arange(self.pairs)
        if self.within is not None:
            told = 2 * np.sort(draw.permutation(self.within // 2)[: self.pairs])
        ids[told], ids[told + 1] = keys, values
        first = (2 * self.pairs if self.after is None else self.after) // 2
        places = 2 * (first + draw.permutation(self.length // 2 - first)[: self.pairs * self.asked])
        which = np.arange(len(places)) % self.pairs
        ids[places], targets[places] = keys[which], values[which]
        return {"ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}


SAID = " The key of {} is {}. "
"""With a letter and three digits: 22 bytes."""


@dataclass(frozen=True, eq=False)
class Needles:
    """Rows by number of keys told and asked in a novel."""

    filler: Tensor  # (N,) bytes
    length: int
    seed: int
    told: int = 4
    depth: float | None = None  # of the one that is asked at the end, 0 to 1; None: several, anywhere

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, number: int) -> Row_:
        draw = np.random.default_rng([self.seed, self.length, number])
        at = int(draw.integers(len(self.filler) - self.length))
        ids = self.filler[at : at + self.length].long().clone()
        targets = torch.full((self.length,), IGNORED)
        count = 1 if self.depth is not None else self.told
        names = [chr(65 + int(one)) for one in draw.permutation(26)[:count]]
        keys = [f"{int(draw.integers(1000)):03d}" for _ in names]
        says = [SAID.format(name, key) for name, key in zip(names, keys, strict=True)]
        size = len(says[0])
        slots = self.length // size
        if self.depth is not None:
            places = [*self._places(self.depth)]
        else:
            cut = slots // 2
            told = np.sort(draw.permutation(cut)[:count])
            places = [*told.tolist(), *(cut + draw.permutation(slots - cut)[:count]).tolist()]
        for order, place in enumerate(places):
            which = order % count
            start = place * size + (self.length - slots * size)
            ids[start : start + size] = encoded(says[which])[0]
            if order >= count:
                digits = start + says[which].index(keys[which])
                targets[digits - 1 : digits + 2] = ids[digits : digits + 3]
        return {"ids": ids, "targets": targets}

    def _places(self, depth: float) -> tuple[int, int]:
        """Of what is told and of what asks for it, in lengths of what is said."""
        slots = self.length // len(SAID.format("A", "000"))
        return round(depth * (slots - 2)), slots - 1

    def apart(self, depth: float) -> int:
        """Bytes from a digit that is told at this depth to the byte behind which it is asked for."""
        told, asks = self._places(depth)
        return (asks - told) * len(SAID.format("A", "000")) - 1


MOTIFS = (("TATAAT", "GGCCAATC"), ("TTGACA", "CCGCCCTG"))
"""Two kinds for each of the two places."""


@dataclass(frozen=True)
class Motifs:
    """Rows by number; ids are 0 to 3, the last three tokens the questions 7, 8 and 4; 5 or 6 is to be told."""

    length: int
    seed: int
    parts: bool = False  # whether the kinds of the early and the late motif are asked for, too

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, number: int) -> Row_:
        draw = np.random.default_rng([self.seed, self.length, number])
        ids = draw.integers(4, size=self.length)
        kinds = draw.integers(2, size=2)
        early = int(draw.integers(self.length // 8))
        late = int(draw.integers(self.length // 2, self.length - 12))
        for place, kind, motifs in zip((early, late), kinds, zip(*MOTIFS, strict=True), strict=True):
            motif = ["ACGT".index(letter) for letter in motifs[kind]]
            ids[place : place + len(motif)] = motif
        ids[-3:] = 7, 8, 4
        targets = np.full(self.length, IGNORED)
        targets[-3:] = 5 + np.array([*kinds, kinds[0] == kinds[1]])
        if not self.parts:
            targets[-3:-1] = IGNORED
        return {"ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}


# -- models that learn them --------------------------------------------------------------------------------------------


def together(rows: Sequence[Row_]) -> Row_:
    """Rows side by side."""
    return {name: torch.stack([one[name] for one in rows]) for name in rows[0]}


def answer_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The cross entropy of what is asked, and what the mixers add."""
    output = model(batch["ids"], labels=torch.full_like(batch["ids"], IGNORED))
    asked = batch["targets"] != IGNORED
    told: Tensor = F.cross_entropy(output.logits[asked].float(), batch["targets"][asked])
    loss: Tensor = told + output.loss
    return loss


@torch.no_grad()
def right_share(model: Any, rows: Any, count: int, *, first: int = 2**19, batch: int = 32) -> float:
    """The share of what is asked that is the likeliest, of rows that no training has seen."""
    right, asked = 0, 0
    for at in range(first, first + count, batch):
        some = together([rows[number] for number in range(at, min(at + batch, first + count))])
        where = some["targets"] != IGNORED
        right += int((model(some["ids"]).logits[where].argmax(-1) == some["targets"][where]).sum())
        asked += int(where.sum())
    return right / asked


def plan(batch: int) -> Callable[[int], list[list[int]]]:
    """Batches of rows that never come again, a thousand to an epoch."""

    def batches(epoch: int) -> list[list[int]]:
        first = epoch * 1000 * batch
        return [list(range(at, at + batch)) for at in range(first, first + 1000 * batch, batch)]

    return batches


SAYS_NOTHING = ("transformers_version", "use_cache")
"""Of a model's config. Training sets the latter: a second stage was another arm where the first had been found."""


def learn(
    settings: BenchSettings, name: str, model: Any, rows: Any, *, steps: int, batch: int, rate: float, told: str = ""
) -> Any:
    """The model, trained on the rows or found trained. `told` says what its config and the rows do not."""
    loop = LoopSettings(
        steps=steps, batch=batch, learning_rate=rate, warm_up=0.03, seed=settings.seed, evaluate_every=steps,
        checkpoint_every=max(1, steps // 4),
    )  # fmt: skip
    config = {key: value for key, value in model.config.to_dict().items() if key not in SAYS_NOTHING}
    of = {"config": repr(sorted(config.items(), key=str)), "rows": _said(rows), "told": told}
    trained(settings, "nn", name, model, rows, answer_loss, plan(batch), loop, of, together=together)
    return model


def _said(rows: Any) -> str:
    """What rows are, and of which text."""
    if isinstance(rows, Needles):
        return f"needles {rows.length} {rows.told} of {data_digest(rows.filler)} {rows.seed}"
    return f"{type(rows).__name__} {sorted(asdict(rows).items())}"
