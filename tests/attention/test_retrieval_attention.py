"""RetrievalAttention: its merge is the softmax over all it looked at, and the cache answers as the model would."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, replace

import pytest
import torch
from tiny import CACHE, FULL, tiny
from transformers import Qwen2ForCausalLM

from foveal.attention import FlexPrefill, Recorder, RetrievalAttention, attach, memory_by_name, memory_parts, watch
from foveal.attention.kernel import merge
from foveal.attention.key_index import Flat, IndexSettings, every_product
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_layers import MemoryLayer, found_of_best
from foveal.attention.memory_parts import (
    Hidden,
    Nothing,
    Scores,
    Snapped,
    Tail,
    Window,
    exact,
    queries_saw_nothing,
    read_found,
)
from foveal.attention.memory_store import _method_of
from foveal.attention.owned_layers import Turn
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_attention import KINDS
from foveal.attention.roar_graph import Found, RoarSettings
from foveal.attention.rows import Rows
from foveal.errors import InputError, UnknownName
from foveal.models import load_language_model
from foveal.models.chat import Sampling
from foveal.models.decoding import tokens as decoded

SMALL = {"n_sink": 8, "n_local": 16}


def tokens(length: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randint(200, (rows, length), generator=torch.Generator().manual_seed(seed))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_definition(queries, keys, values, seen, scores) -> torch.Tensor:
    """Softmax attention of (H, D) over the keys that are true in `seen` (H, n), each head by itself."""
    share = len(queries) // len(keys)
    rows = []
    for head, query in enumerate(queries):
        places = seen[head].nonzero().flatten()
        group = head // share
        weights = scores(keys[group, places] @ query).double().softmax(0)
        rows.append(weights @ values[group, places].double())
    return torch.stack(rows).float()


# -- the parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("found", [0, 1, 17, 60])
@pytest.mark.parametrize("in_window", [1, 30])
def test_window_and_found_merged_are_the_softmax_over_both(found, in_window, softcap):
    queries, scores = 3 * drawn(4, 1, 8), Scores(0.4, softcap)
    keys, values = drawn(2, 90, 8, seed=1), drawn(2, 90, 6, seed=2)
    window = Window(keys[:, :in_window], values[:, :in_window], 0)
    hidden, read = keys[:, in_window:], values[:, in_window:]
    ids = torch.stack([torch.randperm(hidden.shape[1])[:found] for _ in range(4)])
    products = (queries @ hidden.repeat_interleave(2, 0).transpose(1, 2))[:, 0].gather(1, ids)
    part = Found(ids[:, None], products[:, None], torch.zeros(4, 1))
    output = merge([window.attend(queries, scores), read_found(part, Rows(read), scores)])[0]
    seen = torch.zeros(4, 90, dtype=torch.bool)
    seen[:, :in_window] = True
    seen.scatter_(1, ids + in_window, True)
    torch.testing.assert_close(
        output[:, 0], by_definition(queries[:, 0], keys, values, seen, scores), atol=1e-5, rtol=0
    )


def test_a_key_that_was_not_found_is_left_out():
    values = drawn(1, 5, 3)
    found = Found(torch.tensor([[[2, -1]]]), torch.tensor([[[0.5, 0.0]]]), torch.zeros(1, 1))
    torch.testing.assert_close(read_found(found, Rows(values), Scores(1.0))[0][0, 0], values[0, 2])
    nothing, sums = queries_saw_nothing(1, 1, 3)
    assert not nothing.any()
    assert torch.isneginf(sums).all()


@pytest.mark.parametrize("added", [0, 40])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_questions_see_every_hidden_key_and_of_their_own_the_earlier_ones(added, softcap):
    scores, keys, values = Scores(0.3, softcap), drawn(2, 300, 16, seed=1), drawn(2, 300, 16, seed=2)
    queries = 2 * drawn(4, 5, 16)
    hidden, read = Rows(keys[:, 20:200]), Rows(values[:, 20:200])
    hidden.append(keys[:, 200 : 200 + added])
    read.append(values[:, 200 : 200 + added])
    rest = torch.cat([torch.arange(20), torch.arange(200 + added, 300)])
    window = Window(keys[:, rest], values[:, rest], 20)
    output, sums = merge([window.attend(queries, scores), exact(queries, hidden, read, scores)])
    for place in range(5):
        seen = torch.ones(4, 300, dtype=torch.bool)
        seen[:, 300 - 5 + place + 1 :] = False
        wanted = by_definition(queries[:, place], keys, values, seen, scores)
        torch.testing.assert_close(output[:, place], wanted, atol=1e-5, rtol=1e-4)
    whole = torch.logaddexp(window.attend(queries, scores)[1], scores(every_product(queries, hidden)).logsumexp(-1))
    torch.testing.assert_close(sums, whole, atol=1e-5, rtol=1e-5)


def test_the_window_gives_its_oldest_tokens_that_are_no_sinks():
    keys = torch.arange(12.0).view(1, 12, 1)
    window = Window(keys, keys + 100, 3)
    given, values = window.give(4)
    assert given.flatten().tolist() == [3, 4, 5, 6]
    assert values.flatten().tolist() == [103, 104, 105, 106]
    assert window.keys.flatten().tolist() == [0, 1, 2, 7, 8, 9, 10, 11]


def normal(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (2, count, 8) that are jointly normal."""
    draw = torch.Generator().manual_seed(0)
    mixed = torch.randn(2, 16, 16, generator=draw) / 4
    both = torch.randn(2, count, 16, generator=draw) @ mixed + torch.randn(2, 1, 16, generator=draw)
    return both[..., :8], both[..., 8:]


