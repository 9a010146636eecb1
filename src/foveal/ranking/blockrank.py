"""BlockRank: a language model reads all candidates at once, each beside the question only, and a hit's score is the
attention that the end of the prompt pays to it in one middle layer (Gupta et al., NeurIPS 2025, arXiv 2510.05396).

    BlockRank(load_language_model()).rank("Where is sight sharpest?", hits)      # one pass, nothing is generated
    BlockRank.load("my-blockrank")                                               # a trained one, with its own layer

Cost      Linear in the candidates, and of the model only the layers up to the signal's; 500 candidates are one pass
Order     Documents do not see each other and share their positions: with `numbers="text"` a hit's score does not
          depend on where in the list it stood; with IDs by order, on the digits of its ID alone
Needs     A decoder that `attach` takes, with a layer in the middle that sees everything
Parts     blockrank_prompt.py (layout, mask, positions), blockrank_forward.py (the pass), blockrank_cache.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from foveal.attention.profiles import whole_layers
from foveal.errors import InputError, ModelUnavailable
from foveal.models.chat import Cancel
from foveal.models.language import LanguageModel, load_language_model
from foveal.models.lean import stretches
from foveal.models.threads import Threads
from foveal.ranking.blockrank_cache import Block, BlockCache, Scope, alike, fits
from foveal.ranking.blockrank_decode import ID_TOKENS, id_likelihoods
from foveal.ranking.blockrank_forward import Found, read
from foveal.ranking.blockrank_plan import Ask, Held
from foveal.ranking.blockrank_prompt import Layout, Prompter, Segments
from foveal.retrieval.pipeline import by_score, require_once
from foveal.training.blockrank import KEPT as SAVED
from foveal.types import Hit, require_hits

AUTO = "auto"
DEPTH = 5 / 8
"""Where the signal's layer lies by default: 20 of 32 in the paper, 15 of 24 in Qwen 0.5B as measured."""

KEPT = Layout(prefix_query=False, numbers="text")
"""The layout under which documents can be kept and used again."""

MODES = ("attention", "decode")


@dataclass(frozen=True)
class TokenMass:
    """What is paid to a token: characters `start` to `end` of the passage's text."""

    start: int
    end: int
    mass: float


@dataclass(frozen=True)
class Explained:
    """A hit with its score taken apart: its text's tokens, and what its frame (ID, heading) got."""

    hit: Hit
    tokens: tuple[TokenMass, ...]
    frame: float


