"""Blocks and the kernel: the same attention as a masked softmax, whatever computes it, and nothing else is visited."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention import kernel
from foveal.attention.blocks import Blocks
from foveal.attention.dense import capped_attention
from foveal.attention.kernel import block_attention, merge, native, plain
from foveal.errors import InputError
from foveal.models import compiled


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def some_blocks(
    batch: int, heads: int, queries: int, keys: int, share: float = 0.5, seed: int = 0, **options
) -> Blocks:
    rows = -(-queries // options.get("query_block", 128))
    columns = -(-keys // options.get("key_block", 128))
    draw = torch.Generator().manual_seed(seed)
    keep = torch.rand(batch, heads, rows, columns, generator=draw) < share
    return Blocks.of(keep, queries=queries, keys=keys, **options)


def by_definition(q, k, v, seen, *, scale, bias=None, softcap=None) -> tuple[Tensor, Tensor]:
    """Softmax over what is seen, query by query, in float64."""
    k, v = (part.double().repeat_interleave(q.shape[1] // k.shape[1], 1) for part in (k, v))
    scores = q.double() @ k.transpose(-1, -2) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~seen, -math.inf)
    return scores.softmax(-1).nan_to_num(0) @ v, scores.logsumexp(-1)


def token_by_token(blocks: Blocks, batch: int, heads: int) -> Tensor:
    """What a query sees, by a loop over all pairs."""
    keep = blocks.keep.expand(batch, heads, -1, -1)
    seen = torch.zeros(batch, heads, blocks.queries, blocks.keys, dtype=torch.bool)
    for query in range(blocks.queries):
        place = query + blocks.keys - blocks.queries
        for key in range(place + 1):
            if blocks.window is not None and place - key >= blocks.window:
                continue
            kept = keep[:, :, query // blocks.query_block, key // blocks.key_block]
            real = torch.ones(batch, dtype=torch.bool) if blocks.real is None else blocks.real[:, key]
            seen[:, :, query, key] = kept & real[:, None]
    return seen


def close(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other.double(), atol=tolerance, rtol=tolerance)


# -- blocks ----------------------------------------------------------------------------------------------------------

SHAPES = [
    {"queries": 70, "keys": 70, "query_block": 16, "key_block": 16},
    {"queries": 33, "keys": 70, "query_block": 16, "key_block": 16},
    {"queries": 70, "keys": 70, "query_block": 32, "key_block": 8},
    {"queries": 5, "keys": 64, "query_block": 16, "key_block": 16},
    {"queries": 70, "keys": 70, "query_block": 16, "key_block": 16, "window": 20},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_query_sees_what_a_loop_over_all_pairs_says(shape):
    real = torch.ones(2, shape["keys"], dtype=torch.bool)
    real[1, :19] = False
    for options in (shape, {**shape, "real": real}):
        blocks = some_blocks(2, 3, **options)
        assert (blocks.seen() == token_by_token(blocks, 2, 3)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_visible_blocks_hold_a_pair_and_whole_ones_hold_all(shape):
    blocks = Blocks.causal(**shape)
    seen = token_by_token(blocks, 1, 1)[0, 0]
    for row in range(blocks.keep.shape[2]):
        for column in range(blocks.keep.shape[3]):
            part = seen[row * blocks.query_block :][: blocks.query_block, column * blocks.key_block :]
            part = part[:, : blocks.key_block]
            assert bool(blocks.visible[0, 0, row, column]) == bool(part.any())
            assert bool(blocks.whole[0, 0, row, column]) == bool(part.all())


def test_density_is_the_share_of_the_causal_blocks():
    keep = torch.eye(4, dtype=torch.bool)[None, None]
    blocks = Blocks.of(keep, queries=64, keys=64, query_block=16, key_block=16)
    assert blocks.density().item() == pytest.approx(4 / 10)
    assert Blocks.causal(64, 64, query_block=16, key_block=16).density().item() == 1


def test_blocks_of_a_wrong_shape_say_which_is_needed():
    with pytest.raises(InputError, match=r"\(B or 1, H or 1, 2, 2\)"):
        Blocks.of(torch.ones(1, 1, 2, 3, dtype=torch.bool), queries=200, keys=200)
    with pytest.raises(InputError, match=r"torch\.bool"):
        Blocks.of(torch.ones(1, 1, 2, 2), queries=200, keys=200)
    with pytest.raises(InputError, match="last of the keys"):
        Blocks.of(torch.ones(1, 1, 2, 1, dtype=torch.bool), queries=200, keys=100)


# -- the kernel --------------------------------------------------------------------------------------------------------


def test_the_compiled_kernel_is_here():
    assert native(torch.float32) == torch.float32
    assert native(torch.float16) == torch.float32


@pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="this processor has no AMX")
def test_with_amx_halves_are_computed_as_halves():
    """A kernel whose halves are wrong is not used for them, silently: here they must be right."""
    assert native(torch.bfloat16) == torch.bfloat16


@settings(max_examples=40, deadline=None)
@given(
    queries=st.integers(1, 90),
    before=st.integers(0, 70),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 1)]),
    width=st.sampled_from([8, 17, 40]),
    sizes=st.sampled_from([(16, 16), (32, 8), (8, 32), (128, 128)]),
    window=st.sampled_from([None, 1, 25]),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_compiled_and_plain_are_the_masked_softmax(queries, before, heads, width, sizes, window, share, seed):
    keys = queries + before
    q, k = drawn(2, heads[0], queries, width, seed=seed), drawn(2, heads[1], keys, width, seed=seed + 1)
    v = drawn(2, heads[1], keys, width + 3, seed=seed + 2)
    real = torch.rand(2, keys, generator=torch.Generator().manual_seed(seed)) < 0.8
    blocks = some_blocks(
        2, heads[0], queries, keys, share, seed, query_block=sizes[0], key_block=sizes[1], window=window, real=real
    )
    expected = by_definition(q, k, v, blocks.seen(), scale=0.3)
    close(plain(q, k, v, blocks, scale=0.3), expected)
    close(block_attention(q, k, v, blocks, scale=0.3), expected)


@pytest.mark.parametrize("rows", [1, 2], ids=["kept alike", "kept by row"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "all real"])
@pytest.mark.parametrize("window", [None, 5, 20])
@pytest.mark.parametrize("queries", [33, 70])
def test_what_is_not_causal_sees_later_keys_beside_padding_and_a_window(queries, window, padded, rows):
    keep = torch.rand(rows, 4, -(-queries // 16), 5, generator=torch.Generator().manual_seed(1)) < 0.7
    real = torch.ones(2, 70, dtype=torch.bool)
    real[0, :19], real[1, 50:] = False, False
    blocks = Blocks(keep, queries, 70, 16, 16, window, real if padded else None, is_causal=False)
    query, key = torch.arange(queries)[:, None], torch.arange(70)
    seen = keep[:, :, query // 16, key // 16] & (query + 70 - queries - key < (window or 70))
    seen = seen & real[:, None, None] if padded else seen
    q, k, v = (drawn(2, heads, count, 16, seed=heads) for heads, count in ((4, queries), (2, 70), (2, 70)))
    expected = by_definition(q, k, v, seen, scale=1 / 4)
    close(block_attention(q, k, v, blocks), expected)
    close(plain(q, k, v, blocks, scale=1 / 4), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_as_near_as_their_roundings(dtype):
    q, k, v = (drawn(1, heads, 300, 64, seed=heads, dtype=dtype) for heads in (4, 2, 2))
    blocks = some_blocks(1, 4, 300, 300, query_block=64, key_block=64)
    close(block_attention(q, k, v, blocks), by_definition(q, k, v, blocks.seen(), scale=1 / 8), tolerance=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [15, 16, 33, 64, 80, 130])
@pytest.mark.parametrize("heads", [2, 4])  # of two groups: a block is looked at once, or by two heads
def test_keys_and_values_of_any_width_are_packed_whole(dtype, width, heads):
    """Steps of sixteen keys and widths, and what is left of them; keys that are the last of a batch, and its end."""
    q = drawn(2, heads, 40, width, dtype=dtype)
    k, v = (drawn(2, 2, 703, wide, seed=wide, dtype=dtype) for wide in (width, width + 1))
    blocks = some_blocks(2, heads, 40, 703, 0.7, query_block=48, key_block=24)
    expected = by_definition(q, k, v, blocks.seen(), scale=0.2)
    close(block_attention(q, k, v, blocks, scale=0.2), expected, 1e-5 if dtype == torch.float32 else 0.02)


def test_blocks_of_an_odd_number_of_keys_are_right_in_bfloat16():
    """oneDNN's products take pairs of keys there, and end the process where one has no other."""
    q, k, v = (drawn(1, heads, 40, 16, seed=heads, dtype=torch.bfloat16) for heads in (4, 2, 3))
    blocks = some_blocks(1, 4, 40, 40, query_block=16, key_block=15)
    close(block_attention(q, k, v[:, :2], blocks), by_definition(q, k, v[:, :2], blocks.seen(), scale=1 / 4), 0.02)


