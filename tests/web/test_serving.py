"""How a site is served: connections outlive what stands before it, and threads take short turns."""

import socket
import sys
import threading
import time

import httpx
import uvicorn

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
