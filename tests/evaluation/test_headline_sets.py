"""TeClass's files, files of one's own, and the classes in three views."""

from __future__ import annotations

import csv
import gzip
import json
import threading

import pytest

from foveal.errors import InputError, UnknownName
from foveal.evaluation.headlines import (
    TECLASS,
    TECLASS_COLUMNS,
    HeadlinePair,
    HeadlineSet,
    Taxonomy,
    load_teclass,
    read_pairs,
)


def write_csv(path, columns, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    for name, end in (("training", ".csv"), ("development", ".csv.gz"), ("test", ".csv")):
        rows = [(f"{name}_{n}", "http://x", "వ్యాసం\nరెండు", "శీర్షిక", label) for n, label in enumerate(("HREL", "LREL"), 1)]
        write_csv(tmp_path / f"{name}{end}", TECLASS_COLUMNS, rows)
    return tmp_path


def test_the_three_files_are_read_with_the_licence_they_are_under(folder):
    found = load_teclass(folder)
    assert list(found) == ["training", "development", "test"]
    assert [one.id for one in found["development"].pairs] == ["development_1", "development_2"]
    assert found["test"].labelled() == ["HREL", "LREL"]
    assert "\n" in found["training"].pairs[0].article
    assert all("CC BY-NC-SA" in one.licence for one in found.values())


def test_a_missing_file_column_or_label_is_named(folder):
    write_csv(folder / "training.csv", ("id", "url", "article", "headline"), [("1", "", "a", "h")])
    with pytest.raises(
        InputError, match=r"training\.csv lacks the column label; .* It has: 'id', 'url', 'article', 'h"
    ):
        load_teclass(folder)
    write_csv(folder / "training.csv", TECLASS_COLUMNS, [("1", "", "a", "h", "GOOD")])
    with pytest.raises(InputError, match=r"The pair '1': There is no label 'GOOD'. There are: HREL, MREL, LREL"):
        load_teclass(folder)
    (folder / "training.csv").unlink()
    with pytest.raises(InputError, match=r"lacks training\.csv"):
        load_teclass(folder)


def test_own_files_in_two_forms(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"headline": "h", "article": "a", "label": "FME", "id": "x"}) + "\n")
    write_csv(tmp_path / "b.csv", ("headline", "article"), [("h", "a"), ("g", "b")])
    assert read_pairs(tmp_path / "a.jsonl").pairs[0] == HeadlinePair("h", "a", "FME", "x")
    assert [(one.id, one.label) for one in read_pairs(tmp_path / "b.csv").pairs] == [("0", None), ("1", None)]


def test_a_number_0_is_an_id_and_a_label(tmp_path):
    rows = [{"headline": "h", "article": "a", "id": number, "label": number} for number in (1, 0, 2)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [(one.id, one.label) for one in read_pairs(tmp_path / "a.jsonl").pairs] == [
        ("1", "1"),
        ("0", "0"),
        ("2", "2"),
    ]


def test_reading_that_stopped_at_an_error_keeps_nobody_waiting(tmp_path):
    """While its error is held the file is still open; another thread reads one meanwhile, and so may this one."""
    write_csv(tmp_path / "bad.csv", ("headline", "article"), [("", "a"), ("h", "a")])
    write_csv(tmp_path / "good.csv", ("headline", "article"), [("h", "a")])
    read = []
    with pytest.raises(InputError) as held:
        read_pairs(tmp_path / "bad.csv")
    other = threading.Thread(target=lambda: read.append(read_pairs(tmp_path / "good.csv")), daemon=True)
    other.start()
    other.join(20)
    assert held.value.__traceback__ is not None
    assert len(read) == 1
    assert csv.field_size_limit() == 131_072


def test_an_article_of_ten_megabytes_is_one_field(tmp_path):
    long = "word " * 2_000_000
    write_csv(tmp_path / "long.csv", ("headline", "article"), [("h", long)])
    before = csv.field_size_limit()
    assert read_pairs(tmp_path / "long.csv").pairs[0].article == long
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("rows", "said"),
    [([("", "a")], "headline of '0' is empty"), ([("h", "  ")], "article of '0' is empty"), ([], "holds no pairs")],
)
def test_an_empty_text_is_named(tmp_path, rows, said):
    write_csv(tmp_path / "x.csv", ("headline", "article"), rows)
    with pytest.raises(InputError, match=said):
        read_pairs(tmp_path / "x.csv")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"headline,article\nh,a\n")[:-9])
    with pytest.raises(InputError, match="cut off or damaged"):
        read_pairs(tmp_path / "cut.csv.gz")
    with pytest.raises(InputError, match=r"There is no file .*none"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "old.csv").write_bytes("headline,article\nCafé,So\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8 text .* Save it as UTF-8"):
        read_pairs(tmp_path / "old.csv")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="lacks article, headline"):
        read_pairs(tmp_path / "list.jsonl")


