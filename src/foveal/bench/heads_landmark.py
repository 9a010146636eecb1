"""bench heads-landmark: landmark attention beside full attention, a Transformer-XL and a sliding window.

exact      the definition, its gradients, reading against one pass (heads_landmark_exact.py)
novels     perplexity of two novels' end, at the training length and up to 16 times that, for three small decoders
           that are trained here (heads_landmark_arms.py)
records    a model that is trained on windows of 64 positions answers questions about records anywhere in up to 16k
           tokens; where the record's block stands among landmarks; controls (heads_landmark_records.py)
variants   a context-miss token, at several cutoffs; masked tokens (heads_landmark_variants.py)
cost       time and memory of a chunk over the length, an index of landmarks (heads_landmark_cost.py)

The full run trains some 35 minutes on one processor, once: arms are kept in the bench's cache, and gone on with after a
stop. The quick one trains a smaller decoder for a minute, and measures records only if their arm is in the cache.

Not run here: the paper's models (12 layers, 240,000 steps on PG19 and arXiv, LLaMA 7B), which need GPUs for days; pass
keys of a fine-tuned decoder of 0.5B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from math import exp
from statistics import fmean

import torch
from torch import Tensor

from foveal.attention.landmark_cache import ReadSettings
from foveal.attention.landmark_model import LandmarkModel
from foveal.attention.landmark_training import own_tokenizer
from foveal.bench.heads_landmark_arms import BOOKS, QUICK, Novels, Scale
from foveal.bench.heads_landmark_cost import cost
from foveal.bench.heads_landmark_exact import exact
from foveal.bench.heads_landmark_questions import RecordScale
from foveal.bench.heads_landmark_records import records
from foveal.bench.heads_landmark_variants import variants
from foveal.bench.read import text_of, texts_of
from foveal.bench.settings import BenchSettings
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row

AT_ONCE = 16_384
"""Tokens that are read side by side."""


def landmark(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-landmark`."""
    scale = QUICK if settings.quick else Scale()
    yield from exact(settings)
    arms = Texts(settings, scale)
    yield from novels(arms)
    yield from variants(arms, perplexity)
    yield from cost(settings, arms.landmark)
    yield from records(settings, RecordScale())


# -- novels ------------------------------------------------------------------------------------------------------------


class Texts(Novels):
    """The two novels, or where they are not there the longest other texts."""

    @cached_property
    def tokens(self) -> Tensor:
        """Of both, by byte pairs learned from them."""
        texts = [text_of(path) for path in texts_of(self.settings, BOOKS)]
        tokenizer = own_tokenizer(texts, self.scale.size.vocabulary)
        return torch.tensor(tokenizer.backend_tokenizer.encode("\n\n".join(texts)).ids, dtype=torch.int32)


