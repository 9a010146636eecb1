"""attach: the model computes what it computed before, whatever watches it, and is itself again afterwards."""

from __future__ import annotations

import copy
import pickle
import threading
from contextlib import contextmanager, suppress
from contextvars import copy_context
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import CACHE, SLIDING, tiny
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    BloomConfig,
    DynamicCache,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Gemma3TextModel,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipVisionConfig,
    StaticCache,
)
from transformers.masking_utils import (
    AttentionMaskInterface,
    and_masks,
    chunked_causal_mask_function,
    packed_sequence_mask_function,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from foveal.attention import BlockTopK, FlexPrefill, Recorder, attach
from foveal.attention.masks import Mask
from foveal.errors import InputError
from foveal.nn import TitansConfig, TitansLM

LENGTH = 24


def tokens(rows: int = 1, length: int = LENGTH, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded(left: int = 7) -> dict[str, torch.Tensor]:
    """Two rows; the first begins after `left` tokens of padding."""
    real = torch.ones(2, LENGTH, dtype=torch.long)
    real[0, :left] = 0
    return {"input_ids": tokens(2), "attention_mask": real}


@torch.inference_mode()
def logits(model, **inputs) -> torch.Tensor:
    return model(**inputs).logits


class Dense:
    """An AttentionMethod that leaves all to the model and keeps what it was told."""

    def __init__(self):
        self.contexts = []

    def attend(self, *given):
        self.contexts.append(given[-1])

    def seen(self, *_):
        return None


class Nothing(Dense):
    """An AttentionMethod that looks nowhere."""

    def attend(self, query, *given):
        super().attend(query, *given)
        return torch.zeros_like(query)


@contextmanager
def in_threads(*bodies):
    """Run the bodies at the same time, and raise what any of them raises."""
    raised = []

    def run(body):
        try:
            body()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    for error in raised:
        raise error


class Largest(TorchDispatchMode):
    """The most numbers that any one operation made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        self.numbers = max([self.numbers, *(one.numel() for one in made if isinstance(one, torch.Tensor))])
        return result


# the same output


def test_the_output_is_that_of_the_model(model):
    expected = logits(model, input_ids=tokens(2))
    with attach(model):
        torch.testing.assert_close(logits(model, input_ids=tokens(2)), expected, rtol=1e-5, atol=1e-5)


def test_the_output_is_that_of_the_model_with_left_padding(model):
    real = padded()["attention_mask"].bool()
    expected = logits(model, **padded())
    with attach(model):
        torch.testing.assert_close(logits(model, **padded())[real], expected[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("additive", [True, False])
def test_a_mask_of_the_callers_own_holds(model, additive):
    sees = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril() & (torch.arange(LENGTH) % 3 != 1)
    sees |= torch.eye(LENGTH, dtype=torch.bool)
    mask = torch.zeros(LENGTH, LENGTH).masked_fill(~sees, torch.finfo(torch.float32).min) if additive else sees
    inputs = {"input_ids": tokens(), "attention_mask": mask[None, None]}
    expected = logits(model, **inputs)
    recorder = Recorder(torch.tensor([[LENGTH - 1]]), {0: None})
    with attach(model, recorder=recorder):
        torch.testing.assert_close(logits(model, **inputs), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(recorder.attention[0][0, 0, 0] > 0, sees[-1])


@pytest.mark.parametrize("packed", ["qwen", "gemma"])
def test_texts_packed_in_one_row_do_not_see_each_other(attention_models, packed):
    """Also where a layer slides, and its window reaches back into the text before."""
    model, first = attention_models[packed].model, LENGTH - 4
    places = torch.tensor([[*range(first), *range(4)]])
    expected = logits(model, input_ids=tokens(), position_ids=places, use_cache=False)
    recorder = Recorder(torch.tensor([[LENGTH - 1]]), {0: None})
    with attach(model, recorder=recorder):
        found = logits(model, input_ids=tokens(), position_ids=places, use_cache=False)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not recorder.attention[0][..., :first].any()


def a_llama(**options) -> nn.Module:
    """A small one, whose configuration names no kinds of layers."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(vocab_size=256, initializer_range=0.5, **sizes | options)).eval()


def of_chunks() -> nn.Module:
    """A small Llama 4, of whose text a query sees its own chunk."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Llama4TextConfig(
        vocab_size=256, num_key_value_heads=1, head_dim=8, intermediate_size_mlp=16, num_local_experts=1,
        attention_chunk_size=SLIDING, pad_token_id=0, **sizes,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Llama4ForCausalLM(config).eval()


def test_a_query_sees_its_own_chunk_where_a_layer_attends_by_chunks():
    model, row = of_chunks(), LENGTH - 2
    recorder = Recorder(torch.tensor([[row]]), {0: None})
    with attach(model, recorder=recorder):
        logits(model, input_ids=tokens(), use_cache=False)
    start = row // SLIDING * SLIDING
    assert (recorder.attention[0][0, :, 0] > 0).nonzero()[:, 1].unique().tolist() == [*range(start, row + 1)]


def test_only_the_rule_of_a_window_is_told_by_position():
    """Chunks, packed and bidirectional texts come with a window, too, and the kernel knows nothing of them."""
    windowed = sliding_window_causal_mask_function(SLIDING)
    rules = {
        "usual": windowed,
        "wider": sliding_window_causal_mask_function(2 * SLIDING),
        "chunks": chunked_causal_mask_function(SLIDING, torch.zeros(1, dtype=torch.long)),
        "packed": and_masks(windowed, packed_sequence_mask_function(torch.zeros(1, LENGTH))),
        "bidirectional": sliding_window_bidirectional_mask_function(SLIDING),
    }
    sizes = {"batch_size": 1, "q_length": LENGTH, "kv_length": LENGTH, "local_size": SLIDING}
    assert [name for name, rule in rules.items() if Mask({**sizes, "mask_function": rule}).by_position] == ["usual"]


@pytest.mark.parametrize("left", [0, 7])
@pytest.mark.parametrize("cuts", [(5, 6, 19), (12,), (23,), tuple(range(1, LENGTH))])
def test_reading_in_chunks_is_reading_at_once(model, cuts, left):
    inputs = padded(left)
    real = inputs["attention_mask"].bool()
    expected = logits(model, **inputs)
    cache = DynamicCache(config=model.config)
    with attach(model):
        parts = [
            logits(
                model,
                input_ids=inputs["input_ids"][:, start:end],
                attention_mask=inputs["attention_mask"][:, :end],
                position_ids=torch.arange(start, end)[None],
                **{CACHE: cache},
            )
            for start, end in pairwise((0, *cuts, LENGTH))
        ]
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], expected[real], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_it_writes_what_the_model_writes(model, cache):
    options = {"max_new_tokens": 12, "do_sample": False, "cache_implementation": cache, "disable_compile": True}
    expected = model.generate(**padded(), **options)
    with attach(model):
        assert torch.equal(model.generate(**padded(), **options), expected)


@pytest.mark.parametrize("layers", ["named", "not named"])
def test_what_is_written_over_a_static_cache_is_what_the_model_writes(attention_models, layers):
    """A mask is made before the pass, and given to it by itself where a configuration names no kinds of layers."""
    model = attention_models["qwen"].model if layers == "named" else a_llama(eos_token_id=None)
    options = {"max_new_tokens": 6, "do_sample": False, "cache_implementation": "static"}
    expected = model.generate(**padded(), **options)
    with attach(model):
        assert torch.equal(model.generate(**padded(), **options), expected)


@pytest.mark.parametrize("kind", ["qwen", "gemma", "gemma2"])
@pytest.mark.parametrize("cut", [0, 1, 9, LENGTH - 1])
def test_a_text_read_into_a_static_cache_sees_what_came_before(attention_models, tmp_path, kind, cut):
    """The cache counts in a tensor that it moves on, and behind the text there is room that nothing is in."""
    model = tiny(kind, tmp_path).model if kind == "gemma2" else attention_models[kind].model
    expected = logits(model, input_ids=tokens(2))
    cache = StaticCache(config=model.config, max_cache_len=LENGTH + 5)
    with attach(model):
        parts = [
            logits(model, input_ids=tokens(2)[:, start:end], **{CACHE: cache})
            for start, end in pairwise(sorted({0, cut, LENGTH}))
        ]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=1e-4, atol=1e-4)


def test_a_method_computes_the_attention_of_every_layer(model):
    nothing, expected = Nothing(), logits(model, input_ids=tokens())
    with attach(model, nothing):
        assert not torch.allclose(logits(model, input_ids=tokens()), expected, atol=0.1)
    assert [context.layer for context in nothing.contexts] == list(range(model.config.num_hidden_layers))


# switched on, switched off


@pytest.mark.slow
def test_a_compiled_model_attends_by_the_method(attention_models):
    """Graphs end before our attention and go on behind it; warnings of what cannot be traced would fail this."""
    model, ids = attention_models["qwen"].model, tokens(length=300)
    expected = logits(model, input_ids=ids)
    compiled = torch.compile(model, backend="eager")
    with attach(compiled, BlockTopK(density=1.0)) as attached:
        torch.testing.assert_close(logits(compiled, input_ids=ids), expected, rtol=1e-4, atol=1e-4)
    assert [look.layer for look in attached.report.looks] == [0, 1, 2]
    torch.compiler.reset()


def test_it_is_switched_back(model):
    before, expected = model.config._attn_implementation, logits(model, input_ids=tokens())
    with attach(model, Nothing()):
        assert model.config._attn_implementation == "foveal"
    assert model.config._attn_implementation == before
    assert torch.equal(logits(model, input_ids=tokens()), expected)


def test_it_is_switched_back_after_an_exception(model):
    before, expected = model.config._attn_implementation, logits(model, input_ids=tokens())
    with pytest.raises(ZeroDivisionError), attach(model, Nothing()):
        1 / 0  # noqa: B018
    assert model.config._attn_implementation == before
    assert torch.equal(logits(model, input_ids=tokens()), expected)


def of_parts() -> Gemma3ForConditionalGeneration:
    """A small model of text and images, each of whose parts attends in a way of its own."""
    text = Gemma3TextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
        num_key_value_heads=1, sliding_window=SLIDING,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    ).eval()
    model.set_attn_implementation({"": "sdpa", "text_config": "eager", "vision_config": "sdpa"})
    return model


def implementations(model) -> list[str]:
    parts = model.config, model.config.text_config, model.config.vision_config
    return [part._attn_implementation for part in parts]


def test_each_part_of_a_model_is_switched_back_to_its_own():
    model = of_parts()
    assert implementations(model) == ["sdpa", "eager", "sdpa"]
    with attach(model), attach(model, Nothing()):
        assert implementations(model) == ["foveal"] * 3
    assert implementations(model) == ["sdpa", "eager", "sdpa"]


def test_a_model_of_which_only_parts_can_be_switched_is_left_as_it_was(monkeypatch):
    model = of_parts()
    monkeypatch.setattr(Gemma3TextModel, "_can_set_attn_implementation", classmethod(lambda _: False))
    with pytest.raises(InputError, match="cannot be switched"), attach(model):
        pass
    assert implementations(model) == ["sdpa", "eager", "sdpa"]

    def refused(_):
        model.config._attn_implementation = "foveal"
        raise ValueError("half-way")

    monkeypatch.setattr(model, "set_attn_implementation", refused)
    with pytest.raises(ValueError, match="half-way"), attach(model):
        pass
    assert implementations(model) == ["sdpa", "eager", "sdpa"]


def test_a_copy_made_within_a_block_is_as_if_it_were_made_outside(shared):
    """Nobody would set it back, and another process would not know the name."""
    before, expected = implementations_of(shared), logits(shared, input_ids=tokens())
    with attach(shared, nothing := Nothing()):
        copies = [copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))]
        assert implementations_of(shared) == ["foveal"]
        for one in copies:
            torch.testing.assert_close(logits(one, input_ids=tokens()), expected)
    assert not nothing.contexts
    for one in (shared, *copies):
        assert implementations_of(one) == before


def implementations_of(model) -> list[str]:
    return sorted({part.config._attn_implementation for part in model.modules() if hasattr(part, "config")})


def test_of_two_blocks_the_inner_one_counts(model):
    rows = torch.tensor([[LENGTH - 1]])
    outer, inner = Recorder(rows, {0: None}), Recorder(rows, {1: None})
    before = model.config._attn_implementation
    with attach(model, recorder=outer):
        with attach(model, recorder=inner):
            logits(model, input_ids=tokens())
        assert (list(outer.attention), list(inner.attention)) == ([], [1])
        assert model.config._attn_implementation == "foveal"
        logits(model, input_ids=tokens())
        assert list(outer.attention) == [0]
    assert model.config._attn_implementation == before


def test_two_models_attached_at_once_are_told_apart(attention_models):
    rows = torch.tensor([[LENGTH - 1]])
    recorders = {kind: Recorder(rows, {number: None}) for number, kind in enumerate(attention_models)}
    qwen, gemma = (attention_models[kind].model for kind in ("qwen", "gemma"))
    with attach(qwen, recorder=recorders["qwen"]), attach(gemma, recorder=recorders["gemma"]):
        logits(qwen, input_ids=tokens())
        logits(gemma, input_ids=tokens())
    assert {kind: list(one.attention) for kind, one in recorders.items()} == {"qwen": [0], "gemma": [1]}


def test_two_threads_never_see_each_others_recorder(model):
    expected, alone = logits(model, input_ids=tokens()), []
    for seed in (1, 2):
        alone.append(Recorder(torch.tensor([[5, LENGTH - 1]]), {0: None}))
        with attach(model, recorder=alone[-1]):
            logits(model, input_ids=tokens(seed=seed))
    together = [Recorder(torch.tensor([[5, LENGTH - 1]]), {0: None}) for _ in alone]
    meet = threading.Barrier(3, timeout=30)

    def attached(seed):
        def body():
            with attach(model, recorder=together[seed - 1]):
                for _ in range(5):
                    meet.wait()
                    logits(model, input_ids=tokens(seed=seed))
                meet.wait()

        return body

    def free():
        for _ in range(5):
            meet.wait()
            torch.testing.assert_close(logits(model, input_ids=tokens()), expected, rtol=1e-5, atol=1e-5)
        meet.wait()

    before = model.config._attn_implementation
    with in_threads(attached(1), attached(2), free):
        pass
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.attention[0], other.attention[0])
    assert model.config._attn_implementation == before


@pytest.fixture(params=["qwen", "gemma", "gemma2"])
def shared(request, tmp_path) -> nn.Module:
    """A model of one's own; lean layers do not know the last."""
    return tiny(request.param, tmp_path).model


class Halfway:
    """Passes of a model in a thread, each stopped between its layers until it is let go."""

    def __init__(self, model, **inputs):
        self.inside, self.go, self.found = threading.Event(), threading.Event(), []
        self.model, self.inputs = model, inputs
        model.model.layers[1].register_forward_pre_hook(self.stop)

    def stop(self, *_):
        if threading.current_thread() is not threading.main_thread():
            self.inside.set()
            assert self.go.wait(30)

    def __call__(self):
        self.found.append(logits(self.model, **self.inputs))


@pytest.mark.parametrize("inputs", [{"input_ids": tokens(2)}, padded()], ids=["whole", "padded"])
def test_a_pass_goes_on_where_another_thread_attaches_and_where_it_detaches(shared, inputs):
    """Its mask was made for one kind of attention, and the layers that come go through the other."""
    before, expected = shared.config._attn_implementation, logits(shared, **inputs)
    real = inputs.get("attention_mask", torch.ones(2, LENGTH)).bool()
    for begins_attached in (True, False):
        halfway = Halfway(shared, **inputs)
        block = attach(shared, Nothing())
        if begins_attached:
            block.__enter__()
        with in_threads(halfway):
            assert halfway.inside.wait(30)
            if begins_attached:
                block.__exit__(None, None, None)
                assert shared.config._attn_implementation == "foveal"
                with attach(shared):
                    pass
                assert shared.config._attn_implementation == "foveal"
            else:
                block.__enter__()
            halfway.go.set()
        if not begins_attached:
            block.__exit__(None, None, None)
        torch.testing.assert_close(halfway.found[0][real], expected[real], rtol=1e-5, atol=1e-5)
        assert shared.config._attn_implementation == before
        torch.testing.assert_close(logits(shared, **inputs), expected)


def test_a_pass_that_fails_keeps_no_model_switched(shared):
    before, halfway = shared.config._attn_implementation, Halfway(shared, input_ids=tokens())
    shared.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    block = attach(shared)

    def fails():
        with suppress(ZeroDivisionError):
            halfway()

    block.__enter__()
    with in_threads(fails):
        assert halfway.inside.wait(30)
        block.__exit__(None, None, None)
        halfway.go.set()
    assert not halfway.found
    assert shared.config._attn_implementation == before


def test_another_model_may_be_set_back_while_a_mask_is_made(model, monkeypatch):
    """Masks end where garbage is collected, be it in the loop that looks for the model."""

    class Collecting(list):
        def __iter__(self):
            switches.pop(2, None)
            return super().__iter__()

    switch = import_module("foveal.attention.attach")
    switches = {1: switch._Switched(Collecting()), 2: switch._Switched([])}
    monkeypatch.setattr(switch, "_SWITCHED", switches)
    with attach(model):
        model(input_ids=tokens())
    assert list(switches) == [1]


def test_a_mask_that_is_asked_for_as_a_block_ends_is_the_models_own(model):
    asked = {"batch_size": 1, "q_length": 3, "kv_length": 3, "q_offset": 0, "kv_offset": 0, "config": model.config}
    with attach(model):
        ours = AttentionMaskInterface()["foveal"]
        assert isinstance(ours(**asked), Mask)
    assert not isinstance(ours(**asked, allow_is_causal_skip=False), Mask)


def test_padding_as_flash_attention_is_told_of_it_is_understood(model):
    """Its mask is of two dimensions; a pass may have begun with it."""
    module, inputs = model.model.layers[0].self_attn, torch.rand(2, 1, 3, 8)
    real = torch.tensor([[True, True, True], [False, True, True]])
    with attach(model):
        function = AttentionInterface()["foveal"]
        found = function(module, inputs, inputs, inputs, real)[0]
        expected = function(module, inputs, inputs, inputs, Mask.causal(2, 3, 3, real=real))[0]
    torch.testing.assert_close(found[real], expected[real])


# what cannot be attached


def test_what_is_no_model_is_refused():
    with pytest.raises(InputError, match="attach got Linear; it needs a transformers model"), attach(nn.Linear(2, 2)):
        pass


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, iter], ids=["list", "NumPy", "PyTorch", "iterator"])
def test_layers_and_heads_come_as_a_caller_has_them(attention_models, kind):
    model = attention_models["qwen"].model
    with attach(model, nothing := Nothing(), layers=kind([0, 2]), heads={2: kind([1, 3]), 0: None}):
        logits(model, input_ids=tokens())
    assert [(one.layer, one.sparse_heads.tolist()) for one in nothing.contexts] == [
        (0, [True] * 4),
        (2, [False, True, False, True]),
    ]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"layers": 1}, r"Layers came as 1; they are whole numbers, such as \[1\]"),
        ({"layers": [0.5]}, r"Layers came as \[0.5\]"),
        ({"heads": [1, 2]}, r"Heads came as \[1, 2\]; they are named by layer, such as \{9: \[8, 13\]\}"),
        ({"heads": {1: 2}}, r"Heads came as \{1: 2\}"),
    ],
    ids=["a number", "no whole number", "no layer", "no list"],
)
def test_what_names_no_layers_or_heads_is_refused(attention_models, chosen, told):
    with pytest.raises(InputError, match=told), attach(attention_models["qwen"].model, Nothing(), **chosen):
        pass


