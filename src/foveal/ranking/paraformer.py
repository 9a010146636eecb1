"""Paraformer: a sentence encoder, and sparse attention from the query to the sentences of an article (Nguyen et al.,
"Attentive Deep Neural Networks for Legal Document Retrieval", Artificial Intelligence and Law, 2022).

    q = Enc(query), E_i = Enc(s_i);  q' = W_in q;  alpha = sparsemax(q' . E_i);  mix = sum of alpha_i E_i
    head "paper"     o = tanh(W_out [mix; q']);  logits = W_c o + b, of "no" and "yes"; the score is the second
    head "cosine"    the score is 20 cos(W_q q, W_a mix), the "no" is 0

Shapes      queries (B, d), sentences (B, L, d), which of them are real (B, L) -> logits (B, 2), weights (B, L)
Encoder     any sentence encoder, so any language that it knows; its vectors have unit length here. `Tuned` learns with
            the head (gradients run through it); `Frozen` stays, and encodes a text once
Head        the paper's cannot match on a frozen encoder: where an article has one sentence the query and the article
            meet in no product. "cosine", ours, is the default; `PAPER` is the published model. The authors' code hands
            the encoder to its optimiser, but runs it without gradients
Sharpness   cosines differ by tenths, sparsemax drops what lies 1 below the best, so scores are multiplied first
Loss        `training.articles`; explanations and ranking: `sections.SectionRanker`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError, ModelUnavailable
from foveal.models import load_encoder
from foveal.models.dtypes import usual_type
from foveal.models.encoders import encoder_of
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.ranges import POSITIVE, SEED, require_one_of, require_settings
from foveal.ranking.article_models import (
    Floats,
    Sentences,
    Weighed,
    flat,
    judging,
    new_folder,
    padded,
    read_weights,
    saved_about,
    write_weights,
)
from foveal.ranking.sparsemax import ATTENTIONS
from foveal.settings import Settings
from foveal.training import model_folders
from foveal.types import Encoder

HEADS = ("cosine", "paper")
STARTS = ("identity", "random")
SCALE = 20.0
"""The cosine is multiplied by it, so that a softmax over articles can be sure."""
REMEMBERED = 2**17
"""Sentences whose vectors a frozen encoder remembers: 200 MB of 384 numbers each."""
AT_ONCE = 64
"""Sentences that a tuned encoder reads together."""


# -- the encoder -----------------------------------------------------------------------------------------------------


class SentenceEncoder(Protocol):
    """Sentences to vectors of unit length (N, dimension), perhaps with gradients."""

    name: str
    dimension: int
    fingerprint: str

    def vectors(self, texts: Sequence[str]) -> Tensor: ...


class Frozen:
    """An `Encoder` as it is. A text is encoded once, and its vector remembered."""

    def __init__(self, encoder: Encoder, *, remembered: int = REMEMBERED) -> None:
        self.name, self.dimension, self.fingerprint = encoder.name, encoder.dimension, encoder.fingerprint
        self._encoder, self._remembered = encoder, remembered
        self._known: dict[str, Tensor] = {}

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """The vectors (len(texts), dimension), float32."""
        found = {text: kept for text in texts if (kept := self._known.get(text)) is not None}  # threads share it
        if new := [text for text in dict.fromkeys(texts) if text not in found]:
            made = dict(zip(new, torch.from_numpy(self._encoder.encode(new)).float(), strict=True))
            found |= made
            self._known |= made
            for text in list(self._known)[: max(0, len(self._known) - self._remembered)]:
                self._known.pop(text, None)
        return torch.stack([found[text] for text in texts])


class Tuned(nn.Module):
    """A SentenceTransformer that learns: its own forward pass, with gradients."""

    def __init__(self, model: Any, *, name: str, fingerprint: str) -> None:
        super().__init__()
        self.model, self.name, self.fingerprint = model, name, fingerprint
        self.dimension = int(model.get_embedding_dimension())

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """The vectors (len(texts), dimension), float32; texts of like length are read together."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        device = next(self.parameters()).device
        made = []
        for first in range(0, len(order), AT_ONCE):
            features = self.model.preprocess([texts[row] for row in order[first : first + AT_ONCE]])
            on_device = {key: one.to(device) if isinstance(one, Tensor) else one for key, one in features.items()}
            made.append(F.normalize(self.model(on_device)["sentence_embedding"].float(), dim=-1))
        places = torch.empty(len(order), dtype=torch.long, device=device)
        places[torch.tensor(order, device=device)] = torch.arange(len(order), device=device)
        return torch.cat(made)[places]


