"""Arms of a benchmark that are trained: kept by the hash of what made them, and gone on with after a stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.bench.code import digest_of
from foveal.bench.settings import BenchSettings
from foveal.training.loop import Curves, Job, LoopSettings, train
from foveal.training.windows import collate


def trained(
    settings: BenchSettings,
    bench: str,
    name: str,
    model: nn.Module,
    rows: Any,
    loss: Any,
    plan: Callable[[int], list[list[int]]],
    loop: LoopSettings,
    told: Mapping[str, Any],
    *,
    together: Callable[[list[Any]], Any] = collate,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
) -> Curves:
    """Train an arm of a bench in place, or find it trained, by the hash of what it depends on: the code of its model
    and loss, and what `told` says; what the rows are, too (`data_digest`). The model is on the CPU afterwards.

    `together` makes a batch of rows, `optimizer` what the loop uses instead of its own.
    """
    known_by, folder = place_of(settings, bench, name, model, loss, loop, told, optimizer)
    job = Job(model, rows, loss, identity=known_by, plan=plan, collate=together, optimizer=optimizer)
    curves = train(job, loop, folder)
    model.cpu().eval()  # a run leaves it on a GPU where there is one; a run that is found does not
    return curves


def place_of(
    settings: BenchSettings,
    bench: str,
    name: str,
    model: nn.Module,
    loss: Any,
    loop: LoopSettings,
    told: Mapping[str, Any],
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
) -> tuple[dict[str, str], Path]:
    """What such an arm is known by, and its folder, be it there or not; once trained, `checkpoints.DONE` lies in it."""
    code = digest_of(model, loss, *((optimizer,) if optimizer else ()))
    known_by = {"arm": name, "told": json.dumps(told, sort_keys=True), "torch": torch.__version__, "code": code}
    digest = hashlib.sha256(json.dumps([known_by, asdict(loop)], sort_keys=True).encode()).hexdigest()[:12]
    return known_by, settings.cache / bench / f"{name}-{digest}"


def data_digest(*parts: Tensor | str) -> str:
    """A hash of tensors and texts: arms that learnt from others are other arms, be there as many of them."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            told, content = "text", part.encode("utf-8", "surrogatepass")
        else:
            told, content = f"{part.dtype} {tuple(part.shape)}", _bytes(part)
        digest.update(f"{told} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
