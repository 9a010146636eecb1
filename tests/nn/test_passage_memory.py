"""The memory of places: the rule against its definition, what is recalled, what never grows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from nn.streams import assert_same_state, drawn

from foveal.errors import InputError
from foveal.nn.passage_memory import LARGEST, RIDGE, SHARES, PassageMemory, PassageSettings, codes


def unit(*shape, seed=0):
    return F.normalize(drawn(*shape, seed=seed, dtype=torch.float32), dim=-1)


def test_codes_follow_from_the_number_and_are_nearly_orthogonal():
    some = codes(torch.tensor([0, 1, 7, 1_000_000]), 2048)
    assert torch.equal(some[2], codes(torch.tensor([7]), 2048)[0])
    products = some @ some.T
    torch.testing.assert_close(products.diagonal(), torch.ones(4))
    assert (products - torch.eye(4)).abs().max() < 5 * 2048**-0.5
    assert abs(float(codes(torch.arange(200), 256).mean())) < 0.01


@pytest.mark.parametrize("chunk", [1, 4])
def test_one_layer_is_the_delta_rule_at_the_chunks_start(chunk):
    memory = PassageMemory(PassageSettings(vector=8, codes=64, chunk=chunk))
    vectors, places = unit(10, 8), torch.arange(10)
    theta, alpha = (most * share for most, share in zip(LARGEST, SHARES, strict=True))
    weights = base = torch.zeros(64, 8)
    for place, (key, value) in enumerate(zip(vectors, codes(places, 64), strict=True)):
        base = weights if place % chunk == 0 else base
        weights = (1 - alpha) * weights - theta * 2 * torch.outer(base @ key - value, key)
    with torch.no_grad():
        state = memory.write(vectors, places)
        torch.testing.assert_close(state.drift[0][0, 0], weights, atol=1e-6, rtol=1e-5)
        moment = vectors.T @ vectors / 10
        torch.testing.assert_close(state.moment[0], moment)
        scores = memory.recall(vectors[:2], places, state)
    moment += (RIDGE * moment.trace() / 8 + 1e-6) * torch.eye(8)
    given = F.normalize(vectors[:2] @ moment.inverse() @ weights.T, dim=-1)
    torch.testing.assert_close(scores, given @ codes(places, 64).T, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("depth", [1, 2])
def test_what_was_written_is_recalled_and_asleep_nothing_is(depth):
    memory = PassageMemory(PassageSettings(vector=64, codes=1024, depth=depth, hidden=256))
    vectors, places = unit(200, 64), torch.arange(200) // 4
    asked = F.normalize(vectors + 0.1 * unit(200, 64, seed=1), dim=-1)
    with torch.no_grad():
        state = memory.write(vectors, places)
        best = memory.recall(asked, torch.arange(50), state).argmax(-1)
        assert (best == places).double().mean() > 0.95
        asleep = memory.recall(asked, torch.arange(50), memory.init_state()).argmax(-1)
        assert (asleep == places).double().mean() < 0.1


def test_it_goes_on_is_saved_and_never_grows(tmp_path):
    memory = PassageMemory(PassageSettings(vector=16, codes=64, chunk=4))
    vectors, places = unit(40, 16), torch.arange(40)
    with torch.no_grad():
        whole = memory.write(vectors, places)
        first = memory.write(vectors[:24], places[:24])
        loaded = memory.init_state().load(first.save(tmp_path / "state.safetensors", note="mine"))
        assert_same_state(memory.write(vectors[24:], places[24:], loaded), whole)
    assert whole.nbytes == first.nbytes == memory.init_state().nbytes


def test_gradients_reach_what_learns():
    memory = PassageMemory(PassageSettings(vector=8, codes=64, depth=2, hidden=16, chunk=2))
    state = memory.write(unit(6, 8), torch.arange(6))
    scores = memory.sharpness * memory.recall(unit(3, 8, seed=1), torch.arange(6), state)
    F.cross_entropy(scores, torch.arange(3)).backward()
    assert [name for name, one in memory.named_parameters() if one.grad is None or not one.grad.any()] == []


def test_wrong_input_is_named():
    memory = PassageMemory(PassageSettings(vector=8, codes=64))
    other = PassageMemory(PassageSettings(vector=8, codes=128))
    for call, words in (
        (lambda: memory.write(unit(3, 7), torch.arange(3)), "needs \\(n, 8\\)"),
        (lambda: memory.write(unit(3, 8), torch.arange(2)), "one for each"),
        (lambda: memory.write(unit(2, 8), torch.tensor([0.2, 0.7])), "a whole number"),
        (lambda: memory.recall(unit(1, 8), torch.arange(2), other.init_state()), "passage memory"),
        (lambda: PassageSettings(codes=100), "multiple of 64"),
        (lambda: PassageSettings(depth=0), "depth = 0"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    assert memory.fingerprint == PassageMemory(PassageSettings(vector=8, codes=64)).fingerprint != other.fingerprint
