"""What a source is known by, whatever host it came from: arXiv id, DOI, canonical address, that which a page states as
its own, and its text.

identities("https://doi.org/10.1000/182", metadata)      # ("doi:10.1000/182", "https://doi.org/10.1000/182")
Sources that share one of these, or whose texts share 85 % of their 3-grams of words (MinHash), are one source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from foveal.evaluation.scripts import word_runs
from foveal.research.citations import canonical
from foveal.retrieval.event_items import NearDuplicates
from foveal.text.arxiv import arxiv_address

SAME_TEXT = 0.85
"""Share of common 3-grams of words from which two texts are one (Broder, 1997)."""

FEWEST_WORDS = 40
"""Words of a text below which texts that read alike may well be different sources."""

_DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"<>#?]+", re.IGNORECASE)
_DOI_HOST = re.compile(r"^https?://(?:www\.|dx\.)?doi\.org/", re.IGNORECASE)
_ARXIV_DOI = re.compile(r"^10\.48550/arxiv\.(.+)$", re.IGNORECASE)


def doi_of(text: str) -> str:
    """The DOI that a text holds, in lower case; "" where there is none."""
    found = _DOI.search(unquote(text))
    return found[0].rstrip(".,;)]}").lower() if found else ""


def identities(url: str, metadata: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """All names of a source, the surest first."""
    known = dict(metadata or {})
    named = [*_arxiv(url), *_arxiv(str(known.get("arxiv_id") or "")), *_arxiv(str(known.get("source") or ""))]
    for told in (url if _DOI_HOST.match(url) or "/10." in url else "", str(known.get("doi") or "")):
        doi = doi_of(told)
        own = _ARXIV_DOI.match(doi)
        named += [f"arxiv:{own[1]}"] if own else [f"doi:{doi}"] if doi else []
    stated = str(known.get("canonical") or "")
    return tuple(dict.fromkeys([*named, canonical(url), *([canonical(stated)] if stated else [])]))


def _arxiv(named: str) -> list[str]:
    address = arxiv_address(named) if named else None
    return [re.sub(r"v\d+$", "", address)] if address else []


@dataclass
class Known:
    """The sources of a run as they come: which of them are new."""

    keys: dict[str, str] = field(default_factory=dict)  # identity -> key
    texts: NearDuplicates = field(default_factory=lambda: NearDuplicates(SAME_TEXT, remembered=10_000))

    def key(self, names: tuple[str, ...], text: str, new: str) -> str:
        """The key of the source that these names or this text are known by; `new`, which it then has, if none."""
        found = next((self.keys[name] for name in names if name in self.keys), None)
        words = word_runs(text.lower())
        if found is None and len(words) >= FEWEST_WORDS:
            found = self.texts.seen(words, new)
        key = found or new
        for name in names:
            self.keys.setdefault(name, key)
        return key
