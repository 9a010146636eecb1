"""Classifies texts, and shows the words that it looked at: word vectors, a GRU from both ends, LAMA, two layers.

    model = TextClassifier.from_pretrained(folder)              # foveal train classifier
    found = model.classify(["The pump of the cooling loop failed."])[0]
    found.label, found.best(3)                                  # ("reactor", [("cooling", 0.31), …])

A text is read flat, its first `max_words`; or as a document of any length (`hierarchical`): LAMA over the words of each
sentence, a second GRU and LAMA over the sentences. The encoder and the pooling may be those that LAMA is measured
beside (recurrent.py, pooling.py, Kim's convolutions).

Source    arXiv 1912.00835 (lama.py); hierarchical attention networks (Yang et al., NAACL 2016); Kim, EMNLP 2014
Shapes    input_ids (B, T), of documents (B, S, T) -> logits (B, classes); 0 is padding, on the right
          attention (B, m, T), of documents (B, m, S T): of each head, the shares of all words, adding up to 1
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils.generic import ModelOutput

from foveal.errors import InputError, ModelUnavailable
from foveal.nn.classified import Classified
from foveal.nn.inputs import require_ids
from foveal.nn.kept import Kept
from foveal.nn.lama import Pooled, diversity
from foveal.nn.pooling import NAMES, pooler_of
from foveal.nn.recurrent import Bidirectional
from foveal.nn.words import Read, Words, sentences
from foveal.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, require_number, require_one_of, require_settings

WORDS = "words.json"
ENCODERS = ("gru", "lstm", "cnn", "none")
UNASKED = -100
"""A label that is passed over, as PyTorch's losses have it."""
KERNELS = (3, 4, 5)
"""Words that Kim's convolutions see."""
PIECE, CELLS = 2048, 2**19
"""Sentences that are read at once, and words of a batch, where nothing is learnt: memory hardly grows with a text."""


class TextClassifierConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Of TextClassifier; `pooler` holds fields of LamaSettings that are not the usual ones here."""

    model_type = "foveal-text-classifier"
    vocab_size: int = 2
    classes: list[str] = field(default_factory=list)
    word_dim: int = 100
    hidden: int = 50  # of each direction; of convolutions, maps of each kernel
    encoder: str = "gru"  # one of ENCODERS
    pooling: str = "lama"  # one of pooling.NAMES
    heads: int = 8
    pooler: dict[str, Any] = field(default_factory=dict)
    inside: int = 64  # of the layers that decide
    dropout: float = 0.3
    diversity: float = 0.0  # weight of ||A A' - I||²
    hierarchical: bool = False
    max_words: int = 500  # of a text that is read flat
    sentence_words: int = 50  # of a sentence, at most

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        require_settings(
            "A text classifier", self, vocab_size=COUNT, word_dim=COUNT, hidden=COUNT, heads=COUNT, inside=COUNT,
            dropout=BELOW_ONE, diversity=NOT_NEGATIVE, max_words=COUNT, sentence_words=COUNT,
        )  # fmt: skip
        require_one_of("A text classifier", self, "encoder", ENCODERS)
        require_one_of("A text classifier", self, "pooling", NAMES)

    @property
    def plain(self) -> dict[str, Any]:
        """What a run is known by: the same under another version of transformers."""
        return {name: value for name, value in self.to_diff_dict().items() if name != "transformers_version"}

    @property
    def width(self) -> int:
        """Of the encoder's tokens."""
        return {"none": self.word_dim, "cnn": len(KERNELS) * self.hidden}.get(self.encoder, 2 * self.hidden)


