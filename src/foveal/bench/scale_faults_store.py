"""A trial of `scale-faults` on a library that lies on an object store: the store goes away in the middle of a write.

The store is moto's S3 server (of foveal[dev]) in this process. At a write drawn at random the connection is cut, before
the object is stored or after, so that whoever wrote it does not know; from then on nothing listens there, until the
server is started again with all that was stored. What must hold afterwards: as in scale_faults_library.py.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foveal.bench.scale_faults_library import Files, again, held_against
from foveal.bench.scale_faults_trials import SETTINGS, Found, Trial, Unavailable, Victim, home_in
from foveal.retrieval import tables
from foveal.retrieval.lease import LEASE_S

WRITES = 60
"""Requests that write, of adding all documents: one of them is cut."""

AWAY_S = (0.1, 12.0)
"""Seconds that the store is away: requests are repeated for some, then given up."""

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class ObjectStore:
    """An S3 server that can be cut off and started again."""

    def __init__(self, cut_at: int, *, stored: bool) -> None:
        """Cut the `cut_at`th write, after it is `stored` or before. Unavailable: moto is not installed."""
        try:
            from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        except ModuleNotFoundError as missing:
            raise Unavailable("moto is not installed") from missing
        self._app = DomainDispatcherApplication(create_backend_app)
        self._left, self._stored = cut_at, stored
        self._lock, self.cut = threading.Lock(), threading.Event()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the same port each time."""
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            protocol_version = "HTTP/1.0"  # a connection that is kept would be answered while the store is away

            def log(self, *_: Any) -> None:
                """Say nothing."""

        self._server = make_server("127.0.0.1", self.port, self._answered, threaded=True, request_handler=Handler)
        self.port = self._server.port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answered(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        """A WSGI application: moto's, but for the write that is cut."""
        if environ["REQUEST_METHOD"] not in ("PUT", "POST") or not self._is_the_one():
            return self._app(environ, start)
        if self._stored:
            list(self._app(environ, start))
        self.cut.set()
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError("cut")

    def _is_the_one(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0


@contextmanager
def object_store(cut_at: int, *, stored: bool) -> Iterator[tuple[ObjectStore, str]]:
    """A store, and the URI of a library in it; the environment names its server and keys meanwhile."""
    store = ObjectStore(cut_at, stored=stored)
    url = f"http://127.0.0.1:{store.port}"
    try:
        with _environment(KEYS | {"AWS_ENDPOINT_URL": url, "AWS_ENDPOINT": url}):
            import boto3

            bucket = boto3.resource("s3", endpoint_url=url).create_bucket(Bucket=f"faults-{os.urandom(6).hex()}")
            yield store, f"s3://{bucket.name}/library"
            bucket.objects.all().delete()
    finally:
        store.stop()


def store_away(draw: random.Random, folder: Path) -> Found:
    """The store goes away while documents are added to it, and comes back."""
    found, home = Found(), home_in(folder)
    files = Files(folder, draw)
    with object_store(1 + draw.randint(1, WRITES), stored=draw.random() < 0.5) as (store, uri):  # 1: its bucket
        (home / "foveal.toml").write_text(f'{SETTINGS}library_at = "{uri}"\n', encoding="utf-8")
        with Victim("add", home, files.folder) as victim:
            while victim.process.poll() is None and not store.cut.wait(0.05):
                pass
            if store.cut.is_set():
                found.struck += 1
                store.stop()
                time.sleep(draw.uniform(*AWAY_S))
                store.start()
            status = victim.ended()
            told = [line for line in victim.lines if line.startswith("error ")]
            found.hold(status == 0 or bool(told), f"a store that is away was not said in words: {victim.errors[-600:]}")
            acked = set(victim.acked)
        if tables.exists(uri):
            held_against(home, files, found, acked=acked)
        else:
            found.hold(not acked, "documents were acknowledged, and there is no library")
        with _environment({"FOVEAL_CLOCK": str(LEASE_S + 30)}):  # the right of a writer that could not give it back
            again(home, files, found)
    return found


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


TRIALS: Sequence[tuple[str, Trial]] = (("add, its object store away", store_away),)
