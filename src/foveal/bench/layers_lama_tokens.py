"""bench layers-lama, over a frozen encoder's tokens: a classifier's pooling, and several vectors a text for retrieval.

pooling     Reuters-8 and movie reviews by MiniLM's tokens: LAMA, one head, the mean, each under a linear layer
retrieval   SciFact's claims against the abstracts that were judged: eight vectors a text, compared by the sum of each
            query vector's greatest cosine, beside the mean vector: as it is, and both behind a linear map that had the
            same training; trained on the training claims, measured on the test
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.bench.layers_lama_arms import Arms
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest, trained
from foveal.evaluation.beir import load_beir
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.tables import Row
from foveal.models.event_reading import token_states
from foveal.nn.pooling import pooler_of
from foveal.nn.text_classifier_training import classes_of
from foveal.training.examples import shuffled
from foveal.training.loop import LoopSettings

WIDTH, TOKENS = 384, 160
TEMPERATURE = 0.05
SCALED = {"learn_scale": True, "scale": 5.0, "token_mlp": False}


def tokens(settings: BenchSettings) -> Iterator[Row]:
    """The rows."""
    for name in ("r8", "mr"):
        yield from pooling(settings, name)
    yield from retrieval(settings)


def states(settings: BenchSettings, texts: Sequence[str]) -> list[Tensor]:
    """MiniLM's tokens of each text, (L, 384), kept in half the room."""
    encoder = settings.encoder()
    found: list[Tensor] = []
    for at in range(0, len(texts), 512):
        found += [one.to(torch.bfloat16) for one in token_states(encoder, texts[at : at + 512], TOKENS)]
    return found


