"""What stiffness.py reads while a model runs: of each block its state, its branch and its gate's steps.

Each block is tallied as soon as it has run, for models may add in place what is read here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.evaluation.classification import spearman
from foveal.nn.branch_gates import Gated, pooled, wide
from foveal.nn.gating import gates_of, given, tell, told_now
from foveal.nn.jacobians import greatest_stretch
from foveal.nn.residual_branches import Branch, residual_branches

TINY = 1e-12
"""Added to what is divided by."""
MOST = 2**20
"""Units that a block's mean and quantile are of, and pairs whose ranks are compared: of more, so many."""
UNITS = {2: "vector", 3: "token", 4: "image"}


@dataclass
class Seen:
    """What was seen of one block, a tensor a batch."""

    unit: str
    speed: list[Tensor] = field(default_factory=list)
    along: list[Tensor] = field(default_factory=list)  # LI of each unit
    steps: list[Tensor] = field(default_factory=list)  # (B, C); (tokens, C) where each token has its own
    stiff: list[Tensor] = field(default_factory=list)  # |f| / |s|, as `steps`

    @property
    def units(self) -> int:
        """How many were seen."""
        return sum(map(len, self.speed))

    def speeds(self) -> Tensor:
        """SI of each unit; of more than MOST, of some, evenly spread."""
        every = torch.cat(self.speed)
        return every[:: max(1, -(-len(every) // MOST))]

    def lipschitz(self) -> float | None:
        """The mean of LI."""
        return float(torch.cat(self.along).mean()) if self.along else None

    def mean_step(self) -> Tensor:
        """(C,)."""
        return torch.cat(self.steps).mean(0)

    def step(self) -> float | None:
        """The mean over samples and channels."""
        return float(self.mean_step().mean()) if self.steps else None

    def adaptivity(self) -> float | None:
        """The deviation over samples, in the mean over channels."""
        return float(torch.cat(self.steps).std(0, correction=0).mean()) if self.steps else None

    def correlation(self) -> float | None:
        """Of ranks, of steps with stiffness."""
        return _ranks_together(self.steps, self.stiff) if self.steps else None


class Tally:
    """All blocks, by name, in the order in which they ran."""

    def __init__(self) -> None:
        self.blocks: dict[str, Seen] = {}
        self.mask: Tensor | None = None
        self._before: tuple[Tensor, Tensor] | None = None

    def begin(self, mask: Tensor | None) -> None:
        """A new batch."""
        self.mask, self._before = mask, None

    def add(self, block: str, s: Tensor, f: Tensor, g: Tensor, steps: Tensor | None) -> None:
        """One block has run."""
        s, f, g = (one.detach().to(wide(one)) for one in (s, f, g))
        seen = self.blocks.setdefault(block, Seen(UNITS.get(s.dim(), "vector")))
        if s.dim() not in UNITS or s.shape != g.shape:
            raise InputError(f"The block {block} adds {tuple(g.shape)} to {tuple(s.shape)}; that is no residual block.")
        mask = self.mask if s.dim() == 3 else None
        speed = _units(g, mask) / (_units(s, mask) + TINY)
        if not torch.isfinite(speed).all():
            raise InputError(f"The block {block} has numbers that are none (NaN or infinite). Look for them before it.")
        seen.speed.append(speed.float())
        if self._before is not None and self._before[0].shape == s.shape:
            before_s, before_f = self._before
            seen.along.append((_units(f - before_f, mask) / (_units(s - before_s, mask) + TINY)).float())
        if steps is not None:
            tokenwise = steps.dim() == 3
            rows = _rows if tokenwise else pooled
            seen.steps.append(rows(steps.detach(), mask).float())
            seen.stiff.append((rows(f.abs(), mask) / (rows(s.abs(), mask) + TINY)).float())
        self._before = (s.clone(), f.clone())

    def correlation(self) -> float | None:
        """Over all gated blocks."""
        gated = [seen for seen in self.blocks.values() if seen.steps]
        if not gated:
            return None
        steps, stiff = ([one.flatten() for seen in gated for one in getattr(seen, name)] for name in ("steps", "stiff"))
        return _ranks_together(steps, stiff)


@dataclass(frozen=True, eq=False)
class Part:
    """What is reported on: a branch, or (None) the whole of a layer."""

    name: str
    owner: nn.Module
    branch: Branch | None


class Recorder:
    """Hooks on a model for as long as it runs."""

    def __init__(self, model: nn.Module, parts: str) -> None:
        """InputError: no residual blocks."""
        self.model, self.tally = model, Tally()
        self.parts = _parts(residual_branches(model), parts)
        self.calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._told: dict[str, tuple[Any, ...]] = {}  # the gates of each, before it ran
        self._counts: Tensor | None = None  # the mask of the batch whose calls are kept
        self._gates = gates_of(model)
        self._states: dict[str, Tensor] = {}
        self._ends: dict[str, Tensor] = {}

    @torch.no_grad()
    def run(self, batches: Iterable[Any], *, keep_calls: bool) -> Tally:
        """Pass over the batches; of the first one the blocks' inputs are kept where asked for."""
        handles = [handle for part in self.parts for handle in self._hooked(part)]
        try:
            for number, batch in enumerate(batches):
                own = [self._keep_call(part) for part in self.parts] if keep_calls and number == 0 else []
                mask = _mask_of(batch)
                self._counts = mask if own else self._counts
                try:
                    self.tally.begin(mask)
                    _call(self.model, batch)
                finally:
                    for handle in own:
                        handle.remove()
        finally:
            for handle in handles:
                handle.remove()
            self._states.clear()
            self._ends.clear()
        return self.tally

    def stretches(self, iterations: int) -> dict[str, float]:
        """JI of each block whose branch is a function of the block's input, in the mean over the rows kept."""
        found = {}
        for part in self.parts:
            if part.name in self.calls and (part.branch is None or not part.branch.part):
                found[part.name] = self._stretch(part, iterations)
        return found

    def _stretch(self, part: Part, iterations: int) -> float:
        (args, options), told = self.calls[part.name], self._told[part.name]
        end = None if part.branch is None else self._gates.get(part.branch.name, part.branch.leaves)
        owner, end = _in_float32(part.owner, end)
        args, options = _floats(args), _floats(options)
        named = "" if args else next(iter(options))
        x = args[0] if args else options[named]

        def run(x: Tensor) -> Any:
            tell(owner, told)
            return owner(x, *args[1:], **options) if args else owner(**{**options, named: x})

        def whole(x: Tensor) -> Tensor:
            output = run(x)
            after: Tensor = output[0] if isinstance(output, tuple) else output
            return after - x

        def branch(x: Tensor) -> Tensor:
            kept: list[Tensor] = []

            def keep(_: nn.Module, given_: tuple[Any, ...], output: Any) -> None:
                told = given_[0] if isinstance(output, Gated) else output
                kept.append((told[0] if isinstance(told, tuple) else told).clone())  # it may be added to in place

            handle = end.register_forward_hook(keep)  # type: ignore[union-attr]
            try:
                run(x)
            finally:
                handle.remove()
            return kept[0]

        f = whole if end is None else branch
        try:
            return float(greatest_stretch(_of_what_counts(f, x, self._counts), x, steps=iterations).mean())
        finally:
            tell(owner, ())

    # -- hooks ---------------------------------------------------------------------------------------------------------

    def _hooked(self, part: Part) -> list[Any]:
        name, branch = part.name, part.branch
        if branch is None:
            return [
                part.owner.register_forward_pre_hook(self._layer_begins(name), with_kwargs=True),
                part.owner.register_forward_hook(self._layer_ends(name)),
            ]
        if branch.name in self._gates:
            return [self._gates[branch.name].register_forward_hook(self._gated(name))]
        handles = [branch.leaves.register_forward_hook(self._branch_ends(name))]
        if branch.projection is None:
            begin = self._branch_begins(name, branch)
            return [branch.enters.register_forward_pre_hook(begin, with_kwargs=True), *handles]
        return [branch.projection.register_forward_hook(self._projected(name)), *handles]

    def _keep_call(self, part: Part) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            self.calls[part.name], self._told[part.name] = (args, options), told_now(part.owner)

        return part.owner.register_forward_pre_hook(hook, with_kwargs=True)

    def _layer_begins(self, name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            self._states[name] = args[0] if args else next(iter(options.values()))

        return hook

    def _layer_ends(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            after = output[0] if isinstance(output, tuple) else output
            s = self._states.pop(name)
            added = after.to(wide(after)) - s.to(wide(s))
            self.tally.add(name, s, added, added, None)

        return hook

    def _gated(self, name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Gated) -> None:
            self.tally.add(name, args[1], args[0], output.scaled, output.steps)

        return hook

    def _branch_begins(self, name: str, branch: Branch) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            self._states[name] = given(args, options, branch)

        return hook

    def _projected(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            self._states[name] = output
            self._both(name)

        return hook

    def _branch_ends(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            self._ends[name] = output[0] if isinstance(output, tuple) else output
            self._both(name)

        return hook

    def _both(self, name: str) -> None:
        """The projection may run before the branch or after it."""
        if name in self._states and name in self._ends:
            f = self._ends.pop(name)
            self.tally.add(name, self._states.pop(name), f, f, None)


def _parts(branches: list[Branch], parts: str) -> list[Part]:
    if parts == "branches":
        return [Part(one.name, one.owner, one) for one in branches]
    layers = {one.block: Part(one.block, one.owner, None if one.part else one) for one in branches}
    return list(layers.values())


def _rows(x: Tensor, mask: Tensor | None) -> Tensor:
    """Tokens (B, T, C) as rows, those that count."""
    return x.flatten(0, 1) if mask is None else x[mask]


def _units(x: Tensor, mask: Tensor | None) -> Tensor:
    """The norm of each unit, (N,)."""
    norms: Tensor = (
        torch.linalg.vector_norm(x.flatten(1), dim=1) if x.dim() == 4 else torch.linalg.vector_norm(x, dim=-1)
    )
    return norms.flatten() if mask is None else norms[mask]


def _ranks_together(steps: list[Tensor], stiff: list[Tensor]) -> float | None:
    """The correlation of ranks; of more than MOST pairs, of so many that are drawn; None where steps never change."""
    one, other = (torch.cat(side).flatten() for side in (steps, stiff))
    if len(one) < 2:
        return None
    if len(one) > MOST:  # a token's own steps: tokens times channels
        chosen = torch.randint(len(one), (MOST,), generator=torch.Generator().manual_seed(0))
        one, other = one[chosen], other[chosen]
    found = spearman(one.tolist(), other.tolist())
    return None if found != found else found  # NaN: a step that never changes


def _of_what_counts(f: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    """f of the tokens that count alone: padding stays as it is in x (B, T, C), and its part of f is left out."""
    if mask is None or x.dim() != 3:
        return f
    there = mask.to(x.device)[..., None]
    return lambda moved: f(torch.where(there, moved, x)).masked_fill(~there, 0)


def _mask_of(batch: Any) -> Tensor | None:
    if not isinstance(batch, Mapping) or batch.get("attention_mask") is None:
        return None
    mask: Tensor = batch["attention_mask"].bool()
    return mask


def _call(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        options = dict(batch)
        if getattr(getattr(model, "config", None), "use_cache", None):
            options.setdefault("use_cache", False)  # a cache grows with each call, and the blocks are run again for JI
        model(**options)
    else:
        model(batch[0] if isinstance(batch, (tuple, list)) else batch)


def _in_float32(owner: nn.Module, end: nn.Module | None) -> tuple[nn.Module, nn.Module | None]:
    """A block as it is, or a copy in float32 where it is narrower: iterations in bfloat16 do not converge."""
    if all(weight.dtype in (torch.float32, torch.float64) for weight in owner.parameters()):
        return owner, end
    owner, end = copy.deepcopy((owner, end))
    return owner.float(), end


def _floats(value: Any) -> Any:
    """The same with narrow floating-point tensors widened."""
    if isinstance(value, Tensor):
        return value.detach().to(wide(value)) if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(_floats(one) for one in value)
    if isinstance(value, dict):
        return {name: _floats(one) for name, one in value.items()}
    return value
