"""A text that was read once and kept: its keys, values and indexes on the disk, opened again without reading it.

    keep(model, ids, folder, RetrievalAttention())        # reads the text layer by layer; goes on where it was stopped
    memory = load(folder, model)                          # mapped, not read: the text may be larger than the memory

Layer by layer means: all tokens go through one layer, its keys are indexed and written, and only then the next layer is
read, from the hidden states, which are kept between two layers. So the memory holds one layer, and a kill costs one.
Models that `models.lean` does not know are read whole and then written. What follows the text, `logits.npy`, is written
last: where it is there, nothing has to be read again.

    manifest.json           what the text was read with, and the size of each file; written last
    layer-07/keys.npy       hidden keys (G, n, D), bfloat16 as int16; values, the window, the tail, the index likewise
                            (memory_layer_files.py)
    FOLDER.partial          what is being made, with a lock; renamed into FOLDER when it is whole

A folder that is in its place never changes, so any number of processes may read it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from foveal import faults
from foveal.attention.attach import Context, attach, rotations_for
from foveal.attention.key_index import IndexSettings
from foveal.attention.longheads import LongHeads
from foveal.attention.longheads_cache import LongHeadsCache
from foveal.attention.longheads_layers import LongHeadsLayer
from foveal.attention.masks import Mask
from foveal.attention.memory_layer_files import (
    Array,
    Memory,
    check_layout,
    check_sizes,
    delete,
    json_in,
    layout_of,
    open_chunks,
    open_layers,
    plain_array,
    tensor_of,
    told_of_damage,
    write_array,
    write_layer,
)
from foveal.attention.memory_layers import MemoryLayer
from foveal.attention.owned_layers import SlidingLayer, Turn
from foveal.attention.prefill import attended
from foveal.attention.retrieval_attention import RetrievalAttention, RetrievalCache
from foveal.attention.roar_graph import RoarSettings
from foveal.attention.rotation import Rotation, unturned
from foveal.errors import InputError, LibraryBusy, LibraryTooNew, StorageFull
from foveal.evaluation.files import whole_file
from foveal.models.decoding import Decoder, State
from foveal.models.language import LanguageModel
from foveal.models.lean import lean, supports

VERSION = 1
MANIFEST = "manifest.json"
PLAN = "plan.json"
LOGITS = "logits.npy"
LATER = {"seed": 0, "from_layer": 0, "pyramid": 1.0}

Progress = Callable[[int, int], None]
"""Called with the layers that are done and those that there are."""


@dataclass(frozen=True)
class Kept:
    """What is known of a kept text without opening it."""

    folder: Path
    tokens: int
    model: str
    method: Memory
    note: Mapping[str, Any]  # of whoever kept it
    bytes: int


# -- reading and keeping -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def keep(
    model: LanguageModel,
    ids: Sequence[int],
    folder: Path,
    method: Memory | None = None,
    *,
    note: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Read `ids` and keep them in `folder`, or find that they are there already.

    `note`, plain values, is kept with it. InputError: no tokens, a model that cannot be read by `method`, or another
    text in the folder. LibraryBusy: another process is making it. StorageFull: no space; what is written stays, and the
    same call goes on from it.
    """
    if not ids:
        raise InputError("There is nothing to keep: the text has no tokens.")
    method = method or RetrievalAttention()
    plan = _plan(model, ids, method, note or {})
    if (folder / MANIFEST).is_file():
        if _same(_manifest(folder), plan):
            return folder
        raise InputError(f"{folder} holds another text, or one read in another way. {_removed(method)}")
    _require_free(folder, method)
    rotations_for(model.model, method)  # a model that cannot be read so is refused before anything is made
    with _space_for(folder), _alone(folder, plan) as making:
        if not (making / LOGITS).is_file():
            read_in = _read_lean if supports(model.model) else _read_whole
            read_in(model, ids, method, making, on_progress)
        _finish(making, folder, ids, plan)
    return folder


def _removed(method: Memory) -> str:
    return f"Remove it (foveal prefill SOURCE --forget --attention {method.name} --model …), or name another folder."


