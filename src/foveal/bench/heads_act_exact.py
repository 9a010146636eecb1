"""bench heads-act, exact and sinks: ACT against its N×N definition; how many sinks there are, by rule and by length.

exact    outputs in float32 against float64 matrices, row by row: drawn tensors (groups, a window, padding on the left)
         and a real prompt; rows that sum to 1; the first token; what must stay identical; a text in pieces
sinks    three pieces of essays in Qwen at 256 tokens, as measured when the method was written down (no least number of
         rows); then columns a head against the length, for both rules, in two models; sinks a layer
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from foveal.attention.act import ACT
from foveal.attention.attach import Context
from foveal.attention.dense import dense_attention
from foveal.attention.masks import Mask
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.sink_report import SinkReport, find_sinks
from foveal.attention.sinks import Columns, SinkRule
from foveal.bench.attention_models import GEMMA, QWEN, PromptReader
from foveal.bench.known_sets import held_to, is_set
from foveal.bench.settings import BenchSettings
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row, largest
from foveal.models.language import LanguageModel, load_language_model

CLOSE = 1e-5
BETA, SCALE = 0.4, 0.35
RULES = {"alpha / N": SinkRule(rule="alpha"), "0.1": SinkRule(rule="least"), "the larger": SinkRule()}
MEASURED = {
    "first token over alpha / N, share of heads": (0.76, 0.96),
    "first token, mean attention": (0.17, 0.37),
    "later sinks over alpha / N, share of heads": (0.9, 1.0),
    "later sinks over alpha / N, columns a head": (14.0, 24.0),
    "later sinks over 0.1, share of heads": (0.36, 0.56),
}
"""On three pieces of the 49 essays: 0.86, 0.27, 0.96, 19 and 0.46, within what other pieces may give."""
PIECE = 256


# -- exact -------------------------------------------------------------------------------------------------------------


def exact_rows(settings: BenchSettings, model: LanguageModel) -> Iterator[Row]:
    """The largest differences from the definition."""
    draw = torch.Generator().manual_seed(settings.seed)
    for keys, batch, window, padded in (
        (7, 1, None, 0),
        (64, 3, None, 0),
        (300, 3, None, 0),
        (300, 3, 90, 0),
        (300, 3, None, 40),
    ):
        q, k, v = _drawn(batch, keys, draw)
        real = torch.ones(batch, keys, dtype=torch.bool)
        real[-1, :padded] = False
        error, sums, first, count = _compared(
            q, k, v, window=window, real=real if padded else None, rule=SinkRule(rule="least", min_rows=2)
        )
        kind = f"N = {keys}, batch {batch}" + (f", window {window}" if window else "") + (", padded" if padded else "")
        yield Row.of(kind, "largest error", error, at_most=CLOSE, note=f"{count} sinks; 4 heads in 2 groups, float32")
        yield Row.of(kind, "rows less 1, largest", sums, at_most=CLOSE)
        yield Row.of(kind, "attention that the first token lost, largest", first, at_most=1e-6)
    yield from still_rows(draw)
    yield from _real_rows(settings, model)


def still_rows(draw: torch.Generator) -> Iterator[Row]:
    """What must stay as it is: heads that were not chosen, a text without sinks; and a text that comes in pieces, the
    last ones token by token, with its sinks told beforehand, against all of it at once.
    """
    q, k, v = _drawn(3, 300, draw)
    rule = SinkRule(rule="least", min_rows=2)
    plain, told = (_attended(method, q, k, v) for method in (None, ACT({0: (0, 3)}, beta=BETA, rule=rule)))
    name = "heads 0 and 3 of 4 chosen"
    yield Row.of(name, "numbers that differ in others", int((told != plain)[:, [1, 2]].sum()), at_most=0)
    moved = float((told - plain)[:, [0, 3]].abs().max())
    yield Row.of(name, "largest change in these", moved, at_least=1e-3, note="or nothing was calibrated at all")
    none = _attended(ACT({0: range(4)}, beta=BETA, rule=replace(rule, least=0.99)), q, k, v)
    yield Row.of("a text without sinks", "numbers that differ", int((none != plain).sum()), at_most=0)

    def given(columns: Columns) -> Tensor:
        places = torch.arange(columns.sums.shape[2])
        return torch.isin(places, torch.tensor([60, 100, 150])).expand_as(columns.sums)

    whole = _attended(ACT({0: range(4)}, beta=BETA, columns=given), q, k, v)
    method, ends = ACT({0: range(4)}, beta=BETA, columns=given), [0, 170, 260, *range(261, 301)]
    pieces = [_attended(method, q[:, :, start:end], k[:, :, :end], v[:, :, :end]) for start, end in pairwise(ends)]
    far = float((torch.cat(pieces, 2) - whole).abs().max())
    note = "two pieces, then 40 tokens one by one; the same sinks"
    yield Row.of("a text in pieces, against at once", "largest error", far, at_most=CLOSE, note=note)


def _attended(method: ACT | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What a layer's attention gives under the method, dense where that leaves it alone."""
    mask = Mask.causal(len(q), q.shape[2], k.shape[2])
    told = method.attend(q, k, v, Context(0, torch.nn.Identity(), mask, SCALE)) if method else None
    return dense_attention(q, k, v, mask, scale=SCALE) if told is None else told


