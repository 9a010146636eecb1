"""Statute collections on tiny files written here, and their scores by hand."""

from __future__ import annotations

import json
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.evaluation.legal import (
    Article,
    LegalCollection,
    answer_scores,
    articles_of,
    f2,
    first_answers,
    legal_scores,
    load_coliee,
    load_obliqa,
    mean_scores,
    paired_bootstrap,
    parse_code,
)

CODE = """
The Imaginary Code of Ponds (not a real law)

Part I General Provisions
Chapter I Common Provisions
(Keeping of Ponds)
Article 1 A pond must be kept clean.
(2) The keeper decides how, with regard to the frogs.
(3) If there is ice, the following apply:
(i) nobody skates; and
(ii) the ice is left to melt (see Article 2).
Article 2 Whoever falls in is helped out.
Chapter II Fish
Section 1 Feeding
(Feeding of Carp)
Article 3
Carp are fed once a day.
Article 3-2 Section 1 does not apply to pike.
Part II Ducks
(Ducks)
Article 10: Ducks come and go.
"""

PAIRS = """<?xml version="1.0" encoding="UTF-8"?>
<dataset>
  <pair id="X01-1" label="Y">
    <t1>(Keeping of Ponds)
Article 1 A pond must be kept clean.
(2) The keeper decides how, with regard to the frogs.
Article 3-2 Section 1 does not apply to pike.</t1>
    <t2>May the keeper of a pond
    let it silt up?</t2>
  </pair>
  <pair id="X01-2" label="N"><t1>Article 10 Ducks come and go.</t1><t2>Ducks must stay.</t2></pair>
</dataset>
"""


def coliee(folder, code=CODE, pairs=PAIRS):
    (folder / "code.txt").write_text(code, encoding="utf-8")
    (folder / "X01.xml").write_text(pairs, encoding="utf-8")
    return load_coliee(folder / "code.txt", [folder / "X01.xml"])


def test_coliee_code_and_pairs(tmp_path):
    """Loader: the COLIEE layout, on a code that we made up."""
    found = coliee(tmp_path)
    assert list(found.articles) == ["1", "2", "3", "3-2", "10"]
    first = found.articles["1"]
    assert first.heading == "Part I General Provisions > Chapter I Common Provisions > Keeping of Ponds"
    assert first.text.split("\n") == [
        "A pond must be kept clean.",
        "(2) The keeper decides how, with regard to the frogs.",
        "(3) If there is ice, the following apply:",
        "(i) nobody skates; and",
        "(ii) the ice is left to melt (see Article 2).",
    ]
    assert found.articles["2"].heading == "Part I General Provisions > Chapter I Common Provisions"
    under = "Part I General Provisions > Chapter II Fish > Section 1 Feeding"
    assert (found.articles["3"].heading, found.articles["3"].text) == (
        f"{under} > Feeding of Carp",
        "Carp are fed once a day.",
    )
    assert (found.articles["3-2"].heading, found.articles["10"].heading) == (under, "Part II Ducks > Ducks")
    assert found.queries == {"X01-1": "May the keeper of a pond let it silt up?", "X01-2": "Ducks must stay."}
    assert found.qrels == {"X01-1": {"1": 1, "3-2": 1}, "X01-2": {"10": 1}}


@pytest.mark.parametrize(
    ("code", "pairs", "said"),
    [
        (CODE.replace("Article 2 ", "Article 1 "), PAIRS, "two articles '1'"),
        (CODE.replace("\nCarp are fed once a day.", ""), PAIRS, "Article '3' holds no sentence"),
        ("no law at all", PAIRS, "no article"),
        (CODE, PAIRS.replace("Article 10 ", "Article 99 "), "judges article '99' for question 'X01-2'"),
        (CODE, PAIRS.replace("X01-2", "X01-1"), "repeats the pair 'X01-1'"),
        (CODE, PAIRS.replace("Ducks must stay.", " "), "the pair 'X01-2'"),
        (CODE, PAIRS.replace("Article 10 Ducks", "Ducks"), "cites 0 articles"),
        (CODE, PAIRS.replace("</dataset>", ""), "cannot be read as XML"),
    ],
)
def test_coliee_that_is_wrong_is_refused(tmp_path, code, pairs, said):
    """Bad input: doubled, empty, unknown articles; doubled, empty questions; broken XML."""
    with pytest.raises(InputError, match=said):
        coliee(tmp_path, code, pairs)


def test_xml_reads_no_other_file(tmp_path):
    (tmp_path / "secret").write_text("Article 10 hidden")
    entity = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    pairs = PAIRS.replace("<dataset>", f"{entity}<dataset>").replace("<t1>Article 10 Ducks come and go.", "<t1>&x;")
    with pytest.raises(InputError, match="cites 0 articles"):
        coliee(tmp_path, CODE, pairs)
    with pytest.raises(InputError, match=r"gone.txt cannot be read"):
        load_coliee(tmp_path / "gone.txt", [])


