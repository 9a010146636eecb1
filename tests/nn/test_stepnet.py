"""The gates: StepNet's and the others, each against its equations written out, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn.streams import drawn
from safetensors.torch import load_file, save_model

from foveal.errors import InputError
from foveal.nn import CBAM, DIA, ECA, SRM, ConstantStep, SqueezeExcitation, StepAttention, StepSettings
from foveal.nn.branch_gates import greatest, hidden_width, pooled
from foveal.nn.stepnet import exact_step


def random_weights(gate, seed=0):
    """The gate in float64, with weights that are not those it begins with."""
    gate = gate.double()
    for number, weight in enumerate(gate.parameters()):
        weight.data = 0.5 * drawn(*weight.shape, seed=100 * seed + number)
    return gate


def step_gate(channels=6, **settings):
    return random_weights(StepAttention(StepSettings(channels=channels, **settings)))


def mean_by_definition(x, mask=None):
    """The mean over places of each row and channel, one number after another."""
    x = x if x.dim() == 3 else x.flatten(2).transpose(1, 2)
    rows = []
    for number, row in enumerate(x):
        kept = row if mask is None else row[mask[number]]
        rows.append(kept.sum(0) / len(kept) if len(kept) else torch.zeros(row.shape[-1], dtype=row.dtype))
    return torch.stack(rows)


def mlp_by_definition(gate, z):
    hidden = torch.clamp(z @ gate.inner.weight.T + gate.inner.bias, min=0)
    return hidden @ gate.outer.weight.T + gate.outer.bias


IMAGES, TOKENS = (3, 6, 4, 5), (3, 7, 6)
MASK = torch.tensor([[True] * 7, [True] * 3 + [False] * 4, [False] * 7])


@pytest.mark.parametrize("most", [1.0, 2.0])
@pytest.mark.parametrize("pool", ["mean", "mean+abs"])
@pytest.mark.parametrize("shape", [IMAGES, TOKENS])
def test_pair_is_its_equation(shape, pool, most):
    gate, r, s = step_gate(pool=pool, most=most), drawn(*shape), drawn(*shape, seed=1)
    told = [s, s.abs(), r, r.abs()] if pool == "mean+abs" else [s, r]
    z = torch.cat([mean_by_definition(one) for one in told], -1)
    a = most / (1 + torch.exp(-mlp_by_definition(gate, z)))
    spread = a[:, :, None, None] if len(shape) == 4 else a[:, None]
    gated = gate(r, s)
    torch.testing.assert_close(gated.steps, a)
    torch.testing.assert_close(gated.scaled, spread * r)
    assert gated.state is None


def test_diff_follows_the_update_before():
    gate = step_gate(level="diff")
    r, s, before = drawn(*IMAGES), drawn(*IMAGES, seed=1), drawn(*IMAGES, seed=2)
    first = gate(before, s)
    zeros = torch.zeros(3, 6, dtype=torch.float64)
    z = torch.cat([mean_by_definition(s), mean_by_definition(before), zeros], -1)
    torch.testing.assert_close(first.steps, torch.sigmoid(mlp_by_definition(gate, z)))
    second = gate(r, s, first.state)
    change = mean_by_definition((r - before).abs()) / (mean_by_definition(first.scaled.abs()) + 0.01)
    z = torch.cat([mean_by_definition(s), mean_by_definition(r), torch.log(1 + change)], -1)
    torch.testing.assert_close(second.steps, torch.sigmoid(mlp_by_definition(gate, z)))


@pytest.mark.parametrize("level", ["pair", "diff"])
def test_without_pooling_each_token_is_alone(level):
    gate, r, s = step_gate(pool="none", level=level), drawn(*TOKENS), drawn(*TOKENS, seed=1)
    before = gate(drawn(*TOKENS, seed=2), s)
    whole = gate(r, s, before.state)
    for place in range(TOKENS[1]):
        one = slice(place, place + 1)
        alone = gate(drawn(*TOKENS, seed=2)[:, one], s[:, one])
        torch.testing.assert_close(gate(r[:, one], s[:, one], alone.state).scaled, whole.scaled[:, one])


@pytest.mark.parametrize("most", [1.0, 2.0])
def test_steps_begin_near_half_of_the_longest(most):
    torch.manual_seed(0)
    gate = StepAttention(StepSettings(channels=64, most=most))
    steps = gate(torch.randn(32, 64), torch.randn(32, 64)).steps
    assert 1e-4 < (steps / most - 0.5).abs().max() < 0.04


def test_a_still_gate_of_two_steps_by_one():
    gate = StepAttention(StepSettings(channels=6, most=2, still=True)).double()
    r = drawn(*IMAGES)
    assert torch.equal(gate(r, drawn(*IMAGES, seed=1)).scaled, r)


def test_squeeze_excitation_is_its_equation():
    gate, r = random_weights(SqueezeExcitation(6, reduction=2)), drawn(*IMAGES)
    a = torch.sigmoid(mlp_by_definition(gate, mean_by_definition(r)))
    torch.testing.assert_close(gate(r, r).scaled, a[:, :, None, None] * r)
    assert torch.equal(gate(r, drawn(*IMAGES, seed=5)).scaled, gate(r, r).scaled)  # the shortcut is not read


@pytest.mark.parametrize(("channels", "width"), [(1, 1), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5)])
def test_eca_is_as_wide_as_the_channels_say(channels, width):
    assert ECA(channels).convolution.kernel_size == (width,)


def test_eca_is_its_equation():
    gate, r = random_weights(ECA(16)), drawn(3, 16, 4, 5)
    means, weight = mean_by_definition(r), gate.convolution.weight[0, 0]
    padded = torch.cat([torch.zeros(3, 1), means, torch.zeros(3, 1)], -1)
    told = torch.stack([padded[:, at : at + 3] @ weight for at in range(16)], -1)
    torch.testing.assert_close(gate(r, r).steps, torch.sigmoid(told))


def test_cbam_is_its_equation():
    gate, r = random_weights(CBAM(6)), drawn(*IMAGES)
    channel = torch.sigmoid(
        mlp_by_definition(gate, mean_by_definition(r)) + mlp_by_definition(gate, r.flatten(2).max(-1).values)
    )
    left = channel[:, :, None, None] * r
    seen = torch.nn.functional.pad(torch.stack([left.mean(1), left.max(1).values], 1), (3, 3, 3, 3))
    weight, place = gate.convolution.weight[0], torch.zeros(3, 4, 5, dtype=torch.float64)
    for y in range(4):
        for x in range(5):
            place[:, y, x] = (seen[:, :, y : y + 7, x : x + 7] * weight).sum((1, 2, 3))
    torch.testing.assert_close(gate(r, r).scaled, left * torch.sigmoid(place)[:, None])


@pytest.mark.parametrize("most", [1.0, 2.0])
@pytest.mark.parametrize("kind", [CBAM, DIA, ECA, SqueezeExcitation])
def test_no_step_is_longer_than_the_longest(kind, most):
    """The two gates of CBAM were each as long as `most`, and their product as its square."""
    gate, r = random_weights(kind(6, most=most)), 50 * drawn(*IMAGES)
    steps = gate(r, r).steps
    assert 0 <= steps.min() < steps.max() <= most


def test_srm_is_its_equation():
    gate, r = random_weights(SRM(6)).train(), drawn(*IMAGES)
    flat = r.flatten(2)
    mean, spread = flat.mean(-1), (flat.square().mean(-1) - flat.mean(-1).square()).sqrt()
    z = gate.weight[:, 0] * mean + gate.weight[:, 1] * spread
    z = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() * gate.norm.weight + gate.norm.bias
    torch.testing.assert_close(gate(r, r).steps, torch.sigmoid(z))


def test_srm_keeps_nothing_of_a_residual_whose_variance_is_infinite():
    gate, r = SRM(6), drawn(*IMAGES).float()
    gate(r, r)
    gate.weight.data.fill_(1.0)  # from now on the norm squares what it is given, too
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    for scale in (1e20, 1e19):
        with pytest.raises(InputError, match=r"^SRM gives no numbers: .* Normalise it first\.$"):
            gate(scale * r, scale * r)
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())
    assert torch.isfinite(gate(1e15 * r, 1e15 * r).scaled).all()


def test_dia_is_an_lstm_that_a_stage_shares():
    first = random_weights(DIA(6, reduction=2))
    second = DIA(6, like=first).double()
    assert not second.state_dict()
    assert len(first.state_dict()) == 8
    hidden = cell = torch.zeros(3, 6, dtype=torch.float64)
    state = None

    def narrowed(maps, x):
        """Down to a half of the channels, what is below 0 cut off, up to the four gates."""
        assert maps[0].weight.shape == (3, 6)
        return torch.relu(x @ maps[0].weight.T + maps[0].bias) @ maps[2].weight.T + maps[2].bias

    for number, gate in enumerate((first, second)):
        r = drawn(*IMAGES, seed=number)
        told = narrowed(first.cell.reads, mean_by_definition(r)) + narrowed(first.cell.recalls, hidden)
        into, forget, new, out = told.split(6, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
        hidden = torch.sigmoid(out) * torch.sigmoid(cell)
        gated = gate(r, r, state)
        torch.testing.assert_close(gated.steps, hidden)
        state = gated.state


def test_a_constant_step_is_the_same_for_all():
    gate, r = random_weights(ConstantStep(6, most=2)), drawn(*IMAGES)
    a = 2 * torch.sigmoid(gate.logits)
    torch.testing.assert_close(gate(r, r).scaled, a[None, :, None, None] * r)


GATES = {
    "step": lambda: step_gate(),
    "diff": lambda: step_gate(level="diff"),
    "se": lambda: random_weights(SqueezeExcitation(6)),
    "eca": lambda: random_weights(ECA(6)),
    "cbam": lambda: random_weights(CBAM(6, tokens=True)),
    "srm": lambda: random_weights(SRM(6)).eval(),
    "dia": lambda: random_weights(DIA(6)),
    "constant": lambda: random_weights(ConstantStep(6)),
}


@pytest.mark.parametrize("name", GATES)
def test_padding_changes_nothing(name):
    gate, r, s = GATES[name](), drawn(*TOKENS), drawn(*TOKENS, seed=1)
    wild_r, wild_s = (torch.where(MASK[..., None], one, 1e6) for one in (r, s))
    gated = gate(wild_r, wild_s, None, MASK)
    short = gate(r[1:2, :3], s[1:2, :3])
    torch.testing.assert_close(gated.scaled[1, :3], short.scaled[0])
    assert torch.isfinite(gated.scaled).all()  # of a row that is all padding, too
    torch.testing.assert_close(gate(r, s, None, torch.ones_like(MASK)).scaled, gate(r, s).scaled)


@pytest.mark.parametrize("name", GATES)
def test_one_token_and_numbers_of_minus_200(name):
    gate = GATES[name]()
    for r in (drawn(2, 1, 6), torch.full((2, 5, 6), -200.0, dtype=torch.float64)):
        r.requires_grad_()
        gated = gate(r, 100 * drawn(*r.shape, seed=1))
        assert (gated.steps >= 0).all()
        assert (gated.steps <= 1).all()
        gated.scaled.sum().backward()
        assert torch.isfinite(r.grad).all()


@pytest.mark.parametrize("name", GATES)
def test_weights_keep_their_names_and_values(name, tmp_path):
    gate, r, s = GATES[name](), drawn(*TOKENS), drawn(*TOKENS, seed=1)
    save_model(gate, str(tmp_path / "gate.safetensors"))
    other = random_weights(GATES[name](), seed=1)
    other.load_state_dict(load_file(tmp_path / "gate.safetensors"))
    torch.testing.assert_close(other(r, s).scaled, gate(r, s).scaled)


def test_the_names_of_the_weights():
    assert list(StepAttention(StepSettings(channels=8)).state_dict()) == [
        "inner.weight", "inner.bias", "outer.weight", "outer.bias"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_types_are_kept(kind):
    r, s = (drawn(*IMAGES, seed=n, dtype=kind) for n in (0, 1))
    gate = StepAttention(StepSettings(channels=6)).to(kind)
    gated = gate(r, s)
    assert gated.scaled.dtype == kind
    assert gated.steps.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide = StepAttention(StepSettings(channels=6))(r.float(), s.float())
    assert wide.scaled.dtype == torch.float32


def test_gradients_are_those_of_the_equation():
    gate, r, s = step_gate(level="diff"), drawn(2, 6, 2, 3), drawn(2, 6, 2, 3, seed=1)
    before = drawn(2, 6, 2, 3, seed=2)

    def run(r, s, before):
        return gate(r, s, gate(before, s).state).scaled

    assert torch.autograd.gradcheck(run, [one.requires_grad_() for one in (r, s, before)])


@given(st.floats(1e-3, 1e3))
def test_the_exact_step_lands_where_the_decay_ends(rate):
    rate = torch.tensor(rate, dtype=torch.float64)
    assert float(1 - exact_step(rate) * rate) == pytest.approx(math.exp(-rate), abs=1e-12)


def test_means_by_definition():
    for shape, mask in ((IMAGES, None), (TOKENS, None), (TOKENS, MASK)):
        x = drawn(*shape)
        torch.testing.assert_close(pooled(x, mask), mean_by_definition(x, mask))
    top = greatest(drawn(*TOKENS), MASK)
    torch.testing.assert_close(top[1], drawn(*TOKENS)[1, :3].max(0).values)
    assert (top[2] == 0).all()
    assert [hidden_width(*one) for one in ((16, None), (64, 4), (256, None), (8, 4))] == [4, 16, 16, 4]


@pytest.mark.parametrize(
    ("residual", "shortcut", "mask", "told"),
    [
        ((2, 6, 4, 4), (2, 6, 4, 5), None, r"residual of shape \(2, 6, 4, 4\) and a shortcut of \(2, 6, 4, 5\)"),
        ((2, 5, 4, 4), (2, 5, 4, 4), None, "6 channels got a residual"),
        ((2, 7, 5), (2, 7, 5), None, "6 channels got a residual"),
        ((2, 0, 6), (2, 0, 6), None, "a place at least"),
        ((2, 7, 6), (2, 7, 6), torch.ones(2, 6, dtype=torch.bool), "True where a token counts"),
        ((2, 7, 6), (2, 7, 6), torch.ones(2, 7), "torch.bool"),
        ((2, 6, 4, 4), (2, 6, 4, 4), torch.ones(2, 4, dtype=torch.bool), "goes with tokens only"),
        ((6,), (6,), None, "it needs images"),
    ],
)
def test_wrong_shapes_are_named(residual, shortcut, mask, told):
    gate = StepAttention(StepSettings(channels=6))
    with pytest.raises(InputError, match=told):
        gate(torch.zeros(residual), torch.zeros(shortcut), None, mask)


def test_wrong_settings_and_states_are_named():
    for wrong, told in (
        ({"channels": 0}, "channels = 0"),
        ({"channels": 4, "level": "both"}, "pair, diff"),
        ({"channels": 4, "pool": "max"}, "mean, mean"),
        ({"channels": 4, "most": 0.0}, "most = 0"),
        ({"channels": 4, "reduction": 0}, "reduction = 0"),
    ):
        with pytest.raises(InputError, match=told):
            StepAttention(StepSettings(**wrong))
    gate = step_gate(level="diff")
    state = gate(drawn(*IMAGES), drawn(*IMAGES)).state
    with pytest.raises(InputError, match=r"state of \(3, 6, 4, 5\), \(3, 6\) for a residual of \(3, 6, 2, 5\)"):
        gate(drawn(3, 6, 2, 5), drawn(3, 6, 2, 5), state)
    tokens = drawn(*TOKENS)
    state = step_gate(level="diff", pool="none")(tokens, tokens).state
    with pytest.raises(InputError, match="a gate of the same pool"):
        step_gate(level="diff")(tokens, tokens, state)
    with pytest.raises(InputError, match="reduction = 0"):
        DIA(6, reduction=0)
    with pytest.raises(InputError, match="state of another stage"):
        DIA(6)(torch.zeros(2, 6, 2, 2), torch.zeros(2, 6, 2, 2), "state")
    with pytest.raises(InputError, match="cannot share"):
        DIA(6, like=DIA(8))
    with pytest.raises(InputError, match="made for tokens"):
        CBAM(6, tokens=True)(torch.zeros(2, 6, 2, 2), torch.zeros(2, 6, 2, 2))
    with pytest.raises(InputError, match="one row to train on"):
        SRM(6)(torch.zeros(1, 6, 2, 2), torch.zeros(1, 6, 2, 2))
    with pytest.raises(InputError, match="it has no images"):
        step_gate(pool="none")(drawn(*IMAGES), drawn(*IMAGES))
