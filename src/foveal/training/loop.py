"""The one training loop: transformers' Trainer and its subclasses in sentence-transformers, made to resume by itself.

    curves = train(Job(model, rows, loss, identity={"base": …, "data": …}), LoopSettings(epochs=2), folder)

What it adds to them: batches are a function of the epoch, so that a run that was killed goes on with exactly the
batches, weights and random numbers that it would have had; only whole checkpoints count; a checkpoint of another
model, data or settings is refused; Ctrl-C saves and stops; the dev metric chooses the weights that are left in the
model; nothing is printed. A loss's own weights and buffers (a memory bank, say) are in the checkpoints, too. Weight
decay leaves alone what a module says that it must not touch (`undecayed`).

Models     SentenceTransformer, CrossEncoder, SparseEncoder, MultiVectorEncoder: `loss(columns, labels)` as theirs
           any other module: `loss(model, batch) -> Tensor`, or None where the model itself gives its loss
"""

from __future__ import annotations

import ctypes
import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler

from foveal import faults
from foveal.errors import InputError
from foveal.models.quiet import quiet
from foveal.registry import require
from foveal.training import checkpoints
from foveal.training.alone import hold
from foveal.training.examples import shuffled
from foveal.training.loop_settings import LoopSettings as LoopSettings
from foveal.training.watch import Evaluate, Hook, Progress, Seen, Watch, same_randomness
from foveal.training.windows import plain_again

log = logging.getLogger("foveal.training")

Plan = Callable[[int], list[list[int]]]
"""Epoch, from 0 -> the places of the rows of each batch."""

LOGGED = 200
"""Points of the loss curve."""


@dataclass(frozen=True)
class Job:
    """What is trained on what.

    `rows` has a length, and rows by number; `plan` gives the batches (default: shuffled), `collate` makes a batch of
    rows where the model's own way does not. `metric` is the one of `evaluate` that chooses the best weights; `lower`
    says that less of it is better.
    `identity` says in words or hashes what the run depends on, besides the settings.
    """

    model: nn.Module
    rows: Any
    loss: Any = None
    identity: Mapping[str, str] = field(default_factory=dict)
    evaluate: Evaluate | None = None
    metric: str = "ndcg@10"
    lower: bool = False
    plan: Plan | None = None
    collate: Callable[[list[Any]], Any] | None = None
    hooks: Sequence[Hook] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)  # column -> what is put before its texts
    rates: Mapping[str, float] = field(
        default_factory=dict
    )  # beginning of parameters' names -> times the learning rate
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None  # instead of AdamW; its rates rise and fall


@dataclass(frozen=True)
class Curves:
    """How a training went."""

    losses: tuple[tuple[int, float], ...]  # step, mean loss since the point before
    metrics: tuple[tuple[int, dict[str, float]], ...]  # step 0: before training
    steps: int
    best_step: int | None  # whose weights the model has; None where nothing was evaluated
    ended: str  # "finished" or "early"
    seconds: float  # of this process; of a resumed run the last part
    resumed_at: int = 0


def train(
    job: Job,
    settings: LoopSettings,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    anew: bool = False,
) -> Curves:
    """Train `job.model` in place, going on from the last whole checkpoint in `folder` if there is one.

    Afterwards the model has the weights that were best on the dev metric (the last ones where nothing is evaluated).
    A run that is done already is not done again. InputError: no rows, or checkpoints of another run. RunBusy: another
    process trains there. KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved. TrainingFailed: the loss is no
    number. StorageFull: there is no room for a checkpoint.
    """
    if len(job.rows) == 0:
        raise InputError("There are no rows to train on. Give examples with at least one relevant pair.")
    held = hold(folder)
    try:
        return _begun(job, settings, folder, on_progress, anew=anew)
    finally:
        del held  # here, not where the frames of an error are kept: the folder is free again, unless its run holds it
        give_memory_back()


