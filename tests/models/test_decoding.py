"""The token loop against transformers' own forward and generate, on tiny random models in float32."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from foveal.errors import Cancelled, InputError, ModelUnavailable
from foveal.models import decoding, threads
from foveal.models.chat import Cancel, Sampling
from foveal.models.decoding import Decoder, NotTogether, decode_rows, drawn, nucleus, shared_chunks, tokens
from foveal.models.language import load_language_model
from foveal.models.lean import lean, pack_ahead
from foveal.models.threads import Threads, with_threads

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.4,
}
WINDOW = 7


def tiny(kind: str) -> Any:
    torch.manual_seed(0)
    layers = ["sliding_attention", "sliding_attention", "full_attention"]
    made = {
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**{**SIZES, "hidden_size": 96})),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
        "gemma3": lambda: Gemma3ForCausalLM(
            Gemma3TextConfig(**SIZES, sliding_window=WINDOW, layer_types=layers, query_pre_attn_scalar=16)
        ),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=48, n_layer=2, n_head=2, n_positions=128)),
    }
    model = made[kind]().eval()
    for name, parameter in model.named_parameters():  # norms and biases that do nothing would hide an error
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.2) if "norm" in name else torch.nn.init.normal_(parameter)
    return model


LEAN = ["qwen2", "qwen3", "llama", "gemma3"]


def prompt(length: int, seed: int = 1) -> list[int]:
    return torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decoding.CHUNK, "cpu", 8)


def whole(model: Any, ids: list[int]) -> torch.Tensor:
    """The definition: logits after the last token, from one forward over all, without a cache."""
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize("kind", [*LEAN, "gpt2"])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 29])
def test_each_step_gives_what_one_forward_over_all_gives(kind: str, length: int) -> None:
    model, ids = tiny(kind), prompt(length)
    decoder = Decoder(model)
    assert decoder.lean == (kind in LEAN)
    state = decoder.prefill(ids)
    torch.testing.assert_close(state.logits[0], whole(model, ids)[-1], atol=1e-3, rtol=1e-4)
    for token in prompt(12, seed=2):
        ids.append(token)
        decoder.step(state, [[token]])
        torch.testing.assert_close(state.logits[0], whole(model, ids)[-1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", LEAN)
def test_many_tokens_in_one_step_are_many_steps(kind: str) -> None:
    model, ids, more = tiny(kind), prompt(11), prompt(9, seed=3)
    decoder = Decoder(model)
    state = decoder.prefill(ids)
    decoder.step(state, [more])
    torch.testing.assert_close(state.logits[0], whole(model, ids + more)[-1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", [*LEAN, "gpt2"])
def test_greedy_answers_are_those_of_generate(kind: str) -> None:
    model, ids = tiny(kind), prompt(20)
    decoder = Decoder(model)
    expected = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, 20), max_new_tokens=40, do_sample=False, eos_token_id=None
    )
    assert list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=40))) == expected[0, 20:].tolist()


@pytest.mark.parametrize("kind", LEAN)
def test_rows_decoded_together_are_rows_decoded_alone(kind: str) -> None:
    decoder = Decoder(tiny(kind))
    prompts = [prompt(3), [*prompt(17), 5], prompt(17), [9]]
    limits = [20, 5, 30, 11]
    sampling = Sampling(max_tokens=30, temperature=0.7, top_p=0.9, seed=4)
    alone = [
        list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=n, temperature=0.7, top_p=0.9, seed=4)))
        for ids, n in zip(prompts, limits, strict=True)
    ]
    together: list[list[int]] = [[] for _ in prompts]

    def take(row: int, token: int) -> bool:
        together[row].append(token)
        return not (row == 2 and len(together[row]) == 13)

    decode_rows(decoder, decoder.batch(prompts), take, sampling, limits=limits)
    assert together == [alone[0], alone[1], alone[2][:13], alone[3]]


def test_prompts_are_not_read_together_by_a_models_own_forward() -> None:
    """What they left in the state that was handed over would be another answer's."""
    model, prompts = tiny("qwen2"), [prompt(9), prompt(17)]
    decoder = Decoder(model)
    stale = decoder.prefill(prompt(12, seed=5))
    handle = model.lm_head.register_forward_hook(lambda *_: None)
    with pytest.raises(NotTogether, match="cannot decode 2 prompts together"):
        decoder.batch(prompts, into=stale)
    handle.remove()
    expected = decoder.batch(prompts).logits

    class Attaches(Cancel):
        """Another thread attaches to the model while prompts are read."""

        def check(self) -> None:
            model.config._attn_implementation = "foveal"

    torch.testing.assert_close(decoder.batch(prompts, into=stale, cancel=Attaches()).logits, expected)


