"""A decoder that was trained with landmarks: it reads texts far beyond its training length, block by block.

    model = LandmarkModel.from_pretrained(folder)        # what `foveal train landmark` wrote, or one to train
    cache = model.read(ids)                              # any length; landmarks are put in here
    model.generate(question, cache=cache)                # goes on behind what was read
    cache.sources()                                      # which blocks it opened, and how much each got

The landmark is no entry of the vocabulary but one vector in its place: nobody can write it, and it is never generated.
After the decoder's layers landmarks are dropped, so that logits are those of ordinary tokens alone, and the target of
the token before a landmark is the token after it.

Shapes    input_ids (B, T) ordinary tokens -> logits (B, T, vocabulary)
Needs     a decoder with rotary positions whose layers see at least `train_length` positions (unrotated.py)
Source    arXiv 2305.16300. A decoder that was not trained with landmarks reads nothing sensible through them
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from foveal.attention.attach import Context, attach
from foveal.attention.block_store import BlockStore
from foveal.attention.decoders import trunk
from foveal.attention.landmark import is_landmark, landmark_attention
from foveal.attention.landmark_cache import LandmarkCache, LandmarkLayer, ReadSettings
from foveal.attention.landmark_files import (
    LANDMARK,
    TOLD_IN,
    decoder_in,
    kept_settings,
    save_settings,
    save_vector,
    vector_in,
)
from foveal.attention.shared_prefix import require_side_by_side
from foveal.attention.unrotated import CLOSE, Rotations
from foveal.errors import InputError
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.nn.next_tokens import LanguageOutput, cross_entropy, drawn
from foveal.ranges import COUNT, NOT_NEGATIVE, Range, require_settings
from foveal.settings import Settings

log = logging.getLogger("foveal.attention")

VERSION = 1
IDS = (torch.int64, torch.int32)
AT_ONCE = 8192
"""Tokens that are embedded at a time."""


@dataclass(frozen=True, kw_only=True)
class LandmarkSettings:
    """What a `LandmarkModel` is trained for, in positions; it can be read with in no other way.

    Checked when made. InputError: a window of fewer than three whole blocks, or a value out of its range.
    """

    block: int = 64  # positions of a block, the landmark among them
    train_length: int = 512  # positions of a training window, a multiple of the block
    jump: int = 0  # in training, positions go on after a landmark by up to so many more; 0: stingy positions

    def __post_init__(self) -> None:
        require_settings("Landmarks", self, block=Range(2), train_length=COUNT, jump=NOT_NEGATIVE)
        if self.train_length < 3 * self.block or self.train_length % self.block:
            raise InputError(
                f"Landmarks got block {self.block}, train_length {self.train_length}; a window is three blocks or "
                "more, whole ones (a text is read beside one that is opened and one more)."
            )

    @property
    def window_tokens(self) -> int:
        """Ordinary tokens of a training window."""
        return self.train_length // self.block * (self.block - 1)

    def local(self, top_k: int) -> int:
        """Positions left for the local text beside k + 1 blocks. InputError: none is left for it."""
        left = self.train_length - (top_k + 1) * self.block
        if left < self.block:
            raise InputError(
                f"top_k = {top_k} blocks of {self.block} positions, and one more, leave no block of the "
                f"{self.train_length} positions trained for. Open at most {self.train_length // self.block - 2}."
            )
        return left


class LandmarkModel(nn.Module):
    """A decoder of transformers and its landmark: trained in short windows, it reads texts of any length by blocks.

    Mohtashami and Jaggi, NeurIPS 2023 (arXiv 2305.16300). input_ids (B, T) -> logits (B, T, vocabulary).
    """

    version: int | str = VERSION
    """Of its kind's settings in a folder."""

    def __init__(self, base: Any, settings: LandmarkSettings | None = None) -> None:
        """Take over `base`, which from then on is of no use by itself (unrotated.py). The landmark is the mean token.

        InputError: a decoder without rotary positions, with windows below the training length, capped scores, or
        logits that are not simply those of its head (Granite).
        """
        super().__init__()
        self.settings = settings or LandmarkSettings()
        _check_base(base, self.settings)
        self.base = base
        self._check_logits()
        self.rotations = Rotations.take(base)
        self.landmark = nn.Parameter(_mean_token(base))

    @classmethod
    def from_pretrained(
        cls, name: str | Path, settings: LandmarkSettings | None = None, *, dtype: torch.dtype = torch.float32
    ) -> LandmarkModel:
        """What `save_pretrained` wrote; or, with a warning, any decoder by name, to be trained.

        InputError: it was trained with other settings than those given. ModelUnavailable: it cannot be read.
        """
        folder = folder_of(str(name), Settings.load().cache, kind="language model")
        kept = kept_settings(folder, LandmarkSettings, VERSION, "Bring it or Foveal up to date.")
        made = cls._of_folder(folder, kept, settings, dtype)
        if kept is None:
            log.warning("%s was not trained with landmarks: until it is, what it writes makes no sense.", name)
        return made

    @classmethod
    def _of_folder(
        cls, folder: Path, kept: LandmarkSettings | None, asked: LandmarkSettings | None, dtype: torch.dtype
    ) -> Self:
        """Of a decoder's folder; with what was learnt, where settings are kept there. InputError: others are asked."""
        if kept is not None and asked not in (None, kept):
            raise InputError(f"{folder} was trained with {kept}; {asked} was asked for. Leave it out.")
        model = cls(decoder_in(folder, dtype), kept or asked)
        if kept is not None:
            with torch.no_grad():
                for name, vector in model._vectors().items():
                    vector.copy_(vector_in(folder / name, vector.shape))
        return model.eval()

    def _vectors(self) -> dict[str, Tensor]:
        """What is learnt besides the decoder, by the file that holds it."""
        return {LANDMARK: self.landmark}

    def save_pretrained(self, folder: Path) -> None:
        """Write decoder, landmark and settings; the settings last, so that a folder with them is whole."""
        (folder / TOLD_IN).unlink(missing_ok=True)  # of what is written over
        with quiet():
            self.base.save_pretrained(str(folder))
        for name, vector in self._vectors().items():
            save_vector(folder / name, vector)
        save_settings(folder, self.settings, self.version)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.base.device
        return device

    # -- within the training length --------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> LanguageOutput:
        """Logits (B, T, vocabulary) of input_ids (B, T), all at once, and the loss of labels (-100: not told).

        Longer texts than the training window are refused: `read` is for them. InputError: wrong shapes.
        """
        self._check_ids(input_ids)
        if labels is not None and labels.shape != input_ids.shape:
            raise InputError(f"labels are {tuple(labels.shape)}; input_ids are {tuple(input_ids.shape)}.")
        if input_ids.shape[1] > self.settings.window_tokens:
            raise InputError(
                f"{input_ids.shape[1]} tokens came; at once it takes {self.settings.window_tokens}. Use logprobs."
            )
        length = input_ids.shape[1] + input_ids.shape[1] // (self.settings.block - 1)
        logits = self.logits(self.hidden(input_ids, _Whole(self, self._places(length))))
        return LanguageOutput(None if labels is None else cross_entropy(logits, labels), logits)

    def hidden(self, ids: Tensor, method: Any, lead: int = 0) -> Tensor:
        """The last layer's states of ordinary tokens (B, T, d), landmarks put in and dropped again.

        `lead` positions of the block that they begin in are there already.
        """
        block = self.settings.block
        inner = lead - lead // block  # a finished block never stands open
        length = ids.shape[1] + (ids.shape[1] + inner) // (block - 1)
        marks = is_landmark(length, block, lead=lead, device=ids.device)
        return self._between(self.base.get_input_embeddings()(ids), marks, method)

    def _between(self, embedded: Tensor, marks: Tensor, method: Any) -> Tensor:
        """The last layer's states of tokens (B, T, d) with landmarks between them, where `marks` says so."""
        whole = self.landmark.to(embedded.dtype).expand(len(embedded), len(marks), -1).clone()
        whole[:, ~marks] = embedded
        with attach(self.base, method):
            states = trunk(self.base)(inputs_embeds=whole, use_cache=False).last_hidden_state
        kept: Tensor = states[:, ~marks]
        return kept

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, vocabulary)."""
        logits: Tensor = self.base.get_output_embeddings()(hidden)
        cap = getattr(self.base.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @torch.no_grad()
    def _check_logits(self) -> None:
        """InputError: the decoder takes no vector in place of a token, or makes its logits in another way."""
        told, training = torch.zeros(1, 1, dtype=torch.long, device=self.device), self.base.training
        try:
            self.base.eval()
            try:
                trunk(self.base)(inputs_embeds=_mean_token(self.base)[None, None], use_cache=False)
            except (RuntimeError, TypeError, ValueError) as error:
                raise InputError(
                    f"{type(self.base).__name__} reads tokens alone, and a landmark is a vector ({error!s:.80}…). "
                    "Take a Llama, Qwen, …"
                ) from error
            own = self.logits(trunk(self.base)(input_ids=told, use_cache=False).last_hidden_state)
            apart = own - self.base(input_ids=told, use_cache=False).logits
        finally:
            self.base.train(training)
        if not float(apart.float().norm()) <= CLOSE * float(own.float().norm()):
            raise InputError(
                f"{type(self.base).__name__} scales its logits in a form of its own. Take a Llama, Qwen, …"
            )

    def _places(self, length: int) -> Tensor:
        """Positions of a window; in training with jumps, later after each landmark."""
        places = torch.arange(length, device=self.device)
        if not (self.training and self.settings.jump):
            return places
        marks = is_landmark(length, self.settings.block, device=self.device)
        far = torch.randint(self.settings.jump, (length,), device=self.device) * marks
        return places + far.cumsum(0) - far

    # -- any length ------------------------------------------------------------------------------------------------

    def make_cache(self, settings: ReadSettings | None = None) -> LandmarkCache:
        """An empty cache. InputError: more blocks than were trained for, or positions that were not."""
        settings = settings or ReadSettings(top_k=min(4, max(1, self.settings.train_length // self.settings.block - 2)))
        local = self.settings.local(settings.top_k)
        if settings.chunk is not None and settings.chunk > local:
            raise InputError(f"chunk = {settings.chunk} positions; beside {settings.top_k} blocks it can be {local}.")
        if settings.positions == "true" and not self.settings.jump:
            raise InputError("True positions are for models that were trained with jumps. Train with jump > 0.")
        layers = [
            LandmarkLayer(
                number, self.settings.block, settings, self.rotations, BlockStore(settings.folder),
                draw=torch.Generator().manual_seed(settings.seed + number),
            )
            for number in range(self.base.config.get_text_config().num_hidden_layers)
        ]  # fmt: skip
        return LandmarkCache(layers, self.identity, settings)

    @property
    def identity(self) -> str:
        """What tells this model's caches from another's."""
        wide = self.landmark.detach().float().cpu().numpy().tobytes()
        return hashlib.sha256(wide + repr(self.settings).encode()).hexdigest()[:16]

    @torch.no_grad()
    def read(self, ids: Tensor, cache: LandmarkCache | None = None) -> LandmarkCache:
        """Read ids (B, T) behind what `cache` holds, or into a new one."""
        cache = self.make_cache() if cache is None else cache
        for _ in self.states(ids, cache):
            pass
        return cache

    @torch.no_grad()
    def logprobs(self, ids: Tensor, cache: LandmarkCache | None = None) -> Tensor:
        """The log-probability of each token but the first, (B, T - 1) float32, read as `read` does."""
        cache = self.make_cache() if cache is None else cache
        found, at = [], 0
        for states in self.states(ids, cache):
            wanted = ids[:, at + 1 : at + 1 + states.shape[1]]
            told = self.logits(states[:, : wanted.shape[1]]).float().log_softmax(-1)
            found.append(told.gather(-1, wanted[..., None])[..., 0])
            at += states.shape[1]
        return torch.cat(found, 1)

    def states(self, ids: Tensor, cache: LandmarkCache) -> Iterator[Tensor]:
        """The last states (B, t, d) of ids (B, T), by chunks.

        InputError: another model's or another batch's cache, or one whose reading was stopped within a chunk.
        """
        self._check_ids(ids)
        if not isinstance(cache, LandmarkCache) or cache.identity != self.identity:
            raise InputError("The cache is another model's, or the model has learnt since. Read the text anew.")
        if len({layer.read for layer in cache.layers}) > 1:
            raise InputError("Reading into this cache was stopped within a chunk, and some layers lack it. Read anew.")
        if cache.batch not in (None, len(ids)):
            raise InputError(f"{len(ids)} texts came; the cache holds {cache.batch}. Go on with as many.")
        cache.batch = len(ids)
        at = 0
        while at < ids.shape[1]:
            count = self._room(cache)
            yield self.hidden(ids[:, at : at + count], _Reading(cache), lead=cache.positions % self.settings.block)
            at += count

    def _room(self, cache: LandmarkCache) -> int:
        """Ordinary tokens that can be read next: with the unfinished block they fill what is trained for."""
        block, tail = self.settings.block, cache.positions % self.settings.block
        local = self.settings.local(cache.settings.top_k)
        whole = cache.settings.chunk or max(block, local // block * block)
        positions = max(1, min(whole, local - tail))
        end = tail + positions
        ordinary = end - end // block - tail
        return max(1, ordinary)

    # -- writing ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def stream(
        self,
        input_ids: Tensor,
        *,
        cache: LandmarkCache | None = None,
        max_new_tokens: int = 50,
        temperature: float = 0.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """New tokens (B,), one at a time, behind the cache and input_ids (B, T); options as of the models of nn.

        The last one is not read into the cache: what is to come behind it begins with it.
        """
        cache = self.make_cache() if cache is None else cache
        states = None
        for states in self.states(input_ids, cache):  # noqa: B007 (the last ones count)
            pass
        assert states is not None
        for left in range(max_new_tokens, 0, -1):
            new = drawn(self.logits(states[:, -1]), temperature, top_k, generator)
            yield new
            if left > 1:
                (states,) = self.states(new[:, None], cache)

    def generate(self, input_ids: Tensor, *, eos_token_id: int | None = None, **how: Any) -> Tensor:
        """(B, T) -> (B, T + new); rows that have written `eos_token_id` go on with it until all have.

        As of `stream`, a given cache has read all of it but the last token.
        """
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        written = [input_ids]
        for new in self.stream(input_ids, **how):
            if eos_token_id is not None:
                new = new.masked_fill(ended, eos_token_id)
                ended = ended | (new == eos_token_id)
            written.append(new[:, None])
            if bool(ended.all()):
                break
        return torch.cat(written, 1)

    def _check_ids(self, ids: Tensor) -> None:
        vocabulary = self.base.get_input_embeddings().num_embeddings
        given = (tuple(ids.shape), ids.dtype) if isinstance(ids, Tensor) else type(ids).__name__
        if not isinstance(ids, Tensor) or ids.dim() != 2 or not ids.numel() or ids.dtype not in IDS:
            raise InputError(f"Token ids are {given}; give a tensor of whole numbers (batch, 1 or more).")
        if int(ids.min()) < 0 or int(ids.max()) >= vocabulary:
            raise InputError(
                f"Token ids reach from {int(ids.min())} to {int(ids.max())}; there are 0 to {vocabulary - 1}."
            )


class _Whole:
    """Landmark attention within a window."""

    def __init__(self, model: LandmarkModel, places: Tensor) -> None:
        self.model, self.places = model, places

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (B, H, T, D)."""
        turned = (self.model.rotations.turned(part, self.places, context.layer) for part in (query, key))
        q, k = (part.to(value.dtype) for part in turned)
        return landmark_attention(q, k, value, block=self.model.settings.block, scale=context.scale)[0]

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None


