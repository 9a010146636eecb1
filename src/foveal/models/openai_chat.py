"""A chat model behind any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, and the like.

    OpenAIChat("qwen2.5-7b-instruct", "http://127.0.0.1:8080/v1").chat([{"role": "user", "content": "..."}])

Answers are always streamed, so a time-out means silence, not length. Reasoning is not part of an answer: neither
what a server sends apart from it, nor a text up to `</think>` that stands before it. A model that spends all of an
answer's tokens on it is asked again, with room for both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from math import inf
from typing import Any
from urllib.parse import urlsplit

from foveal.errors import FetchFailed, InputError
from foveal.models.answers import Thoughts, fitting, in_words, most_tokens, without_thoughts
from foveal.models.characters import scalar
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, SchemaT, checked, parsing
from foveal.models.language import completion_prompt, turns_broken
from foveal.models.remote import heard, retried
from foveal.settings import Settings

CONTEXT_TOKENS = 8192
"""Taken where a caller does not say what the served model can hold."""

SILENCE_S = Settings.chat_timeout_s
"""Seconds, where a caller does not say."""

AT_ONCE = 8
"""Conversations that `chat_many` has open at a time."""

THOUGHT_TOKENS = 4096
"""Room for reasoning, beside the answer's own, once a model was seen to need it; less where its context is small."""

DRAWING = ("temperature", "top_p", "seed", "stop")
"""What some models refuse to be told, OpenAI's reasoning ones most of it; they are then asked without."""

COUNTED = "stream_options"
"""What asks a server to count the tokens of a stream; older ones refuse it, and are then asked without."""

Told = Callable[[tuple[int, int]], None]
"""Gets the tokens of a prompt and of its answer, reasoning among them, as the server counted them."""

LENGTH, NEWER_LENGTH = "max_tokens", "max_completion_tokens"
"""What the most tokens of an answer are called: by most servers, and by OpenAI's newer models, wherever they are."""

FORMAT, WITHHELD = "response_format", "content_filter"
NOT_FOUND = 404
REFUSALS = (400, 422)
"""What servers say of a field that they do not know: most the first, those that check by a schema the second."""

