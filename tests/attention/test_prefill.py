"""prefill: the logits and the cache of the model's own forward, whatever was read before."""

from __future__ import annotations

import pytest
import torch
from test_methods import Everything, logits, small, tokens
from tiny import CACHE, KINDS, tiny
from transformers import BloomConfig, BloomForCausalLM, DynamicCache

from foveal.attention import BlockTopK, FlexPrefill, Report, attach
from foveal.attention.prefill import look, prefill
from foveal.errors import InputError
from foveal.models.key_values import KeyValues


@pytest.fixture(scope="module")
def fresh_models(tmp_path_factory):
    """Models of this file's own: one that was asked for its attentions keeps transformers' hooks, and is not lean."""
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)).model for kind in KINDS}


@pytest.fixture
def model(fresh_models, kind):
    return fresh_models[kind]


def empty(model) -> list[KeyValues]:
    return [KeyValues() for _ in range(model.config.num_hidden_layers)]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_prompt_in_two_parts_is_the_models_own_forward(model, rows):
    ids, layers = tokens(60, rows=rows), empty(model)
    held = DynamicCache(config=model.config)
    for part in (ids[:, :37], ids[:, 37:]):
        ours = prefill(model, part, layers)
        torch.testing.assert_close(ours, logits(model, part, **{CACHE: held})[:, -1], atol=1e-4, rtol=1e-4)
    assert [layer.length for layer in layers] == [60] * len(layers)


def test_a_long_prompt_goes_through_the_layers_in_pieces(model, monkeypatch):
    ids = tokens(90)
    whole = prefill(model, ids, empty(model))
    monkeypatch.setattr("foveal.models.lean.AT_ONCE", 32)
    torch.testing.assert_close(prefill(model, ids, empty(model)), whole, atol=1e-5, rtol=1e-5)


def test_a_method_is_as_under_attach(model):
    method, report = small(FlexPrefill, gamma=0.6, min_budget=0), Report()
    ids = tokens(200)
    ours = prefill(model, ids, empty(model), method=method, report=report)
    with attach(model, method) as attached:
        theirs = logits(model, ids)[:, -1]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert [look.density.tolist() for look in report.looks] == [look.density.tolist() for look in attached.report.looks]
    assert report.density < 1


def test_what_is_not_lean_is_sent_to_attach(model):
    other = BloomForCausalLM(BloomConfig(vocab_size=300, hidden_size=8, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="attach"):
        prefill(other, tokens(8), [KeyValues()])
    with pytest.raises(InputError, match="layers"):
        prefill(model, tokens(8), [KeyValues()] * 9, method=Everything())


@pytest.mark.parametrize("kind", ["qwen", "gemma2"])
def test_a_look_tells_what_a_method_looked_at(kind, tmp_path):
    """Over lean layers, and under transformers where a model has none."""
    model = tiny(kind, tmp_path).model
    ids = tokens(200)
    found = look(model, ids[0].tolist(), small(BlockTopK, density=0.4), keep_blocks=True)
    with attach(model, small(BlockTopK, density=0.4)) as attached:
        expected = logits(model, ids)[:, -1]
    torch.testing.assert_close(found.logits, expected, atol=1e-4, rtol=1e-4)
    assert found.report.density == pytest.approx(attached.report.density)
    assert found.report.picture(tmp_path / "blocks.png").stat().st_size > 1000
    plain = look(model, ids[0].tolist(), None)
    torch.testing.assert_close(plain.logits, logits(model, ids)[:, -1], atol=1e-4, rtol=1e-4)
    assert not plain.report.looks


class Noting(BlockTopK):
    """Takes down how many queries came, and for which report."""

    def prefill(self, query, key, context):
        self.calls.append((query.shape[2], context.report))
        return super().prefill(query, key, context)


@pytest.mark.parametrize("kind", ["qwen", "gemma", "gemma2"])
def test_what_a_method_makes_at_its_first_use_is_no_part_of_the_time(kind, tmp_path):
    """A kernel is compiled for seconds, once: a look would tell that the method is the slower one."""
    method = small(Noting, density=0.4)
    object.__setattr__(method, "calls", [])
    found = look(tiny(kind, tmp_path).model, tokens(200)[0].tolist(), method)
    (first, other), *timed = method.calls
    assert first == 200
    assert other is not found.report
    assert timed == [(200, found.report)] * len(found.report.looks)
    assert found.report.looks
