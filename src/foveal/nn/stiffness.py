"""How fast and how stiff a residual network is, block by block: where in its depth it changes what it reads.

    report = stiffness(model, batches)              # batches as the model takes them; one pass, nothing is trained
    report.plot(Path("stiffness.png"))
    attach(model, "step", placement=report.fastest(3))

With s the state that a block starts from, f its branch, and g = a * f what is added (a = 1 without a gate):

SI   |g| / |s|                                     speed: how much of the state a block rewrites
LI   |f_t - f_(t-1)| / |s_t - s_(t-1)|             stiffness seen along the path, between blocks of equal shape
JI   sigma_max(df/dx)                              stiffness: an explicit step is stable below 2 / JI
FSI  max SI / median SI of the blocks              how strongly speed is heaped up in few blocks

Fast is not stiff: in the slow phases of a stiff system the state hardly moves, and yet steps must be small. Compare
curves within one architecture only: SI knows the scale of weights and where the norms are.

Source    the view: Huang et al., ICCV 2023 (arXiv 2308.09939); the formulas are ours, after standard numerics
Shapes    images: a unit is an image. Tokens: a unit is a token that counts; a block is a whole layer of a transformer
          (g = what leaves it less what enters it), or with parts="branches" its attention and its MLP each
Blocks    as residual_branches.py finds them; gates (gating.py) are read where there are some
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.nn.stiffness_recorder import Recorder, Tally

Parts = Literal["blocks", "branches"]


@dataclass(frozen=True)
class BlockStiffness:
    """Means over the units; None where it was not asked for or is not defined."""

    block: str
    si: float
    si_90: float  # what nine tenths of the units do not exceed
    li: float | None  # None at the first block of a stage
    ji: float | None
    step: float | None  # of a gate: the mean of a
    adaptivity: float | None  # of a gate: how a varies over samples, the mean deviation over channels
    correlation: float | None  # of a gate: ranks of a with those of |f| / |s|, over samples and channels


@dataclass(frozen=True, eq=False)
class Stiffness:
    """The blocks in the order in which they are run."""

    model: str
    unit: str  # "image", "token" or "vector"
    units: int
    blocks: tuple[BlockStiffness, ...]
    correlation: float | None  # as a block's, over all of them
    steps: Mapping[str, Tensor]  # of each gated block the mean step of a channel, (C,)

    @property
    def index(self) -> float:
        """FSI."""
        speeds = [block.si for block in self.blocks]
        return max(speeds) / max(median(speeds), 1e-12)

    def fastest(self, count: int) -> list[str]:
        """The blocks that rewrite most of the state, by SI: where gates are worth most, says the paper."""
        if not 1 <= count <= len(self.blocks):
            raise InputError(f"{count} of {len(self.blocks)} blocks were asked for; ask for 1 to {len(self.blocks)}.")
        return [block.block for block in sorted(self.blocks, key=lambda one: -one.si)[:count]]

    def distance(self, reference: Stiffness) -> float:
        """The sum over blocks of |SI - SI of the reference at the same depth|; its curve is interpolated."""
        own, other = ([block.si for block in one.blocks] for one in (self, reference))
        at = np.interp(np.linspace(0, 1, len(own)), np.linspace(0, 1, len(other)), other)
        return float(np.abs(np.asarray(own) - at).sum())

    def plot(self, path: Path, *, title: str | None = None) -> Path:
        """A PNG of the curves over depth, logarithmic; the mean step where there are gates."""
        from foveal.evaluation.plots import lines

        names = {"si": "SI: speed", "li": "LI: stiffness along the path", "ji": "JI: stiffness", "step": "mean step a"}
        series = {}
        for name, label in names.items():
            values = [getattr(block, name) for block in self.blocks]
            if any(value is not None for value in values):
                series[label] = [float("nan") if value is None else value for value in values]
        return lines(
            range(1, len(self.blocks) + 1), series, path, title=title or f"Speed and stiffness of {self.model}",
            x_label="block", y_label="per unit of depth", logarithmic="y",
        )  # fmt: skip

    def to_csv(self, path: Path) -> Path:
        """A row a block."""
        with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(BlockStiffness)])
            writer.writeheader()
            writer.writerows(asdict(block) for block in self.blocks)
        return path

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "unit": self.unit,
            "units": self.units,
            "fsi": self.index,
            "correlation": self.correlation,
            "blocks": [asdict(block) for block in self.blocks],
        }


def stiffness(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    parts: Parts = "blocks",
    jacobian: bool = False,
    iterations: int = 15,
    name: str | None = None,
) -> Stiffness:
    """Run `model` in eval mode over the batches and report on its blocks; its own mode is restored.

    A batch is a tensor, a mapping of the model's arguments (with `attention_mask` for padded texts), or a tuple whose
    first is the input. `jacobian` adds JI, of the first batch only: it costs `iterations` times three passes, so make
    that batch small; of a transformer's branches there is none. InputError: no batches, no residual blocks, or numbers
    that are none, with the block's name.
    """
    if parts not in ("blocks", "branches"):
        raise InputError(f"Stiffness got parts = {parts!r}; there are: blocks, branches.")
    recorder = Recorder(model, parts)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        tally = recorder.run(batches, keep_calls=jacobian)
        if not tally.blocks:
            raise InputError("Stiffness got no batches; give at least one.")
        stretches = recorder.stretches(iterations) if jacobian else {}
    finally:
        for module, training in modes.items():
            module.training = training
    return _report(name or type(model).__name__, tally, stretches)


def _report(name: str, tally: Tally, stretches: Mapping[str, float]) -> Stiffness:
    blocks = []
    for block, seen in tally.blocks.items():
        si = seen.speeds()
        blocks.append(
            BlockStiffness(
                block, float(si.mean()), float(si.quantile(0.9)), seen.lipschitz(), stretches.get(block),
                seen.step(), seen.adaptivity(), seen.correlation(),
            )
        )  # fmt: skip
    first = next(iter(tally.blocks.values()))
    steps = {block: seen.mean_step() for block, seen in tally.blocks.items() if seen.steps}
    return Stiffness(name, first.unit, first.units, tuple(blocks), tally.correlation(), steps)
