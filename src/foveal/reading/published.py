"""Reads a text as the published package infini-retri 0.0.3 does: the same sentences kept in every window, faster.

Source    infini-retri 0.0.3 (MIT, MrYXJ), the authors' own code of arXiv 2502.12962; none of it is used here
Score     of token j of the text: sum over the prompt's rows i from the question on of w_i² · sum of G[i, j - ⌈(p-1)/2⌉
          … j + ⌊(p-1)/2⌋], G the last layer's attention summed over its heads; w_i, what row i pays to those rows, is
          that of the first window. The K best tokens are marked, their sentences kept and shown before the next window
Same      kept sentences in float32, wherever the package works (bench/read_peer.py compares them)
Differs   one forward pass a window without vocabulary head, ended in the last layer; rows of attention instead of all
          layers' N×N; no search for text or question in the prompt, which the package stops at; sampling has a seed

Shapes    R rows, N tokens of the text: attention (R, K) of K tokens of the prompt, G (R, N), scores (N,)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from foveal.attention import Recorder, watch
from foveal.errors import InputError
from foveal.models.chat import ChatModel, Sampling
from foveal.reading.published_prompt import PublishedPrompt, PublishedTemplate
from foveal.reading.published_text import Cutter, Traced

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

TEMPLATE = (
    "Read the book and answer the question. Be very concise in your answer.\n\n"
    "{context}\n\nQuestion:\n\n{question}\n\nAnswer:"
)

NO_QUESTION = 512
"""Characters at the end of a text that are its question where none is asked."""


@dataclass(frozen=True, slots=True)
class KeptSentence:
    """A sentence as the model was shown it, and where its characters stand in the text.

    More than one span: sentences apart that the package's rule joined; blanks that only the prompt has are in none.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class WindowKept:
    """What window `window` of `windows`, counted from 1, left in the memory."""

    window: int
    windows: int
    sentences: tuple[KeptSentence, ...]
    prompt_tokens: int

    @property
    def memory(self) -> str:
        """The text that stands before the next window."""
        return "".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True)
class _Sizes:
    """Tokens that are marked in a window, tokens of a phrase, tokens of a window."""

    topk: int
    answer_length: int
    window_length: int

    def __post_init__(self) -> None:
        for name, tokens in asdict(self).items():
            if tokens < 1:
                raise InputError(f"{name} is {tokens}; it needs at least 1 token.")

    def but(self, **given: int | None) -> _Sizes:
        """These, with those of `given` that are not None in their place."""
        return replace(self, **{name: tokens for name, tokens in given.items() if tokens is not None})


