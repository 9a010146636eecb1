"""RACE, FACT, ALCE and coverage by hand; a judge that favours a place, and one held against people."""

from __future__ import annotations

import gzip
import json
import os
from itertools import product
from pathlib import Path

import pytest

from foveal.errors import InputError
from foveal.evaluation.judging import against_people, judged
from foveal.evaluation.reports import (
    DIMENSIONS,
    Criteria,
    alce,
    citation_scores,
    coverage,
    fact,
    matched,
    mean_of_tasks,
    race,
    read_criteria,
    read_race_rows,
)
from foveal.evaluation.seeking import Sought, rubric, seeking

TASK = Criteria(
    {"insight": 0.6, "readability": 0.4}, {"insight": {"Depth": 0.7, "Novelty": 0.3}, "readability": {"Plain": 1.0}}
)


def test_race_by_hand():
    """S_target = 0.6 (0.7·8 + 0.3·4) + 0.4·6 = 6.48; S_reference = 0.6 (0.7·6 + 0.3·6) + 0.4·9 = 7.2."""
    target = {"insight": {"Depth": 8, "Novelty": 4}, "readability": {"Plain": 6}}
    reference = {"insight": {"Depth": 6, "Novelty": 6}, "readability": {"Plain": 9}}
    found = race(TASK, target, reference)
    assert (found.target, found.reference) == (pytest.approx(6.48), pytest.approx(7.2))
    assert found.overall == pytest.approx(6.48 / 13.68)
    assert found.dimensions["insight"] == pytest.approx(6.8 / 12.8)
    assert found.dimensions["readability"] == pytest.approx(6 / 15)
    assert race(TASK, target, target).overall == 0.5


def test_race_weighs_a_criterion_in_other_words_as_the_mean():
    """ "depth " is Depth; "Style" is none: it weighs (0.7 + 0.3) / 2."""
    scores = {"insight": {" depth": 8, "Style": 2}, "readability": {"Is it Plain?": 6}}
    found = race(TASK, scores, {"insight": {"Depth": 5}, "readability": {"Plain": 5}})
    assert found.unmatched == ("Style",)
    assert found.target == pytest.approx(0.6 * (0.7 * 8 + 0.5 * 2) / 1.2 + 0.4 * 6)
    assert matched({"Depth of it": 1, "Depth of all": 1}, "depth of") is None  # two would fit


@pytest.mark.parametrize("scores", [{"insight": {}}, {"insight": {"Depth": 11}, "readability": {"Plain": 1}}])
def test_race_refuses_what_is_not_scored(scores):
    with pytest.raises(InputError, match=r"no scores|lie in 0 to 10"):
        race(TASK, scores, {"insight": {"Depth": 5}, "readability": {"Plain": 5}})


