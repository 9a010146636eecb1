"""bench attention, tasks and likelihood: what sparse attention costs in answers.

tasks       RULER-style tasks (evaluation/ruler.py) under FlexPrefill and DHSA beside dense attention: share of the
            answers given, nats a token of the gold answer; on the tasks with several needles also static patterns,
            block top-k, random blocks and DHSA, all at FlexPrefill's density (attention_matched.py); needles by
            length and depth (attention_needles.py)
pairs       the same tasks at more samples of 4k, 16k (with needles, and static columns and diagonals in FlexPrefill's
            time) and 32k, each a bench of its own of one to two hours; DHSA at 4k only
likelihood  perplexity of the last 512 tokens of long essays and of code

Samples are read through lean layers, prompts under the method, answers exactly (DHSA's too). Cells are kept in the
bench's cache as they come: a stopped run goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from statistics import fmean

from foveal.attention import DHSA, AttentionMethod, Dense, FlexPrefill
from foveal.bench.attention_cells import measured, samples_of
from foveal.bench.attention_matched import at_density, looks
from foveal.bench.attention_models import PromptReader
from foveal.bench.attention_needles import grid, sentence, sparse_decoding
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.grid import Cell, differences, summary, trade_off
from foveal.evaluation.likelihood import paired, perplexity
from foveal.evaluation.ruler import TASKS, Sample
from foveal.evaluation.speed import Ratio
from foveal.evaluation.speed import paired as paired_times
from foveal.evaluation.tables import Row

COUNTS = {4_096: 5, 8_192: 1}
"""Samples of each task by length, in a full run."""

MORE = {4_096: 23, 16_384: 5, 32_768: 2}
"""Samples of each task of `pairs` by length."""

QUICK = 3_072
"""Tokens of the quick run: FlexPrefill reads shorter prompts densely."""

MORE_DENSITY = 0.2
"""By how much more of the blocks static patterns are tried at, to see what FlexPrefill's answers cost them."""

SEVERAL = "niah_multi"
"""How the tasks with several needles begin."""

STATIC = ("random", "streaming", "vertical-slash", "block-topk", "block-topk-tail", "random-tail")
OURS = ("flexprefill", "dhsa-equal", "dhsa-blocks")
"""What chooses for each prompt, and must be ahead of these."""

TAIL = 512
CODE = ("argparse", "inspect", "typing", "doctest", "pdb", "tarfile", "zipfile", "subprocess", "logging", "turtle")

PAIRS: Mapping[str, AttentionMethod] = {
    "dense": Dense(),
    "flexprefill@0.95": FlexPrefill(gamma=0.95),
    "dhsa@0.25": DHSA(density=0.25),
}
"""What reads every sample."""

LONG = {name: method for name, method in PAIRS.items() if not isinstance(method, DHSA)}
"""What reads those of `pairs` above 4k."""


def tasks(settings: BenchSettings) -> Iterator[Row]:
    """Rows of the tasks, then of the needles."""
    reader = PromptReader(settings)
    cells: list[Cell] = []
    matched: dict[int, float] = {}
    for length, count in ({QUICK: 1} if settings.quick else COUNTS).items():
        samples = samples_of(reader, length, count)
        cells += measured(reader, PAIRS, samples)
        several = [sample for sample in samples if sample.task.startswith(SEVERAL)]
        matched[length] = density = _taken(cells, length)
        seen = looks(reader, reader.model.encode(several[0].prompt))
        cells += measured(reader, at_density(seen, density), several)
    yield from _summed(cells)
    yield from _compared(cells)
    yield from _several(cells, matched)
    pictures = settings.cache / "pictures"
    alike = [cell for cell in cells if cell.task.startswith(SEVERAL) and cell.length == min(matched)]  # asked of all
    trade_off(alike, pictures / "attention-density.png", "density")
    trade_off(alike, pictures / "attention-seconds.png", "seconds")
    lengths = (QUICK,) if settings.quick else (2_048, 4_096, 8_192)
    yield from grid(reader, lengths)
    yield from sentence(reader, lengths)
    yield from sparse_decoding(reader, QUICK if settings.quick else 4_096)


