"""Objectives of dense retrieval: those of sentence-transformers by one name and setting, and what it lacks.

Shapes    a loss gets the columns of a batch: B queries, B relevant documents, and n times B negatives, as token
          features; their vectors are (B, D) each, and scores (B, C) with C = B (1 + n). tau is the temperature
Needs     rows of one batch must not answer each other's queries: `examples.ApartBatches`
Theirs    in-batch (T1), symmetric (T10), cached = GradCache (T2; Gao et al., RepL4NLP 2021), Matryoshka (T11;
          Kusupati et al., NeurIPS 2022). Cosines are taken in float32 even where the model runs in bfloat16
Ours      passage-centric (T9, PAIR; Ren et al., Findings of ACL 2021); memory bank (T3, MoCo; He et al., CVPR 2020);
          MarginMSE (Hofstätter et al., 2020) and KL (T8), each with an in-batch term over the same vectors (TAS-B);
          a teacher over the whole batch (TCT; Lin et al., RepL4NLP 2021); joint listwise KL (RocketQAv2; EMNLP 2021);
          the retriever's side of a game against a ranker (AR2; Zhang et al., ICLR 2022)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, require_settings
from foveal.registry import require

Features = Mapping[str, Tensor]
OfVectors = Callable[[Sequence[Tensor], Tensor | None], Tensor]
"""Vectors of the columns (B, D) each, and labels -> the loss."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """The numbers of the losses; each uses its own."""

    temperature: float = 0.05  # tau; cosines are divided by it
    mini_batch: int = 32  # rows that are encoded at a time by the cached loss
    passage_weight: float = 0.1  # alpha of PAIR
    in_batch_weight: float = 1.0  # of the in-batch term beside a distillation; 0: without
    dimensions: tuple[int, ...] = (384, 256, 128, 64)  # of Matryoshka, below that of the vectors; that one counts, too
    bank: int = 4096  # keys of the memory bank
    momentum: float = 0.999  # of its encoder

    def __post_init__(self) -> None:
        require_settings(
            "A loss", self, temperature=POSITIVE, mini_batch=COUNT, passage_weight=SHARE,
            in_batch_weight=NOT_NEGATIVE, dimensions=COUNT, bank=COUNT, momentum=BELOW_ONE,
        )  # fmt: skip
        if not self.dimensions:
            raise InputError("A loss got no dimensions; Matryoshka needs one at least, such as 384.")


# -- over vectors and scores ------------------------------------------------------------------------------------------


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B, D), (C, D) -> cosines (B, C), in float32 also under automatic mixed precision."""
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).T


def own_cosine(queries: Tensor, documents: Sequence[Tensor]) -> Tensor:
    """Queries (B, D) and m columns of documents (B, D) -> cosines (B, m) of each query with its own documents."""
    asked = F.normalize(queries.float(), dim=-1)
    return torch.stack([(asked * F.normalize(column.float(), dim=-1)).sum(-1) for column in documents], dim=1)


def info_nce(vectors: Sequence[Tensor], *, temperature: float) -> Tensor:
    """-log of the softmax share of a query's own document among all documents of the batch (T1)."""
    scores = cosine(vectors[0], torch.cat(list(vectors[1:]))) / temperature
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def passage_centric(vectors: Sequence[Tensor], *, temperature: float, weight: float) -> Tensor:
    """(1 - weight) L(q; d+ against d-) + weight L(d+; q against d-): the relevant document d+ is to lie nearer to its
    query than to any other document of the batch (T9).
    """
    queries, positives = vectors[0], vectors[1]
    others = cosine(positives, torch.cat(list(vectors[1:]))) / temperature
    own = torch.arange(len(positives), device=positives.device)
    others = others.index_put((own, own), torch.full_like(others[own, own], -torch.inf))
    nearest = own_cosine(queries, [positives]) / temperature
    passage = F.cross_entropy(torch.cat([nearest, others], dim=1), torch.zeros_like(own))
    return (1 - weight) * info_nce(vectors, temperature=temperature) + weight * passage


def margin_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Scores (B, m), the first column the relevant document: mean of ((t+ - t-) - (s+ - s-))^2 (T8)."""
    return F.mse_loss(student[:, :1] - student[:, 1:], teacher[:, :1] - teacher[:, 1:])


def listwise_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Scores (B, m): mean over queries of KL(softmax of the teacher || softmax of the student) (T8)."""
    target = teacher.log_softmax(-1)
    return F.kl_div(student.log_softmax(-1), target, log_target=True, reduction="batchmean")


def joint_listwise(retriever: Tensor, ranker: Tensor) -> Tensor:
    """Scores (B, m) of both, the first column relevant: the retriever's list is drawn to the ranker's, the ranker's to
    the retriever's and to the judgement; gradients reach both (RocketQAv2, equations 4 to 6).
    """
    supervised = F.cross_entropy(ranker, torch.zeros(len(ranker), dtype=torch.long, device=ranker.device))
    return listwise_kl(ranker, retriever) + supervised  # KL(retriever || ranker), over one list of candidates