def give_memory_back() -> None:
    """Give the system what a training freed, which glibc keeps: some 3 GB after half a billion weights."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # other systems' libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


def _begun(
    job: Job, settings: LoopSettings, folder: Path, on_progress: Callable[[Progress], None], *, anew: bool
) -> Curves:
    checkpoints.claim(folder, identity(job.identity, settings), anew=anew)
    done = checkpoints.read(folder / checkpoints.DONE)
    if done is not None:
        _load_best(job.model, folder, done["best_step"])
        return _curves(done)
    started = time.perf_counter()
    with quiet(), same_randomness():
        trainer, watch = _trainer(job, settings, folder, on_progress)
        found = checkpoints.latest(folder)
        if found:
            watch.restore(found[1])
            before, last = _step_of(found[0]), trainer.args.max_steps
            on_progress(Progress(before, last, note=f"Going on from step {before} of {last}."))
            log.info("Going on from %s.", found[0])
        else:
            watch.measure(0, 0)
        step = _stepped(job, trainer, watch, found[0] if found else None)
    steps = trainer.args.max_steps
    if watch.interrupted and step < steps:
        on_progress(Progress(step, steps, note=f"Saved at step {step}; the same command, without --anew, goes on."))
        raise KeyboardInterrupt
    told = {
        **watch.kept(),
        "steps": step,
        "ended": "early" if watch.early else "finished",
        "seconds": time.perf_counter() - started,
        "resumed_at": _step_of(found[0]) if found else 0,
    }
    if watch.seen.best_step is None:  # nothing was evaluated: the last weights are what a second start finds
        told["best_step"] = step
        checkpoints.save_weights(job.model, checkpoints.best_file(folder, step))
    _load_best(job.model, folder, told["best_step"])
    checkpoints.keep_best(folder, told["best_step"])
    checkpoints.finish(folder, told)
    return _curves(told)


def _stepped(job: Job, trainer: Any, watch: Watch, checkpoint: Path | None) -> int:
    """Take the steps that are left: none where a run had ended, and was killed before it said so. The last one done."""
    last = trainer.args.max_steps
    if checkpoint and (_step_of(checkpoint) >= last or watch.patience_is_over()):
        checkpoints.load_weights(_weights(job), checkpoint / "model.safetensors")
        watch.early = _step_of(checkpoint) < last
        return _step_of(checkpoint)
    try:
        with watch.interruptible():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        plain_again(job.model)
    return int(trainer.state.global_step)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _curves(told: Mapping[str, Any]) -> Curves:
    seen = Seen([tuple(one) for one in told["losses"]], [tuple(one) for one in told["metrics"]])
    return Curves(
        tuple(seen.losses),
        tuple(seen.metrics),
        told["steps"],
        told["best_step"],
        told["ended"],
        told["seconds"],
        told["resumed_at"],
    )


def _load_best(model: nn.Module, folder: Path, step: int | None) -> None:
    path = checkpoints.best_file(folder, step)
    if not path.is_file():
        raise InputError(f"{path}, the best weights of a run that is done, is gone. Begin it anew (--anew).")
    checkpoints.load_weights(model, path)
    model.eval()


def identity(depends_on: Mapping[str, str], settings: LoopSettings) -> dict[str, str]:
    """What a run is known by: what it depends on, and the settings; it may go on where bfloat16 is not as fast."""
    told = {**asdict(settings), "bfloat16": "where it is fast"}
    return {**depends_on, "settings": ", ".join(f"{name} {value}" for name, value in told.items())}


class PlannedBatches(Sampler[list[int]]):
    """The batches that a plan gives for the epoch; as many in each as in the first, whatever the plan says."""

    def __init__(self, plan: Plan, batch: int) -> None:
        self.plan, self.epoch = plan, 0
        self.batch_size, self.drop_last = batch, False  # what accelerate asks for
        self._count = len(plan(0))

    def set_epoch(self, epoch: int) -> None:
        """The next batches are those of this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        return iter(fitted(self.plan(self.epoch), self._count))


