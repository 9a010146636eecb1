"""The demo, whole: about a minute, so not part of `make test`."""

from __future__ import annotations

import json

import pytest
from cli.test_cli import run


@pytest.mark.slow
@pytest.mark.model
def test_the_demo_finds_what_it_asks_for_and_quotes_it_exactly(tmp_path):
    shown = json.loads(run("demo", "--json", home=tmp_path).stdout)
    assert shown["documents"] > 100
    assert all(len(hits) == 2 for hits in shown["hits"].values())
    assert "attribute" in shown["hits"]["how does a class decide what happens when an attribute is missing"][0]["quote"]
    assert all("global interpreter lock" in hit["quote"].lower() for hit in shown["hits"]['"global interpreter lock"'])
