"""A server's own list of its models: which there are, what each of them reads, and how large it is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from foveal.errors import FetchFailed
from foveal.models.chat_requests import LEAST_CONTEXT
from foveal.models.remote import PASSING

MODELS_S, MODELS_SHOWN = 5.0, 20
"""Seconds that a server has to list its models, and how many of them an error names."""

LISTED_AGAIN_S = 60.0
"""Until a server that could not be asked for its list, as one that begins, is asked for it again."""

UNASKED = object()
"""In the place of a list that cannot be had now."""

_SIZE = re.compile(r"(?<![^\W_]|\.)(?:(?P<b>\d{1,4}(?:\.\d{1,3})?)b|(?P<m>\d{3})m)(?![^\W_])", re.IGNORECASE)
"""As in 0.5B and 270m; what is called 1m or 10m reads so many tokens."""


class Listed(NamedTuple):
    """What a list tells of a model; None: nothing."""

    context: int | None = None  # tokens
    weights: int | None = None  # of any kind


def listed(client: Any, timeout_s: float) -> Any:
    """The list as the server sends it; None where it has none, or does not show it; UNASKED: it cannot be asked now."""
    import openai

    patient = client.with_options(timeout=min(MODELS_S, timeout_s))
    try:
        return patient.models.with_raw_response.list().http_response.json()
    except openai.APIStatusError as error:
        return UNASKED if error.status_code >= 500 or error.status_code in PASSING else None
    except openai.APIConnectionError:
        return UNASKED
    except (openai.OpenAIError, FetchFailed, ValueError):
        return None


def names_of(told: Any) -> list[str]:
    """The first names of a list."""
    return [one["id"] for one in _rows(told) if isinstance(one.get("id"), str)][:MODELS_SHOWN]


def listed_of(told: Any, model: str) -> Listed:
    """What a list tells of a model, or of the only one in it: vLLM, llama.cpp, OpenRouter and others have names of
    their own for its context; llama.cpp alone counts its weights."""
    rows = _rows(told)
    only = rows[0] if len(rows) == 1 else {}
    row = next((one for one in rows if one.get("id") == model), only)
    meta = row["meta"] if isinstance(row.get("meta"), dict) else {}
    contexts = (row.get("max_model_len"), meta.get("n_ctx"), row.get("context_length"), row.get("context_window"))
    return Listed(_number(*contexts, least=LEAST_CONTEXT), _number(meta.get("n_params"), least=1))


def _rows(told: Any) -> list[dict[str, Any]]:
    data = told.get("data") if isinstance(told, dict) else None
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []


def _number(*told: object, least: int) -> int | None:
    return next((one for one in told if isinstance(one, int) and one >= least), None)


def weights_in(name: str) -> int | None:
    """How many weights a model has by its name, as "gemma-3-270m" and "qwen2.5:0.5b" say it; None: it does not."""
    found = _SIZE.search(name)
    if not found:
        return None
    return round(float(found["b"]) * 1e9) if found["b"] else int(found["m"]) * 1_000_000
