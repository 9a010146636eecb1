"""JSON Feed (jsonfeed.org, 1.0 and 1.1), as items: what `feed.py` reads where an answer begins with a brace.

    items, unread = items_of_json(content, url)

Link      an item's own address; one that points elsewhere (`external_url`) where that is a paper of arXiv, or alone;
          else its id, where that is an address
Text      `summary`, else the whole text; what is said to be plain text may hold <, what is HTML is read as HTML
Not read  further pages (`next_url`): a feed of XML has none, and what is new stands on the first
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

from foveal.errors import FetchFailed, InputError
from foveal.papers.sources import each
from foveal.papers.sources.feed_items import Item, named
from foveal.text.arxiv import arxiv_address
from foveal.text.dates import aware
from foveal.text.plain import storable

VERSION = "jsonfeed.org/version/1"

Held = Mapping[str, Any]


def items_of_json(content: bytes, url: str) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The items of a JSON Feed, and why others could not be read. FetchFailed: it is none."""
    try:
        held = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FetchFailed(
            f"{url} answered with JSON that cannot be read ({str(error)[:200]}). Try again later."
        ) from error
    if not isinstance(held, dict) or VERSION not in str(held.get("version"))[:200]:
        raise FetchFailed(
            f'{url} answered with JSON that is no JSON Feed: its "version" says which it is, such as '
            f'"https://{VERSION}.1". Check the address; daily papers in the shapes of Hugging Face are the source hf.'
        )
    if not isinstance(held.get("items"), list):
        raise FetchFailed(f'{url} answered with a JSON Feed without a list of "items". Was the feed changed?')
    authors = _authors(held)
    return each(lambda item: _item(item, url, authors), held["items"])


def _item(item: Any, url: str, authors: Sequence[str]) -> Item:
    """InputError: it is no object, or has a title that is no text."""
    if not isinstance(item, dict) or not isinstance(item.get("title") or "", str):
        raise InputError(f"An item of {url} is no object with a title: {str(item)[:60]!r}.")
    own, elsewhere, named = (_line(item.get(name)) for name in ("url", "external_url", "id"))
    link = elsewhere if arxiv_address(elsewhere) else own or elsewhere
    link = link or (named if named.startswith(("http://", "https://")) else "")
    return Item(
        id=named or link,
        title=_line(item.get("title")),
        link=urljoin(url, link) if link else "",
        summary=_escaped(item, "summary") or _escaped(item, "content_text") or _text(item.get("content_html")),
        authors=tuple(_authors(item) or authors),
        categories=tuple(filter(None, map(_line, _list(item.get("tags"))))),
        published=aware(_text(item.get("date_published"))),
        updated=aware(_text(item.get("date_modified"))),
        extra={},
    )


def _authors(held: Held) -> list[str]:
    """The names in `authors`, or in `author` as version 1.0 has it."""
    told = _list(held.get("authors")) or [held.get("author")]
    return list(filter(None, (named(_line(one.get("name"))) for one in told if isinstance(one, dict))))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _escaped(item: Held, name: str) -> str:
    """Plain text, as HTML."""
    return html.escape(_text(item.get(name)), quote=False)


def _line(value: Any) -> str:
    return " ".join(_text(value).split())


def _text(value: Any) -> str:
    """A string as it may be stored; an id may be a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return storable(str(value))
