"""Attentive CNN: two towers of convolution and attention, learnt from scratch (Nguyen et al., "Attentive Deep Neural
Networks for Legal Document Retrieval", Artificial Intelligence and Law, 2022).

    tower      words -> vectors, convolution of width 3, ReLU, layer norm -> c_t;  u_t = v . tanh(W c_t + b) + b'
               alpha = softmax of u over the words;  the text's vector is the sum of alpha_t c_t
    article    r_j = tower(sentence j);  g_j = (share of the attention that real words get) / n_j, of n_j words
               beta = sparsemax(sharpness g);  a = sum of beta_j r_j
    score      q . a; the query has a tower of its own, the word vectors are shared

Shapes      word ids (N, T), 0 where there is no word -> vectors (N, F), weights (N, T)
Query-free  an article's vector and its attention do not depend on the query: encode once, then one product a query
Share       the published softmax runs over the padding, too, up to `sentence_tokens`. Without that every share is 1,
            and g_j only the length. So here alpha is over real words alone, and g_j counts the padding by what a place
            without words scores: the same for any batch. `level="learned"` has attention of its own over sentences;
            "flat" reads the article as one text. Those are the paper's comparisons
Sharpness   g differs by hundredths, so sparsemax would keep every sentence; it learns the factor, at first T
Start       "alike": both towers begin with the same weights, so that texts of the same words are near from the first
            step on ("apart", the published start: by chance)
Long        a sentence of more than `sentence_tokens` words is read in pieces, of an article the first `sentences` ones
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.models.bert_torch import batches
from foveal.models.dtypes import usual_type
from foveal.ranges import BELOW_ONE, COUNT, POSITIVE, SEED, require_one_of, require_settings
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
from foveal.text.languages import LANGUAGES, Words, word_cutter

LEVELS = ("share", "learned", "flat")
STARTS = ("alike", "apart")
NUMBER = "<number>"
BATCH_TOKENS = 4096
"""Words, padding included, that a tower reads together."""
REMEMBERED = 2**17
"""Sentences whose words are remembered."""

_NUMBERING = re.compile(r"\s*(?:\(?(?:\d{1,3}|[ivxlc]{1,6}|[a-z])[.)]\s+|\((?:\d{1,3}|[ivxlc]{1,6}|[a-z])\)\s*)")


@dataclass(frozen=True, kw_only=True)
class AttentiveCNNSettings:
    """What the model is, besides its vocabulary."""

    dimension: int = 512  # of a word's vector
    filters: int = 512
    width: int = 3  # words that a filter sees; odd
    attention_units: int = 200
    dropout: float = 0.2
    query_tokens: int = 64  # words of a query that are read
    sentence_tokens: int = 40  # words of a sentence that are read together
    sentences: int = 32  # pieces of an article that are read
    level: str = "share"  # what an article attends to its sentences by: one of `LEVELS`
    attention: str = "sparsemax"  # over sentences: a key of `sparsemax.ATTENTIONS`
    sharpness: float | None = None  # that scores over sentences are multiplied by at first; None: sentence_tokens
    start: str = "alike"  # whether the two towers begin with the same weights: one of `STARTS`
    seed: int = 0

    def __post_init__(self) -> None:
        require_settings(
            "An Attentive CNN", self, dimension=COUNT, filters=COUNT, width=COUNT, attention_units=COUNT,
            dropout=BELOW_ONE, query_tokens=COUNT, sentence_tokens=COUNT, sentences=COUNT, sharpness=POSITIVE,
            seed=SEED,
        )  # fmt: skip
        if self.width % 2 == 0:
            raise InputError(f"An Attentive CNN got width = {self.width}; it needs an odd one, to see both sides.")
        for name, known in (("level", LEVELS), ("attention", ATTENTIONS), ("start", STARTS)):
            require_one_of("An Attentive CNN", self, name, tuple(known))


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, in the language that they were cut by. Ids: 0 nothing, 1 an unknown word, 2 …"""

    words: tuple[str, ...]
    language: str = "plain"

    def __post_init__(self) -> None:
        if not self.words or len(set(self.words)) < len(self.words) or self.language not in LANGUAGES:
            raise InputError(
                f"A vocabulary got {len(self.words)} words, {len(set(self.words))} of them different, cut by "
                f"{self.language!r}; it needs at least one, all different, cut by one of {', '.join(LANGUAGES)}."
            )

    @classmethod
    def of(cls, texts: Iterable[str], *, language: str = "plain", least: int = 2) -> Vocabulary:
        """The words that texts hold at least `least` times, the most frequent first. InputError: there are none."""
        cut = word_cutter(language)
        counts = Counter(word for text in texts for word in _read(text, cut))
        kept = sorted(
            (word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word)
        )
        return cls(tuple(kept), language)

    def __len__(self) -> int:
        """The ids that there are, 0 and 1 among them."""
        return 2 + len(self.words)

    def ids(self, text: str) -> list[int]:
        """The ids of a text's words; those of numbers are one, and a numbering before the text is left out."""
        return [self._places.get(word, 1) for word in _read(text, self._cut)]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, start=2)}

    @cached_property
    def _cut(self) -> Words:
        return word_cutter(self.language)