def pairs(settings: BenchSettings) -> Iterator[Row]:
    """FlexPrefill and DHSA beside dense attention at 4k."""
    yield from _pairs(PromptReader(settings), 4_096, PAIRS)


def pairs_16k(settings: BenchSettings) -> Iterator[Row]:
    """FlexPrefill beside dense attention and static columns and diagonals at 16k, and the needles there."""
    reader = PromptReader(settings)
    yield from _pairs(reader, 16_384, LONG)
    yield from _beside_static(reader, QUICK if settings.quick else 16_384)
    if not settings.quick:
        yield from grid(reader, (16_384,))


def sentence_16k(settings: BenchSettings) -> Iterator[Row]:
    """DHSA over 1,024 keys of 16k: a sentence at ten depths, and needles whose answers are decoded over as many."""
    reader = PromptReader(settings)
    length = QUICK if settings.quick else 16_384
    yield from sentence(reader, (length,))
    yield from sparse_decoding(reader, length)


def pairs_32k(settings: BenchSettings) -> Iterator[Row]:
    """FlexPrefill beside dense attention at 32k."""
    yield from _pairs(PromptReader(settings), 32_768, LONG)


def _pairs(reader: PromptReader, length: int, methods: Mapping[str, AttentionMethod]) -> Iterator[Row]:
    length, count = (QUICK, 1) if reader.settings.quick else (length, MORE[length])
    cells = measured(reader, methods, samples_of(reader, length, count))
    where = f"{length // 1024}k, "
    yield from _summed(cells, where)
    yield from _compared(cells, where)


def _taken(cells: Sequence[Cell], length: int) -> float:
    """FlexPrefill's density in the tasks with several needles."""
    several = (cell for cell in cells if cell.length == length and cell.task.startswith(SEVERAL))
    return round(fmean(cell.density for cell in several if cell.system == "flexprefill@0.95"), 2)


def _beside_static(reader: PromptReader, length: int) -> Iterator[Row]:
    """What adapting is worth: the answers of static columns and diagonals in FlexPrefill's time, and their time for its
    answers, in the tasks with several needles."""
    names = [task for task in TASKS if task.startswith(SEVERAL)]
    samples = samples_of(reader, length, 1 if reader.settings.quick else MORE[16_384], names)
    cells = measured(reader, LONG, samples)
    seen = looks(reader, reader.model.encode(samples[0].prompt))
    taken = _taken(cells, length)
    same = at_density(seen, taken, ["vertical-slash"])
    more = at_density(seen, min(0.95, taken + MORE_DENSITY), ["vertical-slash"])
    cells += measured(reader, same | more, samples)
    of = {f"{name}@{setting}": one for (name, setting), one in summary(cells).items()}
    ours, [alike], [denser] = of["flexprefill@0.95"], same, more
    where = f"several needles, {length // 1024}k"
    for name in ("flexprefill@0.95", alike, denser):
        note = f"density {of[name].density:.3f}, {of[name].seconds:.1f} s a prompt, {of[name].cells} samples"
        yield Row.of(f"{where}, {name}", "accuracy", of[name].accuracy, note=note)
    ahead = ours.accuracy - of[alike].accuracy
    yield Row.of(f"{where}, flexprefill less vertical-slash", "accuracy, same density", ahead, at_least=0.0001)
    reach = next((name for name in (alike, denser) if of[name].accuracy >= ours.accuracy - 0.01), denser)
    ratio = _in_turn(reader, LONG["flexprefill@0.95"], (same | more)[reach], samples[0])
    note = f"its accuracy {of[reach].accuracy:.3f} against {ours.accuracy:.3f}; {ratio}"
    yield Row.of(
        f"{where}, vertical-slash / flexprefill", "seconds, same answers", ratio.median, at_least=1.0, note=note
    )