@pytest.mark.parametrize("clusters", [1, 16])
def test_keys_that_were_not_found_are_stood_for_by_what_is_expected_of_them(clusters):
    keys, values = normal(40_000)
    queries = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1))
    scores = 0.5 * queries @ keys.repeat_interleave(2, 0).transpose(1, 2)
    best = scores.topk(200)
    rest = scores.scatter(2, best.indices, -torch.inf)
    output, sums = Tail.of(keys, values, clusters).beyond(queries, best.values.amin(-1), 0.5)
    torch.testing.assert_close(sums, rest.logsumexp(-1), atol=0.05, rtol=0)
    torch.testing.assert_close(output, rest.softmax(-1) @ values.repeat_interleave(2, 0), atol=0.06, rtol=0)
    if clusters == 1:  # parts of a normal distribution are none, which the cut above hides
        everything = Tail.of(keys, values, 1).beyond(queries, torch.full((4, 3), torch.inf), 0.5)
        torch.testing.assert_close(everything[1], scores.logsumexp(-1), atol=0.05, rtol=0)


def test_the_tail_brings_the_output_nearer_and_can_be_left_out():
    keys, values = normal(4_000)
    queries, scores = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(1)), Scores(0.5)
    method = RetrievalAttention(index="flat", top_k=40, **SMALL)
    whole = exact(queries, Rows(keys[:, 8:-16]), Rows(values[:, 8:-16]), scores)
    far = {}
    for tail in (True, False):
        layer = MemoryLayer(replace(method, tail=tail), 0, Turn())
        one = layer._sequence(keys, values, None, None, 4_000, scores)
        seen = one.window.attend(queries, scores)
        exactly = merge([seen, whole])[0]
        far[tail] = float((layer._searched(one, one.hidden, queries, seen, scores) - exactly).norm())
    assert far[True] < far[False] / 3


def test_snapkv_keeps_what_the_last_queries_voted_for():
    keys, observed = torch.zeros(1, 50, 4), torch.zeros(2, 3, 4)
    keys[0, 20, 0], keys[0, 40, 1] = 9, 9
    observed[0, :, 0], observed[1, :, 1] = 5, 5
    snapped = Snapped.build(keys, observed, 7, Scores(1.0))
    assert [sorted(row) for row in snapped.ids.tolist()] == [list(range(17, 24)), list(range(37, 44))]
    found = snapped.search(drawn(2, 1, 4), 7)
    assert found.ids.tolist() == snapped.ids[:, None].tolist()