def test_all_blocks_are_dense_attention():
    q, k, v = (drawn(1, heads, 277, 64, seed=heads) for heads in (4, 2, 2))
    dense = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(block_attention(q, k, v, Blocks.causal(277, 277))[0], dense, atol=1e-5, rtol=1e-5)


def test_strided_inputs_are_read_where_they_stand():
    q, k, v = (drawn(1, 100, heads, 16, seed=heads).transpose(1, 2) for heads in (4, 2, 3))
    v = v[:, :2]
    blocks = some_blocks(1, 4, 100, 100, query_block=16, key_block=16)
    close(block_attention(q, k, v, blocks), by_definition(q, k, v, blocks.seen(), scale=1 / 4))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("by_head", [True, False])
def test_a_bias_is_added_to_each_key_block(softcap, by_head):
    q, k, v = (drawn(2, heads, 75, 16, seed=heads) for heads in (4, 2, 2))
    blocks = some_blocks(1, 4, 75, 75, 0.8, query_block=16, key_block=16)
    bias = drawn(2, 4 if by_head else 1, 75, 5, seed=9)
    bias[:, :, :, 2] = -math.inf
    by_token = bias.repeat_interleave(16, -1)[..., :75]
    expected = by_definition(q, k, v, blocks.seen(), scale=0.25, bias=by_token, softcap=softcap)
    close(block_attention(q, k, v, blocks, bias=bias, softcap=softcap), expected)
    close(plain(q, k, v, blocks, scale=0.25, bias=bias, softcap=softcap), expected)


