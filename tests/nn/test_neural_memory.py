"""The neural memory against the recurrence of the paper, written out with autograd."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from nn.streams import assert_same_state, assert_streams, drawn, in_pieces, token_by_token

from foveal.errors import InputError
from foveal.nn.memory_rule import Carried, Decays, Gates, carry, surprise, through, write_token
from foveal.nn.neural_memory import MemoryDiverged, MemorySettings, NeuralMemory


def memory_of(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return NeuralMemory(MemorySettings(**{"dim": 8, "heads": 2, **options})).to(dtype)


def by_definition(memory, x, mask=None):
    """The paper's equations, token by token and head by head, with the inner gradient taken by autograd."""
    s = memory.settings
    with torch.no_grad():
        queries, keys, values, gates, _ = memory._heads(x, memory.init_state(len(x)).tail, mask)
    rest = [torch.zeros_like(one) if s.decay_to == "zero" else one for one in memory.initial]
    given = torch.zeros(len(x), x.shape[1], s.heads, s.width, dtype=x.dtype)
    for row in range(len(x)):
        for head in range(s.heads):
            now = [one[head].detach() for one in memory.initial]
            push = [torch.zeros_like(one) for one in now]
            base = now
            for t in range(x.shape[1]):
                if t % s.chunk == 0:
                    base = now
                theta, eta, alpha, active = (
                    one[row, head, t].item() for one in (gates.theta, gates.eta, gates.alpha, gates.active)
                )
                before = now
                if active:
                    asked = [one.clone().requires_grad_() for one in base]
                    loss = (plain(keys[row, head, t], asked) - values[row, head, t]).square().sum()
                    slopes = torch.autograd.grad(loss, asked)
                    push = [(eta * p if s.momentum else 0) - theta * g for p, g in zip(push, slopes, strict=True)]
                    now = [
                        i[head].detach() + (1 - alpha) * (w - i[head].detach()) + p
                        for i, w, p in zip(rest, now, push, strict=True)
                    ]
                given[row, t, head] = plain(queries[row, head, t], now if s.read == "after" else before)
    return memory.out(given.flatten(2))


