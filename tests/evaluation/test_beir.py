import gzip
import json
from dataclasses import replace

import pytest

from foveal.errors import InputError
from foveal.evaluation.beir import load_beir
from foveal.evaluation.judgements import read_queries

DOCUMENTS = [
    {"_id": "d1", "title": "Eye", "text": "The fovea.", "url": "u"},
    {"_id": "d2", "text": "No title\u2028but a line separator"},
    {"_id": "d3", "title": "", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "sharp sight"}, {"_id": "q2", "text": "ждёт"}, {"_id": "q3", "text": "never judged"}]
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = HEADER + "q2\td1\t2\nq1\td2\t1\nq2\td3\t0\n"


def written(folder, *, corpus=None, queries=None, qrels=QRELS):
    lines = ["\n".join(json.dumps(row, ensure_ascii=False) for row in rows) for rows in (DOCUMENTS, QUERIES)]
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(lines[0] if corpus is None else corpus, encoding="utf-8")
    (folder / "queries.jsonl").write_text(lines[1] if queries is None else queries, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_a_collection_holds_its_documents_and_the_judged_queries(tmp_path):
    collection = load_beir(written(tmp_path))
    assert list(collection.corpus) == ["d1", "d2", "d3"]
    assert collection.corpus["d1"].whole == "Eye The fovea."
    assert collection.corpus["d1"].metadata == {"url": "u"}
    assert collection.corpus["d2"].whole == "No title\u2028but a line separator"
    assert collection.corpus["d3"].whole == ""
    assert collection.queries == {"q2": "ждёт", "q1": "sharp sight"}
    assert collection.qrels == {"q2": {"d1": 2, "d3": 0}, "q1": {"d2": 1}}


def test_compressed_files_read_the_same(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.gz").mkdir()
    plain, small = written(tmp_path / "a"), written(tmp_path / "a.gz")
    for name in ("corpus.jsonl", "queries.jsonl"):
        (small / f"{name}.gz").write_bytes(gzip.compress((small / name).read_bytes()))
        (small / name).unlink()
    judged = small / "qrels" / "test.tsv"
    judged.with_name("test.tsv.gz").write_bytes(gzip.compress(judged.read_bytes()))
    judged.unlink()
    assert load_beir(small).qrels == load_beir(plain).qrels
    with pytest.raises(InputError, match=r"qrels/dev\.tsv does not exist\. The splits of this collection: test\."):
        load_beir(small, "dev")
    assert load_beir(small).corpus == load_beir(plain).corpus
    assert load_beir(small).queries == load_beir(plain).queries


def test_columns_besides_marks_and_line_ends_of_other_systems_change_nothing(tmp_path):
    rows = ["score\tnote\tcorpus-id\tquery-id", "2\tby hand\td1\tq2", "1\t\td2\tq1", "0\tpool\td3\tq2"]
    other = written(tmp_path, qrels="\ufeff" + "".join(f"{row}\r\n" for row in rows))
    for name in ("corpus.jsonl", "queries.jsonl"):
        (other / name).write_bytes(b"\xef\xbb\xbf" + (other / name).read_bytes().replace(b"\n", b"\r\n"))
    collection = load_beir(other)
    assert collection.qrels == {"q2": {"d1": 2, "d3": 0}, "q1": {"d2": 1}}
    assert list(collection.corpus) == ["d1", "d2", "d3"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"corpus": '{"_id": "d1", "text": "x"}\n{"_id": "d1"'}, "line 2, is not JSON"),
        ({"corpus": "[1]"}, "holds a list"),
        ({"corpus": "\n"}, "corpus.jsonl holds no document"),
        ({"corpus": "[" * 100_000}, "line 1, is not JSON"),
        ({"corpus": '{"_id": 7, "text": "x"}'}, "has 7 as '_id'; it needs a string"),
        ({"corpus": '{"_id": "d1"}'}, "has None as 'text'"),
        ({"corpus": '{"_id": "d1", "text": "x", "title": null}'}, "has None as 'title'"),
        ({"queries": '{"_id": "q1", "text": "x"}\n{"_id": "q1", "text": "y"}'}, "line 2, repeats the id 'q1'"),
        ({"qrels": HEADER + "q1\td9\t1\n"}, "judges document 'd9'"),
        ({"qrels": HEADER + "q9\td1\t1\n"}, "judges query 'q9'"),
        ({"qrels": HEADER + "q1\td1\n"}, "it needs query id, document id, whole grade"),
        ({"qrels": HEADER + "q1\td1\t0.5\n"}, "it needs query id, document id, whole grade"),
        ({"qrels": HEADER + "q1\td1\t1\nq1\td1\t2\n"}, "an earlier line another"),
        ({"qrels": "q1\td1\t1\n"}, "opens with query-id corpus-id score"),
        ({"qrels": ""}, "opens with query-id corpus-id score"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        load_beir(written(tmp_path, **files))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_byte_order_mark_is_no_damage(tmp_path, name):
    for place in ("plain", "marked"):
        (tmp_path / place).mkdir()
    plain, marked = written(tmp_path / "plain"), written(tmp_path / "marked")
    (marked / name).write_bytes(b"\xef\xbb\xbf" + (marked / name).read_bytes())
    assert replace(load_beir(marked), name="plain") == load_beir(plain)
    (tmp_path / "own.jsonl").write_bytes(b'\xef\xbb\xbf{"_id": "q", "text": "x"}\n')
    assert read_queries(tmp_path / "own.jsonl") == {"q": "x"}


def test_the_same_judgement_twice_is_one(tmp_path):
    assert load_beir(written(tmp_path, qrels=HEADER + "q1\td1\t1\nq1\td1\t1\n")).qrels == {"q1": {"d1": 1}}


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"neither corpus\.jsonl nor corpus\.jsonl\.gz"):
        load_beir(tmp_path)
    with pytest.raises(InputError, match="splits of this collection: test"):
        load_beir(written(tmp_path), split="dev")


CUT_OFF = gzip.compress(b'{"_id": "d1", "text": "x"}' * 999, mtime=0)[:40]


@pytest.mark.parametrize("damaged", [b"not gzip", CUT_OFF], ids=["no archive", "half of one"])
def test_a_cut_off_archive_is_an_error(tmp_path, damaged):
    folder = written(tmp_path)
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(damaged)
    with pytest.raises(InputError, match="cannot be read"):
        load_beir(folder)


def test_other_encodings_are_an_error(tmp_path):
    folder = written(tmp_path)
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "caf\xe9"}')
    with pytest.raises(InputError, match=r"queries\.jsonl cannot be read"):
        load_beir(folder)
