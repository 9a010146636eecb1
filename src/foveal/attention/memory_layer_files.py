"""One layer of a kept text as files, and back: what memory_store.py writes layer by layer, and maps again.

    write_layer(making, 7, layer)                                # layer-07/: one .npy an array, layer.json last
    layer = open_layer(folder / "layer-07", method, 7, turn, manifest, window)
    layers = open_chunks(folder, longheads, kept, turn, manifest, model)

bfloat16 lies on the disk as int16, by its bits: NumPy has no such type. Arrays are mapped, not read, and privately: who
writes to one changes nobody's file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.attention.key_index import read
from foveal.attention.longheads import LongHeads
from foveal.attention.longheads_files import opened_layer, stored_layer
from foveal.attention.longheads_layers import LongHeadsLayer
from foveal.attention.memory_layers import MemoryLayer, Parts
from foveal.attention.memory_parts import Hidden, Nothing, Snapped, Tail, Window
from foveal.attention.owned_layers import SlidingLayer, Turn
from foveal.attention.profiles import kv_heads
from foveal.attention.retrieval_attention import AUTO, RetrievalAttention, windows
from foveal.attention.rotation import rotations_of
from foveal.attention.rows import Rows
from foveal.errors import FovealError, InputError, LibraryCorrupt
from foveal.evaluation.files import whole_file
from foveal.models.language import LanguageModel

Array = NDArray[Any]

Memory = RetrievalAttention | LongHeads
"""The methods that keep a text; `registry.MEMORIES` names them."""

SHAPES = {
    "window_keys": "GwD",
    "window_values": "GwE",
    "keys": "GnD",
    "values": "GnE",
    "tail_counts": "GS",
    "tail_keys": "GSD",
    "tail_covariance": "GSDD",
    "tail_values": "GSE",
    "tail_cross": "GSDE",
    "links": "HnL",
    "entries": "HP",
    "means": "GD",
    "shapes": "HDD",
    "ids": "Hk",
    "last_keys": "GtD",
    "last_values": "GtE",
    "last_queries": "HtD",
    "vectors": "HmR",
}
"""The sizes of arrays by letter: one number for a letter in all arrays of a layer, of capitals at least 1."""

TYPES = {"tail_counts": "int64", "ids": "int32", "links": "int32", "entries": "int32"}
"""Of arrays that hold no float32, beside the keys and values, which are of the model's type."""


