"""JSONL and BEIR: a document for each good line, the reason for each bad one."""

import gzip
import json
from datetime import UTC, datetime

import pytest

from foveal.errors import UnreadableSource
from foveal.text.loading import LoadSettings, Skipped, discover, load
from foveal.types import Document


def loaded(path, settings=LoadSettings()):  # noqa: B008
    return [item for source in discover([path], settings) for item in load(source, settings)]


def written(path, *lines, opener=open):
    with opener(path, "wb") as file:
        file.write(b"".join((json.dumps(x).encode() if not isinstance(x, bytes) else x) + b"\n" for x in lines))
    return path


@pytest.mark.parametrize("field", ["text", "contents", "content", "body", "abstract"])
def test_each_text_field_is_read(tmp_path, field):
    [document] = loaded(written(tmp_path / "a.jsonl", {"id": "x", field: "Sharp sight.", "title": "T"}))
    assert document.text == "Sharp sight."
    assert document.title == "T"


@pytest.mark.parametrize("blank", [" ", {"a": 1}, [1]], ids=["blank", "object", "numbers"])
def test_the_field_that_the_text_is_taken_from_is_no_metadata(tmp_path, blank):
    [document] = loaded(written(tmp_path / "a.jsonl", {"text": blank, "body": "Sharp sight."}))
    assert document.text == "Sharp sight."
    assert "body" not in document.metadata


@pytest.mark.parametrize("given", [1610112312034, "1610112312034", "16101123120"])
def test_a_row_of_digits_is_no_day_with_a_time(tmp_path, given):
    [document] = loaded(written(tmp_path / "a.jsonl", {"text": "Sharp sight.", "date": given}))
    expected = datetime(2021, 1, 8, 13, 25, 12, 34000, tzinfo=UTC) if isinstance(given, int) else None
    assert document.published_at == expected


def test_a_record_in_full(tmp_path):
    path = written(
        tmp_path / "a.jsonl",
        {
            "_id": 7,
            "title": " Two\nlines ",
            "text": " kept as it is\r\n",
            "url": "https://example.org/7",
            "date": "2024-02-03",
            "year": 2024,
            "score": 0.5,
            "open": True,
            "none": None,
            "nan": float("nan"),
            "account": 123456789012345678901234567890,
            "largest": 2**64 - 1,
            "authors": ["Ann", "Bob"],
            "places": [{"x": 1}],
            "venue": {"name": "V", "at": {"city": "Graz"}},
            "metadata": {"lang": "de"},
            "kind": "theirs",
        },
    )
    [document] = loaded(path)
    source = path.resolve().as_uri()
    assert document == Document.of(
        f"{source}#7",
        " kept as it is\r\n",
        "Two lines",
        url="https://example.org/7",
        published_at=datetime(2024, 2, 3, tzinfo=UTC),
        metadata={
            "lang": "de",
            "year": 2024,
            "score": 0.5,
            "open": True,
            "account": "123456789012345678901234567890",
            "largest": 2**64 - 1,
            "authors": "Ann; Bob",
            "venue.name": "V",
            "venue.at.city": "Graz",
            "record.kind": "theirs",
            "source": source,
            "kind": "jsonl",
        },
    )


def test_without_id_and_title_the_line_and_the_text_serve(tmp_path):
    path = written(tmp_path / "a.ndjson", b"", {"text": "word " * 40})
    [document] = loaded(path)
    assert document.id == Document.of(f"{path.resolve().as_uri()}#2", "", "").id
    assert document.title == "word " * 15 + "word…"


@pytest.mark.parametrize(
    ("ids", "called"),
    [
        (["3", "a", None, 4, None], ["3", "a", "line=3", "4", "line=5"]),
        ([None, None, "b", 2, None], ["1", "2", "b", "id=2", "5"]),
        ([None, 1, "1"], ["1", "id=1", None]),  # the last one has the id of an earlier line
    ],
    ids=["ids", "lines", "twice"],
)
def test_a_line_without_an_id_takes_no_place_of_one_with_its_number(tmp_path, ids, called):
    records = [{"text": f"text {n}"} | ({"id": one} if one else {}) for n, one in enumerate(ids)]
    path = written(tmp_path / "a.jsonl", *records)
    for one, name in zip(loaded(path), called, strict=True):
        if name is None:
            assert isinstance(one, Skipped)
        else:
            assert one.id == Document.of(f"{path.resolve().as_uri()}#{name}", "", "").id


