"""What is no number: named where it counts, without effect where it does not, and never kept."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from nn.streams import assert_same_state, drawn

from foveal.errors import InputError
from foveal.nn.aaren import Aaren, AarenSettings
from foveal.nn.causal_attention import CausalAttention, StreamSettings, encoder_of
from foveal.nn.codebook import CodebookSettings, LinearBottleneck, TaskCodebook
from foveal.nn.full_attention import FullAttention, FullSettings
from foveal.nn.gated_delta import GatedDelta, GatedDeltaSettings
from foveal.nn.inputs import checked, require_ids, require_numbers
from foveal.nn.neural_memory import MemoryDiverged, MemorySettings, NeuralMemory
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.nn.recurrent import Recurrent, RecurrentSettings
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.nn.titans import LMM, MAC, MAG, MAL, TitansSettings
from foveal.nn.window_attention import WindowAttention, WindowSettings

DIM, NONE = 16, {"NaN": torch.nan, "infinite": torch.inf}


def titans(kind, variant):
    memory = {"heads": 2, "chunk": 4}
    return kind(TitansSettings(dim=DIM, variant=variant, heads=2, window=8, persistent=2, memory=memory))


def routing(**options):
    small = {"heads": 4, "routing_heads": 2, "clusters": 4, "window": 5, "local_window": 4}
    return RoutingAttention(RoutingSettings(dim=DIM, **{**small, **options}))


LAYERS = {
    "memory": lambda: NeuralMemory(MemorySettings(dim=DIM, heads=2, chunk=4)),
    "lmm": lambda: titans(LMM, "lmm"),
    "mac": lambda: titans(MAC, "mac"),
    "mag": lambda: titans(MAG, "mag"),
    "mal": lambda: titans(MAL, "mal"),
    "window": lambda: WindowAttention(WindowSettings(dim=DIM, heads=2, window=4)),
    "blocks": lambda: WindowAttention(WindowSettings(dim=DIM, heads=1, window=4, kind="blocks")),
    "routing": routing,
    "routing, topk": lambda: routing(selection="topk"),
    "routing, an encoder": lambda: routing(selection="topk", causal=False),
    "delta": lambda: GatedDelta(GatedDeltaSettings(dim=DIM, heads=2)),
    "aaren": lambda: Aaren(AarenSettings(dim=DIM, heads=2)),
    "causal attention": lambda: CausalAttention(AarenSettings(dim=DIM, heads=2)),
    "full": lambda: FullAttention(FullSettings(dim=DIM, heads=2)),
    "gru": lambda: Recurrent(RecurrentSettings(dim=DIM)),
    "gru encoder": lambda: encoder_of(StreamSettings(mixer="gru", dim=DIM, layers=1)),
}


def layer_of(name):
    torch.manual_seed(0)
    return LAYERS[name]().eval()


def tokens(*shape):
    return drawn(*shape, DIM, dtype=torch.float32)


@pytest.mark.parametrize("what", NONE)
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_no_number_is_named_with_its_place(name, what):
    layer, x = layer_of(name), tokens(2, 9)
    x[1, 4, 3] = NONE[what]
    with pytest.raises(InputError, match=rf"{what}.* in row 1, token 4\."):
        layer(x)
    with pytest.raises(InputError, match="in row 1, token 4"):
        layer(x, mask=torch.ones(2, 9, dtype=torch.bool))
    if "topk" not in name and "encoder" not in name:
        with pytest.raises(InputError, match="in row 1"):
            layer.step(x[:, 4], layer.init_state(2))


@pytest.mark.parametrize("what", NONE)
@pytest.mark.parametrize("name", LAYERS)
def test_what_does_not_count_may_be_no_number(name, what):
    layer, x = layer_of(name), tokens(2, 9)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    blank, none = (torch.where(mask[..., None], x, one).requires_grad_() for one in (0.0, NONE[what]))
    y, state, *loss = layer(none, mask=mask)
    expected, like, *loss_like = layer(blank, mask=mask)
    assert torch.isfinite(y).all()
    assert torch.equal(y, expected)
    assert loss == loss_like
    if state is not None:
        assert_same_state(state, like, equal_nan=False)
    slopes = torch.autograd.grad(sum([y.square().sum(), *loss]), [none, *layer.parameters()], allow_unused=True)
    assert all(torch.isfinite(one).all() for one in slopes if one is not None)


@pytest.mark.parametrize("name", ["routing", "memory", "window"])
def test_a_compiler_meets_no_question(name):
    layer, x = layer_of(name), tokens(2, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler uses what PyTorch deprecates
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x)[0], layer(x)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("what", NONE)
def test_centroids_outlive_a_batch_that_is_none(what):
    layer, x = layer_of("routing").train(), tokens(2, 30)
    layer(x)
    x[1, 4, 3] = NONE[what]
    with pytest.raises(InputError):
        layer(x)
    layer.eval()
    assert int(layer.routed.means.updates) == 1
    assert all(torch.isfinite(one).all() for one in layer.state_dict().values())


def test_features_of_a_codebook_and_passages_are_numbers():
    torch.manual_seed(0)
    x = tokens(2, 9)
    x[1, 4, 3] = torch.nan
    for layer in (TaskCodebook(CodebookSettings(width=DIM, codes=8)), LinearBottleneck(DIM)):
        with pytest.raises(InputError, match=r"NaN in row 1, token 4\."):
            layer(x)
        with pytest.raises(InputError, match=r"NaN in row 4\."):
            layer(x[1])
        with pytest.raises(InputError, match="NaN in its input"):
            layer(x[1, 4])
        assert layer(x[0]).shape == (9, DIM)
        one_by_one = torch.func.vmap(layer.eval())(x[0])  # no value can be looked at there
        torch.testing.assert_close(one_by_one, layer(x[0]))
    memory = PassageMemory(PassageSettings(vector=DIM, codes=64))
    with pytest.raises(InputError, match=r"NaN in row 4\."):
        memory.write(x[1], torch.arange(9))


def test_numbers_whose_sum_is_none_are_numbers():
    x = torch.full((1, 4, 2), 3e38)
    require_numbers("A layer", x)
    assert torch.equal(checked("A layer", x, 2, torch.ones(1, 4, dtype=torch.bool)), x)


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_of_no_rows_is_named(name):
    with pytest.raises(InputError, match="a batch of no rows"):
        layer_of(name)(torch.zeros(0, 3, DIM))


@pytest.mark.parametrize("name", LAYERS)
def test_whole_numbers_are_no_vectors(name):
    layer = layer_of(name)
    with pytest.raises(InputError, match=r"an input of torch\.int64; it needs vectors of floats"):
        layer(torch.ones(2, 3, DIM, dtype=torch.int64))
    if "topk" not in name and "encoder" not in name:
        with pytest.raises(InputError, match=r"\.step got an input of torch\.int64"):
            layer.step(torch.ones(2, DIM, dtype=torch.int64), layer.init_state(2))


@pytest.mark.parametrize("name", ["window", "blocks", "routing", "routing, topk", "routing, an encoder", "full"])
def test_tokens_whose_products_are_no_numbers_are_named(name):
    """Each is a number, but scores of 1e40 are none, nor is the variance of a layer norm."""
    layer, x = layer_of(name), 1e20 * tokens(2, 9)
    with pytest.raises(InputError, match=r"attention gives no numbers: .* Normalise it first\."):
        layer(x)
    if "topk" not in name and "encoder" not in name:
        with pytest.raises(InputError, match="gives no numbers"):
            layer.step(x[:, 0], layer(tokens(2, 9))[1])
    assert torch.isfinite(layer(1e8 * tokens(2, 9))[0]).all()


@pytest.mark.parametrize(("name", "called"), [("aaren", "Aaren"), ("delta", "The gated delta rule")])
def test_tokens_that_a_recurrence_cannot_project_are_named(name, called):
    """It gave NaN, and the state that went on held it for good."""
    layer, x = layer_of(name), 3e38 * tokens(2, 9).sign()
    roads = [lambda: layer(x), lambda: layer.step(x[:, 0], layer.init_state(2))]
    for road in (*roads, lambda: layer.read(x)) if name == "aaren" else roads:
        with pytest.raises(InputError, match=rf"^{called} gives no numbers: .* Normalise it first\.$"):
            road()
    assert torch.isfinite(layer(1e15 * tokens(2, 9))[0]).all()


@pytest.mark.parametrize("name", ["mac", "mag"])
def test_the_attention_beside_a_memory_answers_for_its_own_numbers(name):
    """The memory was blamed, or was said to have got a NaN that nobody gave."""
    layer = layer_of(name)
    for huge in (lambda: layer(1e20 * tokens(2, 9)), lambda: layer.step(1e20 * tokens(2), layer.init_state(2))):
        with pytest.raises(InputError, match=r"attention gives no numbers: .* Normalise it first\."):
            huge()


def test_a_memory_is_blamed_where_what_it_recalls_is_too_large():
    x, recalls = tokens(2, 9), "what its memory recalls has grown too large"
    mac = layer_of("mac")
    state = mac.init_state(2)
    state = replace(state, start=tuple(1e20 * one for one in state.start))
    with pytest.raises(MemoryDiverged, match=recalls):
        mac(x, state)
    mal = MAL(TitansSettings(dim=DIM, variant="mal", heads=2, memory={"heads": 2, "depth": 1})).eval()
    mal.memory.updates = False
    with torch.no_grad():
        mal.memory.initial[0].mul_(1e20)
    for road in (lambda: mal(x), lambda: mal.step(x[:, 0], mal.init_state(2))):
        with pytest.raises(MemoryDiverged, match=recalls):
            road()


def test_ids_are_whole_numbers_that_there_are():
    require_ids("A model", "ids", torch.tensor([[0, 4]]), 5)
    require_ids("A model", "ids", torch.zeros(2, 0, dtype=torch.long), 5)
    for wrong, words in (([5, 1], "1 to 5"), ([-1, 0], "-1 to 0"), ([1.0], "torch.float32")):
        with pytest.raises(InputError, match=rf"A model got ids of {words}; .* from 0 to 4"):
            require_ids("A model", "ids", torch.tensor(wrong), 5)
