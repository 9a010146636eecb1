"""bench read, peer: the published package infini-retri 0.0.3, in processes of its own, beside `Published` and the
reader.

kept      the sentences kept in each window: Jaccard of `Published`'s and the package's, by a window's place
rate      tokens of text a second, in turn on the same text; the package finds and does not answer, as ours do
memory    the largest resident size of a process that loads the model and reads one window of 4,096 tokens; the note
          has what it is above imports and weights

The package gets the model that ours get, by transformers with attn_implementation="eager", in the same dtype. It runs
under transformers 5 as it is; only its call of `generate` is cut off, and what it prints goes to stderr. Nothing here
depends on it: it may lie in a folder of its own that PYTHONPATH names. At a window of 4,096 tokens it takes 14 GB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import fmean, median
from typing import Any

from foveal.bench.readers import Bench
from foveal.errors import InputError
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel, load_language_model
from foveal.reading.published import Published, WindowKept

Ask = Callable[..., dict[str, Any]]
"""Sends a line of JSON to a process and gives its answer."""

NEEDED = ("infini_retri", "scipy", "seaborn", "tiktoken", "matplotlib")
INSTALL = "not run: pip install infini-retri==0.0.3 scipy seaborn tiktoken matplotlib"
QUESTIONS = ("What happens when an attribute is not found?", "Why do most people never start a company?")
SMALL, LARGE = 1024, 4096
TOKENS = 960
"""Of a text, for each window of 1,024: the package counts one more for each sentence."""

ONE_LARGE = 3_800
"""Tokens of a text that is one window of 4,096 to the package."""

FASTER = {(SMALL, "reader"): 8.0, (LARGE, "reader"): 12.0, (SMALL, "Published"): 4.0, (LARGE, "Published"): 4.0}
"""Times as many tokens a second as the package, by window and system."""

MEMORY = 0.2
"""Share of the package's memory."""

SPEED_METRIC, KEPT_METRIC, MEMORY_METRIC = "tokens/s, ratio", "kept sentences, Jaccard", "peak memory, ratio"


def peer(bench: Bench) -> Iterator[Row]:
    """All rows of this module."""
    if any(find_spec(module) is None for module in NEEDED):
        yield from _not_run()
        return
    quick = bench.settings.quick
    text, questions = bench.haystack(TOKENS * (2 if quick else 4)), QUESTIONS[: 1 if quick else 2]
    yield from same_in_float32(bench, text, questions)
    yield from small_windows(bench, text, questions)
    yield from large_window(bench, questions[0])


def _not_run() -> Iterator[Row]:
    for dtype in ("float32", "the reader's dtype"):
        yield Row.of(f"Published / infini-retri, {dtype}", KEPT_METRIC, float("nan"), note=INSTALL)
    for window, system in FASTER:
        yield Row.of(_pair(system, window), SPEED_METRIC, float("nan"), note=INSTALL)
    for system in ("reader", "Published"):
        yield Row.of(_pair(system, LARGE), MEMORY_METRIC, float("nan"), note=INSTALL)


def same_in_float32(bench: Bench, text: str, questions: Sequence[str]) -> Iterator[Row]:
    """The same sentences, to the last: nothing but the order of additions differs."""
    model = load_language_model(bench.model_name, dtype="float32")
    with package_with(model) as package:
        theirs = [package.read(text, question, SMALL).kept for question in questions]
    yield _kept_row(model, text, dict(zip(questions, theirs, strict=True)), at_least=1.0)


def small_windows(bench: Bench, text: str, questions: Sequence[str]) -> Iterator[Row]:
    """Tokens a second and kept sentences in the dtype that the reader uses."""
    with package_with(bench.model) as package:
        turns = _in_turn(bench, package, text, questions[0], SMALL, runs=1 if bench.settings.quick else 3)
        theirs = {question: package.read(text, question, SMALL).kept for question in questions[1:]}
    yield from turns.rows(SMALL)
    yield _kept_row(bench.model, text, {questions[0]: turns.theirs[-1].kept, **theirs}, at_least=0.95)


