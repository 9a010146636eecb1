from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.evaluation.metrics import evaluate
from foveal.retrieval import fusion_weights
from foveal.retrieval.fusion import (
    FUSIONS,
    as_given,
    comb_mnz,
    comb_sum,
    min_max,
    reciprocal_ranks,
    weighted_sum,
    z_scores,
)
from foveal.retrieval.fusion_weights import (
    FEATURES,
    GRID,
    QueryWeights,
    fusion_verdict,
    query_features,
    tuned_weight,
    weight_values,
)
from foveal.retrieval.hybrid import HybridRetriever
from foveal.retrieval.terms import inverse_document_frequencies, terms
from foveal.types import Hit, Passage, Span

rankings = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-9, 9, width=32)), max_size=4)


def test_what_is_no_number_has_no_rank():
    assert reciprocal_ranks([{"a": math.inf, "b": -math.inf}]) == {"a": 1 / 61, "b": 1 / 62}
    with pytest.raises(InputError, match="no number as the score of 'b'"):
        reciprocal_ranks([{"a": 1.0, "b": math.nan}])


def test_reciprocal_ranks_spelled_out():
    fused = reciprocal_ranks([{"a": 9.0, "b": 7.0}, {"b": 0.3, "c": 0.2}])
    assert fused == {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62}


def test_a_weighted_sum_spelled_out():
    fused = weighted_sum([{"a": 10.0, "b": 6.0, "c": 2.0}, {"b": 0.9, "d": 0.1}], [0.6, 0.4])
    assert fused == pytest.approx({"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.0})


def test_equal_scores_all_count_full():
    assert min_max({"a": 3.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
    assert min_max({}) == {}


@given(rankings)
def test_no_key_is_lost_and_order_of_rankings_does_not_matter(given_rankings):
    fused = reciprocal_ranks(given_rankings)
    assert fused.keys() == set().union(*given_rankings) if given_rankings else fused == {}
    assert reciprocal_ranks(given_rankings[::-1]) == pytest.approx(fused)


@given(rankings)
def test_scaling_a_ranking_changes_nothing(given_rankings):
    weights = [1.0] * len(given_rankings)
    # powers of two: exact in floating point
    scaled = [{key: 4 * score for key, score in ranking.items()} for ranking in given_rankings]
    assert weighted_sum(scaled, weights) == pytest.approx(weighted_sum(given_rankings, weights))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -0.1], [], [1.0, math.inf], [1.0, math.nan]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(InputError, match="one >= 0 for each"):
        weighted_sum([{"a": 1.0}, {"b": 1.0}], weights)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-9, 9, width=32), min_size=2))
def test_z_scores_are_the_textbook_s(ranking):
    """P3: z-score sums."""
    scores = list(ranking.values())
    spread = statistics.pstdev(scores)
    if len(set(scores)) > 1 and spread > 1e-3:
        mean = statistics.fmean(scores)
        expected = {key: (score - mean) / spread for key, score in ranking.items()}
        assert z_scores(ranking) == pytest.approx(expected, abs=1e-6)
    if len(set(scores)) == 1:
        assert z_scores(ranking) == dict.fromkeys(ranking, 0.0)


def test_what_a_ranking_lacks_counts_as_its_lowest():
    """P3: with z-scores 0 is the mean, so that a key which was not found must not count 0."""
    fused = weighted_sum([{"a": 1.0, "b": 3.0}, {"b": 5.0, "c": 5.0}], [1.0, 1.0], norm=z_scores)
    assert fused == pytest.approx({"a": -1 - 1, "b": 1 + 0, "c": -1 + 0})
    assert weighted_sum([{"a": 1.0}, {}], [1.0, 1.0], norm=z_scores) == {"a": 0.0}


