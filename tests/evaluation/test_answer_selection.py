import gzip
import json

import pytest

from foveal.errors import InputError
from foveal.evaluation.answer_selection import AnswerSelection, Choice, load_answer_selection
from foveal.evaluation.metrics import evaluate


def line(question, doc, label, asked=None):
    return {"qid": question, "question": asked or f"what is {question} ?", "doc": doc, "label": label}


LINES = [
    line("t-1", "the fovea .", 1),
    line("t-1", "a lens .", 0),
    line("t-2", "only right", 1),
    line("t-1", "ждёт\u2028iris", 0),
    line("t-3", "only wrong", 0),
    line("t-3", "only wrong", 0),
]


def written(folder, content=LINES, name="test.jsonl"):
    text = content if isinstance(content, str) else "\n".join(json.dumps(one, ensure_ascii=False) for one in content)
    data = text.encode("utf-8")
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


@pytest.mark.parametrize("name", ["test.jsonl", "test.jsonl.gz"])
def test_a_split_holds_questions_with_their_candidates(tmp_path, name):
    """WikiQA, TrecQA: questions, candidates and labels of a split."""
    found = load_answer_selection(written(tmp_path, name=name))
    assert (found.name, found.split) == (tmp_path.name, "test")
    assert found.questions[0] == Choice(
        "t-1", "what is t-1 ?", ("the fovea .", "a lens .", "ждёт\u2028iris"), (1, 0, 0)
    )
    assert found.queries == {f"t-{number}": f"what is t-{number} ?" for number in (1, 2, 3)}
    assert found.corpus == {
        "t-1/0": "the fovea .", "t-1/1": "a lens .", "t-1/2": "ждёт\u2028iris", "t-2/0": "only right",
        "t-3/0": "only wrong", "t-3/1": "only wrong",
    }  # fmt: skip
    assert found.qrels == {
        "t-1": {"t-1/0": 1, "t-1/1": 0, "t-1/2": 0},
        "t-2": {"t-2/0": 1},
        "t-3": dict.fromkeys(("t-3/0", "t-3/1"), 0),
    }


def test_questions_that_leave_no_choice_are_dropped_for_map(tmp_path):
    """Clean: only right candidates would count 1, only wrong ones 0, whatever the ranker."""
    whole = load_answer_selection(written(tmp_path))
    clean = whole.clean()
    assert list(clean.queries) == list(clean.qrels) == ["t-1"]
    assert set(clean.corpus) == {"t-1/0", "t-1/1", "t-1/2"}
    run = {"t-1": {"t-1/0": 1.0, "t-1/1": 2.0, "t-1/2": 0.0}, "t-2": {"t-2/0": 0.0}, "t-3": {"t-3/0": 0.0}}
    assert evaluate(run, clean.qrels, ["map"]) == {"map": 0.5}
    assert evaluate(run, whole.qrels, ["map"]) == {"map": (0.5 + 1 + 0) / 3}
    assert AnswerSelection("none", "test", ()).clean().questions == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([*LINES, line("t-1", "x", 0, asked="another question")], "an earlier line otherwise"),
        ([line("t-1", "x", 2)], "label as 0 or 1"),
        ([line("t-1", "x", True)], "label as 0 or 1"),
        ([line("t-1", "x", "1")], "label as 0 or 1"),
        ([line("t-1", None, 1)], "line 1, is"),
        ([{"qid": "t-1"}], "needs qid, question and doc"),
        (["not an object"], "needs qid, question and doc"),
        ('{"qid": "t-1"', "cannot be read"),
        ("\n", "is empty"),
    ],
)
def test_a_line_that_is_not_in_the_layout_is_an_error(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        load_answer_selection(written(tmp_path, content))


def test_missing_and_damaged_files_are_named(tmp_path):
    written(tmp_path, name="dev.jsonl.gz")
    with pytest.raises(InputError, match=r"has no split 'test'.*It has: dev"):
        load_answer_selection(tmp_path)
    (tmp_path / "test.jsonl.gz").write_bytes(gzip.compress(b'{"qid": 1}' * 99)[:30])
    with pytest.raises(InputError, match="cannot be read"):
        load_answer_selection(tmp_path)
    (tmp_path / "train.jsonl").write_bytes('{"qid": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_answer_selection(tmp_path, "train")