def _require_free(folder: Path, method: Memory) -> None:
    """InputError: something else is in the place of what is to be kept, and only after all was read would it be met."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(
            f"{folder} is there and holds no whole text, as where a --forget was stopped. {_removed(method)}"
        )


def save(
    memory: RetrievalCache | LongHeadsCache,
    folder: Path,
    model: LanguageModel,
    ids: Sequence[int],
    note: Mapping[str, Any] | None = None,
) -> Path:
    """Keep what `memory` has read, and `ids` are all of it. InputError: the folder is there; a batch; an index that was
    added to since.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already. Remove it, or name another folder.")
    if memory.get_seq_length() != len(ids):
        raise InputError(f"{len(ids)} tokens came for a cache that has read {memory.get_seq_length()}.")
    plan = _plan(model, ids, memory.method, note or {})
    with _space_for(folder), _alone(folder, plan) as making:
        for number, layer in enumerate(memory.layers):
            write_layer(making, number, layer)
        _finish(making, folder, ids, plan)
    return folder


def _read_lean(
    model: LanguageModel, ids: Sequence[int], method: Memory, making: Path, on_progress: Progress | None
) -> None:
    """Through one layer after another, from the one that was not kept yet."""
    stack, count = lean(model.model), len(ids)
    told = torch.tensor([list(ids)], device=model.device)
    x, turns = stack.start(told, torch.arange(count, device=model.device)[None])
    rotations = rotations_for(model.model, method)
    if rotations:
        turns = {kind: unturned(angles) for kind, angles in turns.items()}
    begun, x = _begun(making, x)
    turn = Turn()
    learnt = method.rotations(model.model, count) if isinstance(method, RetrievalAttention) else None
    for number in range(begun, len(stack)):
        if on_progress:
            on_progress(number, len(stack))
        layer = stack.layer(number)
        own = learnt.for_layer(layer.module) if learnt else None
        held = _empty(method, number, layer.window, turn, count, model.model.config, own)
        mask = Mask.causal(1, count, count, window=layer.window, device=model.device)
        rotation = rotations.for_layer(layer.module) if rotations else None
        context = Context(number, layer.module, mask, layer.scale, rotation=rotation)
        x = layer(x, turns[layer.kind], partial(attended, held, context, method))
        write_layer(making, number, held)
        write_array(making / f"state-{number + 1}.npy", plain_array(x))
        (making / f"state-{number}.npy").unlink(missing_ok=True)
        faults.point("memory.layer-kept")
    write_array(making / LOGITS, plain_array(stack.logits(x[-1:]).float()))
    if on_progress:
        on_progress(len(stack), len(stack))


def _begun(making: Path, x: Tensor) -> tuple[int, Tensor]:
    """The layer to go on with, and what goes into it."""
    states = [int(path.stem.partition("-")[2]) for path in making.glob("state-*.npy")]
    if not states:
        return 0, x
    number = max(states)
    with told_of_damage(making):
        held = tensor_of(np.load(making / f"state-{number}.npy"), x.dtype)
        if held.shape != x.shape or held.dtype != x.dtype:
            raise ValueError(f"state-{number}.npy holds {held.dtype} {tuple(held.shape)}")
    return number, held.to(x.device)


def _read_whole(
    model: LanguageModel, ids: Sequence[int], method: Memory, making: Path, on_progress: Progress | None
) -> None:
    memory = method.make_cache(model.model, tokens=len(ids))
    with attach(model.model, method):
        state = State(memory, [0], torch.empty(0), [], lean=False)
        logits = Decoder(model.model).extend(state, ids, rows=1)
    for number, layer in enumerate(memory.layers):
        if on_progress:
            on_progress(number, len(memory.layers))
        write_layer(making, number, layer)
    write_array(making / LOGITS, plain_array(logits[-1:].float()))


def _empty(
    method: Memory,
    number: int,
    window: int | None,
    turn: Turn,
    tokens: int,
    config: Any,
    rotation: Rotation | None,
) -> MemoryLayer | LongHeadsLayer | SlidingLayer:
    if window is not None:
        return SlidingLayer(window)
    if isinstance(method, LongHeads):
        return method.layer(number, turn)
    return MemoryLayer(method.at(number, config), number, turn, tokens, rotation)


