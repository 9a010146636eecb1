"""What an item of a feed says, whatever kind of feed it stands in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_ADDRESS = re.compile(r"(?<![^\s<>(),;])[^\s<>(),;@]{1,200}@[^\s<>(),;@]{1,200}\.[^\s<>(),;@.]{1,63}")


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
    doi: str = ""


def named(author: str) -> str:
    """An author without a mail address, which pages would show to everybody; "" where no name is beside it.

    By the rules of RSS an author is an address: "lea@example.org (Léa Martin)".
    """
    left = _ADDRESS.sub(" ", author)
    return author if left == author else " ".join(re.sub(r'[<>()"]', " ", left).split()).strip(" ,;")
