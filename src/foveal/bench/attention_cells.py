"""bench attention, what its tasks share: samples, answers under a method, and cells that are kept as they come.

    cells = measured(reader, {"dense": Dense(), "flexprefill@0.95": FlexPrefill()}, samples_of(reader, 4096, 5))

A cell is a sample answered under a method (evaluation/grid.py). It is known by all that made it: the method's settings
and the predictor that it cuts by, the model, the length, and the code that asked, chose and looked. A bench that was
stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from foveal.attention import AttentionMethod
from foveal.bench.attention_models import PromptReader, shipped
from foveal.bench.code import code_digest, native_digest
from foveal.bench.trained_arms import data_digest
from foveal.evaluation.grid import Cell, Outcome, System, run
from foveal.evaluation.likelihood import nats_per_token
from foveal.evaluation.ruler import TASKS, Sample, accuracy, answer_tokens, make

LOOKING = ("foveal.attention.prefill", "foveal.attention.patterns")
"""What every method's cells depend on, besides the method's own module; and what these import of their package."""

ANSWERING = ("foveal.models.language", "foveal.models.decode_step")
JUDGING = (
    *(__name__, "foveal.bench.attention_models"),
    *(f"foveal.evaluation.{one}" for one in ("grid", "likelihood", "ruler")),
)
COMPILED = (
    *(f"attention/native/{one}.cpp" for one in ("block_attention", "last_masses", "nearest_attention")),
    *(f"models/native/{one}.cpp" for one in ("byte_products", "half_products")),
)
"""Sources of the products and the attention that are not Python."""


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
    code = (
        code_digest(type(method).__module__, *LOOKING, within="foveal.attention"),
        code_digest(*ANSWERING, within="foveal.models"),
        code_digest(*JUDGING),
        native_digest(*COMPILED),
    )
    model = f"{reader.model.fingerprint} {reader.model.dtype}"
    whole = f"{method!r} {_cut_by(reader, method)} {model} {' '.join(code)} {length}"
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return reader.settings.cache / "attention-tasks" / f"{name}.jsonl"


def _cut_by(reader: PromptReader, method: AttentionMethod) -> str:
    """A hash of the predictor that DHSA cuts by: its file may be another, and `repr` tells no weights."""
    predictor = getattr(shipped(method, reader.model.model.config), "predictor", None)
    if predictor is None:
        return ""
    weights = predictor.state_dict()
    return data_digest(json.dumps([predictor.settings, list(weights)]), *(one.cpu() for one in weights.values()))


def samples_of(reader: PromptReader, length: int, count: int, tasks: Sequence[str] = tuple(TASKS)) -> list[Sample]:
    """`count` samples of each task."""
    seed = reader.settings.seed
    return [
        sample
        for task in tasks
        for sample in make(task, count, length, reader.count, haystack=reader.essays, seed=seed)
    ]
