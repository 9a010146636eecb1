"""What an item of a feed says, whatever kind of feed it stands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a feed. `extra` holds the other elements with plain text, by local name, as they first appear."""

    id: str
    title: str
    link: str
    summary: str  # as it stands there: HTML, or text
    authors: tuple[str, ...]
    categories: tuple[str, ...]
    published: datetime | None
    updated: datetime | None
    extra: Mapping[str, str]
