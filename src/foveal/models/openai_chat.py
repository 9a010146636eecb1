"""A chat model behind any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, and the like.

    OpenAIChat("qwen2.5-7b-instruct", "http://127.0.0.1:8080/v1").chat([{"role": "user", "content": "..."}])

Answers are streamed where the server can, so a time-out means silence, not length; the first word may take longer, as
a slow server reads all of a prompt before it. Reasoning is not part of an answer: neither what a server sends apart
from it, nor a text up to `</think>` that stands before it. A model that spends all of an answer's tokens on it is asked
again, with room for both. What a server refuses to be told is left out (chat_requests.py); how many tokens it reads is
asked of its list of models, and learnt from its errors.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from math import inf
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from foveal.errors import FetchFailed, FovealError, InputError
from foveal.models.answers import Thoughts, fitting, in_words, most_tokens, without_thoughts
from foveal.models.characters import scalar
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, SchemaT, checked, parsing
from foveal.models.chat_address import address, key_of, shown, without_key
from foveal.models.chat_dialect import Dialect
from foveal.models.chat_listing import LISTED_AGAIN_S, UNASKED, Listed, listed, listed_of, names_of, weights_in
from foveal.models.chat_pieces import bounded, counts_of, piece_of, require_said, says
from foveal.models.chat_requests import (
    COUNTED,
    FORMAT,
    LENGTH,
    NEWER_LENGTH,
    REFUSALS,
    STREAM,
    without_empty,
)
from foveal.models.language import completion_prompt, turns_broken
from foveal.models.remote import Pace, heard, retried
from foveal.settings import Settings

CONTEXT_TOKENS, MOST_CONTEXT = 8192, 32_768
"""Taken where neither a caller nor the server says what the served model can hold; and the most that is taken of a
server's word, as prompts that fill more cost more than they bring."""

SILENCE_S = Settings.chat_timeout_s
"""Seconds, where a caller does not say."""

FIRST = 5
"""So many times longer may be the silence before the first word, in which a server reads the prompt, or others' are
before ours."""

AT_ONCE = 8
"""Conversations that `chat_many` has open at a time."""

THOUGHT_TOKENS = 4096
"""Room for reasoning, beside the answer's own, once a model was seen to need it; less where its context is small."""

Told = Callable[[tuple[int, int]], None]
"""Gets the tokens of a prompt and of its answer, reasoning among them, as the server counted them."""

WITHHELD, NOT_FOUND = "content_filter", 404

LONGEST_TOKEN = 64
"""Characters; a server that sends more than max_tokens of these does not stop, and is left."""


