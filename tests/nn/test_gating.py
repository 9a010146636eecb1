"""Gates put into whole models and taken off: every layout that is known, copies, compilers, padding, decoders."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import pytest
import torch
from nn.streams import drawn
from safetensors.torch import load_file, save_model
from tiny import tiny
from torch import nn
from torch.utils.checkpoint import checkpoint

from foveal.errors import InputError, UnknownName
from foveal.nn import ResNet, ResNetSettings, VisionSettings, VisionTransformer
from foveal.nn.gating import GATES, attach, detach, gates_of, steps_replaced
from foveal.nn.residual_branches import Branch, residual_branches

IMAGES = drawn(2, 3, 8, 8, dtype=torch.float32)
IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 2, 2]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def res_net(**settings):
    return ResNet(ResNetSettings(**{"depth": 8, "widths": (4, 6, 8), **settings})).eval()


def bottlenecks():
    return res_net(depth=11, bottleneck=True)


def vision():
    return VisionTransformer(VisionSettings(side=8, patch=4, dim=8, layers=2, heads=2)).eval()


def torch_encoder(norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors, which norm_first cannot have
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def hugging_face(name, **more):
    """A model of transformers, tiny, with weights drawn."""
    import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, **more}
    config = getattr(transformers, f"{name}Config")(**sizes)
    model = getattr(transformers, f"{name}Model")(config).eval()
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    return model


def texts(model):
    return model(input_ids=IDS, attention_mask=MASK).last_hidden_state


MODELS = {
    "resnet": (res_net, lambda model: model(IMAGES), 3),
    "bottleneck": (bottlenecks, lambda model: model(IMAGES), 3),
    "vision": (vision, lambda model: model(IMAGES), 4),
    "torch, norm first": (lambda: torch_encoder(True), lambda model: model(drawn(2, 5, 8).float()), 4),
    "torch, norm last": (lambda: torch_encoder(False), lambda model: model(drawn(2, 5, 8).float()), 4),
    "bert": (lambda: hugging_face("Bert", vocab_size=20), texts, 4),
    "distilbert": (lambda: hugging_face("DistilBert", vocab_size=20, dim=8, n_layers=2, n_heads=2, hidden_dim=12),
                   texts, 4),
    "modernbert": (lambda: hugging_face("ModernBert", vocab_size=20, pad_token_id=2, bos_token_id=0, eos_token_id=1,
                                        cls_token_id=0, sep_token_id=1), texts, 4),
    "vit": (lambda: hugging_face("ViT", image_size=8, patch_size=4),
            lambda model: model(pixel_values=IMAGES).last_hidden_state, 4),
    "dinov2": (lambda: hugging_face("Dinov2", image_size=8, patch_size=4),
               lambda model: model(pixel_values=IMAGES).last_hidden_state, 4),
    "transformers' resnet": (lambda: hugging_face("ResNet", embedding_size=4, hidden_sizes=[4, 8], depths=[1, 2],
                                                  layer_type="basic"),
                             lambda model: model(pixel_values=drawn(2, 3, 16, 16).float()).last_hidden_state, 3),
}  # fmt: skip
DECODERS = {
    "qwen": lambda: hugging_face("Qwen2", vocab_size=20, num_key_value_heads=1, pad_token_id=2),
    "gemma": lambda: hugging_face("Gemma3Text", vocab_size=20, num_key_value_heads=1, head_dim=4, pad_token_id=2),
    "gpt2": lambda: hugging_face("GPT2", vocab_size=20, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1),
}


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_every_layout_is_found_scaled_and_given_back(name):
    make, run, count = MODELS[name]
    model = make()
    before, weights = run(model), list(model.state_dict())
    gates = attach(model, "constant", most=2.0)
    assert len(gates) == len(residual_branches(model)) == count
    assert {one for one in model.state_dict() if one not in weights} == {
        one for one in model.state_dict() if "gate.logits" in one
    }
    torch.testing.assert_close(run(model), before, atol=1e-6, rtol=0)  # steps of 1
    for gate in gates.values():
        gate.logits.data.fill_(-40.0)
    still = run(model)
    assert (still - before).abs().max() > 1e-3
    detach(model)
    assert list(model.state_dict()) == weights
    assert torch.equal(run(model), before)
    torch.testing.assert_close(still, branches_off(model, run), atol=1e-6, rtol=0)


def branches_off(model, run):
    """The outputs where every branch gives zeros, by hooks of the test's own."""

    def zeros(_, __, output):
        return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)

    handles = [branch.leaves.register_forward_hook(zeros) for branch in residual_branches(model)]
    try:
        return run(model)
    finally:
        for handle in handles:
            handle.remove()


def test_a_gated_block_is_the_shortcut_and_the_scaled_branch():
    model = res_net().double()
    x, block = drawn(2, 4, 8, 8), model.layer2[0]
    with torch.no_grad():
        f = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        s = block.downsample(x)
        gate = attach(model, "step")["layer2.0"]
        gate.outer.weight.data.normal_()
        torch.testing.assert_close(block(x), torch.relu(s + gate(f, s).scaled))


