"""Claims that lose their word of lack: made one thing apart, and counted by kind."""

from __future__ import annotations

import math
import re

import pytest

from foveal.bench.report_citations_data import TRUE, Pair
from foveal.bench.report_citations_lack import WORDS, lack_pairs, lack_rows, touched_row
from foveal.research.evidence import Verdict
from foveal.research.verification import Verifier

SAID = {
    "low …": "In this town a low level of rain was measured in Perth and Hobart during every Spring of 1962.",
    "lack of …": "In Perth and Hobart the lack of Water was felt by Farmers and Millers in every Spring of 1962.",
    "… deficiency": "In Perth and Hobart an Iron deficiency was found among Farmers and Millers in Spring of 1962.",
    "anti-…": "In Perth and Hobart an anti-viral drug was given to Farmers and Millers in every Spring of 1962.",
}
TEXTS = [(f"t{at}", "Weather", f"It was a year. {said} No more is told.") for at, said in enumerate(SAID.values())]


@pytest.mark.parametrize("kind", list(SAID), ids=["low", "lack", "deficiency", "anti"])
def test_a_pair_differs_by_its_word_of_lack(kind):
    pairs = [one for seed in range(4) for one in lack_pairs(TEXTS, seed=seed, most=9)]
    both = [(true, false) for true, false in zip(pairs[::2], pairs[1::2], strict=True) if false.kind == kind]
    assert both
    for true, false in both:
        assert true.kind == TRUE
        assert re.search(WORDS[kind], true.claim)
        assert not re.search(WORDS[kind], false.claim)
        assert set(false.claim.lower().split()) <= set(true.claim.lower().replace("anti-", "").split())


def test_one_sentence_of_a_text_and_as_many_of_a_kind_as_are_asked_for():
    twice = [*TEXTS, *((f"{name}-b", title, text) for name, title, text in TEXTS)]
    assert len(lack_pairs(twice, seed=0, most=1)) == 2 * len(WORDS)
    assert lack_pairs(twice, seed=3, most=1) == lack_pairs(twice, seed=3, most=1)
    assert lack_pairs([("a", "A", f"{SAID['low …'][:-1]}, not in the low hills of the land.")], seed=0, most=9) == []


def test_the_rows_count_what_is_flagged():
    rows = {row.system: row for row in lack_rows(TEXTS, Verifier(), seed=0, most=9)}
    assert rows["word of lack left out"].value == pytest.approx(
        sum(rows[f"left out: {kind}"].value for kind in WORDS) / len(WORDS)
    )
    assert rows["word of lack kept"].value < rows["word of lack left out"].value


def test_only_true_claims_count_as_touched():
    pairs = [Pair("a", (), TRUE, "a"), Pair("b", (), TRUE, "b"), Pair("c", (), "negated", "c")]
    verdicts = [Verdict(label="partly", score=0.5, left_out=word) for word in ("", "low", "low")]
    assert touched_row(pairs, verdicts).value == 0.5
    assert math.isnan(touched_row([], []).value)
