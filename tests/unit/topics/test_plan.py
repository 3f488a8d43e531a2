from __future__ import annotations

from dataclasses import replace

import pytest

from broker.members.seed import seeds
from broker.settings import KafkaSettings
from broker.topics.plan import Difference, Drift, TopicFound, TopicSpec, drift, is_ours, plan

KAFKA = KafkaSettings()

# Design section 1, the table of topics: name, partitions. Written out by hand for one region.
BY_HAND = {
    "notices.africa": 2,
    "diffusions.africa": 2,
    "commands.africa": 2,
    "ledger.africa": 2,
    "acks.africa": 2,
    "inbox.zw": 1,
    "inbox.iom": 1,
    "rejected": 1,
    "directory": 1,
    "alerts": 1,
    "checkpoints": 1,
    "shards": 12,
}
UNCOMPRESSED = {"notices", "diffusions", "commands", "acks", "directory"}


def _plan(**settings: int) -> dict[str, TopicSpec]:
    specs = plan(["zw", "iom"], kafka=KafkaSettings.model_validate(settings))
    return {spec.name: spec for spec in specs}


def _as_planned(specs: dict[str, TopicSpec]) -> dict[str, TopicFound]:
    """What a cluster has on which the plan was applied; Kafka answers with all its settings."""
    return {
        name: TopicFound(spec.partitions, spec.replication, {**spec.settings, "segment.ms": "604800000"})
        for name, spec in specs.items()
    }


def test_the_topics_of_the_design() -> None:
    """Every topic of the design's table is planned with its partitions, for each of the six regions."""
    specs = _plan()

    assert {name: spec.partitions for name, spec in specs.items() if name in BY_HAND} == BY_HAND
    assert len(specs) == 6 * 5 + 2 + 5


def test_the_whole_installation_is_some_300_topics() -> None:
    """226 inboxes, five topics in each of six regions, and five more; services have no inbox."""
    bureaus = [seed.code for seed in seeds() if not seed.is_service]

    assert len(plan(bureaus, kafka=KAFKA)) == 226 + 30 + 5


def test_settings_of_all_topics() -> None:
    """Design section 1, "All topics"."""
    for spec in _plan().values():
        assert spec.settings["cleanup.policy"] == "delete"
        assert spec.settings["retention.ms"] == "-1"
        assert spec.settings["message.timestamp.type"] == "LogAppendTime"
        assert spec.settings["unclean.leader.election.enable"] == "false"
        expected = "uncompressed" if spec.name.partition(".")[0] in UNCOMPRESSED else "producer"
        assert spec.settings["compression.type"] == expected, spec.name


def test_an_inbox_takes_64_kib_more_than_a_feed() -> None:
    """Design section 1: `inbox` and `rejected` take 64 KiB more than a feed, nothing else does."""
    sizes = {name: int(spec.settings["max.message.bytes"]) for name, spec in _plan().items()}

    feed = sizes["notices.africa"]
    assert feed > KAFKA.record_bytes_max
    assert {name for name, size in sizes.items() if size == feed + 65_536} == {"inbox.zw", "inbox.iom", "rejected"}
    assert {size for name, size in sizes.items() if "inbox" not in name and name != "rejected"} == {feed}


def test_replicas_follow_the_settings() -> None:
    """One replica on the embedded broker; three, of which two must have a record, in production."""
    embedded, production = _plan()["ledger.africa"], _plan(replication=3, in_sync_min=2)["ledger.africa"]

    assert (embedded.replication, embedded.settings["min.insync.replicas"]) == (1, "1")
    assert (production.replication, production.settings["min.insync.replicas"]) == (3, "2")


def test_no_drift_where_the_plan_was_applied() -> None:
    """Settings that the plan does not name are no drift, and topics of others neither."""
    specs = _plan()
    found = {**_as_planned(specs), "somebody.elses": TopicFound(1, 1, {})}

    assert drift(list(specs.values()), found) == []


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("ledger.africa", None, Drift("ledger.africa", Difference.MISSING)),
        ("shards", {"partitions": 6}, Drift("shards", Difference.PARTITIONS, planned="12", found="6")),
        ("alerts", {"replication": 2}, Drift("alerts", Difference.REPLICATION, planned="1", found="2")),
        (
            "inbox.zw",
            {"settings": {"retention.ms": "604800000"}},
            Drift("inbox.zw", Difference.SETTING, "retention.ms", "-1", "604800000"),
        ),
    ],
)
def test_each_difference_is_shown(name: str, change: dict[str, object] | None, expected: Drift) -> None:
    """A topic that is missing, or has other partitions, replicas or settings, is named with both values."""
    specs = _plan()
    found = _as_planned(specs)
    if change is None:
        del found[name]
    elif "settings" in change:
        found[name] = replace(found[name], settings={**found[name].settings, **change["settings"]})  # type: ignore[dict-item]
    else:
        found[name] = replace(found[name], **change)  # type: ignore[arg-type]

    assert drift(list(specs.values()), found) == [expected]


def test_a_topic_of_ours_that_is_not_planned_is_shown() -> None:
    """The inbox of a bureau that is not in the directory stands out."""
    specs = _plan()
    found = {**_as_planned(specs), "inbox.xx": TopicFound(1, 1, {})}

    assert drift(list(specs.values()), found) == [Drift("inbox.xx", Difference.UNPLANNED)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inbox.xx", True),
        ("notices.africa", True),
        ("directory", True),
        ("inbox", False),
        ("__consumer_offsets", False),
        ("orders", False),
        ("other-inbox.xx", False),
    ],
)
def test_what_is_ours(name: str, expected: bool) -> None:  # noqa: FBT001 - a table's cell
    """Names that an installation does not use are somebody else's, and never touched."""
    assert is_ours(name) is expected