def _in_turn(reader: PromptReader, ours: AttentionMethod, other: AttentionMethod, sample: Sample) -> Ratio:
    """How many times as long as ours another method reads a prompt, now: kept cells are of other days and loads."""
    ids = reader.model.encode(sample.prompt)
    return paired_times(lambda: reader.read(ids, other), lambda: reader.read(ids, ours), runs=3)


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


def _several(cells: Sequence[Cell], matched: Mapping[int, float]) -> Iterator[Row]:
    """The tasks with several needles: every method at one density."""
    many = [cell for cell in cells if cell.task.startswith(SEVERAL)]
    found = {str(method): of for (method,), of in summary(many, by=("method",)).items()}
    for name, of in found.items():
        note = f"{of.cells} samples; density {of.density:.3f}, {of.seconds:.1f} s a prompt"
        nats = float("nan") if of.gold_nats is None else of.gold_nats
        yield Row.of(f"several needles, {name}", "accuracy", of.accuracy, note=note)
        yield Row.of(f"several needles, {name}", "nats a token of the gold answer", nats)
    for name in (*OURS[1:], *STATIC):
        off = max((_density(many, name, length) - density for length, density in matched.items()), key=abs)
        yield Row.of(f"several needles, {name}", "density, less FlexPrefill's", off, at_least=-0.03, at_most=0.03)
    for name in OURS:
        for other in STATIC:
            ahead = found[name].accuracy - found[other].accuracy
            yield Row.of(f"several needles, {name} less {other}", "accuracy", ahead, at_least=0.0001)
    for other in ("block-topk", "block-topk-tail"):
        above = found["dhsa-equal"].accuracy / max(1e-9, found[other].accuracy) - 1
        note = "the paper says .06 to .18"
        yield Row.of(f"several needles, dhsa-equal over {other}", "accuracy, relative", above, note=note)


def _density(cells: Sequence[Cell], method: str, length: int) -> float:
    return fmean(cell.density for cell in cells if cell.system.startswith(f"{method}@") and cell.length == length)


def likelihoods(settings: BenchSettings) -> Iterator[Row]:
    """Perplexity of what follows a long text, essays and code, over that under dense attention."""
    reader = PromptReader(settings)
    methods: dict[str, tuple[AttentionMethod, float | None]] = {
        "FlexPrefill, gamma 0.95": (FlexPrefill(gamma=0.95), 1.01),
        "FlexPrefill, gamma 0.9": (FlexPrefill(gamma=0.9), 1.01),
        "DHSA, a quarter of the keys": (DHSA(density=0.25), None),
    }
    for length in (4_096,) if settings.quick else (8_192, 16_384):
        count = 1 if settings.quick else 3
        kinds = {"essays": reader.tokens(count * length), "code": _code(reader, count * length)}
        for kind, ids in kinds.items():
            texts = [ids[start : start + length] for start in range(0, count * length, length)]
            base = _perplexity(reader, texts, Dense())
            where = f"{kind}, {length // 1024}k"
            yield Row.of(f"dense, {where}", "perplexity", base, note=f"last {TAIL} tokens of {len(texts)} texts")
            for name, (method, most) in methods.items():
                value = _perplexity(reader, texts, method) / base
                yield Row.of(f"{name}, {where}", "perplexity / dense", value, at_most=most)


def _code(reader: PromptReader, length: int) -> list[int]:
    """The first tokens of modules of Python's own library."""
    ids: list[int] = []
    for name in CODE:
        ids += reader.model.encode(inspect.getsource(import_module(name)))
        if len(ids) >= length:
            return ids[:length]
    raise InputError(f"Python's modules {', '.join(CODE)} have {len(ids):,} tokens, {length:,} were asked for.")


def _perplexity(reader: PromptReader, texts: Sequence[list[int]], method: AttentionMethod) -> float:
    sums = []
    for ids in texts:
        prompt = reader.read(ids[:-TAIL], method)
        sums.append(float(reader.log_probabilities(prompt, ids[-TAIL:]).sum()))
    return perplexity(sums, [TAIL] * len(sums))
