"""bench attention, what its tasks share: samples, answers under a method, and cells that are kept as they come.

    cells = measured(reader, {"dense": Dense(), "flexprefill@0.95": FlexPrefill()}, samples_of(reader, 4096, 5))

A cell is a sample answered under a method (evaluation/grid.py). It is known by all that made it: the method's settings,
the model, the length, and the code that chose and looked. A bench that was stopped goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from foveal.attention import AttentionMethod
from foveal.bench.attention_models import PromptReader
from foveal.bench.code import code_digest
from foveal.evaluation.grid import Cell, Outcome, System, run
from foveal.evaluation.likelihood import nats_per_token
from foveal.evaluation.ruler import TASKS, Sample, accuracy, answer_tokens, make

LOOKING = (
    *("blocks", "dense", "estimates", "kernel", "method", "prefill", "patterns"),
    *("boundaries", "boundary_encoders", "chunks"),  # by which DHSA cuts and scores
)
"""Modules of `foveal.attention` that every method's cells depend on."""


def answered(reader: PromptReader, method: AttentionMethod, sample: Sample) -> Outcome:
    """Read a sample's prompt under `method` and answer, in no more than twice the room of the gold answer.

    What would follow behind the gold answer, or behind the last of all answers, is not decoded.
    """
    ids = reader.model.encode(sample.prompt)
    prompt = reader.read(ids, method)
    gold = reader.model.encode(" " + sample.gold.strip())
    nats = nats_per_token(reader.log_probabilities(prompt, gold))
    most = min(answer_tokens(sample.task), 2 * len(gold) + 16)
    text = reader.continued(prompt, most, expected=gold, enough=partial(_complete, sample))
    return Outcome(text, nats, prompt.report.density, prompt.seconds)


def _complete(sample: Sample, text: str) -> bool:
    """Whether no more text can make the answer better: all answers are given, and the last word has ended."""
    return bool(text) and not text[-1].isalnum() and accuracy(text, sample) == 1


def measured(reader: PromptReader, methods: Mapping[str, AttentionMethod], samples: Sequence[Sample]) -> list[Cell]:
    """Each sample under each method, method by method on each sample: a stopped run has compared them."""
    cells: list[Cell] = []
    systems: dict[str, System] = {name: partial(answered, reader, method) for name, method in methods.items()}
    for sample in samples:
        for name, system in systems.items():
            cells += run({name: system}, [sample], store=store_of(reader, methods[name], sample.length))
    return cells


def store_of(reader: PromptReader, method: AttentionMethod, length: int) -> Path:
    """Where the cells of a method lie. Benches of different lengths may run at once: none writes over another's."""
    looking = (f"foveal.attention.{one}" for one in LOOKING)
    code = code_digest(type(method).__module__, __name__, *looking)
    whole = f"{method!r} {reader.model.fingerprint} {code} {length}"
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return reader.settings.cache / "attention-tasks" / f"{name}.jsonl"


def samples_of(reader: PromptReader, length: int, count: int, tasks: Sequence[str] = tuple(TASKS)) -> list[Sample]:
    """`count` samples of each task."""
    seed = reader.settings.seed
    return [
        sample
        for task in tasks
        for sample in make(task, count, length, reader.count, haystack=reader.essays, seed=seed)
    ]
