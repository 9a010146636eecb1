"""Window attention against a mask over all tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn.streams import assert_streams, drawn, turned

from foveal.errors import InputError
from foveal.nn.window_attention import WindowAttention, WindowSettings


def window_of(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return WindowAttention(WindowSettings(**{"dim": 8, "heads": 2, "window": 4, **options})).to(dtype)


def by_definition(layer, x, mask, prefix):
    """Row by row: which keys are there by the rule's words, each turned by its distance."""
    s = layer.settings
    q, k, v = layer.heads(x)
    extra = None if prefix is None else layer.heads(prefix[None])[1:]
    rows = []
    for t in range(x.shape[1]):
        seen = [p for p in range(x.shape[1]) if mask[0, p] and _sees(s, t, p)]
        keys = [extra[0][0]] if extra else []
        values = [extra[1][0]] if extra else []
        keys.append(torch.stack([turned(k[0, :, [p]], t - p)[:, 0] for p in seen], 1) if seen else k[0, :, :0])
        values.append(v[0][:, seen])
        keys, values = torch.cat(keys, 1), torch.cat(values, 1)
        share = (torch.einsum("hd,hkd->hk", q[0, :, t], keys) * s.width**-0.5).softmax(-1)
        rows.append(torch.einsum("hk,hkd->hd", share, values).flatten())
    return layer.out(torch.stack(rows)[None])


def _sees(s, t, p):
    if s.causal and p > t:
        return False
    if s.kind == "sliding":
        return abs(t - p) < s.window
    return abs(t // s.window - p // s.window) <= 1


@pytest.mark.parametrize("kind", ["sliding", "blocks"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("prefixed", [True, False])
def test_it_is_masked_attention(kind, causal, prefixed):
    layer, x = window_of(kind=kind, causal=causal), drawn(1, 19, 8)
    mask = torch.rand(1, 19, generator=torch.Generator().manual_seed(1)) > 0.3
    mask[0, :6] = False  # rows that see nothing but the prefix
    prefix = drawn(3, 8, seed=2) if prefixed else None
    given_rows = layer(x, mask=mask, prefix=prefix)[0]
    torch.testing.assert_close(given_rows, by_definition(layer, x, mask, prefix), atol=1e-12, rtol=1e-12)


@given(
    tokens=st.integers(1, 30),
    window=st.integers(1, 40),
    kind=st.sampled_from(["sliding", "blocks"]),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)
@settings(max_examples=20)
def test_whole_in_pieces_and_by_token_are_one(tokens, window, kind, cuts):
    layer = window_of(window=window, kind=kind)
    with torch.no_grad():
        assert_streams(layer, drawn(2, tokens, 8), [min(one, tokens) for one in cuts], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("width", [-2, 0, 3])
def test_heads_of_no_even_width_are_refused(width):
    with pytest.raises(InputError, match=f"dim_head = {width}|heads of width {width}"):
        WindowSettings(dim=8, heads=2, dim_head=width)