# -- on tiny models ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def steps(model, ids, method, passes=(1, 1, 1), *, cache=None, **more) -> tuple[torch.Tensor, object]:
    """Logits of the last token after `ids`, and after each of some more passes of so many tokens; and the cache."""
    with attach(model, method):
        cache = method.make_cache(model) if cache is None else cache
        found = [model(input_ids=ids, **{CACHE: cache}, **more).logits[:, -1]]
        for place, count in enumerate(passes):
            if "attention_mask" in more:
                new = torch.ones(len(ids), count, dtype=torch.long)
                more["attention_mask"] = torch.cat([more["attention_mask"], new], 1)
            found.append(
                model(input_ids=tokens(count, len(ids), seed=place + 50), **{CACHE: cache}, **more).logits[:, -1]
            )
    return torch.stack(found), cache


@torch.inference_mode()
def dense(model, ids, passes=(1, 1, 1)) -> torch.Tensor:
    """The same without any cache: the whole text anew each time."""
    found = [model(input_ids=ids).logits[:, -1]]
    for place, count in enumerate(passes):
        ids = torch.cat([ids, tokens(count, len(ids), seed=place + 50)], 1)
        found.append(model(input_ids=ids).logits[:, -1])
    return torch.stack(found)


@pytest.mark.parametrize("index", ["flat", "full", "roar"])
def test_looking_at_every_key_is_what_the_model_computes(model, index):
    method = RetrievalAttention(index=index, top_k=1000, **SMALL)
    passes = (1, 1, 4, 1)
    found, _ = steps(model, tokens(200), method, passes)
    torch.testing.assert_close(found, dense(model, tokens(200), passes), atol=2e-4, rtol=1e-4)


def test_capped_scores_are_capped_here_too(tmp_path):
    model = tiny("gemma2", tmp_path).model
    passes = (1, 3, 1)
    found, cache = steps(model, tokens(120), RetrievalAttention(index="flat", top_k=500, **SMALL), passes)
    torch.testing.assert_close(found, dense(model, tokens(120), passes), atol=2e-4, rtol=1e-4)
    assert len(cache.memories) == len(FULL["gemma2"])


def test_generate_goes_on_as_without_a_cache_of_ours(model):
    ids = tokens(150)
    expected = model.generate(ids, max_new_tokens=8, do_sample=False)
    method = RetrievalAttention(index="flat", top_k=1000, **SMALL)
    name = "cache" if "cache" in inspect.signature(Qwen2ForCausalLM.forward).parameters else CACHE
    with attach(model, method):
        memory = method.make_cache(model)
        assert torch.equal(model.generate(ids, max_new_tokens=8, do_sample=False, **{name: memory}), expected)
    told = memory.statistics()
    assert told["tokens"] == 157
    assert told["mean"]["scanned"] == 1
    assert "hidden behind: flat" in memory.explain()


@pytest.mark.parametrize("index", ["flat", "roar"])
def test_a_context_in_several_passes_and_a_whole_one_are_one(attention_models, index):
    model, ids = attention_models["qwen"].model, tokens(180)
    method = RetrievalAttention(index=index, top_k=20, **SMALL)
    whole, _ = steps(model, ids, method)
    with torch.inference_mode(), attach(model, method):
        memory = method.make_cache(model, tokens=180)
        model(input_ids=ids[:, :70], **{CACHE: memory})
        assert not memory.memories[0].settled
    pieces, _ = steps(model, ids[:, 70:], method, cache=memory)
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=1e-4)


