"""What a visitor may name: retrievers and rankers of this package, and models that were trained in this home.

Whoever sits at the command line may name any folder and any model hub's id; a visitor must not make the server open,
fetch or load those. The home's own models go by the name of their folder in `models/`. Late and sparse search are
offered by the indexes that were made in this home, with the models that these were made by.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from foveal.errors import InputError, UnknownName
from foveal.ranking.chosen import NONE
from foveal.registry import RANKERS, RETRIEVERS
from foveal.retrieval.passage_files import made_indexes

MOST_CANDIDATES = 1000
"""Passages that a stage of a visitor's ranker may read."""

MOST_READ = 100
"""Passages that a stage may that is a language model: it takes minutes for as many."""

MOST_STAGES = 4
"""Stages of a visitor's ranker."""

CALLED = {
    "lexical": "words",
    "dense": "meaning",
    "hybrid": "words and meaning",
    "lexsembridge": "meaning, its words weighed",
    "generative": "titles that answer",
    "fresh": "words, meaning, and what is going on",
    "late": "meaning, word by word",
    "sparse": "words and those they suggest",
    "multi-hop": "words and meaning, twice",
    "interleaved": "two searches, to compare them",
}
"""What a page calls a search, beside its name."""

_STAGE = re.compile(r"(.*?)(:\d+)?", re.DOTALL)


def retrievers(home: Path) -> list[str]:
    """Those that a page offers: all, but of late and sparse search those whose index was made in this home."""
    made = {about.name for about in made_indexes(home).values() if not Path(about.model).is_absolute()}
    return [name for name in RETRIEVERS if name not in ("late", "sparse")] + sorted(made)


def searches(home: Path, chosen: str = "") -> dict[str, str]:
    """Those that a page offers, and the chosen one: name -> what a reader sees, such as "meaning (dense)"."""
    names = dict.fromkeys([*retrievers(home), *([chosen] if chosen else [])])
    known = {name: CALLED.get(name.partition(":")[0]) for name in names}
    return {name: f"{called} ({name})" if called else name for name, called in known.items()}


def rankers(home: Path) -> list[str]:
    """Those that a page offers: the package's own, then those trained here."""
    from foveal.ranking.by_name import trained_rankers

    return [*RANKERS, *(name for name in trained_rankers(home) if name not in RANKERS)]


def check_retriever(name: str | None, home: Path) -> None:
    """UnknownName: `name` ("hybrid", "generative:MODEL") is none that there is here; "" is the choice of the site."""
    kind, _, model = (name or "").partition(":")
    known = not kind or (kind in RETRIEVERS and (not model or model in _trained(home)))
    if not known and name not in retrievers(home):
        raise UnknownName(_message("retriever", name or "", RETRIEVERS, home))


def check_ranker(name: str | None, home: Path) -> None:
    """UnknownName: a stage of `name` ("blockrank", "knrm:100,blockrank:20", "none") is none that there is here.

    InputError: there are more than `MOST_STAGES`, or one takes more than `MOST_CANDIDATES` (`MOST_READ`).
    """
    parts = (name or "").split(",")
    if name == NONE:
        return
    if len(parts) > MOST_STAGES:
        raise InputError(f"Here a ranker has at most {MOST_STAGES} stages, not {len(parts)}. Name fewer.")
    for part in parts:
        stage = _STAGE.fullmatch(part.strip())
        if stage and stage[1] and stage[1] not in RANKERS and stage[1] not in _trained(home):
            raise UnknownName(_message("ranker", stage[1], RANKERS, home))
        most, what = (MOST_READ, "language model") if stage and stage[1] in RANKERS else (MOST_CANDIDATES, "ranker")
        if stage and stage[2] and (len(stage[2]) > 5 or int(stage[2][1:]) > most):
            raise InputError(f"Here a {what} takes at most {most:,} candidates, not {stage[2][1:20]}.")


def _trained(home: Path) -> list[str]:
    """The names in `models/` of this home; what a visitor sends is compared with these, and never made a path."""
    return sorted(path.name for path in (home / "models").glob("*") if path.is_dir())


def _message(kind: str, name: str, known: Collection[str], home: Path) -> str:
    trained = _trained(home)
    there = f", and of models trained here {', '.join(trained)}" if trained else ""
    return f"No {kind} is called {name[:60]!r} here. There are: {', '.join(known)}{there}."
