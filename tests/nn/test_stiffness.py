"""Speed and stiffness: each instrument against its definition, on equations that are known, and on real models."""

from __future__ import annotations

import copy
import csv

import numpy as np
import pytest
import torch
from nn.streams import drawn
from nn.test_gating import IDS, IMAGES, MASK, hugging_face, res_net, vision
from torch import nn

from foveal.errors import InputError, UnknownName
from foveal.evaluation.classification import spearman
from foveal.nn import stiffness_recorder
from foveal.nn.gating import attach
from foveal.nn.jacobians import greatest_stretch
from foveal.nn.ode_stiffness import jacobian, linear, trajectory_stiffness, van_der_pol
from foveal.nn.stiffness import stiffness


def norms(x):
    return torch.stack([one.flatten().norm() for one in x])


def by_name(report):
    return {block.block: block for block in report.blocks}


def states_of(model, x):
    """Shortcuts and branches of a ResNet, block after block, written out."""
    x = torch.relu(model.bn1(model.conv1(x)))
    for block in [*model.layer1, *model.layer2, *model.layer3]:
        f = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        s = x if block.downsample is None else block.downsample(x)
        yield s, f
        x = torch.relu(s + f)


@torch.no_grad()
def test_speed_and_path_are_their_definitions():
    model = res_net(depth=14).train()
    report = stiffness(model, [IMAGES[:1], IMAGES[1:]])
    assert model.training
    seen = list(states_of(model.eval(), IMAGES))
    for block, (s, f) in zip(report.blocks, seen, strict=True):
        assert block.si == pytest.approx(float((norms(f) / norms(s)).mean()), rel=1e-4)
        assert block.ji is block.step is block.adaptivity is None
    for number in (1, 3, 5):
        (s0, f0), (s1, f1) = seen[number - 1], seen[number]
        assert report.blocks[number].li == pytest.approx(float((norms(f1 - f0) / norms(s1 - s0)).mean()), rel=1e-4)
        assert report.blocks[number - 1].li is None  # the first of a stage
    speeds = [block.si for block in report.blocks]
    assert report.index == pytest.approx(max(speeds) / ((sorted(speeds)[2] + sorted(speeds)[3]) / 2))
    assert report.fastest(1) == [max(report.blocks, key=lambda one: one.si).block]
    by_speed = {block.block: block.si for block in report.blocks}
    assert report.fastest(len(by_speed)) == sorted(by_speed, key=by_speed.__getitem__, reverse=True)
    assert (report.unit, report.units) == ("image", 2)


@torch.no_grad()
def test_of_gates_it_tells_the_update_and_how_steps_vary():
    model, images = res_net(), drawn(6, 3, 8, 8).float()
    for gate in attach(model, "step").values():
        gate.outer.weight.data.normal_()
        gate.outer.bias.data.normal_()
    steps = {}
    for name, gate in model.named_modules():
        if name.endswith(".gate"):
            gate.register_forward_hook(lambda _, args, out, name=name: steps.update({name: (args, out)}))
    model(images)
    report = stiffness(model, [images])
    every = []
    for block in report.blocks:
        (f, s, *_), (scaled, a, _) = steps[f"{block.block}.gate"]
        assert block.si == pytest.approx(float((norms(scaled) / norms(s)).mean()), rel=1e-4)
        assert block.step == pytest.approx(float(a.mean()), rel=1e-4)
        assert block.adaptivity == pytest.approx(float(a.std(0, correction=0).mean()), rel=1e-3)
        stiff = f.abs().mean((2, 3)) / s.abs().mean((2, 3))
        assert block.correlation == pytest.approx(spearman(a.flatten().tolist(), stiff.flatten().tolist()), abs=1e-3)
        torch.testing.assert_close(report.steps[block.block], a.mean(0))
        every.append((a.flatten(), stiff.flatten()))
    a, stiff = (torch.cat(side).tolist() for side in zip(*every, strict=True))
    assert report.correlation == pytest.approx(spearman(a, stiff), abs=1e-3)


def test_of_very_many_steps_some_are_ranked(monkeypatch):
    """Drawn, not every so-manieth: that would be of a few channels alone."""
    steps = drawn(400, 64) + torch.arange(64)
    stiff = steps + 20 * drawn(400, 64, seed=1)
    every = spearman(steps.flatten().tolist(), stiff.flatten().tolist())
    monkeypatch.setattr(stiffness_recorder, "MOST", 4000)
    some = stiffness_recorder._ranks_together([steps], [stiff])
    assert some != every
    assert some == pytest.approx(every, abs=0.05)


def test_the_stretch_of_a_linear_map_is_its_norm():
    weight = drawn(9, 7)
    found = greatest_stretch(lambda x: x @ weight.T, drawn(3, 7), steps=200)
    torch.testing.assert_close(found, torch.linalg.matrix_norm(weight, 2).expand(3), rtol=1e-3, atol=0)
    with pytest.raises(InputError, match="at least 1"):
        greatest_stretch(lambda x: x, drawn(1, 2), steps=0)