@pytest.mark.parametrize("method", ["flexprefill", FlexPrefill], ids=["a name", "a class"])
def test_a_method_that_is_not_made_is_refused(attention_models, method):
    model = attention_models["qwen"].model
    with pytest.raises(InputError, match=r"needs one that is made, such as FlexPrefill\(gamma"), attach(model, method):
        pass
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_cannot_be_switched_is_refused():
    config = BloomConfig(vocab_size=32, hidden_size=16, n_layer=1, n_head=2)
    model = AutoModelForCausalLM.from_config(config)
    before = model.config._attn_implementation
    for _ in range(2):
        with pytest.raises(InputError, match="BloomForCausalLM cannot be switched"), attach(model):
            pass
    assert model.config._attn_implementation == before


def test_a_model_without_layers_that_attend_is_refused():
    """transformers lets any implementation be set on a model that it finds no attention in."""
    model = TitansLM(TitansConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1))
    before = model.config._attn_implementation
    with pytest.raises(InputError, match="TitansLM cannot be switched"), attach(model, Dense()):
        pass
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("name", ["indices", "position_bias"])
def test_what_only_the_models_own_softmax_knows_is_refused(model, name):
    """Choices and biases are handed to attention by models of many names."""
    module = model.model.layers[0].self_attn
    query = torch.zeros(1, 4, 3, 8)
    with attach(model), pytest.raises(InputError, match="no method here computes"):
        AttentionInterface()["foveal"](module, query, query, query, None, **{name: torch.zeros(4)})


