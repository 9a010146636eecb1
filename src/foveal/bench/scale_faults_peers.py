"""Slow peers of a site, for `scale-faults`: many that send a form a byte at a time, and a page that never ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def slow_senders(port: int, count: int) -> Iterator[int]:
    """So many connections that send a form a byte a second, and read no answer."""
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    peers, stop = [], threading.Event()
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(head + b"Content-Length: 5000\r\n\r\nemail=")
        peers.append(one)

    def drip() -> None:
        while not stop.wait(1.0):
            for one in peers:
                with suppress(OSError):
                    one.sendall(b"a")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()
        for one in peers:
            one.close()


@contextmanager
def dripping_page() -> Iterator[str]:
    """A page that sends a byte at a time, without end: its address."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)

        def drip(one: socket.socket) -> None:
            with one, suppress(OSError):
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
                while not stop.wait(0.2):
                    one.sendall(b"x")

        def accept() -> None:
            while not stop.is_set():
                with suppress(OSError):
                    threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/drips"
        finally:
            stop.set()
            thread.join()
