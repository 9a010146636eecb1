"""The container of a GGUF file: what it says of itself, and where its tensors lie.

    file = read_file(Path("model.gguf"))
    file.value("general.architecture"), file.tensors["token_embd.weight"].shape

A file comes from anywhere, so each count and offset is held against the bytes that there are before it is used: a
damaged or hostile one costs little memory and no time to speak of.

Layout    magic, version, counts of tensors and of facts; the facts (key, type, value); for each tensor its name, sizes
          from the innermost on, type and offset; the tensors, each from a multiple of the alignment on
Tensors   bytes as the file packs them: a row is `row_bytes` of blocks, unpacked elsewhere (gguf.py)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.registry import require

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
"""Where the file states none."""

MOST_FACTS = MOST_TENSORS = 2**16
MOST_ENTRIES, MOST_BYTES = 2**24, 2**28
"""What the lists of a file hold in all, and its head takes: 2^18 tokens, twice as many merges, 20 MB are usual."""

TEXT, LIST = 8, 9
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type of a fact -> its letter in `struct`."""

_REQUIRED: Any = object()


@dataclass(frozen=True)
class Packed:
    """A tensor as it lies in the file. `shape` is in PyTorch's order, outermost first."""

    name: str
    shape: tuple[int, ...]
    kind: int  # a gguf.GGMLQuantizationType
    rows: np.ndarray[Any, np.dtype[np.uint8]]  # (rows of the innermost size, bytes of one)


