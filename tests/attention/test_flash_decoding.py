"""A few queries over many keys: parted over the keys and merged, they are plain attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention import dense, flash_decoding
from foveal.attention.dense import dense_attention, parts_keys
from foveal.attention.flash_decoding import every_key, last_queries
from foveal.attention.kernel import block_attention, native
from foveal.attention.masks import Mask

HALVES = pytest.mark.skipif(native(torch.bfloat16) != torch.bfloat16, reason="halves are not computed as halves here")


def drawn(heads: int, groups: int, queries: int, keys: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draw = torch.Generator().manual_seed(keys)
    sizes = ((heads, queries), (groups, keys), (groups, keys))
    return [torch.randn(1, *size, 16, generator=draw).to(dtype) for size in sizes]


def by_definition(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool) -> tuple[Tensor, Tensor]:
    key, value = (part.double().repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    scores = query.double() @ key.transpose(-1, -2) * scale
    queries, keys = scores.shape[-2:]
    if causal:
        seen = torch.arange(keys) <= torch.arange(keys - queries, keys)[:, None]
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ value, scores.logsumexp(-1)


@pytest.mark.parametrize("queries", [1, 7])
@pytest.mark.parametrize("keys", [7, 8, 100, 129, 300, 511])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2), (5, 1)], ids=str)
def test_parts_are_merged_to_the_whole(queries, keys, heads, monkeypatch):
    """One part and many, keys that do not part evenly, one block of rows and several."""
    monkeypatch.setattr(flash_decoding, "PART", 50)
    monkeypatch.setattr(flash_decoding, "ROWS", 9)
    flash_decoding._every_block.cache_clear()
    query, key, value = drawn(*heads, queries, keys)
    output, sums = every_key(query, key, value, scale=0.3)
    expected = by_definition(query, key, value, 0.3, causal=False)
    torch.testing.assert_close(output.double(), expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sums.double(), expected[1], atol=1e-5, rtol=1e-5)
    found, _ = last_queries(query, key, value, scale=0.3)
    expected = by_definition(query, key, value, 0.3, causal=True)
    torch.testing.assert_close(found.double(), expected[0], atol=1e-5, rtol=1e-5)
    flash_decoding._every_block.cache_clear()


@HALVES
@pytest.mark.parametrize("queries", [32, 63])
def test_dense_attention_takes_it_for_few_queries_over_many_keys(queries, monkeypatch):
    query, key, value = drawn(4, 2, queries, 9000, torch.bfloat16)
    expected = scaled_dot_product_attention(
        *(part.float() for part in (query, key, value)), attn_mask=Mask.causal(1, queries, 9000).rows(rows(queries)),
        scale=0.25, enable_gqa=True,
    )  # fmt: skip
    called = []
    monkeypatch.setattr(dense, "last_queries", lambda *given, **more: called.append(1) or last_queries(*given, **more))
    found = dense_attention(query, key, value, Mask.causal(1, queries, 9000), scale=0.25)
    torch.testing.assert_close(found.float(), expected, atol=0.01, rtol=0.02)
    assert called == [1]


def rows(queries: int) -> Tensor:
    return torch.arange(queries)[None]


@HALVES
@pytest.mark.parametrize(
    "why", ["a window", "padding", "a batch", "few keys", "few rows", "many queries", "float32", "gradients"]
)
def test_what_it_is_not_for(why):
    batch, queries, keys = 2 if why == "a batch" else 1, {"many queries": 100, "few rows": 31}.get(why, 40), 9000
    keys = 1000 if why == "few keys" else keys
    dtype = torch.float32 if why == "float32" else torch.bfloat16
    query, key = torch.zeros(batch, 4, queries, 16, dtype=dtype), torch.zeros(batch, 2, keys, 16, dtype=dtype)
    query.requires_grad_(why == "gradients")
    real = torch.arange(keys)[None] > 5 if why == "padding" else None
    mask = Mask.causal(batch, queries, keys, window=4096 if why == "a window" else None, real=real)
    assert not parts_keys(query, key, mask)
    usual = torch.zeros(1, 4, 40, 16, dtype=torch.bfloat16), torch.zeros(1, 2, 9000, 16, dtype=torch.bfloat16)
    assert parts_keys(*usual, Mask.causal(1, 40, 9000))


@pytest.mark.parametrize("queries", [1, 9])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("window", [None, 5])
def test_heads_that_share_keys_are_rows_of_one(queries, batch, window, monkeypatch):
    """Under a mask with padding and a window, for each head what plain attention says."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((6, queries), (2, 40), (2, 40))
    query, key, value = (torch.randn(batch, heads, n, 16, generator=draw) for heads, n in sizes)
    real = torch.ones(batch, 40, dtype=torch.bool)
    real[-1, :3] = batch == 1
    mask = Mask.causal(batch, queries, 40, window=window, real=real)
    seen = mask.rows(rows(queries).expand(batch, -1))
    expected = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=0.3, enable_gqa=True)
    asked = []
    monkeypatch.setattr(
        dense,
        "scaled_dot_product_attention",
        lambda q, *more, **options: asked.append(tuple(q.shape)) or scaled_dot_product_attention(q, *more, **options),
    )
    found = dense_attention(query, key, value, mask, scale=0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert asked == [(batch, 2, 3 * queries, 16)]


def test_a_mask_for_each_head_stays_one():
    query, key = torch.randn(1, 6, 3, 16), torch.randn(1, 2, 40, 16)
    mask = Mask.causal(1, 3, 40)
    mask.given, mask.dense = True, torch.rand(1, 6, 3, 40) < 0.5
    expected = scaled_dot_product_attention(query, key, key, attn_mask=mask.dense, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(dense_attention(query, key, key, mask, scale=0.3), expected)


@HALVES
@pytest.mark.parametrize("how", ["whole", "a window", "padding", "a batch"])
@pytest.mark.parametrize("queries", [8, 9, 63])
def test_without_amx_the_block_kernel_runs_earlier(queries, how, monkeypatch):
    """There PyTorch's attention of a question behind a text takes several times as long."""
    called = []
    monkeypatch.setattr(
        dense, "block_attention", lambda *given, **more: called.append(1) or block_attention(*given, **more)
    )
    batch, keys = 2 if how == "a batch" else 1, 700
    parts = drawn(14, 2, queries, keys, torch.bfloat16)
    query, key, value = (part.expand(batch, -1, -1, -1) for part in parts)
    real = torch.arange(keys)[None] > 5 if how == "padding" else None
    mask = Mask.causal(batch, queries, keys, window=333 if how == "a window" else None, real=real)
    expected = scaled_dot_product_attention(
        *(part.float() for part in (query, key, value)),
        attn_mask=mask.rows(rows(queries).expand(batch, -1)),
        scale=0.25,
        enable_gqa=True,
    )
    for amx in (True, False):
        monkeypatch.setattr(dense, "_has_amx", lambda amx=amx: amx)
        found = dense_attention(query, key, value, mask, scale=0.25)
        torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.02)
        assert len(called) == (not amx)
    few = parts[0][:, :, :7]
    assert not dense.prefers_blocks(few)
    assert not dense.prefers_blocks(query.float())