def test_attention_that_is_dropped_at_random_is_refused_under_a_method(model):
    module = model.model.layers[0].self_attn
    query = torch.zeros(1, 4, 3, 8)
    with attach(model, Dense()), pytest.raises(InputError, match="eval"):
        AttentionInterface()["foveal"](module, query, query, query, None, dropout=0.1)


@pytest.mark.parametrize("given", [None, "mask"])
def test_an_encoder_sees_both_ways(monkeypatch, given):
    """In the type, and on the processor, that the block kernel is preferred for."""
    for name in ("attach", "dense"):
        monkeypatch.setattr(import_module(f"foveal.attention.{name}"), "prefers_blocks", lambda _: True)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32)
    model = BertModel(config).eval()
    ids = tokens(length=100) % 64
    more = {"attention_mask": torch.ones_like(ids)} if given else {}
    with torch.inference_mode():
        expected = model(ids, **more).last_hidden_state
        with attach(model):
            torch.testing.assert_close(model(ids, **more).last_hidden_state, expected, rtol=1e-4, atol=1e-4)


def test_blocks_of_two_models_may_end_in_any_order(attention_models):
    one, other = (attention_models[kind].model for kind in ("qwen", "gemma"))
    before = one.config._attn_implementation
    first, second = attach(one, Nothing()), attach(other, nothing := Nothing())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert one.config._attn_implementation == before
    logits(other, input_ids=tokens())
    assert nothing.contexts  # the second is still attached
    second.__exit__(None, None, None)
    assert other.config._attn_implementation == before


