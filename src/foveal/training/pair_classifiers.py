"""Trains an encoder to say which class two texts are in, read together: headline and article, question and answer.

    model = train_pairs(rows, dev, "minilm", PairSettings(), count=3, folder=run)
    model.decisions([("Five die in crash", article)])          # (N, classes): the highest is the class

Model      class scores of [CLS] first [SEP] second [SEP], by the tokenizer's own way of joining two texts: written out,
           "[SEP]" is a token of some encoders only
Long texts the second text is cut into overlapping windows, never cut off. While training, the window counts that shares
           most different tokens with the first text; afterwards the `windows` best ones are read, and that counts in
           which the last class, the least related one, is least likely
Needs      any encoder that transformers loads (BERT, XLM-R, DeBERTa, …); `foveal[train]`
Source     the fine-tuned encoders of Kanumolu et al., LREC-COLING 2024: 512 tokens, batch 8, rate 2e-5, 5 epochs
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.classification import Confusion
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.ranges import BELOW_ONE, COUNT, Range, require_settings
from foveal.settings import Settings
from foveal.training.loop import Curves, Job, LoopSettings, train
from foveal.training.loop_settings import without_loop
from foveal.training.watch import Progress

METRIC = "macro F1"

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How an encoder is trained; checked when made."""

    tokens: int = 512  # of both texts together; an encoder with a smaller window takes its own
    overlap: float = 0.25  # share of a window that the next one has, too
    windows: int = 4  # of a long text that are read, at most
    balanced: bool = True  # each class counts as much as any other
    dev_pairs: int = 400  # looked at while training
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(epochs=5, batch=8, learning_rate=2e-5, seed=42, patience=2)
    )

    def __post_init__(self) -> None:
        require_settings("Training on pairs", self, tokens=Range(16), overlap=BELOW_ONE, windows=COUNT, dev_pairs=COUNT)


