"""Several sites that deploy to one cluster, over a Ray Serve that only keeps what runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import tiny

from foveal.errors import LibraryError
from foveal.models.offline import OFFLINE, unpacked
from foveal.scale.serving import Served, served
from foveal.settings import Settings


@dataclass
class Handle:
    """A `DeploymentHandle` that knows its name."""

    name: str
    asking: bool = True

    def __getattr__(self, name: str) -> Any:
        own = (
            {"dimension": 384, "max_tokens": 9, "fingerprint": "f"}
            if "embedder" in self.name
            else {"context_tokens": 9}
        )
        about = {"name": self.name} | own
        return SimpleNamespace(remote=lambda: SimpleNamespace(result=lambda: about))

    def shutdown(self) -> None:
        self.asking = False


@dataclass
class KeptServe:
    """The module `ray.serve`: applications by name; one whose name has `broken` in it fails once it is there."""

    broken: str = "-none-"
    running: dict[str, Any] = field(default_factory=dict)
    handles: list[Handle] = field(default_factory=list)

    def start(self, *, proxy_location: str, logging_config: dict[str, Any]) -> None:
        assert (proxy_location, logging_config["log_level"]) == ("Disabled", "WARNING")

    def batch(self, **_: Any) -> Any:
        return lambda method: method

    def deployment(self, kind: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(bind=lambda *given: (kind, given)))

    def run(self, bound: Any, *, name: str, **_: Any) -> Any:
        self.running[name] = bound
        if self.broken in name:
            raise RuntimeError(f"Deploying application {name} failed: a traceback with /a/path")
        self.handles.append(Handle(name))
        return self.handles[-1]

    def delete(self, name: str, _blocking: bool = True) -> None:
        self.running.pop(name, None)


@pytest.fixture
def serve(monkeypatch):
    kept = KeptServe()
    monkeypatch.setitem(sys.modules, "ray.serve", kept)
    return kept


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    model = tiny("qwen", tmp_path_factory.mktemp("qwen"))
    return Served(encoder=None, reader=str(model.folder), cache=model.cache, home=model.folder)


def test_sites_that_share_a_cluster_leave_each_others_deployments_alone(serve, plan):
    serve.running["somebody's"] = None
    with served(plan) as one:
        names = {*serve.running}
        with served(plan) as other:
            assert len(serve.running) == 5
            assert one.name != other.name
        assert {*serve.running} == names
    assert {*serve.running} == {"somebody's"}
    assert [handle.asking for handle in serve.handles] == [False] * 4


def test_a_deployment_that_cannot_be_started_is_said_and_all_are_taken_down(serve, plan):
    serve.broken = "foveal-reader"
    with pytest.raises(LibraryError, match="could not start the reader") as told, served(plan):
        pytest.fail("there is no reader")
    assert "/a/path" not in str(told.value)
    assert not serve.running


def test_a_replica_finds_the_encoder_that_was_trained_in_the_home(serve, plan, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").symlink_to(unpacked(OFFLINE["minilm"], Settings.load().cache))
    with served(replace(plan, encoder="mine", home=tmp_path)):
        kind, given = next(bound for name, bound in serve.running.items() if "embedder" in name)
        assert kind(*given).about()["dimension"] == 384
