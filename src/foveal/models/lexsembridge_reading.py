"""What LexSemBridge reads of a text, and its folder: units, vectors, hidden states; W from a collection; save and load.

Units      the rows of W: the encoder's own tokens, or whole words of a collection. A rare name splits into common
           tokens, which say nothing of it; as a word it is one
W          `corpus_weights`: without any training, row t says in which numbers the documents that hold t differ from
           the others, the more so the rarer t is
Folder     lexsembridge.json, lexsembridge.safetensors, words.json (where units are words), encoder/ (a copy of the
           encoder's folder: one without the bridge's files is no bridge, and one with them is no plain encoder)
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.models.characters import scalar
from foveal.models.dtypes import usual_type
from foveal.models.lexsembridge import Bridge, BridgeSettings, MaskedHead, Reading
from foveal.models.lexsembridge_single import fits, of_one
from foveal.types import Encoder

if TYPE_CHECKING:
    from foveal.models.bert import BertEncoder

ABOUT, WEIGHTS, WORDS, ENCODER = "lexsembridge.json", "lexsembridge.safetensors", "words.json", "encoder"
KINDS = ("words", "tokens")
MOST_WORDS = 200_000
"""Words of a collection that get a row of W: the most frequent ones."""

STRENGTH, RARITY, REACH = 0.002, 3, 0.5
"""W's rows are as long as STRENGTH idf^RARITY sqrt(d), and log v spreads by REACH at most: chosen on SciFact's passages
outside of the held-out half, for keywords, spans and training claims alike."""

AT_ONCE = 64
"""Texts that go through a bridge, and whose hidden states are held, at a time."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Units:
    """What the rows of W stand for: `words`, or (None) the `size` tokens of the encoder."""

    size: int
    words: tuple[str, ...] | None = None
    special: tuple[int, ...] = ()  # tokens that stand for no text: [CLS], [SEP], [PAD], [UNK], …

    @classmethod
    def of_words(cls, texts: Iterable[str], *, most: int = MOST_WORDS) -> Units:
        """The words of the texts, lower-cased. InputError: there are none."""
        counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
        if not counts:
            raise InputError("The collection holds no word, so there is nothing to build a bridge of. Give its texts.")
        words = tuple(word for word, _ in counts.most_common(most))
        return cls(len(words), words)

    @classmethod
    def of_tokens(cls, encoder: Encoder) -> Units:
        """The encoder's own tokens. ModelUnavailable: it does not give them."""
        vocabulary = bert_of(encoder, "the ids of its tokens").tokenizer
        special = [number for number, token in vocabulary.get_added_tokens_decoder().items() if token.special]
        named = [vocabulary.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
        known = sorted({*special, *(number for number in named if number is not None)})
        return cls(vocabulary.get_vocab_size(), None, tuple(known))

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "tokens" if self.words is None else "words"

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Word -> row of W."""
        return {word: number for number, word in enumerate(self.words or ())}

    def of_text(self, text: str) -> list[int]:
        """The rows of a text's words, in its order; words that have none are left out."""
        return [self.numbers[word] for word in _WORD.findall(text.lower()) if word in self.numbers]

    def of_places(self, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[int]:
        """The row at each token's place (-1: none): the token itself, or the word that it stands in."""
        if self.words is None:
            return list(ids)
        rows = np.full(len(text) + 1, -1, dtype=np.int64)
        for word in _WORD.finditer(text):
            rows[word.start() : word.end()] = self.numbers.get(word.group().lower(), -1)
        return [int(rows[start]) if end > start else -1 for start, end in offsets]


@dataclass(frozen=True)
class Reader:
    """Texts to `Reading`s: the encoder's vectors, the units, and hidden states where the settings need them."""

    encoder: Encoder
    units: Units
    settings: BridgeSettings

    def __call__(self, texts: Sequence[str]) -> Reading:
        """Of each text the first `encoder.max_tokens` tokens count. InputError: a text without any word or sign."""
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise InputError(f"Text {number} of {len(texts)} is empty, so that it has no unit. Leave it out.")
        if not texts:
            return Reading(torch.empty(0, self.encoder.dimension), torch.empty(0, 0, dtype=torch.long))
        if self.settings.needs_states or self.units.words is None:
            return self._with_states(texts)
        vectors = torch.from_numpy(np.ascontiguousarray(self.encoder.encode(texts), dtype=np.float32))
        return Reading(vectors, padded([self.units.of_text(self._seen(text)) for text in texts]))

    def _seen(self, text: str) -> str:
        """The part of the text that the encoder reads."""
        room = self.encoder.max_tokens - 2
        if len(text) <= room:  # a token has a character or more
            return text
        offsets = self.encoder.token_offsets(text)
        return text if len(offsets) <= room else text[: offsets[room - 1][1]]

    def _with_states(self, texts: Sequence[str]) -> Reading:
        from foveal.models.bert_torch import BATCH_TOKENS, batches, pooled, workers

        encoder = bert_of(self.encoder, "its tokens and hidden states")
        read = encoder.tokens(texts)
        rows = [self.units.of_places(text, one.ids, one.offsets) for text, one in zip(texts, read, strict=True)]
        ids = padded(rows)
        if not self.settings.needs_states:
            return Reading(torch.from_numpy(encoder.encode(texts)), ids)

        def made(places: Sequence[int]) -> tuple[Tensor, Tensor]:
            tokens = padded([read[place].ids for place in places], fill=0)
            mask = torch.arange(tokens.shape[1]) < torch.tensor([len(read[place].ids) for place in places])[:, None]
            with torch.inference_mode():
                hidden = encoder.hidden(tokens, mask).float()
                return pooled(hidden, mask, encoder.pooling), hidden

        groups = list(batches([len(one.ids) for one in read], BATCH_TOKENS))
        if len(texts) == 1:
            vectors, states = next(workers(len(groups)).map(made, groups))
            return Reading(vectors, ids, states, states[:, 0])
        vectors = torch.empty(len(texts), encoder.dimension, dtype=torch.float32)
        states = vectors.new_zeros(*ids.shape, encoder.dimension)
        for places, (mean, hidden) in zip(groups, workers(len(groups)).map(made, groups), strict=True):
            vectors[places], states[places, : hidden.shape[1]] = mean, hidden
        return Reading(vectors, ids, states, states[:, 0])


def bridged(
    bridge: Bridge, reader: Callable[[Sequence[str]], Reading], texts: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Unit vectors (len(texts), d) of texts through the bridge."""
    if len(texts) == 1 and fits(bridge):
        with torch.inference_mode():
            return of_one(bridge, reader(texts))
    step = AT_ONCE if bridge.settings.needs_states else max(1, len(texts))
    parts = [np.empty((0, bridge.dimension), dtype=np.float32)]
    with torch.inference_mode():
        for at in range(0, len(texts), step):
            read = reader(texts[at : at + step])
            groups = range(0, len(read.vectors), AT_ONCE)
            parts += [bridge(_rows(read, slice(row, row + AT_ONCE))).cpu().numpy() for row in groups]
    return np.concatenate(parts)


def _rows(read: Reading, rows: slice) -> Reading:
    states = None if read.states is None else read.states[rows]
    return Reading(read.vectors[rows], read.ids[rows], states, None if read.first is None else read.first[rows])


def bert_of(encoder: Encoder, what: str) -> BertEncoder:
    """The encoder, if it is of the BERT family. ModelUnavailable: it is not, so that it does not give `what`."""
    from foveal.models.bert import BertEncoder

    if isinstance(encoder, BertEncoder):
        return encoder
    raise ModelUnavailable(
        f"{encoder.name} does not give {what}; encoders of the BERT family do, such as minilm. SLR over whole words "
        '(units="words") works with any encoder.'
    )


def padded(rows: Sequence[Sequence[int]], *, fill: int = -1) -> Tensor:
    """Rows as (B, L), filled up at the end."""
    if len(rows) == 1:
        return torch.tensor([rows[0]], dtype=torch.long)
    made = torch.full((len(rows), max((len(row) for row in rows), default=0)), fill, dtype=torch.long)
    for number, row in enumerate(rows):
        made[number, : len(row)] = torch.tensor(row, dtype=torch.long)
    return made


def masked_head(encoder: Encoder, *, fresh: bool = False) -> MaskedHead:
    """The encoder's masked-language head. InputError: it has none, and no `fresh` one was asked for."""
    weights = bert_of(encoder, "a masked-language head").weights
    with usual_type():
        head = MaskedHead(weights["embeddings.word_embeddings.weight"])
    part = "cls.predictions."
    if f"{part}bias" in weights:
        names = {"dense": "transform.dense", "norm": "transform.LayerNorm"}
        loaded = {
            f"{ours}.{kind}": f"{part}{theirs}.{kind}" for ours, theirs in names.items() for kind in ("weight", "bias")
        }
        head.load_state_dict(
            {name: weights[theirs].float() for name, theirs in loaded.items()}
            | {"bias": weights[f"{part}bias"].float(), "words": head.words}
        )
    elif not fresh:
        raise InputError(
            f"{encoder.name} has no masked-language head, which CLR needs. Name a masked-language model, or ask for a "
            "fresh head, which has to be trained: init_mlm_head=True."
        )
    return head


def made_bridge(encoder: Encoder, units: Units, settings: BridgeSettings, *, init_mlm_head: bool = False) -> Bridge:
    """A bridge with W = 0 for the encoder. Errors: as `masked_head` and `Bridge`."""
    head = masked_head(encoder, fresh=init_mlm_head) if settings.method == "CLR" else None
    with usual_type():
        return Bridge(units.size, encoder.dimension, settings, special=units.special, head=head)


# -- W from a collection ----------------------------------------------------------------------------------------------


def corpus_weights(
    holding: Sequence[Sequence[int]], vectors: npt.NDArray[np.float32], size: int, *, strength: float = STRENGTH
) -> Tensor:
    """W (size, d) from the rows that each document holds and the documents' vectors (N, d); nothing is trained.

    Row t is |mean of the vectors of documents that hold t - mean of all|, scaled to the length strength idf^3 sqrt(d);
    0 for a unit that no document holds, and for one that all hold alike. InputError: no documents, or not one vector
    for each.
    """
    if not len(holding) or len(holding) != len(vectors):
        raise InputError(f"{len(holding)} documents came with {len(vectors)} vectors; there must be one for each.")
    documents = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    sums, counts = documents.new_zeros(size, documents.shape[1]), documents.new_zeros(size)
    for row, units in enumerate(holding):
        there = torch.tensor(sorted({unit for unit in units if unit >= 0}), dtype=torch.long)
        sums[there] += documents[row]
        counts[there] += 1
    apart = (sums / counts.clamp(min=1)[:, None] - documents.mean(dim=0)).abs()
    lengths = apart.norm(dim=1, keepdim=True)
    rarity = (
        torch.log1p((len(holding) - counts + 0.5) / (counts + 0.5)) ** RARITY * (counts > 0) * (lengths[:, 0] > 1e-6)
    )
    found: Tensor = apart / lengths.clamp(min=1e-6) * (strength * documents.shape[1] ** 0.5 * rarity)[:, None]
    return found


def units_of(kind: str, encoder: Encoder, texts: Iterable[str]) -> Units:
    """Units by name: the words of the texts, or the encoder's tokens. InputError: another name."""
    if kind not in KINDS:
        raise InputError(f"A bridge's units are one of {', '.join(KINDS)}; it got {kind!r}.")
    return Units.of_words(texts) if kind == "words" else Units.of_tokens(encoder)


def held_units(encoder: Encoder, units: Units, texts: Sequence[str]) -> list[list[int]]:
    """The rows of W that each text holds, all of it."""
    if units.words is not None:
        return [units.of_text(text) for text in texts]
    tokenizer = bert_of(encoder, "the ids of its tokens").tokenizer
    return [list(one.ids) for one in tokenizer.encode_batch(list(map(scalar, texts)), add_special_tokens=False)]


# -- the folder -------------------------------------------------------------------------------------------------------


def write_bridge(folder: Path, bridge: Bridge, units: Units, encoder: Encoder, *, copy_encoder: bool = True) -> Path:
    """Write the bridge's files into `folder`; `copy_encoder`: the encoder's, too, where it has a folder."""
    from safetensors.torch import save_file

    own = getattr(encoder, "folder", None)
    if copy_encoder and own is not None and not (folder / ENCODER).exists():
        shutil.copytree(own, folder / ENCODER)
    with whole_file(folder / WEIGHTS) as partial:
        save_file({name: value.contiguous() for name, value in bridge.state_dict().items()}, partial)
    if units.words is not None:
        _write_json(folder / WORDS, list(units.words))
    about = {
        "settings": asdict(bridge.settings), "size": bridge.size, "dimension": bridge.dimension, "units": units.kind,
        "special": list(units.special), "encoder": encoder.name, "fingerprint": encoder.fingerprint,
    }  # fmt: skip
    _write_json(folder / ABOUT, about)
    return folder


def read_bridge(folder: Path, encoder: Encoder | None = None) -> tuple[Bridge, Units, Encoder]:
    """The bridge, its units and its encoder: the given one, else that in the folder, else by the name that is stated.

    ModelUnavailable: the bridge's files are missing or damaged. InputError: the encoder is another one than W was made
    for, or the words are not as many as W's rows.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from foveal.models.encoders import encoder_of

    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        state = load_file(folder / WEIGHTS)
        words = json.loads((folder / WORDS).read_text(encoding="utf-8")) if about["units"] == "words" else None
        settings = BridgeSettings(**about["settings"])
        size, dimension, special = about["size"], about["dimension"], tuple(about["special"])
        stated, name = about["fingerprint"], about["encoder"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{folder} lacks the files of a bridge, or they are damaged ({type(error).__name__}: {error}). Without "
            "them there is only a plain encoder, so nothing was loaded. Train or fetch the bridge anew."
        ) from error
    if encoder is None:
        inside = folder / ENCODER
        encoder = encoder_of(folder, str(inside) if inside.is_dir() else name)
    if encoder.fingerprint != stated:
        raise InputError(
            f"The bridge in {folder} was made for the encoder {name} ({stated[:12]}), not for {encoder.name} as it is "
            f"now ({encoder.fingerprint[:12]}). Use it with its own encoder, or train one for this."
        )
    units = Units(size if words is None else len(words), None if words is None else tuple(words), special)
    if units.words is None:
        units_of_encoder = Units.of_tokens(encoder)
        units = Units(units_of_encoder.size, None, special)
    if units.size != size:
        raise InputError(
            f"W has {size:,} rows, but there are {units.size:,} {units.kind}: vocabulary and bridge do not belong "
            "together. Fetch the folder anew."
        )
    with usual_type():
        head = MaskedHead(state["head.words"]) if "head.words" in state else None
        bridge = Bridge(size, dimension, settings, special=special, head=head)
    try:
        bridge.load_state_dict(state)
    except RuntimeError as error:
        raise ModelUnavailable(f"The weights in {folder} do not fit its settings ({error}). Train it anew.") from error
    return bridge.eval(), units, encoder


def _write_json(path: Path, content: object) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