def test_a_padded_batch_is_each_text_by_itself(model):
    method = RetrievalAttention(index="flat", top_k=15, **SMALL)
    ids = tokens(100, rows=2)
    real = torch.ones(2, 100, dtype=torch.long)
    real[0, :30] = 0
    both, cache = steps(model, ids, method, (1, 1), attention_mask=real)
    for row, start in ((0, 30), (1, 0)):
        with torch.inference_mode(), attach(model, method):
            memory = method.make_cache(model)
            alone = [model(input_ids=ids[row : row + 1, start:], **{CACHE: memory}).logits[0, -1]]
            for place in range(2):
                new = tokens(1, 2, seed=place + 50)[row : row + 1]
                alone.append(model(input_ids=new, **{CACHE: memory}).logits[0, -1])
        torch.testing.assert_close(both[:, row], torch.stack(alone), atol=2e-4, rtol=1e-4)
    hidden = [one.hidden for one in cache.memories[0].sequences]
    assert [len(one) for one in hidden] == [70 - 24, 100 - 24]  # no padding among them


@pytest.mark.parametrize(("index", "sampled"), [("snapkv", 40), ("roar", 8192)])
def test_queries_of_padding_are_no_part_of_an_index(attention_models, index, sampled):
    model, ids = attention_models["qwen"].model, tokens(160, rows=2)
    indexes = IndexSettings(roar=RoarSettings(queries=sampled))
    method = RetrievalAttention(index=index, top_k=15, indexes=indexes, **SMALL)
    real = torch.ones(2, 160, dtype=torch.long)
    real[0, 90:] = 0
    _, together = steps(model, ids, method, (), attention_mask=real)
    _, alone = steps(model, ids[:1, :90], method, ())
    for one, other in zip(together.memories, alone.memories, strict=True):
        mine, wanted = (layer.sequences[0].hidden.index.arrays() for layer in (one, other))
        for name in ("ids",) if index == "snapkv" else ("links", "entries"):
            assert mine[name].tolist() == wanted[name].tolist()


def test_sinks_and_the_last_tokens_are_never_indexed(attention_models):
    model, ids = attention_models["qwen"].model, tokens(90)
    _, cache = steps(model, ids, RetrievalAttention(index="roar", top_k=10, **SMALL), ())
    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=True).past_key_values
    for layer in cache.memories:
        one = layer.sequences[0]
        keys = whole.layers[layer.number].keys[0]
        torch.testing.assert_close(one.hidden.index.keys.base, keys[:, 8:-16])
        torch.testing.assert_close(one.window.keys, torch.cat([keys[:, :8], keys[:, -16:]], 1))
        assert not layer._asked


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("auto", "full")])
def test_what_an_index_leaves_out_is_told(attention_models, kind):
    method = RetrievalAttention(index=kind, top_k=12, exact_every=1, **SMALL)
    found, cache = steps(attention_models["qwen"].model, tokens(200), method)
    assert torch.isfinite(found).all()
    told = cache.statistics()
    assert told["index"] == kind
    mean = told["mean"]
    assert 0 < mean["least"] <= mean["recovered"] < 1
    assert 0 < mean["window"] <= 1
    assert mean["steps"] == 3
    if kind not in ("streaming", "snapkv"):
        assert mean["recovered"] == pytest.approx(1 - mean["missed"], abs=0.25)
    if kind == "streaming":
        assert (mean["window"], mean["visited"]) == (1, 0)
        assert "recall" not in mean
    else:
        assert 0 <= mean["recall"] <= 1
        assert (mean["recall"] == 1) == (kind == "flat") or kind not in ("flat", "snapkv")
        assert "best keys found" in cache.explain()
    assert told["built"]["seconds"] > 0
    assert ("degree" in told["built"]) == (kind == "roar")


def test_recall_is_the_share_of_the_best_keys_that_were_found():
    products = torch.tensor([[[5.0, 1.0, 4.0, 3.0, 2.0]], [[1.0, 2.0, 3.0, 4.0, 5.0]]])
    found = Found(torch.tensor([[[0, 1, 3]], [[4, -1, -1]]]), torch.zeros(2, 1, 3), torch.zeros(2, 1).long())
    assert found_of_best(found, products) == pytest.approx((2 + 1) / 6)  # of 0, 2, 3 two; of 4, 3, 2 one