def _read(text: str, cut: Words) -> list[str]:
    numbering = _NUMBERING.match(text)
    return [NUMBER if word.isdecimal() else word for word in cut(text[numbering.end() :] if numbering else text)]


class Tower(nn.Module):
    """Convolution and attention over words; see the module's head."""

    def __init__(self, settings: AttentiveCNNSettings) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(settings.dimension, settings.filters, settings.width, padding="same")
        self.norm = nn.LayerNorm(settings.filters, eps=1e-6)
        self.dropout = nn.Dropout(settings.dropout)
        self.attend = WordAttention(settings)

    def forward(self, words: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Word vectors (N, T, D), 0 where there is no word, and which are real (N, T), one of a row at least -> text
        vectors (N, F), weights of the words (N, T), log of the sum of exp(score) over the words (N,).
        """
        features = self.norm(self.dropout(F.relu(self.convolution(words.transpose(1, 2)))).transpose(1, 2))
        scores = self.attend(features).masked_fill(~real, -math.inf)
        weights = scores.softmax(-1)
        return (weights[..., None] * features).sum(1), weights, scores.logsumexp(-1)

    def nothing(self) -> Tensor:
        """The score () of a place far from any word."""
        empty = torch.zeros(1, self.convolution.in_channels, 1, device=self.norm.weight.device)
        score: Tensor = self.attend(self.norm(F.relu(self.convolution(empty)).flatten()))
        return score


class WordAttention(nn.Module):
    """u = v . tanh(W c + b) + b'."""

    def __init__(self, settings: AttentiveCNNSettings) -> None:
        super().__init__()
        self.hidden = nn.Linear(settings.filters, settings.attention_units)
        self.score = nn.Linear(settings.attention_units, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) -> (...), float32."""
        scores: Tensor = self.score(torch.tanh(self.hidden(features))).squeeze(-1).float()
        return scores


class AttentiveCNN(nn.Module):
    """An `ArticleModel`, and what `training.articles` trains."""

    kind = "attentive-cnn"

    def __init__(self, vocabulary: Vocabulary, settings: AttentiveCNNSettings | None = None) -> None:
        super().__init__()
        self.vocabulary, self.settings = vocabulary, settings or AttentiveCNNSettings()
        chosen = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(chosen.seed)
            self.embedding = nn.Embedding(len(vocabulary), chosen.dimension, padding_idx=0)
            self.dropout = nn.Dropout(chosen.dropout)
            self.query_tower, self.sentence_tower = Tower(chosen), Tower(chosen)
            self.attend = WordAttention(chosen) if chosen.level == "learned" else None
        if chosen.start == "alike":
            self.query_tower.load_state_dict(self.sentence_tower.state_dict())
        sharpness = chosen.sharpness or (chosen.sentence_tokens if chosen.level == "share" else 1.0)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self._known: dict[str, list[int]] = {}

    def forward(self, queries: Sequence[str], groups: Sequence[Sequence[Sentences]]) -> Tensor:
        """B queries, and of each as many articles G -> logits of "no", always 0, and "yes" (B, G, 2)."""
        articles = flat(queries, groups)
        asked = self._queries(queries)
        different = list(dict.fromkeys(tuple(article) for article in articles))
        row = {article: place for place, article in enumerate(different)}
        vectors, _ = self._articles(different)
        chosen = vectors[torch.tensor([row[tuple(one)] for one in articles], device=vectors.device)]
        yes = (asked[:, None] * chosen.view(len(queries), -1, asked.shape[-1])).sum(-1)
        return torch.stack([torch.zeros_like(yes), yes], dim=-1)

    def knows(self, query: str) -> bool:
        """Whether a word of the query is in the vocabulary."""
        return any(number > 1 for number in self.vocabulary.ids(query))

    def encoded(self, articles: Sequence[Sentences]) -> list[tuple[Floats, Floats]]:
        """The vector (F,) of each article, and the weights of its sentences (m,)."""
        flat([""], [articles])
        with judging(self):
            vectors, weights = self._articles([tuple(article) for article in articles])
        return list(zip(vectors.cpu().numpy(), [one.cpu().numpy() for one in weights], strict=True))

    def weighed(self, query: str, encoded: Sequence[tuple[Floats, Floats]]) -> list[Weighed]:
        """Score and sentence weights of each article, from what `encoded` gave; the weights are those given."""
        with judging(self):
            asked = self._queries([query])[0].cpu().numpy()
        return [Weighed(float(vector @ asked), weights) for vector, weights in encoded]

    def identity(self) -> dict[str, str]:
        """What a training of this model depends on."""
        settings = json.dumps(asdict(self.settings))
        return {"what": self.kind, "model": settings, "vocabulary": json.dumps(asdict(self.vocabulary))}

    def save(self, folder: Path) -> Path:
        """Write the model, whole or not at all. InputError: the folder is taken."""
        about: dict[str, Any] = {"kind": self.kind, "settings": asdict(self.settings)}
        with new_folder(folder) as made:
            write_weights(self, made, about | {"vocabulary": asdict(self.vocabulary)})
        return folder

    @classmethod
    def load(cls, folder: Path) -> AttentiveCNN:
        """What `save` wrote. ModelUnavailable: it is damaged. MissingExtra: the package that cut its words."""
        about = saved_about(folder, cls.kind)
        words = Vocabulary(tuple(about["vocabulary"]["words"]), about["vocabulary"]["language"])
        word_cutter(words.language)
        with usual_type():
            made = cls(words, AttentiveCNNSettings(**about["settings"]))
        read_weights(made, folder, about)
        return made

    def _queries(self, queries: Sequence[str]) -> Tensor:
        """(B, F)."""
        vectors, _, _ = self._towered(
            self.query_tower, [self._ids(one)[: self.settings.query_tokens] for one in queries]
        )
        return vectors

    def _articles(self, articles: Sequence[Sequence[str]]) -> tuple[Tensor, list[Tensor]]:
        """Vectors (N, F), and the weights of each article's sentences (m,)."""
        size, most = self.settings.sentence_tokens, self.settings.sentences
        pieces: list[list[int]] = []
        rows: list[list[int]] = []  # of each article, the pieces that are read
        owners: list[list[int]] = []  # and the sentence that each is of
        for article in articles:
            cut = [
                (ids[first : first + size], at)
                for at, ids in enumerate(map(self._ids, article))
                for first in range(0, len(ids), size)
            ][:most]
            if self.settings.level == "flat":
                rows.append([len(pieces)])
                pieces.append([word for piece, _ in cut for word in piece])
                owners.append([at for piece, at in cut for _ in piece])
            else:
                rows.append(list(range(len(pieces), len(pieces) + len(cut))))
                pieces += [piece for piece, _ in cut]
                owners.append([at for _, at in cut])
        vectors, masses, weights = self._towered(self.sentence_tower, pieces)
        if self.settings.level == "flat":
            shares = weights
        else:
            table, real = (one.to(vectors.device) for one in padded(rows))
            scores = self._scores(vectors, masses, [len(piece) for piece in pieces])
            spread = ATTENTIONS[self.settings.attention](self.log_sharpness.exp() * scores[table], real)
            vectors, shares = (spread[..., None] * vectors[table]).sum(1), list(spread.detach())
        return vectors, [_summed(one, owner, len(a)) for one, owner, a in zip(shares, owners, articles, strict=True)]

    def _scores(self, vectors: Tensor, masses: Tensor, counts: Sequence[int]) -> Tensor:
        """What sentences are attended to by, (N,): from their vectors (N, F), the logs of the sum of exp(score) over
        their words (N,), and how many words each has.
        """
        if self.attend is not None:
            found: Tensor = self.attend(vectors)
            return found
        words = torch.tensor(counts, device=masses.device)
        absent = (self.settings.sentence_tokens - words).float().log() + self.sentence_tower.nothing()
        return torch.sigmoid(masses - absent) / words

    def _towered(self, tower: Tower, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Vectors (N, F), logs of the sum of exp(score) over each text's words (N,), and the weights of its words."""
        device = self.log_sharpness.device
        order: list[int] = []
        vectors: list[Tensor] = []
        masses: list[Tensor] = []
        weights: list[Tensor] = [torch.empty(0)] * len(ids)
        for rows in batches([len(one) for one in ids], BATCH_TOKENS):
            table, real = (one.to(device) for one in padded([ids[row] for row in rows]))
            made, shares, mass = tower(self.dropout(self.embedding(table)), real)
            order += rows
            vectors.append(made)
            masses.append(mass)
            for row, one in zip(rows, shares.detach(), strict=True):
                weights[row] = one[: len(ids[row])]
        places = torch.empty(len(order), dtype=torch.long, device=device)
        places[torch.tensor(order, device=device)] = torch.arange(len(order), device=device)
        return torch.cat(vectors)[places], torch.cat(masses)[places], weights

    def _ids(self, text: str) -> list[int]:
        """The ids of a text's words, remembered; a text without any is one unknown word."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[text] = self.vocabulary.ids(text) or [1]
        return found  # not looked up again: another thread may have cleared it


def _summed(shares: Tensor, owners: Sequence[int], count: int) -> Tensor:
    """Shares of pieces (at least as many as owners) as shares of the `count` sentences that they are of."""
    summed = shares.new_zeros(count)
    return summed.index_add(0, torch.tensor(owners, device=shares.device), shares[: len(owners)])
