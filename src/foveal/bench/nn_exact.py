"""bench nn, exact: what holds of the sequence layers to the last digits, without any training.

streaming   token by token and in pieces of random lengths, against the parallel form, in float32 and float64
memory      the products over chunks against the recurrence, depths 1 to 4, in float32 and float64
rules       what the memory is with one layer: the delta rule, with forgetting and without; with steps of 0 the network
            it began with; its outer gradient against finite differences
scans       every scan of Aaren against masked softmax attention, at score scales 1 and 300, and all scores -200
leak        the second half of a sequence replaced: the share of first-half outputs that change, in float32 and float64;
            the paper's topk selection is the control, for which half of them do
flat        bytes of state, and the processor's time for a step, after 100 tokens and after 100,000 (--quick: 10,000)
writing     32 pairs written, then looked up, at the steps of the specification, with momentum and without, and after
            all was forgotten; a key written twice; the same with updates off, or all taken at once

All weights are drawn, from the seed. Needs no data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.bench.settings import BenchSettings
from foveal.evaluation.output_error import far_apart
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row, largest
from foveal.nn.aaren import AarenBlock, AarenEncoder, AarenSettings
from foveal.nn.memory_rule import (
    Carried,
    Decays,
    Gates,
    Weights,
    carry,
    read_chunk,
    surprise,
    through,
    write_token,
)
from foveal.nn.neural_memory import MemorySettings, NeuralMemory
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.nn.scan import SCANS, attention_by_definition, leaves, output, prefixes
from foveal.nn.titans import LMM, MAC, MAG, MAL, TitansSettings

DIM, TOKENS = 32, 150
STREAMED = {torch.float32: 1e-5, torch.float64: 1e-9}
"""How far two roads may lie apart."""
SINGLE, DOUBLE = 1e-6, 1e-12
RULES = 1e-9
SLOPE = 1e-6
SCANNED = 5e-7
CHANGED = {torch.float32: 1e-6, torch.float64: 1e-12}
"""By how much an output must change to count as changed; of Aaren's, by any bit."""
HALF = 250
"""Tokens of a half: the cut falls within a segment, a chunk and a block. At their edge, a layer whose tokens see all of
their own segment would look as if none saw what is to come."""
PAPER = 3_152_896

LAYERS: dict[str, Callable[[], Any]] = {
    "Titans lmm": lambda: LMM(TitansSettings(dim=DIM, variant="lmm")),
    "Titans mac": lambda: MAC(TitansSettings(dim=DIM, variant="mac", window=32)),
    "Titans mag": lambda: MAG(TitansSettings(dim=DIM, variant="mag", window=32)),
    "Titans mal": lambda: MAL(TitansSettings(dim=DIM, variant="mal", window=32)),
    "Aaren, 3 layers": lambda: AarenEncoder(AarenSettings(dim=DIM)),
    "Aaren, decay 0.01, kernel 4": lambda: AarenEncoder(AarenSettings(dim=DIM, decay=0.01, conv_kernel=4)),
    "Routing, causal selection": lambda: RoutingAttention(
        RoutingSettings(dim=DIM, clusters=8, window=16, local_window=16)
    ),
}


def exact(settings: BenchSettings) -> Iterator[Row]:
    """All rows of this module."""
    with torch.no_grad():
        for name in LAYERS:
            yield from streaming(name, settings)
        yield from memories(settings)
        yield from rules(settings)
        yield from scans(settings)
        yield from leaks(settings)
        yield from writing(settings)
        for name in LAYERS:
            yield from flat(name, settings)


