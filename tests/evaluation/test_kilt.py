"""KILT's metrics by hand-made cases with several sets of pages, and its files."""

from __future__ import annotations

import gzip
import json

import pytest

from foveal.errors import InputError
from foveal.evaluation.kilt import kilt_metrics, load_kilt, r_precision, set_recall


@pytest.mark.parametrize(
    ("found", "sets", "expected"),
    [
        (["a", "b", "c"], [{"a"}], 1),
        (["b", "a", "c"], [{"a"}], 0),  # R is 1: only the first counts
        (["b", "a", "c"], [{"a", "b"}], 1),
        (["a", "x", "b"], [{"a", "b"}], 1 / 2),
        (["a", "x", "b"], [{"a", "b", "c"}], 2 / 3),
        (["x", "c"], [{"a"}, {"c", "d"}], 1 / 2),  # the best of the sets
        (["c", "x"], [{"a", "b"}, {"c"}], 1),
        (["a", "a", "b"], [{"a", "b"}], 1),  # a page twice is found once
        ([], [{"a"}], 0),
        (["a"], [], 0),
        (["a"], [set()], 0),
    ],
)
def test_r_precision_is_the_best_share_of_a_sets_pages(found, sets, expected):
    assert r_precision(found, sets) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("found", "sets", "k", "expected"),
    [
        (["a", "b"], [{"a"}], 1, 1),
        (["x", "a"], [{"a"}], 1, 0),
        (["a", "b"], [{"a", "b"}], 1, 1),  # both pages are one item, which stands where the last of them does
        (["a", "x", "b"], [{"a", "b"}], 1, 0),  # x comes first then: the set is the second item
        (["a", "x", "b"], [{"a", "b"}], 2, 1),
        (["a", "x", "y", "b"], [{"a", "b"}, {"c"}], 3, 1 / 2),
        (["a", "c", "b"], [{"a", "b"}, {"c"}], 2, 1),  # items: {c}, {a, b}
        (["a", "c", "b"], [{"a", "b"}, {"c"}], 1, 1 / 2),
        (["a"], [{"a", "b"}], 5, 0),  # a set that is not whole is not found
        (["a", "b"], [{"a"}, {"a"}], 1, 1),  # equal sets are one
        (["a", "b"], [{"a"}, {"a", "b"}], 2, 1),
        ([], [{"a"}], 5, 0),
    ],
)
def test_recall_counts_a_set_of_pages_as_one_item(found, sets, k, expected):
    assert set_recall(found, sets, k) == pytest.approx(expected)


LINES = [
    {
        "id": 7,
        "input": "who led the party?",
        "output": [
            {
                "answer": "Butt",
                "provenance": [
                    {"title": "Home Rule League", "wikipedia_id": "1", "bleu_score": 1.0},
                    {"title": "Isaac Butt", "wikipedia_id": "2", "bleu_score": 0.4},
                ],
            },
            {"provenance": [{"title": "Irish Party", "wikipedia_id": "3"}]},
        ],
        "meta": {"template_questions": ["Who was its leader?"]},
    },
    {
        "id": "el",
        "input": "a train to Rome left",
        "output": [{"answer": "Rome", "provenance": [{"title": "Rome", "wikipedia_id": "4"}]}],
        "meta": {"left_context": "a train to", "mention": "Rome", "right_context": "left"},
    },
    {"id": "blind", "input": "no answer is given"},
]


def written(path, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["dev.jsonl", "dev.jsonl.gz"])
def test_a_file_is_read_with_sets_targets_and_marked_mentions(tmp_path, name):
    one, mention, blind = load_kilt(written(tmp_path / name, LINES))
    assert one.id == "7"
    assert one.pages == (frozenset({"Home Rule League", "Isaac Butt"}), frozenset({"Irish Party"}))
    assert one.answers == ("Butt",)
    assert one.targets == ("Home Rule League", "Irish Party")  # a BLEU of 0.4 is too little to aim at
    assert one.templates == ("Who was its leader?",)
    assert mention.input == "a train to [START_ENT] Rome [END_ENT] left"
    assert (blind.pages, blind.targets) == ((), ())
    by_id = load_kilt(tmp_path / name, key="wikipedia_id")
    assert by_id[0].pages == (frozenset({"1", "2"}), frozenset({"3"}))


def test_long_contexts_are_cut_around_the_mention(tmp_path):
    """Marked already, or by its parts: what a model reads first must hold the mention."""
    left, right = (" ".join(f"{side}{n}" for n in range(900)) for side in ("l", "r"))
    whole = {"id": 1, "input": f"{left} [START_ENT] New York [END_ENT] {right}"}
    parts = {"id": 2, "input": f"{left} New York {right}",
             "meta": {"left_context": left, "mention": "New York", "right_context": right}}  # fmt: skip
    early = {"id": 3, "input": f"l0 [START_ENT] New York [END_ENT] {right}"}
    damaged = {"id": 4, "input": f"l0 [START_ENT] New York {right}", "meta": {"mention": "New York"}}
    one, two, three, four = load_kilt(written(tmp_path / "dev.jsonl", [whole, parts, early, damaged]))
    words = one.input.split()
    assert one.input == two.input
    assert len(words) == 384 + 2
    assert words[0] == "l709"
    assert words[191:195] == ["[START_ENT]", "New", "York", "[END_ENT]"]
    assert words[-1] == "r190"
    assert three.input.split()[:2] == ["l0", "[START_ENT]"]
    assert len(three.input.split()) == 384 + 2
    assert four.input == damaged["input"]


def test_means_are_over_queries_that_have_pages(tmp_path):
    queries = load_kilt(written(tmp_path / "dev.jsonl", LINES))
    found = {"7": ["Irish Party", "x"], "blind": ["y"]}
    assert kilt_metrics(found, queries) == {"r-precision": 0.5, "recall@5": 0.25}
    with pytest.raises(InputError, match="test files"):
        kilt_metrics(found, queries[2:])


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "holds no query"),
        ([{"id": 1, "input": "a"}, {"id": 1, "input": "b"}], "line 2, repeats the id '1'"),
        ([{"input": "a"}], "is no query of KILT's"),
        ([{"id": 1, "input": "a", "output": "b"}], "as output"),
        ([{"id": 1, "input": "a", "output": [{"provenance": ["Rome"]}]}], "line 1, is no query of KILT's"),
        ([{"id": 1, "input": "a", "output": [{"provenance": [{"title": "R", "bleu_score": None}]}]}], "bleu_score"),
        ([{"id": 1, "input": "a", "meta": [1]}], "meta an object"),
    ],
)
def test_files_that_are_not_kilts_are_refused(tmp_path, lines, says):
    with pytest.raises(InputError, match=says):
        load_kilt(written(tmp_path / "dev.jsonl", lines))


def test_a_damaged_file_and_a_depth_of_none_are_refused(tmp_path):
    (tmp_path / "dev.jsonl").write_text('{"id": 1, "inp')
    with pytest.raises(InputError, match="cannot be read"):
        load_kilt(tmp_path / "dev.jsonl")
    with pytest.raises(InputError, match="k = 0"):
        set_recall(["a"], [{"a"}], 0)
    assert set_recall(["a"], [], 1) == set_recall(["a"], [set()], 1) == 0  # as where nothing is found
