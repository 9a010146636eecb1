"""One pass for a recorder: the lean layers give what transformers gives, and nothing below the deepest layer is run."""

from __future__ import annotations

import pytest
import torch
from models.test_decoding import LEAN, WINDOW
from models.test_decoding import tiny as made
from test_methods import small
from tiny import FULL, LAYERS
from torch import nn

from foveal.attention import Dense, LongHeads, Recorder, SharedPrefix, Streaming, attach, watch
from foveal.errors import InputError
from foveal.models import lean as lean_layers
from foveal.models.language import load_language_model
from foveal.models.lean import PROJECTIONS, lean, supports
from foveal.training.low_rank import add_low_rank, merge_low_rank

LENGTH = 29
ROWS = torch.tensor([[3, 28, 17], [11, 2, 28]])
IDS = torch.randint(0, 97, (2, LENGTH), generator=torch.Generator().manual_seed(3))
EVERY = dict.fromkeys(range(3))


def by_transformers(model, ids, recorder, method=None, positions=None):
    """The definition: transformers' own forward pass, attached."""
    with torch.inference_mode(), attach(model, method, recorder=recorder) as attached:
        attached.base(input_ids=ids, position_ids=positions, use_cache=False)
    return recorder.attention


def assert_same(found, expected, tolerance=1e-5):
    assert list(found) == list(expected)
    for layer in expected:
        torch.testing.assert_close(found[layer], expected[layer], atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("kind", LEAN)
def test_lean_layers_look_where_transformers_does(kind):
    model = made(kind)
    assert supports(model)
    recorder = Recorder(ROWS, EVERY)
    watch(model, IDS, recorder)
    assert_same(recorder.attention, by_transformers(model, IDS, Recorder(ROWS, EVERY)))


@pytest.mark.parametrize("kind", LEAN)
def test_under_a_method_and_at_other_positions(kind):
    model = made(kind)
    layout = SharedPrefix(torch.tensor([20, 2 * WINDOW + 1]), 20, [4, 5])
    recorder, expected = Recorder(layout.rows(1), EVERY), Recorder(layout.rows(1), EVERY)
    watch(model, IDS, recorder, method=layout, positions=layout.positions)
    assert_same(recorder.attention, by_transformers(model, IDS, expected, layout, layout.positions))


@pytest.mark.parametrize("kind", [*LEAN, "gpt2"])
def test_a_pass_ends_at_the_deepest_layer_that_is_watched(kind, monkeypatch):
    model, run = made(kind), []
    if kind in LEAN:
        call = lean_layers.Layer.__call__
        monkeypatch.setattr(lean_layers.Layer, "__call__", lambda self, *a, **b: run.append(1) or call(self, *a, **b))
    else:
        for block in model.transformer.h:
            block.register_forward_pre_hook(lambda *_: run.append(1))
    recorder = Recorder(ROWS, {0: [1, 0]}, stop=True)
    watch(model, IDS, recorder)
    assert (len(run), list(recorder.attention)) == (1, [0])
    whole = Recorder(ROWS, {0: None})
    watch(model, IDS, whole)
    assert len(run) > 2
    torch.testing.assert_close(recorder.attention[0], whole.attention[0][:, [1, 0]])


def test_a_block_of_attach_around_it_holds():
    """Its method, layers and report; a method of its own goes before it."""
    model, method = made("llama"), small(Streaming, sinks=16, recent=16)
    ids, rows = IDS.repeat(1, 4), torch.tensor([[60, 90], [70, 110]])
    layers = [1]

    def seen(own=None):
        recorder = Recorder(rows, EVERY)
        watch(model, ids, recorder, method=own)
        return recorder.attention

    dense = seen()
    with attach(model, method, layers=layers) as around:
        expected = Recorder(rows, EVERY)
        with torch.inference_mode(), attach(model, method, layers=layers, recorder=expected) as attached:
            attached.base(input_ids=ids, use_cache=False)
        found = seen()
        assert_same(found, expected.attention)
        assert {look.layer for look in around.report.looks} == {1}
        assert_same(seen(small(Dense)), dense)
    assert not torch.allclose(found[2], dense[2], atol=1e-3)  # what layer 1 gave is other
    assert_same(seen(), dense)
    with attach(model, LongHeads(chunk_size=8, attention_length=64)), pytest.raises(InputError, match="LongHeads"):
        seen()


def test_other_errors_come_through():
    class Broken:
        def attend(self, *_):
            raise ZeroDivisionError

        def seen(self, *_):
            return None

    for kind in ("qwen2", "gpt2"):
        with pytest.raises(ZeroDivisionError):
            watch(made(kind), IDS, Recorder(ROWS, {1: None}), method=Broken())


@pytest.mark.parametrize("ids", [IDS[0], IDS.tolist()], ids=["one row", "lists"])
def test_ids_that_are_no_batch_are_refused(ids):
    with pytest.raises(InputError, match=r"watch got ids of .*needs a tensor of token ids, \(batch, tokens\)"):
        watch(made("qwen2"), ids, Recorder(ROWS, {1: None}))


def test_what_holds_a_model_is_not_taken_for_one():
    with pytest.raises(InputError, match=r"watch got Linear; .*load_language_model\(…\) holds as \.model"):
        watch(nn.Linear(2, 2), IDS, Recorder(ROWS, {1: None}))


# -- the layers that all share -----------------------------------------------------------------------------------------


def test_layers_are_packed_once_and_when_they_are_used():
    model = made("llama")
    shared = lean(model)
    assert lean(model) is shared
    watch(model, IDS, Recorder(ROWS, {1: None}, stop=True))
    assert sorted(shared._packed) == [0, 1]
    assert shared.layer(1) is shared.layer(1)


@pytest.mark.parametrize("change", ["in place", "another tensor"])
def test_weights_that_change_are_packed_anew(change):
    model = made("qwen2")
    recorder = Recorder(ROWS, EVERY)
    watch(model, IDS, recorder)
    weight = model.model.layers[0].mlp.down_proj.weight
    with torch.no_grad():
        weight.mul_(-1.0) if change == "in place" else setattr(weight, "data", -weight.data)
    after = Recorder(ROWS, EVERY)
    watch(model, IDS, after)
    assert not torch.allclose(recorder.attention[2], after.attention[2], atol=1e-3)
    assert_same(after.attention, by_transformers(model, IDS, Recorder(ROWS, EVERY)))


class Adapter(nn.Module):
    """As PEFT puts one in a layer's place: no Linear itself, and it shows the weights below it as its own."""

    def __init__(self, base):
        super().__init__()
        self.base_layer, self.change = base, nn.Linear(base.in_features, base.out_features, bias=False)

    weight = property(lambda self: self.base_layer.weight)
    bias = property(lambda self: self.base_layer.bias)

    def forward(self, x):
        return self.base_layer(x) + self.change(x)


class Scaled(nn.Module):
    """A norm in another's place, with its weight and epsilon."""

    def __init__(self, base):
        super().__init__()
        self.base_layer, self.weight = base, base.weight
        self.variance_epsilon = self.eps = 1e-6

    def forward(self, x):
        return 1.5 * self.base_layer(x)


@pytest.mark.parametrize("kind", LEAN)
@pytest.mark.parametrize("place", [*PROJECTIONS, "input_layernorm", "post_attention_layernorm"])
def test_adapters_in_a_layer_are_not_passed_over(kind, place):
    model = made(kind)
    layer = model.model.layers[1]
    parent = next(part for part in layer.modules() if place in dict(part.named_children()))
    base = getattr(parent, place)
    setattr(parent, place, Adapter(base) if place in PROJECTIONS else Scaled(base))
    assert not supports(model)
    recorder = Recorder(ROWS, EVERY)
    watch(model, IDS, recorder)
    assert_same(recorder.attention, by_transformers(model, IDS, Recorder(ROWS, EVERY)))
    setattr(parent, place, base)
    assert supports(model)


@pytest.mark.parametrize("kind", ["qwen2", "gemma3"])
def test_adapters_around_the_layers_and_within_them_count_too(kind):
    for change in (
        lambda model: setattr(model, "lm_head", Adapter(model.lm_head)),
        lambda model: setattr(model.model, "norm", Scaled(model.model.norm)),
        lambda model: model.model.layers[2].mlp.add_module("adapter", nn.Linear(4, 4)),
    ):
        model = made(kind)
        change(model)
        assert not supports(model)


def test_low_rank_changes_of_our_own_count_until_they_are_merged():
    model = made("llama")
    add_low_rank(model, rank=2)
    assert not supports(model)
    merge_low_rank(model)
    assert supports(model)


def test_a_model_that_nobody_holds_is_not_kept_by_its_layers():
    import gc
    import weakref

    model = made("llama")
    lean(model).layer(0)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_method_that_is_attached_is_kept_to(attention_models):
    """A model that somebody has attached to goes through transformers: what they attached counts as well."""
    model = attention_models["qwen"].model
    with attach(model):
        assert not supports(model)
        recorder = Recorder(ROWS, {FULL["qwen"][0]: None})
        watch(model, IDS, recorder)
    assert recorder.attention[0].shape == (2, 4, 3, LENGTH)
    assert LAYERS["qwen"] == len(lean(model))


@pytest.mark.model
@pytest.mark.parametrize("name", [pytest.param("qwen2.5-coder-0.5b", marks=pytest.mark.slow), "gemma3-270m"])
def test_real_models_look_where_transformers_does(name):
    model = load_language_model(name, dtype="float32").model
    ids = torch.randint(0, 30_000, (1, 96), generator=torch.Generator().manual_seed(5))
    rows = torch.arange(80, 96)[None]
    layers = dict.fromkeys([0, 5, 11])
    recorder = Recorder(rows, layers, stop=True)
    watch(model, ids, recorder)
    assert_same(recorder.attention, by_transformers(model, ids, Recorder(rows, layers)), tolerance=2e-5)


def test_hooks_of_transformers_own_do_not_count(model):
    """They stay for ever once attentions were asked for, and only listen; anybody else's hook may change something."""
    with torch.inference_mode():
        model(torch.tensor([[3, 4, 5]]), output_attentions=True)
    assert any(module._forward_hooks for module in model.modules())
    assert supports(model)
    handle = model.lm_head.register_forward_hook(lambda *_: None)
    assert not supports(model)
    handle.remove()
    assert supports(model)