def large_window(bench: Bench, question: str) -> Iterator[Row]:
    """One window of 4,096 tokens: tokens a second, and memory, each system in a new process."""
    text = bench.haystack(ONE_LARGE)
    with package_with(bench.model) as package:
        turns = _in_turn(bench, package, text, question, LARGE, runs=1 if bench.settings.quick else 3)
        theirs = package.memory()
    yield from turns.rows(LARGE)
    for system in turns.ours:
        with _process(_OURS, bench.model_name, _dtype(bench.model), system) as ask:
            ask(text=text, question=question, window=LARGE)
            ours = Memory(**ask())
        note = f"{ours.peak / 2**30:.2f} GiB of {theirs.peak / 2**30:.1f}; above imports and weights "
        note += f"{ours.above / 2**30:.2f} of {theirs.above / 2**30:.1f}, {ours.above / theirs.above:.3f} of it"
        yield Row.of(_pair(system, LARGE), MEMORY_METRIC, ours.peak / theirs.peak, at_most=MEMORY, note=note)


# -- kept sentences --------------------------------------------------------------------------------------------------


def _kept_row(model: LanguageModel, text: str, theirs: Mapping[str, list[list[str]]], *, at_least: float) -> Row:
    """`theirs`: for each question, what was kept after each window."""
    shares = []
    for question, found in theirs.items():
        ours = list(Published(model).windows(text, question, window_length=SMALL))
        if len(ours) != len(found):
            raise InputError(f"Published read {len(ours)} windows and the package {len(found)}, of one text.")
        shares += [_jaccard(own, their) for own, their in zip(ours, found, strict=True)]
    note = f"mean of {len(shares)} windows; the least {min(shares):.3f}"
    return Row.of(
        f"Published / infini-retri, {_dtype(model)}", KEPT_METRIC, fmean(shares), at_least=at_least, note=note
    )


def _jaccard(ours: WindowKept, theirs: Sequence[str]) -> float:
    """Of two sets of sentences; the package has them as the tokenizer writes them, which is composed (NFC)."""
    own, their = ({unicodedata.normalize("NFC", text) for text in texts} for texts in (_texts(ours), theirs))
    return len(own & their) / len(own | their)


def _texts(window: WindowKept) -> list[str]:
    return [sentence.text for sentence in window.sentences]


# -- tokens a second -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Turns:
    """Readings of one text by the package, each followed by the seconds of ours."""

    tokens: int
    theirs: list[PackageReading]
    ours: dict[str, list[float]]

    def rows(self, window: int) -> Iterator[Row]:
        """Times as many tokens a second as the package."""
        seconds = [reading.seconds for reading in self.theirs]
        for system, own in self.ours.items():
            ratios = [their / mine for their, mine in zip(seconds, own, strict=True)]
            note = f"{self.tokens / median(own):,.0f} tokens/s against {self.tokens / median(seconds):,.0f}; "
            note += f"{min(ratios):.2f} to {max(ratios):.2f}; package's windows: {len(self.theirs[0].kept)}"
            bar = FASTER[window, system]
            yield Row.of(_pair(system, window), SPEED_METRIC, median(ratios), at_least=bar, note=note)


def _in_turn(bench: Bench, package: Package, text: str, question: str, window: int, *, runs: int) -> _Turns:
    """The package, the reader and `Published`, `runs` times in this order.

    Ours go once untimed before; the package has been through a forward pass, and a whole reading costs it a minute.
    """
    published = Published(bench.model, window_length=window)
    systems: dict[str, Callable[[], object]] = {
        "reader": lambda: bench.reader.retrieve(text, question),
        "Published": lambda: list(published.windows(text, question)),
    }
    for run in systems.values():
        run()
    theirs: list[PackageReading] = []
    ours: dict[str, list[float]] = {system: [] for system in systems}
    for _ in range(runs):
        theirs.append(package.read(text, question, window))
        for system, run in systems.items():
            start = time.perf_counter()
            run()
            ours[system].append(time.perf_counter() - start)
    return _Turns(bench.count(text), theirs, ours)


def _pair(system: str, window: int) -> str:
    return f"{system} / infini-retri, window {window:,}"