@dataclass(frozen=True)
class ClassedPairs:
    """Pairs of texts with the number of their class; rows of a training."""

    pairs: tuple[Pair, ...]
    classes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> tuple[Pair, int]:
        return self.pairs[place % len(self)], self.classes[place % len(self)]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over texts and classes."""
        told = json.dumps([self.pairs, self.classes])
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


class PairClassifier:
    """An encoder with class scores, and its tokenizer."""

    def __init__(
        self, model: Any, tokenizer: Any, *, tokens: int = 512, overlap: float = 0.25, windows: int = 4
    ) -> None:
        """`model` is a transformers model for sequence classification."""
        self.model, self.tokenizer = model, tokenizer
        self.tokens = min(tokens, _positions(model, tokenizer))
        self.overlap, self.windows = overlap, windows

    @classmethod
    def load(cls, folder: Path, *, count: int | None = None, seed: int = 0, **settings: Any) -> PairClassifier:
        """From a folder; class scores that are not there, of `count` classes, are drawn from the seed.

        ModelUnavailable: it cannot be read.
        """
        import transformers

        chosen: dict[str, Any] = {} if count is None else {"num_labels": count, "ignore_mismatched_sizes": True}
        try:
            with quiet(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
                    folder, local_files_only=True, dtype=torch.float32, use_safetensors=True, **chosen
                )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelUnavailable(
                f"{folder} could not be loaded as an encoder of pairs ({type(error).__name__}: {error}). Name the "
                "folder of an encoder with config.json, tokenizer.json and safetensors."
            ) from error
        return cls(model.eval(), tokenizer, **settings)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def save(self, folder: Path) -> Path:
        """Write model and tokenizer; the folder must be new."""
        with quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        return folder

    def windows_of(self, first: str, second: str) -> list[str]:
        """The pieces of `second` that fit beside `first`, those first that share most different tokens with it."""
        own = self.tokenizer(first, add_special_tokens=False, verbose=False)["input_ids"][: self.tokens // 2]
        room = self.tokens - len(own) - self.tokenizer.num_special_tokens_to_add(pair=True)
        read = self.tokenizer(second, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = read["input_ids"], read["offset_mapping"]
        if len(ids) <= room:
            return [second]
        step = max(1, round(room * (1 - self.overlap)))
        cuts = [(at, min(at + room, len(ids))) for at in range(0, max(1, len(ids) - room + step), step)]
        wanted = set(own)
        order = sorted(range(len(cuts)), key=lambda n: (-len(wanted.intersection(ids[slice(*cuts[n])])), n))
        return [second[offsets[cuts[n][0]][0] : offsets[cuts[n][1] - 1][1]] for n in order]

    def batch(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """The tokens of pairs whose second texts fit."""
        found = self.tokenizer(
            [first for first, _ in pairs], [second for _, second in pairs], truncation="longest_first",
            max_length=self.tokens, padding=True, return_tensors="pt", verbose=False,
        )  # fmt: skip
        return dict(found)

    @torch.inference_mode()
    def decisions(self, pairs: Sequence[Pair], *, batch: int = 16) -> npt.NDArray[np.float64]:
        """Class scores (N, classes); of a long text those of the window in which the last class is least likely."""
        owner, cut = [], []
        for place, (first, second) in enumerate(pairs):
            for window in self.windows_of(first, second)[: self.windows]:
                owner.append(place)
                cut.append((first, window))
        best: dict[int, Tensor] = {}
        for place, scores in zip(owner, self._scores(cut, batch), strict=True):
            if place not in best or scores.softmax(-1)[-1] < best[place].softmax(-1)[-1]:
                best[place] = scores
        count = int(self.model.config.num_labels)
        rows = [best[place].double().numpy() for place in range(len(pairs))]
        return np.stack(rows) if rows else np.zeros((0, count))

    def _scores(self, pairs: Sequence[Pair], batch: int) -> Iterator[Tensor]:
        for first in range(0, len(pairs), batch):
            features = {name: part.to(self.device) for name, part in self.batch(pairs[first : first + batch]).items()}
            yield from self.model(**features).logits.float().cpu()


def train_pairs(
    learnt: ClassedPairs,
    dev: ClassedPairs,
    base: str,
    settings: PairSettings | None = None,
    *,
    count: int,
    folder: Path,
    cache: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[PairClassifier, Curves]:
    """The encoder called `base`, trained on `learnt` with the weights that were best on `dev`, and how it went.

    `folder` keeps checkpoints: the same call goes on. InputError: no pairs, or `folder` is another run's.
    """
    settings = settings or PairSettings()
    if not len(learnt) or not len(dev):
        raise InputError(f"{len(learnt)} pairs to learn from and {len(dev)} to look at came; it needs some of each.")
    place = folder_of(base, cache or Settings.load().cache, kind="encoder")
    classifier = PairClassifier.load(
        place, count=count, seed=settings.loop.seed, tokens=settings.tokens, overlap=settings.overlap,
        windows=settings.windows,
    )  # fmt: skip
    weights = _weights(learnt.classes, count) if settings.balanced else None
    looked_at = range(0, len(dev), max(1, len(dev) // settings.dev_pairs))

    def collate(rows: Sequence[tuple[Pair, int]]) -> dict[str, Tensor]:
        cut = [(first, classifier.windows_of(first, second)[0]) for (first, second), _ in rows]
        return {**classifier.batch(cut), "labels": torch.tensor([one for _, one in rows])}

    job = Job(
        model=classifier.model, rows=learnt, loss=partial(class_loss, weights=weights), metric=METRIC, collate=collate,
        identity={
            "what": "pairs", "base": fingerprint(place), "pairs": learnt.fingerprint, "dev": dev.fingerprint,
            "pair settings": without_loop(settings),
        },
        evaluate=lambda _: {METRIC: macro_f1(classifier, [dev[at] for at in looked_at], count)},
    )  # fmt: skip
    curves = train(job, settings.loop, folder, on_progress=on_progress)
    return classifier, curves


def class_loss(model: Any, batch: dict[str, Tensor], *, weights: Tensor | None) -> Tensor:
    """Cross entropy of a batch of `collate`, by the classes' weights (count,)."""
    given = dict(batch)
    labels = given.pop("labels")
    own = None if weights is None else weights.to(labels.device)
    return F.cross_entropy(model(**given).logits.float(), labels, own)


def macro_f1(classifier: PairClassifier, rows: Sequence[tuple[Pair, int]], count: int) -> float:
    """The mean F1 of the classes."""
    given = classifier.decisions([pair for pair, _ in rows]).argmax(axis=1)
    labels = [str(one) for one in range(count)]
    return Confusion.of([str(one) for _, one in rows], [str(one) for one in given], labels).macro


def _weights(classes: Sequence[int], count: int) -> Tensor:
    """N / (classes · N_class)."""
    counts = torch.bincount(torch.tensor(classes), minlength=count).float()
    return len(classes) / (count * counts.clamp(min=1))


def _positions(model: Any, tokenizer: Any) -> int:
    """Tokens that model and tokenizer take; a tokenizer that knows no limit states a huge one."""
    stated = int(getattr(model.config, "max_position_embeddings", 512))
    offset = 2 if getattr(model.config, "model_type", "") in ("roberta", "xlm-roberta", "camembert") else 0
    return min(stated - offset, int(min(tokenizer.model_max_length, 10**6)))