def fitted(batches: list[list[int]], count: int) -> list[list[int]]:
    """Just `count` batches: the smallest are left out, or the largest halved."""
    batches = list(batches)
    while len(batches) > count:
        batches.remove(min(batches, key=len))
    while len(batches) < count and (largest := max(batches, key=len)) and len(largest) > 1:
        place = batches.index(largest)
        batches[place : place + 1] = [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return batches


def _trainer(job: Job, settings: LoopSettings, folder: Path, on_progress: Callable[[Progress], None]) -> Any:
    """The trainer for this kind of model, and its watch."""
    plan = job.plan or (lambda epoch: shuffled(len(job.rows), settings.batch, settings.seed, epoch=epoch))
    batches = PlannedBatches(plan, settings.batch)
    base, arguments = _kind(job.model)
    steps = settings.steps or max(1, round(settings.epochs * len(batches)))
    options: dict[str, Any] = {"prompts": dict(job.prompts)} if job.prompts else {}
    args = arguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=settings.batch,
        learning_rate=settings.learning_rate, warmup_steps=round(settings.warm_up * steps), lr_scheduler_type="linear",
        weight_decay=settings.weight_decay, seed=settings.seed, bf16=settings.bfloat16,
        use_cpu=settings.bfloat16 and not torch.cuda.is_available(), save_strategy="no",
        logging_strategy="steps", logging_steps=max(1, steps // LOGGED), logging_nan_inf_filter=False, report_to="none",
        disable_tqdm=True, dataloader_pin_memory=False, remove_unused_columns=False, **options,
    )  # fmt: skip
    if args.n_gpu > 1:  # else the model would be wrapped, and a loss of one's own would not find its parts
        args._n_gpu = 1
    watch = Watch(
        job.model, settings, folder, evaluate=job.evaluate, metric=job.metric, lower=job.lower,
        per_epoch=len(batches), on_progress=on_progress, hooks=job.hooks,
    )  # fmt: skip
    made = _resuming(base)(job, watch, batches, args)
    if job.optimizer:
        made.optimizer = job.optimizer(job.model)
    if job.rates:
        _rated(made.create_optimizer(), job)
    return made, watch


def _kind(model: nn.Module) -> tuple[Any, Any]:
    """The trainer and arguments for a model, by its class in sentence-transformers, or else transformers' own."""
    import transformers

    named = {one.__name__ for one in type(model).__mro__ if one.__module__.startswith("sentence_transformers")}
    for kind in ("CrossEncoder", "SparseEncoder", "MultiVectorEncoder", "SentenceTransformer"):
        if kind in named:
            module = require("sentence_transformers", extra="train")
            return getattr(module, f"{kind}Trainer"), getattr(module, f"{kind}TrainingArguments")
    require("accelerate", extra="train")
    return transformers.Trainer, transformers.TrainingArguments


class _Sparing:
    """A trainer whose weight decay leaves `undecayed` alone."""

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """The others that the trainer would decay."""
        return list(set(super().get_decay_parameter_names(model)) - undecayed(model))  # type: ignore[misc]


def _resuming(base: Any) -> Any:
    """A subclass of a Trainer whose batches are planned and whose checkpoints are whole, and the loss's, too."""
    own = base.__module__.startswith("transformers")

    class Resuming(_Sparing, base):  # type: ignore[misc]
        def __init__(self, job: Job, watch: Watch, batches: PlannedBatches, args: Any) -> None:
            self._job, self._watch, self._batches = job, watch, batches
            options: dict[str, Any] = {} if own else {"loss": job.loss}
            if job.collate:
                options["data_collator"] = job.collate
            super().__init__(model=job.model, args=args, train_dataset=job.rows, callbacks=[watch], **options)
            from transformers import PrinterCallback

            self.remove_callback(PrinterCallback)

        def add_model_card_callback(self, default_args_dict: Any) -> None:
            """None: it would ask the model hub about the base model."""

        def get_train_dataloader(self) -> Any:
            loader: Any = DataLoader(self.train_dataset, batch_sampler=self._batches, collate_fn=self.data_collator)
            self.accelerator.even_batches = False
            return self.accelerator.prepare(loader)

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **options: Any) -> Any:
            if own and self._job.loss is not None:
                loss = self._job.loss(model, inputs)
                return (loss, {}) if return_outputs else loss
            return super().compute_loss(model, inputs, return_outputs, **options)

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
            checkpoints.save_weights(
                _weights(self._job), Path(output_dir or self.args.output_dir) / "model.safetensors"
            )

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
            checkpoints.load_weights(_weights(self._job), Path(resume_from_checkpoint) / "model.safetensors")

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            made = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            with checkpoints.whole_or_gone(made):
                super()._save_checkpoint(model, trial)
                faults.point("training.before-whole")
                checkpoints.seal(made, self._watch.kept())

    return Resuming


def undecayed(model: nn.Module) -> set[str]:
    """Names of parameters that weight decay leaves alone, besides biases and what is called a norm.

    Those of a root-mean-square norm, whatever it is called; and those that a module names: `undecayed` holds beginnings
    of its own parameters' names.
    """
    found: set[str] = set()
    for place, module in model.named_modules():
        begins = ("weight",) if isinstance(module, nn.RMSNorm) else tuple(getattr(module, "undecayed", ()))
        own = (name for name, _ in module.named_parameters() if begins and name.startswith(begins))
        found.update(f"{place}.{name}" if place else name for name in own)
    return found


def _rated(optimizer: Any, job: Job) -> None:
    """Give the parameters named by `job.rates` groups of their own, with their own learning rates."""
    names = {id(parameter): name for name, parameter in job.model.named_parameters()}
    for begin, times in job.rates.items():
        for group in list(optimizer.param_groups):
            own = [one for one in group["params"] if names.get(id(one), "").startswith(begin)]
            if own:
                chosen = {id(one) for one in own}
                group["params"] = [one for one in group["params"] if id(one) not in chosen]
                rest = {name: value for name, value in group.items() if name != "params"}
                optimizer.add_param_group({**rest, "params": own, "lr": times * group["lr"]})


def _weights(job: Job) -> nn.Module:
    """The model and what its loss holds besides it, as one module."""
    parts = {"model": job.model}
    if isinstance(job.loss, nn.Module):
        parts["loss"] = job.loss
    return nn.ModuleDict(parts)