def test_race_reads_the_benchmarks_files(tmp_path):
    row = {"id": 3, "dimension_weight": {"insight": 1}, "criterions": {"insight": [{"criterion": "A", "weight": 0.5}]}}
    with gzip.open(tmp_path / "criteria.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    assert read_criteria(tmp_path / "criteria.jsonl.gz")[3].criteria["insight"] == {"A": 0.5}
    for wrong in (["insight"], {"insight": 1, "depth": 1}):
        (tmp_path / "criteria.jsonl").write_text(json.dumps({**row, "dimension_weight": wrong}))
        with pytest.raises(InputError, match="line 1, holds no criteria"):
            read_criteria(tmp_path / "criteria.jsonl")
    lines = [dict.fromkeys(DIMENSIONS, value) | {"overall_score": value} for value in (0.4, 0.6)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert mean_of_tasks(read_race_rows(tmp_path / "raw.jsonl"))["overall_score"] == 0.5
    (tmp_path / "raw.jsonl").write_text('{"insight": 1}\n')
    with pytest.raises(InputError, match="no RACE result"):
        read_race_rows(tmp_path / "raw.jsonl")


@pytest.mark.skipif(not os.environ.get("FOVEAL_DATA"), reason="needs the published result files")
def test_race_gives_the_published_overall():
    rows = read_race_rows(
        Path(os.environ["FOVEAL_DATA"]) / "deepresearch/claude-3-7-sonnet-latest/race_raw_results.jsonl"
    )
    assert (len(rows), round(mean_of_tasks(rows)["overall_score"], 5)) == (100, 0.42184)


def test_fact_merges_duplicates_and_reports_tasks_without_citations():
    first = [
        ("A is B.", "u", "supported"),
        ("a is  b.", "u", "supported"),
        ("C.", "u", "unsupported"),
        ("D.", "v", "unknown"),
    ]
    found = fact([first, []])
    assert (found.citations, found.effective, found.accuracy) == (1.0, 0.5, 0.5)
    assert (found.mean_accuracy, found.mean_with_none) == (0.5, 0.25)
    assert fact([[]]).accuracy is None
    with pytest.raises(InputError, match="judged"):
        fact([[("A.", "u", "maybe")]])


# -- ALCE -------------------------------------------------------------------------------------------------------------


def entails(premise: str, sentence: str) -> bool:
    """Every word of the sentence stands in the premise."""
    return set(sentence.split()) <= set(premise.split())


def by_definition(sentence, cited, passages):
    """Gao et al.'s two sentences, slow on purpose."""
    if not cited or any(one >= len(passages) for one in cited):
        return 0, 0
    recall = int(entails(" ".join(passages[one] for one in cited), sentence))
    precise = 0
    for one in cited:
        others = " ".join(passages[other] for other in cited if other != one)
        irrelevant = not entails(passages[one], sentence) and entails(others, sentence)
        precise += int(recall and not irrelevant)
    return recall, precise


def test_alce_is_its_definition():
    passages = ["a b", "b c", "c", "a b c"]
    for sentence, size in product(("a", "a b c", "d"), (0, 1, 2, 3)):
        for cited in product(range(5), repeat=size):
            if len(set(cited)) == size:
                assert citation_scores(sentence, cited, passages, entails) == by_definition(sentence, cited, passages)


def test_a_citation_of_nothing_makes_its_sentence_wrong_and_is_not_counted_as_imprecise():
    found = alce([("a b", [0, 7]), ("c", [2])], ["a b", "b c", "c"], entails)
    assert (found.recall, found.precision, found.citations) == (0.5, 1.0, 1)


def test_alce_of_a_report():
    found = alce([("a b", [0, 2]), ("c", [2]), ("a", [])], ["a b", "b c", "c"], entails)
    assert (found.recall, found.precision, found.citations) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    with pytest.raises(InputError, match="no sentences"):
        alce([], [], entails)


def test_coverage_of_a_brief():
    assert coverage(["owner", "fire"], ["the owner is Ada", "it rained"], lambda said, point: point in said) == 0.5
    assert coverage([], [], lambda *_: False) == 1.0


# -- judges -----------------------------------------------------------------------------------------------------------


def test_a_judge_that_favours_the_first_place_says_nothing():
    found = judged(lambda *_: "first", [("a", "b")] * 5)
    assert (found.choices, found.consistent) == (("tie",) * 5, 0.0)


def test_a_judge_is_asked_in_both_orders_in_an_order_of_its_seed():
    seen: list[tuple[str, str]] = []

    def longer(one: str, other: str) -> str:
        seen.append((one, other))
        return "first" if len(one) > len(other) else "second"

    pairs = [(f"{'x' * at}", "yy") for at in (1, 3, 4, 5, 6)]
    found = judged(longer, pairs, seed=1)
    assert found.choices == ("second", "first", "first", "first", "first")
    assert found.consistent == 1.0
    assert sorted(seen) == sorted([*pairs, *((other, one) for one, other in pairs)])
    once = list(seen)
    seen.clear()
    judged(longer, pairs, seed=1)
    assert seen == once
    seen.clear()
    judged(longer, pairs, seed=3)
    assert seen != once
    seen.clear()
    judged(longer, pairs * 200, seed=1)
    firsts = sum(one in pairs for one in seen[::2])
    assert 430 < firsts < 570  # a fair coin says which order comes first
    with pytest.raises(InputError, match="can choose"):
        judged(lambda *_: "left", pairs)


def test_a_judge_needs_thirty_labels_of_people():
    labels = {str(at): "first" if at % 2 else "second" for at in range(40)}
    verdicts = {name: "first" if int(name) < 10 else label for name, label in labels.items()}
    held = against_people(verdicts, labels)
    assert (held.share, held.pairs) == (35 / 40, 40)
    assert held.kappa == pytest.approx(1 - (5 / 40) / (2 * (35 / 80) * (45 / 80)))  # Scott's pi of two raters
    with pytest.raises(InputError, match="it needs 30"):
        against_people(verdicts, dict(list(labels.items())[:29]))
    judged_ones = dict(list(verdicts.items())[:30])
    assert against_people(judged_ones, labels).pairs == 30  # labels without a verdict are left out


# -- runs that seek, and raters ---------------------------------------------------------------------------------------


def test_success_steps_and_gold_in_evidence():
    runs = [
        Sought("The Ada Hart", ("Ada Hart",), "by Ada Hart", searches=3, steps=5),
        Sought("nobody knows", ("Graz",), "born in Graz", searches=1, steps=2),
        Sought("nobody knows", ("Lund",), "born", searches=2, steps=2, success=True),
    ]
    found = seeking(runs)
    assert found == pytest.approx(
        {"EM": 1 / 3, "F1": 1 / 3, "gold in evidence": 2 / 3, "searches": 2.0, "steps": 3.0, "success": 2 / 3}
    )
    with pytest.raises(InputError, match="no runs"):
        seeking([])


def test_a_rubric_comes_with_the_agreement_of_its_raters():
    found = rubric({"a": [5, 5], "b": [1, 1], "c": [3, 5]})
    assert (found.mean, found.raters) == (pytest.approx(20 / 6), 2)
    assert found.kappa == pytest.approx((2 / 3 - 14 / 36) / (1 - 14 / 36))  # shares 3/6, 2/6, 1/6
    with pytest.raises(InputError, match="lie in 1 to 5"):
        rubric({"a": [6, 1]})