def test_a_block_may_end_in_another_thread(model):
    before, block = model.config._attn_implementation, attach(model, Nothing())
    expected = logits(model, input_ids=tokens())
    block.__enter__()
    with in_threads(lambda: block.__exit__(None, None, None)):
        pass
    assert model.config._attn_implementation == before
    torch.testing.assert_close(logits(model, input_ids=tokens()), expected)
    with attach(model):
        torch.testing.assert_close(logits(model, input_ids=tokens()), expected, rtol=1e-5, atol=1e-5)


def test_a_thread_takes_the_method_along_where_its_context_is_copied(model, caplog):
    """A plain thread attends densely, and that is said; a reader's thread must not meet another's recorder."""
    from foveal.attention.remarks import warn_once

    warn_once.cache_clear()
    with attach(model, nothing := Nothing()):
        with in_threads(lambda: logits(model, input_ids=tokens())):
            pass
        assert not nothing.contexts
        assert "copy_context" in caplog.text
        run = copy_context().run
        with in_threads(lambda: run(logits, model, input_ids=tokens())):
            pass
        assert nothing.contexts


# soft-capped logits


@pytest.fixture
def capped(tmp_path) -> nn.Module:
    return tiny("gemma2", tmp_path).model


def test_capped_logits_are_capped(capped):
    expected, real = logits(capped, **padded()), padded()["attention_mask"].bool()
    alone = logits(capped, input_ids=tokens())
    with attach(capped):
        torch.testing.assert_close(logits(capped, **padded())[real], expected[real], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits(capped, input_ids=tokens()), alone, rtol=1e-5, atol=1e-5)
    capped.config.attn_logit_softcapping = None
    for layer in capped.model.layers:
        layer.self_attn.attn_logit_softcapping = None
    assert (logits(capped, input_ids=tokens()) - alone).abs().max() > 0.01  # the cap binds


