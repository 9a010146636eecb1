"""A node of a Ray cluster that dies while a library is added. Slow."""

from __future__ import annotations

import threading

import pytest
from ray_parts import library, same, written

from foveal.retrieval.adding import AddReport
from foveal.scale.adding import RayWork
from foveal.scale.cluster import nodes

pytest.importorskip("ray", reason="foveal[scale] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_a_node_that_dies_loses_nothing(own_settings, tmp_path):
    texts = written(tmp_path / "texts", 700, paragraphs=120)  # more than are looked up at once
    whole, broken = library(own_settings, "whole"), library(own_settings, "broken")
    whole.add([texts])
    killed = threading.Event()
    with nodes([1, 1]) as (ray, made):

        def kill(report: AddReport) -> None:
            if not killed.is_set():
                assert report.sources_read < 700
                killed.set()
                made.remove_node(next(iter(made.worker_nodes)), allow_graceful=False)

        broken.add([texts], work=RayWork(broken, ray), on_progress=kill)
    assert killed.is_set()
    same(whole, broken)