def adversarial(retriever: Tensor, ranker: Tensor) -> Tensor:
    """Scores (B, 1 + n) of both, the first column relevant: the retriever is to find negatives that deceive the ranker,
    and is held to its list by KL (AR2, equations 5 to 8; T8). No gradient reaches the ranker, which learns in turns.

    The game: of the negatives, as the retriever would draw them, the mean log chance that the ranker still tells the
    relevant document from one. With a single negative only the KL is left.
    """
    told = F.logsigmoid(ranker[:, :1] - ranker[:, 1:]).detach()
    drawn = retriever[:, 1:].softmax(-1)
    return (drawn * told).sum(-1).mean() + listwise_kl(retriever, ranker.detach())


# -- over the columns of a batch --------------------------------------------------------------------------------------


class VectorLoss(nn.Module):
    """A loss that sentence-transformers' trainer takes, made of a function of the vectors."""

    def __init__(self, model: nn.Module, of: OfVectors) -> None:
        super().__init__()
        self.model = model
        self.of = of

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:
        """Token features of each column, and labels (B, m) where the function wants them -> the loss."""
        return self.of([vectors_of(self.model, column) for column in columns], labels)


def vectors_of(model: nn.Module, features: Features) -> Tensor:
    """What a SentenceTransformer makes of token features: (B, D), float32."""
    made: Tensor = model(dict(features))["sentence_embedding"]
    return made.float()


class MemoryBank(nn.Module):
    """In-batch negatives, and those of earlier batches: a queue of vectors made by a slower copy of the encoder (T3).

    Relevant documents and negatives are encoded by the copy, whose weights follow as m·copy + (1 - m)·model; no
    gradient reaches them. A key whose text is the row's own document is masked, wherever it stands, and so is that of
    another document that answers the row's query, as far as a row of that query is among the keys.
    """

    keys: Tensor
    texts: Tensor
    asked: Tensor
    filled: Tensor
    place: Tensor

    def __init__(self, model: nn.Module, settings: LossSettings, dimension: int) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.copy = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("keys", torch.zeros(settings.bank, dimension))
        self.register_buffer("texts", torch.zeros(settings.bank, dtype=torch.long))
        self.register_buffer("asked", torch.zeros(settings.bank, dtype=torch.long))  # by which query; 0: a negative
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The loss; in training the copy follows and the batch's keys are put into the queue."""
        queries = vectors_of(self.model, columns[0])
        with torch.no_grad():
            if self.training:
                self._follow()
            self.copy.eval()
            fresh = torch.cat([F.normalize(vectors_of(self.copy, column), dim=-1) for column in columns[1:]])
            texts = torch.cat([text_codes(column) for column in columns[1:]])
            asking = text_codes(columns[0])
            asked = torch.cat([asking, asking.new_zeros(len(texts) - len(asking))])
        count = int(self.filled)
        scores = cosine(queries, torch.cat([fresh, self.keys[:count]])) / self.settings.temperature
        own = torch.arange(len(queries), device=queries.device)
        every, by = torch.cat([texts, self.texts[:count]]), torch.cat([asked, self.asked[:count]])
        right = torch.stack([torch.isin(every, every[by == one]) for one in asking])
        right[own, own] = False
        loss = F.cross_entropy(scores.masked_fill(right, -torch.inf), own)
        if self.training:
            self._keep(fresh, texts, asked)
        return loss

    def _follow(self) -> None:
        m = self.settings.momentum
        for slow, fast in zip(self.copy.parameters(), self.model.parameters(), strict=True):
            slow.mul_(m).add_(fast.detach(), alpha=1 - m)

    def _keep(self, fresh: Tensor, texts: Tensor, asked: Tensor) -> None:
        size = len(self.keys)
        fresh, texts, asked = fresh[-size:], texts[-size:], asked[-size:]
        places = (self.place + torch.arange(len(fresh), device=fresh.device)) % size
        self.keys[places], self.texts[places], self.asked[places] = fresh, texts, asked
        self.place.copy_((self.place + len(fresh)) % size)
        self.filled.copy_((self.filled + len(fresh)).clamp(max=size))


def text_codes(features: Features) -> Tensor:
    """A number (B,) for the tokens of each text, whatever the padding."""
    ids, mask = features["input_ids"], features["attention_mask"]
    powers = torch.arange(1, ids.shape[1] + 1, device=ids.device) * 0x9E3779B1 + 0x7F4A7C15
    return ((ids + 1) * mask * powers * powers).sum(1)