class Published:
    """A stand-in for the package's class InfiniRetri."""

    def __init__(
        self,
        model: LanguageModel,
        topk: int = 300,
        answer_length: int = 8,
        window_length: int = 1024,
        template: str = TEMPLATE,
        answerer: ChatModel | None = None,
    ) -> None:
        """`topk` tokens are marked in a window of `window_length`; a phrase is of `answer_length` tokens.

        `answerer` answers from what was kept (default: the model that reads). InputError: a value out of its range.
        """
        self.model = model
        self.template = template
        self._sizes = _Sizes(topk, answer_length, window_length)
        self._answerer = answerer

    @property
    def answerer(self) -> ChatModel:
        """What gives the answers."""
        if self._answerer is None:
            from foveal.models.local_chat import LocalChat

            self._answerer = LocalChat(self.model)
        return self._answerer

    def generate(
        self,
        context: str,
        question: str | None = None,
        prompt: str | None = None,
        topk: int | None = None,
        answer_length: int | None = None,
        window_length: int | None = None,
        temperature: float = 0.5,
        retri_split_pattern: str | None = None,  # noqa: ARG002
        max_new_tokens: int = 128,
        print_info: bool = False,  # noqa: ARG002
    ) -> str:
        """The answer, as the package's method of this name gives it; None stands for what the object was made with.

        Without a question the text's last 512 characters are one. `prompt` is a template. `retri_split_pattern` does
        nothing, as in the package; nor does `print_info`, for a library does not print. InputError: a blank text, a
        template without {context}, no room for an answer.
        """
        question = context[-NO_QUESTION:] if question is None else question
        memory = ""
        for kept in self.windows(
            context, question, prompt=prompt, topk=topk, answer_length=answer_length, window_length=window_length
        ):
            memory = kept.memory
        template = self.template if prompt is None else prompt
        content = PublishedTemplate.filled(template, memory.strip(), question.strip())
        messages = [{"role": "system", "content": ""}, {"role": "user", "content": content}]
        return self.answerer.chat(messages, Sampling(max_tokens=max_new_tokens, temperature=temperature))

    def windows(
        self,
        context: str,
        question: str,
        *,
        prompt: str | None = None,
        topk: int | None = None,
        answer_length: int | None = None,
        window_length: int | None = None,
    ) -> Iterator[WindowKept]:
        """Read `context` window by window; the last one's `memory` is what an answer is made from.

        No window at all: a text of one word that is longer than a window, which the package drops.
        """
        if not context.strip():
            raise InputError("The text is blank. Give one with something to read in it.")
        sizes = self._sizes.but(topk=topk, answer_length=answer_length, window_length=window_length)
        template = PublishedTemplate(self.model, self.template if prompt is None else prompt)
        windows = Cutter(self.model.tokenizer.backend_tokenizer, sizes.window_length).windows(context)
        kept: list[Traced] = []
        weights: np.ndarray | None = None
        for number, window in enumerate(windows, start=1):
            shown = template.prompt(Traced.joined([*kept, window]), question)
            kept, weights = self._kept(shown, sizes, weights)
            sentences = tuple(KeptSentence(one.text, one.spans()) for one in kept)
            yield WindowKept(number, len(windows), sentences, len(shown.ids))

    def _kept(
        self, prompt: PublishedPrompt, sizes: _Sizes, weights: np.ndarray | None
    ) -> tuple[list[Traced], np.ndarray]:
        """The sentences of `prompt` to keep, and the rows' weights for the next window."""
        attention = self._attention(prompt)
        if weights is None or len(weights) != len(attention):  # a template that asks first has rows of each window
            weights = attention[:, prompt.rows].sum(axis=1, keepdims=True)
        scores = token_scores(attention[:, prompt.context], weights, sizes.answer_length)
        return prompt.holding((np.argsort(scores)[-sizes.topk :] + prompt.context.start).tolist()), weights

    def _attention(self, prompt: PublishedPrompt) -> np.ndarray:
        """What the prompt's rows pay to every token in the last layer, summed over its heads: (R, K) float32."""
        model = self.model.model
        last = model.config.get_text_config().num_hidden_layers - 1
        rows = torch.tensor([list(prompt.rows)], device=self.model.device)
        recorder = Recorder(rows, {last: None}, stop=True, reduce=_over_heads)
        ids = torch.tensor([prompt.ids], device=self.model.device)
        watch(model, ids, recorder)
        summed: np.ndarray = recorder.attention[last][0].cpu().numpy()
        return summed


def _over_heads(_: int, weights: Tensor) -> Tensor:
    return weights.sum(1)


def token_scores(attention: np.ndarray, weights: np.ndarray, phrase: int) -> np.ndarray:
    """The scores (N,) float64 of attention (R, N) by rows' weights (R, 1), over phrases of `phrase` tokens."""
    before, after = phrase // 2, (phrase - 1) // 2
    padded = np.pad(attention.astype(np.float64), ((0, 0), (before, after)))
    smoothed = np.lib.stride_tricks.sliding_window_view(padded, phrase, axis=1).sum(axis=-1)
    scores: np.ndarray = (weights * (weights * smoothed)).sum(axis=0)
    return scores