class _Reading:
    """The attention of a cache's layers."""

    def __init__(self, cache: LandmarkCache) -> None:
        self.cache = cache

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (B, H, C, D)."""
        return self.cache.layers[context.layer].attend(query, key, value, context.scale)

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None


@torch.no_grad()
def _mean_token(base: Any) -> Tensor:
    """The mean of all tokens, as the decoder embeds them; by pieces, since there may be very many."""
    embed = base.get_input_embeddings()
    ids = torch.arange(embed.num_embeddings, device=base.device)
    sums = torch.stack([embed(some).sum(0, dtype=torch.float32) for some in torch.split(ids, AT_ONCE)])
    mean: Tensor = (sums.sum(0) / len(ids)).to(base.dtype)
    return mean


def _check_base(base: Any, settings: LandmarkSettings) -> None:
    name = type(base).__name__
    if not hasattr(base, "config") or not hasattr(base, "base_model") or base.get_output_embeddings() is None:
        raise InputError(f"Landmarks were to be put into {name}; they need a decoder (AutoModelForCausalLM).")
    require_side_by_side(base, "A landmark model")  # of a text in pieces, only keys are kept
    config = base.config.get_text_config()
    if getattr(config, "attn_logit_softcapping", None):
        raise InputError(f"{name} caps its attention scores, which landmark attention does not. Choose another model.")
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]  # all layers of a Mistral
    if window and "sliding_attention" in kinds and window < settings.train_length:
        raise InputError(
            f"Layers of {name} see {window} positions; a training length of {settings.train_length} is beyond that. "
            f"Train at {window // settings.block * settings.block} or less."
        )