def layer_of(name: str, seed: int) -> Any:
    """The layer with weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LAYERS[name]().eval()


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# -- one result by several roads --------------------------------------------------------------------------------------


def streaming(name: str, settings: BenchSettings) -> Iterator[Row]:
    """The largest difference over lengths that no chunk, block or window divides."""
    for dtype, most in STREAMED.items():
        draw = torch.Generator().manual_seed(settings.seed)
        by_token, in_pieces = 0.0, 0.0
        for trial in range(2 if settings.quick else 5):
            layer = layer_of(name, trial).to(dtype)
            tokens = int(torch.randint(1, TOKENS, (), generator=draw))
            x = drawn(2, tokens, DIM, seed=trial, dtype=dtype)
            whole = layer(x)[0]
            by_token = largest(by_token, far_apart(token_by_token(layer, x), whole))
            cuts = torch.randint(1, tokens + 1, (4,), generator=draw).sort().values.tolist()
            in_pieces = largest(in_pieces, far_apart(piece_by_piece(layer, x, cuts), whole))
        wide = "" if dtype == torch.float32 else ", float64"
        yield Row.of(f"{name}, token by token{wide}", "largest difference", by_token, at_most=most)
        yield Row.of(f"{name}, in pieces{wide}", "largest difference", in_pieces, at_most=most)


def token_by_token(layer: Any, x: Tensor) -> Tensor:
    """Outputs of `step`."""
    state, given = layer.init_state(len(x)), []
    for token in x.unbind(1):
        y, state, *_ = layer.step(token, state)
        given.append(y)
    return torch.stack(given, 1)


def piece_by_piece(layer: Any, x: Tensor, cuts: list[int]) -> Tensor:
    """Outputs of `forward`, the state carried over."""
    state, given = None, []
    for piece in torch.tensor_split(x, cuts, 1):
        if piece.shape[1]:
            y, state, *_ = layer(piece, state)
            given.append(y)
    return torch.cat(given, 1)


def memories(settings: BenchSettings) -> Iterator[Row]:
    """Chunks at once against one token after another."""
    for dtype, most in ((torch.float32, SINGLE), (torch.float64, DOUBLE)):
        far = 0.0
        for depth in (1, 2, 3, 4):
            for chunk in (1, 7, 16, 64):
                torch.manual_seed(settings.seed + depth)
                memory = NeuralMemory(MemorySettings(dim=DIM, depth=depth, chunk=chunk)).to(dtype)
                x = drawn(2, 2 * chunk + 5, DIM, seed=depth, dtype=dtype)
                far = largest(far, far_apart(token_by_token(memory, x), memory(x)[0]))
        name = str(dtype).removeprefix("torch.")
        note = "depths 1 to 4, chunks of 1, 7, 16 and 64 tokens"
        yield Row.of(f"memory, chunks against recurrence, {name}", "largest difference", far, at_most=most, note=note)


def scans(settings: BenchSettings) -> Iterator[Row]:
    """Aaren's scans, each against attention in float64."""
    for scale in (1.0, 300.0):
        query, keys = drawn(16, seed=settings.seed), drawn(500, 16, seed=1)
        values, scores = drawn(500, 8, seed=2), scale * (keys @ query) / 4
        right = attention_by_definition(torch.ones(1).double(), scores.double()[:, None], values.double())
        for scan in SCANS:
            got = output(prefixes(leaves(scores, values), scan=scan))
            yield Row.of(
                f"scan {scan}, scores times {scale:.0f}", "largest difference", far_apart(got, right), at_most=SCANNED
            )
    low = output(prefixes(leaves(torch.full((500,), -200.0), values)))
    mean = values.double().cumsum(0) / torch.arange(1, 501)[:, None]
    yield Row.of("scan auto, all scores -200", "largest difference", far_apart(low, mean), at_most=SCANNED)
    count = sum(one.numel() for one in AarenBlock(AarenSettings(dim=512, heads=8), feed_forward=2048).parameters())
    yield Row.of("Aaren block of 512, 2048", "parameters", count, at_least=PAPER, at_most=PAPER, note="the paper's")


# -- what must not be seen --------------------------------------------------------------------------------------------


