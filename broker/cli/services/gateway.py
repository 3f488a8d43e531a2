"""Build and run the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from typing_extensions import override

from broker.cli.context import Context
from broker.cli.services.observing import Watch, watched
from broker.errors import UnavailableError
from broker.gateway.app import build
from broker.observe.health import Health
from broker.observe.listener import HOST
from broker.observe.metrics import Metrics
from broker.schema.catalogue import Catalogue
from broker.schema.registry import load_ids

logger = structlog.get_logger(__name__)


async def run(context: Context, stopping: asyncio.Event, *, observe_port: int, port: int) -> None:
    """Answer on 127.0.0.1 until told to stop; it needs no Kafka.

    Args:
        context: of the command.
        stopping: is set when it is to end.
        observe_port: where it shows metrics and health; 0: any free port.
        port: where it answers; 0: any free port.

    Raises:
        UnavailableError: the port is taken, or an external schema registry is away whose ids are not known yet.
    """
    watch = Watch(metrics=Metrics("gateway", Health(), reads_logs=False), asks_kafka=False)
    async with watched(watch, None, port=observe_port):
        catalogue, prefix = Catalogue.load(), context.kafka.prefix
        ids = load_ids(context.settings.schema_registry, context.data, catalogue=catalogue, prefix=prefix)
        app = build(catalogue=catalogue, prefix=prefix, ids=ids)
        with _listening(port) as sock:
            server = _Server(uvicorn.Config(app, log_config=None, log_level="warning", access_log=False))
            watch.problems = lambda: () if server.started else ("does not listen yet",)
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            logger.info("Gateway serves", address=f"http://{HOST}:{sock.getsockname()[1]}")
            told = asyncio.create_task(stopping.wait())
            await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            server.should_exit = True
            await serving


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    try:
        sock = socket.create_server((HOST, port))
    except OSError as error:
        raise UnavailableError(f"port {port} on {HOST} cannot be listened on: {error.strerror}") from error
    with sock:
        yield sock


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the loop."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
