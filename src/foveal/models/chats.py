"""Chat models by name: a model of this machine, or one behind a server's address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.models.chat import ChatModel
from foveal.models.folders import Progress
from foveal.models.language import DEFAULT, load_language_model

if TYPE_CHECKING:
    from foveal.models.prefix_cache import PrefixCache
    from foveal.settings import Settings


def served_as(settings: Settings) -> dict[str, Any]:
    """What a person chose for models behind a server, as `load_chat` takes it."""
    return {"timeout_s": settings.chat_timeout_s, "context_tokens": settings.chat_context or None}


def load_chat(
    name: str = DEFAULT,
    *,
    url: str | None = None,
    api_key: str | None = None,
    context_tokens: int | None = None,
    timeout_s: float | None = None,
    dtype: str | None = None,
    cache: Path | None = None,
    kept: PrefixCache | None = None,
    on_progress: Progress | None = None,
) -> ChatModel:
    """The chat model called `name`: at the OpenAI-compatible server `url` (as http://127.0.0.1:8080/v1), or local.

    `api_key`, `context_tokens` and `timeout_s` (seconds of silence; 60 where nothing is said) are for servers (see
    `OpenAIChat`), the rest for local models (see `load_language_model`; `kept` is what they have read, for prompts that
    begin alike). UnknownName, ModelUnavailable: a local model cannot be had. InputError: no such address or time.
    """
    if url:
        from foveal.models.openai_chat import SILENCE_S, OpenAIChat

        silence_s = SILENCE_S if timeout_s is None else timeout_s
        return OpenAIChat(name, url, api_key, context_tokens=context_tokens, timeout_s=silence_s)
    from foveal.models.local_chat import LocalChat

    model = load_language_model(name, dtype=dtype, cache=cache, on_progress=on_progress)
    local: ChatModel = LocalChat(model, kept=kept)
    return local
