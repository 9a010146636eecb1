"""Layers of a cache whose keys are consulted by a method: what they share as a cache of transformers.

`update` gives the model keys that are marked with the layer, and the attached method lets the layer answer. Whether it
was asked is watched: a model that is not attached would attend to a part of its text, and say nothing.

Shapes    keys and values (B, G, N, D)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context

OWNER = "foveal_owner"
"""The attribute by which an attention call knows the layer that its keys come from."""


def layer_of(key: Tensor) -> OwnedLayer | None:
    """The layer that gave these keys to the model, if one of these did."""
    found = getattr(key, OWNER, None)
    return found if isinstance(found, OwnedLayer) else None


def check_watched(layer: int, watched: Sequence[int], heads: int) -> None:
    """InputError: a head is watched that the layer does not have."""
    if any(not 0 <= head < heads for head in watched):
        raise InputError(f"Heads {sorted(watched)} of layer {layer} are watched; it has 0 to {heads - 1}.")


@dataclass
class Turn:
    """Which layer waits to be asked: one that never is tells that the model is not attached. And how much was read."""

    waiting: int | None = None
    read: int = 0  # tokens in the layer that began last: in the next one there must be as many


class _Uncut(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """What no layer of such a cache can do."""

    what: ClassVar[str] = "A searched cache"

    def reorder_cache(self, beam_idx: Tensor) -> None:  # noqa: ARG002
        """InputError: beams would each need a cache of their own."""
        raise InputError(f"{self.what} cannot follow several beams. Generate with num_beams=1.")

    def batch_repeat_interleave(self, repeats: int) -> None:  # noqa: ARG002
        """InputError: as for beams."""
        raise InputError(f"{self.what} cannot be repeated. Generate with num_return_sequences=1.")

    def batch_select_indices(self, indices: Tensor) -> None:  # noqa: ARG002
        """InputError: as for beams."""
        raise InputError(f"{self.what} cannot drop sequences of its batch. Start a new one for those that stay.")

    def crop(self, *_: Any, **__: Any) -> None:
        """InputError: what was taken in, or left out, stays so."""
        raise InputError(f"{self.what} cannot be cut back. Open the kept text again, or read it anew.")


class OwnedLayer(_Uncut):
    """A layer that sees the whole text, of which `length` tokens were read."""

    is_sliding = False

    def __init__(self, number: int, turn: Turn) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number, self.turn, self.length = number, turn, 0
        turn.read = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:  # noqa: ARG002
        """Nothing is made before it is needed."""
        self.is_initialized = True

    def begin(self, key_states: Tensor) -> None:
        """Count new tokens (B, G, N, D), and wait to be asked for their keys.

        InputError: another layer still waits, or this one missed a pass that was stopped midway.
        """
        if self.turn.waiting is not None:
            layer, self.turn.waiting = self.turn.waiting, None
            raise InputError(
                f"The keys of layer {layer} were never asked for: this cache works only while its method is attached, "
                "in all of the model's layers. Use it inside `with attach(model, method):`. If it was: this model does "
                "not attend to the keys that it caches, but to what it makes of them (DeepSeek's compressed ones, "
                "JetMoE's); choose another."
            )
        length = self.length + key_states.shape[2]
        if length < self.turn.read:
            raise InputError(
                f"A pass over this cache was stopped midway: layer {self.number} would have {length} tokens, those "
                f"before it have {self.turn.read}. Reset the cache, or open the kept text again, and read what came "
                "since anew."
            )
        self.turn.waiting = self.number
        self.lazy_initialization(key_states, key_states)
        self.length = self.turn.read = length

    def asked(self) -> None:
        """The attention to new tokens begins. InputError: it has begun before."""
        if self.turn.waiting != self.number:
            raise InputError(
                f"The keys of layer {self.number} are attended to more than once (in DiffLlama; by layers that share "
                f"them in Gemma 3n and 4); {self.what.lower()} answers once. Choose another model, or a method without "
                "a cache of its own."
            )
        self.turn.waiting = None

    def read_to(self, what: str, tokens: int | None) -> int:
        """The attention to new tokens of a `what` begins; how many it has in all (`tokens`; None: those that came).

        InputError: more came, or as `asked`.
        """
        self.asked()
        tokens = self.length if tokens is None else tokens
        if self.length > tokens:
            raise InputError(
                f"The {what} was to have {tokens} tokens, and {self.length} came before the first was generated. "
                f"Give make_cache the number of tokens of the whole {what}."
            )
        return tokens

    def check(self, context: Context) -> None:
        """InputError: a part of the heads was to be done."""
        if context.sparse_heads is not None:
            raise InputError(f"{self.what} answers all heads of its layers. Attach its method without heads.")

    def marked(self, keys: Tensor) -> Tensor:
        """The keys, by which the method will find this layer."""
        setattr(keys, OWNER, self)
        return keys

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and first place of the keys that a mask is for."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens read, hidden or not."""
        return self.length

    def get_max_length(self) -> int:
        """-1: no limit."""
        return -1

    get_max_cache_shape = get_max_length  # its name up to transformers 5.20


class SlidingLayer(_Uncut):
    """A layer whose queries see a window of tokens only: it holds these, and is never searched."""

    is_sliding = True

    def __init__(self, window: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.window, self.length = window, 0
        self.keys: Tensor
        self.values: Tensor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Hold nothing yet."""
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in (B, G, N, D); they, and the window before them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = torch.cat([self.keys, key_states], 2), torch.cat([self.values, value_states], 2)
        kept = max(0, keys.shape[2] - self.window + 1)
        self.keys, self.values = keys[:, :, kept:].clone(), values[:, :, kept:].clone()
        self.length += key_states.shape[2]
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and first place of the keys that `update` will give."""
        held = min(self.length, self.window - 1)
        return held + query_length, self.length - held

    def get_seq_length(self) -> int:
        """Tokens read, held or not."""
        return self.length

    def get_max_length(self) -> int:
        """The window."""
        return self.window

    get_max_cache_shape = get_max_length

    def reset(self) -> None:
        """Forget everything."""
        self.length, self.is_initialized = 0, False