def test_a_linear_sum_is_dense_plus_lambda_sparse():
    """A5: s = s_dense + lambda s_sparse, scores as they are."""
    dense, sparse = {"a": 0.9, "b": 0.4, "c": 0.3}, {"a": 2.0, "b": 12.0, "c": 7.0}
    fused = weighted_sum([dense, sparse], [1.0, 0.1], norm=as_given)
    assert fused == pytest.approx({key: dense[key] + 0.1 * sparse[key] for key in dense})
    assert weighted_sum([dense, {"b": 12.0, "d": 7.0}], [1.0, 0.1], norm=as_given)["a"] == pytest.approx(0.9 + 0.7)
    assert FUSIONS["linear"]([dense, sparse], [1.0, 0.1]) == fused


def test_comb_sum_and_comb_mnz_spelled_out():
    """P3: CombSUM and CombMNZ on min-max scores."""
    pair = [{"a": 10.0, "b": 6.0, "c": 2.0}, {"b": 0.9, "d": 0.1}]
    assert comb_sum(pair) == pytest.approx({"a": 1.0, "b": 1.5, "c": 0.0, "d": 0.0})
    assert comb_mnz(pair) == pytest.approx({"a": 1.0, "b": 3.0, "c": 0.0, "d": 0.0})


@pytest.mark.parametrize("name", FUSIONS)
@settings(max_examples=40)
@given(rankings)
def test_each_fusion_keeps_all_keys_and_the_order_of_one_ranking(name, given_rankings):
    fused = FUSIONS[name](given_rankings, [0.5] * len(given_rankings))
    assert set(fused) == set().union(*given_rankings)
    if len(given_rankings) == 1:
        ranking = given_rankings[0]
        assert all(fused[a] >= fused[b] for a in ranking for b in ranking if ranking[a] > ranking[b])


@pytest.mark.parametrize("score", [math.nan, math.inf])
@pytest.mark.parametrize("norm", [min_max, z_scores, as_given])
def test_scores_that_are_no_numbers_are_refused(norm, score):
    with pytest.raises(InputError, match="as the score of 'b'"):
        norm({"a": 1.0, "b": score})


# -- weights that are tuned ------------------------------------------------------------------------------------------


def judged(count):
    """Queries with a number are served by the lexical run, the others by the dense one."""
    queries, lexical, dense, qrels = {}, {}, {}, {}
    for number in range(count):
        one, by_words = f"q{number}", number % 2 == 0
        queries[one] = "part AX7 of engine" if by_words else "how does a large engine start when winter is cold"
        good, bad = {"aye": 9.0, "no": 1.0, "maybe": 3.0}, {"no": 9.0, "aye": 1.0, "perhaps": 6.0}
        lexical[one], dense[one] = (good, bad) if by_words else (bad, good)
        qrels[one] = {"aye": 1}
    return queries, (lexical, dense), qrels


def test_the_tuned_weight_is_the_best_of_the_grid_on_the_given_queries():
    """P3: convex weight tuned on dev queries."""
    _, (lexical, dense), qrels = judged(9)  # five are served by words, four by meaning
    weight = tuned_weight((lexical, dense), qrels)

    def mean(one):
        run = {q: weighted_sum([lexical[q], dense[q]], [1 - one, one]) for q in qrels}
        return evaluate(run, qrels, ["ndcg@10"])["ndcg@10"]

    best = max(mean(one) for one in GRID)
    assert mean(weight) == best
    assert weight == min((one for one in GRID if mean(one) == best), key=lambda one: abs(one - 0.5))
    assert weight < 0.5 < tuned_weight((dense, lexical), qrels)  # the other way round, dense serves more


def test_held_out_queries_are_never_tuned_on():
    queries, runs, qrels = judged(4)
    for call in (
        lambda: tuned_weight(runs, qrels, held_out=["q3", "other"]),
        lambda: QueryWeights.fit(queries, runs, qrels, {}, held_out=["q3"]),
        lambda: fusion_verdict({"lexical": runs[0]}, runs[1], qrels, held_out=["q3"]),
    ):
        with pytest.raises(InputError, match="'q3'"):
            call()
    assert tuned_weight(runs, qrels, held_out=["other"]) in GRID


