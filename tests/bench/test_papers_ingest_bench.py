"""`foveal bench papers-ingest` on answers written by hand, in the layout of the recorded ones."""

from __future__ import annotations

import gzip
import json

import pytest
from papers.arxiv_answers import ERROR, ODD, atom, entry

from foveal.bench.papers_ingest import hf_rows, ingest_rows, query_key, replaying
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError

ROW = {
    "arxiv_id": "2602.00001",
    "title": "Where to\n Look",
    "abstract": "We look.",
    "authors": ["Léa Martin"],
    "upvotes": 3,
    "published_at": "2026-02-24T18:59:30.000Z",
}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "papers" / "arxiv-fixtures"
    folder.mkdir(parents=True)
    query = "https://export.arxiv.org/api/query?search_query={}&id_list={}&sortBy=relevance&sortOrder=descending&start={}&max_results=10"
    for name, words, ids, start, status, body in (
        ("a", "", "2609.00001%2C2609.00002", 0, 200, atom(entry(), *ODD)),
        ("b", "testing", "", 10, 200, atom(*ODD, total=14, start=10)),
        ("c", "", "abc", 0, 400, atom(ERROR)),
    ):
        held = {"url": query.format(words, ids, start), "status_code": status, "body": body.decode("latin-1")}
        (folder / f"{name}.json").write_text(json.dumps(held))
    (tmp_path / "papers" / "hf-day.json").write_text(
        json.dumps([ROW, {**ROW, "arxiv_id": "2602.00002", "title": "Two"}])
    )
    return BenchSettings(data=tmp_path, cache=tmp_path / "cache")


def test_all_rows_meet_their_bars(data):
    rows = list(ingest_rows(data))
    assert [(row.metric, row.ok) for row in rows] == [
        ("size", None),
        ("fields equal to feedparser's", True),
        ("fields equal to arxiv's", True),
        ("complaints that become errors", True),
        ("papers kept", True),
        ("changed by a second run", True),
        ("papers imported", True),
        ("papers with every field", True),
        ("changed by a second run", True),
    ]
    assert [row.note for row in rows[1:3]] == ["9 entries", "9 entries"]
    assert [row.note for row in rows[5:7]] == ["5 added by the first", "2 of 2"]


def test_a_days_rows_may_be_packed(data):
    path = data.data / "papers" / "hf-day.json"
    path.with_name("hf-day.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    before = [row.value for row in ingest_rows(data)]
    path.unlink()
    assert [row.value for row in ingest_rows(data)] == before


def test_a_wrong_field_and_a_paper_twice_fall_short():
    odd = [{**ROW, "upvotes": -1}, ROW]
    rows = {row.metric: row for row in hf_rows(json.dumps(odd).encode())}
    assert (rows["papers imported"].value, rows["papers imported"].ok) == (0.5, False)
    assert rows["papers with every field"].value == 0.5


def test_what_is_missing_is_named(tmp_path, data):
    with pytest.raises(InputError, match=r"hf-day\.json"):
        list(ingest_rows(BenchSettings(data=tmp_path / "none", cache=tmp_path)))
    for path in (data.data / "papers" / "arxiv-fixtures").glob("*"):
        path.write_text("{}")
    with pytest.raises(InputError, match="is no recorded answer"):
        list(ingest_rows(data))


def test_a_question_that_was_not_recorded_gets_404():
    import urllib.error
    import urllib.request

    with replaying([]) as address, pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}?start=0")
    assert query_key("http://x/?b=2&a=1&c=") == query_key("/?a=1&b=2")
