"""What a model wants its tokens to see, in a few numbers instead of an N×N mask.

transformers asks a mask function, once a forward pass, for whatever its attention function understands. Ours gives a
`Mask`: offsets, a sliding window, padding. From it come the rows that a recorder reads, and, only where a dense
attention needs it (padding, a sliding window that binds), the boolean mask that PyTorch's attention takes.

Shapes    queries stand at `q_offset …`, keys at `k_offset …`; padding (B, K), True where a token is real
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import FunctionType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.masking_utils import causal_mask_function, sdpa_mask, sliding_window_causal_mask_function

from foveal.attention.implementations import KEY
from foveal.errors import InputError


class Mask:
    """The mask of one forward pass, not yet built; transformers hands it through to the attention function."""

    ndim = 4  # what transformers asks of a mask that was made before the pass, as `generate` does for static caches

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """`arguments` are those that transformers gives a mask function."""
        self.q_offset = int(arguments.get("q_offset", 0))
        self.k_offset = int(arguments.get("kv_offset", 0))
        # Now, as numbers: a static cache gives the tensor by which it counts, and moves on before `dense` is built.
        self._arguments = {**arguments, "q_offset": self.q_offset, "kv_offset": self.k_offset}
        self.window: int | None = arguments.get("local_size")
        self.padding: Tensor | None = arguments.get("attention_mask")
        self.device: torch.device = torch.device(arguments.get("device") or "cpu")
        self.given = False  # whether `dense` is a mask of the caller's own
        self.under: tuple[Any, ...] = ()  # blocks of attach that the pass began in
        self.shape = (int(arguments["batch_size"]), 1, int(arguments["q_length"]), int(arguments["kv_length"]))

    @classmethod
    def causal(
        cls,
        batch: int,
        queries: int,
        keys: int,
        *,
        window: int | None = None,
        real: Tensor | None = None,
        device: torch.device | None = None,
    ) -> Mask:
        """The mask of a decoder that reads `queries` new tokens after `keys - queries` earlier ones.

        `real` (B, K) is False where a key is padding.
        """
        return cls(
            {
                "batch_size": batch,
                "q_length": queries,
                "kv_length": keys,
                "q_offset": keys - queries,
                "local_size": window,
                "attention_mask": real,
                "mask_function": sliding_window_causal_mask_function(window) if window else causal_mask_function,
                "device": device or torch.device("cpu"),
            }
        )

    @cached_property
    def dense(self) -> Tensor | None:
        """(B, 1, Q, K) bool, True where a query sees a key; None where "all that came before" says the same."""
        mask: Tensor | None = sdpa_mask(**self._arguments)
        return mask

    @property
    def by_position(self) -> bool:
        """Whether causality, window and padding say all, and the queries are the last of the keys."""
        return not self._unusual and self._read == self.shape[3]

    @property
    def slides(self) -> bool:
        """Whether the window hides anything: that of Phi-3, or of a Mistral, is longer than most texts."""
        return self.window is not None and (self.k_offset > 0 or self.shape[3] > self.window)

    @property
    def read(self) -> Mask:
        """The same of the keys up to the last query's; itself, unless empty room (a static cache) follows."""
        whole = self._unusual or self._read >= self.shape[3]
        return self if whole else Mask({**self._arguments, "kv_length": self._read})

    @property
    def begins(self) -> bool:
        """Whether the queries are the first of the keys, and all behind them is the empty room of a static cache."""
        first = self.q_offset == self.k_offset and self.shape[2] < self.shape[3]
        return first and not self._unusual and self.dense is None

    @cached_property
    def real(self) -> Tensor | None:
        """(B, K) bool, False where a key is padding; None where none is. The empty room of a static cache is none."""
        if self.padding is None:
            return None
        real = self.padding[:, self.k_offset : self.k_offset + self.shape[3]].bool()
        real = pad(real, (0, self.shape[3] - real.shape[1]))
        return None if real.all() else real

    def rows(self, rows: Tensor) -> Tensor:
        """What the queries `rows` (B, R), counted within this pass, see: (B, 1, R, K) bool."""
        if self._unusual:
            dense = self.dense
            if dense is not None:
                index = rows[:, None, :, None].expand(-1, 1, -1, dense.shape[-1])
                seen = dense if dense.dtype == torch.bool else dense > torch.finfo(dense.dtype).min / 2
                return seen.expand(rows.shape[0], -1, -1, -1)[:, :1].gather(2, index)
        keys = torch.arange(self.shape[3], device=rows.device) + self.k_offset
        distance = (rows + self.q_offset)[:, None, :, None] - keys
        seen = distance >= 0
        if self.window:
            seen &= distance < self.window
        if self.real is not None:
            seen &= self.real[:, None, None]
        return seen

    @classmethod
    def __torch_function__(
        cls, _: Any, __: Any, given: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> NoReturn:
        """NoTensor: a model's own code computes with its mask."""
        raise NoTensor(next((one for one in (*given, *(named or {}).values()) if isinstance(one, cls)), None))

    def __getattr__(self, name: str) -> NoReturn:
        raise NoTensor(self) if hasattr(Tensor, name) else AttributeError(f"A mask has no {name}.")

    def __getitem__(self, places: Any) -> Mask:
        """Of `[:, :, -n:, :]` the mask of the last n queries: Gemma 4 needs no others in layers with shared keys."""
        all_, rows = slice(None), places[2] if isinstance(places, tuple) and len(places) == 4 else None
        if not isinstance(rows, slice) or rows.stop is not None or places != (all_, all_, rows, all_) or self.given:
            raise NoTensor(self)
        first = range(self.shape[2])[rows].start
        last = {"q_offset": self.q_offset + first, "q_length": self.shape[2] - first}
        part = Mask({**self._arguments, **last, "allow_is_causal_skip": False})  # empty room may follow even one query
        part.under = self.under
        return part

    def __invert__(self, *_: Any) -> NoReturn:
        raise NoTensor(self)

    __rsub__ = __and__ = __or__ = __invert__

    @property
    def _read(self) -> int:
        """Keys up to the last query's own."""
        return self.q_offset - self.k_offset + self.shape[2]

    @property
    def _unusual(self) -> bool:
        """Whether the model's rule is not just causal, sliding and padded (packed, chunked or bidirectional texts)."""
        return self.given or bool(self._arguments.get("use_vmap")) or not self._usual

    @cached_property
    def _usual(self) -> bool:
        """Whether the rule is that of `window`: chunks and packed texts, too, come with a window of theirs."""
        usual = sliding_window_causal_mask_function(self.window) if self.window else causal_mask_function
        return _alike(self._arguments.get("mask_function", causal_mask_function), usual)


class NoTensor(InputError, AttributeError):
    """A model's own code takes a `Mask` for a tensor. An AttributeError, too: to be asked for one is no error."""

    def __init__(self, mask: Mask | None) -> None:
        told = vars(mask) if mask is not None else {}
        config = told.get("_arguments", {}).get("config")
        if told.get("under") and config is not None and config._attn_implementation != KEY:
            super().__init__(
                "This pass began in a block of attach that has ended. With checkpointing, backward() runs layers anew: "
                "call it within the block."
            )
            return
        kind, own = (
            (f"Models of the kind {config.model_type!r} work", "their") if config else ("This model works", "its")
        )
        super().__init__(
            f"{kind} on the mask of attention in {own} own code, to choose what to look at or to bias it, which no "
            "method here does. Choose another model, such as Llama, Qwen or Gemma."
        )


def _alike(one: Any, other: Any) -> bool:
    """Whether two rules are made alike, of the same code over the same values: transformers makes each anew."""
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return one.__code__ is other.__code__ and _alike(_held(one), _held(other))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one is other or (isinstance(one, int) and isinstance(other, int) and one == other)


def _held(function: FunctionType) -> tuple[Any, ...]:
    return tuple(cell.cell_contents for cell in function.__closure__ or ())


def mask_function(**arguments: Any) -> Mask:
    """What is registered with transformers: the arguments, kept; a mask that was made before the pass, as it is."""
    given = arguments.get("attention_mask")
    return given if isinstance(given, Mask) else Mask(arguments)
