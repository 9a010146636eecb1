"""Votes on headlines by several people: each is kept as it is given, one JSON line, and none is ever replaced.

    {"item": "training_17", "headline": "…", "annotator": "asha", "label": "HREL", "at": "2026-11-26T04:12:00+00:00"}

A vote is added under a lock and forced to disk before anybody is told that it is kept. A last line that was cut off was
never reported: it is passed over, and goes with the next vote; one that lacks only its end, as an editor may leave it,
is a vote. Of one person's votes on one item the last counts; the earlier ones stay in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.appended import append, locked
from foveal.evaluation.headlines import HeadlinePair


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person said of one headline. InputError: item, annotator or label is empty."""

    item: str
    headline: str
    annotator: str
    label: str
    at: str = ""  # in ISO format

    def __post_init__(self) -> None:
        for name in ("item", "annotator", "label"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"A vote has no {name}: {value!r}. Give it.")


def read_votes(path: Path) -> list[Vote]:
    """All whole votes in the order given; none where there is no file. InputError: a line is no vote."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Name a file of votes.") from error
    return _parsed(content, path)[0]


def keep_vote(path: Path, vote: Vote) -> None:
    """Add a vote; on return it is on the disk. InputError: the file is damaged or cannot be written. StorageFull."""
    line = (json.dumps(asdict(vote), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    with locked(path, instead="Name another file of votes.") as file:
        _, whole, ended = _parsed(file.read(), path)
        append(file, line if ended else b"\n" + line, after=whole, path=path, again="vote again")


def last_votes(votes: Sequence[Vote]) -> dict[str, dict[str, str]]:
    """Item -> annotator -> the label that this person gave it last."""
    found: dict[str, dict[str, str]] = {}
    for vote in votes:
        found.setdefault(vote.item, {})[vote.annotator] = vote.label
    return found


def require_same(votes: Sequence[Vote], pairs: Mapping[str, HeadlinePair], path: Path) -> None:
    """InputError: a vote of the file `path` is on another headline than the one that has its item's id now, as where
    pairs without ids, which are counted, moved."""
    for vote in votes:
        now = pairs.get(vote.item)
        if now is not None and vote.headline.strip() and vote.headline != now.headline:
            raise InputError(
                f"{path}: the vote on {vote.item!r} is on {vote.headline[:60]!r}, and that id is now that of "
                f"{now.headline[:60]!r}. Name the pairs as they were voted on, or another file of votes; a column id "
                "keeps votes with their pairs."
            )


def _parsed(content: bytes, path: Path) -> tuple[list[Vote], int, bool]:
    """The votes of whole lines, how many bytes these are, and whether the last of them has its line end."""
    *lines, rest = content.split(b"\n")
    votes = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                votes.append(Vote(**json.loads(line)))
            except (ValueError, TypeError) as error:
                said = f"it needs {', '.join(Vote.__slots__)}" if isinstance(error, TypeError) else error
                raise InputError(f"{path}, line {number}, is no vote ({said}). Mend or remove it.") from error
    try:
        last = Vote(**json.loads(rest)) if rest.strip() else None
    except (ValueError, TypeError):  # cut off
        last = None
    if last is None:
        return votes, len(content) - len(rest), True
    return [*votes, last], len(content), False
