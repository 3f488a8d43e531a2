from __future__ import annotations

from pathlib import Path

from tests.support.builders import a_purple_notice
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world

NUMBER = "zw-n-2026-000001"


async def test_goes_on_where_the_ledger_stands_with_and_without_the_cache(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """A shard that is taken again knows its notices from the cache, or from the ledger alone, and routes on."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke")) as world:
        request = a_purple_notice(number=NUMBER, event="requested")
        published = a_purple_notice(number=NUMBER, event="published")
        shard = request.shard
        await world.publish(request)
        await world.route(shard)
        await world.let_go()

        await world.publish(published, request)
        await world.route(shard)
        await world.let_go()
        for cache in (tmp_path / "router").iterdir():
            cache.unlink()
        await world.publish(published, a_purple_notice(number=NUMBER, event="revised"))
        await world.route(shard)

        entries = await world.read_ledger([shard])
        assert [(one.value["kind"], one.value["event"]) for one in entries] == [
            ("routed", "requested"),
            ("routed", "published"),
            ("repeat", "requested"),
            ("repeat", "published"),
            ("routed", "revised"),
        ]
