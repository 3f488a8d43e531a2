from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from broker.errors import RefusedError
from broker.observe.counting import DoorMetrics
from producers.client import Producer
from tests.support.builders import an_information_diffusion, bureaus
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world


async def test_refusals_are_counted_at_the_door(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """What a producer publishes counts as published; what breaks a rule, or has no key, as refused by its code."""
    registry = CollectorRegistry()
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        async with Producer.connect(data=world.data, outcomes=False, observer=DoorMetrics(registry)) as producer:
            await producer.publish(an_information_diffusion(number="zw-d-2026-000001", circulation=bureaus("ke")))
            for wrong in (
                an_information_diffusion(number="zw-d-2026-000002", circulation=bureaus("nowhere")),
                an_information_diffusion(owner="ao", circulation=bureaus("ke")),
            ):
                with pytest.raises(RefusedError):
                    await producer.publish(wrong)

    def count(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"noticewire_{name}_messages_total", labels)

    assert count("published") == 1
    assert count("refused", code="invalid_message") == 1
    assert count("refused", code="key_file") == 1