def test_a_projection_runs_once():
    model = res_net().train()
    before = int(model.layer2[0].downsample[1].num_batches_tracked)
    attach(model)
    model(IMAGES)
    assert int(model.layer2[0].downsample[1].num_batches_tracked) == before + 1


@pytest.mark.parametrize("kind", GATES)
def test_every_gate_goes_into_every_kind_of_model(kind):
    for make, run in ((res_net, lambda model: model(IMAGES)), (vision, lambda model: model(IMAGES))):
        model = make().train()
        attach(model, kind)
        run(model).square().sum().backward()
        assert all(weight.grad is not None for gate in gates_of(model).values() for weight in gate.parameters())


def test_what_a_block_hands_on_begins_anew_with_each_stage_and_pass():
    model = res_net(depth=14)
    gates = attach(model, "step", level="diff")
    states = {}
    for name, gate in gates.items():
        gate.register_forward_pre_hook(lambda _, args, name=name: states.update({name: args[2]}))
    for _ in range(2):
        model(IMAGES)
        assert [name for name, state in states.items() if state is None] == ["layer1.0", "layer2.0", "layer3.0"]


def test_a_copy_has_gates_of_its_own():
    model = res_net()
    attach(model)
    other = copy.deepcopy(model)
    before = model(IMAGES)
    for gate in gates_of(other).values():
        gate.outer.bias.data.fill_(-40.0)
    assert torch.equal(model(IMAGES), before)
    assert (other(IMAGES) - before).abs().max() > 1e-4
    detach(other)
    assert gates_of(model)
    assert torch.equal(model(IMAGES), before)


@pytest.mark.parametrize(("kind", "options"), [("step", {"level": "diff"}), ("dia", {})], ids=["diff", "dia"])
def test_a_model_that_has_run_is_copied(kind, options):
    model = res_net()
    attach(model, kind, **options)
    model(IMAGES).sum().backward()
    other = copy.deepcopy(model)
    torch.testing.assert_close(other(IMAGES), model(IMAGES))


def test_gates_that_cannot_be_run_again_say_so():
    for kind, options, again in (("se", {}, True), ("se", {"mask": MASK}, False), ("dia", {}, False)):
        model = hugging_face("Bert", vocab_size=20).train()
        for layer in model.encoder.layer:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        attach(model, kind)
        given = {"attention_mask": MASK} if options else {}
        loss = model(input_ids=IDS, **given).last_hidden_state.square().sum()
        if again:
            loss.backward()
            continue
        with pytest.raises(InputError, match="gradient checkpointing off"):
            loss.backward()


def test_weights_are_saved_and_loaded(tmp_path):
    model = res_net()
    attach(model, "se")
    save_model(model, str(tmp_path / "model.safetensors"))
    other = res_net()
    attach(other, "se")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(IMAGES), model(IMAGES))
    assert "layer1.0.gate.inner.weight" in model.state_dict()
    layer = vision()
    attach(layer, "se")
    assert "blocks.0.attention_gate.inner.weight" in layer.state_dict()


def compiled_as_plain(backend, **options):
    model = res_net()
    for gate in attach(model, "step", **options).values():
        gate.outer.weight.data.normal_()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler uses what PyTorch deprecates
        compiled = torch.compile(model, backend=backend, fullgraph=True)(IMAGES)
    torch.testing.assert_close(compiled, model(IMAGES), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_it_is_one_graph_to_the_compiler():
    compiled_as_plain("eager", level="diff")


@pytest.mark.slow
@pytest.mark.parametrize("level", ["pair", "diff"])
def test_it_compiles(level):
    compiled_as_plain("inductor", level=level)


def test_it_runs_in_mixed_precision():
    model = res_net()
    for gate in attach(model, "step").values():
        gate.outer.weight.data.normal_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(IMAGES.to(memory_format=torch.channels_last))
    assert (low.float() - model(IMAGES)).abs().max() < 0.1


@pytest.mark.parametrize("kind", GATES)
@torch.no_grad()
def test_padding_of_an_encoder_changes_no_output(kind):
    model = hugging_face("Bert", vocab_size=20)
    attach(model, kind)
    for gate in gates_of(model).values():
        for weight in gate.parameters():
            weight.data = torch.randn(weight.shape)
    whole = texts(model)[1, :3]
    alone = model(input_ids=IDS[1:, :3], attention_mask=MASK[1:, :3]).last_hidden_state[0]
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-5)
    positional = model(IDS, MASK).last_hidden_state[1, :3]
    torch.testing.assert_close(positional, alone, atol=1e-5, rtol=1e-5)


def test_padding_that_is_said_the_other_way_round():
    model = torch_encoder(True)
    for gate in attach(model, "se").values():
        gate.inner.weight.data.normal_()
    x = drawn(2, 5, 8).float()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    whole = model(x, src_key_padding_mask=padding)[1, :3]
    torch.testing.assert_close(whole, model(x[1:, :3])[0], atol=1e-5, rtol=1e-5)


