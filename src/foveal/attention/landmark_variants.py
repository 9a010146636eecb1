"""Landmark attention's variants: a context-miss token that says whether to open blocks at all, and dropped groups.

    model = LandmarkVariant(decoder, LandmarkVariantSettings(block=32, miss=0.5))       # trained like any LandmarkModel
    cache = model.make_cache(VariantReadSettings(top_k=4, cutoff=0.1))                  # below: nothing is fetched
    model.read(ids, cache); cache.skipped_share                                         # what was saved

Context miss   one more key, which stands before the text and knows nothing of it, is in the softmax of every query's
               own group. In training a random part of a window's landmarks is *controlled* by it: they form a softmax
               of their own, which is multiplied by what the query gives to the context-miss token; it has no weight
               itself. While a text is read the kept blocks are the controlled ones, those of the chunk are free: so a
               query that gives the token little needs none of them. Where no controlled block stands before a query,
               what it gives to the token goes nowhere
Group dropout  in training, what a query gives to an earlier block is dropped at random

Shapes    q (B, H, T, D), k and v (B, G, T, D) of a window from its first position on, turned; controlled (blocks,) bool
Cost      training by PyTorch's operations and their backward: scores (B, H, T, T) are held
Source    Mohtashami and Jaggi, NeurIPS 2023 (arXiv 2305.16300), sections on the context-miss token and group dropout
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.attention.attach import Context, attach
from foveal.attention.decoders import trunk
from foveal.attention.landmark_cache import LandmarkCache, LandmarkLayer, Opened, ReadSettings
from foveal.attention.landmark_files import kept_settings
from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings, _Whole
from foveal.attention.landmark_weights import wide
from foveal.errors import InputError
from foveal.models.hub import folder_of
from foveal.ranges import BELOW_ONE, SHARE, require_settings
from foveal.settings import Settings

VERSION, MISS = "1 of a variant", "context_miss.safetensors"


@dataclass(frozen=True, kw_only=True)
class LandmarkVariantSettings(LandmarkSettings):
    """What a variant is trained for. Checked when made. InputError: a share out of its range, or two that exclude."""

    miss: float = 0.0  # share of a window's landmarks that the context-miss token controls in training; 0: no token
    group_dropout: float = 0.0  # share of what queries give to earlier blocks that is dropped in training
    masked: float = 0.0  # share of the tokens that are masked and to be told from both sides (landmark_masked.py)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_settings("A variant of landmarks", self, miss=SHARE, group_dropout=BELOW_ONE, masked=BELOW_ONE)
        if self.masked and (self.miss or self.jump):
            raise InputError("Masked tokens are told from both sides: without a context-miss token, and without jumps.")


@dataclass(frozen=True, kw_only=True)
class VariantReadSettings(ReadSettings):
    """How a text is read with a context-miss token."""

    cutoff: float = 0.0  # of a query's attention: where the token gets less, no block is opened; 0: always some are

    def __post_init__(self) -> None:
        super().__post_init__()
        require_settings("A landmark model", self, cutoff=SHARE)


# -- within a window ---------------------------------------------------------------------------------------------------


def variant_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    block: int,
    scale: float,
    miss: Tensor | None = None,
    controlled: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = True,
) -> tuple[Tensor, Tensor]:
    """The output (B, H, T, D) and the log (B, H, T) of the own group's denominator.

    `miss` (B, H, T): the queries' scaled scores with the context-miss token, if there is one; `controlled`: the blocks
    that it controls. Not `causal`: a query sees all of its block, and the landmarks of all others that are whole.
    """
    length, count = q.shape[2], -(-q.shape[2] // block)
    keys, values = (F.pad(part, (0, 0, 0, count * block - length)) for part in (k, v))
    folded = q.reshape(len(q), k.shape[1], -1, q.shape[3])
    scores = (folded @ keys.mT).to(wide(q.dtype)).view(*q.shape[:3], count, block) * scale
    low = torch.finfo(scores.dtype).min / 4  # finite: what is hidden everywhere has a gradient of 0, not none
    place, number = torch.arange(length, device=q.device), torch.arange(count, device=q.device)
    own = (place // block)[:, None] == number
    others = number < (place // block)[:, None] if causal else ~own & (number < length // block)
    position = torch.arange(count * block, device=q.device).view(count, block)
    last = place[:, None, None] if causal else length - 1
    inner = scores[..., :-1].masked_fill((position > last)[..., :-1], low)
    marks, sums = scores[..., -1], inner.logsumexp(-1)
    free = others if controlled is None else others & ~controlled
    logits = torch.where(own, sums, marks).masked_fill(~(own | free), low)
    group = logits if miss is None else torch.cat([logits, miss.to(logits.dtype)[..., None]], -1)
    total = group.logsumexp(-1)
    gates = (logits - total[..., None]).exp() * (own | free)
    if miss is not None and controlled is not None:
        bound = others & controlled
        share = marks.masked_fill(~bound, low).softmax(-1) * bound
        gates = gates + share * (miss - total).exp()[..., None]
    if dropout:
        gates = torch.where(own, gates, F.dropout(gates, dropout))
    weights = (inner.softmax(-1) * gates[..., None]).to(v.dtype)
    seen = values.view(*v.shape[:2], count, block, -1)[..., :-1, :].flatten(2, 3)
    return (weights.reshape(*folded.shape[:3], -1) @ seen).view(*q.shape[:3], -1), total


class _Window:
    """A variant's attention within a window."""

    def __init__(self, model: LandmarkVariant, places: Tensor) -> None:
        self.model, self.places = model, places
        self.keys = model.miss_keys() if model.miss is not None else None
        blocks = -(-len(places) // model.settings.block)
        drawn = torch.rand(blocks, dtype=torch.float32, device=places.device) < model.settings.miss
        self.controlled = drawn if model.training and self.keys is not None else None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (B, H, T, D)."""
        model, layer = self.model, context.layer
        q, k = (model.rotations.turned(part, self.places, layer).to(value.dtype) for part in (query, key))
        miss = None
        if self.keys is not None:
            miss = miss_scores(model, query, self.places, self.keys[layer], layer) * context.scale
        dropout = model.settings.group_dropout if model.training else 0.0
        return variant_attention(
            q, k, value, block=model.settings.block, scale=context.scale, miss=miss, controlled=self.controlled,
            dropout=dropout,
        )[0]  # fmt: skip

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None


def miss_scores(model: LandmarkModel, query: Tensor, places: Tensor, key: Tensor, layer: int) -> Tensor:
    """The products (B, H, T) of queries at their places with the context-miss token's key (1, G, 1, D), at -1."""
    turned = model.rotations.turned(query, places + 1, layer)  # both moved on by one: there is no turn by -1
    held = model.rotations.turned(key, places.new_zeros(1), layer).repeat_interleave(query.shape[1] // key.shape[1], 1)
    return (turned * held).sum(-1, dtype=wide(query.dtype))


class _Alone:
    """The context-miss token's pass: it sees nothing, and its keys are noted."""

    def __init__(self) -> None:
        self.keys: dict[int, Tensor] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        self.keys[context.layer] = key
        return query.new_zeros(*query.shape[:3], value.shape[3])

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None


# -- the model ---------------------------------------------------------------------------------------------------------


class LandmarkVariant(LandmarkModel):
    """A `LandmarkModel` with a context-miss token, or whose groups are dropped in training, as its settings say."""

    settings: LandmarkVariantSettings
    version = VERSION

    def __init__(self, base: Any, settings: LandmarkVariantSettings | None = None) -> None:
        """As `LandmarkModel`. InputError: the settings are of a masked model."""
        settings = settings or LandmarkVariantSettings()
        if settings.masked and type(self) is LandmarkVariant:
            raise InputError("A model of masked tokens is a MaskedLandmarks (foveal.attention.landmark_masked).")
        super().__init__(base, settings)
        self.miss = nn.Parameter(self.landmark.detach().clone()) if settings.miss else None

    def miss_keys(self) -> dict[int, Tensor]:
        """The context-miss token's keys (1, G, 1, D), not turned, by layer."""
        assert self.miss is not None
        noted = _Alone()
        given = self.miss.to(self.base.get_input_embeddings().weight.dtype)[None, None]
        with attach(self.base, noted):
            trunk(self.base)(inputs_embeds=given, use_cache=False)
        return noted.keys

    def hidden(self, ids: Tensor, method: Any, lead: int = 0) -> Tensor:
        """As `LandmarkModel.hidden`; a window is attended as the variant says."""
        varied = self.miss is not None or (self.training and self.settings.group_dropout)
        if isinstance(method, _Whole) and varied:
            method = _Window(self, method.places)
        return super().hidden(ids, method, lead)

    @torch.no_grad()
    def make_cache(self, settings: ReadSettings | None = None) -> VariantCache:
        """An empty cache; errors as those of `LandmarkModel.make_cache`."""
        made = super().make_cache(settings)
        cutoff = getattr(made.settings, "cutoff", 0.0)
        if self.miss is None:
            if cutoff:
                raise InputError(f"cutoff = {cutoff}: the model has no context-miss token. Train it with miss above 0.")
            return VariantCache(made.layers, made.identity, made.settings)
        keys = self.miss_keys()
        layers: list[LandmarkLayer] = [
            MissLayer(
                one.number, one.block, one.settings, one.rotations, one.store, draw=one.draw, model=self,
                miss=keys[one.number], cutoff=cutoff,
            )
            for one in made.layers
        ]  # fmt: skip
        return VariantCache(layers, made.identity, made.settings)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, settings: LandmarkSettings | None = None, *, dtype: torch.dtype = torch.float32
    ) -> LandmarkVariant:
        """What `save_pretrained` wrote; with settings, any decoder by name, to be trained.

        InputError: it was trained with other settings than those given. ModelUnavailable: it cannot be read.
        """
        folder = folder_of(str(name), Settings.load().cache, kind="language model")
        kept = kept_settings(folder, LandmarkVariantSettings, VERSION, "Of plain landmarks: use LandmarkModel.")
        if not isinstance(kept or settings, LandmarkVariantSettings):
            raise InputError(f"{folder} holds no variant of landmarks: give LandmarkVariantSettings, to train one.")
        return cls._of_folder(folder, kept, settings, dtype)

    def _vectors(self) -> dict[str, Tensor]:
        return super()._vectors() | ({} if self.miss is None else {MISS: self.miss})


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass
class MissLayer(LandmarkLayer):
    """The part of one layer, whose kept blocks are behind the context-miss token."""

    model: LandmarkVariant | None = None
    miss: Tensor | None = None  # its key (1, G, 1, D), not turned
    cutoff: float = 0.0
    asked: int = 0  # tokens and heads that had blocks to look at
    skipped: int = 0  # of these, those that did not

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """The output (B, H, C, D) of the next chunk, which is then kept."""
        assert self.model is not None
        assert self.miss is not None
        turned, asking, (local_k, local_v), (out, local) = self._within(q, k, v, scale)
        missed = miss_scores(self.model, q, asking, self.miss, self.number) * scale
        share = torch.sigmoid(missed - local.to(missed.dtype))  # of the own group, the token's
        out = out * (1 - share).to(out.dtype)[..., None]
        if self.kept:
            out = self._opened(out, share, q, turned, asking, scale)
        self.queries = turned.detach()
        self._keep(local_k, local_v, q.shape[2])
        return out

    def _opened(self, out: Tensor, share: Tensor, q: Tensor, turned: Tensor, asking: Tensor, scale: float) -> Tensor:
        """What the kept blocks add, for those tokens and heads that give the context-miss token enough."""
        wanted = share >= self.cutoff
        self.asked += wanted.numel()
        self.skipped += int((~wanted).sum())
        rows = wanted.any(0).any(0).nonzero().flatten()
        if not len(rows):
            return out
        chosen = self.choose(turned[:, :, rows], scale)
        found, _, gates = self._look(q[:, :, rows], asking[rows], chosen, scale)
        given = (share * wanted)[:, :, rows]
        if self.trace is not None:
            self.trace.append(Opened(self.number, self.read, chosen.cpu(), (gates * given[..., None]).cpu()))
        return out.index_add(2, rows, (found * given[..., None]).to(out.dtype))


class VariantCache(LandmarkCache):
    """A `LandmarkCache` that tells how often blocks were left shut."""

    @property
    def skipped_share(self) -> float:
        """Of the tokens and heads that had blocks to look at, those that did not; NaN: none had."""
        layers = [layer for layer in self.layers if isinstance(layer, MissLayer)]
        asked = sum(layer.asked for layer in layers)
        return sum(layer.skipped for layer in layers) / asked if asked else math.nan
