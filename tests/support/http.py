"""An application on 127.0.0.1 for as long as a block runs, in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from tests.support.eventually import eventually


@contextlib.contextmanager
def serving_http(app: FastAPI, *, port: int = 0) -> Iterator[str]:
    """Serve an application, and yield its address.

    Args:
        app: what answers.
        port: 0: any free one.
    """
    with socket.create_server(("127.0.0.1", port)) as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            eventually(lambda: server.started, seconds=60, what="the application is served")
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
