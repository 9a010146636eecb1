"""The codebook does what the paper's formula says, tells when it is not used, and refuses what does not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from foveal.errors import InputError
from foveal.nn.codebook import (
    BOTTLENECKS,
    CodebookSettings,
    LinearBottleneck,
    TaskCodebook,
    bottleneck_of,
    parameters_of,
    usage,
    usage_in,
)
from foveal.nn.goal_filter import GoalFilter, GoalFilterSettings, freeze_for_adaptation


def by_hand(layer, x):
    """The paper's five lines, in NumPy."""
    w, b = layer.phi.weight.detach().numpy(), layer.phi.bias.detach().numpy()
    logits = np.maximum(x, 0) @ w.T + b
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    h = shares @ layer.codes.detach().numpy()
    return h @ layer.up.weight.detach().numpy().T + layer.up.bias.detach().numpy(), shares, h


def made(**settings):
    torch.manual_seed(0)
    return TaskCodebook(CodebookSettings(**{"width": 40, "codes": 12, "code_dim": 5, **settings})).eval()


def test_the_formula():
    layer, x = made(), torch.randn(3, 7, 40)
    looked = layer.look(x)
    for told, right in zip(looked, by_hand(layer, x.numpy()), strict=True):
        assert np.abs(told.detach().numpy() - right).max() < 1e-6
    torch.testing.assert_close(layer(x), looked.output)
    low, high = layer.codes.min(0).values, layer.codes.max(0).values
    assert ((looked.code >= low) & (looked.code <= high)).all()


def test_it_is_as_narrow_as_its_codes():
    layer = made(width=60)
    out = (layer(torch.randn(300, 60)) - layer.up.bias).detach().double()
    assert int(torch.linalg.matrix_rank(out, rtol=1e-5)) == 5


def test_the_papers_size():
    settings = CodebookSettings(width=1568)
    assert parameters_of(settings) == 421_472
    assert sum(one.numel() for one in TaskCodebook(settings).parameters()) == 421_472


def test_the_tasks_loss_reaches_all_of_it():
    layer, x = made(), torch.randn(4, 40, requires_grad=True)
    layer(x).square().sum().backward()
    for grad in (layer.codes.grad, layer.phi.weight.grad, layer.up.weight.grad, x.grad):
        assert grad.abs().max() > 0


def test_dropout_falls_on_shares_and_is_not_evened_out():
    layer, x = made(codes=64, dropout=0.25).train(), torch.randn(4000, 40)
    with torch.no_grad():
        shares = layer.shares(x)
        whole = layer.eval().shares(x)
    kept = shares > 0
    assert abs(float(kept.float().mean()) - 0.75) < 0.01
    torch.testing.assert_close(shares[kept], whole[kept] / 0.75)
    sums = shares.sum(-1)
    assert abs(float(sums.mean()) - 1) < 4 * float(sums.std()) / math.sqrt(4000)
    assert sums.std() > 0.01


@pytest.mark.parametrize("kind", ["random", "binary"])
def test_codes_that_are_not_learnt_stay(kind):
    layer = made(kind=kind)
    before = layer.codes.clone()
    layer(torch.randn(4, 40)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    assert torch.equal(layer.codes, before)
    assert "codes" in layer.state_dict()
    if kind == "binary":
        assert set(before.unique().tolist()) == {-1.0, 1.0}


def test_the_largest_shares_are_kept_as_they_are():
    layer, x = made(indexing="topk", topk=3), torch.randn(6, 40)
    shares = layer.shares(x).detach().numpy()
    whole = by_hand(layer, x.numpy())[1]
    for row, full in zip(shares, whole, strict=True):
        best = np.sort(full)[-3:]
        assert np.allclose(np.sort(row)[-3:], best, atol=1e-6)
        assert (row > 0).sum() == 3


def test_gumbel_takes_one_code():
    layer, x = made(indexing="gumbel"), torch.randn(6, 40)
    whole = by_hand(layer, x.numpy())[1]
    shares = layer.shares(x)
    assert (shares.argmax(-1).numpy() == whole.argmax(-1)).all()
    torch.testing.assert_close(shares.max(-1).values, torch.ones(6))
    drawn = layer.train().shares(x.repeat(200, 1))
    assert set(drawn.detach().round().sum(-1).tolist()) == {1.0}
    assert len(drawn.argmax(-1).unique()) > 6
    layer(x).sum().backward()
    assert layer.phi.weight.grad.abs().max() > 0


def test_gumbel_draws_by_the_shares_at_any_temperature():
    """(logits + noise) / t: which code is drawn does not depend on t, only how sharp the gradient is."""
    x, drawn = torch.randn(200, 40), []
    for temperature in (0.05, 1.0, 20.0):
        layer = made(indexing="gumbel", temperature=temperature).train()
        torch.manual_seed(1)
        drawn.append(layer.shares(x).argmax(-1))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], drawn[2])