def test_a_capped_model_generates_the_same(capped):
    asked = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    expected = capped.generate(tokens(), **asked)
    with attach(capped):
        assert torch.equal(capped.generate(tokens(), **asked), expected)


def test_capped_attention_is_recorded_as_it_is(capped):
    expected = capped(input_ids=tokens(), output_attentions=True).attentions
    rows = torch.tensor([[3, 20, 23]])
    with torch.inference_mode(), attach(capped, recorder=Recorder(rows, {0: None, 1: [2, 1]})) as attached:
        attached.base(input_ids=tokens())
    found = attached.recorder.attention
    torch.testing.assert_close(found[0], expected[0][:, :, rows[0]], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], expected[1][:, [2, 1]][:, :, rows[0]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("additive", [True, False])
def test_a_capped_model_holds_to_a_mask_of_the_callers_own(capped, additive):
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    seen[:, 3:6] = False
    seen[3:6, 0] = True
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min) if additive else seen
    given = {"full_attention": mask[None, None], "sliding_attention": mask[None, None]}
    as_added = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
    expected = logits(capped, input_ids=tokens(), attention_mask=dict.fromkeys(given, as_added))
    with attach(capped):
        torch.testing.assert_close(
            logits(capped, input_ids=tokens(), attention_mask=given), expected, rtol=1e-5, atol=1e-5
        )