@dataclass(frozen=True)
class GgufFile:
    """Facts by their keys and tensors by their names, in the file's order; the bytes are mapped, not read."""

    facts: dict[str, Any]
    tensors: dict[str, Packed]

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """The fact. KeyError: the file does not state it, and there is no default."""
        if key in self.facts:
            return self.facts[key]
        if default is _REQUIRED:
            raise KeyError(f"it states no {key}")
        return default

    def count(self, key: str, default: int | None = None, *, most: int = 2**31 - 1) -> int:
        """A fact that is a whole number from 1 to `most`; of one for each layer, the number that all have."""
        found = self.value(key, _REQUIRED if default is None else default)
        if isinstance(found, list) and found and all(one == found[0] for one in found):
            found = found[0]
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= most:
            raise ValueError(f"it states {key} = {str(found)[:60]}, where one number from 1 to {most} was expected")
        return found

    def number(self, key: str, default: float | None = None) -> float:
        """A fact that is a finite number above zero."""
        found = self.value(key, _REQUIRED if default is None else default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
            raise ValueError(f"it states {key} = {str(found)[:60]}, where a number above zero was expected")
        return float(found)

    def texts(self, key: str) -> list[str]:
        """A fact that is a list of texts."""
        found = self.value(key)
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ValueError(f"its {key} is no list of texts")
        return found


@dataclass(frozen=True)
class Facts:
    """The facts of a file's architecture, by the part of their keys behind its name."""

    file: GgufFile
    architecture: str

    def _key(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def has(self, key: str) -> bool:
        """Whether the file states it."""
        return self._key(key) in self.file.facts

    def value(self, key: str, default: Any = None) -> Any:
        """The fact, or `default`."""
        return self.file.value(self._key(key), default)

    def count(self, key: str, default: int | None = None, *, most: int = 2**31 - 1) -> int:
        """A whole number from 1 to `most`."""
        return self.file.count(self._key(key), default, most=most)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above zero."""
        return self.file.number(self._key(key), default)

    @property
    def heads(self) -> int:
        """Query heads of a layer."""
        return self.count("attention.head_count", most=2**14)

    @property
    def head_dim(self) -> int:
        """Dimensions of a head."""
        return self.count("attention.key_length", max(1, self.count("embedding_length") // self.heads), most=2**14)


def is_gguf(path: Path) -> bool:
    """Whether the file is called .gguf, or begins as such files do (Ollama names them by their hashes)."""
    return path.suffix == ".gguf" or _begins(path)


def _begins(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_file(path: Path) -> GgufFile:
    """The file's facts and tensors. ValueError: it is no GGUF file, or a damaged one. MissingExtra: no gguf."""
    import numpy as np

    try:
        content = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size >= 24 else np.empty(0, np.uint8)
    except OSError as error:
        raise ValueError(f"it cannot be opened ({error.strerror or error})") from error
    if content[: len(MAGIC)].tobytes() != MAGIC:
        raise ValueError("it does not begin as a GGUF file does")
    reader = _Reader(content)
    version = reader.number("I")
    if version not in VERSIONS:
        raise ValueError(f"it is of GGUF version {version}; read are 2 and 3, of little-endian machines")
    tensors, facts = reader.number("Q"), reader.number("Q")
    if tensors > MOST_TENSORS or facts > MOST_FACTS:
        raise ValueError(f"it states {tensors} tensors and {facts} facts; it may have {MOST_TENSORS} of each")
    found: dict[str, Any] = {}
    for _ in range(facts):
        key = reader.text()
        if key in found:
            raise ValueError(f"it states {key[:80]!r} twice")
        found[key] = reader.value()
    headers = [_header(reader) for _ in range(tensors)]
    return GgufFile(found, {one.name: one for one in _placed(headers, content, reader.at, found)})


@dataclass(frozen=True)
class _Header:
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def _header(reader: _Reader) -> _Header:
    name, dimensions = reader.text(), reader.number("I")
    if not 1 <= dimensions <= 4:
        raise ValueError(f"its tensor {name[:80]!r} has {dimensions} dimensions; 1 to 4 are possible")
    sizes = [reader.number("Q") for _ in range(dimensions)]
    return _Header(name, tuple(reversed(sizes)), reader.number("I"), reader.number("Q"))


def _placed(headers: list[_Header], content: np.ndarray[Any, Any], end: int, facts: dict[str, Any]) -> Iterator[Packed]:
    alignment = facts.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
        raise ValueError(f"it states general.alignment = {alignment}, which is no power of two")
    start = end + -end % alignment
    taken, names = 0, set[str]()
    for one in headers:
        if one.name in names:
            raise ValueError(f"it holds the tensor {one.name[:80]!r} twice")
        names.add(one.name)
        row = _row_bytes(one)
        taken += (size := prod(one.shape[:-1]) * row)
        first = start + one.offset
        if one.offset % alignment or first + size > len(content) or taken > len(content) - start:
            raise ValueError(
                f"its tensor {one.name[:80]!r} lies beyond the end of the file, or not where one may begin"
            )
        yield Packed(one.name, one.shape, one.kind, content[first : first + size].reshape(-1, row))


def _row_bytes(header: _Header) -> int:
    """Bytes of a row. ValueError: its type is not known, or its size is no multiple of the type's block."""
    gguf = require("gguf", extra="offline")
    sizes = {int(kind): both for kind, both in gguf.GGML_QUANT_SIZES.items()}
    if min(header.shape) < 1 or prod(header.shape) > 2**48:
        raise ValueError(f"its tensor {header.name[:80]!r} has the sizes {header.shape}")
    if header.kind not in sizes:
        raise ValueError(
            f"its tensor {header.name[:80]!r} is packed in the type {header.kind}, which is none of today's; a newer "
            "gguf (pip install -U gguf) may know it, else take a file in Q8_0, Q6_K, Q5_K_M, Q4_K_M or F16"
        )
    block, packed = sizes[header.kind]
    if header.shape[-1] % block:
        raise ValueError(f"its tensor {header.name[:80]!r} has rows of {header.shape[-1]}, no multiple of {block}")
    return int(header.shape[-1] // block * packed)


class _Reader:
    """The head of a file from its magic on, piece by piece; nothing is read beyond its end."""

    def __init__(self, content: np.ndarray[Any, Any]) -> None:
        self._bytes, self._entries = content.data, MOST_ENTRIES
        self.at = len(MAGIC)

    def _take(self, size: int) -> int:
        at = self.at
        if size > len(self._bytes) - at:
            raise ValueError(f"it ends in the midst of its head, at {len(self._bytes)} bytes")
        if size > MOST_BYTES - at:
            raise ValueError(f"its head takes more than {MOST_BYTES} bytes")
        self.at += size
        return at

    def number(self, letter: str) -> Any:
        form = "<" + letter
        return struct.unpack_from(form, self._bytes, self._take(struct.calcsize(form)))[0]

    def text(self) -> str:
        size = self.number("Q")
        at = self._take(size)
        try:
            return str(self._bytes[at : at + size], "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"it holds a text that is no UTF-8, at its byte {at}") from error

    def value(self) -> Any:
        kind = self.number("I")
        if kind == TEXT:
            return self.text()
        return self._list() if kind == LIST else self.number(_letter(kind))

    def _list(self) -> list[Any]:
        kind, count = self.number("I"), self.number("Q")
        self._entries -= count
        if self._entries < 0:
            raise ValueError(f"it states a list of {count}; all lists together may have {MOST_ENTRIES} entries")
        if kind == TEXT:
            return [self.text() for _ in range(count)]
        form = f"<{count}{_letter(kind)}"
        return list(struct.unpack_from(form, self._bytes, self._take(struct.calcsize(form))))


def _letter(kind: int) -> str:
    if kind not in NUMBERS:
        raise ValueError(f"it states a fact of the type {kind}, which there is not")
    return NUMBERS[kind]