def _real_rows(settings: BenchSettings, model: LanguageModel) -> Iterator[Row]:
    """A real prompt: the queries, keys and values that the model makes of it."""
    ids = PromptReader(settings).tokens(300)
    kept: dict[int, tuple[Tensor, ...]] = {}

    class Keep(ACT):
        def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
            kept[context.layer] = query.float(), key.float(), value.float()
            return super().attend(query, key, value, context)

    plain = MethodDecoder(model.model, None).read(ids).logits
    told = MethodDecoder(model.model, Keep({})).read(ids).logits
    yield Row.of("no heads", "logits that differ", int((told != plain).sum()), at_most=0)
    heads = {layer: range(model.model.config.num_attention_heads) for layer in kept}
    one = MethodDecoder(model.model, ACT(heads, beta=1.0)).read(ids).logits
    yield Row.of("beta 1", "logits that differ", int((one != plain).sum()), at_most=0)
    worst = count = 0.0
    scale = model.model.model.layers[0].self_attn.scaling
    for layer in sorted(kept)[:: 1 if not settings.quick else 6]:
        error, _, _, sinks = _compared(*kept[layer], scale=scale, heads=heads[layer])
        worst, count = largest(worst, error), count + sinks
    note = f"{count:.0f} sinks in all heads; {len(kept)} layers"
    yield Row.of(f"real prompt, {len(ids)} tokens", "largest error", worst, at_most=CLOSE, note=note)


def _compared(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: int | None = None,
    real: Tensor | None = None,
    scale: float = SCALE,
    heads: Sequence[int] = (0, 3),
    rule: SinkRule | None = None,
) -> tuple[float, float, float, int]:
    """Error of the output relative to its largest value; of rows' sums; what the first token lost; sinks."""
    mask = Mask.causal(len(q), q.shape[2], k.shape[2], window=window, real=real)
    where = Context(0, torch.nn.Identity(), mask, scale)
    method = ACT({0: heads}, beta=BETA, rule=rule)
    weights = _shown(method, q, k, where)
    told = method.attend(q, k, v, where)
    told = dense_attention(q, k, v, mask, scale=scale) if told is None else told
    before, after = by_definition(q, k, where, method.rule, window=window, real=real)
    group = q.shape[1] // k.shape[1]
    wanted = after @ v.double().repeat_interleave(group, 1)
    here = torch.ones(len(q), q.shape[2], dtype=torch.bool) if real is None else real
    chosen = list(heads)
    error = ((told - wanted)[:, chosen].abs().amax((1, 3)) * here).max() / wanted.abs().max().clamp(min=1)
    sums = ((weights[:, chosen].sum(-1) - 1).abs().amax(1) * here).max()
    first = here.int().argmax(1)[:, None, None, None].expand(-1, len(chosen), q.shape[2], 1)
    lost = (before[:, chosen].gather(3, first) - weights[:, chosen].gather(3, first))[..., 0].amax(1) * here
    return float(error), float(sums), float(lost.max()), sum(one.sinks for one in method.counts.values())


def _shown(method: ACT, q: Tensor, k: Tensor, where: Context) -> Tensor:
    """The calibrated attention itself: values that are unit vectors give an output that is a row of it."""
    eye = torch.eye(k.shape[2]).expand(len(k), k.shape[1], -1, -1)
    told = ACT(method.heads, beta=method.beta, rule=method.rule).attend(q, k, eye, where)
    return dense_attention(q, k, eye, where.mask, scale=where.scale) if told is None else told


