import gzip
import json
import os
import re

import pytest

from foveal.errors import InputError
from foveal.evaluation.files import csv_rows, json_lines, text_in, whole_file


def test_a_file_appears_whole_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b.json"
    with whole_file(path) as partial:
        assert partial.suffix == ".json"
        assert not path.exists()
        partial.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, OSError])
def test_a_write_cut_short_leaves_the_old_file(tmp_path, stopped):
    path = tmp_path / "b.json"
    path.write_text("old", encoding="utf-8")

    def write():
        with whole_file(path) as partial:
            partial.write_text("ne", encoding="utf-8")
            raise stopped

    with pytest.raises(stopped):
        write()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_umask_is_left_alone(tmp_path, monkeypatch):
    """It is one for all threads: what another makes meanwhile would be open to all, and two could leave it so."""
    expected = 0o666 & ~umask()
    changed = []
    monkeypatch.setattr(os, "umask", lambda mask: changed.append(mask) or 0o022)
    with whole_file(tmp_path / "c.json") as partial:
        (tmp_path / "private").touch(0o600)
        (tmp_path / "private").replace(partial)  # some writers put a file of their own in its place
    assert changed == []
    assert (tmp_path / "c.json").stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("wrong", ['{"a" 1}', "[" * 100_000], ids=["damaged", "deep"])
def test_a_wrong_line_of_json_is_told_by_its_number(tmp_path, wrong):
    path = tmp_path / "some.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{wrong}\n', encoding="utf-8")
    with pytest.raises(InputError, match=re.escape("some.jsonl, line 3, cannot be read")):
        list(json_lines(path))


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*rows\.jsonl\. Check its spelling"):
        list(json_lines(tmp_path / "rows.jsonl"))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        list(csv_rows(tmp_path))


@pytest.mark.parametrize("packed", [False, True])
def test_a_text_has_no_byte_order_mark(tmp_path, packed):
    """JSON with one was refused, though every line of JSON with one is read."""
    content = b'\xef\xbb\xbf{"data": []}'
    path = tmp_path / ("a.json.gz" if packed else "a.json")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert json.loads(text_in(path)) == {"data": []}
