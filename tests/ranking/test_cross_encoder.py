"""The cross-encoder on a BERT of a few kilobytes with random weights, as transformers saves it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from retrieval.shelf import Words, hit, names
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from foveal.errors import Cancelled, InputError, ModelUnavailable, UnknownName
from foveal.models import OFFLINE
from foveal.models.chat import Cancel
from foveal.models.offline import unpacked
from foveal.ranking.cross_encoder import CrossEncoderRanker, windows
from foveal.retrieval.pipeline import Pipeline
from foveal.settings import Settings
from foveal.training.rerankers import BESIDE

WORDS = ["mill", "wheel", "river", "old", "steam", "engine", "boiler", "grain", "flour", "stone", "water", "lever"]
POSITIONS = 24
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def tokenizer():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    fast = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    fast.normalizer = normalizers.Lowercase()
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, model_max_length=POSITIONS, model_input_names=INPUTS, **special
    )


def saved(folder, kind=BertForSequenceClassification, labels=1):
    config = BertConfig(
        vocab_size=4 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=POSITIONS, num_labels=labels, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        kind(config).eval().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="module")
def ranker(folder):
    return CrossEncoderRanker.load(str(folder), batch=3)


def score_by_definition(folder, query, text):
    """s = w . E([CLS] q [SEP] d [SEP]), one pair at a time, by transformers; then the sigmoid."""
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    encoded = tokenizer()([query], [text], return_tensors="pt")
    with torch.no_grad():
        return float(model(**encoded).logits.sigmoid())


TEXTS = ["old mill wheel", "steam engine boiler steam engine", "", "river", "mill grain flour stone"]


def test_scores_are_those_of_one_pair_at_a_time(folder, ranker):
    """A3: the pair in one forward pass; batches and padding change nothing."""
    scores = ranker.scores("water mill", TEXTS)
    assert (scores.dtype, scores.shape) == (np.float32, (5,))
    assert scores == pytest.approx([score_by_definition(folder, "water mill", text) for text in TEXTS], abs=1e-5)
    assert len(set(scores.round(4))) == 5
    assert ranker.scores("water mill", []).shape == (0,)


def test_hits_come_by_score_and_those_beyond_the_budget_follow(ranker):
    """A3, P1: a budget of hits; the rest stay below in their order."""
    hits = [hit(f"d{i}", 9.0 - i, text) for i, text in enumerate(TEXTS)]
    scores = ranker.scores("water mill", TEXTS)
    ranked = ranker.rank("water mill", hits)
    assert names(ranked) == [f"d{i}" for i in np.argsort(-scores)]
    assert [one.score for one in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True))
    assert {one.source for one in ranked} == {"cross-encoder"}
    few = replace(ranker, budget=2).rank("water mill", hits)
    assert names(few) == [f"d{i}" for i in np.argsort(-scores[:2])] + ["d2", "d3", "d4"]
    assert [one.score for one in few] == sorted((one.score for one in few), reverse=True)
    assert ranker.rank("water mill", []) == []
    assert names(hits) == ["d0", "d1", "d2", "d3", "d4"]


def test_one_that_was_trained_here_counts_by_its_share_beside_the_search(folder, ranker, tmp_path):
    """By what comes before the sigmoid, as the share was chosen."""
    mine = shutil.copytree(folder, tmp_path / "mine")
    (mine / BESIDE).write_text('{"share": 0.4}')
    beside = CrossEncoderRanker.load(str(mine))
    assert (beside.share, ranker.share, CrossEncoderRanker.load(str(mine), share=1.0).share) == (0.4, 1.0, 1.0)
    hits = [hit(f"d{i}", 9.0 - i * i, text) for i, text in enumerate(TEXTS)]
    logits = np.array([math.log(one / (1 - one)) for one in ranker.scores("water mill", TEXTS).astype(float)])
    own = np.array([one.score for one in hits])
    expected = 0.4 * (logits - logits.min()) / np.ptp(logits) + 0.6 * (own - own.min()) / np.ptp(own)
    ranked = beside.rank("water mill", hits)
    assert names(ranked) == [f"d{i}" for i in np.argsort(-expected)]
    assert [one.score for one in ranked] == pytest.approx(sorted(expected, reverse=True), abs=1e-3)
    assert beside.rank("water mill", []) == []
    for damaged in ("{", "[]", '{"share": "much"}'):
        (mine / BESIDE).write_text(damaged)
        with pytest.raises(ModelUnavailable, match="Train the ranker anew"):
            CrossEncoderRanker.load(str(mine))
    with pytest.raises(InputError, match="share=0"):
        replace(ranker, share=0)


def test_a_long_passage_counts_by_its_best_window_or_is_cut(folder, ranker):
    """A3: window overflow."""
    long = " ".join(WORDS * 4)
    asked, pieces = ranker.pieces("water mill", [long, "river"])
    size = POSITIONS - 3 - 2
    assert asked == "water mill"
    assert all(len(piece.split()) == size for row, piece in pieces if row == 0)
    assert pieces[-1] == (1, "river")
    best = max(score_by_definition(folder, "water mill", piece) for row, piece in pieces if row == 0)
    assert ranker.scores("water mill", [long])[0] == pytest.approx(best, abs=1e-5)
    cut = replace(ranker, overflow="cut")
    first = " ".join((WORDS * 4)[:size])
    assert cut.pieces("water mill", [long])[1] == [(0, first)]
    assert cut.scores("water mill", [long])[0] == pytest.approx(
        score_by_definition(folder, "water mill", first), abs=1e-5
    )


def test_a_long_query_leaves_half_of_the_window_to_the_passage(ranker):
    """A3: a query longer than the window is cut, and the passage is still seen."""
    query = " ".join(WORDS * 5)
    asked, pieces = ranker.pieces(query, ["old mill"])
    assert len(asked.split()) == (POSITIONS - 3) // 2
    assert query.startswith(asked)
    assert pieces == [(0, "old mill")]
    assert ranker.scores(query, ["old mill"])[0] != pytest.approx(ranker.scores(query, ["river"])[0], abs=1e-6)
    assert replace(ranker, max_tokens=9).tokens == 9
    assert len(replace(ranker, max_tokens=9).pieces(query, ["old mill"])[0].split()) == 3
    assert replace(ranker, max_tokens=9000).tokens == POSITIONS


@given(st.integers(0, 60), st.integers(1, 20))
def test_windows_cover_all_tokens_and_overlap(count, size):
    offsets = [(3 * i, 3 * i + 2) for i in range(count)]
    cuts = windows(offsets, size)
    covered = {i for start, end in cuts for i in range(count) if start <= offsets[i][0] and offsets[i][1] <= end}
    assert covered == set(range(count))
    for start, end in cuts:
        assert sum(start <= at < end for at, _ in offsets) == min(size, count)
    for (_, end), (start, _) in pairwise(cuts):
        assert start < end or size < 4


def test_a_cancel_stops_between_batches(ranker):
    """A3: cancelled between batches."""
    cancel = Cancel()

    class Counting:
        num_labels, calls = 1, 0

        def __getattr__(self, name):
            return getattr(ranker.model, name)

        def predict(self, pairs, **options):
            type(self).calls += 1
            cancel.set()
            return ranker.model.predict(pairs, **options)

    with pytest.raises(Cancelled):
        CrossEncoderRanker(Counting(), batch=2).rank("mill", [hit(text, 0.0) for text in "abcde"], cancel=cancel)
    assert Counting.calls == 1


def test_it_is_a_stage_of_a_pipeline(ranker):
    """P1: retriever -> cross-encoder."""
    texts = {f"d{i}": text for i, text in enumerate(TEXTS)}
    hits = Pipeline([Words(texts), ranker], [4, 3]).search(["mill engine"], 4)[0]
    assert sorted(names(hits)) == ["d0", "d1", "d4"]
    assert {one.source for one in hits} == {"cross-encoder"}


def test_what_is_no_reranker_is_refused(tmp_path, ranker):
    """A3: a plain encoder's head would be random."""
    with pytest.raises(ModelUnavailable, match="BertModel, which has no head"):
        CrossEncoderRanker.load(str(saved(tmp_path / "plain", kind=BertModel)))
    with pytest.raises(InputError, match="has 2 outputs"):
        CrossEncoderRanker.load(str(saved(tmp_path / "two", labels=2)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match="holds no model"):
        CrossEncoderRanker.load(str(tmp_path / "empty"))
    with pytest.raises(UnknownName, match="No cross-encoder is called 'minilm'"):
        CrossEncoderRanker.load("minilm")
    broken = saved(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelUnavailable, match="could not be loaded as a cross-encoder"):
        CrossEncoderRanker.load(str(broken))
    for wrong in ({"budget": 0}, {"batch": 0}, {"max_tokens": 3}, {"overflow": "drop"}):
        with pytest.raises(InputError, match="A cross-encoder got"):
            replace(ranker, **wrong)


def test_scores_that_are_no_numbers_are_an_error(ranker):
    class Broken:
        num_labels = 1

        def __getattr__(self, name):
            return getattr(ranker.model, name)

        def predict(self, pairs, **options):  # noqa: ARG002
            return np.full(len(pairs), np.nan)

    with pytest.raises(InputError, match="gave text 0 no finite score"):
        CrossEncoderRanker(Broken()).scores("mill", ["river"])


def test_a_model_that_counts_positions_from_behind_the_paddings_reads_long_passages(tmp_path):
    """RoBERTa has two positions fewer than it states; where its tokenizer states no length, that is the bound."""
    config = RobertaConfig(
        vocab_size=4 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=POSITIONS, num_labels=1, pad_token_id=1, type_vocab_size=2,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    unstated = tokenizer()
    unstated.model_max_length = 10**30
    unstated.save_pretrained(tmp_path)
    ranker = CrossEncoderRanker.load(str(tmp_path))
    assert ranker.tokens == POSITIONS - 2
    assert np.isfinite(ranker.scores("mill", ["mill wheel " * 40])).all()


def test_halves_of_surrogate_pairs_are_read_as_some_mark(ranker):
    scores = ranker.scores("mill \ud800", ["river \udfff mill", "river"])
    assert scores.tolist() == pytest.approx(ranker.scores("mill ?", ["river ? mill", "river"]).tolist(), abs=1e-6)


def test_the_saved_form_of_sentence_transformers_loads(tmp_path, ranker):
    """A3: a folder that sentence-transformers wrote (its training ends so)."""
    ranker.model.save_pretrained(str(tmp_path / "saved"))
    again = CrossEncoderRanker.load(str(tmp_path / "saved"))
    assert again.scores("water mill", TEXTS) == pytest.approx(ranker.scores("water mill", TEXTS), abs=1e-6)


@pytest.mark.model
def test_minilm_as_it_is_has_no_head():
    """A3 on MiniLM: the offline encoder is no cross-encoder, and is not taken for one."""
    folder = unpacked(OFFLINE["minilm"], Settings.load().cache)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]
    with pytest.raises(ModelUnavailable, match="no head that scores"):
        CrossEncoderRanker.load(str(folder))