def test_a_lower_temperature_sharpens():
    x = torch.randn(50, 40)
    with torch.no_grad():
        shares = [made(temperature=t).shares(x) for t in (0.1, 1.0, 10.0)]
    entropies = [float(torch.special.entr(one).sum(-1).mean()) for one in shares]
    assert entropies == sorted(entropies)


def test_one_code_lets_nothing_through():
    out = made(codes=1)(torch.randn(30, 40))
    torch.testing.assert_close(out, out[:1].expand_as(out))


def test_compiled_and_in_bfloat16():
    layer, x = made(), torch.randn(8, 40)
    plain = layer(x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.shares(x).dtype == torch.float32
        torch.testing.assert_close(layer(x).float(), plain, atol=0.05, rtol=0.05)
    half = made().bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain, atol=0.05, rtol=0.05)
    double = made().double()
    assert np.abs(double(x.double()).detach().numpy() - by_hand(double, x.double().numpy())[0]).max() < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0}, {"codes": 0}, {"codes": 2.5}, {"code_dim": 0}, {"dropout": 1.0}, {"dropout": -0.1},
        {"indexing": "sparsemax"}, {"kind": "dictionary"}, {"temperature": 0}, {"indexing": "topk", "topk": 13},
    ],
)  # fmt: skip
def test_settings_that_it_does_not_take(wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        CodebookSettings(**{"width": 40, "codes": 12, **wrong})


def test_shapes_that_do_not_fit():
    for layer in (made(), LinearBottleneck(40), LinearBottleneck(40, around=8)):
        with pytest.raises(InputError, match="39"):
            layer(torch.randn(2, 39))
        assert layer(torch.randn(0, 40)).shape == (0, 40)
    with pytest.raises(InputError, match="codebook, linear, autoencoder, none"):
        bottleneck_of("vq", CodebookSettings(width=40))
    for name in BOTTLENECKS:
        assert bottleneck_of(name, CodebookSettings(width=40))(torch.zeros(2, 40)).shape == (2, 40)


# -- usage -------------------------------------------------------------------------------------------------------------


def pointed(layer, codes):
    """Make input 0, 1, … choose codes[0], codes[1], …, for certain."""
    with torch.no_grad():
        layer.phi.weight.zero_()
        layer.phi.bias.zero_()
        for place, code in enumerate(codes):
            layer.phi.weight[code, place] = 100.0
    return torch.eye(40)[: len(codes)]


def test_the_controls_read_what_the_codebook_reads():
    torch.manual_seed(0)
    x = torch.randn(5, 40)
    plain, around = LinearBottleneck(40, 3), LinearBottleneck(40, 3, around=8)
    down, up = plain.down[1], plain.up[0]
    expected = (x.clamp(min=0) @ down.weight.T + down.bias) @ up.weight.T + up.bias
    torch.testing.assert_close(plain(x), expected)
    for layer in (plain, around, made()):
        torch.testing.assert_close(layer(x.clamp(min=0)), layer(x))


def test_usage_of_known_choices():
    layer = made()
    used = usage(layer, [pointed(layer, [0, 1, 2, 3])])
    assert used.perplexity_marginal == pytest.approx(4)
    assert used.perplexity_per_sample == pytest.approx(1)
    assert used.information == pytest.approx(math.log(4))
    assert (used.dead_codes, used.inputs, used.alarms()) == (8, 4, ())
    assert used.largest == pytest.approx(0.25)


def test_usage_is_that_of_many_batches_at_once():
    layer, x = made().train(), torch.randn(30, 40)
    whole, parts = usage(layer, [x]), usage(layer, x.split(7))
    assert whole.perplexity_marginal == pytest.approx(parts.perplexity_marginal)
    assert whole.perplexity_per_sample == pytest.approx(parts.perplexity_per_sample)
    assert layer.training
    with pytest.raises(InputError, match="no inputs"):
        usage(layer, [])


def test_alarms():
    layer = made(codes=40)
    one = usage(layer, [pointed(layer, [5, 5, 5])])
    assert len(one.alarms()) == 2
    assert "collapsed" in one.alarms()[0]
    assert "39 of 40" in one.alarms()[1]
    with torch.no_grad():
        layer.phi.weight.zero_()
    even = usage(layer, [torch.randn(9, 40)])
    assert even.perplexity_marginal == pytest.approx(40)
    assert [alarm.split(":")[0] for alarm in even.alarms()] == ["The codebook has collapsed"]


def test_usage_of_the_largest_shares_is_of_those():
    layer = made(codes=40, indexing="topk", topk=8)
    with torch.no_grad():
        layer.phi.weight.zero_()
        layer.phi.bias.zero_()
    even = usage(layer, torch.randn(9, 40))  # vectors, one by one
    assert even.inputs == 9
    assert even.perplexity_per_sample == pytest.approx(8)
    assert even.perplexity_marginal == pytest.approx(8)
    assert "collapsed" in even.alarms()[0]


def test_a_batch_that_is_refused_leaves_the_layer_as_it_was():
    layer = made().train()
    with pytest.raises(InputError, match="needs"):
        usage(layer, [torch.randn(2, 39)])
    assert layer.training


def test_usage_inside_a_model():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 40), made(), torch.nn.Linear(40, 2))
    x = torch.randn(20, 6)
    assert usage_in(model, [(x,)]) == usage(model[1], [model[0](x)])
    assert usage_in(torch.nn.Linear(6, 2), [(x,)]) is None


