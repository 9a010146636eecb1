"""bench nn-aaren: Aaren beside causal attention and a GRU: what it cannot do, what it costs, and what it reaches.

exact       gradients against full attention, merging, wide scores, a million tokens (this module)
cost        a training step beside causal attention's, the growth of time, memory and state (this module)
recall      the negative control: what no layer without queries of its own can do (nn_aaren_recall.py)
tables      forecasts, classes, events, actions, each by all three, with seeds (nn_aaren_tables.py)
bytes       a novel, byte by byte, as a stream (nn_aaren_recall.py)

Data: ett, events and text of the data folder; series of the UEA archive from uea/ in it, or of an installed aeon;
gymnasium for actions. What is not there is a row that says so, and falls short. Trained cells are kept in the cache.
Not run here: D4RL, whose simulators cannot be had; of events MIMIC-II, which is given to people with credentials alone,
and the tweets; the paper's other forecasts and classes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import Tensor

from foveal.bench.nn_aaren_recall import novel, recall
from foveal.bench.nn_aaren_tables import tables
from foveal.bench.nn_exact import drawn, token_by_token
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.output_error import far_apart
from foveal.evaluation.speed import paired, process_seconds
from foveal.evaluation.tables import Row, largest
from foveal.nn.aaren import AarenEncoder, AarenSettings
from foveal.nn.causal_attention import StreamSettings, encoder_of
from foveal.nn.scan import SCANS, Piece, attention_by_definition, joined, leaves, nothing, output, prefixes, summed

GRADIENT, SINGLE, DOUBLE, STREAMED = 1e-14, 5e-7, 1e-12, 1e-5
SLOWER, SLOPE, MOST_MIB = 2.0, 1.3, 1e9 / 2**20  # 1 GB
TOKENS, LONG = 4096, 65_536


def aaren(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench nn-aaren`."""
    yield from exact(settings)
    yield from cost(settings)
    yield from recall(settings)
    yield from each((tables, novel), settings)


# -- exact -------------------------------------------------------------------------------------------------------------


def exact(settings: BenchSettings) -> Iterator[Row]:
    """To the last digits, without training."""
    yield Row.of("Aaren, gradients, float64", "largest difference", gradients(), at_most=GRADIENT)
    yield Row.of("pieces merged in any grouping", "largest difference", merged(settings.seed), at_most=DOUBLE)
    values, wide = drawn(500, 8, seed=2), torch.linspace(-1e4, 1e4, 500)
    for name, scores in (("rising", wide), ("falling", wide.flip(0)), ("in turn", wide * (-1) ** torch.arange(500))):
        right = attention_by_definition(torch.ones(1).double(), scores.double()[:, None], values.double())
        far = largest(*(far_apart(output(prefixes(leaves(scores, values), scan=scan)), right) for scan in SCANS))
        yield Row.of(f"scores of ±10,000, {name}", "largest difference", far, at_most=SINGLE, note="all scans")
    yield from long_stream(settings)


def gradients(scans: Iterable[str] = tuple(SCANS)) -> float:
    """Of scores and values, through the scan and through masked softmax attention, all prefixes weighted at random."""
    weights, far = drawn(200, 8, seed=3, dtype=torch.float64), 0.0
    for scan in scans:
        told = []
        for road in ("scan", "softmax"):
            scores, values = (
                drawn(*size, seed=seed, dtype=torch.float64) for seed, size in ((1, (200,)), (2, (200, 8)))
            )
            scores.requires_grad_(), values.requires_grad_()
            if road == "scan":
                given = output(prefixes(leaves(scores, values), scan=scan))
            else:
                given = attention_by_definition(torch.ones(1).double(), scores[:, None], values)
            told.append(torch.autograd.grad((weights * given).sum(), [scores, values]))
        far = largest(far, *(float((a - b).abs().max()) for a, b in zip(*told, strict=True)))
    return far