# -- the model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ParaformerSettings:
    """What the model is, besides its encoder."""

    head: str = "cosine"  # one of `HEADS`
    attention: str = "sparsemax"  # a key of `ATTENTIONS`
    start: str = "identity"  # of the square maps: "identity", so that training begins at the encoder's cosines
    sharpness: float = 5.0  # scores of the attention are multiplied by it; 1 is the paper's
    head_rate: float = 1.0  # the head learns so many times faster than the loop's rate, which then is the encoder's
    seed: int = 0  # of what is drawn at random

    def __post_init__(self) -> None:
        for name, known in (("head", HEADS), ("attention", ATTENTIONS), ("start", STARTS)):
            require_one_of("A Paraformer", self, name, tuple(known))
        require_settings("A Paraformer", self, sharpness=POSITIVE, head_rate=POSITIVE, seed=SEED)


PAPER = ParaformerSettings(head="paper", start="random", sharpness=1.0)
"""The published head."""


class RatedLinear(nn.Module):
    """y = W x (+ b), with W and b kept as themselves / rate: Adam's steps do not depend on the size of a gradient, so
    these weights move `rate` times faster than others beside them."""

    def __init__(self, inputs: int, outputs: int, *, rate: float, bias: bool = False, identity: bool = False) -> None:
        super().__init__()
        drawn = nn.Linear(inputs, outputs, bias=bias)
        weight = torch.eye(inputs) if identity else drawn.weight.detach()
        self.rate = rate
        self.weight = nn.Parameter(weight / rate)
        self.bias = nn.Parameter(drawn.bias.detach() / rate) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return self.rate * F.linear(x, self.weight, self.bias)


class GeneralAttention(nn.Module):
    """Scores q' . E_i with q' = W_in q, and weights of them."""

    def __init__(self, dimension: int, settings: ParaformerSettings) -> None:
        super().__init__()
        identity = settings.start == "identity"
        self.w_in = RatedLinear(dimension, dimension, rate=settings.head_rate, identity=identity)
        self.sharpness, self.weigh = settings.sharpness, ATTENTIONS[settings.attention]

    def forward(self, query: Tensor, sentences: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, d), (B, L, d), (B, L) -> mix (B, d), weights (B, L), q' (B, d)."""
        projected = self.w_in(query).float()
        weights = self.weigh(self.sharpness * (sentences @ projected[..., None]).squeeze(-1), real)
        return (weights[..., None] * sentences).sum(-2), weights, projected