def test_a_batch_is_tallied_before_the_next_one_is_asked_for():
    torch.manual_seed(0)
    model, read, asked = torch.nn.Sequential(torch.nn.Linear(6, 40), made()), [], []
    model[1].phi.register_forward_hook(lambda *_: read.append(1))

    def batches():
        for _ in range(4):
            asked.append(len(read))
            yield (torch.randn(20, 6),)

    assert usage_in(model, batches()).inputs == 80
    assert asked == [0, 2, 4, 6]  # once by the model, once for the tally: none is kept for the end


# -- the filter around it ----------------------------------------------------------------------------------------------


def small_filter(**settings):
    torch.manual_seed(0)
    given = {"channels": 6, "cells": 9, "goals": (5, 3), "goal_dim": 8, "compress": (16, 4), "combine": (16, 4)}
    return GoalFilter(GoalFilterSettings(**{**given, "codebook": {"codes": 12}, **settings})).eval()


def test_the_filter_is_convolutions_of_one_cell():
    made, x = small_filter(extra=2), torch.randn(3, 9, 6)
    goal, extra = torch.tensor([[4, 0], [1, 2], [0, 1]]), torch.randn(3, 2)
    told = torch.cat([made.goal.fields[0](goal[:, 0]), made.goal.fields[1](goal[:, 1])], 1)
    cells = made.compress(x)
    joined = made.combine(torch.cat([cells, told[:, None].expand(-1, 9, -1)], -1)).flatten(1)
    torch.testing.assert_close(made.joint(x, goal, None, extra), torch.cat([joined, extra], 1))
    torch.testing.assert_close(made(x, goal, None, extra), made.bottleneck(torch.cat([joined, extra], 1)))
    assert made.settings.width == 9 * 4 + 2
    torch.testing.assert_close(made.join(made.compressed(x), goal, None, extra), made.joint(x, goal, None, extra))


def test_the_goal_decides_what_is_kept():
    made, x = small_filter(), torch.randn(2, 9, 6)
    one, other = made(x, torch.tensor([[0, 0]] * 2)), made(x, torch.tensor([[3, 1]] * 2))
    assert (one - other).abs().max() > 1e-3


def test_masked_cells_say_nothing():
    made, x = small_filter(goals=(), goal_width=4), torch.randn(2, 9, 6)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    goal, other = torch.randn(2, 4), x.clone()
    mask[:, :5] = True
    other[:, 5:] = 1e6
    torch.testing.assert_close(made(x, goal, mask), made(other, goal, mask))
    other[:, 5:] = torch.nan
    torch.testing.assert_close(made(x, goal, mask), made(other, goal, mask))
    with pytest.raises(InputError, match="NaN in row 0, token 5"):
        made(other, goal, ~mask)
    nothing = made(x, goal, torch.zeros_like(mask))
    assert torch.isfinite(nothing).all()
    torch.testing.assert_close(nothing[0], nothing[1])  # as no cell is seen, neither is the goal


