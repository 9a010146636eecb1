"""Products of many tokens in int8, for work that bears an error of a hundredth: where a model looks, sentence vectors.

    rough = ByteWeight.of(weight)       # None: nothing here multiplies bytes, or not as they should be
    rough(x, bias)                      # x weight^T + bias, to about a hundredth

Each output's weights and each token's numbers are brought to -127 … 127 by a scale of their own; sums are exact, in
int32. For processors with VNNI and without bfloat16 (`foveal bench read-speed` and `add` have what is gained).

Shapes    x (N, depth), weight (outputs, depth), bias (outputs,) -> (N, outputs), float32
Source    vector-wise scales: Dettmers et al., LLM.int8(), NeurIPS 2022 (arXiv 2208.07339), section 3.1; without its
          part in half precision for outliers: what is looked at hardly changes (docs/reading.md)
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache

import torch
from torch import Tensor

from foveal.models.compiled import library
from foveal.models.dtypes import native_bfloat16

log = logging.getLogger("foveal.models")

SOURCE = "models/native/byte_products.cpp"
MOST = 127


class ByteWeight:
    """A weight in int8 with a scale for each output."""

    def __init__(self, numbers: Tensor, scales: Tensor) -> None:
        """`of` makes them: (depth, outputs) int8, (outputs,)."""
        self._numbers, self._scales = numbers, scales

    @classmethod
    def of(cls, weight: Tensor) -> ByteWeight | None:
        """The nearest bytes; None where they would not be faster, or the weight is not finite."""
        if weight.dtype != torch.float32 or weight.device.type != "cpu" or weight.dim() != 2 or not weight.numel():
            return None
        return _made(weight.detach()) if pays() else None

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self._numbers.nbytes + self._scales.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """The products of x (N, depth), float32; no gradient comes back. A token that is not finite gives NaN."""
        x, native, threads = x.contiguous(), _native(), ctypes.c_int64(torch.get_num_threads())
        tokens, depth, outputs = (ctypes.c_int64(size) for size in (*x.shape, len(self._scales)))
        numbers = torch.empty(x.shape, dtype=torch.int8, device="cpu")
        rows = torch.empty(len(x), dtype=torch.float32, device="cpu")
        native.byte_rows(_at(x), tokens, depth, _at(numbers), _at(rows), threads)
        sums = torch._int_mm(numbers, self._numbers)
        scaled = _at(self._scales), None if bias is None else _at(bias)
        native.byte_sums(_at(sums), tokens, outputs, _at(rows), *scaled, threads)
        return sums.view(torch.float32)


def _made(weight: Tensor) -> ByteWeight | None:
    largest = weight.abs().amax(1)
    if not bool(largest.isfinite().all()):
        return None
    scales = (largest / MOST).clamp(min=1e-30)
    return ByteWeight((weight / scales[:, None]).round_().to(torch.int8).t(), scales)


def pays() -> bool:
    """Whether bytes are faster here: VNNI, no bfloat16, a compiler; and what comes out is what should."""
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    faster = vnni and not native_bfloat16() and hasattr(torch, "_int_mm")
    return faster and library(SOURCE) is not None and _agrees()


@cache
def _agrees() -> bool:
    with torch.device("cpu"), torch.inference_mode():
        count = torch.arange(80 * 48, dtype=torch.float32)
        weight, x = (count[: 67 * 48].view(67, 48) % 255 - 127) / 127, (count.view(80, 48) % 251 - 125) / 127
        bias = count[:67]
        x[:, 0] = weight[:, 0] = 1.0  # so that all numbers are bytes already
        made = _made(weight)
        said = made is not None and torch.allclose(made(x, bias), x @ weight.T + bias, rtol=1e-5, atol=1e-4)
    if not said:
        log.warning("Products of int8 do not say what PyTorch says; Foveal goes without them.")
    return said


@cache
def _native() -> ctypes.CDLL:
    """The compiled source, where `pays` found it."""
    found = library(SOURCE)
    assert found is not None
    return found


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
