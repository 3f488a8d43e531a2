"""What all tests share: one Apache Kafka a run, and a prefix of its own for each test."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.shared_kafka import Owner, SharedKafka, ask_owner

_OWNER = pytest.StashKey[Owner]()


def pytest_configure(config: pytest.Config) -> None:
    """In the process that was started, make the owner of Kafka; it costs nothing until somebody asks.

    In each process, hear Ctrl-C: a shell's background job ignores it, and so would every command that a test starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.stash[_OWNER] = Owner()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each parallel worker whom to ask."""
    node.workerinput["kafka_owner"] = node.config.stash[_OWNER].address


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop Kafka; also after Ctrl-C (and if this process is killed, Kafka's leash ends it)."""
    owner = config.stash.get(_OWNER, None)
    if owner is not None:
        owner.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test of an `xdist_group` the id by which --dist loadgroup knows it.

    pytest-xdist 3.8 sets `_nodeid`, which pytest 9.2 no longer reads: every test went wherever there was room, and
    three workers made three demos.
    """
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        group = item.get_closest_marker("xdist_group")
        if group is not None and item.parent is not None and "@" not in item.nodeid.rpartition("]")[2]:
            item._id = item.parent.id.child(f"{item.name}@{group.args[0]}")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> SharedKafka:
    """A real Apache Kafka, shared by the whole run: the one that the environment names, or an embedded one."""
    owner = request.config.stash.get(_OWNER, None)
    ok, words = owner.ask() if owner is not None else ask_owner(request.config.workerinput["kafka_owner"])  # type: ignore[attr-defined]
    if not ok:
        pytest.fail(f"no Apache Kafka for the tests: {words}", pytrace=False)
    return SharedKafka(words, AdminClient({"bootstrap.servers": words}))


@pytest.fixture
def prefix(kafka: SharedKafka) -> Iterator[str]:
    """Goes before every name that the test uses on Kafka; the topics that have it are deleted after the test."""
    prefix = f"t{secrets.token_hex(3)}-"
    yield prefix
    kafka.delete_topics(prefix)
