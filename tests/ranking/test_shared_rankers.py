"""Rankers that visitors of a server share: what one thread remembers, forgets or switches off costs no other one."""

from __future__ import annotations

import pytest
import torch
from honest import HashedWords
from retrieval.shelf import hit, names
from training.conftest import make_encoder

from foveal.nn.text_filter import TextFilter, TextFilterSettings
from foveal.ranking import goal_ranker
from foveal.ranking.attentive_cnn import AttentiveCNN, AttentiveCNNSettings, Vocabulary
from foveal.ranking.cross_encoder import CrossEncoderRanker
from foveal.ranking.goal_ranker import GoalRanker, GoalScorer, TokenStates
from foveal.ranking.paraformer import Frozen, Paraformer
from foveal.ranking.sections import SectionRanker
from foveal.training import model_folders

HITS = [hit(f"d{n}", -float(n), f"ducks {n} swim") for n in range(5)]


class Emptied(dict):
    """What is remembered, emptied by another thread between a question whether something is there and its use."""

    def __contains__(self, key):
        return super().pop(key, None) is not None

    def __setitem__(self, key, value):
        """Gone as soon as it is there."""

    def __delitem__(self, key):
        super().__delitem__("gone")


def test_sections_that_another_thread_forgets_are_encoded_anew():
    ranker = SectionRanker(Paraformer(Frozen(HashedWords(dimension=24))))
    wanted = ranker.rank("ducks 3", HITS)
    object.__setattr__(ranker, "_kept", Emptied(ranker._kept))
    assert ranker.rank("ducks 3", HITS) == wanted


def test_sentences_that_another_thread_forgets_are_encoded_anew():
    frozen = Frozen(HashedWords(dimension=24), remembered=2)
    wanted = frozen.vectors(["a pond", "a frog"])
    frozen._known = Emptied(frozen._known)
    assert torch.equal(frozen.vectors(["a pond", "a frog"]), wanted)
    assert torch.equal(frozen.vectors(["a pond", "a frog", "ice"])[:2], wanted)  # one is let go of, twice


def test_words_that_another_thread_forgets_are_cut_anew():
    settings = AttentiveCNNSettings(dimension=8, filters=8, attention_units=4)
    model = AttentiveCNN(Vocabulary(("ducks", "swim")), settings).eval()
    model._known = Emptied()
    assert names(SectionRanker(model).rank("ducks", HITS[:1])) == ["d0"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("shared") / "little")


def test_a_cross_encoder_does_not_switch_off_the_cutting_of_other_threads(encoder):
    """The model's tokenizer cuts and pads a batch by its state, which all threads share."""
    ranker = CrossEncoderRanker(model_folders.cross_encoder(encoder, seed=0), max_tokens=16)
    ranker.rank("ducks", HITS)
    tokenizer = ranker.model.tokenizer.backend_tokenizer
    before = tokenizer.truncation, tokenizer.padding
    assert None not in before
    ranker.pieces("ducks", ["f1 " * 30])
    assert (tokenizer.truncation, tokenizer.padding) == before


def test_a_goal_ranker_remembers_no_more_than_it_may(encoder, monkeypatch):
    states = TokenStates.of(str(encoder), 12)
    torch.manual_seed(0)
    settings = TextFilterSettings(channels=16, goal_width=16, tokens=12)
    ranker = GoalRanker(GoalScorer(TextFilter(settings), states))
    wanted = ranker.rank("f1", HITS)
    monkeypatch.setattr(goal_ranker, "REMEMBERED", 3 * 2 * 12 * 16)  # three texts
    for goal in ("f2", "f3", "f4", "f5", "f1"):
        found = ranker.rank(goal, [*HITS, hit("new", 0.0, f"{goal} a0")])
        assert len(states._texts) == 3
        assert len(states._goals) <= 3
    assert [one for one in found if one.passage.span.document_id != "new"] == wanted