def test_the_views():
    assert TECLASS.labels() == ("HREL", "MREL", "LREL")
    assert TECLASS.labels("sub") == ("FME", "STC", "FSE", "WKC", "SEN", "CBT", "MLC")
    assert [TECLASS.viewed(one, "binary") for one in ("FME", "STC", "FSE", "HREL", "MREL")] == ["Relevant"] * 5
    assert [TECLASS.viewed(one, "binary") for one in ("WKC", "SEN", "CBT", "MLC", "LREL")] == ["Less relevant"] * 5
    assert [TECLASS.viewed(one) for one in ("FSE", "CBT", "LREL")] == ["MREL", "LREL", "LREL"]
    with pytest.raises(InputError, match="which sub-class"):
        TECLASS.viewed("LREL", "sub")
    with pytest.raises(InputError, match=r"'Relevant' does not say which class it is\. Take the view binary"):
        TECLASS.viewed("Relevant")
    with pytest.raises(UnknownName, match="primary, binary, sub"):
        TECLASS.labels("other")


def test_a_taxonomy_of_ones_own():
    own = Taxonomy(primary={"good": (), "bad": ("rude", "wrong")}, relevant=frozenset({"good"}))
    assert own.viewed("rude") == "bad"
    assert own.viewed("rude", "binary") == "Less relevant"
    upside = Taxonomy(primary=own.primary, relevant=frozenset({"bad"}))
    assert upside.viewed("rude", "binary") == "Relevant"  # as its class is
    with pytest.raises(InputError, match="named once"):
        Taxonomy(primary={"good": ("good",), "bad": ()}, relevant=frozenset({"good"}))
    with pytest.raises(InputError, match="calls"):
        Taxonomy(primary={"good": (), "bad": ()}, relevant=frozenset({"fine"}))
    with pytest.raises(InputError, match="two or more"):
        Taxonomy(primary={"good": ("fine",)}, relevant=frozenset({"good"}))


def test_a_set_gives_its_labels_and_parts():
    pairs = HeadlineSet("x", tuple(HeadlinePair(f"h{n}", "a", label) for n, label in enumerate(("HREL", "FME", "CBT"))))
    assert len(pairs.only(("HREL",))) == 2
    assert len(pairs.only(("CBT",))) == 1
    with pytest.raises(InputError, match="no label 'X'"):
        pairs.only(("X",))
    misspelt = HeadlineSet("y", (*pairs.pairs, HeadlinePair("h", "a"), HeadlinePair("h", "a", "HERL", "r9")))
    with pytest.raises(InputError, match="The pair 'r9': There is no label 'HERL'"):
        misspelt.only(("HREL",))
    with pytest.raises(InputError, match="has no label"):
        HeadlineSet("x", (HeadlinePair("h", "a"),)).labelled()
    assert pairs.fingerprint != pairs.only(("HREL",)).fingerprint