class OpenAIChat:
    """A `ChatModel` over a server's chat completions."""

    def __init__(
        self,
        model: str,
        url: str,
        api_key: str | None = None,
        *,
        context_tokens: int | None = None,
        timeout_s: float = SILENCE_S,
        retries: int = 3,
    ) -> None:
        """`url` ends before /chat/completions, mostly in /v1; nothing is sent yet.

        The key is `api_key` or FOVEAL_CHAT_KEY; OPENAI_API_KEY goes to OpenAI's own servers only. Servers on this
        machine mostly need none. `context_tokens`: asked of the server, where nothing is said. `timeout_s` is the
        longest silence in seconds (`FIRST` times that before the first word), `retries` the tries after the first.
        InputError: an address, a key or a time that is none.
        """
        url, host = address(url)
        if not 0 < timeout_s < inf:
            raise InputError(f"timeout_s is {timeout_s}; it needs seconds above 0, the longest silence of the server.")
        self.name = model
        self.url = self._given = url
        self._clients: dict[str, Any] = {}  # of each address
        self._context, self._listed_at, self._listing = context_tokens, -inf, Lock()
        self._own: Listed | None = None  # what the server's list tells
        self.timeout_s = timeout_s
        self._retries = retries
        self._reasons = False
        self._dialect = Dialect()
        self._words_only = False  # whether the server refused a schema that it was sent
        self._pace = Pace()
        self._openai = host == "openai.com" or host.endswith(".openai.com")
        own = os.environ.get("OPENAI_API_KEY") if self._openai else None
        self._key = key_of(api_key, os.environ.get("FOVEAL_CHAT_KEY"), own)

    def chat(
        self,
        messages: Messages,
        sampling: Sampling = GREEDY,
        *,
        cancel: Cancel | None = None,
        told: Told | None = None,
    ) -> str:
        """The whole answer. FetchFailed: the server failed. InputError: it refused the request or the key.

        `told` gets what the server counted, once for each answer that it was asked for, if it says so.
        """
        request = self._request(messages, sampling)
        return without_thoughts(self._whole(request, cancel, told))

    def stream(
        self,
        messages: Messages,
        sampling: Sampling = GREEDY,
        *,
        cancel: Cancel | None = None,
        told: Told | None = None,
    ) -> Iterator[str]:
        """The answer in pieces; a failure after the first is not tried again. `told` as in `chat`.

        Reasoning is left out where `<think>` opens it; a server that sends only the closing tag is not seen through.
        """
        return self._streamed(self._request(messages, sampling), cancel, told)

    def _whole(self, request: dict[str, Any], cancel: Cancel | None, told: Told | None = None) -> str:
        answer: str = self._found(lambda: "".join(self._pieces(request, cancel, told)), cancel)
        return answer

    def _streamed(self, request: dict[str, Any], cancel: Cancel | None, told: Told | None) -> Iterator[str]:
        def begun() -> tuple[str, Iterator[str]]:
            pieces = self._pieces(request, cancel, told)
            return next(pieces, ""), pieces

        first, pieces = self._found(begun, cancel)
        if first:
            yield first
        while piece := self._retried(lambda: next(pieces, ""), cancel, retries=0):
            yield piece

    def parse(
        self,
        messages: Messages,
        schema: type[SchemaT],
        sampling: Sampling = GREEDY,
        *,
        cancel: Cancel | None = None,
    ) -> SchemaT:
        """An answer that `schema` accepts; the server is asked once more where the first does not fit.

        A server that takes no schema, as older ones, is told it in words. With no sampling given, up to
        `chat.PARSE_TOKENS`.
        """
        plain = checked(messages)
        worded = in_words(plain, schema)
        stated = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
        formatted = {FORMAT: {"type": "json_schema", "json_schema": stated}}

        def ask(talk: list[dict[str, str]]) -> str:
            if not self._words_only:
                try:
                    return self._whole(self._request(talk, parsing(sampling)) | formatted, cancel)
                except InputError as error:
                    if not _refuses_format(error.__cause__):
                        raise
            answer = self._whole(self._request([*worded, *talk[len(plain) :]], parsing(sampling)), cancel)
            self._words_only = True  # it answers without: some name all that they were sent, whatever is wrong
            return answer

        return fitting(ask, plain, schema, self._place)

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:
        """Log-probabilities of the tokens of `continuation` after the messages' contents, joined by blank lines.

        The server's chat template is not known here, so the model is asked as a base model is. FetchFailed: the server
        has no /completions, or gives no log-probabilities of what it is sent.
        """
        prompt = completion_prompt(checked(messages))
        continuation = scalar(continuation)
        request = {"model": self.name, "prompt": prompt + continuation, "echo": True, "logprobs": 1, "max_tokens": 1}

        def once() -> Any:
            calls = heard(
                lambda: iter_one(lambda: self._client.completions.create(**request, temperature=0)),
                silence_s=self.timeout_s,
                cancel=cancel,
            )
            return next(calls)

        try:
            answer = self._retried(once, cancel)
        except InputError as error:
            raise FetchFailed(f"{self._place} cannot score a given answer ({error}). Use a local model.") from error
        found = _echoed(answer, prompt, continuation)
        if found is None:
            raise FetchFailed(
                f"{self._place} cannot score a given answer: it sends no log-probabilities of the text that it was "
                "sent (echo). Use a local model, or a server that has them, as vLLM."
            )
        return found

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The whole answer to each conversation, `AT_ONCE` at a time; the first failure ends all."""
        left = Cancel(cancel)  # set when this call ends: what still runs would hold the process, and ask on and on
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="foveal-chat")
        try:
            asked = [pool.submit(self.chat, messages, sampling, cancel=left) for messages in conversations]
            for answer in as_completed(asked):
                answer.result()  # a failure is raised when it comes, not when its turn comes
            return [answer.result() for answer in asked]
        finally:
            left.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, rather too many than too few: the server's tokenizer is not known."""
        return most_tokens(text)

    @property
    def context_tokens(self) -> int:
        """Tokens that messages and answer may take together: what a caller said, else what the server says, asked at
        the first look; less, once it was learnt that the server holds less."""
        context = self._context or min(self._listed().context or CONTEXT_TOKENS, MOST_CONTEXT)
        return min(context, self._dialect.context or context)

    @property
    def weights(self) -> int | None:
        """How large the model is, as the server or else its name says, so that a small one is asked as such."""
        return self._listed().weights or weights_in(self.name)

    def _listed(self) -> Listed:
        """What the server's list tells of the model, asked for once; nothing, while it cannot be asked."""
        with self._listing:
            if self._own is None and time.monotonic() - self._listed_at >= LISTED_AGAIN_S:
                self._listed_at = time.monotonic()
                self._own = self._asked_list()
            return self._own or Listed()

    def _asked_list(self) -> Listed | None:
        own = Listed()
        for url in [] if self._openai else [self.url, *self._others(self.url)]:
            models = listed(self._client_at(url), self.timeout_s)
            if models is UNASKED:
                return None
            own = listed_of(models, self.name)
            if any(own):
                break
        return own

    @property
    def _length(self) -> str:
        """What the most tokens are called: OpenAI's newer models know only the first name."""
        return NEWER_LENGTH if self._openai else LENGTH

    @property
    def _place(self) -> str:
        return f"{self.name} at {shown(self.url)}"

    @property
    def _client(self) -> Any:
        return self._client_at(self.url)

    def _client_at(self, url: str) -> Any:
        from openai import DefaultHttpxClient, OpenAI, Timeout

        if url not in self._clients:
            patience = Timeout(FIRST * self.timeout_s + 1, connect=self.timeout_s)  # `heard` looks first
            http = DefaultHttpxClient(timeout=patience, event_hooks={"response": [bounded]})
            weakref.finalize(self, http.close)  # openai closes only clients that it made itself
            made = OpenAI(base_url=url, api_key=self._key, timeout=patience, max_retries=0, http_client=http)
            self._clients.setdefault(url, made)  # another thread may have been as quick
        return self._clients[url]

    def _others(self, url: str) -> list[str]:
        """Where else a server is asked whose address is only a host's: with /v1 behind it, or without."""
        parts = urlsplit(self._given)
        if parts.path.strip("/") or parts.query or parts.fragment:
            return []
        behind = f"{self._given.rstrip('/')}/v1"
        return [self._given if url == behind else behind]

    def _retried(self, run: Any, cancel: Cancel | None, *, retries: int | None = None) -> Any:
        tries = self._retries if retries is None else retries
        name, silence_s = self._place, self.timeout_s
        try:
            return retried(run, retries=tries, name=name, silence_s=silence_s, cancel=cancel, pace=self._pace)
        except FovealError as error:  # which may hold the words of the server, as pages show them
            error.args = tuple(without_key(str(one), self._key) for one in error.args)
            raise

    def _found(self, run: Any, cancel: Cancel | None) -> Any:
        """`_retried`; an address that is only a host's is tried with /v1 behind it, too, and kept where it answers;
        where the server knows nothing of what is asked, the models that it has are named."""
        missing: dict[str, BaseException | None] = {}
        first = self.url  # other threads may move it meanwhile
        for url in (first, *self._others(first)):
            if url != first:
                self.url = url
            try:
                return self._retried(run, cancel)
            except InputError as error:
                if not _is_missing(error):
                    raise
                missing[url] = error.__cause__
        self.url = first
        names: list[str] = []
        for url in sorted(missing, key=lambda one: one == self._given):  # last, and told if none has a list
            if names := names_of(listed(self._client_at(url), self.timeout_s)):
                break
        has = f"It has: {', '.join(names)}. " if names else ""
        said = without_key(f"{missing[url]!s:.300}", self._key)
        raise InputError(
            f"{shown(url)} has no model {self.name!r}, or is no such address ({said}). {has}The address ends before "
            "/chat/completions, mostly in /v1."
        ) from missing[url]

    def _request(self, messages: Messages, sampling: Sampling) -> dict[str, Any]:
        turns = [turn | {"content": turns_broken(turn["content"])} for turn in checked(messages)]
        request: dict[str, Any] = {
            "model": self.name,
            "messages": without_empty(turns),
            self._length: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            STREAM: True,
        }
        return request | ({"stop": list(sampling.stop)} if sampling.stop else {})

    def _pieces(self, request: dict[str, Any], cancel: Cancel | None, told: Told | None = None) -> Iterator[str]:
        """The answer's text as it comes, without reasoning, for which there is room where the model needs it.

        ConnectionError: it ended before the model was done, or said nothing. FetchFailed: it reasons until no token is
        left, it refuses, or the answer is withheld.
        """
        thinks = self._reasons
        said = yield from self._answer(request, self._room(request) if thinks else 0, cancel, told)
        if not said and not thinks and self._room(request):
            self._reasons = True
            said = yield from self._answer(request, self._room(request), cancel, told)
        if not said:
            raise FetchFailed(
                f"{self._place} spent all of its tokens on reasoning, and gave no answer. Turn reasoning off at the "
                "server, or take a model that answers at once."
            )

    def _answer(
        self, request: dict[str, Any], room: int, cancel: Cancel | None, told: Told | None
    ) -> Generator[str, None, bool]:
        """One answer, with so many tokens more; False where they were spent before a word of it came."""
        most = request[self._length] + room
        finish: str | None = None
        sent, said, refusal = 0, False, ""
        thoughts = Thoughts()
        counts: tuple[int, int] | None = None
        asked = request | {self._length: most} | ({COUNTED: {"include_usage": True}} if told else {})
        patience = {"silence_s": self.timeout_s, "first_s": FIRST * self.timeout_s}
        for chunk in heard(
            lambda: self._dialect.chunks(self._client, asked, self._place, cancel),
            begun=says,
            cancel=cancel,
            **patience,
        ):
            piece = piece_of(chunk)
            finish, refusal = piece.finish or finish, refusal + piece.refusal
            counts = counts_of(chunk) or counts  # some tell with each chunk how many there are by then
            sent += max(1, len(piece.text))  # reasoning that is sent apart, and nothing at all, come to an end, too
            if sent > LONGEST_TOKEN * most:
                raise FetchFailed(
                    f"{self._place} sent more than the {LONGEST_TOKEN * most} characters that max_tokens allows."
                )
            if text := thoughts.without(piece.text):
                said = said or bool(text.strip())
                yield text
        if text := thoughts.rest():
            said = said or bool(text.strip())
            yield text
        if told and counts:
            told(counts)
        if finish is None:
            raise ConnectionError("the answer ended before the model was done")
        if finish == WITHHELD:
            raise FetchFailed(
                f"{self._place} withheld its answer, or the rest of it ({WITHHELD}): something in the question, in "
                "what it was shown or in what it said is not let through there. Ask another model."
            )
        if said or finish == "length":
            return said
        if refusal or finish != "stop" or "stop" not in request:  # an answer may begin with what ends it
            require_said(self._place, finish, refusal)
        return True

    def _room(self, request: dict[str, Any]) -> int:
        """Tokens that may be spent on reasoning, as far as the context allows."""
        prompt = sum(most_tokens(message["content"]) for message in request["messages"])
        return max(0, min(THOUGHT_TOKENS, self.context_tokens - prompt - int(request[self._length])))