PASSAGES = [
    {"ID": "p1", "DocumentID": 1, "PassageID": "1.", "Passage": "INTRODUCTION"},
    {"ID": "p2", "DocumentID": 1, "PassageID": "1.1", "Passage": "A pond:\n(a)\tis wet; and\n(b)\tis round."},
    {"ID": "p3", "DocumentID": 1, "PassageID": "1.2", "Passage": "  "},
    {"ID": "p4", "DocumentID": 2, "PassageID": "1.1", "Passage": "A duck swims."},
    {"ID": "p5", "DocumentID": 2, "PassageID": "1.1", "Passage": "A duck flies."},
]
QUESTIONS = [
    {
        "QuestionID": "q1",
        "Question": "Is a pond round, and do ducks fly?",
        "Passages": [
            {"DocumentID": 1, "PassageID": "1.1", "Passage": "…"},
            {"DocumentID": 2, "PassageID": "1.1", "Passage": "A duck  flies."},
            {"DocumentID": 1, "PassageID": "1.2", "Passage": ""},
        ],
        "Group": 2,
    },
    {"QuestionID": "q2", "Question": "?", "Passages": [{"DocumentID": 1, "PassageID": "1.2", "Passage": ""}]},
]


def obliqa(folder, passages=PASSAGES, questions=QUESTIONS):
    documents = folder / "StructuredRegulatoryDocuments"
    documents.mkdir(exist_ok=True)
    for number in (1, 2):
        rows = [passage for passage in passages if passage["DocumentID"] == number]
        (documents / f"{number}.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "ObliQA_dev.json").write_text(json.dumps(questions), encoding="utf-8")
    return load_obliqa(folder, "dev")


def test_obliqa_in_its_own_layout(tmp_path):
    """Loader: ObliQA. A number that two passages have is told apart by its text; passages without text are left out."""
    found = obliqa(tmp_path)
    assert list(found.articles) == ["p1", "p2", "p4", "p5"]
    assert found.articles["p2"].text.split("\n")[1] == "(a)\tis wet; and"
    assert found.qrels == {"q1": {"p2": 1, "p5": 1}}
    assert list(found.queries) == ["q1"]


def test_obliqa_in_beirs_layout(tmp_path):
    """Loader: ObliQA as the benchmarks keep it."""
    rows = [{"_id": p["ID"], "title": "", "text": p["Passage"]} for p in PASSAGES]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "round?"}\n{"_id": "q2", "text": "empty?"}\n')
    (tmp_path / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore", "q1\tp2\t1", "q1\tp3\t1", "q2\tp3\t1", ""]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(lines))
    found = load_obliqa(tmp_path)
    assert list(found.articles) == ["p1", "p2", "p4", "p5"]
    assert found.qrels == {"q1": {"p2": 1}}
    assert found.queries == {"q1": "round?"}
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp9\t1\n")
    with pytest.raises(InputError, match="judges document 'p9'"):
        load_obliqa(tmp_path)


def changed(place, **values):
    return [row | values if at == place else row for at, row in enumerate(PASSAGES)]


@pytest.mark.parametrize(
    ("passages", "questions", "said"),
    [
        (changed(3, ID="p5"), QUESTIONS, "repeats the ID 'p5'"),
        (changed(1, PassageID="7"), QUESTIONS, "names passage '1.1' of document 1"),
        (PASSAGES, [QUESTIONS[0], QUESTIONS[0]], "repeats the QuestionID 'q1'"),
        (PASSAGES, [{"QuestionID": "q"}], "has no Question; it has QuestionID"),
        (PASSAGES, {"QuestionID": "q"}, "holds no list of objects"),
    ],
)
def test_obliqa_that_is_wrong_is_refused(tmp_path, passages, questions, said):
    with pytest.raises(InputError, match=said):
        obliqa(tmp_path, passages, questions)


def test_files_that_are_not_there_or_broken_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not ObliQA"):
        load_obliqa(tmp_path)
    obliqa(tmp_path)
    (tmp_path / "ObliQA_dev.json").write_text("[{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load_obliqa(tmp_path, "dev")


def test_collections_are_checked():
    """Judgements of unknown ids, articles without a sentence, empty questions, duplicates."""
    article = Article("1", "A pond is wet.")
    with pytest.raises(InputError, match="judges article '2' for question 'q'"):
        LegalCollection("ponds", {"1": article}, {"q": "wet?"}, {"q": {"1": 1, "2": 1}})
    for queries in ({}, {"q": " \n"}):
        with pytest.raises(InputError, match="judges question 'q', which has no text"):
            LegalCollection("ponds", {"1": article}, queries, {"q": {"1": 1}})
    with pytest.raises(InputError, match="Article '2' holds no sentence"):
        Article("2", " \n\t")
    with pytest.raises(InputError, match="Two articles are called '1'"):
        articles_of([article, article])
    with pytest.raises(InputError, match="two articles '1'"):
        parse_code("Article 1 a\nArticle 1. b")


QRELS = {"one": {"a": 1, "b": 0}, "two": {"a": 1, "b": 1}, "none": {"c": 1}}


def test_scores_by_hand():
    """COLIEE's measure: F2 = 5PR / (4P + R) of each question, then the mean, which is not F2 of the mean P and R."""
    scores = answer_scores({"one": ["a", "c"], "two": ["b"]}, QRELS)
    assert (scores["one"].precision, scores["one"].recall) == (0.5, 1.0)
    assert scores["one"].f2 == pytest.approx(5 * 0.5 / (4 * 0.5 + 1.0))  # 0.8333
    assert scores["two"].f2 == pytest.approx(5 * 0.5 / (4 * 1.0 + 0.5))  # 0.5556
    assert (scores["none"].precision, scores["none"].recall, scores["none"].f2) == (0, 0, 0)
    means = mean_scores(scores)
    assert means == pytest.approx({"precision": 0.5, "recall": 0.5, "f2": (5 / 6 + 5 / 9) / 3})
    assert means["f2"] != pytest.approx(f2(means["precision"], means["recall"]))


def test_scores_of_a_run():
    """Recall, precision and F2 at the cut-offs of the spec, with MAP and nDCG."""
    run = {"one": {"c": 3.0, "a": 2.0}, "two": {"a": 1.0, "c": 0.5, "b": 0.4}, "unjudged": {"a": 1.0}}
    found = legal_scores(run, QRELS, most=2)
    assert found["precision"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert found["recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["f2"] == pytest.approx((5 * 0.5 / 3 + 0.5 + 0) / 3)
    assert found["map"] == pytest.approx((1 / 2 + (1 + 2 / 3) / 2 + 0) / 3)
    assert found["recall@5"] == found["recall@30"] == pytest.approx(2 / 3)
    half, log3 = 1 / np.log2(3), 1 + 1 / np.log2(3)
    assert found["ndcg@20"] == pytest.approx((half + (1 + 1 / 2) / log3 + 0) / 3)
    assert first_answers(run, 1) == {"one": ["c"], "two": ["a"], "unjudged": ["a"]}
    with pytest.raises(InputError, match="0 answers"):
        first_answers(run, 0)
    with pytest.raises(InputError, match="no judgements"):
        answer_scores({}, {})
    with pytest.raises(InputError, match="answered by an article twice"):
        answer_scores({"one": ["a", "a"]}, QRELS)


@given(st.floats(0, 1), st.floats(0, 1))
def test_f2_lies_between_precision_and_recall(precision, recall):
    value = f2(precision, recall)
    assert min(precision, recall) - 1e-12 <= value <= max(precision, recall) + 1e-12


def test_bootstrap_against_all_draws():
    """Paired bootstrap: on five questions, against all 3,125 draws with return."""
    differences = np.array([1.0, 0.5, -0.2, 0.4, -0.6])
    one, other = {f"q{n}": value for n, value in enumerate(differences)}, {f"q{n}": 0.0 for n in range(5)}
    means = differences[np.array(list(product(range(5), repeat=5)))].mean(1)
    found = paired_bootstrap(one, other, rounds=20_000)
    assert found.difference == pytest.approx(differences.mean())
    assert found.p_value == pytest.approx(2 * min((means <= 0).mean(), (means >= 0).mean()), abs=0.01)
    assert found.low == pytest.approx(np.quantile(means, 0.025, method="inverted_cdf"), abs=1e-9)
    assert found.high == pytest.approx(np.quantile(means, 0.975, method="inverted_cdf"), abs=1e-9)
    assert found == paired_bootstrap(one, other, rounds=20_000)


def test_bootstrap_of_sure_and_of_no_differences():
    one, none = {f"q{n}": 1 - n / 100 for n in range(20)}, {f"q{n}": 0.0 for n in range(20)}
    assert paired_bootstrap(one, none, rounds=999).p_value == pytest.approx(2 / 1000)
    few = paired_bootstrap({"a": 1.0, "b": 0.9, "c": 0.5}, {"a": 0.0, "b": 0.0, "c": 0.5}, rounds=999)
    assert few.p_value == 0.5  # two coins fall alike half of the time
    same = paired_bootstrap({"a": 1.0}, {"a": 1.0}, rounds=10)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    with pytest.raises(InputError, match="Question 'b' has nan"):  # it once had the p-value of a sure gain
        paired_bootstrap({"a": 1.0, "b": float("nan")}, {"a": 0.0, "b": 0.0})
    for one, other in combinations([{}, {"a": 1.0}, {"b": 1.0}], 2):
        with pytest.raises(InputError, match="A paired bootstrap got"):
            paired_bootstrap(one, other)
