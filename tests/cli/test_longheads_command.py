"""prefill --keep and read by LongHeads, with a tiny model: a text past its window is kept, asked and forgotten."""

from __future__ import annotations

import json

import pytest
from cli.test_reading import call
from tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("longheads")
    tiny("qwen", folder / "model", positions=256)
    (folder / "rain.txt").write_text("".join(f"It rained on day {number} by the mill.\n" for number in range(60)))
    (folder / "empty.txt").write_text("")
    return folder


def prefill(place, *more: str, source: str = "rain.txt", **options):
    asked = ("prefill", str(place / source), "--model", str(place / "model"), "--attention", "longheads")
    return call(place, *asked, *more, **options)


def read(place, *more: str, **options):
    asked = ("read", str(place / "rain.txt"), "When did it rain?", "--model", str(place / "model"))
    return call(place, *asked, "--attention", "longheads", *more, **options)


@pytest.mark.slow
def test_a_text_past_the_window_is_kept_asked_and_forgotten(place):
    assert "No text is kept" in read(place, status=1).said
    told = json.loads(prefill(place, "--keep", "--json").stdout)
    assert told["tokens"] > 500
    assert told["method"] == "longheads"
    assert "--attention longheads" in prefill(place, "--keep").stdout
    found = json.loads(read(place, "--also", "Where is the mill?", "--json").stdout)
    assert len(found["also"]) == 1
    text = (place / "rain.txt").read_text()
    assert found["passages"]
    for passage in found["passages"]:
        span = passage["span"]
        assert text[span["start"] : span["end"]] == passage["quote"]
    assert "tokens in 1 window;" in read(place).stderr
    assert "is gone" in prefill(place, "--forget").stdout
    assert "No text is kept" in read(place, status=1).said


def test_what_is_to_be_done_first_is_said_for_this_method(place):
    assert "--keep --attention longheads" in read(place, status=1).said
    prefill(place, "--keep", "--tokens", "300")
    told = prefill(place, "--keep", "--tokens", "400", status=1).said
    assert "(foveal prefill SOURCE --forget --attention longheads --model …)" in told
    prefill(place, "--forget")


def test_what_does_not_go_is_said(place):
    assert "keeps a text: give --keep" in prefill(place, status=2).said
    assert "no option top_k" in prefill(place, "--keep", "--set", "top_k=3", status=1).said
    assert (
        "multiple of the second"
        in prefill(place, "--keep", "--set", "chunk_size=7", "--set", "attention_length=100", status=1).said
    )
    assert prefill(place, "--keep", source="empty.txt", status=1).said
    said = call(place, "ask", "When did it rain?", "--attention", "longheads", status=2).said
    assert "from one text that is kept" in said
    kept = call(place, "prefill", str(place / "rain.txt"), "--model", str(place / "model"), "--keep", status=1).said
    assert "--attention longheads" in kept
