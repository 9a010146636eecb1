"""bench attention, prefill: a whole prompt read by a real model, from its tokens to the logits of its last.

The baseline is transformers' own forward pass with PyTorch's attention (attn_implementation="sdpa"); each method is the
same forward pass under `attach`. Beside them our own pass over lean layers, dense and by FlexPrefill. Times include all
choosing of blocks. Peak memory is that of a process of its own that loads the model and reads the prompt once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from statistics import median

import torch

from foveal.attention import DHSA, BlockMethod, FlexPrefill, Report, VerticalSlash, attach
from foveal.bench.attention_kernel import dense, tensors
from foveal.bench.attention_models import QWEN, PromptReader, peak_of, shipped
from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import paired, seconds_of
from foveal.evaluation.tables import Row

FASTER = {16_384: 1.4, 32_768: 1.9}
"""Times as fast as the dense forward pass, by length."""

SHORT = (300, 1_024, 3_000)
LONGER = (4_096, 8_192)
"""Lengths at which a method must cost nothing; the longer ones in a full run."""

PAIRS = {300: 9, 1_024: 9, 3_000: 9, 4_096: 7}
"""Pairs of passes at a length in a full run; else 3: a tenth is what one pass wanders, and the bar is no tenth away."""

NEVER_SLOWER = {False: 1.0, True: 0.95}
"""Times as fast as the dense forward pass, there; a quick run (True) forgives what a machine wanders."""

METHODS: dict[str, BlockMethod] = {
    "FlexPrefill, gamma 0.95": FlexPrefill(gamma=0.95),
    "FlexPrefill, gamma 0.9": FlexPrefill(gamma=0.9),
    "DHSA, an eighth of the keys": DHSA(density=0.125),
    "DHSA, 1,024 keys": DHSA(budget=1024),
    "vertical-slash, 2,048 and 2,048": VerticalSlash(2048, 2048),
}

ALONE = {
    ("FlexPrefill, gamma 0.95", 16_384): 1.7,
    ("FlexPrefill, gamma 0.9", 16_384): 2.2,
    ("FlexPrefill, gamma 0.95", 32_768): 3.0,
    ("FlexPrefill, gamma 0.9", 32_768): 3.0,
    ("DHSA, an eighth of the keys", 16_384): 1.6,
    ("DHSA, 1,024 keys", 16_384): 2.5,
}
"""Times as fast as PyTorch's dense attention, all that choosing takes included, by method and length."""

PEAK = {("dhsa", 32_768): 1.0, ("flexprefill", 32_768): 1.05}
"""Most memory of a forward pass, as a share of the dense one's, by method and length."""

PAPER_S = "the paper: 20 to 60 % less time, 1.25 to 2.5 times as fast"
PAPER_MEMORY = "the paper: 35 % less, 0.65"
"""What DHSA's authors tell (arXiv 2510.24606), of Gemma 2 on a GPU."""


def whole_prompts(settings: BenchSettings) -> Iterator[Row]:
    """All rows of this module."""
    reader = PromptReader(settings)
    yield from never_slower(reader)
    for length in (4_096,) if settings.quick else (16_384, 32_768):
        yield from at_length(reader, length)
    yield from peaks(settings)


def at_length(reader: PromptReader, length: int) -> Iterator[Row]:
    """Seconds of each method at one length, and the share of them that choosing takes."""
    ids = torch.tensor([reader.tokens(length)])
    model = reader.model.model

    def forward() -> None:
        with torch.inference_mode():
            model(input_ids=ids, logits_to_keep=1, use_cache=False)

    forward_short(model)
    plain, where = [seconds_of(forward)], f"{length // 1024}k"
    found = {}
    for name, method in METHODS.items():
        report = Report(rows=16)
        with attach(model, shipped(method, model.config), report=report):
            took = seconds_of(forward)
        plain.append(seconds_of(forward))
        found[name] = took, (plain[-2] + plain[-1]) / 2, report  # the machine wanders
    base = median(plain)
    note = f"{base:.1f} s, {min(plain):.1f} to {max(plain):.1f}, before, between and after the methods"
    yield Row.of(f"transformers, dense, {where}", "tokens/s", length / base, note=note)
    attention = _attention_seconds(length) * model.config.num_hidden_layers
    for name, (took, around, report) in found.items():
        note = f"{around:.1f} s against {took:.1f}; density {report.density:.3f}, recall {report.recall:.3f}"
        note += f"; {PAPER_S}" if "DHSA" in name else ""
        least = FASTER.get(length) if "FlexPrefill" in name else None
        yield Row.of(f"{name}, {where}", "times as fast as dense", around / took, at_least=least, note=note)
        chose, looked = (sum(getattr(look, part) for look in report.looks) for part in ("selecting", "attending"))
        yield Row.of(
            f"{name}, {where}", "choosing / dense attention", chose / attention, at_most=0.1, note=f"{chose:.2f} s"
        )
        yield Row.of(
            f"{name}, attention alone, {where}",
            "times as fast as dense",
            attention / (chose + looked),
            at_least=ALONE.get((name, length)),
            note=f"{attention:.1f} s against {chose + looked:.1f}, choosing included",
        )
    for name, lean_method in (("dense", None), ("FlexPrefill, gamma 0.95", FlexPrefill(gamma=0.95))):
        took = reader.read(reader.tokens(length), lean_method).seconds
        plain.append(seconds_of(forward))
        around = (plain[-2] + plain[-1]) / 2
        note = f"{around:.1f} s against {took:.1f}"
        yield Row.of(f"lean layers, {name}, {where}", "times as fast as dense", around / took, note=note)