def test_jacobians_of_blocks_are_those_written_out():
    model = res_net().double()
    x = drawn(1, 3, 5, 5)
    report = stiffness(model, [x], jacobian=True, iterations=50)
    state = torch.relu(model.bn1(model.conv1(x)))
    block = model.layer1[0]
    whole = torch.autograd.functional.jacobian(
        lambda one: block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(one))))), state
    )
    norm = torch.linalg.matrix_norm(whole.reshape(state.numel(), state.numel()), 2)
    assert report.blocks[0].ji == pytest.approx(float(norm), rel=5e-3)
    attach(model, "step", level="diff")  # f is what a gate is given, so that its stretch stays
    gated = stiffness(model, [x], jacobian=True, iterations=50)
    assert gated.blocks[0].ji == pytest.approx(report.blocks[0].ji, rel=1e-6)


def test_jacobians_of_layers_are_those_written_out():
    model, images = vision().double(), IMAGES[:1].double()
    report = stiffness(model, [images], jacobian=True, iterations=50)
    assert [block.block for block in report.blocks] == ["blocks.0", "blocks.1"]
    x = model.patch_embed(images).flatten(2).transpose(1, 2) + model.pos_embed
    layer = model.blocks[0]
    whole = torch.autograd.functional.jacobian(lambda one: layer(one) - one, x)
    norm = torch.linalg.matrix_norm(whole.reshape(x.numel(), x.numel()), 2)
    assert report.blocks[0].ji == pytest.approx(float(norm), rel=5e-3)
    speed = ((layer(x) - x).norm(dim=-1) / x.norm(dim=-1)).mean().detach()
    assert report.blocks[0].si == pytest.approx(float(speed), rel=1e-4)


@torch.no_grad()
def test_branches_of_a_layer_are_told_apart():
    model = vision()
    report = by_name(stiffness(model, [IMAGES], parts="branches"))
    layer = model.blocks[0]
    x = model.patch_embed(IMAGES).flatten(2).transpose(1, 2) + model.pos_embed
    f = layer.attn(layer.norm1(x))
    assert report["blocks.0.attention"].si == pytest.approx(float((f.norm(dim=-1) / x.norm(dim=-1)).mean()), rel=1e-4)
    x = x + f
    f = layer.mlp(layer.norm2(x))
    assert report["blocks.0.mlp"].si == pytest.approx(float((f.norm(dim=-1) / x.norm(dim=-1)).mean()), rel=1e-4)


@torch.no_grad()
def test_padding_is_no_unit():
    model = hugging_face("Bert", vocab_size=20)
    padded = stiffness(model, [{"input_ids": IDS, "attention_mask": MASK}])
    rows = [{"input_ids": IDS[:1]}, {"input_ids": IDS[1:, :3]}]
    assert padded.units == 8
    for one, other in zip(padded.blocks, stiffness(model, rows).blocks, strict=True):
        assert one.si == pytest.approx(other.si, rel=1e-4)
        if one.li is not None:
            assert one.li == pytest.approx(other.li, rel=1e-3)


def test_a_jacobian_is_that_of_the_tokens_that_count():
    model = hugging_face("Bert", vocab_size=20)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8 if weight.dim() == 2 else 1)
    padded = stiffness(model, [{"input_ids": IDS[1:], "attention_mask": MASK[1:]}], jacobian=True, iterations=60)
    alone = stiffness(model, [{"input_ids": IDS[1:, :3]}], jacobian=True, iterations=60)
    assert [one.ji for one in padded.blocks] == pytest.approx([one.ji for one in alone.blocks], rel=0.01)


@pytest.mark.parametrize(("kind", "options"), [("step", {"level": "diff"}), ("dia", {})])
def test_in_a_jacobian_gates_know_the_padding_and_the_block_before(kind, options):
    model = hugging_face("Bert", vocab_size=20).double()
    torch.manual_seed(0)
    attach(model, kind, **options)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6 if weight.dim() == 2 else 1)
    batches = [{"input_ids": IDS[1:], "attention_mask": MASK[1:]}, {"input_ids": IDS}]
    padded = stiffness(model, batches, jacobian=True, iterations=25)
    alone = stiffness(model, [{"input_ids": IDS[1:, :3]}], jacobian=True, iterations=25)
    assert [one.ji for one in padded.blocks] == pytest.approx([one.ji for one in alone.blocks], rel=0.01)


def test_positions_that_no_token_has_are_not_asked_for():
    from types import SimpleNamespace

    from foveal.nn.stiffness_texts import Opened, batches

    model = hugging_face("Roberta", vocab_size=20, max_position_embeddings=10)
    encode = lambda text, **_: SimpleNamespace(ids=[5] * len(text))  # noqa: E731
    opened = Opened("tiny", model, SimpleNamespace(encode=encode), special=False)
    assert stiffness(model, batches(opened, "a" * 50, windows=1, tokens=8)).units == 8
    with pytest.raises(InputError, match="takes 8 tokens, and 9 were asked for"):
        batches(opened, "a" * 50, windows=1, tokens=9)