def plain(x, weights):
    for one in weights[:-1]:
        x = F.silu(one @ x)
    return weights[-1] @ x


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunks_by_products_are_the_recurrence(depth, chunk):
    memory = memory_of(depth=depth, chunk=chunk)
    x = drawn(2, 11, 8)
    torch.testing.assert_close(memory(x)[0], by_definition(memory, x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": False},
        {"decay": False},
        {"decay_to": "zero"},
        {"read": "before"},
        {"conv_kernel": 0},
        {"dim_head": 3, "expansion": 1.5},
        {"momentum": False, "read": "before", "chunk": 3, "depth": 3},
    ],
    ids=str,
)
def test_every_switch_is_what_the_recurrence_says(options):
    memory = memory_of(**{"chunk": 4, **options})
    x = drawn(1, 10, 8, seed=1)
    expected = by_definition(memory, x).detach()
    torch.testing.assert_close(memory(x)[0].detach(), expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(token_by_token(memory, x)[0].detach(), expected, atol=1e-12, rtol=1e-12)


def test_a_masked_token_reads_and_leaves_the_memory_as_it_was():
    memory = memory_of(chunk=4)
    x, mask = drawn(2, 10, 8), torch.rand(2, 10, generator=torch.Generator().manual_seed(3)) > 0.4
    torch.testing.assert_close(memory(x, mask=mask)[0], by_definition(memory, x, mask))
    nothing = torch.zeros(2, 10, dtype=torch.bool)
    y, state = memory(x, mask=nothing)
    assert all(not one.any() for one in (*state.drift, *state.momentum))
    memory.updates = False
    torch.testing.assert_close(memory(x)[0], y)


@given(
    tokens=st.integers(1, 40),
    chunk=st.integers(1, 50),
    depth=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    double=st.booleans(),
    momentum=st.booleans(),
)
@settings(max_examples=25)
def test_whole_in_pieces_and_by_token_are_one(tokens, chunk, depth, cuts, double, momentum):
    dtype = torch.float64 if double else torch.float32
    memory = memory_of(dtype, chunk=chunk, depth=depth, momentum=momentum)
    close = {"atol": 1e-12, "rtol": 1e-12} if double else {"atol": 1e-5, "rtol": 1e-5}
    with torch.no_grad():
        assert_streams(memory, drawn(2, tokens, 8, dtype=dtype), [min(one, tokens) for one in cuts], **close)


def test_gradients_go_through_the_writing():
    memory = memory_of(dim=4, heads=1, chunk=3, conv_kernel=2)
    x = drawn(1, 7, 4)
    names = [name for name, _ in memory.named_parameters()]
    assert {"project.weight", "gates.weight", "gates.bias", "initial.0"} <= set(names)

    def loss(*weights):
        return torch.func.functional_call(memory, dict(zip(names, weights, strict=True)), (x,))[0].square().sum()

    weights = [one.detach().clone().requires_grad_() for one in memory.parameters()]
    assert torch.autograd.gradcheck(loss, weights, atol=1e-6)
    assert all(one.abs().max() > 0 for one in torch.autograd.grad(loss(*weights), weights))


def test_gradients_of_both_roads_are_the_same():
    memory = memory_of(chunk=4)
    x = drawn(1, 10, 8)
    roads = (memory(x)[0], token_by_token(memory, x)[0])
    told = [torch.autograd.grad(y.square().sum(), list(memory.parameters())) for y in roads]
    for one, other in zip(*told, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-10)


# -- special cases, on the rule itself --------------------------------------------------------------------------------


def gates_of(tokens, *, theta=0.0, eta=0.0, alpha=0.0):
    return Gates(*(torch.full((1, 1, tokens), value, dtype=torch.float64) for value in (theta, eta, alpha, 1.0)))


def written(keys, values, gates, weights, *, momentum=False, chunk=None):
    """The weights after these tokens (T, D), from `weights`, decaying to 0."""
    zeros = tuple(torch.zeros_like(one) for one in weights)
    carried = Carried(weights, zeros if momentum else ())
    size = chunk or 1
    for place in range(0, len(keys), size):
        part = Gates(*(one[..., place : place + size] for one in (gates.theta, gates.eta, gates.alpha, gates.active)))
        told = surprise(keys[None, None, place : place + size], values[None, None, place : place + size], carried.drift)
        carried = carry(carried, told, Decays.of(part, momentum=momentum))
    return tuple(one[0, 0] for one in carried.drift)


def test_without_momentum_and_forgetting_one_layer_is_the_delta_rule():
    keys, values, beta = F.normalize(drawn(6, 5), dim=-1), drawn(6, 5, seed=1), 0.7
    (got,) = written(keys, values, gates_of(6, theta=beta / 2), (torch.zeros(1, 1, 5, 5, dtype=torch.float64),))
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for k, v in zip(keys, values, strict=True):
        expected = expected - beta * torch.outer(expected @ k - v, k)
    torch.testing.assert_close(got, expected)


def test_with_forgetting_it_is_the_gated_delta_rule_of_the_gradient_before_decay():
    keys, values, beta, a = F.normalize(drawn(6, 5), dim=-1), drawn(6, 5, seed=1), 0.7, 0.1
    gates = gates_of(6, theta=beta / 2, alpha=a)
    (got,) = written(keys, values, gates, (torch.zeros(1, 1, 5, 5, dtype=torch.float64),))
    expected, one = torch.zeros(5, 5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    for k, v in zip(keys, values, strict=True):
        expected = expected @ ((1 - a) * one - beta * torch.outer(k, k)) + beta * torch.outer(v, k)
    torch.testing.assert_close(got, expected)


def test_a_step_of_nothing_leaves_the_first_network():
    memory = memory_of(decay=False)
    with torch.no_grad():
        memory.gates.bias[:2] = -1e4
        memory.gates.weight.zero_()
    x = drawn(1, 20, 8)
    y, state = memory(x)
    queries = memory._heads(x, memory.init_state(1).tail, None)[0]
    first = through(queries, tuple(one[None] for one in memory.initial))
    torch.testing.assert_close(y, first.transpose(1, 2).flatten(2))
    assert not any(one.any() for one in state.drift)


def test_a_key_written_anew_is_overwritten():
    k, v1, v2 = F.normalize(drawn(1, 16), dim=-1), drawn(1, 16, seed=1), drawn(1, 16, seed=2)
    first = (torch.zeros(1, 1, 16, 16, dtype=torch.float64),)
    (w,) = written(torch.cat([k, k]), torch.cat([v1, v2]), gates_of(2, theta=0.5), first)
    assert float(F.cosine_similarity(w @ k[0], v2[0], dim=0)) == pytest.approx(1.0)
    frozen = surprise(torch.cat([k, k])[None, None], torch.cat([v1, v2])[None, None], first)
    fake = carry(Carried(first, ()), frozen, Decays.of(gates_of(2, theta=0.5), momentum=False)).drift[0][0, 0]
    assert float(F.cosine_similarity(fake @ k[0], v2[0], dim=0)) < 0.9  # all gradients at the first weights


@pytest.mark.parametrize(("depth", "chunk"), [(1, 1), (1, 16), (2, 1), (2, 16)])
def test_32_pairs_are_written_and_found(depth, chunk):
    keys, values = F.normalize(drawn(32, 64), dim=-1), F.normalize(drawn(32, 64, seed=1), dim=-1)
    draw = torch.Generator().manual_seed(0)
    first = (torch.zeros(1, 1, 64, 64 if depth == 1 else 256, dtype=torch.float64),)
    if depth == 2:
        first = (torch.randn(1, 1, 256, 64, generator=draw, dtype=torch.float64) / 8, *first)
    weights = written(keys, values, gates_of(32, theta=0.05), first, chunk=chunk)
    found = through(keys, weights) @ values.T
    assert float((found.argmax(-1) == torch.arange(32)).double().mean()) == 1.0
    blind = through(keys, tuple(one[0, 0] for one in first)) @ values.T
    assert float((blind.argmax(-1) == torch.arange(32)).double().mean()) <= 0.1


def test_forgetting_to_zero_kills_a_deep_memory_and_to_its_rest_does_not():
    keys, values = F.normalize(drawn(32, 32), dim=-1), F.normalize(drawn(32, 32, seed=1), dim=-1)
    rest = (drawn(1, 1, 64, 32) / 6, torch.zeros(1, 1, 32, 64, dtype=torch.float64))
    for target, alive in ((rest, True), (tuple(torch.zeros_like(one) for one in rest), False)):
        carried = Carried(tuple(torch.zeros_like(one) for one in rest), ())  # alpha = 1 once: at the rest
        for place in range(32):
            weights = carried.weights(target)
            told = surprise(keys[None, None, place : place + 1], values[None, None, place : place + 1], weights)
            carried = write_token(carried, told, gates_of(1, theta=0.1).at(0))
        found = through(keys, tuple(one[0, 0] for one in carried.weights(target)))
        assert bool(found.norm(dim=-1).mean() > 0.1) == alive


def test_decays_do_not_underflow_where_a_chunk_forgets_all():
    gates = gates_of(64, theta=0.05, eta=1e-6, alpha=1 - 1e-6)
    over = Decays.of(gates, momentum=True)
    for one in (over.kept, over.pushed, over.written, over.momentum, over.surprise):
        assert torch.isfinite(one).all()
    torch.testing.assert_close(over.written[0, 0].diagonal(), torch.full((64,), 0.05, dtype=torch.float64))


# -- states, errors ---------------------------------------------------------------------------------------------------


def test_a_state_is_saved_loaded_and_goes_on(tmp_path):
    memory = memory_of(torch.float32, chunk=4)
    x = drawn(2, 10, 8, dtype=torch.float32)
    _, state = memory(x[:, :7])
    kept = memory.init_state(1).load(state.detach().save(tmp_path / "memory.safetensors"))
    assert kept.phase == 3
    assert_same_state(kept, state.detach())
    torch.testing.assert_close(memory(x[:, 7:], kept)[0], memory(x)[0][:, 7:])
    assert in_pieces(memory, x, [3])[1].nbytes == state.nbytes == memory(drawn(2, 500, 8).float())[1].nbytes


def test_a_row_is_forgotten_alone():
    memory = memory_of(chunk=4)
    x = drawn(3, 8, 8)
    _, state = memory(x)
    fresh = state.reset([1], memory.init_state(3))
    y, _ = memory(x, fresh)
    torch.testing.assert_close(y[1], memory(x)[0][1])
    torch.testing.assert_close(y[[0, 2]], memory(x, state)[0][[0, 2]])
    turned = memory(x[[2, 0]], state.rows(torch.tensor([2, 0])))[0]
    torch.testing.assert_close(turned, memory(x, state)[0][[2, 0]])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"chunk": 8}, "chunk 4"),
        ({"heads": 4}, "2 heads"),
        ({"depth": 1}, "memory of"),
        ({"momentum": False}, "momentum"),
        ({"decay_to": "zero"}, "decay to init.*decay to zero"),
    ],
)
def test_a_state_of_another_memory_is_refused(other, words):
    _, state = memory_of(chunk=4)(drawn(1, 5, 8))
    with pytest.raises(InputError, match=words):
        memory_of(**{"chunk": 4, **other})(drawn(1, 5, 8), state)


