"""A chat model on this machine: any `LanguageModel`, decoded by `Decoder`.

    chat = LocalChat(load_language_model("qwen2.5-coder-0.5b"))
    chat.chat([{"role": "user", "content": "Where is sight sharpest?"}])

A conversation that begins like one before it does not read that beginning again, and any number of threads may call:
they take turns, token by token. An answer is cut where prompt and answer would pass `context_tokens`; a prompt that
leaves no room for one token is an InputError. Reasoning up to `</think>` is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from foveal.errors import InputError
from foveal.models.answer_text import AnswerText
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, parsing
from foveal.models.decoding import Decoder, NotTogether, State, decode_rows, tokens
from foveal.models.grammar import Grammar, JsonGuide
from foveal.models.language import LanguageModel
from foveal.models.prefix_cache import PrefixCache

SchemaT = TypeVar("SchemaT", bound=BaseModel)

ROWS = 8
"""Conversations decoded together: a step of 8 takes a third longer than a step of 1."""

SCORED_AT_ONCE = 256
"""Rows through the LM head at once: at a vocabulary of 150,000, each takes 0.6 MB."""


class LocalChat:
    """A `ChatModel` over a model of transformers."""

    def __init__(self, language_model: LanguageModel, *, kept: PrefixCache | None = None) -> None:
        """Answer by `language_model`, which others may use as well, but not change.

        `kept`: what it has read, shared by all talks (default: each begins with what this chat read last).
        """
        self.name = language_model.name
        self.context_tokens = language_model.context_tokens
        self.language_model = language_model
        self.decoder = Decoder(language_model.model, kept=kept)
        self._spare: State | None = None  # what was read last, for a conversation that begins alike
        self._spare_lock = Lock()

    @property
    def weights(self) -> int:
        """How large the model is."""
        return sum(one.numel() for one in self.language_model.model.parameters())

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer. InputError: no room for it; Cancelled: within a token of `cancel`."""
        return "".join(self.stream(messages, sampling, cancel=cancel))

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer in pieces of whole characters; a piece that may begin a stop text waits for the next one."""
        prompt = self._prompt(messages)
        sampling = self._fitted(prompt, sampling)
        return self._pieces(prompt, sampling, cancel)

    def _pieces(self, prompt: list[int], sampling: Sampling, cancel: Cancel | None) -> Iterator[str]:
        text = self._text(prompt, sampling)
        with self._read(prompt, cancel) as state:
            for token in self._tokens(state, prompt, sampling, cancel):
                yield from filter(None, [text.add(token)])
                if text.ended:
                    return
        text.require_answer(self.name)
        yield from filter(None, [text.rest()])

    def parse(
        self,
        messages: Messages,
        schema: type[SchemaT],
        sampling: Sampling = GREEDY,
        *,
        cancel: Cancel | None = None,
    ) -> SchemaT:
        """An answer as an instance of `schema`, which `checked_schema` must accept.

        With no sampling given, up to `PARSE_TOKENS`. InputError: the answer was longer than max_tokens, or the schema
        has validators that its JSON schema does not show and that refuse the answer.
        """
        guide = self._grammar.guide(schema)
        prompt = self._prompt(messages)
        wanted = parsing(sampling)
        sampling = self._fitted(prompt, replace(wanted, stop=()))
        with self._read(prompt, cancel) as state:
            ids = list(self._tokens(state, prompt, sampling, cancel, guide=guide))
        if not guide.done:
            raise InputError(
                f"{self.name} was not done with its {schema.__name__} after {len(ids)} tokens; raise max_tokens "
                f"(now {wanted.max_tokens}; prompt and answer may take {self.context_tokens}), or bound the schema's "
                "texts and lists closer."
            )
        text = self.language_model.tokenizer.decode(ids, skip_special_tokens=True)
        try:
            return schema.model_validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"{self.name} wrote a {schema.__name__} that its own validators refuse ({error.errors()[0]['msg']}); "
                "state what they want as field constraints, which a grammar can keep."
            ) from error

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:
        """Natural-log probability of each token of `continuation` as the answer; the prompt is read once for many."""
        prompt, ids = self._prompt(messages), self.language_model.encode(continuation)
        self._fitted([*prompt, *ids[:-1]], GREEDY)
        if not ids:
            return []
        scores: list[float] = []
        with self._read(prompt, cancel) as state:
            scores += log_probabilities(state.logits, ids[:1])
            for start in range(0, len(ids) - 1, SCORED_AT_ONCE):
                if cancel:
                    cancel.check()
                part = ids[start : start + SCORED_AT_ONCE + 1]
                scores += log_probabilities(self.decoder.extend(state, part[:-1]), part[1:])
        return scores

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The answer to each conversation, `ROWS` decoded together; each as `chat` would answer, but for rounding."""
        prompts = [self._prompt(messages) for messages in conversations]
        for prompt in prompts:
            self._fitted(prompt, sampling)
        answers: list[str] = []
        for start in range(0, len(prompts), ROWS):
            together = prompts[start : start + ROWS]
            try:
                answers += self._together(together, sampling, cancel)
            except NotTogether:
                answers += ["".join(self._pieces(one, self._fitted(one, sampling), cancel)) for one in together]
        return answers

    def _together(self, prompts: Sequence[list[int]], sampling: Sampling, cancel: Cancel | None) -> list[str]:
        limits = [self._fitted(prompt, sampling).max_tokens for prompt in prompts]
        texts = [self._text(prompt, sampling) for prompt in prompts]
        pieces: list[list[str]] = [[] for _ in prompts]

        def take(row: int, token: int) -> bool:
            pieces[row].append(texts[row].add(token))
            return not texts[row].ended

        with self._lent() as state:
            rows = self.decoder.batch(prompts, into=state, cancel=cancel)
        decode_rows(
            self.decoder,
            rows,
            take,
            sampling,
            limits=limits,
            stop_ids=self.language_model.stop_ids,
            cancel=cancel,
        )
        for text in texts:
            text.require_answer(self.name)
        return ["".join([*found, text.rest()]) for found, text in zip(pieces, texts, strict=True)]

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`."""
        return len(self.language_model.encode(text))

    def _prompt(self, messages: Messages) -> list[int]:
        """InputError: the messages are nothing at all; the model would go on from what it read last."""
        prompt = self.language_model.encode(self.language_model.render(messages))
        if not prompt:
            raise InputError(f"The chat template of {self.name} makes no text of these messages. Write something.")
        return prompt

    def _fitted(self, prompt: Sequence[int], sampling: Sampling) -> Sampling:
        room = self.context_tokens - len(prompt)
        if room < 1:
            raise InputError(
                f"The prompt takes {len(prompt)} tokens, and {self.name} reads and writes {self.context_tokens} in "
                "all; shorten the messages by as much, or take a model with a longer context."
            )
        return replace(sampling, max_tokens=min(sampling.max_tokens, room))

    @contextmanager
    def _lent(self) -> Iterator[State | None]:
        """A state for the body alone: the one used last, or a new one while another call has it; None if it can't be
        used again. It is kept for the next call."""
        with self._spare_lock:
            spare, self._spare = self._spare, None
        state = (spare or self.decoder.new_state()) if self.decoder.lean else None
        try:
            yield state
        finally:
            self._spare = state

    @contextmanager
    def _read(self, prompt: list[int], cancel: Cancel | None) -> Iterator[State]:
        """The state after `prompt`, for the body alone."""
        with self._lent() as state:
            yield self.decoder.prefill(prompt, into=state, cancel=cancel)

    def _tokens(
        self,
        state: State,
        prompt: Sequence[int],
        sampling: Sampling,
        cancel: Cancel | None,
        guide: JsonGuide | None = None,
    ) -> Iterator[int]:
        stop_ids = self.language_model.stop_ids
        return tokens(self.decoder, state, sampling, stop_ids=stop_ids, cancel=cancel, guide=guide, prompt=prompt)

    def _text(self, prompt: list[int], sampling: Sampling) -> AnswerText:
        return AnswerText.after(self.language_model.tokenizer, prompt, sampling.stop)

    @cached_property
    def _grammar(self) -> Grammar:
        vocabulary = self.language_model.model.get_output_embeddings().out_features
        return Grammar(self.language_model.tokenizer, vocabulary=vocabulary, stop_ids=self.language_model.stop_ids)


def log_probabilities(logits: Tensor, ids: Sequence[int]) -> list[float]:
    """Natural-log probability of token ids (N,) by their logits (N, vocabulary)."""
    chosen = torch.tensor(ids, device=logits.device)[:, None]
    scores: list[float] = torch.log_softmax(logits.float(), -1).gather(1, chosen)[:, 0].tolist()
    return scores
