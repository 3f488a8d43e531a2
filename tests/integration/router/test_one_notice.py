from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from broker.model.naming import Region, Shard
from tests.support.builders import a_red_notice
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world


async def test_a_requested_notice_is_published_to_every_member_once(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """A signed request goes to the Secretariat alone, and what it publishes to every member, by one transaction."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        request = a_red_notice(number="zw-n-2026-000001", event="requested")
        published = a_red_notice(number="zw-n-2026-000001", event="published")
        shard = request.shard
        assert shard == Shard(Region.AFRICA, shard.partition)

        origins = await world.publish(request, published)
        await world.route(shard)

        assert await world.messages_in("ipsg") == [str(request.message_id)]
        for bureau in ("ke", "ng", "fr", "de", "br", "jp", "zw"):
            assert await world.messages_in(bureau) == [str(published.message_id)], bureau
        entries = await world.read_ledger([shard])
        assert [(one.value["kind"], one.value["from_offset"], one.value["next_offset"]) for one in entries] == [
            ("routed", 0, 1),
            ("routed", 1, 2),
        ]
        assert [one.value["delivered"] for one in entries] == ["ipsg", "br de fr jp ke ng zw"]

        [copy] = [one for one in await world.read_inbox("ke") if one.subject == "notice"]
        assert copy.origin == str(origins[1])
        assert copy.key == b"zw-n-2026-000001"
        assert sha256(copy.raw).digest() == entries[1].value["digest"]
        outcomes = [one for one in await world.read_inbox("zw") if one.subject == "outcome"]
        assert [(one.value["verdict"], one.value["given"]) for one in outcomes] == [("routed", 1), ("routed", 7)]
