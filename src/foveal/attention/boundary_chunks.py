"""A text in chunks that follow its meaning, by the boundary predictor of DHSA: it is cut where a model's later tokens
are expected to use the two sides unequally.

    model = load_language_model()
    for start, end in segment(text, model, tokens=128): …          # characters; the chunks cover the text

The model reads the text once, densely, in pieces; what the predictor says of a position is averaged over the layers
that see the whole text. No question is needed, and no word of the language is known here.

    starts = token_starts(told.offset_mapping, [start for start, _ in sentences(text)])
    with attach(model, DHSA(starts=starts)): …                     # chunks of one's own, such as sentences

Source    DHSA (Xiong et al., arXiv 2510.24606): predictor and suppression; ours: the mean over layers, its use on texts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention.attach import Context
from foveal.attention.boundaries import BoundaryPredictor, boundaries_from
from foveal.attention.boundary_training import capture
from foveal.attention.dhsa import predictor_for
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

PIECE = 2048
"""Tokens that are read at once, as many as predictors are trained on: keys are standardised over them."""

Places = Sequence[tuple[int, int]]
"""First character, and the one after the last."""


def segment(
    text: str, model: LanguageModel, *, tokens: int = 128, predictor: BoundaryPredictor | None = None
) -> list[tuple[int, int]]:
    """The characters (start, end) of the chunks that cover `text`, one for each `tokens` tokens of it at most, but none
    of fewer than 8 tokens. An empty text has none.

    `predictor`: None is one that was trained here for the model, else the one that is shipped. InputError: there is
    none, it is another model's, or `tokens` is below 16.
    """
    if tokens < 16:
        raise InputError(f"Chunks of {tokens} tokens were asked for; boundaries are told apart from 16 on.")
    predictor = predictor or predictor_for(model.model.config.get_text_config())
    told = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if not told.input_ids:
        return [(0, len(text))] if text else []
    scores = torch.cat(list(_scores(model, told.input_ids, predictor)))
    bounds = boundaries_from(scores, block=tokens, per_block=1)[1:-1].tolist()
    cuts = sorted({0, len(text), *(_word(text, *told.offset_mapping[place]) for place in bounds)})
    return list(pairwise(cuts))


def _word(text: str, start: int, end: int) -> int:
    """Where a token begins, without the blanks before it."""
    return end - len(text[start:end].lstrip())


def _scores(model: LanguageModel, ids: Sequence[int], predictor: BoundaryPredictor) -> Iterator[Tensor]:
    """The mean over layers of the probability of a boundary behind each token, piece by piece."""
    size = min(PIECE, model.context_tokens)
    for start in range(0, len(ids), size):
        found: list[Tensor] = []

        def see(_: Tensor, key: Tensor, context: Context, found: list[Tensor] = found) -> None:
            if context.mask.window is None:
                found.append(predictor.to(key.device).predict(key)[0])

        capture(model.model, ids[start : start + size], see)
        if not found:
            raise InputError(f"Every layer of {model.name} slides over the text; none can tell where it falls apart.")
        yield torch.stack(found).mean(0)


def token_starts(offsets: Places, starts: Sequence[int]) -> tuple[int, ...]:
    """The tokens that begin at the characters `starts`, which rise, as `DHSA(starts=…)` takes them.

    `offsets` are those of the tokens (a tokenizer's offset_mapping). Of a place within a token that token; what more
    begins in the same token, and what begins behind the last one, is left out.
    """
    ends = [end for _, end in offsets]
    found: list[int] = []
    place = 0
    for start in starts:
        while place < len(ends) and ends[place] <= start:
            place += 1
        if place < len(ends) and (not found or place > found[-1]):
            found.append(place)
    return tuple(found)
