"""LongHeads: a model reads past the window it was trained for, each head choosing its own few chunks; no training.

    method = LongHeads()
    with attach(model, method):
        memory = method.make_cache(model)                     # a Cache of transformers that owns keys and values
        model.generate(**inputs, cache=memory)                # as long as you like
    print(memory.explain())                                   # which chunks the heads chose

A query attends to no more than `attention_length` tokens: the first chunk, its own, the one before, and those that it
asks for. They are placed one behind the other, so no head meets a distance that it was not trained on. Heads choose
differently, and together cover the text. The time grows with the length, not with its square. Layers with a sliding
window stay as they are.

Beside it, in the same class: other vectors for chunks, and as controls random chunks and none (longheads_choice.py).

Shapes    queries (B, H, Q, D), keys and values (B, G, N, D), H a multiple of G
Needs     rotary positions, not turned yet (`needs_unrotated`, rotation.py); texts of a batch that are equally long
Against   retrieval_attention.py reads the prompt densely, within the window, and searches single keys after it
Source    arXiv 2402.10685 (EMNLP 2024). A query sees its own token, which the paper's code leaves out while it reads
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from foveal.attention.dense import dense_attention
from foveal.attention.longheads_cache import LongHeadsCache
from foveal.attention.longheads_choice import FORCED, KINDS
from foveal.attention.longheads_layers import ChunkedText, LongHeadsLayer, Shape, selected
from foveal.attention.memory_parts import Scores
from foveal.attention.owned_layers import Turn, layer_of
from foveal.attention.places import check_places
from foveal.attention.remarks import warn_once
from foveal.attention.rotation import rotations_of, trained_window
from foveal.errors import InputError, UnknownName

if TYPE_CHECKING:
    from foveal.attention.attach import Context

log = logging.getLogger("foveal.attention")

BUDGET, CHUNKS = 4096, 16
"""Tokens that a query sees, and chunks that these are, where nothing is said: the paper's, or the model's window."""

SELECTIONS, SHARES = ("block", "token"), ("head", "group")


@dataclass(frozen=True, kw_only=True)
class LongHeads:
    """Every head chooses its own chunks of a text of any length, at distances within the trained window.

    LongHeads (Lu et al., EMNLP 2024, arXiv 2402.10685); nothing is trained. Needs rotary positions and a cache of
    `make_cache`. InputError: a value out of its range. UnknownName: no such representation.
    """

    chunk_size: int | None = None  # tokens of a chunk; None: a 16th of attention_length
    attention_length: int | None = None  # tokens that a query sees; None: the trained window, at most 4,096
    begin: int | None = None  # tokens up to which all is seen; None: attention_length
    selection: str = "block"  # while a text is read, "block": a chunk's queries choose together, or each "token" alone
    share: str = "head"  # "group": the heads that share keys choose together
    remap: bool = True  # False: chunks stay at their own places; for texts within the window
    representation: str = "attention"  # what stands for a chunk, one of KINDS
    seed: int = 0  # of the control "random": texts that are to be seen by different chunks each take another
    name: ClassVar[str] = "longheads"
    needs_unrotated: ClassVar[bool] = True
    reaches: ClassVar[bool] = True  # past the model's window

    def __post_init__(self) -> None:
        """InputError: a value out of its range. UnknownName: no representation is called that."""
        if self.representation not in KINDS:
            raise UnknownName(f"No representation is called {self.representation!r}. There are: {', '.join(KINDS)}.")
        if self.selection not in SELECTIONS or self.share not in SHARES:
            raise InputError(
                f"LongHeads got selection {self.selection!r}, share {self.share!r}; it selects by "
                f"{' or '.join(SELECTIONS)}, and shares by {' or '.join(SHARES)}."
            )
        if any(one is not None and one < 1 for one in (self.chunk_size, self.attention_length, self.begin)):
            raise InputError(f"LongHeads got {self}; its numbers of tokens must be at least 1.")
        if self.seed < 0:
            raise InputError(f"LongHeads got seed {self.seed}; it must be at least 0.")

    def shape_for(self, config: Any) -> Shape:
        """Its numbers for a model of this configuration. InputError: they do not go together."""
        window = trained_window(config)
        whole = self.chunk_size or CHUNKS
        length = self.attention_length or min(window, BUDGET) // whole * whole
        chunk = self.chunk_size or max(1, length // CHUNKS)
        begin = length if self.begin is None else self.begin
        if length % chunk or length < (FORCED + 1) * chunk:
            raise InputError(
                f"LongHeads got attention_length {length} and chunk_size {chunk}; the first must be a multiple of the "
                f"second, at least {FORCED + 1} times as much."
            )
        if begin % chunk or begin < length:
            raise InputError(
                f"LongHeads got begin {begin}; it must be a multiple of chunk_size ({chunk}), at least "
                f"attention_length ({length})."
            )
        if self.remap and length > window:
            warn_once(
                log,
                "LongHeads was given attention_length %d for a model that was trained for %d tokens: heads will meet "
                "distances that they do not know. Give it at most the model's window.",
                length,
                window,
            )
        return Shape(chunk, length // chunk, begin)

    def reach(self, config: Any) -> int:
        """The greatest distance, in tokens, at which a token is seen."""
        shape = self.shape_for(config)
        seen = max(shape.begin, shape.chunk * shape.chunks)
        return seen if self.remap else max(seen, trained_window(config))

    def free(self, shape: Shape) -> int:
        """Chunks that a query may choose."""
        return 0 if self.representation == "none" else shape.chunks - FORCED

    def select(
        self, query: Tensor, key: Tensor, value: Tensor, model: Any, *, layer: int = 0, scale: float | None = None
    ) -> Tensor:
        """The choice alone: which chunks the queries of each whole chunk from `begin` on see.

        Of one text: queries (H, N, D), keys and values (G, N, D) of `model`'s layer number `layer`, not turned ->
        chunks (H, n, k), ascending, the forced ones among them, by `share="group"` (G, n, k). n is 0 where the text
        is not longer than `begin`. InputError: shapes that do not fit, a model without rotary positions.
        """
        fits = query.dim() == key.dim() == value.dim() == 3 and key.shape[:2] == value.shape[:2]
        if not fits or query.shape[1:] != key.shape[1:] or not len(key) or len(query) % len(key):
            raise InputError(
                f"Chunks were to be chosen by queries {tuple(query.shape)} among keys {tuple(key.shape)} with values "
                f"{tuple(value.shape)}; it needs (heads, tokens, width) and twice (groups, tokens, width) of one text."
            )
        shape = self.shape_for(model.config)
        rotations = rotations_of(model, reach=self.reach(model.config))
        return selected(self, shape, rotations.at(layer), query, key, value, scale or query.shape[-1] ** -0.5)

    def make_cache(self, model: Any, *, tokens: int | None = None) -> LongHeadsCache:  # noqa: ARG002
        """An empty cache for `model`, however long its text will be. InputError: it has layers of another kind."""
        self.shape_for(model.config)
        return LongHeadsCache.empty(model.config, self)

    def layer(self, number: int, turn: Turn) -> LongHeadsLayer:
        """An empty layer that sees the whole text."""
        return LongHeadsLayer(self, number, turn)

    # -- as an attention method ------------------------------------------------------------------------------------

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, Q, D). InputError: padding, a mask of one's own, or a cache of another kind."""
        if context.rotation is None:
            raise InputError(
                "LongHeads needs queries and keys before they are turned. Use it by foveal.attention.attach."
            )
        if context.mask.real is not None:
            raise InputError(
                "LongHeads got a padded batch; chunks are counted from the first token of each text. Send texts of "
                "different lengths one at a time."
            )
        if not context.mask.by_position:
            raise InputError("LongHeads needs a causal text; a mask of one's own cannot be kept to.")
        holder = layer_of(key)
        if not isinstance(holder, LongHeadsLayer):
            check_places(context.memory, context.mask.q_offset, None)
        if _slides(context):
            return _slid(query, key, value, context)
        if isinstance(holder, LongHeadsLayer):
            kept = (0,) if holder.text is not None else None  # a text that was read here begins at 0
            holder.begun = check_places(context.memory, context.mask.q_offset, holder.begun or kept)
            return holder.attend(query, context)
        if holder is not None or query.shape[2] != key.shape[2]:
            raise InputError(
                "LongHeads goes on only behind a text that is in a cache of its own. Give the model "
                "cache=method.make_cache(model) (past_key_values= up to transformers 5.20)."
            )
        scored = Scores(context.scale * context.rotation.length**2, context.softcap)
        shape = self.shape_for(context.module.config)
        text = ChunkedText.empty(shape, self, context.rotation, query.shape[1], key, value, layer=context.layer)
        return text.read(query, key, value, scored)[0]

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """Nothing is recorded: `attach` refuses a recorder."""
        return None


def _slides(context: Context) -> bool:
    """Whether this layer has a sliding window, and one that is shorter than the model's positions."""
    from foveal.attention.retrieval_attention import windows

    return context.mask.window is not None and windows(context.module.config)[context.layer] is not None


def _slid(query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
    """A layer with a sliding window, as the model itself computes it."""
    mask, rotation = context.mask, context.rotation
    assert rotation is not None
    places = torch.arange(key.shape[2], device=key.device)
    asked = rotation(query, places[-query.shape[2] :])  # the same distances, wherever in the text
    scale = context.scale * rotation.length**2
    return dense_attention(asked, rotation(key, places), value, mask, scale=scale, softcap=context.softcap)