@dataclass(frozen=True, eq=False)
class BlockRank:
    """A `Ranker`; scores lie in 0 to 1 and sum to 1 over the hits that are read."""

    model: LanguageModel
    layer: int | str = AUTO  # of the signal, from 0; "auto": the trained one's, else at five eighths of the depth
    layout: Layout = field(default_factory=Layout)
    mode: str = "attention"  # or "decode": by the likelihood of each ID as the answer
    cache: BlockCache | None = None  # keeps documents; needs a layout that `keeps`
    budget: int = 500  # hits read; the rest follow below

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.budget < 1:
            raise InputError(
                f"BlockRank got mode={self.mode!r} and budget={self.budget}; it needs one of {', '.join(MODES)}, and "
                "at least 1."
            )
        if self.cache is not None and not (self.layout.keeps and self.mode == "attention"):
            raise InputError(
                "BlockRank can keep documents only where their tokens depend on nothing else: give it layout=KEPT "
                "(prefix_query=False, numbers='text') and mode='attention', or no cache."
            )
        if self.cache is not None and stretches(self.model.model):
            raise InputError(
                f"{self.model.name} turns positions otherwise in longer texts (dynamic or LongRoPE), so what it reads "
                "of a document depends on what stands behind it, and cannot be kept. Leave the cache out."
            )
        _ = self.depth  # a layer that cannot be is said now, not at the first search

    @classmethod
    def load(cls, name: str, **options: Any) -> BlockRank:
        """The ranker of a model by name, with the layer and layout that it was trained with; `options` are the fields.

        UnknownName, ModelUnavailable: as `load_language_model`.
        """
        model = load_language_model(name)
        saved = saved_settings(model.folder)
        if saved.get("full"):
            raise InputError(
                f"{name} was trained to rank with full attention. Load it as ListwiseRanker.load({name!r})."
            )
        given = {"layer": saved.get("layer", AUTO), "layout": Layout(**saved.get("layout", {}))}
        return cls(model, **{**given, **options})

    @cached_property
    def depth(self) -> int:
        """The signal's layer. InputError: there is none such, or it does not see everything."""
        if self.layer == AUTO:
            return int(saved_settings(self.model.folder).get("layer", default_layer(self.model.model.config)))
        return checked_layer(self.model, self.layer)

    @cached_property
    def prompter(self) -> Prompter:
        """Writes the prompts."""
        return Prompter(self.model, self.layout)

    @cached_property
    def _threads(self) -> Threads:
        return Threads(self.model.device)

    # -- ranking -------------------------------------------------------------------------------------------------------

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best `budget` hits by score, then the rest in their order, below them; no hits give none.

        InputError: the query or a passage is empty, a passage comes twice, a plain text is among the hits, or the
        prompt does not fit the model's positions. Cancelled: by `cancel`, looked at in each layer.
        """
        if self.mode == "decode":
            return self.decode(query, hits, cancel=cancel)
        taken = list(require_hits(hits)[: self.budget])
        return ordered(taken, self.scores(query, taken, cancel=cancel), "blockrank", hits) if taken else []

    def scores(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[float]:
        """The score of each hit, in order; they sum to 1. Errors as in `rank`, and InputError where there is no hit."""
        if self.mode == "decode":
            return self.likelihoods(query, hits, cancel=cancel)
        scores: list[float] = self._found(query, hits, cancel)[1].scores(self.depth).tolist()
        return scores

    def explain(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Explained]:
        """Of each hit what each token of its text gets in attention mode, best hit first; errors as in `scores`."""
        segments, found = self._found(query, hits, cancel)
        explained = []
        for hit, document, masses in zip(hits, segments.documents, found.of_tokens(self.depth), strict=True):
            pairs = list(zip(document.places, masses.tolist(), strict=True))
            tokens = tuple(TokenMass(*place, mass) for place, mass in pairs if place is not None)
            frame = math.fsum(mass for place, mass in pairs if place is None)
            score = math.fsum(mass for _, mass in pairs)
            explained.append(Explained(replace(hit, score=score, source="blockrank"), tokens, frame))
        return sorted(explained, key=lambda one: -one.hit.score)

    def likelihoods(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[float]:
        """How likely each hit's ID is as the answer, among the IDs there are: decoding under that constraint, exactly.

        Every ID is scored in one pass, as branches of a tree behind the prompt, so that no beam cuts one off. Hits that
        share an ID, as texts may with `numbers="text"`, share its likelihood.
        """
        segments = self._segments(query, hits, after=ID_TOKENS)
        with torch.inference_mode(), self._threads.chosen():
            return id_likelihoods(self.model.model, self.prompter, segments, cancel=cancel)

    def decode(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """`rank` by `likelihoods`: what the model would write, and what next."""
        taken = list(require_hits(hits)[: self.budget])
        scores = self.likelihoods(query, taken, cancel=cancel) if taken else []
        return ordered(taken, scores, "blockrank-decode", hits)

    # -- the pass ------------------------------------------------------------------------------------------------------

    def _segments(self, query: str, hits: Sequence[Hit], *, after: int = 0) -> Segments:
        require_once(hits)
        texts, headings = [hit.passage.text for hit in hits], [hit.passage.heading for hit in hits]
        return self.prompter.segments(query, texts, headings, after=after)

    def _found(self, query: str, hits: Sequence[Hit], cancel: Cancel | None) -> tuple[Segments, Found]:
        segments = self._segments(query, hits)
        ask = Ask(layers=(self.depth,))
        with torch.inference_mode(), self._threads.chosen():
            held = self._held(segments, cancel) if self.cache is not None else None
            return segments, read(self.model.model, segments, ask, held=held, cancel=cancel)

    def keep(self, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> int:
        """Read these hits into the cache before any query comes; the bytes that it then holds. InputError: no cache."""
        if self.cache is None:
            raise InputError("This BlockRank has no cache. Give it one: BlockRank(model, layout=KEPT, cache=…).")
        segments = self._segments("-", hits)
        with torch.inference_mode(), self._threads.chosen():
            self._read_missing(segments, self._scope(segments), cancel)
        return self.cache.bytes

    def _held(self, segments: Segments, cancel: Cancel | None) -> Held:
        """What is kept of the instruction and these documents, read now where it was not."""
        return Held(self._read_missing(segments, self._scope(segments), cancel))

    def _read_missing(self, segments: Segments, scope: Scope, cancel: Cancel | None) -> list[Block]:
        """The blocks of the instruction and of each document, in order. InputError: those made now hold no numbers."""
        assert self.cache is not None
        wanted = [segments.instruction, *(one.ids for one in segments.documents)]
        kept = [self.cache.get(scope, ids) for ids in wanted]
        held = {n: one for n, one in enumerate(kept) if one is not None and fits(one, len(wanted[n]), self.depth)}
        blocks = held | self._made(segments, held, cancel)
        if not alike(list(blocks.values())):
            held, blocks = {}, self._made(segments, {}, cancel)
        for n in sorted(blocks.keys() - held.keys()):
            self.cache.put(scope, wanted[n], blocks[n])
        return [blocks[n] for n in range(len(wanted))]

    def _made(self, segments: Segments, held: Container[int], cancel: Cancel | None) -> dict[int, Block]:
        """The blocks that are not held, made by one pass: 0 is the instruction's, n that of document n - 1."""
        missing = [n for n in range(len(segments.documents) + 1) if n not in held]
        if not missing:
            return {}
        documents = tuple(segments.documents[n - 1] for n in missing if n)
        part = replace(segments, documents=documents, query=(), signal=())
        made = read(self.model.model, part, Ask(keep=self.depth), cancel=cancel).blocks()[0 if missing[0] == 0 else 1 :]
        _require_numbers(self.model.name, made)
        return dict(zip(missing, made, strict=True))

    def _scope(self, segments: Segments) -> Scope:
        return Scope(
            {
                "model": self.model.fingerprint,
                "layer": str(self.depth),
                "type": str(self.model.dtype),
                "instruction": " ".join(map(str, segments.instruction)),
            }
        )


