"""What a layer keeps between two pieces of a stream: a few tensors, batch first, that never grow but for attention's.

    y, state = layer(x)                         # the beginning of a stream
    y, state = layer(more, state)               # … goes on, as if it had been one piece
    state.save(path); state = layer.init_state(1).load(path)

A state is a frozen dataclass of tensors, tuples of tensors, other states, whole numbers that all rows share (a phase)
and one `layout`, the words that say which layer it fits. No state is changed by what goes on from it. To PyTorch it is
a tree whose leaves are its tensors: torch.export, torch.func and data parallelism take it as they take a tuple.

Against   a key-value cache grows with the text; `nbytes` here is the same after ten tokens and after ten million
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from foveal.errors import InputError
from foveal.evaluation.files import whole_file

Own = TypeVar("Own", bound="State")


@dataclass(frozen=True)
class State:
    """The root of all states of `foveal.nn`."""

    layout: str
    grows: ClassVar[bool] = False  # with the text: then its layout says all that a layer needs, and shapes are its own

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the kind known to PyTorch's trees, as transformers does with its outputs."""
        super().__init_subclass__(**options)
        pytree.register_pytree_node(
            cls,
            _flat,
            partial(_unflat, cls),
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
            flatten_with_keys_fn=_flat_with_keys,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its place, such as "layers.0.weights.1"."""
        return dict(_tensors(self, ""))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(one.nbytes for one in self.tensors().values())

    @property
    def batch(self) -> int:
        """Rows."""
        return len(next(iter(self.tensors().values())))

    def detach(self: Own) -> Own:
        """The same numbers, without the graph that they came from: what a training goes on from."""
        return self.map(Tensor.detach)

    def to(self: Own, *where: Any, **how: Any) -> Own:
        """As `Tensor.to`, for every tensor; whether a token counts stays a boolean."""

        def moved(one: Tensor) -> Tensor:
            there: Tensor = one.to(*where, **how)
            return there if one.dtype.is_floating_point else there.to(one.dtype)

        return self.map(moved)

    def map(self: Own, function: Callable[[Tensor], Tensor]) -> Own:
        """The state of `function` of every tensor."""
        made: Own = _mapped(self, function)
        return made

    def rows(self: Own, rows: Tensor) -> Own:
        """The state of these rows (R,), in this order; a row may come twice."""
        return self.map(lambda one: one[rows])

    def reset(self: Own, rows: Sequence[int], start: Own) -> Own:
        """The same, but `rows` are those of `start` (a layer's `init_state`); the shared phase stays as it is.

        InputError: there is no such row, `start` is of another layer or has other rows, or the state is one that grows.
        """
        if wrong := [row for row in rows if not -self.batch <= row < self.batch]:
            raise InputError(f"reset got row {wrong[0]}; the state holds {self.batch} rows, counted from 0.")
        told = torch.zeros(self.batch, dtype=torch.bool)
        told[list(rows)] = True
        self.require_fit(start)
        if _grows(self):
            raise InputError(
                f"A {type(self).__name__} gets longer with the text, and its rows are of one length: none begins anew "
                "by itself. Begin all with init_state, or take the others by `rows`."
            )
        if start.batch not in (1, self.batch):
            raise InputError(f"reset got a start of {start.batch} rows; it needs {self.batch}, or 1 for all.")
        made: Own = _paired(self, start, lambda old, new: torch.where(_as(told, old), new.to(old), old))
        return made

    def require_fit(self, like: State, rows: int | None = None) -> None:
        """InputError: this state is of another layer or another batch than `like`, of which `rows` are asked."""
        if type(self) is not type(like) or self._layouts != like._layouts:
            raise InputError(
                f"The state is a {type(self).__name__} of ({'; '.join(self._layouts)}); this layer needs a "
                f"{type(like).__name__} of ({'; '.join(like._layouts)}). Begin with init_state, or use the model "
                "that made the state."
            )
        mine, theirs = ({name: tuple(one.shape[1:]) for name, one in state.tensors().items()} for state in (self, like))
        wrong = [name for name in theirs.keys() | mine.keys() if mine.get(name) != theirs.get(name)]
        if wrong and not _grows(self):
            name = min(wrong)
            raise InputError(
                f"The state's {name} has rows of shape {mine.get(name)}; this layer needs {theirs.get(name)}."
            )
        if rows is not None and self.batch != rows:
            raise InputError(f"The state holds {self.batch} rows; the input has {rows}. Give as many rows as began.")

    @property
    def _layouts(self) -> list[str]:
        """The words of this state and of those in it."""
        return [value for _, value in _numbers(self, "") if isinstance(value, str)]

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, path: Path, *, lasting: bool = False, **told: str) -> Path:
        """Write a safetensors file, whole or not at all; `told` is kept in it, for `told_in`.

        `lasting`: it lies on the disk when this returns (`evaluation.files.whole_file`).
        """
        from safetensors.torch import save_file

        tensors = {name: one.detach().cpu().contiguous().clone() for name, one in self.tensors().items()}
        about = {**told, "kind": type(self).__name__, "numbers": json.dumps(dict(_numbers(self, "")))}
        with whole_file(path, lasting=lasting) as partial:
            save_file(tensors, str(partial), metadata=about)
        return path

    def load(self: Own, path: Path) -> Own:
        """The state in a file, which must be of this one's kind. InputError: another layer's, or no state."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as opened:
                about = opened.metadata() or {}
                found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} holds no state ({error}). Name a file that State.save wrote.") from error
        if about.get("kind") != type(self).__name__ or found.keys() != self.tensors().keys():
            raise InputError(f"{path} holds a {about.get('kind')}, or one of another layout; needed is {self.layout}.")
        try:
            made: Own = _filled(self, "", found, json.loads(about["numbers"]))
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} holds a damaged state ({error}). Name another file, or begin anew.") from error
        made.require_fit(self)
        return made


