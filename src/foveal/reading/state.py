"""Where a reading stands, in a file, so that it goes on after a kill, a Ctrl-C or a night.

JSON, written whole or not at all. It names the text, the questions, the model and the settings by their hashes: a
state of anything else is refused, with the field that differs, and never half used. Going on from it gives, to the
byte, the memory that an unbroken reading has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from foveal import faults
from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.reading.memory import Kept
from foveal.reading.witnesses import Witnesses

VERSION = 4
_MEANING = {
    "text": "another text (or this one has changed since)",
    "questions": "another question",
    "model": "another model",
    "settings": "other settings",
}


@dataclass
class State:
    """What a reading has done: windows up to `window`, and what is kept for each question."""

    identity: dict[str, str]
    phase: str = "read"  # "read", then "follow"
    window: int = 0
    tokens: int = 0
    forward_tokens: int = 0
    seconds: float = 0.0
    memories: list[list[Kept]] = field(default_factory=list)
    witnesses: list[Witnesses] = field(default_factory=list)

    def copy(self) -> State:
        """This state as it is now; what is kept is never changed in place."""
        memories, witnesses = [list(kept) for kept in self.memories], [one.copy() for one in self.witnesses]
        return replace(self, memories=memories, witnesses=witnesses)


def identity(text: str, questions: Sequence[str], model: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The hashes that a state is good for."""
    return {
        "text": text,
        "questions": _hash(list(questions)),
        "model": _hash(model),
        "settings": _hash(dict(settings)),
    }


def load(path: Path, wanted: Mapping[str, str]) -> State | None:
    """The state in `path`, None where there is none. InputError: it is no state, or one of another reading."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    state = _read(path)
    for name, value in wanted.items():
        if state.identity.get(name) != value:
            raise InputError(
                f"{path} is the state of {_MEANING[name]}. Name another state file, or delete this one to begin anew."
            )
    return state


def _read(path: Path) -> State:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("version") != VERSION:
            raise InputError(f"{path} was written by another version of Foveal. Delete it to read from the beginning.")
        memories = [_kept(memory) for memory in fields.pop("memories")]
        witnesses = [
            Witnesses(**{**one, "best": _kept(one["best"]), "nearest": _kept(one["nearest"])})
            for one in fields.pop("witnesses")
        ]
        return State(**{**fields, "identity": dict(fields["identity"])}, memories=memories, witnesses=witnesses)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{path} is no state of a reading ({error}). Name another file, or delete it.") from error


def _kept(told: Sequence[Mapping[str, Any]]) -> list[Kept]:
    return [Kept(**one) for one in told]


def save(path: Path, state: State) -> None:
    """Write `state` in place of what `path` held. InputError: it cannot be written there."""
    try:
        with whole_file(path, lasting=True) as partial:
            partial.write_text(json.dumps({"version": VERSION, **asdict(state)}), encoding="utf-8")
            faults.point("reading.before-state")
    except OSError as error:
        raise InputError(
            f"The state {path} cannot be written ({error.strerror or error}). Free some space, or name another file."
        ) from error


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
