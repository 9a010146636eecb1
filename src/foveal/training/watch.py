"""What goes on beside the steps of a training: evaluation, the best weights, early stop, Ctrl-C, progress.

The state (what was measured, when it was best) goes into each checkpoint, so that a run that was killed stops early,
or not, exactly where it would have without.
"""

from __future__ import annotations

import math
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from transformers import TrainerCallback

from foveal.errors import FovealError
from foveal.training import checkpoints
from foveal.training.windows import plainly

if TYPE_CHECKING:
    from torch import nn

    from foveal.training.loop_settings import LoopSettings

Evaluate = Callable[[Any], Mapping[str, float]]
"""Model -> metrics; of the one that chooses, higher is better, where the job does not say that less is."""


REMEDY = "Lower the learning rate or raise the temperature; in bfloat16, try without."


class TrainingFailed(FovealError):
    """A training that went wrong on its way: its loss is no number any more."""


@dataclass(frozen=True)
class Progress:
    """How far a training is: the step just done of `steps`; what was last seen of the loss and the dev metrics.

    `doing`: what the steps are of, before and after the training itself, such as "Measuring before training".
    """

    step: int
    steps: int
    loss: float | None = None
    metrics: Mapping[str, float] | None = None
    note: str = ""
    doing: str = ""


class Hook(Protocol):
    """Something that happens at steps, such as mining negatives anew; its state lies in the checkpoints."""

    def at_step(self, step: int, model: Any) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass
class Seen:
    """What was measured so far."""

    losses: list[tuple[int, float]] = field(default_factory=list)  # step, mean since the one before
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # step 0 is the untrained model
    best_step: int | None = None
    best: float = -math.inf  # of the metric that chooses, with its sign turned where less is better
    worse: int = 0  # evaluations since the best one


class Watch(TrainerCallback):
    """The one callback of the loop."""

    def __init__(
        self,
        module: nn.Module,
        settings: LoopSettings,
        folder: Path,
        *,
        evaluate: Evaluate | None,
        metric: str,
        lower: bool,
        per_epoch: int,
        on_progress: Callable[[Progress], None],
        hooks: Sequence[Hook],
    ) -> None:
        self.module, self.settings, self.folder = module, settings, folder
        self.evaluate, self.metric, self.hooks, self.on_progress = evaluate, metric, hooks, on_progress
        self.sign = -1 if lower else 1
        self.every = settings.evaluate_every or per_epoch
        self.save_every = settings.checkpoint_every or self.every
        self.seen = Seen()
        self.interrupted = False
        self.early = False

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        seen = self.seen
        return {
            "losses": seen.losses,
            "metrics": seen.metrics,
            "best_step": seen.best_step,
            "best": seen.best if math.isfinite(seen.best) else None,
            "worse": seen.worse,
            "hooks": [hook.state() for hook in self.hooks],
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.seen = Seen(
            [(int(step), float(loss)) for step, loss in kept["losses"]],
            [(int(step), dict(metrics)) for step, metrics in kept["metrics"]],
            kept["best_step"],
            -math.inf if kept["best"] is None else float(kept["best"]),
            int(kept["worse"]),
        )
        for hook, state in zip(self.hooks, kept["hooks"], strict=True):
            hook.restore(state)

    def patience_is_over(self) -> bool:
        """Whether there were so many evaluations without a better one that training stops."""
        return self.settings.patience is not None and self.seen.worse >= self.settings.patience

    def measure(self, step: int, steps: int) -> None:
        """Evaluate, in full precision, and keep the weights if they are the best so far.

        TrainingFailed: a weight is no number, which the loss may not have told yet.
        """
        if self.evaluate is None:
            return
        if not all(bool(one.isfinite().all()) for one in self.module.parameters() if one.requires_grad):
            raise TrainingFailed(f"A weight was no finite number after step {step}. {REMEDY}")
        training = self.module.training
        self.module.eval()
        with same_randomness(), torch.no_grad(), plainly(self.module):
            metrics = {name: float(value) for name, value in self.evaluate(self.module).items()}
        self.module.train(training)
        seen = self.seen
        seen.metrics.append((step, metrics))
        worth = self.sign * metrics[self.metric]
        if worth > seen.best:
            seen.best, seen.best_step, seen.worse = worth, step, 0
            checkpoints.save_weights(self.module, checkpoints.best_file(self.folder, step))
        else:
            seen.worse += 1
        self.on_progress(Progress(step, steps, self._loss(), metrics))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Note the loss. TrainingFailed: it is no number."""
        if logs is None or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingFailed(f"The loss was {loss} at step {state.global_step}. {REMEDY}")
        self.seen.losses.append((int(state.global_step), loss))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Evaluate, stop, save: whatever is due."""
        step, last = int(state.global_step), state.global_step >= state.max_steps
        for hook in self.hooks:
            hook.at_step(step, self.module)
        if step % self.every == 0 or last:
            self.measure(step, state.max_steps)
            self.early = self.patience_is_over() and not last
        else:
            self.on_progress(Progress(step, state.max_steps, self._loss()))
        if self.early or self.interrupted:
            control.should_training_stop = True
        if step % self.save_every == 0 or last or self.interrupted or self.early:
            control.should_log = control.should_save = True

    def _loss(self) -> float | None:
        return self.seen.losses[-1][1] if self.seen.losses else None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, the first Ctrl-C, or SIGTERM, asks the loop to save and stop; the second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

        def put_back() -> None:
            for one, handler in before.items():
                signal.signal(one, handler)

        def ask(*_: Any) -> None:
            self.interrupted = True
            put_back()

        for one in before:
            signal.signal(one, ask)
        try:
            yield
        finally:
            put_back()


@contextmanager
def same_randomness() -> Iterator[None]:
    """Afterwards the generators of Python, NumPy and torch stand where they stood before."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
