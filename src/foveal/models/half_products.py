"""Products of few tokens with weights that are numbers of bfloat16, in float32, from half the memory.

    half = HalfWeight.of(weight)        # None: a number of it is none of bfloat16, or there is no compiler
    half(x, bias)                       # x weight^T + bias

Most models are published in bfloat16. Where a processor cannot compute in it they are read as float32; a step of one
token then takes the time that it takes to read the weights. Kept as bfloat16 and made floats on the way to the sums,
they are half as many bytes, and the products are those of float32.

Shapes    x (N, depth), weight (outputs, depth), bias (outputs,) -> (N, outputs), float32
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from foveal.models.compiled import library

log = logging.getLogger("foveal.models")

SOURCE = "models/native/half_products.cpp"


class HalfWeight:
    """A weight in bfloat16, packed."""

    def __init__(self, panels: Tensor, shape: tuple[int, int]) -> None:
        """`of` makes them."""
        self._panels, self.shape = panels, shape

    @classmethod
    def of(cls, weight: Tensor) -> HalfWeight | None:
        """The same numbers in half the bytes; None where that is not possible."""
        if weight.dtype != torch.float32 or weight.device.type != "cpu" or weight.dim() != 2 or not weight.numel():
            return None
        right = library(SOURCE) is not None and _agrees()
        panels = _packed(weight.detach().contiguous()) if right else None
        return None if panels is None else cls(panels, (weight.shape[0], weight.shape[1]))

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self._panels.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """The products of x (…, depth), float32; no gradient comes back."""
        outputs, depth = self.shape
        rows = x.reshape(-1, depth).contiguous()
        out = torch.empty(*x.shape[:-1], outputs, dtype=torch.float32, device="cpu")
        numbers = len(rows), depth, outputs, torch.get_num_threads()
        places = _at(rows), _at(self._panels), None if bias is None else _at(bias), _at(out)
        if not _native().half_product(*places, *_n(numbers)):
            raise MemoryError(f"There is no memory for {len(rows)} tokens of {depth} numbers.")
        return out


def _packed(weight: Tensor) -> Tensor | None:
    native = _native()
    panels = torch.empty(native.half_size(*_n(weight.shape)), dtype=torch.int32, device="cpu")
    return panels if native.half_pack(_at(weight), *_n(weight.shape), _at(panels)) else None


@cache
def _native() -> ctypes.CDLL:
    """The compiled source, where `_agrees` found it."""
    found = library(SOURCE)
    assert found is not None
    found.half_size.restype = ctypes.c_int64
    return found


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _n(values: Sequence[int]) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(value) for value in values]


@cache
def _agrees() -> bool:
    """Whether what the compiler made says what PyTorch says; whatever the caller's context is."""
    with torch.device("cpu"), torch.inference_mode():
        count = torch.arange(67 * 41, dtype=torch.float32)
        weight, x, bias = (count.view(67, 41) % 17 - 8) / 8, (count[: 15 * 41].view(15, 41) % 5 - 2) / 4, count[:67]
        panels = _packed(weight)  # sums of eighths are exact, in any order
        said = panels is not None and HalfWeight(panels, (67, 41))(x, bias).equal(x @ weight.T + bias)
    if not said:
        log.warning("The compiled products of few tokens do not say what PyTorch says; decoding goes without them.")
    return said