def merged(seed: int) -> float:
    """Random cuts, empty and all-masked pieces among them, joined from the left and from the right."""
    draw, far = torch.Generator().manual_seed(seed), 0.0
    for trial in range(50):
        scores = 5 * drawn(40, seed=trial, dtype=torch.float64)
        values = drawn(40, 4, seed=trial + 100, dtype=torch.float64)
        scores = scores.masked_fill(torch.rand(40, generator=draw) < 0.3, -torch.inf)
        scores[:8] = -torch.inf
        cuts = torch.randint(0, 41, (4,), generator=draw).sort().values.tolist()
        parts = [
            _piece(s, v)
            for s, v in zip(torch.tensor_split(scores, cuts), torch.tensor_split(values, cuts), strict=True)
        ]
        left = parts[0]
        for one in parts[1:]:
            left = joined(left, one)
        right = parts[-1]
        for one in reversed(parts[:-1]):
            right = joined(one, right)
        whole = output(summed(scores, values))
        alone = output(joined(nothing(left), joined(left, nothing(left))))
        far = largest(far, *(far_apart(output(one), whole) for one in (left, right)), far_apart(alone, output(left)))
    return far


def _piece(scores: Tensor, values: Tensor) -> Piece:
    if not len(scores):
        return nothing(summed(scores.new_zeros(1), values.new_zeros(1, values.shape[1])))
    return summed(scores, values)