def test_a_prompt_is_read_on_from_the_chunks_it_shares() -> None:
    decoder, ids = Decoder(tiny("qwen2")), prompt(30)
    read: list[int] = []
    step = decoder.step
    decoder.step = lambda state, parts: read.append(len(parts[0])) or step(state, parts)  # type: ignore[method-assign,func-returns-value]
    state = decoder.prefill(ids)
    list(tokens(decoder, state, Sampling(max_tokens=9)))
    fresh = decoder.prefill([*ids[:20], 1, 2, 3])
    read.clear()
    again = decoder.prefill([*ids[:20], 1, 2, 3], into=state)
    assert read == [7]  # 16 of the 20 shared tokens are whole chunks
    assert torch.equal(again.logits, fresh.logits)
    assert list(tokens(decoder, again, Sampling(max_tokens=9))) == list(tokens(decoder, fresh, Sampling(max_tokens=9)))


@pytest.mark.parametrize(
    ("held", "ids", "shared"),
    [
        ("abcdefgh", "abcdefghi", 8),
        ("abcdefgh", "abcdefgh", 4),
        ("abcdefgh", "abcdefgX", 4),
        ("", "abc", 0),
        ("abcdefgh", "", 0),
    ],
)
def test_shared_chunks_are_whole_and_leave_a_token(held: str, ids: str, shared: int) -> None:
    assert shared_chunks([ord(c) for c in held], [ord(c) for c in ids], 4) == shared


def test_only_the_last_row_goes_through_the_head() -> None:
    model = tiny("qwen2")
    seen: list[int] = []
    decoder = Decoder(model)
    handle = model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    assert not decoder.lean  # a hook would not be called by the lean step
    decoder.prefill(prompt(30))
    handle.remove()
    assert seen == [1]
    assert decoder.lean


def test_layers_packed_ahead_give_the_same_and_are_packed_once() -> None:
    model, plain = tiny("gemma3"), tiny("gemma3")
    packer = pack_ahead(model)
    assert packer is not None
    ahead, wanted = Decoder(model).prefill(prompt(30)), Decoder(plain).prefill(prompt(30))
    packer.join()
    assert torch.equal(ahead.logits, wanted.logits)
    made = [lean(model).layer(number) for number in range(3)]
    lean(model).pack(lambda: False)
    assert [lean(model).layer(number) for number in range(3)] == made
    assert pack_ahead(tiny("gpt2")) is None


def test_packing_ahead_ends_with_the_program() -> None:
    layers = lean(tiny("llama"))
    layers.pack(lambda: True)
    assert not layers._packed


def test_what_is_attached_to_the_model_is_left_to_its_own_forward() -> None:
    model = tiny("llama")
    model.config._attn_implementation = "flex_attention"
    assert not Decoder(model).lean


def test_a_cancel_stops_within_a_token_and_within_a_chunk() -> None:
    decoder, cancel = Decoder(tiny("llama")), Cancel()
    given = tokens(decoder, decoder.prefill([1, 2]), Sampling(max_tokens=50), cancel=cancel)
    assert len([next(given) for _ in range(3)]) == 3
    cancel.set()
    with pytest.raises(Cancelled):
        next(given)
    with pytest.raises(Cancelled):
        decoder.prefill(prompt(40), cancel=cancel)


def test_a_stop_token_ends_the_answer_and_is_not_part_of_it() -> None:
    decoder = Decoder(tiny("qwen2"))
    free = list(tokens(decoder, decoder.prefill([1, 2, 3]), Sampling(max_tokens=20)))
    stop = free[5]
    stopped = list(tokens(decoder, decoder.prefill([1, 2, 3]), Sampling(max_tokens=20), stop_ids=[stop]))
    assert stopped == free[: free.index(stop)]


def nucleus_by_definition(shares: list[float], top_p: float) -> set[int]:
    order = sorted(range(len(shares)), key=lambda token: -shares[token])
    fewest = next(n for n in range(1, len(order) + 1) if sum(shares[t] for t in order[:n]) >= top_p - 1e-12)
    return set(order[:fewest])


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.5, 0.9, 1.0])
def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p(top_p: float) -> None:
    shares = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    assert set(nucleus(shares, top_p).nonzero()[:, 0].tolist()) == nucleus_by_definition(shares.tolist(), top_p)


def test_tokens_are_drawn_by_their_probability_and_seed() -> None:
    logits = torch.tensor([0.0, 2.0, 1.0, -5.0])
    expected = torch.softmax(logits / 0.5, -1)
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[drawn(logits, Sampling(temperature=0.5), generator)] += 1
    torch.testing.assert_close(counts / 4000, expected, atol=0.02, rtol=0)
    assert drawn(logits, Sampling(), generator) == 1


