"""bench attention, tasks and likelihood: what sparse attention costs in answers.

tasks       RULER-style tasks (evaluation/ruler.py) under FlexPrefill and DHSA beside dense attention: share of the
            answers given, nats a token of the gold answer; on the tasks with several needles also static patterns,
            block top-k, random blocks and DHSA, all at FlexPrefill's density; a grid of needles by length and depth
pairs       the same tasks at more samples of 4k, 16k (with a grid of needles) and 32k, each a bench of its own of one
            to two hours; DHSA at 4k only
likelihood  perplexity of the last 512 tokens of long essays

Samples are read through lean layers, prompts under the method, answers exactly (DHSA's too). Cells are kept in the
bench's cache as they come: a stopped run goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from statistics import fmean

import torch

from foveal import __version__
from foveal.attention import (
    DHSA,
    AttentionMethod,
    BlockTopK,
    Dense,
    FlexPrefill,
    RandomBlocks,
    Report,
    Streaming,
    VerticalSlash,
    attach,
)
from foveal.bench.attention_models import PromptReader, cut
from foveal.bench.settings import BenchSettings
from foveal.evaluation.grid import Cell, Outcome, System, differences, run, summary, trade_off
from foveal.evaluation.likelihood import nats_per_token, paired, perplexity
from foveal.evaluation.ruler import TASKS, Sample, accuracy, answer_tokens, make
from foveal.evaluation.tables import Row
from foveal.models.key_values import cache_of

COUNTS = {4_096: 5, 8_192: 1}
"""Samples of each task by length, in a full run."""

MORE = {4_096: 23, 16_384: 5, 32_768: 2}
"""Samples of each task of `pairs` by length."""

DEPTH_SAMPLES = 10
TAIL = 512

PAIRS: Mapping[str, AttentionMethod] = {
    "dense": Dense(),
    "flexprefill@0.95": FlexPrefill(gamma=0.95),
    "dhsa@0.25": DHSA(density=0.25),
}
"""What reads every sample."""

LONG = {name: method for name, method in PAIRS.items() if not isinstance(method, DHSA)}
"""What reads those of `pairs` above 4k."""


def at_density(length: int, density: float) -> dict[str, AttentionMethod]:
    """Other methods at about `density` of the causal blocks of a prompt of `length` tokens."""
    size = 128
    row = density * length / 2  # tokens that a query sees on average
    half = max(size, round(row / size) * size // 2)
    methods: dict[str, AttentionMethod] = {
        "dhsa-equal": DHSA(density=1 - (1 - density) ** 0.5),  # a share of the keys, of which early queries have fewer
        "vertical-slash": VerticalSlash(half, half),
        "block-topk": BlockTopK(density),
        "streaming": Streaming(sinks=size, recent=max(size, round(row))),
        "random": RandomBlocks(density),
    }
    return {f"{name}@{density:.2f}": method for name, method in methods.items()}


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


def tasks(settings: BenchSettings) -> Iterator[Row]:
    """Rows of the tasks, then of the needles."""
    reader = PromptReader(settings)
    cells: list[Cell] = []
    for length, count in ({2_048: 1} if settings.quick else COUNTS).items():
        samples = _samples(reader, length, count)
        cells += _run(reader, PAIRS, samples)
        several = [sample for sample in samples if sample.task.startswith("niah_multi")]
        density = fmean(cell.density for cell in cells if cell.system == "flexprefill@0.95" and cell.length == length)
        cells += _run(reader, at_density(length, round(density, 2)), several)
    yield from _summed(cells)
    yield from _compared(cells)
    yield from _several(cells)
    pictures = settings.cache / "pictures"
    trade_off(cells, pictures / "attention-density.png", "density")
    trade_off(cells, pictures / "attention-seconds.png", "seconds")
    yield from grid(reader, (2_048,) if settings.quick else (2_048, 4_096, 8_192))
    yield from sparse_decoding(reader, 2_048 if settings.quick else 4_096)


def pairs(settings: BenchSettings) -> Iterator[Row]:
    """FlexPrefill and DHSA beside dense attention at 4k."""
    yield from _pairs(PromptReader(settings), 4_096, PAIRS)


def pairs_16k(settings: BenchSettings) -> Iterator[Row]:
    """FlexPrefill beside dense attention at 16k, and the needles there."""
    reader = PromptReader(settings)
    yield from _pairs(reader, 16_384, LONG)
    if not settings.quick:
        yield from grid(reader, (16_384,))
        yield from sparse_decoding(reader, 16_384)


def pairs_32k(settings: BenchSettings) -> Iterator[Row]:
    """FlexPrefill beside dense attention at 32k."""
    yield from _pairs(PromptReader(settings), 32_768, LONG)


def _pairs(reader: PromptReader, length: int, methods: Mapping[str, AttentionMethod]) -> Iterator[Row]:
    length, count = (2_048, 1) if reader.settings.quick else (length, MORE[length])
    cells = _run(reader, methods, _samples(reader, length, count))
    where = f"{length // 1024}k, "
    yield from _summed(cells, where)
    yield from _compared(cells, where)


def _run(reader: PromptReader, methods: Mapping[str, AttentionMethod], samples: Sequence[Sample]) -> list[Cell]:
    """Each sample under each method; cells that were made before by the same methods of the same model are kept."""
    cells: list[Cell] = []
    systems: dict[str, System] = {name: partial(answered, reader, method) for name, method in methods.items()}
    for sample in samples:  # method by method on each sample: a stopped run has compared them
        for name, system in systems.items():
            cells += run({name: system}, [sample], store=_store(reader, methods[name], sample.length))
    return cells


def _store(reader: PromptReader, method: AttentionMethod, length: int) -> Path:
    """Where the cells of a method lie: by all of its settings, the model, the version of this package, and the length.

    Benches of different lengths may run at once: none writes over another's cells.
    """
    whole = f"{method!r} {reader.model.fingerprint} {__version__} {length}"
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return reader.settings.cache / "attention-tasks" / f"{name}.jsonl"


def _samples(reader: PromptReader, length: int, count: int) -> list[Sample]:
    seed = reader.settings.seed
    return [
        sample
        for task in TASKS
        for sample in make(task, count, length, reader.count, haystack=reader.essays, seed=seed)
    ]


def _summed(cells: Sequence[Cell], where: str = "") -> Iterator[Row]:
    paired_cells = [cell for cell in cells if cell.system in PAIRS]
    for (method, setting), of in summary(paired_cells).items():
        name = f"{method}@{setting}" if setting else method
        note = f"{of.cells} samples; density {of.density:.3f}, {of.seconds:.1f} s a prompt"
        yield Row.of(f"tasks, {where}{name}", "accuracy", of.accuracy, note=note)
        if of.gold_nats is not None:
            yield Row.of(f"tasks, {where}{name}", "nats a token of the gold answer", of.gold_nats)


def _compared(cells: Sequence[Cell], where: str = "") -> Iterator[Row]:
    """Each sample under a method less the same under dense attention."""
    for name in dict.fromkeys(cell.system for cell in cells if cell.system in PAIRS and cell.system != "dense"):
        lost = paired(differences(cells, name, "dense"), seed=0)
        note = f"95 % of {lost.count} pairs: {lost.low:+.3f} to {lost.high:+.3f}"
        yield Row.of(f"tasks, {where}{name} less dense", "accuracy", lost.mean, at_least=-0.02, note=note)
        nats = paired(differences(cells, name, "dense", "gold_nats"), seed=0)
        note = f"95 %: {nats.low:+.3f} to {nats.high:+.3f}"
        yield Row.of(f"tasks, {where}{name} less dense", "nats a token", nats.mean, at_most=0.05, note=note)


def _several(cells: Sequence[Cell]) -> Iterator[Row]:
    """The tasks with several needles: every method at about one density."""
    many = [cell for cell in cells if cell.task.startswith("niah_multi")]
    found = {str(method): of for (method,), of in summary(many, by=("method",)).items()}
    for name, of in found.items():
        note = f"{of.cells} samples; density {of.density:.3f}, {of.seconds:.1f} s a prompt"
        nats = float("nan") if of.gold_nats is None else of.gold_nats
        yield Row.of(f"several needles, {name}", "accuracy", of.accuracy, note=note)
        yield Row.of(f"several needles, {name}", "nats a token of the gold answer", nats)
    for name in ("flexprefill", "dhsa-equal"):
        for other in ("random", "streaming", "vertical-slash", "block-topk"):
            ahead = found[name].accuracy - found[other].accuracy
            yield Row.of(f"several needles, {name} less {other}", "accuracy", ahead, at_least=0.0001)


def _needles(reader: PromptReader, length: int) -> list[Sample]:
    count = 4 if reader.settings.quick else DEPTH_SAMPLES
    seed = reader.settings.seed + 100
    return make("niah_single", count, length, reader.count, haystack=reader.essays, seed=seed)


def grid(reader: PromptReader, lengths: Sequence[int]) -> Iterator[Row]:
    """Of the needles that dense attention finds, the share that others do, at several places of each length."""
    methods: dict[str, AttentionMethod] = {
        "dense": Dense(),
        "flexprefill@0.95": FlexPrefill(gamma=0.95),
        "dhsa@1024": DHSA(budget=1024),
        "dhsa@1024-no-tail": DHSA(budget=1024, dense_tail=0),
        "streaming@1024": Streaming(sinks=128, recent=896),
    }
    cells: list[Cell] = []
    for length in lengths:
        cells += _run(reader, methods, _needles(reader, length))
    found = {cell.sample for cell in cells if cell.system == "dense" and cell.correct == 1}
    for name in methods:
        if name == "dense":
            continue
        mine = [cell.correct for cell in cells if cell.system == name and cell.sample in found]
        bars: Mapping[str, float] = {"at_least": 0.95} if "no-tail" not in name else {}
        if "streaming" in name:  # it must be seen to fail: else the needles are no test
            bars = {"at_most": 0.8}
        where = ", ".join(f"{length // 1024}k" for length in lengths)
        note = f"{where}: {len(mine)} needles that dense attention finds, of {len(cells) // len(methods)}"
        yield Row.of(f"needles, {name}", "share of dense's", fmean(mine) if mine else float("nan"), note=note, **bars)


def sparse_decoding(reader: PromptReader, length: int) -> Iterator[Row]:
    """Answers decoded over 1,024 keys beside those decoded over all, behind the same prompt, read by DHSA."""
    same = []
    takes = signature(type(reader.model.model).forward).parameters
    cache_name = "cache" if "cache" in takes else "past_key_values"  # up to transformers 5.20
    for sample in _needles(reader, length):
        ids = reader.model.encode(sample.prompt)
        prompt = reader.read(ids[:-1], DHSA(budget=1024))
        told = []
        for sparse in (False, True):
            method = DHSA(budget=1024, sparse_decode=sparse)
            with torch.inference_mode(), attach(reader.model.model, method, report=Report(rows=0)):
                out = reader.model.model.generate(
                    torch.tensor([ids]),
                    **{cache_name: cache_of(prompt.layers)},
                    max_new_tokens=12,
                    do_sample=False,
                    pad_token_id=reader.model.stop_ids[0],
                )
            told.append(out[0, len(ids) :].tolist())
            cut(prompt, len(ids) - 1)
        same.append(told[0] == told[1])
    note = f"{len(same)} needles, greedy, 12 tokens each"
    name = f"DHSA, decoding over 1,024 keys of {length // 1024}k"
    yield Row.of(name, "share of answers that stay the same", fmean(same), at_least=0.9, note=note)


def likelihoods(settings: BenchSettings) -> Iterator[Row]:
    """Perplexity of what follows a long text, over that under dense attention."""
    reader = PromptReader(settings)
    lengths = (4_096,) if settings.quick else (8_192, 16_384)
    methods: dict[str, tuple[AttentionMethod, float | None]] = {
        "FlexPrefill, gamma 0.95": (FlexPrefill(gamma=0.95), 1.01),
        "FlexPrefill, gamma 0.9": (FlexPrefill(gamma=0.9), 1.05),
        "DHSA, a quarter of the keys": (DHSA(density=0.25), None),
    }
    for length in lengths:
        starts = range(0, (1 if settings.quick else 3) * length, length)
        ids = reader.tokens(starts[-1] + length)
        texts = [ids[start : start + length] for start in starts]
        base = _perplexity(reader, texts, Dense())
        yield Row.of(f"dense, {length // 1024}k", "perplexity", base, note=f"last {TAIL} tokens of {len(texts)} texts")
        for name, (method, most) in methods.items():
            value = _perplexity(reader, texts, method) / base
            yield Row.of(f"{name}, {length // 1024}k", "perplexity / dense", value, at_most=most)


def _perplexity(reader: PromptReader, texts: Sequence[list[int]], method: AttentionMethod) -> float:
    sums = []
    for ids in texts:
        prompt = reader.read(ids[:-TAIL], method)
        sums.append(float(reader.log_probabilities(prompt, ids[-TAIL:]).sum()))
    return perplexity(sums, [TAIL] * len(sums))
