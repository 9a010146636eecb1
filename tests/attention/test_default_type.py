"""While transformers loads a model, the default type of numbers is that model's, in all threads: what attends meanwhile
computes as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from tiny import tiny
from torch import Tensor

from foveal.attention import FlexPrefill, RetrievalAttention, attach, landmark_weights
from foveal.attention.blocks import Blocks
from foveal.attention.boundaries import BoundaryPredictor, Origin
from foveal.attention.chunks import block_vectors
from foveal.attention.dhsa_step import Held
from foveal.attention.estimates import by_share
from foveal.attention.head_cache import HeadCache, capacities
from foveal.attention.key_index import IndexSettings
from foveal.attention.landmark_cache import ReadSettings
from foveal.attention.landmark_masked import MaskedLandmarks
from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings
from foveal.attention.landmark_variants import LandmarkVariantSettings
from foveal.attention.later_queries import later_queries
from foveal.attention.longheads import LongHeads
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_parts import Tail
from foveal.attention.patterns import RandomBlocks
from foveal.attention.report import recall
from foveal.attention.roar_graph import RoarSettings
from foveal.attention.rotation import rotations_of
from foveal.models.event_attention import EventText, joined
from foveal.models.lexsembridge_reading import corpus_weights
from foveal.nn.causal_attention import positions
from foveal.nn.text_filter import padded
from foveal.reading.looking import by_sentence

DEFAULTS = (torch.bfloat16, torch.float64)


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def tokens(length: int, seed: int = 0) -> list[int]:
    return torch.randint(200, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def decoded(model, method) -> list[Tensor]:
    """Logits behind a text and a few tokens, and what heads looked at and how much."""
    decoder, cache = MemoryDecoder(model, method), method.make_cache(model)
    cache.watch({0: [1, 2], 1: [0]})
    state = decoder.read(tokens(300), cache)
    told = [state.logits]
    for token in tokens(8, seed=1):
        decoder.step(state, [[token]])
        told.append(state.logits)
    mean = cache.statistics()["mean"]
    return [*told, cache.looked(), torch.tensor([mean[name] for name in sorted(mean)], dtype=torch.float64)]


def alike(do: Callable[[], list[Tensor]], dtype: torch.dtype) -> bool:
    """Whether it says the same under another default type, to the bit and in the same types."""
    wanted = do()
    with default(dtype):
        got = do()
    same = [one.dtype == two.dtype and torch.equal(one, two) for one, two in zip(got, wanted, strict=True)]
    return all(same)


SMALL = {"n_sink": 8, "n_local": 16, "top_k": 20}
ROAR = IndexSettings(roar=RoarSettings(nearest=20, queries=100))
MEMORIES = (
    RetrievalAttention(index="flat", exact_every=2, **SMALL),
    RetrievalAttention(index="roar", stream="insert", local_max=3, indexes=ROAR, **SMALL),
    RetrievalAttention(index="streaming", **SMALL),
    LongHeads(chunk_size=16, attention_length=96),
)


@pytest.mark.parametrize("dtype", DEFAULTS)
@pytest.mark.parametrize("method", MEMORIES, ids=lambda one: getattr(one, "index", one.name))
def test_a_kept_text_is_answered_from_as_ever(method, dtype, tmp_path):
    models = [tiny("qwen", tmp_path / name).model for name in "ab"]  # of a model that was seen before, some is known
    asked = iter(models)
    assert alike(lambda: decoded(next(asked), method), dtype)


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_a_landmark_model_turns_by_the_same_angles(dtype, tmp_path):
    """Its tables are kept: those made meanwhile in bfloat16 would turn all later texts, too."""
    ids, settings = torch.tensor([tokens(200)]), LandmarkSettings(block=8, train_length=64)
    models = iter([LandmarkModel(tiny("qwen", tmp_path / name).model, settings).eval() for name in "ab"])

    def read() -> list[Tensor]:
        model = next(models)
        model.rotations._tables.clear()
        cache = model.make_cache(ReadSettings(top_k=2, selection="random"))
        cache.watch()
        return [model.logprobs(ids, cache), cache.sources()]

    assert alike(read, dtype)
    masked = MaskedLandmarks(
        tiny("qwen", tmp_path / "c").model, LandmarkVariantSettings(block=8, train_length=64, masked=0.15)
    )
    assert alike(lambda: [masked.eval().drawn(ids)], dtype)


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_what_was_compiled_writes_into_room_of_its_own_type(dtype, monkeypatch):
    rooms = []
    call = landmark_weights._call
    monkeypatch.setattr(landmark_weights, "_call", lambda *given: (rooms.append(given[3].dtype), call(*given)))
    with default(dtype):
        agrees = landmark_weights._agrees.__wrapped__(torch.float32)
    assert agrees or not rooms
    assert set(rooms) <= {torch.float32}


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_a_sparse_method_is_told_of_as_ever(dtype, tmp_path):
    model = tiny("gemma", tmp_path).model
    method = FlexPrefill(gamma=0.5, min_budget=1, block=16, dense_last=0)

    def read() -> list[Tensor]:
        with torch.inference_mode(), attach(model, method) as attached:
            logits = model(input_ids=torch.tensor([tokens(300)])).logits
        return [logits, *(part for look in attached.report.looks for part in (look.density, look.recall))]

    assert alike(read, dtype)


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_rows_and_marks_are_places_of_the_text(dtype):
    """1,022 is no number of bfloat16: rounded to 1,024 it is a place behind the text."""
    query, key = drawn(1, 2, 1023, 8), drawn(1, 1, 1023, 8, seed=1)
    bounds = torch.tensor([0, 500, 1023])
    assert alike(lambda: [recall(query, key, drawn(1, 2, 1023), scale=0.3)], dtype)
    assert alike(lambda: [Held.of(key, bounds, key[:, :, :2], "mean").marked], dtype)


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_shares_are_as_fine_as_ever(dtype, attention_models):
    rows, columns = torch.arange(700), torch.arange(700)
    scores, kept = drawn(1, 700, 700), torch.ones(1, 1, 700, 700, dtype=torch.bool).tril()
    bounds = torch.tensor(
        [0, *sorted(set(torch.randperm(998, generator=torch.Generator().manual_seed(0))[:99] + 1)), 999]
    )
    bounds = bounds.long()
    assert all(a < b for a, b in pairwise(bounds.tolist()))
    table = drawn(3, 2).abs()
    keys, values = drawn(2, 600, 8), drawn(2, 600, 8, seed=1)
    asked, places = drawn(4, 300, 8), torch.arange(300)
    rotation = rotations_of(attention_models["qwen"].model).at(0)
    assert alike(lambda: [by_share(scores, rows, columns, 0.13)], dtype)
    assert alike(
        lambda: [Blocks.of(kept & (scores > 0.3), queries=700, keys=700, query_block=1, key_block=1).density()], dtype
    )
    assert alike(lambda: [block_vectors(drawn(1, len(bounds) - 1, 8), bounds)], dtype)
    assert alike(lambda: [torch.tensor(capacities(table, 777, HeadCache(policy="headkv")))], dtype)
    assert alike(lambda: [Tail.of(keys, values, 3).joined(keys[:, :77], values[:, :77]).keys], dtype)
    assert alike(lambda: [Tail.of(keys, values, 3)._beyond(asked, drawn(4, 300), 0.3)[1]], dtype)
    assert alike(lambda: [later_queries(asked, places, rotation, 300)], dtype)


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_blocks_are_drawn_as_ever(dtype, attention_models):
    model = attention_models["qwen"].model
    ids = torch.tensor([tokens(1000)])

    def read() -> list[Tensor]:
        with torch.inference_mode(), attach(model, RandomBlocks(0.3)):
            return [model(input_ids=ids).logits]

    assert alike(read, dtype)


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_a_predictor_that_is_first_needed_meanwhile_serves(dtype, tmp_path):
    """It is kept for as long as the process runs: one in bfloat16 would fail at every text."""
    made = BoundaryPredictor(16, hidden=8, heads=2).eval()
    made.save(tmp_path / "boundaries.safetensors", Origin(model="", fingerprint="", architecture=""))
    with default(dtype):
        read = BoundaryPredictor.load(tmp_path / "boundaries.safetensors")
    again = BoundaryPredictor.load(tmp_path / "boundaries.safetensors")
    keys = drawn(1, 2, 90, 8)
    assert torch.equal(read.predict(keys), again.predict(keys))


@pytest.mark.parametrize("dtype", DEFAULTS)
def test_what_else_a_server_computes_is_as_ever(dtype):
    window = tuple(range(start, start + size) for start, size in ((0, 3), (3, 300), (303, 77)))
    texts = [(drawn(5, 8), EventText(text="a", age_days=3.14159, burst=1.7, similarity=0.123))]
    vectors = drawn(9, 8).numpy()
    assert alike(lambda: [by_sentence(drawn(2, 381), window)], dtype)
    assert alike(lambda: [positions(700, 32)], dtype)
    assert alike(lambda: [padded([drawn(3, 4), drawn(7, 4)], 5)[0]], dtype)
    for parts in ([texts, []], [[], []]):
        assert alike(lambda parts=parts: [(told := joined(parts, 8)).states, told.facts], dtype)
    assert alike(lambda: [corpus_weights([[row % 3, row] for row in range(9)], vectors, 12)], dtype)
