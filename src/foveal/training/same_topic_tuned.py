"""The heads that are fine-tuned: a cross-encoder that reads two paragraphs together, and an encoder compared by a head.

    head, curves = tuned("cross", folder, corpus, pairs, dev, settings, run_folder)

cross      s = w . E([CLS] A [SEP] B [SEP]), a real pair of segments, the longer one cut first
bi         w . [|u - v|; u * v; u; v], u and v from one encoder, which is trained with w; it stays an ordinary encoder
Loss       binary cross-entropy, weighted by the pairs' weights
Best step  by the area under the curve (AUC) over true gaps of documents that are held out
Source     Aumiller et al., ICAIL 2021 (Ro-CLS, ST-Ro); one output where the published readers count six labels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from foveal.errors import UnknownName
from foveal.evaluation.segmentation import same_auc
from foveal.models import load_encoder
from foveal.models.dtypes import native_bfloat16
from foveal.training import model_folders
from foveal.training.loop import Curves, Job, LoopSettings, train
from foveal.training.rerankers import Scorer
from foveal.training.same_topic_heads import LONGEST, CrossHead, Floats, Head, Paragraphs, VectorHead, gap_scores
from foveal.training.same_topic_pairs import Corpus, Pairs, Sectioned
from foveal.training.watch import Progress

KINDS = ("cross", "bi")
METRIC = "auc"
LOOKED_AT = 400
"""Gaps of held-out documents that are looked at while training."""


@dataclass(frozen=True)
class PairRows:
    """Pairs as rows of text."""

    corpus: Corpus
    pairs: Pairs

    column_names = ("left", "right", "target", "weight")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> dict[str, Any]:
        pairs, texts = self.pairs, self.corpus.texts
        return {
            "left": texts[pairs.left[place]][:LONGEST],
            "right": texts[pairs.right[place]][:LONGEST],
            "target": float(pairs.same[place]),
            "weight": float(pairs.weight[place]),
        }


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[name] for row in rows] for name in PairRows.column_names}


def weighted_loss(logits: Tensor, target: Sequence[float], weight: Sequence[float]) -> Tensor:
    """Binary cross-entropy of logits (B,), the mean weighted by the pairs' weights."""
    wanted, counts = (logits.new_tensor(list(values), dtype=torch.float32) for values in (target, weight))
    losses = binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return (losses * counts).sum() / counts.sum()


class CrossLoss(nn.Module):
    """The loss of a CrossEncoder over pairs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, columns: Sequence[Any], labels: Any = None, **_: Any) -> Tensor:  # noqa: ARG002
        """Columns left, right, target, weight -> the loss."""
        left, right, target, weight = columns
        features = self.model.preprocess(list(zip(left, right, strict=True)))
        device = next(self.model.parameters()).device
        features = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in features.items()}
        return weighted_loss(self.model(features)["scores"].float().view(-1), target, weight)


class Compared(nn.Module):
    """A SentenceTransformer, and a linear head over [|u - v|; u * v; u; v]."""

    def __init__(self, encoder: Any, dimension: int, *, seed: int, tokens: int | None) -> None:
        super().__init__()
        self.encoder, self.tokens = encoder, tokens or int(encoder.max_seq_length)
        self.head = nn.Linear(4 * dimension, 1)
        nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, d)."""
        read = self.encoder.tokenizer(
            list(texts), truncation=True, max_length=self.tokens, padding=True, return_tensors="pt"
        )
        device = self.head.weight.device
        made = self.encoder({name: value.to(device) for name, value in read.items()})["sentence_embedding"]
        return nn.functional.normalize(made.float(), dim=-1)

    def forward(self, left: Sequence[str], right: Sequence[str]) -> Tensor:
        """Logits (B,)."""
        vectors = self.vectors([*left, *right])
        u, v = vectors[: len(left)], vectors[len(left) :]
        logits: Tensor = self.head(torch.cat([(u - v).abs(), u * v, u, v], dim=1)).squeeze(-1)
        return logits

    def opinion(self, texts: Sequence[str]) -> Floats:
        """Log-odds (n - 1,) of neighbours, as the model is now."""
        with torch.no_grad():
            made = torch.cat([self.vectors(texts[at : at + 32]) for at in range(0, len(texts), 32)])
            u, v = made[:-1], made[1:]
            odds: Floats = self.head(torch.cat([(u - v).abs(), u * v, u, v], dim=1)).squeeze(-1).float().cpu().numpy()
        return odds