def leaks(settings: BenchSettings, *, only: str = "") -> Iterator[Row]:
    """The share of first-half outputs that the second half changes, of layers whose name begins with `only`."""
    for name in (one for one in LAYERS if one.startswith(only)):
        layer = layer_of(name, settings.seed)
        by = dict.fromkeys(CHANGED, 0.0) if name.startswith("Aaren") else CHANGED
        share = largest(*(leaked(layer.to(one), DIM, settings.seed, dtype=one, by=least) for one, least in by.items()))
        yield Row.of(f"{name}, second half replaced", "first half that changes", share, at_most=0)
    torch.manual_seed(settings.seed)
    wide = RoutingSettings(dim=64, heads=1, routing_heads=1, clusters=16, window=32, selection="topk")
    share = leaked(RoutingAttention(wide).eval(), 64, settings.seed, half=256)
    note = "the control: the paper's selection, of 512 tokens by 16 clusters"
    yield Row.of(
        "Routing, topk selection, second half replaced", "first half that changes", share, at_least=0.3, note=note
    )


def leaked(
    layer: Any, dim: int, seed: int, *, half: int = HALF, dtype: torch.dtype = torch.float32, by: float | None = None
) -> float:
    """The share of the first `half` outputs that as many other tokens behind them change, by more than `by`."""
    x, other = (drawn(1, 2 * half, dim, seed=one, dtype=dtype) for one in (seed, seed + 1))
    changed = torch.cat([x[:, :half], other[:, half:]], 1)
    apart = (layer(x)[0] - layer(changed)[0])[:, :half].abs().amax(-1)
    return float((apart > (CHANGED[dtype] if by is None else by)).double().mean())


# -- what must not grow -----------------------------------------------------------------------------------------------


