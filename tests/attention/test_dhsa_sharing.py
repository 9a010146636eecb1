"""DHSA with one set of chunks, or one choice, for all layers of a pass: against the same given by hand; no leaks."""

from __future__ import annotations

import threading
from contextvars import copy_context
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import FULL

from foveal.attention import DHSA, Report, attach
from foveal.attention.boundaries import BoundaryPredictor
from foveal.attention.boundary_training import capture
from foveal.attention.dhsa_sharing import BOUNDS, of_first_layer
from foveal.attention.masks import Mask
from foveal.attention.prefill import look

BLOCK = 16


class Small(DHSA):
    """Blocks of 16 tokens, so that small texts have many."""

    query_block, key_block, least = BLOCK, BLOCK // 2, BLOCK


class Counting(BoundaryPredictor):
    """Counts its predictions."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, heads=2, hidden=8)
        self.asked = 0

    def predict(self, k):
        self.asked += 1
        return super().predict(k)


@pytest.fixture
def predictor(model):
    torch.manual_seed(1)
    keys = []
    capture(model, list(range(40)), lambda q, k, c: keys.append(k.shape[1] * k.shape[3]))  # noqa: ARG005
    return Counting(keys[0])


def small(predictor, **options) -> DHSA:
    return Small(budget=48, local=BLOCK, sink=BLOCK, dense_tail=0, predictor=predictor, **options)


def tokens(length: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randint(200, (rows, length), generator=torch.Generator().manual_seed(seed))


def cut_of_first(model, method, ids, layer):
    """The chunks' starts that a layer finds in its keys."""
    found = {}
    capture(model, ids[0].tolist(), lambda q, k, c: found.update({c.layer: method.cut(q, k, c)}))
    return tuple(found[layer].tolist()[:-1])


@torch.inference_mode()
def test_all_layers_take_the_chunks_of_the_first(model, kind, predictor):
    method, ids = small(predictor, share_boundaries=True), tokens(200)
    starts = cut_of_first(model, method, ids, FULL[kind][0])
    with attach(model, replace(method, share_boundaries=False, predictor=None, starts=starts)):
        expected = model(input_ids=ids).logits
    with attach(model, replace(method, share_boundaries=False)):
        alone = model(input_ids=ids).logits
    predictor.asked = 0
    with attach(model, method):
        for _ in range(2):
            torch.testing.assert_close(model(input_ids=ids).logits, expected)
    assert predictor.asked == 2  # once a pass
    assert not torch.allclose(alone, expected, atol=1e-4)


@torch.inference_mode()
def test_another_text_is_cut_anew(model, predictor):
    """Under one attach, of the same length, also in batches."""
    method, ids = small(predictor, share_boundaries=True), tokens(200, rows=2)
    alone = []
    for row in ids:
        with attach(model, method):
            alone.append(model(input_ids=row[None]).logits)
    with attach(model, method):
        for row, expected in zip(ids, alone, strict=True):
            torch.testing.assert_close(model(input_ids=row[None]).logits, expected)
        torch.testing.assert_close(model(input_ids=ids).logits, torch.cat(alone))
        padded = torch.ones(2, 220, dtype=torch.long)
        padded[0, 200:] = 0
        model(input_ids=tokens(220, rows=2), attention_mask=padded)


@torch.inference_mode()
def test_all_layers_take_the_choice_of_the_first(model, kind, predictor):
    method, ids = small(predictor, share_choice=True), tokens(200)
    with attach(model, replace(method, share_choice=False), report=Report(keep_blocks=True)) as attached:
        model(input_ids=ids)
    first = attached.report.looks[0].keep
    with attach(model, method, report=Report(keep_blocks=True)) as attached:
        model(input_ids=ids)
    assert [look.layer for look in attached.report.looks] == list(FULL[kind])
    assert all(torch.equal(look.keep, first) for look in attached.report.looks)


def test_a_prompt_that_is_read_over_lean_layers_shares_too(model, kind, predictor):
    ids = tokens(200)[0].tolist()
    look(model, ids, small(predictor, share_boundaries=True))
    once = predictor.asked
    look(model, ids, small(predictor))
    assert predictor.asked - once == once - 1 + len(FULL[kind])  # one asks once beside the reading


def test_what_another_thread_found_is_not_taken():
    context = SimpleNamespace(memory={}, mask=Mask.causal(1, 4, 4), layer=0)
    key, told = torch.zeros(1, 2, 4, 8), []

    def pass_of(name, layers):
        for layer in layers:
            context.layer = layer
            told.append(of_first_layer(BOUNDS, key, context, lambda: name))

    pass_of("mine", [0, 1])
    other = threading.Thread(target=copy_context().run, args=(pass_of, "other", [1, 2]))
    other.start()
    other.join()
    pass_of("new", [0])
    assert told == ["mine", "mine", "other", "other", "new"]


def test_keys_of_another_length_are_cut_anew():
    context = SimpleNamespace(memory={}, mask=Mask.causal(1, 4, 4), layer=3)
    assert of_first_layer(BOUNDS, torch.zeros(1, 2, 4, 8), context, lambda: "four") == "four"
    context.layer = 4
    assert of_first_layer(BOUNDS, torch.zeros(1, 2, 5, 8), context, lambda: "five") == "five"
