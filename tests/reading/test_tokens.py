"""The tokens of a text that a reader is given: what it spells is never a control token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tiny import CONTROL

from foveal.reading.tokens import PlainTokens

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.lists(
    st.sampled_from(["<|end|>", "<|turn|>", "<|end", "|>", "the keeper ", " "]), max_size=8
).map("".join)


def control_ids(model) -> set[int]:
    return set(model.tokenizer.convert_tokens_to_ids(list(CONTROL)))


@given(text=TEXTS)
def test_no_text_holds_a_control_token(qwen, text):
    tokens = PlainTokens(qwen)
    ids = tokens.encode(text)
    assert not control_ids(qwen) & set(ids)
    assert tokens.decode(ids) == text
    assert tokens.encode_many([text, "", text]) == [ids, [], ids]


@given(text=TEXTS)
def test_each_token_has_its_place_in_the_text(qwen, text):
    tokens = PlainTokens(qwen)
    places = tokens.offsets(text)
    assert len(places) == len(tokens.encode(text))
    assert "".join(text.split()) == "".join("".join(text[slice(*place)].split()) for place in sorted(set(places)))


def test_a_token_begins_with_its_word_not_with_the_blank_before(qwen):
    text = "keeper the  keeper\n"
    found = [text[start:end] for start, end in PlainTokens(qwen).offsets(text)]
    assert all(piece == piece.strip() or piece.isspace() for piece in found)
    assert "the" in found


def test_the_models_own_tokenizer_is_left_alone(qwen):
    PlainTokens(qwen)
    assert qwen.encode("<|end|>") == [qwen.tokenizer.eos_token_id]


def test_truncation_and_padding_of_the_models_tokenizer_do_not_reach_a_text(qwen):
    backend = qwen.tokenizer.backend_tokenizer
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    try:
        tokens = PlainTokens(qwen)
    finally:
        backend.no_truncation()
        backend.no_padding()
    assert tokens.decode(tokens.encode("the keeper of the mill")) == "the keeper of the mill"
    assert [tokens.decode(ids) for ids in tokens.encode_many(["the", "the the the"])] == ["the", "the the the"]


def test_a_lone_surrogate_is_no_character_and_moves_nothing(qwen):
    """Bytes of a command line that are no UTF-8 come as such."""
    tokens, text = PlainTokens(qwen), "the mill \udcff of the keeper"
    replaced = text.replace("\udcff", "\ufffd")
    assert tokens.encode(text) == tokens.encode(replaced)
    assert tokens.encode_many([text, "key"]) == [tokens.encode(replaced), tokens.encode("key")]
    assert tokens.offsets(text) == tokens.offsets(replaced)
