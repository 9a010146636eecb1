"""LAMA against the paper's sums, written out; masks, edges, gradients, autocast, compile; the poolings beside it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from foveal.errors import InputError, UnknownName
from foveal.nn.lama import LamaSettings, LowRankAttention, LowRankPooler, diversity, masked_softmax
from foveal.nn.pooling import NAMES, pooler_of
from foveal.nn.recurrent import Bidirectional

D, M = 6, 3


def by_definition(layer, x, mask=None, context=None):
    """The attention (m, T) of one text, by loops over tokens, heads and features."""
    s = layer.settings
    tokens = [t for t in range(len(x)) if mask is None or mask[t]]
    c = layer.c if s.context == "learned" else context
    if s.context == "mean":
        words = x if context is None else context
        mean = torch.stack([words[t] for t in tokens]).mean(0)
        c = mean if layer.context_map is None else layer.context_map.weight @ mean
    scores = torch.full((s.heads, len(x)), -math.inf, dtype=x.dtype)
    for t in tokens:
        u = x[t] if layer.token_layer is None else torch.tanh(layer.token_layer.weight @ x[t] + layer.token_layer.bias)
        f = torch.zeros(s.heads, dtype=x.dtype)
        for head in range(s.heads):
            for k in range(s.rank):
                row = head * s.rank + k
                f[head] += sum(layer.p[row] * c) * sum(layer.q[row] * u)
            if s.activation == "tanh":
                f[head] = torch.tanh(f[head])
        if s.normalize == "l2" and s.heads > 1:
            f = f / torch.sqrt(sum(f**2) + 1e-8)
        scores[:, t] = f * (s.scale if layer.log_scale is None else layer.log_scale.exp())
    raised = scores.exp()
    return raised / raised.sum(1, keepdim=True)


def layer_of(kind=LowRankAttention, **settings):
    return kind(LamaSettings(**{"dim": D, "heads": M, **settings})).double()


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64)


FORMS = {
    "as in the paper": {},
    "without the token layer": {"token_mlp": False},
    "mean of the tokens": {"context": "mean"},
    "rank 3, linear, learned scale": {"rank": 3, "activation": "none", "learn_scale": True, "scale": 10.0},
    "no norm": {"normalize": "none", "scale": 3.0},
    "one head": {"heads": 1},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_attention_is_the_softmax_of_the_papers_sums(form):
    layer, x = layer_of(**form), drawn(3, 9, D)
    mask = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    found = layer(x, mask)
    for row in range(3):
        torch.testing.assert_close(found[row], by_definition(layer, x[row], mask[row]), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(layer(x)[0], by_definition(layer, x[0]), atol=1e-9, rtol=1e-9)


def test_a_context_may_be_given_or_be_the_mean_of_words_of_another_width():
    x, mask = drawn(2, 5, D), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    given, context = layer_of(context="given"), drawn(2, D)
    words, layer = drawn(2, 5, 4), layer_of(context="mean", context_dim=4)
    for row in range(2):
        expected = by_definition(given, x[row], mask[row], context[row])
        torch.testing.assert_close(given(x, mask, context)[row], expected, atol=1e-9, rtol=1e-9)
        expected = by_definition(layer, x[row], mask[row], words[row])
        torch.testing.assert_close(layer(x, mask, words)[row], expected, atol=1e-9, rtol=1e-9)


def test_the_factored_score_is_that_of_whole_matrices_of_rank_one():
    layer, x = layer_of(activation="none", normalize="none"), drawn(1, 7, D)
    u = torch.tanh(layer.token_layer(x[0]))
    whole = torch.stack([u @ torch.outer(q, p) @ layer.c for p, q in zip(layer.p, layer.q, strict=True)])
    torch.testing.assert_close(layer.scores(x, None)[0], whole, atol=1e-10, rtol=1e-10)


def test_the_values_are_the_states_and_not_what_they_are_scored_by():
    pooler, x = layer_of(LowRankPooler), drawn(2, 5, D)
    vectors, attention = pooler(x)
    expected = torch.stack(
        [torch.stack([sum(a[t] * x[row, t] for t in range(5)) for a in attention[row]]) for row in (0, 1)]
    )
    torch.testing.assert_close(vectors, expected)
    mapped = layer_of(LowRankPooler, output_dim=4)
    assert mapped(x).vectors.shape == (2, 4)
    torch.testing.assert_close(mapped(x).vectors, mapped.out((mapped.attend(x) @ x).flatten(1)))


def test_scores_of_a_token_have_norm_one_and_heads_differ():
    layer, x = layer_of(), drawn(2, 9, D)
    torch.testing.assert_close(
        layer.scores(x, None).norm(dim=1), torch.ones(2, 9, dtype=torch.float64), atol=1e-4, rtol=0
    )
    attention = layer(x)
    assert (attention[:, 0] - attention[:, 1]).abs().max() > 1e-3
    assert (attention.amax(-1) / attention.amin(-1)).max() < math.exp(2) + 1e-6


@pytest.mark.parametrize(
    "form", [{}, {"rank": 2}, {"token_mlp": False}, {"context": "mean", "context_dim": 4}, {"learn_scale": True}]
)
def test_parameters_are_those_of_the_formula(form):
    settings = LamaSettings(dim=100, heads=8, **form)
    assert settings.score_parameters == sum(one.numel() for one in LowRankAttention(settings).parameters())


def test_parameters_are_those_of_the_table():
    assert LamaSettings(dim=100, token_mlp=False).score_parameters == 1_700
    assert LamaSettings(dim=100).score_parameters == 11_800
    assert LamaSettings(dim=512).score_parameters == 271_360
    table = {"attention": 10_200, "structured": 37_800, "mha": 40_400, "mean": 0, "max": 0}
    assert {name: sum(p.numel() for p in pooler_of(name, dim=100).parameters()) for name in table} == table


# -- masks, edges ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_whatever_stands_there(name):
    torch.manual_seed(0)
    pooler, x = pooler_of(name, dim=D, heads=M).double().eval(), drawn(2, 7, D)
    mask = torch.arange(7) < torch.tensor([7, 3])[:, None]
    vectors, attention = pooler(x, mask)
    assert attention[1, :, 3:].abs().max() == 0
    torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
    alone, _ = pooler(x[1:, :3])
    torch.testing.assert_close(vectors[1:], alone)
    for nonsense in (torch.nan, torch.inf, 1e30):
        other = torch.where(mask[..., None], x, nonsense)
        assert torch.equal(pooler(other, mask).vectors, vectors)
        assert torch.equal(pooler(other, mask).attention, attention)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_a_token_gives_zeros_and_no_gradient_is_lost(name, caplog):
    torch.manual_seed(0)
    pooler, x = pooler_of(name, dim=D, heads=M), torch.randn(2, 4, D)
    x[0, 2:] = 0  # real tokens of nothing but zeros
    x.requires_grad_()
    mask = torch.tensor([[True] * 4, [False] * 4])
    vectors, attention = pooler(x, mask)
    assert vectors[1].abs().max() == 0
    assert attention[1].abs().max() == 0
    assert "1 of 2 rows without any token" in caplog.text
    vectors.square().sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in (x, *pooler.parameters()) if one.grad is not None)
    assert x.grad[1].abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_token_that_is_no_number_is_named(name):
    pooler, x = pooler_of(name, dim=D, heads=M), torch.randn(2, 4, D)
    for nonsense, told in ((torch.nan, "a NaN"), (torch.inf, "an infinite number"), (-torch.inf, "an infinite")):
        wrong = x.clone()
        wrong[1, 2, 0] = nonsense
        with pytest.raises(InputError, match=f"{told}.* in row 1, token 2"):
            pooler(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_large_tokens_give_numbers_or_are_named(name):
    torch.manual_seed(0)
    pooler, x = pooler_of(name, dim=D, heads=M), torch.randn(2, 4, D)
    assert all(torch.isfinite(one).all() for one in pooler(1e15 * x))
    if name == "mha":  # its scores are products of two tokens, 1e40 here
        with pytest.raises(InputError, match=r"^Multi-head attention gives no numbers: .* Normalise it first\.$"):
            pooler(1e20 * x)
    else:
        assert all(torch.isfinite(one).all() for one in pooler(1e20 * x))


@pytest.mark.parametrize("name", NAMES)
def test_one_token_gets_all(name):
    pooler, x = pooler_of(name, dim=D, heads=M), torch.randn(2, 1, D)
    vectors, attention = pooler(x)
    torch.testing.assert_close(attention, torch.ones_like(attention))
    if name != "mha":
        torch.testing.assert_close(vectors, x.expand_as(vectors))


def test_scores_of_minus_200_are_no_trap():
    scores = torch.full((1, 2, 4), -200.0)
    scores[0, 1, 2] = 200
    mask = torch.tensor([[True, True, True, False]])
    found = masked_softmax(scores, mask)
    torch.testing.assert_close(found[0, 0], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]))
    torch.testing.assert_close(found[0, 1], torch.tensor([0.0, 0, 1, 0]))
    layer = layer_of(normalize="none", activation="none", scale=1e4)
    x = drawn(1, 5, D)
    assert layer.scores(x, None).abs().max() > 200
    torch.testing.assert_close(layer(x).sum(-1), torch.ones(1, M, dtype=torch.float64))


def test_the_penalty_is_the_squared_distance_from_the_unit_matrix():
    attention = drawn(2, M, 5).softmax(-1)
    expected = [
        sum((a @ b - float(i == j)) ** 2 for i, a in enumerate(row) for j, b in enumerate(row)) for row in attention
    ]
    torch.testing.assert_close(diversity(attention), torch.stack(expected).mean())
    assert diversity(torch.eye(3)[None]) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"heads": 0}, "heads = 0"),
        ({"rank": 0}, "rank = 0"),
        ({"dim": 0}, "dim = 0"),
        ({"output_dim": 0}, "output_dim = 0"),
        ({"context": "last"}, "there are: learned, mean, given"),
        ({"activation": "relu"}, "there are: tanh, none"),
        ({"normalize": "l1"}, "there are: l2, none"),
        ({"scale": 0.0}, "above 0"),
        ({"scale": math.nan}, "above 0"),
        ({"context_dim": 4}, 'for the context "mean"'),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        LamaSettings(**{"dim": D, **settings})


def test_input_that_does_not_fit_is_refused():
    layer, x = layer_of(), drawn(2, 4, D)
    for wrong, said in (
        (drawn(2, 4, D + 1), r"needs \(batch, tokens, 6\)"),
        (drawn(2, 0, D), "no tokens"),
        (drawn(4, D), "needs"),
        (torch.where(torch.arange(4)[None, :, None] == 2, torch.nan, x), "NaN in row 0, token 2"),
    ):
        with pytest.raises(InputError, match=said):
            layer(wrong)
    with pytest.raises(InputError, match="its context or weights hold a NaN"):
        layer_of(context="given")(x, None, torch.full((2, D), torch.nan, dtype=torch.float64))
    with pytest.raises(InputError, match=r"mask \(2, 3\)"):
        layer(x, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(InputError, match=r"torch\.bool"):
        layer(x, torch.ones(2, 4))
    with pytest.raises(InputError, match="learns its own"):
        layer(x, None, drawn(2, D))
    with pytest.raises(InputError, match=r"context of shape \(2, 6\), got none"):
        layer_of(context="given")(x)
    with pytest.raises(InputError, match=r"words of shape \(2, 4, 3\)"):
        layer_of(context="mean", context_dim=3)(x)
    with pytest.raises(UnknownName, match="lama, mean, max"):
        pooler_of("median", dim=D)
    with pytest.raises(InputError, match="does not have"):
        pooler_of("lama", dim=D, options={"width": 3})
    with pytest.raises(InputError, match="no settings"):
        pooler_of("mean", dim=D, options={"rank": 3})


# -- gradients, types, compile -----------------------------------------------------------------------------------------


def test_gradients_are_those_of_finite_differences():
    layer = layer_of(LowRankPooler, learn_scale=True, scale=4.0)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert torch.autograd.gradcheck(lambda x: layer(x, mask).vectors, drawn(2, 3, D).requires_grad_())


def test_autocast_keeps_scores_in_float32():
    pooler, x = LowRankPooler(LamaSettings(dim=32)), torch.randn(2, 20, 32)
    exact = pooler(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pooler(x)
    assert found.attention.dtype == torch.float32
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(2, 8))
    torch.testing.assert_close(found.vectors.float(), exact.vectors, atol=0.03, rtol=0.05)


def test_it_compiles_without_a_break():
    pooler, x = LowRankPooler(LamaSettings(dim=D, learn_scale=True)), torch.randn(2, 5, D)
    mask = torch.tensor([[True] * 5, [False] * 5])
    compiled = torch.compile(pooler, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, mask).vectors, pooler(x, mask).vectors)


def test_it_works_where_no_number_can_be_looked_at():
    """On "meta", and under the transforms of torch.func: the gradients of each text alone, at once."""
    with torch.device("meta"):
        pooled = LowRankPooler(LamaSettings(dim=D, heads=M))(torch.empty(2, 5, D), torch.empty(2, 5, dtype=torch.bool))
    assert [tuple(part.shape) for part in pooled] == [(2, M, D), (2, M, 5)]
    layer = LowRankPooler(LamaSettings(dim=D, heads=M))
    x, mask = torch.randn(4, 5, D), torch.arange(5) < torch.tensor([[5], [3], [1], [5]])
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}

    def loss(weights, x, mask):
        return torch.func.functional_call(layer, weights, (x[None], mask[None])).vectors.square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, x, mask)
    layer(x, mask).vectors.square().sum().backward()
    for name, weight in layer.named_parameters():
        torch.testing.assert_close(each[name].sum(0), weight.grad)


def test_the_state_dict_is_stable():
    assert list(LowRankPooler(LamaSettings(dim=4, learn_scale=True, output_dim=2)).state_dict()) == [
        "attend.p", "attend.q", "attend.c", "attend.log_scale", "attend.token_layer.weight", "attend.token_layer.bias",
        "out.weight", "out.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_recurrence_from_both_ends_is_pytorchs_over_packed_rows(cell):
    torch.manual_seed(0)
    ours = Bidirectional(4, 3, cell)
    theirs = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](4, 3, batch_first=True, bidirectional=True)
    back = {f"{name}_reverse": value for name, value in ours.back.state_dict().items()}
    theirs.load_state_dict({**ours.forth.state_dict(), **back})
    x, lengths = torch.randn(3, 6, 4), torch.tensor([6, 1, 4])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    mask = torch.arange(6) < lengths[:, None]
    torch.testing.assert_close(ours(x, mask), expected)
    torch.testing.assert_close(ours(x[:1]), expected[:1])
    with pytest.raises(InputError, match="padded on the left"):
        ours(x, mask.flip(1))


@pytest.mark.slow
def test_it_pools_the_tokens_of_a_real_encoder():
    from foveal.models import load_encoder
    from foveal.models.event_reading import token_states

    states = token_states(load_encoder("minilm"), ["The pump failed.", "Rain fell on the mill all night."], 32)
    x = nn.utils.rnn.pad_sequence(states, batch_first=True)
    mask = torch.arange(x.shape[1]) < torch.tensor([len(one) for one in states])[:, None]
    pooler = LowRankPooler(LamaSettings(dim=x.shape[-1]))
    found = pooler(x, mask)
    torch.testing.assert_close(found.attention[0], by_definition(pooler.attend, x[0], mask[0]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.vectors[:1], pooler(states[0][None]).vectors, atol=1e-5, rtol=1e-4)


def test_the_mean_of_a_long_text_is_a_number_in_float16():
    """With a mask, even one that leaves nothing out, its sum passed 65,504."""
    pooler, x = pooler_of("mean", dim=D), torch.rand(2, 20_000, D, generator=torch.Generator().manual_seed(0)) + 4
    mask = torch.ones(2, 20_000, dtype=torch.bool)
    mask[1, 15_000:] = False
    found = pooler(x.half(), mask).vectors
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), pooler(x, mask).vectors, atol=1e-2, rtol=1e-3)