def test_what_sees_nothing_is_zero_with_a_sum_of_nothing():
    q, k, v = (drawn(1, 2, 64, 16, seed=n) for n in range(3))
    keep = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    keep[..., 2, 1] = True
    output, sums = block_attention(q, k, v, Blocks.of(keep, queries=64, keys=64, query_block=16, key_block=16))
    assert (sums.isfinite() == (torch.arange(64) // 16 == 2)).all()
    assert (output[:, :, :32] == 0).all()
    assert (output[:, :, 32:48] != 0).all()


def test_no_keys_are_nothing_to_see():
    q, none = drawn(1, 2, 3, 16), drawn(1, 2, 0, 16)
    blocks = Blocks(torch.ones(1, 1, 1, 0, dtype=torch.bool), 3, 0, is_causal=False)
    output, sums = block_attention(q, none, none, blocks)
    assert output.shape == q.shape
    assert not output.any()
    assert (sums == -math.inf).all()


def test_large_scores_do_not_overflow():
    q, k, v = (drawn(1, 1, 64, 16, seed=n) * 300 for n in range(3))
    output, sums = block_attention(q, k, v, Blocks.causal(64, 64, query_block=16, key_block=16), scale=1.0)
    expected = by_definition(q, k, v, torch.ones(64, 64).tril().bool(), scale=1.0)
    torch.testing.assert_close(output.double(), expected[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(sums.double(), expected[1], rtol=1e-5, atol=1e-2)


def test_parts_over_disjoint_keys_merge_to_the_whole():
    q, k, v = (drawn(1, heads, 100, 16, seed=heads) for heads in (4, 2, 2))
    whole = some_blocks(1, 4, 100, 100, 0.7, query_block=16, key_block=16)
    half = torch.rand(whole.keep.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    parts = [
        block_attention(q, k, v, Blocks.of(whole.keep & mine, queries=100, keys=100, query_block=16, key_block=16))
        for mine in (half, ~half)
    ]
    close(merge(parts), block_attention(q, k, v, whole))


def test_a_visited_block_is_one_that_was_kept():
    """NaN in every key that no kept block holds does not reach the output."""
    q, k, v = (drawn(1, 2, 96, 16, seed=n) for n in range(3))
    keep = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    keep[..., 1] = keep[..., 4] = True
    k[:, :, [*range(16), *range(32, 64), *range(80, 96)]] = torch.nan
    output, _ = block_attention(q, k, v, Blocks.of(keep, queries=96, keys=96, query_block=16, key_block=16))
    assert not output.isnan().any()


# -- FlexAttention -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_our_block_mask_holds_the_same_blocks(shape):
    blocks = some_blocks(2, 3, **shape)
    assert (Blocks.from_block_mask(blocks.block_mask()).seen() == blocks.seen()).all()


@pytest.mark.filterwarnings("ignore")  # FlexAttention says that it is slow when it is not compiled
@pytest.mark.parametrize("window", [None, 70])
def test_flex_attention_by_our_rule_is_the_same(window):
    q, k, v = (drawn(2, heads, 300, 16, seed=heads) for heads in (4, 2, 2))
    real = torch.ones(2, 300, dtype=torch.bool)
    real[0, :40] = False
    blocks = Blocks.causal(300, 300, window=window, real=real)  # uncompiled it reads the rule only, not the blocks
    bias = drawn(1, 4, 300, 3, seed=5)
    theirs = kernel._flex(q, k, v, blocks, 0.25, bias, 3.0, flex_attention)
    ours = block_attention(q, k, v, blocks, scale=0.25, bias=bias, softcap=3.0)
    seen = ours[1].isfinite()
    torch.testing.assert_close(theirs[0][seen], ours[0][seen], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(theirs[1][seen], ours[1][seen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("edges", [(128, 128), (128, 32), (64, 64), (256, 96), (16, 16)], ids=str)
@pytest.mark.parametrize("width", [64, 256])
def test_tiles_of_a_gpu_divide_the_blocks_that_they_are_to_compute(edges, width):
    """Also those that PyTorch chooses where it is left to: it refuses what they do not divide, as DHSA's 32 keys."""
    given = {}

    def attention(q, *_, kernel_options, **__):
        given.update(kernel_options)
        return q, SimpleNamespace(lse=q)

    blocks = Blocks.causal(512, 512, query_block=edges[0], key_block=edges[1])
    q, k = (drawn(1, heads, 512, width) for heads in (4, 2))
    kernel._flex(q, k, k, blocks, 0.25, None, None, attention)
    for edge, name in zip(edges, ("BLOCK_M", "BLOCK_N"), strict=True):
        for chosen in (16, 32, 64, 128):
            tile = given.get(name, chosen)
            assert (edge % tile, 16 <= tile <= (128 if width == 64 or name not in given else 32)) == (0, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("edges", [(128, 128), (128, 32), (64, 64), (128, 8)], ids=str)
def test_a_gpu_computes_the_same(edges):
    q, k, v = (drawn(1, heads, 700, 64, seed=heads, dtype=torch.bfloat16) for heads in (4, 2, 2))
    blocks = some_blocks(1, 4, 700, 700, query_block=edges[0], key_block=edges[1])
    ours = block_attention(q, k, v, blocks)
    there = replace(blocks, keep=blocks.keep.cuda())
    theirs = [part.cpu() for part in block_attention(q.cuda(), k.cuda(), v.cuda(), there)]
    torch.testing.assert_close(theirs, list(ours), atol=0.02, rtol=0.02)


def test_any_block_mask_of_flex_attention_is_taken():
    """Documents one after another: the rule is not by position, and it is a function of tokens."""
    document = torch.tensor([0] * 70 + [1] * 130 + [2] * 100)

    def same(batch, head, query, key):
        return (document[query] == document[key]) & (query >= key) & ((key % 7 > head) | (query == key))

    mask = create_block_mask(same, 1, 4, 300, 300, device="cpu")
    q, k, v = (drawn(1, heads, 300, 16, seed=heads) for heads in (4, 2, 2))
    places = torch.arange(300)
    heads = torch.arange(4)[:, None, None]
    expected = by_definition(q, k, v, same(0, heads, places[:, None], places)[None], scale=1 / 4)
    close(block_attention(q, k, v, mask), expected)
    close(plain(q, k, v, Blocks.from_block_mask(mask), scale=1 / 4), expected)


def test_whole_blocks_of_a_block_mask_do_not_ask_its_rule():
    def never(batch, head, query, key):
        return query < 0

    def everything(batch, head, query, key):
        return query >= 0

    mask = create_block_mask(everything, 1, 1, 256, 256, device="cpu")
    mask.mask_mod = never  # whole blocks stand apart: nothing is left to ask
    q, k, v = (drawn(1, 1, 256, 16, seed=n) for n in range(3))
    close(block_attention(q, k, v, mask), by_definition(q, k, v, torch.ones(256, 256).bool(), scale=1 / 4))
    real = torch.arange(256)[None] > 18  # padding cuts a whole block, and its rule is still not asked
    blocks = replace(Blocks.from_block_mask(mask), real=real)
    close(block_attention(q, k, v, blocks), by_definition(q, k, v, real[:, None, None], scale=1 / 4))
    causal = replace(Blocks.from_block_mask(mask), is_causal=True)  # and so does causality
    close(block_attention(q, k, v, causal), by_definition(q, k, v, torch.ones(256, 256).tril().bool(), scale=1 / 4))


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"k": drawn(1, 3, 40, 16)}, "multiple of key heads"),
        ({"v": drawn(1, 2, 41, 16)}, "do not fit"),
        ({"q": drawn(1, 4, 39, 16)}, "39 and 40 came"),
        ({"q": drawn(1, 4, 40, 16).double()}, "float64"),
        ({"bias": drawn(1, 4, 40, 9)}, "bias is"),
        ({"q": drawn(4, 40, 16)}, "needs q"),
    ],
)
def test_what_does_not_fit_is_said(change, told):
    given_ = {"q": drawn(1, 4, 40, 16), "k": drawn(1, 2, 40, 16), "v": drawn(1, 2, 40, 16), "bias": None, **change}
    bias = given_.pop("bias")
    with pytest.raises(InputError, match=told):
        block_attention(*given_.values(), Blocks.causal(40, 40, query_block=16, key_block=16), bias=bias)


def test_without_a_compiler_the_plain_loop_gives_the_same(monkeypatch, tmp_path, caplog):
    q, k, v = (drawn(1, heads, 90, 16, seed=heads) for heads in (4, 2, 2))
    blocks = some_blocks(1, 4, 90, 90, query_block=16, key_block=16)
    expected = block_attention(q, k, v, blocks)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiled.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "foveal.models"):
            close(block_attention(q, k, v, blocks), expected)
            close(block_attention(q, k, v, blocks), expected)
        assert [record.message for record in caplog.records if "compiler" in record.message] == [
            "A part runs without its compiled code (attention/native/block_attention.cpp), many times slower: "
            "no C++ compiler was found. Install g++ or clang++, or name one by CXX."
        ]
    finally:
        monkeypatch.undo()
        compiled.library.cache_clear()


def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path, caplog):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'no such standard' >&2\ntest \"$1\" = --version\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    compiled.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "foveal.models"):
            assert compiled.library(kernel.SOURCE) is None
        assert "no such standard" in caplog.text
    finally:
        compiled.library.cache_clear()


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A compiler that takes no time: what it makes is a library that is there; `made()` is how often it was asked."""
    log, full = tmp_path / "log", tmp_path / "full"
    ready = Path(torch.__file__).parent / "lib" / "libtorch_global_deps.so"
    quick = tmp_path / "c++"
    quick.write_text(
        '#!/bin/sh\nif test "$1" = --version; then exit; fi\ncat > /dev/null\n'
        f"echo >> {log}\nif test -e {full}; then echo 'error: No space left on device' >&2; exit 1; fi\n"
        f'while test "$1" != -o; do shift; done\ncp {ready} "$2"\n'
    )
    quick.chmod(0o755)
    monkeypatch.setenv("CXX", str(quick))
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield lambda: len(log.read_text()) if log.exists() else 0
    compiled.library.cache_clear()


def test_a_kernel_that_cannot_be_loaded_is_made_anew(made):
    path = compiled._made(compiled._text(kernel.SOURCE))
    path.write_bytes(b"")  # as where a machine lost its power
    assert compiled.library(kernel.SOURCE) is not None
    assert compiled.library(kernel.SOURCE) is compiled.library(kernel.SOURCE)
    assert made() == 2


@pytest.mark.parametrize("who", ["the compiler", "we"])
def test_what_a_full_disk_kept_from_being_made_is_tried_again_in_a_while(made, monkeypatch, tmp_path, caplog, who):
    lacks = tmp_path / ("full" if who == "the compiler" else "cache")
    lacks.touch()  # a file where a folder of ours should be
    for _ in range(3):
        assert compiled.library(kernel.SOURCE) is None
    assert len([record for record in caplog.records if "compiled code" in record.message]) == 1
    lacks.unlink()
    assert compiled.library(kernel.SOURCE) is None  # not at every call
    later = time.monotonic() + compiled.AGAIN_S
    monkeypatch.setattr(compiled, "time", SimpleNamespace(monotonic=lambda: later))
    assert compiled.library(kernel.SOURCE) is not None


def test_a_compiler_that_comes_later_is_used_and_asked_at_growing_intervals(made, monkeypatch, tmp_path, caplog):
    now = time.monotonic()
    monkeypatch.setattr(compiled, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(kernel, "_computed_in", lambda dtype: dtype)  # what is made here computes nothing
    full = tmp_path / "full"
    full.touch()
    tries = []
    for _ in range(200):
        assert native(torch.float32) is None
        tries.append(made())
        now += compiled.AGAIN_S / 2
    assert tries[:7] == [1, 1, 2, 2, 2, 2, 3]
    assert tries[-1] < 9
    assert len([record for record in caplog.records if "compiled code" in record.message]) == 1
    full.unlink()
    now += compiled.LATEST_S
    assert native(torch.float32) == torch.float32


def test_while_one_thread_tries_again_the_others_do_without(made, monkeypatch, tmp_path):
    now, asked = time.monotonic(), []
    monkeypatch.setattr(compiled, "time", SimpleNamespace(monotonic=lambda: now))
    full = tmp_path / "full"
    full.touch()
    assert compiled.library(kernel.SOURCE) is None
    full.unlink()
    now += compiled.AGAIN_S
    opened = compiled._opened
    monkeypatch.setattr(
        compiled, "_opened", lambda text: (asked.append(compiled.library(kernel.SOURCE)), opened(text))[1]
    )
    assert compiled.library(kernel.SOURCE) is not None
    assert asked == [None]
    assert made() == 2


def test_a_compiler_that_hangs_is_given_up(made, monkeypatch, tmp_path, caplog):
    (tmp_path / "c++").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(compiled, "LONGEST_S", 0.2)
    begun = time.monotonic()
    assert compiled.library(kernel.SOURCE) is None
    assert time.monotonic() < begun + 30
    assert "c++ did not end within 0.2 seconds." in caplog.text


def test_a_bias_or_padding_of_another_batch_is_refused():
    q, k = (torch.randn(4, heads, 64, 8) for heads in (2, 1))
    blocks = Blocks.causal(64, 64)
    with pytest.raises(InputError, match="bias"):
        block_attention(q, k, k, blocks, bias=torch.zeros(2, 1, 64, 1))
    with pytest.raises(InputError, match="real keys"):
        block_attention(q, k, k, Blocks.causal(64, 64, real=torch.ones(1, 64, dtype=torch.bool)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("what", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["query", "key"])
@pytest.mark.parametrize("place", [0, 63, 129])
def test_what_is_no_number_stays_so(where, what, place, dtype):
    """A model that overflows, or whose weights are damaged, must be told of: finite numbers would hide it."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 130, 32, generator=draw).to(dtype) for _ in range(3))
    {"query": q, "key": k}[where][0, 1, place] = what
    blocks = Blocks.causal(130, 130)
    rows = torch.arange(130) == place if where == "query" else torch.arange(130) >= place
    for output, sums in (block_attention(q, k, v, blocks), plain(q, k, v, blocks, scale=0.2)):
        assert output.isfinite().all(-1)[0].tolist() == [[True] * 130, (~rows).tolist()]
        assert sums[0, 0].isfinite().all()
        merged = merge([(output, sums), (v, torch.zeros(1, 2, 130))])[0]
        assert torch.equal(merged.isfinite().all(-1), output.isfinite().all(-1))
    mask = torch.ones(1, 1, 130, 130, dtype=torch.bool).tril()
    capped = capped_attention(q, k, v, mask, scale=0.2, softcap=None)
    assert capped.isfinite().all(-1)[0].tolist() == [[True] * 130, (~rows).tolist()]