class Paraformer(nn.Module):
    """An `ArticleModel` (sections.py) and what `training.articles` trains."""

    kind = "paraformer"

    def __init__(self, encoder: SentenceEncoder, settings: ParaformerSettings | None = None) -> None:
        super().__init__()
        self.encoder, self.settings = encoder, settings or ParaformerSettings()
        d, rate, identity = encoder.dimension, self.settings.head_rate, self.settings.start == "identity"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            self.attention = GeneralAttention(d, self.settings)
            if self.settings.head == "paper":
                self.w_out = RatedLinear(2 * d, d, rate=rate)
                self.classifier = RatedLinear(d, 2, rate=rate, bias=True)
            else:
                self.w_query = RatedLinear(d, d, rate=rate, identity=identity)
                self.w_article = RatedLinear(d, d, rate=rate, identity=identity)

    @classmethod
    def over(
        cls, encoder: str | Encoder = "minilm", settings: ParaformerSettings | None = None, *, tuned: bool = False,
        cache: Path | None = None,
    ) -> Paraformer:  # fmt: skip
        """A new model over an encoder, or that of a name, which then may learn with the head (`tuned`).

        UnknownName, ModelUnavailable: the name. InputError: `tuned` without one. MissingExtra: `tuned` without
        sentence-transformers.
        """
        if not tuned:
            return cls(Frozen(load_encoder(encoder, cache=cache) if isinstance(encoder, str) else encoder), settings)
        if not isinstance(encoder, str):
            raise InputError(f"The encoder {encoder.name} cannot learn as it is; give the name of one that can learn.")
        folder = folder_of(encoder, cache or Settings.load().cache, kind="encoder")
        model = model_folders.sentence_transformer(folder)
        return cls(Tuned(model, name=encoder, fingerprint=fingerprint(folder)), settings)

    def logits(self, query: Tensor, sentences: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(B, d), (B, L, d), (B, L) -> logits of "no" and "yes" (B, 2), weights of the sentences (B, L)."""
        mix, weights, projected = self.attention(query, sentences, real)
        if self.settings.head == "paper":
            return self.classifier(torch.tanh(self.w_out(torch.cat([mix, projected], dim=-1)))).float(), weights
        yes = SCALE * F.cosine_similarity(self.w_query(query).float(), self.w_article(mix).float(), dim=-1)
        return torch.stack([torch.zeros_like(yes), yes], dim=-1), weights

    def forward(self, queries: Sequence[str], groups: Sequence[Sequence[Sentences]]) -> Tensor:
        """B queries, and of each as many articles G -> logits of "no" and "yes" (B, G, 2); the second is the score."""
        articles = flat(queries, groups)
        asked = [query for query, group in zip(queries, groups, strict=True) for _ in group]
        texts = list(dict.fromkeys([*queries, *(sentence for article in articles for sentence in article)]))
        row = {text: place for place, text in enumerate(texts)}
        vectors = self.encoder.vectors(texts).to(self._device)
        rows, real = padded([[row[sentence] for sentence in article] for article in articles])
        query = vectors[torch.tensor([row[text] for text in asked], device=vectors.device)]
        logits, _ = self.logits(query, vectors[rows.to(vectors.device)], real.to(vectors.device))
        return logits.view(len(queries), -1, 2)

    def knows(self, query: str) -> bool:
        """Whether there is anything to read."""
        return bool(query.strip())

    def encoded(self, articles: Sequence[Sentences]) -> list[Floats]:
        """The vectors of each article's sentences, (m, d) float32."""
        flat([""], [articles])
        with judging(self):
            vectors = self.encoder.vectors([sentence for article in articles for sentence in article]).cpu().numpy()
        ends = torch.tensor([len(article) for article in articles]).cumsum(0).tolist()
        return [vectors[end - len(article) : end] for article, end in zip(articles, ends, strict=True)]

    def weighed(self, query: str, encoded: Sequence[Floats]) -> list[Weighed]:
        """Score and sentence weights of each article, from what `encoded` gave."""
        if not encoded:
            return []
        sizes = [len(vectors) for vectors in encoded]
        rows = nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in encoded], batch_first=True).to(self._device)
        real = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        with judging(self):
            asked = self.encoder.vectors([query]).to(self._device).expand(len(encoded), -1)
            logits, weights = self.logits(asked, rows, real.to(self._device))
        scores, kept = logits[:, 1].tolist(), weights.cpu().numpy()
        return [Weighed(score, kept[at, :size]) for at, (score, size) in enumerate(zip(scores, sizes, strict=True))]

    def identity(self) -> dict[str, str]:
        """What a training of this model depends on."""
        how = "tuned" if isinstance(self.encoder, Tuned) else "frozen"
        settings = json.dumps(asdict(self.settings))
        return {"what": self.kind, "model": settings, "encoder": f"{how}, {self.encoder.fingerprint}"}

    def save(self, folder: Path) -> Path:
        """Write the model, whole or not at all: JSON, the head's safetensors, and an encoder that learnt.

        InputError: the folder is taken.
        """
        about: dict[str, Any] = {"kind": self.kind, "settings": asdict(self.settings), "encoder": self.encoder.name}
        with new_folder(folder) as made:
            about["fingerprint"] = self.encoder.fingerprint
            if isinstance(self.encoder, Tuned):
                model_folders.save_model(self.encoder.model, made / "encoder")
                about |= {"encoder": "", "fingerprint": fingerprint(made / "encoder")}
            write_weights(self, made, about, without="encoder.")
        return folder

    @classmethod
    def load(cls, folder: Path, *, encoder: Encoder | None = None, cache: Path | None = None) -> Paraformer:
        """What `save` wrote; `encoder` where it was none that has a name. ModelUnavailable: it is damaged, or its
        encoder is another than it was trained with.
        """
        about = saved_about(folder, cls.kind)
        inside = about["encoder"] == ""
        name = str(folder / "encoder") if inside else about["encoder"]
        found = encoder or encoder_of(folder, name, cache=cache)
        has = fingerprint(folder / "encoder") if inside and encoder is None else found.fingerprint
        if has != about["fingerprint"]:
            raise ModelUnavailable(
                f"The Paraformer in {folder} was trained with an encoder of fingerprint {about['fingerprint'][:12]}…; "
                f"{found.name} is {has[:12]}…. Give it the encoder that it was trained with, or train it anew."
            )
        with usual_type():
            made = cls(Frozen(found), ParaformerSettings(**about["settings"]))
        read_weights(made, folder, about)
        return made

    @property
    def _device(self) -> torch.device:
        return self.attention.w_in.weight.device
