import math
import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, UnknownName
from foveal.evaluation.metrics import compare, evaluate, per_query, randomisation_p_value, ranked

TREC = {
    "ndcg": "ndcg", "ndcg@10": "ndcg_cut_10", "ndcg@5": "ndcg_cut_5", "map": "map", "map@10": "map_cut_10",
    "recall@100": "recall_100", "recall@5": "recall_5", "precision@10": "P_10", "success@5": "success_5",
    "mrr": "recip_rank", "rprecision": "Rprec",
}  # fmt: skip


def random_run(seed, *, ties=True, queries=30, documents=60):
    """A run with many ties, judgements of grade -1 to 3, and queries that have no results or no relevant document."""
    draw = random.Random(seed)
    ids = [f"d{number}" for number in range(documents)] + ["é", "Ω", "中", "a b"]
    run, qrels = {}, {}
    for query in (f"q{number}" for number in range(queries)):
        judged = draw.sample(ids, draw.randint(1, 20))
        qrels[query] = {document: draw.choice([-1, 0, 0, 1, 1, 2, 3]) for document in judged}
        if draw.random() < 0.9:
            found = draw.sample(ids, draw.randint(1, len(ids)))
            scores = [draw.choice([0.1, 0.2, 0.3, 1e-9, -1.0]) for _ in found]
            if not ties:
                scores = draw.sample([number / 7 for number in range(1, 200)], len(found))
            run[query] = dict(zip(found, scores, strict=True))
    run["unjudged"] = {"d1": 1.0}
    return run, qrels


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_trec_eval_on_runs_with_ties(seed):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run, qrels = random_run(seed)
    whole = {query: run.get(query, {}) for query in qrels}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(TREC.values())).evaluate({q: r for q, r in whole.items() if r})
    ours = per_query(run, qrels, tuple(TREC))
    for name, trec_name in TREC.items():
        expected = {query: theirs[query][trec_name] if query in theirs else 0.0 for query in qrels}
        assert ours[name] == pytest.approx(expected, abs=1e-9)
        assert evaluate(run, qrels, (name,))[name] == pytest.approx(sum(expected.values()) / len(expected), abs=1e-9)


def test_scores_that_float32_cannot_tell_apart_are_ties_as_in_trec_eval():
    assert ranked({"a": 1.0 + 1e-12, "b": 1.0}) == ["b", "a"]
    assert ranked({"a": 1.0 + 1e-6, "b": 1.0}) == ["a", "b"]
    assert ranked({"a": 1e300, "b": 1e299, "c": -math.inf}) == ["b", "a", "c"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # ranx' and numba's own
def test_equal_to_ranx_where_scores_are_distinct():
    ranx = pytest.importorskip("ranx")
    for seed in range(3):
        run, qrels = random_run(seed, ties=False)
        qrels = {query: judged for query, judged in qrels.items() if query in run and max(judged.values()) > 0}
        qrels = {query: {d: max(0, grade) for d, grade in judged.items()} for query, judged in qrels.items()}
        run = {query: run[query] for query in qrels}
        names = ["ndcg@10", "map", "recall@5", "mrr", "precision@10"]
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), names)
        assert evaluate(run, qrels, names) == pytest.approx({name: float(theirs[name]) for name in names}, abs=1e-9)


def test_each_metric_on_a_case_by_hand():
    run = {"q": {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0}}
    qrels = {"q": {"b": 2, "d": 1, "e": 1, "c": 0}}
    expected = {
        "ndcg": (2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3) + 1 / math.log2(4)),
        "ndcg@2": (2 / math.log2(3)) / (2 + 1 / math.log2(3)),
        "map": (1 / 2 + 2 / 4) / 3,
        "map@3": (1 / 2) / 3,
        "precision": 2 / 4,
        "precision@3": 1 / 3,
        "precision@10": 2 / 10,
        "recall": 2 / 3,
        "recall@2": 1 / 3,
        "success@1": 0.0,
        "success@2": 1.0,
        "mrr": 1 / 2,
        "mrr@1": 0.0,
        "rprecision": 1 / 3,
    }
    assert evaluate(run, qrels, tuple(expected)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12).filter(any), st.randoms())
@settings(max_examples=50, deadline=None)
def test_ndcg_is_one_for_the_ideal_order_and_at_most_one_for_any(grades, draw):
    qrels = {"q": {f"d{i}": grade for i, grade in enumerate(grades)}}
    ideal = {"q": {document: float(grade) for document, grade in qrels["q"].items()}}
    assert evaluate(ideal, qrels, ("ndcg@10",))["ndcg@10"] == pytest.approx(1)
    shuffled = {"q": {document: draw.random() for document in qrels["q"]}}
    assert 0 <= evaluate(shuffled, qrels, ("ndcg@10",))["ndcg@10"] <= 1 + 1e-12


