"""A second device on a machine that has one: tensors that say "far:0", whose numbers lie in the processor's memory.

    with Far():
        model.to("far")(ids.to("far"))

As on a GPU, an operation that gets tensors of two devices fails, a tensor must be on the processor to become an array,
and what a kernel of ours wants of the processor's memory it cannot have. Numbers come out as the processor's do. What a
GPU alone can show, its own kernels and its rounding, this does not.

It is for a process of its own, and imported before what it tests: PyTorch takes one such device, and keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "far"
BETWEEN = {"aten::_to_copy", "aten::copy_", "aten::set_data"}
"""What takes tensors of two devices."""

INDEXED = {f"aten::{name}" for name in ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_")}
"""What takes indices of the processor for a tensor that lies elsewhere; values must lie where it does."""


def _without_gradients(mode: Any = True) -> Any:
    """In place of `torch.inference_mode`, in which views of such a tensor cannot be had."""
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else torch.enable_grad()


torch.inference_mode = _without_gradients  # type: ignore[assignment, misc]  # before anything is decorated with it


class _Module(backend_registration._DummyBackendModule):
    """`torch.far`: what PyTorch and libraries ask of a device."""

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def device(self, index: int) -> Any:  # noqa: ARG002
        return nullcontext()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, *_: Any) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, *_: Any) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        pass

    def manual_seed_all(self, seed: int) -> None:
        pass


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
DEVICE = torch.device(NAME, 0)

_WITHOUT_AUTOCAST = torch.library.Library("_", "IMPL")
_WITHOUT_AUTOCAST.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")


class FarTensor(Tensor):
    """A tensor of that device; `near` holds its numbers."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor, requires_grad: bool = False) -> FarTensor:
        made: FarTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            layout=near.layout, device=DEVICE, requires_grad=requires_grad,
        )  # fmt: skip
        return made

    def __init__(self, near: Tensor, requires_grad: bool = False) -> None:  # noqa: ARG002
        self.near = near

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"far {self.near}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.near.__reduce_ex__(protocol)  # as a file holds it

    def __deepcopy__(self, memo: Any) -> FarTensor:
        if id(self) not in memo:
            memo[id(self)] = FarTensor(self.near.detach().clone(), requires_grad=self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                memo[id(self)] = torch.nn.Parameter(memo[id(self)], requires_grad=self.requires_grad)
        made: FarTensor = memo[id(self)]
        return made

    def tolist(self) -> Any:
        return self.near.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy; use Tensor.cpu() first")

    __array__ = numpy

    def data_ptr(self) -> int:
        return self.near.data_ptr()

    def storage(self) -> Any:
        return self.near.storage()

    def untyped_storage(self) -> Any:
        return self.near.untyped_storage()


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An operation on the numbers; what it gives is far where it was asked to be, or what it was given was."""
    name = func._schema.name
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    far = any(isinstance(one, FarTensor) for one in given)
    near = any(not isinstance(one, FarTensor) and one.dim() for one in given)
    if far and near and name not in BETWEEN and not (name in INDEXED and _may_index(args)):
        raise RuntimeError(f"{name} got tensors of two devices, {DEVICE} and cpu")
    draws = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Generator)]
    if far and draws:
        raise RuntimeError(f"{name} was to draw on {DEVICE} by a generator of the processor")
    wanted = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if wanted is not None and wanted.type == NAME:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    out = func(*tree_map(_near, args), **tree_map(_near, kwargs))
    changed = [one for one, told in zip(args, func._schema.arguments, strict=False) if _is_written(told)]
    if changed and func._schema.returns and _is_written(func._schema.returns[0]):
        return changed[0]
    there = far if wanted is None else wanted.type == NAME
    return tree_map(lambda one: FarTensor(one) if there and isinstance(one, Tensor) else one, out)


def _may_index(args: Sequence[Any]) -> bool:
    values = args[2] if len(args) > 2 else None
    return isinstance(args[0], FarTensor) and (
        not isinstance(values, Tensor) or isinstance(values, FarTensor) or not values.dim()
    )


def _near(one: Any) -> Any:
    return one.near if isinstance(one, FarTensor) else one


def _is_written(told: Any) -> bool:
    return told.alias_info is not None and told.alias_info.is_write


class _Operations(TorchDispatchMode):
    """Tensors that are made there, out of nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What PyTorch does without asking a mode of operations: tensors of Python's numbers, and fused attention."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            return _attention(func, *args, **kwargs)
        if name in ("tensor", "as_tensor") and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if name == "new_tensor":
            device = kwargs.pop("device", None) or args[0].device
            return torch.tensor(_plain(args[1]), **{"dtype": args[0].dtype} | kwargs).to(device)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            at = tuple(map(_listed, args[1])) if isinstance(args[1], tuple) else _listed(args[1])
            args = (args[0], at, *args[2:])
        return func(*args, **kwargs)


def _attention(func: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any = None, *rest: Any, **told: Any) -> Any:
    mask = told.pop("attn_mask", mask)
    if not isinstance(query, FarTensor):
        return func(query, key, value, mask, *rest, **told)
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -torch.inf)
    return torch.ops.aten._scaled_dot_product_attention_math(query, key, value, mask, *rest, **told)[0]


def _plain(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_plain(one) for one in values]
    return values.tolist() if isinstance(values, Tensor) else values


def _listed(one: Any) -> Any:
    return torch.tensor(one, dtype=None if one else torch.long) if isinstance(one, list) else one


class Far(ExitStack):
    """A block in which there is that device."""

    def __enter__(self) -> Far:
        super().__enter__()
        # a module that is converted gets new parameters: what holds the old one's numbers cannot be put in its place
        self.callback(
            torch.__future__.set_overwrite_module_params_on_conversion,
            torch.__future__.get_overwrite_module_params_on_conversion(),
        )
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self.enter_context(_Calls())
        self.enter_context(_Operations())
        return self