def never_slower(reader: PromptReader) -> Iterator[Row]:
    """Short prompts under FlexPrefill, in turn with the plain forward pass."""
    model, least = reader.model.model, NEVER_SLOWER[reader.settings.quick]
    for length in SHORT if reader.settings.quick else (*SHORT, *LONGER):
        ids = torch.tensor([reader.tokens(length)])

        def forward(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                model(input_ids=ids, logits_to_keep=1, use_cache=False)

        def sparse(forward: Callable[[], None] = forward) -> None:
            with attach(model, FlexPrefill(gamma=0.95)):
                forward()

        ratio = paired(forward, sparse, runs=3 if reader.settings.quick else PAIRS.get(length, 3))
        yield Row.of(
            f"FlexPrefill, {length} tokens", "times as fast as dense", ratio.median, at_least=least, note=str(ratio)
        )


def forward_short(model: torch.nn.Module) -> None:
    """What a first call costs is not counted."""
    with torch.inference_mode():
        model(input_ids=torch.tensor([[1, 2, 3]]), logits_to_keep=1, use_cache=False)


def _attention_seconds(length: int) -> float:
    """PyTorch's causal attention of one layer."""
    run = dense(*tensors(length, torch.bfloat16))
    with torch.inference_mode():
        return min(seconds_of(run) for _ in range(2))


# -- memory ----------------------------------------------------------------------------------------------------------

_PEAK = """
import torch
from foveal.attention import DHSA, FlexPrefill, Report, attach
from foveal.bench.attention_models import shipped
from foveal.models.language import load_language_model

name, method, ids = json.load(sys.stdin)
model = load_language_model(name).model
made = {"dense": None, "dhsa": DHSA(density=0.125), "flexprefill": FlexPrefill(gamma=0.95)}[method]

def forward(ids):
    with torch.inference_mode():
        model(input_ids=torch.tensor([ids]), logits_to_keep=1, use_cache=False)

forward([1, 2, 3])
loaded = resident("VmRSS:")
if made is None:
    forward(ids)
else:
    with attach(model, shipped(made, model.config), report=Report(rows=0)):
        forward(ids)
print(json.dumps([resident("VmHWM:"), loaded]))
"""


def peaks(settings: BenchSettings) -> Iterator[Row]:
    """The rows of memory, which what else runs on the machine does not change."""
    for length in (4_096,) if settings.quick else (16_384, 32_768):
        yield from memory(length, settings)


def memory(length: int, settings: BenchSettings) -> Iterator[Row]:
    """The most memory that a forward pass holds, by method."""
    if not sys.platform.startswith("linux"):
        return
    ids = PromptReader(settings).tokens(length)
    found = {method: _peak(method, ids) for method in ("dense", "dhsa", "flexprefill")}
    base = found["dense"]
    for method, (peak, loaded) in found.items():
        note = f"{peak / 2**30:.2f} GiB, {(peak - loaded) / 2**30:.2f} above the loaded model"
        note += f"; {PAPER_MEMORY}" if method == "dhsa" else ""
        most = PEAK.get((method, length))
        yield Row.of(f"{method}, {length // 1024}k", "peak memory / dense", peak / base[0], at_most=most, note=note)


def _peak(method: str, ids: list[int]) -> tuple[int, int]:
    return peak_of(_PEAK, [QWEN, method, ids])
