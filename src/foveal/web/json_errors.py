"""What a program is told that is refused: the status of an error of ours, and JSON in the shape that it reads.

    /v1/…          {"error": {"message": "…", "type": "…", "param": "n", "code": null}}, as OpenAI's clients do
    all others     {"error": "…"}: below /api/, and wherever JSON was asked for

Each message is a sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse

from foveal.errors import FovealError, InputError, NotAllowed, TooMany, UnknownDocument, UnknownPaper, UnknownRun
from foveal.models.characters import scalar

OPENAI = "/v1/"
"""Where the addresses begin that speak OpenAI's protocol (chat_protocol.py)."""

KINDS: Mapping[int, tuple[str, str | None]] = MappingProxyType(
    {
        401: ("invalid_request_error", "invalid_api_key"),
        403: ("permission_error", None),
        429: ("rate_limit_error", "rate_limit_exceeded"),
    }
)
"""What OpenAI calls a refusal, beside its status: type and code; of others INVALID, or FAULT from 500 on."""

INVALID, FAULT = ("invalid_request_error", None), ("server_error", None)


class FieldRefused(HTTPException):
    """A field of a request that means nothing here; `param` is its name."""

    def __init__(self, param: str, said: str, status: int = 400) -> None:
        super().__init__(status, said)
        self.param = param


def status_of(error: FovealError) -> int:
    """The HTTP status that an error of ours stands for."""
    if isinstance(error, UnknownDocument | UnknownPaper | UnknownRun):
        return 404
    if isinstance(error, NotAllowed | TooMany):
        return 403 if isinstance(error, NotAllowed) else 429
    return 400 if isinstance(error, InputError) else 503


def as_json(
    request: Request, status: int, said: str, headers: Mapping[str, str] | None = None, param: str | None = None
) -> JSONResponse | None:
    """The refusal of a program's request; None where a browser asks, which is shown a page.

    What it repeats of the request may hold halves of characters, which JSON can name and no answer be written with.
    """
    path, said, param = request.url.path, scalar(said), None if param is None else scalar(param)
    if path.startswith(OPENAI):
        return JSONResponse(openai_error(status, said, param), status, headers)
    if path.startswith("/api/") or "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"error": said}, status, headers)
    return None


def openai_error(status: int, said: str, param: str | None = None) -> dict[str, Any]:
    """The body of a refusal as OpenAI's clients read it; `param` is the field that is wrong."""
    kind, code = KINDS.get(status, FAULT if status >= 500 else INVALID)
    if (status, param) == (404, "model"):
        code = "model_not_found"
    return {"error": {"message": said, "type": kind, "param": param, "code": code}}