def test_a_filter_is_saved(tmp_path):
    made, x, goal = small_filter(bottleneck="linear"), torch.randn(2, 9, 6), torch.tensor([[0, 0], [1, 1]])
    loaded = GoalFilter.load(made.save(tmp_path / "filter"))
    torch.testing.assert_close(loaded(x, goal), made(x, goal))
    assert list(loaded.state_dict()) == list(made.state_dict())
    with pytest.raises(InputError, match="holds no goal filter"):
        GoalFilter.load(tmp_path)


def test_the_state_dict_is_stable():
    told = [name.removeprefix("bottleneck.") for name in small_filter().state_dict() if "bottleneck" in name]
    assert told == ["codes", "phi.weight", "phi.bias", "up.weight", "up.bias"]


def test_only_what_stands_before_the_codebook_adapts():
    made, x, goal = small_filter(), torch.randn(2, 9, 6), torch.tensor([[0, 0], [1, 1]])
    model = torch.nn.ModuleDict({"filter": made, "head": torch.nn.Linear(36, 2)})
    frozen = {name: one.clone() for name, one in model.state_dict().items()}
    learning = freeze_for_adaptation(model)
    model["head"](made(x, goal)).sum().backward()
    torch.optim.SGD(learning, lr=1.0).step()
    moved = {name for name, one in model.state_dict().items() if not torch.equal(one, frozen[name])}
    assert moved == {name for name in frozen if name.split(".")[1] in ("compress", "goal", "combine")}
    with pytest.raises(InputError, match="no goal filter"):
        freeze_for_adaptation(torch.nn.Linear(2, 2))


def test_what_a_filter_does_not_take():
    made, goal = small_filter(), torch.tensor([[0, 0]])
    wrong = [
        (torch.randn(1, 9, 5), goal, {}),
        (torch.randn(1, 8, 6), goal, {}),
        (torch.randn(1, 9, 6), goal[:, :1], {}),
        (torch.randn(1, 9, 6), goal.float(), {}),
        (torch.randn(1, 9, 6), goal + 4, {}),  # of the second field there are 3
        (torch.randn(1, 9, 6), goal - 1, {}),
        (torch.randn(1, 9, 6), goal, {"mask": torch.ones(1, 9)}),
        (torch.randn(1, 9, 6), goal, {"extra": torch.randn(1, 2)}),
        (torch.full((1, 9, 6), math.nan), goal, {}),
    ]
    for place, told in ((1, "of its goal, got a NaN in row 0"), (3, "of what joins E, got a NaN in row 0")):
        given = [torch.randn(1, 9, 6), torch.randn(1, 4), None, torch.randn(1, 2)]
        given[place] = given[place] * math.nan
        with pytest.raises(InputError, match=told):
            small_filter(goals=(), goal_width=4, extra=2, bottleneck="none")(*given)
    for features, told, options in wrong:
        with pytest.raises(InputError):
            made(features, told, **options)
    with pytest.raises(InputError, match=r"needs \(1, 2\)"):
        small_filter(extra=2)(torch.randn(1, 9, 6), goal, extra=torch.randn(3, 2))
    for settings in (
        {"goals": ()}, {"goal_width": 3}, {"goal_dim": 7}, {"extra": -1}, {"compress": (0, 4)}, {"bottleneck": "vq"},
        {"codebook": {"size": 3}}, {"codebook": {"dropout": 2}}, {"cells": 0},
    ):  # fmt: skip
        with pytest.raises(InputError):
            small_filter(**settings)


def test_numbers_whose_products_are_none_are_named():
    """Shares of infinite logits were NaN, and so was what came out."""
    x = torch.full((2, 40), 3e38)
    said = "gives no numbers: .* Normalise it first"
    for layer in (made(), made(indexing="topk", topk=3), made(indexing="gumbel"), LinearBottleneck(40)):
        assert torch.isfinite(layer(x * 1e-10)).all()
        with pytest.raises(InputError, match=said):
            layer(x)
    torch.manual_seed(0)
    layer = GoalFilter(GoalFilterSettings(channels=8, cells=3, goal_width=4, bottleneck="none"))
    features, goal, mask = torch.randn(2, 3, 8), torch.randn(2, 4), torch.tensor([[True, True, False]] * 2)
    wild = features.clone()
    wild[:, 2] = 3e38
    torch.testing.assert_close(layer(wild, goal, mask), layer(features, goal, mask))
    with pytest.raises(InputError, match=f"A goal filter {said}"):
        layer(wild, goal)
