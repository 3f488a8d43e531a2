"""A small HTTP listener for `/metrics`, `/healthz` and `/readyz`, in a thread of its own.

In a thread, because a service whose event loop is wedged must still be able to say so. It answers reading requests
only, and holds numbers, names of shards and codes: nothing that a bureau has written.
"""

from __future__ import annotations

import json
import random
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app
from typing_extensions import override

from broker.observe.health import Health

logger = structlog.get_logger(__name__)

HOST = "127.0.0.1"
"""Whoever may log in to the machine may read this; for others, put a proxy that knows them in front."""

_PORTS = range(20_000, 32_000)
"""Below the range from which the kernel takes ports for outgoing connections, so that one chosen once stays free."""

_AGAIN_SECONDS = 2.0
_CLIENT_SECONDS = 5.0

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Listener:
    """Answers on 127.0.0.1 until it is closed.

    Args:
        health: what `/healthz` and `/readyz` ask.
        registry: what `/metrics` writes out.
        port: 0: any free one. One that is taken is tried again until it is free: a service's work matters more than
            its figures, and its predecessor may be about to let go of the port.
    """

    def __init__(self, *, health: Health, registry: CollectorRegistry, port: int = 0) -> None:
        self._app = application(health, registry)
        self._wanted = port
        self._server: WSGIServer | None = None
        self._closing = threading.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="observe", daemon=True)

    def start(self) -> None:
        """Begin to listen; returns at once where the port is taken, else when it listens."""
        self._thread.start()
        self._listens.wait(_AGAIN_SECONDS)

    @property
    def address(self) -> str | None:
        """Where it listens: `http://127.0.0.1:9601`; None while its port is taken."""
        return None if self._server is None else f"http://{HOST}:{self._server.server_port}"

    def close(self) -> None:
        """Listen no more."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
        if self._thread.is_alive():
            self._thread.join(_CLIENT_SECONDS)

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                server = _Server((HOST, self._wanted), _Handler)
            except OSError as error:
                logger.warning("Observation port taken", port=self._wanted, problem=error.strerror)
                self._closing.wait(_AGAIN_SECONDS)
                continue
            with server:
                server.set_app(self._app)
                self._server = server
                self._listens.set()
                if not self._closing.is_set():
                    server.serve_forever(poll_interval=0.2)
            return


def application(health: Health, registry: CollectorRegistry) -> Wsgi:
    """Return the WSGI application: three pages, each to be read only."""
    metrics: Wsgi = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return _said(start, "405 Method Not Allowed", {"problem": "this is for reading only"})
        match environ.get("PATH_INFO"):
            case "/metrics":
                return metrics(environ, start)
            case "/healthz":
                return _stated(start, "alive", health.wedged())
            case "/readyz":
                return _stated(start, "ready", health.unready())
            case _:
                return _said(start, "404 Not Found", {"pages": ["/metrics", "/healthz", "/readyz"]})

    return answer


def _stated(start: StartResponse, what: str, problems: tuple[str, ...]) -> Iterable[bytes]:
    status = "503 Service Unavailable" if problems else "200 OK"
    return _said(start, status, {what: not problems, "problems": list(problems)})


def _said(start: StartResponse, status: str, body: dict[str, Any]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store")])
    return [json.dumps(body).encode() + b"\n"]


def free_row(count: int) -> int:
    """Return the first of so many free ports in a row; at random, so that several choices at once hardly ever meet."""
    choice = random.SystemRandom()
    while True:
        first = choice.choice(_PORTS)
        if all(map(_is_free, range(first, first + count))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread a request: a reader that hangs keeps no other from an answer."""

    daemon_threads = True

    @override
    def server_bind(self) -> None:
        """Bind, without the standard library's look-up of our own name, which may wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Log no request: one every few seconds, for ever."""
