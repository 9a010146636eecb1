"""DHSA's decoding: which keys a step looks at, whatever filled the cache and however long the answer becomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from tiny import CACHE
from torch import Tensor
from transformers import DynamicCache

from foveal.attention import DHSA, attach
from foveal.attention.boundaries import BoundaryPredictor
from foveal.attention.dhsa_step import MARKS, Held, Spans, looked_at
from foveal.attention.masks import Mask
from foveal.attention.prefill import prefill
from foveal.attention.remarks import warn_once
from foveal.errors import InputError
from foveal.models.key_values import KeyValues, cache_of

BLOCK, SCALE = 16, 0.5


class Small(DHSA):
    """Blocks of 16 tokens, so that small texts have many."""

    query_block, key_block, least = BLOCK, BLOCK // 2, BLOCK


def small(**options) -> DHSA:
    edges = {"local": BLOCK, "sink": BLOCK, "dense_tail": 0}
    return Small(**{"budget": 48, "boundaries": "fixed", "chunk": 8, "sparse_decode": True} | edges | options)


def drawn(heads: int, length: int, seed: int = 0) -> Tensor:
    return torch.randn(1, heads, length, 8, generator=torch.Generator().manual_seed(seed)) * 1.5


def where(**more) -> SimpleNamespace:
    return SimpleNamespace(**{"scale": SCALE, "layer": 0, "memory": {}, "softcap": None, "sinks": None} | more)


def tokens(length: int, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(200, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def logits(model, ids: Tensor, **more) -> Tensor:
    return model(input_ids=ids, **more).logits


def full_layers(model) -> list[int]:
    kinds = getattr(model.config, "layer_types", None) or ["full_attention"] * model.config.num_hidden_layers
    return [number for number, kind in enumerate(kinds) if kind == "full_attention"]


def decoded(model, method: DHSA, *read: Tensor, turn: int = 0) -> Tensor:
    """Several texts are read under one attach, each into its own cache; the logits of a step behind one of them."""
    caches = [DynamicCache(config=model.config) for _ in read]
    with attach(model, method):
        for ids, cache in zip(read, caches, strict=True):
            logits(model, ids, **{CACHE: cache})
        return logits(model, read[turn][:, :1], **{CACHE: caches[turn]})


def places_of(method: DHSA, asked: Tensor, k: Tensor, here: SimpleNamespace, budget: int) -> Tensor:
    """The keys (H, budget) of a step, one by one."""
    spans = Spans(method.sink, method.local, method.chunk)
    return looked_at(asked, k, here.memory[0][0], spans, budget).places()


# -- which keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_step_is_attention_over_the_keys_it_names(softcap):
    method, here = small(), where(softcap=softcap)
    q, k, v = drawn(4, 200), drawn(2, 203, seed=1), drawn(2, 203, seed=2)
    method.prefill(q, k[:, :, :200], here)
    asked = drawn(4, 1, seed=3)
    places = places_of(method, asked, k, here, 72)
    assert places.shape == (4, 72)
    for head in range(4):
        mine = set(places[head].tolist())
        assert len(mine) == 72
        assert mine >= {*range(BLOCK), *range(203 - BLOCK, 203)}
        order = (k[0, head // 2, places[head]] @ asked[0, head, 0]).argsort(descending=True)
        nearest = places[head, order[:24]]  # 72 keys and 24 values: as much as 48 of both
        keys, values = k[0, head // 2, nearest], v[0, head // 2, nearest]
        scores = keys @ asked[0, head, 0] * SCALE
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        expected = scores.softmax(0) @ values
        torch.testing.assert_close(method.decode(asked, k, v, here)[0, head, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_heads_that_were_not_chosen_decode_exactly(softcap):
    method, mask = small(), Mask.causal(1, 1, 203)
    here = where(softcap=softcap, mask=mask, sparse_heads=torch.tensor([True, False, False, True]))
    q, k, v = drawn(4, 200), drawn(2, 203, seed=1), drawn(2, 203, seed=2)
    method.prefill(q, k[:, :, :200], here)
    asked = drawn(4, 1, seed=3)
    output = method.attend(asked, k, v, here)
    sparse = method.decode(asked, k, v, here)
    scores = (asked @ k.repeat_interleave(2, 1).mT) * SCALE
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    exact = scores.softmax(-1) @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(output[:, [0, 3]], sparse[:, [0, 3]])
    torch.testing.assert_close(output[:, [1, 2]], exact[:, [1, 2]], atol=1e-5, rtol=1e-5)
    assert (sparse - exact).abs().max() > 0.01


def test_a_chunk_is_taken_whole_where_keys_do_not_decide():
    """compared=1, the paper's step; and where the compared keys would be all, the nearest of all are taken."""
    method, here = small(compared=1.0), where()
    q, k, v, asked = drawn(4, 200), drawn(2, 203, seed=1), drawn(2, 203, seed=2), drawn(4, 1, seed=3)
    method.prefill(q, k[:, :, :200], here)
    places = places_of(method, asked, k, here, 48)
    wide, here_too = small(budget=150), where()
    wide.prefill(q, k[:, :, :200], here_too)
    for head in range(4):
        for chosen, output in (
            (places[head], method.decode(asked, k, v, here)),
            ((k[0, head // 2] @ asked[0, head, 0]).topk(300 - 203).indices, wide.decode(asked, k, v, here_too)),
        ):
            shares = (k[0, head // 2, chosen] @ asked[0, head, 0] * SCALE).softmax(0)
            torch.testing.assert_close(output[0, head, 0], shares @ v[0, head // 2, chosen], atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="compared = 2"):
        DHSA(compared=2.0)


def places_by_hand(method: DHSA, asked: Tensor, k: Tensor, read: int, head: int) -> tuple[set[int], dict[int, float]]:
    """What one head must look at, and every place's score, by loops."""
    keys, group = k.shape[2], head // 2
    centred = k[0, group] - k[0, group, :read].mean(0)
    scores = {}
    for first, last in ((0, read), (read, keys)):
        for start, end in pairwise([*range(first, last, method.chunk), last]):
            vector = centred[start:end].sum(0) / (end - start) ** 0.5
            scores |= dict.fromkeys(range(start, end), float(asked[0, head, 0] @ vector))
    kept = {*range(method.sink), *range(keys - method.local, keys)}
    generated = sum(place >= read for place in kept)
    most = max(method.budget // 2, method.budget - sum(place < read for place in range(keys)))
    for place in sorted(set(range(keys)) - kept, key=lambda place: -scores[place]):
        if len(kept) < method.budget and (place < read or generated < most):
            kept.add(place)
            generated += place >= read
    return kept, scores


@pytest.mark.parametrize(("read", "generated"), [(200, 1), (200, 20), (200, 90), (30, 90), (10, 90)])
def test_the_keys_of_a_step_are_those_of_the_definition(read, generated):
    """Of chunks cut in two by the limit any tokens may be kept: their scores are equal."""
    method, here = small(), where()
    k, asked = drawn(2, read + generated, seed=1), drawn(4, 1, seed=3)
    method.prefill(drawn(4, read), k[:, :, :read], here)
    places = places_of(method, asked, k, here, 48)
    for head in range(4):
        expected, scores = places_by_hand(method, asked, k, read, head)
        found = set(places[head].tolist())
        assert len(found) == len(expected) == 48
        for side in (lambda place: place < read, lambda place: place >= read):
            ours, theirs = (Counter(round(scores[one], 3) for one in kept if side(one)) for kept in (found, expected))
            assert ours == theirs


def test_a_long_answer_leaves_the_prompt_its_half_and_the_first_keys():
    """1,100 tokens were generated, and the budget is 1,024."""
    method = DHSA(budget=1024, boundaries="fixed", sparse_decode=True)
    read, keys = 2_000, 3_100
    k, here = drawn(2, keys, seed=1), where()
    method.prefill(drawn(4, read), k[:, :, :read], here)
    places = places_of(method, drawn(4, 1, seed=3), k, here, 1024)
    for head in range(4):
        mine = set(places[head].tolist())
        assert len(mine) == 1024
        assert mine >= {*range(method.sink), *range(keys - 128, keys)}
        assert sum(place < read for place in mine) >= 512


@pytest.mark.parametrize(("budget", "compared"), [(32, 1.99), (33, 1.999), (40, 1.0)])
def test_a_step_looks_at_a_key_at_least(budget, compared):
    method, here = small(budget=budget, compared=compared), where()
    q, k, v, asked = drawn(4, 200), drawn(2, 203, seed=1), drawn(2, 203, seed=2), drawn(4, 1, seed=3)
    method.prefill(q, k[:, :, :200], here)
    assert (method.decode(asked, k, v, here).abs().amax(3) > 0.01).all()


@pytest.mark.slow
def test_chunks_of_a_growing_answer_are_kept_and_those_of_another_are_not():
    """An answer grows, is taken back and begun anew, and another one to the same prompt takes turns with it."""
    method, here, asked = small(), where(), drawn(4, 1, seed=3)
    prompt, values = drawn(2, 200, seed=1), drawn(2, 300, seed=2)
    answers = [torch.cat([prompt, drawn(2, 60, seed=seed)], 2) for seed in (4, 5)]
    turns = [*((0, keys) for keys in range(201, 230)), *((0, keys) for keys in range(210, 240)),
             *((turn, keys) for keys in range(215, 250) for turn in (0, 1))]  # fmt: skip
    method.prefill(drawn(4, 200), prompt, here)
    for turn, keys in turns:
        k, v, alone = answers[turn], values, where()
        method.prefill(drawn(4, 200), prompt, alone)
        for key in range(201, keys + 1):
            expected = method.decode(asked, k[:, :, :key], v[:, :, :key], alone)
        found = method.decode(asked, k[:, :, :keys], v[:, :, :keys], here)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert len(here.memory[0]) == 1


def test_an_answers_whole_chunks_are_pooled_once(monkeypatch):
    method, here, asked = small(), where(), drawn(4, 1, seed=3)
    k, v, pooled = drawn(2, 300, seed=1), drawn(2, 300, seed=2), []
    method.prefill(drawn(4, 200), k[:, :, :200], here)
    own = Held._pooled
    monkeypatch.setattr(
        Held, "_pooled", lambda self, key, bounds: pooled.append(key.shape[2]) or own(self, key, bounds)
    )
    for keys in range(201, 300):
        method.decode(asked, k[:, :, :keys], v[:, :, :keys], here)
    assert max(pooled) <= method.chunk + BLOCK  # the first time, chunks behind the last `local` keys


def test_prompts_of_one_form_are_told_apart_also_where_no_mark_is_on_what_differs():
    """In a first layer keys hang on token and place alone: the prompts' keys differ in one place."""
    method, asked = small(), drawn(4, 1, seed=3)
    first, values = drawn(2, 203, seed=1), drawn(2, 203, seed=2)
    marked = set(torch.linspace(0, 199, MARKS).long().tolist())
    place = next(place for place in range(100, 200) if place not in marked)
    second = first.clone()
    second[:, :, place] = 9.0
    here = where()
    for number in range(201, 204):
        for k in (first, second):
            alone = where()
            for key in range(201, number + 1):
                expected = method.decode(asked, k[:, :, :key], values[:, :, :key], alone)
            torch.testing.assert_close(method.decode(asked, k[:, :, :number], values[:, :, :number], here), expected)
    assert len(here.memory[0]) == 2


# -- whatever filled the cache -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundaries", ["fixed", "predicted"])
def test_chunks_of_a_cache_are_those_of_its_reading(boundaries):
    torch.manual_seed(0)
    method = small(boundaries=boundaries, predictor=BoundaryPredictor(16, heads=2))
    q, k, v, asked = drawn(4, 200), drawn(2, 201, seed=1), drawn(2, 201, seed=2), drawn(4, 1, seed=3)
    read, filled = where(), where()
    method.prefill(q, k[:, :, :200], read)
    assert torch.equal(method.decode(asked, k, v, filled), method.decode(asked, k, v, read))
    assert torch.equal(filled.memory[0][0].bounds, read.memory[0][0].bounds)


def test_a_cache_that_was_filled_elsewhere_is_decoded_over_the_budget(attention_models):
    """Lean layers read the prompt, by the method, before the model is attached: as if under it."""
    model, ids, method = attention_models["qwen"].model, tokens(150), small()
    found = []
    for memory in (None, {}):
        layers = [KeyValues() for _ in range(model.config.num_hidden_layers)]
        prefill(model, ids, layers, method=method, memory=memory)
        with attach(model, method) as attached:
            attached.memory.update(memory or {})
            found.append(logits(model, ids[:, :1], **{CACHE: cache_of(layers)}))
            assert set(attached.memory) == set(full_layers(model))
    torch.testing.assert_close(*found)
    layers = [KeyValues() for _ in range(model.config.num_hidden_layers)]
    prefill(model, ids, layers, method=method)
    dense = logits(model, ids[:, :1], **{CACHE: cache_of(layers)})
    assert (found[0] - dense).abs().max() > 1e-4


def test_it_generates_behind_a_cache_that_was_filled_elsewhere(model, monkeypatch):
    """Chunks are made once, at the first step."""
    ids, method, cuts = tokens(150), small(), []
    cut = Small.cut
    monkeypatch.setattr(Small, "cut", lambda *given: cuts.append(given[2].shape[2]) or cut(*given))
    cache = DynamicCache(config=model.config)
    logits(model, ids[:, :-1], **{CACHE: cache})
    asked = {"max_new_tokens": 6, "do_sample": False, CACHE: cache}
    with attach(model, method):
        assert model.generate(ids, **asked).shape == (1, 156)
    assert cuts == [149] * len(full_layers(model))


def test_it_decodes_over_its_budget_of_keys(model):
    """Exact where the budget holds the text, other than exact where it does not, and never of another text."""
    ids = tokens(150)
    expected = model.generate(ids, max_new_tokens=8, do_sample=False)
    with attach(model, small(budget=400)) as attached:
        assert (model.generate(ids, max_new_tokens=8, do_sample=False) == expected).all()
        assert set(attached.memory) == set(full_layers(model))
        assert (model.generate(ids[:, :12], max_new_tokens=2, do_sample=False)[:, :12] == ids[:, :12]).all()
        assert not attached.memory
    sparse, dense = (decoded(model, replace(small(), sparse_decode=wanted), ids) for wanted in (True, False))
    assert (sparse - dense).abs().max() > 1e-4


def test_chunks_of_another_prompt_are_never_decoded_by(model):
    """Two conversations under one attach: each decodes as if it were alone."""
    first, second = tokens(150), tokens(190).flip(1)
    for turn, alone in enumerate((first, second)):
        mixed = decoded(model, small(), first, second, turn=turn)
        torch.testing.assert_close(mixed, decoded(model, small(), alone), atol=1e-5, rtol=1e-5)


def test_conversations_that_take_turns_are_not_cut_anew():
    method, here = small(), where()
    texts, values, asked = [drawn(2, 150, seed=seed) for seed in (1, 2)], drawn(2, 150, seed=3), drawn(4, 1, seed=4)
    for k in texts:
        method.decode(asked, k, values, here)
    known = here.memory[0]
    for k in texts * 2:
        method.decode(asked, k, values, here)
    assert here.memory[0] is known


@pytest.mark.parametrize(("case", "told"), [("batch", "one text at a time"), ("oracle", "queries"), ("bare", "attach")])
def test_a_step_that_cannot_go_by_its_budget_is_dense_and_says_so_once(attention_models, caplog, case, told):
    model, ids = attention_models["qwen"].model, tokens(150, rows=2 if case == "batch" else 1)
    method = small(boundaries="oracle" if case == "oracle" else "fixed")
    warn_once.cache_clear()
    found = []
    for own in (method, None):
        layers = [KeyValues() for _ in range(model.config.num_hidden_layers)]
        prefill(model, ids, layers)
        if case == "bare":
            found.append(prefill(model, ids[:, :1], layers, method=own))
            continue
        with attach(model, own):
            found.append(logits(model, ids[:, :1], **{CACHE: cache_of(layers)}))
    torch.testing.assert_close(*found)
    assert [told in one.message for one in caplog.records] == [True]


def test_a_padded_batch_says_that_it_is_decoded_densely(model, caplog):
    warn_once.cache_clear()
    real = torch.ones(2, 150, dtype=torch.long)
    real[0, :30] = 0
    with attach(model, small()):
        model.generate(tokens(150, rows=2), attention_mask=real, max_new_tokens=3, do_sample=False)
    assert [record.name for record in caplog.records] == ["foveal.attention"]
