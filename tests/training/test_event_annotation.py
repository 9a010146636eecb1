"""Votes, their calibration and the language model's gate, against plain definitions."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from honest import HashedWords
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.training.event_annotation import (
    Annotator,
    FineAnnotator,
    Isotonic,
    Triple,
    coarse_zoo,
    cohen_kappa,
    date_vote,
    grading_prompt,
    names_vote,
    refined,
    scorer_vote,
    words_vote,
)


def a_triple(number, *, relevant):
    document = f"quake elazig coast rubble n{number}" if relevant else f"grain harbour freight tariff n{number}"
    names = frozenset({"elazig"})
    gap, own = (1.0, names) if relevant else (40.0, frozenset())
    return Triple(f"where did the quake hit {number}", "Quake hits Elazig coast", document, gap, names, own)


def squared_error(values, labels):
    return sum((value - label) ** 2 for value, label in zip(values, labels, strict=True))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=6))
def test_isotonic_regression_is_the_best_rising_function(labels):
    """Among all rising functions with values on a fine grid of the possible block means."""
    found = Isotonic.fit(list(range(len(labels))), labels)(list(range(len(labels))))
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(found))
    means = sorted({sum(labels[a:b]) / (b - a) for a in range(len(labels)) for b in range(a + 1, len(labels) + 1)})
    best = min(squared_error(one, labels) for one in itertools.combinations_with_replacement(means, len(labels)))
    assert squared_error(found, labels) == pytest.approx(best, abs=1e-9)


def test_isotonic_regression_pools_equal_scores_and_stays_within_its_ends():
    fitted = Isotonic.fit([1.0, 1.0, 2.0, 3.0], [0, 1, 0, 1])
    assert fitted([1.0, 2.0]).tolist() == pytest.approx([1 / 3, 1 / 3])  # 0, 1, 0 are one block
    assert fitted([-9.0, 99.0]).tolist() == pytest.approx([1 / 3, 1.0])
    with pytest.raises(InputError, match="give as many of both"):
        Isotonic.fit([1.0], [])


def test_each_vote_says_what_it_says():
    triples = [a_triple(1, relevant=True), a_triple(2, relevant=False)]
    assert words_vote(triples)[0] > words_vote(triples)[1] == 0
    assert names_vote(triples).tolist() == [1.0, 0.0]
    assert date_vote(triples).tolist() == pytest.approx([2 ** (-1 / 7), 2 ** (-40 / 7)])
    assert scorer_vote(lambda pairs: [len(text) for _, text in pairs])(triples).tolist() == [
        len(one.document) for one in triples
    ]
    assert set(coarse_zoo(HashedWords())) == {"words", "names", "date", "cosine 1 (hashed-words)"}


def test_only_what_two_thirds_agree_on_is_kept():
    triples = [a_triple(n, relevant=n % 2 == 0) for n in range(20)]
    wanted = [n % 2 == 0 for n in range(20)]
    annotator = Annotator.fit(coarse_zoo(HashedWords(dimension=256)), triples, wanted)
    found = annotator.annotate(triples)
    assert [label.relevant for label in found] == wanted
    assert all(label.agreed and label.weight == 1.0 for label in found)
    names = frozenset({"elazig"})
    torn = Triple("where did the quake hit", "Quake hits Elazig coast", "grain harbour freight", 1.0, names, names)
    label = annotator.annotate([torn])[0]
    count = Counter(label.votes.values())
    assert label.agreed == (max(count.values()) >= 3)  # ceil(2/3 of 4)
    assert label.weight == max(count.values()) / 4
    assert annotator.annotate([]) == []
    with pytest.raises(InputError, match="both kinds"):
        Annotator.fit(coarse_zoo(HashedWords()), triples, [True] * 20)


def test_a_triple_gets_the_same_votes_whatever_stands_beside_it():
    triples = [a_triple(n, relevant=n % 2 == 0) for n in range(20)]
    annotator = Annotator.fit(coarse_zoo(HashedWords(dimension=256)), triples, [n % 2 == 0 for n in range(20)])
    together = annotator.annotate(triples)
    assert [label for one in triples for label in annotator.annotate([one])] == together
    assert any(label.votes["words"] for label in together)


def test_kappa_is_agreement_beyond_chance():
    assert cohen_kappa([1, 1, 0, 0], [1, 1, 0, 0]) == 1.0
    assert cohen_kappa([1, 0, 1, 0], [1, 1, 0, 0]) == 0.0
    table = np.array([[20, 5], [10, 15]])  # the textbook's
    one, other = [], []
    for (a, b), count in np.ndenumerate(table):
        one += [a] * int(count)
        other += [b] * int(count)
    assert cohen_kappa(one, other) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert cohen_kappa([1, 1], [1, 1]) == 0.0
    with pytest.raises(InputError):
        cohen_kappa([], [])


class Judge:
    """A ChatModel that grades by whether the document holds a word; it notes what it was asked."""

    name = "judge"

    def __init__(self, word, *, fickle=False):
        self.word, self.fickle, self.asked = word, fickle, []

    def parse(self, messages, schema):
        prompt = messages[0]["content"]
        self.asked.append(prompt)
        document = next(line for line in prompt.splitlines() if line.startswith("Document: "))
        turned = self.fickle and prompt.index("Document: ") < prompt.index("What is happening")
        return schema(grade=1 if turned else 3 if self.word in document else 0)


def test_the_language_model_is_asked_twice_and_its_log_answers_the_next_time(tmp_path):
    chat, log = Judge("quake"), tmp_path / "grades.jsonl"
    fine = FineAnnotator(chat, log)
    assert fine.grade(a_triple(0, relevant=True)) == 3
    assert len(chat.asked) == 2
    assert chat.asked[0] != chat.asked[1]
    assert fine.grade(a_triple(0, relevant=True)) == 3
    assert len(chat.asked) == 2
    row = json.loads(log.read_text())
    assert (row["model"], row["grades"], row["prompts"]) == ("judge", [3, 3], chat.asked)
    assert (
        FineAnnotator(Judge("quake", fickle=True), tmp_path / "other.jsonl").grade(a_triple(1, relevant=True)) is None
    )
    first, second = (grading_prompt(a_triple(0, relevant=True), document_first=on) for on in (False, True))
    assert sorted(first.splitlines()) == sorted(second.splitlines())


def test_a_line_that_a_kill_tore_costs_one_grade(tmp_path):
    """It may end within a letter; what is written next stands on a line of its own."""
    chat, log = Judge("quake"), tmp_path / "grades.jsonl"
    first, second, third = (replace(a_triple(n, relevant=True), query=f"où {n}\u2028?") for n in range(3))
    for triple in (first, second):
        FineAnnotator(chat, log).grade(triple)
    whole = log.read_bytes()
    log.write_bytes(whole[: whole.index("ù".encode(), whole.index(b"\n")) + 1])
    fine = FineAnnotator(chat, log)
    assert [fine.grade(one) for one in (first, second, third)] == [3, 3, 3]
    assert len(chat.asked) == 4 + 4  # the second one anew, and the third one
    again = FineAnnotator(chat, log)
    assert [again.grade(one) for one in (first, second, third)] == [3, 3, 3]
    assert len(chat.asked) == 8
    log.write_bytes(log.read_bytes() + b'\n5\n{"key": 1}\n')
    assert FineAnnotator(chat, log).grade(third) == 3
    assert FineAnnotator(Judge("nothing"), log).grade(first) == 3  # of one name: it is one model


def test_a_judge_that_does_not_agree_with_gold_is_not_asked(tmp_path):
    triples = [a_triple(n, relevant=n % 2 == 0) for n in range(20)]
    wanted = [n % 2 == 0 for n in range(20)]
    labels = Annotator.fit(coarse_zoo(HashedWords(dimension=256)), triples, wanted).annotate(triples)
    audit = (triples[:8], wanted[:8])
    bad = FineAnnotator(Judge("nothing"), tmp_path / "bad.jsonl")
    kept, told = refined(labels, triples, bad, audit)
    assert "below 0.4" in told
    assert kept == [(place, wanted[place], 1.0) for place in range(20)]
    good = FineAnnotator(Judge("quake"), tmp_path / "good.jsonl")
    torn = [*labels[:18], *(type(label)(label.relevant, 0.5, False, label.votes) for label in labels[18:])]
    kept, told = refined(torn, triples, good, audit)
    assert "kappa 1.00" in told
    assert kept[18:] == [(18, True, 0.5), (19, False, 0.5)]
    assert refined(torn, triples, None, None)[0] == kept[:18]
    wrong = [type(label)(not label.relevant, 1.0, True, label.votes) for label in labels]
    kept, _ = refined(wrong, triples, good, audit)
    assert len(kept) == 20 - 2  # a tenth is seen again, and both are contradicted