def _is_missing(error: InputError) -> bool:
    return getattr(error.__cause__, "status_code", None) == NOT_FOUND


def _refuses_format(error: BaseException | None) -> bool:
    """Whether a server takes no schema, or not all that this one says, as bounds of a text's length."""
    if getattr(error, "status_code", None) not in REFUSALS:
        return False
    said = f"{getattr(error, 'param', '')} {error} {_body(error)}".casefold()
    return any(name in said for name in (FORMAT, "json_schema", "grammar", "schema"))


def _body(error: BaseException | None) -> str:
    return str(getattr(getattr(error, "response", None), "text", ""))


def iter_one(call: Callable[[], Any]) -> Generator[Any, None, None]:
    """One result as an iterator; the call is made when it is asked for."""
    yield call()


def _echoed(answer: Any, prompt: str, continuation: str) -> list[float] | None:
    """Log-probabilities of the echoed tokens that reach into the continuation; None: they are not there."""
    choices = getattr(answer, "choices", None) or []
    given = getattr(choices[0], "logprobs", None) if choices else None
    if given is None or not given.text_offset or not (choices[0].text or "").startswith(prompt + continuation):
        return None
    start, end = len(prompt), len(prompt) + len(continuation)
    starts = given.text_offset
    rows = zip(starts, [*starts[1:], end + 1], given.token_logprobs or [], strict=False)
    inside = [value for first, last, value in rows if first < end and last > start]
    return None if not inside or None in inside else inside