def together(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States side by side in float32, and which count."""
    x = nn.utils.rnn.pad_sequence([one.float() for one in rows], batch_first=True)
    mask = torch.arange(x.shape[1]) < torch.tensor([len(one) for one in rows])[:, None]
    return x, mask


# -- classification ----------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """A pooling and a linear layer."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.pool = pooler_of(name, dim=WIDTH, heads=8, options=SCALED if name == "lama" else None)
        self.out = nn.Linear(int(self.pool.count) * WIDTH, classes)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.out(self.pool(x, mask).vectors.flatten(1))
        return logits


def pooling(settings: BenchSettings, called: str) -> Iterator[Row]:
    """Each pooling on the same tokens of one set."""
    texts = Arms(settings).texts(called)
    classes = classes_of(texts.train)
    parts = {
        part: list(zip(states(settings, [one.text for one in own]), [classes.index(o.label) for o in own], strict=True))
        for part, own in (("train", texts.train), ("test", texts.test))
    }
    shares, data = {}, data_digest(*(row for row, _ in parts["train"]), repr([label for _, label in parts["train"]]))
    for name in ("mean", "attention", "lama"):
        torch.manual_seed(settings.seed)
        model = Linear(name, len(classes))
        learn(settings, f"tokens-{called}-{name}", model, parts["train"], class_loss, batched, epochs=4, data=data)
        shares[name] = right(model, parts["test"])
        count = sum(one.numel() for one in model.pool.parameters())
        row = f"{called}, tokens of MiniLM: {name}"
        yield Row.of(row, "accuracy", shares[name], note=f"{count:,} parameters pool")
    gain = shares["lama"] - shares["mean"]
    yield Row.of(f"{called}, tokens of MiniLM: LAMA - mean", "accuracy", gain, at_least=0)


def batched(rows: Sequence[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """Rows side by side."""
    x, mask = together([row for row, _ in rows])
    return {"x": x, "mask": mask, "labels": torch.tensor([label for _, label in rows])}


def class_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The cross entropy."""
    return F.cross_entropy(model(batch["x"], batch["mask"]), batch["labels"])


@torch.no_grad()
def right(model: nn.Module, rows: Sequence[tuple[Tensor, int]]) -> float:
    """The share that is right."""
    made = [batched(rows[at : at + 128]) for at in range(0, len(rows), 128)]
    return float(torch.cat([(model(b["x"], b["mask"]).argmax(-1) == b["labels"]).float() for b in made]).mean())


def learn(
    settings: BenchSettings, name: str, model: nn.Module, rows: Any, loss: Any, collate: Any, *, epochs: int, data: str
) -> None:
    """Train, or find trained; `data`: a hash of what the rows are."""
    loop = LoopSettings(epochs=epochs, batch=32, learning_rate=1e-3, warm_up=0.05, seed=settings.seed)
    told = {"rows": data, "tokens": TOKENS, "encoder": settings.encoder().fingerprint, "model": repr(model)}
    trained(
        settings, "layers", f"lama-{name}", model, rows, loss,
        lambda epoch: shuffled(len(rows), 32, settings.seed, epoch=epoch), loop, told, together=collate,
    )  # fmt: skip


# -- retrieval ---------------------------------------------------------------------------------------------------------


def late(queries: Tensor, documents: Tensor) -> Tensor:
    """queries (Q, m, d), documents (N, m, d), unit vectors -> (Q, N): each query vector's greatest cosine, the mean."""
    return torch.einsum("qid,njd->qnij", queries, documents).amax(-1).mean(-1)


class Vectors(nn.Module):
    """Eight vectors a text by LAMA, or the mean of its tokens, of unit length; `mapped`: behind a linear map."""

    def __init__(self, *, heads: bool, mapped: bool) -> None:
        super().__init__()
        options = {**SCALED, "scale": 1.0} if heads else None
        self.pool = pooler_of("lama" if heads else "mean", dim=WIDTH, heads=8, options=options)
        self.map = nn.Linear(WIDTH, WIDTH) if mapped else nn.Identity()
        if isinstance(self.map, nn.Linear):  # begins as none
            nn.init.eye_(self.map.weight)
            nn.init.zeros_(self.map.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, 8 or 1, 384)."""
        return F.normalize(self.map(self.pool(x, mask).vectors), dim=-1)


EIGHT, MEAN = "eight heads of LAMA", "one mean vector"
MAPPED = ", linear map"
MODELS: Mapping[str, Callable[[], Vectors]] = {
    MEAN + MAPPED: partial(Vectors, heads=False, mapped=True),
    EIGHT: partial(Vectors, heads=True, mapped=False),
    EIGHT + MAPPED: partial(Vectors, heads=True, mapped=True),
}
"""What is trained, all alike."""

Claim = tuple[Tensor, int, frozenset[int]]
"""A claim's tokens, the place of an abstract that answers it, and the places of all that do."""


def claim_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Which abstract of the batch belongs to a claim; `right` (B, B): others that do are no negatives."""
    scores = late(model(batch["q"], batch["q_mask"]), model(batch["d"], batch["d_mask"])) / TEMPERATURE
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    places = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores.masked_fill(batch["right"] & ~own, -torch.inf), places)


@torch.no_grad()
def retrieval(settings: BenchSettings) -> Iterator[Row]:
    """nDCG@10 on the test claims."""
    folder = settings.folder("scifact", ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"))
    train, test = load_beir(folder, "train"), load_beir(folder, "test")
    judged = sorted({d for one in (train, test) for grades in one.qrels.values() for d in grades})
    documents = states(settings, [train.corpus[d].whole for d in judged])
    place = {d: at for at, d in enumerate(judged)}
    yield Row.of("scifact, abstracts that were judged", "size", len(judged))

    @cache
    def queries(split: str) -> tuple[list[str], list[Tensor]]:
        chosen = train if split == "train" else test
        ids = list(chosen.qrels)
        return ids, states(settings, [chosen.queries[q] for q in ids])

    ids, own = queries("train")
    answers = [frozenset(place[d] for d, grade in train.qrels[name].items() if grade > 0) for name in ids]
    pairs = [(q, at, all_of) for q, all_of in zip(own, answers, strict=True) for at in sorted(all_of)]
    data = data_digest(*own, *documents, repr([sorted(one) for one in answers]))

    def collate(rows: Sequence[Claim]) -> dict[str, Tensor]:
        return claims(rows, documents)

    def measured(model: nn.Module) -> float:
        return _found(model, queries("test"), documents, judged, test.qrels)

    found = {
        MEAN: measured(Vectors(heads=False, mapped=False)),
        f"{EIGHT}, untrained": measured(_drawn(MODELS[EIGHT], settings)),
    }
    for name, make in MODELS.items():
        model = _drawn(make, settings)
        with torch.enable_grad():
            called = f"tokens-scifact-{name.replace(',', '').replace(' ', '-').lower()}"
            learn(settings, called, model, pairs, claim_loss, collate, epochs=6, data=data)
        found[name] = measured(model)
    for name, value in found.items():
        yield Row.of(f"scifact, tokens of MiniLM: {name}", "ndcg@10", value)
    for ours, rival, least in ((EIGHT, MEAN, 0), (EIGHT + MAPPED, MEAN + MAPPED, 0), (EIGHT, MEAN + MAPPED, None)):
        gain = found[ours] - found[rival]
        note = "they differ in the pooling alone, and learnt alike" if ours.endswith(MAPPED) else ""
        yield Row.of(f"scifact: {ours} - {rival}", "ndcg@10", gain, at_least=least, note=note)


def _drawn(make: Callable[[], Vectors], settings: BenchSettings) -> Vectors:
    torch.manual_seed(settings.seed)
    return make()


def claims(rows: Sequence[Claim], documents: Sequence[Tensor]) -> dict[str, Tensor]:
    """Claims and abstracts side by side, and which abstract of the batch answers which claim."""
    q, q_mask = together([one for one, _, _ in rows])
    d, d_mask = together([documents[at] for _, at, _ in rows])
    right = torch.tensor([[at in answers for _, at, _ in rows] for _, _, answers in rows])
    return {"q": q, "q_mask": q_mask, "d": d, "d_mask": d_mask, "right": right}


def _found(
    model: nn.Module, queries: tuple[list[str], list[Tensor]], documents: Sequence[Tensor], judged: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> float:  # fmt: skip
    model.eval()
    made = [
        torch.cat([model(*together(rows[at : at + 64])) for at in range(0, len(rows), 64)])
        for rows in (queries[1], documents)
    ]
    return nd(made[0], made[1], queries[0], judged, qrels)


def nd(
    queries: Tensor, documents: Tensor, ids: Sequence[str], judged: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> float:  # fmt: skip
    """nDCG@10 of the scores by `late`."""
    scores = torch.cat([late(queries[at : at + 16], documents) for at in range(0, len(queries), 16)])
    run = {q: dict(zip(judged, row, strict=True)) for q, row in zip(ids, scores.tolist(), strict=True)}
    return evaluate(run, qrels, ("ndcg@10",))["ndcg@10"]
