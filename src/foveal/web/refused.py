"""What was typed into a form that was refused: the page that says so shows it, so that no session's end loses a text.

A form whose page had gone stale, or that came when too much was going on, can be sent again from there, with a token of
today. Who must sign in first finds the text again on the page that it was typed on: foveal.js keeps it for an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request

from foveal.web.safety import STALE, WRITTEN, typed
from foveal.web.signed_in import came_from

LATER = (429, 503)
"""Statuses of what may be taken when it is sent again."""


def what_was_sent(request: Request, status: int, message: str) -> Mapping[str, Any]:
    """What the error's page knows of the form: the texts, the page that they were typed on, what else to send again."""
    written = typed(request)
    again = bool(written) and (status in LATER or message == STALE)
    others = [(name, text) for name, text in getattr(request.state, "sent", None) or () if name not in WRITTEN]
    return {
        "typed": written,
        "typed_on": urlsplit(came_from(request)).path,
        "again": again,
        "others": others if again else (),
    }
