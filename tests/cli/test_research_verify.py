"""`foveal research verify` and `foveal research eval` over files, as a user gives them."""

from __future__ import annotations

import json

import pytest
from ledgers import REPORT, TEXT, ledger
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError
from foveal.evaluation.reports import DIMENSIONS
from foveal.library import Library


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_ENCODER", "none")
    return tmp_path / "home"


def run(*arguments, home, status=0):
    done = CliRunner().invoke(app, ["research", *map(str, arguments)], env={"FOVEAL_HOME": str(home)})
    assert done.exit_code == status, done.output
    return done


def written(folder, text, name="report.md"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_verify_says_what_is_not_supported(home, tmp_path):
    report = written(tmp_path, REPORT)
    written(tmp_path, json.dumps(ledger()), "report.ledger.json")
    done = run("verify", report, home=home, status=4)
    assert "contradicted" in done.stdout
    assert "not in the source" in done.stdout
    assert "lead to nothing: 7" in done.stderr
    rows = json.loads(run("verify", report, "--json", home=home, status=4).stdout)
    assert [one["verdict"]["label"] for one in rows["claims"]] == ["supported", "contradicted", "unsupported"]
    assert (rows["unknown"], rows["changed"]) == (["7"], [])
    good = written(tmp_path, "Harrow Mill was built in 1820 by Ada Hart [[e1]].", "good.md")
    assert "1 supported" in run("verify", good, "--ledger", tmp_path / "report.ledger.json", home=home).stderr


def test_verify_against_the_library_alone(home, tmp_path):
    source = written(tmp_path, TEXT, "mill.txt")
    Library.open(home, encoder="none").add([source])
    report = written(tmp_path, f"It grinds 40 tonnes a day [1].\n\n## Sources\n\n1. Mill <{source.as_uri()}>\n")
    assert "1 supported" in run("verify", report, home=home).stderr


def test_verify_without_anything_to_check_against(home, tmp_path):
    done = run("verify", tmp_path / "none.md", home=home, status=1)
    assert isinstance(done.exception, InputError)
    beside = written(tmp_path, json.dumps(ledger()), "l.json")
    done = run("verify", written(tmp_path, "# Title\n"), "--ledger", beside, home=home, status=4)
    assert "There is no claim" in done.stdout


def test_eval_race_of_result_rows_and_of_a_judges_scores(home, tmp_path):
    rows = [dict.fromkeys((*DIMENSIONS, "overall_score"), value) for value in (0.4, 0.5)]
    raw = written(tmp_path, "".join(json.dumps(one) + "\n" for one in rows), "raw.jsonl")
    assert json.loads(run("eval", "race", raw, "--json", home=home).stdout)["overall_score"] == pytest.approx(0.45)
    assert "0.4500" in run("eval", "race", raw, home=home).stdout
    weights = {
        "id": 1,
        "dimension_weight": {"insight": 1.0},
        "criterions": {"insight": [{"criterion": "A", "weight": 1}]},
    }
    criteria = written(tmp_path, json.dumps(weights) + "\n", "criteria.jsonl")
    scored = {"id": 1, "target": {"insight": {"A": 6}}, "reference": {"insight": {"A": 4}}}
    scores = written(tmp_path, json.dumps(scored) + "\n", "scores.jsonl")
    found = json.loads(run("eval", "race", scores, "--criteria", criteria, "--json", home=home).stdout)
    assert found["overall_score"] == pytest.approx(0.6)
    wrong = written(tmp_path, json.dumps(scored | {"id": 2}) + "\n", "wrong.jsonl")
    assert "no weights for task 2" in str(
        run("eval", "race", wrong, "--criteria", criteria, home=home, status=1).exception
    )


def test_eval_fact_alce_and_answers(home, tmp_path):
    judged = [{"id": 1, "statement": "A.", "url": "u", "judgement": "supported"}, {"id": 2}]
    path = written(tmp_path, "".join(json.dumps(one) + "\n" for one in judged), "judged.jsonl")
    found = json.loads(run("eval", "fact", path, "--json", home=home).stdout)
    assert (found["accuracy"], found["effective"], found["mean_with_none"]) == (1.0, 0.5, 0.5)
    report = written(tmp_path, REPORT)
    written(tmp_path, json.dumps(ledger()), "report.ledger.json")
    found = json.loads(run("eval", "alce", report, "--json", home=home).stdout)
    assert found["recall"] == pytest.approx(1 / 3)
    answers = written(
        tmp_path,
        '{"answers": ["Ada Hart"], "predicted": "the Ada Hart"}\n{"answers": ["1820"], "answer": "1821"}\n',
        "a.jsonl",
    )
    found = json.loads(run("eval", "answers", answers, "--json", home=home).stdout)
    assert (found["EM"], found["F1"], found["answers"]) == (0.5, 0.5, 2)


def test_eval_refuses_what_it_cannot_score_and_counts_no_number_that_leads_nowhere(home, tmp_path):
    one = {"insight": [{"criterion": "A", "weight": 1}]}
    weights = {"id": 1, "dimension_weight": {"insight": 1}, "criterions": one}
    criteria = written(tmp_path, json.dumps(weights) + "\n", "criteria.jsonl")
    for wrong in ({"id": "x"}, {"target": 5}, {"target": {"insight": {"A": "6"}}}, {"reference": {"insight": [6]}}):
        row = {"id": 1, "target": {"insight": {"A": 6}}, "reference": {"insight": {"A": 4}}} | wrong
        path = written(tmp_path, json.dumps(row) + "\n", "scores.jsonl")
        assert isinstance(run("eval", "race", path, "--criteria", criteria, home=home, status=1).exception, InputError)
    for wrong in ({"prediction": "x"}, {"answers": "Ada", "answer": "Ada"}, {"answers": [1820], "answer": "1820"}):
        path = written(tmp_path, json.dumps({"answers": ["Ada"]} | wrong) + "\n", "a.jsonl")
        assert "cannot be scored" in str(run("eval", "answers", path, home=home, status=1).exception)
    written(tmp_path, json.dumps(ledger()), "r.ledger.json")
    for marks, recall in (("[1]", 1.0), ("[1][9]", 0.0)):
        text = f"Harrow Mill was built in 1820 by Ada Hart {marks}.\n\n## Sources\n\n1. M <https://example.org/mill>\n"
        found = json.loads(run("eval", "alce", written(tmp_path, text, "r.md"), "--json", home=home).stdout)
        assert (found["recall"], found["precision"]) == (recall, recall)


def test_eval_answers_tells_how_they_were_sought_where_every_line_does(home, tmp_path):
    rows = [
        {"answers": ["Lund"], "answer": "Lund", "shown": "Bo was born in Lund.", "searches": 3, "steps": 8},
        {"answers": ["1820"], "answer": "no", "shown": "Nothing of it.", "searches": 1, "steps": 2, "success": True},
    ]

    def found(told, status=0):
        path = written(tmp_path, "".join(json.dumps(one) + "\n" for one in told), "sought.jsonl")
        return run("eval", "answers", path, "--json", home=home, status=status)

    scores = json.loads(found(rows).stdout)
    assert {name: scores[name] for name in ("gold in evidence", "searches", "steps")} == {
        "gold in evidence": 0.5, "searches": 2.0, "steps": 5.0,
    }  # fmt: skip
    assert "success" not in scores
    assert json.loads(found([rows[0] | {"success": False}, rows[1]]).stdout)["success"] == 0.5
    assert "gold in evidence" not in json.loads(found([{"answers": ["a"], "answer": "a"}, rows[1]]).stdout)
    for wrong in ({"searches": "3"}, {"shown": None}, {"steps": 1.5}):
        assert "cannot be scored" in str(found([rows[0] | wrong, rows[1]], status=1).exception)


def test_eval_fact_of_a_report_judges_each_pair_of_statement_and_source(home, tmp_path):
    written(tmp_path, json.dumps(ledger()), "report.ledger.json")
    said = (
        "Harrow Mill was built in 1820 by Ada Hart [1]. Harrow Mill was built in 1820 by Ada Hart [1]. "
        "It grinds 90 tonnes a day [1]. It was sold in 1900 [7]. It is in Lund [2].\n\n## Sources\n\n"
        "1. Mill <https://example.org/mill>\n2. A page that was not kept <https://example.org/other>\n"
    )
    found = json.loads(run("eval", "fact", written(tmp_path, said), "--json", home=home).stdout)
    # twice said is once judged; 90 is not what stands there; 7 leads nowhere; of 2 nothing is stored: unknown
    assert (found["tasks"], found["citations"], found["effective"]) == (1, 3.0, 1.0)
    assert found["accuracy"] == pytest.approx(1 / 3)
    none = run("eval", "fact", written(tmp_path, said, "alone.md"), home=home, status=1)
    assert "no ledger beside" in str(none.exception)


def test_eval_coverage_of_what_a_brief_asks_for(home, tmp_path):
    asked = {"must_cover": ["who built Harrow Mill", "the taxes of the valley"]}
    report = written(tmp_path, REPORT)
    written(tmp_path, json.dumps(ledger() | {"brief": {"goal": "Mills", **asked}}), "report.json")
    found = json.loads(run("eval", "coverage", report, "--json", home=home).stdout)
    assert found == {"points": 2, "coverage": 0.5, "missing": ["the taxes of the valley"]}
    brief = written(tmp_path, json.dumps(asked), "brief.json")
    other = written(tmp_path, "The taxes of the valley fell in 1900 [1].", "other.md")
    shown = run("eval", "coverage", other, "--brief", brief, home=home).stdout
    assert "who built Harrow Mill" in shown
    for wrong, why in (
        ({"goal": "x"}, "must cover"),
        ([], "is no brief"),
        ({"must_cover": "all"}, "wrong or unknown: must_cover"),
    ):
        path = written(tmp_path, json.dumps(wrong), "wrong.json")
        assert why in str(run("eval", "coverage", other, "--brief", path, home=home, status=1).exception)
    assert "cannot be read" in str(
        run("eval", "coverage", other, "--brief", tmp_path / "none", home=home, status=1).exception
    )