def test_a_graph_takes_over_where_there_are_many_keys():
    method = RetrievalAttention(crossover=100)
    assert (method.kind_for(99), method.kind_for(100)) == ("flat", "roar")


def test_a_context_shorter_than_the_window_is_seen_whole(model):
    method = RetrievalAttention()
    found, cache = steps(model, tokens(40), method, (1, 2))
    torch.testing.assert_close(found, dense(model, tokens(40), (1, 2)), atol=1e-4, rtol=1e-4)
    assert cache.statistics()["hidden"] == 0
    shown = cache.explain()  # nothing was searched: there are no shares to tell
    assert "%" not in shown
    assert "nan" not in shown


@pytest.mark.parametrize("index", ["flat", "roar", "hnsw"])
def test_what_is_generated_moves_on_to_the_index(attention_models, index):
    model, ids = attention_models["qwen"].model, tokens(100)
    settings = {"index": index, "top_k": 1000, "stream": "insert", "local_max": 6, "indexes": IndexSettings(beam=1000)}
    method = RetrievalAttention(**settings, **SMALL)
    passes = (1,) * 20
    found, cache = steps(model, ids, method, passes)
    if index != "hnsw":  # which may miss a key even so
        torch.testing.assert_close(found, dense(model, ids, passes), atol=3e-4, rtol=1e-4)
    one = cache.memories[0].sequences[0]
    assert len(one.hidden) > 100 - 24
    assert len(one.window) + len(one.hidden) == 120
    assert len(one.window) <= 24 + 6


def test_fast_memory_stays_while_the_context_grows(attention_models):
    model, method = attention_models["qwen"].model, RetrievalAttention(index="flat", top_k=10, clusters=1, **SMALL)
    told = [steps(model, tokens(length), method, ())[1].statistics() for length in (100, 400)]
    assert told[0]["fast_bytes"] == told[1]["fast_bytes"]
    assert told[1]["slow_bytes"] > 3 * told[0]["slow_bytes"]


def test_lean_layers_give_what_transformers_gives(model):
    method = RetrievalAttention(index="flat", top_k=10, **SMALL)
    ids = tokens(120)
    expected, _ = steps(model, ids, method, (3, 1))
    memory = method.make_cache(model)
    parts = [ids, tokens(3, seed=50), tokens(1, seed=51)]
    found = torch.stack([prefill(model, part, memory.layers, method=method) for part in parts])
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_the_token_loop_runs_over_a_searched_cache(attention_models):
    model, ids = attention_models["qwen"].model, tokens(80)
    method = RetrievalAttention(index="flat", top_k=1000, **SMALL)
    memory = method.make_cache(model)
    prefill(model, ids[:, :60], memory.layers, method=method)
    decoder = MemoryDecoder(model, method)
    state = decoder.reading(memory, ids[0, 60:].tolist())
    memory.watch({1: [0, 3]})
    found = list(decoded(decoder, state, Sampling(max_tokens=6)))
    expected = model.generate(ids, max_new_tokens=6, do_sample=False)[0, 80:].tolist()
    assert found[: len(expected)] == expected
    looked = memory.looked()
    assert len(looked) == 60 + 20 + 5
    assert float(looked[8:44].sum()) > 0
    torch.testing.assert_close(looked.sum(), torch.tensor(5 * 2.0))  # each of two heads pays 1 a step