MODELS_S, MODELS_SHOWN = 5.0, 20
"""Seconds that a server has to list its models, and how many of them an error names."""

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
        context_tokens: int = CONTEXT_TOKENS,
        timeout_s: float = SILENCE_S,
        retries: int = 3,
    ) -> None:
        """`url` ends before /chat/completions, mostly in /v1; nothing is sent yet.

        The key is `api_key` or FOVEAL_CHAT_KEY; OPENAI_API_KEY goes to OpenAI's own servers only. Servers on this
        machine mostly need none. `timeout_s` is the longest silence in seconds, `retries` the tries after the first.
        InputError: an address, a key or a time that is none.
        """
        url = url.strip()
        try:
            parts = urlsplit(url)
            host = (parts.scheme in ("http", "https") and parts.port != 0 and parts.hostname) or ""
        except ValueError:  # a bracket without its other half, or a port that is no number
            host = ""
        if not (host and url.isprintable()):
            shown = re.sub(r"(?s)^(\w*://)?.*@", r"\1…@", url)  # a password may be what makes it no address
            raise InputError(f"The model server's address is {shown!r}; it needs the form http://127.0.0.1:8080/v1.")
        if not 0 < timeout_s < inf:
            raise InputError(f"timeout_s is {timeout_s}; it needs seconds above 0, the longest silence of the server.")
        self.name = model
        self.url = url
        self.context_tokens = context_tokens
        self.timeout_s = timeout_s
        self._retries = retries
        self._reasons = False
        self._refused: set[str] = set()  # of DRAWING, and COUNTED
        self._renamed = False  # whether max_tokens was refused for the name that newer models know
        self._words_only = False  # whether the server refused a schema that it was sent
        self._openai = host == "openai.com" or host.endswith(".openai.com")
        own = os.environ.get("OPENAI_API_KEY") if self._openai else None
        self._key = _key(api_key, os.environ.get("FOVEAL_CHAT_KEY"), own)

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
    def _length(self) -> str:
        """What the most tokens are called: OpenAI's newer models know only the first name."""
        return NEWER_LENGTH if self._openai else LENGTH

    @property
    def _place(self) -> str:
        return f"{self.name} at {_shown(self.url)}"

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        return OpenAI(base_url=self.url, api_key=self._key, timeout=self.timeout_s, max_retries=0)

    def _retried(self, run: Any, cancel: Cancel | None, *, retries: int | None = None) -> Any:
        tries = self._retries if retries is None else retries
        return retried(run, retries=tries, name=self._place, silence_s=self.timeout_s, cancel=cancel)

    def _found(self, run: Any, cancel: Cancel | None) -> Any:
        """`_retried`; where the server knows nothing of what is asked, the models that it has are named."""
        try:
            return self._retried(run, cancel)
        except InputError as error:
            if getattr(error.__cause__, "status_code", None) != NOT_FOUND:
                raise
            names = self._models()
            has = f"It has: {', '.join(names)}. " if names else ""
            raise InputError(
                f"{_shown(self.url)} has no model {self.name!r}, or is no such address ({error.__cause__}). {has}The "
                "address ends before /chat/completions, mostly in /v1."
            ) from error.__cause__

    def _models(self) -> list[str]:
        """The first names of the server's own list; none where it has no such list."""
        import openai

        try:
            told = self._client.with_options(timeout=MODELS_S).models.with_raw_response.list().http_response.json()
        except (openai.OpenAIError, ValueError):
            return []
        listed = told.get("data") if isinstance(told, dict) else None
        named = listed if isinstance(listed, list) else []
        return [one["id"] for one in named if isinstance(one, dict) and isinstance(one.get("id"), str)][:MODELS_SHOWN]

    def _request(self, messages: Messages, sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.name,
            "messages": [turn | {"content": turns_broken(turn["content"])} for turn in checked(messages)],
            self._length: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        return request | ({"stop": list(sampling.stop)} if sampling.stop else {})

    def _pieces(self, request: dict[str, Any], cancel: Cancel | None, told: Told | None = None) -> Iterator[str]:
        """The answer's text as it comes, without reasoning, for which there is room where the model needs it.

        ConnectionError: it ended before the model was done. FetchFailed: it reasons until no token is left, or the
        answer is withheld.
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
        sent, shown = 0, False
        thoughts = Thoughts()
        counts: tuple[int, int] | None = None
        asked = request | {self._length: most} | ({COUNTED: {"include_usage": True}} if told else {})
        for chunk in heard(lambda: self._chunks(asked), silence_s=self.timeout_s, cancel=cancel):
            text, done = _part(chunk)
            finish = done or finish
            counts = _counts(chunk) or counts  # some tell with each chunk how many there are by then
            sent += max(1, len(text))  # reasoning that is sent apart, and nothing at all, come to an end, too
            if sent > LONGEST_TOKEN * most:
                raise FetchFailed(
                    f"{self._place} sent more than the {LONGEST_TOKEN * most} characters that max_tokens allows."
                )
            if piece := thoughts.without(text):
                shown = True
                yield piece
        if piece := thoughts.rest():
            shown = True
            yield piece
        if told and counts:
            told(counts)
        if finish is None:
            raise ConnectionError("the answer ended before the model was done")
        if finish == WITHHELD:
            raise FetchFailed(
                f"{self._place} withheld its answer, or the rest of it ({WITHHELD}): something in the question, in "
                "what it was shown or in what it said is not let through there. Ask another model."
            )
        return shown or finish != "length"

    def _room(self, request: dict[str, Any]) -> int:
        """Tokens that may be spent on reasoning, as far as the context allows."""
        prompt = sum(most_tokens(message["content"]) for message in request["messages"])
        return max(0, min(THOUGHT_TOKENS, self.context_tokens - prompt - int(request[self._length])))

    def _chunks(self, request: dict[str, Any]) -> Generator[Any, None, None]:
        import openai

        asked = {name: value for name, value in request.items() if name not in self._refused}
        if self._renamed and LENGTH in asked:
            asked[NEWER_LENGTH] = asked.pop(LENGTH)
        try:
            chunks = self._client.chat.completions.create(**asked, stream=True)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if error.param == LENGTH and LENGTH in asked and NEWER_LENGTH in str(error):
                self._renamed = True
            elif COUNTED in asked and COUNTED in f"{error.param} {error.response.text}":
                self._refused.add(COUNTED)
            elif error.param in DRAWING and error.param in asked:
                self._refused.add(error.param)
            else:
                raise
            yield from self._chunks(request)
            return
        with chunks:
            yield from chunks


def _key(*given: str | None) -> str:
    """The first key that is one, "none" where none is, as a header takes it: a file or a shell leaves a line end.

    InputError: it holds what no header takes. It is not shown: errors are read by others, too.
    """
    key = next(filter(None, ((one or "").strip() for one in given)), "none")
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"The key of the model server holds what no key has: of its {len(key)} characters not all are printable "
            "ASCII. Copy it anew, to wherever it came from: api_key, FOVEAL_CHAT_KEY or OPENAI_API_KEY."
        )
    return key


def _shown(url: str) -> str:
    """An address without the name and password that may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _part(chunk: Any) -> tuple[str, str | None]:
    """A chunk's text, and why the model is done, if it is; one without choices (of usage, or garbage) has neither.

    Half of a surrogate pair, which JSON may escape, is U+FFFD: nobody could write it.
    """
    choices = getattr(chunk, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    text, finish = getattr(getattr(first, "delta", None), "content", None), getattr(first, "finish_reason", None)
    return scalar(text) if isinstance(text, str) else "", None if finish is None else str(finish)


def _counts(chunk: Any) -> tuple[int, int] | None:
    """Tokens of prompt and answer, where a chunk tells them."""
    usage = getattr(chunk, "usage", None)
    found = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    prompt, answer = (one if isinstance(one, int) and one >= 0 else None for one in found)
    return None if prompt is None or answer is None else (prompt, answer)


def _refuses_format(error: BaseException | None) -> bool:
    """Whether a server takes no schema at all; what it says of this one ("Invalid schema for …") is another matter."""
    if getattr(error, "status_code", None) not in REFUSALS:
        return False
    said = f"{getattr(error, 'param', '')} {error}".casefold()
    return FORMAT in said and "invalid schema" not in said


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