def _require_numbers(name: str, blocks: Sequence[Block]) -> None:
    """InputError: one that would be kept holds what is no number, and each later answer by it would be none."""
    if not all(bool(part.isfinite().all()) for block in blocks for part in block):
        raise InputError(
            f"{name} computes what is no number of these passages (NaN or infinity), so nothing of them is kept. Load "
            "it in bfloat16 or float32 if it was in float16; else its weights are damaged."
        )


def ordered(taken: Sequence[Hit], scores: Sequence[float], source: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits that were scored, best first, then the others of `hits`, below. InputError: a score is not finite."""
    if strange := [place for place, score in enumerate(scores) if not math.isfinite(score)]:
        raise InputError(f"The model gave candidate {strange[0]} no finite score. Load it in float32.")
    return by_score(taken, scores, source, hits)


# -- the signal's layer ------------------------------------------------------------------------------------------------


SEEN = {
    "sliding_attention": "a sliding window",
    "chunked_attention": "its own chunk of the text",
    "linear_attention": "what linear attention sums up",
    "conv": "what a convolution reaches",
    "mamba": "what a state sums up",
}
"""What a layer sees that does not see everything, by its kind in the configuration."""


def full_layers(config: Any) -> list[int]:
    """The layers that see everything before them."""
    text = config.get_text_config()
    if getattr(text, "layer_types", None) is not None:
        return whole_layers(text)
    slides = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    return [] if slides else whole_layers(text)


def _seen(config: Any, layers: Iterable[int] | None = None) -> str:
    """What some layers (all) that do not see everything see, in words."""
    kinds = getattr(config.get_text_config(), "layer_types", None)
    if kinds is None:
        return SEEN["sliding_attention"]
    some = kinds if layers is None else [kinds[layer] for layer in layers]
    return " or ".join(dict.fromkeys(SEEN.get(kind, f"what {kind!r} lets it see") for kind in some))


def default_layer(config: Any) -> int:
    """The layer at `DEPTH` of the model, or the nearest one that sees everything. InputError: none does."""
    full = full_layers(config)
    if not full:
        raise InputError(
            f"Every layer of this model sees only {_seen(config)}, and the documents lie far before the question. "
            "Choose another model."
        )
    wanted = DEPTH * config.get_text_config().num_hidden_layers
    return min(full, key=lambda number: (abs(number - wanted), number))


def checked_layer(model: LanguageModel, layer: int | str) -> int:
    """`layer`, if the signal can come from it."""
    full, count = full_layers(model.model.config), model.model.config.get_text_config().num_hidden_layers
    if not isinstance(layer, int) or not 0 <= layer < count:
        raise InputError(f"{model.name} has layers 0 to {count - 1}; the signal's was to be {layer!r}. Or say 'auto'.")
    if layer not in full:
        raise InputError(
            f"Layer {layer} of {model.name} sees only {_seen(model.model.config, [layer])}, and the documents lie far "
            f"before the question. Choose one that sees everything: {', '.join(map(str, full)) or 'there is none'}."
        )
    return layer


def saved_settings(folder: Path) -> dict[str, Any]:
    """What `train` left in a model's folder; nothing for a model that was not trained to rank. ModelUnavailable: it is
    damaged, and another layer or layout would rank at random.
    """
    try:
        found: dict[str, Any] = dict(json.loads((folder / SAVED).read_text(encoding="utf-8")))
        Layout(**found.get("layout", {}))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(f"{folder / SAVED} is damaged ({error}). Copy it anew, or train it again.") from error
    return found