# never N×N


def test_the_mask_is_a_few_numbers(model, kind):
    dense = Dense()
    with attach(model, dense):
        logits(model, **padded())
    for context in dense.contexts:
        assert isinstance(context.mask, Mask)
        assert context.mask.shape == (2, 1, LENGTH, LENGTH)
    windows = {"qwen": {None}, "gemma": {SLIDING, None}}
    assert {context.mask.window for context in dense.contexts} == windows[kind]


def test_a_method_of_its_own_needs_no_mask_to_be_built(model):
    nothing = Nothing()
    with attach(model, nothing, recorder=Recorder(torch.tensor([[9], [9]]), {0: None})):
        logits(model, **padded())
    assert all("dense" not in vars(context.mask) for context in nothing.contexts)


def test_nothing_of_n_times_n_is_made(attention_models):
    length, largest = 700, Largest()
    recorder = Recorder(torch.tensor([[length - 2, length - 1]]), {0: None, 2: None})
    with attach(attention_models["qwen"].model, recorder=recorder) as attached, largest:
        attached.base(input_ids=tokens(length=length), use_cache=False)
    assert largest.numbers < length * length / 4
    assert list(recorder.attention) == [0, 2]
    assert {tuple(rows.shape) for rows in recorder.attention.values()} == {(1, 4, 2, length)}
