"""What the attention benches share: a real model, real text, and a prompt read under a method.

reader = PromptReader(settings)                    # the offline model, or another by name
reader.read(ids, method) -> Prompted               # logits, keys and values, what was looked at, seconds
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from foveal.attention import DHSA, AttentionMethod, Context, Report
from foveal.attention.dhsa import shipped_predictor
from foveal.attention.prefill import prefill
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.models.decode_step import DecodeStep
from foveal.models.key_values import KeyValues
from foveal.models.language import LanguageModel, load_language_model

QWEN, GEMMA = "qwen2.5-coder-0.5b", "gemma3-270m"


@dataclass(frozen=True)
class Prompted:
    """A prompt that was read."""

    logits: Tensor  # (1, vocabulary), of its last token
    layers: list[KeyValues]
    report: Report
    seconds: float


@dataclass
class PromptReader:
    """A model over its lean layers."""

    settings: BenchSettings
    model_name: str = QWEN
    _texts: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def model(self) -> LanguageModel:
        """The model."""
        return load_language_model(self.model_name)

    @cached_property
    def step(self) -> DecodeStep:
        """Its decoding step."""
        return DecodeStep(self.model.model)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.model.encode(text))

    @cached_property
    def essays(self) -> list[str]:
        """The essays, the longest first."""
        return sorted(self.settings.essays(), key=len, reverse=True)

    def tokens(self, length: int) -> list[int]:
        """The first tokens of the essays, the longest first."""
        ids = list(self.model.tokenizer("").input_ids)  # what the model expects before any text
        for text in self.essays:
            ids += self.model.encode(text)
            if len(ids) >= length:
                return ids[:length]
        raise InputError(f"The essays have {len(ids):,} tokens, {length:,} were asked for.")

    def read(
        self, ids: Sequence[int], method: AttentionMethod | None = None, *, report: Report | None = None
    ) -> Prompted:
        """Read a prompt under `method`; None: dense. DHSA cuts as `shipped` says."""
        report = Report(rows=0) if report is None else report
        method = shipped(method, self.model.model.config)
        layers = [KeyValues() for _ in range(self.model.model.config.num_hidden_layers)]
        begun = time.perf_counter()
        logits = prefill(self.model.model, torch.tensor([list(ids)]), layers, method=method, report=report)
        return Prompted(logits, layers, report, time.perf_counter() - begun)

    @torch.inference_mode()
    def log_probabilities(self, prompt: Prompted, ids: Sequence[int]) -> Tensor:
        """The natural-log probability of each of `ids` behind the prompt (N,); the prompt is left as it was."""
        length = prompt.layers[0].length
        logits = self._before_each(prompt, ids)
        cut(prompt, length)
        told: Tensor = logits.float().log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        return told

    @torch.inference_mode()
    def continued(
        self,
        prompt: Prompted,
        most: int,
        *,
        expected: Sequence[int] = (),
        enough: Callable[[str], bool] = lambda _: False,
    ) -> str:
        """The likeliest continuation, up to `most` tokens, a stop token or the end of a line, or until it is `enough`.

        What it begins with of the `expected` tokens takes one pass; where it has all of them, it ends with them.
        """
        logits, ids, length = prompt.logits, list[int](), prompt.layers[0].length
        if expected:
            before = self._before_each(prompt, expected)
            same = before.argmax(-1) == torch.tensor(expected)
            ids += expected[: len(expected) if same.all() else int(same.int().argmin())]
            logits = before[min(len(ids), len(expected) - 1)][None]
        whole = bool(expected) and len(ids) == len(expected)
        while not whole and len(ids) < most and not enough(self.model.tokenizer.decode(ids)):
            token = int(logits[-1].argmax())
            if token in self.model.stop_ids or (ids and "\n" in self.model.tokenizer.decode([token])):
                break
            ids.append(token)
            for layer in prompt.layers:
                layer.reserve(length + len(ids))
            logits = self.step(torch.tensor([[token]]), prompt.layers, [length + len(ids) - 1])[0]
        cut(prompt, length)
        return str(self.model.tokenizer.decode(ids))

    def _before_each(self, prompt: Prompted, ids: Sequence[int]) -> Tensor:
        """The logits (N, vocabulary) that each of `ids` is chosen by; keys of all but the last join the prompt's."""
        length = prompt.layers[0].length
        for layer in prompt.layers:
            layer.reserve(length + len(ids))
        if len(ids) == 1:
            return prompt.logits
        more = self.step(torch.tensor([list(ids[:-1])]), prompt.layers, [length])
        return torch.cat([prompt.logits, more[0]])


Method = TypeVar("Method", bound=AttentionMethod | None)


def shipped(method: Method, config: Any) -> Method:
    """A method that, if it is DHSA, cuts by the predictor that is shipped for a model, whatever was trained here."""
    if isinstance(method, DHSA) and method.boundaries == "predicted" and not (method.predictor or method.starts):
        return replace(method, predictor=shipped_predictor(config))
    return method


def cut(prompt: Prompted, length: int) -> None:
    """Forget what stands behind the first `length` tokens."""
    for layer in prompt.layers:
        layer.length = length


class Capture:
    """An `AttentionMethod` that leaves attention dense and keeps the queries, keys and values of some layers."""

    def __init__(self, layers: Sequence[int]) -> None:
        """Keep those of `layers`."""
        self.layers = frozenset(layers)
        self.kept: dict[int, tuple[Tensor, Tensor, Context]] = {}
        self.values: dict[int, Tensor] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> None:
        """Keep; dense attention goes on."""
        if context.layer in self.layers:
            self.values[context.layer] = value.clone()
            self.kept[context.layer] = query.clone(), key.clone(), context

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own attention."""


def block_mass(query: Tensor, key: Tensor, scale: float, *, rows: int, columns: int) -> Tensor:
    """True attention by blocks: the mean over a block's queries of their mass in each key block (H, R, C)."""
    group, length = query.shape[1] // key.shape[1], query.shape[2]
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    mass = []
    for head in range(query.shape[1]):
        scores = query[0, head].float() @ key[0, head // group].float().T * scale
        weights = scores.masked_fill_(hidden, -torch.inf).softmax(-1)
        by_key = weights.view(length, length // columns, columns).sum(-1)
        mass.append(by_key.view(length // rows, rows, -1).mean(1))
    return torch.stack(mass)


_RESIDENT = """
import json, sys
from pathlib import Path

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
"""


def peak_of(script: str, given: object) -> tuple[int, int]:
    """The most bytes that a process of its own held, and those with the model loaded: Linux alone tells them.

    `script` reads `given` from its standard input, and prints [resident("VmHWM:"), what was resident before] as JSON.
    InputError: it ends otherwise than with 0.
    """
    told = subprocess.run(
        [sys.executable, "-c", _RESIDENT + script], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise InputError(f"A process of the bench ended with {told.returncode}: {told.stderr.strip()[-500:]}")
    peak, loaded = json.loads(told.stdout.splitlines()[-1])
    return int(peak), int(loaded)
