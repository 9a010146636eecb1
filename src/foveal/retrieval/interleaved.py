"""A search that mixes two others, so that clicks say which is better: the A/B switch.

    library.search("…", retriever="interleaved:hybrid,fresh")                     # or `foveal ab "…"`

Both are searched, their lists are mixed by team draft, and what was shown is noted in HOME/interleaving.jsonl with the
impression's number; a click is noted by `InterleavedRetriever.clicked`. A person cannot tell from a hit whose it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.interleaving import Impression, InterleavingLog, team_draft
from foveal.ranges import require_k
from foveal.registry import RETRIEVERS, lookup
from foveal.retrieval.store import Collection
from foveal.settings import Settings
from foveal.types import Hit, Retriever

FILE = "interleaving.jsonl"
SELF = "interleaved"

_counted: dict[Path, tuple[int, int]] = {}  # log -> bytes that were read of it, lists that they say were shown
_counting = Lock()


@dataclass
class InterleavedRetriever:
    """A `Retriever` over two others; `impressions` are those of the last search."""

    a: Retriever
    b: Retriever
    names: tuple[str, str]
    log: InterleavingLog
    model: str = ""  # as it was asked for: "hybrid,fresh"
    seed: int = 0
    impressions: list[Impression] = field(default_factory=list)

    @classmethod
    def over(
        cls,
        collection: Collection,
        where: str | None,
        *,
        model: str = "hybrid,fresh",
        log: Path | None = None,
        seed: int = 0,
    ) -> InterleavedRetriever:
        """The retriever over a collection; `model` names two others with a comma between, each "name" or "name:model".

        InputError: not two, or itself. UnknownName: one of them is none.
        """
        names = [name.strip() for name in model.split(",")]
        if len(names) != 2 or any(name.partition(":")[0] == SELF for name in names):
            raise InputError(f'An interleaved search got {model!r}; name two other retrievers, such as "hybrid,fresh".')
        home = (getattr(collection, "settings", None) or Settings.load()).home
        a, b = (_made(collection, where, name) for name in names)
        return cls(a, b, (names[0], names[1]), InterleavingLog(log or home / FILE), model, seed)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query at most `k` hits of both; each list that is shown is noted in the log."""
        require_k(k)
        self.impressions = []
        found = []
        for query, first, second in zip(queries, self.a.search(queries, k), self.b.search(queries, k), strict=True):
            by_place = {_key(hit): hit for hit in (*second, *first)}
            shown = _shown(self.log.path)
            draw = np.random.default_rng([self.seed, shown, zlib.crc32(query.encode("utf-8", "surrogatepass"))])
            mixed = team_draft([_key(hit) for hit in first], [_key(hit) for hit in second], k, draw)
            self.impressions.append(self.log.shown(query, *self.names, mixed))
            count = len(mixed.keys)
            found.append(
                [replace(by_place[key], score=1 - place / count, source=SELF) for place, key in enumerate(mixed.keys)]
            )
        return found

    def clicked(self, place: int, query: int = 0) -> None:
        """Note a click on a place, from 0, of what was shown for a query of the last search."""
        if not 0 <= query < len(self.impressions):
            raise InputError(f"The last search had {len(self.impressions)} queries; there is no query {query}.")
        self.log.clicked(self.impressions[query].id, place)


def _shown(path: Path) -> int:
    """How many lists a log says were shown; of one that was counted before only the lines that came since are read."""
    with _counting:
        read, count = _counted.get(path, (0, 0))
        size = path.stat().st_size if path.is_file() else 0
        if size < read:  # another file by now
            read, count = 0, 0
        if size > read:
            with path.open("rb") as file:
                file.seek(read)
                lines = file.read(size - read)
            whole = lines[: lines.rfind(b"\n") + 1]  # another process may be writing the rest
            count += sum(line.startswith(b'{"shown"') for line in whole.split(b"\n"))
            read += len(whole)
        _counted[path] = read, count
        return count


def _made(collection: Collection, where: str | None, name: str) -> Retriever:
    kind, _, model = name.partition(":")
    options: dict[str, Any] = {"model": model} if model else {}
    made: Retriever = lookup(RETRIEVERS, kind, kind="retriever").over(collection, where, **options)
    return made


def _key(hit: Hit) -> str:
    span = hit.passage.span
    return f"{span.document_id}:{span.start}:{span.end}"