def test_sentences_in_a_list_are_joined(tmp_path):
    [document] = loaded(written(tmp_path / "a.jsonl", {"abstract": ["One.", "Two."]}))
    assert document.text == "One. Two."


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "Line 2 is not JSON"),
        (b"[" * 100_000, "Line 2 is not JSON"),
        (b'["a"]', "Line 2 is a JSON list, not an object"),
        (b'{"text": "caf\xe9"}', "Line 2 is not UTF-8"),
        (b'{"text": "  ", "title": "only"}', "Line 2 has no text; its fields are: text, title"),
        (b'{"id": "1", "text": "again"}', "Line 2 has the id '1' of an earlier line"),
    ],
)
def test_a_bad_line_is_skipped_and_the_rest_goes_on(tmp_path, line, reason):
    path = written(tmp_path / "a.jsonl", {"id": "1", "text": "one"}, line, {"id": "3", "text": "three"})
    first, bad, last = loaded(path)
    assert (first.text, last.text) == ("one", "three")
    assert isinstance(bad, Skipped)
    assert bad.address == f"{path.resolve().as_uri()}#2"
    assert reason in bad.reason
    assert bad.reason.startswith(f"{path.resolve()}: ")  # of the many files of a folder, which


def test_nul_and_half_pairs_never_reach_a_document(tmp_path):
    line = rb'{"id": "a\u0000\ud800", "title": "t\ud800", "text": "x\u0000y \ud83d\ude00 \udc00", "m\ud800": "v\u0000"}'
    [document] = loaded(written(tmp_path / "a.jsonl", line))
    assert document.text == "xy 😀 \ufffd"
    assert document.title == "t\ufffd"
    assert document.metadata["m\ufffd"] == "v"


def test_lines_without_any_text_say_which_fields_were_looked_for(tmp_path):
    path = written(tmp_path / "a.jsonl", {"q": "one"}, {"q": "two"})
    with pytest.raises(
        UnreadableSource, match=r"no record with a text: Line 1 has no text; its fields are: q\. .* abstract"
    ):
        loaded(path)


def test_a_file_that_is_no_jsonl_is_given_up(tmp_path):
    path = written(tmp_path / "a.jsonl", *[b"not json"] * 5000)
    [source] = discover([path])
    items = load(source)
    skipped = []
    with pytest.raises(UnreadableSource, match="Line 1 is not JSON"):
        skipped.extend(items)
    assert len(skipped) == 1000


def test_utf8_with_a_mark(tmp_path):
    [document] = loaded(written(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "one"}'))
    assert document.text == "one"


def test_gzip_is_read_line_by_line(tmp_path):
    path = written(tmp_path / "a.jsonl.gz", {"id": "1", "text": "one"}, {"id": "2", "text": "two"}, opener=gzip.open)
    assert [document.text for document in loaded(path)] == ["one", "two"]


def test_a_gzip_bomb_is_cut_off_at_the_limit(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb") as file:
        file.write(b'{"text": "one"}\n')
        for _ in range(64):
            file.write(b" " * 2**20)
    assert path.stat().st_size < 2**17
    items = load(next(discover([path])), LoadSettings(max_bytes=2**20))
    assert next(items).text == "one"
    with pytest.raises(UnreadableSource, match=r"more than 1,048,576 bytes.*LoadSettings\.max_bytes"):
        list(items)


def test_cut_gzip_is_said_to_be_damaged(tmp_path):
    path = written(tmp_path / "a.jsonl.gz", *[{"text": str(n) * 50} for n in range(3000)], opener=gzip.open)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UnreadableSource, match="is damaged: gzip says"):
        loaded(path)


@pytest.mark.parametrize(("name", "opener"), [("corpus.jsonl", open), ("corpus.jsonl.gz", gzip.open)])
def test_a_beir_folder_is_one_source(tmp_path, name, opener):
    folder = tmp_path / "set"
    folder.mkdir()
    records = [{"_id": "d1", "title": "T", "text": "body", "metadata": {}}, {"_id": "d2", "title": "empty", "text": ""}]
    written(folder / name, *records, opener=opener)
    written(folder / "queries.jsonl", {"_id": "q1", "text": "a question"})
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    (tmp_path / "z.txt").write_text("beside it")
    beir, note = discover([tmp_path])
    assert (beir.kind, beir.address) == ("beir", folder.resolve().as_uri())
    assert note.kind == "text"
    document, empty = load(beir)
    assert document.id == Document.of(f"{beir.address}#d1", "", "").id
    assert (document.text, document.title, document.metadata) == ("body", "T", {"source": beir.address, "kind": "beir"})
    assert isinstance(empty, Skipped)


def test_a_corpus_alone_is_an_ordinary_file(tmp_path):
    written(tmp_path / "corpus.jsonl", {"_id": "d1", "text": "body"})
    [source] = discover([tmp_path])
    assert source.kind == "jsonl"
