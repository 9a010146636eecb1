"""The demo; the whole of it takes minutes, so it is not part of `make test`."""

from __future__ import annotations

import json

import pytest
from cli.test_cli import run

from foveal.cli import demo


class Slow:
    """A reader that needs a second for each thousand characters."""

    def __init__(self, clock):
        self.clock = clock

    def retrieve(self, text, _question):
        self.clock[0] += len(text) / 1000


def test_a_slow_machine_reads_a_part_and_says_so(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(demo.time, "perf_counter", lambda: clock[0])
    assert demo._seconds(Slow(clock), "x" * 480_000) == pytest.approx(480)
    assert demo._read_of(480_000, 1.0, 60) == "all 480,000 characters are read"
    assert demo._read_of(480_000, 0.5, 480) == (
        "the most promising 50% of 480,000 characters are read (all of them: about 8 minutes here)"
    )


@pytest.mark.slow
@pytest.mark.model
def test_the_demo_finds_what_it_asks_for_and_quotes_it_exactly(tmp_path):
    shown = json.loads(run("demo", "--json", home=tmp_path).stdout)
    assert shown["documents"] > 100
    assert all(len(hits) == 2 for hits in shown["hits"].values())
    assert "attribute" in shown["hits"]["how does a class decide what happens when an attribute is missing"][0]["quote"]
    assert all("global interpreter lock" in hit["quote"].lower() for hit in shown["hits"]['"global interpreter lock"'])
