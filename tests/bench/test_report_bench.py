"""The benches of reports: their data are what they say, and their rows come from small runs."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from honest import HashedWords

from foveal.bench import report as parts
from foveal.bench.report_citations import INJECTED, Measured, Sizes, injected_rows
from foveal.bench.report_citations_data import (
    NAME,
    NEXT,
    NUMBER,
    TRUE,
    passage_pairs,
    recorded_pairs,
    scifact_pairs,
    xquad_pairs,
)
from foveal.bench.report_memory import memory_rows
from foveal.bench.report_memory_world import World
from foveal.bench.report_race import race_rows
from foveal.bench.report_watch import looked, measured, turns
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.reports import DIMENSIONS
from foveal.registry import BENCHES
from foveal.research.verification import Verifier


class Toy(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=64)


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


def test_a_world_tells_each_change_once_and_asks_of_it():
    world = World.made(steps=120, noise=["It rained all day."], seed=2)
    told = [one for step in world.steps for one in step.said]
    assert set(world.changes) <= set(told)
    assert len(world.contradicted) == 3
    for asked in world.history():
        assert any(one.value == asked.answer and one.since <= asked.at for one in world.changes)
    for step in world.steps:
        assert all(one.value in step.text for one in step.said)
    assert World.made(steps=120, noise=["It rained all day."], seed=2) == world


@pytest.mark.slow
def test_memory_rows_of_a_toy(tmp_path):
    text = " ".join(
        f"The field number {at} lay fallow under a sky that nobody looked at for very long." for at in range(80)
    )
    folder = tmp_path / "text"
    folder.mkdir()
    with gzip.open(folder / "wikitext2_valid.txt.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    rows = {(one.system, one.metric): one for one in memory_rows(Toy(data=tmp_path, quick=True))}
    assert rows["memory", "latest value"].ok
    assert rows["memory", "value at an earlier date"].ok
    assert rows["last k messages", "latest value"].value < rows["memory", "latest value"].value
    assert all(one.ok is not False for one in rows.values()), [one for one in rows.values() if one.ok is False]


def test_pairs_differ_from_the_true_claim_in_one_thing(tmp_path):
    corpus = [
        (
            f"d{at}",
            f"Town {at}",
            f"The town has {40 + at} mills near Lake Orlo. Its mayor of old was Ada Hart{at}. It is far away.",
        )
        for at in range(9)
    ]
    pairs = passage_pairs(corpus, seed=0, most=9, worn_share=0.0)
    true = {one.group: one for one in pairs if one.kind == TRUE}
    for one in pairs:
        if one.kind in (NUMBER, NAME):
            assert len(set(one.claim.split()) - set(true[one.group].claim.split())) in range(1, 6)
            assert one.passages == true[one.group].passages
        if one.kind == NEXT:
            assert one.claim == true[one.group].claim
            assert len(one.passages[0].text) < len(true[one.group].passages[0].text)


def test_pairs_of_the_sets_files(tmp_path):
    squad = {"data": [{"title": "Mills", "paragraphs": [
        {"context": f"Ada Hart built mill {at} in 18{at}0.", "qas": [
            {"question": f"When was mill {at} built?", "answers": [{"text": f"18{at}0"}]},
            {"question": f"Who built mill {at}?", "answers": [{"text": "Ada Hart"}]},
        ]} for at in range(1, 4)
    ]}]}  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(squad))
    pairs = xquad_pairs(tmp_path / "x.json", seed=0)
    assert {one.claim for one in pairs if one.true} >= {"1810 was mill 1 built.", "Ada Hart built mill 1."}
    assert {one.kind for one in pairs} >= {NUMBER, NEXT}
    assert [one.passages[0].heading for one in pairs[:1]] == ["Mills"]
    corpus = [{"_id": str(at), "title": f"T{at}", "text": f"Ada Hart saw mill {at}."} for at in range(3)]
    lines(tmp_path / "corpus.jsonl", [*corpus, {"_id": "9", "title": "Lund", "text": "Bo was born in Lund."}])
    question = {"_id": "q", "text": "Where was Bo born?", "answers": ["Lund"], "judged_correct": True}
    lines(tmp_path / "queries.jsonl", [question | {"steps": [{"passages": ["0", "1", "9"]}]}])
    (first, *_) = recorded_pairs(tmp_path, seed=0)
    assert (first.claim, first.true, first.passages[0].span.document_id) == (
        "Lund was Bo born.",
        True,
        "9",
    )
    lines(
        tmp_path / "evidence.jsonl",
        [{"split": "test", "query-id": "q", "corpus-id": "9", "label": "SUPPORT", "spans": []}],
    )
    assert [one.kind for one in scifact_pairs(tmp_path, "test")] == [TRUE]


def test_injected_rows_count_what_is_flagged():
    corpus = [
        (
            f"d{at}",
            f"Town {at}",
            f"The town has {40 + at} mills near Lake Orlo. Its mayor was Ada Hart{at}. It is far from Porto{at}.",
        )
        for at in range(30)
    ]
    pairs = passage_pairs(corpus, seed=0, most=30, worn_share=0.0)
    measured = Measured(
        pairs, Verifier(HashedWords(dimension=64)).check_many([(one.claim, one.passages) for one in pairs])
    )
    rows = {
        (one.system, one.metric): one.value
        for one in injected_rows({"XQuAD": measured, "HotpotQA, retold": measured}, Sizes(reports=5), 0)
    }
    assert rows["injected", "false citations flagged"] == pytest.approx(
        np.mean([rows[f"injected: {kind}", "flagged"] for kind in INJECTED if (f"injected: {kind}", "flagged") in rows])
    )
    assert 0.5 <= measured.auroc([NUMBER]) <= 1


def test_race_rows_of_a_made_result(tmp_path):
    folder = tmp_path / "deepresearch" / "claude-3-7-sonnet-latest"
    overall = 0.42184
    lines(folder / "race_raw_results.jsonl", [dict.fromkeys((*DIMENSIONS, "overall_score"), overall)] * 100)
    names = ("Comprehensiveness", "Insight", "Instruction Following", "Readability", "Overall Score")
    (folder / "race_result.txt").write_text("".join(f"{name}: 0.4218\n" for name in names))
    (folder / "fact_result.txt").write_text(
        "total_citations: 28.07\ntotal_valid_citations: 24.51\nvalid_rate: 0.8731742\n"
    )
    weights = {"id": 1, "dimension_weight": {"insight": 0.7, "readability": 0.3}, "criterions": {
        "insight": [{"criterion": "A", "weight": 0.6}, {"criterion": "B", "weight": 0.4}],
        "readability": [{"criterion": "C", "weight": 1.0}]}}  # fmt: skip
    lines(tmp_path / "deepresearch" / "criteria.jsonl", [weights])
    rows = list(race_rows(Toy(data=tmp_path)))
    assert [one for one in rows if one.ok is False] == []
    assert sum(one.ok is True for one in rows) >= 10
    other = folder.with_name("mine")  # another system, three tasks, counts that are no whole number a task
    overall = 0.5
    lines(other / "race_raw_results.jsonl", [dict.fromkeys((*DIMENSIONS, "overall_score"), overall)] * 3)
    (other / "race_result.txt").write_text("".join(f"{name}: 0.5\n" for name in names))
    (other / "fact_result.txt").write_text("total_citations: 12.33\ntotal_valid_citations: 7.33\nvalid_rate: 0.5946\n")
    rows = [one for one in race_rows(Toy(data=tmp_path)) if one.system == "mine"]
    assert [one.ok for one in rows] == [None] + [True] * 7
    (other / "race_result.txt").write_text("Overall Score: 0.5\n")
    with pytest.raises(InputError, match=r"race_result\.txt has no line Comprehensiveness"):
        list(race_rows(Toy(data=tmp_path)))
    with pytest.raises(InputError, match="deepresearch holds no system: a folder with"):
        list(race_rows(Toy(data=set_without_systems(tmp_path))))


def set_without_systems(folder):
    lines(folder / "empty" / "deepresearch" / "criteria.jsonl", [])
    return folder / "empty"


def test_report_runs_the_parts_that_there_are():
    assert {"report-citations", "report-memory", "report-race"} <= set(parts.PARTS) & set(BENCHES)


def test_a_watched_question_tells_what_was_planted_and_its_rows_fall_where_it_does_not(tmp_path):
    found = looked(tmp_path, turns())
    rows = list(measured(found))
    assert [one for one in rows if one.ok is False] == []
    told = [one.told for one in found if one.told]
    assert [one.counted for one in told] == [
        "1 claim flipped, 3 gone, 1 new source", "1 new, 1 new source", "1 claim flipped, 1 gone, 1 new source",
    ]  # fmt: skip
    silent = [replace(one, told=None) for one in found]
    assert [one.system for one in measured(silent) if one.ok is False] == ["looks with a change", "what was planted"]
    loud = [replace(one, told=told[0]) if one.turn.name == "the same pages" else one for one in found]
    wrong = {"looks without a change", "what was not planted"}
    assert {one.system for one in measured(loud) if one.ok is False} == wrong
