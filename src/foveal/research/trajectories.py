"""Recorded runs of a search agent: what it asked, what it was given, and the answer that was wanted.

    corpus.jsonl     {"_id", "title", "text"}: every passage that the agent's search gave it
    queries.jsonl    {"_id", "text", "answers": […], "steps": [{"query", "passages": [ids]}, …]}
                     "supporting": [ids], which may be missing: then those passages of the steps that hold an answer

Both may end in `.gz`; what else a line carries (thoughts, predictions, verdicts) is left alone. A planner is taught by
the queries and measured by the answers: a passage holds one if it stands in its text, both in SQuAD's normal form.
Questions that are answered by yes or no cannot be measured so, and are left out of every count (`measurable`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.answers import normalised
from foveal.evaluation.files import json_lines

VERDICTS = frozenset(("yes", "no"))


@dataclass(frozen=True, slots=True)
class Source:
    """A passage of a recorded corpus."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One search of the agent, and what it was given."""

    query: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Trajectory:
    """One question with the agent's searches; `supporting` are the passages that a good plan finds."""

    id: str
    question: str
    answers: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    supporting: tuple[str, ...] = ()

    @property
    def measurable(self) -> bool:
        """Whether a passage can be seen to hold the answer: yes and no stand everywhere."""
        return bool(self.wanted) and not set(self.wanted) & VERDICTS

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The answers in their normal form, those that are empty left out."""
        return tuple(filter(None, map(normalised, self.answers)))


@dataclass(frozen=True)
class Recorded:
    """A corpus and the runs over it."""

    name: str
    sources: dict[str, Source]
    trajectories: tuple[Trajectory, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that is learnt from or measured by."""
        digest = hashlib.sha256()
        for one in self.sources.values():
            digest.update(json.dumps([one.id, one.title, one.text]).encode())
        for run in self.trajectories:
            steps = [[step.query, *step.passages] for step in run.steps]
            digest.update(json.dumps([run.id, run.question, run.answers, steps, run.supporting]).encode())
        return digest.hexdigest()

    @cached_property
    def plain(self) -> dict[str, str]:
        """The text of each passage in its normal form."""
        return {one.id: normalised(one.text) for one in self.sources.values()}

    def holds(self, passage: str, run: Trajectory) -> bool:
        """Whether a passage holds an answer of `run`."""
        return any(answer in self.plain[passage] for answer in run.wanted)

    def only(self, runs: Sequence[Trajectory]) -> Recorded:
        """The same corpus with some of the runs."""
        return Recorded(self.name, self.sources, tuple(runs))


def load_recorded(folder: Path) -> Recorded:
    """The recorded runs in `folder`. InputError: a file is missing or damaged, or a line is not as the layout says."""
    sources: dict[str, Source] = {}
    for where, line in json_lines(_file(folder, "corpus.jsonl")):
        one = Source(_text(line, "_id", where), str(line.get("title") or ""), _text(line, "text", where))
        if one.id in sources:
            raise InputError(f"{where} has the id {one.id!r} a second time. Each passage needs its own.")
        sources[one.id] = one
    bare = Recorded(folder.name, sources, ())
    runs = [_trajectory(line, where, bare) for where, line in json_lines(_file(folder, "queries.jsonl"))]
    if not sources or not runs:
        raise InputError(f"{folder} holds {len(sources)} passages and {len(runs)} questions; it needs some of each.")
    return bare.only(runs)


def halves(recorded: Recorded, *, seed: int = 0) -> tuple[tuple[Trajectory, ...], tuple[Trajectory, ...]]:
    """The runs in two halves that share no question, drawn by a hash of the question and `seed`."""
    ordered = sorted(recorded.trajectories, key=lambda run: _drawn(f"{seed} {normalised(run.question)}"))
    middle = len(ordered) // 2
    while 0 < middle < len(ordered) and _same(ordered[middle - 1], ordered[middle]):
        middle += 1
    return tuple(ordered[:middle]), tuple(ordered[middle:])


def _same(one: Trajectory, other: Trajectory) -> bool:
    return normalised(one.question) == normalised(other.question)


def _drawn(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file(folder: Path, name: str) -> Path:
    found = next((folder / f"{name}{end}" for end in ("", ".gz") if (folder / f"{name}{end}").is_file()), None)
    if found is None:
        raise InputError(
            f"{folder} holds no {name} (nor {name}.gz). A folder of recorded runs has corpus.jsonl and queries.jsonl; "
            "docs/research-planner.md says what stands in them."
        )
    return found


def _text(line: Any, key: str, where: str) -> str:
    value = line.get(key) if isinstance(line, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} has no text under {key!r}. Each line needs one.")
    return value


def _keys(step: Mapping[str, Any], where: str) -> tuple[str, ...]:
    keys = step.get("passages") or []
    if not isinstance(keys, list):
        raise InputError(f"{where} has a step whose passages are no list.")
    return tuple(map(str, keys))


def _trajectory(line: Any, where: str, corpus: Recorded) -> Trajectory:
    question, name = _text(line, "text", where), _text(line, "_id", where)
    answers, steps = line.get("answers") or [], line.get("steps") or []
    if not isinstance(answers, list) or not isinstance(steps, list):
        raise InputError(f"{where} has answers or steps that are no list.")
    made = tuple(Step(_text(one, "query", where), _keys(one, where)) for one in steps)
    run = Trajectory(name, question, tuple(map(str, answers)), made)
    given = line.get("supporting")
    named = [str(one) for one in given] if isinstance(given, list) else [key for step in made for key in step.passages]
    unknown = next((one for one in named if one not in corpus.sources), None)
    if unknown is not None:
        raise InputError(f"{where} names the passage {unknown!r}, which is not in the corpus. Add it, or take it out.")
    supporting = named if isinstance(given, list) else [one for one in named if corpus.holds(one, run)]
    return Trajectory(name, question, run.answers, made, tuple(dict.fromkeys(supporting)))