def perplexity(logprobs: Callable[[Tensor], Tensor], held: Tensor, length: int) -> float:
    """Of the held-out text, cut into texts of `length` tokens that are each read from their beginning."""
    texts = held[: len(held) // length * length].view(-1, length)
    side = max(1, AT_ONCE // length)
    told = torch.cat([logprobs(some).flatten() for some in torch.split(texts, side)])
    return exp(-float(told.double().mean()))


def novels(arms: Novels) -> Iterator[Row]:
    """The paper's table, scaled down."""
    length, margin = arms.scale.landmarks.train_length, 0.06 if arms.settings.quick else 0.03
    held, block = arms.held, arms.scale.landmarks.block
    lengths = [length, 4 * length, 16 * length]
    dense = perplexity(arms.full.logprobs, held, length)
    yield Row.of(f"full attention, {length} tokens", "perplexity", dense, note="its training length")
    cut = 8 * block + 2 * block
    short = perplexity(arms.full.logprobs, held, cut)
    yield Row.of(
        f"full attention, {cut} tokens", "perplexity", short, note="cut to the attention size of landmarks below"
    )
    beyond = perplexity(arms.full.logprobs, held, lengths[-1])
    yield Row.of(f"full attention, {lengths[-1]:,} tokens", "perplexity", beyond, note="16 times its training length")
    model = arms.landmark
    window = perplexity(lambda ids: at_once(model, ids), held, arms.scale.landmarks.window_tokens)
    note = f"full attention {dense:.2f}"
    yield Row.of("landmarks, a window at once", "perplexity / full", window / dense, at_most=1 + margin, note=note)
    same = perplexity(reading(model, top_k=2, chunk=8 * block), held, length)
    note = f"{same:.2f}, {cut} positions; the paper's 1.034"
    yield Row.of(f"full attention, {cut} / landmarks, {length}, k 2", "perplexity", short / same, at_least=1, note=note)
    far = {}
    for many in lengths:
        far[many] = perplexity(reading(model), held, many)
        most = dense if many == lengths[-1] else None
        note = f"{4 * block} retrieved positions a token and head; full attention at {length}: {dense:.2f}"
        yield Row.of(f"landmarks, {many:,} tokens, k 4", "perplexity", far[many], at_most=most, note=note)
    yield Row.of(f"landmarks, {lengths[1]:,} / {length}", "perplexity", far[lengths[1]] / far[length], at_most=1)
    quick = arms.settings.quick
    ratio, most = far[lengths[2]] / far[lengths[1]], 1.01 if quick else 1.0
    note = "longer is no worse"
    yield Row.of(f"landmarks, {lengths[2]:,} / {lengths[1]:,}", "perplexity", ratio, at_most=most, note=note)
    yield from opened_rows(model, held[: lengths[-1]])
    yield from _other_ways(model, held, lengths, far, quick=quick)
    yield from _transformer_xl(arms, lengths, far)
    _picture(arms, lengths, far)


def reading(model: LandmarkModel, **how: object) -> Callable[[Tensor], Tensor]:
    """Log-probabilities as they are read by these settings."""
    return lambda ids: model.logprobs(ids, model.make_cache(ReadSettings(**how)))  # type: ignore[arg-type]


@torch.no_grad()
def at_once(model: LandmarkModel, ids: Tensor) -> Tensor:
    """Log-probabilities of a window."""
    logits = model(ids).logits
    assert logits is not None
    told: Tensor = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return told


def opened_rows(model: LandmarkModel, held: Tensor) -> Iterator[Row]:
    """The positions that are fetched for a chunk of a text (tokens,) in a layer, of all that its tokens and heads open:
    chunks behind which blocks are left out.
    """
    block = model.settings.block
    ways = {"token_and_head": "k 4", "head": "k 4, the same for all tokens", "token": "k 4, the same for all heads"}
    for selection, name in ways.items():
        cache = model.make_cache(ReadSettings(top_k=4, selection=selection))
        cache.watch()
        model.read(held[None], cache)
        noted = [one for one in cache.trace() if one.first // block > 4]
        fetched = [block * len(set(one.blocks.flatten().tolist())) for one in noted]
        kept = fmean(one.first // block * block for one in noted)
        note = f"in a layer, at most {max(fetched):,}, of {kept:,.0f} that are kept; {4 * block} for a token and head"
        yield Row.of(f"{name}, {len(held):,} tokens", "positions fetched for a chunk", fmean(fetched), note=note)


def _other_ways(
    model: LandmarkModel, held: Tensor, lengths: list[int], far: dict[int, float], *, quick: bool
) -> Iterator[Row]:
    """Fewer blocks and one choice for all tokens, which must be worse; and the controls, at the same chunk."""
    many, best = lengths[-1], far[lengths[-1]]
    chunk = model.settings.local(4) // model.settings.block * model.settings.block
    worse = 0.998 if quick else 1.0
    for name, how, least in (
        ("k 2", {"top_k": 2}, worse),
        ("k 4, the same for all tokens of a chunk (max over tokens)", {"selection": "head"}, worse),
        ("k 4, the same for all heads (max over heads)", {"selection": "token"}, None),
        ("control: the latest 4 blocks, a sliding window", {"selection": "latest"}, None),
        ("control: 4 blocks drawn blindly", {"selection": "random"}, 1.0),
    ):
        got = perplexity(reading(model, chunk=chunk, **how), held, many)
        yield Row.of(f"{name} / k 4, {many:,} tokens", "perplexity", got / best, at_least=least, note=f"{got:.2f}")


def _transformer_xl(arms: Novels, lengths: list[int], far: dict[int, float]) -> Iterator[Row]:
    for many in lengths[1:]:
        got = perplexity(arms.xl.logprobs, arms.held, many)
        note = f"segments of {arms.xl.segment} and the one before; landmarks {far[many]:.2f}"
        yield Row.of(f"Transformer-XL, {many:,} tokens", "perplexity", got, note=note)


def _picture(arms: Novels, lengths: list[int], far: dict[int, float]) -> None:
    full = [perplexity(arms.full.logprobs, arms.held, many) for many in lengths]
    xl = [perplexity(arms.xl.logprobs, arms.held, many) for many in lengths]
    lines(
        lengths, {"landmarks, k 4": [far[many] for many in lengths], "Transformer-XL": xl, "full attention": full},
        arms.settings.cache / "pictures" / "landmark-novels.png", title="Two novels' end, trained at 256 positions",
        x_label="tokens read", y_label="perplexity", logarithmic="x",
    )  # fmt: skip