def _dtype(model: LanguageModel) -> str:
    return str(model.dtype).removeprefix("torch.")


# -- processes -------------------------------------------------------------------------------------------------------

_MEMORY = """
import json, resource, sys
from pathlib import Path

def resident(name):  # of this program alone: what getrusage has may be its parent's
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def serve(read):
    answers, sys.stdout = sys.stdout, sys.stderr
    loaded = resident("VmRSS:")
    for line in sys.stdin:
        asked = json.loads(line)
        told = read(**asked) if asked else {"loaded": loaded, "peak": resident("VmHWM:")}
        print(json.dumps(told), file=answers, flush=True)
"""

_THEIRS = f"""{_MEMORY}
import time
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from infini_retri import InfiniRetri

folder, dtype, device = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    folder, attn_implementation="eager", dtype=getattr(torch, dtype), local_files_only=True
).to(device).eval()
tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
with torch.inference_mode():
    model(input_ids=torch.tensor([[0, 1, 2]], device=device))  # weights are mapped: now they are in memory
model.generate = lambda **asked: asked["input_ids"]
package = InfiniRetri(model, tokenizer)
retrieval = package.ir.retri
focus, kept = retrieval.focus_key_sentence, []

def watched(*args, **named):
    found = focus(*args, **named)
    kept.append([tokenizer.decode(ids) for ids in found[2]])
    return found

def read(text, question, window):
    kept.clear()
    start = time.perf_counter()
    package.generate(text, question, window_length=window)
    return {{"seconds": time.perf_counter() - start, "kept": kept}}

retrieval.focus_key_sentence = watched
serve(read)
"""

_OURS = f"""{_MEMORY}
import torch
from foveal.models.language import load_language_model
from foveal.reading import InfiniRetri
from foveal.reading.published import Published

name, dtype, system = sys.argv[1:]
model = load_language_model(name, dtype=dtype)
with torch.inference_mode():
    model.model(input_ids=torch.tensor([[0, 1, 2]], device=model.device))
reader, published = InfiniRetri(model), Published(model)

def read(text, question, window):
    if system == "reader":
        reader.retrieve(text, question)
    else:
        list(published.windows(text, question, window_length=window))
    return {{}}

serve(read)
"""


@dataclass(frozen=True)
class PackageReading:
    """What the package kept, window by window, and how long it took."""

    seconds: float
    kept: list[list[str]]


@dataclass(frozen=True)
class Memory:
    """Bytes that a process held once its model was loaded, and the most that it has held."""

    loaded: int
    peak: int

    @property
    def above(self) -> int:
        """What reading took."""
        return self.peak - self.loaded


@dataclass(frozen=True)
class Package:
    """The package in a process of its own."""

    ask: Ask

    def read(self, text: str, question: str, window: int) -> PackageReading:
        """The package's own reading."""
        return PackageReading(**self.ask(text=text, question=question, window=window))

    def memory(self) -> Memory:
        """What the process has taken so far."""
        return Memory(**self.ask())


@contextmanager
def package_with(model: LanguageModel) -> Iterator[Package]:
    """The package with the weights of `model`, which it loads itself."""
    with _process(_THEIRS, str(model.folder), _dtype(model), str(model.device)) as ask:
        yield Package(ask)


@contextmanager
def _process(script: str, *args: str) -> Iterator[Ask]:
    """A script that answers lines of JSON, for as long as the body runs. InputError: it fell, with its last words."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [sys.executable, "-c", script, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        ) as process,
    ):

        def ask(**asked: object) -> dict[str, Any]:
            line = _exchanged(process, json.dumps(asked) + "\n")
            if not line:
                status = process.wait()
                errors.seek(0)
                told = errors.read().strip()[-500:]
                raise InputError(f"A process of the bench ended with status {status} (-9: no memory). It said: {told}")
            answer: dict[str, Any] = json.loads(line)
            return answer

        try:
            yield ask
        finally:
            process.kill()


def _exchanged(process: subprocess.Popen[str], line: str) -> str:
    """The line that answers `line`; none once the process has ended."""
    if not process.stdin or not process.stdout:
        return ""
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()
