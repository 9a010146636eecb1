"""Aaren: every scan, the step and the merge against masked softmax attention of one query."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn.streams import assert_same_state, assert_streams, drawn, first_half_changed

from foveal.errors import InputError
from foveal.nn.aaren import Aaren, AarenBlock, AarenEncoder, AarenSettings
from foveal.nn.scan import (
    SCANS,
    Piece,
    attention_by_definition,
    joined,
    last,
    leaves,
    nothing,
    output,
    prefixes,
    summed,
)


def aaren(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return Aaren(AarenSettings(**{"dim": 8, "heads": 2, **options})).to(dtype)


def full_attention(scores, values, real=None, decay=0.0):
    """Masked softmax over (…, T, T), written out; 0 where nothing is seen."""
    tokens = scores.shape[-1]
    place = torch.arange(tokens)
    seen = (place <= place[:, None]).expand(*scores.shape[:-1], tokens, tokens)
    behind = (place[:, None] - place).clamp(min=0).to(scores.dtype)
    if real is not None:
        seen = seen & real[..., None, :]
        ranks = real.to(scores.dtype).cumsum(-1)
        behind = ranks[..., :, None] - ranks[..., None, :]  # masked tokens are no tokens, so no time passes
    shares = (scores[..., None, :] - decay * behind).masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num()
    return shares @ values


# -- the scan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scan", ["auto", *SCANS])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_every_scan_is_attention(scan, scale):
    scores, values = scale * drawn(2, 3, 150), drawn(2, 3, 150, 4, seed=1)
    expected = full_attention(scores, values)
    got = output(prefixes(leaves(scores, values), scan=scan))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    single = output(prefixes(leaves(scores.float(), values.float()), scan=scan)).double()
    torch.testing.assert_close(single, full_attention(scores.float().double(), values), atol=2e-6, rtol=1e-5)


@given(
    tokens=st.integers(1, 100),
    scan=st.sampled_from(sorted(SCANS)),
    decay=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 100),
    cut=st.integers(0, 100),
)
@settings(max_examples=40)
def test_masked_tokens_are_not_there_whatever_the_scan(tokens, scan, decay, seed, cut):
    scores, values = drawn(2, tokens, seed=seed), drawn(2, tokens, 3, seed=seed + 1)
    real = torch.rand(2, tokens, generator=torch.Generator().manual_seed(seed)) > 0.5
    pieces = leaves(scores, values, real)
    expected = full_attention(scores, values, real, decay)
    torch.testing.assert_close(output(prefixes(pieces, decay=decay, scan=scan)), expected, atol=1e-12, rtol=1e-12)
    cut = min(cut, tokens)
    first, rest = (Piece(*(one[..., part, :] for one in pieces)) for part in (slice(cut), slice(cut, None)))
    if 0 < cut < tokens:
        before = Piece(*(one[..., -1, :] for one in prefixes(first, decay=decay, scan=scan)))
        got = output(prefixes(rest, decay=decay, scan=scan, before=before))
        torch.testing.assert_close(got, expected[:, cut:], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("level", [-200.0, 1e4, -1e4])
@pytest.mark.parametrize("scan", SCANS)
def test_no_level_of_scores_gives_a_nan(level, scan):
    scores, values = torch.full((1, 70), level), drawn(1, 70, 3, dtype=torch.float32)
    expected = values.cumsum(1) / torch.arange(1, 71)[:, None]
    torch.testing.assert_close(output(prefixes(leaves(scores, values), scan=scan)), expected, atol=1e-6, rtol=1e-5)
    wide = torch.linspace(-1e4, 1e4, 70).expand(1, -1)
    got = output(prefixes(leaves(wide, values), scan=scan))
    torch.testing.assert_close(got, full_attention(wide, values), atol=1e-6, rtol=1e-5)
    none = output(prefixes(leaves(scores, values, torch.zeros(1, 70, dtype=torch.bool)), scan=scan))
    assert not none.any()


@given(
    seed=st.integers(0, 200), empty=st.lists(st.booleans(), min_size=3, max_size=3), decay=st.sampled_from([0.0, 0.5])
)
@settings(max_examples=40)
def test_joining_is_associative_and_nothing_is_its_identity(seed, empty, decay):
    parts = []
    for place, gone in enumerate(empty):
        scores = 20 * drawn(5, seed=seed + place)
        real = torch.zeros(5, dtype=torch.bool) if gone else torch.arange(5) % 2 == 0
        every = prefixes(leaves(scores, drawn(5, 2, seed=seed + place + 9), real), decay=decay)
        parts.append(Piece(*(one[-1] for one in every)))
    a, b, c = parts
    one, other = joined(joined(a, b, decay), c, decay), joined(a, joined(b, c, decay), decay)
    for x, y in zip(one, other, strict=True):
        torch.testing.assert_close(x, y)
    for same in (joined(nothing(a), a, decay), joined(a, nothing(a), decay)):
        for x, y in zip(same, a, strict=True):
            torch.testing.assert_close(x, y)


@pytest.mark.parametrize("scan", SCANS)
def test_gradients_are_those_of_full_attention(scan):
    scores, values = drawn(2, 40).requires_grad_(), drawn(2, 40, 3, seed=1).requires_grad_()
    weight = drawn(2, 40, 3, seed=2)
    expected = torch.autograd.grad((full_attention(scores, values) * weight).sum(), [scores, values])
    got = torch.autograd.grad((output(prefixes(leaves(scores, values), scan=scan)) * weight).sum(), [scores, values])
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-12)
    short = [scores[:, :6].detach().requires_grad_(), values[:, :6].detach().requires_grad_()]
    assert torch.autograd.gradcheck(lambda s, v: output(prefixes(leaves(s, v), scan=scan, decay=0.2)), short)


def test_the_last_prefix_alone_is_the_last_of_all():
    scores, values = drawn(2, 77), drawn(2, 77, 3, seed=1)
    expected = full_attention(scores, values)[:, -1]
    torch.testing.assert_close(output(last(scores, values, block=16)), expected)
    torch.testing.assert_close(output(summed(scores, values)), expected)
    before = last(scores[:, :50], values[:, :50])
    assert last(scores[:, 50:50], values[:, 50:50], before=before) is before
    torch.testing.assert_close(output(last(scores[:, 50:], values[:, 50:], before=before)), expected)
    query, keys = drawn(5), drawn(9, 5, seed=2)
    plain = attention_by_definition(query, keys, drawn(9, 4, seed=3))
    torch.testing.assert_close(plain, full_attention(keys @ query * 5**-0.5, drawn(9, 4, seed=3)))


# -- the layer --------------------------------------------------------------------------------------------------------


def test_the_layer_is_multi_head_attention_of_its_query():
    layer, x = aaren(n_queries=2), drawn(2, 11, 8)
    q = layer.w_q(layer.query).view(2, 2, 4)  # (r, H, D)
    k, v = (one(x).view(2, 11, 2, 4) for one in (layer.w_k, layer.w_v))
    rows = [
        torch.stack([attention_by_definition(q[r, h], k[b, :, h], v[b, :, h]) for r in range(2) for h in range(2)], 1)
        for b in range(2)
    ]
    torch.testing.assert_close(layer(x)[0], layer.w_o(torch.stack(rows).flatten(2)), atol=1e-13, rtol=1e-12)
    torch.testing.assert_close(layer.weights(x).sum(-1), torch.ones(2, 2, 2, dtype=torch.float64))
    mean = torch.einsum("bhrt,bthd->brhd", layer.weights(x), v).flatten(1)
    torch.testing.assert_close(layer.w_o(mean), layer(x)[0][:, -1])


@given(
    tokens=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    queries=st.integers(1, 3),
    decay=st.sampled_from([0.0, 0.1]),
    kernel=st.integers(0, 4),
    scan=st.sampled_from(sorted(SCANS)),
    double=st.booleans(),
)
@settings(max_examples=30)
def test_whole_in_pieces_and_by_token_are_one(tokens, cuts, queries, decay, kernel, scan, double):
    dtype = torch.float64 if double else torch.float32
    layer = aaren(dtype, n_queries=queries, decay=decay, conv_kernel=kernel, scan=scan)
    close = {"atol": 1e-12, "rtol": 1e-12} if double else {"atol": 1e-5, "rtol": 1e-5}
    with torch.no_grad():
        assert_streams(layer, drawn(2, tokens, 8, dtype=dtype), [min(one, tokens) for one in cuts], **close)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_stack_streams_and_sees_nothing_of_the_future(norm):
    torch.manual_seed(0)
    encoder = AarenEncoder(AarenSettings(dim=8, heads=2), layers=3, norm=norm)
    x = drawn(2, 70, 8, dtype=torch.float32)
    with torch.no_grad():
        assert_streams(encoder, x, [13, 64], atol=1e-5, rtol=1e-5)
        assert first_half_changed(encoder, x) == 0
        other = x.clone()
        other[:, 40] += 1
        assert torch.equal(encoder(x)[0][:, :40], encoder(other)[0][:, :40])  # to the bit


def test_the_paper_counts_these_parameters():
    block = AarenBlock(AarenSettings(dim=512, heads=8), feed_forward=2048, norm="post")
    assert sum(one.numel() for one in block.parameters()) == 3_152_896
    theirs = torch.nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    assert sum(one.numel() for one in theirs.parameters()) == 3_152_384


@pytest.mark.parametrize("residual", ["input", "query", "none"])
def test_what_the_attention_is_added_to(residual):
    torch.manual_seed(0)
    block = AarenBlock(AarenSettings(dim=8, heads=2), residual=residual).double()
    x = drawn(1, 9, 8)
    y, _ = block.aaren(block.before(x))
    base = {"input": x, "query": block.aaren.query, "none": torch.zeros(8, dtype=torch.float64)}[residual]
    h = base + y
    torch.testing.assert_close(block(x)[0], h + block.feed(block.middle(h)))


def test_texts_that_were_read_apart_are_merged():
    layer, x = aaren(decay=0.05), drawn(2, 30, 8)
    parts = [layer(one)[1] for one in x.split([7, 1, 22], 1)]
    whole = layer(x)[1]
    for merged in (
        layer.merge(layer.merge(parts[0], parts[1]), parts[2]),
        layer.merge(parts[0], layer.merge(parts[1], parts[2])),
        layer.merge(layer.init_state(2), whole),
        layer.merge(whole, layer.init_state(2)),
    ):
        assert_same_state(merged, whole)
    plain = aaren()
    y, state = plain.read(x, block=8)
    torch.testing.assert_close(y, plain(x)[0][:, -1])
    assert_same_state(state, plain(x)[1])


@pytest.mark.parametrize("parts", [(9, 0), (9, 1), (9, 2), (1, 1), (2, 1), (0, 2), (1, 0)], ids=str)
def test_a_text_shorter_than_the_convolution_is_merged_as_if_read_on(parts):
    """Also where its tokens do not count, in a row or in all: the convolution finds zeros in their places."""
    layer, x = aaren(conv_kernel=4, decay=0.05), drawn(3, sum(parts), 8)
    mask = torch.ones(3, sum(parts), dtype=torch.bool)
    mask[1, -1], mask[2] = False, False
    rest = drawn(3, 5, 8)
    for real in (None, mask):
        states = [
            layer(one, mask=None if real is None else there)[1] if one.shape[1] else layer.init_state(3)
            for one, there in zip(x.split(parts, 1), mask.split(parts, 1), strict=True)
        ]
        merged, whole = layer.merge(*states), layer(x, mask=real)[1]
        assert_same_state(merged, whole)
        assert torch.equal(merged.places[0], whole.places[0])
        torch.testing.assert_close(layer(rest, merged)[0], layer(rest, whole)[0])


def test_a_longer_text_behind_a_convolution_is_merged_but_for_its_first_tokens():
    layer, x = aaren(conv_kernel=4), drawn(2, 2000, 8)
    left, right = (layer(one)[1] for one in x.split([1000, 1000], 1))
    merged, whole = layer.merge(left, right), layer(x)[1]
    assert torch.equal(merged.tail, whole.tail)
    torch.testing.assert_close(merged.a / merged.c, whole.a / whole.c, atol=1e-2, rtol=0)


def test_masked_and_padded_tokens_are_skipped():
    layer, x = aaren(), drawn(1, 12, 8)
    mask = torch.tensor([[False, False, True, True, False, True, True, True, True, True, False, False]])
    y, state = layer(x, mask=mask)
    alone, kept = layer(x[:, mask[0]])
    torch.testing.assert_close(y[:, mask[0]], alone)
    assert_same_state(state, kept)
    torch.testing.assert_close(y[:, :2], layer.w_o.bias.expand(1, 2, -1))  # nothing was read: the projection of 0
    assert torch.isfinite(layer(x, mask=torch.zeros_like(mask))[0]).all()


def test_a_convolution_does_not_see_what_is_masked():
    layer, x = aaren(conv_kernel=4), drawn(1, 12, 8)
    mask = torch.arange(12)[None] >= 3
    torch.testing.assert_close(layer(x, mask=mask)[0][:, 3:], layer(x[:, 3:])[0])
    hole = torch.arange(12)[None] != 5
    other = torch.where(hole[..., None], x, 9.0)
    torch.testing.assert_close(layer(x, mask=hole)[0][hole], layer(other, mask=hole)[0][hole])


def test_the_state_is_small_saved_and_may_be_kept_in_float64(tmp_path):
    layer, x = aaren(torch.float32), drawn(2, 500, 8, dtype=torch.float32)
    with torch.no_grad():
        _, state = layer(x)
        assert state.nbytes == layer.init_state(2).nbytes == layer(x[:, :3])[1].nbytes
        loaded = layer.init_state(1).load(state.save(tmp_path / "state.safetensors"))
        torch.testing.assert_close(layer(x, loaded)[0], layer(torch.cat([x, x], 1))[0][:, 500:], atol=1e-5, rtol=1e-5)
        wide = layer.init_state(2).to(torch.float64)
        for place in range(50):
            y, wide = layer.step(x[:, place], wide)
        assert wide.a.dtype == torch.float64
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, layer(x[:, :50])[0][:, -1], atol=1e-6, rtol=1e-5)


def test_bfloat16_runs_with_a_state_in_float32():
    layer, x = aaren(torch.float32), drawn(2, 100, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x)
    assert {one.dtype for one in state.tensors().values()} == {torch.float32}
    torch.testing.assert_close(y.float(), layer(x)[0], atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("kind", [AarenBlock, AarenEncoder])
def test_a_stack_asks_of_its_input_what_a_layer_asks(kind, norm):
    torch.manual_seed(0)
    stack, x = kind(AarenSettings(dim=8, heads=2), norm=norm).double(), drawn(2, 9, 8)
    for ask, words in (
        (lambda: stack(x[..., :5]), r"got an input of shape \(2, 9, 5\)"),
        (lambda: stack(x[0]), r"got an input of shape \(9, 8\)"),
        (lambda: stack(x[0, 0, 0]), r"got an input of shape \(\)"),
        (lambda: stack(x[:, :0]), "no tokens"),
        (lambda: stack(x, mask=torch.ones(2, 8, dtype=torch.bool)), r"mask \(2, 8\)"),
        (lambda: stack.step(x[:, 0, :5], stack.init_state(2)), r"shape \(2, 5\)"),
        (lambda: stack.step(x[:, 0] * torch.nan, stack.init_state(2)), "NaN in row 0"),
    ):
        with pytest.raises(InputError, match=words):
            ask()
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    blank, none = (torch.where(mask[..., None], x, one) for one in (0.0, torch.nan))
    y, expected = stack(none, mask=mask)[0], stack(blank, mask=mask)[0]
    assert torch.equal(y, expected)
    slopes = torch.autograd.grad(y[mask].square().sum(), list(stack.parameters()))
    assert all(torch.isfinite(one).all() for one in slopes)
    none[1, 2, 0] = torch.nan
    with pytest.raises(InputError, match="NaN in row 1, token 2"):
        stack(none, mask=mask)


class Plain(torch.nn.Module):
    """A mixer of others."""

    def __init__(self, _: AarenSettings) -> None:
        super().__init__()


def test_wrong_input_is_named():
    layer = aaren()
    x = drawn(2, 5, 8)
    _, state = layer(x)
    x[1, 3, 0] = torch.nan
    with pytest.raises(InputError, match="NaN in row 1, token 3"):
        layer(x)
    with pytest.raises(InputError, match="no tokens"):
        layer(x[:, :0])
    with pytest.raises(InputError, match="3 queries"):
        aaren(n_queries=3)(drawn(2, 5, 8), state)
    with pytest.raises(InputError, match="2 rows; the input has 1"):
        layer(drawn(1, 5, 8), state)
    for rows in ([2], [0, -3]):
        with pytest.raises(InputError, match=rf"reset got row {rows[-1]}; the state holds 2 rows"):
            state.reset(rows, layer.init_state(2))
    with pytest.raises(InputError, match="Plain has no query of its own"):
        AarenBlock(AarenSettings(dim=8, heads=2), residual="query", mixer=Plain)
    with pytest.raises(InputError, match="without their order"):
        aaren(decay=0.1).read(drawn(2, 5, 8))
    with pytest.raises(InputError, match="block = 0"):
        layer.read(drawn(2, 5, 8), block=0)
    with pytest.raises(InputError, match="feed_forward = 0"):
        AarenBlock(AarenSettings(dim=8, heads=2), feed_forward=0)
    for options, words in (
        ({"heads": 3}, "multiple of heads"),
        ({"scan": "fast"}, "auto, step"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"decay": -1.0}, "decay = -1.0"),
        ({"n_queries": 0}, "n_queries = 0"),
    ):
        with pytest.raises(InputError, match=words):
            AarenSettings(**{"dim": 8, **options})