@dataclass
class ClassifierOutput(ModelOutput):
    """What a model gives; `loss` with labels. `vectors` (B, m, d) is what the decision is made from."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    attention: Tensor | None = None
    vectors: Tensor | None = None
    sentence_attention: Tensor | None = None  # (B, m, S), of documents


class Convolutions(nn.Module):
    """Kim's features at each word: maps of 3, 4 and 5 words around it, ReLU."""

    def __init__(self, dim: int, maps: int) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(nn.Conv1d(dim, maps, one) for one in KERNELS)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, dim) -> (B, T, 3 maps)."""
        x = x.masked_fill(~mask[..., None], 0).transpose(1, 2)
        padded = (F.pad(x, ((size - 1) // 2, size // 2)) for size in KERNELS)
        maps = [F.relu(kernel(one)) for kernel, one in zip(self.kernels, padded, strict=True)]
        return torch.cat(maps, 1).transpose(1, 2)


def encoder_of(config: TextClassifierConfig) -> nn.Module | None:
    """What makes tokens of word vectors; None: nothing does."""
    if config.encoder == "none":
        return None
    if config.encoder == "cnn":
        return Convolutions(config.word_dim, config.hidden)
    return Bidirectional(config.word_dim, config.hidden, config.encoder)


class TextClassifier(Kept):  # type: ignore[no-untyped-call]
    """From words to a class, with the words that were looked at: input_ids (B, T) -> logits (B, classes).

    LAMA (arXiv 1912.00835) over a GRU; of documents, input_ids (B, S, T), over sentences too (Yang et al., NAACL 2016).
    """

    config_class = TextClassifierConfig
    base_model_prefix = "model"

    def __init__(self, config: Any) -> None:
        """Weights are drawn from torch's generator. InputError: fewer than two classes."""
        super().__init__(config)
        if len(set(config.classes)) < 2 or len(set(config.classes)) < len(config.classes):
            raise InputError(
                f"A text classifier got the classes {config.classes}; it needs two or more, all different."
            )
        self.words: Words | None = None
        self.embed = nn.Embedding(config.vocab_size, config.word_dim, padding_idx=0)
        self.encoder = encoder_of(config)
        pooled = config.width
        if config.hierarchical:
            self.sentence_pool = _pooler(config, config.width)
            self.to_sentence = nn.Linear(self.sentence_pool.count * config.width, 2 * config.hidden)
            self.document = Bidirectional(2 * config.hidden, config.hidden)
            pooled = 2 * config.hidden
        self.pool = _pooler(config, pooled, words=not config.hierarchical)
        self.decide = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(self.pool.count * pooled, config.inside),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.inside, len(config.classes)),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def classes(self) -> list[str]:
        """In the order of the logits."""
        return list(self.config.classes)

    def get_input_embeddings(self) -> nn.Module:
        """The word vectors."""
        return self.embed

    def parameters_by_part(self) -> dict[str, int]:
        """Numbers that are learnt: of words, encoder, pooling, decision."""
        parts = {"embed": "words", "pool": "pooling", "sentence_pool": "pooling", "decide": "decision"}
        counts = dict.fromkeys(("words", "encoder", "pooling", "decision"), 0)
        for name, one in self.named_parameters():
            counts[parts.get(name.partition(".")[0], "encoder")] += one.numel()
        return counts

    # -- forward --------------------------------------------------------------------------------------------------

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> ClassifierOutput:
        """Logits of input_ids (B, T), of documents (B, S, T); the loss of labels (B,).

        InputError: another shape, padding on the left, or labels that are no classes.
        """
        wanted = 3 if self.config.hierarchical else 2
        if input_ids.dim() != wanted or 0 in input_ids.shape[1:]:
            form = "(documents, sentences, words)" if wanted == 3 else "(texts, words)"
            raise InputError(
                f"A text classifier got input_ids {tuple(input_ids.shape)}; it needs {form}, none of them 0."
            )
        mask = input_ids != 0 if attention_mask is None else attention_mask.bool()
        if mask.shape != input_ids.shape:
            raise InputError(f"attention_mask is {tuple(mask.shape)}; input_ids are {tuple(input_ids.shape)}.")
        require_ids("A text classifier", "input_ids", input_ids, self.config.vocab_size)
        if labels is not None:
            if labels.shape != input_ids.shape[:1]:
                raise InputError(f"labels are {tuple(labels.shape)}; input_ids {tuple(input_ids.shape)} ask one a row.")
            asked = labels.masked_fill(labels == UNASKED, 0)
            require_ids("A text classifier", "labels", asked, len(self.config.classes))
        read = self._document if self.config.hierarchical else self._flat
        pooled, attention, told = read(input_ids, mask)
        logits = self.decide(pooled.vectors.flatten(1))
        loss = None
        if labels is not None:
            every = F.cross_entropy(logits.float(), labels.long(), ignore_index=UNASKED, reduction="sum")
            loss = every / (labels != UNASKED).sum().clamp(min=1)  # of a batch in which nothing is asked: 0
            if self.config.diversity:
                loss = loss + self.config.diversity * diversity(pooled.attention)
        return ClassifierOutput(loss, logits, attention, pooled.vectors, told)

    def tokens(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Word vectors (B, T, word_dim), and what the encoder makes of them (B, T, width)."""
        vectors = self.dropout(self.embed(ids.long()))
        return vectors, vectors if self.encoder is None else self.encoder(vectors, mask)

    def _flat(self, ids: Tensor, mask: Tensor) -> tuple[Pooled, Tensor, None]:
        vectors, x = self.tokens(ids, mask)
        pooled: Pooled = self.pool(x, mask, vectors if self._mean_words else None)
        return pooled, pooled.attention, None

    def _document(self, ids: Tensor, mask: Tensor) -> tuple[Pooled, Tensor, Tensor]:
        """Only sentences that there are go through the first half."""
        there = mask.any(-1)
        if not torch.compiler.is_compiling() and not bool(there.any()):
            raise InputError("A text classifier got documents without a word. Leave them out.")
        piece = max(1, there.numel()) if torch.is_grad_enabled() else PIECE  # what is learnt from is needed whole
        pieces = (torch.split(one[there], piece) for one in (ids, mask))
        parts = [self._sentences(*one) for one in zip(*pieces, strict=True)]
        made, words = (torch.cat(one) for one in zip(*parts, strict=True))
        flat = made.new_zeros(*there.shape, made.shape[-1])
        flat[there] = made
        outer: Pooled = self.pool(self.document(flat, there), there)
        words = words.to(outer.attention.dtype)
        shares = words.new_zeros(mask.shape)
        shares[there] = words
        attention = outer.attention[..., None] * shares[:, None]
        return outer, attention.flatten(2), outer.attention

    def _sentences(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sentences (N, T) -> a vector of each (N, 2 hidden), and the shares of its words (N, T), of all its heads."""
        vectors, x = self.tokens(ids, mask)
        inner: Pooled = self.sentence_pool(x, mask, vectors if self._mean_words else None)
        return torch.tanh(self.to_sentence(inner.vectors.flatten(1))), inner.attention.mean(1)

    @property
    def _mean_words(self) -> bool:
        return bool(self.config.pooling == "lama" and self.config.pooler.get("context") == "mean")

    # -- texts ----------------------------------------------------------------------------------------------------

    def has_words(self, text: str) -> bool:
        """Whether there is anything to read. InputError: the model was made without words."""
        return bool(self._read(text).ids)

    def _read(self, text: str) -> Read:
        if self.words is None:
            raise InputError("This model knows no words: set `words`, or load one that `foveal train classifier` made.")
        return self.words.read(text)

    def read(self, text: str) -> Any:
        """A text as a row: its words, or those of each sentence. InputError: it has none."""
        whole = self._read(text)
        if not whole.ids:
            raise InputError(f"The text {text[:60]!r} has no word, so that it has no class. Leave it out.")
        if self.config.hierarchical:
            return sentences(text, whole, most=self.config.sentence_words)
        return whole.cut(self.config.max_words)

    @torch.no_grad()
    def classify(self, texts: Sequence[str], *, batch: int = 32) -> list[Classified]:
        """The class of each text, with the words that were looked at. InputError: a text without a word, no batch."""
        require_number("A text classifier", "batch", batch, COUNT, whole=True)
        self.train(False)
        rows = [self.read(text) for text in texts]
        found: dict[int, Classified] = {}
        for places in _batches(rows, batch):
            ids = together([rows[place] for place in places]).to(self.embed.weight.device)
            output = self(ids)
            shares = output.logits.float().softmax(-1)
            for at, place in enumerate(places):
                there = (ids[at] != 0).flatten()
                found[place] = Classified(
                    texts[place], tuple(self.classes), tuple(shares[at].tolist()), spans_of(rows[place]),
                    output.attention[at][:, there].float().cpu().numpy(),
                )  # fmt: skip
        return [found[place] for place in range(len(rows))]

    @torch.no_grad()
    def vectors_of(self, texts: Sequence[str], *, batch: int = 32) -> Tensor:
        """What the decision is made from: (N, m, d), in the texts' order. InputError: none, or one without a word."""
        require_number("A text classifier", "batch", batch, COUNT, whole=True)
        self.train(False)
        rows, device = [self.read(text) for text in texts], self.embed.weight.device
        if not rows:
            raise InputError("There are no texts to make vectors of; give at least one.")
        parts = (together(rows[at : at + batch]).to(device) for at in range(0, len(rows), batch))
        return torch.cat([self(one).vectors for one in parts])

    # -- files ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, *names: Any, **options: Any) -> Any:
        """As transformers', with the words of a local folder. ModelUnavailable: it holds no text classifier."""
        try:
            loaded = super().from_pretrained(*names, **{**options, "use_safetensors": True})
        except (ValueError, ModelUnavailable) as error:
            raise ModelUnavailable(
                f"{names[0]} holds no text classifier ({error}). Train one: foveal train classifier."
            ) from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if (path := Path(names[0]) / WORDS).is_file():
            model.words = Words.load(path)
            if len(model.words) != model.config.vocab_size:
                raise ModelUnavailable(
                    f"{path} has {len(model.words):,} words, and the model {model.config.vocab_size:,}: they do not "
                    "belong together. Train it anew."
                )
        return loaded

    def save_pretrained(self, *names: Any, **options: Any) -> None:
        """As transformers', with the words."""
        super().save_pretrained(*names, **options)
        if self.words is not None:
            self.words.save(Path(names[0]) / WORDS)


def _pooler(config: TextClassifierConfig, dim: int, *, words: bool = True) -> Any:
    """The pooling of a config over tokens of width `dim`; `words`: word vectors may be its context."""
    options: Mapping[str, Any] = config.pooler
    if options.get("context") == "given" or options.get("output_dim") is not None:
        raise InputError(
            f"A text classifier got pooler = {dict(options)}; it gives no context, and decides by every head's vector. "
            'Take the context "learned" or "mean", and leave output_dim out.'
        )
    if words and options.get("context") == "mean":
        options = {**options, "context_dim": config.word_dim}
    return pooler_of(config.pooling, dim=dim, heads=config.heads, options=options)


def _batches(rows: Sequence[Any], batch: int) -> Iterator[list[int]]:
    """Places of rows of like length, so many together, of long ones fewer: at most CELLS words with the padding."""
    places: list[int] = []
    most, widest = 0, 0
    for place in sorted(range(len(rows)), key=lambda one: length_of(rows[one])):
        high, wide = _form(rows[place])
        cells = (len(places) + 1) * max(most, high) * max(widest, wide)
        if places and (len(places) == batch or cells > CELLS):
            yield places
            places, most, widest = [], 0, 0
        places.append(place)
        most, widest = max(most, high), max(widest, wide)
    if places:
        yield places


def _form(row: Any) -> tuple[int, int]:
    """Sentences of a row, one where it is read flat, and the most words of one."""
    return (len(row), max(len(one.ids) for one in row)) if isinstance(row, list) else (1, len(row.ids))


def length_of(row: Any) -> int:
    """Words of a row."""
    return sum(len(one.ids) for one in row) if isinstance(row, list) else len(row.ids)


def spans_of(row: Any) -> tuple[tuple[int, int], ...]:
    """Where the words of a row stand."""
    return tuple(span for one in row for span in one.spans) if isinstance(row, list) else row.spans


def together(rows: Sequence[Any]) -> Tensor:
    """Rows side by side, the padding on the right: (B, T), of documents (B, S, T)."""
    if isinstance(rows[0], Read):
        widest = max(len(one.ids) for one in rows)
        return torch.tensor([[*one.ids, *[0] * (widest - len(one.ids))] for one in rows])
    most, widest = max(map(len, rows)), max(len(one.ids) for row in rows for one in row)
    ids = torch.zeros(len(rows), most, widest, dtype=torch.long)
    for at, row in enumerate(rows):
        for place, one in enumerate(row):
            ids[at, place, : len(one.ids)] = torch.tensor(one.ids)
    return ids