@pytest.mark.parametrize("length", [20, 100])  # all within the window, and most of it hidden
@pytest.mark.parametrize(("index", "stream"), [("flat", "append"), ("flat", "insert"), ("full", "append")])
def test_what_watched_heads_pay_is_told_of_every_token(attention_models, index, stream, length):
    model, heads, passes = attention_models["qwen"].model, [3, 0], (1,) * 9
    method = RetrievalAttention(index=index, top_k=1000, stream=stream, local_max=4, **SMALL)
    with torch.inference_mode(), attach(model, method):
        memory = method.make_cache(model)
        model(input_ids=tokens(length), **{CACHE: memory})
    memory.watch({1: heads})
    steps(model, tokens(1, seed=9), method, passes, cache=memory)
    whole = torch.cat([tokens(length), tokens(1, seed=9), *(tokens(1, seed=place + 50) for place in range(9))], 1)
    recorder = Recorder(torch.arange(length, length + 10)[None], {1: heads})
    watch(model, whole, recorder)
    torch.testing.assert_close(memory.looked(), recorder.attention[1][0].sum((0, 1)), atol=1e-5, rtol=1e-4)
    assert float(memory.looked()[:8].sum()) > 0


def test_texts_of_unequal_length_are_watched_together(attention_models):
    model, method = attention_models["qwen"].model, RetrievalAttention(index="flat", top_k=15, **SMALL)
    real = torch.ones(2, 100, dtype=torch.long)
    real[1, :30] = 0
    _, cache = steps(model, tokens(100, rows=2), method, (), attention_mask=real)
    cache.watch({1: [0]})
    with torch.inference_mode(), attach(model, method):
        model(input_ids=tokens(1, 2), attention_mask=torch.cat([real, real[:, :1] | 1], 1), **{CACHE: cache})
    torch.testing.assert_close(cache.looked().sum(), torch.tensor(2.0))


def test_a_prompt_can_be_read_by_a_sparse_method(attention_models):
    model = attention_models["qwen"].model
    method = RetrievalAttention(index="flat", top_k=1000, prompts=FlexPrefill(gamma=1.0), **SMALL)
    found, cache = steps(model, tokens(400), method, (1,))
    torch.testing.assert_close(found, dense(model, tokens(400), (1,)), atol=5e-3, rtol=1e-2)
    assert cache.memories[0].settled


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_the_cache_alone_is_refused(attention_models):
    model = attention_models["qwen"].model
    memory = RetrievalAttention().make_cache(model)
    with torch.inference_mode(), pytest.raises(InputError, match="attached"):
        model(input_ids=tokens(30), **{CACHE: memory})


def test_another_method_is_refused(attention_models):
    model, method = attention_models["qwen"].model, RetrievalAttention(index="flat", **SMALL)
    _, cache = steps(model, tokens(60), method, ())
    with torch.inference_mode(), attach(model, FlexPrefill()), pytest.raises(InputError, match="never asked for"):
        model(input_ids=tokens(1), **{CACHE: cache})


def test_a_recorder_is_refused_once_keys_are_hidden(attention_models):
    model, method = attention_models["qwen"].model, RetrievalAttention(index="flat", **SMALL)
    _, cache = steps(model, tokens(60), method, ())
    recorder = Recorder(torch.zeros(1, 1, dtype=torch.long), {1: None})
    with torch.inference_mode(), attach(model, method, recorder=recorder), pytest.raises(InputError, match="recorder"):
        model(input_ids=tokens(1), **{CACHE: cache})


def test_beams_are_refused(attention_models):
    model, method = attention_models["qwen"].model, RetrievalAttention(index="flat", **SMALL)
    with attach(model, method), pytest.raises(InputError, match=r"num_beams=1|num_return_sequences=1"):
        model.generate(tokens(60), max_new_tokens=3, num_beams=2, do_sample=False, **{CACHE: method.make_cache(model)})
    layer = method.make_cache(model).layers[0]
    for call in (layer.crop, layer.batch_repeat_interleave, layer.batch_select_indices, layer.reorder_cache):
        with pytest.raises(InputError, match="searched cache"):
            call(1)


def test_keys_that_are_no_numbers_are_refused(tmp_path):
    model = tiny("qwen", tmp_path).model
    model.model.layers[1].self_attn.k_proj.bias.data[3] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        steps(model, tokens(60), RetrievalAttention(index="flat", **SMALL), ())


