"""Many questions behind one text: each is read as if it stood alone behind it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from test_methods import Everything, small
from tiny import LAYERS, SLIDING, tiny
from transformers import Llama4ForCausalLM, Llama4TextConfig

from foveal.attention import Recorder, SharedPrefix, Streaming, attach
from foveal.errors import InputError

KINDS = ("qwen", "gemma", "gemma2")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)).model for kind in KINDS}


def drawn(sizes: list[int], seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(256, (size,), generator=generator).tolist() for size in sizes]


@torch.inference_mode()
def together(model, layers, texts, questions, *, room=0):
    """(hidden states, per question the attention of each layer) of one pass over all."""
    lengths = torch.tensor([len(text) for text in texts])
    layout = SharedPrefix(lengths, int(lengths.max()) + room, list(map(len, questions)))
    asked = [token for question in questions for token in question]
    ids = torch.tensor([text + [0] * (layout.padded - len(text)) + asked for text in texts])
    rows = torch.cat([layout.rows(number) for number in range(len(questions))], dim=1)
    recorder = Recorder(rows, dict.fromkeys(range(layers)))
    with attach(model, layout, recorder=recorder) as attached:
        output = attached.base(input_ids=ids, position_ids=layout.positions, use_cache=False).last_hidden_state
    return layout, output, recorder.attention


@torch.inference_mode()
def alone(model, layers, text, question):
    """(hidden states, the question's attention in each layer) of text and question, nothing else."""
    recorder = Recorder(torch.arange(len(text), len(text) + len(question))[None], dict.fromkeys(range(layers)))
    with attach(model, recorder=recorder) as attached:
        output = attached.base(input_ids=torch.tensor([text + question]), use_cache=False).last_hidden_state
    return output[0], recorder.attention


def assert_each_is_alone(kind, model, texts, questions, *, room=0):
    layout, output, attention = together(model, LAYERS[kind], texts, questions, room=room)
    begins = [layout.padded]
    for question in questions:
        begins.append(begins[-1] + len(question))
    for b, text in enumerate(texts):
        for q, question in enumerate(questions):
            expected, rows = alone(model, LAYERS[kind], text, question)
            own = slice(begins[q], begins[q + 1])
            within = slice(begins[q] - layout.padded, begins[q + 1] - layout.padded)
            torch.testing.assert_close(output[b, : len(text)], expected[: len(text)], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(output[b, own], expected[len(text) :], rtol=1e-4, atol=1e-4)
            for layer in range(LAYERS[kind]):
                found = attention[layer][b, :, within]
                seen = torch.cat([found[..., : len(text)], found[..., own]], dim=-1)
                torch.testing.assert_close(seen, rows[layer][0], rtol=0, atol=1e-5)
                torch.testing.assert_close(seen.sum(-1), torch.ones(seen.shape[:-1]))  # and nothing else is seen


@pytest.mark.parametrize("kind", KINDS)
def test_questions_behind_texts_of_different_lengths(models, kind):
    texts, questions = drawn([3 * SLIDING, 5, SLIDING + 1], 0), drawn([4, 1, 2 * SLIDING], 1)
    assert_each_is_alone(kind, models[kind], texts, questions)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_beyond_the_longest_text(models, kind):
    assert_each_is_alone(kind, models[kind], drawn([6, 20], 2), drawn([3, 3], 3), room=11)


@pytest.mark.parametrize("kind", KINDS)
@examples(max_examples=20)
@given(
    texts=st.lists(st.integers(1, 3 * SLIDING), min_size=1, max_size=3),
    questions=st.lists(st.integers(1, 2 * SLIDING), min_size=1, max_size=3),
    room=st.integers(0, 3),
)
def test_any_lengths(models, kind, texts, questions, room):
    assert_each_is_alone(kind, models[kind], drawn(texts, 4), drawn(questions, 5), room=room)


def test_positions_and_rows():
    layout = SharedPrefix(torch.tensor([3, 1]), 4, [2, 1])
    assert layout.positions.tolist() == [[0, 1, 2, 3, 3, 4, 3], [0, 1, 2, 3, 1, 2, 1]]
    assert layout.rows(0).tolist() == [[4, 5], [4, 5]]
    assert layout.rows(1).tolist() == [[6], [6]]


@pytest.mark.parametrize(("lengths", "padded"), [([5, 2], 4), ([4, 0], 4)])
def test_a_text_must_fit_and_not_be_empty(lengths, padded):
    with pytest.raises(InputError, match="each needs 1 to 4"):
        SharedPrefix(torch.tensor(lengths), padded, [1])


@torch.inference_mode()
def last_states(model, texts, method):
    """The states of one question behind `texts` that attend to themselves by `method`."""
    lengths = torch.tensor([len(text) for text in texts])
    layout = SharedPrefix(lengths, int(lengths.max()), [3], method=method)
    ids = torch.tensor([text + [0] * (layout.padded - len(text)) + [1, 2, 3] for text in texts])
    with attach(model, layout) as attached:
        output = attached.base(input_ids=ids, position_ids=layout.positions, use_cache=False).last_hidden_state
    return output[:, layout.padded :]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_attend_to_themselves_by_a_method(models, kind):
    """Each by its own blocks, whatever stands beside it; the questions see them whole."""
    texts = drawn([150, 90], 3)
    few = small(Streaming, sinks=16, recent=16)
    both = last_states(models[kind], texts, few)
    for text, states in zip(texts, both, strict=True):
        torch.testing.assert_close(last_states(models[kind], [text], few)[0], states, rtol=1e-4, atol=1e-4)
    dense = last_states(models[kind], texts, None)
    torch.testing.assert_close(last_states(models[kind], texts, Everything()), dense, rtol=1e-4, atol=1e-4)
    assert (both - dense).abs().max() > 1e-3


@torch.inference_mode()
def test_layers_that_see_chunks_are_refused():
    """Their window is told by the same number as one that slides: questions saw what they were not to see, or lacked
    what they were to."""
    config = Llama4TextConfig(
        vocab_size=256, hidden_size=32, intermediate_size=16, intermediate_size_mlp=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, attention_chunk_size=8, num_local_experts=1,
        moe_layers=[], max_position_embeddings=256, pad_token_id=0, layer_types=["full_attention", "chunked_attention"],
    )  # fmt: skip
    model = Llama4ForCausalLM(config).eval()
    texts, questions = drawn([11, 6], 0), drawn([3, 4], 1)
    with pytest.raises(InputError, match="Layer 1 of this model sees chunks"):
        together(model, 2, texts, questions)
