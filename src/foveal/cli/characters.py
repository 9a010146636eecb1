"""Characters that may steer the terminal in which a text is shown."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that steer a terminal, but for tabs and the ends of lines."""


def plain(text: str) -> str:
    """`text` without the control characters by which what was read could steer the terminal that it is shown in."""
    return CONTROL.sub("", text)