def test_narrow_weights_are_widened_for_jacobians():
    model = hugging_face("Qwen2", vocab_size=20, num_key_value_heads=1)
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    wide = stiffness(model, [batch], jacobian=True)
    narrow = stiffness(copy.deepcopy(model).bfloat16(), [batch], jacobian=True)
    for one, other in zip(wide.blocks, narrow.blocks, strict=True):
        assert other.ji == pytest.approx(one.ji, rel=0.1)
        assert other.si == pytest.approx(one.si, rel=0.1)


def test_the_report_is_written_and_drawn(tmp_path):
    model = res_net()
    attach(model, "step", still=True)
    report = stiffness(model, [IMAGES], jacobian=True, name="small")
    assert report.plot(tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    rows = list(csv.DictReader(report.to_csv(tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["block"] for row in rows] == ["layer1.0", "layer2.0", "layer3.0"]
    assert float(rows[1]["si"]) == pytest.approx(report.blocks[1].si)
    assert rows[0]["li"] == ""
    told = report.as_json()
    assert told["fsi"] == report.index
    assert told["blocks"][0]["step"] == pytest.approx(0.5)


def test_curves_are_compared_over_depth():
    short, long = (stiffness(res_net(depth=depth), [IMAGES]) for depth in (8, 20))
    assert short.distance(short) == 0
    speeds = [block.si for block in long.blocks]
    at = [speeds[0], speeds[4], speeds[8]]
    own = [block.si for block in short.blocks]
    assert short.distance(long) == pytest.approx(sum(abs(a - b) for a, b in zip(own, at, strict=True)))


def test_mistakes_are_named():
    model = res_net()
    with pytest.raises(InputError, match="no batches"):
        stiffness(model, [])
    with pytest.raises(InputError, match="No residual blocks"):
        stiffness(nn.Linear(2, 2), [IMAGES])
    with pytest.raises(InputError, match="parts = 'layers'"):
        stiffness(model, [IMAGES], parts="layers")
    with pytest.raises(InputError, match="ask for 1 to 3"):
        stiffness(model, [IMAGES]).fastest(4)
    model.train().layer2[0].bn2.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match=r"block layer2\.0 has numbers that are none"):
        stiffness(model, [IMAGES])
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# -- equations ---------------------------------------------------------------------------------------------------------


def test_two_decays_are_stiff_from_1000_to_1():
    path = trajectory_stiffness(linear([1, 1000]), [1, 1], (0, 5))
    assert path.li[0] == pytest.approx(1000, rel=1e-3)
    assert path.li[-1] == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(path.ji, 1000, rtol=1e-6)
    np.testing.assert_allclose(path.ratio, 1000, rtol=1e-6)
    assert path.si[-1] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(("mu", "span"), [(10.0, 60.0), (100.0, 170.0)])
def test_a_solver_steps_shortly_where_the_jacobian_is_great_not_where_the_state_is_fast(mu, span):
    path = trajectory_stiffness(van_der_pol(mu), [2, 0], (0, span), method="RK45", rtol=1e-6, atol=1e-9)
    effort = (1 / path.lengths).tolist()
    stiff, fast = (spearman(effort, one[:-1].tolist()) for one in (path.ji, path.si))
    assert stiff > 0.9
    assert fast < 0.5


def test_differences_are_the_jacobian():
    x = np.array([1.3, -0.4])
    exact = [[0, 1], [-2 * 3 * 1.3 * -0.4 - 1, 3 * (1 - 1.3**2)]]
    np.testing.assert_allclose(jacobian(van_der_pol(3.0), 0.0, x), exact, rtol=1e-6, atol=1e-8)


def test_equations_that_cannot_be_solved():
    with pytest.raises(UnknownName, match=r"There are: Radau, BDF"):
        trajectory_stiffness(linear([1]), [1], (0, 1), method="Euler")
    with pytest.raises(InputError, match="later end"):
        trajectory_stiffness(linear([1]), [1], (1, 1))
    with pytest.raises(InputError, match="gave up"):
        trajectory_stiffness(lambda _, x: x**2, [1], (0, 2), method="RK45")


# -- real models -------------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_real_encoder_rewrites_its_last_layers_most(own_settings):
    from foveal.nn.stiffness_texts import batches, opened, text_of

    model = opened("minilm", own_settings)
    pieces = batches(model, text_of(None), windows=2, tokens=64)
    report = stiffness(model.model, pieces, parts="branches")
    assert len(report.blocks) == 12
    assert report.units == 128
    assert report.fastest(2) == ["encoder.layer.5.mlp", "encoder.layer.4.mlp"]


@pytest.mark.model
@pytest.mark.slow
def test_a_real_decoder_makes_its_words_in_its_first_layer(own_settings):
    from foveal.nn.stiffness_texts import batches, opened, text_of

    model = opened("qwen2.5-coder-0.5b", own_settings)
    report = stiffness(model.model, batches(model, text_of(None), windows=2, tokens=128))
    speeds = [block.si for block in report.blocks]
    assert len(speeds) == 24
    assert speeds[0] > 5 * max(speeds[1:])
    assert report.fastest(1) == ["model.layers.0"]