def by_definition(
    q: Tensor, k: Tensor, where: Context, rule: SinkRule, *, window: int | None, real: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The attention (B, H, N, N) in float64 before and after calibration of all heads, by whole matrices."""
    size = k.shape[2]
    places = torch.arange(size)
    seen = (places <= places[:, None]).expand(len(q), 1, -1, -1)
    if window:
        seen = seen & (places[:, None] - places < window)
    whole = torch.ones(len(q), size, dtype=torch.bool) if real is None else real
    seen = seen & whole[:, None, None] & whole[:, None, :, None]
    keys = k.double().repeat_interleave(q.shape[1] // k.shape[1], 1)
    logits = q.double() @ keys.transpose(-1, -2) * where.scale
    weights = logits.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)
    rows = seen.sum(2)
    means = weights.sum(2) / rows.clamp(min=1)
    tokens = whole.sum(1).clamp(max=window or size)
    sinks = (means > rule.tau(tokens).double()[:, None, None]) & (rows >= rule.min_rows)
    sinks &= (places != whole.int().argmax(1)[:, None])[:, None]
    share = (weights * sinks[:, :, None]).sum(-1, keepdim=True)
    others = seen & ~sinks[:, :, None]
    grown = torch.where(sinks[:, :, None], BETA, 1 + (1 - BETA) * share / (1 - share).clamp(min=1e-12))
    return weights, torch.where(others.any(-1, keepdim=True), weights * grown, weights)


def _drawn(batch: int, keys: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values in which some columns stand out."""
    q = torch.randn(batch, 4, keys, 16, generator=draw) + 0.6
    k, v = (torch.randn(batch, 2, keys, 16, generator=draw) for _ in range(2))
    for place in (0, keys // 5, keys // 3, keys // 2):
        k[:, :, place] += 1.2
    return q, k, v


# -- sinks -------------------------------------------------------------------------------------------------------------


def sink_rows(settings: BenchSettings) -> Iterator[Row]:
    """Counts against what was measured, against the length, and by layer."""
    lengths = (64, 256, 1024) if settings.quick else (64, 128, 256, 512, 1024, 2048)
    series: dict[str, list[float]] = {}
    for name in (QWEN, GEMMA):
        model = load_language_model(name)
        ids = PromptReader(settings, name).tokens(max(lengths))
        if name == QWEN:
            yield from _as_measured(model, settings)
        for length in lengths:
            report = find_sinks(model, ids[:length])
            for rule_name, rule in RULES.items():
                told = report.under(rule)
                series.setdefault(f"{model.name}, {rule_name}", []).append(float(told.counts.float().mean()))
                note = f"{told.share:.0%} of the heads have any; first token {float(told.first.mean()):.2f}"
                yield Row.of(
                    f"{name}, {length:,} tokens, {rule_name}",
                    "later sinks a head",
                    series[f"{model.name}, {rule_name}"][-1],
                    note=note,
                )
        yield from _by_layer(find_sinks(model, ids[: min(1024, max(lengths))]), name)
    first, last = (series[f"{QWEN}, alpha / N"][place] for place in (0, -1))
    yield Row.of("alpha / N takes in more with the length", "times as many", last / max(first, 1e-9), at_least=2)
    title = "Sinks beyond the first token, by rule"
    path = settings.cache / "pictures" / "heads-act-sinks.png"
    shown = {name: [max(value, 1e-3) for value in values] for name, values in series.items()}
    lines(lengths, shown, path, title=title, x_label="tokens", y_label="columns a head", logarithmic="xy")


def _as_measured(model: LanguageModel, settings: BenchSettings) -> Iterator[Row]:
    """Three pieces at 256 tokens."""
    reader = PromptReader(settings)
    known, ids = is_set("the 49 essays", len(reader.essays), sum(map(len, reader.essays))), reader.tokens(3 * PIECE)
    lax = {name: replace(rule, min_rows=1) for name, rule in RULES.items()}
    found: dict[str, list[float]] = {name: [] for name in MEASURED}
    for start, end in pairwise(range(0, 4 * PIECE, PIECE)):
        spread = find_sinks(model, ids[start:end], lax["alpha / N"])
        level = spread.under(lax["0.1"])
        tau = lax["alpha / N"].alpha / PIECE
        values = (
            float((spread.first > tau).float().mean()),
            float(spread.first.mean()),
            spread.share,
            float(spread.counts.float().mean()),
            level.share,
        )
        for name, value in zip(MEASURED, values, strict=True):
            found[name].append(value)
    for name, (low, high) in MEASURED.items():
        value = sum(found[name]) / len(found[name])
        row = Row.of(f"{QWEN}, three pieces of {PIECE} tokens", name, value, at_least=low, at_most=high)
        yield held_to("the 49 essays", known, row)


def _by_layer(report: SinkReport, name: str) -> Iterator[Row]:
    counts = report.counts.float().mean(1)
    told = ", ".join(f"{float(one):.1f}" for one in counts)
    yield Row.of(
        f"{name}, {len(report.tokens):,} tokens",
        "layers with sinks beyond the first token",
        int((counts > 0).sum()),
        at_least=1,
        note=f"a head, by layer: {told}",
    )
