"""Fetched pages on disk, to be asked for again with their ETag or date: a page that has not changed is not sent twice.

A page is one file: a line of JSON, then the body. It is written whole or not at all; one that cannot be read counts
as absent. When the folder grows above its limit, the pages that were used longest ago go.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal.evaluation.files import whole_file

MAX_TOTAL = 2**30  # bytes of all kept pages

logger = logging.getLogger("foveal.text.page_cache")


@dataclass(frozen=True)
class KeptPage:
    """A page as it was sent; header names are in lower case."""

    headers: Mapping[str, str]
    content: bytes

    @property
    def conditions(self) -> dict[str, str]:
        """The request headers that ask whether the page has changed."""
        asked = {"if-none-match": self.headers.get("etag"), "if-modified-since": self.headers.get("last-modified")}
        return {name: value for name, value in asked.items() if value}


class PageCache:
    """The pages kept in one folder, by their URL."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, url: str) -> KeptPage | None:
        """The kept page of `url`."""
        path = self._path(url)
        try:
            first, _, content = path.read_bytes().partition(b"\n")
            kept = json.loads(first)
            path.touch()
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.get("url") != url or kept.get("size") != len(content):
            return None
        return KeptPage(kept["headers"], content)

    def put(self, url: str, page: KeptPage) -> None:
        """Keep `page` if the server allows it and can be asked for changes; a full disk only loses the copy."""
        if not page.conditions or "no-store" in page.headers.get("cache-control", ""):
            return
        first = json.dumps({"url": url, "size": len(page.content), "headers": dict(page.headers)}).encode()
        try:
            with whole_file(self._path(url)) as partial:
                partial.write_bytes(first + b"\n" + page.content)
            self._prune()
        except OSError as error:
            logger.warning("%s was not kept in %s: %s", url, self._folder, error)

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.page"

    def _prune(self) -> None:
        pages = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in self._folder.glob("*.page")), reverse=True)
        total = 0
        for _, size, path in pages:
            total += size
            if total > MAX_TOTAL:
                path.unlink(missing_ok=True)