def test_wrong_input_is_named(tmp_path):
    memory = memory_of()
    _, state = memory(drawn(2, 5, 8))
    with pytest.raises(InputError, match="2 rows; the input has 3"):
        memory(drawn(3, 5, 8), state)
    with pytest.raises(InputError, match="no tokens"):
        memory(drawn(2, 0, 8))
    with pytest.raises(InputError, match=r"\(batch, tokens, 8\)"):
        memory(drawn(2, 5, 7))
    with pytest.raises(InputError, match=r"mask \(2, 5\), torch.float64"):
        memory(drawn(2, 5, 8), mask=torch.ones(2, 5, dtype=torch.float64))
    with pytest.raises(InputError, match=r"a token a row, \(batch, 8\)"):
        memory.step(drawn(2, 5, 8), state)
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no state"):
        state.load(tmp_path / "no.safetensors")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"depth": 0}, "depth = 0"),
        ({"chunk": 0}, "chunk = 0"),
        ({"conv_kernel": -1}, "conv_kernel = -1"),
        ({"theta_max": 0.0}, "theta_max = 0.0"),
        ({"decay_to": "one"}, "init, zero"),
    ],
)
def test_settings_are_checked_when_made(options, words):
    with pytest.raises(InputError, match=words):
        MemorySettings(**{"dim": 8, "heads": 2, **options})


