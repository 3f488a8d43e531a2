from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from typing_extensions import override

from broker.cli.context import Endpoints, KafkaEndpoint, load_context
from broker.cli.status import halted_shards
from broker.endpoints import ServiceEndpoint

PROBLEMS = ["shard africa/1 is halted at ledger.africa/1/7: does not follow", "shard europe/0 is not taken yet"]


@contextmanager
def a_service() -> Iterator[str]:
    """A router that is not ready; yields where it says so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(json.dumps({"ready": False, "problems": PROBLEMS}).encode())

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_halted_shards_are_named(tmp_path: Path) -> None:
    """`status` says which shards their services run no more, and where; not what is merely not ready yet."""
    assert halted_shards(load_context(tmp_path)) == []
    with a_service() as address:
        services = {"router-0": ServiceEndpoint(pid=1, observe=address), "audit": ServiceEndpoint(pid=2)}
        Endpoints(kafka=KafkaEndpoint(bootstrap_servers="127.0.0.1:1"), services=services).write(tmp_path)

        assert halted_shards(load_context(tmp_path)) == [f"router-0: {PROBLEMS[0]}"]
