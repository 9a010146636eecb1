"""Which text did this token of an answer copy: what a model's retrieval heads looked at while it said it.

    trace = traced(model, prompt, answer, scores)              # one pass over prompt and answer; nothing is decoded
    trace.tokens[3].source, trace.tokens[3].share              # characters of the prompt, and how sure that is
    trace.grounded                                             # 0 to 1: how much of the answer was copied

Each chosen head votes, with its score as its weight, for the place of the prompt that it looks at most in the row that
produced a token. A vote counts as copied if the token there reads the same, and the place lies in a source. The source
of a token is the place with most of such votes, its share these votes' share of all. A token that nobody copied has
none; where a model invents, these heads rest on the first token (Wu et al., section 4.2): `sink` is that share.

Shapes    an answer of T tokens -> T places; one pass up to the deepest of the chosen heads
Source    Wu et al., ICLR 2025 (arXiv 2404.15574); votes weighted by scores, and the meter: ours
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention.recorder import Recorder
from foveal.attention.retrieval_heads import RETRIEVAL, Head, HeadScores, by_layer
from foveal.attention.watch import watch
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

HEADS = 12
"""Heads that vote, at most; only retrieval heads do."""

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TracedToken:
    """Characters `start` to `end` of the answer; `source`: those of the prompt that it was copied from, if it was."""

    start: int
    end: int
    source: Range | None
    share: float  # of the votes, that go to a copy of this token in a source
    sink: float  # of the attention, that rests on the first token


@dataclass(frozen=True, slots=True)
class Trace:
    """An answer's tokens, in order."""

    answer: str
    tokens: tuple[TracedToken, ...]

    @property
    def grounded(self) -> float:
        """The mean share of the tokens that say something (hold a letter or digit); 0 where none does."""
        said = [one.share for one in self.tokens if any(c.isalnum() for c in self.answer[one.start : one.end])]
        return sum(said) / len(said) if said else 0.0

    @property
    def sink(self) -> float:
        """The mean share that rests on the first token."""
        return sum(one.sink for one in self.tokens) / len(self.tokens) if self.tokens else 0.0


def voters(scores: HeadScores) -> list[Head]:
    """The heads that vote: retrieval heads, at most `HEADS`. InputError: there is none."""
    found = scores.above()[:HEADS]
    if not found:
        raise InputError(
            f"No head of {scores.model or 'this model'} copies enough ({RETRIEVAL}) to be asked where it looked. Take "
            "another model, or detect its heads in texts that it answers from: foveal heads detect MODEL --length N"
        )
    return found


def traced(
    model: LanguageModel, prompt: str, answer: str, scores: HeadScores, *, sources: Sequence[Range] | None = None
) -> Trace:
    """What the tokens of `answer`, which follows the rendered `prompt`, were copied from.

    `sources`: the characters of the prompt that may be one (default: all). InputError: the prompt is empty, it does not
    fit the model, or the scores are another model's.
    """
    scores.check(model.model.config)
    if not prompt:
        raise InputError("There is no prompt, so nothing can have been copied from it.")
    encoded = model.tokenizer.backend_tokenizer.encode(prompt + answer, add_special_tokens=False)
    ids, offsets = list(encoded.ids), list(encoded.offsets)
    first = next((place for place, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))
    if first == len(ids):
        return Trace(answer, ())
    if first == 0 or len(ids) > model.context_tokens:
        raise InputError(f"Prompt and answer have {len(ids)} tokens; {model.name} reads 2 to {model.context_tokens}.")
    heads = voters(scores)
    looked, sinks = _looks(model, ids, first, heads)
    weights = [float(scores.scores[head]) for head in _in_order(heads)]
    inside = _inside(offsets, first, sources)
    text = _texts(model.tokenizer)
    tokens: list[TracedToken] = []
    for row, place in enumerate(range(first, len(ids))):
        votes: defaultdict[int, float] = defaultdict(float)
        for weight, j in zip(weights, looked[:, row].tolist(), strict=True):
            if j in inside and _reads_alike(text, ids[j], ids[place]):
                votes[j] += weight
        best = max(votes, key=votes.__getitem__, default=None)
        start, end = (max(0, edge - len(prompt)) for edge in offsets[place])
        start = max(start, tokens[-1].end if tokens else 0)  # tokens may share a character of several bytes
        share = sum(votes.values()) / sum(weights)
        source = None if best is None else (offsets[best][0], offsets[best][1])
        tokens.append(TracedToken(start, end, source, share, float(sinks[row])))
    return Trace(answer, tuple(tokens))


def _looks(model: LanguageModel, ids: Sequence[int], first: int, heads: Sequence[Head]) -> tuple[Tensor, Tensor]:
    """For each head and token from `first` on the place looked at most (heads, T), and the first token's share (T,)."""
    rows = torch.arange(first - 1, len(ids) - 1, device=model.device)[None]

    def reduce(_: int, weights: Tensor) -> Tensor:  # (1, h, T, K) -> (2, h, T)
        return torch.stack([weights[0].argmax(-1).float(), weights[0, :, :, 0]]).cpu()

    recorder = Recorder(rows, by_layer(heads), stop=True, reduce=reduce)
    watch(model.model, torch.tensor([list(ids)], device=model.device), recorder)
    found = torch.cat([recorder.attention[layer] for layer in sorted(recorder.attention)], dim=1)
    return found[0].long(), found[1].mean(0)


def _in_order(heads: Sequence[Head]) -> list[Head]:
    """The heads in the order in which they are recorded."""
    return [(layer, head) for layer, of_layer in by_layer(heads).items() for head in of_layer]


def _inside(offsets: Sequence[Range], first: int, sources: Sequence[Range] | None) -> set[int]:
    """The places of the prompt's tokens that lie in a source."""
    if sources is None:
        return set(range(first))
    return {
        place
        for place, (start, end) in enumerate(offsets[:first])
        if start < end and any(start < b and end > a for a, b in sources)
    }


@lru_cache(maxsize=4)
def _texts(tokenizer: Any) -> Callable[[int], str]:
    """A function that gives what a token reads as, without the space before it. It holds the tokenizer, no model."""

    @lru_cache(maxsize=65_536)
    def text(token: int) -> str:
        return str(tokenizer.decode([token])).strip()

    return text


def _reads_alike(text: Callable[[int], str], one: int, other: int) -> bool:
    """Whether two tokens read the same, and as something; parts of characters, all "\ufffd", must be the same."""
    read = text(one)
    return one == other if "\ufffd" in read else read == text(other) != ""