# -- opening -----------------------------------------------------------------------------------------------------------


@overload
def load(folder: Path, model: LanguageModel, method: RetrievalAttention) -> RetrievalCache: ...
@overload
def load(folder: Path, model: LanguageModel, method: LongHeads) -> LongHeadsCache: ...
@overload
def load(folder: Path, model: LanguageModel, method: None = None) -> Any: ...
def load(folder: Path, model: LanguageModel, method: Memory | None = None) -> RetrievalCache | LongHeadsCache:
    """The text kept in `folder`, ready for what comes after it; nothing of it is read before it is needed.

    `method` asks in another way than the text was kept for: with another `top_k` or `attention_length`, or an index
    that needs no queries. InputError: there is none, or it was read by another model, or method. LibraryCorrupt: files
    are missing or cut off.
    """
    kept = kept_in(folder)
    manifest = _manifest(folder)
    _check_model(folder, manifest, model)
    method = method or kept.method
    if method.name != kept.method.name:
        raise InputError(f"The text in {folder} is kept by {kept.method.name}, not by {method.name}. Keep it anew.")
    turn = Turn()
    with told_of_damage(folder):
        if isinstance(method, LongHeads):
            return LongHeadsCache(open_chunks(folder, method, kept.method, turn, manifest, model), method)
        return RetrievalCache(open_layers(folder, method, turn, manifest, model), method)


def kept_in(folder: Path) -> Kept:
    """What is kept in `folder`. InputError: nothing is. LibraryCorrupt: files are missing or cut off."""
    manifest = _manifest(folder)
    with told_of_damage(folder):
        check_sizes(folder, manifest["files"])
        told = manifest["tokens"], manifest["model_name"], _method_of(manifest), manifest["note"]
        return Kept(folder, *told, sum(manifest["files"].values()))


def tokens_of(folder: Path) -> list[int]:
    """The tokens of a kept text. InputError: none is kept there."""
    found: list[int] = _loaded(folder, "tokens.npy", "int32", 1).tolist()
    return found


def logits_of(folder: Path) -> Tensor:
    """Logits (1, vocabulary) float32 of what follows a kept text. InputError: none is kept there, or by `save`."""
    return torch.from_numpy(_loaded(folder, LOGITS, "float32", 2))


def _loaded(folder: Path, name: str, kind: str, axes: int) -> Array:
    _manifest(folder)
    if not (folder / name).is_file():
        raise InputError(f"{folder} holds no {name}: a cache that was saved does not know what follows. Use `keep`.")
    with told_of_damage(folder):
        found: Array = np.load(folder / name, allow_pickle=False)
        if (str(found.dtype), found.ndim) != (kind, axes):
            raise ValueError(f"{name} holds {found.dtype} {found.shape}")
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"No text is kept in {folder}. Keep one by: foveal prefill SOURCE --keep --attention NAME")
    with told_of_damage(folder):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = found["version"]
    if version != VERSION:
        raise LibraryTooNew(f"{folder} is of version {version}; this Foveal reads {VERSION}. Keep it anew.")
    return found


def _check_model(folder: Path, manifest: Mapping[str, Any], model: LanguageModel) -> None:
    with told_of_damage(folder):
        fingerprint, layout = str(manifest["fingerprint"]), dict(manifest["layout"])
    if fingerprint != model.fingerprint:
        raise InputError(
            f"The text in {folder} was read by {manifest['model_name']} ({fingerprint[:12]}), which is not "
            f"{model.name} ({model.fingerprint[:12]}): other weights, or another tokenizer. Open it with that model."
        )
    check_layout(folder, layout, model)