def test_holes_in_a_batch_are_refused(attention_models):
    real = torch.ones(2, 60, dtype=torch.long)
    real[0, 20:25] = 0
    with pytest.raises(InputError, match="middle"):
        steps(
            attention_models["qwen"].model,
            tokens(60, 2),
            RetrievalAttention(index="flat", **SMALL),
            (),
            attention_mask=real,
        )


def test_more_context_than_was_announced_is_refused(attention_models):
    model, method = attention_models["qwen"].model, RetrievalAttention(index="flat", **SMALL)
    with torch.inference_mode(), attach(model, method), pytest.raises(InputError, match="to have 50"):
        model(input_ids=tokens(60), **{CACHE: method.make_cache(model, tokens=50)})
    with pytest.raises(InputError, match="at least 1"):
        method.make_cache(model, tokens=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"top_k": 0}, "top_k"),
        ({"n_local": 0}, "n_local"),
        ({"stream": "drop"}, "insert"),
        ({"local_max": 0}, "1 token"),
        ({"stream": "insert", "index": "snapkv"}, "append"),
        ({"index": "pq"}, "hnsw"),
    ],
)
def test_a_value_out_of_range_is_told(options, told):
    with pytest.raises(InputError, match=told):
        RetrievalAttention(**options)


def test_a_memory_is_found_by_name():
    assert memory_by_name("retrieval", top_k=7).top_k == 7
    with pytest.raises(UnknownName, match="retrieval"):
        memory_by_name("flexprefill")
    for option, value in {"top_k": "many", "n_sink": 0.5, "prompts": "flexprefill", "indexes": 3}.items():
        with pytest.raises(InputError, match=f"got {option}={value!r}; it needs"):
            memory_by_name("retrieval", **{option: value})


def test_a_layer_that_is_reset_has_read_nothing(attention_models):
    method = RetrievalAttention(index="flat", **SMALL)
    _, cache = steps(attention_models["qwen"].model, tokens(60), method, (1,))
    cache.reset()
    assert cache.get_seq_length() == 0
    assert isinstance(cache.layers[0], MemoryLayer)
    assert not cache.layers[0].settled
    assert isinstance(Nothing(Rows(torch.zeros(1, 2, 3))).arrays(), dict)


# -- on a real model ---------------------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_says_the_same_over_its_graph():
    """Gemma 3 270M over a page of Python's manual: its graph gives the next tokens that dense attention gives."""
    from pydoc_data.topics import topics

    loaded = load_language_model("gemma3-270m", dtype="float32")
    model = loaded.model
    ids = [*loaded.tokenizer("").input_ids, *loaded.encode(topics["attribute-access"])][:412]
    context, rest = torch.tensor([ids[:400]]), ids[400:]
    told, said = {}, {}
    for index in ("roar", "flat"):
        method = RetrievalAttention(index=index, top_k=48, n_sink=16, n_local=48, exact_every=1)
        memory = method.make_cache(model)
        prefill(model, context, memory.layers, method=method)
        each = [prefill(model, torch.tensor([[one]]), memory.layers, method=method) for one in rest]
        said[index], told[index] = torch.cat(each).log_softmax(-1), memory.statistics()
    with torch.inference_mode():
        dense = model(input_ids=torch.tensor([ids])).logits[0, 400:].log_softmax(-1)
    apart = {index: float((dense.exp() * (dense - ours)).sum(-1).mean()) for index, ours in said.items()}
    assert float((said["roar"].argmax(-1) == dense.argmax(-1)).float().mean()) >= 0.9
    assert apart["roar"] < max(0.02, 1.5 * apart["flat"])
    assert len(told["roar"]["layers"]) == 3  # those that see the whole text
    assert told["roar"]["mean"]["recovered"] > told["flat"]["mean"]["recovered"] - 0.01
    assert told["roar"]["mean"]["scanned"] < 1


