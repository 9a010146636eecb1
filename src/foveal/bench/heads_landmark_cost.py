"""bench heads-landmark, the cost: what a chunk takes far into a text, and where its memory lies.

time     a chunk behind 64k tokens (--quick: 16k) over one behind 4k, without scoring the landmarks; the same for full
         attention of the same decoder, by PyTorch's own kernel, whose chunk looks at everything
memory   bytes of landmarks and unfinished blocks, which stay in memory, beside those of blocks in mapped files
index    an index over landmarks: which of the blocks that scoring all would open it finds, and how many it visits
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaForCausalLM

from foveal.attention.key_index import IndexSettings
from foveal.attention.landmark_cache import LandmarkCache, ReadSettings
from foveal.attention.landmark_model import LandmarkModel
from foveal.attention.landmark_training import own_decoder
from foveal.bench.heads_landmark_arms import QUICK, Scale
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row

CACHE = "cache" if "cache" in signature(LlamaForCausalLM.forward).parameters else "past_key_values"
"""What a decoder calls the cache that it is given; the second up to transformers 5.20."""

SHORT, LONG, QUICK_LONG = 4096, 65_536, 16_384
FLAT = 1.25
"""How much longer a chunk may take far into the text."""


def cost(settings: BenchSettings, model: LandmarkModel) -> Iterator[Row]:
    """The rows, of a model that was trained on novels."""
    long = QUICK_LONG if settings.quick else LONG
    vocabulary = model.base.get_input_embeddings().num_embeddings
    ids = torch.randint(vocabulary, (1, long + 512), generator=torch.Generator().manual_seed(settings.seed))
    with tempfile.TemporaryDirectory() as folder:
        cache = model.make_cache(ReadSettings(top_k=4, folder=Path(folder)))
        model.read(ids[:, :SHORT], cache)
        early, scored_early = _chunk_seconds(model, cache, ids[:, SHORT : SHORT + 128])
        model.read(ids[:, cache.tokens : long], cache)
        late, scored_late = _chunk_seconds(model, cache, ids[:, long : long + 128])
        yield from _times(settings, long, (early, scored_early), (late, scored_late))
        yield from _bytes(cache)
        yield from _index(model, cache, ids[:, -256:])


def _chunk_seconds(model: LandmarkModel, cache: LandmarkCache, ids: Tensor, runs: int = 5) -> tuple[float, float]:
    """Processor seconds of a chunk, and what scoring all landmarks takes of them; the least of some runs each."""
    whole, scored = [], []
    for _ in range(runs):
        whole.append(_seconds(lambda: model.read(ids, cache)))
        scored.append(_seconds(lambda: [_scores(layer) for layer in cache.layers]))
    return min(whole), min(scored)


def _scores(layer: object) -> Tensor:
    found: Tensor = layer._voted(layer._scores(layer.queries, 1.0)).topk(4).indices  # type: ignore[attr-defined]
    return found


def _seconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    with torch.no_grad():
        call()
    return time.process_time() - begun


def _times(settings: BenchSettings, long: int, early: tuple[float, float], late: tuple[float, float]) -> Iterator[Row]:
    rest = [max(1e-9, whole - scored) for whole, scored in (early, late)]
    note = f"{1000 * early[0]:.0f} ms behind {SHORT:,} tokens, {1000 * late[0]:.0f} ms behind {long:,}"
    yield Row.of("a chunk of 128 tokens, far / early, whole", "processor time", late[0] / early[0], note=note)
    note = f"scoring landmarks takes {1000 * late[1]:.0f} ms behind {long:,}"
    yield Row.of("the same without scoring landmarks", "processor time", rest[1] / rest[0], at_most=FLAT, note=note)
    dense = [_dense_seconds(settings, many) for many in (SHORT, long)]
    note = f"{1000 * dense[0]:.0f} and {1000 * dense[1]:.0f} ms; its keys are random"
    yield Row.of("peer: full attention, far / early", "processor time", dense[1] / dense[0], note=note)


@torch.no_grad()
def _dense_seconds(settings: BenchSettings, many: int) -> float:
    """A chunk of 128 tokens of the same decoder behind `many` keys."""
    size = (QUICK if settings.quick else Scale()).size
    base = own_decoder(size, size.vocabulary, settings.seed, positions=many + 512).eval()
    ids, taken = torch.randint(size.vocabulary, (1, 128)), []
    for _ in range(3):
        cache = DynamicCache(config=base.config)
        for layer in range(size.layers):
            key = torch.randn(1, size.heads, many, size.width // size.heads)
            cache.update(key, key, layer)
        taken.append(_seconds(lambda: base(input_ids=ids, **{CACHE: cache}, use_cache=True)))  # noqa: B023
    return min(taken)


def _bytes(cache: LandmarkCache) -> Iterator[Row]:
    share = cache.fast_bytes / (cache.fast_bytes + cache.slow_bytes)
    block = cache.layers[0].block
    note = (
        f"{cache.fast_bytes:,} of {cache.fast_bytes + cache.slow_bytes:,} bytes; a landmark is {1 / block:.1%} of keys"
    )
    yield Row.of(
        f"behind {cache.tokens:,} tokens, in memory", "share of the bytes", share, at_most=1 / block, note=note
    )


def _index(model: LandmarkModel, cache: LandmarkCache, ids: Tensor) -> Iterator[Row]:
    """Which blocks an index finds, for the queries of another chunk."""
    before = [layer.queries for layer in cache.layers]
    model.read(ids[:, :128], cache)
    asked = [layer.queries for layer in cache.layers]
    scored = [layer.choose(queries, 1.0) for layer, queries in zip(cache.layers, asked, strict=True)]  # type: ignore[arg-type]
    for layer, queries in zip(cache.layers, before, strict=True):
        layer.queries = queries  # what it learns from is not what it is asked
    for kind in ("flat", "roar"):
        cache.build_index(kind, IndexSettings(beam=32))
        found, visited, count = [], [], 0
        for layer, queries, wanted in list(zip(cache.layers, asked, scored, strict=True))[1:]:
            assert layer.index is not None and queries is not None  # noqa: PT018
            got = layer.choose(queries, 1.0)
            found.append(float((got[..., None] == wanted[..., None, :]).any(-1).double().mean()))
            visited.append(float(layer.index.search(queries[0].float(), 4).visited.double().mean()))
            count = layer.indexed
        note = f"{sum(visited) / len(visited):,.0f} of {count:,} landmarks visited; all layers but the first"
        least = 0.999 if kind == "flat" else 0.9
        share = sum(found) / len(found)
        yield Row.of(f"index of landmarks: {kind}", "blocks found", share, at_least=least, note=note)
        for layer in cache.layers:
            layer.index = None
