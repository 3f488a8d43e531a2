"""The gateway as a service: it needs no Kafka, says how it is, and ends when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker.cli.context import load_context
from broker.cli.services import gateway
from broker.errors import UnavailableError
from broker.observe.listener import HOST, free_row
from broker.schema.catalogue import Catalogue
from broker.schema.registry import register
from broker.settings import SchemaRegistrySettings
from tests.support.eventually import eventually_async
from tests.support.http import serving_http
from tests.support.registries import FIRST_ID, MemoryRegistry


@contextlib.asynccontextmanager
async def running(data: Path) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Serve on a data folder; yield who asks it, and who asks how it is."""
    first, stopping = free_row(2), asyncio.Event()
    task = asyncio.create_task(gateway.run(load_context(data), stopping, observe_port=first, port=first + 1))
    async with (
        httpx.AsyncClient(base_url=f"http://{HOST}:{first + 1}") as client,
        httpx.AsyncClient(base_url=f"http://{HOST}:{first}") as observer,
    ):

        async def is_ready() -> bool:
            if task.done():
                task.result()
            with contextlib.suppress(httpx.TransportError):
                return (await observer.get("/readyz")).status_code == httpx.codes.OK
            return False

        try:
            await eventually_async(is_ready, seconds=20, what="the gateway is ready")
            yield client, observer
        finally:
            stopping.set()
            await task


async def test_serves_without_kafka(tmp_path: Path) -> None:
    """Ready once it listens; metrics and health are where every service has them."""
    async with running(tmp_path) as (client, observer):
        assert "directory-value" in (await client.get("/subjects")).json()
        assert (await observer.get("/healthz")).json()["alive"] is True
        assert 'noticewire_ready{service="gateway"} 1.0' in (await observer.get("/metrics")).text
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as late:
            await late.get(f"{client.base_url}/subjects")


async def test_port_taken(tmp_path: Path) -> None:
    """A port that is taken is named, and the process ends, so that whoever supervises it tries again."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"port {port}"):
            await gateway.run(load_context(tmp_path), asyncio.Event(), observe_port=0, port=port)


async def test_has_the_ids_that_are_on_the_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an external registry the gateway serves that one's ids: whoever asks either of them reads every record."""
    with serving_http(MemoryRegistry().app()) as url:
        register(SchemaRegistrySettings(url=url), tmp_path, catalogue=Catalogue.load())
    monkeypatch.setenv("NOTICEWIRE_SCHEMA_REGISTRY__URL", url)

    async with running(tmp_path) as (client, _):
        first = (await client.get("/subjects/notice/versions/1")).json()
        assert first["id"] == FIRST_ID
        for schema_id in (FIRST_ID, 1001):  # what was written before the registry was used has the catalogue's
            assert (await client.get(f"/schemas/ids/{schema_id}")).json() == {"schema": first["schema"]}
        found = await client.post("/subjects/notice", json={"schema": first["schema"]})
        assert found.json()["id"] == FIRST_ID
