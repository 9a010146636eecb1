"""A trained article model behind any search: both scores on one scale, by the weight that training found."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from honest import HashedWords
from retrieval.shelf import hit, names

from foveal.errors import Cancelled, InputError, ModelUnavailable
from foveal.models.chat import Cancel
from foveal.ranking.attentive_cnn import AttentiveCNN, AttentiveCNNSettings, Vocabulary
from foveal.ranking.legal import LEGAL, LegalSettings, word_search
from foveal.ranking.legal_ranker import LegalRanker
from foveal.ranking.paraformer import Frozen, Paraformer
from foveal.ranking.sections import SectionRanker
from foveal.training import checkpoints

HITS = [hit("a", 9.0, "rent is due"), hit("b", 5.0, "deposit and rent"), hit("c", 1.0, "the deposit is returned")]
QUERY = "when is the deposit returned"


def ranker(budget=None, **settings):
    return LegalRanker(SectionRanker(Paraformer(Frozen(HashedWords()))), LegalSettings(**settings), budget)


def scaled(scores):
    return (np.array(scores) - np.mean(scores)) / np.std(scores)


def test_both_scores_count_by_the_weight():
    alone = {one.hit.passage.span.document_id: one.hit.score for one in ranker().explain(QUERY, HITS)}
    model, first = scaled([alone[name] for name in "abc"]), scaled([9.0, 5.0, 1.0])
    for weight in (0.0, 0.3, 1.0):
        found = ranker(weight=weight).rank(QUERY, HITS)
        expected = dict(zip("abc", weight * model + (1 - weight) * first, strict=True))
        assert {one.passage.span.document_id: one.score for one in found} == pytest.approx(expected, abs=1e-5)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert names(ranker(weight=0.0).rank(QUERY, HITS)) == names(HITS)
    assert names(ranker(weight=1.0).rank(QUERY, HITS))[0] == "c"


def test_words_find_articles_by_the_bm25_that_figures_are_compared_with():
    """k1 1.2 and b 0.75, here as in `foveal bench rank-legal`."""
    (found,) = word_search({"a": "Rent: the rent", "b": "due"})(["rent"], 5)
    assert found == {"a": pytest.approx(math.log(2) * 2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)))}


def test_odd_hits_and_queries():
    assert ranker().rank(QUERY, []) == []
    assert names(ranker().rank(QUERY, HITS[:1])) == ["a"]
    assert names(ranker(2, weight=1.0).rank(QUERY, HITS)) == ["b", "a", "c"]  # the rest follows below
    assert names(ranker(candidates=2, weight=1.0).rank(QUERY, HITS))[0] == "c"  # all, however it was tuned
    small = LegalRanker(SectionRanker(Paraformer(Frozen(HashedWords())), budget=2), LegalSettings(weight=1.0))
    assert (small.budget, names(small.rank(QUERY, HITS))) == (2, ["b", "a", "c"])
    with pytest.raises(InputError, match="budget=0"):
        ranker(0)
    with pytest.raises(InputError, match="empty question"):
        ranker().rank(" ", HITS)
    with pytest.raises(InputError, match="the same passage"):
        ranker().rank(QUERY, [HITS[0], HITS[0]])
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        ranker().rank(QUERY, HITS, cancel=cancel)


def test_a_folder_says_how_both_work_together(tmp_path):
    words = Vocabulary.of([one.passage.text for one in HITS] + [QUERY], least=1)
    model = AttentiveCNN(words, AttentiveCNNSettings(dimension=8, filters=8, attention_units=4))
    folder = model.save(tmp_path / "law")
    with pytest.raises(ModelUnavailable, match="nothing is tuned"):
        LegalRanker.load(folder)
    settings = LegalSettings(weight=0.25, most=2, gap=0.5)
    kept = asdict(settings) | {"gap": str(settings.gap)}
    checkpoints.write(folder / LEGAL, {"settings": kept, "cut": "lines", "headings": False, "language": "plain"})
    loaded = LegalRanker.load(folder)
    assert (loaded.settings, loaded.ranker.cut, loaded.ranker.headings) == (settings, "lines", False)
    made = LegalRanker(SectionRanker(model, cut="lines", headings=False), settings)
    assert loaded.rank(QUERY, HITS) == made.rank(QUERY, HITS)