def test_wrong_tunings_are_refused():
    queries, runs, qrels = judged(2)
    with pytest.raises(InputError, match="one of weighted"):
        weight_values(runs, qrels, fusion="sum")
    with pytest.raises(InputError, match="got 1 runs"):
        weight_values(runs[:1], qrels)
    with pytest.raises(InputError, match="'q1' is judged but has no text"):
        QueryWeights.fit({"q0": queries["q0"]}, runs, qrels, {})
    with pytest.raises(InputError, match="none called 'fused'"):
        fusion_verdict({"fused": runs[0]}, runs[1], qrels)


def test_features_of_a_query_spelled_out():
    """P3: query length, idf, score gaps, before anything is fused."""
    ranked = {name: float(9 - place) for place, name in enumerate("abcdefghi")}  # 9 … 1
    found = query_features("the mill mill wheel", ranked, {"a": 0.8, "x": 0.6}, {"mill": 2.0, "river": 5.0})
    expected = (math.log(4), (2 + 2 + 5) / 3, 5.0, (9 - 1) / 9, (0.8 - 0.6) / 0.8, 1 / 10)
    assert found == pytest.approx(expected)
    assert len(found) == len(FEATURES)
    assert query_features("", {}, {}, {}) == (0.0,) * len(FEATURES)


def test_query_dependent_weights_serve_each_kind_of_query(tmp_path):
    """P3: a weight for each query beats the best one for all, on queries that were not fitted on."""
    queries, runs, qrels = judged(40)
    idf = inverse_document_frequencies(queries.values())
    fitted = QueryWeights.fit({q: queries[q] for q in list(queries)[:20]}, runs, dict(list(qrels.items())[:20]), idf)
    new = list(qrels)[20:]
    weights = {q: fitted(queries[q], runs[0][q], runs[1][q]) for q in new}
    assert all((weights[q] < 0.5) == (int(q[1:]) % 2 == 0) for q in new)
    one = tuned_weight(runs, dict(list(qrels.items())[:20]))
    values = weight_values(runs, {q: qrels[q] for q in new})
    nearest = {q: min(GRID, key=lambda step: abs(step - weights[q])) for q in new}
    assert sum(values[nearest[q]][q] for q in new) > sum(values[one][q] for q in new)

    fitted.save(tmp_path / "weights.json")
    assert QueryWeights.load(tmp_path / "weights.json") == fitted
    assert fitted == QueryWeights.fit(
        {q: queries[q] for q in list(queries)[:20]}, runs, dict(list(qrels.items())[:20]), idf
    )


def test_without_evidence_all_queries_get_the_tuned_weight():
    """P3: where features tell nothing, the weight is the one for all."""
    queries, runs, qrels = judged(31)
    same = dict.fromkeys(queries, "one and the same query")
    fitted = QueryWeights.fit(same, runs, qrels, {})
    assert set(fitted.coefficients) == {0.0}
    assert fitted(same["q0"], runs[0]["q0"], runs[1]["q0"]) == pytest.approx(tuned_weight(runs, qrels))


@pytest.mark.parametrize("text", ["", "[]", '{"intercept": 0}', '{"intercept": 0, "coefficients": [1], "mean": [0], '
                                  '"scale": [1], "idf": {}}'])  # fmt: skip
def test_files_that_hold_no_weights_are_refused(tmp_path, text):
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(InputError, match="holds no query weights"):
        QueryWeights.load(tmp_path / "weights.json")


def test_the_ridge_holds_a_query_s_weight_to_that_of_all():
    """Newton's end is a minimum: the gradient of the penalised loss, written out, vanishes there."""
    queries, runs, qrels = judged(21)
    values = weight_values(runs, qrels)
    table = np.array([[values[weight][q] for weight in GRID] for q in qrels])
    features = np.array([query_features(queries[q], runs[0][q], runs[1][q], {}) for q in qrels])[:, :1]
    intercept, (coefficient,) = fusion_weights._logistic(features, table, 0.3)
    assert 1 / (1 + math.exp(-intercept)) == pytest.approx(fusion_weights.best_weight(values), abs=0.01)
    aims, matters = fusion_weights._aims(table)

    def loss(at):
        total = 0.3 / 2 * at**2
        for x, aim, share in zip(features[:, 0], aims, matters / matters.sum(), strict=True):
            p = 1 / (1 + math.exp(-(intercept + at * x)))
            total -= share * (aim * math.log(p) + (1 - aim) * math.log(1 - p))
        return total

    assert (loss(coefficient + 1e-4) - loss(coefficient - 1e-4)) / 2e-4 == pytest.approx(0, abs=1e-6)


