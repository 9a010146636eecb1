"""Puts a gate on every residual branch of a model that was made without, and takes it off again.

    gates = attach(model, "step")          # StepNet's; or se, eca, cbam, srm, dia, constant
    detach(model)                          # as before, to the last digit

The model's own weights keep their names; each block gets a child `gate` (of a transformer's layer `attention_gate`,
`mlp_gate`), so that optimisers, devices, `state_dict`, `save_pretrained` and safetensors know of it. To load such
weights, attach first. `most=2` with kind "constant", or with "step" and `still=True`, changes no output until it is
trained: for models that are trained already. Copies (`copy.deepcopy`) and torch.compile keep the gates.

Padding   the means leave out tokens that `attention_mask` marks as padding, where the model's forward takes one
Causal    in a decoder, a mean over the tokens would tell of later ones: only `pool="none"` of "step", and "constant"
Again     in activation checkpointing gates that read padding, or hand on a state (DIA, level "diff"), raise InputError
Threads   gates remember the shortcut between two hooks, so one model serves one thread at a time
Against   residual_branches.py finds where; branch_gates.py says what a gate is; stiffness.py reads what they do
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.nn.branch_gates import ConstantStep, Gate, Gated, over
from foveal.nn.channel_attention import CBAM, DIA, ECA, SRM, SqueezeExcitation
from foveal.nn.residual_branches import Branch, residual_branches
from foveal.nn.stepnet import StepAttention, StepSettings

GATES: dict[str, Callable[..., Gate]] = {
    "step": lambda channels, **options: StepAttention(StepSettings(channels=channels, **options)),
    "se": SqueezeExcitation,
    "eca": ECA,
    "cbam": CBAM,
    "srm": SRM,
    "dia": DIA,
    "constant": ConstantStep,
}
"""Name -> what makes a gate of so many channels."""

KEPT = "_foveal_gating"
"""The attribute under which a model keeps what must be taken off again."""
MASKS = {"attention_mask": False, "src_key_padding_mask": True}
"""The arguments of a forward that mark padding, and whether True there means padding."""
INPUTS = ("hidden_states", "input_tensor", "input", "x", "query", "src")
"""What the state is called where a module gets it by name."""


def attach(
    model: nn.Module,
    kind: str = "step",
    *,
    placement: str | Sequence[str] = "all",
    branches: Sequence[Branch] | None = None,
    **options: Any,
) -> dict[str, Gate]:
    """Put a gate on branches of `model`, in place; the gates by the branches' names. Weights are drawn from torch's
    generator.

    `placement` is "all", or names of branches or blocks (see `residual_branches`, and `Stiffness.fastest`). `options`
    are the gate's: most, reduction; level, pool, still of "step". UnknownName: no such kind or branch. InputError:
    gates are there already, no blocks are found, or the gate would tell a causal model of later tokens.
    """
    if kind not in GATES:
        raise UnknownName(f"No gate is called {kind!r}. There are: {', '.join(GATES)}.")
    if KEPT in model.__dict__:
        raise InputError(f"{type(model).__name__} has gates already; detach(model) takes them off.")
    chosen = _chosen(list(branches or residual_branches(model)), placement)
    _check_causal(kind, options, chosen)
    shared = _Shared()
    gates: dict[str, Gate] = {}
    placed: list[_Placed] = []
    dia: dict[int, Any] = {}
    for number, branch in enumerate(chosen):
        own = dict(options)
        if kind == "cbam":
            own["tokens"] = branch.tokens
        if kind == "dia":
            own["like"] = dia.get(branch.channels)
        gate = _like(_made(kind, branch.channels, own), branch)
        dia.setdefault(branch.channels, gate)
        branch.owner.add_module(_child_name(branch), gate)
        placed.append(_Placed(branch, gate, shared, first=number == 0))
        gates[branch.name] = gate
    setattr(model, KEPT, _Attached(placed, [*_watch_mask(model, shared), *_padded_still(model)]))
    return gates


def detach(model: nn.Module) -> None:
    """Take the gates off. InputError: there are none."""
    attached = model.__dict__.get(KEPT)
    if attached is None:
        raise InputError(f"{type(model).__name__} has no gates to take off.")
    attached.remove()
    delattr(model, KEPT)


def gates_of(model: nn.Module) -> dict[str, Gate]:
    """The gates of a model by the names of their branches; none where nothing is attached."""
    attached = model.__dict__.get(KEPT)
    return {one.branch.name: one.gate for one in attached.placed} if attached else {}


@contextmanager
def steps_replaced(model: nn.Module, by: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Inside, each gate's steps are `by(branch, steps)`, of the same shape: to freeze, swap or switch off its say.

    What a gate hands on to the next block (DIA, level "diff") stays its own.
    """

    def replaced(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Gated) -> Gated:
            steps = by(name, output.steps)
            return Gated(args[0] * over(steps, args[0]).to(args[0].dtype), steps, output.state)

        return hook

    handles = [gate.register_forward_hook(replaced(name)) for name, gate in gates_of(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def told_now(block: nn.Module) -> tuple[Any, ...]:
    """What the gates in `block` would be told now: the padding, and the state of the gate before; () where none is."""
    shared = _shared_in(block)
    return () if shared is None else (shared.mask, shared.state, shared.shape)


def tell(block: nn.Module, told: tuple[Any, ...]) -> None:
    """Tell the gates in `block` what `told_now` was, or nothing: a block run by itself has no pass around it."""
    shared = _shared_in(block)
    if shared is not None:
        shared.mask, shared.state, shared.shape = told or (None, None, None)


# -- the hooks ---------------------------------------------------------------------------------------------------------


class _Shared:
    """What the gates of one model tell each other within a pass."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.masked = False  # whether this pass, or else the last one, has a mask
        self.state: Any = None
        self.shape: torch.Size | None = None

    def __reduce__(self) -> Any:
        """A copy begins anew: what is kept belongs to a pass."""
        return _Shared, ()


def _shared_in(block: nn.Module) -> _Shared | None:
    hooks = (getattr(hook, "__self__", None) for one in block.modules() for hook in one._forward_hooks.values())
    return next((hook.shared for hook in hooks if isinstance(hook, _Placed)), None)


class _Placed:
    """One gate at its branch. Its methods are the hooks, so that a copy of the model has hooks of its own."""

    def __init__(self, branch: Branch, gate: Gate, shared: _Shared, *, first: bool) -> None:
        self.branch, self.gate, self.shared, self.first = branch, gate, shared, first
        self.shortcut: Tensor | None = None
        self._projected: Tensor | None = None
        self._masked = branch.tokens and not branch.causal  # a causal gate takes no means
        self.handles = [
            branch.enters.register_forward_pre_hook(self.enter, with_kwargs=True),
            branch.leaves.register_forward_hook(self.leave),
        ]
        if branch.projection is not None:
            branch.projection.forward = self.project

    def enter(self, _: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Keep the state that the branch starts from."""
        if self.first:
            self.shared.state = self.shared.shape = None
        state = given(args, options, self.branch)
        if self.branch.projection is not None:
            self._projected = None
            state = self.branch.projection(state)
        self.shortcut = state

    def project(self, *args: Any) -> Tensor:
        """The shortcut's projection, computed once: the gate asks first, and the block itself is given the same."""
        if self._projected is not None:
            kept, self._projected = self._projected, None
            return kept
        projection = self.branch.projection
        self._projected = type(projection).forward(projection, *args)  # type: ignore[union-attr]
        return self._projected

    def leave(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        """Scale what the branch gives."""
        residual = output[0] if isinstance(output, tuple) else output
        shortcut, self.shortcut = self.shortcut, None
        if shortcut is None:
            raise InputError(f"The branch {self.branch.name} ended before it began: it is not of the layout assumed.")
        shared = self.shared
        state = shared.state if shared.shape == residual.shape else None  # another shape is another stage
        gated = self.gate(residual, shortcut, state, shared.mask if self._masked else None)
        if _backward() and (gated.state is not None or (self._masked and shared.masked)):
            raise InputError(
                f"{self.branch.name} was run again for its gradients (activation checkpointing), when its gate no "
                "longer had the padding, or the state, of that pass. Turn gradient checkpointing off."
            )
        shared.state, shared.shape = gated.state, residual.shape
        return (gated.scaled, *output[1:]) if isinstance(output, tuple) else gated.scaled

    def remove(self) -> None:
        """As it was."""
        for handle in self.handles:
            handle.remove()
        if self.branch.projection is not None:
            del self.branch.projection.__dict__["forward"]
        delattr(self.branch.owner, _child_name(self.branch))


class _Mask:
    """Reads the padding from the call of the outermost module that takes a mask."""

    def __init__(self, name: str, place: int, shared: _Shared) -> None:
        self.name, self.place, self.shared = name, place, shared

    def begin(self, _: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Note the mask of this call."""
        mask = options.get(self.name, args[self.place] if len(args) > self.place else None)
        if mask is not None and mask.dim() != 2:
            raise InputError(f"The gates got {self.name} {tuple(mask.shape)}; they need (batch, tokens).")
        self.shared.mask = None if mask is None else mask.bool() ^ MASKS[self.name]
        self.shared.masked = mask is not None

    def end(self, *_: Any) -> None:
        """Forget it: the next call may be of a part of the model."""
        self.shared.mask = None


class _Attached:
    """What `detach` undoes."""

    def __init__(self, placed: list[_Placed], handles: list[Any]) -> None:
        self.placed, self.handles = placed, handles

    def remove(self) -> None:
        for one in self.placed:
            one.remove()
        for handle in self.handles:
            handle.remove()


def given(args: tuple[Any, ...], options: dict[str, Any], branch: Branch) -> Tensor:
    """The state in the call of `branch.enters`."""
    if len(args) > branch.argument:
        state: Tensor = args[branch.argument]
        return state
    names = [name for name in INPUTS if name in options]
    if not names:
        raise InputError(f"The branch {branch.name} got {', '.join(options)}; none of these is known to be its state.")
    named: Tensor = options[names[-1] if branch.argument and "input_tensor" in names else names[0]]
    return named


def _made(kind: str, channels: int, options: dict[str, Any]) -> Gate:
    try:
        return GATES[kind](channels, **options)
    except TypeError as error:
        raise InputError(f"The gate {kind!r} does not take these options ({error}).") from error


def _backward() -> bool:
    """Whether this is inside a backward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class _Still:
    """Keeps one of torch's encoders from packing padded rows, which gates cannot read; `remove` lets it."""

    def __init__(self, encoder: nn.TransformerEncoder) -> None:
        self.encoder, self.packed = encoder, encoder.use_nested_tensor
        encoder.use_nested_tensor = False

    def remove(self) -> None:
        """As it was."""
        self.encoder.use_nested_tensor = self.packed


def _padded_still(model: nn.Module) -> list[Any]:
    return [_Still(one) for one in model.modules() if isinstance(one, nn.TransformerEncoder)]


def _watch_mask(model: nn.Module, shared: _Shared) -> list[Any]:
    """Hooks on the outermost module whose forward takes a mask; none where no module does."""
    for module in model.modules():
        parameters = list(inspect.signature(type(module).forward).parameters)[1:]
        name = next((one for one in MASKS if one in parameters), None)
        if name is not None:
            mask = _Mask(name, parameters.index(name), shared)
            return [
                module.register_forward_pre_hook(mask.begin, with_kwargs=True),
                module.register_forward_hook(mask.end, always_call=True),
            ]
    return []


def _chosen(branches: list[Branch], placement: str | Sequence[str]) -> list[Branch]:
    if placement == "all":
        return branches
    names = [placement] if isinstance(placement, str) else list(placement)
    known = {one.name for one in branches} | {one.block for one in branches}
    for name in names:
        if name not in known:
            raise UnknownName(f"No branch is called {name!r}. There are: {', '.join(one.name for one in branches)}.")
    return [one for one in branches if one.name in names or one.block in names]


def _check_causal(kind: str, options: dict[str, Any], branches: Sequence[Branch]) -> None:
    tokenwise = kind == "constant" or (kind == "step" and options.get("pool") == "none")
    causal = next((one.name for one in branches if one.causal), None)
    if causal and not tokenwise:
        raise InputError(
            f"{kind!r} takes means over all tokens, and {causal} is causal: tokens would know of later ones. "
            'Use "step" with pool="none", or "constant".'
        )


def _child_name(branch: Branch) -> str:
    return f"{branch.part}_gate" if branch.part else "gate"


def _like(gate: Gate, branch: Branch) -> Gate:
    """On the device and in the type of the block, and training as it is."""
    weight = next(branch.owner.parameters(), None)
    if weight is not None:
        gate = gate.to(device=weight.device, dtype=weight.dtype)
    return gate.train(branch.owner.training)
