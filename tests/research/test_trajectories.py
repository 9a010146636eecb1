"""Recorded runs: read as they are written, refused where the layout is broken, measured by what passages hold."""

from __future__ import annotations

import gzip
import json

import pytest
from recordings import world, written

from foveal.errors import InputError
from foveal.research.recorded_search import (
    RecordedSearch,
    by_turns,
    found_answer,
    new_words,
    pooled,
    supporting_recall,
)
from foveal.research.trajectories import Recorded, Source, Trajectory, halves, load_recorded


def test_what_was_written_is_read(tmp_path):
    recorded = world()
    read = load_recorded(written(recorded, tmp_path / "mills"))
    assert read == recorded  # supporting passages were not in the files: those that hold the answer are taken
    assert read.fingerprint == recorded.fingerprint


def test_packed_files_and_named_supporting_passages(tmp_path):
    folder = written(world(2), tmp_path / "mills")
    plain = (folder / "queries.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) | {"supporting": ["t0"]} for line in plain.splitlines()]
    (folder / "queries.jsonl").unlink()
    with gzip.open(folder / "queries.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{json.dumps(line)}\n" for line in lines))
    assert [run.supporting for run in load_recorded(folder).trajectories] == [("t0",), ("t0",)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"_id": "x", "answers": []}', "no text under 'text'"),
        ('{"_id": "x", "text": "q", "steps": [{"query": "a", "passages": ["gone"]}]}', "'gone', which is not in"),
        ('{"_id": "x", "text": "q", "steps": [{"passages": []}]}', "no text under 'query'"),
        ('{"_id": "x", "text": "q", "steps": "none"}', "no list"),
        ('{"_id": "x", "text": "q", "steps": [{"query": "q", "passages": 5}]}', "no list"),
        ("[1]", "no text under"),
        ("{", "cut off or damaged"),
    ],
)
def test_a_broken_line_is_refused_with_its_place(tmp_path, line, said):
    folder = written(world(2), tmp_path / "mills")
    (folder / "queries.jsonl").write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_recorded(folder)


def test_a_folder_without_a_file_is_refused(tmp_path):
    folder = written(world(2), tmp_path / "mills")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"holds no corpus\.jsonl"):
        load_recorded(folder)


def test_halves_share_no_question_and_are_the_same_each_time():
    recorded = world()
    doubled = recorded.only([*recorded.trajectories, *recorded.trajectories[:5]])
    one, other = halves(doubled)
    assert len(one) + len(other) == len(doubled.trajectories)
    assert not {run.question for run in one} & {run.question for run in other}
    assert halves(doubled) == (one, other)
    assert halves(recorded, seed=1) != halves(recorded, seed=2)


def test_an_answer_is_held_in_its_normal_form():
    sources = {"p": Source("p", "", "It was founded in 1,838 by the Teacher.")}
    recorded = Recorded("x", sources, ())
    assert recorded.holds("p", Trajectory("q", "?", ("A teacher!",)))
    assert not recorded.holds("p", Trajectory("q", "?", ("1839",)))
    assert not Trajectory("q", "?", ("Yes",)).measurable
    assert not Trajectory("q", "?", ("...",)).measurable
    assert Trajectory("q", "?", ("1838",)).measurable


# -- the pool ---------------------------------------------------------------------------------------------------------


def pool_by_definition(rankings, question, queries, budget, first):
    """One passage after another, as the module's head says it."""
    taken = []

    def take(name):
        if name not in taken and len(taken) < budget:
            taken.append(name)

    for name in rankings[question][: first if queries else None]:
        take(name)
    asked = [f"{query} {question}" for query in queries]
    for place in range(max((len(rankings[query]) for query in asked), default=0)):
        for query in asked:
            for name in rankings[query][place : place + 1]:
                take(name)
    for name in rankings[question]:
        take(name)
    return taken


@pytest.mark.parametrize("budget", [1, 3, 5, 9])
@pytest.mark.parametrize("queries", [[], ["a"], ["a", "b"], ["b", "b", "none"]])
def test_the_pool_is_its_definition(budget, queries):
    rankings = {"q": list("abcdefgh"), "a q": list("hgxyz"), "b q": list("xuv"), "none q": []}
    expected = pool_by_definition(rankings, "q", queries, budget, 3)
    assert pooled(rankings.__getitem__, "q", queries, budget=budget, first=3) == expected
    assert len(expected) == len(set(expected)) <= budget


def test_a_pool_without_a_budget_is_refused():
    with pytest.raises(InputError, match="budget of 0"):
        pooled(lambda _: [], "q", [], budget=0)


def test_by_turns():
    assert list(by_turns([["a", "b", "c"], ["d"], []])) == ["a", "d", "b", "c"]


def test_two_searches_find_what_the_question_alone_does_not():
    recorded = world()
    search = RecordedSearch(recorded)
    for run in recorded.trajectories:
        queries = [step.query for step in run.steps]
        assert found_answer(recorded, run, pooled(search, run.question, queries, budget=3, first=1)) == 1.0
        assert found_answer(recorded, run, pooled(search, run.question, [], budget=2)) == 0.0


def test_recall_counts_supporting_passages():
    run = Trajectory("q", "?", ("x",), (), ("a", "b", "c"))
    assert supporting_recall(run, ["c", "d", "a", "a"]) == pytest.approx(2 / 3)
    assert supporting_recall(Trajectory("q", "?", ("x",)), ["a"]) == 0.0


def test_new_words_are_content_words_of_none_of_the_texts():
    assert new_words("the teacher of Lindqvist", ["Who was the teacher?"]) == {"lindqvist"}


def test_words_and_vectors_are_fused():
    import numpy as np

    recorded = world(3)

    def near(texts):  # the first text is near to all queries
        made = np.zeros((len(texts), 3))
        made[0, 0] = made[1:, 1] = 1.0
        made[:, 2] = 0.5
        return made

    words, both = RecordedSearch(recorded), RecordedSearch(recorded, near)
    assert set(both("orra mill")) > set(words("orra mill"))
    assert both("orra mill")[0] == words("orra mill")[0]