def _plan(model: LanguageModel, ids: Sequence[int], method: Memory, note: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, but for the files."""
    import hashlib

    prompts = None if isinstance(method, LongHeads) else method.prompts
    return {
        "version": VERSION,
        "model_name": model.name,
        "fingerprint": model.fingerprint,
        "layout": layout_of(model),
        "method": _settings(method),
        "prompts": repr(prompts) if prompts else "dense",
        **({} if method.name == RetrievalAttention.name else {"memory": method.name}),
        "tokens": len(ids),
        "digest": hashlib.sha256(np.asarray(ids, np.int64).tobytes()).hexdigest(),
        "note": dict(note),
    }


def _settings(method: Memory) -> dict[str, Any]:
    """What decides how a text is read; later settings are left out where they are as it was before there were any."""
    apart = {"prompts", *(name for name, usual in LATER.items() if getattr(method, name, usual) == usual)}
    return {name: value for name, value in asdict(method).items() if name not in apart}


def _same(manifest: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether both are of one text that was read in one way; notes may differ."""
    apart = ("files", "note", "model_name")
    one, other = ({name: value for name, value in told.items() if name not in apart} for told in (manifest, plan))
    return bool(one == json.loads(json.dumps(other)))


def _method_of(manifest: Mapping[str, Any]) -> Memory:
    stored = manifest["method"]
    if manifest.get("memory") == LongHeads.name:
        return LongHeads(**stored)
    indexes = dict(stored["indexes"])
    roar = RoarSettings(**indexes.pop("roar"))
    named = {"clusters" if name == "segments" else name: value for name, value in stored.items()}  # up to 2026-12-01
    return RetrievalAttention(**{**named, "indexes": IndexSettings(roar=roar, **indexes)})


def _finish(making: Path, folder: Path, ids: Sequence[int], plan: Mapping[str, Any]) -> None:
    """Put what was read into its place. Until it is there it can be gone on with: the plan is removed after that."""
    write_array(making / "tokens.npy", np.asarray(ids, np.int32))
    for left in (*making.glob("state-*.npy"), *making.rglob(".partial-*")):  # these of a process that was killed
        left.unlink()
    paths = [path for path in sorted(making.rglob("*")) if path.is_file() and path.name not in (PLAN, MANIFEST)]
    sizes = {path.relative_to(making).as_posix(): path.stat().st_size for path in paths}
    with whole_file(making / MANIFEST) as beside:
        beside.write_text(json.dumps({**plan, "files": sizes}, indent=1), encoding="utf-8")
    faults.point("memory.before-rename")
    making.rename(folder)
    (folder / PLAN).unlink()


@contextmanager
def _alone(folder: Path, plan: Mapping[str, Any]) -> Iterator[Path]:
    """The folder that is filled, with what an earlier try left of the same plan; no other process may fill it."""
    making = folder.with_name(f"{folder.name}.partial")
    making.mkdir(parents=True, exist_ok=True)
    with _locked(making):
        told = making / PLAN
        if json_in(told) != json.loads(json.dumps(plan)):
            for left in making.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            with whole_file(told) as beside:
                beside.write_text(json.dumps(plan), encoding="utf-8")
        yield making


@contextmanager
def _locked(making: Path) -> Iterator[None]:
    """LibraryBusy: another process fills this folder, or has just put it into its place."""
    try:
        handle = os.open(making, os.O_RDONLY)
    except FileNotFoundError as error:
        raise _just_kept(making) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise LibraryBusy(f"Another process is keeping this text in {making}. Wait for it, or stop it.") from error
        if not _is_at(handle, making):
            raise _just_kept(making)
        yield
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open folder still lies at its path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _just_kept(making: Path) -> LibraryBusy:
    return LibraryBusy(f"Another process has kept or removed the text of {making} just now. Do the same again.")


@contextmanager
def _space_for(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"No space is left to keep a text in {folder}. Free some; what is written stays."
            ) from error
        raise


def forget(folder: Path) -> None:
    """Remove a kept text, and what was begun of it. InputError: there is none. LibraryBusy: it is being kept now.
    OSError: it cannot be removed; what is left of it is found by this call alone."""
    beside, aside = (folder.with_name(f"{folder.name}.{name}") for name in ("partial", "forgotten"))
    if not any(path.is_dir() for path in (folder, beside, aside)):
        raise InputError(f"No text is kept in {folder}.")
    with _locked(beside) if beside.is_dir() else nullcontext():
        delete(aside)
        if folder.is_dir():
            folder.rename(aside)  # whole or absent, also where this is stopped
        for path in (aside, beside):
            delete(path)