def test_the_guard_says_when_fusing_hurts():
    """P3: a fusion guard on dev queries."""
    strong = {f"q{n}": {"yes": 3.0, "no": 2.0, "other": 1.0} for n in range(8)}
    weak = {f"q{n}": {"no": 3.0, "other": 2.9, "wrong": 2.8, "yes": 0.0} for n in range(8)}
    qrels = {query: {"yes": 1} for query in strong}
    fused = {query: comb_mnz([strong[query], weak[query]]) for query in qrels}
    verdict = fusion_verdict({"weak": weak, "strong": strong}, fused, qrels)
    assert verdict.use == "strong"
    assert verdict.advice.startswith("Fusing hurts: ndcg@10")
    assert verdict.values == {name: evaluate(run, qrels, ["ndcg@10"])["ndcg@10"] for name, run in
                              {"weak": weak, "strong": strong, "fused": fused}.items()}  # fmt: skip
    assert verdict.p_value == pytest.approx(2 / 2**8)  # all eight queries lose
    better = fusion_verdict({"weak": weak}, strong, qrels)
    assert (better.use, better.advice[:13]) == ("fused", "Fusing helps:")
    same = fusion_verdict({"strong": strong}, strong, qrels)
    assert (same.use, same.p_value) == ("strong", 1.0)


# -- the hybrid ------------------------------------------------------------------------------------------------------


class Given:
    """A Retriever that finds the same for every query."""

    def __init__(self, scores):
        passages = {name: Passage(Span(name, 0, 1), name) for name in scores}
        self.hits = [Hit(passages[name], score, "given") for name, score in scores.items()]

    def search(self, queries, k):
        return [self.hits[:k] for _ in queries]


LEXICAL, DENSE = {"a": 10.0, "b": 6.0, "c": 2.0}, {"b": 0.9, "d": 0.4, "a": 0.1}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_hybrid_takes_each_fusion(fusion):
    """A5, P3: all fusions by name in HybridRetriever."""
    hits = HybridRetriever(Given(LEXICAL), Given(DENSE), fusion=fusion, dense_weight=0.3).search(["q"], 9)[0]
    expected = FUSIONS[fusion]([LEXICAL, DENSE], [0.7, 0.3])
    assert {hit.passage.text: hit.score for hit in hits} == expected
    assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)


def test_the_hybrid_asks_for_a_weight_for_each_query():
    """P3: query-dependent weights in HybridRetriever."""
    asked = []

    def weigh(query, lexical, dense):
        asked.append((query, {span.document_id: score for span, score in lexical.items()}, len(dense)))
        return 1.0 if query == "meaning" else 0.0

    retriever = HybridRetriever(Given(LEXICAL), Given(DENSE), weigh=weigh)
    meaning, words = retriever.search(["meaning", "words"], 1)
    assert (meaning[0].passage.text, words[0].passage.text) == ("b", "a")
    assert asked[0] == ("meaning", LEXICAL, 3)


def test_terms_and_their_idf_spelled_out():
    assert terms("The Mill's wheel, of 1815; 北京大学") == ["mill", "s", "wheel", "1815", "北京", "京大", "大学"]
    assert inverse_document_frequencies(["mill mill", "wheel of mill", "x"]) == pytest.approx(
        {"mill": math.log(1 + 1.5 / 2.5), "wheel": math.log(1 + 2.5 / 1.5), "x": math.log(1 + 2.5 / 1.5)}
    )