def flat(name: str, settings: BenchSettings) -> Iterator[Row]:
    """State and step late in a stream, against early."""
    layer, many = layer_of(name, settings.seed), 10_000 if settings.quick else 100_000
    early = layer(drawn(1, 100, DIM, seed=0))[1]
    late = early
    for piece in range(many // 1000):
        late = layer(drawn(1, 1000, DIM, seed=piece), late)[1]
    yield Row.of(
        f"{name}, {many:,} tokens",
        "bytes of state / early",
        late.nbytes / early.nbytes,
        at_least=1,
        at_most=1,
        note=f"{late.nbytes:,} bytes",
    )
    token = drawn(1, DIM, seed=1)
    steps = [_steps(layer, state, token) for state in (early, late)]
    ratio = paired(*steps, runs=15, warmup=2, clock=time.process_time)  # what others do on this machine counts less
    yield Row.of(f"{name}, {many:,} tokens", "time of a step / early", 1 / ratio.median, at_most=1.1, note=str(ratio))


def _steps(layer: Any, state: Any, token: Tensor) -> Callable[[], None]:
    def run() -> None:
        now = state
        for _ in range(64):
            _, now, *_ = layer.step(token, now)

    return run


# -- what must be written ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Unit keys and values, and the rule by which they are written."""

    keys: Tensor
    values: Tensor
    theta: float
    eta: float | None = None  # None: without momentum
    alpha: float = 0.0

    def written(self, weights: Weights, chunk: int, rest: Weights | None = None) -> Weights:
        """The weights after all pairs; what is forgotten is forgotten towards `rest` (None: zeros)."""
        rest = tuple(torch.zeros_like(one) for one in weights) if rest is None else rest
        drift = tuple(one - i for one, i in zip(weights, rest, strict=True))
        carried = Carried(drift, () if self.eta is None else tuple(torch.zeros_like(one) for one in drift))
        for k, v in zip(self.keys.split(chunk), self.values.split(chunk), strict=True):  # type: ignore[no-untyped-call]
            decays = Decays.of(
                gates_of(len(k), self.theta, self.eta or 0.0, self.alpha, k.dtype), momentum=self.eta is not None
            )
            carried = carry(carried, surprise(k[None, None], v[None, None], carried.weights(rest)), decays)
        return carried.weights(rest)

    def last(self, chunk: int) -> Tensor:
        """What one layer reads with the last key, from weights of 0."""
        return (self.written(first_weights(1), chunk)[0] @ self.keys[-1]).flatten()

    def found(self, weights: Weights) -> float:
        """The share of keys whose value is the nearest of all to what is read."""
        nearest = (through(self.keys, weights) @ self.values.T).argmax(-1).flatten()
        return float((nearest == torch.arange(len(self.keys))).double().mean())

    def read(self, weights: Weights) -> float:
        """The mean norm of what is read with the keys."""
        return float(through(self.keys, weights).norm(dim=-1).mean())


def gates_of(tokens: int, theta: float, eta: float, alpha: float, dtype: torch.dtype = torch.float32) -> Gates:
    """The same for all tokens of one row and head, all of which write."""
    return Gates(*(torch.full((1, 1, tokens), value, dtype=dtype) for value in (theta, eta, alpha, 1.0)))


def first_weights(depth: int) -> Weights:
    """Of a memory from 64 to 64 that gives 0."""
    if depth == 1:
        return (torch.zeros(1, 1, 64, 64),)
    return drawn(1, 1, 256, 64, seed=7) / 8, torch.zeros(1, 1, 64, 256)


def writing(settings: BenchSettings) -> Iterator[Row]:
    """Lookups by hit rate, and the key that was written twice by the cosine."""
    keys, values = (F.normalize(drawn(32, 64, seed=settings.seed + one), dim=-1) for one in (0, 1))
    for depth in (1, 2):
        first = first_weights(depth)
        for chunk in (1, 16):
            for theta in (0.05, 0.2):
                pairs = Pairs(keys, values, theta)
                hits = pairs.found(pairs.written(first, chunk))
                name = f"32 pairs, depth {depth}, chunk {chunk}" + (f", theta {theta:g}" if theta > 0.05 else "")
                yield Row.of(name, "found", hits, at_least=1)
        blind = Pairs(keys, values, 0.05).found(first)
        yield Row.of(f"32 pairs, depth {depth}, updates off", "found", blind, at_most=0.1, note="chance 0.03")
    yield from _by_momentum(keys, values)
    yield from _recovered(keys, values)
    twice = Pairs(keys[:1].expand(2, -1), values[:2], 0.5)
    each, both = (F.cosine_similarity(twice.last(chunk), values[1], dim=0).item() for chunk in (1, 2))
    metric = "cosine to the second value"
    yield Row.of("a key written twice, each at the weights before it", metric, each, at_least=0.999)
    yield Row.of("a key written twice, both at the first weights", metric, both, at_most=0.9, note="the control")


def _by_momentum(keys: Tensor, values: Tensor) -> Iterator[Row]:
    """How long a step and how much momentum two layers bear, by chunks of 16."""
    first, name = first_weights(2), "32 pairs, depth 2, chunk 16, eta"
    for eta, theta, least, most in (
        (0.5, 0.05, 1.0, None), (0.5, 0.2, 0.9, None), (0.5, 0.5, None, 0.75), (0.9, 0.05, 0.85, None),
        (0.9, 0.2, None, 0.5),
    ):  # fmt: skip  # .94, .50 and .97 as specified, give or take what seeds do
        pairs = Pairs(keys, values, theta, eta)
        weights = pairs.written(first, 16)
        note = f"read with norm {pairs.read(weights):.3g}{'; the control: the steps add up' if most else ''}"
        found = pairs.found(weights)
        yield Row.of(f"{name} {eta:g}, theta {theta:g}", "found", found, at_least=least, at_most=most, note=note)
    alike = Pairs(F.normalize(keys + F.normalize(keys.sum(0), dim=-1), dim=-1), values, 0.2, 0.5)
    norm = alike.read(alike.written(first, 16))
    note = "the control: keys that are alike write the same direction 16 times"
    yield Row.of("keys with a shared offset, eta 0.5, theta 0.2", "norm of what is read", norm, at_least=10, note=note)


def _recovered(keys: Tensor, values: Tensor) -> Iterator[Row]:
    """A memory that forgot all (alpha = 1), and then reads 32 pairs."""
    pairs, first = Pairs(keys, values, 0.05), first_weights(2)
    nothing = tuple(torch.zeros_like(one) for one in first)
    for towards, rest in (("its first weights", first), ("0", nothing)):
        before = pairs.written(first, 16, rest)
        emptied = write_token(
            Carried(tuple(one - i for one, i in zip(before, rest, strict=True)), ()),
            surprise(keys[None, None, :1], values[None, None, :1], before), gates_of(1, 0.0, 0.0, 1.0).at(0),
        )  # fmt: skip
        weights = pairs.written(emptied.weights(rest), 16, rest)
        name, found, norm = (
            f"32 pairs after all was forgotten towards {towards}",
            pairs.found(weights),
            pairs.read(weights),
        )
        if rest is first:
            yield Row.of(name, "found", found, at_least=1)
            yield Row.of(name, "norm of what is read", norm, at_least=0.05)
        else:
            yield Row.of(name, "found", found, at_most=0.1, note="the control: two layers of 0 have no slope")
            yield Row.of(name, "norm of what is read", norm, at_most=1e-12)


# -- what the memory is in cases that are known otherwise --------------------------------------------------------------


def rules(settings: BenchSettings) -> Iterator[Row]:
    """In float64, against loops."""
    keys, values = (drawn(12, 16, seed=settings.seed + one, dtype=torch.float64) for one in (0, 1))
    keys, beta, zeros = F.normalize(keys, dim=-1), 0.7, torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    for alpha, name in ((0.0, "the delta rule"), (0.1, "the gated delta rule, its gradient before the decay")):
        matrix, unit = zeros[0, 0], torch.eye(16, dtype=torch.float64)
        for k, v in zip(keys, values, strict=True):
            matrix = matrix @ ((1 - alpha) * unit - beta * torch.outer(k, k)) + beta * torch.outer(v, k)
        (made,) = Pairs(keys, values, beta / 2, alpha=alpha).written((zeros,), 1)
        yield Row.of(
            f"one layer, no momentum: {name}", "largest difference", far_apart(made[0, 0], matrix), at_most=RULES
        )
    first = tuple(drawn(1, 1, *size, seed=7, dtype=torch.float64) / 8 for size in ((256, 64), (64, 256)))
    keys, values = (drawn(12, 64, seed=settings.seed + one, dtype=torch.float64) for one in (3, 4))
    told, still = surprise(keys[None, None], values[None, None], first), gates_of(12, 0.0, 0.2, 0.0, torch.float64)
    nothing = tuple(torch.zeros_like(one) for one in first)
    read = read_chunk(keys[None, None], Carried(nothing, nothing), first, told, Decays.of(still, momentum=True))
    far, note = far_apart(read, through(keys, first)), f"read with norm {float(read.norm(dim=-1).mean()):.3g}"
    yield Row.of("steps of 0: the network that it began with", "largest difference", far, at_most=RULES, note=note)
    for name in ("project.weight", "gates.weight", "initial.0"):
        far = _slope_apart(name, settings.seed)
        yield Row.of(f"outer gradient of {name}, finite differences", "difference, relative", far, at_most=SLOPE)


@torch.enable_grad()
def _slope_apart(name: str, seed: int, step: float = 1e-5) -> float:
    """Of the slope along a drawn direction, through the writing, from what the loss does along it."""
    torch.manual_seed(seed)
    memory = NeuralMemory(MemorySettings(dim=16, heads=2, depth=2, chunk=4)).double()
    weight, x = memory.get_parameter(name), drawn(1, 11, 16, seed=seed + 5, dtype=torch.float64)
    along = drawn(*weight.shape, seed=seed + 6, dtype=torch.float64)

    def loss() -> Tensor:
        told: Tensor = memory(x)[0].square().sum()
        return told

    (slope,) = torch.autograd.grad(loss(), [weight])
    seen = []
    with torch.no_grad():
        for far in (step, -2 * step):
            weight.add_(far * along)
            seen.append(float(loss()))
    told, found = float((slope * along).sum()), (seen[0] - seen[1]) / (2 * step)
    return abs(told - found) / abs(found)