class LayerArrays:
    """The arrays of a layer in `place`, mapped one by one; what is read by addresses is looked at before.

    ValueError: one is of another type or shape than was written, or does not go together with those before it.
    """

    def __init__(self, place: Path, dtype: torch.dtype, **sizes: int) -> None:
        """`dtype` of keys and values; `sizes` that are known, by the letters of `SHAPES`."""
        self._place, self._dtype, self.sizes = place, dtype, sizes

    def __call__(self, name: str, letters: str | None = None) -> Array:
        """The array as it lies on the disk, mapped privately: nobody else sees what is written to it."""
        found: Array = np.load(self._place / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        letters = letters or SHAPES[name]
        if name == "tail_counts" and found.ndim == 1:  # of texts kept up to 2026-12-01: for all groups
            letters = "S"
        fits = found.ndim == len(letters) and found.flags.c_contiguous and str(found.dtype) == self._type(name)
        for letter, size in zip(letters, found.shape, strict=False):
            fits = fits and size == self.sizes.setdefault(letter, size) and (size > 0 or letter.islower())
        if not fits:
            known = ", ".join(f"{letter} {self.sizes[letter]}" for letter in letters if letter in self.sizes)
            raise ValueError(
                f"{self._place.name}/{name}.npy holds {found.dtype} {found.shape}, not {self._type(name)} "
                f"({', '.join(letters)}) with {known}"
            )
        return found

    def tensor(self, name: str, letters: str | None = None) -> Tensor:
        """Keys, values or queries, over the mapped file."""
        return tensor_of(self(name, letters), self._dtype)

    def read(self, name: str) -> Tensor:
        """All of it in memory."""
        return torch.from_numpy(np.array(self(name)))

    def _type(self, name: str) -> str:
        if name in ("keys", "values", "last_keys", "last_values", "last_queries"):
            return "int16" if self._dtype == torch.bfloat16 else str(self._dtype).removeprefix("torch.")
        return TYPES.get(name, "float32")


@contextmanager
def told_of_damage(folder: Path) -> Iterator[None]:
    """LibraryCorrupt: a file of a kept text cannot be read, or is not what was written."""
    try:
        yield
    except FovealError:
        raise
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LibraryCorrupt(
            f"The text kept in {folder} is damaged, or was being removed ({type(error).__name__}: {error}). Remove it "
            "and keep it anew."
        ) from error


def delete(folder: Path) -> None:
    """Delete a folder, if it is there. OSError: it cannot be."""
    with suppress(FileNotFoundError):  # there is none, or another process deletes it, too
        shutil.rmtree(folder)


def json_in(path: Path) -> Any:
    """What a file of JSON holds; None: there is none, or it is damaged, as a cut of the power may leave it.

    OSError: it is there, and cannot be read just now.
    """
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def check_sizes(folder: Path, files: Mapping[str, int]) -> None:
    """LibraryCorrupt: a file of a kept text is missing, or is not as long as it was."""
    for name, size in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            found = f"has {path.stat().st_size:,} bytes instead of {size:,}" if path.is_file() else "is missing"
            raise LibraryCorrupt(f"The text kept in {folder} is damaged: {name} {found}. Remove it and keep it anew.")


def layout_of(model: LanguageModel) -> dict[str, Any]:
    """What keys and values hang on, beside the weights."""
    config = model.model.config.get_text_config(decoder=True)
    return {
        "layers": len(windows(config)),
        "windows": windows(config),
        "heads": config.num_attention_heads,
        "kv_heads": kv_heads(config),
        "head_dim": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def check_layout(folder: Path, kept: Mapping[str, Any], model: LanguageModel) -> None:
    """InputError: what is kept in `folder` hangs on other than the model's, as on another type of numbers."""
    mine = layout_of(model)
    apart = [f"{name} {kept.get(name)}, not {value}" for name, value in mine.items() if kept.get(name) != value]
    if apart:
        raise InputError(
            f"The text in {folder} has another layout than {model.name} has here: {'; '.join(apart)}. Load the model "
            "as it was when the text was kept, or remove the text and keep it anew."
        )


def write_layer(making: Path, number: int, layer: MemoryLayer | LongHeadsLayer | SlidingLayer) -> None:
    """All arrays of a layer, then `layer.json`, by which it is known to be whole."""
    place = making / f"layer-{number:02}"
    place.mkdir(exist_ok=True)
    told: dict[str, Any] = {"length": layer.get_seq_length()}
    if isinstance(layer, SlidingLayer):
        arrays = {"keys": plain_array(layer.keys), "values": plain_array(layer.values)}
        told |= {"kind": "sliding", "window": layer.window}
    elif isinstance(layer, LongHeadsLayer):
        arrays = {name: plain_array(part) for name, part in stored_layer(layer).items()}
        told |= {"kind": "longheads"}
    else:
        if len(layer.sequences) != 1:
            raise InputError(f"A cache of {len(layer.sequences)} texts came; one that has read a single text is kept.")
        one = layer.sequences[0]
        arrays = {"window_keys": one.window.keys.numpy(), "window_values": one.window.values.numpy()}
        told |= {"kind": one.kind, "sinks": one.window.sinks, "built": dict(one.built)}
        if one.hidden:
            arrays |= _hidden_arrays(one.hidden)
    for name, array in arrays.items():
        write_array(place / f"{name}.npy", array)
    with whole_file(place / "layer.json") as beside:
        beside.write_text(json.dumps(told), encoding="utf-8")


def _hidden_arrays(hidden: Hidden) -> dict[str, Array]:
    keys, values = (torch.cat(rows.parts, 1) for rows in (hidden.index.keys, hidden.values))
    return {
        "keys": plain_array(keys),
        "values": plain_array(values),
        **{f"tail_{one.name}": getattr(hidden.tail, one.name).numpy() for one in fields(Tail)},
        **hidden.index.arrays(),
    }


def open_layers(
    folder: Path, method: RetrievalAttention, turn: Turn, manifest: Mapping[str, Any], model: LanguageModel
) -> list[MemoryLayer | SlidingLayer]:
    """The layers of a text that RetrievalAttention keeps, each with its own share of the keys. Errors: `open_layer`."""
    config = model.model.config
    found = []
    for number, window in enumerate(windows(config)):
        own = method if window is not None else method.at(number, config)
        place = folder / f"layer-{number:02}"
        found.append(open_layer(place, own, number, turn, manifest, window, model.device))
    return found


def open_layer(
    place: Path,
    method: RetrievalAttention,
    number: int,
    turn: Turn,
    manifest: Mapping[str, Any],
    window: int | None,
    device: torch.device,
) -> MemoryLayer | SlidingLayer:
    """The layer of a text that RetrievalAttention keeps; `window` where the model itself looks no further back.

    Only such a window lies on the model's device: what is searched stays in the processor's memory.

    InputError: the method's index learns from queries that were not kept.
    """
    told = json.loads((place / "layer.json").read_text(encoding="utf-8"))
    if told["length"] != manifest["tokens"]:
        raise ValueError(f"{place.name} has {told['length']} tokens, the text {manifest['tokens']}")
    dtype = getattr(torch, manifest["layout"]["dtype"])
    if window is not None:
        return open_sliding(place, window, dtype, device)
    layer = MemoryLayer(method, number, turn)
    wide = torch.float32 if dtype == torch.float16 else dtype
    arrays = LayerArrays(place, wide, H=manifest["layout"]["heads"])
    held = Window(arrays.read("window_keys"), arrays.read("window_values"), told["sinks"])
    if not 0 <= held.sinks <= len(held) or arrays.sizes["H"] % arrays.sizes["G"]:
        raise ValueError(f"{place.name} has a window of {len(held)} with {held.sinks} sinks, {arrays.sizes}")
    kind = told["kind"] if told["kind"] == "none" or method.index == AUTO else method.index
    if kind in ("snapkv", "roar") and kind != told["kind"]:
        raise InputError(
            f"The text was kept with the index {told['kind']}; {kind} learns from queries that are gone. Keep it anew."
        )
    hidden = None if kind == "none" else _open_hidden(method, kind, arrays)
    if len(held) + (len(hidden) if hidden else 0) > told["length"]:
        raise ValueError(f"{place.name} holds more than {told['length']} tokens")
    built = told.get("built", {}) if kind == told["kind"] else {}  # of texts kept before this was noted: nothing
    layer.resume(Parts(held, hidden, kind, built), told["length"])
    return layer


def open_sliding(place: Path, window: int, dtype: torch.dtype, device: torch.device) -> SlidingLayer:
    """A layer whose window is all that was kept of it."""
    sliding = SlidingLayer(window)
    arrays = LayerArrays(place, dtype, B=1)
    sliding.keys, sliding.values = (
        arrays.tensor(name, letters).to(device, copy=True) for name, letters in (("keys", "BGnD"), ("values", "BGnE"))
    )
    sliding.length = json.loads((place / "layer.json").read_text(encoding="utf-8"))["length"]
    if sliding.keys.shape[2] != min(sliding.length, window - 1):
        raise ValueError(f"{place.name} holds {sliding.keys.shape[2]} of {sliding.length} tokens, and sees {window}")
    sliding.is_initialized = True
    return sliding


def open_chunks(
    folder: Path, method: LongHeads, kept: Any, turn: Turn, manifest: Mapping[str, Any], model: LanguageModel
) -> list[LongHeadsLayer | SlidingLayer]:
    """The layers of a text that LongHeads keeps."""
    dtype = getattr(torch, manifest["layout"]["dtype"])
    layers: list[LongHeadsLayer | SlidingLayer] = []
    config = model.model.config
    rotations = rotations_of(model.model, reach=method.reach(config))
    for number, window in enumerate(windows(config)):
        place = folder / f"layer-{number:02}"
        if window is not None:
            layers.append(open_sliding(place, window, dtype, model.device))
            continue
        files = LayerArrays(place, dtype, H=manifest["layout"]["heads"])
        whole = ("keys", "values", "last_keys", "last_values", "last_queries")
        arrays = {name: files.tensor(name).to(model.device) for name in whole}
        arrays["vectors"] = torch.from_numpy(files("vectors")).to(model.device)
        chunk, held = kept.shape_for(config).chunk, [files.sizes[letter] for letter in "mnt"]
        if [held[0] * chunk, sum(held[1:])] != [held[1], manifest["tokens"]] or held[2] >= chunk:
            raise ValueError(f"{place.name} holds {held} chunks, tokens of them and tokens, not {manifest['tokens']}")
        layers.append(opened_layer(method, kept, number, turn, arrays, rotations.at(number), config))
    return layers


def _open_hidden(method: RetrievalAttention, kind: str, arrays: LayerArrays) -> Hidden:
    keys, values = (Rows(arrays.tensor(name)) for name in ("keys", "values"))
    tail = Tail(*(arrays.read(f"tail_{one.name}") for one in fields(Tail)))
    if kind == "snapkv":
        ids = arrays.read("ids").long()
        if ids.numel() and not (ids.min() >= 0 and ids.max() < len(keys)):
            raise ValueError(f"keys {int(ids.min())} to {int(ids.max())} were chosen where there are {len(keys)}")
        return Hidden(Snapped(keys, ids), values, tail)
    if kind in ("streaming", "full"):
        return Hidden(Nothing(keys), values, tail)
    names = ("links", "entries", "means", "shapes") if kind == "roar" else ()
    return Hidden(read(kind, keys, {name: arrays(name) for name in names}, method.indexes), values, tail)


def plain_array(tensor: Tensor) -> Array:
    """As NumPy can write it: bfloat16 by its bits."""
    tensor = tensor.detach().cpu().contiguous()
    found: Array = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return found


def tensor_of(array: Array, dtype: torch.dtype) -> Tensor:
    """What `plain_array` made it from, over the same memory."""
    found = torch.from_numpy(array)
    return found.view(torch.bfloat16) if dtype == torch.bfloat16 else found


def write_array(path: Path, array: Array) -> None:
    """Write it whole or not at all."""
    with whole_file(path) as beside, beside.open("wb") as file:
        np.save(file, array, allow_pickle=False)
