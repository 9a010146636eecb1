"""The folder of one training run: whose it is, its whole checkpoints, its best weights.

    .training             the lock of the process that trains (alone.py)
    run.json              what the run was begun with; another model, other data or settings are refused
    checkpoint-<step>/    weights, optimiser and random states (transformers writes them), and whole.json, written last:
                          a kill in the midst leaves a folder without it, which the next start removes
    best-<step>.safetensors   the weights that were best on the dev queries so far
    done.json             the run's end: a second start has nothing to do

Optimiser and random states are torch files that are read with `weights_only`; none of them is a result.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError, StorageFull
from foveal.evaluation.files import whole_file
from foveal.models.dtypes import usual_type
from foveal.training.alone import LOCK

if TYPE_CHECKING:
    from torch import nn

_HASH = re.compile(r"[0-9a-f]{16,}")

RUN, WHOLE, DONE = "run.json", "whole.json", "done.json"

SHOWN = 240
"""Characters of what torch says of weights that do not fit."""

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITTEN = ("No space left", "iostream error", "inline_container", "PytorchStreamWriter")
"""What safetensors and torch say where a file could not be written: neither raises an OSError."""


def claim(folder: Path, identity: Mapping[str, str], *, anew: bool = False) -> None:
    """Make `folder` the folder of the run that `identity` describes, or go on with it. `anew` empties it first.

    A run that came to nothing (a wrong setting, say) holds no name. InputError: it is that of another run, or of no run
    at all, or it cannot be read just now.
    """
    if anew and (folder / RUN).is_file():
        emptied(folder)
    found = _there(folder / RUN)
    if found is None or (found != identity and kept_nothing(folder)):
        if folder.is_dir() and any(folder.glob("checkpoint-*")):
            raise InputError(f"{folder} holds checkpoints, but no {RUN} that says of what. Name another folder.")
        write(folder / RUN, dict(identity))
        return
    changed = sorted(key for key in found.keys() | identity.keys() if found.get(key) != identity.get(key))
    if changed:
        shown = "; ".join(_told(key, found.get(key), identity.get(key)) for key in changed)
        raise InputError(
            f"The checkpoints in {folder} are of another run ({shown}), so this one cannot go on from them. Give it "
            "another name, or begin anew (--anew removes what is there)."
        )


def kept_nothing(folder: Path) -> bool:
    """Whether a run only began: it was stopped, or a setting was wrong, before there was anything to go on from."""
    return all(path.name in (RUN, LOCK) for path in folder.iterdir())


def emptied(folder: Path) -> None:
    """Remove what a run kept, but for its lock, which is held. What says whose it is goes last: a kill may come."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == RUN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def latest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The last whole checkpoint and what was kept with it; halves are removed. InputError: one cannot be read just now,
    and may be whole."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        kept = _there(path / WHOLE)
        if kept is None:
            shutil.rmtree(path)
        else:
            whole.append((int(path.name.rpartition("-")[2]), path, kept))
    return max(whole)[1:] if whole else None


def seal(checkpoint: Path, kept: Mapping[str, Any]) -> None:
    """Declare a checkpoint whole, and remove the older ones and the weights that are the best no more."""
    write(checkpoint / WHOLE, dict(kept))
    for path in checkpoint.parent.glob("checkpoint-*"):
        if path != checkpoint:
            shutil.rmtree(path)
    keep_best(checkpoint.parent, kept.get("best_step"))


@contextmanager
def room_for(folder: Path, what: str) -> Iterator[None]:
    """Inside, torch and safetensors write into `folder`. StorageFull: there is no room, whichever way they say so."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = error.errno in FULL if isinstance(error, OSError) else any(one in str(error) for one in UNWRITTEN)
        if not full:
            raise
        free = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
        raise StorageFull(
            f"{what} could not be written into {folder}, whose disk has {free / 2**20:,.0f} MB left. Make room, and "
            "give the same command again: it goes on from the last whole checkpoint."
        ) from error


@contextmanager
def whole_or_gone(made: Path) -> Iterator[None]:
    """Inside, the checkpoint `made` is written. StorageFull: there is no room, and what is there of it goes."""
    try:
        with room_for(made.parent, "A checkpoint"):
            yield
    except StorageFull:
        shutil.rmtree(made, ignore_errors=True)
        raise


def keep_best(folder: Path, step: int | None) -> None:
    """Remove best weights of other steps."""
    for path in folder.glob("best-*.safetensors"):
        if path != best_file(folder, step):
            path.unlink()


def best_file(folder: Path, step: int | None) -> Path:
    """Where the best weights of that step stand."""
    return folder / f"best-{step}.safetensors"


def finish(folder: Path, told: Mapping[str, Any]) -> None:
    """Write down the run's end, and remove its checkpoints."""
    write(folder / DONE, dict(told))
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights as safetensors, whole or not at all; weights that are one stay one."""
    from safetensors.torch import save_model

    with room_for(path.parent, "The weights"), whole_file(path) as partial:
        save_model(module, str(partial), metadata={"format": "pt"})


def save_changes(changes: nn.Module, told: Mapping[str, Any], folder: Path, *, told_in: str, weights: str) -> Path:
    """What a model learnt, into a new folder: its changes as `weights`, then what they change in `told_in` as JSON.

    A folder without the second is not whole. InputError: the folder is there, and not an empty one.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already, and not an empty folder. Name a new one.")
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(changes, folder / weights)
    with whole_file(folder / told_in) as partial:
        partial.write_text(json.dumps(dict(told), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return folder


def load_weights(module: nn.Module, path: Path, *, remedy: str = "Begin the run anew (--anew).") -> None:
    """Read weights that `save_weights` wrote. InputError: they are those of another model, damaged, or gone; it ends in
    the `remedy`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(module, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). {remedy}") from error
    except (RuntimeError, SafetensorError) as error:
        told = shorten(str(error), SHOWN, placeholder=" …")  # behind its first line stand the weights' names
        raise InputError(f"{path} does not fit this model ({told}). {remedy}") from error


@contextmanager
def as_was_made(folder: Path, what: str, remedy: str) -> Iterator[None]:
    """Inside, a model is made of the settings in `folder`. InputError: they are of another version, or damaged."""
    try:
        with usual_type():
            yield
    except (AttributeError, IndexError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{folder} holds a {what} that another version of Foveal made, or its settings are damaged "
            f"({type(error).__name__}: {error}). {remedy}"
        ) from error


def read(path: Path) -> dict[str, Any] | None:
    """A JSON file's object; None where there is no such file, or it is damaged or not to be read."""
    try:
        return _object(path)
    except OSError:
        return None


def _there(path: Path) -> dict[str, Any] | None:
    """As `read`, where hours of work may hang on it. InputError: it is there, and cannot be read just now."""
    try:
        return _object(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}). Nothing of it was removed: see that this user may "
            "read it and that its disk is well, and give the same command again."
        ) from error


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(dict(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _told(key: str, there: str | None, now: str | None) -> str:
    """What differs; a hash tells nobody more than that it does, and of many settings those count that are not alike."""
    if there and now and _HASH.fullmatch(there) and _HASH.fullmatch(now):
        return f"{key}: not the same"
    if there and now:
        there, now = _apart(there, now), _apart(now, there)
    return f"{key}: {_short(there)} there, {_short(now)} now"


def _apart(told: str, other: str) -> str:
    """Of settings in a row those that the other row does not have alike."""
    alike = other.strip("{}").split(", ")
    return ", ".join(one for one in told.strip("{}").split(", ") if one not in alike) or told


def _short(value: str | None) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
