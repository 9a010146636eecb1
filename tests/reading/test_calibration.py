"""Calibration: ranks and the choice of heads by hand on small numbers, and a whole run on a tiny model."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch

from foveal.attention.probes import PROBES
from foveal.attention.profiles import whole_layers
from foveal.errors import InputError
from foveal.reading import calibration
from foveal.reading.calibration import Seen, best_heads, calibrate, chosen, hidden, log_rank, ranks
from foveal.reading.looking import Looking
from foveal.reading.prompts import NO_QUESTION
from foveal.reading.tokens import PlainTokens

HOST = " ".join(f"The miller of house {n} counted {n * 7} sacks of rye." for n in range(450))


# -- ranks -------------------------------------------------------------------------------------------------------------


def test_a_rank_is_that_of_the_worst_fact():
    scores = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.9, 0.8, 0.1]])
    assert ranks(scores, [0]).tolist() == [1, 3]
    assert ranks(scores, [2]).tolist() == [2, 2]
    assert ranks(scores, [0, 2]).tolist() == [1, 2]  # the facts stand in nobody's way
    assert ranks(scores, [0, 3]).tolist() == [2, 3]


def test_what_scores_nothing_is_the_last():
    """A head that looks at no sentence has found none: all are as good."""
    assert ranks(torch.zeros(2, 5), [3]).tolist() == [5, 5]


def seen(*places: int, sentences: int = 50) -> Seen:
    """One probe, a layer for each of `places`, two heads: the first ranks the fact at this place, the second last."""
    others = torch.arange(1, sentences)
    scores = torch.zeros(len(places), 2, sentences)
    for row, place in enumerate(places):
        scores[row, 0, 0] = sentences - place + 0.5
        scores[row, 0, 1:] = others
        scores[row, 1, 1:] = 1.0
    return Seen(scores, (0,))


def test_seen_puts_the_fact_where_it_says():
    assert ranks(seen(4, 1, 9).scores, (0,)).tolist() == [[4, 50], [1, 50], [9, 50]]


def test_heads_are_ordered_by_the_mean_log_rank(monkeypatch):
    monkeypatch.setattr(calibration, "HEADS", 2)
    probes = [seen(4, 2, 1), seen(4, 9, 1), seen(4, 9, 3)]
    assert best_heads(probes, 3) == [(2, 0), (0, 0)]  # 64 < 162, though one rank of 9 is nearer to 4 than two of 4
    assert best_heads(probes, 2) == [(0, 0), (1, 0)]


def test_the_mean_of_some_heads_is_judged_together():
    probe = Seen(torch.tensor([[[1.0, 0.0, 0.9], [0.0, 1.0, 0.9]]]), (2,))
    assert [log_rank([probe], [(0, head)]) for head in (0, 1)] == [math.log(2)] * 2
    assert log_rank([probe], [(0, 0), (0, 1)]) == 0


@pytest.mark.parametrize(
    ("ranks_by_layer", "depth"),
    [((9, 4, 2, 2, 9), 3), ((1, 1, 1, 1, 1), 1), ((9, 8, 7, 6, 1), 5), ((9, 2, 9, 2, 2), 2)],
)
def test_the_shallowest_depth_that_is_as_good_as_the_best(reading_models, ranks_by_layer, depth, monkeypatch):
    monkeypatch.setattr(calibration, "HEADS", 1)
    layers = [10 * (row + 1) for row in range(5)]
    found = chosen(reading_models["qwen"], [seen(*ranks_by_layer)] * 4, layers)
    assert found.heads == ((10 * depth, 0),)
    assert found.measured["rank"] == found.measured["rank_best_depth"] == ranks_by_layer[depth - 1]
    assert found.measured["sentences"] == 50


def test_heads_are_judged_on_probes_that_did_not_choose_them(reading_models, monkeypatch):
    """Two heads that each find half of the probes: what is chosen on one half is worthless on the other."""
    monkeypatch.setattr(calibration, "HEADS", 1)
    one = seen(1)
    other = Seen(one.scores.flip(1), one.facts)
    found = chosen(reading_models["qwen"], [one, other] * 3, [0])
    assert found.measured["rank"] == 50


# -- a run -------------------------------------------------------------------------------------------------------------


def test_facts_are_whole_sentences_of_their_windows(qwen):
    tokens = PlainTokens(qwen)
    host = HOST.split(". ")
    made = hidden(PROBES, host, tokens, random.Random(3))
    places = [(probe, one.window[place].text.strip()) for one in made for probe, place in one.places]
    assert sorted(places) == sorted((number, fact) for number, one in enumerate(PROBES) for fact in one.facts)
    for one in made:
        assert calibration.WINDOW <= sum(map(len, one.window)) < calibration.WINDOW + 60
        assert all(tokens.decode(sentence.ids) == f"{sentence.text} " for sentence in one.window)
    other = hidden(PROBES, host, tokens, random.Random(4))
    assert [one.places for one in made] != [one.places for one in other]


def test_layers_that_see_the_whole_text(reading_models):
    assert whole_layers(reading_models["qwen"].model.config) == [0, 1, 2]
    assert whole_layers(reading_models["gemma"].model.config) == [1, 3]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(calibration, "PROBES", (PROBES[0], PROBES[-1], PROBES[1], PROBES[-2]))
    monkeypatch.setattr(calibration, "WINDOW", 240)
    monkeypatch.setattr(calibration, "HEADS", 2)


def test_it_scores_as_a_reader_does(either, short):
    """One head at a time, each window: what calibration watches is what `Looking` would give."""
    told = []
    found = calibrate(either, host=HOST, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    assert (found.calibrated, found.measured["probes"], found.fingerprint) == (True, 4, either.fingerprint)
    layers = whole_layers(either.model.config)
    assert len(found.heads) == 2
    assert {layer for layer, _ in found.heads} <= set(layers)
    tokens = PlainTokens(either)
    sentences = [one for one in calibration._SENTENCE.split(HOST) if 20 < len(one) < 400]
    window = hidden(calibration.PROBES, sentences, tokens, random.Random(0))[0].window
    scores = calibration._scores(either, tokens, window, layers)
    for row, layer in enumerate(layers):
        look = Looking(either, replace(found, heads=((layer, 3),)), int8=False)
        for place, probe in enumerate(calibration.PROBES):
            expected = look.scores([window], [probe.question])[0][0]
            torch.testing.assert_close(scores[row, 3, place], expected, rtol=1e-3, atol=1e-4)
    assert NO_QUESTION not in {probe.question for probe in PROBES}


def test_the_same_seed_gives_the_same_profile(qwen, short):
    assert calibrate(qwen, host=HOST, seed=5) == calibrate(qwen, host=HOST, seed=5)


def test_a_host_without_sentences(qwen):
    with pytest.raises(InputError, match="has 0 sentences of usual length; calibration needs 400"):
        calibrate(qwen, host="word " * 9000)