def test_two_threads_of_callers_do_not_disturb_each_other() -> None:
    decoder = Decoder(tiny("qwen2"))
    prompts = [prompt(9, seed=seed) for seed in range(4)]
    alone = [list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=25))) for ids in prompts]
    found: dict[int, list[int]] = {}

    def call(row: int) -> None:
        found[row] = list(tokens(decoder, decoder.prefill(prompts[row]), Sampling(max_tokens=25)))

    callers = [threading.Thread(target=call, args=(row,)) for row in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [found[row] for row in range(4)] == alone


def test_the_threads_chosen_are_given_back() -> None:
    before = torch.get_num_threads()
    threads = Threads(torch.device("cpu"))
    with threads.chosen():
        assert torch.get_num_threads() in (1, before)
    with with_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def in_a_thread(body: Callable[[], object]) -> Any:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(body()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_born_while_another_takes_one_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch gives a new thread what any other has set last."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "MOST", 3)

    def chosen() -> list[int]:
        monkeypatch.setattr(Threads, "_seconds", lambda *_, **__: 0.5)  # all are as fast as one, so none waits
        counts = [torch.get_num_threads()]
        with Threads(torch.device("cpu")).chosen():
            counts.append(torch.get_num_threads())
        return [*counts, torch.get_num_threads()]

    def nested() -> list[int]:
        with with_threads(2), Threads(torch.device("cpu")).chosen():  # what a thread has taken itself holds
            return [torch.get_num_threads()]

    with with_threads(1):
        assert in_a_thread(chosen) == [1, 3, 3]
        assert in_a_thread(nested) == [2]
        assert in_a_thread(torch.get_num_threads) == 3  # what is left to threads to come
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.model
@pytest.mark.parametrize("name", [pytest.param("qwen2.5-coder-0.5b", marks=pytest.mark.slow), "gemma3-270m"])
def test_real_models_answer_as_generate_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 the two round differently, so where they part, generate's own logits must have been a near tie."""
    monkeypatch.setitem(decoding.CHUNK, "cpu", 256)
    loaded = load_language_model(name)
    ids = loaded.encode("<bos>" if name.startswith("gemma") else "") + loaded.encode(
        "The fovea is the part of the eye that"
    )
    decoder = Decoder(loaded.model)
    ours = list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=32)))
    step = whole(loaded.model, ids + ours)[len(ids) - 1 : -1].float()
    lost = step.max(-1).values - step.gather(1, torch.tensor(ours)[:, None])[:, 0]
    assert lost.max() <= 0.25  # two steps of bfloat16 at logits of 16 to 32
    assert (lost == 0).float().mean() > 0.8


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-3])
def test_the_coldest_draw_is_the_likeliest_token(temperature):
    logits = torch.tensor([-3.0, 21.0, 20.0, float("-inf")])
    assert drawn(logits, Sampling(temperature=temperature), torch.Generator().manual_seed(0)) == 1


@pytest.mark.parametrize(("name", "value"), [("temperature", float("inf")), ("seed", 2**64), ("seed", -(2**63) - 1)])
def test_a_sampling_that_no_draw_can_follow_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} is "):
        Sampling(**{name: value})


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_give_no_token(broken, temperature):
    logits = torch.tensor([-3.0, broken, 20.0])
    for one in (logits, torch.full((3,), float("-inf"))):
        with pytest.raises(ModelUnavailable, match="no number"):
            drawn(one, Sampling(temperature=temperature), torch.Generator().manual_seed(0))


LONG = {
    "rope_type": "longrope",
    "factor": 4.0,
    "original_max_position_embeddings": 300,
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
}
SCALED = {
    "default": ({"rope_type": "default", "rope_theta": 10_000.0}, 1200),
    "yarn": (
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 300, "rope_theta": 10_000.0},
        1200,
    ),
    "longrope": (LONG, 1200),
    "dynamic": ({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}, 300),
}


@pytest.mark.parametrize("kind", SCALED)
def test_a_long_prompt_is_read_as_one_forward_reads_it_whatever_its_positions(kind: str) -> None:
    """LongRoPE and dynamic ones turn otherwise in a longer text: keys of an earlier chunk would not fit later ones."""
    rope, positions = SCALED[kind]
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES | {"max_position_embeddings": positions}, rope_parameters=rope)).eval()
    ids = torch.randint(97, (600,)).tolist()
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(Decoder(model).prefill(ids).logits[0], expected, atol=1e-4, rtol=1e-4)
    assert Decoder(model).lean == (kind in ("default", "yarn"))