def test_expected_reciprocal_rank_by_its_definition():
    """ERR: the mean of 1 / r over where a user stops, who stops at grade g with the chance (2^g - 1) / 2^G."""
    qrels = {"q": {"a": 3, "b": 0, "c": 1, "d": 2}, "r": {"e": 1}, "none": {"f": 0}}
    run = {"q": {"b": 4.0, "c": 3.0, "a": 2.0, "x": 1.0, "d": 0.5}, "r": {"e": 1.0}, "none": {"f": 1.0}}
    stops = [0, 1 / 8, 7 / 8, 0, 3 / 8]
    expected, reading = 0.0, 1.0
    for rank, stop in enumerate(stops, start=1):
        expected += reading * stop / rank
        reading *= 1 - stop
    assert per_query(run, qrels, "err")["err"] == pytest.approx({"q": expected, "r": 1 / 8, "none": 0.0})
    assert per_query(run, qrels, "err@2")["err@2"]["q"] == pytest.approx(1 / 8 / 2)
    assert per_query({}, qrels, "err@20")["err@20"] == {"q": 0.0, "r": 0.0, "none": 0.0}
    assert evaluate({"r": {"e": 1.0}}, {"r": {"e": 1}}, "err") == {"err": 0.5}  # of two grades


def test_queries_without_results_count_zero():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}, "q4": {"a": 0}}
    assert evaluate({"q1": {"a": 1.0}, "q2": {}}, qrels, ("mrr",)) == {"mrr": 0.25}


@pytest.mark.parametrize("name", ["ndgc@10", "rprecision@5", "ndcg@0", "ndcg@", "ndcg@ten", "ndcg@-1", "", "ndcg@1²"])
def test_an_unknown_metric_is_named_with_those_there_are(name):
    with pytest.raises(UnknownName, match="rprecision"):
        evaluate({}, {"q": {"a": 1}}, (name,))


def test_nan_scores_and_empty_judgements_are_errors():
    with pytest.raises(InputError, match="Query 'q' has NaN as the score of document 'b'"):
        evaluate({"q": {"a": 1.0, "b": math.nan}}, {"q": {"a": 1}})
    with pytest.raises(InputError, match="Query 'q' has a score that is no number"):
        evaluate({"q": {"a": "high"}}, {"q": {"a": 1}})
    with pytest.raises(InputError, match="no judgements"):
        evaluate({}, {})


def p_value_by_definition(differences):
    seen = abs(sum(differences))
    patterns = list(product((1, -1), repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    return sum(value >= seen - 1e-12 for value in sums) / len(patterns)


@given(st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_the_paired_test_counts_all_exchanges_of_few_queries(differences):
    exact = randomisation_p_value(np.array(differences), rounds=10, seed=0)
    assert exact == pytest.approx(p_value_by_definition(differences))


def test_sums_of_large_differences_are_ties_where_those_of_small_ones_are():
    """What is equal but for rounding is equal, and rounding grows with the numbers."""
    for differences in ([-9, -8, -2, 6, -2, 5, -3, -5], [6, 7, -8, -8, 3, -3, 1, -7]):
        expected = p_value_by_definition(differences)
        for scale in (1, 1e6):
            given = np.array(differences) / 7 * scale
            assert randomisation_p_value(given, rounds=10, seed=0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("differences", "rounds"), [([], 9), ([1.0, math.nan], 9), ([math.inf], 9), ([1.0] * 20, 0)],
    ids=["none", "nan", "infinite", "no rounds"],
)  # fmt: skip
def test_a_paired_test_of_what_is_no_number_is_refused(differences, rounds):
    """NaN is below no bound, so that it once had the p-value 0."""
    with pytest.raises(InputError, match="A paired test got"):
        randomisation_p_value(np.array(differences), rounds=rounds, seed=0)


def test_the_drawn_test_comes_close_to_the_exact_one():
    differences = np.random.default_rng(3).normal(0.2, 1, size=16)
    exact = randomisation_p_value(differences, rounds=10, seed=0)
    padded = np.concatenate([differences, np.zeros(4)])  # zeros change nothing but the number of patterns
    assert randomisation_p_value(padded, rounds=20_000, seed=0) == pytest.approx(exact, abs=0.02)
    assert randomisation_p_value(padded, rounds=1500, seed=0) != randomisation_p_value(padded, rounds=1500, seed=1)


def test_compare_sees_a_real_difference_and_none_between_equal_runs():
    qrels = {f"q{i}": {"a": 1} for i in range(40)}
    good = {query: {"a": 1.0, "b": 0.5} for query in qrels}
    bad = {query: {"a": 0.5, "b": 1.0} for query in qrels}
    assert compare(good, bad, qrels, "mrr", rounds=999) == pytest.approx(1 / 1000)
    assert compare(good, bad, qrels, "mrr", rounds=999) == compare(bad, good, qrels, "mrr", rounds=999)
    assert compare(good, good, qrels, "mrr", rounds=999) == 1


def test_metrics_come_as_one_name_a_list_or_an_iterator():
    run, qrels = {"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}}
    assert evaluate(run, qrels, "mrr") == {"mrr": 0.5}
    assert evaluate(run, qrels, iter(["mrr", "recall@1"])) == {"mrr": 0.5, "recall@1": 0.0}


@pytest.mark.parametrize("document", [0, 7])
def test_a_document_whose_id_is_a_number_is_named(document):
    with pytest.raises(InputError, match=f"has a document {document}; ids are texts, such as '{document}'"):
        evaluate({"q": {document: 1.0}}, {"q": {document: 1}})
