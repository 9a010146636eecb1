"""A text cut by the boundary predictor, and chunks of one's own as tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from foveal.attention import boundary_chunks
from foveal.attention.boundaries import BoundaryPredictor
from foveal.attention.boundary_chunks import segment, token_starts
from foveal.errors import InputError
from foveal.text.units import sentences

TEXT = "The mill stands by the river. Its keeper is old; his clock is older.\n\nNobody knows who keeps the key. " * 6


class Called(BoundaryPredictor):
    """A boundary behind each token whose place in its piece is in `behind`; it counts what it is asked."""

    def __init__(self, channels: int, behind: tuple[int, ...]) -> None:
        super().__init__(channels, heads=1)
        self.behind, self.asked = behind, list[int]()

    def predict(self, k: torch.Tensor) -> torch.Tensor:
        self.asked.append(k.shape[2])
        scores = torch.linspace(0.2, 0.1, k.shape[2])
        scores[[place for place in self.behind if place < len(scores)]] = 0.9
        return scores[None]


def channels(model) -> int:
    config = model.model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_key_value_heads * width


@pytest.fixture
def qwen(attention_models):
    return attention_models["qwen"]


def test_a_text_is_cut_behind_the_tokens_that_the_predictor_names(qwen):
    told = qwen.tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    predictor = Called(channels(qwen), (40, 90, 130))
    found = segment(TEXT, qwen, tokens=len(told.input_ids) // 3, predictor=predictor)
    assert [start for start, _ in found] == [0, *(_begin(told.offset_mapping[place + 1]) for place in (40, 90, 130))]
    assert "".join(TEXT[start:end] for start, end in found) == TEXT
    assert all(one[1] == other[0] for one, other in pairwise(found))


def _begin(place: tuple[int, int]) -> int:
    return place[1] - len(TEXT[slice(*place)].lstrip())


def test_a_long_text_is_read_in_pieces(qwen, monkeypatch):
    monkeypatch.setattr(boundary_chunks, "PIECE", 100)
    count = len(qwen.tokenizer(TEXT, add_special_tokens=False).input_ids)
    predictor = Called(channels(qwen), (50,))
    found = segment(TEXT, qwen, tokens=100, predictor=predictor)
    layers = qwen.model.config.num_hidden_layers
    assert predictor.asked == [size for start in range(0, count, 100) for size in [min(100, count - start)] * layers]
    assert len(found) == 1 + count // 100
    assert "".join(TEXT[start:end] for start, end in found) == TEXT


def test_only_layers_that_see_the_whole_text_are_asked(attention_models):
    gemma = attention_models["gemma"]
    predictor = Called(channels(gemma), (20,))
    segment(TEXT, gemma, predictor=predictor)
    assert len(predictor.asked) == gemma.model.config.layer_types.count("full_attention") > 0


def test_texts_of_hardly_anything(qwen):
    predictor = Called(channels(qwen), ())
    assert segment("", qwen, predictor=predictor) == []
    assert segment("x", qwen, predictor=predictor) == [(0, 1)]
    with pytest.raises(InputError, match="from 16 on"):
        segment(TEXT, qwen, tokens=8, predictor=predictor)
    with pytest.raises(InputError, match="No boundary predictor is shipped"):
        segment(TEXT, qwen)


def test_sentences_begin_at_tokens(qwen):
    told = qwen.tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    places = [start for start, _ in sentences(TEXT)]
    found = token_starts(told.offset_mapping, places)
    assert len(found) == len(places) > 10
    for token, place in zip(found, places, strict=True):
        start, end = told.offset_mapping[token]
        assert start <= place < end
    assert token_starts([(0, 4), (4, 9)], [0, 2, 5, 9, 30]) == (0, 1)
    assert token_starts([], [0]) == ()
