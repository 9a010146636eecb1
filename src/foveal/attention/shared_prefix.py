"""Many questions over one text in one forward pass: the text is read once, each question sees it and itself only.

A sequence is laid out as [text, padded to N][question 1][question 2]…; a question's tokens stand at the positions
that follow the text's own end, as if it were the only one. So the question "N/A", which calibrates the others, costs
its own few tokens and not a second reading. Texts of different lengths share a batch, padded on the right: no real
token sees padding.

Shapes    lengths (B,) tokens of each text; questions of T1, T2, … tokens; queries (B, H, N + T1 + T2 + …, D)
Exact     the same attention as reading text and question alone (tests/attention/test_shared_prefix.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention.attach import AttentionMethod, Context, attach
from foveal.attention.decoders import trunk
from foveal.attention.dense import capped_attention, dense_attention
from foveal.attention.masks import Mask
from foveal.errors import InputError
from foveal.models.lean import supports

TRIED = (3, 2, 2)
"""Tokens of the text and of the two questions by which a model is tried."""
CLOSE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""How far a question's states may be, relatively, from those when it is asked alone; in types of 16 bits 0.02."""


class SharedPrefix:
    """An `AttentionMethod` for rows [text, padded to N][question 1][question 2]….

    Each question sees the text and itself, and no other: exactly the attention of each question asked
    alone, while the text is read once.
    """

    def __init__(
        self, lengths: Tensor, padded: int, questions: Sequence[int], *, method: AttentionMethod | None = None
    ) -> None:
        """`lengths` (B,), on the model's device: tokens of each text; `padded`: N, at least the longest; `questions`:
        tokens of each; `method`: how the texts attend to themselves (default: densely).
        """
        if int(lengths.max()) > padded or int(lengths.min()) < 1:
            raise InputError(f"Texts of {lengths.tolist()} tokens were padded to {padded}; each needs 1 to {padded}.")
        self.lengths = lengths
        self.padded = padded
        self.method = method
        sizes = torch.tensor(list(questions), device=lengths.device)
        self._of_question = torch.arange(len(sizes), device=lengths.device).repeat_interleave(sizes)  # (T,)
        starts = sizes.cumsum(0) - sizes
        self._within = torch.arange(int(sizes.sum()), device=lengths.device) - starts[self._of_question]  # (T,)
        self._seen: dict[int | None, Tensor] = {}

    @property
    def takes_sinks(self) -> bool:
        """Whether the texts' method does."""
        return self.method is None or bool(getattr(self.method, "takes_sinks", False))

    @property
    def positions(self) -> Tensor:
        """The position of every token (B, N + T), for the rotary embedding."""
        text = torch.arange(self.padded, device=self.lengths.device).expand(len(self.lengths), -1)
        return torch.cat([text, self.lengths[:, None] + self._within], dim=1)

    def rows(self, question: int) -> Tensor:
        """The rows of one question's tokens (B, T_q), for a `Recorder`."""
        rows = self.padded + (self._of_question == question).nonzero().flatten()
        return rows.expand(len(self.lengths), -1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, N + T, D). InputError: a layer whose tokens see their own chunk alone."""
        _require_no_chunks(context)
        n, window = self.padded, context.mask.window
        mask = Mask.causal(len(self.lengths), n, n, window=window, device=query.device)
        of_text = query[:, :, :n], key[:, :, :n], value[:, :, :n]
        how: dict[str, Any] = {"scale": context.scale, "softcap": context.softcap, "sinks": context.sinks}
        text = self.method.attend(*of_text, replace(context, mask=self._padded(mask))) if self.method else None
        if text is None:
            text = dense_attention(*of_text, mask, **how)
        if context.softcap is not None or context.sinks is not None:
            tail = capped_attention(query[:, :, n:], key, value, self._tail(window), **how)
            return torch.cat([text, tail], dim=2)
        tail = scaled_dot_product_attention(
            query[:, :, n:], key, value, attn_mask=self._tail(window), scale=context.scale, enable_gqa=True
        )
        return torch.cat([text, tail], dim=2)

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:
        """What question rows (B, R) see: (B, 1, R, N + T) bool."""
        tail = self._tail(context.mask.window)
        index = (rows - self.padded)[:, None, :, None].expand(-1, 1, -1, tail.shape[-1])
        return tail.gather(2, index)

    def _padded(self, mask: Mask) -> Mask:
        """The same with the texts' padding, for a method, which must not choose by it."""
        if int(self.lengths.min()) < self.padded:
            mask.padding = torch.arange(self.padded, device=self.lengths.device) < self.lengths[:, None]
        return mask

    def _tail(self, window: int | None) -> Tensor:
        """(B, 1, T, N + T) bool: a question sees its text and, of the questions, itself up to here."""
        if window not in self._seen:
            batch = len(self.lengths)
            total = len(self._within)
            places = torch.arange(self.padded, device=self.lengths.device)
            text = (places < self.lengths[:, None])[:, None].expand(-1, total, -1)
            own = self._of_question[:, None] == self._of_question
            own = (own & (self._within[:, None] >= self._within)).expand(batch, -1, -1)
            seen = torch.cat([text, own], dim=2)
            if window is not None:
                positions = self.positions
                seen &= positions[:, self.padded :, None] - positions[:, None, :] < window
            self._seen[window] = seen[:, None]
        return self._seen[window]


def _require_no_chunks(context: Context) -> None:
    """A window of chunks is told by the same number as one that slides, and is none."""
    kinds = getattr(getattr(context.module, "config", None), "layer_types", None) or ()
    if context.layer < len(kinds) and kinds[context.layer] == "chunked_attention":
        raise InputError(
            f"Layer {context.layer} of this model sees chunks of the text, at whose edges a question behind it would "
            "be cut. Send text and question as one, or take a model with full or sliding layers."
        )


_FIT: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def require_side_by_side(model: Any, asked: str) -> None:
    """InputError: texts that lie side by side in one pass, for `asked`, are not read as each alone would be.

    A model is tried once, by a few tokens: whatever its layers do besides attention, and however it counts positions.
    """
    if model not in _FIT:
        _FIT[model] = supports(model) or _reads_alike(model)
    if not _FIT[model]:
        raise InputError(
            f"{asked} reads texts side by side, and in {type(model).__name__} they would not be what they are alone: "
            "its layers read tokens one after another besides attention (Mamba, convolutions), or it counts positions "
            "in its own way (RoBERTa, BART). Choose a decoder such as Llama, Qwen or Gemma."
        )


def _reads_alike(model: Any) -> bool:
    """Whether the second of two questions is read as if the first were not there."""
    text, first, second = TRIED
    words = model.config.get_text_config().vocab_size
    ids = (torch.arange(sum(TRIED), device=model.device)[None] + words // 2) % words
    layout = SharedPrefix(torch.tensor([text], device=model.device), text, [first, second])
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):  # a training's products are rounded
            with attach(model, layout):
                together = trunk(model)(input_ids=ids, position_ids=layout.positions, use_cache=False)
            with attach(model):
                alone = trunk(model)(input_ids=torch.cat([ids[:, :text], ids[:, text + first :]], 1), use_cache=False)
    finally:
        for part, training in modes:
            part.training = training
    found, wanted = (states.last_hidden_state[:, -second:].float() for states in (together, alone))
    return float((found - wanted).norm()) <= CLOSE.get(model.dtype, 2e-2) * float(wanted.norm())