def require_state(state: object, like: State, rows: int | None = None) -> None:
    """InputError: as `State.require_fit`; and what stands in a state's place is none, a mask for one."""
    if not isinstance(state, State):
        raise InputError(
            f"A {type(state).__name__} came as the state; a layer needs a {type(like).__name__}, or None where a text "
            "begins. A mask is given by its name: mask=…."
        )
    state.require_fit(like, rows)


def state_or_first(state: Own | None, begin: Callable[[int], Own], rows: int) -> Own:
    """The state that `rows` rows go on from: the one that came; where a text begins, that of a layer's `init_state`.

    InputError: as `require_state`.
    """
    if state is None:
        return begin(rows)
    require_state(state, begin(1), rows)
    return state


def own(part: Tensor) -> Tensor:
    """The same numbers; in memory of their own, where they are a small part of what was computed of a whole text.

    A state would else hold all of that for as long as it is kept, however few its own bytes are.
    """
    if torch.compiler.is_compiling() or part.is_meta or torch._C._are_functorch_transforms_active():
        return part
    return part.clone() if part.untyped_storage().nbytes() > 2 * part.nbytes else part


def told_in(path: Path) -> dict[str, str]:
    """What was told when the state in this file was saved. InputError: it holds no state."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} holds no state ({error}). Name a file that State.save wrote.") from error


PLAIN = ("int", "str")
"""Annotations of fields that are no part of a tree. Their values would not tell: PyTorch puts others in for them."""


def _flat(state: State) -> tuple[list[Any], dict[str, Any]]:
    """The parts that hold tensors; and by name what stands beside them."""
    beside = {one.name: getattr(state, one.name) for one in fields(state) if one.type in PLAIN}
    return [getattr(state, name) for name in _held(state)], beside


def _flat_with_keys(state: State) -> tuple[list[tuple[Any, Any]], dict[str, Any]]:
    parts, beside = _flat(state)
    return [(pytree.GetAttrKey(name), part) for name, part in zip(_held(state), parts, strict=True)], beside


def _unflat(cls: type[State], parts: Iterable[Any], beside: Mapping[str, Any]) -> State:
    return cls(**beside, **dict(zip(_held(cls), parts, strict=True)))


def _held(state: State | type[State]) -> list[str]:
    return [one.name for one in fields(state) if one.type not in PLAIN]


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    for part, inner in _parts(value):
        yield from _tensors(inner, f"{name}.{part}" if name else part)


def _numbers(value: Any, name: str) -> Iterator[tuple[str, int | str]]:
    if isinstance(value, int | str):
        yield name, value
    for part, inner in _parts(value):
        yield from _numbers(inner, f"{name}.{part}" if name else part)


def _grows(value: Any) -> bool:
    """Whether this state, or one in it, gets longer with the text."""
    return getattr(value, "grows", False) or any(_grows(inner) for _, inner in _parts(value))


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, State):
        yield from ((one.name, getattr(value, one.name)) for one in fields(value))
    elif isinstance(value, tuple):
        yield from ((str(place), inner) for place, inner in enumerate(value))


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, State):
        return replace(value, **{name: _mapped(inner, function) for name, inner in _parts(value)})
    return tuple(_mapped(inner, function) for inner in value) if isinstance(value, tuple) else value


def _paired(value: Any, other: Any, function: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value, other)
    if isinstance(value, State):
        pairs = zip(_parts(value), _parts(other), strict=True)
        return replace(value, **{name: _paired(inner, theirs, function) for (name, inner), (_, theirs) in pairs})
    if isinstance(value, tuple):
        return tuple(_paired(*pair, function) for pair in zip(value, other, strict=True))
    return value


def _filled(value: Any, name: str, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> Any:
    if isinstance(value, Tensor):
        return tensors[name].to(value.device)
    if isinstance(value, State):
        inner = {
            part: _filled(one, f"{name}.{part}" if name else part, tensors, numbers) for part, one in _parts(value)
        }
        return replace(value, **inner)
    if isinstance(value, tuple):
        return tuple(_filled(one, f"{name}.{place}", tensors, numbers) for place, one in enumerate(value))
    return None if value is None else numbers[name]


def _as(rows: Tensor, like: Tensor) -> Tensor:
    """rows (B,) in a shape that broadcasts against `like` (B, …)."""
    return rows.to(like.device).view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class StackState(State):
    """States of layers, from the first."""

    layers: tuple[State, ...]