def tuned(
    kind: str,
    base: Path,
    corpus: Corpus,
    pairs: Pairs,
    dev: Sequence[Sectioned],
    loop: LoopSettings,
    folder: Path,
    *,
    window: int = 256,
    identity: Mapping[str, str] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[Head, Curves]:
    """A head of that kind, trained from the encoder in `base`; checkpoints and the model lie in `folder`.

    `window`: tokens of a pair (cross) or of a paragraph (bi). A run that was stopped goes on. UnknownName:
    no such kind.
    """
    if kind not in KINDS:
        raise UnknownName(f"No head is fine-tuned as {kind!r}. There are: {', '.join(KINDS)}.")
    looked_at = few_gaps(dev)
    known = {**(identity or {}), "head": kind, "window": str(window)}
    shared: dict[str, Any] = {
        "rows": PairRows(corpus, pairs),
        "collate": columns_of,
        "metric": METRIC,
        "identity": known,
    }
    if kind == "cross":
        model = model_folders.cross_encoder(base, seed=loop.seed, window=window)
        job = Job(model=model, loss=CrossLoss(model), evaluate=lambda now: auc_of(looked_at, _crossing(now)), **shared)
        curves = train(job, loop, folder, on_progress=on_progress)
        place = model_folders.save_model(model, folder / "model", replace=True)
        return CrossHead(pair_scorer(place), place), curves
    encoder = model_folders.sentence_transformer(base)
    dimension = load_encoder(str(base)).dimension
    compared = Compared(encoder, dimension, seed=loop.seed, tokens=min(window, int(encoder.max_seq_length)))
    job = Job(model=compared, loss=_bi_loss, evaluate=lambda now: auc_of(looked_at, now.opinion), **shared)
    curves = train(job, loop, folder, on_progress=on_progress)
    place = model_folders.save_model(encoder, folder / "model", replace=True)
    weights = compared.head.weight.detach().squeeze(0).float().cpu().numpy()
    bias = float(compared.head.bias.detach())
    return VectorHead(load_encoder(str(place)), weights, bias, kind="bi", folder=place), curves


def pair_scorer(model: Any | Path) -> Callable[[Sequence[tuple[str, str]]], list[float]]:
    """The scores of a CrossEncoder or its folder; in bfloat16 where the processor has it natively."""
    scorer = Scorer(model)
    fast = native_bfloat16() and not torch.cuda.is_available()

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return scorer(pairs)

    return score


def few_gaps(documents: Sequence[Sectioned]) -> list[Sectioned]:
    """The first documents, until they have LOOKED_AT gaps."""
    kept, gaps = [], 0
    for one in documents:
        if gaps >= LOOKED_AT:
            break
        kept.append(one)
        gaps += len(one.paragraphs) - 1
    return kept


def auc_of(documents: Sequence[Sectioned], opinion: Callable[[Sequence[str]], Floats]) -> dict[str, float]:
    """AUC over all gaps of documents, of what `opinion` says of the neighbours in each."""
    long = [one for one in documents if len(one.paragraphs) > 1]
    said = [opinion(Paragraphs(one.paragraphs).beginnings) for one in long]
    if not said:
        return {METRIC: 0.5}
    return {METRIC: same_auc(np.concatenate(said), np.concatenate([one.same for one in long]))}


def _bi_loss(model: Any, batch: Mapping[str, Any]) -> Tensor:
    return weighted_loss(model(batch["left"], batch["right"]), batch["target"], batch["weight"])


def _crossing(model: Any) -> Callable[[Sequence[str]], Floats]:
    head = CrossHead(pair_scorer(model))
    return lambda texts: gap_scores(head, Paragraphs(texts), 1)
