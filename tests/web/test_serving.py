"""How a site is served: connections outlive what stands before it, and threads take short turns."""

import socket
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from foveal.cli.main import app as command
from foveal.errors import UnknownName
from foveal.web.serving import KEEP_ALIVE_S, attentive, server_config


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_connection_is_kept_longer_than_a_proxy_keeps_it():
    config = server_config(app, lifespan="off", timeout_graceful_shutdown=1)
    assert config.timeout_keep_alive == KEEP_ALIVE_S > 60
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
                until = time.monotonic() + 20
                while not server.started and time.monotonic() < until:
                    time.sleep(0.02)
                answer = client.get("/")
        finally:
            server.should_exit = True
            thread.join(20)
    assert answer.text == "ok"
    assert "server" not in answer.headers


def test_turns_are_short_inside_and_as_before_outside():
    before = sys.getswitchinterval()
    with attentive():
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """`foveal serve` over a home with these lines in its foveal.toml; the site that it would serve."""
    sites = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, **_: sites.append(self.config.app.state.site))

    def run(*arguments, toml=""):
        (tmp_path / "foveal.toml").write_text(toml, encoding="utf-8")
        env = {"FOVEAL_HOME": str(tmp_path), "FOVEAL_CACHE": str(tmp_path / "cache")}
        done = CliRunner().invoke(command, ["serve", "--port", "0", *arguments], env=env)
        if done.exception is not None:
            raise done.exception
        sites[-1].close()
        return sites[-1]

    return run


@pytest.mark.slow
def test_a_site_reads_by_the_attention_that_is_asked_for(serve):
    assert serve().web.attention == "auto"
    assert serve(toml='[web]\nattention = "streaming"\nstreams = 7').web.attention == "streaming"
    site = serve("--attention", "dhsa", toml='[web]\nattention = "streaming"\nstreams = 7')
    assert (site.web.attention, site.web.streams) == ("dhsa", 7)
    with pytest.raises(UnknownName, match=r"'flash'\. There are: auto, dense, streaming"):
        serve("--attention", "flash")
