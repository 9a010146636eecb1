"""Judgements: what is told as kept is on the disk, the last one counts, and files of others are read or refused."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from foveal.errors import InputError, StorageFull
from foveal.evaluation.beir import Record, load_beir
from foveal.evaluation.judgements import (
    Judgement,
    keep_judgement,
    query_id,
    read_judgements,
    read_qrels,
    read_queries,
    write_beir,
)
from foveal.types import Span

DOCUMENT = "d" * 32


def judgement(grade, *, query="where is sight sharpest?", start=0, revision="r1"):
    return Judgement(query, Span(DOCUMENT, start, start + 9), revision, grade)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "judgements.jsonl"


def test_a_second_judgement_of_the_same_replaces_the_first_and_is_told(path):
    assert read_judgements(path) == []
    assert keep_judgement(path, judgement(1)) is None
    assert keep_judgement(path, judgement(2, start=20)) is None
    assert keep_judgement(path, judgement(0, revision="r2")) is None  # another text of that document
    assert keep_judgement(path, judgement(3, query=" where  is sight\nsharpest?")).grade == 1
    assert [(one.grade, one.span.start, one.revision) for one in read_judgements(path)] == [
        (3, 0, "r1"),
        (2, 20, "r1"),
        (0, 0, "r2"),
    ]
    assert len(path.read_text().splitlines()) == 4  # nothing is taken out of the file


def test_a_cut_line_is_passed_over_and_goes_with_the_next(path):
    keep_judgement(path, judgement(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert [one.grade for one in read_judgements(path)] == [1]
    keep_judgement(path, judgement(2, start=5))
    assert [one.grade for one in read_judgements(path)] == [1, 2]
    path.write_bytes(whole.rstrip(b"\n"))  # by hand, without the last line end
    assert [one.grade for one in read_judgements(path)] == [1]
    assert keep_judgement(path, judgement(3)).grade == 1
    assert [one.grade for one in read_judgements(path)] == [3]


def test_a_kill_at_any_moment_loses_nothing_that_was_told(path):
    """A child judges as fast as it can and tells each; killed, all that it told is there."""
    code = (
        "import sys, pathlib\n"
        "from foveal.evaluation.judgements import Judgement, keep_judgement\n"
        "from foveal.types import Span\n"
        "for n in range(10**6):\n"
        f"    keep_judgement(pathlib.Path({str(path)!r}), Judgement('q', Span('d', n, n + 1), 'r', n % 4))\n"
        "    print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    told = [child.stdout.readline() for _ in range(30)]
    os.kill(child.pid, signal.SIGKILL)
    told += child.stdout.read().splitlines()
    child.stdout.close()
    child.wait()
    kept = read_judgements(path)
    assert len(kept) >= len(told) >= 30
    assert [one.span.start for one in kept] == list(range(len(kept)))


def test_many_at_once_lose_nothing(path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: keep_judgement(path, judgement(n % 4, start=n)), range(40)))
    assert sorted(one.span.start for one in read_judgements(path)) == list(range(40))


def test_no_space_leaves_what_was_there(path):
    keep_judgement(path, judgement(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(StorageFull, match="No space"):
            keep_judgement(path, judgement(2, start=5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one.grade for one in read_judgements(path)] == [1]
    keep_judgement(path, judgement(2, start=5))
    assert len(read_judgements(path)) == 2


def test_what_is_no_judgement_is_refused(path):
    with pytest.raises(InputError, match="empty query"):
        judgement(1, query="  ")
    with pytest.raises(InputError, match="grade 4"):
        judgement(4)
    path.parent.mkdir()
    path.write_text(json.dumps({"query": "q"}) + "\n" + json.dumps(judgement(1).as_json()) + "\n")
    with pytest.raises(InputError, match="line 1, is no judgement"):
        read_judgements(path)
    with pytest.raises(InputError, match="line 1"):
        keep_judgement(path, judgement(1))
    with pytest.raises(InputError, match="cannot be"):
        keep_judgement(path.parent, judgement(1))
    for wrong in ("[" * 100_000, json.dumps(judgement(1).as_json()).replace('"start": 0', '"start": 1e400')):
        path.write_text(wrong + "\n")
        with pytest.raises(InputError, match="line 1, is no judgement"):
            read_judgements(path)


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td 1\t2\nq1\td2\t0\n\nq2\td2\t1\n",
        "\ufeffq1\td 1\t2\nq1\td2\t0\nq2\td2\t1",
        "q1\t0\td 1\t2\nq1 0 d2 0\nq2 0 d2 1\n",  # TREC's
    ],
)
def test_qrels_in_three_forms(tmp_path, text):
    file = tmp_path / "qrels.tsv"
    file.write_text(text, encoding="utf-8")
    assert read_qrels(file) == {"q1": {"d 1": 2, "d2": 0}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no judgements"),
        ("query-id\tcorpus-id\tscore\n", "no judgements"),
        ("q1\td1\n", "line 1, is 'q1 d1'"),
        ("q1\td1\tgood\n", "whole grade"),
        ("q1\td1\t1\nq1\td1\t2\n", "line 2, gives 'd1' the grade 2"),
    ],
)
def test_wrong_qrels_are_refused(tmp_path, text, said):
    file = tmp_path / "qrels.tsv"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        read_qrels(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_qrels(tmp_path / "none.tsv")


def test_queries_as_json_lines_or_with_tabs(tmp_path):
    lines, tabs = tmp_path / "queries.jsonl", tmp_path / "queries.tsv"
    lines.write_text('{"_id": "q1", "text": "where?"}\n{"_id": 2, "text": "why\\twhere?"}\n')
    tabs.write_text("q1\twhere?\n2\twhy\twhere?\n")
    assert read_queries(lines) == read_queries(tabs) == {"q1": "where?", "2": "why\twhere?"}
    for name, text, said in (
        ("a.jsonl", '{"_id": "q1"}\n', "is no query"),
        ("b.tsv", "q1 where?\n", "a tab"),
        ("c.tsv", "q1\twhere?\nq1\twhy?\n", "repeats the query id"),
        ("d.tsv", "q1\t \n", "no text for the query 'q1'"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=said):
            read_queries(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        read_queries(tmp_path / "none.jsonl")


def test_separators_within_a_query_end_no_line(tmp_path):
    (tmp_path / "queries.tsv").write_text("q1\twhere\u2028is it?\nq2\tform\x0cfeed\n", encoding="utf-8")
    assert read_queries(tmp_path / "queries.tsv") == {"q1": "where\u2028is it?", "q2": "form\x0cfeed"}
    (tmp_path / "qrels.tsv").write_text("q1\ta\u2028b\t1\n", encoding="utf-8")
    assert read_qrels(tmp_path / "qrels.tsv") == {"q1": {"a\u2028b": 1}}


def test_an_export_keeps_ids_and_texts_whatever_metadata_or_surrogates_say(tmp_path):
    corpus = [Record("d", "T", "X", {"_id": "other", "text": "other", "heading": "H"}), Record("e", "", "caf\udce9")]
    found = load_beir(write_beir(tmp_path / "out", corpus, {"q": "caf\udce9?"}, {"q": {"d": 1}}), "train")
    assert found.corpus == {"d": Record("d", "T", "X", {"heading": "H"}), "e": corpus[1]}
    assert found.queries == {"q": "caf\udce9?"}


def test_an_export_is_a_collection_in_beirs_layout(tmp_path):
    corpus = [Record("d:0-9", "Eyes", "The fovea."), Record("d:9-20", "", "Ünï\ttears")]
    queries, qrels = {query_id("where?"): "where?"}, {query_id("where?"): {"d:0-9": 3, "d:9-20": 0}}
    folder = write_beir(tmp_path / "out", corpus, queries, qrels)
    found = load_beir(folder, "train")
    assert (list(found.corpus.values()), found.queries, found.qrels) == (corpus, queries, qrels)
    assert read_qrels(folder / "qrels" / "train.tsv") == qrels
    with pytest.raises(InputError, match="not an empty folder"):
        write_beir(folder, corpus, queries, qrels)


def test_grades_as_tables_of_numbers_write_them(tmp_path):
    (tmp_path / "qrels.tsv").write_text("q1\td1\t2.0\nq1\td2\t0.00\nq2\td1\t1\n")
    assert read_qrels(tmp_path / "qrels.tsv") == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}


def test_a_query_without_an_id_is_refused(tmp_path):
    (tmp_path / "queries.jsonl").write_text('{"_id": null, "text": "looms"}\n')
    with pytest.raises(InputError, match="is no query"):
        read_queries(tmp_path / "queries.jsonl")