def long_stream(settings: BenchSettings) -> Iterator[Row]:
    """State, step and digits after a million tokens (--quick: 100,000)."""
    many, at_once = (100_000 if settings.quick else 1_000_000), 10_000
    torch.manual_seed(settings.seed)
    layer = AarenEncoder(AarenSettings(dim=32)).eval()
    twin = AarenEncoder(AarenSettings(dim=32)).eval().double()
    twin.load_state_dict({name: one.double() for name, one in layer.state_dict().items()})
    kept: dict[int, Any] = {}
    with torch.no_grad():
        state, wide = layer(drawn(1, 10, 32, seed=0))[1], twin(drawn(1, 10, 32, seed=0).double())[1]
        kept[10] = state
        state, wide = layer(drawn(1, 990, 32, seed=1), state)[1], twin(drawn(1, 990, 32, seed=1).double(), wide)[1]
        kept[1000] = state
        for piece in range(2, 2 + many // at_once):
            x = drawn(1, at_once, 32, seed=piece)
            (y, state), (right, wide) = layer(x, state), twin(x.double(), wide)
        kept[many] = state
        name = f"Aaren, 3 layers, {many:,} tokens"
        same = max(one.nbytes for one in kept.values()) / kept[10].nbytes
        yield Row.of(
            name, "bytes of state / after 10 tokens", same, at_least=1, at_most=1, note=f"{state.nbytes} bytes"
        )
        yield Row.of(
            name, "largest difference to float64", far_apart(y, right), at_most=1e-4, note="of the last outputs"
        )
        early, late = (lambda state=kept[at]: _some_steps(layer, state) for at in (1000, many))
        ratio = paired(early, late, runs=25, warmup=3, clock=time.process_time)
        yield Row.of(name, "time of a step / after 1,000 tokens", 1 / ratio.median, at_most=1.1, note=str(ratio))


def _some_steps(layer: Any, state: Any) -> None:
    token = torch.ones(1, 32)
    with torch.no_grad():
        for _ in range(32):
            _, state = layer.step(token, state)


# -- cost --------------------------------------------------------------------------------------------------------------


def cost(settings: BenchSettings) -> Iterator[Row]:
    """Time and memory; every ratio is of neighbours in time."""
    from foveal.nn.aaren import Aaren
    from foveal.nn.causal_attention import CausalAttention

    shape = AarenSettings(dim=128)
    layers = {name: made(shape) for name, made in (("Aaren", Aaren), ("attention", CausalAttention))}
    runs = 5 if settings.quick else 11
    ratio = paired(_training(layers["Aaren"], TOKENS), _training(layers["attention"], TOKENS), runs=runs)
    yield Row.of(
        "Aaren's training step / causal attention's", f"time at {TOKENS}", ratio.median, at_most=SLOWER, note=str(ratio)
    )
    for scan in SCANS:
        if scan != "step" or not settings.quick:
            ms = _median_ms(_forward(Aaren(AarenSettings(**{**asdict(shape), "scan": scan})), TOKENS), 3)
            yield Row.of(f"Aaren, scan {scan}, forward", f"ms at {TOKENS}", ms)
    lengths = [2048, 4096, 8192] if settings.quick else [2048, 4096, 8192, 16_384]
    for name, layer in layers.items():
        times = [_median_ms(_forward(layer, tokens), 3) for tokens in lengths]
        told = slope(lengths, times)
        yield Row.of(
            f"{name}, forward", "log-log slope of time", told, at_most=SLOPE if name == "Aaren" else None,
            note=", ".join(f"{ms:.3g} ms at {tokens:,}" for tokens, ms in zip(lengths, times, strict=True)),
        )  # fmt: skip
    code = (
        "import torch; from foveal.nn.aaren import Aaren, AarenSettings; "
        f"torch.no_grad().__enter__(); Aaren(AarenSettings(dim=128))(torch.randn(1, {LONG}, 128))"
    )
    peak = process_seconds([sys.executable, "-c", code], runs=1, warmup=0).peak_mib
    yield Row.of(f"a process that reads {LONG:,} tokens", "peak MiB", peak, at_most=MOST_MIB, note="PyTorch included")
    yield from streaming_cost()


def streaming_cost() -> Iterator[Row]:
    """Bytes kept and the time of a step after 100 and 4,000 tokens, by mixer; three layers of 128."""
    with torch.no_grad():
        for mixer in ("aaren", "attention", "gru"):
            torch.manual_seed(0)
            encoder = encoder_of(StreamSettings(mixer=mixer, dropout=0.0)).eval()
            states = [encoder(drawn(1, tokens, 128, seed=0))[1] for tokens in (100, 4000)]
            early, late = (_stepping(encoder, state) for state in states)
            ratio = paired(early, late, runs=9, clock=time.process_time)
            grown = states[1].nbytes / states[0].nbytes
            one = mixer == "aaren"
            yield Row.of(
                f"{mixer}, after 4,000 tokens", "bytes of state / after 100", grown, at_most=1 if one else None,
                note=f"{states[1].nbytes:,} bytes",
            )  # fmt: skip
            yield Row.of(
                f"{mixer}, after 4,000 tokens", "time of a step / after 100", 1 / ratio.median,
                at_most=1.1 if one else None, note=str(ratio),
            )  # fmt: skip
    torch.manual_seed(0)
    encoder, x = encoder_of(StreamSettings(dropout=0.0)).eval(), drawn(1, 300, 128, seed=0)
    with torch.no_grad():
        yield Row.of(
            "Aaren, 3 layers, streamed",
            "largest difference",
            far_apart(token_by_token(encoder, x), encoder(x)[0]),
            at_most=STREAMED,
        )


def _stepping(encoder: Any, state: Any) -> Callable[[], None]:
    token = torch.ones(1, 128)

    def run() -> None:
        with torch.no_grad():
            for _ in range(16):
                encoder.step(token, state)

    return run


def _training(layer: Any, tokens: int) -> Callable[[], None]:
    x = drawn(1, tokens, 128, seed=0)

    def run() -> None:
        layer.zero_grad()
        layer(x)[0].square().mean().backward()

    return run


def _forward(layer: Any, tokens: int) -> Callable[[], None]:
    x = drawn(1, tokens, 128, seed=0)

    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def _median_ms(call: Callable[[], None], runs: int) -> float:
    call()
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return median(times)


def slope(sizes: list[int], times: list[float]) -> float:
    """Of the line through the logarithms: 1 where time grows as the size does, 2 as its square."""
    x, y = ([math.log(one) for one in values] for values in (sizes, times))
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - middle_x) ** 2 for a in x)