class InBatchTeacher(nn.Module):
    """KL to what a teacher says of each query and all documents of the batch (TCT).

    `teacher(columns) -> scores (B, C)`, such as MaxSim of a ColBERT with the same tokenizer; it gets no gradient.
    """

    def __init__(
        self, model: nn.Module, teacher: Callable[[Sequence[Features]], Tensor], settings: LossSettings
    ) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.teacher = teacher if not isinstance(teacher, nn.Module) else teacher.requires_grad_(False)

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The loss; to it is added the in-batch term, by its weight."""
        vectors = [vectors_of(self.model, column) for column in columns]
        with torch.no_grad():
            taught = self.teacher(columns)
        tau = self.settings.temperature
        student = cosine(vectors[0], torch.cat(vectors[1:])) / tau
        return listwise_kl(student, taught) + self.settings.in_batch_weight * info_nce(vectors, temperature=tau)


# -- by name ----------------------------------------------------------------------------------------------------------


def _theirs(name: str, model: Any, settings: LossSettings, **options: Any) -> nn.Module:
    losses = require("sentence_transformers", extra="train").sentence_transformer.losses
    made: nn.Module = getattr(losses, name)(model, scale=1 / settings.temperature, similarity_fct=cosine, **options)
    return made


def in_batch(model: Any, settings: LossSettings) -> nn.Module:
    """InfoNCE with in-batch and given negatives (T1)."""
    return _theirs("MultipleNegativesRankingLoss", model, settings)


def symmetric(model: Any, settings: LossSettings) -> nn.Module:
    """Half of it from the query to the documents, half from the document to the queries (T10)."""
    both = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    return _theirs("MultipleNegativesRankingLoss", model, settings, **both)


def cached(model: Any, settings: LossSettings) -> nn.Module:
    """`in_batch` for batches that do not fit into memory: the same gradients by encoding twice (T2)."""
    return _theirs("CachedMultipleNegativesRankingLoss", model, settings, mini_batch_size=settings.mini_batch)


def pair(model: Any, settings: LossSettings) -> nn.Module:
    """The passage-centric loss (T9)."""
    options = {"temperature": settings.temperature, "weight": settings.passage_weight}
    return VectorLoss(model, lambda vectors, _: passage_centric(vectors, **options))


def memory_bank(model: Any, settings: LossSettings) -> nn.Module:
    """`MemoryBank` for a SentenceTransformer (T3)."""
    return MemoryBank(model, settings, int(model.get_embedding_dimension()))


def matryoshka(model: Any, settings: LossSettings) -> nn.Module:
    """`in_batch` summed over the vectors and their prefixes (T11). InputError: as `prefixes`."""
    lengths = prefixes(settings, int(model.get_embedding_dimension()))
    losses = require("sentence_transformers", extra="train").sentence_transformer.losses
    made: nn.Module = losses.MatryoshkaLoss(model, in_batch(model, settings), lengths)
    return made


def prefixes(settings: LossSettings, dimension: int) -> list[int]:
    """The whole length of the vectors, then those of `settings.dimensions` that are shorter. InputError: none is."""
    shorter = [one for one in settings.dimensions if one < dimension]
    if not shorter:
        raise InputError(
            f"Matryoshka cuts vectors to {', '.join(map(str, settings.dimensions))} numbers, and this encoder's have "
            f"{dimension}: there is nothing to cut. Choose another objective, or an encoder of longer vectors."
        )
    return [dimension, *shorter]


def _distilling(by: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, LossSettings], nn.Module]:
    def make(model: Any, settings: LossSettings) -> nn.Module:
        def of(vectors: Sequence[Tensor], labels: Tensor | None) -> Tensor:
            if labels is None or labels.shape[1:] != (len(vectors) - 1,):
                raise InputError("A distillation needs as labels a teacher's score of each document of a row.")
            student = own_cosine(vectors[0], vectors[1:]) / settings.temperature
            loss = by(student, labels.float())
            if settings.in_batch_weight:
                loss = loss + settings.in_batch_weight * info_nce(vectors, temperature=settings.temperature)
            return loss

        return VectorLoss(model, of)

    return make


LOSSES: dict[str, Callable[[Any, LossSettings], nn.Module]] = {
    "in-batch": in_batch,
    "symmetric": symmetric,
    "cached": cached,
    "passage-centric": pair,
    "memory-bank": memory_bank,
    "matryoshka": matryoshka,
    "margin-mse": _distilling(margin_mse),
    "kl": _distilling(listwise_kl),
    "adversarial": _distilling(adversarial),
}
"""The losses that need nothing but rows. `InBatchTeacher` needs a teacher, `joint_listwise` a ranker."""


DISTILLATIONS = ("margin-mse", "kl", "adversarial")
"""Of these the losses that want a teacher's scores."""


def make_loss(name: str, model: Any, settings: LossSettings | None = None) -> nn.Module:
    """The loss called `name` for a SentenceTransformer. UnknownName lists those there are."""
    if name not in LOSSES:
        raise UnknownName(f"No loss is called {name!r}. There are: {', '.join(LOSSES)}.")
    return LOSSES[name](model, settings or LossSettings())
