"""Rankings in trec_eval's files: what is written is read again and measured alike, by trec_eval's own code too."""

from __future__ import annotations

import gzip
import math

import pytest

from foveal.errors import InputError
from foveal.evaluation.judgements import read_qrels
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.trec import read_run, write_qrels, write_run

RUN = {"q1": {"d1": 0.25, "d2": 1 / 3, "d10": 0.25}, "q2": {"d3": -1e-9}}
QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d9": 1}}


def test_a_run_is_written_in_the_order_in_which_it_is_measured(tmp_path):
    """Of equal scores the largest id first, as trec_eval has it; the numbers lose nothing."""
    write_run(tmp_path / "ours.run", RUN, tag="ours")
    assert (tmp_path / "ours.run").read_text() == (
        "q1 Q0 d2 1 0.3333333333333333 ours\nq1 Q0 d10 2 0.25 ours\nq1 Q0 d1 3 0.25 ours\nq2 Q0 d3 1 -1e-09 ours\n"
    )
    assert read_run(tmp_path / "ours.run") == RUN


def test_judgements_are_written_in_trecs_columns(tmp_path):
    write_qrels(tmp_path / "judged.qrels", QRELS)
    assert (tmp_path / "judged.qrels").read_text().splitlines()[0] == "q1 0 d1 2"
    assert read_qrels(tmp_path / "judged.qrels") == QRELS


def test_a_run_of_another_system_counts_by_its_scores(tmp_path):
    """Its ranks may say otherwise, its columns be parted by tabs, its file be packed."""
    lines = "q1\tQ0\td1\t1\t0.1\tx\n\nq1 Q0   d2 2 7e0 x\n"
    (tmp_path / "theirs.run.gz").write_bytes(gzip.compress(lines.encode()))
    run = read_run(tmp_path / "theirs.run.gz")
    assert run == {"q1": {"d1": 0.1, "d2": 7.0}}
    assert evaluate(run, {"q1": {"d2": 1}}, "mrr") == {"mrr": 1.0}


def test_trec_evals_code_measures_the_written_files_alike(tmp_path):
    trec_eval = pytest.importorskip("pytrec_eval")
    write_run(tmp_path / "a.run", RUN)
    write_qrels(tmp_path / "a.qrels", QRELS)
    with (tmp_path / "a.run").open() as run, (tmp_path / "a.qrels").open() as qrels:
        theirs = trec_eval.RelevanceEvaluator(trec_eval.parse_qrel(qrels), {"ndcg_cut_10"}).evaluate(
            trec_eval.parse_run(run)
        )
    ours = evaluate(read_run(tmp_path / "a.run"), QRELS, "ndcg@10")["ndcg@10"]
    assert math.fsum(one["ndcg_cut_10"] for one in theirs.values()) / len(QRELS) == pytest.approx(ours, abs=1e-9)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no ranking"),
        ("q1 d1 0.5\n", "line 1, is 'q1 d1 0.5'; it needs six columns"),
        ("q1 Q0 d1 1 high x\n", "the score 'high'; it needs a finite number"),
        ("q1 Q0 d1 1 nan x\n", "finite number"),
        ("q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n", "line 2, has the document 'd1' a second time"),
    ],
    ids=["empty", "columns", "word", "nan", "twice"],
)
def test_files_that_are_no_runs_are_refused(tmp_path, content, says):
    (tmp_path / "wrong.run").write_text(content)
    with pytest.raises(InputError, match=says):
        read_run(tmp_path / "wrong.run")


def test_what_the_files_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "wrong.run"
    with pytest.raises(InputError, match="There is no file"):
        read_run(path)
    for run, says in (({"q 1": {"d": 1.0}}, "'q 1' cannot"), ({"q": {"": 1.0}}, "'' cannot"),
                      ({"q": {"d": math.inf}}, "inf as the score")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            write_run(path, run)
    with pytest.raises(InputError, match="'my run' cannot"):
        write_run(path, RUN, tag="my run")
    assert not path.exists()
