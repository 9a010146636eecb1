"""What the Titans reader has in its head: a memory of constant size, and which documents went into it.

    remembered = load(path, memory, encoder) or begun(memory)
    for told in read_into(remembered, text, "book.txt", memory, encoder): …     # window by window; `told` may be saved

A text goes by in units, a few sentences of one window; a window is `WINDOW` characters, so that where one stands
follows from its number, and no list of places is kept. Of each document a line is kept: its address, its revision, the
number of its first window, how far it was read. The file is one safetensors, written whole or not at all; a reading
that was broken off goes on from it and ends with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from foveal import faults
from foveal.errors import InputError
from foveal.nn.passage_memory import PassageMemory, PassageState
from foveal.nn.states import told_in
from foveal.reading.sentences import LONGEST, Sentence, read_sentences
from foveal.reading.sources import Text
from foveal.types import Encoder

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 2048
"""Characters of a window: what the memory points at."""
UNIT = 400
"""Characters of a unit, at most, but for one long sentence: what the memory is written with."""
AGAIN = "Name another file, or delete this one to read from the beginning."
BATCH = 64
"""Units that are encoded together; a multiple of a memory's chunk, so that a reading goes on as if unbroken."""


@dataclass(frozen=True)
class Known:
    """A document that was read into a memory, or a part of it."""

    address: str  # by which it is opened again
    document_id: str
    revision: str
    title: str
    first: int  # the number of its first window
    done: int = 0  # characters that were read
    units: int = 0
    tokens: int = 0
    whole: bool = False

    @property
    def windows(self) -> range:
        """The numbers of its windows, as far as it was read."""
        return range(self.first, self.first + -(-self.done // WINDOW))


@dataclass(frozen=True)
class Remembered:
    """A memory and the documents in it, the present one last."""

    state: PassageState
    known: tuple[Known, ...] = ()

    @property
    def places(self) -> Tensor:
        """The numbers of all windows."""
        return torch.tensor([number for one in self.known for number in one.windows], dtype=torch.int64)

    def holder(self, number: int) -> Known:
        """The document that has window `number`."""
        return next(one for one in self.known if number in one.windows)


def begun(memory: PassageMemory) -> Remembered:
    """Nothing read yet."""
    return Remembered(memory.init_state())


def made_by(memory: PassageMemory, encoder: Encoder) -> str:
    """What a file is good for: other weights, or another encoder's vectors, would mean something else."""
    return f"{memory.fingerprint[:16]} {encoder.fingerprint[:16]} {WINDOW} {UNIT}"


def save(path: Path, remembered: Remembered, memory: PassageMemory, encoder: Encoder) -> None:
    """Write the file; it is on the disk then. InputError: it cannot be written there."""
    known = json.dumps([asdict(one) for one in remembered.known], ensure_ascii=False)
    try:
        faults.point("reading.before-memory")
        remembered.state.save(path, lasting=True, made_by=made_by(memory, encoder), known=known)
    except OSError as error:
        raise InputError(
            f"The memory {path} cannot be written ({error.strerror or error}). Free some space, or name another file."
        ) from error


def load(path: Path, memory: PassageMemory, encoder: Encoder) -> Remembered | None:
    """What a file holds, None where there is none. InputError: it is no memory, or one of another kind."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    told = told_in(path)
    if told.get("made_by") != made_by(memory, encoder):
        raise InputError(
            f"{path} is no memory of this reader, or one that was written with another --memory or encoder. Name that, "
            "or another file."
        )
    new = memory.init_state()
    state = new.load(path)
    for name, one in state.tensors().items():
        if one.dtype != new.tensors()[name].dtype or not bool(one.isfinite().all()):
            raise InputError(f"The memory {path} is damaged: {name} holds no numbers of ours. {AGAIN}")
    try:
        return Remembered(state, tuple(Known(**one) for one in json.loads(told["known"])))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The memory {path} names no documents ({error}). {AGAIN}") from error


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive sentences that begin in one window."""

    start: int
    end: int
    text: str
    tokens: int


def units_of(sentences: Iterable[Sentence]) -> Iterator[Unit]:
    """Sentences put together, up to `UNIT` characters, each unit within one window; blank ones are left out."""
    held: list[Sentence] = []
    for sentence in sentences:
        full = held and sentence.end - held[0].start > UNIT
        if held and (full or sentence.start // WINDOW != held[0].start // WINDOW):
            yield from _unit(held)
            held = []
        held.append(sentence)
    yield from _unit(held)


def _unit(held: Sequence[Sentence]) -> Iterator[Unit]:
    text = "".join(one.text for one in held)
    if text.strip():
        yield Unit(held[0].start, held[-1].end, text, sum(map(len, held)))


def sentences_of(blocks: Iterable[str], encoder: Encoder, *, longest: int = LONGEST) -> Iterator[Sentence]:
    """The text's sentences, with as many numbers for tokens as the encoder's tokenizer gives."""

    def encode_many(texts: Sequence[str]) -> list[list[int]]:
        return [list(range(len(encoder.token_offsets(text)))) for text in texts]

    return read_sentences(blocks, encode_many, encoder.token_offsets, longest=longest)


def with_document(remembered: Remembered, text: Text, address: str) -> Remembered:
    """The same, with this document as the last one; one that is known already is moved there, with what was read."""
    others = [one for one in remembered.known if (one.document_id, one.revision) != (text.document_id, text.revision)]
    own = [one for one in remembered.known if one not in others]
    broken = next((one for one in others if not one.whole), None)
    if broken is not None and not own:
        raise InputError(
            f"This memory is in the middle of {broken.title} ({broken.address}). Read that to its end first, or name "
            "another file."
        )
    first = max((one.windows.stop for one in others), default=0)
    present = own[0] if own else Known(address, text.document_id, text.revision, text.title, first)
    return Remembered(remembered.state, (*others, present))


@torch.no_grad()
def read_into(
    remembered: Remembered, text: Text, memory: PassageMemory, encoder: Encoder, check: Callable[[], None]
) -> Iterator[Remembered]:
    """Write what of the last document is not written yet; what is remembered after each batch of units.

    `check` is called before each, and raises if the reading is cancelled.
    """
    present = remembered.known[-1]
    others, state = remembered.known[:-1], remembered.state
    batch: list[Unit] = []

    def taken() -> Remembered:
        nonlocal present, state
        check()
        vectors = torch.from_numpy(encoder.encode([one.text for one in batch]))
        places = torch.tensor([present.first + one.start // WINDOW for one in batch])
        state = memory.write(vectors, places, state)
        present = replace(
            present, done=batch[-1].end, units=present.units + len(batch),
            tokens=present.tokens + sum(one.tokens for one in batch),
        )  # fmt: skip
        batch.clear()
        return Remembered(state, (*others, present))

    if present.whole:
        return
    for unit in units_of(sentences_of(text.blocks(), encoder)):
        if unit.end <= present.done:
            continue
        batch.append(unit)
        if len(batch) == BATCH:
            yield taken()
    if batch:
        yield taken()
    present = replace(present, whole=True)
    yield Remembered(state, (*others, present))


def sentences_in(text: Text, known: Known, windows: set[int], encoder: Encoder) -> list[list[Sentence]]:
    """The sentences that begin in these windows of a document, a list for each window, in order."""
    found: dict[int, list[Sentence]] = {}
    for sentence in sentences_of(text.blocks(), encoder):
        number = known.first + sentence.start // WINDOW
        if number in windows:
            found.setdefault(number, []).append(sentence)
    return [found[number] for number in sorted(found)]
