"""Connections to checked addresses only: what is checked is what is connected to.

A host name is resolved once, inside the connection; all its addresses must be public, and the socket is opened to one
of exactly these. A name that answers differently the second time (DNS rebinding) thus gains nothing. Host header, SNI
and certificate check keep the name. Every read and write is cut off at one deadline for the whole fetch, so that a
server which drips a byte a second is left in time.

Imports httpx and httpcore: import it where it is used.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

from foveal.errors import FetchFailed

TICK_S = 0.2
"""How often a read that may be cancelled looks whether it was."""

_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether `address` (IPv4 or IPv6) lies on the open internet; an IPv4 address inside an IPv6 one counts."""
    ip = _innermost(ip_address(address.partition("%")[0]))
    old = getattr(ip, "is_site_local", False)  # fec0::/10: ipaddress calls it global
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or old)


def require_public(host: str, addresses: Iterable[str]) -> None:
    """FetchFailed where any of the `addresses` of `host` is not public."""
    private = sorted({address for address in addresses if not is_public(address)})
    if private:
        raise FetchFailed(
            f"{host} is at {', '.join(private)}, an address of this machine or a private network; only public ones are "
            "read. If you mean it, allow it: FetchSettings(allow_private=True), or allow_private_addresses in "
            "foveal.toml."
        )


def resolved(host: str, port: int, *, timeout: float) -> list[str]:
    """The addresses of `host`, in the system's order; the system's resolver knows no time limit, so a thread waits."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()
    threading.Thread(target=_resolve, args=(host, port, answers), daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise FetchFailed(f"The name {host} was not resolved within {timeout:.0f} s. Is there a network?") from None
    if isinstance(answer, OSError):
        raise FetchFailed(
            f"The name {host} could not be resolved ({answer.strerror or answer}). Check its spelling, and the network."
        ) from answer
    return answer


def transport(
    *,
    until: float,
    allow_private: bool,
    proxy: str | None,
    check: Callable[[], None] | None = None,
    named: tuple[str, int] | None = None,
) -> httpx.BaseTransport:
    """What httpx sends through; `until` is the deadline on `time.monotonic()`. A proxy connects on our behalf.

    `check` is called often while a read waits; what it raises ends the read. `named` is a host and port that the
    person named: it may be private.
    """
    if proxy is None:
        guard = GuardedBackend(until=until, allow_private=allow_private, check=check, named=named)
        return PoolTransport(httpcore.ConnectionPool(ssl_context=_tls(), network_backend=guard))
    url = httpx.Proxy(proxy)
    # the proxy itself may well stand in a private network
    own = GuardedBackend(until=until, allow_private=True, check=check)
    tunnel = httpcore.HTTPProxy(
        str(url.url),
        proxy_auth=url.raw_auth,
        ssl_context=_tls(),
        proxy_ssl_context=_tls() if url.url.scheme == "https" else None,
        network_backend=own,
    )
    return PoolTransport(tunnel)


class GuardedBackend(httpcore.NetworkBackend):
    """Opens TCP connections to public addresses (or to any, if allowed) before the deadline."""

    def __init__(
        self,
        *,
        until: float,
        allow_private: bool,
        check: Callable[[], None] | None = None,
        named: tuple[str, int] | None = None,
    ) -> None:
        self.until = until
        self.allow_private = allow_private
        self.named = named
        self.check = check
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = resolved(host, port, timeout=_left(self.until))
        if not self.allow_private and (host.lower(), port) != self.named:
            require_public(host, addresses)
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(address, port, _left(self.until), local_address, socket_options)
                return _DeadlineStream(stream, self.until, self.check)
            except httpcore.ConnectError as error:
                failure = error
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every wait ends at the deadline, whatever time-out is asked for."""

    def __init__(self, stream: httpcore.NetworkStream, until: float, check: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._until = until
        self._check = check

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        while self._check:
            self._check()
            with suppress(httpcore.ReadTimeout):
                return self._stream.read(max_bytes, min(TICK_S, _left(self._until)))
            _left(self._until)  # raises at the deadline
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._until))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._until))
        return _DeadlineStream(stream, self._until, self._check)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class PoolTransport(httpx.BaseTransport):
    """An httpcore pool as an httpx transport; httpx's own builds its pool itself and takes no network backend."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = self._pool.handle_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, extensions=request.extensions)
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        self._stream.close()


@lru_cache(1)
def _tls() -> ssl.SSLContext:
    """Loading the authorities' certificates takes a while, so it is done once; SSL_CERT_FILE and _DIR are honoured."""
    return httpx.create_ssl_context()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return left


def _innermost(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one leads to (mapped, NAT64, 6to4, Teredo), else the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def _resolve(host: str, port: int, answers: queue.SimpleQueue[list[str] | OSError]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        answers.put(error if isinstance(error, OSError) else OSError(str(error)))
    else:
        answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