def test_hidden_keys_that_came_later_belong_to_the_tail(monkeypatch):
    monkeypatch.setattr(memory_parts, "MEMBERS", 100)
    keys, values = drawn(2, 300, 8), drawn(2, 300, 6, seed=1)
    keys[:, 200:] += 1.0
    keys[:, 100:] += 20.0  # two clusters, and what comes later lies at the second
    values[:, 100:] -= 3.0
    hidden = Hidden(Flat(Rows(keys[:, :200])), Rows(values[:, :200]), Tail.of(keys[:, :200], values[:, :200], 2))
    first = hidden.tail
    hidden.add(keys[:, 200:], values[:, 200:])
    assert (first.counts.tolist(), hidden.tail.counts.tolist()) == ([[100, 100]] * 2, [[100, 200]] * 2)
    for part, (begin, end) in enumerate(((0, 100), (100, 300))):
        whole = Tail.of(keys[:, begin:end], values[:, begin:end], 1)
        for name in ("keys", "covariance", "values", "cross"):
            grown = getattr(hidden.tail, name)[:, part]
            torch.testing.assert_close(grown, getattr(whole, name)[:, 0], atol=1e-4, rtol=1e-4)


def test_a_tail_counts_each_key_once_and_stands_few_keys_and_twins():
    """As many clusters as keys, more than there are, keys that are all alike: then some clusters hold nothing."""
    queries, none_found = drawn(4, 3, 8, seed=2), torch.full((4, 3), torch.inf)
    for count, clusters in ((1, 32), (5, 5), (40, 32), (40, 1)):
        keys, values = drawn(2, count, 8), drawn(2, count, 6, seed=1)
        for held in (keys, keys[:, :1].expand(-1, count, -1)):
            tail = Tail.of(held, values, clusters)
            assert tail.counts.sum(1).tolist() == [count, count]
            output, sums = tail.beyond(queries, none_found, 0.1)
            exactly = 0.1 * queries @ held.repeat_interleave(2, 0).transpose(1, 2)
            torch.testing.assert_close(sums, exactly.logsumexp(-1), atol=0.02, rtol=0)
            assert output.isfinite().all()


def test_clusters_stand_for_keys_that_lie_apart_where_parts_of_the_text_do_not():
    """Two kinds of keys that take turns in the text, as names and numbers do: no stretch of it is normal."""
    keys, values = drawn(2, 4_000, 8), drawn(2, 4_000, 6, seed=1)
    keys[:, ::2, 0] += 12.0
    values[:, ::2] += 2.0
    queries = drawn(4, 1, 8, seed=2)
    scores = 0.5 * queries @ keys.repeat_interleave(2, 0).transpose(1, 2)
    best = scores.topk(40)
    rest = scores.scatter(2, best.indices, -torch.inf)
    exactly = rest.softmax(-1) @ values.repeat_interleave(2, 0)
    far = [
        float((Tail.of(keys, values, clusters).beyond(queries, best.values.amin(-1), 0.5)[0] - exactly).norm())
        for clusters in (1, 8)
    ]
    assert far[1] < far[0] / 3


def test_a_text_that_was_kept_with_parts_of_itself_is_asked_as_before():
    """Counts were the same for all groups, and the setting was called segments."""
    tail = Tail.of(drawn(2, 60, 8), drawn(2, 60, 6, seed=1), 1)
    old = replace(tail, counts=tail.counts[0])
    queries, lowest = drawn(4, 1, 8, seed=2), torch.zeros(4, 1)
    for ours, theirs in zip(tail.beyond(queries, lowest, 0.5), old.beyond(queries, lowest, 0.5), strict=True):
        torch.testing.assert_close(ours, theirs)
    new = drawn(2, 5, 8, seed=3), drawn(2, 5, 6, seed=4)
    torch.testing.assert_close(old.joined(*new).counts, tail.joined(*new).counts)
    stored = json.loads(json.dumps(asdict(RetrievalAttention(top_k=7))))
    stored["segments"] = stored.pop("clusters")
    assert _method_of({"method": stored}) == RetrievalAttention(top_k=7)
