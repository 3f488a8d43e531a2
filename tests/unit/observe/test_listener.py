from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.observe.health import LOOP_SECONDS_MAX, Health
from broker.observe.listener import HOST, Listener, free_row
from broker.observe.metrics import Metrics
from tests.support.eventually import eventually


class Time:
    """A clock that a test turns."""

    seconds = 0.0

    def __call__(self) -> float:
        """What the hands say."""
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> Health:
    return Health(now=time)


@pytest.fixture
def listener(health: Health) -> Iterator[Listener]:
    listener = Listener(health=health, registry=Metrics("router", health).registry)
    listener.start()
    yield listener
    listener.close()


def ask(listener: Listener, page: str, method: str = "GET") -> tuple[int, str]:
    assert listener.address is not None
    connection = http.client.HTTPConnection(urlsplit(listener.address).netloc, timeout=10)
    connection.request(method, page)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def problems(listener: Listener, page: str) -> tuple[int, Any]:
    status, body = ask(listener, page)
    return status, json.loads(body)["problems"]


def test_a_service_that_starts_lives_and_is_not_ready(listener: Listener) -> None:
    """Before its first beat a service is alive, and says that it is starting."""
    assert problems(listener, "/healthz") == (200, [])
    assert problems(listener, "/readyz") == (503, ["is starting"])


def test_readiness_says_what_is_missing(listener: Listener, health: Health) -> None:
    """Each thing in the way is named, the metric agrees, and a service without any is ready."""
    health.beat(["shard africa-0 is halted at ledger.africa/0/7: a hole"])
    assert problems(listener, "/readyz") == (503, ["shard africa-0 is halted at ledger.africa/0/7: a hole"])
    assert 'noticewire_ready{service="router"} 0.0' in ask(listener, "/metrics")[1]

    health.beat([])
    assert problems(listener, "/readyz") == (200, [])
    assert 'noticewire_ready{service="router"} 1.0' in ask(listener, "/metrics")[1]


def test_a_loop_that_stands_still_is_no_life(listener: Listener, health: Health, time: Time) -> None:
    """Without a beat in time a service is neither alive nor ready, and one beat brings it back."""
    health.beat([])
    time.seconds += LOOP_SECONDS_MAX + 1
    for page in ("/healthz", "/readyz"):
        assert problems(listener, page) == (503, ["the event loop has stood still for 11 s"])

    health.beat([])
    assert problems(listener, "/healthz") == (200, [])


def test_a_part_that_no_longer_turns_is_named(listener: Listener, health: Health, time: Time) -> None:
    """The event loop may turn while the part that does the work is stuck: that is no life either."""
    health.turned("the archive", within_seconds=30)
    time.seconds += 31
    health.beat([])
    assert problems(listener, "/healthz") == (503, ["the archive has not come round for 31 s"])

    health.ended("the archive")
    assert problems(listener, "/healthz") == (200, [])


def test_answers_reading_requests_only(listener: Listener) -> None:
    """Other pages and other methods are refused."""
    assert ask(listener, "/metrics", "POST")[0] == 405
    assert ask(listener, "/keys")[0] == 404
    assert ask(listener, "/healthz", "HEAD") == (200, "")


def test_waits_for_a_port_that_is_taken(health: Health) -> None:
    """A taken port stops nothing: the listener answers there as soon as it is free."""
    port = free_row(1)
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((HOST, port))
    taken.listen()
    listener = Listener(health=health, registry=Metrics("router", health).registry, port=port)
    listener.start()
    assert listener.address is None

    taken.close()
    assert eventually(lambda: listener.address, seconds=20, what="it listens") == f"http://{HOST}:{port}"
    assert ask(listener, "/healthz")[0] == 200
    listener.close()
