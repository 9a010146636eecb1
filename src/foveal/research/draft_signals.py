"""What a model's draft tells of what it knows: how likely each token was, how open the choice, what looked at it.

    drafted(model, messages, text)          # Token(start, end, probability) for each token of the draft
    watched(model, messages, text, within)  # + entropy (N,), attention of the last layer, its heads' mean

Probabilities come from any model that scores a given text; entropies and attention only from one on this machine. One
pass over prompt and draft gives the logits, one more the attention of the draft's N rows: N·K numbers a head.

Shapes    draft of N tokens behind a prompt of P: attention (N, P + N) float32, row i of the draft's token i
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError
from foveal.models.chat import Cancel, ChatModel, Messages


@dataclass(frozen=True, slots=True)
class Token:
    """Characters of a draft, and how likely the model was to write them."""

    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class Watched:
    """A draft of N tokens: their places, entropies in nats (N,), and what each looked at, (N, P + N)."""

    tokens: list[Token]
    entropy: NDArray[Any]
    attention: NDArray[Any]
    prompt: str  # as the model read it
    places: list[tuple[int, int]]  # characters of `prompt` of each of its P tokens


def drafted(model: ChatModel, messages: Messages, text: str, *, cancel: Cancel | None = None) -> list[Token]:
    """The draft's tokens. Of a server's model, whose tokens are not known, one: as likely as the least likely."""
    scores = model.score(messages, text, cancel=cancel)
    language_model = getattr(model, "language_model", None)
    if not scores:
        return []
    if language_model is None:
        return [Token(0, len(text), exp(min(scores)))]
    places = _places(language_model, text)
    if len(places) != len(scores):
        raise InputError(f"The tokenizer of {model.name} cuts a draft in two ways; use another timing than confidence.")
    return [Token(start, end, exp(score)) for (start, end), score in zip(places, scores, strict=True)]


def watched(model: ChatModel, messages: Messages, text: str) -> Watched:
    """What the draft looked at. InputError: the model is not on this machine, or the draft is empty."""
    language_model = getattr(model, "language_model", None)
    if language_model is None:
        raise InputError(
            f"{model.name} runs elsewhere, so that its attention cannot be seen. Take a model of this machine, or the "
            "timing confidence."
        )
    prompt = language_model.render(messages)
    places, own = _places(language_model, prompt), _places(language_model, text)
    ids = [*language_model.encode(prompt), *language_model.encode(text)]
    first = len(ids) - len(own)
    if not own or first != len(places):
        raise InputError(f"A draft of {len(text)} characters cannot be watched; it needs a token, cut in one way.")
    logits, attention = _passes(language_model, ids, len(own))
    chosen = np.asarray(ids[first:])[:, None]
    likely = np.take_along_axis(logits, chosen, axis=1)[:, 0]
    entropy = -(np.exp(logits) * logits).sum(axis=1)
    tokens = [Token(start, end, float(np.exp(one))) for (start, end), one in zip(own, likely, strict=True)]
    return Watched(tokens, entropy, attention, prompt, places)


def _passes(language_model: Any, ids: Sequence[int], rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Log-probabilities (rows, vocabulary) of the last tokens by what stands before them, and their attention."""
    import torch

    from foveal.attention.recorder import Recorder
    from foveal.attention.watch import watch

    model = language_model.model
    given = torch.tensor([list(ids)], device=model.device)
    with torch.inference_mode():
        output = model(input_ids=given, use_cache=False, logits_to_keep=rows + 1)
        logits = torch.log_softmax(output.logits[0, :-1].float(), -1)
    deepest = int(model.config.num_hidden_layers) - 1
    asked = torch.arange(len(ids) - rows, len(ids), device=model.device)[None]
    recorder = Recorder(asked, {deepest: None}, stop=True)
    watch(model, given, recorder)
    return logits.cpu().numpy(), recorder.attention[deepest][0].mean(dim=0).float().cpu().numpy()


def _places(language_model: Any, text: str) -> list[tuple[int, int]]:
    """Characters of each token; a blank before a word belongs to it."""
    found = language_model.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    return [(int(start), int(end)) for start, end in found["offset_mapping"]]