def test_an_encoder_that_would_pack_padded_rows_does_not():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x, padding = drawn(2, 5, 8).float(), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    attach(model, "se")
    with torch.no_grad():
        whole = model(x, src_key_padding_mask=padding)[1, :3]
        torch.testing.assert_close(whole, model(x[1:, :3])[0], atol=1e-5, rtol=1e-5)
    detach(model)
    assert model.use_nested_tensor


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_decoder_takes_no_means_and_stays_causal(name):
    model = DECODERS[name]()
    before = texts(model)
    for kind in set(GATES) - {"constant"}:
        with pytest.raises(InputError, match="is causal"):
            attach(model, kind)
    gates = attach(model, "step", pool="none", most=2.0, still=True)
    assert len(gates) == 4
    torch.testing.assert_close(texts(model), before, atol=1e-6, rtol=0)
    for gate in gates.values():
        gate.outer.weight.data.normal_()
    whole = texts(model)[0]
    assert (whole - before[0]).abs().max() > 1e-3
    cut = model(input_ids=IDS[:1, :3], attention_mask=MASK[:1, :3]).last_hidden_state[0]
    torch.testing.assert_close(whole[:3], cut, atol=1e-4, rtol=1e-4)
    detach(model)
    assert torch.equal(texts(model), before)


def test_a_gated_decoder_writes_with_its_cache(tmp_path):
    model = tiny("qwen", tmp_path).model
    ids = torch.tensor([[5, 6, 7]])
    options = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    plain = model.generate(ids, **options)
    for gate in attach(model, "step", pool="none").values():
        gate.outer.weight.data.normal_()
    with_cache, without = model.generate(ids, **options), model.generate(ids, use_cache=False, **options)
    assert torch.equal(with_cache, without)
    detach(model)
    assert torch.equal(model.generate(ids, **options), plain)


def test_steps_are_replaced_while_asked():
    model = res_net()
    before = model(IMAGES)
    attach(model, "se")
    gated = model(IMAGES)
    with steps_replaced(model, lambda _, steps: torch.ones_like(steps)):
        torch.testing.assert_close(model(IMAGES), before)
    assert torch.equal(model(IMAGES), gated)


def test_gates_go_where_they_are_placed():
    model = vision()
    assert list(attach(model, "se", placement=["blocks.1"])) == ["blocks.1.attention", "blocks.1.mlp"]
    detach(model)
    assert list(attach(model, "se", placement="blocks.0.mlp")) == ["blocks.0.mlp"]
    detach(model)
    with pytest.raises(UnknownName, match=r"No branch is called 'layer9'. There are: blocks\.0\.attention"):
        attach(model, "se", placement=["layer9"])


def test_a_branch_of_ones_own():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(4, 4)

        def forward(self, x):
            return x + self.f(x)

    model, x = Odd(), drawn(3, 4).float()
    with pytest.raises(InputError, match=r"No residual blocks were found in Odd\. Looked for: ResNet blocks"):
        attach(model)
    own = Branch(name="f", owner=model, part="f", enters=model.f, leaves=model.f, channels=4)
    gate = attach(model, "se", branches=[own])["f"]
    torch.testing.assert_close(
        model(x), x + gate(model.f(x) * 0 + nn.functional.linear(x, model.f.weight, model.f.bias), x).scaled
    )


def test_mistakes_are_named():
    model = res_net()
    with pytest.raises(UnknownName, match=r"No gate is called 'senet'\. There are: step, se"):
        attach(model, "senet")
    with pytest.raises(InputError, match="no gates to take off"):
        detach(model)
    with pytest.raises(InputError, match="'eca' does not take these options"):
        attach(model, "eca", reduction=4)
    attach(model)
    with pytest.raises(InputError, match="has gates already"):
        attach(model)
    with pytest.raises(InputError, match="batch_first=True"):
        attach(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False))
    with pytest.raises(InputError, match="images of shape"):
        model(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match="images of shape"):
        vision()(torch.zeros(2, 3, 8, 9))
    for wrong in ({"depth": 9}, {"widths": (4, 4)}, {"classes": 0}):
        with pytest.raises(InputError):
            ResNetSettings(**wrong)
    with pytest.raises(InputError, match="patches fill the side"):
        VisionSettings(side=9, patch=4)


def test_layouts_that_only_look_alike_are_left_alone():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
            self.bn2, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    class NormAfter(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.norm1 = nn.Linear(4, 4), nn.LayerNorm(4)
            self.mlp, self.norm2 = nn.Linear(4, 4), nn.LayerNorm(4)

    for odd in (PreActivation(), NormAfter()):
        with pytest.raises(InputError, match="No residual blocks"):
            residual_branches(nn.Sequential(odd))


def test_sizes_are_those_of_the_literature():
    def count(model):
        return sum(weight.numel() for weight in model.parameters())

    assert count(ResNet(ResNetSettings(depth=20))) == 272_474
    for kind, options, size in (("se", {}, 280_958), ("step", {}, 284_990), ("step", {"level": "diff"}, 289_022)):
        model = ResNet(ResNetSettings(depth=20))
        attach(model, kind, **options)
        assert count(model) == size
    assert 1.70e6 < count(ResNet(ResNetSettings(depth=164, bottleneck=True, classes=100))) < 1.74e6
