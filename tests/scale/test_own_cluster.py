"""A cluster of this machine's own cores, over a Ray that only notes how it is started."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from foveal.scale.cluster import cluster


class KeptRay(ModuleType):
    """The module `ray`: as Ray does, it joins the cluster that RAY_ADDRESS names where no address is given."""

    def __init__(self, named: str) -> None:
        super().__init__("ray")
        self.named, self.joined = named, ""

    def is_initialized(self) -> bool:
        return bool(self.joined)

    def init(self, address: str | None = None, **given: Any) -> None:
        self.joined = address or self.named
        if self.joined != "local" and "num_cpus" in given:
            raise ValueError("When connecting to an existing cluster, num_cpus and num_gpus must not be provided.")

    def shutdown(self) -> None:
        self.joined = ""


@pytest.mark.parametrize(("given", "joined"), [((), "local"), (("auto",), "auto")])
def test_this_machines_own_cluster_is_begun_though_another_is_named(monkeypatch, given, joined):
    kept = KeptRay("10.0.0.1:6379")
    monkeypatch.setitem(sys.modules, "ray", kept)
    with cluster(*given, cores=1):
        assert kept.joined == joined
    assert not kept.is_initialized()