def test_an_input_that_is_no_number_is_no_divergence():
    memory, x = memory_of(), drawn(2, 9, 8)
    x[1, 3, 0] = torch.nan
    with pytest.raises(InputError, match="NaN in row 1, token 3"):
        memory(x)
    reset = memory_of(on_nonfinite="reset")
    with pytest.raises(InputError, match=r"NeuralMemory\.step got a NaN in row 1"):
        reset.step(x[:, 3], reset.init_state(2))


def test_a_memory_that_diverged_says_so_or_begins_anew():
    memory = memory_of(theta_max=1e6, depth=3)
    x = 50 * drawn(2, 200, 8)
    with pytest.raises(MemoryDiverged, match=r"layer \d of row \d"):
        memory(x)
    reset = memory_of(theta_max=1e6, depth=3)
    reset.settings = replace(reset.settings, on_nonfinite="reset")
    _, state = reset(x)
    assert all(torch.isfinite(one).all() for one in state.drift)


def test_a_row_that_begins_anew_gives_numbers_and_lets_the_others_learn():
    memory = memory_of(theta_max=1e6, depth=3, on_nonfinite="reset")
    x = drawn(2, 200, 8)
    x[0] *= 50
    memory.gates.weight.data.zero_()
    with torch.no_grad():  # row 1's tokens are zeros: it writes little, and stays
        x[1] = 0
    y, state = memory(x)
    alone, kept = memory(x[1:])
    torch.testing.assert_close(y[1:], alone)
    assert_same_state(state.rows(torch.tensor([1])), kept)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(one.grad).all() for one in memory.parameters() if one.grad is not None)
    wild = memory_of(theta_max=1e308, depth=3, on_nonfinite="reset", chunk=1)
    state = wild.init_state(1)
    for place in range(20):
        y, state = wild.step(x[:1, place], state)
        assert torch.isfinite(y).all()


def test_a_limited_surprise_keeps_a_wild_input_finite():
    memory = memory_of(theta_max=0.1, max_surprise=1.0)
    y, state, told = memory.surprising(1e3 * drawn(1, 64, 8))
    assert torch.isfinite(y).all()
    assert told.loss.shape == told.theta.shape == (1, 2, 64)
    assert told.loss.max().item() > 1.0
    assert told.theta.max().item() <= 0.1
    assert all(torch.isfinite(one).all() for one in state.drift)


def test_a_limited_surprise_of_nothing_has_a_gradient():
    memory = memory_of(max_surprise=1.0)  # 20 tokens: the second chunk is filled up with tokens of zeros
    memory(drawn(1, 20, 8))[0].square().sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in memory.parameters())


def test_what_is_surprising_is_the_loss_before_it_was_written():
    memory = memory_of(chunk=1)
    x = drawn(1, 1, 8).expand(-1, 12, -1)
    *_, told = memory.surprising(x)
    assert (told.loss[0, :, 4:].diff(dim=-1) < 0).all()  # the same token again and again (the convolution is full)
