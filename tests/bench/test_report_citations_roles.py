"""Claims with exchanged names: made of sentences that mean another thing then, and counted."""

from __future__ import annotations

import math

from foveal.bench.report_citations_data import TRUE, Pair
from foveal.bench.report_citations_roles import (
    EXCHANGED,
    name_pairs,
    role_rows,
    role_touched_row,
    with_names_exchanged,
)
from foveal.bench.report_citations_written import WRITTEN
from foveal.research.evidence import Verdict
from foveal.research.verification import Verifier

SAID = "After the long strike Oxley Steel sued the owners of Brandt Motors in the high court."
TEXTS = [(f"t{at}", "Trials", f"It was a hard year for all. {SAID} No more is told.") for at in range(3)]


def test_two_names_around_a_word_are_exchanged():
    assert list(with_names_exchanged(SAID)) == [
        "After the long strike Brandt Motors sued the owners of Oxley Steel in the high court."
    ]


def test_what_holds_both_ways_is_not():
    for said in (
        "In the spring Anna Kerr married the painter Paul Orth.",
        "In the spring Anna Kerr and her friend Paul Orth left.",
        "In the spring Anna Kerr wrote to Anna Orth.",
        "In the spring Anna Kerr, who left Paul Orth, fell ill.",
        "In the spring Anna Kerr to Paul Orth.",
    ):
        assert list(with_names_exchanged(said)) == []


def test_a_pair_differs_by_its_names():
    pairs = name_pairs(TEXTS, seed=0, most=9)
    assert [one.kind for one in pairs] == [TRUE, EXCHANGED] * 3
    assert len(name_pairs(TEXTS, seed=0, most=1)) == 2
    assert name_pairs(TEXTS, seed=1, most=9) == name_pairs(TEXTS, seed=1, most=9)


def test_the_rows_count_what_is_flagged():
    rows = {(row.system, row.metric): row.value for row in role_rows(TEXTS, Verifier(), seed=0, most=9)}
    assert rows["two names exchanged", "flagged"] == rows["two names exchanged", "said to be"] == 1.0
    assert rows["the same as it is", "said to be exchanged"] == 0.0
    assert rows["by hand, roles exchanged", "flagged"] > 0.5 > rows["by hand, told otherwise", "flagged"]


def test_the_sentences_by_hand_are_three_each():
    assert len({said for row in WRITTEN for said in row}) == 3 * len(WRITTEN)


def test_only_true_claims_count_as_touched():
    pairs = [Pair("a", (), TRUE, "a"), Pair("b", (), TRUE, "b"), Pair("c", (), "negated", "c")]
    verdicts = [Verdict(label="partly", score=0.5, misplaced=name) for name in ("", "Toho", "Toho")]
    assert role_touched_row(pairs, verdicts).value == 0.5
    assert math.isnan(role_touched_row([], []).value)
