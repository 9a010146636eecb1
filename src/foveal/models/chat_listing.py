"""A server's own list of its models: which there are, and what each of them reads (`chat_requests.context_of`)."""

from __future__ import annotations

from typing import Any

from foveal.errors import FetchFailed
from foveal.models.remote import PASSING

MODELS_S, MODELS_SHOWN = 5.0, 20
"""Seconds that a server has to list its models, and how many of them an error names."""

LISTED_AGAIN_S = 60.0
"""Until a server that could not be asked for its list, as one that begins, is asked for it again."""

UNASKED = object()
"""In the place of a list that cannot be had now."""


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
    data = told.get("data") if isinstance(told, dict) else None
    rows = data if isinstance(data, list) else []
    return [one["id"] for one in rows if isinstance(one, dict) and isinstance(one.get("id"), str)][:MODELS_SHOWN]
