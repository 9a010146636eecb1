"""Benches that train models on toy data: minutes together, so they are tried with the slow tests."""

from __future__ import annotations

import pytest

TRAIN = {
    f"test_{name}_bench.py"
    for name in ("bprop", "corpusbrain", "lexsembridge", "rank_legal", "rank_neural", "research_recorded", "retrieval")
}


@pytest.hookimpl(tryfirst=True)  # before the marks choose
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in TRAIN:
            item.add_marker("slow")
