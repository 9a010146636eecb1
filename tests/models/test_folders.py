"""Folders that are made once: by one of many who ask, whole or not at all."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foveal.errors import ModelUnavailable
from foveal.models.folders import fingerprint, kept_fingerprint, made_once


def test_of_many_who_ask_at_once_one_makes_it(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        time.sleep(0.1)
        (folder / "whole").touch()

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: made_once(tmp_path / "m", make, name="m", megabytes=1), range(4)))
    assert folders == [tmp_path / "m"] * 4
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_failure_leaves_nothing_and_the_next_call_tries_again(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise ModelUnavailable("no")

    with pytest.raises(ModelUnavailable, match="no"):
        made_once(tmp_path / "m", fail, name="m", megabytes=1)
    assert list(tmp_path.iterdir()) == []
    made_once(tmp_path / "m", lambda folder: (folder / "whole").touch(), name="m", megabytes=1)
    assert (tmp_path / "m" / "whole").is_file()


def test_only_the_leavings_of_the_same_folder_are_swept(tmp_path):
    for name in (".m-dead", ".other-alive"):
        (tmp_path / name).mkdir()
    made_once(tmp_path / "m", lambda _: None, name="m", megabytes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other-alive", "m"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailable, match=r"m could not be unpacked into .*file/models .*up to 7 MB"):
        made_once(tmp_path / "file" / "models" / "m", lambda _: None, name="m", megabytes=7)


def test_a_fingerprint_is_read_again_only_where_a_file_changed(tmp_path):
    folder, cache = tmp_path / "m", tmp_path / "cache"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "notes.txt").write_text("not part of it")
    first = kept_fingerprint(folder, cache)
    assert first == fingerprint(folder) != fingerprint(folder, seed="x")
    (kept,) = (cache / "fingerprints").iterdir()
    kept.write_text("0" * 64)
    assert kept_fingerprint(folder, cache) == "0" * 64
    for damaged in (b"", first[:40].encode(), b"\xff" * 64, f"{first}\n".encode()):
        kept.write_bytes(damaged)
        assert kept_fingerprint(folder, cache) == first
        assert kept.read_text() == first
    (folder / "config.json").write_text('{"a": 1}')
    assert kept_fingerprint(folder, cache) not in ("0" * 64, first)


def test_what_a_full_disk_does_not_take_leaves_no_file(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"1")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", full)
    assert kept_fingerprint(tmp_path / "model", tmp_path / "cache") == fingerprint(tmp_path / "model")
    assert list((tmp_path / "cache" / "fingerprints").iterdir()) == []
